"""Probes along training, at three phases, and of every run."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eureka_lib.analysis.probes import ALL_TOKENS, READ
from eureka_lib.claims.rules import NOT_YET_MADE, RECOGNISED
from eureka_lib.measure.probes import GROUPS, accuracies
from eureka_lib.measure.subjects import Subject
from eureka_lib.plots.style import (
    ASKED,
    DERIVED,
    FAINT,
    JUMPED,
    MEMBER,
    PAPER,
    REFERENCE,
    derived_line,
    legend_below,
    panels,
)
from eureka_lib.tasks.two_step import TwoStepTask

COLOURS = {asked: ASKED[asked] for asked in GROUPS}
MARKS = dict(zip(GROUPS, "os^D", strict=True))
PROBE_STYLES = {"linear": {"ls": "-"}, "MLP": {"ls": "--"}}
PHASES = {"start": PAPER, "half-way": REFERENCE, "end": JUMPED}


def plot_training(rows: pd.DataFrame, subjects: Sequence[Subject], task: TwoStepTask) -> Figure:
    """Linear probes of the last block, on all tokens, along training, a panel per run; the network itself in black.

    For the indicators and for "which target" only. Plateau and chance are drawn.
    """
    rows = rows[(rows["layer"] == rows["layer"].max()) & (rows["probe"] == "linear")]
    figure, axes = _panels(subjects)
    for subject, axis in zip(subjects, axes, strict=True):
        history = subject.run.history
        axis.plot(history["step"], history["test_accuracy"], color="black", lw=2, zorder=3, label="the network itself")
        _draw_lines(axis, _of(rows, subject, ALL_TOKENS, ("indicators", "which target")), "accuracy")
        axis.set(ylim=(0, 1.03), ylabel="accuracy")
        derived_line(axis, task.plateau_accuracy, "plateau", outer=True)
        derived_line(axis, 1 / task.n_classes, "chance", outer=True)
    legend_below(axes[0])
    return figure


def plot_layers(rows: pd.DataFrame, subject: Subject) -> Figure:
    """Probes for "which target" along training, a panel per token set: between MLP and linear it is only computable.

    Lines are means over the blocks, the bands all of them.
    """
    rows = rows[(rows["asked"] == "which target") & (rows["seed"] == subject.seed)]
    figure, axes = panels(2, 3.0, share_y=True)
    for axis, tokens in zip(axes, (ALL_TOKENS, READ), strict=True):
        mean = {}
        for kind, style in PROBE_STYLES.items():
            wide = rows[(rows["tokens"] == tokens) & (rows["probe"] == kind)].pivot_table(
                index="step", columns="layer", values="accuracy"
            )
            mean[kind] = wide.mean(axis=1)
            axis.fill_between(wide.index, wide.min(axis=1), wide.max(axis=1), color="black", alpha=0.1, lw=0)
            axis.plot(mean[kind], color=ASKED["which target"], lw=1.8, label=f"{kind} probe", **style)
        axis.fill_between(mean["linear"].index, mean["linear"], mean["MLP"], where=mean["MLP"] > mean["linear"],
                          color=MEMBER, alpha=0.12, lw=0, label="computable, not computed")  # fmt: skip
        _mark_moment(axis, subject)
        axis.set(ylim=(0.4, 1.03), xlabel="training step", title=tokens)
    axes[0].set_ylabel("accuracy: which target")
    legend_below(axes[0])
    return figure


def plot_codes(rows: pd.DataFrame, subjects: Sequence[Subject]) -> Figure:
    """Length of the online code over that of the uniform one along training, on all tokens: below 1, it helps."""
    rows = rows.assign(share=rows["online"] / rows["uniform"])
    figure, axes = _panels(subjects)
    for subject, axis in zip(subjects, axes, strict=True):
        _draw_lines(axis, _of(rows, subject, ALL_TOKENS, ("indicators", "which target")), "share")
        axis.set(ylim=(0, None), ylabel="bits / bits without a probe")
        derived_line(axis, 1.0, "no help", decimals=0, outer=True)
    legend_below(axes[0])
    return figure


def plot_checks(rows: pd.DataFrame, steps: Mapping[str, int]) -> Figure:
    """Selectivity of linear probes at the last block, accuracy minus that on the control task; ``steps`` name -> step.

    A panel per token set, a group of bars per thing asked for.
    """
    rows = rows[rows["probe"] == "linear"]
    rows = rows.assign(selectivity=rows["accuracy"] - rows["control"])
    figure, axes = panels(2, 3.0, share_y=True)
    for axis, tokens in zip(axes, (ALL_TOKENS, READ), strict=True):
        wide = rows[rows["tokens"] == tokens].pivot(index="asked", columns="step", values="selectivity")
        wide = wide.loc[list(GROUPS)]
        for i, (name, step) in enumerate(steps.items()):
            style = {"color": PHASES[name], "ec": DERIVED, "lw": 0.6, "label": name}
            axis.bar(np.arange(len(wide)) + 0.27 * (i - 1), wide[step], 0.25, **style)
        axis.axhline(0, color=DERIVED, lw=1)
        axis.set_xticks(range(len(wide)), wide.index, fontsize=8)
        axis.set_title(tokens, fontsize=10)
    axes[0].set_ylabel("accuracy minus control's")
    legend_below(axes[0])
    return figure


def plot_every_run(rows: pd.DataFrame, subjects: Sequence[Subject]) -> Figure:
    """What the claims rest on: every run from start to end, half-way against the thresholds of the rules."""
    figure, axes = panels(2, 1.5 + 0.25 * len(subjects), share_y=True)
    shown = (("indicators", ALL_TOKENS, RECOGNISED), ("which target", READ, NOT_YET_MADE))
    for axis, (asked, tokens, threshold) in zip(axes, shown, strict=True):
        axis.axvline(threshold, color=DERIVED, ls="--", lw=1, zorder=0)
        axis.annotate(f" rule: {threshold:g}", (threshold, 0.02), xycoords=("data", "axes fraction"), fontsize=8,
                      color=DERIVED)  # fmt: skip
        found = {}
        for phase, colour in PHASES.items():
            steps = {subject.seed: subject.phases[phase] for subject in subjects}
            found[phase] = accuracies(rows, steps, asked, tokens)
            axis.plot(found[phase], range(len(subjects)), "o", ms=6, color=colour, mec="black", label=phase)
        axis.hlines(range(len(subjects)), found["start"], found["end"], color=FAINT, lw=1, zorder=0)
        axis.set(xlim=(0.43, 1.03), ylim=(len(subjects) - 0.5, -0.5), xlabel="accuracy of the linear probe")
        axis.set_title(f"{asked}, {tokens}", fontsize=10)
        axis.set_yticks(range(len(subjects)), [subject.title for subject in subjects], fontsize=9)
    legend_below(axes[0])
    return figure


def _panels(subjects: Sequence[Subject]) -> tuple[Figure, list[Axes]]:
    """A panel per run, its Eureka-moment marked."""
    figure, axes = panels(len(subjects), 3.0, share_y=True)
    for axis, subject in zip(axes, subjects, strict=True):
        axis.set(xlabel="training step")
        axis.set_title(subject.title, fontsize=10)
        axis.label_outer()
        _mark_moment(axis, subject)
    return figure, axes


def _mark_moment(axis: Axes, subject: Subject) -> None:
    if subject.moment.happened:
        axis.axvline(subject.moment.step, color=DERIVED, lw=1.2, ls=":", zorder=0, label="Eureka-moment")


def _of(rows: pd.DataFrame, subject: Subject, tokens: str, asked: Sequence[str]) -> pd.DataFrame:
    return rows[(rows["seed"] == subject.seed) & (rows["tokens"] == tokens) & rows["asked"].isin(asked)]


def _draw_lines(axis: Axes, rows: pd.DataFrame, column: str) -> None:
    """A line per thing asked for and probe: linear with marks, MLP dashed."""
    for (asked, kind), line in rows.groupby(["asked", "probe"], sort=False):
        mark, label = (MARKS[asked], asked) if kind == "linear" else ("", f"{asked}, MLP")
        axis.plot(line["step"], line[column], color=COLOURS[asked], marker=mark, ms=4, lw=1.3, label=label,
                  **PROBE_STYLES[kind])  # fmt: skip
