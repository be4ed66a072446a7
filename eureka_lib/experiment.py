"""From a configuration to a stored run: where tasks, models, training and the store come together.

An :class:`Experiment` says everything that decides a run's result. ``run(experiment)`` returns the stored run if there
is one and trains otherwise, so the same call gives the same answer from a notebook, papermill or another process.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn

from eureka_lib import provenance
from eureka_lib.analysis.record import normalised_entropy, record
from eureka_lib.models.resnet import ResNet9, ResNetConfig
from eureka_lib.models.vit import ViT, ViTConfig
from eureka_lib.runs import Run, RunStore, key_of
from eureka_lib.tasks import images
from eureka_lib.tasks.further import (
    ColourOrItemTask,
    DigitGroupsTask,
    NaturalIndicatorsTask,
    NoFixedPositionTask,
    PositionTask,
    SameColourTask,
)
from eureka_lib.tasks.two_step import Batch, IndicatorsOnlyTask, TargetsOnlyTask, TwoStepConfig, TwoStepTask
from eureka_lib.training.gradients import GRADIENT_SCALINGS
from eureka_lib.training.loop import train
from eureka_lib.training.optimizer import adamw
from eureka_lib.training.precision import PRECISIONS, with_precision
from eureka_lib.training.schedules import LEARNING_RATE_SCHEDULES, SCALE_SCHEDULES, heat
from eureka_lib.validation import check_choice, check_real, check_whole

TASKS: dict[str, type[TwoStepTask]] = {
    "two_step": TwoStepTask,
    "no_fixed_position": NoFixedPositionTask,
    "natural_indicators": NaturalIndicatorsTask,
    "position_as_indicator": PositionTask,
    "same_colour": SameColourTask,
    "colour_or_item": ColourOrItemTask,
    "digit_groups": DigitGroupsTask,
    "targets_only": TargetsOnlyTask,
    "indicators_only": IndicatorsOnlyTask,
}
MODELS = {
    "vit": (ViTConfig, lambda config, task: ViT(config, task.image_size, task.n_classes)),
    "resnet9": (ResNetConfig, lambda config, task: ResNet9(config, task.n_classes)),
}
EVALUATION_SEED = 20240721  # draws the test samples, the same ones for every run


@dataclass(frozen=True)
class TrainingConfig:
    """How to train; the defaults are the paper's, whose 300 epochs of 117 steps are 35,100 steps."""

    steps: int = 35_100
    batch_size: int = 512
    learning_rate: float = 5e-4  # peak, for a batch of 512
    learning_rate_schedule: str = "cosine"
    edge_learning_rate: float = 1e-6  # where the warm-up starts and the cosine ends
    warmup_steps: int = 585  # 5 epochs
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    precision: str = "bfloat16"
    evaluate_every: int = 117  # steps between evaluations
    test_samples: int = 10_000  # drawn once, from test images only

    def __post_init__(self):
        for name in ("steps", "batch_size", "evaluate_every", "test_samples"):
            check_whole(name, getattr(self, name), 1)
        check_whole("warmup_steps", self.warmup_steps)
        for name in ("learning_rate", "edge_learning_rate", "weight_decay"):
            check_real(name, getattr(self, name), 0)
        check_real("label_smoothing", self.label_smoothing, 0, 1)
        check_choice("learning_rate_schedule", self.learning_rate_schedule, LEARNING_RATE_SCHEDULES)
        check_choice("precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class FixConfig:
    """What is done to the attention during training; the defaults do nothing.

    Heat Treatment is ``scale_schedule="half_cosine"`` with ``scale_start=24``: from s = 3 to 0.125 in the paper.
    A "constant" schedule with another start is a fixed temperature.
    """

    scale_schedule: str = "constant"  # shape of the scale over training, a name in SCALE_SCHEDULES
    scale_start: float = 1.0  # the attention's scale at the first step, in multiples of the model's
    gradient_scaling: str = "none"  # or a name in GRADIENT_SCALINGS

    def __post_init__(self):
        check_choice("scale_schedule", self.scale_schedule, SCALE_SCHEDULES)
        check_real("scale_start", self.scale_start, 1e-6)
        check_choice("gradient_scaling", self.gradient_scaling, ["none", *GRADIENT_SCALINGS])


@dataclass(frozen=True)
class Experiment:
    """Everything that decides a run's result. ``vary`` gives a changed copy; nothing is changed in place."""

    task: TwoStepConfig = field(default_factory=TwoStepConfig)
    model: ViTConfig | ResNetConfig = field(default_factory=ViTConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    fix: FixConfig = field(default_factory=FixConfig)
    model_seed: int = 0  # initial weights, stochastic depth
    data_seed: int = 0  # training samples and their order

    def __post_init__(self):
        kind = TASKS[check_choice("task", self.task.name, TASKS)].config_class
        if type(self.task) is not kind:
            raise TypeError(f"task {self.task.name} takes a {kind.__name__}, got {self.task}")
        check_choice("model", self.model.name, MODELS)
        check_whole("model_seed", self.model_seed)
        check_whole("data_seed", self.data_seed)
        if self.fix != FixConfig() and not isinstance(self.model, ViTConfig):
            raise ValueError(
                f"{self.fix} treats attention, of which {self.model.name} has none; allowed is FixConfig()"
            )

    def vary(self, **changes) -> "Experiment":
        """A copy with the named fields changed, wherever they live: ``vary(attention="norm_softmax", steps=100)``.

        ``seed`` sets model and data seed at once; ``task`` changes to the task of that name, with its own sources if it
        has any. Raises ValueError for a name that no part has, with the nearest one that exists, and whatever the
        changed part raises for a bad value.
        """
        if "seed" in changes:
            seed = check_whole("seed", changes.pop("seed"))
            changes = {"model_seed": seed, "data_seed": seed, **changes}
        parts = {name: getattr(self, name) for name in ("task", "model", "training", "fix")}
        if "task" in changes:
            name = check_choice("task", changes.pop("task"), TASKS)
            mine = {f.name for f in fields(TASKS[name].config_class)} & changes.keys()
            parts["task"] = _task_config(name, self.task, {field: changes.pop(field) for field in mine})
        owners = {f.name: part for part, value in parts.items() for f in fields(value) if f.name != "name"}
        own = {"model_seed", "data_seed"}
        for name in changes:
            check_choice("setting", name, [*owners, *own, "seed", "task"])
        top = {name: value for name, value in changes.items() if name in own}
        for part, value in parts.items():
            mine = {name: new for name, new in changes.items() if owners.get(name) == part}
            top[part] = replace(value, **mine) if mine else value
        return replace(self, **top)

    def config(self) -> dict:
        """The experiment as nested dictionaries of plain values, which is what the store keeps."""
        return asdict(self)

    @property
    def key(self) -> str:
        """The run's name in the store."""
        return key_of(self.config())

    def sources(self) -> list[str]:
        """Names of the image sources that the task draws from."""
        return TASKS[self.task.name].sources(self.task)

    def build_task(self, device: torch.device | str = "cpu") -> TwoStepTask:
        """The task, with its images on ``device``."""
        return TASKS[self.task.name](self.task, device)

    def build_model(self, task: TwoStepTask) -> nn.Module:
        """The model, initialised from ``model_seed`` (it seeds torch's global generator)."""
        torch.manual_seed(self.model_seed)
        return MODELS[self.model.name][1](self.model, task)

    def model_at(self, run: Run, step: int, task: TwoStepTask) -> nn.Module:
        """The model of a stored ``run`` of this experiment as it was at ``step``, in evaluation mode, on the CPU."""
        with torch.random.fork_rng(devices=[]):
            model = self.build_model(task)
        model.load_state_dict(run.weights(step))
        return model.eval()


def _task_config(name: str, like: TwoStepConfig, changes: dict) -> TwoStepConfig:
    """The configuration of the task ``name``: ``changes``, and whatever else ``like`` has that it does not redefine."""
    kind = TASKS[name].config_class
    if kind is type(like):
        return replace(like, name=name, **changes)
    redefined = {field for some in {kind, type(like)} - {TwoStepConfig} for field in some.__annotations__}
    shared = {f.name: getattr(like, f.name) for f in fields(TwoStepConfig) if f.name not in redefined}
    return kind(**{**shared, **changes, "name": name})


OnEvaluation = Callable[[pd.DataFrame], None]


def run(
    experiment: Experiment,
    store: RunStore | None = None,
    on_evaluation: OnEvaluation | None = None,
    weights_every: int = 0,
) -> Run:
    """The stored run of ``experiment``, trained first if there is none.

    ``on_evaluation`` is called with the history so far after every evaluation, or once with all of it if it was stored.
    With ``weights_every`` the run also keeps its weights: every so many steps, and after the last. The training itself
    is the same, bit for bit.
    """
    store = store or RunStore()
    on_evaluation = on_evaluation or (lambda history: None)
    stored = store.load(stored_config(experiment, weights_every))
    if stored is not None:
        on_evaluation(stored.history)
        return stored
    history, meta, weights = _train(experiment, on_evaluation, weights_every)
    if weights_every:
        store.save(experiment.config(), history, meta)  # whoever wants no weights finds it, too
    return store.save(stored_config(experiment, weights_every), history, meta, weights)


def stored_config(experiment: Experiment, weights_every: int = 0) -> dict:
    """What a run is stored under: the experiment's configuration, and ``weights_every`` if weights are kept."""
    if not check_whole("weights_every", weights_every):
        return experiment.config()
    return experiment.config() | {"weights_every": weights_every}


def device() -> torch.device:
    """The device that runs train on: the first GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def _quiet_surroundings(where: torch.device) -> Iterator[None]:
    """One CPU thread, so that histories are the same bit for bit and cores take whole runs; and restore what was."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        if where.type == "cpu":
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _train(
    experiment: Experiment, on_evaluation: OnEvaluation, weights_every: int
) -> tuple[pd.DataFrame, dict, dict[int, dict[str, Tensor]]]:
    """Train from scratch: the history, the meta data to keep with it, and the weights by step."""
    settings, where = experiment.training, device()
    weights: dict[int, dict[str, Tensor]] = {}
    started = time.monotonic()
    with _quiet_surroundings(where):
        task = experiment.build_task(where)
        model = experiment.build_model(task).to(where)
        data = torch.Generator(where).manual_seed(experiment.data_seed)
        loss = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
        attention = Attention(model, experiment)
        test_batches = _test_batches(task, settings.test_samples, where)

        def before_step(step: int) -> None:
            attention.set_scale(step)
            if weights_every and step % weights_every == 0:
                weights[step] = _copy_of(model)

        outcome = train(
            model=with_precision(model, settings.precision),
            batches=((batch.images, batch.labels) for batch in task.stream(data, settings.batch_size)),
            loss=loss,
            optimizer=adamw(model, settings.learning_rate, settings.weight_decay),
            learning_rate=learning_rate_of(settings),
            steps=settings.steps,
            evaluate=lambda model: (
                _evaluate(model, test_batches, loss) | attention.measure(test_batches[0].images[:200])
            ),
            evaluate_every=settings.evaluate_every,
            before_step=before_step,
            before_update=attention.before_update,
            on_evaluation=on_evaluation,
        )
        if weights_every:
            weights[int(outcome.history["step"].iloc[-1])] = _copy_of(model)
    meta = {
        "status": outcome.status,
        "wall_seconds": round(time.monotonic() - started, 2),
        "device": where.type,
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "git_commit": provenance.git_commit(),
        "data_sha256": {source: images.checksum(source) for source in experiment.sources()},
    }
    return outcome.history, meta, weights


def _copy_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}


class Attention:
    """The attention of a model in training: applies the experiment's fix to it, and measures it at evaluations.

    Without attention (ResNet9) there is nothing to do or to measure.
    """

    def __init__(self, model: nn.Module, experiment: Experiment):
        self.model, self.fix, self.settings = model, experiment.fix, experiment.training
        self.layers = model.attention_layers() if isinstance(model, ViT) else []
        self.base_scales = [layer.weights.scale.clone() for layer in self.layers]
        self.gradient_sizes: dict[str, Tensor] = {}
        self.set_scale(0)

    def set_scale(self, step: int) -> None:
        """Before a step: the scale that the schedule asks for (Heat Treatment)."""
        factor = heat(step, self.settings.steps, self.fix.scale_start, self.fix.scale_schedule)
        for layer, base in zip(self.layers, self.base_scales, strict=True):
            torch.mul(base, factor, out=layer.weights.scale)

    def before_update(self, step: int) -> None:
        """Between backward and update: note the gradients' sizes before an evaluation, and scale them if asked to."""
        gradients = [layer.split_qkv(layer.qkv.weight.grad) for layer in self.layers]
        if gradients and (step + 1) % self.settings.evaluate_every == 0:
            sizes = torch.stack([gradient.abs().mean(dim=(1, 2, 3)) for gradient in gradients]).mean(dim=0)
            self.gradient_sizes = dict(zip(("gradient_q", "gradient_k", "gradient_v"), sizes, strict=True))
        if self.fix.gradient_scaling != "none":
            for gradient in gradients:
                gradient.copy_(GRADIENT_SCALINGS[self.fix.gradient_scaling](gradient))

    def measure(self, images: Tensor) -> dict[str, float]:
        """Mean normalised entropy over all rows, heads and layers, and the latest mean absolute gradients."""
        if not self.layers:
            return {}
        with record({str(i): layer.weights for i, layer in enumerate(self.layers)}) as trace:
            self.model(images)
        entropy = torch.stack([normalised_entropy(weights).mean() for weights in trace.values()]).mean()
        sizes = {name: float(size) for name, size in self.gradient_sizes.items()}
        return {"attention_entropy": float(entropy)} | sizes


def learning_rate_of(settings: TrainingConfig) -> Callable[[int], float]:
    """The learning rate as a function of the step."""
    return partial(
        LEARNING_RATE_SCHEDULES[settings.learning_rate_schedule],
        steps=settings.steps,
        warmup=settings.warmup_steps,
        peak=settings.learning_rate,
        edge=settings.edge_learning_rate,
    )


def _test_batches(task: TwoStepTask, n: int, where: torch.device) -> list[Batch]:
    generator = torch.Generator(where).manual_seed(EVALUATION_SEED)
    sizes = [1000] * (n // 1000) + [n % 1000] * (n % 1000 > 0)
    return [task.sample(generator, size, "test") for size in sizes]


def _evaluate(model: nn.Module, batches: list[Batch], loss: Callable[[Tensor, Tensor], Tensor]) -> dict[str, float]:
    """Loss (label-smoothed, as in training) and accuracy over all test samples."""
    n = sum(len(batch.labels) for batch in batches)
    outputs = [(model(batch.images), batch.labels) for batch in batches]
    total_loss = sum(loss(logits, labels) * len(labels) for logits, labels in outputs)
    correct = sum((logits.argmax(dim=1) == labels).sum() for logits, labels in outputs)
    return {"test_loss": float(total_loss) / n, "test_accuracy": float(correct) / n}
