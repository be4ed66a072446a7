"""Slides from executed notebooks: what is predicted is not shown on the same slide, and code on none."""

import re

import nbformat
import pytest

from eureka_lib import paths
from eureka_lib.run_all.__main__ import main

NUMBERED = sorted(paths.NOTEBOOKS.glob("[0-9]*.ipynb"))
OWN = ("slide", "subslide")


@pytest.mark.parametrize("path", NUMBERED, ids=lambda path: path.stem)
def test_prediction_figure_and_verdict_have_slides_of_their_own(path):
    cells = nbformat.read(path, as_version=4).cells
    kinds = [cell.metadata.slideshow.slide_type for cell in cells]
    for cell, kind in zip(cells, kinds, strict=True):
        if cell.source.startswith("## Predict") or "page.save(" in cell.source or "page.record(" in cell.source:
            assert kind in OWN, cell.id
    assert set(kinds) <= {*OWN, "skip"}, "so nothing is added to another cell's slide"
    setup = [kind for cell, kind in zip(cells, kinds, strict=True) if cell.id in ("parameters", "imports", "setup")]
    assert setup == ["skip"] * 3


def test_slides_are_written_from_an_executed_notebook(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EUREKA_FIGURES", str(tmp_path))
    assert main(["slides", "00"]) == 2 and "has not been executed: ./run_all.sh 00" in capsys.readouterr().err
    assert main(["slides"]) == 2 and "slides of which notebook?" in capsys.readouterr().err
    notebook = nbformat.read(paths.NOTEBOOKS / "00_start_here.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [nbformat.v4.new_output("stream", text=f"output of {cell.id}")]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "00_start_here.ipynb")
    assert main(["slides", "00"]) == 0
    html = (tmp_path / "notebooks" / "00_start_here.slides.html").read_text()
    slides = [re.sub(r"<[^>]+>", "", part) for part in html.split("<section")]
    (predict,) = [text for text in slides if "Before you go on" in text]
    assert "output of" not in predict and "output of predict" in slides[slides.index(predict) + 1]
    assert "<math" in html and not re.search(r'(src|href)="?https?:', re.sub(r"<a [^>]*>", "", html))
    assert "import torch" not in html and "output of setup" not in html
