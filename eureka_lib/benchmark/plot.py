"""A group of rows as a picture."""

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from eureka_lib.benchmark.measure import Row
from eureka_lib.plots.style import DERIVED, MEMBER, WAITS, panels

ROW_HEIGHT = 0.3  # inches


def row_table(rows: Sequence[Row]) -> pd.DataFrame:
    """The rows as a table, with the column ``met``: whether within the bar."""
    return pd.DataFrame([asdict(row) | {"met": row.met} for row in rows])


def plot_rows(rows: Sequence[Row]) -> Figure:
    """One line per row: the median as a dot, the quartiles as a bar, its floor and its bar where it has them.

    To the left of the line at 1 the thing is cheaper than its baseline. The axis is logarithmic, so that half and twice
    are equally far from it.
    """
    figure, (axis,) = panels(1, 0.9 + ROW_HEIGHT * len(rows))
    table = row_table(rows).astype({"floor": float, "bar": float})
    y, style = table.index, {"ls": "none", "marker": "|", "ms": 16, "mew": 1.8}
    quartiles = [table["ratio"] - table["low"], table["high"] - table["ratio"]]
    axis.errorbar(table["ratio"], y, xerr=quartiles, fmt="o", ms=5, color=MEMBER, label="median and quartiles")
    for mark, colour, label in (("floor", DERIVED, "floor (counted)"), ("bar", WAITS, "bar (at most)")):
        if table[mark].notna().any():
            axis.plot(table[mark], y, color=colour, label=label, **style)
    axis.axvline(1, color=DERIVED, lw=1, zorder=0)
    axis.set_yticks(y, [f"{row.name}\n/ {row.baseline}" for row in rows], fontsize=8)
    axis.set(xscale="log", ylim=(len(rows) - 0.4, -0.6), xlabel="cost / cost of the baseline")
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, 0.4), max(high, 2.5))  # from a half to twice at least
    axis.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator(), major_formatter="{x:g}")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=8, borderaxespad=0.2)
    for i, ratio in enumerate(table["ratio"]):
        axis.annotate(f"{ratio:.3g}", (1.01, i), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    return figure
