"""Looking into a network from outside changes nothing; entropy is its definition."""

import math

import pytest
import torch

from eureka_lib.analysis.record import normalised_entropy, record
from eureka_lib.models.vit import ViT, ViTConfig


def test_record_gives_the_attention_of_every_layer_and_leaves_no_hook():
    torch.manual_seed(0)
    model, images = ViT(ViTConfig(patch=8, depth=2, width=16, heads=2), 16, 10).eval(), torch.randn(3, 3, 16, 16)
    expected = model(images)
    with record({f"layer {i}": layer.weights for i, layer in enumerate(model.attention_layers())}) as trace:
        assert torch.equal(model(images), expected)
    assert set(trace) == {"layer 0", "layer 1"}
    for weights in trace.values():
        assert weights.shape == (3, 2, 5, 5) and torch.allclose(weights.sum(-1), torch.ones(3, 2, 5))
    before = {name: weights.clone() for name, weights in trace.items()}
    model(torch.zeros_like(images))
    assert all(torch.equal(trace[name], before[name]) for name in before)


def test_entropy():
    rows = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
    assert normalised_entropy(rows).tolist() == pytest.approx([1.0, 0.0, math.log(2) / math.log(4)])
    assert normalised_entropy(torch.ones(2, 1)).tolist() == [0.0, 0.0]
