"""In-context learning before and after the leap: what a network makes of its examples, beside the textbook's baselines.

A network that has learnt to learn gets better with each example in its prompt. The error by number of examples, of
kept weights before and after a run's leap, is held against that of least squares and others (Garg et al. 2022).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eureka_lib.claims.leaps import Plateau, Study
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.plots import figures
from eureka_lib.plots.leap_figures import AFTER, BEFORE, NEVER, phases
from eureka_lib.store.runs import Groups
from eureka_lib.tasks import in_context
from eureka_lib.tasks.in_context import BASELINES, InContextTask

DASHES = {BEFORE: ":", AFTER: "-", NEVER: "--"}
SHOWN_ERROR = 1.5  # the upper end of the picture: averaging few examples errs more than anybody needs to see
GREYS = {  # line style and width
    "zero predictor": ("-", 0.6), "least squares": ("-", 1.6), "ridge": ("--", 1), "nearest neighbours": ("-.", 1),
    "averaging": (":", 1),
}  # fmt: skip
PLATEAU = Plateau(InContextTask.plateau_loss, thresholds=(0.5, 0.4))  # least squares scores 0.72 if d = 4, P = 9


def study(experiment: Experiment) -> Study:
    """What claim C8 rests on, in words: the task and the network of ``experiment``, and its scale."""
    task, model, training = experiment.task, experiment.model, experiment.training
    about = (
        f"in-context learning (GPT-2, {model.depth} layers of width {model.width}; linear functions, d = "
        f"{task.dimensions}, {task.points} points, no curriculum; {training.steps:,} steps of batch "
        f"{training.batch_size})"
    )
    return Study("C8", about, PLATEAU)


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


def plot_errors(errors: pd.DataFrame, baselines: pd.DataFrame) -> Figure:
    """Error against the number of examples, a panel per method, a line per run and phase, over the baselines."""
    methods = list(errors["method"].unique())
    figure, axes = figures.plt.subplots(
        1, len(methods), figsize=(figures.PLOT_WIDTH, 3.4), sharex=True, sharey=True, squeeze=False
    )
    for axis, method in zip(axes[0], methods, strict=True):
        plot_baselines(axis, baselines)
        for (phase, _), line in errors[errors["method"] == method].groupby(["phase", "seed"]):
            colour = figures.colour_of(method)
            axis.plot(line["examples"], line["error"], ls=DASHES[phase], color=colour, lw=1, alpha=0.7)
        axis.set_title(figures.short_label_of(method), fontsize=9)
        axis.set(xlabel="examples in the prompt", ylabel="error / zero predictor's", ylim=(-0.03, SHOWN_ERROR))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.label_outer()
    for phase in DASHES:
        if phase in set(errors["phase"]):
            axes[0, 0].plot([], [], ls=DASHES[phase], color=figures.colour_of(methods[0]), label=phase)
    lines, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside upper center", ncols=3, fontsize=8)
    return figure


def plot_baselines(axis: Axes, baselines: pd.DataFrame) -> None:
    """The measured errors of the baselines, in greys."""
    for name, (style, width) in GREYS.items():
        axis.plot(baselines.index, baselines[name], ls=style, color=figures.DERIVED, lw=width, label=name, zorder=1)
