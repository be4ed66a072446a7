"""The paper's normalisers: from the logits q·k to attention weights.

A *normaliser* is a pure function ``(logits, scale, visible=None) -> weights`` of the unscaled logits q·k, shape
(..., Q, K), and the scale s that multiplies them (temperature tau = 1/s). ``visible`` is None, or boolean and
broadcastable to the logits, False for keys that a row must not see, such as padding (B, 1, 1, K) or the future (Q, K).
Statistics are over the visible keys only; a row that sees none has weights of 0, and so do its gradients.

Logits and all that is computed from them are float32 at least, in half precision and under autocast, too: a row's
spread is a small difference between numbers that bfloat16 and float16 cannot tell apart.

The paper's three are here, today's others in :mod:`eureka_lib.attention.zoo`, all by name in
:mod:`eureka_lib.attention.registry`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Normaliser = Callable[..., Tensor]
SMALLEST_VARIANCE = 1e-12  # keeps the root's gradient finite where all logits of a row are equal


def softmax(logits: Tensor, scale: Tensor, visible: Tensor | None = None) -> Tensor:
    """softmax(s q·k), the standard one (Vaswani et al. 2017); s = 1/sqrt(d_head) unless set otherwise."""
    return masked_softmax(logits * scale, visible)


def norm_softmax(logits: Tensor, scale: Tensor, visible: Tensor | None = None) -> Tensor:
    """NormSoftmax of the paper's text: softmax(q·k / min(sigma, 1/s)), sigma the standard deviation over the keys.

    Population standard deviation of the *unscaled* logits of each row (Jiang et al. 2023; the paper's section on
    NormSoftmax). Where sigma exceeds 1/s this is the plain softmax.
    """
    sigma = row_variance(logits, visible).sqrt()
    return masked_softmax(logits / torch.minimum(sigma, 1 / scale), visible).to(logits.dtype)


def norm_softmax_var(logits: Tensor, scale: Tensor, visible: Tensor | None = None) -> Tensor:
    """NormSoftmax as the reference code has it by default: divides by the *variance* of the row, at most 1/s."""
    variance = row_variance(logits, visible)
    return masked_softmax(logits / torch.minimum(variance, 1 / scale), visible).to(logits.dtype)


def row_variance(logits: Tensor, visible: Tensor | None = None) -> Tensor:
    """Population variance of each row over its visible keys, at least SMALLEST_VARIANCE: (..., Q, K) -> (..., Q, 1).

    Of half precision logits, too, it is float32, in which SMALLEST_VARIANCE is more than 0.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if visible is None:
        variance = logits.var(dim=-1, keepdim=True, correction=0)
    else:
        count = visible.sum(dim=-1, keepdim=True).clamp_min(1)
        mean = logits.where(visible, 0).sum(dim=-1, keepdim=True) / count
        variance = (logits - mean).where(visible, 0).square().sum(dim=-1, keepdim=True) / count
    return variance.clamp_min(SMALLEST_VARIANCE)


# --- masks -----------------------------------------------------------------------------------------------------------


def masked_logits(logits: Tensor, visible: Tensor | None) -> Tensor:
    """Logits whose softmax gives the keys that are not visible a weight of 0."""
    return logits if visible is None else logits.masked_fill(~visible, -torch.inf)


def masked_softmax(z: Tensor, visible: Tensor | None) -> Tensor:
    """Softmax over the keys that are visible; all 0 for a row that sees none."""
    return zero_blind_rows(torch.softmax(masked_logits(z, seeing_all_if_none(visible)), dim=-1), visible)


def seeing_all_if_none(visible: Tensor | None) -> Tensor | None:
    """``visible``, but True throughout for a row that sees no key: -inf everywhere would be NaN, in gradients, too."""
    return None if visible is None else visible | _blind(visible)


def zero_blind_rows(weights: Tensor, visible: Tensor | None) -> Tensor:
    """Weights, with 0 in rows that see no key."""
    return weights if visible is None else weights.masked_fill(_blind(visible), 0)


def _blind(visible: Tensor) -> Tensor:
    return ~visible.any(dim=-1, keepdim=True)


def log_visible(logits: Tensor, visible: Tensor | None) -> float | Tensor:
    """log n, n the number of keys that a row sees, at least 1; broadcastable to (..., Q, 1) where rows may differ."""
    if visible is None:
        return math.log(logits.shape[-1])
    return visible.sum(dim=-1, keepdim=True).clamp_min(1).to(logits.dtype).log()
