"""What is done already.

A notebook is believed done only by its success record, ``<figures>/notebooks/<name>.json``, which is written last. It
holds the hashes of everything that went in (cells, parameters, library, versions) and of every artefact that came out.
While all of them hold, a rerun skips the notebook; so a rerun after a failure or Ctrl-C continues where it stopped.
"""

import hashlib
import json
import platform
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from eureka_lib import paths
from eureka_lib.run_all.jobs import Job, read_cells


def read_json(path: Path) -> dict | None:
    """What a JSON file holds; None if there is no such file, or it is not readable."""
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None


def write_atomically(path: Path, text: str) -> None:
    """Write a file of which nobody ever reads a half."""
    paths.write_atomically(path, text.encode())


def ingredients(job: Job) -> dict:
    """Everything that decides a notebook's products."""
    return {
        "notebook": _sha256(json.dumps(read_cells(Path(job.source))).encode()),
        "parameters": json.loads(json.dumps(job.parameters)),  # as the record will give them back: tuples are lists
        "library": library_hash(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "claims of other notebooks": claims_hash(job) if job.reads_claims else None,
    }


def library_hash() -> str:
    """One hash over the source of the whole library."""
    package = paths.ROOT / "eureka_lib"
    files = sorted(package.rglob("*.py"))
    return _sha256("".join(f"{p.relative_to(package)} {_sha256(p.read_bytes())}\n" for p in files).encode())


def claims_hash(job: Job) -> str:
    """One hash over what the other notebooks of the profile claim."""
    files = sorted(job.claims.glob("*.json"))
    return _sha256("".join(f"{p.name} {_sha256(p.read_bytes())}\n" for p in files if p.stem != job.name).encode())


def artefacts(job: Job) -> dict[str, str]:
    """Hashes of what a notebook has left, which are by convention the files ``NN_*``, its claims, and its HTML.

    Of the HTML only that it is there: its links change when other notebooks' pages come and go.
    """
    folder = Path(job.figures)
    found = [*folder.glob(f"{job.name.split('_')[0]}_*"), folder / "claims" / f"{job.name}.json"]
    hashes = {p.relative_to(folder).as_posix(): _sha256(p.read_bytes()) for p in sorted(found) if p.is_file()}
    return hashes | ({job.html.relative_to(folder).as_posix(): "there"} if job.html.is_file() else {})


def write_record(job: Job, made_of: dict, seconds: float) -> None:
    """Say that a notebook, made of these ``ingredients``, is done."""
    record = {**made_of, "seconds": seconds, "artefacts": artefacts(job)}
    write_atomically(job.record, json.dumps(record, indent=1))


def why_run(job: Job) -> str | None:
    """Why a notebook has to be executed, in a few words; None if it is up to date."""
    record = read_json(job.record)
    if record is None:
        return "not finished before"
    for part, now in ingredients(job).items():
        if record.get(part) != now:
            return f"{part} changed"
    there = artefacts(job)
    for name, digest in record["artefacts"].items():
        if there.get(name) != digest:
            return f"{name} was changed" if name in there else f"{name} is missing"
    return None


def seconds_before(job: Job) -> float | None:
    """How long a notebook took when it last succeeded; None if that is not known."""
    return (read_json(job.record) or {}).get("seconds")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _version(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None
