"""Where things live.

All paths follow from the checkout's root, so a notebook gives the same answer from Jupyter, papermill, nbval or a
terminal, whatever the working directory. Environment variables move the products elsewhere (the tests use them):
``EUREKA_STORE`` for the trained runs, ``EUREKA_FIGURES`` for the figures, ``EUREKA_DATA`` for downloads;
``EUREKA_RELEASED`` names another folder of released runs (one without any, and all is trained).
"""

import os
import stat
import warnings
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
DEFAULT_PROFILE = "laptop"
VARIABLES = ("EUREKA_STORE", "EUREKA_FIGURES", "EUREKA_DATA", "EUREKA_RELEASED")
PLAYED = "played"  # subfolder of a profile's figures for runs with other parameters than the defaults


def write_atomically(path: Path, data: bytes) -> None:
    """Write atomically: readers see the old file or the new one, also if several processes write it."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    os.replace(part, path)


def keep(path: Path, data: bytes) -> None:
    """Write a file of :func:`data_dir` that only saves time: if it cannot be written, warn, and go on without it."""
    try:
        make_folder(path.parent)
        write_atomically(path, data)
    except OSError as problem:
        warnings.warn(f"{path} could not be kept ({problem.strerror}), so it will be made again each time; "
                      f"the environment variable EUREKA_DATA names another folder", stacklevel=3)  # fmt: skip


def make_folder(folder: Path) -> None:
    """Make a folder, unless it is there; it is as open as the one it lies in, whatever this user's umask.

    So whoever may write to a store that several people share may also write to the folders inside that others made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir()
        with suppress(PermissionError):  # there are disks that keep no permissions
            folder.chmod(stat.S_IMODE(folder.parent.stat().st_mode))


def write_if_changed(path: Path, data: bytes) -> None:
    """Write a file, atomically, unless it holds ``data`` already; make its folder if there is none."""
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)


def store_dir() -> Path:
    """Folder of the run store."""
    return _chosen("EUREKA_STORE") or _checkout("EUREKA_STORE") / "runs"


def released_dir() -> Path:
    """Folder of the runs that come with the checkout."""
    return _chosen("EUREKA_RELEASED") or ROOT / "figures" / "runs"


def figures_dir(profile: str) -> Path:
    """Folder of a profile's figures: ``figures`` for laptop, a subfolder for the others, so none overwrites another."""
    base = _chosen("EUREKA_FIGURES") or _checkout("EUREKA_FIGURES") / "figures"
    return base if profile == DEFAULT_PROFILE else base / profile


def data_dir() -> Path:
    """Folder of downloaded data sets: by default the user's cache, or the checkout's, for a user without a home."""
    try:
        return _chosen("EUREKA_DATA") or Path.home() / ".cache" / "eureka_lib"
    except RuntimeError:  # in a container, for example, with a user that has a number only
        return _checkout("EUREKA_DATA") / ".cache"


def _chosen(variable: str) -> Path | None:
    folder = os.environ.get(variable)
    return Path(folder).expanduser() if folder else None


def _checkout(variable: str) -> Path:
    """The checkout's root; ValueError if there is none, since what is installed is no place for a person's products."""
    if (ROOT / "pyproject.toml").exists():
        return ROOT
    raise ValueError(
        f"eureka_lib is installed in {ROOT}, apart from its checkout: let the environment variable {variable} name a "
        f"folder for what this would write, or install it where it is, by pip install -e '.[all]' in the checkout"
    )
