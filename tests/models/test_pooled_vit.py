"""The follow-up's tiny ViT: its tokens, its size, its pooling, and that it takes part in everything a ViT does."""

import pandas as pd
import pytest
import torch

from eureka_lib import profiles
from eureka_lib.experiment import run, run_together
from eureka_lib.methods import METHODS
from eureka_lib.models.pooled_vit import PooledViT, PooledViTConfig
from eureka_lib.models.vit import patchify
from eureka_lib.runs import RunStore

SMALL = {"patch_height": 4, "patch_width": 8, "depth": 2, "width": 16, "heads": 2}


@pytest.fixture
def short():
    base = profiles.get("smoke").follow_up.base
    return base.vary(steps=8, evaluate_every=4, test_samples=50, batch_size=16)


def test_the_published_size_has_eight_tokens_and_the_parameters_counted_by_hand():
    model = PooledViT(PooledViTConfig(), image_size=56, n_classes=10)
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
    model, images = PooledViT(PooledViTConfig(**SMALL, position_std=1.0), 16, 10).eval(), torch.randn(3, 3, 16, 16)
    mirrored = images.roll(8, dims=-1)  # swaps the two columns of tokens
    assert not torch.allclose(model(images), model(mirrored), atol=1e-4)
    torch.nn.init.zeros_(model.position)
    assert torch.allclose(model(images), model(mirrored), atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_it_takes_every_method_and_is_measured(short, store, method):
    history = run(short.vary(**METHODS[method]), store).history
    assert history["test_loss"].notna().all()
    assert {"attention_entropy", "gradient_q", "gradient_k", "gradient_v"} <= set(history)


def test_its_seeds_train_as_a_stack(short, store, tmp_path):
    members = [short.vary(seed=seed) for seed in range(2)]
    together = run_together(members, store)
    alone = [run(member, RunStore(tmp_path / "alone")) for member in members]
    for one, other in zip(together, alone, strict=True):
        pd.testing.assert_frame_equal(one.history, other.history, rtol=1e-3, atol=1e-4)


def test_positions_are_not_decayed():
    assert PooledViT(PooledViTConfig(**SMALL), 16, 10).no_weight_decay() == {"position"}


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match="patch_width 5 does not divide image size 16.*the nearest is 4"):
        PooledViT(PooledViTConfig(**{**SMALL, "patch_width": 5}), 16, 10)
    with pytest.raises(ValueError, match="patch_height must be a whole number >= 1, got 0"):
        PooledViTConfig(patch_height=0)
    with pytest.raises(ValueError, match="unknown attention 'sinkhorm'.*did you mean 'sinkhorn'"):
        PooledViTConfig(attention="sinkhorm")
