"""The README does what it says: its example runs, its links lead somewhere, it stays short."""

import re
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from eureka_lib import paths
from eureka_lib.claims.pages import LAPTOP_MINUTES
from eureka_lib.store import RunStore
from eureka_lib.store.contents import sound_runs

README = (paths.ROOT / "README.md").read_text()


def test_it_is_short():
    assert len(README.splitlines()) <= 130
    cells = [cell.strip() for line in README.splitlines() if line.startswith("|") for cell in line.split("|")]
    assert max(map(len, cells)) <= 160


def test_it_answers_in_the_order_in_which_a_newcomer_asks():
    headings = re.findall(r"^## (.*)$", README, re.MULTILINE)
    assert headings == ["What we find", "Two commands", "How to read, teach", "How to extend", "The notebooks", "Cite"]
    assert README.index("![") < README.index("## What we find")


def test_its_list_of_notebooks_is_complete():
    listed = re.findall(r"\| \[(\w+)\]\(notebooks/\1\.ipynb\).* \| [\d.]+ \| ([\d.]+) \|$", README, re.MULTILINE)
    assert sorted(name for name, _ in listed) == sorted(path.stem for path in paths.NOTEBOOKS.glob("[0-9]*.ipynb"))
    minutes = {name[:2]: float(laptop) for name, laptop in listed}
    assert LAPTOP_MINUTES.items() <= minutes.items()


def test_its_links_lead_to_files():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (paths.ROOT / target).exists(), target


FIRST_LINE = "from eureka_lib.attention.registry import METHODS, Method\n"


@pytest.fixture
def script():
    """The README's complete example of a new attention."""
    (found,) = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if code.startswith(FIRST_LINE)]
    assert len(found.splitlines()) <= 16
    return found


def check(text, folder):
    """Both attentions' runs are in the table and in the store, and the picture is drawn."""
    assert "training: 8 runs, 0 of them stored, 8 to train" in text and "8/8 done, 0 failed" in text
    assert re.search(r"method +softmax +squared relu", text) and re.search(r"EMs +\d of 4 +\d of 4", text), text
    trained = [run.config["model"]["attention"] for run in sound_runs(RunStore(folder / "runs"))]
    assert sorted(trained) == ["softmax"] * 4 + ["squared_relu"] * 4
    assert (folder / "two_attentions.png").read_bytes().startswith(b"\x89PNG")


def test_its_script_runs(script, tmp_path, monkeypatch):
    monkeypatch.setenv("EUREKA_STORE", str(tmp_path / "runs"))
    (tmp_path / "two_attentions.py").write_text(script)
    command = [sys.executable, "two_attentions.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    check(done.stdout, tmp_path)


def test_its_script_runs_in_a_notebooks_cells(script, tmp_path, monkeypatch):
    """Workers get what a cell defines, though there is no module to import it from."""
    monkeypatch.setenv("EUREKA_STORE", str(tmp_path / "runs"))
    cells = [nbformat.v4.new_code_cell(part) for part in script.split("\n\n")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name="python3", timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    check("".join(out.get("text", "") for cell in cells for out in cell.outputs), tmp_path)
