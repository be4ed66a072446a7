"""Probes of stored runs along their training: which are taken, on all cores, as one table.

:func:`probe` takes a list of :class:`Job` and returns one table, a row per probe; figures and rules take the
:func:`answers` in it to one question, a key of ``QUESTIONS``.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from loky import cpu_count
from threadpoolctl import threadpool_limits

from eureka_lib.analysis import probes
from eureka_lib.analysis.probes import ALL_TOKENS, OUTPUT, Place, Samples
from eureka_lib.experiments.pools import InProcess, Workers
from eureka_lib.measure.subjects import Subject
from eureka_lib.progress import Progress
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
    with (
        InProcess() if len(jobs) * samples <= FEW else Workers(min(len(jobs), cpu_count())) as pool,
        Progress("probing", len(jobs)) as progress,
    ):
        futures = [pool.submit(answer, job, samples) for job in jobs]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()  # what one of them raises is raised at once
            progress.update(done, f"{done}/{len(jobs)} checkpoints")
    return pd.concat([future.result() for future in futures], ignore_index=True)


def answer(job: Job, samples: int) -> pd.DataFrame:
    """One job, in this process and in one thread: rows as in :func:`probe`."""
    subject, task = job.subject, job.subject.experiment.build_task()
    with threadpool_limits(1):
        model = subject.model(job.step, task)
        batches = [task.sample(torch.Generator().manual_seed(seed), samples, split) for split, seed in SEEDS.items()]
        found = [probes.features(model, batch.images) for batch in batches]
        return pd.DataFrame([
            {"question": name, "seed": subject.seed, "step": job.step, **row}
            for name in job.questions for wanted in QUESTIONS[name] for row in _rows(wanted, found, batches, task)
        ])  # fmt: skip


def _rows(
    wanted: Probes, found: Sequence[Mapping[Place, np.ndarray]], batches: Sequence[Batch], task: TwoStepTask
) -> list[dict]:
    """A row per place and thing asked; ``found`` and ``batches`` are those to learn from and those to be judged by."""
    labels = [{name: values.numpy() for name, values in task.probe_labels(batch).items()} for batch in batches]
    last = max(place.layer for place in found[0])
    rows = []
    for place in found[0]:
        if (place.part != OUTPUT and not wanted.everywhere) or (place.layer < last and wanted.last):
            continue
        for asked in wanted.asked:
            samples = Samples(found[0][place], labels[0][asked], found[1][place], labels[1][asked])
            row = asdict(place) | {"asked": asked, "probe": wanted.probe}
            row |= {"accuracy": probes.accuracy(wanted.probe, samples), "majority": probes.majority(samples)}
            if wanted.control:
                types = (batch.cells.numpy() for batch in batches)
                row["control"] = probes.accuracy(wanted.probe, probes.control(samples, *types, seed=CONTROL_SEED))
            if wanted.code:
                row |= asdict(probes.code_length(wanted.probe, samples.x, samples.y))
            rows.append(row)
    return rows


def answers(table: pd.DataFrame, question: str) -> pd.DataFrame:
    """The rows of :func:`probe` to one question, with cells of one role averaged: ``asked`` is a key of ``GROUPS``."""
    group_of = {asked: group for group, members in GROUPS.items() for asked in members}
    rows = table[table["question"] == question].dropna(axis="columns")
    rows = rows.assign(asked=rows["asked"].map(group_of))
    keys = ["question", "seed", "step", "layer", "part", "tokens", "asked", "probe"]
    return rows.groupby(keys, sort=False).mean().reset_index()


def readings(rows: pd.DataFrame, subject: Subject, asked: str, kind: str = "linear", column: str = "accuracy") -> str:
    """A subject's probes at the last block, on all tokens, half-way to its moment and at its end, in words."""
    at = rows[(rows["seed"] == subject.seed) & (rows["tokens"] == ALL_TOKENS)]
    at = at[(at["asked"] == asked) & (at["probe"] == kind)]
    at = at[at["layer"] == at["layer"].max()].set_index("step")[column]
    half, end = (at.iloc[abs(at.index - step).argmin()] for step in (subject.halfway, subject.end))
    return f"{asked} {half:.2f}, then {end:.2f}"


def accuracies(rows: pd.DataFrame, steps: Mapping[int, int], asked: str, tokens: str) -> list[float]:
    """Accuracies at one step of each run (``steps``: seed -> step), from the :func:`answers` to "claims"."""
    at = rows.set_index(["seed", "step", "asked", "tokens"])["accuracy"]
    return [float(at[seed, step, asked, tokens]) for seed, step in steps.items()]
