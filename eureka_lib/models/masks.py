"""Keys that a row must not see: ``visible`` is None, or boolean and broadcastable to the logits, False for them."""

import math

import torch
from torch import Tensor


def hide(logits: Tensor, visible: Tensor | None) -> Tensor:
    """Logits whose softmax gives the keys that are not visible a weight of 0."""
    return logits if visible is None else logits.masked_fill(~visible, -torch.inf)


def log_visible(logits: Tensor, visible: Tensor | None) -> float | Tensor:
    """log n, n the number of keys that a row sees; a tensor broadcastable to (..., Q, 1) where rows may differ."""
    if visible is None:
        return math.log(logits.shape[-1])
    return visible.sum(dim=-1, keepdim=True).to(logits.dtype).log()
