"""The paper's vision transformer.

Patches -> linear embedding, a CLS token, learned positions, pre-norm blocks of attention and MLP with stochastic depth,
a final norm and a linear head on CLS. At the paper's size (56 x 56 images, patch 4, depth 7, width 256) it has
3,750,666 parameters. The same class, a few tokens wide, is the laptop's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eureka_lib.models.attention import MultiHeadAttention, check_transformer, is_watched
from eureka_lib.validation import check_divides, check_real, check_whole

NORM_EPS = 1e-6


@dataclass(frozen=True)
class ViTConfig:
    """Size and attention of the ViT; the defaults are the paper's."""

    name: str = "vit"
    patch: int = 4  # pixels per side of a patch
    depth: int = 7  # blocks
    width: int = 256  # features of a token
    heads: int = 4
    mlp_ratio: float = 2.0  # hidden features of the MLP / width
    attention: str = "softmax"  # a name in NORMALISERS
    scale: float | None = None  # multiplies q·k; None is 1/sqrt(d_head)
    stochastic_depth: float = 0.1  # drop probability of the last block; rises linearly from 0 at the first
    weight_std: float = 0.02  # standard deviation of the initial weights of attention, MLP, head and of CLS
    position_std: float = 0.02  # standard deviation of the initial position embedding

    def __post_init__(self):
        check_whole("patch", self.patch, 1)
        check_blocks(self)


def check_blocks(config: "ViTConfig") -> None:
    """Raise TypeError or ValueError unless blocks can be built from ``config``, which may lack a ``patch``."""
    check_transformer(config)
    check_real("mlp_ratio", config.mlp_ratio, 1 / config.width)
    check_real("stochastic_depth", config.stochastic_depth, 0, 0.999)
    check_real("weight_std", config.weight_std, 0)
    check_real("position_std", config.position_std, 0)
    if config.scale is not None:
        check_real("scale", config.scale, 1e-6)


class StochasticDepth(nn.Module):
    """Drops a residual branch per sample with probability ``p`` while training (Huang et al. 2016)."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, branch: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C), each sample zeroed or divided by its probability to survive."""
        if not self.training or self.p == 0:
            return branch
        keep = torch.rand(len(branch), 1, 1, device=branch.device, dtype=branch.dtype) >= self.p
        return branch * keep / (1 - self.p)


class Block(nn.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + MLP(norm(x))."""

    def __init__(self, config: ViTConfig, drop: float):
        super().__init__()
        hidden = round(config.width * config.mlp_ratio)
        self.attention_norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.attention = MultiHeadAttention(config.width, config.heads, config.attention, config.scale)
        self.mlp_norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.mlp = nn.Sequential(nn.Linear(config.width, hidden), nn.GELU(), nn.Linear(hidden, config.width))
        self.drop = StochasticDepth(drop)

    def forward(self, x: Tensor, first: int | None = None) -> Tensor:
        """Tokens (B, T, C) -> (B, T, C), or only the ``first`` of them, which still see all."""
        x = x[:, :first] + self.drop(self.attention(self.attention_norm(x), queries=first))
        return x + self.drop(self.mlp(self.mlp_norm(x)))


class Encoder(nn.Module):
    """What vision transformers have in common, however they cut images and read the answer: blocks, and a head."""

    blocks: nn.ModuleList  # of Block
    head: nn.Linear

    def initialise(self, std: float) -> None:
        """Draw the weights of attention, MLP and head from a truncated normal, and set their biases to 0."""
        for module in [*self.blocks.modules(), self.head]:
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def attention_layers(self) -> list[MultiHeadAttention]:
        """The attention of each block, first to last, for whoever schedules or watches it."""
        return [block.attention for block in self.blocks]

    def set_scale_factor(self, factor: float) -> None:
        """Multiply the usual scale of every attention by ``factor``, which replaces an earlier one."""
        for layer in self.attention_layers():
            layer.weights.set_factor(factor)


def blocks_of(config: ViTConfig) -> nn.ModuleList:
    """The blocks of a vision transformer, with stochastic depth that rises from 0."""
    return nn.ModuleList(Block(config, p) for p in torch.linspace(0, config.stochastic_depth, config.depth).tolist())


class ViT(Encoder):
    """Images (B, 3, h, h) -> class logits (B, K). Raises ValueError if the patch does not divide the image."""

    def __init__(self, config: ViTConfig, image_size: int, n_classes: int):
        super().__init__()
        check_divides("patch", config.patch, "image size", image_size)
        self.patch = config.patch
        self.embed = nn.Linear(3 * config.patch**2, config.width)  # keeps torch's own initialisation, as in timm
        self.cls = nn.Parameter(torch.empty(1, 1, config.width))
        self.position = nn.Parameter(torch.empty(1, (image_size // config.patch) ** 2 + 1, config.width))
        self.blocks = blocks_of(config)
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.head = nn.Linear(config.width, n_classes)
        self.initialise(config.weight_std)
        nn.init.trunc_normal_(self.cls, std=config.weight_std)
        nn.init.trunc_normal_(self.position, std=config.position_std)

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that are never decayed, besides biases and norms."""
        return {"cls", "position"}

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, h, h) -> (B, K)."""
        tokens = self.embed(patchify(images, self.patch))
        tokens = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], dim=1) + self.position
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        tokens = self.blocks[-1](tokens, 1 if self._only_cls_counts() else None)
        return self.head(self.norm(tokens)[:, 0])

    def _only_cls_counts(self) -> bool:
        """Whether the last block may leave out all tokens but CLS, since the head reads no other and nobody looks."""
        last = self.blocks[-1]
        return last.attention.weights.is_row_wise and not is_watched(last)


def patchify(images: Tensor, patch: int, patch_width: int | None = None) -> Tensor:
    """Images (B, C, h, w) -> flattened patches (B, h/p * w/q, C * p * q), row by row; square if no width q is given."""
    patch_width = patch_width or patch
    batch, channels, height, width = images.shape
    grid = images.view(batch, channels, height // patch, patch, width // patch_width, patch_width)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * patch * patch_width)
