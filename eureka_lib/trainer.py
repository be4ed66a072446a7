"""How experiments are trained: models, data, optimiser and measurements put together, once, for one run or for a stack.

:func:`train` takes experiments that differ in their own affairs only (seeds, learning rates, schedules) and trains them
as one stack, or a single one by itself. A long training saves its state now and then, and goes on from there if it was
interrupted.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor, nn

from eureka_lib import provenance
from eureka_lib.analysis.record import normalised_entropy, record
from eureka_lib.models.vit import ViT
from eureka_lib.tasks import images
from eureka_lib.tasks.two_step import Batch, TwoStepTask
from eureka_lib.training import resume
from eureka_lib.training.gradients import GRADIENT_SCALINGS
from eureka_lib.training.loop import Loss, Outcome, Trainee, one_by_one, train_together
from eureka_lib.training.optimizer import adamw
from eureka_lib.training.precision import with_precision
from eureka_lib.training.schedules import LEARNING_RATE_SCHEDULES, heat
from eureka_lib.training.stack import Stack

if TYPE_CHECKING:
    from eureka_lib.experiment import Experiment, TrainingConfig

EVALUATION_SEED = 20240721  # draws the test samples, the same ones for every run
EVALUATION_CHUNK = 500  # test images that go through the network at once: more leave a CPU's cache
SAVE_SECONDS = 60  # between two saved states of a training
ALONE = threading.RLock()  # torch's random generator is one for all threads of a process: they train in turn
OnEvaluation = Callable[[pd.DataFrame], None]


def device() -> torch.device:
    """The device that runs train on: the first GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def quiet_surroundings(where: torch.device) -> Iterator[None]:
    """One CPU thread, so that histories are the same bit for bit and cores take whole runs; and restore what was."""
    with ALONE, torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        threads = torch.get_num_threads()
        if where.type == "cpu":
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


Trained = tuple[pd.DataFrame, dict, dict[int, dict[str, Tensor]]]  # history, meta data, weights by step


def train(
    experiments: Sequence["Experiment"], unfinished: Path, on_evaluation: OnEvaluation, weights_every: int
) -> list[Trained]:
    """Train as one stack: for each experiment its history, the meta data to keep with it, and the weights by step.

    A training alone is saved in the file ``unfinished`` every ``SAVE_SECONDS``, and continued from there.
    """
    first, where, started = experiments[0], device(), time.monotonic()
    settings, loss = first.training, nn.CrossEntropyLoss(label_smoothing=first.training.label_smoothing)
    with quiet_surroundings(where):
        task = first.build_task(where)
        test_batches = _test_batches(task, settings.test_samples, where)
        trainings = [Training(e, task, test_batches, loss, on_evaluation, weights_every) for e in experiments]
        forward = one_by_one
        if len(trainings) > 1:
            forward = Stack(trainings[0].trainee.model)
        elif not weights_every:
            trainings[0].continue_from(unfinished)
        trainees = [training.trainee for training in trainings]
        outcomes = train_together(trainees, loss, settings.steps, settings.evaluate_every, forward)
        for training, outcome in zip(trainings, outcomes, strict=True):
            training.finish(outcome)
    meta = {
        "wall_seconds": round((time.monotonic() - started) / len(experiments), 2),
        "stacked_with": len(experiments) - 1,
        "device": where.type,
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "git_commit": provenance.git_commit(),
        "data_sha256": {source: images.checksum(source) for source in first.sources()},
    }
    return [
        (outcome.history, {"status": outcome.status, **meta}, training.weights)
        for training, outcome in zip(trainings, outcomes, strict=True)
    ]


