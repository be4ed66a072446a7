"""Tables as curves: schedules, the shape of each attention, baselines, and the follow-up's numbers beside ours."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eureka_lib.attention.registry import colour_of, label_of, short_label_of
from eureka_lib.claims.published import FOLLOW_UP, FOLLOW_UP_SEEDS, QUANTUM
from eureka_lib.measure.methods import count
from eureka_lib.measure.plateaus import AFTER, BEFORE, NEVER
from eureka_lib.measure.runs import moment_of
from eureka_lib.plots.style import DERIVED, MEMBER, REFERENCE, derived_line, panels, small_panels
from eureka_lib.store import Run
from eureka_lib.tasks.language import MaskedLanguageTask

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


def plot_schedules(axis: Axes, table: pd.DataFrame) -> None:
    """Scale factors over training: a line per ``shape`` of a table with columns shape, step and factor."""
    dashes = itertools.cycle(("--", ":", "-", "-."))
    for (shape, line), dash in zip(table.groupby("shape", sort=False), dashes, strict=False):
        axis.plot(line["step"], line["factor"], dash, color=colour_of(shape), label=label_of(shape))
    axis.set(xlabel="training step", ylabel="scale / usual scale")
    derived_line(axis, 1, "usual scale", decimals=0)
    axis.legend(loc="upper right", bbox_to_anchor=(1, 0.95))


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


def follow_up_table(groups: Mapping[tuple[str, float], Sequence[Run]]) -> pd.DataFrame:
    """The published table and ours as one, a row per method and learning rate that either has.

    Columns method, learning rate, and for both ``published`` and ``measured`` the EMs "k/n" and the mean accuracy.
    """
    rows = []
    for method, rate in dict.fromkeys([*FOLLOW_UP, *groups]):
        runs, (k, accuracy) = groups.get((method, rate), ()), FOLLOW_UP.get((method, rate), (None, np.nan))
        rows.append({
            "method": _label(method),
            "learning rate": rate,
            "published EMs": "" if k is None else f"{k}/{FOLLOW_UP_SEEDS}",
            "published accuracy": accuracy,
            "measured EMs": count(map(moment_of, runs)).replace(" of ", "/") if runs else "",
            "measured accuracy": np.mean([run.final_accuracy for run in runs]) if runs else np.nan,
        })  # fmt: skip
    return pd.DataFrame(rows)


def plot_follow_up(groups: Mapping[tuple[str, float], Sequence[Run]], plateau: float) -> Figure:
    """Mean final accuracy by learning rate, a line per method: published left, measured right with a dot per seed."""
    table = follow_up_table(groups)
    rates = sorted(table["learning rate"].unique())
    methods = list(dict.fromkeys(method for method, _ in [*FOLLOW_UP, *groups]))
    lowest = min((run.final_accuracy for runs in groups.values() for run in runs), default=1.0)
    figure, axes = panels(2, 3.4, share_y=True)
    for i, method in enumerate(methods):
        shift = 0.08 * (i - (len(methods) - 1) / 2)  # methods of one rate stand beside each other
        label, colour = _label(method), REFERENCE if method == QUANTUM else colour_of(method)
        line, marker = STYLES.get(method, ("-", "o"))
        mine = table[table["method"] == label].set_index("learning rate").reindex(rates)
        for axis, which in zip(axes, ("published", "measured"), strict=True):
            axis.plot(np.arange(len(rates)) + shift, mine[f"{which} accuracy"], color=colour, ls=line, marker=marker,
                      ms=5, lw=1.4, label=label)  # fmt: skip
        for x, rate in enumerate(rates):
            for run in groups.get((method, rate), ()):
                axes[1].plot(x + shift, run.final_accuracy, ".", color=colour, ms=4, alpha=0.5)
    for axis, title in zip(axes, ("published (Born et al. 2025)", "measured here"), strict=True):
        axis.axhline(plateau, color=DERIVED, ls="--", lw=1, zorder=0)
        axis.set(title=title, xlabel="learning rate", ylim=(min(0.4, lowest - 0.03), 1.02))
        axis.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    axes[0].set_ylabel("mean final test accuracy")
    derived_line(axes[1], plateau, "plateau")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _label(method: str) -> str:
    return method if method == QUANTUM else short_label_of(method)
