"""Stored runs as tables: when each has its Eureka-moment (EM), and the histories of many as one.

Every run has its row, also one without an EM, which is censored at the end of its budget.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from eureka_lib.analysis.eureka import Moment, eureka_moment, plateau_fraction
from eureka_lib.attention.registry import METHODS, label_of
from eureka_lib.experiments.experiment import FixConfig
from eureka_lib.measure.plateaus import ACCURACY, Plateau
from eureka_lib.store import Run


def moment_of(run: Run) -> Moment:
    """A run's Eureka-moment by the library's criterion."""
    return eureka_moment(*run.accuracy)


def method_of(run: Run) -> str:
    """The method that a run stands for: the model's name where there is no attention, the fix, or the attention."""
    fix, model, usual = run.config["fix"], run.config["model"], asdict(FixConfig())
    changed = {name: value for name, value in fix.items() if value != usual[name]}
    for name, method in METHODS.items():
        if method.changes and method.changes == changed:
            return name
    return "heat_treatment" if "scale_schedule" in changed else model.get("attention", model["name"])


def network_of(runs: Sequence[Run]) -> str:
    """What to call the network of some runs: the method, and the width of a ResNet, of which there are several."""
    width = runs[0].config["model"].get("base_width")
    return label_of(method_of(runs[0])) + (f" (width {width})" if width else "")


def all_runs(groups: Mapping[Any, Sequence[Run]]) -> list[Run]:
    """The runs of all groups, one after the other."""
    return [run for runs in groups.values() for run in runs]


def tidy(runs: Sequence[Run], *columns: str) -> pd.DataFrame:
    """All histories in one table, with the columns ``run``, ``method`` and ``seed`` in front.

    With ``columns`` these and the steps alone, as a figure's data need no more than it shows.
    """
    front = ["run", "method", "seed"]
    keys = [(run.key, method_of(run), run.config["model_seed"]) for run in runs]
    table = pd.concat([run.history for run in runs], keys=keys, names=front)
    table = table.reset_index(front).reset_index(drop=True)
    return table[[*front, "step", *columns]] if columns else table


def marks(run: Run, plateau: Plateau = ACCURACY) -> dict:
    """A run's moment in numbers. The descent, in steps, is not a number for a run that did not leap."""
    moment, event = plateau.leap(run), plateau.event
    row = {
        "seed": run.config["model_seed"],
        "status": run.status,
        event: moment.happened,
        f"{event} or censored at step": moment.step,
        "plateau, share of budget": round(plateau.share(run), 3),
    }
    if plateau.loss is None:
        return row | {"final test accuracy": run.final_accuracy}
    descent, score = plateau.descent(run), plateau.score(run)[1]
    return row | {
        "descent, steps": np.nan if descent is None else descent,
        "final score": round(float(score.iloc[-1]), 4),
    }


def run_table(runs: Sequence[Run], plateau: Plateau = ACCURACY) -> pd.DataFrame:
    """One row per run: its method and its :func:`marks`."""
    return pd.DataFrame([{"method": method_of(run)} | marks(run, plateau) for run in runs])


def labelled_table(groups: Mapping[Any, Sequence[Run]], column: str) -> pd.DataFrame:
    """The :func:`run_table` of several groups, the group's name in front, under ``column``."""
    tables = {name: run_table(runs) for name, runs in groups.items()}
    return pd.concat(tables, names=[column]).reset_index(column).reset_index(drop=True)


def setting_of(runs: Sequence[Run]) -> str:
    """What the runs have in common and where they differ, in a line: data, learning rates, steps, how many of each.

    Empty without runs.
    """
    if not runs:
        return ""
    subjects = list(dict.fromkeys(_subject(run.config) for run in runs))
    tasks = {run.config["task"]["name"] for run in runs}
    training = [run.config["training"] for run in runs]
    sizes = [len(group) for group in by_config(runs)]
    return ", ".join([
        " / ".join(subjects) if len(tasks) < 3 else f"{len(tasks)} tasks",
        f"learning rate {between(one['learning_rate'] for one in training)}",
        f"{between(one['steps'] for one in training)} steps",
        f"{between(sizes)} seed" + "s" * (max(sizes) > 1) + " each" * (len(sizes) > 1),
    ])  # fmt: skip


def _subject(config: Mapping[str, Any]) -> str:
    """The data of a run in a few words, and how many tokens an attention sees of it."""
    task, model = config["task"], config["model"]
    if "corpus" in task:
        return f"{task['corpus']}, {task['tokens']} tokens"
    if "dimensions" in task:
        return f"linear functions of {task['dimensions']} numbers"
    sources = " and ".join(dict.fromkeys([task["indicator_source"], task["target_source"]]))
    if "patch" not in model:
        return sources
    tokens = 4 * task["cell"] ** 2 // (model["patch"] * (model["patch_width"] or model["patch"]))
    return f"{sources}, {tokens} tokens"


def without_seeds(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the runs that differ in their seeds only have in common."""
    return {name: value for name, value in config.items() if not name.endswith("_seed")}


def by_config(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs of each configuration, which differ in their seeds."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(without_seeds(run.config)), []).append(run)
    return list(groups.values())


def between(values: Iterable[float]) -> str:
    """The range of some numbers: "1,250 to 1,950", or the one that there is."""
    low, high = min(values := list(values)), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def describe_run(run: Run) -> str:
    """A run in a sentence: its plateau, its EM, where it ended."""
    moment, share = moment_of(run), plateau_fraction(*run.accuracy)
    what = f"Eureka-moment at step {moment.step}" if moment.happened else f"no Eureka-moment by step {moment.step}"
    return (
        f"{share:.0%} of the budget on the plateau; {what}; final test accuracy {run.final_accuracy:.3f} ({run.status})"
    )
