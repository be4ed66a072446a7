"""Numbers with 95 % intervals: what a varied setting does, and how much earlier each method has its Eureka-moment."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from eureka_lib.analysis.eureka import wilson_interval
from eureka_lib.analysis.forecast import BASELINE, CONSTANT, QUESTIONS
from eureka_lib.analysis.gradients import MATRICES
from eureka_lib.attention.registry import METHODS, colour_of, short_label_of
from eureka_lib.claims.registry import NOT_REPRODUCED, NOT_TESTABLE, REPRODUCED, Row, kind_of
from eureka_lib.claims.rules import REMOVED, SHORTER
from eureka_lib.measure import logits
from eureka_lib.measure.runs import moment_of
from eureka_lib.plots.curves import MARKERS, mark_crossovers
from eureka_lib.plots.style import (
    DERIVED,
    GRID,
    MEMBER,
    PLOT_WIDTH,
    REFERENCE,
    derived_line,
    fraction,
    legend_below,
    log_axis,
    panels,
)
from eureka_lib.plots.verdicts import COLOURS, MARKS
from eureka_lib.store import Run

WORDS = {REPRODUCED: "yes", NOT_REPRODUCED: "no", NOT_TESTABLE: "not testable"}


def plot_sweep(groups: Mapping[float, Sequence[Run]], label: str, plateau: float) -> Figure:
    """What a number that is varied does: how many runs jump, with the Wilson interval, and three numbers of each run.

    These are its EM step, with their means, final accuracy, and the attention entropy a quarter into the budget, where
    runs lie on the plateau, of which ``plateau`` is the derived accuracy. Dots are runs, hollow without an EM.
    """
    colour = colour_of("softmax")
    figure, axes = plt.subplots(2, 2, figsize=(PLOT_WIDTH, 4.6), sharex=True)
    names = ("share that jump", "step of the jump", "final test accuracy", "evenness of attention,\na quarter in")
    for i, runs in enumerate(groups.values()):
        table = pd.DataFrame(map(_numbers, runs)).assign(x=i + np.linspace(-0.25, 0.25, len(runs)))
        happened = table["EM rate"]
        axes[0, 0].plot(i, happened.mean(), "o", color=colour, ms=5)
        axes[0, 0].plot([i] * 2, wilson_interval(happened.sum(), len(runs)), color=colour, lw=1.3, alpha=0.6,
                        gid="wilson")  # fmt: skip
        axes[0, 1].hlines(table["EM step"].mean(), i - 0.35, i + 0.35, color="black", lw=1.6, gid="mean")
        for axis, column in zip(axes.flat[1:], table.columns[1:], strict=False):
            for jumped, part in table.groupby("EM rate"):
                axis.plot(part["x"], part[column], "o", ms=4, mfc=colour if jumped else "none", mec=colour, mew=0.9,
                          alpha=0.8, gid=None if jumped else "censored")  # fmt: skip
    for axis, name in zip(axes.flat, names, strict=True):
        axis.set_ylabel(name)
    axes[0, 0].set_ylim(-0.05, 1.05)
    axes[0, 1].set_ylim(0, None)
    axes[1, 1].set_ylim(-0.05, 1.05)
    derived_line(axes[1, 0], plateau, "plateau")
    for axis in axes[1]:
        axis.set_xticks(range(len(groups)), map(fraction, groups))
        axis.set_xlabel(f"{label}\n\N{LEFTWARDS ARROW} even" + " " * 24 + "sharp \N{RIGHTWARDS ARROW}")
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
    """The ratio of EM times behind each pair of Z1 and Z2, with its interval, and a mark for each verdict."""
    pairs = sorted(zip(rows[::2], rows[1::2], strict=True), key=lambda pair: pair[0].value)
    first = [row for row, _ in pairs]
    plot_over_softmax(axis, [row.part for row in first], [row.value for row in first], [row.interval for row in first])
    for x, word, column in zip((1.06, 1.18), ("shortens?", "removes?"), zip(*pairs, strict=True), strict=True):
        note = {"xycoords": ("axes fraction", "data"), "ha": "center", "va": "center", "annotation_clip": False}
        axis.annotate(word, (x, -0.9), fontsize=8, **note)
        for y, row in enumerate(column):
            kind = kind_of(row.verdict)
            colour = COLOURS[kind] if kind in (REPRODUCED, NOT_REPRODUCED) else DERIVED
            axis.annotate(MARKS[kind], (x, y), color=colour, weight="bold", gid=kind, **note)
    for value, word in {SHORTER: "as long", REMOVED: "half as long"}.items():
        axis.axvline(value, color=DERIVED, ls="-" if value == SHORTER else "--", lw=1, zorder=0)
        axis.annotate(word, (value, 1), (0, 2), ("data", "axes fraction"), "offset points", ha="center", fontsize=8,
                      color=DERIVED)  # fmt: skip
    ends = [end for row in rows for end in row.interval if 0 < end < np.inf]
    log_axis(axis, [0.25, 0.5, 1, 2, 4])
    axis.set_xlim(min([0.4, *ends]) / 1.1, max([2.5, *ends]) * 1.1)  # an open interval ends at the axes' edge
    axis.set_xlabel(
        "\N{LEFTWARDS ARROW} sooner      mean step of the jump over softmax's      later \N{RIGHTWARDS ARROW}"
    )


def plot_over_softmax(
    axis: Axes, labels: Sequence[str], values: Sequence[float], intervals: Sequence[tuple[float, float]]
) -> None:
    """A row per method, by its label and in its colour: its number over softmax's, with the interval."""
    colours = {short_label_of(method): colour_of(method) for method in METHODS}
    for y, (label, value, interval) in enumerate(zip(labels, values, intervals, strict=True)):
        axis.plot(np.clip(interval, 1e-3, 1e3), [y, y], color=colours[label], lw=3, alpha=0.4, solid_capstyle="round")
        axis.plot(value, y, "o", color=colours[label], ms=6)
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.4, -0.6)


