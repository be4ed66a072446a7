"""Every seed as a line: a history's column over the training, a star at each run's Eureka-moment (EM).

Groups of runs come by method, or by network, whose colours and names they get.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from eureka_lib.attention.registry import colour_of, dash_of, short_label_of
from eureka_lib.measure.forecasts import CAME, CAME_NOT, TOO_EARLY, fate
from eureka_lib.measure.gradients import since_moment
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


Curve = tuple[str, str, str, dict]  # a method, a column of the table, what it is called, and its style


def plot_around(table: pd.DataFrame, runs: Sequence[Run], panels: Mapping[str, Sequence[Curve]], label: str) -> Figure:
    """Columns of a table of ``runs`` against the steps from each run's Eureka-moment; ``panels``: title -> curves.

    A curve is the median over the runs of its method, the band all of them, each faint. Runs without a moment are
    aligned at nothing: they stand in a row of their own, against the training step.
    """
    table = since_moment(table, runs)
    jumped = table["since"].notna()
    reach = max(-table[jumped].groupby(["method", "run"])["since"].min().groupby("method").median().min(), 1)
    around = table[jumped & table["since"].between(-reach, reach / 2)]  # as half of a method's runs go, and half as far
    rows = [(x, part) for x, part in (("since", around), ("step", table[~jumped])) if len(part)]
    figure, axes = plt.subplots(len(rows), len(panels), figsize=(PLOT_WIDTH, 0.5 + 2.3 * len(rows)), squeeze=False,
                                sharex="row", sharey=True)  # fmt: skip
    for line, (x, part) in zip(axes, rows, strict=True):
        for axis, (title, curves) in zip(line, panels.items(), strict=True):
            for method, column, name, style in curves:
                _draw_spread(axis, part[part["method"] == method], x, column, label=name, **style)
            counts = part.groupby("method")["run"].nunique()
            n = [counts.get(method, 0) for method in dict.fromkeys(method for method, *_ in curves)]
            axis.set_title(f"{title} ({' and '.join(map(str, n))} runs)", fontsize=10)
            axis.set_xlabel("steps from the Eureka-moment" if x == "since" else "training step, no Eureka-moment")
            axis.set_visible(any(n))
            if x == "since":
                axis.axvline(0, color=DERIVED, lw=1, ls=":", zorder=0)
    figure.supylabel(label, fontsize=10)
    legend_below(axes[0, 0])
    return figure


def _draw_spread(axis: Axes, rows: pd.DataFrame, x: str, column: str, label: str, **style) -> None:
    every = rows.groupby("run")["step"].apply(lambda steps: steps.diff().min()).max()  # of the run that was seen least
    for _, one in rows.groupby("run"):
        axis.plot(one[x], one[column], lw=0.8, alpha=0.15, color=style["color"])
    rows = rows.assign(at=(rows[x] / every).round() * every)
    wide = rows.pivot_table(index="at", columns="run", values=column)
    wide = wide[2 * wide.notna().sum(axis=1) >= wide.shape[1]]  # where at least half of the runs are
    axis.fill_between(wide.index, wide.min(axis=1), wide.max(axis=1), color=style["color"], alpha=0.15, lw=0)
    axis.plot(wide.median(axis=1), lw=1.8, label=label, **style)


def _of_methods(table: pd.DataFrame, column: str) -> list[Curve]:
    return [(method, column, short_label_of(method), {"color": colour_of(method), "ls": dash_of(method)})
            for method in table["method"].unique()]  # fmt: skip


def plot_weight_gradients(sizes: pd.DataFrame, runs: Sequence[Run]) -> Figure:
    """Gradients of W_Q, W_K and W_V around the Eureka-moment, a panel per method; ``sizes`` as rules take them."""
    return _plot_gradients(sizes, runs, {name: (f"${name}$", *style) for name, style in MATRICES.items()})


def plot_feature_gradients(sizes: pd.DataFrame, runs: Sequence[Run]) -> Figure:
    """Gradients of the queries at each of ``PLACES`` that there is, a panel per method, from :func:`over_layers`."""
    places = {f"q at {place}": (f"queries of {place}", *style) for place, style in PLACES.items()}
    return _plot_gradients(sizes, runs, {column: curve for column, curve in places.items() if column in sizes})


def _plot_gradients(sizes: pd.DataFrame, runs: Sequence[Run], curves: Mapping[str, tuple[str, str, str]]) -> Figure:
    """A panel per method on a logarithmic scale; ``curves``: column -> what it is called, colour and line."""
    panels = {
        short_label_of(method): [(method, column, name, {"color": colour, "ls": line})
                                 for column, (name, colour, line) in curves.items()]
        for method in sizes["method"].unique()
    }  # fmt: skip
    figure = plot_around(sizes, runs, panels, "mean absolute gradient (nats)")
    for axis in figure.axes:
        axis.set_yscale("log")
        axis.yaxis.set_minor_locator(NullLocator())
    return figure


def plot_ratios(table: pd.DataFrame, runs: Sequence[Run]) -> Figure:
    """A :func:`ratio_table` in two panels: how many times W_Q's and W_K's gradient W_V gets."""
    panels = {f"against ${name}$": _of_methods(table, f"W_V / {name}") for name in ("W_Q", "W_K")}
    figure = plot_around(table, runs, panels, "$W_V$'s gradient is ... times as large")
    for axis in figure.axes:
        axis.axhline(1, color=DERIVED, ls="--", lw=1, zorder=1)
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
    return figure


def plot_entropy(sizes: pd.DataFrame, runs: Sequence[Run]) -> Figure:
    """Normalised entropy of the attention around the Eureka-moment."""
    label = "sharp \N{LEFTWARDS ARROW} entropy of attention \N{RIGHTWARDS ARROW} even"
    return plot_around(sizes, runs, {"mean over layers and heads": _of_methods(sizes, "entropy")}, label)


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
