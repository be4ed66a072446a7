"""Where things live.

All paths follow from the checkout's root, so a notebook gives the same answer from Jupyter, papermill, nbval or a
terminal, whatever the working directory. Three environment variables move the products elsewhere (the tests use
them): ``EUREKA_STORE`` for the trained runs, ``EUREKA_FIGURES`` for the figures, ``EUREKA_DATA`` for downloads.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
DEFAULT_PROFILE = "laptop"
PLAYED = "played"  # subfolder of a profile's figures for runs with other parameters than the defaults


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file of which nobody ever reads a half, whoever else is writing it."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    os.replace(part, path)


def write_if_changed(path: Path, data: bytes) -> None:
    """Write a file, atomically, unless it holds ``data`` already; make its folder if there is none."""
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)


def store_dir() -> Path:
    """Folder of the run store."""
    return Path(os.environ.get("EUREKA_STORE", ROOT / "runs"))


def figures_dir(profile: str) -> Path:
    """Folder of a profile's figures: ``figures`` for laptop, a subfolder for the others, so none overwrites another."""
    base = Path(os.environ.get("EUREKA_FIGURES", ROOT / "figures"))
    return base if profile == DEFAULT_PROFILE else base / profile


def data_dir() -> Path:
    """Folder of downloaded data sets."""
    return Path(os.environ.get("EUREKA_DATA", Path.home() / ".cache" / "eureka_lib"))
