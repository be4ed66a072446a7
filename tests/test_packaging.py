"""One list of requirements, the two commands that the README names, and how run_all.sh finds its environment."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import packaging
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from eureka_lib import paths
from eureka_lib.run_all import requirements

PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]


def test_environment_has_python_and_pip_only():
    python, pip, pip_packages = yaml.safe_load((paths.ROOT / "environment.yml").read_text())["dependencies"]
    name, version = python.split("=")
    assert name == "python" and SpecifierSet(PROJECT["requires-python"]).contains(version)
    assert pip == "pip" and pip_packages == {"pip": ["-e .[all]"]}


def test_all_has_what_the_project_stands_on():
    names = {Requirement(line).name for line in requirements.needed(PROJECT)}
    assert {"torch", "jupyterlab", "papermill", "matplotlib", "seaborn", "nbval", "pytest", "pytest-xdist"} <= names


def test_commands_are_the_documented_ones():
    assert "\n./run_all.sh test\n" in (paths.ROOT / ".ci" / "run").read_text()
    readme = (paths.ROOT / "README.md").read_text()
    assert re.search(r"\./run_all\.sh\s", readme) and "./run_all.sh test" in readme


def test_script_asks_for_the_same_python_as_pyproject():
    asked = re.search(r"version_info < \((\d+), (\d+)\)", (paths.ROOT / "run_all.sh").read_text()).groups()
    assert PROJECT["requires-python"] == f">={'.'.join(asked)}"


def test_missing_requirements_are_named():
    lines = ["pytest", "pytest<1", "no-such-package>=2", "no-such-either; python_version < '3'"]
    old, absent = requirements.missing(lines)
    assert old == f"pytest<1 (it has {pytest.__version__})" and absent == "no-such-package>=2"


IMPORTS = """
import ast, importlib.abc, json, sys
from pathlib import Path

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"{name} is not for the class")

sys.meta_path.insert(0, Absent())
for notebook in map(Path, sys.argv[2:]):
    cells = json.loads(notebook.read_text())["cells"]
    code = "\\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            exec(ast.unparse(node))
import eureka_lib.run_all.__main__
"""


def test_the_class_needs_no_more_than_its_extra():
    """The imports of notebooks 00 to 09 and 13 to 16, and of JupyterLab's command, where the rest is not installed."""
    rest = {Requirement(line).name for line in requirements.needed(PROJECT)}
    rest -= {Requirement(line).name for line in requirements.needed(PROJECT, "class")}
    assert {"transformers", "distributed", "pyarrow", "pytest"} <= rest
    modules = {name.replace("-", "_") for name in rest} | {"tokenizers", "dask"}
    numbers = [*range(10), 13, 14, 15, 16]
    notebooks = [str(next(paths.NOTEBOOKS.glob(f"{number:02}_*.ipynb"))) for number in numbers]
    command = [sys.executable, "-c", IMPORTS, ",".join(modules), *notebooks]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- run_all.sh ------------------------------------------------------------------------------------------------------

