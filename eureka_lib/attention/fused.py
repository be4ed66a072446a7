r"""The normalisers without their N x N matrix: the same attention, in the memory of its inputs.

:mod:`eureka_lib.attention.normalisers` has them as the paper writes them, logits first. NormSoftmax needs each row's
spread before its softmax, which seems to ask for all logits at once. It does not: the spread over the keys of the
logits q·k_j is a quadratic form in the query,

    mean_j q·k_j = q·kbar        var_j q·k_j = q^T C q,  C the population covariance (D x D) of the keys,

so NormSoftmax is ordinary attention of divided queries, and torch's ``scaled_dot_product_attention`` (SDPA) does the
rest, never holding more than a tile of the logits (Dao et al. 2022):

    softmax(q·k / min(sigma, 1/s)) v  =  SDPA(q / min(sqrt(q^T C q), 1/s), k, v)  with SDPA's own scale 1.

The extra work is five matrix products of N D^2 (two forward, three backward) beside SDPA's seven of N^2 D: not quite
D/N of it, and the reason why it is for long rows only, see :data:`LEAST_KEYS`. In here:

- Keys are centred first. Attention does not see the shift (every logit of a row moves by q·kbar), and the variance is
  not the small difference of two large numbers. The centred keys also go into SDPA, so nothing is stored twice.
- Statistics are float32 for bfloat16 and float16 inputs, under autocast too, and float64 for float64. What goes into
  SDPA, divided queries and centred keys, is rounded to the inputs' type once more.
- sqrt(q^T C q) has a relative error of about eps |q|^2 |C| / q^T C q. It is exact enough unless a query is nearly
  orthogonal to all differences between the keys.

Each function is ``(q, k, v, scale, visible=None) -> (B, H, Q, D)``: q (B, H, Q, D), k and v (B, H, K, D), the scale a
tensor (it stays on its device: no step waits for its value), and ``visible`` None or boolean, broadcastable to
(B, 1, 1, K), False for keys that no query of the sample may see (padding); without a visible key a sample's output is
0. Gradients reach q, k, v and the scale, once: for a derivative of a gradient use the naive form.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
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
    q, k = _DivideQueries.apply(q, k, scale, visible, 0.5)
    return scaled_dot_product_attention(q, k, v, attn_mask=visible, scale=1.0)


def norm_softmax_var(q: Tensor, k: Tensor, v: Tensor, scale: Tensor, visible: Tensor | None = None) -> Tensor:
    """NormSoftmax attention as the reference code has it, softmax(q·k / min(sigma^2, 1/s)) v."""
    q, k = _DivideQueries.apply(q, k, scale, visible, 1.0)
    return scaled_dot_product_attention(q, k, v, attn_mask=visible, scale=1.0)


class _DivideQueries(torch.autograd.Function):
    """(q, k) -> (q / min(var^power, 1/s), k - kbar), with a backward pass that needs its outputs only.

    Two outputs, so that both gradients from SDPA arrive here and are completed in place of being added up by autograd.
    Below, S is the scatter matrix n C = sum_j k_j k_j^T of centred keys, so that 1/n acts on rows, not on matrices.
    """

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, scale: Tensor, visible: Tensor | None, power: float):
        with torch.autocast(q.device.type, enabled=False):
            keys, count = _centred(k, visible)
            queries = q.to(keys.dtype, copy=True, memory_format=torch.contiguous_format)
            scatter = keys.mT @ keys  # (B, H, D, D)
            variance = (queries @ scatter).mul_(queries).sum(-1, keepdim=True) / count  # (B, H, Q, 1)
            spread = variance.clamp_min(SMALLEST_VARIANCE).pow(power)
            factor = torch.fmax(1 / spread, scale)  # 1 / min(spread, 1/s); s where the spread overflows
            queries.mul_(factor)
            queries, keys = _in_range(queries, q.dtype), keys.to(k.dtype)
            bounded = factor <= scale
            free = ~bounded & (variance >= SMALLEST_VARIANCE)  # the rows whose factor follows their variance
            rate = torch.where(free, factor ** (1 / power - 2), 0) * (-2 * power / count)
            ctx.save_for_backward(queries, keys, scatter, factor, rate, bounded)
            ctx.q_dtype, ctx.k_dtype, ctx.scale_dtype, ctx.scale_shape = q.dtype, k.dtype, scale.dtype, scale.shape
            return queries, keys

    @staticmethod
    @once_differentiable
    def backward(ctx, queries_grad: Tensor, keys_grad: Tensor):
        queries, keys, scatter, factor, rate, bounded = ctx.saved_tensors
        with torch.autocast(queries.device.type, enabled=False):
            queries, keys, queries_grad = (x.to(scatter.dtype) for x in (queries, keys, queries_grad))
            rows = torch.mul(queries, queries_grad, out=torch.empty_like(queries))
            along = rows.sum(-1, keepdim=True)  # d loss / d log factor
            torch.mul(queries, along * rate, out=rows)  # and on through the variance
            scatter_grad = queries.mT @ rows  # 2 d loss / d S
            q_grad = (rows @ scatter).add_(queries_grad).mul_(factor)
            del rows  # fresh memory costs as much as a product: k_grad takes its place
            k_grad = (keys @ scatter_grad).add_(keys_grad)
            scale_grad = None
            if ctx.needs_input_grad[2]:
                scale_grad = (along / factor * bounded).sum_to_size(ctx.scale_shape).to(ctx.scale_dtype)
        return q_grad.to(ctx.q_dtype), k_grad.to(ctx.k_dtype), scale_grad, None, None


def _centred(k: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor | int]:
    """Keys minus the visible ones' mean, 0 where hidden, contiguous, at least float32; how many are visible, or 1."""
    dtype = torch.promote_types(k.dtype, torch.float32)
    centred = torch.empty(k.shape, dtype=dtype, device=k.device)
    if visible is None:
        return torch.sub(k, k.mean(-2, keepdim=True, dtype=dtype), out=centred), k.shape[-2]
    seen = visible.mT  # (B, 1, K, 1)
    count = seen.sum(-2, keepdim=True, dtype=dtype).clamp_min(1)
    mean = k.where(seen, 0).sum(-2, keepdim=True, dtype=dtype) / count
    return torch.sub(k, mean, out=centred).masked_fill_(~seen, 0), count


def _in_range(x: Tensor, dtype: torch.dtype) -> Tensor:
    """``x`` as ``dtype``, with the largest value for infinity: float16 ends at 65504, and infinity * 0 is no logit."""
    return x if x.dtype == dtype else x.clamp_(-torch.finfo(dtype).max, torch.finfo(dtype).max).to(dtype)
