"""Leaps of a loss off its derived plateau, where there is no accuracy, as in regression or in language modelling.

A leap is found by the library's one criterion (:mod:`eureka_lib.analysis.eureka`), applied to a *score*: 1 - loss /
plateau, which is 0 on the derived plateau and 1 at a loss of 0. A run without a leap is censored at the end of its
budget, and stays in every number.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from eureka_lib.analysis.eureka import Moment, eureka_moment, jump_duration, plateau_fraction
from eureka_lib.attention.registry import short_label_of
from eureka_lib.measure import methods
from eureka_lib.store import Run
from eureka_lib.store.runs import Groups
from eureka_lib.validation import check_real

# The phases of a run of which kept weights are shown.
BEFORE, AFTER, NEVER = "before the leap", "at the end, after a leap", "at the end, no leap"
DESCENT = (0.1, 0.8)  # the descent of a leap: between these shares of the run's best score, C1's 0.60 and 0.90


@dataclass(frozen=True)
class Plateau:
    """A task's plateau: the derived test ``loss`` on it, and when a run has left it.

    The leap is where the score stays at or above the first of ``thresholds``; a comparison of methods has to come out
    the same under each of them. Scores in ``band`` count as lying on the plateau. Raises ValueError for a loss that is
    not positive, and for thresholds outside [0, 1] or within the band.
    """

    loss: float
    thresholds: tuple[float, ...]
    band: tuple[float, float] = (-0.05, 0.05)

    def __post_init__(self):
        check_real("loss", self.loss, 1e-12)
        if not self.thresholds:
            raise ValueError("thresholds must have at least one entry, got none")
        for threshold in self.thresholds:
            check_real("threshold", threshold, self.band[1], 1)

    def score(self, run: Run) -> tuple[pd.Series, pd.Series]:
        """Steps and scores of all evaluations, as the functions of ``analysis.eureka`` take them."""
        return run.history["step"], 1 - run.history["test_loss"] / self.loss

    def leap(self, run: Run, threshold: float | None = None) -> Moment:
        """When ``run`` leaves the plateau, by the first threshold or by another one; censored if it does not."""
        return eureka_moment(*self.score(run), self.thresholds[0] if threshold is None else threshold)

    def share(self, run: Run) -> float:
        """Share of the budget spent on the plateau before the leap, in [0, 1]."""
        return plateau_fraction(*self.score(run), self.band, self.thresholds[0])

    def descent(self, run: Run) -> int | None:
        """Steps that the leap takes, between the shares ``DESCENT`` of the run's best score; None without a leap."""
        steps, score = self.score(run)
        low, high = (share * score.max() for share in DESCENT)
        return jump_duration(steps, score, low, high, self.thresholds[0])


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
        "final score": round(float(plateau.score(run)[1].iloc[-1]), 4),
    }


def run_table(groups: Groups, plateau: Plateau) -> pd.DataFrame:
    """One row per run: method, seed, whether and when it leapt, plateau, descent, and the score at which it ended."""
    return pd.DataFrame([{"method": method} | marks(run, plateau) for method, runs in groups.items() for run in runs])


def method_table(groups: Groups, plateau: Plateau) -> pd.DataFrame:
    """The table of :mod:`eureka_lib.measure.methods` for leaps, with the mean share of the budget on the plateau."""
    shares = {short_label_of(name): np.mean([plateau.share(run) for run in runs]) for name, runs in groups.items()}
    table = methods.method_table(groups, plateau.leap, "leap")
    return table.assign(**{"plateau, share of budget": [f"{shares[name]:.2f}" for name in table.index]})


def phases(run: Run, plateau: Plateau) -> dict[str, int]:
    """The kept steps of a run that are shown, by the names of their phases.

    Before the leap is the kept step nearest to half of the time until it, or of the budget of a run without one.
    """
    leap = plateau.leap(run)
    half = min(run.weight_steps, key=lambda step: abs(step - leap.step / 2))
    return {BEFORE: half, AFTER if leap.happened else NEVER: run.weight_steps[-1]}
