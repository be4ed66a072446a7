"""Learning-rate schedules at the points where their value is known."""

import math

import pytest

from eureka_lib.attention.heat import SCALE_SCHEDULES, heat
from eureka_lib.training.schedules import LEARNING_RATE_SCHEDULES, warmup_constant, warmup_cosine

PAPER = {"steps": 35_100, "warmup": 585, "peak": 5e-4, "edge": 1e-6}


def test_cosine_starts_peaks_and_ends_where_the_paper_says():
    assert warmup_cosine(0, **PAPER) == 1e-6
    assert warmup_cosine(585, **PAPER) == pytest.approx(5e-4)
    assert warmup_cosine((35_100 + 585) // 2, **PAPER) == pytest.approx((5e-4 + 1e-6) / 2, rel=1e-3)
    assert warmup_cosine(35_100, **PAPER) == pytest.approx(1e-6)


def test_warm_up_is_linear():
    rates = [warmup_cosine(step, **PAPER) for step in range(586)]
    steps = [after - before for before, after in zip(rates, rates[1:], strict=False)]
    assert steps == pytest.approx([(5e-4 - 1e-6) / 585] * 585)


def test_constant_stays():
    assert {warmup_constant(step, 100, 10, 1e-3, 0.0) for step in range(10, 101)} == {1e-3}


@pytest.mark.parametrize("name", LEARNING_RATE_SCHEDULES)
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (1, 5), (2, 1), (7, 7), (7, 0)])
def test_odd_and_tiny_lengths_stay_within_bounds(name, steps, warmup):
    values = [LEARNING_RATE_SCHEDULES[name](step, steps, warmup, 1e-3, 1e-6) for step in range(steps + 1)]
    assert all(1e-6 <= value <= 1e-3 for value in values)


def heat_by_hand(done, start, shape):
    """The definitions, written out again."""
    if shape == "linear":
        return start + (1 - start) * done
    if shape == "constant":
        return start
    period = min(2 * done, 1) if shape == "half_cosine" else done
    return 1 + (start - 1) * 0.5 * (1 + math.cos(math.pi * period))


@pytest.mark.parametrize("shape", SCALE_SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 300])
def test_heat_treatment_is_its_definition(shape, steps):
    for step in range(steps):
        done = step / (steps - 1) if steps > 1 else 0
        assert heat(step, steps, 24.0, shape) == pytest.approx(heat_by_hand(done, 24.0, shape), abs=1e-12)


def test_the_papers_heat_treatment():
    """s from 3.0 to 0.125 by half a cosine over the first half, then it stays."""
    scales = [0.125 * heat(epoch, 301, 24.0, "half_cosine") for epoch in range(301)]
    assert scales[0] == 3.0 and scales[75] == pytest.approx((3.0 + 0.125) / 2)
    assert scales[150:] == pytest.approx([0.125] * 151)
    assert scales == sorted(scales, reverse=True)


@pytest.mark.parametrize("shape", ["linear", "cosine", "half_cosine"])
def test_heat_ends_at_the_models_own_scale(shape):
    assert heat(99, 100, 24.0, shape) == pytest.approx(1.0)
