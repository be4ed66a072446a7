"""What belongs to a figure: its provenance, its place in a notebook, the guide to reading it, and its verdicts.

Nothing of it is written twice. The guide is the text that stands before the figure in its notebook, whose first
paragraph says how to read it; the claim is the one that the notebook opens with; verdicts are the rows that the
notebook saved.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat

from eureka_lib.run_all.gallery.render import HEADING, to_text


@dataclass(frozen=True)
class Entry:
    """A figure: the files ``<name>.png``, ``.pdf``, ``.csv`` and ``.json`` in ``folder``, and the words for it."""

    folder: Path
    name: str
    guide: str  # Markdown, heading included
    verdicts: list[dict]

    @cached_property
    def facts(self) -> dict:
        """Its provenance, as :meth:`eureka_lib.plots.page.Page.save` left it."""
        return json.loads((self.folder / f"{self.name}.json").read_text(encoding="utf-8"))

    @cached_property
    def machine(self) -> dict | None:
        """Where and when it was made; None if it was not made here, but came with the checkout."""
        file = self.folder / "machine" / f"{self.name}.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    @property
    def title(self) -> str:
        """The heading of the guide (without "Look:"), or the figure's name in words, if it says no more than "Look"."""
        heading = (HEADING.findall(self.guide) or [""])[-1].removeprefix("Look").removeprefix(": ")
        return _capital(heading or self.name.split("_", 1)[1].replace("_", " "))

    @property
    def paragraphs(self) -> list[str]:
        """The guide without its headings; the first paragraph says how to read the figure."""
        text = HEADING.sub("", self.guide).strip()
        return [part for part in re.split(r"\n\s*\n", text) if part]

    @property
    def alternative(self) -> str:
        """What to tell whoever cannot see it: its title, and how the guide begins."""
        words = re.split(r"(?<=[.?:!]) ", to_text(" ".join(self.paragraphs[:1])))
        title = to_text(self.title)
        return f"{title}{'' if title.endswith('?') else '.'} {' '.join(words[:2])}".strip()


@dataclass(frozen=True)
class Chapter:
    """A notebook and its figures, in the order in which they appear there."""

    name: str
    source: Path
    title: str
    claim: str  # Markdown: the paragraph that says what the notebook is about
    entries: list[Entry]


def gather(folder: Path, notebooks: Path) -> list[Chapter]:
    """The chapters of all figures in ``folder``, from its files and the ``notebooks`` that they name.

    A figure whose notebook is no longer there is left out.
    """
    figures: dict[str, set[str]] = {}
    for file in folder.glob("*.json"):
        facts = json.loads(file.read_text(encoding="utf-8"))
        if "figure" in facts and file.with_suffix(".png").exists():
            figures.setdefault(facts["notebook"], set()).add(facts["figure"])
    sources = {name: notebooks / f"{name}.ipynb" for name in sorted(figures)}
    return [_chapter(folder, source, figures[name]) for name, source in sources.items() if source.exists()]


def pages(notebooks: Path) -> list[tuple[str, str]]:
    """Title and file name of the notebooks without a number, which have no figures: glossary and the like."""
    files = [path for path in sorted(notebooks.glob("*.ipynb")) if not path.name[0].isdigit()]
    return [(_title(nbformat.read(path, as_version=4).cells, path), path.name) for path in files]


def _title(cells: list, source: Path) -> str:
    headings = [h for cell in cells if cell.cell_type == "markdown" for h in HEADING.findall(cell.source)]
    return headings[0] if headings else source.stem


def _chapter(folder: Path, source: Path, figures: set[str]) -> Chapter:
    cells = nbformat.read(source, as_version=4).cells
    file = folder / "claims" / f"{source.stem}.json"
    rows = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    places = {name: i for name in figures for i in _place(cells, name)}
    entries = [
        Entry(folder, name, _text_before(cells, places[name]), [row for row in rows if row["figure"] == name])
        for name in sorted(figures, key=lambda name: (places.setdefault(name, len(cells)), name))
    ]
    opening = next(cell.source for cell in cells if cell.cell_type == "markdown")
    paragraphs = [part for part in re.split(r"\n\s*\n", HEADING.sub("", opening)) if part.strip()]
    return Chapter(source.stem, source, _title(cells, source), "".join(paragraphs[:1]), entries)


def _place(cells: list, name: str) -> Iterator[int]:
    """The index of the first cell that calls something with the figure's name, or with the name less its number."""
    for wanted in (name, name.split("_", 1)[1]):
        for i, cell in enumerate(cells):
            if cell.cell_type == "code" and wanted in _words_called_with(cell.source):
                yield i
                return


def _words_called_with(source: str) -> set[str]:
    code = "\n".join(line for line in source.splitlines() if not line.startswith(("%", "!")))
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return {word.value for call in calls for word in call.args if isinstance(word, ast.Constant)}


def _text_before(cells: list, index: int) -> str:
    texts = [cell.source for cell in cells[:index] if cell.cell_type == "markdown"]
    return texts[-1] if texts else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
