"""The ViT: the paper's exact size, its initialisation, and patches in order."""

import pytest
import torch

from eureka_lib.attention.registry import METHODS, Method, changes_of
from eureka_lib.experiments import profiles
from eureka_lib.experiments.run import run
from eureka_lib.models.vit import StochasticDepth, ViT, ViTConfig, patchify


def test_paper_model_has_the_parameters_counted_by_hand():
    """Patch 4 on 56 x 56, depth 7, width 256 (4 heads of 64), MLP ratio 2, no qkv bias, 10 classes."""
    embed = 3 * 4 * 4 * 256 + 256
    cls_and_positions = 256 + (14 * 14 + 1) * 256
    attention = 256 * 3 * 256 + (256 * 256 + 256)  # qkv without bias, output projection with
    mlp = (256 * 512 + 512) + (512 * 256 + 256)
    block = 2 * 2 * 256 + attention + mlp  # two norms of weight and bias
    head = 2 * 256 + 256 * 10 + 10
    model = ViT(ViTConfig(), image_size=56, n_classes=10)
    assert sum(p.numel() for p in model.parameters()) == embed + cls_and_positions + 7 * block + head == 3_750_666
    assert model.blocks[0].attention.weights.scale.item() == 64**-0.5 == 0.125
    assert [block.drop.p for block in model.blocks] == pytest.approx([0.1 * i / 6 for i in range(7)])


