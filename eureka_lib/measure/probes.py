"""Probes of stored runs along their training: which are taken, on all cores, as one table.

A :class:`Subject` is a run that kept its weights. :func:`probe` takes a list of :class:`Job` and returns one table, a
row per probe; figures and rules take the :func:`answers` in it to one question, a key of ``QUESTIONS``.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from loky import cpu_count
from threadpoolctl import threadpool_limits

from eureka_lib.analysis import probes
from eureka_lib.analysis.eureka import Moment
from eureka_lib.analysis.probes import OUTPUT, Place, Samples
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.experiments.pools import InProcess, Workers
from eureka_lib.measure.runs import moment_of
from eureka_lib.progress import Progress
from eureka_lib.store import Run
from eureka_lib.tasks.two_step import CELL_NAMES, Batch, TwoStepTask

SEEDS = {"train": 31, "test": 32}  # draw the samples that probes learn from and are judged by, the same for all
CONTROL_SEED = 33
GROUPS = {  # what is asked for, as the figures show it: the mean over cells that play one role
    "indicators": ("top left", "bottom right"),
    "targets": ("top right", "bottom left"),
    "which target": ("which target",),
    "label": ("label",),
}
FEW = 2000  # samples of all jobs, which are probed in less time than workers take to start


@dataclass(frozen=True)
class Subject:
    """A stored run that kept its weights, and its experiment."""

    experiment: Experiment
    run: Run

    @property
    def seed(self) -> int:
        """Of the initial weights."""
        return self.run.config["model_seed"]

    @property
    def moment(self) -> Moment:
        """Its Eureka-moment."""
        return moment_of(self.run)

    @property
    def halfway(self) -> int:
        """The kept step nearest to half of the time until the EM, or until the end if there is none."""
        return min(self.run.weight_steps, key=lambda step: abs(step - self.moment.step / 2))

    @property
    def end(self) -> int:
        """The last kept step."""
        return self.run.weight_steps[-1]

    @property
    def phases(self) -> dict[str, int]:
        """The three steps that are looked at closely, by their names in the figures."""
        return {"start": 0, "half-way": self.halfway, "end": self.end}

    def checkpoints(self, n: int) -> list[int]:
        """``n`` kept steps, as evenly spaced as they are, first and last among them, and those around the EM.

        All kept steps if there are no more than ``n``. Around the EM are the three before it, itself and the one after.
        """
        kept = self.run.weight_steps
        even = {kept[round(i)] for i in np.linspace(0, len(kept) - 1, min(n, len(kept)))}
        if not self.moment.happened:
            return sorted(even)
        at = int(np.searchsorted(kept, self.moment.step))
        return sorted(even | set(kept[max(at - 3, 0) : at + 2]))

    @property
    def title(self) -> str:
        """Its seed and its EM, in words."""
        moment = self.moment
        what = f"EM at step {moment.step}" if moment.happened else f"no EM by step {moment.step}"
        return f"seed {self.seed}: {what}"


def early_and_late(subjects: Sequence[Subject]) -> list[Subject]:
    """Two runs to show beside each other: a typical one that jumps, and the last to jump, or one that never does.

    The typical one has the median EM step of those that jump (the first run if none does); one run alone is returned
    alone.
    """
    ordered = sorted(subjects, key=lambda s: (not s.moment.happened, s.moment.step))
    jumping = sum(s.moment.happened for s in ordered)
    typical = ordered[max(jumping - 1, 0) // 2]
    return [typical] if typical is ordered[-1] else [typical, ordered[-1]]


@dataclass(frozen=True)
class Probes:
    """Which probes are taken at one step: of which kind, at which places, for what, and with which checks."""

    probe: str = "linear"
    everywhere: bool = False  # at every part, not only the blocks' outputs
    last: bool = False  # of the last layer alone
    asked: tuple[str, ...] = (*CELL_NAMES, "which target", "label")
    control: bool = False
    code: bool = False


QUESTIONS = {
    "training": (Probes(), Probes("MLP", asked=("which target",))),
    "code": (Probes(last=True, code=True), Probes("MLP", last=True, asked=("which target",), code=True)),
    "map": (Probes(everywhere=True),),
    "checks": (Probes(last=True, control=True), Probes("MLP", last=True, control=True)),
    "claims": (Probes(last=True, asked=("top left", "bottom right", "which target")),),
    "forecast": (Probes(last=True, asked=("which target",)),),
}


@dataclass(frozen=True)
class Job:
    """Questions, names in ``QUESTIONS``, to one subject at one kept step."""

    subject: Subject
    step: int
    questions: tuple[str, ...]


def probe(jobs: Sequence[Job], samples: int) -> pd.DataFrame:
    """Do all ``jobs`` on all cores, each probe with ``samples`` of the train split to learn from and of the test split.

    A row per probe: question, seed, step; layer, part and tokens; asked, probe, its held-out accuracy and that of the
    majority class; and, where it is a part of the question, the accuracy on the control task (control) and the lengths
    of the codes in bits (online, uniform). Same jobs, same table.
    """
    with InProcess() if len(jobs) * samples <= FEW else Workers(min(len(jobs), cpu_count())) as pool:
        futures = [pool.submit(answer, job, samples) for job in jobs]
        _follow(futures)
    return pd.concat([future.result() for future in futures], ignore_index=True)


def _follow(futures: Sequence[Future]) -> None:
    """Show progress until all are done; what one of them raises is raised at once."""
    with Progress("probing", len(futures)) as progress:
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            progress.update(done, f"{done}/{len(futures)} checkpoints")


def answer(job: Job, samples: int) -> pd.DataFrame:
    """One job, in this process and in one thread: rows as in :func:`probe`."""
    with threadpool_limits(1):
        return pd.DataFrame(_answers(job, samples))


def _answers(job: Job, samples: int) -> list[dict]:
    experiment = job.subject.experiment
    task = experiment.build_task()
    model = experiment.model_at(job.subject.run, job.step, task)
    batches = [task.sample(torch.Generator().manual_seed(seed), samples, split) for split, seed in SEEDS.items()]
    found = [probes.features(model, batch.images) for batch in batches]
    return [
        {"question": name, "seed": job.subject.seed, "step": job.step, **row}
        for name in job.questions for wanted in QUESTIONS[name] for row in _rows(wanted, found, batches, task)
    ]  # fmt: skip


def _rows(
    wanted: Probes, found: Sequence[Mapping[Place, np.ndarray]], batches: Sequence[Batch], task: TwoStepTask
) -> list[dict]:
    """A row per place and thing asked; ``found`` and ``batches`` are those to learn from and those to be judged by."""
    labels = [{name: values.numpy() for name, values in task.probe_labels(batch).items()} for batch in batches]
    types = [batch.cells.numpy() for batch in batches]
    last = max(place.layer for place in found[0])
    places = [place for place in found[0] if (wanted.everywhere or place.part == OUTPUT)
              and (place.layer == last or not wanted.last)]  # fmt: skip
    rows = []
    for place in places:
        for asked in wanted.asked:
            here = Samples(found[0][place], labels[0][asked], found[1][place], labels[1][asked])
            rows.append(asdict(place) | {"asked": asked, "probe": wanted.probe} | _measured(wanted, here, types))
    return rows


def _measured(wanted: Probes, samples: Samples, types: Sequence[np.ndarray]) -> dict[str, float]:
    row = {"accuracy": probes.accuracy(wanted.probe, samples), "majority": probes.majority(samples)}
    if wanted.control:
        row["control"] = probes.accuracy(wanted.probe, probes.control(samples, *types, seed=CONTROL_SEED))
    if wanted.code:
        row |= asdict(probes.code_length(wanted.probe, samples.x, samples.y))
    return row


def answers(table: pd.DataFrame, question: str) -> pd.DataFrame:
    """The rows of :func:`probe` to one question, with cells of one role averaged: ``asked`` is a key of ``GROUPS``."""
    group_of = {asked: group for group, members in GROUPS.items() for asked in members}
    rows = table[table["question"] == question].dropna(axis="columns")
    rows = rows.assign(asked=rows["asked"].map(group_of))
    keys = ["question", "seed", "step", "layer", "part", "tokens", "asked", "probe"]
    return rows.groupby(keys, sort=False).mean().reset_index()


def accuracies(rows: pd.DataFrame, steps: Mapping[int, int], asked: str, tokens: str) -> list[float]:
    """Accuracies at one step of each run (``steps``: seed -> step), from the :func:`answers` to "claims"."""
    at = rows.set_index(["seed", "step", "asked", "tokens"])["accuracy"]
    return [float(at[seed, step, asked, tokens]) for seed, step in steps.items()]
