"""Self-attention with a swappable normaliser, by its name in :mod:`eureka_lib.attention.registry`.

Long rows without a hook take the fused form, :mod:`eureka_lib.attention.fused`, without the matrix of logits.
"""

from typing import Any

import torch
from torch import Tensor, nn

from eureka_lib.attention.fused import LEAST_KEYS
from eureka_lib.attention.registry import check_attention
from eureka_lib.validation import check_divides, check_whole


def check_transformer(config: Any) -> None:
    """Raise TypeError or ValueError unless ``config`` has blocks, a width that its heads divide, and an attention."""
    for field in ("depth", "width", "heads"):
        check_whole(field, getattr(config, field), 1)
    check_divides("heads", config.heads, "width", config.width)
    check_attention(config.attention)


class AttentionWeights(nn.Module):
    """A normaliser with its scale, as a module of its own so that a forward hook can watch logits and weights.

    The scale is a buffer: a schedule may change it during training, and a checkpoint keeps the one it was trained with.
    ``learned`` is a parameter (H,) if the normaliser learns a number per head, else None.
    """

    def __init__(self, attention: str, scale: float, heads: int = 1):
        super().__init__()
        method = check_attention(attention)
        self.normaliser, self.fused, self.row_wise = method.normaliser, method.fused, method.row_wise
        self.learned = None if method.learned is None else nn.Parameter(torch.full((heads,), method.learned))
        self.register_buffer("scale", torch.tensor(float(scale)))
        self.register_buffer("usual_scale", self.scale.clone(), persistent=False)

    def set_factor(self, factor: float) -> None:
        """Make the scale ``factor`` times the one that the model was built with."""
        torch.mul(self.usual_scale, factor, out=self.scale)

    def forward(self, logits: Tensor, visible: Tensor | None = None) -> Tensor:
        """Unscaled logits (B, H, Q, K) -> weights (B, H, Q, K)."""
        mask = () if visible is None else (visible,)  # a normaliser of one's own need not know of masks
        learned = {} if self.learned is None else {"learned": self.learned[:, None, None]}  # nor of learned numbers
        return self.normaliser(logits, self.scale.to(logits.dtype), *mask, **learned)


def is_watched(module: nn.Module) -> bool:
    """Whether ``module`` or a part of it has a hook, which needs the full output.

    Without one, short cuts are taken: fused attention, and a last block for CLS alone.
    """
    return any(
        part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
        for part in module.modules()
    )


class MultiHeadAttention(nn.Module):
    """Multi-head self-attention with a swappable normaliser, no bias in q, k, v (the paper's ViT).

    Without a hook on ``weights``, long rows take the normaliser's fused form, which is equal to rounding.
    ``scale`` None means 1/sqrt(d_head). Raises ValueError if ``heads`` does not divide ``width``, or for an unknown
    ``attention``.
    """

    def __init__(self, width: int, heads: int, attention: str = "softmax", scale: float | None = None):
        super().__init__()
        check_divides("heads", heads, "width", width)
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.weights = AttentionWeights(attention, (width // heads) ** -0.5 if scale is None else scale, heads)
        self.prepare = check_attention(attention).prepare
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, visible: Tensor | None = None, queries: int | None = None) -> Tensor:
        """Tokens (B, T, C) -> (B, T, C), or (B, Q, C) for the first Q = ``queries`` of them, if so few are needed.

        ``visible`` is None or boolean (B, T), False for padding.
        """
        batch, _, width = x.shape
        visible = None if visible is None else visible[:, None, None, :]
        q, k, v = self.split_features(self.qkv(x))
        if self.prepare is not None:
            q, k = self.prepare(q), self.prepare(k)
        mixed = self._mix(q[:, :, :queries], k, v, visible)
        return self.out(mixed.transpose(1, 2).reshape(batch, -1, width))

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Tensor:
        if self.weights.fused is not None and k.shape[-2] >= LEAST_KEYS and not is_watched(self.weights):
            return self.weights.fused(q, k, v, self.weights.scale, visible)
        dtype = torch.promote_types(q.dtype, torch.float32)
        with torch.autocast(q.device.type, enabled=False):  # which would lower the products again
            logits = q.to(dtype) @ k.to(dtype).transpose(-2, -1)  # (B, H, Q, T)
            return (self.weights(logits, visible=visible) @ v.to(dtype)).to(v.dtype)  # (B, H, Q, D)

    def split_features(self, features: Tensor) -> list[Tensor]:
        """Output of ``qkv`` (B, T, 3C) -> q, k, v, each (B, H, T, D); input of ``out`` (B, T, C) -> one of these."""
        parts = features.shape[-1] // self.out.in_features
        return [part.transpose(1, 2) for part in features.unflatten(-1, (parts, self.heads, -1)).unbind(2)]

    def split_weight(self, rows: Tensor) -> Tensor:
        """The ``qkv`` weight (3C, C), or a gradient of it, viewed as (3, H, D, C): W_Q, W_K, W_V, head by head."""
        return rows.view(3, self.heads, -1, rows.shape[-1])
