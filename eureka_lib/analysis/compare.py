"""One method against another, run by run: ratios and differences with 95 % intervals, from SciPy.

All runs of a comparison share one budget, so a run without an Eureka-moment is censored there and nowhere else. The
*restricted* EM time, min(EM step, budget), is then known of every run, and its mean is the area under the Kaplan-Meier
curve.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.stats.contingency import odds_ratio as odds_ratio_of

from eureka_lib.analysis.eureka import Moment

RESAMPLES = 9999
BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; infinite or not-a-number ends where the data do not bound it."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> tuple[float, float]:
        """(low, high)."""
        return self.low, self.high

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def restricted_times(moments: Sequence[Moment]) -> np.ndarray:
    """min(EM step, budget) of each run, in steps."""
    return np.array([moment.step for moment in moments], dtype=float)


def time_ratio(moments: Sequence[Moment], baseline: Sequence[Moment], confidence: float = 0.95) -> Estimate:
    """Mean restricted EM time over the baseline's, with a bootstrap interval over runs; below 1 is faster."""
    samples = restricted_times(moments), restricted_times(baseline)
    return bootstrap(samples, lambda a, b, axis: a.mean(axis) / b.mean(axis), confidence)


def odds_ratio(moments: Sequence[Moment], baseline: Sequence[Moment]) -> Estimate:
    """Odds of an EM in the budget over the baseline's (SciPy, conditional, exact interval); above 1 is more EMs.

    Infinite or 0 where a group has EMs in all or none of its runs; not a number if both groups have, or lack, them all.
    """
    counts = [[sum(m.happened == wanted for m in group) for wanted in (True, False)] for group in (moments, baseline)]
    found = odds_ratio_of(counts, kind="conditional")
    interval = found.confidence_interval(0.95)
    return Estimate(float(found.statistic), float(interval.low), float(interval.high))


def mean_difference(values: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """Difference of means of two independent samples, with a bootstrap interval over runs; above 0 is more."""
    samples = np.asarray(values, dtype=float), np.asarray(baseline, dtype=float)
    return bootstrap(samples, lambda a, b, axis: a.mean(axis) - b.mean(axis))


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """Mean difference of pairs, with a bootstrap interval over pairs; above 0 is more."""
    differences = np.asarray(values, dtype=float) - np.asarray(baseline, dtype=float)
    return bootstrap((differences,), lambda d, axis: d.mean(axis))


def geometric_mean(ratios: Sequence[float]) -> Estimate:
    """Geometric mean of positive ratios, one per run or pair, with a bootstrap interval over them; above 1 is more."""
    logs = bootstrap((np.log(np.asarray(ratios, dtype=float)),), lambda d, axis: d.mean(axis))
    return Estimate(*(math.exp(end) for end in (logs.value, logs.low, logs.high)))


def first_step_at(steps: Sequence[int], accuracy: Sequence[float], level: float) -> Moment:
    """First evaluation at which the accuracy is at least ``level``, or censored at the last step."""
    reached = np.flatnonzero(np.asarray(accuracy) >= level)
    return Moment(int(np.asarray(steps)[reached[0] if len(reached) else -1]), bool(len(reached)))


def bootstrap(samples: tuple[np.ndarray, ...], statistic: Callable, confidence: float = 0.95) -> Estimate:
    """Percentile bootstrap of ``statistic(*samples, axis)`` over independent samples (n,), each resampled by itself.

    The seed is fixed: same runs, same interval.
    """
    value = float(statistic(*samples, axis=-1))
    if all(np.ptp(sample) == 0 for sample in samples):
        return Estimate(value, value, value)
    found = stats.bootstrap(
        samples, statistic, n_resamples=RESAMPLES, method="percentile", vectorized=True, confidence_level=confidence,
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    )  # fmt: skip
    return Estimate(value, float(found.confidence_interval.low), float(found.confidence_interval.high))
