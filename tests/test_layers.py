"""Who may import whom, read from the imports themselves: all of them, also those inside functions and for types."""

import ast
import graphlib

import pytest

from eureka_lib import paths

PACKAGE = paths.ROOT / "eureka_lib"
LAYERS = [  # from the ground up: each knows itself and what lies lower, and not its neighbours
    ["eureka_lib", "paths", "progress", "validation", "provenance"],
    ["attention", "tasks", "training", "store"],
    ["models", "analysis"],
    ["experiments"],
    ["measure", "exercises"],
    ["claims"],
    ["plots"],
    ["run_all", "benchmark"],
]
GROUND = LAYERS[0]


def module_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "eureka_lib"


MODULES = {module_of(path): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(module):
    """The modules of ours that a module imports, by their names below eureka_lib."""
    found = set()
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            found |= {name if (name := f"{node.module}.{a.name}") in named() else node.module for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.removeprefix("eureka_lib.") for name in found if name.split(".")[0] == "eureka_lib"}


def named():
    return {f"eureka_lib.{module}" for module in MODULES}


def top(module):
    return module.split(".")[0]


def is_program(module):
    return module.endswith("__main__")  # stands on top of all


PLACED = sorted({top(module) for module in MODULES} - {*GROUND})  # packages, and modules beside them


def test_everything_at_the_top_has_its_layer():
    unplaced = {top(module) for module in MODULES} - {name for layer in LAYERS for name in layer}
    assert not unplaced, f"say in LAYERS where {sorted(unplaced)} stand"


@pytest.mark.parametrize("package", PLACED)
def test_a_package_imports_only_what_lies_below(package):
    (height,) = [n for n, layer in enumerate(LAYERS) if package in layer]
    allowed = {package}.union(*LAYERS[:height])
    for module in [m for m in MODULES if top(m) == package and not is_program(m)]:
        wrong = {top(name) for name in imports_of(module)} - allowed
        assert not wrong, f"{module} must not import {sorted(wrong)}"


@pytest.mark.parametrize("module", GROUND)
def test_the_ground_stands_on_nothing(module):
    assert imports_of(module) <= set(GROUND)


def test_no_circle():
    graph = {module: imports_of(module) for module in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_nobody_imports_a_program():
    assert not [(module, name) for module in MODULES for name in imports_of(module) if is_program(name)]


def test_no_library_module_unpickles():
    """No module that unpickles or runs what it reads is imported, and no library call is made that would do it."""
    for module, tree in MODULES.items():
        nodes = list(ast.walk(tree))
        modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        assert not modules & {"pickle", "joblib", "dill", "shelve", "cloudpickle", "marshal", "yaml"}, module
        calls = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
        assert not calls & {"torch.load", "torch.hub.load", "pd.read_pickle", "eval", "exec"}, module
        options = {keyword.arg for node in nodes if isinstance(node, ast.Call) for keyword in node.keywords}
        assert "allow_pickle" not in options, module
