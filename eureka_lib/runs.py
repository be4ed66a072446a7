"""The run store: every finished training, kept once and found again by its configuration.

A run's key is a hash of its full configuration and of :data:`RESULTS_VERSION`. Its folder holds three readable files:
``config.json``, ``history.csv`` and ``meta.json`` (status, wall time, machine, versions, checksums), and beside them
the weights along the training, as safetensors, if it was asked to keep any. A folder appears
under its key by one rename after everything is written, so a killed process leaves no half-written run and two
processes may store the same run. On loading, the configuration and the history's checksum are verified; a run that
does not fit is said so, set aside and trained again. Nothing is ever unpickled.
"""

import hashlib
import io
import json
import os
import shutil
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
from torch import Tensor

from eureka_lib import paths

RESULTS_VERSION = 3  # raise it whenever the same configuration would give other results than before

Config = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A stored training: nested ``config``, ``history`` (a row per evaluation), ``meta`` data, and its ``folder``."""

    folder: Path
    config: Config
    history: pd.DataFrame
    meta: dict[str, Any]

    @property
    def key(self) -> str:
        """The hash that names it."""
        return self.folder.name

    @property
    def weight_steps(self) -> list[int]:
        """The steps of which the weights are kept, ascending; none unless they were asked for."""
        return sorted(int(step) for step in self.meta.get("weights_sha256", {}))

    def weights(self, step: int) -> dict[str, Tensor]:
        """The model's state before training step ``step`` + 1.

        Raises ValueError for a step that was not kept, or if the file does not match its checksum.
        """
        if step not in self.weight_steps:
            nearest = min(self.weight_steps, key=lambda kept: abs(kept - step), default="none")
            raise ValueError(f"weights of step {step} were not kept; kept are {self.weight_steps}, nearest {nearest}")
        data = (self.folder / _weights_name(step)).read_bytes()
        if _sha256(data) != self.meta["weights_sha256"][str(step)]:
            raise ValueError(f"{self.folder / _weights_name(step)} does not match the checksum in meta.json")
        return safetensors.torch.load(data)

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


def key_of(config: Config) -> str:
    """16 hexadecimal digits that name a configuration under the current results version."""
    text = json.dumps({"results_version": RESULTS_VERSION, "config": config}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class RunStore:
    """Runs in a folder, by default :func:`eureka_lib.paths.store_dir`."""

    def __init__(self, folder: Path | str | None = None):
        self.folder = Path(folder) if folder is not None else paths.store_dir()

    def load(self, config: Config) -> Run | None:
        """The stored run of ``config``, or None. A damaged one is set aside with a warning, and counts as None."""
        folder = self.folder / key_of(config)
        if not folder.is_dir():
            return None
        try:
            return _read(folder, config)
        except (OSError, ValueError, KeyError) as error:
            aside = self.folder / "damaged" / f"{folder.name}-{uuid.uuid4().hex[:8]}"
            aside.parent.mkdir(exist_ok=True)
            os.replace(folder, aside)
            warnings.warn(f"stored run {folder.name} is damaged ({error}); moved to {aside}, training again",
                          stacklevel=2)  # fmt: skip
            return None

    def save(
        self,
        config: Config,
        history: pd.DataFrame,
        meta: dict[str, Any],
        weights: Mapping[int, Mapping[str, Tensor]] | None = None,
    ) -> Run:
        """Store a run and return it as :meth:`load` would; if it is there already, the stored one stays.

        ``weights``: the model's states to keep, by training step.
        """
        key = key_of(config)
        text = history.to_csv(index=False, lineterminator="\n").encode()
        meta = {"results_version": RESULTS_VERSION, **meta, "history_sha256": _sha256(text)}
        part = self.folder / ".partial" / f"{key}-{uuid.uuid4().hex}"
        part.mkdir(parents=True)
        try:
            if weights:
                files = {step: safetensors.torch.save(dict(state)) for step, state in weights.items()}
                meta["weights_sha256"] = {str(step): _sha256(data) for step, data in files.items()}
                for step, data in files.items():
                    _write(part / _weights_name(step), data)
            _write(part / "config.json", json.dumps(config, indent=2).encode())
            _write(part / "history.csv", text)
            _write(part / "meta.json", json.dumps(meta, indent=2).encode())
            self._publish(part, self.folder / key)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return _read(self.folder / key, config)

    @staticmethod
    def _publish(part: Path, final: Path) -> None:
        try:
            os.rename(part, final)
        except OSError:
            if not final.is_dir():  # another process has stored the same run: nothing to do
                raise


def _read(folder: Path, config: Config) -> Run:
    stored = json.loads((folder / "config.json").read_text())
    if stored != json.loads(json.dumps(config)):
        raise ValueError("its config.json is not the configuration that its name stands for")
    meta = json.loads((folder / "meta.json").read_text())
    data = (folder / "history.csv").read_bytes()
    if _sha256(data) != meta["history_sha256"]:
        raise ValueError("its history.csv does not match the checksum in meta.json")
    return Run(folder, stored, pd.read_csv(io.BytesIO(data)), meta)


def _weights_name(step: int) -> str:
    return f"step_{step:07}.safetensors"


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
