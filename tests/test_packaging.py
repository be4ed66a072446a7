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


# --- run_all.sh ------------------------------------------------------------------------------------------------------

# Stands for Python and pip: writes down how it was called; "venv" copies it; "pip" may be told to fail.
FAKE_PYTHON = """#!/bin/bash
if [[ $1 == -I && $2 == *requirements.py && $3 == --platform ]]; then exit 0; fi
if [[ $1 == -I && $2 == *requirements.py ]]; then echo -n "$LACKS"; [[ -z $LACKS ]]; exit; fi
if [[ $1 == -I ]]; then shift; fi
if [[ $1 == -m ]]; then echo "$0 $*" >>"$CALLS"; fi
if [[ $2 == venv ]]; then mkdir -p "$4/bin" && cp "$0" "$4/bin/python"; fi
if [[ $2 == pip ]]; then exit "${PIP_STATUS:-0}"; fi
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
