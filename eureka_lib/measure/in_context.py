"""In-context learning before and after the leap: what a network makes of its examples, beside the textbook's baselines.

A network that has learnt to learn gets better with each example in its prompt. The error by number of examples, of
kept weights before and after a run's leap, is held against that of least squares and others (Garg et al. 2022).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from eureka_lib.experiments.experiment import Experiment
from eureka_lib.measure.plateaus import Plateau, phases
from eureka_lib.store.runs import Groups
from eureka_lib.tasks import in_context
from eureka_lib.tasks.in_context import BASELINES, InContextTask

PLATEAU = Plateau(InContextTask.plateau_loss, thresholds=(0.5, 0.4))  # least squares scores 0.72 if d = 4, P = 9


def prompt_table(task: InContextTask, seed: int) -> pd.DataFrame:
    """One prompt, a row per point: x, f(x), and what each baseline says there, from the rows above alone."""
    x, y = task.sample(torch.Generator().manual_seed(seed), 1)
    table = pd.DataFrame(x[0].numpy(), columns=[f"x[{i}]" for i in range(x.shape[-1])]).assign(**{"f(x)": y[0].numpy()})
    for name, baseline in BASELINES.items():
        table[name] = baseline(x, y)[0].numpy()
    return table.rename_axis("examples before it").round(2)


def baseline_table(task: InContextTask, prompts: int) -> pd.DataFrame:
    """Error of each baseline on ``prompts`` test prompts, a row per number of examples, and derived where it can be."""
    tokens, y = (torch.cat(parts) for parts in zip(*task.test_set(prompts), strict=True))
    x = tokens[:, ::2]
    examples, d = torch.arange(task.config.points), task.config.dimensions
    table = {name: in_context.relative_errors(baseline(x, y), y).numpy() for name, baseline in BASELINES.items()}
    table["least squares, derived"] = in_context.least_squares_error(examples, d).numpy()
    table["averaging, derived"] = in_context.averaging_error(examples, d).numpy()
    return pd.DataFrame(table).rename_axis("examples")


def errors_by_examples(
    groups: Mapping[str, Sequence[Experiment]], runs: Groups, task: InContextTask, plateau: Plateau, prompts: int
) -> pd.DataFrame:
    """Errors of kept weights, a row per run, phase and number of examples: method, seed, phase, step, examples, error.

    Before the leap is the kept step nearest to half of the time until it (until the end of a run without one); the
    other phase is the end of the training.
    """
    test_set, tables = task.test_set(prompts), []
    for method, experiments in groups.items():
        for experiment, run in zip(experiments, runs[method], strict=True):
            for phase, step in phases(run, plateau).items():
                with torch.no_grad():
                    errors = task.errors(experiment.model_at(run, step, task), test_set).numpy()
                row = {"method": method, "seed": experiment.model_seed, "phase": phase, "step": step}
                tables.append(pd.DataFrame({**row, "examples": np.arange(len(errors)), "error": errors}))
    return pd.concat(tables, ignore_index=True)
