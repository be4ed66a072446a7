"""One attention head: its gradients are autograd's, and its knobs mean what they say."""

from dataclasses import replace

import pytest
import torch

from eureka_lib.measure import heads
from eureka_lib.measure.heads import Setting, against_temperature, gradients_of, head_of


@pytest.fixture(scope="module")
def head():
    return heads.random_head(keys=5, seed=0)


def test_the_heads_logits_have_the_spread_asked_for(head):
    for factor in (0.1, 1.0, 7.0):
        sizes = heads.logits_of(heads.with_std(head, factor)).std(-1, correction=0)
        assert float(sizes.square().mean().sqrt()) == pytest.approx(factor)


def test_a_rows_gradients_are_those_of_autograd():
    head = heads.random_head(keys=3, seed=1, width=4, samples=3)
    sizes = []
    for sample in range(3):
        for row in range(3):
            matrices, x = head.matrices.clone().requires_grad_(), head.tokens[sample]
            q, k, v = (x @ matrix.T for matrix in matrices)
            said = torch.softmax(q @ k.T / 2, -1)[row] @ v  # s = 1/sqrt(4)
            (gradient,) = torch.autograd.grad(said @ head.upstream[sample, row], matrices)
            sizes.append(gradient.abs().mean(dim=(1, 2)))
    expected = torch.stack(sizes).median(dim=0).values
    assert heads.gradients_of(head).tolist() == pytest.approx(expected.tolist(), rel=1e-9)


def test_queries_and_keys_starve_at_both_ends_and_values_at_none(head):
    flat, between, sharp = (heads.gradients_of(heads.with_std(head, sigma)) for sigma in (0.01, 1.5, 50.0))
    assert (flat[:2] < 0.2 * between[:2]).all() and (sharp[:2] < 1e-3 * between[:2]).all()
    assert 1 / 4 < flat[2] / between[2] < 4 and 1 / 4 < sharp[2] / between[2] < 4


def test_queries_starve_where_values_or_keys_are_alike(head):
    tokens_alike = replace(head, tokens=head.tokens[:, :1].expand_as(head.tokens))
    values_alike = replace(head, matrices=head.matrices * torch.tensor([1.0, 1.0, 0.0])[:, None, None])
    for alike in (tokens_alike, values_alike):
        found = heads.gradients_of(alike)
        assert (found[:2] < 1e-12).all() and found[2] > 0.1


def test_similarity_is_the_cosine_of_two_keys():
    for similarity in (0.0, 0.5, 0.9):
        head = head_of(Setting(similarity=similarity, keys=8))
        keys = torch.nn.functional.normalize(head.tokens @ head.matrices[1].T, dim=-1)
        cosines = (keys @ keys.transpose(1, 2))[:, *torch.triu_indices(8, 8, 1)]
        assert float(cosines.mean()) == pytest.approx(similarity, abs=0.06)


def test_equal_keys_leave_queries_and_keys_nothing_and_values_everything():
    equal, usual = (gradients_of(head_of(Setting(100.0, similarity=rho))) for rho in (1.0, 0.0))
    assert (equal[:2] < 1e-12).all() and float(equal[2] / usual[2]) == pytest.approx(1, abs=0.02)


def test_under_even_attention_the_gradient_falls_as_one_over_the_temperature():
    table = against_temperature(head_of(Setting()))
    hottest = table.iloc[-1]
    assert hottest["W_Q"] == pytest.approx(hottest["even"], rel=0.02)
    assert (table["even"] * table["temperature"]).std() == pytest.approx(0, abs=1e-12)
    assert table["W_Q"].iloc[0] < 1e-6 * table["even"].iloc[0], "cold attention is stuck"


@pytest.mark.parametrize(("knob", "value", "words"), [
    ("temperature", 0.0, "temperature must be in [0.01, 100.0], got 0.0; the nearest valid value is 0.01"),
    ("similarity", 1.5, "similarity must be in [0, 1], got 1.5"),
    ("keys", 1, "keys must be a whole number >= 2, got 1"),
    ("keys", 65, "keys must be at most 64, got 65"),
])  # fmt: skip
def test_a_knob_beyond_its_end_is_refused(knob, value, words):
    with pytest.raises(ValueError) as caught:
        Setting(**{knob: value})
    assert words in str(caught.value)
