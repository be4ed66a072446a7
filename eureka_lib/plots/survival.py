"""Kaplan-Meier curves: the share of runs still without an Eureka-moment (EM), with 95 % bands, ticks where censored."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eureka_lib.analysis.eureka import kaplan_meier
from eureka_lib.attention.registry import colour_of, label_of, short_label_of
from eureka_lib.measure.methods import count, mean_times
from eureka_lib.measure.runs import moment_of, network_of
from eureka_lib.plots.style import REFERENCE, label_ends, small_panels
from eureka_lib.store import Run
from eureka_lib.store.runs import Groups


def plot_survival(axis: Axes, groups: Groups) -> None:
    """A curve per method, at whose end stands how many still wait."""
    ends = []
    for method, runs in groups.items():
        curve = plot_curve(axis, runs, colour_of(method), label_of(method))
        waiting = sum(not moment_of(run).happened for run in runs)
        ends.append((f"{network_of(runs)}:\n{waiting} of {len(runs)} wait", curve, colour_of(method)))
    axis.set(xlabel="training step", ylabel="share of runs that still wait", ylim=(-0.03, 1.03), xlim=(0, None))
    label_ends(axis, ends)


def plot_survivals(groups: Groups) -> Figure:
    """A panel per method, the soonest first, over softmax's curve in grey, which has no band."""
    figure, axes = small_panels([method for method in mean_times(groups) if method != "softmax"], 4, 1.9)
    for method, axis in axes.items():
        plot_curve(axis, groups["softmax"], REFERENCE, "softmax", behind=True)
        plot_curve(axis, groups[method], colour_of(method), method)
        axis.set_title(f"{short_label_of(method)}\n{count(map(moment_of, groups[method]))} jump", fontsize=9)
        axis.set(ylabel="still waiting", ylim=(-0.03, 1.03), xlim=(0, None))
        axis.label_outer()
    figure.supxlabel("training step", fontsize=10)
    return figure


def plot_curve(axis: Axes, runs: Sequence[Run], colour: str, label: str, behind: bool = False) -> float:
    """One Kaplan-Meier curve with its ticks and its band, which it lacks where it is ``behind`` another one.

    Returns where it ends.
    """
    moments = [moment_of(run) for run in runs]
    curve, end = kaplan_meier(moments), max(run.history["step"].iloc[-1] for run in runs)
    steps = np.concatenate([[0], curve.steps, [end]])
    no_em, low, high = (np.concatenate([[1], values, values[-1:]]) for values in (curve.no_em, curve.low, curve.high))
    axis.step(steps, no_em, where="post", color=colour, label=label, gid="grey" if behind else None)
    if not behind:
        axis.fill_between(steps, low, high, step="post", color=colour, alpha=0.15, lw=0, gid="band")
    censored = [moment.step for moment in moments if not moment.happened]
    axis.plot(censored, [no_em[-1]] * len(censored), "|", color=colour, ms=10, mew=1.5, gid="ends")
    return no_em[-1]
