"""Numbers with 95 % intervals: what a varied setting does, and how much earlier each method has its Eureka-moment."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eureka_lib.analysis.eureka import wilson_interval
from eureka_lib.attention.registry import colour_of
from eureka_lib.claims.registry import NOT_REPRODUCED, REPRODUCED, Row
from eureka_lib.claims.rules import REMOVED, SHORTER
from eureka_lib.measure.runs import moment_of
from eureka_lib.plots.style import DERIVED, MEMBER, PLOT_WIDTH, derived_line, log_axis
from eureka_lib.store import Run

WORDS = {REPRODUCED: "yes", NOT_REPRODUCED: "no"}


def plot_sweep(groups: Mapping[float, Sequence[Run]], label: str, plateau: float) -> Figure:
    """What a number that is varied does: EM rate with its Wilson interval, and three numbers of each run.

    These are its EM step, final accuracy, and the attention entropy a quarter into the budget, where runs lie on the
    plateau, of which ``plateau`` is the derived accuracy. Dots are runs, hollow without an EM; lines join the means.
    """
    rows = [{"value": value} | _numbers(run) for value, runs in groups.items() for run in runs]
    table, colour = pd.DataFrame(rows), colour_of("softmax")
    means = table.groupby("value").mean()
    figure, axes = plt.subplots(2, 2, figsize=(PLOT_WIDTH, 4.6), sharex=True)
    for axis, name in zip(axes.flat, means, strict=True):
        axis.plot(means.index, means[name], color=colour, lw=1.3)
        axis.set_ylabel(name)
        log_axis(axis, means.index)
        if name != "EM rate":
            for happened, part in table.groupby("EM rate"):
                axis.plot(part["value"], part[name], "o", ms=4, mfc=colour if happened else "none", mec=colour,
                          mew=0.9, alpha=0.8)  # fmt: skip
    rate = axes[0, 0]
    rate.plot(means.index, means["EM rate"], "o", color=colour, ms=5)
    for value, happened in table.groupby("value")["EM rate"]:
        rate.plot([value] * 2, wilson_interval(sum(happened), len(happened)), color=colour, lw=1.3, alpha=0.6)
    rate.set_ylim(-0.05, 1.05)
    derived_line(axes[1, 0], plateau, "plateau")
    for axis in axes[1]:
        axis.set_xlabel(label)
    return figure


def _numbers(run: Run) -> dict[str, float]:
    moment = moment_of(run)
    return {
        "EM rate": moment.happened,
        "EM step": moment.step,
        "final test accuracy": run.final_accuracy,
        "attention entropy / log N": run.history["attention_entropy"].iloc[len(run.history) // 4],
    }


def plot_verdicts(axis: Axes, rows: Sequence[Row]) -> None:
    """The ratio of EM times behind each pair of Z1 and Z2, with its interval, and both verdicts in words.

    Filled where Z1 is decided, hollow where it is not. The axis is logarithmic.
    """
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    for y, (shorter, removed) in enumerate(pairs):
        decided = shorter.verdict in WORDS
        axis.plot(shorter.interval, [y, y], color=MEMBER, lw=3, alpha=0.4, solid_capstyle="round")
        axis.plot(shorter.value, y, "o", color=MEMBER, mfc=MEMBER if decided else "white", ms=6)
        words = [WORDS.get(row.verdict, "undecided") for row in (shorter, removed)]
        for x, word in zip((1.02, 1.18), words, strict=True):
            axis.annotate(word, (x, y), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    for x, word in zip((1.02, 1.18), ("shortens?", "removes?"), strict=True):
        axis.annotate(word, (x, -0.9), xycoords=("axes fraction", "data"), va="center", fontsize=8, weight="bold",
                      annotation_clip=False)  # fmt: skip
    for value in (SHORTER, REMOVED):
        axis.axvline(value, color=DERIVED, ls="-" if value == SHORTER else "--", lw=1, zorder=0)
    low, high = (end([row.interval[i] for row in rows]) for i, end in enumerate((min, max)))
    log_axis(axis, [0.25, 0.5, 1, 2, 4])
    axis.set_xlim(min(0.4, low / 1.1), max(2.5, high * 1.1))
    axis.set_yticks(range(len(pairs)), [row.part for row, _ in pairs])
    axis.set(ylim=(len(pairs) - 0.4, -0.6), xlabel="mean EM time / softmax's")


def verdict_table(rows: Sequence[Row]) -> pd.DataFrame:
    """A row per method: the ratio of EM times with its interval, and the verdicts of Z1 and Z2."""
    return pd.DataFrame([
        {
            "method": shorter.part,
            "EM time / softmax's": round(shorter.value, 2),
            "interval": "{:.2f} to {:.2f}".format(*shorter.interval),
            "shortens": WORDS.get(shorter.verdict, "undecided"),
            "removes": WORDS.get(removed.verdict, "undecided"),
        }
        for shorter, removed in zip(rows[::2], rows[1::2], strict=True)
    ]).set_index("method")  # fmt: skip
