"""The convolutional baseline: a ResNet with one BasicBlock per stage.

The paper compares its ViT with a ResNet that shows no plateau. ``ResNet9`` is that network: a stem, four stages of one
BasicBlock each (He et al. 2016), global average pooling and a linear head. ``stem="imagenet"`` is the usual 7 x 7
stride-2 convolution with max pooling for large images, ``stem="small"`` one 3 x 3 convolution for small ones.

Everything is computed in contiguous layout (channels first), whatever layout images and weights come in: in torch 2.13
on a processor with AVX2 but not AVX-512, the weight gradient of a 1 x 1 convolution of stride 2 in channels-last layout
writes past its memory if it has fewer than 8 channels (github.com/uxlfoundation/oneDNN/issues/6035).
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from eureka_lib.validation import check_choice, check_whole

STEMS = ("imagenet", "small")


@dataclass(frozen=True)
class ResNetConfig:
    """Size of the ResNet; the defaults are the paper's ResNet9."""

    name: str = "resnet9"
    base_width: int = 64  # channels of the first stage; each later stage has twice as many
    stem: str = "imagenet"

    def __post_init__(self):
        check_whole("base_width", self.base_width, 1)
        check_choice("stem", self.stem, STEMS)


class Convolution(nn.Conv2d):
    """A convolution without bias, in contiguous layout."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h/stride, w/stride)."""
        return F.conv2d(in_order(x), in_order(self.weight), None, self.stride, self.padding)


def in_order(x: Tensor) -> Tensor:
    """The same tensor with contiguous strides; copied only if necessary.

    Unlike ``contiguous()`` it changes strides of dimensions of size 1, too, by which torch tells channels-last.
    """
    return x.flatten().view(x.shape)


class BasicBlock(nn.Module):
    """relu(x + two 3 x 3 convolutions), with a 1 x 1 projection where the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__()
        self.conv1 = Convolution(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = Convolution(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.shortcut = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                Convolution(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h/stride, w/stride)."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class ResNet9(nn.Module):
    """Images (B, 3, h, h) -> class logits (B, K)."""

    def __init__(self, config: ResNetConfig, n_classes: int):
        super().__init__()
        widths = [config.base_width * 2**stage for stage in range(4)]
        large = config.stem == "imagenet"
        self.stem = nn.Sequential(
            Convolution(3, widths[0], 7 if large else 3, 2 if large else 1, padding=3 if large else 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity(),
        )
        self.stages = nn.Sequential(
            *(BasicBlock(widths[max(i - 1, 0)], widths[i], stride=1 if i == 0 else 2) for i in range(4))
        )
        self.head = nn.Linear(widths[-1], n_classes)
        for module in self.modules():
            if isinstance(module, Convolution):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that are never decayed, besides biases and norms: none."""
        return set()

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, h, h) -> (B, K)."""
        return self.head(self.stages(self.stem(images)).mean(dim=(2, 3)))
