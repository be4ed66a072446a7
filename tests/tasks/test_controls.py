"""The single-step controls: the same images, an answer that takes one step; and the synthetic patterns."""

import math

import pytest
import torch

from eureka_lib.tasks.images import load_images
from eureka_lib.tasks.two_step import (
    BOTTOM_RIGHT,
    TOP_LEFT,
    TOP_RIGHT,
    IndicatorsOnlyTask,
    TargetsOnlyTask,
    TwoStepConfig,
    TwoStepTask,
)


def sample(task, n=2000):
    return task.sample(torch.Generator().manual_seed(0), n)


def test_controls_show_the_same_images():
    images = [sample(kind(TwoStepConfig()), 50).images for kind in (TwoStepTask, TargetsOnlyTask, IndicatorsOnlyTask)]
    assert torch.equal(images[0], images[1]) and torch.equal(images[0], images[2])


def test_targets_only_is_solved_by_the_shortcut():
    task = TargetsOnlyTask(TwoStepConfig())
    batch = sample(task)
    assert (batch.labels == batch.cells[:, TOP_RIGHT]).all() and (batch.target == TOP_RIGHT).all()
    assert (task.shortcut(batch) == batch.labels).float().mean() == task.plateau_accuracy == 1
    assert task.plateau_loss(0.1) == task.floor_loss(0.1)


@pytest.mark.parametrize("p", [0.0, 0.6])
def test_indicators_only_asks_whether_they_match(p):
    task = IndicatorsOnlyTask(TwoStepConfig(top_right_probability=p))
    batch = sample(task, 20_000)
    assert task.n_classes == 2
    assert (batch.labels == (batch.cells[:, TOP_LEFT] == batch.cells[:, BOTTOM_RIGHT])).all()
    guess = batch.labels.float().mean().item()
    assert guess == pytest.approx(task.plateau_accuracy, abs=0.015)
    if p == 0:
        assert task.plateau_loss(0.1) == pytest.approx(math.log(2))


def test_patterns_are_ten_classes_that_noise_does_not_hide():
    train, test = load_images("patterns", "train", 6), load_images("patterns", "test", 6)
    assert (len(train.labels), len(test.labels)) == (1500, 400)
    means = torch.stack([train.images[train.labels == k].mean(0).flatten() for k in range(10)])
    assert (torch.cdist(test.images.flatten(1), means).argmin(1) == test.labels).float().mean() == 1
