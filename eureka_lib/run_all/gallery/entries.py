"""What belongs to a figure: its provenance, its place in a notebook, the guide to reading it, and its verdicts.

Nothing of it is written twice. The guide is the text that stands before the figure in its notebook, whose first
paragraph says how to read it; the claim is the one that the notebook opens with; verdicts are the rows that the
notebook saved.
"""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat

from eureka_lib.claims.registry import Row, load
from eureka_lib.run_all.gallery.render import HEADING, to_text


@dataclass(frozen=True)
class Entry:
    """A figure: the files ``<name>.png``, ``.pdf``, ``.csv`` and ``.json`` in ``folder``, and the words for it."""

    folder: Path
    name: str
    facts: dict  # its provenance, as :meth:`eureka_lib.plots.page.Page.save` left it
    guide: str  # Markdown, heading included
    verdicts: list[Row]

    @cached_property
    def machine(self) -> dict | None:
        """Where and when it was made; None if it was not made here, but came with the checkout."""
        file = self.folder / "machine" / f"{self.name}.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    @property
    def title(self) -> str:
        """The heading of the guide (without "Look:"), or the figure's name in words, if it says no more than "Look"."""
        heading = (HEADING.findall(self.guide) or [""])[-1].removeprefix("Look").removeprefix(": ")
        title = heading or self.name.split("_", 1)[1].replace("_", " ")
        return title[:1].upper() + title[1:]

    @property
    def paragraphs(self) -> list[str]:
        """The guide without its headings; the first paragraph says how to read the figure."""
        return _paragraphs(self.guide)

    @property
    def alternative(self) -> str:
        """What to tell whoever cannot see it: what it says, or else its title, and how the guide begins."""
        words = re.split(r"(?<=[.?:!]) ", to_text(" ".join(self.paragraphs[:1])))
        says = self.facts.get("says") or to_text(self.title)
        return f"{says}{'' if says[-1] in '.?!' else '.'} {' '.join(words[:2])}".strip()


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
    figures: dict[str, dict[str, dict]] = {}  # by notebook and name
    for file in folder.glob("*.json"):
        facts = json.loads(file.read_text(encoding="utf-8"))
        if "figure" in facts and file.with_suffix(".png").exists():
            figures.setdefault(facts["notebook"], {})[facts["figure"]] = facts
    sources = {name: notebooks / f"{name}.ipynb" for name in sorted(figures)}
    return [_chapter(folder, source, figures[name]) for name, source in sources.items() if source.exists()]


def pages(notebooks: Path) -> list[tuple[str, str]]:
    """Title and file name of the notebooks without a number, which have no figures: glossary and the like."""
    files = [path for path in sorted(notebooks.glob("*.ipynb")) if not path.name[0].isdigit()]
    return [(_title([cell.source for cell in nbformat.read(path, 4).cells], path), path.name) for path in files]


def _title(texts: list[str], source: Path) -> str:
    return (HEADING.findall("\n".join(texts)) or [source.stem])[0]


def _paragraphs(text: str) -> list[str]:
    """Those of a piece of Markdown, without its headings and without the link to the figure, which stands there."""
    parts = re.split(r"\n\s*\n", HEADING.sub("", text).strip())
    return [part for part in parts if part.strip() and not part.startswith("[the committed figure](")]


def _chapter(folder: Path, source: Path, figures: dict[str, dict]) -> Chapter:
    cells = nbformat.read(source, as_version=4).cells
    file = folder / "claims" / f"{source.stem}.json"
    rows = load(file) if file.exists() else []
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    entries = []
    for place, name in sorted((_place(cells, name), name) for name in figures):
        guide = next((cell.source for cell in cells[place::-1] if cell.cell_type == "markdown"), "")
        entries.append(Entry(folder, name, figures[name], guide, [row for row in rows if row.figure == name]))
    return Chapter(source.stem, source, _title(texts, source), "".join(_paragraphs(texts[0])[:1]), entries)


def _place(cells: list, name: str) -> int:
    """The index of the first code cell with the figure's name as a later argument, or behind the last one."""
    found = (i for i, cell in enumerate(cells) if cell.cell_type == "code" and f', "{name}"' in cell.source)
    return next(found, len(cells))
