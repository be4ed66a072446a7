"""The scorecard as a picture: a line per claim, with a mark for each verdict behind what was asked; below, times."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from eureka_lib.attention.registry import colour_of, short_label_of
from eureka_lib.claims.registry import CLAIMS, NOT_REPRODUCED, NOT_TESTABLE, REPRODUCED, UNDECIDED, kind_of
from eureka_lib.claims.scorecard import WORDS, asked, share, times
from eureka_lib.plots.style import (
    DERIVED,
    FAILED,
    GRID,
    HELD,
    NOT_ASKED,
    OPEN,
    PLOT_WIDTH,
    REFERENCE,
    SMALLEST,
    log_axis,
)

COLOURS = {REPRODUCED: HELD, NOT_REPRODUCED: FAILED, UNDECIDED: OPEN, NOT_TESTABLE: NOT_ASKED}
MARKS = {
    REPRODUCED: "\N{CHECK MARK}",
    NOT_REPRODUCED: "\N{MULTIPLICATION X}",
    UNDECIDED: "?",
    NOT_TESTABLE: "\N{EM DASH}",
}
LARGE = 9  # points
LINE, TIME = 0.43, 0.2  # inches for a claim, and for a ratio of times


def plot(table: pd.DataFrame) -> Figure:
    """What is claimed and how much of it holds, with a mark per verdict; below, what the fixes do to the time."""
    claims, ratios = dict(iter(table.groupby("claim", sort=False))), times(table)
    heights = [LINE * (len(claims) + 0.9)]
    if len(ratios):
        heights.append(TIME * (len(ratios) + ratios["setting"].nunique()) + 0.9)
    figure = plt.figure(figsize=(PLOT_WIDTH, sum(heights)), layout="none")
    figure.subplots_adjust(0.01, 0, 0.99, 1, hspace=0)  # a headline may lower the top
    axis, *below = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    if below:
        _times(below[0].inset_axes((0.32, 0.5 / heights[1], 0.62, 1 - 0.85 / heights[1])), ratios)
        below[0].axis("off")
    axis.set(xlim=(0, 1), ylim=(len(claims) - 0.4, -1.3))
    axis.axis("off")
    counts = table["verdict"].value_counts()
    before = axis.annotate("", (0, -0.9), va="center")
    for kind in COLOURS:
        words = " / ".join(
            f"{counts[word]} {word.removesuffix(' here')}" for word in WORDS if word in counts and kind_of(word) == kind
        )
        if words:
            before = _words(axis, words, _mark(axis, kind, before, 14), 7)
    for y, (claim, rows) in enumerate(claims.items()):
        _line(axis, y, claim, rows)
    if not claims:
        axis.annotate("no notebook has judged a claim yet", (0.5, -0.9), ha="center", va="center", fontsize=LARGE)
    return figure


def _line(axis: Axes, y: int, claim: str, rows: pd.DataFrame) -> None:
    axis.axhline(y - 0.5, color=GRID, lw=0.6)
    ours = " (ours)" if CLAIMS[claim].own else ""
    axis.annotate(claim, (0, y - 0.2), va="center", fontsize=LARGE, weight="bold")
    axis.annotate(CLAIMS[claim].short + ours, (0.05, y - 0.2), va="center", fontsize=LARGE)
    axis.annotate(share(rows), (1, y - 0.2), ha="right", va="center", fontsize=LARGE, color=DERIVED)
    before, gap = axis.annotate("", (0.05, y + 0.2), va="center"), 0
    for asks, group in asked(rows).items():
        before, gap = _words(axis, asks, before, gap), 12
        for i, kind in enumerate(group["verdict"].map(kind_of)):
            before = _mark(axis, kind, before, 7 if i else 9)


def _words(axis: Axes, words: str, before: Annotation, gap: float) -> Annotation:
    """Words ``gap`` points to the right of what stands before them."""
    return axis.annotate(
        words, (1, 0.5), (gap, 0), before, "offset points", va="center", fontsize=SMALLEST, color=DERIVED
    )


def _mark(axis: Axes, kind: str, before: Annotation, gap: float) -> Annotation:
    """The verdict's sign in a box of its colour, all of one width."""
    return axis.annotate(
        MARKS[kind], (1, 0.5), (gap, 0), before, "offset points", ha="center", va="center", fontsize=SMALLEST,
        weight="bold", family="monospace", color="white" if kind in (REPRODUCED, NOT_REPRODUCED) else "black",
        bbox={"boxstyle": "square,pad=0.2", "fc": COLOURS[kind], "ec": REFERENCE if kind == NOT_TESTABLE else "none"},
    )  # fmt: skip


def _times(axis: Axes, ratios: pd.DataFrame) -> None:
    """A point with its interval per fix, under its setting's name; hollow where there is no plateau to shorten."""
    ends = ratios[["low", "high"]].to_numpy()
    ends = ends[np.isfinite(ends) & (ends > 0)]
    log_axis(axis, [0.25, 0.5, 1, 2, 4])
    axis.set_xlim(min([0.5, *ends]) / 1.1, max([2, *ends]) * 1.1)
    axis.axvspan(axis.get_xlim()[0], 1, color=HELD, alpha=0.07, lw=0)
    axis.axvline(1, color=DERIVED, lw=1)
    y, names = 0, {}
    for setting, rows in ratios.groupby("setting", sort=False):
        names[y] = setting
        for row in rows.itertuples():
            y += 1
            names[y], colour = short_label_of(row.method), colour_of(row.method)
            axis.plot(np.clip([row.low, row.high], 1e-3, 1e3), [y, y], color=colour, lw=3, alpha=0.45)
            axis.plot(row.value, y, "o", color=colour, mfc="white" if row.verdict == NOT_TESTABLE else colour, ms=6)
        y += 1
    axis.set_yticks(list(names), list(names.values()), fontsize=SMALLEST)
    for label in axis.get_yticklabels():
        if label.get_text() in set(ratios["setting"]):
            label.set_weight("bold")
    axis.set(ylim=(y - 0.3, -0.7))
    axis.set_xlabel(
        "mean time to the jump / plain softmax's (95 % intervals; hollow: no plateau to shorten)", fontsize=SMALLEST
    )
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    for x, ha, words in ((-6, "right", "sooner \N{LEFTWARDS ARROW}"), (6, "left", "\N{RIGHTWARDS ARROW} later")):
        axis.annotate(
            words, (1, 1), (x, 3), axis.get_xaxis_transform(), "offset points", ha=ha, fontsize=LARGE, color=DERIVED
        )
