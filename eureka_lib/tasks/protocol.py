"""The protocol of a task: training batches, a loss, and an evaluation on test samples.

Any class with these methods is a task; nothing has to be inherited. Random numbers come from the ``torch.Generator``
that is passed in, and samples lie on its device.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

EVALUATION_SEED = 20240721  # of the test samples, the same ones for every run
EVALUATION_CHUNK = 500  # test samples per forward pass: more overflow a CPU's cache

Pair = tuple[Tensor, Tensor]  # inputs and labels, both (B, ...)
Loss = Callable[[Tensor, Tensor], Tensor]  # (outputs, labels) -> the mean loss, a scalar


class Task(Protocol):
    """A task; ``config_class`` is the dataclass of its configuration."""

    config_class: type

    def __init__(self, config: Any, device: torch.device | str = "cpu"): ...

    @classmethod
    def checksums(cls, config: Any) -> dict[str, str]:
        """SHA-256 of each data source by its name; none for synthetic data."""

    def pairs(self, generator: torch.Generator, batch_size: int) -> Iterator[Pair]:
        """Endless training batches."""

    def loss(self, label_smoothing: float) -> Loss:
        """The training loss."""

    def test_set(self, n: int) -> list[Pair]:
        """``n`` test samples in large batches, the same ones at every call."""

    def evaluate(self, model: nn.Module, test_set: list[Pair], loss: Loss) -> dict[str, float]:
        """Metrics for a history's row, means over the test set: "test_loss" and others."""


def evaluation_generator(device: torch.device | str) -> torch.Generator:
    """The generator of the test samples."""
    return torch.Generator(device).manual_seed(EVALUATION_SEED)
