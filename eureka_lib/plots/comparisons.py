"""Many runs side by side: tables and pictures that compare methods, temperatures and hyper-parameters.

Everything here takes groups of runs by name, ``{"softmax": [run, ...], ...}``, each with its own seeds, and shows every
run: a censored one as a hollow mark at the end of its budget, never left out.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from eureka_lib.analysis import compare
from eureka_lib.analysis.eureka import Moment, log_rank, median_step, wilson_interval
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.plots import figures
from eureka_lib.store import Run
from eureka_lib.store.runs import Groups
from eureka_lib.tasks.two_step import TwoStepTask


def method_table(groups: Groups, baseline: str = "softmax") -> pd.DataFrame:
    """One row per method: EMs k of n with Wilson interval, EM times, final accuracy, each against ``baseline``.

    Times are restricted to the budget; ratios and differences come with 95 % intervals.
    """
    others = [figures.moment_of(run) for run in groups[baseline]]
    final_others = _final(groups[baseline])
    rows = {}
    for name, runs in groups.items():
        moments = [figures.moment_of(run) for run in runs]
        columns = ("EMs", "EM rate, 95 % interval", "median EM step", "mean restricted EM time")
        rows[name] = dict(zip(columns, summary(moments), strict=True))
        rows[name]["final accuracy"] = f"{np.mean(_final(runs)):.3f}"
        if name != baseline:
            rows[name] |= against(moments, others, baseline)
            rows[name][f"accuracy - {baseline}'s"] = str(compare.mean_difference(_final(runs), final_others))
    return pd.DataFrame.from_dict(rows, orient="index").fillna("").rename_axis("method")


def summary(moments: Sequence[Moment]) -> tuple[str, str, str, str]:
    """In words: how many happened, their share's Wilson interval, the median step, the mean restricted time."""
    k, median = sum(moment.happened for moment in moments), median_step(moments)
    low, high = wilson_interval(k, len(moments))
    step = "not reached" if median is None else f"{median:.0f}"
    return f"{k} of {len(moments)}", f"{low:.2f} to {high:.2f}", step, f"{compare.restricted_times(moments).mean():.0f}"


def against(moments: Sequence[Moment], others: Sequence[Moment], baseline: str) -> dict[str, str]:
    """Columns of a method's times against those of the ``baseline``: their ratio with its interval, the log-rank p."""
    return {
        f"time / {baseline}'s": str(compare.time_ratio(moments, others)),
        "log-rank p": f"{log_rank(moments, others):.2g}",
    }


def settings_table(groups: Mapping[str, Mapping[str, Sequence[Experiment]]], notebook: str) -> pd.DataFrame:
    """What each method of each regime runs with, and the command that repeats its row (and softmax's beside it)."""
    rows = []
    for regime, methods in groups.items():
        for method, experiments in methods.items():
            first = experiments[0]
            command = f"./run_all.sh {notebook.split('_')[0]} -p \"methods=['{method}']\""
            rows.append({
                "regime": regime, "method": method, "seeds": len(experiments), "steps": first.training.steps,
                "learning rate": first.training.learning_rate, "scale at start": first.fix.scale_start,
                "repeat by": command,
            })  # fmt: skip
    return pd.DataFrame(rows).set_index(["regime", "method"])


