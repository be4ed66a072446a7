"""Notebooks 00 and 16 where there is only the notebook, as on Colab: its own cell fetches the rest.

As far as it goes without a network: a git repository on this machine stands for the project's, and nothing is
installed: the cell's pip command is printed in its place.
"""

import os
import subprocess
import sys

import nbformat
import pytest

from eureka_lib import paths

ALONE = """
import subprocess, sys
from pathlib import Path
run = subprocess.run
subprocess.run = lambda words, **options: print(*words[1:]) if "pip" in words else run(words, **options)
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
sys.path = [folder for folder in sys.path if not Path(folder, "eureka_lib").exists()]
"""


def cells(name: str) -> dict[str, str]:
    notebook = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    return {cell.id: cell.source for cell in notebook.cells if cell.cell_type == "code"}


@pytest.mark.parametrize("name", ["00_start_here", "16_explorer"])
def test_alone_it_fetches_the_project(name, tmp_path):
    project, alone = tmp_path / "project", tmp_path / "alone"
    project.mkdir()
    alone.mkdir()
    for link in ("eureka_lib", "notebooks", "pyproject.toml"):
        subprocess.run(["cp", "-r", paths.ROOT / link, project], check=True)
    git = ["git", "-C", project, "-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    code = cells(name)
    code["elsewhere"] = code["elsewhere"].replace('REPOSITORY = ""', f"REPOSITORY = {str(project)!r}")
    script = "\n".join([ALONE, *(code[cell] for cell in ("parameters", "elsewhere", "imports", "setup"))])
    script += "\nimport eureka_lib; print(eureka_lib.__file__)"
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=alone, env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "-m pip install -q -e eureka[class]" and said[-1] == str(alone / "eureka/eureka_lib/__init__.py")


def test_the_cell_is_one_and_says_what_it_lacks():
    cell = cells("00_start_here")["elsewhere"]
    assert cells("16_explorer")["elsewhere"] == cell
    with pytest.raises(AssertionError, match="write into this cell where the project's git is"):
        exec(cell.replace('find_spec("eureka_lib")', 'find_spec("no_such_project")'), {})
    exec(cell, {})  # nothing, where the project is


def test_binder_installs_the_same():
    assert "pip install" in (script := (paths.ROOT / ".binder" / "postBuild").read_text()) and '-e ".[class]"' in script
    assert os.access(paths.ROOT / ".binder" / "postBuild", os.X_OK)
