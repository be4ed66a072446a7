"""A run, and the folder that keeps many: what the package ``eureka_lib.store`` says of them is done here."""

import hashlib
import io
import json
import os
import re
import shutil
import stat
import tempfile
import uuid
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
from torch import Tensor

from eureka_lib import paths
from eureka_lib.store import released
from eureka_lib.store.released import SUMS

RESULTS_VERSION = 4  # raise it whenever the same configuration would give other results than before
FILES = ("config.json", "history.csv", "meta.json")

Config = dict[str, Any]
Folder = Path | zipfile.Path  # of a run: one of its own, or one in an archive


class StoreError(OSError):
    """The store cannot be read or written, so going on would only lose work."""


@dataclass(frozen=True)
class Run:
    """A stored training: nested ``config``, ``history`` (a row per evaluation), ``meta`` data, and its ``folder``.

    The folder of a released run lies in an archive.
    """

    folder: Folder
    config: Config
    history: pd.DataFrame
    meta: dict[str, Any]

    @property
    def key(self) -> str:
        """The hash that names it."""
        return self.folder.name

    @property
    def released(self) -> bool:
        """Whether it came with the checkout and was not trained here."""
        return isinstance(self.folder, zipfile.Path)

    @property
    def weight_steps(self) -> list[int]:
        """The steps of which the weights are kept, ascending; none unless they were asked for."""
        return sorted(int(step) for step in self.meta.get("weights_sha256", {}))

    @property
    def file_names(self) -> list[str]:
        """The files that belong to it; whatever else may lie in its folder does not."""
        return [*FILES, SUMS, *map(weights_name, self.weight_steps)]

    def weights(self, step: int) -> dict[str, Tensor]:
        """The model's state before training step ``step`` + 1.

        Raises ValueError for a step that was not kept, or if the file does not match its checksum.
        """
        if step not in self.weight_steps:
            nearest = min(self.weight_steps, key=lambda kept: abs(kept - step), default="none")
            raise ValueError(f"weights of step {step} were not kept; kept are {self.weight_steps}, nearest {nearest}")
        return safetensors.torch.load(self.weights_data(step))

    def weights_data(self, step: int) -> bytes:
        """The file of the weights at ``step``; ValueError if it does not match its checksum."""
        path = self.folder / weights_name(step)
        data = _read(path)
        if _sha256(data) != self.meta["weights_sha256"][str(step)]:
            raise ValueError(f"{path} does not match the checksum in meta.json")
        return data

    @property
    def core_seconds(self) -> float:
        """What its training took of a processor core; the time by the clock of a run that did not note it."""
        return self.meta.get("core_seconds", self.meta["wall_seconds"])

    @property
    def status(self) -> str:
        """ "finished" or "diverged"."""
        return self.meta["status"]

    @property
    def accuracy(self) -> tuple[pd.Series, pd.Series]:
        """Steps and test accuracies of all evaluations, as the functions of ``analysis.eureka`` take them."""
        return self.history["step"], self.history["test_accuracy"]

    @property
    def final_accuracy(self) -> float:
        """Test accuracy of the last evaluation."""
        return float(self.history["test_accuracy"].iloc[-1])


def key_of(facts: Config) -> str:
    """16 hexadecimal digits that name ``facts``, plain values, under the current results version; 1 and 1.0 are one."""
    plain = json.loads(json.dumps(facts, allow_nan=False), parse_float=_number)
    return _sha256(json.dumps({"results_version": RESULTS_VERSION, "facts": plain}, sort_keys=True).encode())[:16]


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else value


