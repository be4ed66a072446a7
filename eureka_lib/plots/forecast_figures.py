"""Forecasts of stored runs: their early signs as a table, and the pictures of notebook 14.

A run is a :class:`~eureka_lib.plots.probe_figures.Subject`, since some of the signs are probes'. Blue is a run that had
its Eureka-moment (EM) within the budget, vermilion one that had not; what a forecast sees is shaded.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eureka_lib.analysis.forecast import BASELINE, CONSTANT, GRADIENT, PROBED, QUESTIONS, SIGNS, early_signs
from eureka_lib.experiments.profiles import FITTING, HELD_OUT
from eureka_lib.plots import probe_figures
from eureka_lib.plots.probe_figures import Job, Subject, accuracies, answers
from eureka_lib.plots.style import DERIVED, PLOT_WIDTH, derived_line
from eureka_lib.tasks.two_step import TwoStepTask

CAME, CAME_NOT, TOO_EARLY = "EM within the budget", "no EM within the budget", "EM before the horizon, left out"
RUN_COLOURS = {CAME: "#0072B2", CAME_NOT: "#D55E00", TOO_EARLY: "#999999"}
UNITS = {  # of the signs that have one
    "test loss": "nats",
    "training loss": "nats",
    GRADIENT: "log",
    f"{GRADIENT}, slope": "log",
    **dict.fromkeys(PROBED, "accuracy"),
}


# ---- tables


def waiting(subjects: Sequence[Subject], horizon: int) -> list[Subject]:
    """The runs that still wait for their EM at step ``horizon``; there is nothing to forecast of the others.

    Neither is there of one that diverged before. Raises ValueError if none is left.
    """
    left = [subject for subject in subjects if subject.moment.step > horizon]
    if not left:
        last = max(subject.moment.step for subject in subjects)
        raise ValueError(f"no run still waits for its EM at step {horizon}; the horizon must lie before step {last}")
    return left


def signs_table(groups: Mapping[str, Sequence[Subject]], horizon: int, samples: int) -> pd.DataFrame:
    """A row per run that waits at ``horizon``: group, seed, its ``SIGNS``, whether the EM came ("EM") and its "step".

    ``samples`` images each are what the probes learn from and are judged by. Runs without an EM have their last step.
    """
    left = {group: waiting(subjects, horizon) for group, subjects in groups.items()}
    jobs = [Job(subject, horizon, ("forecast",)) for subjects in left.values() for subject in subjects]
    probed = answers(probe_figures.probe(jobs, samples), "forecast")
    tables = [_signs(group, subjects, horizon, probed) for group, subjects in left.items()]
    return pd.concat(tables, ignore_index=True)[["group", "seed", *SIGNS, "EM", "step"]]


def _signs(group: str, subjects: Sequence[Subject], horizon: int, probed: pd.DataFrame) -> pd.DataFrame:
    steps = {subject.seed: horizon for subject in subjects}
    found = {sign: accuracies(probed, steps, "which target", tokens) for sign, tokens in PROBED.items()}
    rows = [
        {"group": group, "seed": s.seed, "EM": s.moment.happened, "step": s.moment.step}
        | early_signs(s.run.history, horizon)
        for s in subjects
    ]
    return pd.DataFrame(rows).assign(**found)


def fate(subject: Subject, horizon: int) -> str:
    """What became of a run, a key of ``RUN_COLOURS``."""
    if subject.moment.step <= horizon:
        return TOO_EARLY
    return CAME if subject.moment.happened else CAME_NOT


def fates(groups: Mapping[str, Sequence[Subject]], horizon: int) -> pd.DataFrame:
    """How many runs of each group had their EM, had none, and are left out."""
    counts = {
        group: {name: sum(fate(subject, horizon) == name for subject in subjects) for name in RUN_COLOURS}
        for group, subjects in groups.items()
    }
    return pd.DataFrame.from_dict(counts, orient="index").rename_axis("runs")


# ---- figures


def plot_runs(subjects: Sequence[Subject], horizon: int, task: TwoStepTask) -> Figure:
    """Every run's test accuracy over the whole budget, and its test loss as far as the forecast sees it (shaded)."""
    figure, (whole, start) = plt.subplots(1, 2, figsize=(PLOT_WIDTH, 3.1), width_ratios=(1.35, 1))
    for subject in subjects:
        history, came = subject.run.history, fate(subject, horizon)
        style = {"color": RUN_COLOURS[came], "lw": 1, "alpha": 0.75, "ls": "--" if came == CAME_NOT else "-"}
        seen = history[history["step"] <= horizon]
        whole.plot(history["step"], history["test_accuracy"], **style)
        start.plot(seen["step"], seen["test_loss"], **style)
    whole.axvspan(0, horizon, color="black", alpha=0.12, lw=0)
    start.set_facecolor("#E0E0E0")
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


