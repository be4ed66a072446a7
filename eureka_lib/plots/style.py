"""How the figures look: one style, one colour per method throughout (Okabe-Ito, safe for colour-blind readers)."""

from collections.abc import Iterable, Sequence
from math import ceil

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

DERIVED = "#555555"  # the plateau and floor lines
REFERENCE, MEMBER = "#8C8C8C", "#0072B2"  # where each method has a panel: softmax, and the method
PLOT_WIDTH = 7.0  # inches: a text width; half of it still reads in a two-column paper


def use_style() -> None:
    """Set the style of all figures and tables of this process, whatever is in a person's own matplotlibrc."""
    plt.rcdefaults()
    pd.set_option("display.max_colwidth", None)  # verdicts are sentences
    sns.set_theme(context="paper", style="ticks", font_scale=1.1, font="DejaVu Sans")  # which matplotlib brings along
    plt.rcParams.update({
        "figure.dpi": 110, "savefig.dpi": 200, "figure.constrained_layout.use": True, "pdf.fonttype": 42,
        "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "axes.titlelocation": "left",
    })  # fmt: skip


def panels(n: int, height: float = 3.0, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure of text width with ``n`` panels side by side, ``height`` inches high."""
    figure, axes = plt.subplots(1, n, figsize=(PLOT_WIDTH, height), squeeze=False, sharey=share_y, layout="constrained")
    return figure, list(axes[0])


def small_panels(names: Iterable[str], columns: int, height: float) -> tuple[Figure, dict[str, Axes]]:
    """A panel per name, ``columns`` in a row at most, each ``height`` inches high, with common axes."""
    names = list(names)
    rows, columns = ceil(len(names) / columns), min(len(names), columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(PLOT_WIDTH, height * rows),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    return figure, dict(zip(names, axes.flat, strict=False))


def legend_below(axis: Axes) -> None:
    """One legend for all panels, under the figure, of what is drawn on one of them."""
    handles, labels = axis.get_legend_handles_labels()
    axis.figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), handlelength=2.6)


def derived_line(axis: Axes, value: float, text: str, decimals: int = 2, outer: bool = False) -> None:
    """A dashed line at a derived ``value``, named at its right end, outside the axes.

    With ``outer`` it is named in the last column of panels only.
    """
    axis.axhline(value, color=DERIVED, ls="--", lw=1, zorder=1)
    if outer and not axis.get_subplotspec().is_last_col():
        return
    label, place = f"{text}\n{value:.{decimals}f}", ("axes fraction", "data")
    axis.annotate(label, (1.01, value), xycoords=place, va="center", fontsize=8, color=DERIVED)


def log_axis(axis: Axes, values: Sequence[float]) -> None:
    """A logarithmic x axis with ticks at ``values``, written as whole numbers or fractions."""
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(FixedLocator(list(values)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}" if x >= 1 else f"1/{1 / x:g}"))
