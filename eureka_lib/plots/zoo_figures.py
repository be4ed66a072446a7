"""Today's attention in pictures: what each does to a row of logits, and each against softmax, in a panel of its own.

Twelve methods are too many for one set of axes. So each has a small one, in its own colour over softmax's grey, and the
comparison that decides, EM times with their intervals, has a row for each. The follow-up's table is here, too, measured
beside published.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from eureka_lib.attention.layer import AttentionWeights
from eureka_lib.attention.registry import changes_of, check_attention
from eureka_lib.claims.published import FOLLOW_UP, FOLLOW_UP_SEEDS, QUANTUM
from eureka_lib.claims.registry import NOT_REPRODUCED, REPRODUCED, Row
from eureka_lib.claims.rules import REMOVED, SHORTER
from eureka_lib.plots import figures
from eureka_lib.store import Run
from eureka_lib.store.runs import Groups

GREY, MEMBER = "#8C8C8C", "#0072B2"
COLUMNS = 4  # panels beside each other
HEAD_WIDTH = 16  # features of the example's queries and keys
STYLES = {  # of the follow-up's methods, which share their axes: line and marker
    "softmax": ("-", "o"), "norm_softmax_var": ("--", "s"), "sinkhorn": ("-.", "^"), "qr": ("-", "D"),
    QUANTUM: (":", "x"),
}  # fmt: skip
WORDS = {REPRODUCED: "yes", NOT_REPRODUCED: "no"}


def example_rows(keys: int, spread: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian queries and keys (1, 1, N, D) whose scaled logits have about the standard deviation ``spread``."""
    generator = torch.Generator().manual_seed(seed)
    queries, keys_ = torch.randn(2, 1, 1, keys, HEAD_WIDTH, generator=generator)
    return spread * queries, keys_


def shape_table(methods: Sequence[str], keys: int = 8, spread: float = 1.5, seed: int = 0) -> pd.DataFrame:
    """One row of logits under each of ``methods`` at the start of training: columns method, key, logit, weight.

    ``logit`` is the scaled one, softmax's z. Where a method looks at all rows, it gets the matrix that the row is of.
    """
    queries, keys_ = example_rows(keys, spread, seed)
    logits = (queries @ keys_.mT * HEAD_WIDTH**-0.5)[0, 0, 0].tolist()
    tables = []
    for method in methods:
        changes = changes_of(method)
        attention, scale = changes.get("attention", "softmax"), changes.get("scale_start", 1.0)
        prepare = check_attention(attention).prepare or (lambda features: features)
        with torch.no_grad():
            weights = AttentionWeights(attention, scale * HEAD_WIDTH**-0.5)(prepare(queries) @ prepare(keys_).mT)
        tables.append(pd.DataFrame({"method": method, "key": range(1, keys + 1), "logit": logits,
                                    "weight": weights[0, 0, 0].tolist()}).sort_values("logit"))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def plot_shapes(table: pd.DataFrame) -> Figure:
    """A panel per method of a :func:`shape_table`: weight against logit, softmax's in grey."""
    rows = dict(list(table.groupby("method", sort=False)))
    softmax = rows["softmax"]
    figure, axes = _small_panels([method for method in rows if method != "softmax"], height=1.55)
    for method, axis in axes.items():
        axis.plot(softmax["logit"], softmax["weight"], "-", color=GREY, lw=2.5, alpha=0.6)
        axis.plot(rows[method]["logit"], rows[method]["weight"], "o", color=MEMBER, ms=4)
        axis.set_title(f"{figures.short_label_of(method)}\nsum {rows[method]['weight'].sum():.2f}", fontsize=8)
        axis.set(xlabel="logit $z$", ylabel="weight", ylim=(-0.03, 1.03))
        axis.label_outer()
    return figure


