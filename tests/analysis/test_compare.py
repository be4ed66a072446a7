"""Comparisons on groups whose difference is known."""

import math

import numpy as np
import pytest

from eureka_lib.analysis.compare import first_step_at, mean_difference, odds_ratio, restricted_times, time_ratio
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
    assert time_ratio(moments([9999] * 3), moments([9999] * 4)).interval == (1, 1)


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
