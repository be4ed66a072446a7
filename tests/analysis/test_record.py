"""Looking into a network from outside changes nothing; entropy is its definition."""

import math

import pytest
import torch

from eureka_lib.analysis.record import normalised_entropy, record, record_blocks
from eureka_lib.models.vit import ViT, ViTConfig


def test_record_gives_the_attention_of_every_layer_and_leaves_no_hook():
    torch.manual_seed(0)
    model, images = ViT(ViTConfig(patch=8, depth=2, width=16, heads=2), 16, 10).eval(), torch.randn(3, 3, 16, 16)
    expected = model(images)
    with record({f"layer {i}": layer.weights for i, layer in enumerate(model.attention_layers())}) as trace:
        assert torch.allclose(model(images), expected, atol=1e-6)  # the last block computes CLS alone if not watched
    assert torch.equal(model(images), expected)
    assert set(trace) == {"layer 0", "layer 1"}
    for weights in trace.values():
        assert weights.shape == (3, 2, 5, 5) and torch.allclose(weights.sum(-1), torch.ones(3, 2, 5))
    before = {name: weights.clone() for name, weights in trace.items()}
    model(torch.zeros_like(images))
    assert all(torch.equal(trace[name], before[name]) for name in before)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ViT(ViTConfig(patch=8, depth=2, width=16, heads=2, scale=0.5), 16, 10).eval()


def test_gradients_are_those_of_backward(model):
    """A linear layer's weight gradient is the sum over tokens of output gradient times input."""
    layer = model.blocks[0].attention.qkv
    with record({"qkv": layer}, gradients=True) as out, record({"qkv": layer}, inputs=True) as given:
        model(torch.randn(3, 3, 16, 16)).square().sum().backward()
    assert out["qkv"].grad.shape == out["qkv"].shape == (3, 5, 48)
    assert torch.allclose(torch.einsum("bto,bti->oi", out["qkv"].grad, given["qkv"]), layer.weight.grad, atol=1e-6)


def test_record_blocks_finds_the_parts_that_make_up_attention(model):
    images = torch.randn(3, 3, 16, 16)
    layers = record_blocks(model, images)
    assert len(layers) == 2
    for block, layer in zip(model.blocks, layers, strict=True):
        assert layer.q.shape == layer.k.shape == layer.v.shape == layer.heads.shape == (3, 2, 5, 8)
        weights = torch.softmax(0.5 * layer.q @ layer.k.transpose(-2, -1), dim=-1)
        assert torch.allclose(layer.attention, weights, atol=1e-6)
        assert torch.allclose(layer.heads, weights @ layer.v, atol=1e-6)
        mixed = block.attention.out(layer.heads.transpose(1, 2).reshape(3, 5, 16))
        assert layer.output.shape == mixed.shape and not layer.output.requires_grad
    assert torch.allclose(model.head(model.norm(layers[-1].output)[:, 0]), model(images), atol=1e-6)


def test_entropy():
    rows = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
    assert normalised_entropy(rows).tolist() == pytest.approx([1.0, 0.0, math.log(2) / math.log(4)])
    assert normalised_entropy(torch.ones(2, 1)).tolist() == [0.0, 0.0]
