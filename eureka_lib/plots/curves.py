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
from eureka_lib.measure.plateaus import AFTER, BEFORE, NEVER
from eureka_lib.plots.style import DERIVED, GRID, MEMBER, REFERENCE, derived_line, legend_below, panels, small_panels
from eureka_lib.store import Run
from eureka_lib.tasks.language import MaskedLanguageTask
from eureka_lib.tasks.two_step import TwoStepTask

DASHES = {BEFORE: ":", AFTER: "-", NEVER: "--"}
SHOWN_ERROR = 1.5  # the upper end of the picture: averaging few examples errs more than anybody needs to see
GREYS = {  # line style and width
    "zero predictor": ("-", 0.6), "least squares": ("-", 1.6), "ridge": ("--", 1), "nearest neighbours": ("-.", 1),
    "averaging": (":", 1),
}  # fmt: skip
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
                         elinewidth=0.8, **style)  # fmt: skip
        axes[1].plot(x, rows["mean restricted EM time"], **style)
    axes[0].set(ylabel="share of runs with an EM", ylim=(-0.03, 1.03))
    axes[1].set(ylabel="mean time to the EM (steps)", ylim=(0, 1.05 * budget))
    derived_line(axes[1], budget, "budget", decimals=0)
    rates = sorted(table["learning rate"].unique())
    for axis in axes:
        axis.set(xscale="log", xlabel="learning rate")
        axis.set_xticks(rates, [f"{rate:g}" for rate in rates], fontsize=8, rotation=30)
        axis.minorticks_off()
    legend_below(axes[0])


def plot_shapes(table: pd.DataFrame) -> Figure:
    """A panel per method of a :func:`eureka_lib.measure.zoo.shape_table`: weight against logit, softmax's in grey."""
    rows = dict(list(table.groupby("method", sort=False)))
    softmax = rows["softmax"]
    figure, axes = small_panels([method for method in rows if method != "softmax"], 4, 1.65)
    for method, axis in axes.items():
        axis.plot(softmax["logit"], softmax["weight"], "-", color=REFERENCE, lw=2.5, alpha=0.6)
        axis.plot(rows[method]["logit"], rows[method]["weight"], "o", color=MEMBER, ms=4)
        axis.set_title(f"{short_label_of(method)}\nsum {rows[method]['weight'].sum():.2f}", fontsize=8)
        axis.set(xlabel="logit $z$", ylabel="weight", ylim=(-0.03, 1.03))
        axis.label_outer()
    return figure


def plot_neighbours(axis: Axes, table: pd.DataFrame, task: MaskedLanguageTask) -> None:
    """The loss of somebody who knows one token, against where that token stands, under the unigram plateau."""
    axis.plot(table["offset"], table["loss"], "o", color=colour_of("softmax"), ms=5)
    derived_line(axis, task.plateau_loss, "unigram:\nno token known")
    axis.set(xlabel="where the one known token stands", ylabel="loss (nats per token)")
    axis.set_xticks(table["offset"][:: max(1, len(table) // 16)])


def plot_errors(errors: pd.DataFrame, baselines: pd.DataFrame) -> Figure:
    """Error against the number of examples, a panel per method, a line per run and phase, over the baselines."""
    methods = dict(list(errors.groupby("method", sort=False)))
    figure, axes = small_panels(methods, len(methods), 3.4)
    for method, axis in axes.items():
        plot_baselines(axis, baselines)
        for (phase, seed), line in methods[method].groupby(["phase", "seed"], sort=False):
            label = phase if seed == methods[method]["seed"].iloc[0] else None
            axis.plot(line["examples"], line["error"], ls=DASHES[phase], color=colour_of(method), lw=1, alpha=0.7,
                      label=label)  # fmt: skip
        axis.set_title(short_label_of(method), fontsize=9)
        axis.set(xlabel="examples in the prompt", ylabel="error / zero predictor's", ylim=(-0.03, SHOWN_ERROR))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.label_outer()
    first = next(iter(axes.values()))
    figure.legend(*first.get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=8)
    return figure


def plot_baselines(axis: Axes, baselines: pd.DataFrame) -> None:
    """The measured errors of the baselines, in greys."""
    for name, (style, width) in GREYS.items():
        axis.plot(baselines.index, baselines[name], ls=style, color=DERIVED, lw=width, label=name, zorder=1)


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
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
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
    derived_line(axes[1], 1, "spread 1", decimals=0)
    axes[1].texts[-1].set_text("spread\n1")
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


def plot_temperatures(axes: Sequence[Axes], table: pd.DataFrame, scale_start: float) -> None:
    """A :func:`temperature_table`, averaged over layers, one panel per model; thin lines at 1 and at Heat's start."""
    for axis, (model, group) in zip(axes, table.groupby("model", sort=False), strict=True):
        for method, one in group.groupby("method", sort=False):
            mean = one.groupby("factor")["evenness"].mean()
            axis.plot(mean.index, mean, dash_of(method), color=colour_of(method), lw=1.8, label=short_label_of(method))
        for factor, text in ((1, "usual"), (scale_start, "Heat\nstarts")):
            axis.axvline(factor, color=DERIVED, lw=0.8, zorder=0)
            axis.annotate(text, (factor, 0.02), xycoords=("data", "axes fraction"), xytext=(3, 0), fontsize=8,
                          textcoords="offset points", color=DERIVED)  # fmt: skip
        axis.set(xscale="log", xlabel="scale factor", ylim=(-0.03, 1.05))
        axis.set_title(model.replace(", ", "\n"), fontsize=10)
    axes[0].set_ylabel("normalised entropy")
    legend_below(axes[0])


def plot_scaled_training(axes: Sequence[Axes], table: pd.DataFrame, task: TwoStepTask) -> None:
    """A :func:`train` table in two panels: the scale factor of each method, and the loss of every run."""
    for (method, seed), one in table.groupby(["method", "seed"], sort=False):
        first = seed == table["seed"].iloc[0]
        style = {"color": colour_of(method), "ls": dash_of(method), "label": label_of(method) if first else None}
        if first:
            axes[0].plot(one["step"], one["factor"], **style, lw=1.8)
        axes[1].plot(one["step"], one["loss"], **style, lw=1.3, alpha=0.85)
    derived_line(axes[1], task.plateau_loss(0.0), "plateau")
    axes[0].set(xlabel="training step", ylabel="scale factor", yscale="log")
    axes[1].set(xlabel="training step", ylabel="training loss (nats)", ylim=(0, None))
    axes[1].legend(fontsize=9)
