"""The main task: two steps to one answer.

An image is a 2 x 2 grid of cells. The top-left and bottom-right cells are *indicators* (digits of class 1 or 2, blue or
red), the top-right and bottom-left cells are *targets* (white). If the indicators show the same class, the label is the
class of the top-right target, otherwise that of the bottom-left one. A network that only classifies targets stays at
55 %: it needs the second step, comparing the indicators, to know which target counts.

A task draws four parts, puts them into the cells, and labels the finished grid by a rule: ``same`` is the first step, a
yes or no; ``answer`` the second. The variants are in :mod:`eureka_lib.tasks.variants`. All random numbers come from
the ``torch.Generator`` that is passed in, and samples lie on its device.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eureka_lib.tasks import images, theory
from eureka_lib.tasks.images import SPLITS, ImageSet, load_images
from eureka_lib.tasks.protocol import EVALUATION_CHUNK, Loss, Pair, evaluation_generator
from eureka_lib.validation import check_choice, check_real, check_whole

CELL_NAMES = ("top left", "top right", "bottom left", "bottom right")
TOP_LEFT, TOP_RIGHT, BOTTOM_LEFT, BOTTOM_RIGHT = range(4)
ROLES = ("indicator", "first target", "second target", "bystander")
INDICATOR, FIRST, SECOND, BYSTANDER = range(4)
EMPTY = -1  # the class in a cell that shows nothing
NOWHERE = -1  # the target where no cell gives the label
PALETTE = {  # ten colours, apart enough for the noise on them
    "blue": (0.0, 0.0, 1.0),
    "red": (1.0, 0.0, 0.0),
    "white": (1.0, 1.0, 1.0),
    "green": (0.0, 1.0, 0.0),
    "yellow": (1.0, 1.0, 0.0),
    "magenta": (1.0, 0.0, 1.0),
    "cyan": (0.0, 1.0, 1.0),
    "orange": (1.0, 0.5, 0.0),
    "violet": (0.5, 0.0, 1.0),
    "grey": (0.5, 0.5, 0.5),
}
BLUE, RED, WHITE = range(3)


@dataclass(frozen=True)
class TwoStepConfig:
    """What defines the task. The paper's main task has ``cell=28``, MNIST indicators and Fashion-MNIST targets."""

    name: str = "two_step"
    indicator_source: str = "digits"  # where the indicators' images come from
    target_source: str = "digits"  # where the targets' images come from
    cell: int = 8  # pixels per side of a cell; the image has twice that
    colour_noise: float = 0.05  # standard deviation of the noise on each cell's RGB colour
    top_right_probability: float = 0.0  # how often the second indicator copies what is compared of the first one
    pixel_mean: float = 0.0  # subtracted from every pixel; the paper does not normalise
    pixel_std: float = 1.0  # divides every pixel

    def __post_init__(self):
        check_whole("cell", self.cell, 1)
        check_real("colour_noise", self.colour_noise, 0)
        check_real("top_right_probability", self.top_right_probability, 0, 1)
        check_real("pixel_std", self.pixel_std, 1e-6)


@dataclass(frozen=True)
class Grid:
    """The cells of B samples, all (B, 4) int64 and in the order of ``CELL_NAMES``."""

    cells: Tensor  # the class in each cell, or EMPTY
    roles: Tensor  # indices into ROLES
    colours: Tensor  # indices into PALETTE


@dataclass(frozen=True)
class Batch(Grid):
    """B samples: their grids, images and labels, and the two steps."""

    images: Tensor  # (B, 3, 2c, 2c) float32
    labels: Tensor  # (B,) int64
    same: Tensor  # (B,) bool: the first step's answer
    target: Tensor  # (B,) int64: the cell that gives the label, or NOWHERE


