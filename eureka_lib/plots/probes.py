"""Probes along training, at three phases, and of every run."""

from collections.abc import Mapping, Sequence
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eureka_lib.analysis.probes import ALL_TOKENS, READ
from eureka_lib.claims.rules import NOT_YET_MADE, RECOGNISED
from eureka_lib.measure.probes import GROUPS, accuracies
from eureka_lib.measure.subjects import Subject
from eureka_lib.plots.style import ASKED, DERIVED, JUMPED, MEMBER, PLOT_WIDTH, REFERENCE, derived_line, panels
from eureka_lib.tasks.two_step import TwoStepTask

COLOURS = {asked: ASKED[asked] for asked in GROUPS}
MARKS = dict(zip(GROUPS, "os^D", strict=True))
PROBE_STYLES = {"linear": {"ls": "-"}, "MLP": {"ls": "--"}}
PROBE_COLOURS = {"linear": MEMBER, "MLP": REFERENCE}
PROBE_MARKS = {"linear": "o", "MLP": "s"}


def plot_training(rows: pd.DataFrame, subjects: Sequence[Subject], task: TwoStepTask) -> Figure:
    """Probes of the last block along training, a column per run, a row per token set; the network itself in black.

    Probes are linear, for "which target" there is an MLP, too (dashed). Plateau and chance are drawn.
    """
    figure, panels = _panels(subjects, "accuracy")
    for tokens, subject, axis in panels:
        history = subject.run.history
        axis.plot(history["step"], history["test_accuracy"], color="black", lw=2, zorder=3)
        _draw_lines(axis, _of(rows[rows["layer"] == rows["layer"].max()], subject, tokens), "accuracy")
        axis.set_ylim(0, 1.03)
        derived_line(axis, task.plateau_accuracy, "plateau", outer=True)
        derived_line(axis, 1 / task.n_classes, "chance", outer=True)
    _legend(figure, [*_group_handles(), Line2D([], [], color="black", lw=2, label="the network itself")])
    return figure


def plot_layers(rows: pd.DataFrame, subjects: Sequence[Subject]) -> Figure:
    """Probes for "which target" at every block along training: linear solid, MLP dashed, a colour per layer."""
    rows = rows[rows["asked"] == "which target"]
    layers = sorted(rows["layer"].unique())
    colours = dict(zip(layers, sns.color_palette("viridis", len(layers)), strict=True))
    figure, panels = _panels(subjects, "accuracy")
    for tokens, subject, axis in panels:
        for (layer, kind), line in _of(rows, subject, tokens).groupby(["layer", "probe"]):
            axis.plot(line["step"], line["accuracy"], color=colours[layer], lw=1.5, **PROBE_STYLES[kind])
        axis.set_ylim(0.4, 1.03)
        derived_line(axis, rows["majority"].iloc[0], "majority", outer=True)
    handles = [Line2D([], [], color=colour, lw=2, label=f"layer {layer}") for layer, colour in colours.items()]
    lines = [Line2D([], [], color="black", label=kind, **style) for kind, style in PROBE_STYLES.items()]
    _legend(figure, handles + lines)
    return figure


def plot_codes(rows: pd.DataFrame, subjects: Sequence[Subject]) -> Figure:
    """Length of the online code over that of the uniform one along training, at the last block: below 1, it helps."""
    rows = rows.assign(share=rows["online"] / rows["uniform"])
    figure, panels = _panels(subjects, "code / uniform code")
    for tokens, subject, axis in panels:
        _draw_lines(axis, _of(rows, subject, tokens), "share")
        axis.set_ylim(0, None)
        derived_line(axis, 1.0, "no help", decimals=0, outer=True)
    _legend(figure, _group_handles())
    return figure


