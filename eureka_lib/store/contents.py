"""What is in a store, sound or not: verify it, prune it, and merge another machine's store into it."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eureka_lib.store.runs import SUMS, Run, RunStore, StoreError, read_run, sums_of, weights_name

LEFT_BEHIND = 24 * 3600  # seconds after which a half-written run or a note of progress is nobody's any more


@dataclass(frozen=True)
class Entry:
    """A run's folder: the ``run``, or the ``problem`` with it, and whether that is in the files (``damaged``)."""

    folder: Path
    run: Run | None
    problem: str = ""
    damaged: bool = False


def entries(store: RunStore) -> Iterator[Entry]:
    """Every run's folder in a store, verified but for its weights."""
    for key in store.keys():
        folder = store.folder / key
        try:
            yield Entry(folder, read_run(folder))
        except (ValueError, StoreError) as error:
            yield Entry(folder, None, str(error), damaged=isinstance(error, ValueError))


def sound_runs(store: RunStore) -> list[Run]:
    """The runs of a store that are what they say; the others are left where they are."""
    return [entry.run for entry in entries(store) if entry.run]


def with_weights(entry: Entry) -> Entry:
    """The entry, with the weights and the list of checksums verified too."""
    if entry.run is None:
        return entry
    try:
        entry.run.check_weights()
        files = files_of(entry.run)
        if files.pop(SUMS) != sums_of(files):
            raise ValueError(f"its {SUMS} is not that of its files")
    except (ValueError, StoreError) as error:
        return Entry(entry.folder, None, str(error), damaged=isinstance(error, ValueError))
    return entry


def files_of(run: Run) -> dict[str, bytes]:
    """The files that belong to a run, by name; whatever else may lie in its folder does not."""
    names = ["config.json", "history.csv", "meta.json", SUMS, *map(weights_name, run.weight_steps)]
    return {name: (run.folder / name).read_bytes() for name in names}


def merge(store: RunStore, other: RunStore) -> Iterator[tuple[str, str]]:
    """Copy the runs of ``other`` that ``store`` lacks; yield each run's key and what became of it.

    That is "copied", "already here", "already here, with another history" (what is here stays), or "damaged" and why.
    A store from elsewhere is untrusted data: each run is verified, and only the files of a run are copied. Raises
    StoreError if ``store`` cannot be written.
    """
    for entry in map(with_weights, entries(other)):
        if entry.run is None:
            yield entry.folder.name, f"damaged: {entry.problem}"
        else:
            yield entry.run.key, _copy(entry.run, store)


def _copy(run: Run, store: RunStore) -> str:
    mine = store.load(run.key)
    if mine:
        same = mine.meta["history_sha256"] == run.meta["history_sha256"]
        return "already here" if same else "already here, with another history"
    store.put(run.key, files_of(run))
    return "copied"


def useless(store: RunStore) -> Iterator[tuple[Path, str]]:
    """What no sweep will ever use, and why.

    Runs that were set aside or do not fit (damaged, or of another results version); what killed processes left behind
    a day ago or more; states of trainings whose run is stored.
    """
    yield from ((path, "was set aside as damaged") for path in _inside(store.folder / "damaged"))
    yield from ((entry.folder, entry.problem) for entry in map(with_weights, entries(store)) if entry.damaged)
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
