"""The tasks side by side: their samples in words, their derived plateaus, and how networks fare on them.

Groups come by task, ``{"two_step": [run, ...], ...}``, one mapping per network. Runs without an Eureka-moment (EM) are
censored at the end of their budget and stay in every count.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from eureka_lib.analysis.eureka import plateau_fraction, plateau_level
from eureka_lib.attention.registry import label_of
from eureka_lib.measure import runs as measured
from eureka_lib.measure.methods import count, median_text
from eureka_lib.store import Run
from eureka_lib.tasks.two_step import BOTTOM_LEFT, CELL_NAMES, NOWHERE, TOP_RIGHT, Batch, TwoStepTask
from eureka_lib.tasks.variants import TASKS

ByTask = Mapping[str, Sequence[Run]]
SAMPLES = 3  # that the gallery shows of each task


def title_of(task: str) -> str:
    """A task's name as one writes it."""
    return task.replace("_", " ")


def is_control(task: str) -> bool:
    """Whether a task asks for one step alone."""
    return TASKS[task].rule.startswith("control")


def batches(tasks: Mapping[str, TwoStepTask], n: int, seed: int) -> Iterator[tuple[TwoStepTask, Batch]]:
    """Each task with ``n`` test samples of it, drawn from ``seed``."""
    for task in tasks.values():
        yield task, task.sample(torch.Generator().manual_seed(seed), n, "test")


def clearest(batch: Batch, n: int) -> Batch:
    """``n`` samples whose indicators match and ``n`` whose do not, of different targets, the most legible of a batch.

    Legible is a sample whose least typical cell is typical: close to the mean of the cells of that class.
    """
    pixels, half = batch.images.amax(1), batch.images.shape[-1] // 2  # (B, 2c, 2c)
    cells = pixels.unflatten(2, (2, half)).unflatten(1, (2, half)).permute(1, 3, 0, 2, 4).flatten(3).flatten(0, 1)
    alike = (batch.cells.T[:, :, None] == batch.cells.T[:, None]).to(cells)  # (4, B, B), as the cells are (4, B, c²)
    away = (cells - alike @ cells / alike.sum(2, keepdim=True)).square().sum(-1).amax(0)  # (B,)
    away[batch.cells[:, TOP_RIGHT] == batch.cells[:, BOTTOM_LEFT]] = torch.inf
    order = away.argsort()
    chosen = torch.cat([order[batch.same[order]][:n], order[~batch.same[order]][:n]])
    return Batch(**{name: values[chosen] for name, values in vars(batch).items()})


def batch_table(batch: Batch) -> pd.DataFrame:
    """A batch without its pixels: the class in each cell, which target counts, the label."""
    table = pd.DataFrame(batch.cells.tolist(), columns=list(CELL_NAMES))
    return table.assign(
        target=["" if i == NOWHERE else CELL_NAMES[i] for i in batch.target.tolist()], label=batch.labels.tolist()
    )


def sample_table(tasks: Mapping[str, TwoStepTask], seed: int) -> pd.DataFrame:
    """The gallery's samples without their pixels: what is in the cells, and the answer, in words."""
    return pd.DataFrame([
        {"task": name, "sample": i, "words": task.describe(batch, i)}
        for name, (task, batch) in zip(tasks, batches(tasks, SAMPLES, seed), strict=True)
        for i in range(SAMPLES)
    ])  # fmt: skip


def baseline_table(tasks: Mapping[str, TwoStepTask], n: int, seed: int) -> pd.DataFrame:
    """Accuracy of the oracle and of the shortcut on ``n`` samples of each task, and the latter's derived one."""
    rows = {
        title_of(name): {
            "oracle": (task.oracle(batch) == batch.labels).float().mean().item(),
            "shortcut, measured": round((task.shortcut(batch) == batch.labels).float().mean().item(), 3),
            "shortcut, derived": task.plateau_accuracy,
        }
        for name, (task, batch) in zip(tasks, batches(tasks, n, seed), strict=True)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def task_table(networks: Mapping[str, ByTask], tasks: Mapping[str, TwoStepTask]) -> pd.DataFrame:
    """One row per task: plateau accuracy, derived and measured, and for each network its EMs, k of n, and their steps.

    The measured plateau is that of the first network: see :func:`eureka_lib.analysis.eureka.plateau_level`; the share
    is the part of the budget that it spends within 0.05 below and 0.02 above the derived one.
    """
    first = next(iter(networks.values()))
    rows = {}
    for name, task in tasks.items():
        derived = task.plateau_accuracy
        row = {"plateau, derived": f"{derived:.2f}"}
        if derived < 1:
            levels = [plateau_level(*run.accuracy, derived) for run in first[name]]
            shares = [plateau_fraction(*run.accuracy, (derived - 0.05, derived + 0.02)) for run in first[name]]
            row |= {"plateau, measured": f"{np.nanmean(levels):.3f}", "share of the budget": f"{np.mean(shares):.2f}"}
        for network, by_task in networks.items():
            moments = [measured.moment_of(run) for run in by_task[name]]
            row[f"{label_of(network)}: EMs"] = count(moments)
            row[f"{label_of(network)}: median EM step"] = median_text(moments)
        rows[title_of(name)] = row
    return pd.DataFrame.from_dict(rows, orient="index").fillna("none").rename_axis("task")


def run_table(networks: Mapping[str, ByTask]) -> pd.DataFrame:
    """One row per run, as in :func:`eureka_lib.measure.runs.run_table`, its task in front."""
    return pd.concat([measured.labelled_table(by_task, "task") for by_task in networks.values()])


def tidy(networks: Mapping[str, ByTask]) -> pd.DataFrame:
    """All histories, as in :func:`eureka_lib.measure.runs.tidy`, the task in front: steps and test accuracies."""
    tables = [measured.tidy(runs).assign(task=name) for by_task in networks.values() for name, runs in by_task.items()]
    return pd.concat(tables)[["task", "run", "method", "seed", "step", "test_accuracy"]]
