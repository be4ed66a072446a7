"""One method against another, run by run: ratios and differences with 95 % intervals, by SciPy's resampling.

From ``MANY`` runs a group on an interval is a percentile bootstrap. With fewer that covers too little (0.91 instead of
0.95 at 5 runs); then it holds all values that a permutation test does not reject, which is exact for any number.

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
PERMUTATIONS = 4999  # of the many that an interval takes
RESAMPLING_SEED = 0  # same runs, same interval
MANY = 20
REALS = (-math.inf, math.inf)


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
    """Mean restricted EM time over the baseline's; below 1 is faster. Of few runs: by factors on the baseline's."""
    x, y = restricted_times(moments), restricted_times(baseline)
    if min(len(x), len(y)) >= MANY:
        return bootstrap((x, y), lambda a, b, axis: a.mean(axis) / b.mean(axis), confidence)
    ratio = x.mean() / y.mean()
    return by_permutation(ratio, lambda factor: (x, factor * y), (0, math.inf), ratio, confidence)


def odds_ratio(moments: Sequence[Moment], baseline: Sequence[Moment], confidence: float = 0.95) -> Estimate:
    """Odds of an EM in the budget over the baseline's (SciPy, conditional, exact interval); above 1 is more EMs.

    Infinite or 0 where a group has EMs in all or none of its runs; not a number if both groups have, or lack, them all.
    """
    counts = [[sum(m.happened == wanted for m in group) for wanted in (True, False)] for group in (moments, baseline)]
    found = odds_ratio_of(counts, kind="conditional")
    interval = found.confidence_interval(confidence)
    return Estimate(float(found.statistic), float(interval.low), float(interval.high))


def mean_difference(values: Sequence[float], baseline: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Difference of means of two independent samples; above 0 is more. Of few: by shifts of the baseline."""
    x, y = np.asarray(values, dtype=float), np.asarray(baseline, dtype=float)
    if min(len(x), len(y)) >= MANY:
        return bootstrap((x, y), lambda a, b, axis: a.mean(axis) - b.mean(axis), confidence)
    return by_permutation(x.mean() - y.mean(), lambda shift: (x, y + shift), REALS, np.ptp([*x, *y]), confidence)


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """Mean difference of pairs; above 0 is more. Of few: by shifts, under which either sign is as likely."""
    d = np.asarray(values, dtype=float) - np.asarray(baseline, dtype=float)
    if len(d) >= MANY:
        return bootstrap((d,), lambda d, axis: d.mean(axis))
    return by_permutation(d.mean(), lambda shift: (d - shift,), REALS, np.ptp(d))


def geometric_mean(ratios: Sequence[float]) -> Estimate:
    """Geometric mean of positive ratios, one per run or pair; above 1 is more."""
    logs = paired_difference(np.log(np.asarray(ratios, dtype=float)), [0.0])
    return Estimate(*(math.exp(end) for end in (logs.value, logs.low, logs.high)))


def first_step_at(steps: Sequence[int], accuracy: Sequence[float], level: float) -> Moment:
    """First evaluation at which the accuracy is at least ``level``, or censored at the last step."""
    reached = np.flatnonzero(np.asarray(accuracy) >= level)
    return Moment(int(np.asarray(steps)[reached[0] if len(reached) else -1]), bool(len(reached)))


def bootstrap(samples: tuple[np.ndarray, ...], statistic: Callable, confidence: float = 0.95) -> Estimate:
    """Percentile bootstrap of ``statistic(*samples, axis)`` over independent samples (n,), each resampled by itself."""
    value = float(statistic(*samples, axis=-1))
    if all(np.ptp(sample) == 0 for sample in samples):
        return Estimate(value, value, value)
    found = stats.bootstrap(
        samples, statistic, n_resamples=RESAMPLES, method="percentile", vectorized=True, confidence_level=confidence,
        rng=np.random.default_rng(RESAMPLING_SEED),
    )  # fmt: skip
    return Estimate(value, float(found.confidence_interval.low), float(found.confidence_interval.high))


def by_permutation(
    value: float, samples_at: Callable[[float], tuple[np.ndarray, ...]], ends: tuple[float, float], step: float,
    confidence: float = 0.95,
) -> Estimate:  # fmt: skip
    """``value`` with the interval of all numbers between ``ends`` that a permutation test does not reject.

    ``samples_at(number)`` are two samples (n,) that are exchangeable if the true value is that number, or one whose
    signs are. ``step`` is of the order of the interval's length. The interval is open where the test can reject
    nothing, as with three runs a group, or with one.
    """
    if min(map(len, samples_at(value))) < 2:
        return Estimate(float(value), *ends)

    def inside(number: float) -> bool:
        return permutation_p(samples_at(number)) >= 1 - confidence

    low, high = (_edge(inside, value, end, sign * (step or 1)) for end, sign in zip(ends, (-1, 1), strict=True))
    return Estimate(float(value), float(low), float(high))


def permutation_p(samples: tuple[np.ndarray, ...]) -> float:
    """Two-sided p-value of the difference of means, or, of one sample, of the mean."""
    one = len(samples) == 1
    found = stats.permutation_test(
        samples, (lambda a, axis: a.mean(axis)) if one else (lambda a, b, axis: a.mean(axis) - b.mean(axis)),
        permutation_type="samples" if one else "independent", vectorized=True, n_resamples=PERMUTATIONS,
        rng=np.random.default_rng(RESAMPLING_SEED),
    )  # fmt: skip
    return float(found.pvalue)


def _edge(inside: Callable[[float], bool], start: float, end: float, step: float) -> float:
    """Where ``inside`` turns false on the way from ``start`` to ``end``, to a thousandth; ``end`` if it does not."""
    far = start
    for power in range(12):  # 4,096 steps away nothing is seen that is not seen before
        near, far = far, start + step * 2**power
        if (far - end) * step >= 0:
            far = end
        if not inside(far):
            break
        if far == end:
            return end
    else:
        return end
    for _ in range(10):
        middle = (near + far) / 2
        near, far = (middle, far) if inside(middle) else (near, middle)
    return (near + far) / 2
