"""The derived lines against the paper's numbers and against brute force."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.optimize import minimize

from eureka_lib.tasks.theory import floor_loss, plateau_accuracy, plateau_loss


def test_the_papers_numbers():
    assert floor_loss(10, 0.1) == pytest.approx(0.500, abs=5e-4)
    assert plateau_loss(10, 0.1) == pytest.approx(1.025, abs=5e-4)
    assert plateau_accuracy(10) == pytest.approx(0.55)


def test_without_smoothing():
    assert floor_loss(10, 0) == 0
    assert plateau_loss(10, 0) == pytest.approx(0.9 * math.log(2))


@given(st.integers(2, 20), st.floats(0, 0.5), st.floats(0, 1))
def test_limits(n_classes, smoothing, p):
    assert plateau_loss(n_classes, smoothing, 1.0) == pytest.approx(floor_loss(n_classes, smoothing))
    assert plateau_loss(n_classes, smoothing, p) >= floor_loss(n_classes, smoothing) - 1e-12
    assert plateau_accuracy(n_classes, p) == pytest.approx(plateau_accuracy(n_classes, 1 - p))


@pytest.mark.parametrize("p", [0.5, 0.8])
def test_plateau_is_the_best_constant_hedge(p):
    """No prediction that ignores the indicators does better than the formula."""
    smooth, k = 0.1, 5
    first, second = (np.eye(k)[i] * (1 - smooth) + smooth / k for i in (0, 1))

    def expected_loss(logits):
        log_q = logits - np.log(np.exp(logits).sum())
        return -(p * first + (1 - p) * second) @ log_q

    best = minimize(expected_loss, np.zeros(k)).fun
    assert plateau_loss(k, smooth, p) == pytest.approx(floor_loss(k, smooth) / k + best * (1 - 1 / k), abs=1e-6)


def test_bad_values_are_named():
    with pytest.raises(ValueError, match="label_smoothing must be in .*1.5"):
        floor_loss(10, 1.5)
    with pytest.raises(ValueError, match="n_classes"):
        plateau_accuracy(1)
