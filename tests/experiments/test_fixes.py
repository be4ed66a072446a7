"""The fixes inside a training: the scale follows its schedule, gradients are scaled, and watching changes nothing."""

import pandas as pd
import pytest
import torch

from eureka_lib.attention.heat import heat
from eureka_lib.attention.registry import METHODS, changes_of
from eureka_lib.experiments import profiles
from eureka_lib.experiments.experiment import FixConfig
from eureka_lib.experiments.run import run
from eureka_lib.experiments.treatment import AttentionMeasure, Treatment
from eureka_lib.models.vit import ViT


@pytest.fixture
def model(tiny):
    return tiny.build_model(tiny.build_task())


def scales(model):
    return [layer.weights.scale.item() for layer in model.attention_layers()]


def test_the_scale_follows_the_schedule_in_every_layer(tiny, model):
    usual = scales(model)[0]
    treatment = Treatment(model, tiny.vary(**changes_of("heat_treatment")).fix, tiny.training.steps)
    assert scales(model) == pytest.approx([24 * usual] * len(scales(model)))
    for step in range(tiny.training.steps):
        treatment.set_scale(step)
        expected = usual * heat(step, tiny.training.steps, 24.0, "half_cosine")
        assert scales(model) == pytest.approx([expected] * len(scales(model)))
    assert scales(model)[0] == pytest.approx(usual)


def test_a_constant_schedule_is_a_fixed_temperature(tiny, model):
    usual = scales(model)[0]
    treatment = Treatment(model, tiny.vary(scale_start=4.0).fix, tiny.training.steps)
    for step in (0, 5, 11):
        treatment.set_scale(step)
        assert scales(model)[0] == pytest.approx(4 * usual)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", ["linear", "cosine", "half_cosine", "constant"])
def test_tiny_and_odd_lengths_train(tiny, store, steps, shape):
    short = tiny.vary(steps=steps, evaluate_every=1, scale_schedule=shape, scale_start=24.0)
    assert run(short, store).history["step"].iloc[-1] == steps


def backward(tiny, model):
    batch = tiny.build_task().sample(torch.Generator().manual_seed(0), 32)
    torch.nn.functional.cross_entropy(model(batch.images), batch.labels).backward()


@pytest.mark.parametrize("name", ["to_block_mean", "to_value_mean", "to_value_mean_per_head"])
def test_gradient_scaling_acts_on_the_layers_weights(tiny, model, name):
    backward(tiny, model)
    before = [layer.qkv.weight.grad.clone() for layer in model.attention_layers()]
    Treatment(model, tiny.vary(gradient_scaling=name).fix, tiny.training.steps).scale_gradients()
    for layer, old in zip(model.attention_layers(), before, strict=True):
        q, k, v = layer.split_weight(layer.qkv.weight.grad).abs().mean(dim=(1, 2, 3)).tolist()
        assert not torch.equal(layer.qkv.weight.grad, old)
        if name != "to_value_mean_per_head":
            assert q == pytest.approx(v, rel=1e-4) and k == pytest.approx(v, rel=1e-4)


def test_qkv_is_split_as_the_forward_pass_does(tiny, model):
    """W_Q of head 1, taken from split_weight, gives that head's queries."""
    layer = model.attention_layers()[0]
    x = torch.randn(2, 5, tiny.model.width)
    q, _, v = layer.split_features(layer.qkv(x))
    w = layer.split_weight(layer.qkv.weight)
    assert torch.allclose(x @ w[0, 1].T, q[:, 1], atol=1e-5)
    assert torch.allclose(x @ w[2, 0].T, v[:, 0], atol=1e-5)


def test_what_is_measured_is_in_the_history(tiny, store):
    history = run(tiny, store).history
    assert history["attention_entropy"].between(0, 1).all()
    assert history["gradient_v"].isna().tolist() == [True, False, False, False]  # none before the first step
    assert (history[["gradient_q", "gradient_k", "gradient_v"]].iloc[1:] > 0).all().all()
    assert "attention_entropy" not in run(profiles.get("smoke").resnet.vary(steps=4), store).history


def test_measuring_changes_nothing(tiny, store, tmp_path, monkeypatch):
    from eureka_lib.store import RunStore

    watched = run(tiny, store)
    monkeypatch.setattr(AttentionMeasure, "row", lambda self, images: {})
    alone = run(tiny, RunStore(tmp_path / "alone"))
    pd.testing.assert_frame_equal(watched.history[alone.history.columns], alone.history, check_exact=True)


def test_softmax_with_a_do_nothing_fix_is_softmax(tiny):
    assert tiny.vary(scale_start=1.0, scale_schedule="constant", gradient_scaling="none") == tiny


def test_every_method_builds_and_steps(tiny, store):
    for name in METHODS:
        history = run(tiny.vary(steps=2, evaluate_every=1, **changes_of(name)), store).history
        assert history["test_loss"].notna().all(), name


def test_bad_fixes_are_named(tiny):
    with pytest.raises(ValueError, match="unknown scale_schedule 'cosin'.*did you mean 'cosine'"):
        tiny.vary(scale_schedule="cosin")
    with pytest.raises(ValueError, match="unknown gradient_scaling 'value'.*to_value_mean"):
        tiny.vary(gradient_scaling="value")
    with pytest.raises(ValueError, match="scale_start must be in"):
        tiny.vary(scale_start=0.0)
    with pytest.raises(ValueError, match="resnet9 has none"):
        profiles.get("smoke").resnet.vary(scale_start=2.0)
    assert FixConfig().gradient_scaling == "none" and isinstance(tiny.build_model(tiny.build_task()), ViT)
