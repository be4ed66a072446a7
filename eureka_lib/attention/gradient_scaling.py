"""The paper's gradient-scaling baselines: enlarge the gradients of W_Q and W_K, which softmax starves.

Each function takes the gradient of one layer's stacked W_Q, W_K, W_V as (3, H, D, C): matrix, head, feature of the
head, input feature. It returns a gradient of the same shape, whose parts are scaled to equal mean absolute values.
Directions do not change.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Q, K, V = range(3)


def to_block_mean(gradient: Tensor) -> Tensor:
    """Scale W_Q, W_K and W_V to their common mean size."""
    size = gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
    return gradient * _ratio(size.mean(), size)


def to_value_mean(gradient: Tensor) -> Tensor:
    """Scale W_Q and W_K to the size of W_V."""
    size = gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
    return gradient * _ratio(size[V], size)


def to_value_mean_per_head(gradient: Tensor) -> Tensor:
    """Scale each head's W_Q and W_K to the size of that head's W_V."""
    size = gradient.abs().mean(dim=(2, 3), keepdim=True)
    return gradient * _ratio(size[V], size)


def _ratio(wanted: Tensor, size: Tensor) -> Tensor:
    """wanted / size; 1 where there is no gradient to scale."""
    return torch.where(size > 0, wanted / size, torch.ones_like(size))


GRADIENT_SCALINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "to_block_mean": to_block_mean,
    "to_value_mean": to_value_mean,
    "to_value_mean_per_head": to_value_mean_per_head,
}
