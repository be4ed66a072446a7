"""How an experiment is trained: model, data, optimiser, treatment and measurements put together.

A long training saves its state now and then, and goes on from there if it was interrupted.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from eureka_lib import provenance
from eureka_lib.experiments.experiment import Experiment, TrainingConfig
from eureka_lib.experiments.treatment import AttentionMeasure, Treatment
from eureka_lib.tasks.protocol import Pair, Task
from eureka_lib.training import optimizer, resume
from eureka_lib.training.loop import Trainer
from eureka_lib.training.precision import with_precision
from eureka_lib.training.schedules import LEARNING_RATE_SCHEDULES

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


def train(
    experiment: Experiment, unfinished: Path, on_evaluation: OnEvaluation, weights_every: int
) -> tuple[pd.DataFrame, dict, dict[int, dict[str, Tensor]]]:
    """Train: the history, the meta data to keep with it, and the weights by step, if they are to be kept.

    A training that keeps no weights is saved in the file ``unfinished`` every ``SAVE_SECONDS``, and continued there.
    """
    where, started = device(), time.monotonic()
    settings = experiment.training
    with quiet_surroundings(where):
        task = experiment.build_task(where)
        training = Training(experiment, task, task.test_set(settings.test_samples), on_evaluation, weights_every)
        if not weights_every:
            training.continue_from(unfinished)
        history, status = training.trainer.fit(settings.steps, settings.evaluate_every)
        if weights_every:
            training.keep_weights(int(history["step"].iloc[-1]))
    meta = {
        "status": status,
        "wall_seconds": round(time.monotonic() - started, 2),
        "device": where.type,
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "git_commit": provenance.git_commit(),
        "data_sha256": experiment.checksums(),
    }
    return history, meta, training.weights


class Training:
    """One experiment's training under way: its trainer, the weights it keeps by step, and how it is resumed."""

    def __init__(
        self,
        experiment: Experiment,
        task: Task,
        test_set: list[Pair],
        on_evaluation: OnEvaluation = lambda history: None,
        weights_every: int = 0,
    ):
        settings, self.where = experiment.training, test_set[0][0].device
        self.experiment, self.task, self.weights_every = experiment, task, weights_every
        self.weights: dict[int, dict[str, Tensor]] = {}
        self.model = experiment.build_model(task).to(self.where)
        self.treatment = Treatment(self.model, experiment.fix, settings.steps)
        self.measure = AttentionMeasure(self.model)
        loss, seen = task.loss(settings.label_smoothing), test_set[0][0][:MEASURED_SAMPLES]
        built = optimizer.build(settings.optimizer, self.model, settings.learning_rate, settings.weight_decay)
        self.treatment.scale_rate(built)
        self.trainer = Trainer(
            model=with_precision(self.model, settings.precision),
            batches=self.batches(0),
            loss=loss,
            optimizer=built,
            learning_rate=learning_rate_of(settings),
            evaluate=lambda model: task.evaluate(model, test_set, loss) | self.measure.row(seen),
            before_step=self.before_step,
            before_update=self.before_update,
            on_evaluation=on_evaluation,
        )

    def batches(self, seen: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The training batches after the first ``seen``."""
        data = torch.Generator(self.where).manual_seed(self.experiment.data_seed)
        return islice(self.task.pairs(data, self.experiment.training.batch_size), seen, None)

    def before_step(self, step: int) -> None:
        """Set the attention's scale, and keep the weights if it is time."""
        self.treatment.set_scale(step)
        if self.weights_every and step % self.weights_every == 0:
            self.keep_weights(step)

    def before_update(self, step: int) -> None:
        """See the gradients before an evaluation, and let the treatment scale them."""
        if (step + 1) % self.experiment.training.evaluate_every == 0:
            self.measure.see_gradients()
        self.treatment.scale_gradients()

    def keep_weights(self, step: int) -> None:
        """Copy the model's state to the CPU."""
        state = self.model.state_dict().items()
        self.weights[step] = {name: value.detach().to("cpu", copy=True) for name, value in state}

    def continue_from(self, path: Path) -> None:
        """Restore the state saved at ``path``, if there is one, and save it there from now on, now and then."""
        trainer, saved = self.trainer, time.monotonic()
        facts = {"config": self.experiment.config(), "versions": provenance.versions()}
        on_evaluation = trainer.on_evaluation

        def save_if_due(history: pd.DataFrame) -> None:
            nonlocal saved
            on_evaluation(history)
            if time.monotonic() - saved >= SAVE_SECONDS:
                resume.save(path, trainer, facts, self.measure.gradient_sizes)
                saved = time.monotonic()

        sizes = resume.restore(path, trainer, facts)
        if sizes is not None:
            self.measure.gradient_sizes = sizes
            trainer.batches = self.batches(seen=trainer.rows[-1]["step"])
            print(f"continuing from step {trainer.rows[-1]['step']}, saved in {path}", flush=True)
        trainer.on_evaluation = save_if_due


def learning_rate_of(settings: TrainingConfig) -> Callable[[int], float]:
    """The learning rate as a function of the step."""
    return partial(
        LEARNING_RATE_SCHEDULES[settings.learning_rate_schedule],
        steps=settings.steps,
        warmup=settings.warmup_steps,
        peak=settings.learning_rate,
        edge=settings.edge_learning_rate,
    )
