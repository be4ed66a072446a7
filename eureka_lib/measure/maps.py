"""Attention maps of kept models, among the places of their tokens: CLS, if there is one, and the four cells."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from eureka_lib.analysis.places import CLS, attention_by_place, token_places
from eureka_lib.analysis.record import record_blocks
from eureka_lib.measure.subjects import FEWEST, Subject, early_and_late, telling_steps
from eureka_lib.tasks.two_step import CELL_NAMES, TwoStepTask


def names_of(places: int) -> list[str]:
    """The names of a model's places, as many as it has."""
    return [CLS, *CELL_NAMES][-places:]


def asking(places: int) -> list[int]:
    """The places whose look is shown: CLS; where there is none, the first indicator and the first target."""
    return [0] if CLS in names_of(places) else [0, 1]


def attention_maps(subject: Subject, step: int, task: TwoStepTask, images: Tensor) -> Tensor:
    """Mean attention of a kept model over ``images``, among its P places: (L, H, P, P), rows sum to 1."""
    model = subject.model(step, task)
    layers, places = record_blocks(model, images), token_places(model)
    return torch.stack([attention_by_place(layer.attention.mean(dim=0), places) for layer in layers])


def looks(subject: Subject, task: TwoStepTask, images: Tensor) -> pd.DataFrame:
    """On which cell the last layer looks, a row for each of the :func:`telling_steps`: mean over heads and ``images``.

    That is, what the network answers from looks there: CLS, or all tokens. Columns moment, step and the cells. Empty if
    the run kept no weights, or too few.
    """
    rows = []
    for name, step in telling_steps(subject.run).items() if len(subject.run.weight_steps) >= FEWEST else ():
        weights = attention_maps(subject, step, task, images)[-1].mean(dim=0)  # (P, P)
        read = weights[:1] if CLS in names_of(len(weights)) else weights
        shares = read.mean(dim=0)[-len(CELL_NAMES) :]
        rows.append({"moment": name, "step": step} | dict(zip(CELL_NAMES, shares.tolist(), strict=True)))
    return pd.DataFrame(rows)


def attention_table(subjects: Sequence[Subject], task: TwoStepTask, images: Tensor) -> pd.DataFrame:
    """:func:`attention_maps` of a typical run at its ``telling_steps``, and of one on the plateau at its end.

    Columns seed, moment, layer and head (from 1), from, to, weight.
    """
    rows = []
    for subject, steps in zip(shown := early_and_late(subjects), (telling_steps(shown[0].run), None), strict=False):
        for name, step in (steps or {"end": subject.end}).items():
            weights = attention_maps(subject, step, task, images)
            names = names_of(weights.shape[-1])
            rows += [(subject.title, f"{name}, step {step}", layer + 1, head + 1, names[query], names[key], weight)
                     for (layer, head, query, key), weight in np.ndenumerate(weights.double().numpy())]  # fmt: skip
    return pd.DataFrame(rows, columns=["seed", "moment", "layer", "head", "from", "to", "weight"])


def greatest_change(table: pd.DataFrame) -> str:
    """The look that changes most between the first and the last moment of an :func:`attention_table`, in words."""
    places = names_of(table["to"].nunique())
    asked = table[table["from"].isin([places[i] for i in asking(len(places))]) & (table["to"] != CLS)]
    first = asked[asked["seed"] == asked["seed"].iloc[0]]
    ends = first["moment"].unique()[[0, -1]]
    wide = first.pivot(index=["layer", "head", "from", "to"], columns="moment", values="weight")[ends]
    layer, head, query, key = at = wide.diff(axis=1).iloc[:, 1].abs().idxmax()
    before, after = wide.loc[at]
    return f"Head {head} of layer {layer}: the look from {query} to {key} goes from {before:.0%} to {after:.0%}"
