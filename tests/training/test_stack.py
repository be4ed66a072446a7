"""A stack gives each member its own outputs and its own gradients."""

import pytest
import torch

from eureka_lib.models.attention import FUSED, NORMALISERS
from eureka_lib.models.vit import ViT, ViTConfig
from eureka_lib.training.stack import Stack


def members(attention="softmax", n=3, patch=8):
    torch.manual_seed(0)
    config = ViTConfig(patch=patch, depth=2, width=16, heads=2, stochastic_depth=0.0, attention=attention)
    return [ViT(config, 16, 10).double() for _ in range(n)]


@pytest.mark.parametrize(
    ("attention", "patch"),
    [(name, 8) for name in NORMALISERS]  # 5 tokens
    + [(name, 2) for name, normaliser in NORMALISERS.items() if normaliser in FUSED],  # 65, where fusing pays alone
)
def test_outputs_and_gradients_are_those_of_each_model_alone(attention, patch):
    models = members(attention, patch=patch)
    for factor, model in enumerate(models, start=1):
        for layer in model.attention_layers():
            layer.weights.scale.mul_(factor)  # each its own temperature
            if layer.weights.learned is not None:
                layer.weights.learned.data.add_(factor)  # and its own learned numbers
    images = [torch.randn(4, 3, 16, 16, dtype=torch.float64) for _ in models]
    together = Stack(models[0])(models, images)
    alone = [model(given) for model, given in zip(models, images, strict=True)]
    assert together.shape == (3, 4, 10) and torch.allclose(together, torch.stack(alone), atol=1e-12)
    together.square().sum().backward()
    gradients = [{name: p.grad.clone() for name, p in model.named_parameters()} for model in models]
    for model, output, expected in zip(models, alone, gradients, strict=True):
        model.zero_grad()
        output.square().sum().backward()
        for name, parameter in model.named_parameters():
            assert torch.allclose(parameter.grad, expected[name], atol=1e-12), name


def test_pooled_vision_transformers_are_stacked_too():
    torch.manual_seed(0)
    config = ViTConfig(patch=4, patch_width=8, pooling="mean", depth=1, width=16, heads=2, attention="qr")
    models = [ViT(config, 16, 10).double() for _ in range(2)]
    images = torch.randn(2, 4, 3, 16, 16, dtype=torch.float64)
    alone = torch.stack([model(given) for model, given in zip(models, images, strict=True)])
    assert torch.allclose(Stack(models[0])(models, images), alone, atol=1e-10)


def test_one_model_goes_its_own_way_bit_for_bit():
    (model,) = members(n=1)
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    assert torch.equal(Stack(model)([model], [images])[0], model(images))
