"""What runs say, in words: the sentences above the figures. None is written by hand where a run can change it."""

from collections.abc import Mapping, Sequence

from eureka_lib.analysis import compare
from eureka_lib.attention.registry import short_label_of
from eureka_lib.measure.plateaus import ACCURACY, Plateau
from eureka_lib.store import Run
from eureka_lib.store.runs import Groups


def jumps(runs: Sequence[Run], plateau: Plateau = ACCURACY) -> str:
    """How many runs leave the plateau, and when: "9 of 12 jump, at step 1,250 to 1,950"."""
    steps = sorted(moment.step for moment in map(plateau.leap, runs) if moment.happened)
    if not steps:
        return f"none of {len(runs)} jumps in {max(int(run.history['step'].iloc[-1]) for run in runs):,} steps"
    who = f"all {len(runs)}" if len(steps) == len(runs) else f"{len(steps)} of {len(runs)}"
    who += " jumps" if len(steps) == 1 else " jump"
    return f"{who}, at step {between(steps)}"


def plateaus(runs: Sequence[Run], plateau: Plateau = ACCURACY) -> str:
    """How many runs lie on the plateau for a good part of their budget: "12 of 12"."""
    return f"{sum(map(plateau.is_long, runs))} of {len(runs)}"


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


def story(run: Run, plateau: Plateau = ACCURACY) -> str:
    """What one run went through: "A transformer is stuck for 1,050 steps, then gets it within 150"."""
    moment, end = plateau.leap(run), int(run.history["step"].iloc[-1])
    stuck, descent = round(plateau.share(run) * end), plateau.descent(run)
    if not moment.happened:
        return f"A transformer is stuck for {stuck:,} of {end:,} steps, and does not get out"
    gets_it = f"gets it at step {moment.step:,}" if descent is None else f"gets it within {descent:,}"
    return f"A transformer is stuck for {stuck:,} steps, then {gets_it}"
