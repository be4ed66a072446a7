"""How every notebook is written, and that the runner executes one of them at profile smoke, end to end."""

import ast
import json
import re

import nbformat
import papermill
import pytest

from eureka_lib import paths
from eureka_lib.experiments import defaults
from eureka_lib.run_all.__main__ import main

ALL = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
README = (paths.ROOT / "README.md").read_text()
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
def test_its_defaults_are_recorded_and_its_parameters_keep_their_names(path, notebook):
    parameters, *cells = [ast.parse(re.sub("^[%!].*", "", cell.source, flags=re.M)) for cell in code_cells(notebook)]
    values = {each.target.id: ast.literal_eval(each.value) for each in parameters.body}
    recorded = defaults.read(paths.NOTEBOOKS).get(path.stem, {})
    assert {**recorded, "profile": "auto"} == values, "notebooks/defaults.json: what the record is made with"
    names = [node for cell in cells for node in ast.walk(cell) if isinstance(node, ast.Name)]
    assert not values.keys() & {name.id for name in names if isinstance(name.ctx, ast.Store)}


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


def test_its_setup_makes_the_page_that_all_its_products_go_to(path, notebook):
    (setup,) = [cell.source for cell in code_cells(notebook) if cell.id == "imports"]
    text = "\n".join(cell.source for cell in code_cells(notebook))
    assert f'page = Page("{path.stem}", globals())' in setup and "page.save(" in text
    assert not re.search(r"\b(figures|registry)\.save\(", text)


def test_its_first_cell_shows_its_figure_and_says_how_long_it_takes(path, notebook):
    title = notebook.cells[0].source
    (figure,) = re.findall(r"!\[[^\]]+\]\(\.\./figures/(\w+\.png)\)", title)
    assert figure[:2] == path.stem[:2] and (paths.ROOT / "figures" / figure).exists()
    (minutes,) = re.findall(rf"\(notebooks/{path.stem}\.ipynb\).* \| ([\d.]+) \|$", README, re.MULTILINE)
    assert f"*About {minutes} minutes on two cores" in title, "as README's list of notebooks has it"


def test_each_of_its_figures_is_linked_before_it_is_made(notebook):
    for i, cell in enumerate(notebook.cells):
        before = next(other.source for other in notebook.cells[i::-1] if other.cell_type == "markdown")
        if cell.cell_type == "code" and "page.save(" in cell.source:
            (name,) = re.findall(r'page\.save\(.+?, "(\w+)"', cell.source)
            assert f"[the committed figure](../figures/{name}.png)" in before, cell.id


def test_its_predictions_take_few_words(notebook):
    """At most 120 a cell, without formulas and what is folded."""
    predicting = False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            if cell.source.startswith("## "):
                predicting = cell.source.startswith("## Predict")
            text = re.sub(r"<details>.*?</details>|\$\$.*?\$\$|\$[^$]+\$", "", cell.source, flags=re.DOTALL)
            assert not predicting or len(text.split()) <= 120, cell.id


def test_the_runner_leaves_pictures_and_a_page_and_again_or_played_the_record_stays(tmp_path, monkeypatch, capsys):
    """Every notebook is executed by nbval in this session; one of them goes the way of run_all.sh, end to end.

    A second execution writes nothing new, another parameter elsewhere; and the first one is still up to date.
    """
    monkeypatch.setenv("EUREKA_FIGURES", str(tmp_path))
    words, folder = ["00", "--profile", "smoke"], paths.figures_dir("smoke")

    def kept():
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("00_*")}

    assert main(words) == 0
    first = kept()
    record = json.loads((folder / "notebooks" / "00_start_here.json").read_text())
    pictures = {name for name in first if name.endswith(".png")}
    assert pictures and pictures < set(record["artefacts"])
    assert (folder / "notebooks" / "00_start_here.html").stat().st_size > 50_000
    page = (folder / "index.html").read_text()
    assert all(f'id="{name.removesuffix(".png")}"' in page for name in pictures)
    assert "notebooks/00_start_here.html" in page
    assert main([*words, "--force"]) == 0
    assert kept() == first and len(first) == 8
    assert (folder / "machine" / "00_one_run.json").exists()
    assert main([*words, "-p", "seed=1"]) == 0
    assert "00_start_here was played with seed=1: figures in " in capsys.readouterr().out
    assert "Played with seed=1: figures go to " in (folder / "played" / "notebooks" / "00_start_here.html").read_text()
    assert "-p seed=1" in (folder / "played" / "index.html").read_text()
    played = {path.name: path.read_bytes() for path in (folder / "played").glob("00_*")}
    assert kept() == first and played.keys() == first.keys() and played["00_one_run.csv"] != first["00_one_run.csv"][0]
    assert main(words) == 0
    assert "up to date  00_start_here" in capsys.readouterr().out
