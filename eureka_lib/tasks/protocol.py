"""What a training asks of a task, whatever the task is about: batches, a loss, and an evaluation on test samples.

A task is made from its configuration and a device. Everything random comes from the ``torch.Generator`` passed in and
lives on that generator's device. Any class with these methods is a task; none needs to inherit from anything here.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

EVALUATION_SEED = 20240721  # draws the test samples, the same ones for every run
EVALUATION_CHUNK = 500  # test samples that go through a network at once: more leave a CPU's cache

Pair = tuple[Tensor, Tensor]  # inputs and labels, both (B, ...)
Loss = Callable[[Tensor, Tensor], Tensor]  # (outputs, labels) -> the mean loss, a scalar


class Task(Protocol):
    """The frame; a class of the task's configuration is its ``config_class``."""

    config_class: type

    def __init__(self, config: Any, device: torch.device | str = "cpu"): ...

    @classmethod
    def checksums(cls, config: Any) -> dict[str, str]:
        """SHA-256 of each data source that the task draws from, by its name; none if all is drawn at random."""

    def pairs(self, generator: torch.Generator, batch_size: int) -> Iterator[Pair]:
        """Training batches without end."""

    def loss(self, label_smoothing: float) -> Loss:
        """What is minimised."""

    def test_set(self, n: int) -> list[Pair]:
        """``n`` test samples in large batches, the same ones at every call."""

    def evaluate(self, model: nn.Module, test_set: list[Pair], loss: Loss) -> dict[str, float]:
        """Means over the test set for a history's row: "test_loss", and whatever else tells how far a network is."""


def evaluation_generator(device: torch.device | str) -> torch.Generator:
    """The generator that draws test samples."""
    return torch.Generator(device).manual_seed(EVALUATION_SEED)
