"""The embedded digits: real, split for good, and resized without touching their range."""

import pytest
import torch

from eureka_lib.tasks.images import checksum, load_images


def as_rows(images):
    return {tuple(image.flatten().tolist()) for image in images}


def test_digits_are_all_there_and_splits_do_not_mix():
    train, test = load_images("digits", "train", 8), load_images("digits", "test", 8)
    assert len(train.labels) + len(test.labels) == 1797
    assert 355 <= len(test.labels) <= 370
    assert not as_rows(train.images) & as_rows(test.images)
    for images in (train, test):
        assert images.labels.unique().tolist() == list(range(10))
        assert images.images.min() == 0 and images.images.max() == 1


@pytest.mark.parametrize("cell", [1, 5, 8, 28])
def test_any_cell_size(cell):
    images = load_images("digits", "test", cell).images
    assert images.shape[1:] == (1, cell, cell)
    assert 0 <= images.min() and images.max() <= 1


def test_of_classes_keeps_only_those():
    ones_and_twos = load_images("digits", "train", 8).of_classes(1, 2)
    assert ones_and_twos.labels.unique().tolist() == [1, 2]
    assert len(ones_and_twos.images) == len(ones_and_twos.labels)
    with pytest.raises(ValueError, match="no image of class 11: wanted are .1, 11., present are .1, 2."):
        ones_and_twos.of_classes(1, 11)


def test_checksum_is_that_of_the_shipped_data():
    assert checksum("digits") == "9ffac7d1936f6786ff2d013e474c8601a5bdb39c5237a2d0fe82307437d8a7fc"


def test_unknown_source_and_split_name_what_is_allowed():
    with pytest.raises(ValueError, match="unknown image source 'mnits'.*did you mean 'mnist'"):
        load_images("mnits", "train", 8)
    with pytest.raises(ValueError, match="unknown split 'valid'.*test, train"):
        load_images("digits", "valid", 8)
    with pytest.raises(ValueError, match="cell must be"):
        load_images("digits", "train", 0)


def test_class_order_is_the_label():
    """A nearest-mean classifier fitted on train is right on most test images, so labels belong to their images."""
    train, test = load_images("digits", "train", 8), load_images("digits", "test", 8)
    means = torch.stack([train.images[train.labels == k].mean(0).flatten() for k in range(10)])
    nearest = torch.cdist(test.images.flatten(1), means).argmin(1)
    assert (nearest == test.labels).float().mean() > 0.85


def test_patterns_are_ten_classes_that_noise_does_not_hide():
    train, test = load_images("patterns", "train", 6), load_images("patterns", "test", 6)
    assert (len(train.labels), len(test.labels)) == (1500, 400)
    means = torch.stack([train.images[train.labels == k].mean(0).flatten() for k in range(10)])
    assert (torch.cdist(test.images.flatten(1), means).argmin(1) == test.labels).float().mean() == 1