def plot_checks(rows: pd.DataFrame, steps: Mapping[str, int]) -> Figure:
    """Linear probe and MLP at the last block, each joined to its control task (hollow); ``steps`` name -> step.

    A row per token set, a column per thing asked for; the dotted line is the majority baseline.
    """
    figure, axes = plt.subplots(2, len(GROUPS), figsize=(PLOT_WIDTH, 4.6), sharex=True, sharey=True)
    for line, tokens in zip(axes, (ALL_TOKENS, READ), strict=True):
        for axis, asked in zip(line, GROUPS, strict=True):
            _draw_checks(axis, rows[(rows["tokens"] == tokens) & (rows["asked"] == asked)], list(steps.values()))
            axis.set_xticks(range(len(steps)), list(steps), rotation=30, ha="right", fontsize=9)
        line[0].set_ylabel(f"{tokens}:\naccuracy")
    for axis, asked in zip(axes[0], GROUPS, strict=True):
        axis.set_title(asked, fontsize=10)
    handles = [
        Line2D([], [], ls="", marker=PROBE_MARKS[kind], color=PROBE_COLOURS[kind], label=label, mfc=face)
        for kind in PROBE_MARKS
        for label, face in ((kind, None), (f"{kind}, control task", "white"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=9)
    return figure


def _draw_checks(axis: Axes, rows: pd.DataFrame, steps: Sequence[int]) -> None:
    axis.axhline(rows["majority"].iloc[0], color=DERIVED, ls=":", lw=1, zorder=0)
    for kind, shift in (("linear", -0.15), ("MLP", 0.15)):
        here = rows[rows["probe"] == kind].set_index("step")
        style = {"color": PROBE_COLOURS[kind], "marker": PROBE_MARKS[kind], "ls": "", "ms": 5.5}
        at = np.arange(len(steps)) + shift
        axis.vlines(at, here.loc[steps, "control"], here.loc[steps, "accuracy"], color=PROBE_COLOURS[kind], lw=1)
        axis.plot(at, here.loc[steps, "control"], mfc="white", **style)
        axis.plot(at, here.loc[steps, "accuracy"], **style)
    axis.set(ylim=(0, 1.05), xlim=(-0.5, len(steps) - 0.5))


def plot_every_run(rows: pd.DataFrame, subjects: Sequence[Subject]) -> Figure:
    """What the claims rest on: every run at its three phases, against the thresholds of the rules."""
    figure, axes = panels(2, 1.5 + 0.25 * len(subjects), share_y=True)
    marks = {"start": {"marker": "o", "mfc": "white"}, "half-way": {"marker": "o"}, "end": {"marker": "D"}}
    colours = {"start": "black", "half-way": "black", "end": JUMPED}
    shown = (("indicators", ALL_TOKENS, RECOGNISED), ("which target", READ, NOT_YET_MADE))
    for axis, (asked, tokens, threshold) in zip(axes, shown, strict=True):
        axis.axvline(threshold, color=DERIVED, ls="--", lw=1, zorder=0)
        axis.annotate(f" rule: {threshold:g}", (threshold, 0.02), xycoords=("data", "axes fraction"), fontsize=8,
                      color=DERIVED)  # fmt: skip
        for phase, style in marks.items():
            steps = {subject.seed: subject.phases[phase] for subject in subjects}
            found = accuracies(rows, steps, asked, tokens)
            axis.plot(found, range(len(subjects)), ls="", ms=6, color=colours[phase], label=phase, **style)
        axis.set(xlim=(0.38, 1.03), ylim=(len(subjects) - 0.5, -0.5), xlabel="accuracy of the linear probe")
        axis.set_title(f"{asked}, {tokens}", fontsize=10)
        axis.set_yticks(range(len(subjects)), [subject.title for subject in subjects], fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return figure


def _panels(subjects: Sequence[Subject], what: str) -> tuple[Figure, list[tuple[str, Subject, Axes]]]:
    """A row per token set and a column per run, each with its EM marked; ``what`` is drawn there."""
    figure, axes = plt.subplots(2, len(subjects), figsize=(PLOT_WIDTH, 5.2), squeeze=False, sharex="col", sharey=True)
    panels = [(*place, axis) for place, axis in zip(product((ALL_TOKENS, READ), subjects), axes.flat, strict=True)]
    for tokens, subject, axis in panels:
        axis.set(xlabel="training step", ylabel=f"{tokens}:\n{what}")
        axis.label_outer()
        if subject.moment.happened:
            axis.axvline(subject.moment.step, color=DERIVED, lw=1.2, ls=":", zorder=0)
    for axis, subject in zip(axes[0], subjects, strict=True):
        axis.set_title(subject.title, fontsize=10)
    return figure, panels


def _of(rows: pd.DataFrame, subject: Subject, tokens: str) -> pd.DataFrame:
    return rows[(rows["seed"] == subject.seed) & (rows["tokens"] == tokens)]


def _draw_lines(axis: Axes, rows: pd.DataFrame, column: str) -> None:
    """A line per thing asked for and probe: linear with marks, MLP dashed."""
    for (asked, kind), line in rows.groupby(["asked", "probe"], sort=False):
        mark = MARKS[asked] if kind == "linear" else ""
        axis.plot(line["step"], line[column], color=COLOURS[asked], marker=mark, ms=4, lw=1.3, **PROBE_STYLES[kind])


def _group_handles() -> list[Line2D]:
    lines = [Line2D([], [], color=COLOURS[asked], marker=MARKS[asked], ms=4, label=asked) for asked in GROUPS]
    return [*lines, Line2D([], [], color=COLOURS["which target"], ls="--", label="which target, MLP")]


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    moment = Line2D([], [], color=DERIVED, lw=1.2, ls=":", label="Eureka-moment")
    figure.legend(handles=[*handles, moment], loc="outside lower center", ncols=4, fontsize=9)
