"""How every notebook is written, and that the runner executes one of them at profile smoke, end to end."""

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


def test_the_runner_leaves_pictures_a_page_and_the_gallery(tmp_path, monkeypatch):
    """Every notebook is executed by nbval in this session; one of them goes the way of run_all.sh, end to end."""
    monkeypatch.setenv("EUREKA_FIGURES", str(tmp_path))
    assert main(["00", "--profile", "smoke"]) == 0
    folder, name = tmp_path / "smoke", "00_start_here"
    pictures = {picture.stem for picture in folder.glob("*.png")}
    record = json.loads((folder / "notebooks" / f"{name}.json").read_text())
    assert pictures and {f"{picture}.png" for picture in pictures} < set(record["artefacts"])
    assert (folder / "notebooks" / f"{name}.html").stat().st_size > 50_000
    page = (folder / "index.html").read_text()
    assert all(f'id="{picture}"' in page for picture in pictures) and f"notebooks/{name}.html" in page
