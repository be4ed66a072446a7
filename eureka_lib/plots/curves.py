"""Tables as curves: schedules, the shape of each attention, baselines, and the follow-up's numbers beside ours."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from eureka_lib.attention.registry import colour_of, dash_of, label_of, short_label_of
from eureka_lib.claims.published import FOLLOW_UP, QUANTUM, follow_up_table, row_label
from eureka_lib.measure import logits
from eureka_lib.measure.zoo import shape_kinds
from eureka_lib.plots.style import (
    DERIVED,
    GRID,
    MEMBER,
    REFERENCE,
    SMALLEST,
    derived_line,
    legend_below,
    panels,
    small_panels,
)
from eureka_lib.store import Run
from eureka_lib.tasks.language import MaskedLanguageTask
from eureka_lib.tasks.two_step import TwoStepTask

SHOWN_ERROR = 1.5  # the upper end of the picture
GREYS = {"zero predictor": "-", "least squares": "--"}  # the baselines that are drawn
STYLES = {  # of the follow-up's methods, which share their axes: line and marker
    "softmax": ("-", "o"), "norm_softmax_var": ("--", "s"), "sinkhorn": ("-.", "^"), "qr": ("-", "D"),
    QUANTUM: (":", "x"),
}  # fmt: skip
MARKERS = {"softmax": "o", "norm_softmax": "s", "norm_softmax_var": "^", "heat_treatment": "D"}  # of the normalisers


def plot_schedules(axis: Axes, table: pd.DataFrame) -> None:
    """Scale factors over training: a line per ``shape`` of a table with columns shape, step and factor."""
    dashes = itertools.cycle(("--", ":", "-", "-."))
    for (shape, line), dash in zip(table.groupby("shape", sort=False), dashes, strict=False):
        axis.plot(line["step"], line["factor"], dash, color=colour_of(shape), label=label_of(shape))
    axis.set(xlabel="training step", ylabel="scale / usual scale")
    derived_line(axis, 1, "usual scale", decimals=0)
    axis.legend(loc="upper right", bbox_to_anchor=(1, 0.95))


def plot_rates(axes: Sequence[Axes], table: pd.DataFrame, budget: int) -> None:
    """EM rate with its interval, and mean restricted EM time, of each method against the learning rate, on two axes.

    ``table`` is of :func:`eureka_lib.measure.methods.rate_curves`. Methods stand a little beside each other.
    """
    methods = list(table["method"].unique())
    for i, method in enumerate(methods):
        rows = table[table["method"] == method]
        x = rows["learning rate"] * 1.05 ** (i - (len(methods) - 1) / 2)
        style = {"color": colour_of(method), "ls": dash_of(method), "marker": MARKERS.get(method, "o"), "ms": 4,
                 "label": short_label_of(method)}  # fmt: skip
        axes[0].errorbar(x, rows["EM rate"], [rows["EM rate"] - rows["low"], rows["high"] - rows["EM rate"]],
                         elinewidth=0.8, **style)[2][0].set_gid("wilson")  # fmt: skip
        axes[1].plot(x, rows["mean restricted EM time"], **style)
    axes[0].set(ylabel="share of runs that jump", ylim=(-0.03, 1.03))
    axes[1].set(ylabel="mean step of the jump", ylim=(0, 1.05 * budget))
    derived_line(axes[1], budget, "budget", decimals=0)
    rates = sorted(table["learning rate"].unique())
    for axis in axes:
        axis.set(xscale="log", xlabel="learning rate")
        axis.set_xticks(rates, [f"{rate:g}" for rate in rates], fontsize=8, rotation=30)
        axis.minorticks_off()
    legend_below(axes[0])


def plot_shapes(table: pd.DataFrame) -> Figure:
    """A panel per method of a :func:`eureka_lib.measure.zoo.shape_table`: weight against logit, softmax's in grey.

    Methods of one kind stand together.
    """
    rows, kinds = dict(list(table.groupby("method", sort=False))), shape_kinds(table)
    softmax = rows["softmax"]
    figure, axes = small_panels(sorted(kinds, key=kinds.get), 4, 1.75)
    for method, axis in axes.items():
        axis.plot(softmax["logit"], softmax["weight"], "-", color=REFERENCE, lw=2.5, alpha=0.6, gid="grey")
        axis.plot(rows[method]["logit"], rows[method]["weight"], "o", color=colour_of(method), ms=4)
        total = rows[method]["weight"].sum()
        axis.set_title(f"{short_label_of(method)}\n{kinds[method]} {total:.2f}", fontsize=8)
        axis.set(xlabel="logit $z$", ylabel="weight", ylim=(-0.03, 1.03))
        axis.label_outer()
    return figure


def plot_neighbours(axis: Axes, table: pd.DataFrame, task: MaskedLanguageTask) -> None:
    """The loss of somebody who knows one token, against where that token stands, under the unigram plateau."""
    axis.plot(table["offset"], table["loss"], "o", color=MEMBER, ms=5)
    derived_line(axis, task.plateau_loss, "no token\nknown")
    where = "where the one known token stands, in tokens"
    axis.set(xlabel=f"\N{LEFTWARDS ARROW} left      {where}      right \N{RIGHTWARDS ARROW}")
    axis.set_ylabel("loss (nats per token)")
    axis.set_xticks(table["offset"][:: max(1, len(table) // 16)])


def plot_errors(errors: pd.DataFrame, baselines: pd.DataFrame) -> Figure:
    """Error against the number of examples, a panel per phase: each method's median over two baselines, runs thin."""
    figure, axes = small_panels(errors["phase"].unique(), 3, 3.2)
    for phase, axis in axes.items():
        for name, style in GREYS.items():
            axis.plot(baselines.index, baselines[name], style, color=DERIVED, lw=1, label=name, zorder=1)
        for method, one in errors[errors["phase"] == phase].groupby("method", sort=False):
            lines = one.pivot(index="examples", columns="seed", values="error")
            colour = colour_of(method)
            axis.plot(lines, color=colour, lw=0.8, alpha=0.15)
            axis.plot(lines.median(axis=1), dash_of(method), color=colour, lw=2, label=short_label_of(method),
                      gid="median")  # fmt: skip
        runs = errors[errors["phase"] == phase][["method", "seed"]].drop_duplicates()
        axis.set_title(f"{phase}: {len(runs)} runs", fontsize=9)
        axis.set(xlabel="examples in the prompt", ylabel="error (1: of who answers 0)", ylim=(-0.03, SHOWN_ERROR))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.label_outer()
    legend_below(max(axes.values(), key=lambda axis: len(axis.get_legend_handles_labels()[1])))
    return figure


