"""Other replacements of softmax, made for quiet heads, long contexts, sparse or doubly stochastic weights.

Each function is a normaliser as in :mod:`eureka_lib.attention.normalisers`, ``(logits, scale, visible=None)`` with
unscaled logits (..., Q, K). Some learn a number per head, the keyword ``learned`` of shape (H, 1, 1). Below, z = s q·k
are the scaled logits of a row, and n is its number of visible keys; if there are none, its weights are 0.

Not all of them give rows that sum to 1: with :func:`softmax1` and :func:`attention_sink` it is less, with
:func:`sigmoid` anything up to n. :func:`sinkhorn` and :func:`qr` look at all rows at once, so they need as many queries
as keys, and take no masks.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from eureka_lib.attention.normalisers import (
    SMALLEST_VARIANCE,
    log_visible,
    masked_logits,
    masked_softmax,
    seeing_all_if_none,
    zero_blind_rows,
)

SINKHORN_STEPS = 5  # normalisations, odd: of rows, columns, rows, ... ; the published number is not known to us
QR_NOISE = 1e-7  # standard deviation of what is added to the logits, for where their rank is deficient (published)
LEAST_MEAN_SQUARE = 1e-6  # of queries and keys, below which they are no longer brought to unit size


def softmax1(logits: Tensor, scale: Tensor, visible: Tensor | None = None) -> Tensor:
    """exp(z_j) / (1 + sum_i exp(z_i)) (Miller 2023, "Attention is off by one"): a head may attend to nothing."""
    return _softmax_with_one_more(masked_logits(logits * scale, visible), logits.new_zeros(()))


def attention_sink(logits: Tensor, scale: Tensor, visible: Tensor | None = None, *, learned: Tensor) -> Tensor:
    """exp(z_j) / (exp(b) + sum_i exp(z_i)), b a learned logit per head, a key without a value.

    It takes the attention that language models otherwise pile up on the first token (Xiao et al. 2023, "Efficient
    streaming language models with attention sinks"; as such a logit in gpt-oss, OpenAI 2025). Where b starts, at 0, it
    is :func:`softmax1`.
    """
    return _softmax_with_one_more(masked_logits(logits * scale, visible), learned)


def _softmax_with_one_more(z: Tensor, other: Tensor) -> Tensor:
    """Softmax over the keys and an additional logit ``other``, whose weight is dropped."""
    return torch.cat([z, other.to(z.dtype).expand(*z.shape[:-1], 1)], dim=-1).softmax(dim=-1)[..., :-1]


def scalable_softmax(logits: Tensor, scale: Tensor, visible: Tensor | None = None, *, learned: Tensor) -> Tensor:
    """n^(a z_j) / sum_i n^(a z_i) = softmax(a log n z), a learned per head (Nakanishi 2025, "Scalable-softmax").

    Made for contexts of many lengths, in which plain softmax fades. Where all rows see the same number of keys, as in
    our tasks, it is :func:`learnable_temperature` with another start, log n in place of 1.
    """
    return masked_softmax(logits * (scale * learned * log_visible(logits, visible)), visible)


def learnable_temperature(logits: Tensor, scale: Tensor, visible: Tensor | None = None, *, learned: Tensor) -> Tensor:
    """softmax(a z), a learned per head, starting at 1 (as in Lee et al. 2021, "Vision transformer for small-size")."""
    return masked_softmax(logits * (scale * learned), visible)


def qk_norm(logits: Tensor, scale: Tensor, visible: Tensor | None = None, *, learned: Tensor) -> Tensor:
    """softmax(a z) of queries and keys that were brought to unit size first, a learned per head (Henry et al. 2020).

    The logits are then bounded whatever W_Q and W_K are: |z| <= a sqrt(D). The first half is :func:`unit_rms`, which
    the attention applies to q and k. Henry et al. start at max |z| = log2(n^2 - n); ours start at a = 1.
    """
    return learnable_temperature(logits, scale, visible, learned=learned)


def unit_rms(features: Tensor) -> Tensor:
    """Queries or keys (..., D), each divided by its root mean square; very small ones stay small."""
    return features * (features.square().mean(dim=-1, keepdim=True) + LEAST_MEAN_SQUARE).rsqrt()


def sigmoid(logits: Tensor, scale: Tensor, visible: Tensor | None = None) -> Tensor:
    """sigmoid(z - log n), each key for itself (Ramapuram et al. 2024, "Theory, analysis ... of sigmoid attention").

    The bias -log n makes small logits start with weights near 1/n. No key competes with another.
    """
    return torch.sigmoid(masked_logits(logits * scale - log_visible(logits, visible), visible))


def sparsemax(logits: Tensor, scale: Tensor, visible: Tensor | None = None) -> Tensor:
    """The point of the simplex that is nearest to z, max(z_j - t, 0) (Martins & Astudillo 2016): many weights are 0.

    The threshold t makes the row sum to 1. Over the k largest z it would be t_k = (their sum - 1) / k; it is the last
    t_k that lies below the k-th largest.
    """
    z = _below_the_top(logits * scale, visible)
    top, k = _descending(z)
    return zero_blind_rows((z - _last_below((top.cumsum(dim=-1) - 1) / k, top)).relu(), visible)


def entmax15(logits: Tensor, scale: Tensor, visible: Tensor | None = None) -> Tensor:
    """max(z_j / 2 - t, 0)^2, half-way from softmax to sparsemax (Peters et al. 2019, "Sparse sequence-to-sequence").

    The threshold t makes the row sum to 1. Over the k largest z / 2, with mean m and sum of squared deviations d, it
    would be t_k = m - sqrt((1 - d) / k); it is the last t_k that lies below the k-th largest.
    """
    z = _below_the_top(logits * (scale / 2), visible)
    top, k = _descending(z)
    mean = top.cumsum(dim=-1) / k
    deviations = top.square().cumsum(dim=-1) - k * mean.square()
    candidates = mean - ((1 - deviations) / k).clamp_min(SMALLEST_VARIANCE).sqrt()
    return zero_blind_rows((z - _last_below(candidates, top)).relu().square(), visible)


def _below_the_top(z: Tensor, visible: Tensor | None) -> Tensor:
    """Logits with 0 for a row's largest, at least float32, and no lower than -1, where these two have no weight left.

    Shifting a row changes nothing. The bound keeps hidden keys finite, and sums of large logits exact.
    """
    z = masked_logits(z.to(torch.promote_types(z.dtype, torch.float32)), seeing_all_if_none(visible))
    return (z - z.detach().amax(dim=-1, keepdim=True)).clamp_min(-1)


def _descending(z: Tensor) -> tuple[Tensor, Tensor]:
    """Each row from its largest value on, and their ranks 1, 2, ..., K."""
    return z.sort(dim=-1, descending=True).values, torch.arange(1, z.shape[-1] + 1, device=z.device, dtype=z.dtype)


def _last_below(thresholds: Tensor, top: Tensor) -> Tensor:
    """The last of a row's thresholds that lies below its value of ``top``; they ascend up to there."""
    return thresholds.where(thresholds < top, -torch.inf).amax(dim=-1, keepdim=True)


def sinkhorn(logits: Tensor, scale: Tensor, visible: Tensor | None = None) -> Tensor:
    """exp(z) with rows and columns normalised in turn, first and last the rows (Sander et al. 2022, "Sinkformers").

    Rows sum to 1; so do columns, the more precisely the more steps (``SINKHORN_STEPS``) are taken: every key is looked
    at. One step alone is softmax. Logits (..., N, N); raises ValueError for others, and for masks.
    """
    _check_square("sinkhorn", logits, visible)
    log_weights = logits * scale
    for step in range(SINKHORN_STEPS):
        log_weights = log_weights.log_softmax(dim=-1 if step % 2 == 0 else -2)
    return log_weights.exp()


def qr(logits: Tensor, scale: Tensor, visible: Tensor | None = None) -> Tensor:
    """U * U elementwise, U the orthonormal factor of the logits' QR decomposition (Born et al. 2025).

    Columns and rows of U have length 1, so those of the weights sum to 1, exactly. U does not know how large the logits
    are: the scale cancels, and with it every temperature. It is found column by column, so the order of the keys
    matters, that of the queries does not. Logits (..., N, N); raises ValueError for others, and for masks.

    Where their rank is deficient U is not unique, and its gradient unbounded. A little noise decides, always the same,
    so that this remains a function; it is added everywhere, since elsewhere it does not matter, and in float64, where
    it is not rounded away. More tokens than features per head always are deficient: then this is of little use.
    """
    _check_square("qr", logits, visible)
    noise = torch.from_numpy(_noise(logits.shape[-1])).to(logits.device)
    return torch.linalg.qr(logits.double() + noise).Q.square().to(logits.dtype)


@cache
def _noise(size: int) -> np.ndarray:
    """(N, N), always the same, so that equal logits have equal weights."""
    return QR_NOISE * np.random.default_rng(0).standard_normal((size, size))


def _check_square(name: str, logits: Tensor, visible: Tensor | None) -> None:
    queries, keys = logits.shape[-2:]
    if queries != keys:
        raise ValueError(
            f"{name} normalises over queries, too, and needs as many of them as keys: got {queries} queries and {keys} "
            f"keys; allowed are {keys} and {keys}, or a normaliser of single rows, such as 'softmax'"
        )
    if visible is not None:
        raise ValueError(
            f"{name} normalises over queries, too, and knows no masks, but this model has one (padding or the future): "
            "allowed is visible=None, or a normaliser of single rows, such as 'softmax'"
        )
