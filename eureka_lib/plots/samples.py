"""Samples of the tasks as pictures."""

from collections.abc import Mapping
from textwrap import wrap

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eureka_lib.measure.tasks import SAMPLES, batches, title_of
from eureka_lib.plots.style import FRAME, PLOT_WIDTH
from eureka_lib.tasks.two_step import NOWHERE, Batch, TwoStepTask

COLUMNS = 3  # tasks side by side
RULE_LINES = 3  # that a rule takes at most, wrapped


def plot_batch(batch: Batch, n: int = 6) -> Figure:
    """The first ``n`` samples as pictures: which target counts (framed), and the label."""
    figure, axes = plt.subplots(1, n, figsize=(PLOT_WIDTH, PLOT_WIDTH / n + 0.45))
    for i, axis in enumerate(axes):
        plot_sample(axis, batch, i)
        same = "same" if batch.same[i] else "different"
        axis.set_title(f"{same} \N{RIGHTWARDS ARROW}\nlabel {batch.labels[i]}", fontsize=9, loc="center")
    return figure


def plot_sample(axis: Axes, batch: Batch, i: int) -> None:
    """Sample ``i`` as a picture, on the brightness scale of its batch, the cell that gives the label framed."""
    cell, low, high = batch.images.shape[-1] // 2, batch.images.min(), batch.images.max()
    axis.imshow(((batch.images[i] - low) / (high - low)).permute(1, 2, 0).numpy())
    if batch.target[i] != NOWHERE:
        row, column = divmod(int(batch.target[i]), 2)
        frame = plt.Rectangle((column * cell - 0.5, row * cell - 0.5), cell, cell, fill=False, ec=FRAME, lw=2.5,
                              clip_on=False)  # fmt: skip
        axis.add_patch(frame)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def plot_gallery(tasks: Mapping[str, TwoStepTask], seed: int) -> Figure:
    """Three test samples of each task, the cell that counts framed, with the task's rule."""
    rows = -(-len(tasks) // COLUMNS)
    figure = plt.figure(figsize=(PLOT_WIDTH, 1.75 * rows))
    blocks = figure.subfigures(rows, COLUMNS, squeeze=False).flat
    for block, name, (task, batch) in zip(blocks, tasks, batches(tasks, SAMPLES, seed), strict=False):
        rule = wrap(task.rule, 36)
        rule = "\n".join([*rule, *[""] * (RULE_LINES - len(rule))])  # so that all blocks stand level
        block.suptitle(title_of(name), fontsize=10, fontweight="bold", x=0.03, ha="left")
        for i, axis in enumerate(block.subplots(1, SAMPLES)):
            plot_sample(axis, batch, i)
            axis.set_title(f"label {batch.labels[i]}", fontsize=8, loc="center", pad=3)
        block.supxlabel(rule, fontsize=7.5, x=0.03, ha="left")
    return figure
