"""Look into a network from outside, with hooks; its forward pass does not know.

``with record(modules) as trace: model(x)`` collects what the named modules return. Nothing is changed, so a training
that is looked at between its steps gives the same result, bit for bit, as one that is not. Inside the ``with``, long
rows of attention are computed in another order, because their weights must exist: the same outputs, to rounding.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def record(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Collect the latest output of each of ``modules``, detached, under its name."""
    trace: dict[str, Tensor] = {}

    def keep(name: str):
        return lambda module, inputs, output: trace.__setitem__(name, output.detach())

    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def normalised_entropy(weights: Tensor) -> Tensor:
    """Entropy of each attention row over log(K): (..., Q, K) -> (..., Q), 1 for uniform rows, 0 for one-hot ones."""
    return torch.special.entr(weights).sum(-1) / max(math.log(weights.shape[-1]), 1e-12)  # one key: 0
