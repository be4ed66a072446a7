"""Variants of the main task: the paper's six other two-step tasks, two controls of one step, and the table of all.

Each overrides what differs from the main task (:mod:`eureka_lib.tasks.two_step`). The plateau of the two-step tasks is
the main task's: reading the targets and skipping the first step scores 1/K + (1 - 1/K)/2. A new task is a class here
and an entry in :data:`TASKS`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from eureka_lib.tasks import theory
from eureka_lib.tasks.images import ImageSet, load_images
from eureka_lib.tasks.two_step import (
    BYSTANDER,
    EMPTY,
    FIRST,
    INDICATOR,
    NOWHERE,
    PALETTE,
    SECOND,
    TOP_RIGHT,
    Batch,
    Grid,
    TwoStepConfig,
    TwoStepTask,
    at,
    indicators_match,
    place_of,
)


class NoFixedPositionTask(TwoStepTask):
    """As the main task, but in each row indicator and target swap sides with probability 1/2: their colours tell."""

    rule = "as the main task, but sides swap within each row: top target, else bottom target"

    def _draw_order(self, generator: torch.Generator, n: int) -> Tensor:
        top, bottom = torch.randint(2, (2, n), generator=generator, device=generator.device)
        return torch.stack([top, 1 - top, 2 + bottom, 3 - bottom], dim=1)


@dataclass(frozen=True)
class NaturalIndicatorsConfig(TwoStepConfig):
    """Three sources instead of two; the paper's are CIFAR-10, MNIST (``target_source``) and Fashion-MNIST.

    The defaults are the embedded stand-ins. Raises ValueError if two of them are the same: pictures tell the roles.
    """

    name: str = "natural_indicators"
    indicator_source: str = "photographs"
    item_source: str = "patterns"  # where the second targets' images come from

    def __post_init__(self):
        super().__post_init__()
        chosen = [self.indicator_source, self.target_source, self.item_source]
        if len(set(chosen)) < 3:
            raise ValueError(
                f"indicator_source, target_source and item_source must be three different sources, got {chosen}: only "
                'its picture tells what a cell is; allowed are for instance "photographs", "digits", "patterns"'
            )


class NaturalIndicatorsTask(TwoStepTask):
    """Indicators are natural images, targets a digit and an item, and all four cells are shuffled."""

    rule = "natural images of one class: the digit, else the item; all cells shuffled"
    config_class = NaturalIndicatorsConfig
    coloured = []

    def _load(self, split: str) -> list[ImageSet]:
        pictures, digits, _, _ = super()._load(split)
        return [pictures, digits, load_images(self.config.item_source, split, self.config.cell), pictures]

    def _n_classes(self) -> int:
        digits, items = (self._parts["train"][part].n_classes() for part in (1, 2))
        if digits != items:
            raise ValueError(f"both targets need the same number of classes, got {digits} in "
                             f"{self.config.target_source} and {items} in {self.config.item_source}")  # fmt: skip
        return digits

    def _draw_order(self, generator: torch.Generator, n: int) -> Tensor:
        return torch.rand(n, 4, generator=generator, device=generator.device).argsort(dim=1)


class PositionTask(TwoStepTask):
    """The items' positions are the indicator: two items, one in each row, and two empty cells."""

    rule = "two items: in one column the upper, on a diagonal the lower"
    first_step = ("the items stand in one column", "the items stand on a diagonal")
    indicator_classes = None
    part_roles = (BYSTANDER, FIRST, SECOND, BYSTANDER)
    coloured = []

    @classmethod
    def sources(cls, config: TwoStepConfig) -> list[str]:
        """The targets' source alone."""
        return [config.target_source]

    def same(self, grid: Grid) -> Tensor:
        """Whether the two items are in one column."""
        return place_of(grid, FIRST) % 2 == place_of(grid, SECOND) % 2

    def _load(self, split: str) -> list[ImageSet]:
        items = load_images(self.config.target_source, split, self.config.cell)
        nothing = ImageSet(torch.zeros_like(items.images[:1]), torch.tensor([EMPTY]))
        return [nothing, items, items, nothing]

    def _draw_order(self, generator: torch.Generator, n: int) -> Tensor:
        upper, lower = torch.randint(2, (2, n), generator=generator, device=generator.device)
        lower = torch.where(self._copies(generator, n), upper, lower)
        return torch.stack([1 - upper, upper, 2 + lower, 3 - lower], dim=1)


