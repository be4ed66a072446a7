"""How every notebook is written, and that each of them runs through the runner at profile smoke."""

import json
import re

import nbformat
import papermill
import pytest

from eureka_lib import paths
from eureka_lib.execute.__main__ import main

ALL = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
NOTEBOOKS = [path for path in ALL if path.name[0].isdigit()]  # the others are pages of words: test_pages.py
of_all = pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem, indirect=True)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


@of_all
def test_it_is_committed_without_outputs_and_with_ids_that_say_something(notebook):
    nbformat.validate(notebook)
    for cell in code_cells(notebook):
        assert not cell.outputs and cell.execution_count is None, cell.id
    assert all(re.fullmatch("[a-z]+(-[a-z]+)*", cell.id) for cell in notebook.cells), "an id is words, not a hash"
    assert notebook.metadata.kernelspec.name == "python3"


@of_all
def test_its_parameters_are_annotated_literals_in_one_tagged_cell(path, notebook):
    tagged = [cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1 and tagged[0] is code_cells(notebook)[0]
    parameters = papermill.inspect_notebook(str(path))
    assert parameters["profile"]["default"] == '"auto"'
    assert all(p["inferred_type_name"] != "None" and p["help"] for p in parameters.values()), (
        "annotate and comment each"
    )


@of_all
def test_its_cells_are_short_and_use_the_library(notebook):
    for cell in code_cells(notebook):
        assert len(cell.source.splitlines()) <= 15, cell.id
        assert "class " not in cell.source and "matplotlib" not in cell.source, cell.id
    prose = sum(len(cell.source) for cell in notebook.cells if cell.cell_type == "markdown")
    assert prose >= sum(len(cell.source) for cell in code_cells(notebook))


def test_its_anatomy(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for heading in ("## Setup", "## Predict", "## Look", "## Check", "## Try it"):
        assert heading in text, heading


def test_it_runs_through_papermill(path, tmp_path, monkeypatch):
    """Through the runner that run_all.sh uses: its figures, its HTML and its success record are there afterwards."""
    monkeypatch.setenv("EUREKA_FIGURES", str(tmp_path))
    assert main([path.stem, "--profile", "smoke"]) == 0
    folder = paths.figures_dir("smoke")
    number = path.stem.split("_")[0]
    pictures = list(folder.glob(f"{number}_*.png"))
    assert pictures
    for picture in pictures:
        facts = json.loads(picture.with_suffix(".json").read_text())
        assert facts["notebook"] == path.stem and facts["profile"] == "smoke"
    assert (folder / "notebooks" / f"{path.stem}.html").stat().st_size > 50_000
    page = (folder / "index.html").read_text()
    assert all(f'id="{picture.stem}"' in page for picture in pictures) and f"notebooks/{path.stem}.html" in page
