"""Record a network's intermediate results with hooks.

``with record(modules) as trace: model(x)`` collects the outputs of named modules. A training that is measured between
its steps gives the same result, bit for bit. Inside the ``with``, attention is computed without short cuts: the same
outputs, to rounding. ``record_blocks`` records a vision transformer: queries, keys, values, attention, heads, outputs.
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

    Tensors are detached, unless with ``gradients``: then their ``.grad`` is there after the backward pass.
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
class BlockRecord:
    """One block's results for B images of T tokens, with H heads of D features and width C = H D."""

    q: Tensor  # (B, H, T, D)
    k: Tensor  # (B, H, T, D)
    v: Tensor  # (B, H, T, D)
    attention: Tensor  # (B, H, T, T): weights, rows sum to 1
    heads: Tensor  # (B, H, T, D): outputs of the heads, before they are mixed
    output: Tensor  # (B, T, C): the residual stream after the block


def record_blocks(model: nn.Module, images: Tensor) -> list[BlockRecord]:
    """Results of every block of a vision transformer (``models.vit.ViT``) for ``images``, first to last; no gradients.

    Tokens are CLS, if there is one, and the patches, row by row.
    """
    blocks = dict(enumerate(model.blocks))
    layers = {i: block.attention for i, block in blocks.items()}
    qkv, weights, mixers = ({i: getattr(a, part) for i, a in layers.items()} for part in ("qkv", "weights", "out"))
    with torch.no_grad(), record(qkv) as made, record(weights) as maps, record(mixers, inputs=True) as heads:
        with record(blocks) as outputs:
            model(images)
    return [
        BlockRecord(*layer.split_features(made[i]), maps[i], *layer.split_features(heads[i]), outputs[i])
        for i, layer in layers.items()
    ]


def normalised_entropy(weights: Tensor) -> Tensor:
    """Entropy of each attention row over log(K): (..., Q, K) -> (..., Q), 1 for uniform rows, 0 for one-hot ones."""
    return torch.special.entr(weights).sum(-1) / max(math.log(weights.shape[-1]), 1e-12)  # one key: 0
