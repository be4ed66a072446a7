"""Every seed as a line: a history's column over the training, a star at each run's Eureka-moment (EM).

Groups of runs come by method, or by network, whose colours and names they get.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from eureka_lib.analysis.gradients import FEATURES
from eureka_lib.attention.registry import colour_of, label_of, short_label_of
from eureka_lib.measure.forecasts import CAME, CAME_NOT, TOO_EARLY, fate
from eureka_lib.measure.gradients import over_layers
from eureka_lib.measure.methods import count
from eureka_lib.measure.plateaus import ACCURACY, Plateau
from eureka_lib.measure.runs import network_of
from eureka_lib.measure.subjects import Subject
from eureka_lib.measure.tasks import ByTask, is_control, title_of
from eureka_lib.plots.style import (
    CONTROL,
    DERIVED,
    FAINT,
    GRID,
    JUMPED,
    LEFT_OUT,
    MATRICES,
    PAPER,
    PLACES,
    PLOT_WIDTH,
    SMALLEST,
    WAITS,
    derived_line,
    legend_below,
    small_panels,
)
from eureka_lib.store import Run
from eureka_lib.store.runs import Groups
from eureka_lib.tasks.two_step import TwoStepTask

RUN_COLOURS = {CAME: JUMPED, CAME_NOT: WAITS, TOO_EARLY: LEFT_OUT}


def plot_run(
    axis: Axes, table: pd.DataFrame, column: str, run: Run, plateau: Plateau = ACCURACY, size: float = 9, **style
) -> None:
    """A run's ``column`` of a table against the training step, with a star of that ``size`` at its Eureka-moment.

    The star of a jump that comes too late to count is hollow.
    """
    axis.plot(table["step"], table[column], **style)
    moment, late = plateau.leap(run), plateau.late(run)
    star = {"color": style["color"], "ms": size, "mec": PAPER, "mew": size / 15, "gid": "moment"}
    if plateau.loss is not None:
        star |= {"gid": "leap"}
    if late is not None:
        star |= {"mfc": PAPER, "mec": style["color"], "mew": 1, "gid": "late"}
    at = table[table["step"] >= (moment.step if late is None else late)].head(1)
    if moment.happened or late is not None:
        axis.plot(at["step"], at[column], "*", zorder=5, **star)


def plot_seeds(axis: Axes, groups: Groups, column: str, plateau: Plateau = ACCURACY) -> None:
    """One line per run of a history's ``column`` against the training step, with a star at each Eureka-moment."""
    for method, runs in groups.items():
        name = network_of(runs) if "resnet9" in groups else short_label_of(method)
        for i, run in enumerate(runs):
            style = {"color": colour_of(method), "label": None if i else name}
            plot_run(axis, run.history, column, run, plateau, lw=1.1, alpha=0.75, **style)
    axis.set_xlabel("training step")


def mark_budget(axis: Axes, runs: Sequence[Run], words: str = "budget ends") -> None:
    """Say where the budget of ``runs`` ends, if the axis goes on."""
    end = max(int(run.history["step"].iloc[-1]) for run in runs)
    if end < axis.get_xlim()[1]:
        axis.axvline(end, color=FAINT, lw=1, zorder=0)
        axis.annotate(words, (end, 0.75), (4, 0), ("data", "axes fraction"), "offset points", fontsize=SMALLEST,
                      color=DERIVED, va="center").set_in_layout(False)  # fmt: skip


def plot_loss(axis: Axes, groups: Groups, task: TwoStepTask) -> None:
    """Training-loss curves over the derived plateau and floor; the runs share one label smoothing."""
    smoothing = next(iter(groups.values()))[0].config["training"]["label_smoothing"]
    plot_seeds(axis, groups, "train_loss")
    derived_line(axis, task.plateau_loss(smoothing), "plateau", decimals=3)
    derived_line(axis, task.floor_loss(smoothing), "floor", decimals=3)
    axis.set_ylabel("training loss (nats)")
    axis.set_ylim(bottom=0.4)


def plot_accuracy(axis: Axes, groups: Groups, task: TwoStepTask) -> None:
    """Test accuracy over the derived plateau and chance."""
    plot_seeds(axis, groups, "test_accuracy")
    derived_line(axis, task.plateau_accuracy, "plateau")
    derived_line(axis, 1 / task.n_classes, "chance")
    axis.set(ylabel="test accuracy", ylim=(0, 1.02))


