"""Fused NormSoftmax beside the attention that it replaces."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from eureka_lib.attention.registry import METHODS
from eureka_lib.benchmark.measure import Row, Setting, compare, peak_memory

HEADS, HEAD_WIDTH = 4, 64  # the paper's ViT
LENGTHS = (17, 65, 197, 1024)  # of a row: the laptop's and up; 197 is the paper's, 14 x 14 and CLS
TOKENS = {"cpu": 2048, "cuda": 2**17}  # of a batch: enough to keep the device busy
SDPA_SLACK = 1.15  # how much above its floor the fused form may be: float32, rows of 197 and longer
NAIVE, SDPA = "naive NormSoftmax", "SDPA softmax"  # the baselines
NAIVE_SHARE = 0.35  # how much of the naive form's time the fused one may take: float32, rows of 1024 and longer


def attention_rows(setting: Setting) -> Iterator[Row]:
    """Fused NormSoftmax against the naive form and against torch's plain attention, forward and backward."""
    for tokens in LENGTHS[:2] if setting.smoke else LENGTHS:
        fused, naive, sdpa = (partial(forward_backward, *case) for case in attention_cases(setting, tokens).values())
        floor, judged = 1 + HEAD_WIDTH / tokens, setting.precision == "float32"
        time, memory = (f"fused NormSoftmax, {what}, {tokens} tokens" for what in ("time", "memory"))
        bar = NAIVE_SHARE if judged and tokens >= 1024 else None
        yield compare(setting, time, NAIVE, fused, naive, bar=bar)
        bar = SDPA_SLACK * floor if judged and tokens >= 197 else None
        yield compare(setting, time, SDPA, fused, sdpa, floor=floor, bar=bar)
        for name, other in {NAIVE: naive, SDPA: sdpa}.items():  # one pair: it is the same every time
            yield compare(setting, memory, name, fused, other, peak_memory, pairs=1)


Case = tuple[Callable[[Tensor, Tensor, Tensor], Tensor], list[Tensor], Tensor]


def attention_cases(setting: Setting, tokens: int) -> dict[str, Case]:
    """Fused, naive and SDPA: each a function of q, k, v, those tensors, laid out as in the model, and a gradient."""
    batch = max(2, TOKENS[setting.device] // tokens)
    options = {"device": setting.device, "dtype": getattr(torch, setting.precision)}
    qkv = torch.randn(batch, tokens, 3, HEADS, HEAD_WIDTH, **options)
    leaves = [part.transpose(1, 2).requires_grad_() for part in qkv.unbind(2)]  # each (B, H, T, D)
    scale = torch.tensor(HEAD_WIDTH**-0.5, device=setting.device)
    method = METHODS["norm_softmax"]
    functions = {
        "fused": lambda q, k, v: method.fused(q, k, v, scale),
        "naive": lambda q, k, v: method.normaliser(q @ k.transpose(-2, -1), scale) @ v,
        "SDPA": scaled_dot_product_attention,
    }
    upstream = torch.randn(leaves[0].shape, **options)
    return {name: (function, leaves, upstream) for name, function in functions.items()}


def forward_backward(function: Callable[..., Tensor], leaves: list[Tensor], upstream: Tensor) -> tuple[Tensor, ...]:
    """The gradients of ``leaves``, for the gradient ``upstream`` of the function's output."""
    return torch.autograd.grad(function(*leaves), leaves, upstream)
