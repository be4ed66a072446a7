"""One registry of colours; headlines that take no room from the panels, and a key of the marks that are drawn."""

import re

import pytest

from eureka_lib import paths
from eureka_lib.plots.style import MARKS, headline, panels, smallest_text

pytestmark = pytest.mark.usefixtures("house_style")

LIBRARY = paths.ROOT / "eureka_lib"
PALETTES = {"plots/style.py", "attention/registry.py"}


def test_no_other_module_names_a_colour():
    named = {
        path.relative_to(LIBRARY).as_posix()
        for path in LIBRARY.rglob("*.py")
        if re.search(r"\"#[0-9A-Fa-f]{6}\"", path.read_text())
    }
    assert named == PALETTES


@pytest.mark.parametrize("words", [3, 60])
def test_a_headline_makes_the_figure_taller_and_names_the_marks_in_it(words):
    figure, (axis,) = panels(1, height=2.5)
    axis.plot([1], [1], "*", gid="moment")
    figure.draw_without_rendering()
    before = axis.get_window_extent().height
    headline(figure, "finding " * words, "digits, 4 tokens")
    figure.draw_without_rendering()
    assert axis.get_window_extent().height == pytest.approx(before, rel=0.05)
    bold, grey = figure.texts
    assert bold.get_weight() == "bold" and "digits" in grey.get_text() and MARKS["moment"] in grey.get_text()
    assert MARKS["late"] not in grey.get_text(), "it is not drawn"
    assert bold.get_window_extent().y0 > axis.get_window_extent().y1 and smallest_text(figure) >= 8
    assert bold.get_window_extent().x1 <= figure.bbox.x1
