"""Images that the tasks' cells are made of.

The default is real data inside a dependency: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, so that
everything runs without a network. The paper's own MNIST and Fashion-MNIST come through
:mod:`eureka_lib.tasks.downloads`. Whatever the source, a set is resized once to the cell size, and train and test
images never mix.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from eureka_lib.tasks import downloads
from eureka_lib.validation import check_choice, check_whole

SPLITS = ("train", "test")


@dataclass(frozen=True)
class ImageSet:
    """Grey images of one split: ``images`` (N, c, c) float32 in [0, 1]; ``labels`` (N,) int64; ``n_classes``."""

    images: Tensor
    labels: Tensor
    n_classes: int

    def of_classes(self, *classes: int) -> "ImageSet":
        """The images whose class is one of ``classes`` (labels keep their values); ValueError if there are none."""
        keep = torch.isin(self.labels, torch.tensor(classes))
        if not keep.any():
            raise ValueError(f"no image of class {classes}: present are {self.labels.unique().tolist()}")
        return ImageSet(self.images[keep], self.labels[keep], self.n_classes)

    def to(self, device: torch.device | str) -> "ImageSet":
        """The same set on another device."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.n_classes)


def _digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits as uint8; of each class every fifth image, in the file's order, is a test image."""
    pixels, labels = load_digits(return_X_y=True)
    rank = np.array([np.sum(labels[:i] == label) for i, label in enumerate(labels)])
    chosen = (rank % 5 == 0) == (split == "test")
    images = (pixels.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    return images[chosen], labels[chosen]


def _patterns(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Ten fixed random 6 x 6 patterns, one a class, under Gaussian noise: synthetic, for the cheapest regime.

    No shape has to be recognised: this is the token-level version of a task, a cell being a noisy class embedding of
    36 numbers. 150 training and 40 test images of each class, from one fixed seed.
    """
    rng = np.random.default_rng(2310)
    patterns = rng.normal(size=(10, 6, 6))
    labels = np.repeat(np.arange(10), 190)
    noisy = patterns[labels] + 0.5 * rng.normal(size=(len(labels), 6, 6))
    chosen = (np.arange(len(labels)) % 190 < 150) == (split == "train")
    images = (127.5 + 40 * noisy).clip(0, 255).round().astype(np.uint8)
    return images[chosen], labels[chosen]


# name -> function of the split that gives grey uint8 images (N, h, w) and their labels (N,)
SOURCES: dict[str, Callable[[str], tuple[np.ndarray, np.ndarray]]] = {
    "digits": _digits,
    "patterns": _patterns,
    "mnist": downloads.load_mnist,
    "fashion_mnist": downloads.load_fashion_mnist,
}


@lru_cache(maxsize=8)
def load_images(source: str, split: str, cell: int) -> ImageSet:
    """Images of a source and split, resized (bilinear) to ``cell`` x ``cell`` pixels.

    Raises ValueError for an unknown source or split, and DataUnavailable if a download is needed and impossible.
    """
    check_choice("image source", source, SOURCES)
    check_choice("split", split, SPLITS)
    check_whole("cell", cell, 1)
    pixels, labels = SOURCES[source](split)
    images = torch.from_numpy(pixels).float().div_(255)
    if images.shape[-2:] != (cell, cell):
        images = F.interpolate(images[:, None], size=(cell, cell), mode="bilinear", align_corners=False)[:, 0]
    return ImageSet(images, torch.from_numpy(labels).long(), n_classes=10)


@lru_cache(maxsize=8)
def checksum(source: str) -> str:
    """SHA-256 over all images and labels of a source, both splits, as loaded; goes into every run's provenance."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for array in SOURCES[check_choice("image source", source, SOURCES)](split):
            digest.update(str((array.shape, array.dtype.name)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