class SameColourTask(TwoStepTask):
    """Four coloured digits; the first step compares the indicators' colours, not their classes."""

    rule = "indicators of one colour: top-right digit, else bottom-left"
    first_step = ("the indicators have one colour", "the indicators have two colours")
    indicator_classes = None
    coloured = [0, 1, 2, 3]

    def same(self, grid: Grid) -> Tensor:
        """Whether the two indicators have the same colour."""
        return indicators_match(grid, grid.colours)

    def _draw_colours(self, generator: torch.Generator, n: int) -> Tensor:
        colours = super()._draw_colours(generator, n)
        colours[:, 3] = torch.where(self._copies(generator, n), colours[:, 0], colours[:, 3])
        return colours


class ColourOrItemTask(TwoStepTask):
    """The label is the class of one item or its colour out of ten. The fourth cell holds an item that never counts.

    What the paper has in the fourth cell is not known to us; another coloured item keeps the images as full as the
    main task's.
    """

    rule = "indicators of one class: class of the top-right item, else its colour out of ten"
    part_roles = (INDICATOR, FIRST, BYSTANDER, INDICATOR)

    def target(self, grid: Grid, same: Tensor) -> Tensor:
        """The top-right item, always."""
        return place_of(grid, FIRST)

    def answer(self, grid: Grid, same: Tensor) -> Tensor:
        """The item's class if the indicators match, else its colour."""
        place = self.target(grid, same)
        return torch.where(same, at(grid.cells, place), at(grid.colours, place))

    def describe(self, batch: Batch, i: int) -> str:
        """Sample ``i`` in words, and whether class or colour is asked."""
        colour = list(PALETTE)[int(at(batch.colours, batch.target)[i])]
        question = "its class" if batch.same[i] else f"its colour, {colour},"
        return super().describe(batch, i).replace(" counts:", f" counts, {question} is asked:")

    def _n_classes(self) -> int:
        classes = super()._n_classes()
        if classes != len(PALETTE):
            raise ValueError(f"colour_or_item needs as many classes as colours, {len(PALETTE)}; "
                             f"{self.config.target_source} has {classes}")  # fmt: skip
        return classes

    def _draw_colours(self, generator: torch.Generator, n: int) -> Tensor:
        colours = super()._draw_colours(generator, n)
        colours[:, [1, 2]] = torch.randint(len(PALETTE), (n, 2), generator=generator, device=generator.device)
        return colours


class DigitGroupsTask(TwoStepTask):
    """The indicators are digits 1 to 4; the first step compares their groups, {1, 2} and {3, 4}."""

    rule = "indicators both in {1, 2} or both in {3, 4}: top-right target, else bottom-left"
    first_step = ("the indicators are of one group", "the indicators are of two groups")
    indicator_classes = (1, 2, 3, 4)

    def same(self, grid: Grid) -> Tensor:
        """Whether both indicators are in {1, 2}, or both in {3, 4}."""
        return indicators_match(grid, grid.cells >= 3)


class TargetsOnlyTask(TwoStepTask):
    """A control of one step: the same images, but the label is always the top-right target's class.

    Nothing is compared, so the plateau is the floor, and accuracy has no plateau.
    """

    rule = "control: always the top-right target"
    first_step = ("never mind the indicators", "never mind the indicators")

    @property
    def plateau_accuracy(self) -> float:
        """1: classifying the target solves the task."""
        return 1.0

    def plateau_loss(self, label_smoothing: float) -> float:
        """The floor: classifying the target solves the task."""
        return self.floor_loss(label_smoothing)

    def target(self, grid: Grid, same: Tensor) -> Tensor:
        """The top-right cell, always."""
        return torch.full_like(grid.cells[:, 0], TOP_RIGHT)


class IndicatorsOnlyTask(TwoStepTask):
    """A control of one step: the same images, but the label is whether the indicators match (1) or not (0)."""

    rule = "control: do the indicators match?"

    @property
    def plateau_accuracy(self) -> float:
        """That of always giving the likelier answer."""
        return self.p_same

    def plateau_loss(self, label_smoothing: float) -> float:
        """Entropy of the smoothed answer: log 2 if both answers are equally likely."""
        return theory.smoothed_entropy([self.p_same, 1 - self.p_same], 2, label_smoothing)

    def target(self, grid: Grid, same: Tensor) -> Tensor:
        """No cell gives the label."""
        return torch.full_like(grid.cells[:, 0], NOWHERE)

    def answer(self, grid: Grid, same: Tensor) -> Tensor:
        """The first step's answer itself."""
        return same.long()

    def _n_classes(self) -> int:
        return 2


TASKS: dict[str, type[TwoStepTask]] = {
    "two_step": TwoStepTask,
    "no_fixed_position": NoFixedPositionTask,
    "natural_indicators": NaturalIndicatorsTask,
    "position_as_indicator": PositionTask,
    "same_colour": SameColourTask,
    "colour_or_item": ColourOrItemTask,
    "digit_groups": DigitGroupsTask,
    "targets_only": TargetsOnlyTask,
    "indicators_only": IndicatorsOnlyTask,
}
