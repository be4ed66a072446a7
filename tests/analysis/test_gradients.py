"""Gradient sizes are those of finite differences, and a diagnosis leaves no trace in the model."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from eureka_lib.analysis.gradients import diagnose, plateau_steps
from eureka_lib.analysis.record import normalised_entropy, record_blocks
from eureka_lib.models.vit import ViT, ViTConfig

SMOOTHING, H = 0.1, 1e-5
INDICATORS = torch.tensor([[True, False, False, True]])
CELLS = {"indicators": INDICATORS.expand(2, 4), "targets": ~INDICATORS.expand(2, 4)}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ViT(ViTConfig(patch=2, depth=2, width=4, heads=2, weight_std=0.5, stochastic_depth=0.5), 4, 3).double()


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.tensor([0, 2])


def loss(model, batch, reduction="mean"):
    with torch.no_grad():
        return cross_entropy(model(batch[0]), batch[1], label_smoothing=SMOOTHING, reduction=reduction)


def test_weight_gradients_are_those_of_finite_differences(model, batch):
    found = diagnose(model, *batch, CELLS, SMOOTHING).weights
    model.eval()
    for layer, attention in enumerate(model.attention_layers()):
        weight, slopes = attention.qkv.weight, []
        for place in torch.cartesian_prod(torch.arange(12), torch.arange(4)).unbind():
            losses = []
            for step in (H, -2 * H, H):  # the last one restores the weight
                with torch.no_grad():
                    weight[tuple(place)] += step
                losses.append(float(loss(model, batch)))
            slopes.append(abs(losses[0] - losses[1]) / (2 * H))
        expected = torch.tensor(slopes).view(3, -1).mean(dim=1)
        assert found[layer].tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_feature_gradients_are_those_of_finite_differences(model, batch):
    """Of each sample's own loss, so twice those of the mean over the two."""
    found = diagnose(model, *batch, CELLS, SMOOTHING)
    model.eval()
    qkv, tokens = model.blocks[0].attention.qkv, {"CLS": [0], "indicators": [1, 4], "targets": [2, 3]}

    def slope(sample, token, feature):
        losses = []
        for step in (H, -H):
            nudge = torch.zeros(2, 5, 12, dtype=torch.float64)
            nudge[sample, token, feature] = step
            handle = qkv.register_forward_hook(lambda module, given, output, nudge=nudge: output + nudge)
            losses.append(loss(model, batch, "none")[sample])
            handle.remove()
        return float((losses[0] - losses[1]).abs() / (2 * H))

    for place, members in tokens.items():
        for part in range(3):
            slopes = [slope(i, t, 4 * part + f) for i in range(2) for t in members for f in range(4)]
            expected = sum(slopes) / len(slopes)
            assert float(found.features[place][0, part]) == pytest.approx(expected, rel=1e-4, abs=1e-12)


def test_in_the_last_layer_only_cls_asks(model, batch):
    found = diagnose(model, *batch, CELLS, SMOOTHING)
    assert found.features["indicators"][-1, 0] == found.features["targets"][-1, 0] == 0 < found.features["CLS"][-1, 0]
    assert (found.features["indicators"][-1, 1:] > 0).all()


def test_without_cls_all_tokens_ask_in_the_last_layer(batch):
    torch.manual_seed(0)
    config = ViTConfig(patch=1, patch_width=2, depth=2, width=4, heads=2, weight_std=0.5, pooling="mean")
    found = diagnose(ViT(config, 4, 3).double(), *batch, CELLS, SMOOTHING)
    assert set(found.features) == {"indicators", "targets"}
    assert all((sizes[-1] > 0).all() for sizes in found.features.values())


def test_entropy_is_that_of_the_attention(model, batch):
    expected = [float(normalised_entropy(layer.attention).mean()) for layer in record_blocks(model.eval(), batch[0])]
    assert diagnose(model, *batch, CELLS, SMOOTHING).entropy.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("training", [True, False])
def test_it_leaves_no_trace(model, batch, training):
    model.train(training)
    model.head.weight.grad = torch.ones_like(model.head.weight)
    state, weights = torch.get_rng_state(), [p.clone() for p in model.parameters()]
    diagnose(model, *batch, CELLS, SMOOTHING)
    assert torch.equal(torch.get_rng_state(), state) and model.training is training
    assert all(torch.equal(p, before) for p, before in zip(model.parameters(), weights, strict=True))
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert list(gradients) == ["head.weight"] and (gradients["head.weight"] == 1).all()
    assert not any(module._forward_hooks for module in model.modules())


def test_plateau_steps():
    steps = [0, 10, 20, 30, 40, 50, 60, 70, 80]
    jumps = [0.55, 0.30, 0.55, 0.52, 0.60, 0.55, 0.80, 0.90, 0.90]
    assert plateau_steps(steps, jumps) == [20, 30, 50]
    assert plateau_steps(steps, [0.1] + [0.55] * 8) == steps[1:]  # no EM: to the end
    assert plateau_steps(steps, [0.1] + [0.9] * 5 + [0.55] * 3) == []  # what follows an EM is no plateau