def test_initialisation():
    torch.manual_seed(0)
    model = ViT(ViTConfig(depth=2, position_std=1.0), 56, 10)
    for weight in (model.blocks[1].attention.qkv.weight, model.blocks[0].mlp[0].weight, model.cls, model.head.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert model.position.std().item() == pytest.approx(0.88, rel=0.05)  # a normal cut at two standard deviations
    assert model.embed.weight.std().item() == pytest.approx((3 * 48) ** -0.5, rel=0.05)
    assert model.blocks[0].mlp[0].bias.abs().max() == 0


def test_patches_are_in_reading_order():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert patchify(image, 2, 2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_patch_embedding_is_a_convolution():
    torch.manual_seed(0)
    model, images = ViT(ViTConfig(patch=8, depth=1, width=16), 16, 10), torch.randn(2, 3, 16, 16)
    kernel = model.embed.weight.view(16, 3, 8, 8)
    expected = torch.nn.functional.conv2d(images, kernel, model.embed.bias, stride=8).flatten(2).transpose(1, 2)
    assert torch.allclose(model.embed(patchify(images, 8, 8)), expected, atol=1e-5)


def test_stochastic_depth_keeps_the_mean_and_is_off_in_evaluation():
    torch.manual_seed(0)
    drop, branch = StochasticDepth(0.25), torch.ones(40_000, 1, 1)
    dropped = drop(branch)
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(drop.eval()(branch), branch)


@pytest.mark.parametrize("attention", ["softmax", "norm_softmax", "norm_softmax_var"])
def test_every_parameter_gets_a_gradient(attention):
    torch.manual_seed(0)
    model = ViT(ViTConfig(patch=8, depth=2, width=16, heads=2, attention=attention), 16, 10)
    model(torch.randn(4, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("attention", ["softmax", "norm_softmax", "norm_softmax_var"])
def test_last_block_computes_cls_alone_with_the_same_result_and_gradients(attention):
    torch.manual_seed(0)
    model = ViT(ViTConfig(patch=4, depth=2, width=16, heads=2, stochastic_depth=0, attention=attention), 8, 10).double()
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    tokens, results = [], []
    model.norm.register_forward_pre_hook(lambda module, given: tokens.append(given[0].shape[1]))
    for watched in (False, True):
        if watched:  # then everything must exist
            model.blocks[-1].mlp.register_forward_hook(lambda *given: None)
        model.zero_grad()
        model(images).square().sum().backward()
        results.append([p.grad.clone() for p in model.parameters()])
    assert tokens == [1, 5]
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-14) for a, b in zip(*results, strict=True))


def test_attention_of_ones_own_always_sees_all_rows(monkeypatch):
    seen = []
    own = Method(lambda logits, scale: seen.append(logits.shape) or logits.softmax(-2))
    monkeypatch.setitem(METHODS, "own", own)
    ViT(ViTConfig(patch=4, depth=1, width=16, heads=2, attention="own"), 8, 10)(torch.randn(3, 3, 8, 8))
    assert seen == [(3, 2, 5, 5)]


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match="patch 5 does not divide image size 16.*the nearest is 4"):
        ViT(ViTConfig(patch=5), 16, 10)
    with pytest.raises(ValueError, match="heads 5 does not divide width 64.*the nearest is 4"):
        ViTConfig(width=64, heads=5)
    with pytest.raises(ValueError, match="unknown attention 'hard'"):
        ViTConfig(attention="hard")
    with pytest.raises(TypeError, match="depth must be a whole number"):
        ViTConfig(depth="3")


# --- The follow-up's: rectangular patches, no CLS, mean pooling -------------------------------------------------------

POOLED = {"pooling": "mean", "patch": 4, "patch_width": 8, "depth": 2, "width": 16, "heads": 2}


@pytest.fixture
def short():
    base = profiles.get("smoke").follow_up.base
    return base.vary(steps=8, evaluate_every=4, test_samples=50, batch_size=16)


def test_the_follow_ups_size_has_eight_tokens_and_the_parameters_counted_by_hand():
    model = ViT(ViTConfig(pooling="mean", patch=14, patch_width=28, depth=4), image_size=56, n_classes=10)
    assert model.position.shape == (1, 8, 256)
    embed = 3 * 14 * 28 * 256 + 256
    block = 2 * 2 * 256 + 256 * 3 * 256 + (256 * 256 + 256) + (256 * 512 + 512) + (512 * 256 + 256)
    head = 2 * 256 + 256 * 10 + 10
    assert sum(p.numel() for p in model.parameters()) == embed + 8 * 256 + 4 * block + head


def test_patches_may_be_wider_than_high():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert patchify(image, 1, 2)[0].tolist() == [[2 * i, 2 * i + 1] for i in range(8)]
    assert patchify(image, 2, 4)[0].tolist() == [list(range(8)), list(range(8, 16))]


def test_each_token_is_half_of_one_cell():
    image = torch.zeros(1, 3, 16, 16)
    image[:, :, :8, 8:] = 1.0  # the top-right cell
    filled = patchify(image, 4, 8)[0].mean(dim=1)
    assert filled.tolist() == [0, 1, 0, 1, 0, 0, 0, 0]


def test_the_answer_is_read_from_the_mean_of_all_tokens():
    """Without positions the order of the tokens does not matter; with them it does."""
    torch.manual_seed(0)
    model, images = ViT(ViTConfig(**POOLED, position_std=1.0), 16, 10).eval(), torch.randn(3, 3, 16, 16)
    mirrored = images.roll(8, dims=-1)  # swaps the two columns of tokens
    assert not torch.allclose(model(images), model(mirrored), atol=1e-4)
    torch.nn.init.zeros_(model.position)
    assert torch.allclose(model(images), model(mirrored), atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_pooled_one_takes_every_method_and_is_measured(short, store, method):
    history = run(short.vary(**changes_of(method)), store).history
    assert history["test_loss"].notna().all()
    assert {"attention_entropy", "gradient_q", "gradient_k", "gradient_v"} <= set(history)


def test_without_cls_positions_alone_are_not_decayed():
    assert ViT(ViTConfig(**POOLED), 16, 10).no_weight_decay() == {"position"}


def test_bad_pooled_sizes_are_named():
    with pytest.raises(ValueError, match="patch_width 5 does not divide image size 16.*the nearest is 4"):
        ViT(ViTConfig(**{**POOLED, "patch_width": 5}), 16, 10)
    with pytest.raises(ValueError, match="patch must be a whole number >= 1, got 0"):
        ViTConfig(patch=0)
    with pytest.raises(ValueError, match="unknown attention 'sinkhorm'.*did you mean 'sinkhorn'"):
        ViTConfig(attention="sinkhorm")


def test_a_square_patch_is_written_in_one_way():
    assert ViTConfig(patch=4, patch_width=4) == ViTConfig(patch=4)
    with pytest.raises(ValueError, match="unknown pooling 'max': allowed are cls, mean"):
        ViTConfig(pooling="max")


def test_queries_and_keys_may_start_larger_and_nothing_else_changes():
    models = []
    for std in (None, 0.2):
        torch.manual_seed(0)
        models.append(ViT(ViTConfig(**POOLED | {"width": 64}, query_key_std=std), 16, 10))
    usual, larger = (dict(model.named_parameters()) for model in models)
    for name, weight in larger.items():
        if name.endswith("qkv.weight"):
            assert weight[:128].std().item() == pytest.approx(0.2, rel=0.1)
            assert torch.equal(weight[128:], usual[name][128:])
        else:
            assert torch.equal(weight, usual[name]), name
