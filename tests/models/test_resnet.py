"""ResNet9: one BasicBlock a stage, any image size."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

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


class Layouts(TorchDispatchMode):
    """Notes the strides of all images, maps, weights and gradients that convolutions take and return."""

    def __init__(self):
        super().__init__()
        self.calls: list[tuple[str, list[Tensor]]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        if "convolution" in str(function):
            given = [*args, *(results if isinstance(results, tuple) else [results])]
            self.calls.append((str(function), [x for x in given if isinstance(x, Tensor) and x.ndim == 4]))
        return results


@pytest.mark.parametrize("stem", ["imagenet", "small"])
@pytest.mark.parametrize("width", [1, 4, 8])
@pytest.mark.parametrize("converted", ["nothing", "images", "model"])
def test_no_convolution_sees_channels_last(width, stem, converted):
    """One of its kernels corrupts memory (see models/resnet.py), so neither data nor gradients may be laid out so."""
    model, images = ResNet9(ResNetConfig(base_width=width, stem=stem), 7), torch.randn(2, 3, 16, 16)
    layout = {"memory_format": torch.channels_last}
    if converted == "images":
        images = images.to(**layout)
    if converted == "model":
        model.to(**layout)
    with Layouts() as seen:
        model(images).square().sum().backward()
    assert [name.split(".")[1] for name, _ in seen.calls] == ["convolution"] * 12 + ["convolution_backward"] * 12
    for name, tensors in seen.calls:
        for x in tensors:
            assert x.stride() == torch.empty(x.shape).stride(), (name, x.shape)


def test_layout_changes_no_number():
    torch.manual_seed(0)
    model, images = ResNet9(ResNetConfig(base_width=4, stem="small"), 7).eval(), torch.randn(2, 3, 16, 16)
    expected = model(images)
    assert torch.equal(model(images.to(memory_format=torch.channels_last)), expected)
    assert torch.equal(model.to(memory_format=torch.channels_last)(images), expected)
