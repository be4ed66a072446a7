"""The fused forms against the naive ones, in float64 to rounding and in the others to the documented tolerance."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from eureka_lib.analysis.record import record
from eureka_lib.attention.layer import LEAST_KEYS, MultiHeadAttention
from eureka_lib.attention.normalisers import SMALLEST_VARIANCE, row_variance, softmax
from eureka_lib.attention.registry import METHODS, Method
from eureka_lib.training.precision import with_precision

PAIRS = {name: (method.normaliser, method.fused) for name, method in METHODS.items() if method.fused}
FACTS = settings(max_examples=30, deadline=None)
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 7), st.integers(1, 12), st.integers(1, 9))


def inputs(seed, shape, size=1.0, dtype=torch.float64):
    """q, k, v of (batch, heads, queries, keys, features); the logits are of about size^2 sqrt(features)."""
    batch, heads, queries, keys, features = shape
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randn(batch, heads, n, features, generator=generator) for n in (queries, keys, keys)]
    return tuple(part.to(dtype) * factor for part, factor in zip(parts, (size, size, 1.0), strict=True))


def naive_attention(normaliser, q, k, v, scale, visible=None):
    mask = () if visible is None else (visible,)
    return normaliser(q @ k.mT, scale, *mask) @ v


def with_gradients(function, *tensors):
    """The output, and the gradients of all tensors for a gradient of the output that is the same for all functions."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    out = function(*leaves)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(out)
    return [out.detach(), *torch.autograd.grad(out, leaves, upstream)]


def padding(seed, batch, keys):
    visible = torch.rand(batch, 1, 1, keys, generator=torch.Generator().manual_seed(seed)) < 0.6
    visible[..., 0] = True
    return visible


def units(name, q, k, v, scale, visible=None):
    """Natural sizes of the output and of the gradients of q, k, v, scale; and how much rounding is amplified.

    A logit is rounded to eps |q||k| and then divided; a variance, where it is used, to eps (|q||k|)^2.
    """
    reach = q.norm(dim=-1, keepdim=True) * k.norm(dim=-1).max()
    variance = row_variance(q @ k.mT, visible)
    spread = {"softmax": 1 / scale, "norm_softmax": variance.sqrt(), "norm_softmax_var": variance}[name]
    divisor = spread.clamp_max(1 / scale)
    used = (divisor < 1 / scale) & (variance > SMALLEST_VARIANCE)
    amplification = torch.maximum(reach / divisor, (reach.square() / variance).where(used, 1)).max()
    q_size, k_size, v_size, factor = *(part.abs().max() for part in (q, k, v)), (1 / divisor).max()
    return [v_size, factor * k_size * v_size, factor * q_size * v_size, 1.0, reach.max() * v_size], float(amplification)


@pytest.mark.parametrize("name", PAIRS)
@FACTS
@given(
    seed=st.integers(0, 10_000),
    shape=SHAPES,
    size=st.sampled_from([1e-5, 1e-2, 1.0, 30.0]),
    scale=st.sampled_from([0.01, 0.125, 3.0]),
    masked=st.booleans(),
)
def test_same_as_naive(name, seed, shape, size, scale, masked):
    """Outputs and the gradients of q, k, v and the scale, to 1e-10 or what rounding leaves, one key included."""
    q, k, v = inputs(seed, shape, size)
    visible = padding(seed, shape[0], shape[3]) if masked else None
    naive, quick = PAIRS[name]
    s = torch.tensor(scale, dtype=torch.float64)
    expected = with_gradients(lambda *x: naive_attention(naive, *x, visible), q, k, v, s)
    got = with_gradients(lambda *x: quick(*x, visible), q, k, v, s)
    sizes, amplification = units(name, q, k, v, s, visible)
    tolerance = max(1e-10, 1e-14 * amplification)
    for part, mine, theirs, unit in zip(("out", "q", "k", "v", "scale"), got, expected, sizes, strict=True):
        assert (mine - theirs).abs().max() < tolerance * unit, part