def plot_signs(table: pd.DataFrame) -> Figure:
    """The step of the EM against every early sign, of held-out runs in colour and of fitting runs in grey.

    Hollow triangles are runs without an EM, at the end of their budget: theirs would come later, if at all.
    """
    figure, axes = plt.subplots(2, 4, figsize=(PLOT_WIDTH, 4.4), sharey=True)
    for axis, sign in zip(axes.flat, SIGNS, strict=True):
        for group, size in ((FITTING, 3.5), (HELD_OUT, 5)):
            for came, marker in ((True, "o"), (False, "^")):
                rows = table[(table["group"] == group) & (table["EM"] == came)]
                colour = "#AAAAAA" if group == FITTING else RUN_COLOURS[CAME if came else CAME_NOT]
                axis.plot(rows[sign], rows["step"], marker, ms=size, mec=colour, mfc=colour if came else "none",
                          mew=1, alpha=0.85)  # fmt: skip
        unit = UNITS.get(sign)
        axis.set_xlabel(sign.replace(", ", ",\n") + (f" ({unit})" if unit else ""), fontsize=9)
        axis.tick_params(labelsize=8)
        axis.locator_params(axis="x", nbins=3)
    axes[0, 0].set_ylim(0, 1.05 * table["step"].max())
    figure.supylabel("step of the EM, or end of the budget", fontsize=10)
    handles = [
        Line2D([], [], ls="", marker="o", color=RUN_COLOURS[CAME], label=f"held out, {CAME}"),
        Line2D([], [], ls="", marker="^", color=RUN_COLOURS[CAME_NOT], mfc="none", label=f"held out, {CAME_NOT}"),
        Line2D([], [], ls="", marker="o", ms=4, color="#AAAAAA", label="fitting runs"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9)
    return figure


def plot_scores(judged: pd.DataFrame) -> Figure:
    """What each predictor is worth on held-out runs, a panel per question, with 95 % intervals.

    The solid line is a guess, the dashed one what the losses alone give; hollow is the flattering value on the runs
    that the predictor was fitted on. Those that need no look inside are grey.
    """
    figure, axes = plt.subplots(1, len(QUESTIONS), figsize=(PLOT_WIDTH, 3.9), sharey=True)
    for axis, (name, question) in zip(axes, QUESTIONS.items(), strict=True):
        rows = judged[judged["question"] == name].reset_index(drop=True)
        _draw_scores(axis, rows)
        axis.set(xlabel=question.measure, xlim=(-0.03, 1.03))
        axis.set_title(f"{name} the EM comes", fontsize=10)
    axes[0].set_yticks(range(len(rows)), rows["predictor"], fontsize=9)
    axes[0].invert_yaxis()
    handles = [
        Line2D([], [], ls="-", marker="o", color="black", label="held-out runs, 95 % interval"),
        Line2D([], [], ls="", marker="o", color="black", mfc="none", label="fitting runs"),
        Line2D([], [], color=DERIVED, ls="--", label=BASELINE),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9)
    return figure


def _draw_scores(axis: Axes, rows: pd.DataFrame) -> None:
    axis.axvline(0.5, color=DERIVED, lw=1, zorder=0)
    axis.axvline(rows.set_index("predictor").loc[BASELINE, "value"], color=DERIVED, lw=1, ls="--", zorder=0)
    trivial = np.arange(len(rows)) <= rows.index[rows["predictor"] == BASELINE][0]
    for row, place in zip(rows.to_dict("records"), rows.index, strict=True):
        colour = "#7F7F7F" if trivial[place] else "#0072B2"
        axis.plot([row["low"], row["high"]], [place, place], color=colour, lw=1.6)
        axis.plot(row["value"], place, "o", color=colour, ms=5.5)
        if row["predictor"] != CONSTANT:
            axis.plot(row["on fitting runs"], place, "o", mfc="none", mec=colour, ms=5.5, zorder=3)
