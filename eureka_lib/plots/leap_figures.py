"""Leaps of a loss side by side: every seed over the derived lines, leap times by method, and the tables of both.

Groups of runs come by method, as in :mod:`eureka_lib.plots.comparisons`; what counts as a leap is said by a
:class:`~eureka_lib.claims.leaps.Plateau`. A run without a leap is censored at the end of its budget, and shown.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eureka_lib.claims.leaps import Plateau
from eureka_lib.plots import comparisons, figures
from eureka_lib.store import Run
from eureka_lib.store.runs import Groups

# The phases of a run that are looked at.
BEFORE, AFTER, NEVER = "before the leap", "at the end, after a leap", "at the end, no leap"


def run_table(groups: Groups, plateau: Plateau) -> pd.DataFrame:
    """One row per run: method, seed, whether and when it leapt, plateau, descent, and where its loss ended."""
    return pd.DataFrame([{"method": method} | marks(run, plateau) for method, runs in groups.items() for run in runs])


def marks(run: Run, plateau: Plateau) -> dict:
    """A run's leap in numbers. The descent, in steps, is not a number for a run that did not leap."""
    leap, descent = plateau.leap(run), plateau.descent(run)
    return {
        "seed": run.config["model_seed"],
        "status": run.status,
        "leap": leap.happened,
        "leap or censored at step": leap.step,
        "plateau, share of budget": round(plateau.share(run), 3),
        "descent, steps": np.nan if descent is None else descent,
        "final score": round(final_score(run, plateau), 4),
    }


def final_score(run: Run, plateau: Plateau) -> float:
    """1 - loss / plateau at the last evaluation."""
    return float(plateau.score(run)[1].iloc[-1])


def method_table(groups: Groups, plateau: Plateau, baseline: str = "softmax") -> pd.DataFrame:
    """One row per method: leaps k of n with Wilson interval, times, final loss, each against ``baseline``.

    Times are restricted to the budget; ratios come with 95 % intervals.
    """
    others, rows = [plateau.leap(run) for run in groups[baseline]], {}
    for name, runs in groups.items():
        leaps = [plateau.leap(run) for run in runs]
        columns = ("leaps", "share, 95 % interval", "median leap step", "mean restricted leap time")
        row = dict(zip(columns, comparisons.summary(leaps), strict=True))
        row["plateau, share of budget"] = f"{np.mean([plateau.share(run) for run in runs]):.2f}"
        row["final loss"] = f"{np.mean([run.history['test_loss'].iloc[-1] for run in runs]):.3f}"
        if name != baseline:
            row |= comparisons.against(leaps, others, baseline)
        rows[figures.short_label_of(name)] = row
    return pd.DataFrame.from_dict(rows, orient="index").fillna("").rename_axis("method")


def plot_losses(groups: Groups, plateau: Plateau, lines: Mapping[str, float], label: str) -> Figure:
    """Test loss of every run, one panel per method, over derived ``lines`` by their names; stars are leaps.

    The lines' names stand beside the last panel.
    """
    figure, axes = figures.plt.subplots(
        1, len(groups), figsize=(figures.PLOT_WIDTH, 2.9), sharex=True, sharey=True, squeeze=False
    )
    for axis, (method, runs) in zip(axes[0], groups.items(), strict=True):
        figures.plot_seeds(axis, runs, "test_loss", plateau.leap)
        k = sum(plateau.leap(run).happened for run in runs)
        axis.set_title(f"{figures.short_label_of(method)}:\n{k} of {len(runs)} leaps", fontsize=9)
        for value in lines.values():
            axis.axhline(value, color=figures.DERIVED, ls="--", lw=1, zorder=1)
        axis.set(ylabel=label)
        axis.label_outer()
    for name, value in lines.items():
        figures.derived_line(axes[0, -1], value, name)
    return figure


def plot_times(axis: Axes, groups: Groups, plateau: Plateau) -> None:
    """The step of each run's leap by method: filled where it happened, hollow where censored; a bar at the mean."""
    comparisons.plot_times(axis, groups, plateau.leap, "leap")


def phases(run: Run, plateau: Plateau) -> dict[str, int]:
    """The kept steps of a run that are looked at, by the names of their phases.

    Before the leap is the kept step nearest to half of the time until it, or of the budget of a run without one.
    """
    leap = plateau.leap(run)
    half = min(run.weight_steps, key=lambda step: abs(step - leap.step / 2))
    return {BEFORE: half, AFTER if leap.happened else NEVER: run.weight_steps[-1]}


def all_runs(groups: Mapping[str, Sequence[Run]]) -> list[Run]:
    """The runs of all groups, one after the other."""
    return [run for runs in groups.values() for run in runs]
