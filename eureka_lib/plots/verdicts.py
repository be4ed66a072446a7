"""The scorecard as a picture: a line per claim, with a mark for each verdict behind what was asked."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from eureka_lib.claims.registry import CLAIMS, NOT_REPRODUCED, NOT_TESTABLE, REPRODUCED, UNDECIDED, kind_of
from eureka_lib.claims.scorecard import WORDS, asked, share
from eureka_lib.plots.style import DERIVED, FAILED, GRID, HELD, NOT_ASKED, OPEN, REFERENCE, panels

COLOURS = {REPRODUCED: HELD, NOT_REPRODUCED: FAILED, UNDECIDED: OPEN, NOT_TESTABLE: NOT_ASKED}
MARKS = {
    REPRODUCED: "\N{CHECK MARK}",
    NOT_REPRODUCED: "\N{MULTIPLICATION X}",
    UNDECIDED: "?",
    NOT_TESTABLE: "\N{EM DASH}",
}
SMALL, LARGE = 7.5, 9  # points: the README shows it at about its size
LINE = 0.43  # inches for a claim


def plot(table: pd.DataFrame) -> Figure:
    """What is claimed and how much of it holds; below, each thing that was asked with a mark per verdict."""
    claims = dict(iter(table.groupby("claim", sort=False)))
    figure, (axis,) = panels(1, height=LINE * (len(claims) + 0.9))
    figure.set_layout_engine("none")
    axis.set(xlim=(0, 1), ylim=(len(claims) - 0.4, -1.3), position=(0.01, 0, 0.98, 1))
    axis.axis("off")
    counts = table["verdict"].value_counts()
    before = axis.annotate("", (0, -0.9), va="center")
    for kind in COLOURS:
        words = " / ".join(f"{counts[word]} {word}" for word in WORDS if word in counts and kind_of(word) == kind)
        if words:
            before = _words(axis, words, _mark(axis, kind, before, 16), 8)
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
    return axis.annotate(words, (1, 0.5), (gap, 0), before, "offset points", va="center", fontsize=SMALL, color=DERIVED)


def _mark(axis: Axes, kind: str, before: Annotation, gap: float) -> Annotation:
    """The verdict's sign in a box of its colour, all of one width."""
    return axis.annotate(
        MARKS[kind], (1, 0.5), (gap, 0), before, "offset points", ha="center", va="center", fontsize=SMALL,
        weight="bold", family="monospace", color="white" if kind in (REPRODUCED, NOT_REPRODUCED) else "black",
        bbox={"boxstyle": "square,pad=0.2", "fc": COLOURS[kind], "ec": REFERENCE if kind == NOT_TESTABLE else "none"},
    )  # fmt: skip
