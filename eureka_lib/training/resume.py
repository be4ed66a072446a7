"""Save a training's state and resume it exactly.

``save`` writes all that the next step depends on to one safetensors file: the states of model, optimiser and random
generators, and the history. Batches are a function of their seed: a resumed training skips those it has seen. Nothing
is pickled, and files are written atomically.
"""

import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from eureka_lib.paths import make_folder
from eureka_lib.training.loop import Trainer


def save(path: Path, trainer: Trainer, facts: dict[str, Any], extra: Mapping[str, Tensor]) -> None:
    """Write the state of ``trainer`` after an evaluation, with ``facts`` (plain values) that identify it.

    ``extra`` are further tensors to be restored. If it cannot be written, the training goes on with a warning.
    """
    tensors = {f"extra/{name}": value for name, value in extra.items()}
    tensors |= {f"model/{name}": value for name, value in trainer.model.state_dict().items()}
    for index, state in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in state.items()}
    tensors |= _random_states()
    # Copies: safetensors takes no memory twice, and a tied parameter has two names.
    on_disk = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    notes = {"rows": json.dumps(trainer.rows), "facts": json.dumps(facts, sort_keys=True)}
    notes["sha256"] = _checksum(on_disk, notes)
    part = path.with_suffix(f".{uuid.uuid4().hex}")  # two processes may train the same, on two machines
    try:
        make_folder(path.parent)
        safetensors.torch.save_file(on_disk, part, notes)
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        warnings.warn(f"the training's state could not be saved as {path} ({error}); it goes on", stacklevel=2)
        with suppress(OSError):
            part.unlink()


def restore(path: Path, trainer: Trainer, facts: dict[str, Any]) -> dict[str, Tensor] | None:
    """Restore ``trainer`` and torch's global random generators from ``path``, if it was saved with the same ``facts``.

    Returns the ``extra`` tensors of ``save``, None if nothing was restored. A damaged file is ignored with a warning.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            notes, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        warnings.warn(f"{path} is damaged ({error}); training from the start", stacklevel=2)
        return None
    if notes.pop("sha256", "") != _checksum(tensors, notes):
        warnings.warn(f"{path} is damaged (its checksum does not match); training from the start", stacklevel=2)
        return None
    if notes["facts"] != json.dumps(facts, sort_keys=True):
        return None
    trainer.model.load_state_dict(_below("model", tensors))
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in _below("optimizer", tensors).items():
        index, key = name.split("/")
        states.setdefault(int(index), {})[key] = value
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": states, "param_groups": groups})
    torch.set_rng_state(tensors["random/cpu"])
    if "random/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random/cuda"])
    trainer.rows[:] = json.loads(notes["rows"])
    return _below("extra", tensors)


def _checksum(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> str:
    """SHA-256 over tensors and notes."""
    found = hashlib.sha256(json.dumps(notes, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        found.update(name.encode())
        found.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _random_states() -> dict[str, Tensor]:
    states = {"random/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random/cuda"] = torch.cuda.get_rng_state()
    return states


def _below(folder: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{folder}/"): value for name, value in tensors.items() if name.startswith(f"{folder}/")}
