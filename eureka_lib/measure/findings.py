"""What runs say, in words: the sentences above the figures. None is written by hand where a run can change it."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import gmean

from eureka_lib.analysis import compare
from eureka_lib.attention.registry import short_label_of
from eureka_lib.measure.gradients import on_plateau
from eureka_lib.measure.methods import count, mean_times
from eureka_lib.measure.plateaus import ACCURACY, JUMP, Plateau
from eureka_lib.measure.runs import between
from eureka_lib.store import Run
from eureka_lib.store.runs import Groups


def jumps(runs: Sequence[Run], plateau: Plateau = ACCURACY) -> str:
    """How many runs leave the plateau, and when: "9 of 12 jump, at step 1,250 to 1,950"; of one, whether it does."""
    steps = sorted(moment.step for moment in map(plateau.leap, runs) if moment.happened)
    if not steps:
        who = f"none of {len(runs)} jumps" if len(runs) > 1 else "does not jump"
        return f"{who} in {max(int(run.history['step'].iloc[-1]) for run in runs):,} steps"
    if len(runs) == 1:
        return f"jumps at step {between(steps)}"
    who = f"all {len(runs)}" if len(steps) == len(runs) else f"{len(steps)} of {len(runs)}"
    who += " jumps" if len(steps) == 1 else " jump"
    return f"{who}, at step {between(steps)}"


def plateaus(runs: Sequence[Run], plateau: Plateau = ACCURACY) -> str:
    """How many runs lie on the plateau for a good part of their budget: "12 of 12"."""
    return f"{sum(map(plateau.is_long, runs))} of {len(runs)}"


def ratios(groups: Groups, plateau: Plateau = ACCURACY, baseline: str = "softmax") -> Mapping[str, compare.Estimate]:
    """Each method's mean time to the jump over the baseline's, with its interval, by the method's name."""
    times = {name: [plateau.leap(run) for run in runs] for name, runs in groups.items()}
    return {
        short_label_of(name): compare.time_ratio(times[name], times[baseline]) for name in groups if name != baseline
    }


def against(groups: Groups, plateau: Plateau = ACCURACY) -> str:
    """How many runs jump with softmax, and with the methods beside it where fewest and most do."""
    moments = {short_label_of(name): [plateau.leap(run) for run in runs] for name, runs in groups.items()}
    softmax = count(moments.pop("softmax"))
    rates = sorted(moments, key=lambda name: np.mean([moment.happened for moment in moments[name]]))
    ends = " to ".join(f"{count(moments[name])} ({name})" for name in dict.fromkeys([rates[0], rates[-1]]))
    return f"{softmax} runs jump with softmax; with others {ends}"


def sooner(groups: Groups, plateau: Plateau = ACCURACY) -> str:
    """How many methods' mean times lie, with their intervals, below softmax's, and how many above it."""
    found = ratios(groups, plateau).values()
    below, above = sum(one.high < 1 for one in found), sum(one.low > 1 for one in found)
    return f"{below} of {len(found)} methods surely sooner than softmax, {above} later"


def leaps(runs: Sequence[Run], plateau: Plateau) -> str:
    """How many runs leap, and how many of them abruptly."""
    abrupt = sum(map(plateau.is_abrupt, runs))
    return f"{count(map(plateau.leap, runs))} leap, {abrupt} of them in less time than they lay on the plateau"


def soonest(groups: Groups, plateau: Plateau = ACCURACY) -> str:
    """The mean time to the jump with softmax, and the least and the greatest beside it."""
    means = mean_times(groups, plateau)
    softmax, others = means.pop("softmax"), list(means)
    ends = " to ".join(
        f"{means[name]:,.0f} ({short_label_of(name)})" for name in dict.fromkeys([others[0], others[-1]])
    )
    return f"Mean steps until the jump, or the end: {softmax:,.0f} with softmax; with others {ends}"


def most_rates(curves: pd.DataFrame) -> str:
    """At how many learning rates of :func:`~eureka_lib.measure.methods.rate_curves` most runs of each method jump."""
    most = (curves["EM rate"] > 0.5).groupby(curves["method"].map(short_label_of), sort=False).agg(["sum", "size"])
    counts = ", ".join(f"{name} {k} of {n}" for name, k, n in most.itertuples())
    return f"Learning rates at which most runs jump: {counts}"


def shares(grid: pd.DataFrame) -> str:
    """Which share of each method's runs jump in a grid that has rows by method: "softmax 45 %, NormSoftmax 60 %"."""
    total = grid.groupby(grid["method"].map(short_label_of), sort=False)[["k", "n"]].sum()
    return ", ".join(f"{name} {k / n:.0%}" for name, k, n in total.itertuples())


def story(run: Run) -> str:
    """What one run went through: "A transformer is stuck for 1,050 steps, then gets it within 150".

    It is stuck from where it first reaches the plateau to the last evaluation before it begins to jump.
    """
    moment, descent = ACCURACY.leap(run), ACCURACY.descent(run)
    steps, accuracy = run.accuracy
    reached, low = steps[accuracy >= ACCURACY.band[0]], steps[(accuracy <= JUMP[0]) & (steps <= moment.step)]
    stuck = max(int(low.max() - reached.min()), 0) if len(reached) and len(low) else 0
    if not moment.happened:
        return f"A transformer is stuck for {stuck:,} of {int(steps.iloc[-1]):,} steps, and does not get out"
    gets_it = f"gets it at step {moment.step:,}" if descent is None else f"gets it within {descent:,}"
    return f"A transformer is stuck for {stuck:,} steps, then {gets_it}"


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
