"""Attention normalisers against their definitions in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eureka_lib.models.attention import (
    FUSED,
    NORMALISERS,
    AttentionWeights,
    MultiHeadAttention,
    norm_softmax,
    norm_softmax_var,
)

PAPERS = [name for name, normaliser in NORMALISERS.items() if normaliser in FUSED]  # the others: test_zoo.py


def logits_of(seed, shape=(2, 3, 5, 7), size=4.0):
    return size * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(row, divisor):
    exps = [math.exp(value / divisor) for value in row]
    return [value / sum(exps) for value in exps]


@pytest.mark.parametrize("name", PAPERS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), keys=st.integers(1, 9), size=st.sampled_from([0.0, 1e-6, 1.0, 1e4]))
def test_rows_sum_to_one(name, seed, keys, size):
    weights = NORMALISERS[name](logits_of(seed, (2, 1, 3, keys), size), torch.tensor(0.125, dtype=torch.float64))
    assert (weights >= 0).all() and torch.allclose(weights.sum(-1), torch.ones(2, 1, 3, dtype=torch.float64))


@pytest.mark.parametrize("scale", [0.01, 0.125, 3.0])
@pytest.mark.parametrize(("name", "power"), [("norm_softmax", 0.5), ("norm_softmax_var", 1.0)])
def test_norm_softmax_is_its_definition(name, power, scale):
    logits = logits_of(0)
    weights = NORMALISERS[name](logits, torch.tensor(scale, dtype=torch.float64))
    for row, got in zip(logits.view(-1, 7).tolist(), weights.view(-1, 7).tolist(), strict=True):
        mean = sum(row) / 7
        variance = sum((value - mean) ** 2 for value in row) / 7
        assert got == pytest.approx(by_hand(row, min(variance**power, 1 / scale)), abs=1e-12)


def test_softmax_is_its_definition():
    weights = NORMALISERS["softmax"](logits_of(1), torch.tensor(0.3, dtype=torch.float64))
    row = logits_of(1)[0, 0, 0].tolist()
    assert weights[0, 0, 0].tolist() == pytest.approx(by_hand(row, 1 / 0.3), abs=1e-12)


def test_norm_softmax_is_softmax_where_the_spread_is_large():
    logits, scale = logits_of(2, size=1e3), torch.tensor(0.125, dtype=torch.float64)
    expected = torch.softmax(logits * scale, -1)
    assert torch.equal(norm_softmax(logits, scale), torch.softmax(logits / (1 / scale), -1))
    assert torch.allclose(norm_softmax_var(logits, scale), expected)


@pytest.mark.parametrize("name", PAPERS)
def test_gradients(name):
    logits = logits_of(3, (1, 1, 3, 4)).requires_grad_()
    scale = torch.tensor(0.125, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: NORMALISERS[name](x, scale), logits)


@pytest.mark.parametrize("name", PAPERS)
def test_equal_logits_give_uniform_weights_and_finite_gradients(name):
    logits = torch.full((1, 1, 2, 5), 3.0, requires_grad=True)
    weights = NORMALISERS[name](logits, torch.tensor(0.125))
    assert torch.allclose(weights, torch.full_like(weights, 0.2))
    (weights[..., 0].sum()).backward()
    assert logits.grad.isfinite().all()


def test_module_agrees_with_torchs_own_attention():
    """Multi-head attention with softmax equals torch's scaled_dot_product_attention on the same projections."""
    torch.manual_seed(0)
    module, x = MultiHeadAttention(12, 3), torch.randn(2, 5, 12)
    q, k, v = (part.view(2, 5, 3, 4).transpose(1, 2) for part in module.qkv(x).chunk(3, -1))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 5, 12)
    assert torch.allclose(module(x), module.out(expected), atol=1e-6)
    assert module.qkv.bias is None


def test_scale_is_part_of_a_checkpoint():
    module = AttentionWeights("softmax", 0.125)
    module.scale.fill_(3.0)
    other = AttentionWeights("softmax", 0.125)
    other.load_state_dict(module.state_dict())
    assert other.scale == 3.0


def test_bad_names_and_head_counts_are_named():
    with pytest.raises(ValueError, match="unknown attention 'norm_sofmax'.*did you mean 'norm_softmax'"):
        MultiHeadAttention(8, 2, "norm_sofmax")
    with pytest.raises(ValueError, match="heads 3 does not divide width 8.*nearest is [24]"):
        MultiHeadAttention(8, 3)
