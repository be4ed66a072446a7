"""What is decayed and what is not."""

import torch

from eureka_lib.models.attention import LEARNED
from eureka_lib.models.resnet import ResNet9, ResNetConfig
from eureka_lib.models.vit import ViT, ViTConfig
from eureka_lib.training.optimizer import adamw


def names_of(model, group):
    members = {id(p) for p in group["params"]}
    return {name for name, p in model.named_parameters() if id(p) in members}


def test_biases_norms_positions_and_cls_are_not_decayed():
    for model in (ViT(ViTConfig(patch=8, depth=1, width=8, heads=2), 16, 10), ResNet9(ResNetConfig(base_width=2), 10)):
        decayed, free = adamw(model, 1e-3, 0.05).param_groups
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
    adamw(model, learning_rate=0.1, weight_decay=0.5).step()
    after = dict(model.named_parameters())
    assert torch.allclose(after["head.weight"], 0.95 * before["head.weight"])
    assert torch.equal(after["position"], before["position"])


def test_a_learned_number_per_head_is_not_decayed():
    for attention in LEARNED:
        model = ViT(ViTConfig(patch=8, depth=1, width=8, heads=2, attention=attention), 16, 10)
        free = adamw(model, 1e-3, 0.05).param_groups[1]
        assert "blocks.0.attention.weights.learned" in names_of(model, free)
