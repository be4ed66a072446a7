"""When each run has its Eureka-moment (EM): a mark per run, filled where it happened, hollow where it is censored."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from eureka_lib.analysis import compare
from eureka_lib.analysis.forecast import GRADIENT, PROBED, SIGNS, WHEN
from eureka_lib.attention.registry import colour_of, short_label_of
from eureka_lib.experiments.profiles import FITTING, HELD_OUT
from eureka_lib.measure.forecasts import CAME, CAME_NOT
from eureka_lib.measure.methods import count
from eureka_lib.measure.plateaus import ACCURACY, Plateau
from eureka_lib.measure.runs import network_of
from eureka_lib.measure.tasks import ByTask, is_control, title_of
from eureka_lib.plots.seeds import RUN_COLOURS
from eureka_lib.plots.style import CONTROL, FAINT, GRID, PAPER, PLOT_WIDTH, SMALLEST
from eureka_lib.store.runs import Groups


def plot_times(axis: Axes, groups: Groups, plateau: Plateau = ACCURACY) -> None:
    """A row per method with the step of each run's moment, and a bar at the restricted mean."""
    plot_rows(axis, {short_label_of(name): {name: runs} for name, runs in groups.items()}, plateau)


def plot_task_times(axis: Axes, networks: Mapping[str, ByTask]) -> None:
    """A row per task with each network's runs, a colour per network; the rows of controls are grey."""
    tasks = next(iter(networks.values()))
    plot_rows(axis, {title_of(task): {network: networks[network][task] for network in networks} for task in tasks})
    for network, by_task in networks.items():
        runs = next(iter(by_task.values()))
        axis.plot([], [], "o", color=colour_of(network), label=network_of(runs))
        axis.axvline(runs[0].history["step"].iloc[-1], color=colour_of(network), ls=":", lw=1, zorder=0, gid="budget")
    for row, task in enumerate(tasks):
        axis.axhline(row + 0.5, color=GRID, lw=0.7, zorder=0)
        if is_control(task):
            axis.axhspan(row - 0.5, row + 0.5, color=CONTROL, lw=0, zorder=-1, gid="control")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=len(networks))


def plot_rows(axis: Axes, rows: Mapping[str, Groups], plateau: Plateau = ACCURACY) -> None:
    """The moments of each row's groups, which share its height; at its right end, how many had theirs.

    Many that wait stand beside each other at their budget.
    """
    for row, groups in enumerate(rows.values()):
        share = 1 / len(groups)  # of the row's height
        for i, (name, runs) in enumerate(groups.items()):
            moments, colour = [plateau.leap(run) for run in runs], colour_of(name)
            middle = row + (i + 0.5) * share - 0.5
            shifts, waiting = _shifts([moment.step for moment in moments], 0.36 * share), 0
            columns = ceil(sum(not moment.happened for moment in moments) * share / 10)  # of the pile at the budget
            for moment, shift in zip(moments, shifts, strict=True):
                style = {"mfc": colour}
                if not moment.happened:
                    aside = ScaledTranslation(
                        (waiting % columns - (columns - 1) / 2) / 14, 0, axis.figure.dpi_scale_trans
                    )
                    style = {"mfc": PAPER, "gid": "censored", "transform": axis.transData + aside, "clip_on": False}
                    waiting += 1
                axis.plot(moment.step, middle + shift, "o", ms=4.5, mec=colour, mew=1, **style)
            ends = [middle - 0.38 * share, middle + 0.38 * share]
            axis.plot([compare.restricted_times(moments).mean()] * 2, ends, color="black", lw=1.6, zorder=5,
                      gid="mean")  # fmt: skip
            axis.annotate(count(moments), (1.01, middle), xycoords=("axes fraction", "data"), va="center",
                          fontsize=SMALLEST)  # fmt: skip
    last = max(plateau.leap(run).step for groups in rows.values() for runs in groups.values() for run in runs)
    axis.set(yticks=range(len(rows)), yticklabels=rows, xlim=(0, 1.06 * last), ylim=(-0.5, len(rows) - 0.5))
    axis.set_xlabel("training step of the " + plateau.event.replace("EM", "Eureka-moment"))
    axis.invert_yaxis()