# Largest error relative to the largest value, for unit normal q, k, v: of the output, and of the gradients.
TOLERANCES = {torch.float32: (1e-5, 1e-4), torch.float16: (5e-3, 2e-2), torch.bfloat16: (3e-2, 1e-1)}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_low_precisions_are_near_naive_in_float64(name, dtype, offset):
    """As well when the keys share an offset, which a covariance that is not centred would drown in."""
    q, k, v = (x.to(dtype) for x in inputs(0, (2, 2, 65, 65, 16)))
    k = k + offset
    naive, quick = PAIRS[name]
    scale = torch.tensor(0.25)
    exact = with_gradients(lambda *x: naive_attention(naive, *x, scale.double()), q.double(), k.double(), v.double())
    got = with_gradients(lambda *x: quick(*x, scale), q, k, v)
    for i, (mine, truth) in enumerate(zip(got, exact, strict=True)):
        assert mine.dtype == dtype
        assert (mine.double() - truth).abs().max() < TOLERANCES[dtype][i > 0] * truth.abs().max()


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("dtype", [torch.float64, *TOLERANCES])
@pytest.mark.parametrize("keys", [1, 5, 70])
def test_equal_keys_give_the_mean_value_and_finite_gradients(name, dtype, keys):
    q, k, v = (x.to(dtype) for x in inputs(1, (2, 1, 4, keys, 8), size=3.0))
    k = k[:, :, :1].expand_as(k)
    out, *gradients = with_gradients(lambda *x: PAIRS[name][1](*x, torch.tensor(0.1)), q, k, v)
    assert torch.allclose(out, v.mean(-2, keepdim=True).expand_as(out), atol=2e-2 if dtype.itemsize == 2 else 1e-6)
    for gradient in gradients:  # that of the keys is of about q / 1e-6, more than a float16 can be
        assert not gradient.isnan().any() and (gradient.isfinite().all() or dtype == torch.float16)


@pytest.mark.parametrize("name", PAIRS)
def test_a_variance_that_overflows_leaves_plain_softmax(name):
    """Where q·k is huge sigma exceeds 1/s, so all three are softmax; in float32 its square is already infinite."""
    q, k, v = inputs(2, (1, 2, 5, 9, 4), size=1e11, dtype=torch.float32)
    scale = torch.tensor(1e-3)
    out, *gradients = with_gradients(lambda *x: PAIRS[name][1](*x, scale), q, k, v)
    assert torch.allclose(out, naive_attention(softmax, q, k, v, scale))
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", PAIRS)
def test_what_is_hidden_does_not_matter(name):
    """Padding may hold anything, and gets no gradient; without it the answer is the same."""
    q, k, v = inputs(3, (2, 2, 6, 9, 4))
    visible = torch.arange(9).expand(2, 1, 1, 9) < 7
    s = torch.tensor(0.5, dtype=torch.float64)
    short = with_gradients(lambda *x: PAIRS[name][1](*x, s), q, k[:, :, :7], v[:, :, :7])
    k[:, :, 7:] = 1e6
    padded = with_gradients(lambda *x: PAIRS[name][1](*x, s, visible), q, k, v)
    for mine, expected in zip(padded, short, strict=True):
        assert torch.allclose(mine[:, :, : expected.shape[2]], expected, rtol=1e-10, atol=1e-12)
        assert (mine[:, :, expected.shape[2] :] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, *TOLERANCES])
@pytest.mark.parametrize("name", PAIRS)
def test_a_sample_without_a_visible_key_is_zero_and_has_no_gradient(name, dtype):
    q, k, v = (x.to(dtype) for x in inputs(5, (2, 2, 6, 9, 4)))
    visible = torch.tensor([False, True])[:, None, None, None].expand(2, 1, 1, 9)
    s = torch.tensor(0.5, dtype=dtype)
    for blind in with_gradients(lambda *x: PAIRS[name][1](*x, s, visible), q, k, v):
        assert (blind[0] == 0).all() and blind[1].abs().max() > 0 and blind.isfinite().all()


@pytest.mark.parametrize("name", PAIRS)
def test_naive_under_a_mask_is_naive_on_what_is_visible(name):
    """Row by row, causal here: the same weights as without the hidden keys, and 0 for those."""
    q, k, _ = inputs(4, (1, 2, 6, 6, 4))
    s = torch.tensor(0.5, dtype=torch.float64)
    logits = q @ k.mT
    weights = METHODS[name].normaliser(logits, s, torch.ones(6, 6, dtype=torch.bool).tril())
    for row in range(6):
        expected = METHODS[name].normaliser(logits[:, :, row : row + 1, : row + 1], s)
        assert torch.allclose(weights[:, :, row : row + 1, : row + 1], expected, rtol=1e-12)
        assert (weights[:, :, row, row + 1 :] == 0).all()


