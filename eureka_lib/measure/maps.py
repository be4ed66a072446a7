"""Attention maps of kept models, among CLS and the four cells."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from eureka_lib.analysis.gradients import by_cell
from eureka_lib.analysis.probes import CLS
from eureka_lib.analysis.record import record_blocks
from eureka_lib.measure.subjects import FEWEST, Subject, first_and_last, telling_steps
from eureka_lib.tasks.two_step import BOTTOM_LEFT, CELL_NAMES, TOP_RIGHT, TwoStepTask

TOKENS = [CLS, *CELL_NAMES]


def attention_maps(subject: Subject, step: int, task: TwoStepTask, images: Tensor) -> Tensor:
    """Mean attention of a kept model over ``images``, among CLS and the four cells: (L, H, 5, 5), rows sum to 1."""
    layers = record_blocks(subject.model(step, task), images)
    return torch.stack([by_cell(layer.attention.mean(dim=0)) for layer in layers])


def looks(subject: Subject, task: TwoStepTask, images: Tensor) -> pd.DataFrame:
    """On which cell the last layer looks, a row for each of the :func:`telling_steps`: mean over heads and ``images``.

    From CLS, which the network answers from; where there is none, from the targets. Columns moment, step and the
    cells. Empty if the run kept no weights, or too few.
    """
    rows = []
    for name, step in telling_steps(subject.run).items() if len(subject.run.weight_steps) >= FEWEST else ():
        weights = attention_maps(subject, step, task, images)[-1].mean(dim=0)  # (P, P)
        asking = [0] if len(weights) > len(CELL_NAMES) else [TOP_RIGHT, BOTTOM_LEFT]
        shares = weights[asking].mean(dim=0)[-len(CELL_NAMES) :]
        rows.append({"moment": name, "step": step} | dict(zip(CELL_NAMES, shares.tolist(), strict=True)))
    return pd.DataFrame(rows)


def attention_table(subjects: Sequence[Subject], task: TwoStepTask, images: Tensor) -> pd.DataFrame:
    """:func:`attention_maps` of ``first_and_last``, at the ``telling_steps`` of the first.

    Columns seed, moment, layer and head (from 1), from, to, weight.
    """
    shown, rows = first_and_last(subjects), []
    for subject in shown:
        seed = subject.title if subject.moment.happened else f"seed {subject.seed}: no EM"
        for name, step in telling_steps(shown[0].run).items():
            moment = f"{name}, step {step}" if subject is shown[0] else f"step {step}"
            weights = attention_maps(subject, step, task, images)
            rows += [(seed, moment, layer + 1, head + 1, TOKENS[query], TOKENS[key], weight)
                     for (layer, head, query, key), weight in np.ndenumerate(weights.double().numpy())]  # fmt: skip
    return pd.DataFrame(rows, columns=["seed", "moment", "layer", "head", "from", "to", "weight"])
