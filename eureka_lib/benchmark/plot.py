"""A group of rows as a table, and fused attention's as a picture."""

from collections.abc import Iterable
from dataclasses import asdict

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from eureka_lib.attention.registry import colour_of, dash_of
from eureka_lib.benchmark.attention import NAIVE, SDPA
from eureka_lib.benchmark.measure import Row
from eureka_lib.plots.style import DERIVED, GRID, legend_below, log_axis, panels

METHODS = {NAIVE: "norm_softmax", SDPA: "softmax"}  # whose colours the baselines have


def row_table(rows: Iterable[Row]) -> pd.DataFrame:
    """The rows as a table, with the column ``met``: whether within the bar."""
    return pd.DataFrame([asdict(row) | {"met": row.met} for row in rows])


def length_table(rows: Iterable[Row]) -> pd.DataFrame:
    """The :func:`row_table` of fused attention, with the columns ``cost``, time or memory, and ``tokens`` of a row."""
    table = row_table(rows)
    found = table["name"].str.extract(r"(?P<cost>time|memory), (?P<tokens>\d+) tokens")
    return table.assign(**found.astype({"tokens": int}))


def said_of(table: pd.DataFrame) -> str:
    """What the longest rows of a :func:`length_table` cost against the naive form."""
    longest = table[(table["tokens"] == table["tokens"].max()) & (table["baseline"] == NAIVE)].set_index("cost")
    time, memory = longest.loc[["time", "memory"], "ratio"]
    return (
        f"With {longest['tokens'].iloc[0]:,} tokens NormSoftmax without its matrix takes {time:.2g} of the naive "
        f"form's time, {memory:.2g} of its memory"
    )


def plot_lengths(table: pd.DataFrame) -> Figure:
    """A :func:`length_table`, a panel for time and one for memory: the fused form's over each baseline's, by length."""
    figure, axes = panels(2, 3.2, share_y=True)
    lengths = sorted(table["tokens"].unique())
    for axis, (cost, part) in zip(axes, table.groupby("cost", sort=False), strict=True):
        for baseline, one in part.groupby("baseline", sort=False):
            method, quartiles = METHODS[baseline], [one["ratio"] - one["low"], one["high"] - one["ratio"]]
            axis.errorbar(one["tokens"], one["ratio"], quartiles, color=colour_of(method), ls=dash_of(method),
                          marker="o", ms=5, label=f"over {baseline}'s")  # fmt: skip
        log_axis(axis, lengths)
        axis.axhspan(1e-9, 1, color=GRID, lw=0, alpha=0.6, zorder=0)
        axis.annotate("cheaper", (0.02, 1), (0, -3), ("axes fraction", "data"), "offset points", va="top", fontsize=8,
                      color=DERIVED)  # fmt: skip
        axis.set(yscale="log", xlabel="tokens in a row", title=cost)
    low, high = table["low"].min(), table["high"].max()
    axes[0].set(ylabel="cost of the fused form", ylim=(min(0.4, 0.8 * low), max(2.5, 1.2 * high)))
    axes[0].yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator(), major_formatter="{x:g}")
    legend_below(axes[0])
    return figure