def plot_methods(
    groups: Groups, column: str, label: str, lines: Mapping[str, float], plateau: Plateau = ACCURACY
) -> Figure:
    """A history's ``column`` for every run, one panel per method, over derived ``lines`` by their names."""
    figure, axes = small_panels(groups, 4, 2.8)
    for method, axis in axes.items():
        plot_seeds(axis, {method: groups[method]}, column, plateau)
        for name, value in lines.items():
            derived_line(axis, value, name, outer=True)
        axis.axhline(plateau.level, color=FAINT, lw=0.8, zorder=0, gid="level")
        k, verb = count(map(plateau.leap, groups[method])), "jump" if plateau.loss is None else plateau.event
        axis.set_title(f"{short_label_of(method)}:\n{k} {verb}", fontsize=8)
        axis.set(ylabel=label, ylim=(0, 1.02) if plateau.loss is None else None)
        axis.label_outer()
    return figure


def plot_tasks(networks: Mapping[str, ByTask], tasks: Mapping[str, TwoStepTask]) -> Figure:
    """Test accuracy on each task, one panel a task, a line per run, with the derived plateau; controls are grey."""
    figure, axes = small_panels(tasks, 3, 1.85)
    for i, (name, axis) in enumerate(axes.items()):
        plot_seeds(axis, {network: by_task[name] for network, by_task in networks.items()}, "test_accuracy")
        axis.axhline(tasks[name].plateau_accuracy, color=DERIVED, ls="--", lw=1, zorder=1, label="derived plateau",
                     visible=tasks[name].plateau_accuracy < 1)  # fmt: skip
        axis.set_title(title_of(name), fontsize=9)
        axis.set(
            ylabel="test accuracy",
            ylim=(0, 1.03),
            xlim=(0, axis.dataLim.xmax),
            facecolor=CONTROL if is_control(name) else PAPER,
        )
        axis.label_outer()
        for by_task in networks.values():
            mark_budget(axis, by_task[name], "" if i else "budget\nends")
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9)
    return figure


def plot_kept(axis: Axes, table: pd.DataFrame, column: str, runs: Sequence[Run], label: str, **style) -> None:
    """A ``column`` of a table of kept models: a line for each of the ``runs`` that is in it, and a star at its EM."""
    for run in runs:
        one = table[table["run"] == run.key]
        if len(one):
            plot_run(axis, one, column, run, size=7, lw=0.9, alpha=0.8, label=label, **style)
            label = None  # one entry in the legend


def plot_weight_gradients(table: pd.DataFrame, runs: Sequence[Run]) -> Figure:
    """A :func:`diagnose_runs` table: gradients of W_Q, W_K, W_V over training; a row per layer, a column per method."""
    methods, layers = table["method"].unique(), sorted(table["layer"].unique())
    figure, axes = _gradient_panels(len(layers), len(methods), 0.7 + 1.45 * len(layers))
    for row, layer in zip(axes, layers, strict=True):
        for axis, method in zip(row, methods, strict=True):
            one = table[(table["layer"] == layer) & (table["method"] == method)]
            for name, (colour, line) in MATRICES.items():
                plot_kept(axis, one, name, runs, f"${name}$", color=colour, ls=line)
        row[0].set_ylabel(f"layer {layer}")
    for axis, method in zip(axes[0], methods, strict=True):
        axis.set_title(label_of(method), color=colour_of(method))
    legend_below(axes[0, 0])
    return figure


def plot_feature_gradients(sizes: pd.DataFrame, runs: Sequence[Run]) -> Figure:
    """Gradients of q, k and v (columns) at each of ``PLACES``, from :func:`over_layers`; a row per method."""
    methods = sizes["method"].unique()
    places = {place: style for place, style in PLACES.items() if f"q at {place}" in sizes}
    figure, axes = _gradient_panels(len(methods), 3, 0.9 + 1.9 * len(methods))
    for row, method in zip(axes, methods, strict=True):
        for axis, name in zip(row, FEATURES, strict=True):
            for place, (colour, line) in places.items():
                plot_kept(
                    axis, sizes[sizes["method"] == method], f"{name} at {place}", runs, place, color=colour, ls=line
                )
            axis.set_title(f"${name}$", loc="right")
        row[0].set_title(label_of(method), color=colour_of(method))
    legend_below(axes[0, 0])
    return figure