class TwoStepTask:
    """The main task on given image sources: batches, the rule, its baselines and its derived lines.

    A variant overrides what differs: which parts are drawn, where they go, and the rule.
    """

    rule = "indicators of one class: top-right target, else bottom-left"
    first_step = ("the indicators match", "the indicators differ")  # in words: yes, no
    config_class = TwoStepConfig
    indicator_classes: tuple[int, ...] | None = (1, 2)  # None: all, and not their class is compared
    part_roles = (INDICATOR, FIRST, SECOND, INDICATOR)  # of the four parts of a sample
    coloured = [0, 3]  # the parts that are blue or red; the others are white

    def __init__(self, config: TwoStepConfig, device: torch.device | str = "cpu"):
        self.config = config
        self._device = device
        self._parts = {split: [part.to(device) for part in self._load(split)] for split in SPLITS}
        self._roles = torch.tensor(self.part_roles, device=device)
        self._palette = torch.tensor(list(PALETTE.values()), device=device)
        self.n_classes = self._n_classes()
        self.image_size = 2 * config.cell

    @classmethod
    def sources(cls, config: TwoStepConfig) -> list[str]:
        """Names of the image sources that the task draws from."""
        return sorted({value for name, value in vars(config).items() if name.endswith("_source")})

    @classmethod
    def checksums(cls, config: TwoStepConfig) -> dict[str, str]:
        """SHA-256 of each source's files."""
        return {source: images.checksum(source) for source in cls.sources(config)}

    @property
    def p_same(self) -> float:
        """Probability that the first step's answer is yes."""
        p = self.config.top_right_probability
        return p + (1 - p) / 2

    @property
    def plateau_accuracy(self) -> float:
        """Derived accuracy of classifying the targets and ignoring the indicators."""
        return theory.plateau_accuracy(self.n_classes, self.p_same)

    def plateau_loss(self, label_smoothing: float) -> float:
        """Derived loss (nats) of classifying the targets and ignoring the indicators."""
        return theory.plateau_loss(self.n_classes, label_smoothing, self.p_same)

    def floor_loss(self, label_smoothing: float) -> float:
        """Derived loss (nats) of the solved task."""
        return theory.floor_loss(self.n_classes, label_smoothing)

    # ---- the rule, a function of the grid alone

    def same(self, grid: Grid) -> Tensor:
        """The first step: (B,) bool, whether the two indicators show the same class."""
        return indicators_match(grid, grid.cells)

    def target(self, grid: Grid, same: Tensor) -> Tensor:
        """Which cell counts, given the first step's answer: (B,) int64."""
        return torch.where(same, place_of(grid, FIRST), place_of(grid, SECOND))

    def answer(self, grid: Grid, same: Tensor) -> Tensor:
        """The second step: the label (B,) int64, given the first step's answer."""
        return at(grid.cells, self.target(grid, same))

    # ---- baselines and probes

    def oracle(self, grid: Grid) -> Tensor:
        """Predictions (B,) of both steps: always right."""
        return self.answer(grid, self.same(grid))

    def shortcut(self, grid: Grid) -> Tensor:
        """Predictions (B,) without the first step, whose answer is taken for a yes; scores ``plateau_accuracy``."""
        return self.answer(grid, torch.ones_like(grid.cells[:, 0], dtype=torch.bool))

    def probe_labels(self, batch: Batch) -> dict[str, Tensor]:
        """Labels for probes, each (B,) int64: the class in each cell, which target counts, the label."""
        cells = {name: batch.cells[:, i] for i, name in enumerate(CELL_NAMES)}
        return cells | {"which target": batch.same.long(), "label": batch.labels}

    def describe(self, batch: Batch, i: int) -> str:
        """Sample ``i`` in words: what is in its cells, the first step, and the label."""
        classes = ["nothing" if value == EMPTY else str(value) for value in batch.cells[i].tolist()]
        cells = ", ".join(f"{name} {value}" for name, value in zip(CELL_NAMES, classes, strict=True))
        relation = self.first_step[0 if batch.same[i] else 1]
        counts = "" if batch.target[i] == NOWHERE else f", so {CELL_NAMES[batch.target[i]]} counts"
        return f"{cells}: {relation}{counts}: label {batch.labels[i]}"

    # ---- drawing samples

    def sample(
        self, generator: torch.Generator, n: int, split: str = "train", first_target: Tensor | None = None
    ) -> Batch:
        """Draw ``n`` samples; ``first_target`` (n,) fixes which images are the first (top-right) targets.

        Same generator state, same batch. Raises ValueError for an unknown split or a negative ``n``.
        """
        check_choice("split", split, SPLITS)
        check_whole("n", n)
        parts = self._parts[split]
        first = draw(generator, parts[0], n)
        second = self._second_indicator(generator, parts[0], first)
        if first_target is None:
            first_target = draw(generator, parts[1], n)
        picks = [first, first_target, draw(generator, parts[2], n), second]
        roles = self._roles.expand(n, 4)
        cells = torch.stack([part.labels[pick] for part, pick in zip(parts, picks, strict=True)], dim=1)
        colours = self._draw_colours(generator, n)
        pictures = _stack([part.images[pick] for part, pick in zip(parts, picks, strict=True)])
        order = self._draw_order(generator, n)
        if order is not None:
            cells, roles, colours = (values.gather(1, order) for values in (cells, roles, colours))
            pictures = pictures[torch.arange(n, device=generator.device)[:, None], order]
        grid, images = Grid(cells, roles, colours), self._compose(generator, pictures, colours)
        same = self.same(grid)
        return Batch(cells, roles, colours, images, self.answer(grid, same), same, self.target(grid, same))

    def stream(self, generator: torch.Generator, batch_size: int) -> Iterator[Batch]:
        """Endless training batches; in an epoch each training image is the first target once.

        An epoch's incomplete last batch is dropped, as in the paper. Raises ValueError if an epoch is smaller than one
        batch.
        """
        n_images = len(self._parts["train"][self.part_roles.index(FIRST)].labels)
        check_whole("batch_size", batch_size, 1)
        if batch_size > n_images:
            raise ValueError(f"batch_size {batch_size} is larger than the {n_images} training images: allowed are "
                             f"1 to {n_images}; the nearest is {n_images}")  # fmt: skip
        while True:
            order = torch.randperm(n_images, generator=generator, device=generator.device)
            for first_target in order.split(batch_size):
                if len(first_target) == batch_size:
                    yield self.sample(generator, batch_size, "train", first_target)

    # ---- the Task protocol

    def pairs(self, generator: torch.Generator, batch_size: int) -> Iterator[Pair]:
        """Images (B, 3, 2c, 2c) and labels (B,) of the training batches in :meth:`stream`."""
        return ((batch.images, batch.labels) for batch in self.stream(generator, batch_size))

    def loss(self, label_smoothing: float) -> Loss:
        """Cross-entropy with smoothed labels, in nats."""
        return nn.CrossEntropyLoss(label_smoothing=label_smoothing)

    def test_set(self, n: int) -> list[Pair]:
        """Images and labels of ``n`` test samples, in batches of up to 1000."""
        generator = evaluation_generator(self._device)
        batches = [self.sample(generator, min(1000, n - start), "test") for start in range(0, n, 1000)]
        return [(batch.images, batch.labels) for batch in batches]

    def evaluate(self, model: nn.Module, test_set: list[Pair], loss: Loss) -> dict[str, float]:
        """Loss (label-smoothed, as in training) and accuracy."""
        total_loss = correct = n = 0
        for pictures, labels in test_set:
            logits = torch.cat([model(part) for part in pictures.split(EVALUATION_CHUNK)])
            total_loss += loss(logits, labels) * len(labels)
            correct += (logits.argmax(dim=1) == labels).sum()
            n += len(labels)
        return {"test_loss": float(total_loss) / n, "test_accuracy": float(correct) / n}

    # ---- what a variant may override

    def _load(self, split: str) -> list[ImageSet]:
        """The image sets that the four parts are drawn from."""
        indicators = load_images(self.config.indicator_source, split, self.config.cell)
        if self.indicator_classes is not None:
            indicators = indicators.of_classes(*self.indicator_classes)
        targets = load_images(self.config.target_source, split, self.config.cell)
        return [indicators, targets, targets, indicators]

    def _n_classes(self) -> int:
        return self._parts["train"][self.part_roles.index(FIRST)].n_classes()

    def _second_indicator(self, generator: torch.Generator, indicators: ImageSet, first: Tensor) -> Tensor:
        """Another random indicator, or, with probability ``top_right_probability``, one of the first one's class."""
        second = draw(generator, indicators, len(first))
        if self.indicator_classes is None or not self.config.top_right_probability:
            return second
        copy = self._copies(generator, len(first))
        for value in self.indicator_classes:
            members = (indicators.labels == value).nonzero()[:, 0]
            pick = torch.randint(len(members), (len(first),), generator=generator, device=generator.device)
            second = torch.where(copy & (indicators.labels[first] == value), members[pick], second)
        return second

    def _copies(self, generator: torch.Generator, n: int) -> Tensor:
        """In which of ``n`` samples the second indicator copies the first: (n,) bool."""
        return torch.rand(n, generator=generator, device=generator.device) < self.config.top_right_probability

    def _draw_colours(self, generator: torch.Generator, n: int) -> Tensor:
        """Colours of the parts (n, 4), indices into ``PALETTE``."""
        colours = torch.full((n, 4), WHITE, device=generator.device)
        shape = n, len(self.coloured)
        colours[:, self.coloured] = torch.randint(2, shape, generator=generator, device=generator.device)
        return colours

    def _draw_order(self, generator: torch.Generator, n: int) -> Tensor | None:
        """The part in each cell (n, 4); None: in their order."""
        return None

    def _compose(self, generator: torch.Generator, pictures: Tensor, colours: Tensor) -> Tensor:
        """Images of coloured cells: Gaussian noise on each cell's RGB, not clipped; then the pixels' normalisation."""
        noise = torch.randn(len(colours), 4, 3, generator=generator, device=generator.device)
        images = assemble(pictures, self._palette[colours] + self.config.colour_noise * noise)
        return (images - self.config.pixel_mean) / self.config.pixel_std


