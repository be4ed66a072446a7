"""Today's attention against independent definitions, in float64, and what must not happen to any of it."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from eureka_lib.attention import zoo
from eureka_lib.attention.layer import AttentionWeights, MultiHeadAttention
from eureka_lib.attention.registry import METHODS
from eureka_lib.training.precision import with_precision

NORMALISERS = {name: method.normaliser for name, method in METHODS.items() if method.normaliser}
LEARNED = {name: method.learned for name, method in METHODS.items() if method.learned is not None}
ZOO = [name for name, normaliser in NORMALISERS.items() if normaliser.__module__ == zoo.__name__]
SQUARE = ["sinkhorn", "qr"]
ROWS = [name for name in ZOO if name not in SQUARE]
TO_ONE = [name for name in ROWS if name not in ("softmax1", "attention_sink", "sigmoid")]
SCALE = 0.4
SIZES = st.sampled_from([0.0, 1e-6, 0.3, 1.0, 4.0, 1e2, 1e4])
FACTS = settings(max_examples=40, deadline=None)


def logits_of(seed, shape=(2, 3, 5, 5), size=4.0, dtype=torch.float64):
    return (size * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).to(dtype)


def weights_of(name, logits, visible=None, learned=None, scale=SCALE):
    """The weights by name, with the learned numbers at their start unless they are given, one per head."""
    given = {}
    if name in LEARNED:
        learned = [LEARNED[name]] * logits.shape[1] if learned is None else learned
        given = {"learned": torch.tensor(learned, dtype=logits.dtype)[:, None, None]}
    return NORMALISERS[name](logits, torch.tensor(scale, dtype=logits.dtype), visible, **given)


@pytest.mark.parametrize("name", ROWS)
@FACTS
@given(seed=st.integers(0, 10_000), keys=st.integers(1, 9), size=SIZES)
def test_rows_are_weights(name, seed, keys, size):
    """Not negative; they sum to 1 or, where a head may look at nothing, to no more than that."""
    weights = weights_of(name, logits_of(seed, (2, 2, 3, keys), size))
    total = weights.sum(-1)
    assert (weights >= 0).all() and weights.isfinite().all()
    if name in TO_ONE:
        assert torch.allclose(total, torch.ones_like(total), atol=1e-9)
    elif name == "sigmoid":
        assert (weights <= 1).all()
    else:
        assert (total <= 1 + 1e-12).all()


@pytest.mark.parametrize("name", ZOO)
@FACTS
@given(seed=st.integers(0, 10_000), size=SIZES)
def test_large_logits_stay_finite_in_float32_and_so_do_their_gradients(name, seed, size):
    logits = logits_of(seed, (2, 2, 6, 6), size, torch.float32).requires_grad_()
    weights = weights_of(name, logits)
    weights[..., 0].square().sum().backward()
    assert weights.isfinite().all() and (weights >= 0).all() and logits.grad.isfinite().all()


@pytest.mark.parametrize("name", ZOO)
def test_equal_rows_and_equal_logits_stay_finite(name):
    """Rank one, and rank nothing: also where QR has nothing to hold on to."""
    for logits in (torch.full((1, 2, 5, 5), 3.0), torch.zeros(1, 2, 5, 5), torch.randn(1, 2, 1, 5).repeat(1, 1, 5, 1)):
        logits = logits.requires_grad_()
        weights = weights_of(name, logits)
        weights[..., 0].sum().backward()
        assert weights.isfinite().all() and logits.grad.isfinite().all()
        if name not in ("softmax1", "attention_sink", "sigmoid", "qr") and logits.detach().std() == 0:
            assert torch.allclose(weights, torch.full_like(weights, 0.2), atol=1e-6)


@pytest.mark.parametrize("name", ZOO)
def test_gradients(name):
    logits = logits_of(3, (1, 2, 4, 4), 2.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: weights_of(name, x), logits)
    if name in LEARNED:
        learned = torch.tensor([[[0.7]], [[1.3]]], dtype=torch.float64, requires_grad=True)
        scale = torch.tensor(SCALE, dtype=torch.float64)
        assert torch.autograd.gradcheck(lambda a: NORMALISERS[name](logits.detach(), scale, learned=a), learned)


# --- definitions -----------------------------------------------------------------------------------------------------


def exps(row, factor=1.0):
    return [math.exp(factor * SCALE * value) for value in row]


DEFINITIONS = {  # of a row of unscaled logits and the head's learned number
    "softmax1": lambda row, a: [e / (1 + sum(exps(row))) for e in exps(row)],
    "attention_sink": lambda row, a: [e / (math.exp(a) + sum(exps(row))) for e in exps(row)],
    "scalable_softmax": lambda row, a: [
        len(row) ** (a * SCALE * z) / sum(len(row) ** (a * SCALE * other) for other in row) for z in row
    ],
    "learnable_temperature": lambda row, a: [e / sum(exps(row, a)) for e in exps(row, a)],
    "qk_norm": lambda row, a: [e / sum(exps(row, a)) for e in exps(row, a)],
    "sigmoid": lambda row, a: [1 / (1 + len(row) * math.exp(-SCALE * z)) for z in row],
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_closed_forms(name):
    logits, learned = logits_of(1, (2, 3, 4, 7)), [0.5, -0.3, 1.7]
    weights = weights_of(name, logits, learned=learned)
    for head, a in enumerate(learned):
        for row, got in zip(logits[:, head].reshape(-1, 7).tolist(), weights[:, head].reshape(-1, 7).tolist(),
                            strict=True):  # fmt: skip
            assert got == pytest.approx(DEFINITIONS[name](row, a), abs=1e-12)


def test_a_sink_starts_as_softmax1_and_a_temperature_as_softmax():
    logits = logits_of(2)
    assert torch.equal(weights_of("attention_sink", logits), weights_of("softmax1", logits))
    assert torch.allclose(weights_of("learnable_temperature", logits), torch.softmax(SCALE * logits, -1))
    hot = weights_of("learnable_temperature", logits, learned=[math.log(5)] * 3)
    assert torch.allclose(weights_of("scalable_softmax", logits), hot)  # one length: another start of the same


@FACTS
@given(seed=st.integers(0, 10_000), keys=st.integers(1, 9), size=SIZES)
def test_sparsemax_is_the_nearest_point_of_the_simplex(seed, keys, size):
    """Its optimality conditions: z_j - p_j is one number t where p_j > 0, and z_j <= t elsewhere."""
    logits = logits_of(seed, (1, 1, 4, keys), size)
    p = weights_of("sparsemax", logits)
    gap, support = SCALE * logits - p, p > 0
    t = gap.where(support, -math.inf).amax(-1, keepdim=True)
    slack = 1e-9 * max(1.0, size)
    assert (gap.where(support, t) - t).abs().max() < slack
    assert (SCALE * logits <= t + slack).where(~support, True).all()


@FACTS
@given(seed=st.integers(0, 10_000), keys=st.integers(1, 9), size=st.sampled_from([0.0, 0.3, 1.0, 4.0, 100.0]))
def test_entmax_is_found_by_bisection_too(seed, keys, size):
    half = SCALE * logits_of(seed, (1, 1, 4, keys), size) / 2
    low, high = half.amax(-1, keepdim=True) - 1, half.amax(-1, keepdim=True)
    for _ in range(80):  # the sum falls as the threshold rises
        middle = (low + high) / 2
        too_much = (half - middle).clamp_min(0).square().sum(-1, keepdim=True) > 1
        low, high = middle.where(too_much, low), high.where(too_much, middle)
    expected = (half - low).clamp_min(0).square()
    assert torch.allclose(weights_of("entmax15", logits_of(seed, (1, 1, 4, keys), size)), expected, atol=1e-7)


def test_sparse_weights_are_sparse_and_lie_on_either_side():
    """On a row of moderate logits softmax has no zeros, entmax some, sparsemax more."""
    logits = logits_of(5, (1, 1, 50, 20), size=3 / SCALE)
    zeros = {name: int((weights_of(name, logits) == 0).sum()) for name in ("sparsemax", "entmax15")}
    assert 0 < zeros["entmax15"] < zeros["sparsemax"] < 1000


def test_sinkhorn_normalises_rows_and_almost_columns():
    weights = weights_of("sinkhorn", logits_of(6, size=2.0))
    ones = torch.ones(2, 3, 5, dtype=torch.float64)
    assert torch.allclose(weights.sum(-1), ones, atol=1e-12)
    assert torch.allclose(weights.sum(-2), ones, atol=0.1) and not torch.allclose(weights.sum(-2), ones, atol=1e-12)


def test_more_sinkhorn_steps_are_doubly_stochastic_and_one_is_softmax(monkeypatch):
    """And the limit is diag(u) exp(z) diag(v): log w - z is a sum of a row's number and a column's."""
    logits, ones = logits_of(7, size=2.0), torch.ones(2, 3, 5, dtype=torch.float64)
    monkeypatch.setattr(zoo, "SINKHORN_STEPS", 1)
    assert torch.allclose(weights_of("sinkhorn", logits), torch.softmax(SCALE * logits, -1))
    monkeypatch.setattr(zoo, "SINKHORN_STEPS", 501)
    weights = weights_of("sinkhorn", logits)
    assert torch.allclose(weights.sum(-1), ones, atol=1e-9) and torch.allclose(weights.sum(-2), ones, atol=1e-9)
    rest = weights.log() - SCALE * logits
    rest = rest - rest[..., :1] - rest[..., :1, :] + rest[..., :1, :1]
    assert rest.abs().max() < 1e-9


@FACTS
@given(seed=st.integers(0, 10_000), keys=st.integers(1, 9), size=SIZES)
def test_qr_is_doubly_stochastic_and_does_not_know_the_scale(seed, keys, size):
    logits = logits_of(seed, (2, 1, keys, keys), size)
    weights, ones = weights_of("qr", logits), torch.ones(2, 1, keys, dtype=torch.float64)
    assert torch.allclose(weights.sum(-1), ones, atol=1e-9) and torch.allclose(weights.sum(-2), ones, atol=1e-9)
    assert torch.equal(weights, weights_of("qr", logits, scale=17.0))


def test_qr_is_gram_and_schmidts():
    """Column by column: what is left of it after the earlier ones, at unit length, squared."""
    logits = logits_of(8, (1, 1, 5, 5))
    basis = []
    for column in logits[0, 0].T:
        left = column - sum(((b @ column) * b for b in basis), torch.zeros(5, dtype=torch.float64))
        basis.append(left / left.norm())
    assert torch.allclose(weights_of("qr", logits)[0, 0], torch.stack(basis, dim=1).square(), atol=1e-5)


# --- masks, symmetry -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROWS)
@FACTS
@given(seed=st.integers(0, 10_000), size=st.sampled_from([0.0, 1.0, 4.0, 1e4]))
def test_a_mask_gives_what_the_visible_keys_alone_give(name, seed, size):
    """Row by row, causal here; hidden keys have a weight of exactly 0, and get no gradient."""
    logits = logits_of(seed, (2, 3, 6, 6), size).requires_grad_()
    weights = weights_of(name, logits, torch.ones(6, 6, dtype=torch.bool).tril())
    for row in range(6):
        expected = weights_of(name, logits[:, :, row : row + 1, : row + 1])
        assert torch.allclose(weights[:, :, row : row + 1, : row + 1], expected, rtol=1e-9, atol=1e-12)
    assert (weights.triu(1) == 0).all()
    weights.square().sum().backward()
    assert (logits.grad.triu(1) == 0).all() and logits.grad.isfinite().all()


@pytest.mark.parametrize("name", SQUARE)
def test_what_looks_at_all_rows_refuses_masks_and_some_of_the_queries(name):
    with pytest.raises(ValueError, match=f"{name} .* knows no masks.*allowed is visible=None.*'softmax'"):
        weights_of(name, logits_of(0), torch.ones(5, 5, dtype=torch.bool).tril())
    with pytest.raises(ValueError, match=f"{name} .* got 3 queries and 5 keys; allowed are 5 and 5.*'softmax'"):
        weights_of(name, logits_of(0, (1, 1, 3, 5)))


@pytest.mark.parametrize("name", [name for name in ZOO if name != "qr"])
def test_the_order_of_keys_and_queries_does_not_matter(name):
    logits, keys, queries = logits_of(9), torch.tensor([3, 1, 4, 0, 2]), torch.tensor([1, 0, 2, 4, 3])
    moved = weights_of(name, logits[..., queries, :][..., keys])
    assert torch.allclose(moved, weights_of(name, logits)[..., queries, :][..., keys], atol=1e-12)


def test_for_qr_that_of_the_keys_does():
    logits, order = logits_of(9), torch.tensor([3, 1, 4, 0, 2])
    weights = weights_of("qr", logits)
    assert torch.allclose(weights_of("qr", logits[..., order, :]), weights[..., order, :], atol=1e-5)
    assert not torch.allclose(weights_of("qr", logits[..., order]), weights[..., order], atol=0.1)


@pytest.mark.parametrize("name", ZOO)
def test_row_wise_is_known_of_those_that_are(name):
    """Changing one row of logits leaves the other rows of a row-wise one alone, and not those of the others."""
    logits = logits_of(10)
    other = logits.clone()
    other[..., 0, :] += torch.linspace(0, 3, 5, dtype=torch.float64)
    same = torch.equal(weights_of(name, logits)[..., 1:, :], weights_of(name, other)[..., 1:, :])
    assert same == AttentionWeights(name, 1.0).row_wise


# --- inside a layer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LEARNED)
def test_a_learned_number_is_a_parameter_per_head_that_is_kept_and_trained(name):
    module = MultiHeadAttention(12, 3, name)
    assert module.weights.learned.tolist() == [LEARNED[name]] * 3
    module(torch.randn(2, 5, 12)).square().sum().backward()
    assert (module.weights.learned.grad != 0).all()
    module.weights.learned.data.copy_(torch.tensor([1.0, 2.0, 3.0]))
    other = MultiHeadAttention(12, 3, name)
    other.load_state_dict(module.state_dict())
    assert other.weights.learned.tolist() == [1, 2, 3]


def test_the_others_have_no_parameters_of_their_own():
    for name in NORMALISERS.keys() - LEARNED.keys():
        assert AttentionWeights(name, 1.0).learned is None and not list(AttentionWeights(name, 1.0).parameters())


def test_qk_norm_bounds_logits_whatever_the_weights_are():
    """Weights that are a thousand times as large change nothing, and the scaled logits stay within sqrt(D)."""
    torch.manual_seed(0)
    module, x, seen = MultiHeadAttention(12, 3, "qk_norm"), torch.randn(2, 5, 12), []
    module.weights.register_forward_pre_hook(lambda _, given: seen.append(given[0] * module.weights.scale))
    before = module(x)
    q, k, _ = (part.view(2, 5, 3, 4).transpose(1, 2) for part in module.qkv(x).chunk(3, -1))
    cosine = torch.nn.functional.cosine_similarity(q[..., :, None, :], k[..., None, :, :], dim=-1)
    assert torch.allclose(seen[0], 2 * cosine, atol=1e-4)
    with torch.no_grad():
        module.split_weight(module.qkv.weight)[:2] *= 1000
    assert torch.allclose(module(x), before, atol=1e-4) and seen[1].abs().max() <= 4**0.5 + 1e-6
    assert zoo.unit_rms(torch.zeros(3, 4)).tolist() == torch.zeros(3, 4).tolist()


@pytest.mark.parametrize("name", ZOO)
def test_bfloat16_is_close(name):
    """Under autocast, as trainings on a GPU have it: finite gradients, and about the same output."""
    torch.manual_seed(0)
    module, x = MultiHeadAttention(16, 2, name), torch.randn(4, 5, 16)
    out = with_precision(module, "bfloat16")(x)
    out.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())
    if name != "qr":  # whose logits, rounded to 8 bits, are other logits
        assert torch.allclose(out, module(x), atol=0.05)
