"""The GPT-2 for in-context regression: causal, at its own temperature, and buildable only where transformers is."""

import pytest
import torch

from eureka_lib.attention.registry import METHODS, Method
from eureka_lib.models.gpt2 import InContextGPT2, InContextGPT2Config

pytest.importorskip("transformers")
D, P = 3, 6
SMALL = {"depth": 2, "width": 16, "heads": 2}


def build(seed=0, **changes):
    torch.manual_seed(seed)
    return InContextGPT2(InContextGPT2Config(**{**SMALL, **changes}), D, P).eval()


@pytest.fixture
def tokens():
    return torch.randn(5, 2 * P, D, generator=torch.Generator().manual_seed(0))


def sharpen(model):
    """Initial weights are so small that attention is even: make it say something."""
    with torch.no_grad():
        for block in model.body.h:
            block.attn.c_attn.weight.mul_(30)
    return model


@pytest.mark.parametrize("attention", ["softmax", "norm_softmax", "norm_softmax_var"])
def test_a_prediction_sees_what_comes_before_it_and_nothing_else(tokens, attention):
    model = sharpen(build(attention=attention))
    before = model(tokens)
    assert before.shape == (5, P)
    for i in range(P):
        later, earlier = tokens.clone(), tokens.clone()
        later[:, 2 * i + 1 :] += 3  # the answer at i, and all pairs after it
        assert torch.allclose(model(later)[:, : i + 1], before[:, : i + 1], atol=1e-6)
        earlier[:, 2 * i] += 3  # the question itself
        assert (model(earlier)[:, i] - before[:, i]).abs().min() > 1e-4
        if i:
            earlier = tokens.clone()
            earlier[:, 2 * i - 1] += 3  # the last answer before it
            assert (model(earlier)[:, i] - before[:, i]).abs().min() > 1e-6


def test_the_attention_is_the_one_that_was_asked_for(tokens):
    softmax, norm = sharpen(build()), sharpen(build(attention="norm_softmax"))
    assert softmax.body.config._attn_implementation == "scaled_softmax"
    assert norm.body.config._attn_implementation == "norm_softmax"
    assert all(torch.equal(a, b) for a, b in zip(softmax.parameters(), norm.parameters(), strict=True))
    assert (softmax(tokens) - norm(tokens)).abs().max() > 1e-3


def test_plain_softmax_is_gpt2s_own(tokens):
    model = sharpen(build())
    ours = model(tokens)
    model.body.set_attn_implementation("eager")
    assert torch.allclose(model(tokens), ours, atol=1e-5)


def test_every_parameter_is_trained_and_none_is_random_in_training(tokens):
    model = build().train()
    assert torch.equal(model(tokens), model(tokens))
    model(tokens).square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.no_weight_decay() <= {name for name, _ in model.named_parameters()}


def test_an_attention_of_ones_own(tokens, monkeypatch):
    def even(logits, scale, visible=None):
        weights = torch.ones_like(logits) if visible is None else visible.expand_as(logits).float()
        return weights / weights.sum(dim=-1, keepdim=True)

    monkeypatch.setitem(METHODS, "even_for_a_test", Method(even))
    model, softmax = build(attention="even_for_a_test"), build()
    softmax.set_scale_factor(1e-6)  # so hot that all weights are equal
    assert torch.allclose(model(tokens), softmax(tokens), atol=1e-5)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="heads 3 does not divide width 16"):
        InContextGPT2Config(width=16, heads=3)
    with pytest.raises(ValueError, match="unknown attention 'sofmax'.*did you mean 'softmax'"):
        InContextGPT2Config(attention="sofmax")
