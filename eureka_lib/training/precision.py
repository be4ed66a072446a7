"""Mixed precision as a wrapper of the model."""

import torch
from torch import Tensor, nn

PRECISIONS = ("float32", "bfloat16")


class Autocast(nn.Module):
    """Runs ``model`` under bfloat16 autocast; parameters, gradients and outputs stay float32."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """The model's output for ``inputs``, as float32."""
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16):
            return self.model(inputs).float()


def with_precision(model: nn.Module, precision: str) -> nn.Module:
    """``model`` itself for "float32", or its bfloat16 autocast."""
    return Autocast(model) if precision == "bfloat16" else model
