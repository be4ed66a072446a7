"""``./run_all.sh kit FOLDER``: all that a room without a network needs, in one folder to copy.

The checkout's files with figures, released runs and what has been rendered; the gallery; and the wheels of what the
extra ``class`` needs, for machines like this one (system, processor, Python's version). A copy's ``./run_all.sh lab``
sets up from these wheels alone. ``EUREKA_TORCH_INDEX`` gives torch without CUDA, as in run_all.sh.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from eureka_lib import paths
from eureka_lib.run_all.requirements import needed

USAGE = "usage: ./run_all.sh kit FOLDER      (which is made; 350 MB of wheels are downloaded into it)"
FILES = ("LICENSE", "README.md", "pyproject.toml", "run_all.sh", "eureka_lib", "notebooks", "figures")
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "machine", "played", "smoke", "paper")


def copy_checkout(folder: Path) -> None:
    """Copy what a reader uses of the checkout into ``folder``, which must not be there."""
    folder.mkdir(parents=True)
    for name in FILES:
        source = paths.ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=LEFT_OUT)
        else:
            shutil.copy2(source, folder / name)


def fetch_wheels(requirements: Sequence[str], folder: Path, torch_index: str | None = None) -> None:
    """Have pip put the wheels of all that is required into ``folder``; ValueError if it could not.

    ``torch_index``: the address where torch's project keeps builds without CUDA.
    """
    pip = [sys.executable, "-m", "pip"]
    commands = [[*pip, "wheel", "--wheel-dir", str(folder), "--find-links", str(folder), *requirements]]
    if torch_index:  # counts as newer than the usual build of its version, so the other command takes it
        torch = [line for line in requirements if line.startswith("torch==")]
        commands.insert(0, [*pip, "download", "--no-deps", "-d", str(folder), "--index-url", torch_index, *torch])
    folder.mkdir()
    for command in commands:
        if subprocess.run(command).returncode:
            raise ValueError("pip could not fetch the wheels, see above")


def main(arguments: Sequence[str], only_check: bool = False) -> int:
    """Make a kit and return the exit status; ValueError says what is wrong."""
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise ValueError(f"kit wants a folder, got {' '.join(arguments) or 'nothing'}; {USAGE}")
    folder = Path(arguments[0]).expanduser().absolute()
    if folder.exists():
        raise ValueError(f"{folder} is there already; a kit is made in a new folder")
    if only_check:
        return 0
    from eureka_lib.run_all.gallery import page

    pyproject = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    copy_checkout(folder)
    page.build(folder / "figures", folder / "notebooks", paths.DEFAULT_PROFILE)
    requirements = [*needed(pyproject["project"], "class"), *pyproject["build-system"]["requires"]]
    fetch_wheels(requirements, folder / "wheels", os.environ.get("EUREKA_TORCH_INDEX"))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    rendered = len(list((folder / "figures" / "notebooks").glob("*.html")))
    print(
        f"{folder}: {size / 1e6:.0f} MB, with the pages of {rendered} notebooks (./run_all.sh makes them). Copy it to "
        f"machines like this one, with Python {sys.version_info[0]}.{sys.version_info[1]}; there: ./run_all.sh lab"
    )
    return 0
