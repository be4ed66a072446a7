"""The main task: two steps to one answer.

An image is a 2 x 2 grid of cells. The top-left and bottom-right cells are *indicators* (digits of class 1 or 2, blue or
red), the top-right and bottom-left cells are *targets* (white). If the indicators show the same class, the label is
the class of the top-right target, otherwise that of the bottom-left one. A network that only classifies targets stays
at 55 %: it needs the second step, comparing the indicators, to know which target counts.

Everything random comes from the ``torch.Generator`` that is passed in, and lives on that generator's device.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from eureka_lib.tasks import theory
from eureka_lib.tasks.images import SPLITS, ImageSet, load_images
from eureka_lib.validation import check_choice, check_real, check_whole

INDICATOR_CLASSES = (1, 2)
BLUE, RED, WHITE = (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (1.0, 1.0, 1.0)
CELL_NAMES = ("top left", "top right", "bottom left", "bottom right")
TOP_LEFT, TOP_RIGHT, BOTTOM_LEFT, BOTTOM_RIGHT = range(4)


@dataclass(frozen=True)
class TwoStepConfig:
    """What defines the task. PAPER.md's main task is ``cell=28`` with MNIST indicators and Fashion-MNIST targets."""

    name: str = "two_step"
    indicator_source: str = "digits"  # where the indicators' images come from
    target_source: str = "digits"  # where the targets' images come from
    cell: int = 8  # pixels per side of a cell; the image has twice that
    colour_noise: float = 0.05  # standard deviation of the noise on each cell's RGB colour
    top_right_probability: float = 0.0  # how often the second indicator copies the first one's class
    pixel_mean: float = 0.0  # subtracted from every pixel; the paper does not normalise
    pixel_std: float = 1.0  # divides every pixel

    def __post_init__(self):
        check_whole("cell", self.cell, 1)
        check_real("colour_noise", self.colour_noise, 0)
        check_real("top_right_probability", self.top_right_probability, 0, 1)
        check_real("pixel_std", self.pixel_std, 1e-6)


@dataclass(frozen=True)
class Batch:
    """Samples of the task, B of them.

    images (B, 3, 2c, 2c) float32; labels (B,) int64; cells (B, 4) int64: the class in each cell, ordered as
    ``CELL_NAMES``; target (B,) int64: which cell's class is the label, ``TOP_RIGHT`` or ``BOTTOM_LEFT``.
    """

    images: Tensor
    labels: Tensor
    cells: Tensor
    target: Tensor


class TwoStepTask:
    """The main task on given image sources: draws batches, and knows its baselines and its derived lines."""

    def __init__(self, config: TwoStepConfig, device: torch.device | str = "cpu"):
        self.config = config
        self._indicators, self._targets = {}, {}
        for split in SPLITS:
            indicators = load_images(config.indicator_source, split, config.cell)
            self._indicators[split] = indicators.of_classes(*INDICATOR_CLASSES).to(device)
            self._targets[split] = load_images(config.target_source, split, config.cell).to(device)
        self.n_classes = self._n_classes()
        self.image_size = 2 * config.cell
        self.p_top_right = config.top_right_probability + (1 - config.top_right_probability) / 2

    @property
    def plateau_accuracy(self) -> float:
        """Derived accuracy of classifying the targets and ignoring the indicators."""
        return theory.plateau_accuracy(self.n_classes, self.p_top_right)

    def plateau_loss(self, label_smoothing: float) -> float:
        """Derived loss (nats) of classifying the targets and ignoring the indicators."""
        return theory.plateau_loss(self.n_classes, label_smoothing, self.p_top_right)

    def floor_loss(self, label_smoothing: float) -> float:
        """Derived loss (nats) of the solved task."""
        return theory.floor_loss(self.n_classes, label_smoothing)

    def sample(
        self, generator: torch.Generator, n: int, split: str = "train", top_right: Tensor | None = None
    ) -> Batch:
        """Draw ``n`` samples; ``top_right`` (n,) fixes which images are the top-right targets.

        Same generator state, same batch. Raises ValueError for an unknown split or a negative ``n``.
        """
        check_choice("split", split, SPLITS)
        check_whole("n", n)
        indicators, targets = self._indicators[split], self._targets[split]
        first = _draw(generator, indicators, n)
        second = self._second_indicator(generator, indicators, first)
        top_right = _draw(generator, targets, n) if top_right is None else top_right
        bottom_left = _draw(generator, targets, n)
        cells = torch.stack(
            [indicators.labels[first], targets.labels[top_right], targets.labels[bottom_left],
             indicators.labels[second]], dim=1
        )  # fmt: skip
        target = self._target(cells)
        grey = torch.stack(
            [indicators.images[first], targets.images[top_right], targets.images[bottom_left],
             indicators.images[second]], dim=1
        )  # fmt: skip
        images = assemble(grey, self._colours(generator, n))
        images = (images - self.config.pixel_mean) / self.config.pixel_std
        return Batch(images, self._labels(cells, target), cells, target)

    def _n_classes(self) -> int:
        return self._targets["train"].n_classes

    def _target(self, cells: Tensor) -> Tensor:
        return select_target(cells)

    def _labels(self, cells: Tensor, target: Tensor) -> Tensor:
        return cells.gather(1, target[:, None])[:, 0]

    def stream(self, generator: torch.Generator, batch_size: int) -> Iterator[Batch]:
        """Training batches without end; in an epoch each training image is the top-right target once.

        A last, smaller batch of an epoch is dropped, as in the paper. Raises ValueError if an epoch is smaller than
        one batch.
        """
        n_images = len(self._targets["train"].labels)
        check_whole("batch_size", batch_size, 1)
        if batch_size > n_images:
            raise ValueError(f"batch_size {batch_size} is larger than the {n_images} training images: allowed are "
                             f"1 to {n_images}; the nearest is {n_images}")  # fmt: skip
        while True:
            order = torch.randperm(n_images, generator=generator, device=generator.device)
            for top_right in order.split(batch_size):
                if len(top_right) == batch_size:
                    yield self.sample(generator, batch_size, "train", top_right)

    def _second_indicator(self, generator: torch.Generator, indicators: ImageSet, first: Tensor) -> Tensor:
        """Another random indicator, or, with probability ``top_right_probability``, one of the first one's class."""
        second = _draw(generator, indicators, len(first))
        if not self.config.top_right_probability:
            return second
        copy = torch.rand(len(first), generator=generator, device=generator.device) < self.config.top_right_probability
        for value in INDICATOR_CLASSES:
            members = (indicators.labels == value).nonzero()[:, 0]
            pick = torch.randint(len(members), (len(first),), generator=generator, device=generator.device)
            second = torch.where(copy & (indicators.labels[first] == value), members[pick], second)
        return second

    def _colours(self, generator: torch.Generator, n: int) -> Tensor:
        """RGB of each cell (n, 4, 3): indicators blue or red, targets white, Gaussian noise on all, not clipped."""
        device = generator.device
        palette = torch.tensor([BLUE, RED, WHITE], device=device)
        choice = torch.full((n, 4), 2, device=device)
        choice[:, [TOP_LEFT, BOTTOM_RIGHT]] = torch.randint(2, (n, 2), generator=generator, device=device)
        return palette[choice] + self.config.colour_noise * torch.randn(n, 4, 3, generator=generator, device=device)


