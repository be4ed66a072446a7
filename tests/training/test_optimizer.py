"""What is decayed and what is not; another rate for some weights; what the size of a gradient does."""

import pytest
import torch

from eureka_lib.attention.registry import METHODS
from eureka_lib.models.resnet import ResNet9, ResNetConfig
from eureka_lib.models.vit import ViT, ViTConfig
from eureka_lib.training.optimizer import OPTIMIZERS, build, scale_rate


def names_of(model, group):
    members = {id(p) for p in group["params"]}
    return {name for name, p in model.named_parameters() if id(p) in members}


def test_biases_norms_positions_and_cls_are_not_decayed():
    for model in (ViT(ViTConfig(patch=8, depth=1, width=8, heads=2), 16, 10), ResNet9(ResNetConfig(base_width=2), 10)):
        decayed, free = build("adamw", model, 1e-3, 0.05).param_groups
        assert decayed["weight_decay"] == 0.05 and free["weight_decay"] == 0
        expected = {n for n, p in model.named_parameters() if p.ndim == 1 or n in ("cls", "position")}
        assert names_of(model, free) == expected and expected
        assert names_of(model, decayed) == {n for n, _ in model.named_parameters()} - expected


def test_decay_is_decoupled():
    """With zero gradients one step shrinks a decayed weight by lr * decay and leaves the others."""
    torch.manual_seed(0)
    model = ViT(ViTConfig(patch=8, depth=1, width=8, heads=2), 16, 10)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    build("adamw", model, learning_rate=0.1, weight_decay=0.5).step()
    after = dict(model.named_parameters())
    assert torch.allclose(after["head.weight"], 0.95 * before["head.weight"])
    assert torch.equal(after["position"], before["position"])


def test_a_learned_number_per_head_is_not_decayed():
    for attention in (name for name, method in METHODS.items() if method.learned is not None):
        model = ViT(ViTConfig(patch=8, depth=1, width=8, heads=2, attention=attention), 16, 10)
        free = build("adamw", model, 1e-3, 0.05).param_groups[1]
        assert "blocks.0.attention.weights.learned" in names_of(model, free)


def stepped(name, rate, factor=None, size=1.0):
    """A ViT after three steps with gradients of the given size, all weights at ``rate``, or W_Q and W_K at another."""
    torch.manual_seed(0)
    model = ViT(ViTConfig(patch=8, depth=2, width=8, heads=2), 16, 10).double()
    optimizer = build(name, model, rate, weight_decay=0.5)
    if factor is not None:
        scale_rate(optimizer, model.query_key_weights(), factor)
    for step in range(3):
        for index, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(100 * step + index)
            parameter.grad = size * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        optimizer.step()
    return model


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rate_of_their_own_for_queries_and_keys_is_just_that(name):
    """Decay and momentum included: W_Q and W_K as at twelve times the rate, all other weights as without it."""
    usual, fast, mixed = stepped(name, 1e-3), stepped(name, 12e-3), stepped(name, 1e-3, factor=12)
    every = zip(mixed.named_parameters(), usual.parameters(), fast.parameters(), strict=True)
    for (where, found), slow, quick in every:
        if where.endswith("qkv.weight"):
            assert torch.allclose(found[:16], quick[:16], atol=1e-12) and not torch.allclose(found[:16], slow[:16])
            assert torch.equal(found[16:], slow[16:])
        else:
            assert torch.equal(found, slow), where


def test_the_size_of_a_gradient_counts_under_sgd_alone():
    weights = {(name, size): stepped(name, 1e-3, size=size).head.bias for name in OPTIMIZERS for size in (1, 100)}
    assert torch.allclose(weights["adamw", 1], weights["adamw", 100], atol=1e-6)
    assert torch.allclose(100 * weights["sgd", 1], weights["sgd", 100], atol=1e-9)
