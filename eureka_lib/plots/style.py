"""How the figures look: one style, and one registry of what is not a method's colour.

The methods' own colours are in :mod:`eureka_lib.attention.registry` (Okabe and Ito's, safe for colour-blind readers).
No other module names a colour.
"""

import textwrap
from collections.abc import Iterable, Sequence
from math import ceil, inf

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

PLOT_WIDTH = 7.0  # inches: a text width; half of it still reads in a two-column paper
SMALLEST = 8  # points, of any text: what a projector and a README of 800 pixels still show
DERIVED = "#555555"  # lines that no run drew: the plateau, the floor, a rule's threshold
FAINT, GRID, PAPER = "#AAAAAA", "#E0E0E0", "#FFFFFF"  # what stands behind; lines between rows; nothing
CONTROL = "#F2F2F2"  # behind what is there to be compared with
FRAME = "#F0E442"  # around what is pointed at in a picture
REFERENCE, MEMBER = "#8C8C8C", "#0072B2"  # of two things that are no methods: what was, and what is asked about
JUMPED, WAITS, LEFT_OUT = "#0072B2", "#8C510A", "#AAAAAA"  # a run's outcome: a jump, none in the budget, not asked
HELD, FAILED, OPEN, NOT_ASKED = "#0B6E4F", "#B3401A", "#D0D0D0", "#FFFFFF"  # verdicts
# Parts of one network, colour and line: inks and dashes, no method's colour.
MATRICES = {"W_Q": ("#1B1B1B", "-"), "W_K": ("#6E6E6E", "--"), "W_V": ("#7B3294", "-")}
PLACES = {"CLS": ("#6E6E6E", ":"), "indicators": ("#7B3294", "-"), "targets": ("#1B1B1B", "--")}
ASKED = {  # what a probe is asked for
    "indicators": "#7B3294", "targets": "#6E6E6E", "which target": "#1B1B1B", "label": "#A6611A",
}  # fmt: skip
# What a mark means, by the ``gid`` of its artists: it is written under a figure's headline where the mark is drawn.
MARKS = {
    "moment": "\N{BLACK STAR} Eureka-moment",
    "leap": "\N{BLACK STAR} leap",
    "level": "grey line: what a star needs",
    "late": "\N{WHITE STAR} jump at the very end: too late to count",
    "censored": "hollow: none in the budget",
    "mean": "bar: mean, a run without one counted with its budget",
    "ends": "tick: a run ends without one",
    "median": "thick: median of the runs",
    "counted": "k/n: how many runs jump, where any does",
    "undecided": "?: undecided",
    "not testable here": "\N{EM DASH}: not testable here",
    "band": "band: 95 % interval",
    "grey": "grey: softmax",
    "guess": "grey panel: perhaps a guess",
    "tuned": "framed: as tuned",
    "rows": "bands and bars: 90 % of the rows",
    "start": "grey: where an untrained model starts",
    "medians": "short lines: medians",
    "budget": "dotted: a budget ends",
    "control": "grey rows: one step alone",
    "target": "frame: the cell that gives the label",
    "indicator": "dashed: the indicators",
    "asks": "frame: the cell that looks",
    "wilson": "upright lines: 95 % intervals",
}


def use_style() -> None:
    """Set the style of all figures and tables of this process, whatever is in a person's own matplotlibrc."""
    plt.rcdefaults()
    pd.set_option("display.max_colwidth", None)  # verdicts are sentences
    sns.set_theme(context="paper", style="ticks", font_scale=1.1, font="DejaVu Sans")  # which matplotlib brings along
    plt.rcParams.update({
        "figure.dpi": 110, "savefig.dpi": 200, "figure.constrained_layout.use": True, "pdf.fonttype": 42,
        "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "axes.titlelocation": "left",
    })  # fmt: skip


def headline(figure: Figure, says: str, setting: str) -> None:
    """Write what a figure says above it, in bold, and under that in grey its ``setting`` and the key of its marks.

    The figure grows by what the lines need, so that its panels keep their size.
    """
    width, height = figure.get_size_inches()
    drawn = {artist.get_gid() for artist in figure.findobj()}
    grey = " \N{MIDDLE DOT} ".join([*filter(None, [setting]), *(text for gid, text in MARKS.items() if gid in drawn)])
    bold = textwrap.wrap(says, int(11.7 * width))  # letters of 10 points that fit into an inch
    grey = textwrap.wrap(grey, int(16.6 * width))
    above = 0.1 + 0.175 * len(bold) + 0.145 * len(grey)  # inches
    figure.set_size_inches(width, height + above)
    if not figure.get_layout_engine():
        figure.subplots_adjust(top=1 - above / (height + above))
    else:
        figure.get_layout_engine().set(rect=(0, 0, 1, height / (height + above)))
    top = 1 - 0.04 / (height + above)
    figure.text(0.008, top, "\n".join(bold), ha="left", va="top", fontsize=10, weight="bold", linespacing=1.15)
    below = top - 0.175 * len(bold) / (height + above)
    figure.text(0.008, below, "\n".join(grey), ha="left", va="top", fontsize=SMALLEST, color=DERIVED, linespacing=1.2)


def smallest_text(figure: Figure) -> float:
    """Size in points of the smallest text that is drawn; infinity without any."""
    texts = (text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip())
    return min((text.get_fontsize() for text in texts), default=inf)


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
    letters = sum(map(len, labels)) + 8 * len(labels)  # with their lines and the gaps between them
    columns = ceil(len(labels) / ceil(letters / (11.5 * axis.figure.get_figwidth())))
    axis.figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=2.6)


def label_ends(axis: Axes, ends: Iterable[tuple[str, float, str]], gap: float = 0.14) -> None:
    """Name curves on the right of the axes, each (text, height, colour) at its height, or above the one below it."""
    free = -inf  # in shares of the axis, as the ``gap`` is
    for text, height, colour in sorted(ends, key=lambda end: end[1]):
        y = max(free, (height - axis.get_ylim()[0]) / np.ptp(axis.get_ylim()))
        axis.annotate(text, (1.01, y), xycoords="axes fraction", color=colour, va="center", fontsize=9)
        free = y + gap


def derived_line(axis: Axes, value: float, text: str, decimals: int = 2, outer: bool = False) -> None:
    """A dashed line at a derived ``value``, named at its right end, outside the axes.

    With ``outer`` it is named in the last column of panels only.
    """
    axis.axhline(value, color=DERIVED, ls="--", lw=1, zorder=1)
    if outer and not axis.get_subplotspec().is_last_col():
        return
    label, place = f"{text}\n{value:.{decimals}f}", ("axes fraction", "data")
    axis.annotate(label, (1.01, value), xycoords=place, va="center", fontsize=8, color=DERIVED)


def fraction(x: float) -> str:
    """A number, or what it is one over."""
    return f"{x:g}" if x >= 1 else f"1/{1 / x:g}"


def log_axis(axis: Axes, values: Sequence[float]) -> None:
    """A logarithmic x axis with ticks at ``values``, written as whole numbers or fractions."""
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(FixedLocator(list(values)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: fraction(x)))