def plot_follow_up(groups: Mapping[tuple[str, float], Sequence[Run]], plateau: float) -> Figure:
    """Mean final accuracy by learning rate, a line per method: published left, measured right with a dot per seed."""
    table = follow_up_table(groups)
    rates = sorted(table["learning rate"].unique())
    methods = list(dict.fromkeys(method for method, _ in [*FOLLOW_UP, *groups]))
    lowest = min((run.final_accuracy for runs in groups.values() for run in runs), default=1.0)
    figure, axes = panels(2, 3.4, share_y=True)
    for i, method in enumerate(methods):
        shift = 0.08 * (i - (len(methods) - 1) / 2)  # methods of one rate stand beside each other
        label, colour = row_label(method), REFERENCE if method == QUANTUM else colour_of(method)
        line, marker = STYLES.get(method, ("-", "o"))
        mine = table[table["method"] == label].set_index("learning rate").reindex(rates)
        for axis, which in zip(axes, ("published", "measured"), strict=True):
            for x, (counted, y) in enumerate(mine[[f"{which} EMs", f"{which} accuracy"]].to_numpy()):
                if counted and not str(counted).startswith(("0", "nan")):
                    axis.annotate(counted, (x + shift, y), (0, 5), textcoords="offset points", ha="center",
                                  fontsize=SMALLEST, color=colour, gid="counted")  # fmt: skip
            axis.plot(np.arange(len(rates)) + shift, mine[f"{which} accuracy"], color=colour, ls=line, marker=marker,
                      ms=5, lw=1.4, label=label)  # fmt: skip
        for x, rate in enumerate(rates):
            for run in groups.get((method, rate), ()):
                axes[1].plot(x + shift, run.final_accuracy, ".", color=colour, ms=4, alpha=0.5)
    for axis, title in zip(axes, ("published (Born et al. 2025)", "measured here"), strict=True):
        derived_line(axis, plateau, "plateau", outer=True)
        axis.set(title=title, xlabel="learning rate", ylim=(min(0.4, lowest - 0.03), 1.02))
        axis.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    axes[0].set_ylabel("mean final test accuracy")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return figure


def plot_rows(axes: Sequence[Axes], table: pd.DataFrame) -> None:
    """A :func:`row_table`, one panel per sigma: the weight of each key under each method."""
    for axis, (size, group) in zip(axes, table.groupby("spread"), strict=True):
        for method, one in group.groupby("method", sort=False):
            axis.plot(one["key"], one["weight"], **_line(method), marker=MARKERS.get(method, "v"), ms=5)
        axis.set(title=f"spread {size:g}", xlabel="key", xticks=group["key"].unique(), ylim=(-0.03, 1.03))
    axes[0].set_ylabel("weight")
    legend_below(axes[0])