class Training:
    """One experiment's training under way: its trainee, the weights it keeps by step, and how it is resumed."""

    def __init__(
        self,
        experiment: "Experiment",
        task: TwoStepTask,
        test_batches: list[Batch],
        loss: Loss,
        on_evaluation: OnEvaluation,
        weights_every: int,
    ):
        settings, self.where = experiment.training, test_batches[0].images.device
        self.weights_every = weights_every
        self.experiment, self.task = experiment, task
        self.weights: dict[int, dict[str, Tensor]] = {}
        self.model = experiment.build_model(task).to(self.where)
        self.attention = Attention(self.model, experiment)
        self.trainee = Trainee(
            model=with_precision(self.model, settings.precision),
            batches=self.batches(0),
            optimizer=adamw(self.model, settings.learning_rate, settings.weight_decay),
            learning_rate=learning_rate_of(settings),
            evaluate=lambda model: (
                _evaluate(model, test_batches, loss) | self.attention.measure(test_batches[0].images[:200])
            ),
            before_step=self.before_step,
            before_update=self.attention.before_update,
            on_evaluation=on_evaluation,
        )

    def batches(self, seen: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The training batches after the first ``seen``."""
        data = torch.Generator(self.where).manual_seed(self.experiment.data_seed)
        stream = self.task.stream(data, self.experiment.training.batch_size)
        return ((batch.images, batch.labels) for batch in islice(stream, seen, None))

    def before_step(self, step: int) -> None:
        """Set the attention's scale, and keep the weights if it is time."""
        self.attention.set_scale(step)
        if self.weights_every and step % self.weights_every == 0:
            self.keep_weights(step)

    def keep_weights(self, step: int) -> None:
        """Copy the model's state to the CPU."""
        state = self.model.state_dict().items()
        self.weights[step] = {name: value.detach().to("cpu", copy=True) for name, value in state}

    def continue_from(self, path: Path) -> None:
        """Restore the state saved at ``path``, if there is one, and save it there from now on, now and then."""
        facts = {"config": self.experiment.config(), "versions": provenance.versions()}
        on_evaluation, saved = self.trainee.on_evaluation, time.monotonic()

        def save_if_due(history: pd.DataFrame) -> None:
            nonlocal saved
            on_evaluation(history)
            if time.monotonic() - saved >= SAVE_SECONDS:
                resume.save(path, self.trainee, facts, self.attention.gradient_sizes)
                saved = time.monotonic()

        sizes = resume.restore(path, self.trainee, facts)
        if sizes is not None:
            self.attention.gradient_sizes = sizes
            self.trainee.batches = self.batches(seen=self.trainee.rows[-1]["step"])
            print(f"continuing from step {self.trainee.rows[-1]['step']}, saved in {path}", flush=True)
        self.trainee.on_evaluation = save_if_due

    def finish(self, outcome: Outcome) -> None:
        """After the last step: keep the last weights."""
        if self.weights_every:
            self.keep_weights(int(outcome.history["step"].iloc[-1]))


class Attention:
    """The attention of a model in training: applies the experiment's fix to it, and measures it at evaluations.

    Without attention (ResNet9) there is nothing to do or to measure.
    """

    def __init__(self, model: nn.Module, experiment: "Experiment"):
        self.model, self.fix, self.settings = model, experiment.fix, experiment.training
        self.layers = model.attention_layers() if isinstance(model, ViT) else []
        self.base_scales = [layer.weights.scale.clone() for layer in self.layers]
        self.gradient_sizes: dict[str, Tensor] = {}  # the latest, before they were rescaled
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


def learning_rate_of(settings: "TrainingConfig") -> Callable[[int], float]:
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


def _evaluate(model: nn.Module, batches: list[Batch], loss: Loss) -> dict[str, float]:
    """Loss (label-smoothed, as in training) and accuracy over all test samples."""
    n = sum(len(batch.labels) for batch in batches)
    outputs = [
        (torch.cat([model(part) for part in batch.images.split(EVALUATION_CHUNK)]), batch.labels) for batch in batches
    ]
    total_loss = sum(loss(logits, labels) * len(labels) for logits, labels in outputs)
    correct = sum((logits.argmax(dim=1) == labels).sum() for logits, labels in outputs)
    return {"test_loss": float(total_loss) / n, "test_accuracy": float(correct) / n}
