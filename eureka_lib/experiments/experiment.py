"""What is trained: tasks and models by name, and the settings of a run, as one value.

An :class:`Experiment` says everything that decides a run's result. It is trained in :mod:`eureka_lib.experiments.run`.
"""

from collections import ChainMap
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import torch
from torch import nn

from eureka_lib.attention.gradient_scaling import GRADIENT_SCALINGS
from eureka_lib.attention.heat import SCALE_SCHEDULES
from eureka_lib.attention.registry import METHODS, Method
from eureka_lib.models.gpt2 import InContextGPT2, InContextGPT2Config
from eureka_lib.models.resnet import ResNet9, ResNetConfig
from eureka_lib.models.roberta import Roberta, RobertaConfig
from eureka_lib.models.vit import ViT, ViTConfig
from eureka_lib.provenance import is_own, source_of
from eureka_lib.store import Run, key_of
from eureka_lib.tasks.images import SOURCES
from eureka_lib.tasks.in_context import InContextTask
from eureka_lib.tasks.language import MaskedLanguageTask
from eureka_lib.tasks.protocol import Task
from eureka_lib.tasks.two_step import TwoStepConfig
from eureka_lib.tasks.variants import TASKS
from eureka_lib.training.optimizer import OPTIMIZERS
from eureka_lib.training.precision import PRECISIONS
from eureka_lib.training.schedules import LEARNING_RATE_SCHEDULES
from eureka_lib.validation import check_choice, check_real, check_whole

OTHER_TASKS = {"in_context": InContextTask, "masked_language": MaskedLanguageTask}
ALL_TASKS: Mapping[str, type[Task]] = ChainMap(TASKS, OTHER_TASKS)  # follows what is added to TASKS
MODEL_CONFIGS = {kind.name: kind for kind in (ViTConfig, ResNetConfig, InContextGPT2Config, RobertaConfig)}
# By name: the tasks that a model is for, and how it is built from its configuration and the task.
MODELS: dict[str, tuple[Collection[str], Callable[[Any, Any], nn.Module]]] = {
    "vit": (TASKS, lambda config, task: ViT(config, task.image_size, task.n_classes)),
    "resnet9": (TASKS, lambda config, task: ResNet9(config, task.n_classes)),
    "gpt2": (["in_context"], lambda config, task: InContextGPT2(config, task.config.dimensions, task.config.points)),
    "roberta": (["masked_language"], lambda config, task: Roberta(config, task.config.vocabulary, task.config.tokens)),
}


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
    optimizer: str = "adamw"
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
        check_choice("optimizer", self.optimizer, OPTIMIZERS)


@dataclass(frozen=True)
class FixConfig:
    """What is done to the attention during training; the defaults do nothing.

    Heat Treatment is ``scale_schedule="half_cosine"`` with ``scale_start=24``: from s = 3 to 0.125 in the paper.
    A "constant" schedule with another start is a fixed temperature.
    """

    scale_schedule: str = "constant"  # shape of the scale over training, a name in SCALE_SCHEDULES
    scale_start: float = 1.0  # the attention's scale at the first step, in multiples of the model's
    gradient_scaling: str = "none"  # or a name in GRADIENT_SCALINGS
    query_key_rate: float = 1.0  # learning rate of W_Q and W_K alone, in multiples of the others'

    def __post_init__(self):
        check_choice("scale_schedule", self.scale_schedule, SCALE_SCHEDULES)
        check_real("scale_start", self.scale_start, 1e-6)
        check_choice("gradient_scaling", self.gradient_scaling, ["none", *GRADIENT_SCALINGS])
        check_real("query_key_rate", self.query_key_rate, 0)


