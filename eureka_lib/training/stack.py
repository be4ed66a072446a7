"""Several models of one shape as one: a single forward and backward pass serves them all.

Small models leave a processor idle between their many small operations. Here their parameters are stacked, and every
operation runs once for all of them (torch.func's ``vmap``). The models themselves stay what they were: their own
parameters receive their own gradients, so optimisers, schedules and measurements need not know. A model's result is the
same as alone, up to the rounding of matrix products in another order.
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap


class Stack:
    """Forward pass of several models at once, for :func:`eureka_lib.training.loop.train_together`.

    The models must have one architecture and draw no random numbers in their forward pass (no stochastic depth).
    """

    def __init__(self, model: nn.Module):
        self.skeleton = deepcopy(model).to("meta")
        for module in self.skeleton.modules():
            if hasattr(module, "may_fuse"):
                module.may_fuse = False  # vmap has no rule for fused attention

    def __call__(self, models: Sequence[nn.Module], inputs: Sequence[Tensor]) -> Tensor:
        """Outputs (S, B, ...) of S models for their own inputs, S times (B, ...)."""
        if len(models) == 1:
            return models[0](inputs[0])[None]
        states = [dict([*model.named_parameters(), *model.named_buffers()]) for model in models]
        stacked = {name: torch.stack([state[name] for state in states]) for name in states[0]}
        return vmap(self._one)(stacked, torch.stack(list(inputs)))

    def _one(self, state: dict[str, Tensor], inputs: Tensor) -> Tensor:
        return functional_call(self.skeleton, state, (inputs,))
