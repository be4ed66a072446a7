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
from torch.nn.functional import cross_entropy, one_hot

from eureka_lib.analysis.eureka import PLATEAU_BAND, eureka_moment
from eureka_lib.analysis.record import normalised_entropy, record

MATRICES = ("W_Q", "W_K", "W_V")
FEATURES = ("q", "k", "v")
CLS = "CLS"  # the place of token 0


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

    ``cells`` names groups of cells, each a mask (B, 4) bool; the tokens of a group are its place, beside that of CLS.
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
    places = {CLS: _cls_only(sizes[0, ..., 0])}
    places |= {name: tokens_of(mask, sizes.shape[2]) for name, mask in cells.items()}
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


def tokens_of(cells: Tensor, tokens: int) -> Tensor:
    """Which of the ``tokens``, CLS and the patches row by row, lie in the marked cells: (B, 4) bool -> (B, T) bool.

    CLS lies in none. Raises ValueError unless the patches are a square that divides into 2 x 2 cells.
    """
    marked = cells[:, cell_of_patch(tokens)]
    return torch.cat([torch.zeros_like(marked[:, :1]), marked], dim=1)


def cell_of_patch(tokens: int) -> Tensor:
    """The cell, 0 to 3 in reading order, of each patch of a model with so many ``tokens``: (T - 1,) int64.

    Raises ValueError as :func:`tokens_of` does.
    """
    side = round((tokens - 1) ** 0.5)
    if side * side != tokens - 1 or side % 2 or not side:
        raise ValueError(f"tokens must be CLS and a square of patches over 2 x 2 cells (5, 17, 37 ...), got {tokens}")
    half = torch.arange(side) // (side // 2)  # 0 in the first half, 1 in the second
    return (2 * half[:, None] + half).flatten()


def by_cell(attention: Tensor) -> Tensor:
    """Attention among CLS and patches, (..., T, T), as attention among CLS and the four cells, (..., 5, 5).

    Summed over the keys of a cell and averaged over its queries, so that rows still sum to 1. Raises ValueError as
    :func:`tokens_of` does.
    """
    place = torch.cat([torch.zeros(1, dtype=torch.long), 1 + cell_of_patch(attention.shape[-1])])
    members = one_hot(place, 5).to(attention)  # (T, 5)
    return (members / members.sum(0)).T @ attention @ members


def _cls_only(tokens: Tensor) -> Tensor:
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    mask[:, 0] = True
    return mask


@contextmanager
def _in_evaluation_mode(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
