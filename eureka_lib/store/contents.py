"""What is in a store, sound or not: verify it, prune it, release it, and merge another machine's store into it."""

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from eureka_lib.store import released
from eureka_lib.store.runs import RESULTS_VERSION, Folder, Run, RunStore, StoreError, read_run, released_files

WATCHED = "00_start_here"
LEFT_BEHIND = 24 * 3600  # seconds after which a half-written run or a note of progress is nobody's any more


@dataclass(frozen=True)
class Entry:
    """A run's folder: the ``run``, or the ``problem`` with it, a ValueError if its files are damaged."""

    folder: Folder
    run: Run | None
    problem: Exception | None = None


def entries(folders: Iterable[Folder], weights: bool = False) -> Iterator[Entry]:
    """Every run's folder, of those that a store has, verified; also its ``weights``, if asked."""
    for folder in folders:
        try:
            yield Entry(folder, read_run(folder, weights))
        except (ValueError, StoreError) as problem:
            yield Entry(folder, None, problem)


def sound_runs(store: RunStore) -> list[Run]:
    """The runs of a store that are what they say, weights aside, and the released ones that it lacks."""
    folders = store.released() | store.folders()
    return [entry.run for entry in entries(folders.values()) if entry.run]


def behind_figures(figures: Path) -> dict[str, dict[str, set[int]]]:
    """The keys of the runs behind a folder's figures, by notebook; a run that several show is the first one's.

    With each key comes every how many steps figures need its weights; most need none. The run of 00 is not among them:
    it is there to be watched while it is trained.
    """
    found: dict[str, dict[str, set[int]]] = {}
    owner: dict[str, dict[str, set[int]]] = {}
    for file in sorted(figures.glob("[0-9][0-9]_*.json")):
        facts = json.loads(file.read_text(encoding="utf-8"))
        if facts["notebook"] == WATCHED:
            continue
        mine = found.setdefault(facts["notebook"], {})
        for key in (key for group in facts["runs"] for key in group["keys"]):
            needed = owner.setdefault(key, mine).setdefault(key, set())
            needed |= {facts.get("weights_every", 0)} - {0}
    return {notebook: keys for notebook, keys in found.items() if keys}


def costs(store: RunStore, wanted: Mapping[str, Iterable[str]]) -> dict[str, dict[str, float]]:
    """By notebook, how many of its runs are released, stored or missing, and the core-hours that the others took."""
    found = {}
    for name, keys in wanted.items():
        runs = [store.load(key) for key in keys]
        known = [run for run in runs if run]
        found[name] = {
            "runs": len(runs),
            "released": sum(run.released for run in known),
            "trained here": sum(not run.released for run in known),
            "missing": len(runs) - len(known),
            "core-hours": round(sum(run.core_seconds for run in known) / 3600, 2),
        }
    return found


def release(store: RunStore, wanted: Mapping[str, Mapping[str, Iterable[int]]], folder: Path) -> dict[str, list[str]]:
    """Write an archive in ``folder`` for each name in ``wanted``, with the runs of those keys.

    Of their weights come those that are wanted, every so many steps; a run that lacks some of these counts as missing.
    Runs of a notebook's own code stay out: nobody could train them again from their configuration.
    Returns the keys, by name, of the runs that the store lacks.
    """
    archives, missing = {}, {}
    for name, keys in wanted.items():
        runs = {key: store.load(key) for key in keys}
        runs = {key: run for key, run in runs.items() if run is None or "own" not in run.config}
        found = {key: released_files(run, keys[key]) for key, run in runs.items()}
        missing[name] = [key for key, files in found.items() if files is None]
        archives[f"{name}.zip"] = {key: files for key, files in found.items() if files}
    released.write(folder, {name: runs for name, runs in archives.items() if runs}, RESULTS_VERSION)
    return missing


def merge(store: RunStore, other: RunStore) -> Iterator[tuple[str, str]]:
    """Copy the runs of ``other`` that ``store`` lacks; yield each run's key and what became of it.

    That is "copied", "already here", "already here, with another history" (what is here stays), or "damaged" and why.
    A store from elsewhere is untrusted data: each run is verified, and only the files of a run are copied. Raises
    StoreError if ``store`` cannot be written.
    """
    for entry in entries(other.folders().values(), weights=True):
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
    for entry in entries(store.folders().values(), weights=True):
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
