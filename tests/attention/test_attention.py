"""Attention normalisers against their definitions in float64."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from eureka_lib.attention.layer import AttentionWeights, MultiHeadAttention
from eureka_lib.attention.normalisers import norm_softmax, norm_softmax_var
from eureka_lib.attention.registry import METHODS

NORMALISERS = {name: method.normaliser for name, method in METHODS.items() if method.normaliser}
PAPERS = [name for name, method in METHODS.items() if method.fused]  # the others: test_zoo.py


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


@pytest.mark.parametrize("visible", [None, torch.ones(5, dtype=torch.bool)], ids=["all", "masked"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", PAPERS)
def test_equal_logits_of_half_precision_are_uniform_too(name, dtype, visible):
    """SMALLEST_VARIANCE is 0 in float16."""
    weights = NORMALISERS[name](torch.full((1, 1, 2, 5), 3.0, dtype=dtype), torch.tensor(0.125), visible)
    assert weights.dtype == dtype and torch.allclose(weights, torch.full_like(weights, 0.2))


def mixed(layer, x, how, dtype):
    """A layer's output in half precision, as float64, of parameters in float32 or not."""
    if how == "autocast":
        with torch.autocast("cpu", dtype):
            return layer(x).double()
    return layer.to(dtype)(x.to(dtype)).double()


@pytest.mark.parametrize("tokens", [1, 5, 80])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("how", ["parameters", "autocast"])
@pytest.mark.parametrize("name", PAPERS)
def test_equal_tokens_of_half_precision_come_out_finite(name, how, dtype, tokens):
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(32, 2, name), torch.randn(1, 1, 32).expand(2, tokens, 32)
    with torch.no_grad():
        expected = layer(x).double()
        assert torch.allclose(mixed(layer, x, how, dtype), expected, atol=2e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("how", ["parameters", "autocast"])
def test_half_precision_loses_no_more_than_torchs_own_attention(how, dtype):
    """Queries and keys far from 0: of q·k in half precision nothing would be left, or it would overflow."""
    torch.manual_seed(0)
    layer = MultiHeadAttention(32, 2)
    q, k, v = (torch.randn(1, 2, 32, 16) + offset for offset in (60.0, 60.0, 0.0))
    q, k, v = (x.to(dtype) for x in (q, k, v))
    exact = torch.nn.functional.scaled_dot_product_attention(q.double(), k.double(), v.double())
    torchs = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    layer.weights.scale = layer.weights.scale.to(dtype if how == "parameters" else torch.float32)
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=how == "autocast"):
        ours = layer._mix(q, k, v, None)
    assert ours.dtype == dtype
    assert (ours.double() - exact).abs().max() <= 1.1 * (torchs.double() - exact).abs().max()


@pytest.mark.parametrize("tokens", [5, 80])
@pytest.mark.parametrize("name", sorted(NORMALISERS.keys() - {"sinkhorn", "qr"}))
def test_a_sample_of_padding_only_is_zero_and_has_no_gradient(name, tokens):
    """In the naive form (5) and the fused one (80), and others do not notice it."""
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(16, 2, name), torch.randn(2, tokens, 16, requires_grad=True)
    visible = torch.ones(2, tokens, dtype=torch.bool)
    visible[0] = False
    out = layer(x, visible)
    assert torch.equal(out[0], layer.out.bias.expand_as(out[0]))
    assert torch.allclose(out[1:], layer(x[1:]), atol=1e-6)
    out.square().sum().backward()
    assert (x.grad[0] == 0).all() and x.grad[1].abs().max() > 0
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


@pytest.mark.parametrize("name", sorted(NORMALISERS.keys() - {"sinkhorn", "qr"}))
def test_a_row_that_sees_nothing_has_weights_of_zero(name):
    """Row by row, as with tokens that are padding themselves."""
    weights = AttentionWeights(name, 0.125, heads=3).double()
    logits = logits_of(4).requires_grad_()
    visible = torch.arange(7) < torch.arange(5)[:, None]  # the first row sees none, the others one more each
    given = weights(logits, visible)
    assert (given[:, :, 0] == 0).all() and (given[:, :, 1:, 0] > 0).any()
    given.square().sum().backward()
    assert logits.grad.isfinite().all() and (logits.grad[:, :, 0] == 0).all()


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