def test_no_step_waits_for_a_value():
    """Forward and backward on tensors that have shapes but no values, as no .item() would survive."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        for _, quick in PAIRS.values():
            q, k, v = (torch.empty(2, 2, 70, 8, requires_grad=True) for _ in range(3))
            quick(q, k, v, torch.tensor(0.1)).sum().backward()
            assert q.grad.shape == k.grad.shape == v.grad.shape == (2, 2, 70, 8)


# --- in the module ---------------------------------------------------------------------------------------------------


def module_of(name, width=16, heads=2):
    torch.manual_seed(0)
    module, x = MultiHeadAttention(width, heads, name), torch.randn(3, LEAST_KEYS + 6, width)
    nn.init.normal_(module.qkv.weight, std=width**-0.5)  # unit normal q, k, v
    return module, x


@pytest.fixture
def seen(monkeypatch):
    """The names of the fused forms that are called, in order."""
    calls = []

    def noting(name, function):
        return lambda *inputs: (calls.append(name), function(*inputs))[1]

    for name, (_, quick) in PAIRS.items():
        monkeypatch.setitem(METHODS, name, replace(METHODS[name], fused=noting(name, quick)))
    return calls


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", PAIRS)
def test_who_looks_on_sees_the_weights_and_gets_the_same(name, precision, seen):
    module, x = module_of(name)
    model = with_precision(module, precision)
    alone = with_gradients(model, x)
    assert seen == [name]
    with record({"weights": module.weights}) as trace:
        watched = with_gradients(model, x)
    assert seen == [name] and trace["weights"].shape == (3, 2, x.shape[1], x.shape[1])
    assert torch.allclose(trace["weights"].float().sum(-1), torch.ones(3, 2, x.shape[1]), atol=1e-2)
    dtype = getattr(torch, precision)
    for i, (mine, theirs) in enumerate(zip(alone, watched, strict=True)):
        assert mine.dtype == torch.float32
        assert (mine - theirs).abs().max() < TOLERANCES[dtype][i > 0] * theirs.abs().max()
    assert all(map(torch.equal, with_gradients(model, x), alone)) and seen == [name, name]


def test_every_kind_of_hook_brings_the_weights_back(seen):
    module, x = module_of("norm_softmax")
    hooks = ["forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"]
    for hook in hooks:
        handle = getattr(module.weights, f"register_{hook}")(lambda *_: None)
        module(x).sum().backward()
        handle.remove()
        assert seen == []
    module(x)
    assert seen == ["norm_softmax"]


@pytest.mark.parametrize("name", PAIRS)
def test_the_scale_is_followed(name):
    """Changed in place, as a schedule does, it changes the next output, as it does in the naive form."""
    module, x = module_of(name)
    for scale in (0.01, 0.2, 5.0):
        module.weights.scale.fill_(scale)
        alone = module(x)
        with record({"weights": module.weights}):
            assert torch.allclose(module(x), alone, atol=1e-4), scale


def test_short_rows_take_the_naive_form(seen):
    module, x = module_of("norm_softmax")
    module(x[:, : LEAST_KEYS - 1])
    assert seen == []
    module(x[:, :LEAST_KEYS])
    assert seen == ["norm_softmax"]


def test_padding_of_tokens_does_not_matter(seen):
    module, x = module_of("norm_softmax")
    visible = torch.ones(x.shape[:2], dtype=torch.bool)
    visible[0, -20:] = False
    padded = module(x, visible)
    assert torch.allclose(padded[:1, :-20], module(x[:1, :-20]), atol=1e-4)  # short enough to be naive
    assert torch.allclose(padded[1:], module(x)[1:], atol=1e-5) and len(seen) == 2
    with record({"weights": module.weights}) as trace:
        assert torch.allclose(module(x, visible), padded, atol=1e-4)
    assert (trace["weights"][0, :, :, -20:] == 0).all()


def test_a_normaliser_of_ones_own_is_used_as_it_is(monkeypatch):
    """Also under the name of one that the library has."""
    module, x = module_of("norm_softmax")
    for name in ("mine", "norm_softmax"):
        own = Method(lambda logits, scale: torch.ones_like(logits) / logits.shape[-1])
        monkeypatch.setitem(METHODS, name, own)
        mine = MultiHeadAttention(16, 2, name)
        mine.load_state_dict(module.state_dict())
        v = mine.qkv(x)[..., 32:].mean(dim=1, keepdim=True).expand_as(x)
        assert torch.allclose(mine(x), mine.out(v), atol=1e-5)