def plot_survivals(groups: Groups) -> Figure:
    """A panel per method: share of runs without an EM against the step, softmax's in grey, with 95 % bands."""
    figure, axes = _small_panels([method for method in groups if method != "softmax"], height=1.55)
    for method, axis in axes.items():
        for name, colour in (("softmax", GREY), (method, MEMBER)):
            figures.plot_survival_curve(axis, groups[name], colour, name)
        k = sum(figures.moment_of(run).happened for run in groups[method])
        axis.set_title(f"{figures.short_label_of(method)}\n{k} of {len(groups[method])} EMs", fontsize=8)
        axis.set(xlabel="training step", ylabel="no EM yet", ylim=(-0.03, 1.03), xlim=(0, None))
        axis.label_outer()
    return figure


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
        axis.axvline(value, color=figures.DERIVED, ls="-" if value == SHORTER else "--", lw=1, zorder=0)
    axis.set_xscale("log")
    low, high = (end([row.interval[i] for row in rows]) for i, end in enumerate((min, max)))
    axis.set_xlim(min(0.4, low / 1.1), max(2.5, high * 1.1))
    axis.xaxis.set_major_locator(FixedLocator([0.25, 0.5, 1, 2, 4]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
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
            "measured EMs": f"{sum(figures.moment_of(run).happened for run in runs)}/{len(runs)}" if runs else "",
            "measured accuracy": np.mean([run.final_accuracy for run in runs]) if runs else np.nan,
        })  # fmt: skip
    return pd.DataFrame(rows)


def plot_follow_up(groups: Mapping[tuple[str, float], Sequence[Run]], plateau: float) -> Figure:
    """Mean final accuracy by learning rate, a line per method: published left, measured right with a dot per seed."""
    table = follow_up_table(groups)
    rates = sorted(table["learning rate"].unique())
    methods = list(dict.fromkeys(method for method, _ in [*FOLLOW_UP, *groups]))
    lowest = min((run.final_accuracy for runs in groups.values() for run in runs), default=1.0)
    figure, axes = figures.panels(2, 3.4, share_y=True)
    for i, method in enumerate(methods):
        shift = 0.08 * (i - (len(methods) - 1) / 2)  # methods of one rate stand beside each other
        label, colour = _label(method), GREY if method == QUANTUM else figures.colour_of(method)
        line, marker = STYLES.get(method, ("-", "o"))
        mine = table[table["method"] == label].set_index("learning rate").reindex(rates)
        for axis, which in zip(axes, ("published", "measured"), strict=True):
            axis.plot(np.arange(len(rates)) + shift, mine[f"{which} accuracy"], color=colour, ls=line, marker=marker,
                      ms=5, lw=1.4, label=label)  # fmt: skip
        for x, rate in enumerate(rates):
            for run in groups.get((method, rate), ()):
                axes[1].plot(x + shift, run.final_accuracy, ".", color=colour, ms=4, alpha=0.5)
    for axis, title in zip(axes, ("published (Born et al. 2025)", "measured here"), strict=True):
        axis.axhline(plateau, color=figures.DERIVED, ls="--", lw=1, zorder=0)
        axis.set(title=title, xlabel="learning rate", ylim=(min(0.4, lowest - 0.03), 1.02))
        axis.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    axes[0].set_ylabel("mean final test accuracy")
    figures.derived_line(axes[1], plateau, "plateau")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _label(method: str) -> str:
    return method if method == QUANTUM else figures.short_label_of(method)


def _small_panels(methods: Sequence[str], height: float) -> tuple[Figure, dict[str, Axes]]:
    """A small panel per method, ``COLUMNS`` in a row, each ``height`` inches high."""
    rows = -(-len(methods) // COLUMNS)
    figure, axes = figures.plt.subplots(
        rows, COLUMNS, figsize=(figures.PLOT_WIDTH, height * rows + 0.3), sharex=True, sharey=True, squeeze=False
    )
    for axis in axes.flat[len(methods) :]:
        axis.set_visible(False)
    return figure, dict(zip(methods, axes.flat, strict=False))
