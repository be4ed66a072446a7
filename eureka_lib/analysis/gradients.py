"""Gradients of one backward pass at W_Q, W_K, W_V and at the features q, k, v.

A checkpoint is measured on a fixed batch with hooks and autograd, and left unchanged. The paper's diagnosis is that
ill-distributed attention starves W_Q and W_K of gradient while W_V gets plenty (Hoffmann et al. 2024).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from eureka_lib.analysis.eureka import PLATEAU_BAND, eureka_moment
from eureka_lib.analysis.places import CELLS, CLS, token_places
from eureka_lib.analysis.record import normalised_entropy, record

MATRICES = ("W_Q", "W_K", "W_V")
FEATURES = ("q", "k", "v")


@dataclass(frozen=True)
class Diagnosis:
    """Results of one backward pass through L layers; the three columns are those of Q, K and V."""

    weights: Tensor  # (L, 3): mean absolute gradient (nats) of W_Q, W_K, W_V for the mean loss of the batch
    features: dict[str, Tensor]  # by place, (L, 3): the same of q, k, v, for each sample's own loss
    entropy: Tensor  # (L,): normalised entropy of the attention, mean over samples, heads and rows


def diagnose(
    model: nn.Module, images: Tensor, labels: Tensor, cells: Mapping[str, Tensor], label_smoothing: float
) -> Diagnosis:
    """Diagnose a vision transformer (``models.vit.ViT``) on one batch, in evaluation mode, for its training loss.

    ``cells`` names groups of cells, each a mask (B, 4) bool; the tokens of a group are its place, beside CLS if
    there is one.
    A feature's gradient is that of its own sample's loss, whatever the batch size. Nothing is changed: parameters keep
    their ``.grad``, the model its mode, random generators their state.
    """
    attentions = [block.attention for block in model.blocks]
    matrices = [attention.qkv.weight for attention in attentions]
    qkv, maps = ({str(i): getattr(a, part) for i, a in enumerate(attentions)} for part in ("qkv", "weights"))
    with _in_evaluation_mode(model), record(qkv, gradients=True) as made, record(maps) as rows:
        loss = cross_entropy(model(images), labels, label_smoothing=label_smoothing)
        gradients = torch.autograd.grad(loss, matrices + list(made.values()))
    at_weights, at_features = gradients[: len(matrices)], gradients[len(matrices) :]
    features = [a.split_features(g) for a, g in zip(attentions, at_features, strict=True)]
    sizes = [torch.stack([part.abs().mean(dim=(1, 3)) for part in parts], dim=-1) for parts in features]
    sizes = torch.stack(sizes) * len(labels)  # (L, B, T, 3)
    at = token_places(model)  # (T, P)
    places = {name: (mask.to(at) @ at[:, -CELLS:].T).bool() for name, mask in cells.items()}  # (B, T)
    if model.cls is not None:
        places = {CLS: at[:, 0].bool().expand(len(labels), -1)} | places
    return Diagnosis(
        weight_gradients(attentions, at_weights),
        {name: sizes[:, mask].mean(dim=1) for name, mask in places.items()},
        torch.stack([normalised_entropy(weights).mean() for weights in rows.values()]),
    )


def weight_gradients(layers: Sequence[nn.Module], gradients: Sequence[Tensor]) -> Tensor:
    """Mean absolute gradient of W_Q, W_K and W_V of L layers, from the gradients of their ``qkv`` weights: (L, 3)."""
    pairs = zip(layers, gradients, strict=True)
    return torch.stack([layer.split_weight(gradient).abs().mean(dim=(1, 2, 3)) for layer, gradient in pairs])


def plateau_steps(steps: Sequence[int], accuracy: Sequence[float]) -> list[int]:
    """The evaluations of a run that lie on the plateau: after step 0, before its EM, accuracy in ``PLATEAU_BAND``.

    A run without an EM may lie on it to its end. Arguments and errors as in :func:`eureka.eureka_moment`.
    """
    moment, steps, accuracy = eureka_moment(steps, accuracy), np.asarray(steps), np.asarray(accuracy)
    before = (steps < moment.step) if moment.happened else (steps <= moment.step)
    inside = (accuracy >= PLATEAU_BAND[0]) & (accuracy <= PLATEAU_BAND[1])
    return steps[(steps > 0) & before & inside].tolist()


@contextmanager
def _in_evaluation_mode(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
