"""What runs say, in words: the sentences above the figures. None is written by hand where a run can change it."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from scipy.stats import gmean

from eureka_lib.analysis import compare
from eureka_lib.attention.registry import short_label_of
from eureka_lib.measure.gradients import on_plateau
from eureka_lib.measure.plateaus import ACCURACY, Plateau
from eureka_lib.store import Run
from eureka_lib.store.runs import Groups


def jumps(runs: Sequence[Run], plateau: Plateau = ACCURACY) -> str:
    """How many runs leave the plateau, and when: "9 of 12 jump, at step 1,250 to 1,950"."""
    steps = sorted(moment.step for moment in map(plateau.leap, runs) if moment.happened)
    if not steps:
        return f"none of {len(runs)} jumps in {max(int(run.history['step'].iloc[-1]) for run in runs):,} steps"
    who = f"all {len(runs)} jump" if len(steps) == len(runs) else f"{len(steps)} of {len(runs)} jump"
    return f"{who}, at step {between(steps)}"


def between(steps: Sequence[int]) -> str:
    """The range of some steps: "1,250 to 1,950", or the one that there is."""
    low, high = min(steps), max(steps)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def ratios(groups: Groups, plateau: Plateau = ACCURACY, baseline: str = "softmax") -> Mapping[str, compare.Estimate]:
    """Each method's mean time to the jump over the baseline's, with its interval, by the method's name."""
    times = {name: [plateau.leap(run) for run in runs] for name, runs in groups.items()}
    return {
        short_label_of(name): compare.time_ratio(times[name], times[baseline]) for name in groups if name != baseline
    }


def on_plateaus(table: pd.DataFrame, runs: Sequence[Run], size: Callable[[pd.DataFrame], pd.Series]) -> str:
    """A ``size`` of a table's rows on the plateau, by method: "2.1 under softmax, 1 under NormSoftmax".

    The geometric mean over the steps of a run, and over the runs, as the rules of C4 take it.
    """
    flat = pd.concat([on_plateau(run, table) for run in runs])
    if flat.empty:
        return "no run lies on it"
    each = size(flat).groupby([flat["method"], flat["run"]], sort=False).apply(gmean)
    means = each.groupby("method", sort=False).apply(gmean)
    return ", ".join(f"{value:.2g} under {short_label_of(method)}" for method, value in means.items())