def plot_methods(groups: Groups, task: TwoStepTask) -> Figure:
    """Test accuracy of every run, one panel per method, plateau and chance drawn."""
    columns = min(len(groups), 3)
    rows = -(-len(groups) // columns)
    figure, axes = figures.plt.subplots(
        rows, columns, figsize=(figures.PLOT_WIDTH, 2.6 * rows), sharex=True, sharey=True, squeeze=False
    )
    for axis, (name, runs) in zip(axes.flat, groups.items(), strict=False):
        figures.plot_accuracy(axis, runs, task)
        k = sum(figures.moment_of(run).happened for run in runs)
        axis.set_title(f"{_name(name)}: {k} of {len(runs)} EMs", fontsize=9)
        axis.label_outer()
    for axis in axes.flat[len(groups) :]:
        axis.set_visible(False)
    return figure


def plot_times(
    axis: Axes, groups: Groups, moment_of: Callable[[Run], Moment] = figures.moment_of, event: str = "EM"
) -> None:
    """EM step of each run by method: filled where it happened, hollow where censored; a bar at the restricted mean.

    Another ``moment_of`` than the library's goes with the name of its ``event``.
    """
    for row, (name, runs) in enumerate(groups.items()):
        moments, colour = [moment_of(run) for run in runs], figures.colour_of(name)
        for moment, shift in zip(moments, _spread([moment.step for moment in moments]), strict=True):
            face = colour if moment.happened else "none"
            axis.plot(moment.step, row + shift, "o", ms=4.5, mfc=face, mec=colour, mew=1)
        mean = compare.restricted_times(moments).mean()
        axis.plot([mean, mean], [row - 0.38, row + 0.38], color="black", lw=1.6, zorder=5)
    names = [_name(name) for name in groups]
    axis.set(yticks=range(len(groups)), yticklabels=names, xlim=(0, None), ylim=(-0.5, len(groups) - 0.5))
    axis.set_xlabel(f"training step of the {event} (hollow: none in the budget)")
    axis.invert_yaxis()


def plot_regimes(found: Mapping[str, Groups], draw: Callable[[Axes, Groups], None], heights: Sequence[float]) -> Figure:
    """One panel per regime, below each other, each drawn by ``draw(axis, groups)`` and ``heights`` inches high."""
    figure, axes = figures.plt.subplots(
        len(found), 1, figsize=(figures.PLOT_WIDTH, sum(heights)), squeeze=False, height_ratios=heights
    )
    for axis, (name, groups) in zip(axes[:, 0], found.items(), strict=True):
        draw(axis, groups)
        axis.set_title(name, fontweight="bold", fontsize=10)
    return figure


def plot_against(axis: Axes, groups: Mapping[float, Sequence[Run]], what: str, label: str, colour: str) -> None:
    """One number of each run against the group's value, on a logarithmic axis: dots are runs, the line is their mean.

    ``what`` is "EM step", "final accuracy", or a column of the histories, of which the value a quarter into the budget
    is shown, where runs lie on the plateau.
    """
    values = {value: _numbers(runs, what) for value, runs in groups.items()}
    for value, numbers in values.items():
        filled = [figures.moment_of(run).happened for run in groups[value]]
        for number, happened in zip(numbers, filled, strict=True):
            axis.plot(value, number, "o", ms=4, mfc=colour if happened else "none", mec=colour, mew=0.9, alpha=0.8)
    axis.plot(list(values), [np.mean(numbers) for numbers in values.values()], color=colour, lw=1.3)
    axis.set_ylabel(label)
    log_axis(axis, list(values))


def plot_rate(axis: Axes, groups: Mapping[float, Sequence[Run]], colour: str) -> None:
    """EM rate with its Wilson interval against the group's value."""
    for value, runs in groups.items():
        k, n = sum(figures.moment_of(run).happened for run in runs), len(runs)
        axis.plot([value, value], wilson_interval(k, n), color=colour, lw=1.3, alpha=0.6)
        axis.plot(value, k / n, "o", color=colour, ms=5)
    axis.plot(list(groups), [np.mean([figures.moment_of(r).happened for r in runs]) for runs in groups.values()],
              color=colour, lw=1.3)  # fmt: skip
    axis.set(ylabel="EM rate", ylim=(-0.05, 1.05))
    log_axis(axis, list(groups))


def plot_sweep(groups: Mapping[float, Sequence[Run]], label: str, plateau: float) -> Figure:
    """What a number that is varied does: EM rate, EM steps, final accuracy, attention entropy on the plateau.

    ``plateau`` is the derived accuracy there.
    """
    colour = figures.colour_of("softmax")
    figure, axes = figures.plt.subplots(2, 2, figsize=(figures.PLOT_WIDTH, 4.6), sharex=True)
    plot_rate(axes[0, 0], groups, colour)
    plot_against(axes[0, 1], groups, "EM step", "EM step", colour)
    plot_against(axes[1, 0], groups, "final accuracy", "final test accuracy", colour)
    figures.derived_line(axes[1, 0], plateau, "plateau")
    plot_against(axes[1, 1], groups, "attention_entropy", "attention entropy / log N", colour)
    for axis in axes[1]:
        axis.set_xlabel(label)
    return figure


def plot_schedules(axis: Axes, table: pd.DataFrame) -> None:
    """Scale factors over training: a line per ``shape`` of a table with columns shape, step and factor."""
    dashes = itertools.cycle(("--", ":", "-", "-."))
    for (shape, line), dash in zip(table.groupby("shape", sort=False), dashes, strict=False):
        axis.plot(line["step"], line["factor"], dash, color=figures.colour_of(shape), label=figures.label_of(shape))
    axis.set(xlabel="training step", ylabel="scale / usual scale")
    figures.derived_line(axis, 1, "usual scale", decimals=0)
    axis.legend(loc="upper right", bbox_to_anchor=(1, 0.95))


def labelled_table(groups: Mapping[Any, Sequence[Run]], column: str) -> pd.DataFrame:
    """A row per run as in :func:`eureka_lib.plots.figures.run_table`, the group's name in front, under ``column``."""
    tables = [figures.run_table(runs).assign(**{column: name}) for name, runs in groups.items()]
    table = pd.concat(tables, ignore_index=True)
    return table[[column, *(c for c in table if c != column)]]


def regime_table(found: Mapping[str, Groups]) -> pd.DataFrame:
    """A row per run of all regimes, the regime's name in front."""
    return labelled_table({name: [r for runs in groups.values() for r in runs] for name, groups in found.items()},
                          "regime")  # fmt: skip


def method_tables(found: Mapping[str, Groups]) -> pd.DataFrame:
    """The method tables of all regimes as one, indexed by regime and method."""
    return pd.concat({name: method_table(groups) for name, groups in found.items()}, names=["regime"]).fillna("")


def log_axis(axis: Axes, values: Sequence[float]) -> None:
    """A logarithmic x axis with ticks at ``values``, written as whole numbers or fractions."""
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(FixedLocator(list(values)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}" if x >= 1 else f"1/{1 / x:g}"))


def rate_grid(groups: Mapping[tuple, Sequence[Run]], names: tuple[str, str]) -> pd.DataFrame:
    """EM rates of a grid: ``{(row value, column value): runs}`` -> a table of (k, n, rate), one row per cell."""
    rows = []
    for (first, second), runs in groups.items():
        k = sum(figures.moment_of(run).happened for run in runs)
        mean_time = compare.restricted_times([figures.moment_of(run) for run in runs]).mean()
        rows.append({names[0]: first, names[1]: second, "k": k, "n": len(runs), "EM rate": k / len(runs),
                     "mean restricted EM time": mean_time})  # fmt: skip
    return pd.DataFrame(rows)


def plot_grid(axis: Axes, grid: pd.DataFrame, names: tuple[str, str], bar: bool) -> None:
    """A grid of EM rates as a heat map: k/n and the mean restricted EM time written in each cell."""
    first = grid[names[0]].unique()  # in the order of the table; pivot sorts
    rates = grid.pivot(index=names[0], columns=names[1], values="EM rate").loc[first]
    text = grid.assign(text=[f"{k}/{n}\n{t:.0f}" for k, n, t in
                             zip(grid["k"], grid["n"], grid["mean restricted EM time"], strict=True)])  # fmt: skip
    words = text.pivot(index=names[0], columns=names[1], values="text").loc[first]
    sns.heatmap(rates, annot=words, fmt="", cmap="cividis", vmin=0, vmax=1, ax=axis, cbar=bar, linewidths=0.5,
                annot_kws={"fontsize": 8}, cbar_kws={"label": "EM rate"})  # fmt: skip
    figures.make_readable(axis)
    axis.set_yticks(axis.get_yticks(), [_name(value) for value in rates.index], rotation=0)
    axis.set(xlabel=names[1], ylabel=names[0])


def _name(value: Any) -> str:
    """A method's name without what all of them share, or a number as one writes it."""
    return figures.short_label_of(value) if isinstance(value, str) else f"{value:.4g}"


def _spread(steps: Sequence[int]) -> np.ndarray:
    """Vertical shifts that keep apart the marks of one row that stand at the same step."""
    steps = np.asarray(steps)
    shifts = np.zeros(len(steps))
    for step in np.unique(steps):
        same = steps == step
        reach = min(0.36, 0.06 * (same.sum() - 1))
        shifts[same] = np.linspace(-reach, reach, same.sum())
    return shifts


def _final(runs: Sequence[Run]) -> list[float]:
    return [run.final_accuracy for run in runs]


def _numbers(runs: Sequence[Run], what: str) -> list[float]:
    if what == "EM step":
        return [figures.moment_of(run).step for run in runs]
    if what == "final accuracy":
        return _final(runs)
    return [float(run.history[what].iloc[len(run.history) // 4]) for run in runs]
