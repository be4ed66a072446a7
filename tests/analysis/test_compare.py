"""Comparisons on groups whose difference is known."""

import math

import numpy as np
import pytest

from eureka_lib.analysis.compare import (
    first_step_at,
    geometric_mean,
    mean_difference,
    odds_ratio,
    paired_difference,
    restricted_times,
    time_ratio,
)
from eureka_lib.analysis.eureka import Moment


def moments(steps, budget=1000):
    return [Moment(min(step, budget), step < budget) for step in steps]


EARLY, LATE = moments(range(100, 300, 10)), moments(range(500, 700, 10))


def test_restricted_times_keep_the_censored_at_the_budget():
    assert restricted_times(moments([100, 5000])).tolist() == [100, 1000]


def test_time_ratio():
    ratio = time_ratio(EARLY, LATE)
    assert ratio.value == pytest.approx(195 / 595) and ratio.low < ratio.value < ratio.high < 0.5
    same = time_ratio(EARLY, EARLY)
    assert same.value == 1 and same.low < 1 < same.high
    assert time_ratio(EARLY, LATE) == ratio  # the same runs give the same interval


def test_time_ratio_of_constant_groups_needs_no_bootstrap():
    assert time_ratio(moments([9999] * 20), moments([9999] * 24)).interval == (1, 1)


def test_few_runs_decide_by_permutation_and_three_of_them_nothing():
    """With five a group all permutations are 252, so that two groups apart have p = 2 / 252; with three, 2 / 20."""
    early, late = moments([100, 110, 120, 130, 140]), moments([600, 620, 640, 660, 9999])
    found = time_ratio(early, late)
    assert found.low < found.value < found.high < 0.3
    assert time_ratio(early, late, confidence=0.99).high > found.high
    assert time_ratio(early[:3], late[:3]).interval == (0, math.inf)
    assert time_ratio(early[:1], late).interval == (0, math.inf)
    assert mean_difference([1, 2, 3], [11, 12, 13]).interval == (-math.inf, math.inf)
    pairs = paired_difference([1, 2, 3, 4, 5, 6], [0] * 6)
    assert 0 < pairs.low < pairs.value == 3.5 < pairs.high
    assert paired_difference([1, 2, 3, 4, 5], [0] * 5).interval == (-math.inf, math.inf)
    assert geometric_mean([2, 3, 2.5, 2.2, 3, 2.8]).low > 1.5


@pytest.mark.parametrize("n", [5, 8])
def test_intervals_of_few_runs_cover_the_truth(n):
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        found = mean_difference(rng.exponential(1, n) + 1, rng.exponential(1, n))
        covered += found.low <= 1 <= found.high
    assert covered >= 53  # of which 57 are to be expected


def test_odds_ratio():
    many, few = moments([100] * 18 + [9999] * 2), moments([100] * 6 + [9999] * 14)
    found = odds_ratio(many, few)
    assert found.low > 1 and found.value == pytest.approx((18 / 2) / (6 / 14), rel=0.15)
    everywhere = odds_ratio(moments([100] * 20), few)
    assert math.isinf(everywhere.value) and everywhere.low > 1
    nothing = odds_ratio(moments([100] * 5), moments([100] * 5))
    assert math.isnan(nothing.value)


def test_mean_difference_covers_the_truth():
    """The 95 % interval covers the true difference in about 95 % of repeated experiments."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        found = mean_difference(rng.normal(1, 1, 25), rng.normal(0, 1, 25))
        covered += found.low <= 1 <= found.high
    assert covered >= 86


def test_first_step_at():
    assert first_step_at([0, 10, 20], [0.1, 0.6, 0.9], 0.5) == Moment(10, True)
    assert first_step_at([0, 10, 20], [0.1, 0.6, 0.9], 0.95) == Moment(20, False)
