"""Probes of a network's features, control tasks, and online code lengths.

A probe is a small classifier, trained on features of a frozen network. Its held-out accuracy says that the information
is there in a form that such a classifier can use; not that the network uses it. What the probe *learned* itself is
measured twice: by a control task (Hewitt and Liang 2019), whose labels the network cannot know, and by the length of an
online code (Voita and Titov 2020), which counts the samples that a probe needs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from eureka_lib.analysis.places import mean_by_place, token_places
from eureka_lib.analysis.record import BlockRecord, record_blocks
from eureka_lib.validation import check_choice, check_whole

READ, ALL_TOKENS = "what the head reads", "all tokens"  # the token sets
OUTPUT = "block output"
CHUNK = 100  # images that go through the network at once: attention maps of many tokens are large
BLOCK_ENDS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # of the online code, as shares of the samples


# ---- features


@dataclass(frozen=True)
class Place:
    """A place in a vision transformer: ``layer`` from 1 on, ``part`` of it, and the ``tokens`` that a probe sees."""

    layer: int
    part: str  # "head 1", ..., "q", "k", "v", or OUTPUT
    tokens: str  # READ or ALL_TOKENS


def features(model: nn.Module, images: Tensor) -> dict[Place, np.ndarray]:
    """Features (B, F), float64, of B images at every place of a vision transformer (``models.vit.ViT``).

    ``READ`` is CLS or, in a network without, the mean of all tokens. ``ALL_TOKENS`` is CLS, if there is one, and the
    mean over each cell's tokens, concatenated, so that F does not grow with the number of patches. q, k and v are those
    of all heads together. Raises ValueError unless the patches divide into four cells of equal size.
    """
    chunks = [_everywhere(model, record_blocks(model, some)) for some in images.split(CHUNK)]
    return {place: torch.cat([chunk[place] for chunk in chunks]).double().numpy() for place in chunks[0]}


def _everywhere(model: nn.Module, layers: Sequence[BlockRecord]) -> dict[Place, Tensor]:
    found, places = {}, token_places(model)
    for number, inside in enumerate(layers, start=1):
        parts = {f"head {i}": head for i, head in enumerate(inside.heads.unbind(1), start=1)}
        parts |= {name: getattr(inside, name).transpose(1, 2).flatten(2) for name in ("q", "k", "v")}
        for part, tokens in (parts | {OUTPUT: inside.output}).items():
            found[Place(number, part, READ)] = tokens.mean(dim=1) if model.cls is None else tokens[:, 0]
            found[Place(number, part, ALL_TOKENS)] = mean_by_place(tokens, places).flatten(1)
    return found


# ---- probes


@dataclass(frozen=True)
class Samples:
    """Training samples of a probe, ``x`` (N, F) and ``y`` (N,), and its held-out samples."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def _linear(seed: int) -> Pipeline:
    """Logistic regression, penalised as scikit-learn does by default; convex, so that the seed makes no difference."""
    return make_pipeline(StandardScaler(), LogisticRegression(tol=1e-3, max_iter=2000))


def _mlp(seed: int) -> Pipeline:
    """One hidden layer of 32, smooth and penalised so that it converges in some hundred iterations, on noise too."""
    network = MLPClassifier(32, activation="tanh", solver="lbfgs", alpha=10, tol=1e-3, max_iter=2000, random_state=seed)
    return make_pipeline(StandardScaler(), network)


PROBES = {"linear": _linear, "MLP": _mlp}


def fit(probe: str, x: np.ndarray, y: np.ndarray, seed: int = 0) -> Pipeline | DummyClassifier:
    """A fitted probe, a name in ``PROBES``, on features x (N, F), standardised, and labels y (N,).

    If there is but one class it always answers that. Raises ValueError for an unknown probe; a probe that does not
    converge warns, as scikit-learn does.
    """
    make = PROBES[check_choice("probe", probe, PROBES)]
    return (make(seed) if len(np.unique(y)) > 1 else DummyClassifier()).fit(x, y)


def accuracy(probe: str, samples: Samples, seed: int = 0) -> float:
    """Held-out accuracy of a probe, in [0, 1]."""
    return float(fit(probe, samples.x, samples.y, seed).score(samples.x_test, samples.y_test))


def majority(samples: Samples) -> float:
    """Held-out accuracy of always answering the most frequent class."""
    return float(DummyClassifier().fit(samples.x, samples.y).score(samples.x_test, samples.y_test))


def control(samples: Samples, types: np.ndarray, types_test: np.ndarray, seed: int = 0) -> Samples:
    """The control task of Hewitt and Liang (2019): each type of input gets one label, drawn at random from ``y``.

    ``types`` (N, ...) and ``types_test`` describe the inputs; equal rows are one type. The network cannot know these
    labels, but a probe that memorises them gets them right on held-out samples, too. A probe's *selectivity* is its
    accuracy minus that on its control.
    """
    known, where = np.unique(np.concatenate([types, types_test]), axis=0, return_inverse=True)
    labels = np.random.default_rng(seed).choice(samples.y, len(known))[where.ravel()]
    return replace(samples, y=labels[: len(types)], y_test=labels[len(types) :])


# ---- codes


@dataclass(frozen=True)
class Code:
    """Length in bits of the code for all labels: ``online``, with a probe, and ``uniform``, without."""

    online: float
    uniform: float

    @property
    def compression(self) -> float:
        """Uniform over online length; not a number for labels of one class, which need no code."""
        return self.uniform / self.online if self.online else float("nan")


def code_length(probe: str, x: np.ndarray, y: np.ndarray, seed: int = 0) -> Code:
    """Online (prequential) code of labels y (N,), given features x (N, F), of Voita and Titov (2020).

    The samples come in blocks that end at the shares ``BLOCK_ENDS``. The first block's labels cost log2 K bits each;
    later ones cost -log2 p under a probe trained on all blocks before. So that unseen classes have a finite cost, p is
    mixed with the uniform distribution, n : K after n samples. Raises ValueError if there are too few samples for a
    first block.
    """
    check_whole("number of samples", len(y), round(1 / BLOCK_ENDS[0]))
    classes, labels = np.unique(y, return_inverse=True)
    ends = [round(share * len(y)) for share in BLOCK_ENDS]
    online = ends[0] * np.log2(len(classes))
    for known, end in zip(ends, ends[1:], strict=False):
        seen = fit(probe, x[:known], labels[:known], seed)
        p = np.zeros((end - known, len(classes)))
        p[:, seen.classes_] = seen.predict_proba(x[known:end])
        mixed = (known * p + 1) / (known + len(classes))
        online -= np.log2(mixed[np.arange(end - known), labels[known:end]]).sum()
    return Code(float(online), float(len(y) * np.log2(len(classes))))
