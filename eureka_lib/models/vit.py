"""The paper's vision transformer, and its follow-up's.

Patches -> linear embedding, a CLS token, learned positions, pre-norm blocks of attention and MLP with stochastic depth,
a final norm and a linear head on CLS. At the paper's size (56 x 56 images, patch 4, depth 7, width 256) it has
3,750,666 parameters. The same class, a few tokens wide, is the laptop's.

The follow-up (Born et al. 2025, *Quantum Doubly Stochastic Transformers*) has no CLS: ``pooling="mean"`` gives the head
the mean of all tokens. Its patches are rectangles of 14 x 28 pixels, half a cell each, so 8 tokens, in up to 4 layers.
What else it does is not known to us: learned positions, the norm before the pooling, the initial weights and no
stochastic depth are ours.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eureka_lib.attention.layer import MultiHeadAttention, check_transformer, is_watched
from eureka_lib.validation import check_choice, check_divides, check_real, check_whole

NORM_EPS = 1e-6
POOLINGS = ("cls", "mean")


@dataclass(frozen=True)
class ViTConfig:
    """Size and attention of the ViT; the defaults are the paper's."""

    name: str = "vit"
    patch: int = 4  # pixels per side of a patch
    patch_width: int | None = None  # if that differs from its height; None: a square
    depth: int = 7  # blocks
    width: int = 256  # features of a token
    heads: int = 4
    mlp_ratio: float = 2.0  # hidden features of the MLP / width
    attention: str = "softmax"  # a name in attention.registry
    scale: float | None = None  # multiplies q·k; None is 1/sqrt(d_head)
    stochastic_depth: float = 0.1  # drop probability of the last block; rises linearly from 0 at the first
    weight_std: float = 0.02  # standard deviation of the initial weights of attention, MLP, head and of CLS
    position_std: float = 0.02  # standard deviation of the initial position embedding
    query_key_std: float | None = None  # standard deviation of the initial W_Q and W_K; None is weight_std
    pooling: str = "cls"  # what the head reads: "cls", or "mean", that of all tokens without a CLS among them

    def __post_init__(self):
        check_transformer(self)
        check_whole("patch", self.patch, 1)
        if self.patch_width is not None:
            check_whole("patch_width", self.patch_width, 1)
        if self.patch_width == self.patch:
            object.__setattr__(self, "patch_width", None)  # one configuration, one way to write it
        check_real("mlp_ratio", self.mlp_ratio, 1 / self.width)
        check_real("stochastic_depth", self.stochastic_depth, 0, 0.999)
        check_real("weight_std", self.weight_std, 0)
        check_real("position_std", self.position_std, 0)
        if self.query_key_std is not None:
            check_real("query_key_std", self.query_key_std, 0)
        if self.scale is not None:
            check_real("scale", self.scale, 1e-6)
        check_choice("pooling", self.pooling, POOLINGS)

    @property
    def patch_size(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return self.patch, self.patch_width or self.patch


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
        """Tokens (B, T, C) -> (B, T, C), or, without hooks, the ``first`` of them only, which attend to all."""
        if is_watched(self) or not self.attention.weights.row_wise:
            first = None
        x = x[:, :first] + self.drop(self.attention(self.attention_norm(x), queries=first))
        return x + self.drop(self.mlp(self.mlp_norm(x)))


class ViT(nn.Module):
    """Images (B, 3, h, h) -> class logits (B, K). Raises ValueError if the patch does not divide the image."""

    def __init__(self, config: ViTConfig, image_size: int, n_classes: int):
        super().__init__()
        height, width = self.patch = config.patch_size
        check_divides("patch", height, "image size", image_size)
        check_divides("patch_width", width, "image size", image_size)
        self.grid = rows, columns = image_size // height, image_size // width  # of patches
        self.embed = nn.Linear(3 * height * width, config.width)  # keeps torch's own initialisation, as in timm
        self.cls = nn.Parameter(torch.empty(1, 1, config.width)) if config.pooling == "cls" else None
        self.position = nn.Parameter(torch.empty(1, rows * columns + (self.cls is not None), config.width))
        drops = torch.linspace(0, config.stochastic_depth, config.depth).tolist()
        self.blocks = nn.ModuleList(Block(config, drop) for drop in drops)
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.head = nn.Linear(config.width, n_classes)
        self._initialise(config)

    def _initialise(self, config: ViTConfig) -> None:
        for module in [*self.blocks.modules(), self.head]:
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=config.weight_std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.cls is not None:
            nn.init.trunc_normal_(self.cls, std=config.weight_std)
        nn.init.trunc_normal_(self.position, std=config.position_std)
        if config.query_key_std is not None:  # last, so that all else starts as it would without it
            for weights in self.query_key_weights():
                nn.init.trunc_normal_(weights, std=config.query_key_std)

    def attention_layers(self) -> list[MultiHeadAttention]:
        """The attention of each block, first to last."""
        return [block.attention for block in self.blocks]

    def query_key_weights(self) -> list[Tensor]:
        """W_Q and W_K of each block together, (2, H, D, C), as views of the parameters that hold them."""
        return [layer.split_weight(layer.qkv.weight.detach())[:2] for layer in self.attention_layers()]

    def set_scale_factor(self, factor: float) -> None:
        """Multiply the usual scale of every attention by ``factor``, which replaces an earlier one."""
        for layer in self.attention_layers():
            layer.weights.set_factor(factor)

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that are never decayed, besides biases and norms."""
        return {"position"} if self.cls is None else {"cls", "position"}

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, h, h) -> (B, K)."""
        tokens = self.embed(patchify(images, *self.patch))
        if self.cls is not None:
            tokens = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = tokens + self.position
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        tokens = self.norm(self.blocks[-1](tokens, None if self.cls is None else 1))  # the head reads CLS, or all
        return self.head(tokens.mean(dim=1) if self.cls is None else tokens[:, 0])


def patchify(images: Tensor, patch_height: int, patch_width: int) -> Tensor:
    """Images (B, C, h, w) -> flattened patches (B, h/p * w/q, C * p * q), row by row; p high, q wide."""
    batch, channels, height, width = images.shape
    grid = images.view(batch, channels, height // patch_height, patch_height, width // patch_width, patch_width)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * patch_height * patch_width)
