"""Detection finds planted jumps at their step; intervals and curves agree with their textbooks."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from eureka_lib.analysis.eureka import (
    Moment,
    eureka_moment,
    jump_duration,
    kaplan_meier,
    late_jump,
    log_rank,
    median_step,
    plateau_fraction,
    wilson_interval,
)  # fmt: skip

STEPS = list(range(0, 1050, 50))  # 0, 50, ..., 1000


def planted(jump_at, noise=0.0, seed=0):
    """0.55 before ``jump_at``, 0.97 from it on."""
    accuracy = np.where(np.array(STEPS) < jump_at, 0.55, 0.97)
    return accuracy + noise * np.random.default_rng(seed).standard_normal(len(STEPS))


@given(st.integers(0, 18), st.integers(0, 100))
def test_a_planted_jump_is_found_at_its_step(index, seed):
    assert eureka_moment(STEPS, planted(STEPS[index], noise=0.02, seed=seed)) == Moment(STEPS[index], True)


def test_no_jump_is_censored_at_the_budget():
    assert eureka_moment(STEPS, planted(10_000)) == Moment(1000, False)


def test_one_lucky_evaluation_does_not_count_nor_does_an_unconfirmed_end():
    lucky = planted(800)
    lucky[5:7] = 0.9  # two in a row, three are needed
    assert eureka_moment(STEPS, lucky) == Moment(800, True)
    assert eureka_moment(STEPS, planted(950)) == Moment(1000, False)
    assert eureka_moment(STEPS, planted(950), hold=2) == Moment(950, True)


def test_a_later_relapse_does_not_move_the_moment():
    relapse = planted(300)
    relapse[12:] = 0.55
    assert eureka_moment(STEPS, relapse) == Moment(300, True)


def test_threshold_is_inclusive_and_not_a_number_is_below():
    assert eureka_moment([0, 1, 2, 3], [0.1, 0.75, 0.75, 0.75]).step == 1
    assert not eureka_moment([0, 1, 2, 3], [0.9, math.nan, 0.9, 0.9]).happened


@pytest.mark.parametrize(
    ("steps", "accuracy", "complaint"),
    [([], [], "non-empty"), ([0, 1], [0.5], "one length"), ([0, 2, 1], [0, 0, 0], "ascend"), ([[0]], [[0]], "shapes")],
)
def test_bad_histories_are_named(steps, accuracy, complaint):
    with pytest.raises(ValueError, match=complaint):
        eureka_moment(steps, accuracy)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="threshold must be in .*1.2"):
        eureka_moment([0], [0.5], threshold=1.2)
    with pytest.raises(ValueError, match="hold must be a whole number >= 1, got 0"):
        eureka_moment([0], [0.5], hold=0)


def test_plateau_fraction_counts_the_band_before_the_moment():
    accuracy = planted(600)
    accuracy[:3] = [0.1, 0.3, 0.4]  # steps 0, 50, 100: still climbing to the plateau
    assert plateau_fraction(STEPS, accuracy) == pytest.approx((550 - 100) / 1000)
    assert plateau_fraction(STEPS, planted(10_000)) == 1.0
    after = planted(200)
    after[10:] = 0.55  # a relapse is not the plateau before the moment
    assert plateau_fraction(STEPS, after) == pytest.approx(150 / 1000)


def test_jump_duration():
    accuracy = planted(500)
    accuracy[10], accuracy[11] = 0.76, 0.85  # 500, 550; at 600 it is up
    assert jump_duration(STEPS, accuracy) == 600 - 450
    assert jump_duration(STEPS, planted(10_000)) is None


@pytest.mark.parametrize(("k", "n"), [(0, 8), (3, 8), (8, 8)])
def test_wilson_interval_is_its_formula(k, n):
    z, p = 1.959963984540054, k / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert wilson_interval(k, n) == pytest.approx((centre - half, centre + half), abs=1e-9)


def test_wilson_interval_names_bad_counts():
    with pytest.raises(ValueError, match="k must be at most n = 8, got 9"):
        wilson_interval(9, 8)


def moments_of(*pairs):
    return [Moment(step, happened) for step, happened in pairs]


def test_kaplan_meier_by_hand():
    """Events at 1 and 3, censored at 2 and 4: 4 at risk, then 2."""
    curve = kaplan_meier(moments_of((1, True), (2, False), (3, True), (4, False)))
    values = dict(zip(curve.steps.tolist(), curve.no_em.tolist(), strict=True))
    assert values[1] == pytest.approx(3 / 4) and values[3] == pytest.approx(3 / 4 * 1 / 2)
    assert (curve.low <= curve.no_em).all() and (curve.no_em <= curve.high).all()
    assert (curve.low >= 0).all() and (curve.high <= 1).all()


def test_kaplan_meier_without_any_event_stays_at_one():
    curve = kaplan_meier(moments_of((5, False), (5, False)))
    assert curve.no_em.tolist() == [1.0] and math.isnan(curve.low[0])


def test_median_is_none_until_half_have_jumped():
    assert median_step(moments_of((1, True), (9, False), (9, False))) is None
    assert median_step(moments_of((1, True), (3, True), (9, False))) == 3


def test_log_rank():
    early, late = [Moment(s, True) for s in range(10, 20)], [Moment(s, True) for s in range(50, 60)]
    assert log_rank(early, late) < 1e-4
    assert log_rank(early, early) == pytest.approx(1.0)
    assert math.isnan(log_rank([Moment(60, False)], [Moment(60, False)]))
    with pytest.raises(ValueError, match="at least one run"):
        log_rank(early, [])


def test_a_jump_that_the_end_cuts_short_is_no_moment_and_no_secret():
    steps, jump = [10, 20, 30, 40, 50], [0.5, 0.55, 0.55, 0.8, 0.9]
    assert not eureka_moment(steps, jump).happened and late_jump(steps, jump) == 40
    assert late_jump(steps, [0.5, 0.55, 0.8, 0.9, 0.55]) is None, "it fell back"
    assert late_jump(steps, [0.5, 0.55, 0.8, 0.9, 0.9]) is None, "it counts"
    assert late_jump(steps[:2], [0.8, 0.9]) == 10