def plot_divisors(axes: Sequence[Axes], table: pd.DataFrame, scale: float) -> None:
    """A :func:`divisor_table` in two panels, with the derived crossovers to plain softmax as dots."""
    for axis, column in zip(axes, ("divisor", "spread_after"), strict=True):
        for method, one in table.groupby("method", sort=False):
            axis.plot(one["spread"], one[column], **_line(method))
        axis.set(xscale="log", yscale="log", xlabel="spread of the logits")
        for method, sigma in logits.crossovers(scale).items():
            height = {"divisor": 1 / scale, "spread_after": sigma * scale}[column]
            axis.plot(sigma, height, MARKERS[method], color=colour_of(method), mec="black", ms=7, zorder=5)
        axis.yaxis.set_major_locator(LogLocator(numticks=6))
        axis.yaxis.set_minor_locator(NullLocator())
        mark_crossovers(axis, scale)
    axes[0].set(ylabel="what the logits are divided by")
    axes[1].set(ylabel="spread that is left")
    derived_line(axes[1], 1, "spread", decimals=0)
    legend_below(axes[0])


def plot_against_std(
    axes: Sequence[Axes], table: pd.DataFrame, kind: str, scale: float, start: tuple[float, float]
) -> None:
    """The column ``kind`` ("entropy" or "jacobian") of a :func:`std_table`, one panel per size; bands for the entropy.

    ``start`` is where an untrained model's rows lie.
    """
    for axis, (keys, group) in zip(axes, table.groupby("keys"), strict=True):
        for method, one in group.groupby("method", sort=False):
            axis.plot(one["spread"], one[f"{kind}_median"], **_line(method))
            if kind == "entropy" and method in logits.crossovers(scale):
                low, high = one[f"{kind}_low"], one[f"{kind}_high"]
                axis.fill_between(one["spread"], low, high, color=colour_of(method), alpha=0.18, lw=0, gid="rows")
        axis.axvspan(*start, color=GRID, lw=0, zorder=-1, gid="start")
        axis.set(xscale="log", title=f"{keys} keys", xlabel="spread of the logits", xlim=(1e-2, 1e2))
        mark_crossovers(axis, scale)
    if kind == "entropy":
        axes[0].set(ylabel="evenness: normalised entropy", ylim=(-0.03, 1.05))
    else:
        axes[0].set(ylabel="size of the Jacobian", yscale="log", ylim=(1e-4, 1e2))
    legend_below(axes[0])


def _line(method: str) -> dict:
    """How a method's line looks, the same in every panel."""
    return {"color": colour_of(method), "ls": dash_of(method), "lw": 1.8, "label": logits.label_of(method)}


def mark_crossovers(axis: Axes, scale: float) -> None:
    """Thin lines where the NormSoftmaxes become plain softmax, named above the axes."""
    names, sides = ("1/s", "\\sqrt{1/s}"), ("left", "right")  # the two may lie close together
    for (method, sigma), name, side in zip(logits.crossovers(scale).items(), names, sides, strict=True):
        axis.axvline(sigma, color=colour_of(method), lw=0.8, zorder=0)
        axis.annotate(f"${name}$", (sigma, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 2), ha=side,
                      textcoords="offset points", fontsize=8, color=DERIVED)  # fmt: skip


def plot_temperatures(axis: Axes, table: pd.DataFrame, scale_start: float) -> None:
    """A :func:`temperature_table`, a line per method and model, mean over layers; upright: 1 and Heat's start."""
    means = table.groupby(["method", "model", "factor"], sort=False)["evenness"].mean()
    for method, of_method in means.groupby("method", sort=False):
        for i, (model, mean) in enumerate(of_method.droplevel("method").groupby("model", sort=False)):
            line = mean.droplevel("model")
            axis.plot(
                line, dash_of(method), color=colour_of(method), lw=1.8, label=None if i else short_label_of(method)
            )
            if method != "softmax":
                axis.annotate(model.split(",")[0], (line.index[0], line.iloc[0]), (-3, 0), ha="right", va="center",
                              textcoords="offset points", fontsize=SMALLEST, color=colour_of(method))  # fmt: skip
    for factor, text in ((1, "usual"), (scale_start, "Heat Treatment starts")):
        axis.axvline(factor, color=DERIVED, lw=0.8, zorder=0)
        axis.annotate(text, (factor, 0.02), (3, 0), ("data", "axes fraction"), "offset points", fontsize=8,
                      color=DERIVED)  # fmt: skip
    axis.set(
        xscale="log",
        xlim=(0.4 * table["factor"].min(), None),
        ylabel="entropy of the attention\n(1: even, 0: one key has all)",
        ylim=(-0.03, 1.05),
    )
    axis.set_xlabel("\N{LEFTWARDS ARROW} softer      scale over the usual one      sharper \N{RIGHTWARDS ARROW}")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 0.1))


def plot_scaled_training(axis: Axes, table: pd.DataFrame, task: TwoStepTask) -> None:
    """The loss of every run of a :func:`train` table."""
    for (method, seed), one in table.groupby(["method", "seed"], sort=False):
        label = short_label_of(method) if seed == table["seed"].iloc[0] else None
        axis.plot(one["step"], one["loss"], dash_of(method), color=colour_of(method), lw=1.3, label=label)
    derived_line(axis, task.plateau_loss(0.0), "plateau of who\nreads all targets\nand compares not")
    axis.set(xlabel="training step", ylabel="training loss (nats)", ylim=(0, None))
    axis.legend(fontsize=9)