class RunStore:
    """Runs in a ``folder``, and under it released ones, in the folder ``archives``, which are only read.

    By default :func:`eureka_lib.paths.store_dir` and :func:`eureka_lib.paths.released_dir`; a folder that is named has
    no released runs under it unless they are named, too.
    """

    def __init__(self, folder: Path | str | None = None, archives: Path | str | None = None):
        if folder is None:
            folder, archives = paths.store_dir(), archives or paths.released_dir()
        self.folder, self.archives = Path(folder), archives and Path(archives)

    def absolute(self) -> "RunStore":
        """The same, wherever a process works."""
        return RunStore(self.folder.absolute(), self.archives and self.archives.absolute())

    def check_writable(self) -> None:
        """Raise StoreError if nothing can be stored."""
        with _explained(f"the run store {self.folder} cannot be written"):
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass

    def keys(self) -> list[str]:
        """The names of all runs in its own folder, whether sound or not, in alphabetical order."""
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if re.fullmatch("[0-9a-f]{16}", path.name))

    def folders(self) -> dict[str, Folder]:
        """The folders of the runs in its own folder, whether sound or not, by key."""
        return {key: self.folder / key for key in self.keys()}

    def released(self) -> dict[str, Folder]:
        """The folders of the released runs, by key."""
        return released.folders(self.archives, RESULTS_VERSION) if self.archives else {}

    def load(self, key: str) -> Run | None:
        """The run stored under ``key``, else the released one, or None.

        A damaged one is set aside with a warning, and counts as None.
        Raises StoreError if the store itself cannot be read.
        """
        folder = self.folder / key
        if folder.is_dir():
            try:
                return read_run(folder, weights=True)
            except ValueError as error:
                self._set_aside(folder, error)
        return self.load_released(key)

    def load_released(self, key: str) -> Run | None:
        """The released run of that ``key``, or None, with a warning if it is damaged."""
        try:
            folder = self.released().get(key)
            return read_run(folder, weights=True) if folder else None
        except ValueError as error:
            warnings.warn(f"released run {key} cannot be used ({error}); training it instead", stacklevel=3)
            return None

    def _set_aside(self, folder: Path, problem: ValueError) -> None:
        aside = self.folder / "damaged" / f"{folder.name}-{uuid.uuid4().hex[:8]}"
        try:
            paths.make_folder(aside.parent)
            os.replace(folder, aside)
            then = f"moved to {aside}"
        except FileNotFoundError:  # another process was quicker
            return
        except OSError as error:
            then = f"it stays, as it could not be moved ({error.strerror})"
        warnings.warn(f"stored run {folder.name} is damaged ({problem}); {then}, training again", stacklevel=3)

    def save(
        self,
        key: str,
        config: Config,
        history: pd.DataFrame,
        meta: dict[str, Any],
        weights: Mapping[int, Mapping[str, Tensor]] | None = None,
    ) -> Run:
        """Store a run and return it as :meth:`load` would; if it is there already, the stored one stays.

        ``weights``: the model's states to keep, by training step. A stored run that lacks some of them is replaced by
        this one, with the weights of both if they have one history. Raises StoreError if it cannot be written.
        """
        table = history.to_csv(index=False, lineterminator="\n").encode()
        meta = {"results_version": RESULTS_VERSION, "key": key, **meta, "history_sha256": _sha256(table)}
        states = {step: safetensors.torch.save(dict(state)) for step, state in (weights or {}).items()}
        before = self.load(key)
        if before and states.keys() <= {*before.weight_steps}:
            return before
        if before and before.meta["history_sha256"] == meta["history_sha256"]:
            states = {step: before.weights_data(step) for step in before.weight_steps} | states
        files = run_files(config, table, meta, states)
        self.put(key, files, replace=before is not None and not before.released)
        return read_run(self.folder / key)

    def put(self, key: str, files: Mapping[str, bytes], replace: bool = False) -> None:
        """Write a run's folder, so that it is there as a whole or not at all; one that is there already stays.

        With ``replace`` it goes instead. Whoever can read the store can read the run, whatever this user's umask.
        Raises StoreError if it cannot be written.
        """
        part, final = self.folder / ".partial" / f"{key}-{uuid.uuid4().hex}", self.folder / key
        try:
            with _explained(f"run {key} could not be stored in {self.folder}"):
                paths.make_folder(part.parent)
                part.mkdir()
                for name, data in files.items():
                    _write(part / name, data)
                _share(part, stat.S_IMODE(self.folder.stat().st_mode))
                if replace:
                    os.rename(final, part.with_suffix(".old"))
                try:
                    os.rename(part, final)
                except OSError:
                    if not final.is_dir():  # another process has stored the same run: nothing to do
                        raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
            shutil.rmtree(part.with_suffix(".old"), ignore_errors=True)


