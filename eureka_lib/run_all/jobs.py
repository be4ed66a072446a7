"""What there is to do (which notebooks, at which profile, with which parameters), and what is done already.

A notebook is believed done only by its success record, ``<figures>/notebooks/<name>.json``, which is written last. It
holds the hashes of everything that went in (cells, parameters, library, versions) and of every artefact that came out.
While all of them hold, a rerun skips the notebook; so a rerun after a failure or Ctrl-C continues where it stopped.
"""

import ast
import hashlib
import json
import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from eureka_lib import paths
from eureka_lib.experiments import defaults
from eureka_lib.validation import check_choice

# Seconds that one cell may take before it counts as hung; far beyond what any cell needs.
CELL_TIMEOUT = {"smoke": 1800, "laptop": 12 * 3600, "paper": 30 * 24 * 3600}
PROFILES = tuple(CELL_TIMEOUT)  # the names in eureka_lib.experiments.profiles, which itself needs torch


@dataclass(frozen=True)
class Job:
    """One notebook to execute, and where its products go."""

    name: str
    source: Path  # the notebook
    figures: Path  # the folder of its figures
    profile: str
    parameters: dict
    played: dict = field(default_factory=dict)  # the parameters that are not the defaults

    @property
    def products(self) -> Path:
        """Folder of the executed notebooks, their HTML and their success records."""
        return self.figures / "notebooks"

    def product(self, suffix: str) -> Path:
        """The executed notebook (".ipynb"), the same to read in a browser (".html"), the success record (".json")."""
        return self.products / f"{self.name}{suffix}"

    @property
    def claims(self) -> Path:
        """Folder of the claims, to which a played notebook adds none."""
        return (self.figures.parent if self.played else self.figures) / "claims"

    @property
    def reads_claims(self) -> bool:
        """Whether it is made of what other notebooks leave: a cell of it is tagged ``claims``."""
        return any("claims" in tags for _, _, tags in read_cells(self.source))


@dataclass(frozen=True)
class Outcome:
    """How a notebook ended: ``status`` is "ok", "up to date" or "FAILED"; ``error`` says where and why it failed."""

    name: str
    status: str
    seconds: float = 0.0
    error: str = ""


# --- Which notebooks -------------------------------------------------------------------------------------------------


def find_notebooks(folder: Path) -> dict[str, Path]:
    """The notebooks of a folder by name, in reading order; ValueError if there are none."""
    if found := {path.stem: path for path in sorted(folder.glob("*.ipynb"))}:
        return found
    raise ValueError(f"there are no notebooks in {folder}; they come with a checkout of the project, where eureka_lib "
                     f"is to be installed as it lies there: pip install -e '.[all]'")  # fmt: skip


def select(words: Iterable[str], known: dict[str, Path]) -> dict[str, Path]:
    """The notebooks that ``words`` name, in reading order, all if there are no words; raise ValueError for another.

    A word is a number (``01``), a name or a path.
    """
    chosen = {_name_of(word, known) for word in words} or set(known)
    return {name: path for name, path in known.items() if name in chosen}


def _name_of(word: str, known: dict[str, Path]) -> str:
    name = Path(word).stem if word.endswith(".ipynb") else word
    if "/" in word and name in known:
        notebook = known[name].resolve()
        if notebook not in (Path(word).resolve(), (notebook.parent.parent / word).resolve()):
            raise ValueError(f"{word!r} is not one of this project's notebooks; did you mean {name!r}?")
    numbered = [each for each in known if each.split("_")[0] == name.zfill(2)]
    return numbered[0] if len(numbered) == 1 else check_choice("notebook or profile", name, [*known, *PROFILES])


def read_cells(notebook: Path) -> list[tuple[str, str, list[str]]]:
    """Type, source and tags of the cells: all that decides what a notebook does, so neither outputs nor counters."""
    text = notebook.read_text(encoding="utf-8")
    try:
        cells = json.loads(text)["cells"]
        return [(c["cell_type"], "".join(c["source"]), c.get("metadata", {}).get("tags", [])) for c in cells]
    except (ValueError, KeyError, TypeError, AttributeError):
        return [("unreadable", text, [])]  # papermill says what is wrong with it, when its turn comes


# --- With which parameters -------------------------------------------------------------------------------------------


def declared_parameters(notebook: Path) -> dict[str, object]:
    """The parameters of a notebook with their defaults: what the cell tagged ``parameters`` assigns with annotations.

    Read by the standard library and not by papermill's ``inspect_notebook``: ``-p`` is checked before there is an
    environment that has papermill.
    """
    tagged = [source for kind, source, tags in read_cells(notebook) if kind == "code" and "parameters" in tags]
    with suppress(SyntaxError):  # which the reader will see when the cell is executed
        found = [node for node in ast.parse("".join(tagged[:1])).body if isinstance(node, ast.AnnAssign) and node.value]
        return {ast.unparse(node.target): parse_value(ast.unparse(node.value)) for node in found}
    return {}