def said_of(rows: Sequence[Row]) -> str:
    """How many methods shorten the plateau, and how many remove it; or, without a plateau, how many are sooner."""
    shorter, removed = ([kind_of(row.verdict) for row in rows[i::2]] for i in (0, 1))
    if NOT_TESTABLE in shorter:
        below, above = (
            sum(ends) for ends in zip(*((row.interval[1] < 1, row.interval[0] > 1) for row in rows[::2]), strict=True)
        )
        return f"Softmax has no plateau here. Of {len(shorter)} methods {below} are surely sooner, {above} later"
    return (
        f"{shorter.count(REPRODUCED)} of {len(shorter)} methods shorten softmax's plateau, "
        f"{shorter.count(NOT_REPRODUCED)} do not; {removed.count(REPRODUCED)} remove it"
    )


def plot_costs(table: pd.DataFrame) -> Figure:
    """A training step's time with each method over softmax's, and the quartiles, of a benchmark's table of rows."""
    table = table.sort_values("ratio")
    figure, (axis,) = panels(1, 0.9 + 0.28 * len(table))
    plot_over_softmax(axis, table["name"], table["ratio"], table[["low", "high"]].to_numpy())
    axis.axvline(1, color=DERIVED, lw=1, zorder=0)
    axis.set_xlim(min(0.9, 0.98 * table["low"].min()), None)
    axis.set_xlabel(
        "\N{LEFTWARDS ARROW} cheaper      time of a training step over softmax's      dearer \N{RIGHTWARDS ARROW}"
    )
    for y, ratio in enumerate(table["ratio"]):
        axis.annotate(f"{ratio:.2f}", (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    return figure


def verdict_table(rows: Sequence[Row]) -> pd.DataFrame:
    """A row per method: the ratio of EM times with its interval, and the verdicts of Z1 and Z2."""
    return pd.DataFrame([
        {
            "method": shorter.part,
            "EM time / softmax's": round(shorter.value, 2),
            "interval": "{:.2f} to {:.2f}".format(*shorter.interval),
            "shortens": WORDS.get(shorter.verdict, shorter.verdict),
            "removes": WORDS.get(removed.verdict, removed.verdict),
        }
        for shorter, removed in zip(rows[::2], rows[1::2], strict=True)
    ]).set_index("method")  # fmt: skip


def plot_layers(axes: Sequence[Axes], table: pd.DataFrame, scale: float) -> None:
    """A :func:`layer_table` in two panels, a line per layer: where the rows lie, and what each method makes of them."""
    first = table.drop_duplicates("layer")
    _bars(axes[0], first, "spread", first["layer"], color=DERIVED, marker="o")
    for i, (method, one) in enumerate(table.groupby("method", sort=False)):
        offset = 0.18 * (i - (table["method"].nunique() - 1) / 2)
        style = {"color": colour_of(method), "marker": MARKERS.get(method, "v"), "label": logits.label_of(method)}
        _bars(axes[1], one, "entropy", one["layer"] + offset, **style)
    layers = first["layer"].tolist()
    axes[0].set(xscale="log", xlim=(0.01, 30), xlabel="spread of the untrained heads' rows", ylabel="layer")
    axes[1].set(xlim=(-0.03, 1.03), xlabel="evenness: normalised entropy")
    for axis in axes:
        axis.set(yticks=layers, ylim=(max(layers) + 0.6, 0.4))  # the first layer on top
    mark_crossovers(axes[0], scale)
    legend_below(axes[1])


def _bars(axis: Axes, table: pd.DataFrame, kind: str, heights: pd.Series, **style) -> None:
    """Median and band as points with horizontal bars."""
    median = table[f"{kind}_median"]
    reach = [median - table[f"{kind}_low"], table[f"{kind}_high"] - median]
    axis.errorbar(median, heights, xerr=reach, ls="none", ms=5, lw=1.4, **style).lines[2][0].set_gid("rows")


def plot_gradients(axes: Sequence[Axes], table: pd.DataFrame) -> None:
    """A :func:`gradient_table`, one panel per matrix: a point per seed, a short line at their median."""
    names = list(table["method"].unique())
    for axis, matrix in zip(axes, MATRICES, strict=True):
        for (method, layer), one in table[table["matrix"] == matrix].groupby(["method", "layer"], sort=False):
            at = layer + 0.18 * (names.index(method) - (len(names) - 1) / 2)
            label = logits.label_of(method) if layer == 1 else None
            axis.plot([at] * len(one), one["gradient"], MARKERS.get(method, "v"), color=colour_of(method), ms=4,
                      alpha=0.6, mew=0, label=label)  # fmt: skip
            axis.hlines(one["gradient"].median(), at - 0.08, at + 0.08, color="black", lw=1, gid="medians")
        axis.set(yscale="log", title=f"${matrix}$", xlabel="layer", xticks=sorted(table["layer"].unique()))
        axis.grid(axis="y", lw=0.4)
        axis.label_outer()
    axes[0].set_ylabel("mean absolute gradient")
    legend_below(axes[0])


def plot_scores(judged: pd.DataFrame) -> Figure:
    """What each predictor is worth on held-out runs, a panel per question, with 95 % intervals.

    Shaded is what is no better than a guess, the dashed line what the losses alone give; hollow is the flattering value
    on the runs that the predictor was fitted on. Those that need no look inside are grey.
    """
    figure, axes = plt.subplots(1, len(QUESTIONS), figsize=(PLOT_WIDTH, 3.9), sharey=True)
    for axis, (name, question) in zip(axes, QUESTIONS.items(), strict=True):
        rows = judged[judged["question"] == name].reset_index(drop=True)
        _draw_scores(axis, rows)
        axis.set(xlabel=f"share of pairs ranked rightly\n({question.measure})", xlim=(-0.03, 1.03))
        axis.set_title(f"{name} the Eureka-moment comes", fontsize=10)
    axes[0].set_yticks(range(len(rows)), rows["predictor"], fontsize=9)
    axes[0].invert_yaxis()
    handles = [
        Line2D([], [], ls="-", marker="o", color="black", label="held-out runs, 95 % interval"),
        Line2D([], [], ls="", marker="o", color="black", mfc="none", label="fitting runs"),
        Line2D([], [], color=DERIVED, ls="--", label=BASELINE),
        Patch(color=GRID, label="a guess, or worse"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=9)
    return figure


def _draw_scores(axis: Axes, rows: pd.DataFrame) -> None:
    axis.axvspan(-0.03, 0.5, color=GRID, lw=0, alpha=0.6, zorder=0)
    axis.axvline(rows.set_index("predictor").loc[BASELINE, "value"], color=DERIVED, lw=1, ls="--", zorder=0)
    trivial = np.arange(len(rows)) <= rows.index[rows["predictor"] == BASELINE][0]
    for row, place in zip(rows.to_dict("records"), rows.index, strict=True):
        colour = REFERENCE if trivial[place] else MEMBER
        axis.plot([row["low"], row["high"]], [place, place], color=colour, lw=1.6)
        axis.plot(row["value"], place, "o", color=colour, ms=5.5)
        if row["predictor"] != CONSTANT:
            axis.plot(row["on fitting runs"], place, "o", mfc="none", mec=colour, ms=5.5, zorder=3)
