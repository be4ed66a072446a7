"""The tiny vision transformer of the paper's follow-up: a few tokens, no CLS, and the mean of all tokens at the end.

Born et al. (2025, *Quantum Doubly Stochastic Transformers*) train it on the paper's main task: patches of 14 x 28
pixels, half a cell each, so 8 tokens; up to 4 layers; mean pooling. Nothing else of it is known to us. Ours, therefore,
are the width, the heads and the MLP (those of the paper's ViT), learned positions, the norm before the pooling, the
initial weights, and no stochastic depth. The blocks are those of :mod:`eureka_lib.models.vit`, pre-norm and without a
bias in q, k and v.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eureka_lib.models.vit import NORM_EPS, Encoder, blocks_of, check_blocks, patchify
from eureka_lib.validation import check_divides, check_whole


@dataclass(frozen=True)
class PooledViTConfig:
    """Size and attention of the tiny ViT; patches and depth are published, the other defaults are the paper's ViT's."""

    name: str = "pooled_vit"
    patch_height: int = 14  # pixels
    patch_width: int = 28
    depth: int = 4  # blocks
    width: int = 256  # features of a token
    heads: int = 4
    mlp_ratio: float = 2.0  # hidden features of the MLP / width
    attention: str = "softmax"  # a name in NORMALISERS
    scale: float | None = None  # multiplies q·k; None is 1/sqrt(d_head)
    stochastic_depth: float = 0.0  # drop probability of the last block; rises linearly from 0 at the first
    weight_std: float = 0.02  # standard deviation of the initial weights of attention, MLP and head
    position_std: float = 0.02  # standard deviation of the initial position embedding

    def __post_init__(self):
        check_whole("patch_height", self.patch_height, 1)
        check_whole("patch_width", self.patch_width, 1)
        check_blocks(self)


class PooledViT(Encoder):
    """Images (B, 3, h, h) -> class logits (B, K). Raises ValueError if the patches do not divide the image."""

    def __init__(self, config: PooledViTConfig, image_size: int, n_classes: int):
        super().__init__()
        check_divides("patch_height", config.patch_height, "image size", image_size)
        check_divides("patch_width", config.patch_width, "image size", image_size)
        self.patch = config.patch_height, config.patch_width
        tokens = (image_size // config.patch_height) * (image_size // config.patch_width)
        self.embed = nn.Linear(3 * config.patch_height * config.patch_width, config.width)  # torch's initialisation
        self.position = nn.Parameter(torch.empty(1, tokens, config.width))
        self.blocks = blocks_of(config)
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.head = nn.Linear(config.width, n_classes)
        self.initialise(config.weight_std)
        nn.init.trunc_normal_(self.position, std=config.position_std)

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that are never decayed, besides biases and norms."""
        return {"position"}

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, h, h) -> (B, K)."""
        tokens = self.embed(patchify(images, *self.patch)) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens).mean(dim=1))
