"""What turns the logits q·k into attention weights: the paper's whole subject, in functions of a few lines.

A *normaliser* is a pure function ``(logits, scale) -> weights`` of the unscaled logits q·k, shape (..., Q, K), and the
scale s that multiplies them (temperature tau = 1/s). The paper's names are the keys of :data:`NORMALISERS`. To try an
attention of your own, write such a function and add it there; every model of the library takes it by name.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from eureka_lib.validation import check_choice, check_divides

Normaliser = Callable[[Tensor, Tensor], Tensor]
SMALLEST_VARIANCE = 1e-12  # keeps the root's gradient finite where all logits of a row are equal


def softmax(logits: Tensor, scale: Tensor) -> Tensor:
    """softmax(s q·k), the standard one (Vaswani et al. 2017); s = 1/sqrt(d_head) unless set otherwise."""
    return torch.softmax(logits * scale, dim=-1)


def norm_softmax(logits: Tensor, scale: Tensor) -> Tensor:
    """NormSoftmax of the paper's text: softmax(q·k / min(sigma, 1/s)), sigma the standard deviation over the keys.

    Population standard deviation of the *unscaled* logits of each row (Jiang et al. 2023; the paper's section on
    NormSoftmax). Where sigma exceeds 1/s this is the plain softmax.
    """
    sigma = logits.var(dim=-1, keepdim=True, correction=0).clamp_min(SMALLEST_VARIANCE).sqrt()
    return torch.softmax(logits / torch.minimum(sigma, 1 / scale), dim=-1)


def norm_softmax_var(logits: Tensor, scale: Tensor) -> Tensor:
    """NormSoftmax as the reference code has it by default: divides by the *variance* of the row, at most 1/s."""
    variance = logits.var(dim=-1, keepdim=True, correction=0).clamp_min(SMALLEST_VARIANCE)
    return torch.softmax(logits / torch.minimum(variance, 1 / scale), dim=-1)


NORMALISERS: dict[str, Normaliser] = {
    "softmax": softmax,
    "norm_softmax": norm_softmax,
    "norm_softmax_var": norm_softmax_var,
}


class AttentionWeights(nn.Module):
    """A normaliser with its scale, as a module of its own so that a forward hook can watch logits and weights.

    The scale is a buffer: a schedule may change it during training, and a checkpoint keeps the one it was trained with.
    """

    def __init__(self, attention: str, scale: float):
        super().__init__()
        self.normaliser = NORMALISERS[check_choice("attention", attention, NORMALISERS)]
        self.register_buffer("scale", torch.tensor(float(scale)))

    def forward(self, logits: Tensor) -> Tensor:
        """Unscaled logits (B, H, Q, K) -> weights (B, H, Q, K); rows sum to 1."""
        return self.normaliser(logits, self.scale)


class MultiHeadAttention(nn.Module):
    """Multi-head self-attention with a swappable normaliser, no bias in q, k, v (the paper's ViT).

    ``scale`` None means 1/sqrt(d_head). Raises ValueError if ``heads`` does not divide ``width``, or for an unknown
    ``attention``.
    """

    def __init__(self, width: int, heads: int, attention: str = "softmax", scale: float | None = None):
        super().__init__()
        check_divides("heads", heads, "width", width)
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.weights = AttentionWeights(attention, (width // heads) ** -0.5 if scale is None else scale)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, T, C) -> (B, T, C)."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, D)
        weights = self.weights(q @ k.transpose(-2, -1))  # (B, H, T, T)
        return self.out((weights @ v).transpose(1, 2).reshape(batch, tokens, width))

    def split_qkv(self, rows: Tensor) -> Tensor:
        """A tensor laid out as the qkv weight, (3C, C), viewed as (3, H, D, C): W_Q, W_K, W_V, head by head."""
        return rows.view(3, self.heads, -1, rows.shape[-1])
