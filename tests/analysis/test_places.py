"""Tokens are sorted into CLS and cells, whatever the shape of the patches."""

import pytest
import torch

from eureka_lib.analysis.places import attention_by_place, mean_by_place, token_places
from eureka_lib.models.vit import ViT, ViTConfig

SMALL = {"depth": 1, "width": 4, "heads": 2}


def places(**changes):
    return token_places(ViT(ViTConfig(**SMALL, **changes), 16, 3))


def test_tokens_of_a_cell_are_its_patches():
    assert torch.equal(places(patch=8), torch.eye(5))
    assert torch.equal(places(patch=8, pooling="mean"), torch.eye(4))
    fine = places(patch=4)
    assert fine.shape == (17, 5) and fine[0].tolist() == [1, 0, 0, 0, 0]
    assert fine[1:].argmax(1).view(4, 4).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    halves = places(patch=4, patch_width=8, pooling="mean")  # the flagship's: half a cell each
    assert halves.argmax(1).tolist() == [0, 1, 0, 1, 2, 3, 2, 3] and halves.sum() == 8
    narrow = places(patch=8, patch_width=4, pooling="mean")
    assert narrow.argmax(1).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(ValueError, match="even number of patches per side, got 1 x 2"):
        places(patch=16, patch_width=8)


def test_attention_is_summed_over_keys_and_averaged_over_queries():
    fine = places(patch=4).double()
    many = torch.softmax(torch.randn(2, 17, 17, dtype=torch.float64), -1)
    folded = attention_by_place(many, fine)
    assert folded.shape == (2, 5, 5) and torch.allclose(folded.sum(-1), torch.ones(2, 5, dtype=torch.float64))
    top_right = [3, 4, 7, 8]
    assert float(folded[1, 0, 2]) == pytest.approx(float(many[1, 0, top_right].sum()))
    assert float(folded[1, 2, 0]) == pytest.approx(float(many[1, top_right, 0].mean()))
    one_each = many[:, :5, :5]
    assert torch.equal(attention_by_place(one_each, torch.eye(5).double()), one_each)


def test_means_are_those_of_the_quarters():
    image = torch.arange(16.0).view(4, 4)  # 4 x 4 patches, one feature
    tokens = torch.cat([torch.tensor([99.0]), image.flatten()])[None, :, None]
    expected = [99, image[:2, :2].mean(), image[:2, 2:].mean(), image[2:, :2].mean(), image[2:, 2:].mean()]
    assert mean_by_place(tokens, places(patch=4))[0, :, 0].tolist() == [float(value) for value in expected]
