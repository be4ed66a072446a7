"""Gradient scalings: sizes become what the name says, directions stay."""

import pytest
import torch

from eureka_lib.attention.gradient_scaling import GRADIENT_SCALINGS, K, Q, V


@pytest.fixture
def gradient():
    """(3, H, D, C) with W_Q and W_K starved, and heads of different size."""
    g = torch.randn(3, 2, 4, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return g * torch.tensor([0.01, 0.02, 1.0]).view(3, 1, 1, 1) * torch.tensor([1.0, 5.0]).view(1, 2, 1, 1)


def sizes(g):
    return g.abs().mean(dim=(1, 2, 3))


def head_sizes(g):
    return g.abs().mean(dim=(2, 3))


def test_to_block_mean(gradient):
    scaled = GRADIENT_SCALINGS["to_block_mean"](gradient)
    assert torch.allclose(sizes(scaled), sizes(gradient).mean().expand(3))


def test_to_value_mean(gradient):
    scaled = GRADIENT_SCALINGS["to_value_mean"](gradient)
    assert torch.allclose(sizes(scaled), sizes(gradient)[V].expand(3))
    assert torch.equal(scaled[V], gradient[V])


def test_to_value_mean_per_head(gradient):
    scaled = GRADIENT_SCALINGS["to_value_mean_per_head"](gradient)
    assert torch.allclose(head_sizes(scaled), head_sizes(gradient)[V].expand(3, 2))
    assert not torch.allclose(head_sizes(scaled)[Q, 0], head_sizes(scaled)[Q, 1])


@pytest.mark.parametrize("name", GRADIENT_SCALINGS)
def test_directions_stay_and_zero_stays_zero(name, gradient):
    gradient[K] = 0
    scaled = GRADIENT_SCALINGS[name](gradient)
    assert scaled.isfinite().all() and (scaled[K] == 0).all()
    for head in range(2):
        a, b = gradient[Q, head].flatten(), scaled[Q, head].flatten()
        assert torch.dot(a, b) / (a.norm() * b.norm()) == pytest.approx(1.0)
