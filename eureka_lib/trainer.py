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
from eureka_lib.tasks.frame import Loss, Pair, Task
from eureka_lib.training import optimizer, resume
from eureka_lib.training.gradients import GRADIENT_SCALINGS
from eureka_lib.training.loop import Outcome, Trainee, one_by_one, train_together
from eureka_lib.training.precision import with_precision
from eureka_lib.training.schedules import LEARNING_RATE_SCHEDULES, heat
from eureka_lib.training.stack import Stack

if TYPE_CHECKING:
    from eureka_lib.experiment import Experiment, TrainingConfig

MEASURED_SAMPLES = 200  # of the first test batch, in which the attention is measured at every evaluation
SAVE_SECONDS = 60  # between two saved states of a training
ALONE = threading.RLock()  # torch's random generator is one for all threads of a process: they train in turn
OnEvaluation = Callable[[pd.DataFrame], None]


def device() -> torch.device:
    """The device that runs train on: the first GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def quiet_surroundings(where: torch.device) -> Iterator[None]:
    """One CPU thread, so that histories are the same bit for bit and cores take whole runs; and restore what was.

    Numbers below 1e-38 count as 0 meanwhile: sharp attention has many of them, and a processor takes a hundred times
    as long for each.
    """
    with ALONE, torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        threads, flushes = torch.get_num_threads(), flushes_denormals()
        if where.type == "cpu":
            torch.set_num_threads(1)
            torch.set_flush_denormal(True)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_flush_denormal(flushes)


def flushes_denormals() -> bool:
    """Whether this thread takes numbers below the smallest normal one for 0; torch sets that, but does not tell."""
    return (torch.tensor(torch.finfo(torch.float32).tiny) / 4).item() == 0


Trained = tuple[pd.DataFrame, dict, dict[int, dict[str, Tensor]]]  # history, meta data, weights by step


def train(
    experiments: Sequence["Experiment"], unfinished: Path, on_evaluation: OnEvaluation, weights_every: int
) -> list[Trained]:
    """Train as one stack: for each experiment its history, the meta data to keep with it, and the weights by step.

    A training alone is saved in the file ``unfinished`` every ``SAVE_SECONDS``, and continued from there.
    """
    first, where, started = experiments[0], device(), time.monotonic()
    settings = first.training
    with quiet_surroundings(where):
        task = first.build_task(where)
        test_set, loss = task.test_set(settings.test_samples), task.loss(settings.label_smoothing)
        trainings = [Training(e, task, test_set, loss, on_evaluation, weights_every) for e in experiments]
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
        "data_sha256": first.checksums(),
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
        task: Task,
        test_set: list[Pair],
        loss: Loss,
        on_evaluation: OnEvaluation,
        weights_every: int,
    ):
        settings, self.where = experiment.training, test_set[0][0].device
        self.weights_every = weights_every
        self.experiment, self.task = experiment, task
        self.weights: dict[int, dict[str, Tensor]] = {}
        self.model = experiment.build_model(task).to(self.where)
        self.attention = Attention(self.model, experiment)
        self.trainee = Trainee(
            model=with_precision(self.model, settings.precision),
            batches=self.batches(0),
            optimizer=self.attention.optimizer(),
            learning_rate=learning_rate_of(settings),
            evaluate=lambda model: (
                task.evaluate(model, test_set, loss) | self.attention.measure(test_set[0][0][:MEASURED_SAMPLES])
            ),
            before_step=self.before_step,
            before_update=self.attention.before_update,
            on_evaluation=on_evaluation,
        )

    def batches(self, seen: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The training batches after the first ``seen``."""
        data = torch.Generator(self.where).manual_seed(self.experiment.data_seed)
        return islice(self.task.pairs(data, self.experiment.training.batch_size), seen, None)

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

    Whatever has attention takes its scale by ``set_scale_factor``; a vision transformer's is measured, too. Without
    attention (ResNet9) there is nothing to do.
    """

    def __init__(self, model: nn.Module, experiment: "Experiment"):
        self.model, self.fix, self.settings = model, experiment.fix, experiment.training
        self.layers = model.attention_layers() if hasattr(model, "attention_layers") else []
        self.set_factor = getattr(model, "set_scale_factor", lambda factor: None)
        self.gradient_sizes: dict[str, Tensor] = {}  # the latest, before they were rescaled
        self.set_scale(0)

    def optimizer(self) -> torch.optim.Optimizer:
        """The experiment's optimiser for the model, with the learning rate of W_Q and W_K that it asks for."""
        settings, factor = self.settings, self.fix.query_key_rate
        made = optimizer.build(settings.optimizer, self.model, settings.learning_rate, settings.weight_decay)
        if factor != 1:
            optimizer.scale_rate(made, self.model.query_key_weights(), factor)
        return made

    def set_scale(self, step: int) -> None:
        """Before a step: the scale that the schedule asks for (Heat Treatment)."""
        self.set_factor(heat(step, self.settings.steps, self.fix.scale_start, self.fix.scale_schedule))

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
