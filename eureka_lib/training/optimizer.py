"""AdamW as the paper uses it: no weight decay on biases, norms, positions and the CLS token."""

import torch
from torch import nn


def adamw(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over two groups of the model's parameters: decayed (matrices and kernels) and not decayed.

    Not decayed are all parameters of fewer than two dimensions, that is biases and norms, and those that the model
    names in ``no_weight_decay()``.
    """
    spared = model.no_weight_decay()
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        (free if parameter.ndim < 2 or name in spared else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)