def read_run(folder: Folder, weights: bool = False) -> Run:
    """The run in ``folder``, verified, and every file of its ``weights`` too, if asked.

    ValueError says what does not fit, StoreError that it cannot be read at all.
    """
    sums = _read(folder / SUMS).split(b"\n")

    def checked(name: str) -> bytes:
        data = _read(folder / name)
        if sums_of({name: data}).strip() not in sums:
            raise ValueError(f"its {name} does not match the checksum in {SUMS}")
        return data

    config, history, meta = map(checked, FILES)
    try:
        run = Run(folder, json.loads(config), pd.read_csv(io.BytesIO(history)), json.loads(meta))
        if (version := run.meta["results_version"]) != RESULTS_VERSION:
            raise ValueError(f"it is of results version {version}, and now it is {RESULTS_VERSION}")
        if run.meta["key"] != folder.name:
            raise ValueError(f"it is run {run.meta['key']}, stored under another name")
        if weights:
            for step in run.weight_steps:
                checked(weights_name(step))
            if len(sums) != len(run.file_names):  # a line per other file, and the end of the last line
                raise ValueError(f"its {SUMS} is not that of its files")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not what a run looks like: {type(error).__name__}: {error}") from error
    return run


def run_files(config: Config, history: bytes, meta: Config, states: Mapping[int, bytes]) -> dict[str, bytes]:
    """All files of a run by their names; its weights are ``states``, by step."""
    if states:
        meta = {**meta, "weights_sha256": {str(step): _sha256(data) for step, data in sorted(states.items())}}
    files = {weights_name(step): data for step, data in states.items()}
    files |= {"config.json": _json(config), "history.csv": history, "meta.json": _json(meta)}
    return files | {SUMS: sums_of(files)}


def kept_steps(run: Run, every: int) -> set[int]:
    """The steps of which a run keeps its weights, if asked to: ``every`` so many, and the last; 0 keeps none."""
    last = int(run.history["step"].iloc[-1])
    return {*range(0, last, every), last} if every else set()


def released_files(run: Run | None, intervals: Iterable[int]) -> dict[str, bytes] | None:
    """All files of a run by their names, as if it had kept its weights at these ``intervals`` only.

    None without a run, or if it lacks some of them.
    """
    if run is None:
        return None
    steps = set().union(*(kept_steps(run, every) for every in intervals))
    if not steps <= {*run.weight_steps}:
        return None
    meta = {name: value for name, value in run.meta.items() if name != "weights_sha256"}
    weights = {step: run.weights_data(step) for step in sorted(steps)}
    return run_files(run.config, _read(run.folder / "history.csv"), meta, weights)


def weights_name(step: int) -> str:
    """The file of the weights at a training step."""
    return f"step_{step:07}.safetensors"


def sums_of(files: Mapping[str, bytes]) -> bytes:
    """The checksums of files by name, as ``sha256sum`` writes and checks them."""
    return "".join(f"{_sha256(data)}  {name}\n" for name, data in sorted(files.items())).encode()


def _json(data: object) -> bytes:
    return json.dumps(data, indent=2).encode()


def _read(path: Folder) -> bytes:
    """A file of a run. That it is missing is the run's trouble, anything else the disk's or the network's."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(f"its {path.name} is missing") from error
    except released.UNREADABLE as error:
        raise ValueError(f"its {path.name} is damaged in the archive: {error}") from error
    except OSError as error:
        raise StoreError(error.errno, f"{path} cannot be read: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _share(run: Path, mode: int) -> None:
    """Make a run's folder as open as ``mode``, the store's permissions, says; its files are for others to read."""
    with suppress(PermissionError):  # there are disks that keep no permissions
        for file in run.iterdir():
            file.chmod(mode & 0o444 | 0o600)
        run.chmod(mode)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn an OSError into a StoreError that says ``what`` failed and why."""
    try:
        yield
    except OSError as error:
        raise StoreError(error.errno, f"{what}: {_trouble(error)}") from error


def _trouble(error: OSError) -> str:
    """What went wrong, with the folder that is closed and whose it is, where that is the trouble."""
    if not isinstance(error, PermissionError) or error.filename is None:
        return error.strerror
    folder = Path(error.filename).parent
    try:
        whose = f", which belongs to {folder.owner()}"
    except (OSError, KeyError):  # no name for that number
        whose = ""
    return f"{error.strerror} in {folder}{whose}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


Groups = Mapping[str, Sequence[Run]]