# Stands for Python and pip: writes down how it was called; "venv" copies it; "pip" may be told to fail.
FAKE_PYTHON = """#!/bin/bash
if [[ $1 == -I && $2 == *requirements.py && $3 == --platform ]]; then exit 0; fi
if [[ $1 == -I && $2 == *requirements.py ]]; then echo -n "$LACKS"; [[ -z $LACKS ]]; exit; fi
if [[ $1 == -I ]]; then shift; fi
if [[ $1 == -m ]]; then echo "$0 $*" >>"$CALLS"; fi
if [[ $2 == venv ]]; then mkdir -p "$4/bin" && cp "$0" "$4/bin/python"; fi
if [[ $2 == pip && $PIP_STATUS ]]; then exit "$PIP_STATUS"; fi
"""


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of what run_all.sh needs, in a folder whose name has a space."""
    root = tmp_path / "a checkout"
    shutil.copytree(paths.ROOT / "eureka_lib", root / "eureka_lib", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "notebooks").mkdir()
    for name in ("run_all.sh", "pyproject.toml", "notebooks/00_start_here.ipynb"):
        shutil.copy(paths.ROOT / name, root / name)
    return root


def run_all(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """Call run_all.sh from another folder, with no active environment but what ``variables`` say."""
    hidden = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | variables
    command = ["bash", str(root / "run_all.sh"), *arguments]
    return subprocess.run(command, cwd=root.parent, env=environment, capture_output=True, text=True)


def path_with(folder: Path, python: str | None = None) -> str:
    """A PATH whose python3 is the script ``python``, or else this Python."""
    folder.mkdir()
    if python is None:
        (folder / "python3").symlink_to(sys.executable)
    else:
        (folder / "python3").write_text(python)
        (folder / "python3").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_help_and_mistakes_need_no_set_up(checkout, tmp_path):
    path = path_with(tmp_path / "bin")
    helped = run_all(checkout, "--help", PATH=path)
    assert helped.returncode == 0 and "./run_all.sh test" in helped.stdout and not helped.stderr
    wrong = run_all(checkout, "--profile", "papre", PATH=path)
    assert wrong.returncode == 2 and "did you mean 'paper'?" in wrong.stderr
    assert not (checkout / ".venv").exists()


def test_active_environment_is_used_only_if_it_satisfies(checkout, tmp_path):
    path = path_with(tmp_path / "bin")
    satisfying = run_all(checkout, "--help", VIRTUAL_ENV=sys.prefix, PATH=path)
    assert satisfying.returncode == 0 and not satisfying.stderr
    pyproject = checkout / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("torch==", "torch==99."))
    lacking = run_all(checkout, "--help", CONDA_PREFIX=sys.prefix, PATH=path)
    said = r"The active environment \S+ lacks torch==99\.\S+ \(it has .*\); using \.venv instead"
    assert re.search(said, lacking.stderr)


def test_set_up_is_done_once_and_again_when_it_must(checkout, tmp_path):
    calls = tmp_path / "calls"
    path = path_with(tmp_path / "bin", FAKE_PYTHON)

    def called(root: Path, *arguments: str, status: int = 0, **variables: str) -> list[str]:
        calls.write_text("")
        done = run_all(root, *arguments, PATH=path, CALLS=str(calls), **variables)
        assert done.returncode == status, done.stderr
        return [re.search(r"-m (\S+)", line).group(1) for line in calls.read_text().splitlines()]

    check, execute = "eureka_lib.run_all", "eureka_lib.run_all"
    assert called(checkout, PIP_STATUS="1", status=1) == [check, "venv", "pip"]
    assert called(checkout) == [check, "venv", "pip", execute]  # a failed set-up is not believed
    assert called(checkout) == [execute]
    assert called(checkout, "test", "-x") == ["pytest"]
    assert calls.read_text().endswith(".venv/bin/python -m pytest -n logical --maxprocesses 4 --dist loadfile -x\n")
    assert called(checkout, LACKS="tqdm>=4", status=1) == [check, "pip"]  # nor one that did not bring what it should
    assert called(checkout) == [check, "venv", "pip", execute]
    with open(checkout / "pyproject.toml", "a") as file:
        file.write("# changed\n")
    assert called(checkout) == [check, "pip", execute]
    moved = checkout.rename(tmp_path / "moved")
    assert called(moved) == [check, "venv", "pip", execute]
    (moved / ".venv" / "bin" / "python").unlink()
    assert called(moved) == [check, "venv", "pip", execute]


@pytest.mark.parametrize("words", [("lab",), ("lab", "04"), ("lab", "notebooks/16_explorer.ipynb")])
def test_for_lab_the_class_is_enough(checkout, tmp_path, words):
    calls = tmp_path / "calls"
    done = run_all(checkout, *words, PATH=path_with(tmp_path / "bin", FAKE_PYTHON), CALLS=str(calls))
    assert done.returncode == 0 and "a checkout[class]" in calls.read_text() and "1.5 GB on disk" in done.stdout


@pytest.mark.parametrize("words", [("lab", "10"), ("lab", "notebooks/12_use_it_in_your_model.ipynb"), ("16",)])
def test_all_else_needs_all(checkout, tmp_path, words):
    calls = tmp_path / "calls"
    done = run_all(checkout, *words, PATH=path_with(tmp_path / "bin", FAKE_PYTHON), CALLS=str(calls))
    assert done.returncode == 0 and "a checkout[all]" in calls.read_text() and "1.9 GB on disk" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is one torch")
@pytest.mark.parametrize(
    ("gpu", "index", "fails", "tried"),
    [(False, "file:///cpu", False, True), (False, "file:///cpu", True, True), (True, "file:///cpu", False, False),
     (False, None, False, False)],
)  # fmt: skip
def test_torch_without_cuda_is_taken_where_no_gpu_is_seen(checkout, tmp_path, gpu, index, fails, tried):
    """From the index that is named; the usual one if there is none or it does not answer."""
    calls, python = tmp_path / "calls", FAKE_PYTHON
    if fails:
        python += 'if [[ "$*" == *--index-url* ]]; then exit 1; fi\n'
    path = path_with(tmp_path / "bin", python)
    (tmp_path / "bin" / "nvidia-smi").write_text(f"#!/bin/sh\nexit {0 if gpu else 9}\n")
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    done = run_all(checkout, "lab", PATH=path, CALLS=str(calls), **({"EUREKA_TORCH_INDEX": index} if index else {}))
    assert done.returncode == 0, done.stderr
    pips = [line for line in calls.read_text().splitlines() if " -m pip " in line]
    assert [f"--no-deps --index-url {index} torch==" in line for line in pips] == [True, False][not tried :]
    assert ("taking the usual one" in done.stdout) == fails
    assert ("set EUREKA_TORCH_INDEX to the address" in done.stdout) == (not gpu and not index)


def test_nothing_in_the_shell_reaches_the_script(checkout, tmp_path):
    """Functions, what bash runs first, folders that cd looks through, and how Python is to work."""
    (tmp_path / "first.sh").write_text("cd() { echo hijacked; }; export -f cd; CDPATH=/")
    (tmp_path / "other" / "eureka_lib").mkdir(parents=True)
    (tmp_path / "other" / "eureka_lib" / "__init__.py").write_text("raise RuntimeError('another library')")
    said = run_all(
        checkout, "--help", BASH_ENV=str(tmp_path / "first.sh"), CDPATH=str(tmp_path), PYTHONHOME="/nowhere",
        PYTHONPATH=str(tmp_path / "other"), PYTHONWARNINGS="error", VIRTUAL_ENV=sys.prefix,
    )  # fmt: skip
    assert said.returncode == 0 and not said.stderr and said.stdout.startswith("usage: ./run_all.sh [NOTEBOOK ...]")


def test_an_environment_is_judged_by_what_lies_in_it(checkout, tmp_path):
    """Neither by PYTHONPATH nor by the home folder: both are gone tomorrow."""
    venv.create(tmp_path / "venv", symlinks=True)
    lib = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}"
    for folder in ("elsewhere", f"home/{lib}/site-packages"):
        shutil.copytree(Path(packaging.__file__).parent, tmp_path / folder / "packaging")
    said = run_all(
        checkout, "--help", VIRTUAL_ENV=str(tmp_path / "venv"), PATH=path_with(tmp_path / "bin"),
        PYTHONPATH=str(tmp_path / "elsewhere"), PYTHONUSERBASE=str(tmp_path / "home"),
    )  # fmt: skip
    assert "lacks packaging, and so jupyterlab; using .venv instead" in said.stderr and said.returncode == 0


@pytest.mark.parametrize(
    ("system", "processor", "library", "said"),
    [
        ("Linux", "x86_64", "cpython-311-x86_64-linux-gnu", None),
        ("Linux", "aarch64", "cpython-313-aarch64-linux-gnu", None),
        ("Darwin", "arm64", "cpython-312-darwin", None),
        ("Darwin", "x86_64", "cpython-312-darwin", "no package for an Intel Mac, so pip"),
        ("Linux", "x86_64", "cpython-311-x86_64-linux-musl", "no package for Linux on x86_64 with musl, so pip"),
        ("Linux", "armv7l", "cpython-311-arm-linux-gnueabihf", "no package for Linux on armv7l, so pip"),
        ("FreeBSD", "amd64", "cpython-311", "no package for FreeBSD on amd64, so pip"),
    ],
)
def test_where_there_is_no_torch_it_is_said(system, processor, library, said):
    problem = requirements.platform_problem(system, processor, library)
    assert problem is None if said is None else said in problem