class TargetsOnlyTask(TwoStepTask):
    """A control of one step: the same images, but the label is always the top-right target's class.

    There is nothing to compare, so the plateau and the floor are one and the same, and accuracy has no plateau.
    """

    @property
    def plateau_accuracy(self) -> float:
        """1: classifying the target solves the task."""
        return 1.0

    def plateau_loss(self, label_smoothing: float) -> float:
        """The floor: classifying the target solves the task."""
        return self.floor_loss(label_smoothing)

    def _target(self, cells: Tensor) -> Tensor:
        return torch.full_like(cells[:, 0], TOP_RIGHT)


class IndicatorsOnlyTask(TwoStepTask):
    """A control of one step: the same images, but the label is whether the indicators match (1) or not (0)."""

    @property
    def plateau_accuracy(self) -> float:
        """That of the likelier answer, since the targets tell nothing."""
        return max(self.p_top_right, 1 - self.p_top_right)

    def plateau_loss(self, label_smoothing: float) -> float:
        """Entropy of the smoothed answer: log 2 if both answers are equally likely."""
        p = (1 - label_smoothing) * self.p_top_right + label_smoothing / 2
        return theory.binary_entropy(p)

    def _n_classes(self) -> int:
        return 2

    def _labels(self, cells: Tensor, target: Tensor) -> Tensor:
        return (target == TOP_RIGHT).long()


def select_target(cells: Tensor) -> Tensor:
    """The task's rule: cells (B, 4) classes -> (B,) the cell whose class is the label."""
    same = cells[:, TOP_LEFT] == cells[:, BOTTOM_RIGHT]
    return torch.where(same, TOP_RIGHT, BOTTOM_LEFT)


def assemble(grey: Tensor, colours: Tensor) -> Tensor:
    """Grey cells (B, 4, c, c) times their colours (B, 4, 3), laid out as a grid: (B, 3, 2c, 2c)."""
    batch, _, height, width = grey.shape
    cells = grey[:, :, None] * colours[..., None, None]  # (B, 4, 3, c, c)
    grid = cells.view(batch, 2, 2, 3, height, width)  # row, column, RGB, y, x
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(batch, 3, 2 * height, 2 * width)


def oracle(batch: Batch) -> Tensor:
    """Predictions (B,) of somebody who takes both steps: right always."""
    return batch.cells.gather(1, select_target(batch.cells)[:, None])[:, 0]


def one_step_shortcut(batch: Batch) -> Tensor:
    """Predictions (B,) of somebody who classifies targets and never looks at the indicators: the top-right class."""
    return batch.cells[:, TOP_RIGHT]


def describe(batch: Batch, i: int) -> str:
    """Sample ``i`` in words: what is in its cells, which target counts, and the label."""
    cells = ", ".join(f"{name} {value}" for name, value in zip(CELL_NAMES, batch.cells[i].tolist(), strict=True))
    relation = "match" if batch.target[i] == TOP_RIGHT else "differ"
    return f"{cells}: the indicators {relation}, so {CELL_NAMES[batch.target[i]]} counts: label {batch.labels[i]}"


def _draw(generator: torch.Generator, images: ImageSet, n: int) -> Tensor:
    return torch.randint(len(images.labels), (n,), generator=generator, device=generator.device)
