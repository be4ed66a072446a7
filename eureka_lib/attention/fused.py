r"""The normalisers without their N x N matrix: the same attention, in the memory of its inputs.

:mod:`eureka_lib.attention.normalisers` has them as the paper writes them, logits first. NormSoftmax needs each row's
spread before its softmax, which seems to ask for all logits at once. It does not: the spread over the keys of the
logits q·k_j is a quadratic form in the query,

    mean_j q·k_j = q·kbar        var_j q·k_j = q^T C q,  C the population covariance (D x D) of the keys,

so NormSoftmax is ordinary attention of divided queries, and torch's ``scaled_dot_product_attention`` (SDPA) does the
rest, never holding more than a tile of the logits (Dao et al. 2022):

    softmax(q·k / min(sigma, 1/s)) v  =  SDPA(q / min(sqrt(q^T C q), 1/s), k, v)  with SDPA's own scale 1.

The extra work is five matrix products of N D^2 (two forward, three backward) beside SDPA's seven of N^2 D: not quite
D/N of it, and the reason why it is for long rows only, see :data:`LEAST_KEYS`. sqrt(q^T C q) has a relative error of
about eps |q|^2 |C| / q^T C q: it is exact enough unless a query is nearly orthogonal to all differences between keys.

Each function is ``(q, k, v, scale, visible=None) -> (B, H, Q, D)``: q (B, H, Q, D), k and v (B, H, K, D), the scale a
tensor (it stays on its device: no step waits for its value), and ``visible`` None or boolean, broadcastable to
(B, 1, 1, K), False for keys that no query of the sample may see (padding); without a visible key a sample's output is
0. Statistics are float32 for bfloat16 and float16 inputs, under autocast too, and float64 for float64. Gradients are
right once: for a derivative of a gradient use the naive form.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from eureka_lib.attention.normalisers import SMALLEST_VARIANCE

Fused = Callable[..., Tensor]

# The naive form is about as fast or faster for fewer keys, and gives what it always gave. Measured forward + backward
# on one CPU thread, time of fused / naive NormSoftmax at d_head 16, 32, 64: 0.9, 1.4, 1.9 with 17 keys; 0.5, 0.7, 1.4
# with 48; 0.4, 0.5, 1.0 with 65; at 64 then 0.7 with 128, 0.5 with 197, 0.2 with 1024. Plain softmax gains less: 1.2 at
# d_head 64 with 65 keys, 0.9 with 197, 0.4 with 1024. In bfloat16 on a CPU, where SDPA is slow for short rows,
# NormSoftmax breaks even at about 197.
LEAST_KEYS = 64


def softmax(q: Tensor, k: Tensor, v: Tensor, scale: Tensor, visible: Tensor | None = None) -> Tensor:
    """Plain softmax attention, softmax(s q·k) v."""
    return scaled_dot_product_attention(q * scale, k, v, attn_mask=visible, scale=1.0)


def norm_softmax(q: Tensor, k: Tensor, v: Tensor, scale: Tensor, visible: Tensor | None = None) -> Tensor:
    """NormSoftmax attention, softmax(q·k / min(sigma, 1/s)) v (Jiang et al. 2023)."""
    return _divided_by(torch.sqrt, q, k, v, scale, visible)


def norm_softmax_var(q: Tensor, k: Tensor, v: Tensor, scale: Tensor, visible: Tensor | None = None) -> Tensor:
    """NormSoftmax attention as the reference code has it, softmax(q·k / min(sigma^2, 1/s)) v."""
    return _divided_by(torch.clone, q, k, v, scale, visible)


def _divided_by(
    spread: Callable[[Tensor], Tensor], q: Tensor, k: Tensor, v: Tensor, scale: Tensor, visible: Tensor | None
) -> Tensor:
    """softmax(q·k / min(spread(variance), 1/s)) v."""
    with torch.autocast(q.device.type, enabled=False):  # which would lower the products again
        queries, keys = (x.to(torch.promote_types(x.dtype, torch.float32)).contiguous() for x in (q, k))
        keys, count = _centred(keys, visible)  # attention does not see the shift, and the variance is no difference
        covariance = keys.detach().mT @ keys / count  # (B, H, D, D)
        covariance = 2 * covariance - covariance.detach()  # symmetric, as is its gradient: one product back, not two
        variance = ((queries @ covariance) * queries).sum(-1, keepdim=True)  # (B, H, Q, 1)
        variance = variance.nan_to_num(torch.inf).clamp_min(SMALLEST_VARIANCE)  # where it overflows: inf - inf
        queries = queries * torch.maximum(1 / spread(variance), scale)
        if q.dtype != queries.dtype:  # float16 ends at 65504, and infinity * 0 is no logit
            queries = queries.clamp(-torch.finfo(q.dtype).max, torch.finfo(q.dtype).max)
    return scaled_dot_product_attention(queries.to(q.dtype), keys.to(k.dtype), v, attn_mask=visible, scale=1.0)


def _centred(k: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor | int]:
    """Keys minus the mean of the visible ones, 0 where hidden, and how many are visible.

    Nothing depends on the mean, so none of the gradient goes through it.
    """
    fixed = k.detach()
    if visible is None:
        return k - fixed.mean(-2, keepdim=True), k.shape[-2]
    seen = visible.mT  # (B, 1, K, 1)
    count = seen.sum(-2, keepdim=True).clamp_min(1)
    return (k - fixed.where(seen, 0).sum(-2, keepdim=True) / count).where(seen, 0), count
