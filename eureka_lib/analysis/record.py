"""Look into a network from outside, with hooks; its forward pass does not know.

``with record(modules) as trace: model(x)`` collects what the named modules return. Nothing is changed, so a training
that is looked at between its steps gives the same result, bit for bit, as one that is not. Inside the ``with``,
attention is computed in another order, because all its weights must exist: the same outputs, to rounding.
``look_inside`` uses it to take a vision transformer apart: queries, keys, values, attention, what each head says, what
each block leaves.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@contextmanager
def record(
    modules: Mapping[str, nn.Module], inputs: bool = False, gradients: bool = False
) -> Iterator[dict[str, Tensor]]:
    """Collect the latest output (or first input, with ``inputs``) of each of ``modules`` under its name.

    What is collected is detached; with ``gradients`` it is the tensor itself, whose ``.grad`` is there after backward.
    """
    trace: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            value = given[0] if inputs else output
            if gradients:
                value.retain_grad()
            trace[name] = value if gradients else value.detach()

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Inside:
    """What one block made of B images of T tokens, with H heads of D features and width C = H D."""

    q: Tensor  # (B, H, T, D)
    k: Tensor  # (B, H, T, D)
    v: Tensor  # (B, H, T, D)
    attention: Tensor  # (B, H, T, T): weights, rows sum to 1
    heads: Tensor  # (B, H, T, D): what each head says, before they are mixed
    output: Tensor  # (B, T, C): what the block leaves in the residual stream


def look_inside(model: nn.Module, images: Tensor) -> list[Inside]:
    """Every block of a vision transformer (``models.vit.ViT``) at work on ``images``, first to last; no gradients.

    Token 0 is CLS; the others are the patches, row by row.
    """
    blocks = dict(enumerate(model.blocks))
    layers = {i: block.attention for i, block in blocks.items()}
    qkv, weights, mixers = ({i: getattr(a, part) for i, a in layers.items()} for part in ("qkv", "weights", "out"))
    with torch.no_grad(), record(qkv) as made, record(weights) as maps, record(mixers, inputs=True) as said:
        with record(blocks) as left:
            model(images)
    return [
        Inside(*layer.split_features(made[i]), maps[i], *layer.split_features(said[i]), left[i])
        for i, layer in layers.items()
    ]


def normalised_entropy(weights: Tensor) -> Tensor:
    """Entropy of each attention row over log(K): (..., Q, K) -> (..., Q), 1 for uniform rows, 0 for one-hot ones."""
    return torch.special.entr(weights).sum(-1) / max(math.log(weights.shape[-1]), 1e-12)  # one key: 0