def parse_value(text: str) -> object:
    """``text`` as a Python or JSON literal; as it is, if it is neither."""
    for parse in (ast.literal_eval, json.loads):
        with suppress(ValueError, SyntaxError):
            return parse(text)
    return text


def check_parameter(notebook: Path, name: str, text: str) -> object:
    """The value that ``-p name=text`` gives a notebook; raise ValueError or TypeError if it has no such parameter."""
    if name == "profile":
        raise ValueError("the profile is not set with -p: use --profile")
    declared = declared_parameters(notebook)
    declared.pop("profile", None)
    if not declared:
        raise ValueError(f"unknown parameter {name!r}: {notebook.stem} has no parameters but the profile")
    default, value = declared[check_choice(f"parameter of {notebook.stem}:", name, declared)], parse_value(text)
    if isinstance(default, str):
        return value if isinstance(value, str) else text  # a name that looks like a number
    kind, actual = type(default).__name__, type(value).__name__
    if default is not None and actual != kind and (kind, actual) != ("float", "int"):
        raise TypeError(
            f"parameter {name!r} of {notebook.stem} must be of type {kind}, "
            f"got {value!r} of type {actual}; its default is {default}"
        )
    return value


def plan(notebooks: dict[str, Path], figures: Path, profile: str, extra: Iterable[str] = ()) -> list[Job]:
    """A job for each notebook; ``extra`` are parameters as ``NAME=VALUE``, which each of the notebooks must have.

    A notebook that is played, through ``extra`` or because the file was edited, leaves its products in a folder apart.
    """
    pairs = [_split(text) for text in extra]
    jobs = []
    for name, source in notebooks.items():
        parameters = {key: check_parameter(source, key, text) for key, text in pairs}
        in_file = declared_parameters(source)
        has_profile = in_file.pop("profile", None)  # a notebook without it still learns it from EUREKA_PROFILE
        played = defaults.changed(in_file | parameters, defaults.read(source.parent).get(name, in_file))
        folder = figures / paths.PLAYED if played else figures
        parameters |= {"profile": profile} if has_profile else {}
        jobs.append(Job(name, source.resolve(), folder.resolve(), profile, parameters, played))
    return jobs


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"a parameter is given as NAME=VALUE, for example steps=100; got {text!r}")
    return name, value


# --- What is done already --------------------------------------------------------------------------------------------


def ingredients(job: Job) -> dict:
    """Everything that decides a notebook's products."""
    package = paths.ROOT / "eureka_lib"
    claims = [path for path in job.claims.glob("*.json") if path.stem != job.name]
    return {
        "notebook": _sha256(json.dumps(read_cells(job.source)).encode()),
        "parameters": json.loads(json.dumps(job.parameters)),  # as the record will give them back: tuples are lists
        "library": _sha256_of(package.rglob("*.py"), package),
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "claims of other notebooks": _sha256_of(claims, job.claims) if job.reads_claims else None,
    }


def artefacts(job: Job) -> dict[str, str]:
    """Hashes of what a notebook has left, which are by convention the files ``NN_*``, its claims, and its HTML.

    Of the HTML only that it is there: its links change when other notebooks' pages come and go.
    """
    folder, html = job.figures, job.product(".html")
    found = [*folder.glob(f"{job.name.split('_')[0]}_*"), folder / "claims" / f"{job.name}.json"]
    hashes = {p.relative_to(folder).as_posix(): _sha256(p.read_bytes()) for p in sorted(found) if p.is_file()}
    return hashes | ({html.relative_to(folder).as_posix(): "there"} if html.is_file() else {})


def write_record(job: Job, made_of: dict, seconds: float) -> None:
    """Record that a notebook, made of these ``ingredients``, is done."""
    record = {**made_of, "seconds": seconds, "artefacts": artefacts(job)}
    paths.write_atomically(job.product(".json"), json.dumps(record, indent=1).encode())


def read_record(job: Job) -> dict | None:
    """The success record; None if there is none, or it is not readable."""
    with suppress(OSError, ValueError):
        return json.loads(job.product(".json").read_text(encoding="utf-8"))
    return None


def why_run(job: Job) -> str | None:
    """Why a notebook has to be executed, in a few words; None if it is up to date."""
    record = read_record(job)
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


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha256_of(files: Iterable[Path], folder: Path) -> str:
    """One hash over the names, relative to ``folder``, and the contents of ``files``."""
    return _sha256("".join(f"{p.relative_to(folder)} {_sha256(p.read_bytes())}\n" for p in sorted(files)).encode())
