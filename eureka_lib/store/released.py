"""Released runs: archives that come with the checkout, so that whoever clones it has the runs behind every figure.

An archive is a zip file of what a store holds, ``KEY/config.json`` and so on, uncompressed and without dates: the same
runs give the same bytes on any machine, and git stores what changed. ``SHA256SUMS`` beside the archives names them all.
A :class:`eureka_lib.store.RunStore` looks here for what its own folder lacks, and only reads. An archive that is
missing, damaged or of another results version is said so, and its runs are trained: a figure is never drawn from it.
"""

import hashlib
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from eureka_lib import paths

SUMS = "SHA256SUMS"
VERSION = "RESULTS_VERSION"  # a file in each archive
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError)  # what reading a damaged archive raises


def folders(archives: Path, version: int) -> dict[str, zipfile.Path]:
    """The runs in the archives of a folder, by key, as folders that can be read."""
    state = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(archives.glob("*.zip"))]
    return _index(archives, tuple(state), version)


def listed(folder: Path) -> dict[str, str]:
    """The SHA-256 of each archive that ``folder`` ought to have, by its name; empty where nothing is released."""
    sums = folder / SUMS
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


def write(folder: Path, archives: Mapping[str, Mapping[str, Mapping[str, bytes]]], version: int) -> None:
    """Write ``archives``: by name, the files of each run by its key. What else was released there goes."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.zip"):
        if old.name not in archives:
            old.unlink()
    for name, runs in archives.items():
        part = folder / f"{name}.part"
        with zipfile.ZipFile(part, "w") as archive:
            _add(archive, VERSION, str(version).encode())
            for key, files in sorted(runs.items()):
                for file, data in sorted(files.items()):
                    _add(archive, f"{key}/{file}", data)
        part.replace(folder / name)
    sums = [f"{_sha256(folder / name)}  {name}\n" for name in sorted(archives)]
    paths.write_if_changed(folder / SUMS, "".join(sums).encode())


def verify(folder: Path) -> Iterator[tuple[str, str]]:
    """Each archive's name, and what is wrong with it as a whole; "" if it is what ``SHA256SUMS`` says."""
    expected = listed(folder)
    for name in sorted({*expected, *(path.name for path in folder.glob("*.zip"))}):
        if name not in expected:
            yield name, f"is not listed in {SUMS}"
        elif not (folder / name).is_file():
            yield name, "is missing"
        else:
            yield name, "" if _sha256(folder / name) == expected[name] else f"does not match the checksum in {SUMS}"


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """A file that looks the same whenever and by whomever it is written."""
    info = zipfile.ZipInfo(name)  # dated 1980
    info.create_system, info.external_attr = 3, 0o644 << 16
    archive.writestr(info, data)


@lru_cache(maxsize=4)
def _index(folder: Path, state: tuple, version: int) -> dict[str, zipfile.Path]:
    """Where each run lies, as long as the archives stay as they are (``state``); warns, once, of those of no use."""
    found = {}
    for name in sorted({*listed(folder), *(name for name, *_ in state)}):
        try:
            found |= _runs_in(folder / name, version)
        except (*UNREADABLE, OSError, ValueError) as problem:
            warnings.warn(f"released runs {folder / name} cannot be used ({problem}); what is needed of them is "
                          f"trained instead", stacklevel=5)  # fmt: skip
    return found


def _runs_in(archive: Path, version: int) -> Iterable[tuple[str, zipfile.Path]]:
    root = zipfile.Path(zipfile.ZipFile(archive))  # which stays open
    own = int((root / VERSION).read_text(encoding="utf-8"))
    if own != version:
        raise ValueError(f"they are of results version {own}, and now it is {version}")
    return [(run.name, run) for run in root.iterdir() if run.is_dir()]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
