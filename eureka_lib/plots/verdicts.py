"""The scorecard as a picture: a tile per verdict."""

import textwrap

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from eureka_lib.claims.registry import (
    CLAIMS,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    OWN_WORDS,
    REPRODUCED,
    UNDECIDED,
    kind_of,
)
from eureka_lib.claims.scorecard import lines, number
from eureka_lib.plots.style import panels

COLOURS = {REPRODUCED: "#56B4E9", NOT_REPRODUCED: "#E69F00", UNDECIDED: "#DDDDDD", NOT_TESTABLE: "#F7F7F7"}
TILES = 5  # side by side
MARKS = {
    REPRODUCED: "\N{CHECK MARK}",
    NOT_REPRODUCED: "\N{MULTIPLICATION X}",
    UNDECIDED: "?",
    NOT_TESTABLE: "\N{EM DASH}",
}


def plot(table: pd.DataFrame) -> Figure:
    """A tile per verdict, a line per claim, or per fix and regime."""
    grouped = lines(table)
    height = sum(_floors(rows) for rows in grouped.values()) or 1
    figure, (axis,) = panels(1, height=0.42 * height + 0.5)
    y = 0
    for (claims, about), rows in grouped.items():
        name = textwrap.fill(
            textwrap.shorten(f"{claims}: {about or CLAIMS[claims].words}", 140, placeholder=" ..."), 45
        )
        axis.annotate(name, (-0.06, y), ha="right", va="center", fontsize=6)
        for i, (kind, row) in enumerate(zip(rows["verdict"].map(kind_of), rows.to_dict("records"), strict=True)):
            left, top = i % TILES, y + i // TILES
            axis.add_patch(Rectangle((left, top - 0.44), 0.96, 0.88, color=COLOURS[kind], lw=0))
            words = f"{MARKS[kind]} {row['part']}\n{number(row)}"
            axis.annotate(words, (left + 0.48, top), ha="center", va="center", fontsize=5.3, color="black")
        y += _floors(rows)
    for x, (kind, colour) in enumerate(COLOURS.items()):
        words = " / ".join(dict.fromkeys([kind, OWN_WORDS[kind]]))
        axis.add_patch(Rectangle((1.75 * x - 1.3, -1.1), 0.15, 0.4, color=colour, lw=0))
        axis.annotate(f"{MARKS[kind]} {words}", (1.75 * x - 1.1, -0.9), va="center", fontsize=7)
    if not grouped:
        axis.annotate("no notebook has judged a claim yet", (TILES / 2, 0), ha="center", va="center", fontsize=8)
    axis.set(xlim=(-2.3, TILES), ylim=(height - 0.5, -1.2))
    axis.axis("off")
    return figure


def _floors(rows: pd.DataFrame) -> int:
    return -(-len(rows) // TILES)