@dataclass(frozen=True)
class Experiment:
    """Everything that decides a run's result. ``vary`` gives a changed copy; nothing is changed in place."""

    task: Any = field(default_factory=TwoStepConfig)  # the configuration of a task in ALL_TASKS
    model: Any = field(default_factory=ViTConfig)  # the configuration of a model in MODELS that is for it
    training: TrainingConfig = field(default_factory=TrainingConfig)
    fix: FixConfig = field(default_factory=FixConfig)
    model_seed: int = 0  # initial weights, stochastic depth
    data_seed: int = 0  # training samples and their order

    def __post_init__(self):
        kind = ALL_TASKS[check_choice("task", self.task.name, ALL_TASKS)].config_class
        if type(self.task) is not kind:
            raise TypeError(f"task {self.task.name} takes a {kind.__name__}, got {self.task}")
        check_choice("model", self.model.name, MODELS)
        check_choice(f"task for model {self.model.name}", self.task.name, MODELS[self.model.name][0])
        check_whole("model_seed", self.model_seed)
        check_whole("data_seed", self.data_seed)
        if self.fix != FixConfig() and not hasattr(self.model, "attention"):
            raise ValueError(
                f"{self.fix} treats attention, of which {self.model.name} has none; allowed is FixConfig()"
            )
        for name in ("gradient_scaling", "query_key_rate"):
            value, usual = getattr(self.fix, name), getattr(FixConfig(), name)
            if value != usual and not isinstance(self.model, ViTConfig):
                raise ValueError(f"{name} {value!r} is for a ViT, not {self.model.name}; allowed is {usual!r}")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Experiment":
        """The experiment with that :meth:`config`; ValueError for an unknown name or code of one's own."""
        if own := config.get("own"):
            raise ValueError(f"the run is made with code that the library does not have: its {', '.join(own)}")
        task, model = (config[part]["name"] for part in ("task", "model"))
        kinds = {
            "task": ALL_TASKS[check_choice("task", task, ALL_TASKS)].config_class,
            "model": MODEL_CONFIGS[check_choice("model", model, MODELS)],
            "training": TrainingConfig,
            "fix": FixConfig,
        }
        parts = {part: kind(**config[part]) for part, kind in kinds.items()}
        return cls(**parts, model_seed=config["model_seed"], data_seed=config["data_seed"])

    def vary(self, **changes) -> "Experiment":
        """A copy with the named fields changed, wherever they live: ``vary(attention="norm_softmax", steps=100)``.

        ``seed`` sets model and data seed at once; ``task`` changes to the image task of that name, with its own sources
        if it has any. Raises ValueError for a name that no part has, with the nearest one that exists, and whatever the
        changed part raises for a bad value.
        """
        if "seed" in changes:
            seed = check_whole("seed", changes.pop("seed"))
            changes = {"model_seed": seed, "data_seed": seed, **changes}
        parts = {name: getattr(self, name) for name in ("task", "model", "training", "fix")}
        if "task" in changes:
            check_choice("task to change from", self.task.name, TASKS)
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
        """The experiment as nested dictionaries of plain values, and the source of what is not the library's own."""
        return asdict(self) | ({"own": own} if (own := self._own()) else {})

    @property
    def key(self) -> str:
        """The run's name in the store: a hash of all settings that do not have their default value, and of ``own``.

        So a setting that the library gets later changes no key, and an attention, task or image source of one's own
        that is changed under its name gets another key.
        """
        parts = {name: _unusual(getattr(self, name)) for name in ("task", "model", "training", "fix")}
        return key_of({**parts, "model_seed": self.model_seed, "data_seed": self.data_seed, "own": self._own()})

    def _own(self) -> dict[str, str]:
        """By role, the source code of what the experiment takes by name and the library does not have itself."""
        method = METHODS.get(getattr(self.model, "attention", None), Method())
        used = {"task": ALL_TASKS[self.task.name], "attention": method.normaliser, "query and key": method.prepare}
        used |= {f.name: SOURCES.get(getattr(self.task, f.name)) for f in fields(self.task) if "_source" in f.name}
        return {role: source_of(thing) for role, thing in used.items() if thing is not None and is_own(thing)}

    def checksums(self) -> dict[str, str]:
        """SHA-256 of each data source that the task draws from, by its name."""
        return ALL_TASKS[self.task.name].checksums(self.task)

    def build_task(self, device: torch.device | str = "cpu") -> Task:
        """The task, with its data on ``device``."""
        return ALL_TASKS[self.task.name](self.task, device)

    def build_model(self, task: Task) -> nn.Module:
        """The model, initialised from ``model_seed`` (it seeds torch's global generator)."""
        torch.manual_seed(self.model_seed)
        return MODELS[self.model.name][1](self.model, task)

    def model_at(self, run: Run, step: int, task: Task) -> nn.Module:
        """The model of a stored ``run`` of this experiment as it was at ``step``, in evaluation mode, on the CPU."""
        with torch.random.fork_rng(devices=[]):
            model = self.build_model(task)
        model.load_state_dict(run.weights(step))
        return model.eval()


def _unusual(part: Any) -> dict[str, Any]:
    """A part's name, and its fields that do not have their default value."""
    named = {"name": part.name} if hasattr(part, "name") else {}
    return named | {f.name: value for f in fields(part) if (value := getattr(part, f.name)) != f.default}


def _task_config(name: str, like: TwoStepConfig, changes: dict) -> TwoStepConfig:
    """The configuration of the task ``name``: ``changes``, and whatever else ``like`` has that it does not redefine."""
    kind = TASKS[name].config_class
    if kind is type(like):
        return replace(like, name=name, **changes)
    redefined = {field for some in {kind, type(like)} - {TwoStepConfig} for field in some.__annotations__}
    shared = {f.name: getattr(like, f.name) for f in fields(TwoStepConfig) if f.name not in redefined}
    return kind(**{**shared, **changes, "name": name})
