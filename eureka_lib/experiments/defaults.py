"""The parameters with which the committed figures and claims are made: ``notebooks/defaults.json``.

A notebook that was edited in Jupyter and saved no longer knows its defaults, and an archive has no git to ask: so they
are kept apart from it, and a test compares the two. A run with other parameters is *played*: its figures go to a folder
of their own (:data:`eureka_lib.paths.PLAYED`), and it leaves no claims. Which profile it is does not matter.
"""

import json
from collections.abc import Mapping
from pathlib import Path


def read(notebooks: Path) -> dict[str, dict]:
    """The defaults of all notebooks in a folder, by the notebook's name; empty for a folder that keeps none."""
    file = notebooks / "defaults.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def changed(values: Mapping[str, object], defaults: Mapping[str, object]) -> dict[str, object]:
    """Those of the ``values`` that are not the defaults; all as JSON knows them, so a tuple equals a list."""
    plain = json.loads(json.dumps(dict(values), default=repr))
    return {name: value for name, value in plain.items() if name not in defaults or value != defaults[name]}


def as_arguments(values: Mapping[str, object]) -> list[str]:
    """Parameters as ``run_all.sh -p`` takes them: ``images=32``."""
    return [f"{name}={value if isinstance(value, str) else repr(value)}" for name, value in values.items()]
