"""A stack gives each member its own outputs and its own gradients."""

import pytest
import torch

from eureka_lib.models.vit import ViT, ViTConfig
from eureka_lib.training.stack import Stack


def members(attention="softmax", n=3, patch=8):
    torch.manual_seed(0)
    config = ViTConfig(patch=patch, depth=2, width=16, heads=2, stochastic_depth=0.0, attention=attention)
    return [ViT(config, 16, 10).double() for _ in range(n)]


@pytest.mark.parametrize("patch", [8, 2])  # 5 tokens, and 65, where a model alone takes fused attention
@pytest.mark.parametrize("attention", ["softmax", "norm_softmax", "norm_softmax_var"])
def test_outputs_and_gradients_are_those_of_each_model_alone(attention, patch):
    models = members(attention, patch=patch)
    for factor, model in enumerate(models, start=1):
        for layer in model.attention_layers():
            layer.weights.scale.mul_(factor)  # each its own temperature
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


def test_one_model_goes_its_own_way_bit_for_bit():
    (model,) = members(n=1)
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    assert torch.equal(Stack(model)([model], [images])[0], model(images))
