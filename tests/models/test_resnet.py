"""ResNet9: one BasicBlock a stage, any image size."""

import pytest
import torch

from eureka_lib.models.resnet import BasicBlock, ResNet9, ResNetConfig


def test_paper_sized_network_has_the_parameters_counted_by_hand():
    def block(c_in, c_out):
        shortcut = 0 if c_in == c_out else c_in * c_out + 2 * c_out
        return 9 * c_in * c_out + 9 * c_out * c_out + 4 * c_out + shortcut

    stages = block(64, 64) + block(64, 128) + block(128, 256) + block(256, 512)
    expected = 49 * 3 * 64 + 2 * 64 + stages + 512 * 10 + 10
    model = ResNet9(ResNetConfig(), 10)
    assert sum(p.numel() for p in model.parameters()) == expected
    assert sum(isinstance(module, BasicBlock) for module in model.modules()) == 4


@pytest.mark.parametrize("stem", ["imagenet", "small"])
@pytest.mark.parametrize("size", [16, 56])
def test_shapes(stem, size):
    model = ResNet9(ResNetConfig(base_width=4, stem=stem), 7)
    assert model(torch.randn(2, 3, size, size)).shape == (2, 7)


def test_bad_stem_is_named():
    with pytest.raises(ValueError, match="unknown stem 'imagnet'.*did you mean 'imagenet'"):
        ResNetConfig(stem="imagnet")
