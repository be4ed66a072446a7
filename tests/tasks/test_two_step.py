"""The main task: its rule, its images, its epochs; what holds for all tasks is in test_variants.py."""

import dataclasses
from itertools import islice

import pytest
import torch

from eureka_lib.tasks.images import load_images
from eureka_lib.tasks.two_step import (
    BLUE,
    BOTTOM_LEFT,
    BOTTOM_RIGHT,
    RED,
    TOP_LEFT,
    TOP_RIGHT,
    WHITE,
    TwoStepConfig,
    TwoStepTask,
    assemble,
)  # fmt: skip


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def task():
    return TwoStepTask(TwoStepConfig())


def test_indicators_and_targets_have_their_places(task):
    batch = task.sample(generator(0), 200)
    assert torch.isin(batch.cells[:, [TOP_LEFT, BOTTOM_RIGHT]], torch.tensor([1, 2])).all()
    same = batch.cells[:, TOP_LEFT] == batch.cells[:, BOTTOM_RIGHT]
    assert torch.equal(batch.target, torch.where(same, TOP_RIGHT, BOTTOM_LEFT))


def test_equal_seeds_are_equal_bit_for_bit(task):
    first, again, other = (task.sample(generator(seed), 64) for seed in (7, 7, 8))
    assert torch.equal(first.images, again.images) and torch.equal(first.labels, again.labels)
    assert not torch.equal(first.images, other.images)


def test_cells_show_images_of_their_class_in_their_place():
    """Without colour noise a target cell is an image of the split, of the class that ``cells`` says."""
    task = TwoStepTask(TwoStepConfig(colour_noise=0.0))
    source = load_images("digits", "test", 8)
    batch = task.sample(generator(1), 20, "test")
    for image, cells in zip(batch.images, batch.cells, strict=True):
        corners = {TOP_RIGHT: image[:, :8, 8:], BOTTOM_LEFT: image[:, 8:, :8]}
        for place, corner in corners.items():
            assert torch.equal(corner[0], corner[1]) and torch.equal(corner[0], corner[2])  # white
            distance = (source.images[:, 0] - corner[0]).abs().amax((1, 2))
            assert distance.min() < 1e-6 and source.labels[distance.argmin()] == cells[place]
        for corner in (image[:, :8, :8], image[:, 8:, 8:]):  # indicators: blue or red
            assert corner[1].abs().max() == 0 and (corner[0].abs().max() == 0) != (corner[2].abs().max() == 0)


def test_colours_are_independent_of_the_class(task):
    batch = task.sample(generator(2), 20_000)
    red = batch.images[:, 0, :8, :8].sum((1, 2)) > batch.images[:, 2, :8, :8].sum((1, 2))
    for value in (1, 2):
        assert red[batch.cells[:, TOP_LEFT] == value].float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_noise_has_the_stated_size_and_is_not_clipped():
    """Where the pixel is 1, a white cell shows its noisy colour."""
    task = TwoStepTask(TwoStepConfig(colour_noise=0.2))
    n = 20_000
    colours = torch.tensor([BLUE, WHITE, WHITE, RED]).expand(n, 4)
    images = task._compose(generator(3), torch.ones(n, 4, 1, 1, 1), colours)
    white = images[:, :, [0, 1], [1, 0]]
    assert white.mean().item() == pytest.approx(1.0, abs=0.005) and white.std().item() == pytest.approx(0.2, abs=0.005)
    assert white.max() > 1.5 and images.min() < -0.5


def test_a_second_indicator_that_always_copies_is_of_the_first_ones_class():
    batch = TwoStepTask(TwoStepConfig(top_right_probability=1.0)).sample(generator(4), 2_000)
    assert batch.same.all() and set(batch.cells[:, TOP_LEFT].tolist()) == {1, 2}


def test_an_epoch_uses_each_training_image_once_as_top_right(task):
    images = load_images("digits", "train", 8)
    steps = len(images.labels) // 100
    epoch = list(islice(task.stream(generator(5), 100), steps))
    assert all(len(batch.labels) == 100 for batch in epoch)
    counts = torch.cat([batch.cells[:, TOP_RIGHT] for batch in epoch]).bincount(minlength=10)
    left_out = images.labels.bincount(minlength=10) - counts
    assert (left_out >= 0).all() and left_out.sum() == len(images.labels) - 100 * steps


@pytest.mark.parametrize("cell", [4, 28])
def test_any_cell_size(cell):
    batch = TwoStepTask(TwoStepConfig(cell=cell)).sample(generator(6), 3)
    assert batch.images.shape == (3, 3, 2 * cell, 2 * cell)


def test_normalisation_is_applied():
    plain, normalised = TwoStepConfig(), TwoStepConfig(pixel_mean=0.25, pixel_std=0.35)
    first, second = (TwoStepTask(config).sample(generator(7), 8).images for config in (plain, normalised))
    assert torch.allclose((first - 0.25) / 0.35, second)


def test_assemble_puts_cells_in_reading_order():
    grey = torch.arange(4.0).view(1, 4, 1, 1, 1).expand(1, 4, 1, 2, 2)
    image = assemble(grey, torch.ones(1, 4, 3))
    assert image[0, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


def test_bad_input_is_named(task):
    with pytest.raises(ValueError, match="batch_size 5000 is larger than the 14"):
        next(task.stream(generator(0), 5000))
    with pytest.raises(ValueError, match="unknown split 'validation'"):
        task.sample(generator(0), 1, "validation")
    for bad in ({"cell": 0}, {"colour_noise": -1.0}, {"top_right_probability": 1.5}, {"pixel_std": 0.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            dataclasses.replace(TwoStepConfig(), **bad)
