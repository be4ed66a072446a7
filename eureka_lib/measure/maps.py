"""Attention maps of kept models, among CLS and the four cells, and of which runs and steps they are shown."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from eureka_lib.analysis.gradients import by_cell, plateau_steps
from eureka_lib.analysis.probes import CLS
from eureka_lib.analysis.record import look_inside
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.measure.runs import moment_of
from eureka_lib.store import Run
from eureka_lib.tasks.two_step import CELL_NAMES, TwoStepTask

TOKENS = [CLS, *CELL_NAMES]


def first_and_last(runs: Sequence[Run]) -> tuple[int, int]:
    """Which of the runs has its EM first, and which has none, or the last one: two indices."""
    order = sorted(range(len(runs)), key=lambda i: (not moment_of(runs[i]).happened, moment_of(runs[i]).step))
    return order[0], order[-1]


def telling_steps(run: Run) -> dict[str, int]:
    """Four kept steps of a run, by name: mid-plateau, just before the EM, at the EM (or just after it), and the end.

    A run without an EM, or without enough kept steps around it, has four spread over its budget instead, so that there
    is something to draw. Raises ValueError if it kept fewer than five.
    """
    kept, moment = run.weight_steps, moment_of(run)
    if len(kept) < 5:
        raise ValueError(f"run {run.key} kept its weights at {len(kept)} steps; at least 5 are needed")
    plateau = sorted(set(kept) & set(plateau_steps(*run.accuracy)))
    after = [step for step in kept if step >= moment.step]
    if not moment.happened or len(plateau) < 2 or len(after) < 2:
        return {f"quarter {i}": kept[i * (len(kept) - 1) // 4] for i in (1, 2, 3, 4)}
    before = kept[kept.index(after[0]) - 1]
    steps = (plateau[(len(plateau) - 1) // 2], before, after[0], kept[-1])
    return dict(zip(("plateau", "before EM", "at the EM", "end"), steps, strict=True))


def attention_maps(experiment: Experiment, run: Run, step: int, task: TwoStepTask, images: Tensor) -> Tensor:
    """Mean attention of a kept model over ``images``, among CLS and the four cells: (L, H, 5, 5), rows sum to 1."""
    layers = look_inside(experiment.model_at(run, step, task), images)
    return torch.stack([by_cell(layer.attention.mean(dim=0)) for layer in layers])


def two_seeds(
    experiments: Sequence[Experiment], runs: Sequence[Run], task: TwoStepTask, images: Tensor
) -> dict[str, dict[str, Tensor]]:
    """:func:`attention_maps` of :func:`first_and_last`, at the first one's :func:`telling_steps`, as to be plotted."""
    chosen = first_and_last(runs)
    steps = telling_steps(runs[chosen[0]])
    return {
        _title(runs[i]): {
            f"{name}\nstep {step}" if i == chosen[0] else f"step {step}": attention_maps(
                experiments[i], runs[i], step, task, images
            )
            for name, step in steps.items()
        }
        for i in chosen
    }


def _title(run: Run) -> str:
    moment = moment_of(run)
    return f"seed {run.config['model_seed']}: " + (f"EM at step {moment.step}" if moment.happened else "no EM")


def attention_table(maps: dict[str, dict[str, Tensor]]) -> pd.DataFrame:
    """What :func:`plot_attention` shows, as a table: seed, moment, layer and head (from 1), from, to, weight."""
    rows = []
    for seed, models in maps.items():
        for moment, model in models.items():
            for layer, head, query, key in torch.cartesian_prod(*map(torch.arange, model.shape)).tolist():
                weight = float(model[layer, head, query, key])
                rows.append((seed, moment.replace("\n", ", "), layer + 1, head + 1, TOKENS[query], TOKENS[key], weight))
    return pd.DataFrame(rows, columns=["seed", "moment", "layer", "head", "from", "to", "weight"])
