"""Where a result comes from: the versions, the machine and the commit behind it."""

import inspect
import os
import platform
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from eureka_lib import __version__, paths


def versions() -> dict[str, str]:
    """Versions of this package, Python, torch, and of what else computes or cuts text, where it is installed."""
    own = {"eureka_lib": __version__, "python": platform.python_version(), "torch": torch.__version__}
    return own | {name: version for name in ("numpy", "transformers", "tokenizers") if (version := _installed(name))}


@lru_cache
def _installed(name: str) -> str | None:
    """The version of a package, None if it is not installed; without importing it, which can take seconds."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@lru_cache(maxsize=1)
def machine() -> dict[str, str | int]:
    """The processor (and GPU, if there is one) that this process runs on, and its operating system.

    With the instruction set that torch uses on it, which decides how numbers are rounded.
    """
    facts = {"processor": _processor(), "instructions": torch.backends.cpu.get_cpu_capability(),
             "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"}  # fmt: skip
    return facts | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})


@lru_cache(maxsize=1)
def git_commit() -> str:
    """Commit of the checkout, with "+changes" if tracked library or notebook files differ from it; or "unknown".

    A repository that the checkout merely lies in, an archive unpacked inside one's thesis, has other commits.
    """
    try:
        if not paths.ROOT.samefile(_git("rev-parse", "--show-toplevel")):
            return "unknown"
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "eureka_lib", "notebooks")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+changes" if changed else "")


def is_own(thing: Any) -> bool:
    """Whether a function or class is the user's own, and not the library's."""
    return (getattr(thing, "__module__", None) or "").split(".")[0] != __package__


def source_of(thing: Any) -> str:
    """The source code of a function or class; ValueError if there is none to be read.

    One that was sent here from another process has it with it, as ``__source__``.
    """
    try:
        return getattr(thing, "__source__", None) or inspect.getsource(thing)
    except (OSError, TypeError) as error:
        raise ValueError(
            f"the source of {thing!r} cannot be read, and stored runs are known by it: define it by def or class in a "
            "file or a notebook's cell"
        ) from error


def _git(*words: str) -> str:
    # In a hook, for example, git names the repository of whoever committed by its environment.
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(paths.ROOT), *words]
    answer = subprocess.run(command, env=own, capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
