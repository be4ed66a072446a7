"""What an experiment does to a model's attention while it trains, and what is measured of it on the way."""

import torch
from torch import Tensor, nn

from eureka_lib.analysis.gradients import weight_gradients
from eureka_lib.analysis.record import normalised_entropy, record
from eureka_lib.attention.gradient_scaling import GRADIENT_SCALINGS
from eureka_lib.attention.heat import heat
from eureka_lib.training import optimizer


class Treatment:
    """A fix applied to a model in training: the attention's scale over the steps, and W_Q's and W_K's gradients.

    ``fix`` is a FixConfig. Whatever has attention takes its scale by ``set_scale_factor``; gradients and rates of W_Q
    and W_K are a vision transformer's.
    """

    def __init__(self, model: nn.Module, fix, steps: int):
        self.model, self.fix, self.steps = model, fix, steps
        self.layers = attention_layers(model)
        self.set_scale(0)

    def set_scale(self, step: int) -> None:
        """Before a step: the scale that the schedule asks for (Heat Treatment)."""
        if hasattr(self.model, "set_scale_factor"):
            self.model.set_scale_factor(heat(step, self.steps, self.fix.scale_start, self.fix.scale_schedule))

    def scale_gradients(self) -> None:
        """Between backward and update: scale the gradients of W_Q, W_K and W_V, if the fix asks for it."""
        if self.fix.gradient_scaling != "none":
            for layer in self.layers:
                gradient = layer.split_weight(layer.qkv.weight.grad)
                gradient.copy_(GRADIENT_SCALINGS[self.fix.gradient_scaling](gradient))

    def scale_rate(self, of: torch.optim.Optimizer) -> None:
        """Once: give W_Q and W_K the learning rate of their own that the fix asks for."""
        if self.fix.query_key_rate != 1:
            optimizer.scale_rate(of, self.model.query_key_weights(), self.fix.query_key_rate)


class AttentionMeasure:
    """Measures the attention of a vision transformer at evaluations; of another model, nothing."""

    def __init__(self, model: nn.Module):
        self.model, self.layers = model, attention_layers(model)
        self.gradient_sizes: dict[str, Tensor] = {}  # the latest

    def see_gradients(self) -> None:
        """Note the mean absolute gradients of W_Q, W_K and W_V, as they are now, mean over layers."""
        if self.layers:
            sizes = weight_gradients(self.layers, [layer.qkv.weight.grad for layer in self.layers]).mean(dim=0)
            self.gradient_sizes = dict(zip(("gradient_q", "gradient_k", "gradient_v"), sizes, strict=True))

    def row(self, images: Tensor) -> dict[str, float]:
        """Mean normalised entropy over all rows, heads and layers for ``images``, and the latest gradient sizes."""
        if not self.layers:
            return {}
        with record({str(i): layer.weights for i, layer in enumerate(self.layers)}) as trace:
            self.model(images)
        entropy = torch.stack([normalised_entropy(weights).mean() for weights in trace.values()]).mean()
        sizes = {name: float(size) for name, size in self.gradient_sizes.items()}
        return {"attention_entropy": float(entropy)} | sizes


def attention_layers(model: nn.Module) -> list[nn.Module]:
    """The attention layers of a model that has them to be seen into, as a ViT has."""
    return model.attention_layers() if hasattr(model, "attention_layers") else []
