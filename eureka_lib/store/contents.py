"""What is in a store, sound or not: verify it, prune it, and merge another machine's store into it."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eureka_lib.store.runs import Run, RunStore, StoreError, read_run

LEFT_BEHIND = 24 * 3600  # seconds after which a half-written run or a note of progress is nobody's any more


@dataclass(frozen=True)
class Entry:
    """A run's folder: the ``run``, or the ``problem`` with it, a ValueError if its files are damaged."""

    folder: Path
    run: Run | None
    problem: Exception | None = None


def entries(store: RunStore, weights: bool = False) -> Iterator[Entry]:
    """Every run's folder in a store, verified; also its ``weights``, if asked."""
    for key in store.keys():
        folder = store.folder / key
        try:
            yield Entry(folder, read_run(folder, weights))
        except (ValueError, StoreError) as problem:
            yield Entry(folder, None, problem)


def sound_runs(store: RunStore) -> list[Run]:
    """The runs of a store that are what they say, weights aside; the others are left where they are."""
    return [entry.run for entry in entries(store) if entry.run]


def merge(store: RunStore, other: RunStore) -> Iterator[tuple[str, str]]:
    """Copy the runs of ``other`` that ``store`` lacks; yield each run's key and what became of it.

    That is "copied", "already here", "already here, with another history" (what is here stays), or "damaged" and why.
    A store from elsewhere is untrusted data: each run is verified, and only the files of a run are copied. Raises
    StoreError if ``store`` cannot be written.
    """
    for entry in entries(other, weights=True):
        if entry.run is None:
            yield entry.folder.name, f"damaged: {entry.problem}"
        elif mine := store.load(entry.run.key):
            same = mine.meta["history_sha256"] == entry.run.meta["history_sha256"]
            yield mine.key, "already here" if same else "already here, with another history"
        else:
            store.put(entry.run.key, {name: (entry.folder / name).read_bytes() for name in entry.run.file_names})
            yield entry.run.key, "copied"


def useless(store: RunStore) -> Iterator[tuple[Path, str]]:
    """What no sweep will ever use, and why.

    Runs that were set aside or do not fit (damaged, or of another results version); what killed processes left behind
    a day ago or more; states of trainings whose run is stored.
    """
    yield from ((path, "was set aside as damaged") for path in _inside(store.folder / "damaged"))
    for entry in entries(store, weights=True):
        if isinstance(entry.problem, ValueError):
            yield entry.folder, str(entry.problem)
    for path in [*_inside(store.folder / ".partial"), *_inside(store.folder / ".progress")]:
        if time.time() - path.stat().st_mtime > LEFT_BEHIND:
            yield path, "was left behind by a killed process"
    for path in _inside(store.folder / "unfinished"):
        if (store.folder / path.name.split(".")[0]).is_dir():
            yield path, "is the state of a training that has finished"


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
