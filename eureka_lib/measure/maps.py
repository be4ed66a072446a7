"""Attention maps of kept models, among CLS and the four cells."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from eureka_lib.analysis.gradients import by_cell
from eureka_lib.analysis.probes import CLS
from eureka_lib.analysis.record import look_inside
from eureka_lib.measure.subjects import Subject, first_and_last, telling_steps
from eureka_lib.tasks.two_step import CELL_NAMES, TwoStepTask

TOKENS = [CLS, *CELL_NAMES]


def attention_maps(subject: Subject, step: int, task: TwoStepTask, images: Tensor) -> Tensor:
    """Mean attention of a kept model over ``images``, among CLS and the four cells: (L, H, 5, 5), rows sum to 1."""
    layers = look_inside(subject.model(step, task), images)
    return torch.stack([by_cell(layer.attention.mean(dim=0)) for layer in layers])


def two_seeds(subjects: Sequence[Subject], task: TwoStepTask, images: Tensor) -> dict[str, dict[str, Tensor]]:
    """:func:`attention_maps` of ``first_and_last``, at the ``telling_steps`` of the first, by seed and moment."""
    first, last = first_and_last(subjects)
    steps, maps = telling_steps(first.run), {}
    for subject in (first, last):
        title = subject.title if subject.moment.happened else f"seed {subject.seed}: no EM"
        maps[title] = {}
        for name, step in steps.items():
            moment = f"{name}\nstep {step}" if subject is first else f"step {step}"
            maps[title][moment] = attention_maps(subject, step, task, images)
    return maps


def attention_table(maps: dict[str, dict[str, Tensor]]) -> pd.DataFrame:
    """The maps of :func:`two_seeds` as a table: seed, moment, layer and head (from 1), from, to, weight."""
    rows = []
    for seed, models in maps.items():
        for moment, model in models.items():
            for layer, head, query, key in torch.cartesian_prod(*map(torch.arange, model.shape)).tolist():
                weight = float(model[layer, head, query, key])
                rows.append((seed, moment.replace("\n", ", "), layer + 1, head + 1, TOKENS[query], TOKENS[key], weight))
    return pd.DataFrame(rows, columns=["seed", "moment", "layer", "head", "from", "to", "weight"])
