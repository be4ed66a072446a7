"""What there is to do: which notebooks, at which profile, with which parameters.

Notebooks are read as JSON, and their parameters from the cell tagged ``parameters`` by Python's own parser.
"""

import ast
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from eureka_lib import paths
from eureka_lib.experiments import defaults
from eureka_lib.validation import check_choice

# Seconds that one cell may take before it counts as hung; far beyond what any cell needs.
CELL_TIMEOUT = {"smoke": 1800, "laptop": 12 * 3600, "paper": 30 * 24 * 3600}
PROFILES = tuple(CELL_TIMEOUT)  # the names in eureka_lib.experiments.profiles, which itself needs torch
TYPES = {"int", "float", "str", "bool", "list", "tuple", "dict", "None"}  # that a parameter's annotation is checked for


@dataclass(frozen=True)
class Job:
    """One notebook to execute, and where its products go. Paths are strings: a job travels to its process as JSON."""

    name: str
    source: str  # the notebook
    figures: str  # the folder of its figures
    profile: str
    parameters: dict
    played: dict = field(default_factory=dict)  # the parameters that are not the defaults

    @property
    def products(self) -> Path:
        """Folder of the executed notebooks, their HTML and their success records."""
        return Path(self.figures) / "notebooks"

    @property
    def claims(self) -> Path:
        """Folder of the claims, to which a played notebook adds none."""
        return (Path(self.figures).parent if self.played else Path(self.figures)) / "claims"

    @property
    def executed(self) -> Path:
        """The notebook with its outputs."""
        return self.products / f"{self.name}.ipynb"

    @property
    def html(self) -> Path:
        """The same, to read in a browser."""
        return self.products / f"{self.name}.html"

    @property
    def reads_claims(self) -> bool:
        """Whether it is made of what other notebooks leave: a cell of it is tagged ``claims``."""
        return any("claims" in tags for _, _, tags in read_cells(Path(self.source)))

    @property
    def record(self) -> Path:
        """The success record."""
        return self.products / f"{self.name}.json"


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
        from_here, from_root = Path(word).resolve(), (notebook.parent.parent / word).resolve()
        if notebook not in (from_here, from_root):
            raise ValueError(f"{word!r} is not one of this project's notebooks; did you mean {name!r}?")
    numbered = [each for each in known if each.split("_")[0] == name.zfill(2)]
    if len(numbered) == 1:
        return numbered[0]
    return check_choice("notebook or profile", name, [*known, *PROFILES])


def read_cells(notebook: Path) -> list[tuple[str, str, list[str]]]:
    """Type, source and tags of the cells: all that decides what a notebook does, so neither outputs nor counters."""
    text = notebook.read_text(encoding="utf-8")
    try:
        cells = json.loads(text)["cells"]
        return [(c["cell_type"], "".join(c["source"]), c.get("metadata", {}).get("tags", [])) for c in cells]
    except (ValueError, KeyError, TypeError, AttributeError):
        return [("unreadable", text, [])]  # papermill says what is wrong with it, when its turn comes


@dataclass(frozen=True)
class Parameter:
    """A parameter that a notebook declares: the names of the types it may have (empty: any), and its default."""

    types: frozenset[str]
    default: str


def declared_parameters(notebook: Path) -> dict[str, Parameter]:
    """The assignments in the cell tagged ``parameters``.

    Not by papermill's ``inspect_notebook``: its regular expression overlooks ``x: int | None = None``, and every line
    whose comment contains an equals sign.
    """
    tagged = [source for kind, source, tags in read_cells(notebook) if kind == "code" and "parameters" in tags]
    found = {}
    with suppress(SyntaxError):  # which the reader will see when the cell is executed
        for node in ast.parse(tagged[0]).body if tagged else []:
            target = node.target if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [None])[0]
            if isinstance(target, ast.Name) and node.value is not None:
                found[target.id] = Parameter(_types(node), ast.unparse(node.value))
    return found


def _types(node: ast.Assign | ast.AnnAssign) -> frozenset[str]:
    """Names of the types that are annotated, or else of the default's; empty if that says nothing."""
    if isinstance(node, ast.AnnAssign):
        names = {part.strip().split("[")[0] for part in ast.unparse(node.annotation).split("|")}
        return frozenset(names if names <= TYPES else ())
    with suppress(ValueError):
        default = ast.literal_eval(node.value)
        return frozenset() if default is None else frozenset({type(default).__name__})
    return frozenset()


def parse_value(text: str) -> object:
    """``text`` as a Python or JSON literal; as it is, if it is neither."""
    for parse in (ast.literal_eval, json.loads):
        with suppress(ValueError, SyntaxError):
            return parse(text)
    return text


def check_parameter(notebook: Path, name: str, text: str) -> object:
    """The value that ``-p name=text`` gives a notebook; raise ValueError or TypeError if it has no such parameter."""
    declared = declared_parameters(notebook)
    if name == "profile":
        raise ValueError("the profile is not set with -p: use --profile")
    if not set(declared) - {"profile"}:
        raise ValueError(f"unknown parameter {name!r}: {notebook.stem} has no parameters but the profile")
    check_choice(f"parameter of {notebook.stem}:", name, set(declared) - {"profile"})
    types, value = declared[name].types, parse_value(text)
    actual = "None" if value is None else type(value).__name__
    if types == {"str"} and actual != "str":
        return text  # a name that looks like a number
    if types and actual not in types and not (actual == "int" and "float" in types):
        raise TypeError(
            f"parameter {name!r} of {notebook.stem} must be of type {' or '.join(sorted(types))}, "
            f"got {value!r} of type {actual}; its default is {declared[name].default}"
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
        if "profile" in declared_parameters(source):  # a notebook without it still learns it from EUREKA_PROFILE
            parameters["profile"] = profile
        played = _played(source, parameters)
        folder = figures / paths.PLAYED if played else figures
        jobs.append(Job(name, str(source.resolve()), str(folder.resolve()), profile, parameters, played))
    return jobs


def _played(source: Path, parameters: dict) -> dict:
    """The parameters that will not be at their defaults: the recorded ones, else those that the notebook has."""
    in_file = {name: parse_value(each.default) for name, each in declared_parameters(source).items()}
    changed = defaults.changed(in_file | parameters, defaults.read(source.parent).get(source.stem, in_file))
    return {name: value for name, value in changed.items() if name != "profile"}


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"a parameter is given as NAME=VALUE, for example steps=100; got {text!r}")
    return name, value
