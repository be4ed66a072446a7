"""What turns the logits q·k into attention weights: the paper's whole subject, in functions of a few lines.

A *normaliser* is a pure function ``(logits, scale) -> weights`` of the unscaled logits q·k, shape (..., Q, K), and the
scale s that multiplies them (temperature tau = 1/s). The paper's names are the keys of :data:`NORMALISERS`. To try an
attention of your own, write such a function and add it there; every model of the library takes it by name.

The library's own normalisers take a third argument, ``visible``: None, or boolean and broadcastable to the logits,
False for keys that a row must not see, such as padding (B, 1, 1, K) or the future (Q, K). Their statistics are over
the visible keys only; a row that sees none has weights of 0.

Logits and all that is computed from them are float32 at least, in half precision and under autocast, too: a row's
spread is a small difference between numbers that bfloat16 and float16 cannot tell apart.

The paper's three are here, today's others in :mod:`eureka_lib.attention.zoo`. A normaliser may learn a number per head
if :data:`LEARNED` has its name, and have something done to queries and keys before their product if :data:`QUERY_KEY`
has.

For long rows nobody needs to see, :mod:`eureka_lib.attention.fused` has the paper's without the matrix of logits.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from eureka_lib.attention import fused, zoo
from eureka_lib.attention.fused import SMALLEST_VARIANCE
from eureka_lib.attention.masks import masked_softmax
from eureka_lib.validation import check_choice, check_divides, check_whole

Normaliser = Callable[..., Tensor]


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


NORMALISERS: dict[str, Normaliser] = {
    "softmax": softmax,
    "norm_softmax": norm_softmax,
    "norm_softmax_var": norm_softmax_var,
    "softmax1": zoo.softmax1,
    "attention_sink": zoo.attention_sink,
    "scalable_softmax": zoo.scalable_softmax,
    "learnable_temperature": zoo.learnable_temperature,
    "qk_norm": zoo.qk_norm,
    "sigmoid": zoo.sigmoid,
    "sparsemax": zoo.sparsemax,
    "entmax15": zoo.entmax15,
    "sinkhorn": zoo.sinkhorn,
    "qr": zoo.qr,
}
# By name: where the number per head starts that a normaliser learns; it receives it as ``learned``, shape (H, 1, 1).
LEARNED: dict[str, float] = {
    "attention_sink": 0.0,
    "scalable_softmax": 1.0,
    "learnable_temperature": 1.0,
    "qk_norm": 1.0,
}
# By name: what is done to queries (B, H, Q, D) and to keys (B, H, T, D) before their product.
QUERY_KEY: dict[str, Callable[[Tensor], Tensor]] = {"qk_norm": zoo.unit_rms}
FUSED: dict[Normaliser, fused.Fused] = {
    softmax: fused.softmax,
    norm_softmax: fused.norm_softmax,
    norm_softmax_var: fused.norm_softmax_var,
}
# Those of which a row of weights depends on its own logits alone.
ROW_WISE: frozenset[Normaliser] = frozenset(NORMALISERS.values()) - {zoo.sinkhorn, zoo.qr}


def fused_form(normaliser: Normaliser, keys: int, visible: Tensor | None = None) -> fused.Fused | None:
    """The fused form to use in place of ``normaliser``, or None where the naive one must or should be used.

    It must where there is no other (a normaliser of one's own) or where rows see different keys (a causal mask), so
    that each would need a covariance for itself; it should where rows are shorter than ``fused.LEAST_KEYS``.
    """
    own_keys = visible is not None and visible.shape[-2] > 1
    return None if own_keys or keys < fused.LEAST_KEYS else FUSED.get(normaliser)


def check_transformer(config: Any) -> None:
    """Raise TypeError or ValueError unless ``config`` has blocks, a width that its heads divide, and an attention."""
    for field in ("depth", "width", "heads"):
        check_whole(field, getattr(config, field), 1)
    check_divides("heads", config.heads, "width", config.width)
    check_choice("attention", config.attention, NORMALISERS)


class AttentionWeights(nn.Module):
    """A normaliser with its scale, as a module of its own so that a forward hook can watch logits and weights.

    The scale is a buffer: a schedule may change it during training, and a checkpoint keeps the one it was trained with.
    ``learned`` is a parameter (H,) for a normaliser that :data:`LEARNED` names, and None for others. ``may_fuse`` False
    asks for the naive form always.
    """

    may_fuse = True

    def __init__(self, attention: str, scale: float, heads: int = 1):
        super().__init__()
        self.normaliser = NORMALISERS[check_choice("attention", attention, NORMALISERS)]
        start = LEARNED.get(attention)
        self.learned = None if start is None else nn.Parameter(torch.full((heads,), start))
        self.register_buffer("scale", torch.tensor(float(scale)))
        self.register_buffer("usual_scale", self.scale.clone(), persistent=False)

    def set_factor(self, factor: float) -> None:
        """Make the scale ``factor`` times the one that the model was built with."""
        torch.mul(self.usual_scale, factor, out=self.scale)

    @property
    def is_row_wise(self) -> bool:
        """Whether a row of weights is known to depend on its own logits alone; nothing is known of one's own."""
        return self.normaliser in ROW_WISE

    def forward(self, logits: Tensor, visible: Tensor | None = None) -> Tensor:
        """Unscaled logits (B, H, Q, K) -> weights (B, H, Q, K)."""
        mask = () if visible is None else (visible,)  # a normaliser of one's own need not know of masks
        learned = {} if self.learned is None else {"learned": self.learned[:, None, None]}  # nor of learned numbers
        return self.normaliser(logits, self.scale.to(logits.dtype), *mask, **learned)


def is_watched(module: nn.Module) -> bool:
    """Whether a hook on ``module``, or on one inside it, waits for what it makes, so that all of it must exist."""
    return any(
        part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
        for part in module.modules()
    )


class MultiHeadAttention(nn.Module):
    """Multi-head self-attention with a swappable normaliser, no bias in q, k, v (the paper's ViT).

    While nobody watches its ``weights``, long rows take the normaliser's fused form, which gives the same to rounding.
    ``scale`` None means 1/sqrt(d_head). Raises ValueError if ``heads`` does not divide ``width``, or for an unknown
    ``attention``.
    """

    def __init__(self, width: int, heads: int, attention: str = "softmax", scale: float | None = None):
        super().__init__()
        check_divides("heads", heads, "width", width)
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.weights = AttentionWeights(attention, (width // heads) ** -0.5 if scale is None else scale, heads)
        self.prepare = QUERY_KEY.get(attention)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, visible: Tensor | None = None, queries: int | None = None) -> Tensor:
        """Tokens (B, T, C) -> (B, T, C), or (B, Q, C) for the first Q = ``queries`` of them, if so few are needed.

        ``visible`` is None or boolean (B, T), False for padding.
        """
        batch, tokens, width = x.shape
        visible = None if visible is None else visible[:, None, None, :]
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))  # each (B, H, T, D)
        if self.prepare is not None:
            q, k = self.prepare(q), self.prepare(k)
        mixed = self._mix(q[:, :, :queries], k, v, visible)
        return self.out(mixed.transpose(1, 2).reshape(batch, -1, width))

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Tensor:
        form = fused_form(self.weights.normaliser, k.shape[-2], visible)
        if form is not None and self.weights.may_fuse and not is_watched(self.weights):
            return form(q, k, v, self.weights.scale, visible)
        dtype = torch.promote_types(q.dtype, torch.float32)
        with torch.autocast(q.device.type, enabled=False):  # which would lower the products again
            logits = q.to(dtype) @ k.to(dtype).transpose(-2, -1)  # (B, H, Q, T)
            return (self.weights(logits, visible=visible) @ v.to(dtype)).to(v.dtype)  # (B, H, Q, D)

    def split_qkv(self, rows: Tensor) -> Tensor:
        """A tensor laid out as the qkv weight, (3C, C), viewed as (3, H, D, C): W_Q, W_K, W_V, head by head."""
        return rows.view(3, self.heads, -1, rows.shape[-1])
