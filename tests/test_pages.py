"""The pages of words, glossary and lesson plan: their links lead somewhere, their words are explained."""

import re

import nbformat
import pytest

from eureka_lib import paths
from eureka_lib.run_all.__main__ import main
from eureka_lib.run_all.gallery.render import HEADING, to_text

PAGES = {name: nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4) for name in ("glossary", "lesson_plan")}
TERMS = [
    to_text(HEADING.findall(cell.source)[0]) for cell in PAGES["glossary"].cells[1:] if cell.cell_type == "markdown"
]
LINK = re.compile(r"\]\(([\w.-]+\.ipynb)(?:#([^)\s]+))?\)")


def texts():
    for path in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                yield path.stem, cell.source


@pytest.mark.parametrize(("name", "cells"), [("glossary", []), ("lesson_plan", ["figures"])])
def test_a_page_is_words_alone_but_for_its_parameters_and_what_counts_in_figures(name, cells):
    assert [cell.id for cell in PAGES[name].cells if cell.cell_type != "markdown"] == ["parameters", *cells]


def test_the_plans_words_hold_no_count_of_runs():
    """What runs gave is read from the figures, by a cell: the next record would make a number in the words wrong."""
    for cell in PAGES["lesson_plan"].cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"\b(\d+|three|nine|all|none) of (its )?(\d+|five|twelve|twenty)\b", cell.source), (
                cell.id
            )


def test_links_between_notebooks_lead_to_headings():
    headings = {}
    for name, text in texts():
        headings.setdefault(f"{name}.ipynb", set()).update(h.replace(" ", "-") for h in HEADING.findall(text))
    for name, text in texts():
        for file, place in LINK.findall(text):
            assert file in headings, f"{name} links to {file}"
            assert not place or place in headings[file], f"{name} links to {file}#{place}"


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_linked_from_its_first_use(term):
    assert TERMS.count(term) == 1
    anchor = f"(glossary.ipynb#{term.replace(' ', '-')})"
    assert any(anchor in text for name, text in texts() if name not in PAGES), anchor


def test_the_lesson_takes_ninety_minutes():
    (plan,) = [cell.source for cell in PAGES["lesson_plan"].cells if cell.id == "plan"]
    spans = [(int(a), int(b)) for a, b in re.findall(r"^\| (\d+) to (\d+) \|", plan, re.MULTILINE)]
    assert spans[0][0] == 0 and spans[-1][1] == 90
    assert all(end == start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))


def test_each_question_of_the_plan_has_a_folded_answer():
    cells = {cell.id: cell.source for cell in PAGES["lesson_plan"].cells}
    minutes = re.findall(r"^\| (\d+ to \d+) \|", cells["plan"], re.MULTILINE)
    assert re.findall(r"<summary><b>Answer</b>, minutes (\d+ to \d+): .+</summary>\n\n", cells["answers"]) == minutes
    exercises = re.findall(r"^\| \d+ \|", cells["exercises"], re.MULTILINE)
    assert cells["exercises"].count("<summary><b>Answer</b> to the ") == len(exercises)


def test_the_runner_makes_a_page_of_it_with_a_place_for_each_term(tmp_path, monkeypatch):
    monkeypatch.setenv("EUREKA_FIGURES", str(tmp_path))
    assert main(["glossary", "--profile", "smoke"]) == 0
    page = (tmp_path / "smoke" / "notebooks" / "glossary.html").read_text()
    assert all(f'id="{term.replace(" ", "-")}"' in page for term in TERMS)
    assert "notebooks/16_explorer.ipynb" in page, "whose page is not there"