def _shifts(steps: Sequence[int], most: float) -> np.ndarray:
    """Vertical shifts, in rows and at ``most`` that far, that keep apart the marks that stand at the same step."""
    steps = np.asarray(steps)
    shifts = np.zeros(len(steps))
    for step in np.unique(steps):
        same = steps == step
        reach = min(most, 0.06 * (same.sum() - 1))
        shifts[same] = np.linspace(-reach, reach, same.sum())
    return shifts


def plot_regimes(found: Mapping[str, Groups], draw: Callable[[Axes, Groups], None], heights: Sequence[float]) -> Figure:
    """One panel per regime, below each other, each drawn by ``draw(axis, groups)`` and ``heights`` inches high."""
    figure, axes = plt.subplots(len(found), 1, figsize=(PLOT_WIDTH, sum(heights)), squeeze=False, height_ratios=heights)
    for axis, (name, groups) in zip(axes[:, 0], found.items(), strict=True):
        draw(axis, groups)
        axis.set_title(name, fontweight="bold", fontsize=10)
    return figure


UNITS = {  # of the signs that have one
    "test loss": "nats",
    "training loss": "nats",
    GRADIENT: "log",
    f"{GRADIENT}, slope": "log",
    **dict.fromkeys(PROBED, "accuracy"),
}


def plot_signs(table: pd.DataFrame, judged: pd.DataFrame) -> Figure:
    """The step of the EM against every early sign, the best first, of held-out runs in colour and fitting runs in grey.

    Above stands which share of pairs the sign ranks rightly, of the ``judged`` table; a panel is grey where the
    interval of that holds a guess. Hollow triangles are runs without an EM, at the end of their budget: theirs would
    come later, if at all.
    """
    scores = judged[judged["question"] == WHEN].set_index("predictor").loc[list(SIGNS)].sort_values("value")[::-1]
    figure, axes = plt.subplots(2, 4, figsize=(PLOT_WIDTH, 4.4), sharey=True)
    for axis, (sign, score) in zip(axes.flat, scores.iterrows(), strict=True):
        axis.set_title("no pairs" if np.isnan(score["value"]) else f"{score['value']:.0%} ranked rightly", fontsize=9)
        if not (score["low"] > 0.5 or score["high"] < 0.5):
            axis.patch.set(facecolor=GRID, alpha=0.6, gid="guess")
        for group, size in ((FITTING, 3.5), (HELD_OUT, 5)):
            for came, marker in ((True, "o"), (False, "^")):
                rows = table[(table["group"] == group) & (table["EM"] == came)]
                colour = FAINT if group == FITTING else RUN_COLOURS[CAME if came else CAME_NOT]
                axis.plot(rows[sign], rows["step"], marker, ms=size, mec=colour, mfc=colour if came else "none",
                          mew=1, alpha=0.85)  # fmt: skip
        unit = UNITS.get(sign)
        axis.set_xlabel(sign.replace(", ", ",\n") + (f" ({unit})" if unit else ""), fontsize=9)
        axis.tick_params(labelsize=8)
        axis.locator_params(axis="x", nbins=3)
    axes[0, 0].set_ylim(0, 1.05 * table["step"].max())
    figure.supylabel("step of the Eureka-moment, or end of the budget", fontsize=10)
    handles = [
        Line2D([], [], ls="", marker="o", color=RUN_COLOURS[CAME], label=f"held out, {CAME}"),
        Line2D([], [], ls="", marker="^", color=RUN_COLOURS[CAME_NOT], mfc="none", label=f"held out, {CAME_NOT}"),
        Line2D([], [], ls="", marker="o", ms=4, color=FAINT, label="fitting runs"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9)
    return figure
