"""Every seed as a line: a history's column over the training, a star at each run's Eureka-moment (EM).

Groups of runs come by method, or by network, whose colours and names they get.
"""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eureka_lib.attention.registry import colour_of, label_of, short_label_of
from eureka_lib.measure.methods import count
from eureka_lib.measure.plateaus import ACCURACY, Plateau
from eureka_lib.measure.tasks import ByTask, title_of
from eureka_lib.plots.style import DERIVED, derived_line, small_panels
from eureka_lib.store.runs import Groups
from eureka_lib.tasks.two_step import TwoStepTask


def plot_seeds(axis: Axes, groups: Groups, column: str, plateau: Plateau = ACCURACY) -> None:
    """One line per run of a history's ``column`` against the training step, with a star at each Eureka-moment."""
    for method, runs in groups.items():
        colour = colour_of(method)
        for i, run in enumerate(runs):
            history, moment = run.history, plateau.leap(run)
            label = None if i else label_of(method)
            axis.plot(history["step"], history[column], color=colour, lw=1.1, alpha=0.75, label=label)
            if moment.happened:
                at = history.loc[history["step"] == moment.step, column]
                axis.plot(moment.step, at, "*", color=colour, ms=9, mec="white", mew=0.6, zorder=5)
    axis.set_xlabel("training step")


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
    groups: Groups, column: str, label: str, lines: Mapping[str, float],
    plateau: Plateau = ACCURACY,
) -> Figure:  # fmt: skip
    """A history's ``column`` for every run, one panel per method, over derived ``lines`` by their names.

    The lines' names stand at the right.
    """
    figure, axes = small_panels(groups, 3, 2.8)
    named = list(axes)[2::3] or list(axes)[-1:]
    for method, axis in axes.items():
        plot_seeds(axis, {method: groups[method]}, column, plateau)
        for name, value in lines.items():
            if method in named:
                derived_line(axis, value, name)
            else:
                axis.axhline(value, color=DERIVED, ls="--", lw=1, zorder=1)
        k = count(map(plateau.leap, groups[method]))
        axis.set_title(f"{short_label_of(method)}:\n{k} {plateau.event}s", fontsize=9)
        axis.set(ylabel=label, ylim=(0, 1.02) if plateau.loss is None else None)
        axis.label_outer()
    return figure


def plot_tasks(networks: Mapping[str, ByTask], tasks: Mapping[str, TwoStepTask]) -> Figure:
    """Test accuracy on each task, one panel a task, a line per run, with the derived plateau."""
    figure, axes = small_panels(tasks, 3, 1.85)
    for name, axis in axes.items():
        plot_seeds(axis, {network: by_task[name] for network, by_task in networks.items()}, "test_accuracy")
        axis.axhline(tasks[name].plateau_accuracy, color=DERIVED, ls="--", lw=1, zorder=1, label="derived plateau")
        axis.set_title(title_of(name), fontsize=9)
        axis.set(ylabel="test accuracy", ylim=(0, 1.03))
        axis.label_outer()
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=9)
    return figure