def indicators_match(grid: Grid, values: Tensor) -> Tensor:
    """Whether ``values`` (B, 4) are equal in the two indicator cells: (B,) bool."""
    is_indicator = (grid.roles == INDICATOR).int()
    first, last = is_indicator.argmax(dim=1), 3 - is_indicator.flip(1).argmax(dim=1)
    return at(values, first) == at(values, last)


def place_of(grid: Grid, role: int) -> Tensor:
    """The first cell that has ``role``: (B,) int64."""
    return (grid.roles == role).int().argmax(dim=1)


def at(values: Tensor, place: Tensor) -> Tensor:
    """``values`` (B, 4) in the cells ``place`` (B,): (B,)."""
    return values.gather(1, place[:, None])[:, 0]


def draw(generator: torch.Generator, images: ImageSet, n: int) -> Tensor:
    """Indices (n,) of random images of a set."""
    return torch.randint(len(images.labels), (n,), generator=generator, device=generator.device)


def assemble(pictures: Tensor, colours: Tensor) -> Tensor:
    """Cells (B, 4, C, c, c), grey or RGB, times their colours (B, 4, 3), laid out as a grid: (B, 3, 2c, 2c)."""
    batch, _, _, height, width = pictures.shape
    cells = pictures * colours[..., None, None]  # (B, 4, 3, c, c)
    grid = cells.view(batch, 2, 2, 3, height, width)  # row, column, RGB, y, x
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(batch, 3, 2 * height, 2 * width)


def _stack(pictures: list[Tensor]) -> Tensor:
    """Four times (n, C, c, c) -> (n, 4, C, c, c); grey ones become RGB if others are."""
    channels = max(picture.shape[1] for picture in pictures)
    return torch.stack([picture.expand(-1, channels, -1, -1) for picture in pictures], dim=1)
