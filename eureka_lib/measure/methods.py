"""Methods beside each other: their Eureka-moments (EM) counted and timed, each against a baseline's.

Groups of runs come by method, ``{"softmax": [run, ...], ...}``. Times are restricted to the budget, so that a run
without an EM counts with all of it.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from eureka_lib.analysis import compare
from eureka_lib.analysis.eureka import Moment, log_rank, median_step, wilson_interval
from eureka_lib.attention.registry import short_label_of
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.measure.plateaus import ACCURACY, Plateau
from eureka_lib.measure.runs import moment_of
from eureka_lib.store import Run
from eureka_lib.store.runs import Groups


def count(moments: Iterable[Moment]) -> str:
    """How many runs had their moment: "3 of 5"."""
    happened = [moment.happened for moment in moments]
    return f"{sum(happened)} of {len(happened)}"


def mean_times(groups: Groups, plateau: Plateau = ACCURACY) -> dict[str, float]:
    """Each method's mean restricted time to the moment, in steps; the least comes first."""
    times = {name: compare.restricted_times([plateau.leap(run) for run in runs]) for name, runs in groups.items()}
    return {name: float(times[name].mean()) for name in sorted(times, key=lambda name: times[name].mean())}


def median_text(moments: Sequence[Moment]) -> str:
    """The median step as a table shows it; "not reached" if fewer than half of the runs had their moment."""
    median = median_step(moments)
    return "not reached" if median is None else f"{median:.0f}"


def method_table(groups: Groups, plateau: Plateau = ACCURACY, baseline: str = "softmax") -> pd.DataFrame:
    """One row per method: moments k of n with Wilson interval, their times, the end, each against ``baseline``.

    Ratios and differences come with 95 % intervals.
    """
    event, what = plateau.event, "accuracy" if plateau.loss is None else "loss"
    moments = {name: [plateau.leap(run) for run in runs] for name, runs in groups.items()}
    final = {name: [run.history[f"test_{what}"].iloc[-1] for run in runs] for name, runs in groups.items()}
    rows = {}
    for name, found in moments.items():
        low, high = wilson_interval(sum(moment.happened for moment in found), len(found))
        row = {
            f"{event}s": count(found),
            f"{event} rate, 95 % interval": f"{low:.2f} to {high:.2f}",
            f"median {event} step": median_text(found),
            f"mean restricted {event} time": f"{compare.restricted_times(found).mean():.0f}",
            "plateau, share of budget": f"{np.mean([plateau.share(run) for run in groups[name]]):.2f}",
            f"final {what}": f"{np.mean(final[name]):.3f}",
        }
        if name != baseline:
            row |= {
                f"time / {baseline}'s": str(compare.time_ratio(found, moments[baseline])),
                "log-rank p": f"{log_rank(found, moments[baseline]):.2g}",
                f"{what} - {baseline}'s": str(compare.mean_difference(final[name], final[baseline])),
            }
        rows[short_label_of(name)] = row
    return pd.DataFrame.from_dict(rows, orient="index").fillna("").rename_axis("method")


def method_tables(found: Mapping[str, Groups]) -> pd.DataFrame:
    """The method tables of all regimes as one, indexed by regime and method."""
    return pd.concat({name: method_table(groups) for name, groups in found.items()}, names=["regime"]).fillna("")


def settings_table(groups: Mapping[str, Mapping[str, Sequence[Experiment]]], notebook: str) -> pd.DataFrame:
    """What each method of each regime runs with, and the command that repeats its row (and softmax's beside it)."""
    rows = []
    for regime, methods in groups.items():
        for method, experiments in methods.items():
            first = experiments[0]
            rows.append({
                "regime": regime, "method": method, "seeds": len(experiments), "steps": first.training.steps,
                "learning rate": first.training.learning_rate, "scale at start": first.fix.scale_start,
                "repeat by": f"./run_all.sh {notebook.split('_')[0]} -p \"methods=['{method}']\"",
            })  # fmt: skip
    return pd.DataFrame(rows).set_index(["regime", "method"])


def rate_grid(groups: Mapping[tuple, Sequence[Run]], names: tuple[str, str]) -> pd.DataFrame:
    """EM rates of a grid: ``{(row value, column value): runs}`` -> a table of (k, n, rate, time), one row per cell."""
    rows = []
    for place, runs in groups.items():
        moments = [moment_of(run) for run in runs]
        k = sum(moment.happened for moment in moments)
        rows.append({**dict(zip(names, place, strict=True)), "k": k, "n": len(runs), "EM rate": k / len(runs),
                     "mean restricted EM time": compare.restricted_times(moments).mean()})  # fmt: skip
    return pd.DataFrame(rows)


def rate_curves(table: pd.DataFrame) -> pd.DataFrame:
    """EM rate and time of each method at each learning rate, from a search's table with a row per run.

    Columns method, learning rate, k, n, EM rate, its Wilson interval (low, high), and the mean restricted EM time.
    """
    groups = table.groupby(["method", "learning_rate"], sort=False)
    curves = groups.agg(k=("EM", "sum"), n=("EM", "size"), time=("EM or censored at step", "mean")).reset_index()
    intervals = [wilson_interval(k, n) for k, n in zip(curves["k"], curves["n"], strict=True)]
    curves[["low", "high"]] = intervals
    curves["EM rate"] = curves["k"] / curves["n"]
    return curves.rename(columns={"learning_rate": "learning rate", "time": "mean restricted EM time"})
