"""Samples of the tasks as pictures."""

from collections.abc import Mapping
from textwrap import wrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eureka_lib.measure.tasks import SAMPLES, batches, title_of
from eureka_lib.plots.style import FRAME, PAPER, PLOT_WIDTH, SMALLEST
from eureka_lib.tasks.two_step import CELL_NAMES, INDICATOR, Batch, TwoStepTask

NOT_EQUAL = "\N{NOT EQUAL TO}"

COLUMNS = 3  # tasks side by side
RULE_LINES = 3  # that a rule takes at most, wrapped
NOUNS = {"digits": "", "mnist": "", "patterns": "pattern "}  # for the classes of a source; "class" for others


def plot_steps(batch: Batch, task: TwoStepTask) -> Figure:
    """The samples of a small batch as pictures, with the two steps to the label in words."""
    n = len(batch.labels)
    figure, axes = plt.subplots(1, n, figsize=(PLOT_WIDTH, PLOT_WIDTH / n + 0.35))
    for i, axis in enumerate(axes):
        plot_both_steps(axis, batch, i, task)
    return figure


def plot_both_steps(axis: Axes, batch: Batch, i: int, task: TwoStepTask) -> None:
    """Sample ``i`` of the main task: above it the first step, what is compared, and below the second, what is read."""
    plot_sample(axis, batch, i)
    first, *_, last = batch.cells[i].tolist()
    name = NOUNS.get(task.config.target_source, "class ")
    axis.set_title(f"1. compare: {first} {'=' if batch.same[i] else NOT_EQUAL} {last}", fontsize=9, pad=4)
    axis.set_xlabel(f"2. read {CELL_NAMES[batch.target[i]]}: {name}{batch.labels[i]}", fontsize=9, loc="left")


def plot_sample(axis: Axes, batch: Batch, i: int) -> None:
    """Sample ``i`` as a picture, on the brightness scale of its batch.

    The cell that gives the label has a frame, the indicators have dashed ones.
    """
    cell = batch.images.shape[-1] // 2
    axis.imshow(picture(batch, i))
    for place, role in enumerate(batch.roles[i].tolist()):
        row, column = divmod(place, 2)
        x, y, edge = column * cell - 0.5, row * cell - 0.5, 0.03 * cell
        if place == batch.target[i]:
            frame = {"ec": FRAME, "lw": 2.5, "clip_on": False, "zorder": 3, "gid": "target"}
            axis.add_patch(plt.Rectangle((x, y), cell, cell, fill=False, **frame))
        elif role == INDICATOR:  # within its cell, so that the frame lies on the picture
            frame = {"ec": PAPER, "lw": 1, "ls": (0, (3, 2)), "gid": "indicator"}
            axis.add_patch(plt.Rectangle((x + edge, y + edge), cell - 2 * edge, cell - 2 * edge, fill=False, **frame))
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def picture(batch: Batch, i: int) -> np.ndarray:
    """Sample ``i`` as RGB in [0, 1], (2c, 2c, 3), on the brightness scale of its batch."""
    low, high = batch.images.min(), batch.images.max()
    return ((batch.images[i] - low) / (high - low)).permute(1, 2, 0).numpy()


def plot_gallery(tasks: Mapping[str, TwoStepTask], seed: int) -> Figure:
    """Three test samples of each task, the cell that counts framed, with the task's rule."""
    rows = -(-len(tasks) // COLUMNS)
    figure = plt.figure(figsize=(PLOT_WIDTH, 1.55 * rows))
    blocks = figure.subfigures(rows, COLUMNS, squeeze=False).flat
    for block, name, (task, batch) in zip(blocks, tasks, batches(tasks, SAMPLES, seed), strict=False):
        rule = wrap(task.rule, 36)
        rule = "\n".join([*rule, *[""] * (RULE_LINES - len(rule))])  # so that all blocks stand level
        block.suptitle(title_of(name), fontsize=10, fontweight="bold", x=0.03, ha="left")
        for i, axis in enumerate(block.subplots(1, SAMPLES)):
            plot_sample(axis, batch, i)
            axis.set_title(f"label {batch.labels[i]}", fontsize=SMALLEST, loc="center", pad=3)
        block.supxlabel(rule, fontsize=SMALLEST, x=0.03, ha="left")
    return figure
