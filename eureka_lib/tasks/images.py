"""Image sources of the tasks' cells.

The default needs no network: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, and crops of its two photographs
as natural images. The paper's MNIST, Fashion-MNIST and CIFAR-10 are downloaded (:mod:`eureka_lib.tasks.downloads`). All
are resized once to the cell size, and no training image is a test image.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from sklearn.datasets import load_digits, load_sample_image
from torch import Tensor
from torch.nn import functional as F

from eureka_lib.tasks import downloads
from eureka_lib.validation import check_choice, check_whole

SPLITS = ("train", "test")


@dataclass(frozen=True)
class ImageSet:
    """Images of one split: ``images`` (N, C, c, c) float32 in [0, 1], C 1 (grey) or 3 (RGB); ``labels`` (N,) int64."""

    images: Tensor
    labels: Tensor

    def of_classes(self, *classes: int) -> "ImageSet":
        """The images whose class is one of ``classes`` (labels keep their values); ValueError if one has none."""
        present = self.labels.unique().tolist()
        if missing := sorted(set(classes) - set(present)):
            raise ValueError(f"no image of class {missing[0]}: wanted are {list(classes)}, present are {present}")
        keep = torch.isin(self.labels, torch.tensor(classes, device=self.labels.device))
        return ImageSet(self.images[keep], self.labels[keep])

    def n_classes(self) -> int:
        """K, if the classes are 0 to K - 1, as a classifier's must be; ValueError otherwise."""
        present = self.labels.unique().tolist()
        if present != list(range(len(present))):
            raise ValueError(f"targets need the classes 0 to K - 1; present are {present}")
        return len(present)

    def to(self, device: torch.device | str) -> "ImageSet":
        """The same set on another device."""
        return ImageSet(self.images.to(device), self.labels.to(device))


def _digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits as uint8; of each class every fifth image, in the file's order, is a test image."""
    pixels, labels = load_digits(return_X_y=True)
    rank = np.array([np.sum(labels[:i] == label) for i, label in enumerate(labels)])
    chosen = (rank % 5 == 0) == (split == "test")
    images = (pixels.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    return images[chosen], labels[chosen]


def _patterns(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Ten fixed random 6 x 6 patterns, one a class, with Gaussian noise: synthetic, for the cheapest regime.

    Each cell is a noisy class embedding of 36 numbers, so that no shape has to be recognised. 150 training and 40 test
    images of each class, from one fixed seed.
    """
    rng = np.random.default_rng(2310)
    patterns = rng.normal(size=(10, 6, 6))
    labels = np.repeat(np.arange(10), 190)
    noisy = patterns[labels] + 0.5 * rng.normal(size=(len(labels), 6, 6))
    chosen = (np.arange(len(labels)) % 190 < 150) == (split == "train")
    images = (127.5 + 40 * noisy).clip(0, 255).round().astype(np.uint8)
    return images[chosen], labels[chosen]


# Where in scikit-learn's photographs the object stands, which is 320 columns wide and 340 rows high: left, top edge.
PHOTOGRAPHS = {1: ("china.jpg", 70, 60), 2: ("flower.jpg", 150, 85)}
BANDS = {"train": (0, 2, 4), "test": (1, 3)}  # horizontal, of 68 rows each


def _photographs(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Crops of scikit-learn's two photographs, class 1 a temple and class 2 a flower, as RGB of 24 x 24.

    A stand-in for CIFAR-10's classes 1 and 2, of two scenes only. Each object is cut into five horizontal bands;
    training crops come from three of them, test crops from the two between, 140 from each.
    """
    rng = np.random.default_rng(12956)
    crops = []
    for name, left, top in PHOTOGRAPHS.values():
        photograph = load_sample_image(name)
        for band in BANDS[split]:
            edge = top + 68 * band
            corners = rng.integers((edge, left), (edge + 68 - 48, left + 320 - 48), size=(140, 2))
            crops += [photograph[y : y + 48, x : x + 48] for y, x in corners]
    halved = np.stack(crops).reshape(-1, 24, 2, 24, 2, 3).mean(axis=(2, 4)).round().astype(np.uint8)
    return halved.transpose(0, 3, 1, 2).copy(), np.repeat(list(PHOTOGRAPHS), len(crops) // 2)


# name -> function of the split that gives uint8 images, grey (N, h, w) or RGB (N, 3, h, w), and their labels (N,)
SOURCES: dict[str, Callable[[str], tuple[np.ndarray, np.ndarray]]] = {
    "digits": _digits,
    "patterns": _patterns,
    "photographs": _photographs,
    "mnist": downloads.load_mnist,
    "fashion_mnist": downloads.load_fashion_mnist,
    "cifar10": downloads.load_cifar10,
}


@lru_cache(maxsize=8)
def load_images(source: str, split: str, cell: int) -> ImageSet:
    """Images of a source and split, resized (bilinear, antialiased) to ``cell`` x ``cell`` pixels.

    Raises ValueError for an unknown source or split, and DataUnavailable if a download is needed and impossible.
    """
    check_choice("image source", source, SOURCES)
    check_choice("split", split, SPLITS)
    check_whole("cell", cell, 1)
    pixels, labels = SOURCES[source](split)
    images = torch.from_numpy(pixels).float().div_(255)
    images = images if images.ndim == 4 else images[:, None]
    if images.shape[-2:] != (cell, cell):
        images = F.interpolate(images, size=(cell, cell), mode="bilinear", align_corners=False, antialias=True)
    return ImageSet(images, torch.from_numpy(labels).long())


@lru_cache(maxsize=8)
def checksum(source: str) -> str:
    """SHA-256 over all images and labels of a source, both splits, as loaded; part of every run's provenance."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for array in SOURCES[check_choice("image source", source, SOURCES)](split):
            digest.update(str((array.shape, array.dtype.name)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
