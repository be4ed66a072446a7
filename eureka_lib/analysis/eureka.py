"""Eureka-moments: the criterion, rates, survival curves and plateaus.

A run has its Eureka-moment (EM) at the first evaluation from which the accuracy stays at or above
``THRESHOLD`` for ``HOLD`` evaluations in a row. The threshold lies between the plateau (0.55) and the solved task
(1.0); holding excludes single lucky evaluations, and since the criterion depends on no later ones, the EM step is a
proper event time. A run without an EM is *censored* at its last step, and kept in every rate and curve.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from eureka_lib.validation import check_real, check_whole

THRESHOLD = 0.75
HOLD = 3
PLATEAU_BAND = (0.50, 0.57)  # test accuracies that count as lying on the plateau of 0.55


@dataclass(frozen=True)
class Moment:
    """A run's Eureka-moment: ``step`` of the EM if ``happened``, else the last step, at which it is censored."""

    step: int
    happened: bool

    def __str__(self) -> str:
        return f"step {self.step}" if self.happened else f"none by {self.step}"


def eureka_moment(
    steps: Sequence[int], accuracy: Sequence[float], threshold: float = THRESHOLD, hold: int = HOLD
) -> Moment:
    """Find the EM in an accuracy history of E evaluations (``steps`` ascending; ``accuracy`` in [0, 1]).

    A value that is not a number counts as below the threshold. Raises ValueError if the lengths differ or are 0, the
    steps do not ascend, the threshold is outside [0, 1], or ``hold`` is below 1.
    """
    steps, accuracy = _as_history(steps, accuracy)
    check_real("threshold", threshold, 0, 1)
    check_whole("hold", hold, 1)
    above = accuracy >= threshold
    for start in range(len(above) - hold + 1):
        if above[start : start + hold].all():
            return Moment(int(steps[start]), True)
    return Moment(int(steps[-1]), False)


def late_jump(
    steps: Sequence[int], accuracy: Sequence[float], threshold: float = THRESHOLD, hold: int = HOLD
) -> int | None:
    """The step from which a run without an EM stays at or above ``threshold`` to its end: a jump too late to count."""
    steps, accuracy = _as_history(steps, accuracy)
    below = np.flatnonzero(~(accuracy >= threshold))
    first = below[-1] + 1 if len(below) else 0
    if first == len(steps) or eureka_moment(steps, accuracy, threshold, hold).happened:
        return None
    return int(steps[first])


def plateau_fraction(
    steps: Sequence[int],
    accuracy: Sequence[float],
    band: tuple[float, float] = PLATEAU_BAND,
    threshold: float = THRESHOLD,
) -> float:
    """Share of the training budget, in [0, 1], spent on the plateau before the EM.

    Each evaluation stands for the steps since the one before it; those whose accuracy lies in ``band`` count, up to the
    EM (or the end of a censored run).
    """
    steps, accuracy = _as_history(steps, accuracy)
    moment = eureka_moment(steps, accuracy, threshold)
    before = steps <= moment.step
    inside = (accuracy >= band[0]) & (accuracy <= band[1]) & before
    return float(np.diff(steps, prepend=0)[inside].sum() / steps[-1]) if steps[-1] else 0.0


def plateau_level(steps: Sequence[int], accuracy: Sequence[float], derived: float) -> float:
    """The measured accuracy of a run's plateau, to be compared with the ``derived`` one.

    Median over the evaluations from the first that reaches 90 % of ``derived`` to the last before the EM (or the end of
    a censored run). Not a number if there is none, which is a run without a plateau.
    """
    steps, accuracy = _as_history(steps, accuracy)
    check_real("derived", derived, 0, 1)
    moment = eureka_moment(steps, accuracy)
    before = accuracy[steps < moment.step] if moment.happened else accuracy
    reached = np.flatnonzero(before >= 0.9 * derived)
    return float(np.median(before[reached[0] :])) if len(reached) else math.nan


def jump_duration(
    steps: Sequence[int],
    accuracy: Sequence[float],
    low: float = 0.60,
    high: float = 0.90,
    threshold: float = THRESHOLD,
) -> int | None:
    """Duration of the jump in steps, from the last evaluation at or below ``low`` to the first at or above ``high``.

    None if the run has no EM or never reaches ``high``. An upper bound, as coarse as the evaluations are.
    """
    steps, accuracy = _as_history(steps, accuracy)
    up = np.flatnonzero(accuracy >= high)
    if not eureka_moment(steps, accuracy, threshold).happened or not len(up):
        return None
    down = np.flatnonzero(accuracy[: up[0]] <= low)
    return int(steps[up[0]] - (steps[down[-1]] if len(down) else 0))


def wilson_interval(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a rate of ``k`` in ``n`` (Wilson 1927, from SciPy). Raises ValueError unless k <= n."""
    check_whole("n", n, 1)
    check_whole("k", k)
    if k > n:
        raise ValueError(f"k must be at most n = {n}, got {k}; the nearest valid value is {n}")
    interval = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def _censored(moments: Sequence[Moment]) -> stats.CensoredData:
    if not moments:
        raise ValueError("at least one run is needed, got none")
    steps = np.array([m.step for m in moments])
    return stats.CensoredData.right_censored(steps, [not m.happened for m in moments])


@dataclass(frozen=True)
class Survival:
    """Kaplan-Meier estimate: probability ``no_em`` that a run has had no EM up to ``steps``, with its interval."""

    steps: np.ndarray
    no_em: np.ndarray
    low: np.ndarray
    high: np.ndarray


def kaplan_meier(moments: Sequence[Moment], confidence: float = 0.95) -> Survival:
    """Kaplan-Meier curve of the time to the EM (SciPy; log-log Greenwood interval, which stays in [0, 1]).

    The interval is not a number where no run or every run has had its EM: there it is undefined.
    """
    curve = stats.ecdf(_censored(moments)).sf
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # of the undefined interval
        interval = curve.confidence_interval(confidence, method="log-log")
    return Survival(curve.quantiles, curve.probabilities, interval.low.probabilities, interval.high.probabilities)


def log_rank(first: Sequence[Moment], second: Sequence[Moment]) -> float:
    """p-value of the log-rank test (SciPy, two-sided) that two groups have the same distribution of EM times.

    Not a number if no run of either group has had an EM: then there is nothing to compare.
    """
    if not any(moment.happened for moment in [*first, *second]):
        return math.nan
    return float(stats.logrank(_censored(first), _censored(second)).pvalue)


def median_step(moments: Sequence[Moment]) -> float | None:
    """Kaplan-Meier median of the EM step; None if fewer than half of the runs have had theirs in the budget."""
    curve = kaplan_meier(moments)
    reached = np.flatnonzero(curve.no_em <= 0.5)
    return float(curve.steps[reached[0]]) if len(reached) else None


def _as_history(steps: Sequence[int], accuracy: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    steps, accuracy = np.asarray(steps), np.asarray(accuracy, dtype=float)
    if steps.ndim != 1 or steps.shape != accuracy.shape or not len(steps):
        raise ValueError(f"steps and accuracy must be two non-empty sequences of one length, "
                         f"got shapes {steps.shape} and {accuracy.shape}")  # fmt: skip
    if (np.diff(steps) <= 0).any():
        raise ValueError(f"steps must ascend, got {steps.tolist()}")
    return steps, accuracy
