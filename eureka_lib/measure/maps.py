"""Attention maps of kept models, among CLS and the four cells."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from eureka_lib.analysis.gradients import by_cell
from eureka_lib.analysis.probes import CLS
from eureka_lib.analysis.record import record_blocks
from eureka_lib.measure.subjects import Subject, first_and_last, telling_steps
from eureka_lib.tasks.two_step import CELL_NAMES, TwoStepTask

TOKENS = [CLS, *CELL_NAMES]


def attention_maps(subject: Subject, step: int, task: TwoStepTask, images: Tensor) -> Tensor:
    """Mean attention of a kept model over ``images``, among CLS and the four cells: (L, H, 5, 5), rows sum to 1."""
    layers = record_blocks(subject.model(step, task), images)
    return torch.stack([by_cell(layer.attention.mean(dim=0)) for layer in layers])


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
