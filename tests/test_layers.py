"""Who may import whom, read from the imports themselves."""

import ast

import pytest

from eureka_lib import paths

PACKAGE = paths.ROOT / "eureka_lib"
GROUND = {"eureka_lib", "paths", "validation", "progress"}  # anybody may use these
ALLOWED = {
    "tasks": GROUND | {"tasks"},
    "models": GROUND | {"models"},
    "training": GROUND | {"training"},
    "analysis": GROUND | {"analysis"},
    "runs": GROUND | {"runs"},
    "provenance": GROUND,
    "paths": set(),
    "validation": set(),
    "progress": set(),
}


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "eureka_lib":
            parts = node.module.split(".")[1:]
            yield from [parts[0]] if parts else [alias.name for alias in node.names if alias.name != "__version__"]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("eureka_lib."))


@pytest.mark.parametrize("layer", ALLOWED)
def test_layer_imports_only_what_lies_below(layer):
    files = [f for f in (PACKAGE / layer).rglob("*.py") if f.name != "__main__.py"]  # a program stands on top of all
    files = files or [PACKAGE / f"{layer}.py"]
    used = {name for file in files for name in imports_of(file)}
    assert used <= ALLOWED[layer], f"{layer} must not import {sorted(used - ALLOWED[layer])}"


def test_no_library_module_unpickles():
    """No module that unpickles or runs what it reads is imported, and no library call is made that would do it."""
    for file in PACKAGE.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text())))
        modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        assert not modules & {"pickle", "joblib", "dill", "shelve", "cloudpickle", "marshal", "yaml"}, file
        calls = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
        assert not calls & {"torch.load", "torch.hub.load", "pd.read_pickle", "eval", "exec"}, file
        options = {keyword.arg for node in nodes if isinstance(node, ast.Call) for keyword in node.keywords}
        assert "allow_pickle" not in options, file