def _gradient_panels(rows: int, columns: int, height: float) -> tuple[Figure, np.ndarray]:
    figure, axes = plt.subplots(rows, columns, figsize=(PLOT_WIDTH, height), sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat:
        axis.set_yscale("log")
        axis.yaxis.set_minor_locator(NullLocator())
    for axis in axes[-1]:
        axis.set_xlabel("training step")
    figure.supylabel("mean absolute gradient (nats)", fontsize=10)
    return figure, axes


def plot_ratios(axes: Sequence[Axes], table: pd.DataFrame, runs: Sequence[Run]) -> None:
    """A :func:`ratio_table` in two panels: W_V over W_Q, W_V over W_K. Dots: the plateau, which the rule looks at."""
    for axis, name in zip(axes, ("W_Q", "W_K"), strict=True):
        column = f"W_V / {name}"
        for method, one in table.groupby("method", sort=False):
            plot_kept(axis, one, column, runs, label_of(method), color=colour_of(method))
            flat = one[one["plateau"]]
            axis.plot(flat["step"], flat[column], ".", color=colour_of(method), ms=4)
        axis.axhline(1, color=DERIVED, ls="--", lw=1, zorder=1)
        axis.annotate("equal", (0.99, 1), (0, -2), ("axes fraction", "data"), "offset points", ha="right", va="top",
                      fontsize=8, color=DERIVED)  # fmt: skip
        axis.set(yscale="log", xlabel="training step", title=f"gradient of $W_V$ over that of ${name}$")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.label_outer()
    axes[0].set_ylabel("ratio")
    legend_below(axes[0])


def plot_entropy(axes: Sequence[Axes], table: pd.DataFrame, runs: Sequence[Run], shown: Sequence[Run]) -> None:
    """Normalised entropy of the attention, two panels: every run, over all layers; and the ``shown`` runs by layer."""
    for method, one in over_layers(table).groupby("method", sort=False):
        plot_kept(axes[0], one, "entropy", runs, label_of(method), color=colour_of(method))
    axes[0].set(title="all seeds, mean over layers", ylabel="normalised entropy of the attention")
    layers = sorted(table["layer"].unique())
    for run, line in zip(shown, ("-", "--"), strict=False):
        for layer in layers:
            colour = plt.get_cmap("viridis")(0.85 * (layer - 1) / max(len(layers) - 1, 1))
            one = table[(table["run"] == run.key) & (table["layer"] == layer)]
            label = f"layer {layer}, seed {run.config['model_seed']}"
            plot_kept(axes[1], one, "entropy", [run], label, color=colour, ls=line)
    axes[1].set_title("two seeds of softmax, by layer")
    for axis in axes:
        axis.set(xlabel="training step")
        axis.legend(fontsize=8)


def plot_fates(subjects: Sequence[Subject], horizon: int, task: TwoStepTask) -> Figure:
    """Every run's test accuracy over the whole budget, and its test loss as far as the forecast sees it (shaded)."""
    figure, (whole, start) = plt.subplots(1, 2, figsize=(PLOT_WIDTH, 3.1), width_ratios=(1.35, 1))
    for subject in subjects:
        history, came = subject.run.history, fate(subject, horizon)
        style = {"color": RUN_COLOURS[came], "lw": 1, "alpha": 0.75, "ls": "--" if came == CAME_NOT else "-"}
        seen = history[history["step"] <= horizon]
        whole.plot(history["step"], history["test_accuracy"], **style)
        start.plot(seen["step"], seen["test_loss"], **style)
    whole.axvspan(0, horizon, color="black", alpha=0.12, lw=0)
    start.set_facecolor(GRID)
    whole.set(xlim=(0, subjects[0].run.history["step"].iloc[-1]), ylim=(0, 1.02), ylabel="test accuracy")
    start.set(xlim=(0, horizon), ylabel="test loss (nats)")
    for axis in figure.axes:
        axis.set_xlabel("training step")
    derived_line(whole, task.plateau_accuracy, "plateau")
    shown = [name for name in RUN_COLOURS if any(fate(subject, horizon) == name for subject in subjects)]
    handles = [Line2D([], [], color=RUN_COLOURS[name], ls="--" if name == CAME_NOT else "-", label=name)
               for name in shown]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9)
    return figure
