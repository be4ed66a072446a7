"""A group of rows as a picture."""

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from eureka_lib.benchmark.measure import Row
from eureka_lib.plots.style import DERIVED, panels

MEASURED, BAR, FLOOR = "#0072B2", "#D55E00", DERIVED
ROW_HEIGHT = 0.3  # inches
FEW_DECADES = 2.2  # on an axis shorter than this, 2 and 5 are marked beside the powers of ten


def row_table(rows: Sequence[Row]) -> pd.DataFrame:
    """The rows as a table, with the column ``met``: whether within the bar."""
    return pd.DataFrame([asdict(row) | {"met": row.met} for row in rows])


def plot_rows(rows: Sequence[Row]) -> Figure:
    """One line per row: the median as a dot, the quartiles as a bar, its floor and its bar where it has them.

    To the left of the line at 1 the thing is cheaper than its baseline. The axis is logarithmic, so that half and twice
    are equally far from it.
    """
    figure, (axis,) = panels(1, 0.9 + ROW_HEIGHT * len(rows))
    axis.axvline(1, color=FLOOR, lw=1, zorder=0)
    for y, row in enumerate(rows):
        axis.plot([row.low, row.high], [y, y], color=MEASURED, lw=3, alpha=0.45, solid_capstyle="round")
        axis.plot(row.ratio, y, "o", color=MEASURED, ms=5)
        axis.annotate(_verdict(row), (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8)
        for value, colour, style in ((row.floor, FLOOR, ":"), (row.bar, BAR, "-")):
            if value is not None:
                axis.plot([value, value], [y - 0.38, y + 0.38], color=colour, lw=1.8, ls=style)
    axis.set(xscale="log", xlim=_limits(rows), ylim=(len(rows) - 0.4, -0.6), xlabel="cost / cost of the baseline")
    axis.set_yticks(range(len(rows)), [f"{row.name}\n/ {row.baseline}" for row in rows], fontsize=7)
    axis.grid(axis="y", lw=0.4)
    _legend(axis, rows)
    _ticks(axis)
    return figure


def _verdict(row: Row) -> str:
    """The median, and whether it is within the row's bar."""
    bar = "" if row.bar is None else f" {'≤' if row.met else '>'} {row.bar:.3g}"
    ratio = f"{row.ratio:.3g}" if row.ratio < 100 else f"{row.ratio:.0f}"
    return f"{ratio}{bar}"


def _legend(axis: Axes, rows: Sequence[Row]) -> None:
    axis.plot([], [], "o-", color=MEASURED, ms=5, label="median and quartiles")
    if any(row.floor is not None for row in rows):
        axis.plot([], [], color=FLOOR, lw=1.8, ls=":", label="floor (counted)")
    if any(row.bar is not None for row in rows):
        axis.plot([], [], color=BAR, lw=1.8, label="bar (at most)")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=8, borderaxespad=0.2)


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    """Room for every mark, and at least from a half to twice."""
    marks = [mark for row in rows for mark in (row.low, row.high, row.floor, row.bar) if mark is not None]
    return min(0.5, *marks) / 1.2, max(2.0, *marks) * 1.2


def _ticks(axis: Axes) -> None:
    """Marks that read as plain numbers."""
    low, high = axis.get_xlim()
    subs = (1, 2, 5) if high / low < 10**FEW_DECADES else (1,)
    wide = [value for value in LogLocator(subs=subs).tick_values(low, high) if low <= value <= high]
    axis.xaxis.set_major_locator(FixedLocator(wide))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
