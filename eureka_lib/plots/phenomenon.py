"""The phenomenon in one picture: what the task is, how networks get stuck and then get it, and where one looks then."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eureka_lib.attention.registry import colour_of
from eureka_lib.measure.plateaus import ACCURACY
from eureka_lib.measure.runs import method_of
from eureka_lib.plots.samples import picture, plot_both_steps
from eureka_lib.plots.seeds import plot_run
from eureka_lib.plots.style import DERIVED, PAPER, PLOT_WIDTH, REFERENCE, SMALLEST
from eureka_lib.store import Run
from eureka_lib.tasks.two_step import CELL_NAMES, Batch, TwoStepTask

HEADING = {"fontsize": 9, "weight": "bold", "x": 0.03, "ha": "left"}


def plot_phenomenon(task: TwoStepTask, batch: Batch, runs: Sequence[Run], bold: Run, looks: pd.DataFrame) -> Figure:
    """The task on the samples of a small ``batch``; every run's accuracy, one ``bold``; and where that one looks.

    ``looks`` is of :func:`eureka_lib.measure.maps.looks`, at the first sample; nothing is drawn of an empty one.
    """
    figure = plt.figure(figsize=(PLOT_WIDTH, 4.7 if len(looks) else 3.6))
    left, right = figure.subfigures(1, 2, width_ratios=(1, 3))
    left.suptitle("a  The task: two steps", **HEADING)
    for i, axis in enumerate(left.subplots(len(batch.labels), 1)):
        plot_both_steps(axis, batch, i, task)
    above, *below = right.subfigures(2, 1, height_ratios=(2.5, 1), squeeze=False)[:, 0] if len(looks) else [right]
    above.suptitle("b  Networks that are alike but for the random seed", **HEADING)
    plot_story(above.subplots(), runs, bold, task)
    for panel in below:
        panel.suptitle("c  Where that one looks: last layer, indicators that match", **HEADING)
        plot_looks(panel.subplots(1, len(looks)), batch, looks)
    return figure


def plot_story(axis: Axes, runs: Sequence[Run], bold: Run, task: TwoStepTask) -> None:
    """Test accuracy of every run; of the ``bold`` one plateau and jump are named, and grey is what still waits."""
    waiting = {run.key for run in runs if not ACCURACY.leap(run).happened and ACCURACY.late(run) is None}
    for run in runs:
        colour = REFERENCE if run.key in waiting else colour_of(method_of(run))
        style = {"lw": 2.4, "size": 13, "zorder": 4} if run.key == bold.key else {"lw": 0.9, "size": 7, "alpha": 0.5}
        plot_run(axis, run.history, "test_accuracy", run, color=colour, **style)
    end, chance, plateau = bold.history["step"].iloc[-1], 1 / task.n_classes, task.plateau_accuracy
    axis.axhline(plateau, color=DERIVED, ls="--", lw=1)
    axis.set(xlim=(0, end), ylim=(0, 1.03), xlabel="training step", ylabel="test accuracy")
    axis.set_yticks([0, chance, plateau, 1], ["0", f"chance\n{chance:.2f}", f"plateau\n{plateau:.2f}", "1"])
    grey = {"fontsize": 9, "color": DERIVED, "va": "top"}
    if share := ACCURACY.share(bold):
        derived = f"Derived: {chance:g} + {1 - chance:g} / 2 = {plateau:g}"
        words = f"The plateau: both targets are read,\nwhich of them counts is guessed.\n{derived}"
        axis.annotate(words, (share * end / 2, plateau), (0.2, 0.36), ("data", "data"), "axes fraction", **grey,
                      arrowprops={"arrowstyle": "-", "color": DERIVED, "lw": 0.8, "shrinkB": 3})  # fmt: skip
    moment = ACCURACY.leap(bold)
    if moment.happened:
        height = bold.history.set_index("step")["test_accuracy"][moment.step]
        place, align = (0.1, "left") if moment.step > end / 3 else (0.97, "right")
        colour = colour_of(method_of(bold))
        axis.annotate("Eureka-moment", (moment.step, height), (place, 0.82), "data", "axes fraction", ha=align,
                      va="center", weight="bold", fontsize=10, color=colour,
                      arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.8, "shrinkB": 7})  # fmt: skip
    if waiting and len(runs) > 1:
        words = f"{len(waiting)} of {len(runs)} still wait{'s' * (len(waiting) == 1)}"
        axis.annotate(words, (1, plateau - 0.06), xycoords=("axes fraction", "data"), ha="right", **grey)


def plot_looks(axes: Sequence[Axes], batch: Batch, looks: pd.DataFrame) -> None:
    """The batch's first sample at each moment, a cell the fainter the less of the attention it gets."""
    image, cell = picture(batch, 0), batch.images.shape[-1] // 2
    shares = looks[list(CELL_NAMES)].to_numpy()
    for axis, moment, step, row in zip(axes, looks["moment"], looks["step"], shares, strict=True):
        axis.imshow(image)
        for place, share in enumerate(row):
            y, x = (cell * side - 0.5 for side in divmod(place, 2))
            faint = 0.9 * (1 - share / shares.max())
            axis.add_patch(plt.Rectangle((x, y), cell, cell, fc=PAPER, lw=0, alpha=faint))
            axis.annotate(f"{share:.0%}", (x + cell, y + cell), (-2, 2), "data", "offset points", ha="right",
                          fontsize=SMALLEST, bbox={"fc": PAPER, "ec": "none", "pad": 0.8, "alpha": 0.8})  # fmt: skip
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.set_title(f"{moment}, step {step:,}", fontsize=SMALLEST, loc="center")
