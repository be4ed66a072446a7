"""A kit sets up without a network: with two small packages of this environment in the place of all."""

import os
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from eureka_lib.run_all import kit
from eureka_lib.run_all.__main__ import main
from eureka_lib.store import RunStore

SMALL = ("packaging", "setuptools")  # what is required, and what pip builds ours with


def repack(name: str, folder: Path) -> None:
    """A wheel of a package that is installed here."""
    installed = metadata.distribution(name)
    with zipfile.ZipFile(folder / f"{name}-{installed.version}-py3-none-any.whl", "w") as wheel:
        for file in installed.files:
            if ".." not in file.parts and "__pycache__" not in file.parts:
                wheel.write(file.locate(), file.as_posix())


@pytest.fixture
def made(tmp_path, monkeypatch) -> Path:
    """A kit whose pyproject.toml asks for ``packaging`` alone; pip finds no index, here or later."""
    if int(metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("setuptools is older than pyproject.toml wants")
    (tmp_path / "links").mkdir()
    for name in SMALL:
        repack(name, tmp_path / "links")
    for variable, value in {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(variable, value)
    folder = tmp_path / "a kit"
    kit.copy_checkout(folder)
    with monkeypatch.context() as lecturer:
        lecturer.setenv("PIP_NO_INDEX", "1")
        lecturer.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
        kit.fetch_wheels(SMALL, folder / "wheels")
    pyproject = folder / "pyproject.toml"
    text = re.sub(r"(?m)^dependencies = \[\n(    .*\n)*\]", 'dependencies = ["packaging"]', pyproject.read_text())
    pyproject.write_text(text)
    return folder


def test_a_kit_sets_up_without_a_network(made):
    assert sorted(path.name.split("-")[0] for path in (made / "wheels").iterdir()) == list(SMALL)
    assert not list(made.rglob("__pycache__")) and RunStore(made / "figures" / "runs").folder.exists()
    gone = ("PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX")
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    command = ["bash", made / "run_all.sh", "lab", "10", "--check"]  # which opens no JupyterLab
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(command, cwd=made.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (made / ".venv" / "eureka-complete").exists() and "EUREKA_TORCH_INDEX" not in done.stdout


def test_torch_without_cuda_goes_first(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(subprocess, "run", lambda words: calls.append(words) or subprocess.CompletedProcess(words, 0))
    kit.fetch_wheels(["torch==1.0", "numpy"], tmp_path / "wheels", "file:///cpu")
    download, wheel = calls
    assert download[-3:] == ["--index-url", "file:///cpu", "torch==1.0"] and "--no-deps" in download
    assert wheel[-2:] == ["torch==1.0", "numpy"] and str(tmp_path / "wheels") in wheel


@pytest.mark.parametrize("words", [[], ["a", "b"], ["--port"], ["."]])
def test_mistakes_for_kit(words, capsys):
    assert main(["--check", "kit", *words]) == 2
    told = capsys.readouterr().err
    assert ("is there already" if words == ["."] else "kit wants a folder") in told and told.count("\n") == 1
