"""The tasks side by side: what they look like, how networks fare on them, which have a plateau.

Groups come by task, ``{"two_step": [run, ...], ...}``, one mapping per network, each run with a seed of its own. Runs
without an Eureka-moment (EM) are censored at the end of their budget and stay in every count.
"""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eureka_lib.analysis.eureka import median_step, plateau_fraction, plateau_level
from eureka_lib.plots import figures
from eureka_lib.store import Run
from eureka_lib.tasks.two_step import Batch, TwoStepTask

ByTask = Mapping[str, Sequence[Run]]
COLUMNS = 3  # panels side by side
SAMPLES = 3  # pictures of each task
RULE_LINES = 3  # that a rule takes at most, wrapped


def title_of(task: str) -> str:
    """A task's name as one writes it."""
    return task.replace("_", " ")


def batches(tasks: Mapping[str, TwoStepTask], n: int, seed: int) -> Iterator[tuple[TwoStepTask, Batch]]:
    """Each task with ``n`` test samples of it, drawn from ``seed``."""
    for task in tasks.values():
        yield task, task.sample(torch.Generator().manual_seed(seed), n, "test")


def sample_table(tasks: Mapping[str, TwoStepTask], seed: int) -> pd.DataFrame:
    """The gallery's samples without their pixels: what is in the cells, and the answer, in words."""
    described = [[task.describe(batch, i) for i in range(SAMPLES)] for task, batch in batches(tasks, SAMPLES, seed)]
    return pd.DataFrame(
        [{"task": name, "sample": i, "words": words} for name, texts in zip(tasks, described, strict=True)
         for i, words in enumerate(texts)]
    )  # fmt: skip


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


def plot_gallery(tasks: Mapping[str, TwoStepTask], seed: int) -> Figure:
    """Three test samples of each task, the cell that counts framed, with the task's rule."""
    rows = -(-len(tasks) // COLUMNS)
    figure = figures.plt.figure(figsize=(figures.PLOT_WIDTH, 1.75 * rows))
    blocks = figure.subfigures(rows, COLUMNS, squeeze=False).flat
    for block, name, (task, batch) in zip(blocks, tasks, batches(tasks, SAMPLES, seed), strict=False):
        rule = wrap(task.rule, 36)
        rule = "\n".join([*rule, *[""] * (RULE_LINES - len(rule))])  # so that all blocks stand level
        block.suptitle(title_of(name), fontsize=10, fontweight="bold", x=0.03, ha="left")
        for i, axis in enumerate(block.subplots(1, SAMPLES)):
            figures.plot_sample(axis, batch, i)
            axis.set_title(f"label {batch.labels[i]}", fontsize=8, loc="center", pad=3)
        block.supxlabel(rule, fontsize=7.5, x=0.03, ha="left")
    return figure


def plot_tasks(networks: Mapping[str, ByTask], tasks: Mapping[str, TwoStepTask]) -> Figure:
    """Test accuracy on each task, one panel a task, a line per run, with the derived plateau."""
    rows = -(-len(tasks) // COLUMNS)
    figure, axes = figures.plt.subplots(
        rows, COLUMNS, figsize=(figures.PLOT_WIDTH, 1.85 * rows), sharex=True, sharey=True, squeeze=False
    )
    for axis, (name, task) in zip(axes.flat, tasks.items(), strict=False):
        for by_task in networks.values():
            figures.plot_seeds(axis, by_task[name], "test_accuracy")
        axis.axhline(task.plateau_accuracy, color=figures.DERIVED, ls="--", lw=1, zorder=1)
        axis.set_title(title_of(name), fontsize=9)
        axis.set_ylim(0, 1.03)
    for axis in axes.flat[len(tasks) :]:
        axis.set_visible(False)
    for axis in axes.flat:
        axis.set(ylabel="test accuracy")
        axis.label_outer()
    lines, labels = axes.flat[0].get_legend_handles_labels()
    lines.append(axes.flat[0].axhline(np.nan, color=figures.DERIVED, ls="--", lw=1))
    figure.legend(lines, [*labels, "derived plateau"], loc="outside upper center", ncols=len(lines), fontsize=9)
    return figure


def plot_times(axis: Axes, networks: Mapping[str, ByTask]) -> None:
    """EM step of every run, a row per task: filled where it happened, hollow where it is censored at the budget."""
    names = list(next(iter(networks.values())))
    shifts = np.linspace(-0.2, 0.2, len(networks)) if len(networks) > 1 else [0.0]
    for shift, (network, by_task) in zip(shifts, networks.items(), strict=True):
        colour = figures.colour_of(network)
        for row, name in enumerate(names):
            moments = [figures.moment_of(run) for run in by_task[name]]
            spread = np.linspace(-0.11, 0.11, len(moments)) if len(moments) > 1 else [0.0]
            for moment, place in zip(moments, spread, strict=True):
                face = colour if moment.happened else "none"
                axis.plot(moment.step, row + shift + place, "o", ms=4, mfc=face, mec=colour, mew=0.9)
        axis.plot([], [], "o", color=colour, label=figures.label_of(network))
    axis.set(yticks=range(len(names)), yticklabels=[title_of(name) for name in names], xlim=(0, None))
    axis.set_xlabel("training step of the EM (hollow: none in the budget)")
    axis.invert_yaxis()
    for row in range(1, len(names)):
        axis.axhline(row - 0.5, color="0.9", lw=0.7, zorder=0)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=len(networks))


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
            moments = [figures.moment_of(run) for run in by_task[name]]
            k, median = sum(moment.happened for moment in moments), median_step(moments)
            row[f"{figures.label_of(network)}: EMs"] = f"{k} of {len(moments)}"
            row[f"{figures.label_of(network)}: median EM step"] = "not reached" if median is None else f"{median:.0f}"
        rows[title_of(name)] = row
    return pd.DataFrame.from_dict(rows, orient="index").fillna("none").rename_axis("task")


def run_table(networks: Mapping[str, ByTask]) -> pd.DataFrame:
    """One row per run, as in :func:`eureka_lib.plots.figures.run_table`, its task in front."""
    tables = [
        figures.run_table(runs).assign(task=name) for by_task in networks.values() for name, runs in by_task.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    return table[["task", *(column for column in table if column != "task")]]


def tidy(networks: Mapping[str, ByTask]) -> pd.DataFrame:
    """All histories, as in :func:`eureka_lib.plots.figures.tidy`, the task in front: steps and test accuracies."""
    tables = [figures.tidy(runs).assign(task=name) for by_task in networks.values() for name, runs in by_task.items()]
    return pd.concat(tables, ignore_index=True)[["task", "run", "method", "seed", "step", "test_accuracy"]]
