"""The optimisers: AdamW as the paper uses it, SGD to see what depends on AdamW, and another rate for some weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MOMENTUM = 0.9
OPTIMIZERS = {
    "adamw": lambda groups, rate: torch.optim.AdamW(groups, lr=rate, fused=True),
    # The size of a gradient counts here, which AdamW divides out.
    "sgd": lambda groups, rate: torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM),
}


def build(name: str, model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """The optimiser ``name`` over two groups of the model's parameters: decayed (matrices, kernels) and not decayed.

    Not decayed are all parameters of fewer than two dimensions, that is biases and norms, and those that the model
    names in ``no_weight_decay()`` (positions and the CLS token), as in the paper.
    """
    spared = model.no_weight_decay()
    decayed, free = [], []
    for parameter_name, parameter in model.named_parameters():
        (free if parameter.ndim < 2 or parameter_name in spared else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    return OPTIMIZERS[name](groups, learning_rate)


def scale_rate(optimizer: torch.optim.Optimizer, weights: Sequence[Tensor], factor: float) -> None:
    """Multiply the learning rate of ``weights`` by ``factor``; they may be views of a part of a parameter.

    Both optimisers' steps, decay included, are proportional to the rate, so each step is rescaled afterwards.
    """
    before: list[Tensor] = []
    optimizer.register_step_pre_hook(lambda *_: before.extend(part.clone() for part in weights))

    def rescale(*_: object) -> None:
        for part, old in zip(weights, before, strict=True):
            part.copy_(old + factor * (part - old))
        before.clear()

    optimizer.register_step_post_hook(rescale)
