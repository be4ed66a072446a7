"""Keys that a row must not see: ``visible`` is None, or boolean and broadcastable to the logits, False for them.

A row that sees no key at all, such as a sample that is padding only, has weights of 0, and so do its gradients.
"""

import math

import torch
from torch import Tensor


def hide(logits: Tensor, visible: Tensor | None) -> Tensor:
    """Logits whose softmax gives the keys that are not visible a weight of 0."""
    return logits if visible is None else logits.masked_fill(~visible, -torch.inf)


def masked_softmax(z: Tensor, visible: Tensor | None) -> Tensor:
    """Softmax over the keys that are visible; all 0 for a row that sees none."""
    return empty(torch.softmax(hide(z, see_all_if_none(visible)), dim=-1), visible)


def see_all_if_none(visible: Tensor | None) -> Tensor | None:
    """``visible``, but True throughout for a row that sees no key: -inf everywhere would be NaN, in gradients, too."""
    return None if visible is None else visible | _blind(visible)


def empty(weights: Tensor, visible: Tensor | None) -> Tensor:
    """Weights, with 0 in rows that see no key."""
    return weights if visible is None else weights.masked_fill(_blind(visible), 0)


def _blind(visible: Tensor) -> Tensor:
    return ~visible.any(dim=-1, keepdim=True)


def log_visible(logits: Tensor, visible: Tensor | None) -> float | Tensor:
    """log n, n the number of keys that a row sees, at least 1; broadcastable to (..., Q, 1) where rows may differ."""
    if visible is None:
        return math.log(logits.shape[-1])
    return visible.sum(dim=-1, keepdim=True).clamp_min(1).to(logits.dtype).log()
