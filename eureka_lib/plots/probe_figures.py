"""Probes of stored runs along their training: which are taken, on all cores, and the figures that show them.

A :class:`Subject` is a run that kept its weights. :func:`probe` takes a list of :class:`Job` and returns one table, a
row per probe; the figures take the :func:`answers` in it to one question, a key of ``QUESTIONS``.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import asdict, dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from loky import cpu_count
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from threadpoolctl import threadpool_limits

from eureka_lib.analysis import probes
from eureka_lib.analysis.eureka import Moment
from eureka_lib.analysis.probes import ALL_TOKENS, CLS, OUTPUT, Place, Samples
from eureka_lib.claims.rules import NOT_YET_MADE, RECOGNISED
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.experiments.pools import InProcess, Workers
from eureka_lib.measure.runs import moment_of
from eureka_lib.plots.maps import make_readable
from eureka_lib.plots.style import DERIVED, PLOT_WIDTH, derived_line, panels
from eureka_lib.progress import Progress
from eureka_lib.store import Run
from eureka_lib.tasks.two_step import CELL_NAMES, Batch, TwoStepTask

SEEDS = {"train": 31, "test": 32}  # draw the samples that probes learn from and are judged by, the same for all
CONTROL_SEED = 33
GROUPS = {  # what is asked for, as the figures show it: the mean over cells that play one role
    "indicators": ("top left", "bottom right"),
    "targets": ("top right", "bottom left"),
    "which target": ("which target",),
    "label": ("label",),
}
COLOURS = dict(zip(GROUPS, sns.color_palette("colorblind", 4), strict=True))
MARKS = dict(zip(GROUPS, "os^D", strict=True))


@dataclass(frozen=True)
class Subject:
    """A stored run that kept its weights, and its experiment."""

    experiment: Experiment
    run: Run

    @property
    def seed(self) -> int:
        """Of the initial weights."""
        return self.run.config["model_seed"]

    @property
    def moment(self) -> Moment:
        """Its Eureka-moment."""
        return moment_of(self.run)

    @property
    def halfway(self) -> int:
        """The kept step nearest to half of the time until the EM, or until the end if there is none."""
        return min(self.run.weight_steps, key=lambda step: abs(step - self.moment.step / 2))

    @property
    def end(self) -> int:
        """The last kept step."""
        return self.run.weight_steps[-1]

    @property
    def phases(self) -> dict[str, int]:
        """The three steps that are looked at closely, by their names in the figures."""
        return {"start": 0, "half-way": self.halfway, "end": self.end}

    def checkpoints(self, n: int) -> list[int]:
        """``n`` kept steps, as evenly spaced as they are, first and last among them, and those around the EM.

        All kept steps if there are no more than ``n``. Around the EM are the three before it, itself and the one after.
        """
        kept = self.run.weight_steps
        even = {kept[round(i)] for i in np.linspace(0, len(kept) - 1, min(n, len(kept)))}
        if not self.moment.happened:
            return sorted(even)
        at = int(np.searchsorted(kept, self.moment.step))
        return sorted(even | set(kept[max(at - 3, 0) : at + 2]))

    @property
    def title(self) -> str:
        """Its seed and its EM, in words."""
        moment = self.moment
        what = f"EM at step {moment.step}" if moment.happened else f"no EM by step {moment.step}"
        return f"seed {self.seed}: {what}"


def early_and_late(subjects: Sequence[Subject]) -> list[Subject]:
    """Two runs to show beside each other: a typical one that jumps, and the last to jump, or one that never does.

    The typical one has the median EM step of those that jump (the first run if none does); one run alone is returned
    alone.
    """
    ordered = sorted(subjects, key=lambda s: (not s.moment.happened, s.moment.step))
    jumping = sum(s.moment.happened for s in ordered)
    typical = ordered[max(jumping - 1, 0) // 2]
    return [typical] if typical is ordered[-1] else [typical, ordered[-1]]


# ---- probing


@dataclass(frozen=True)
class Probes:
    """Which probes are taken at one step: of which kind, at which places, for what, and with which checks."""

    probe: str = "linear"
    everywhere: bool = False  # at every part, not only the blocks' outputs
    last: bool = False  # of the last layer alone
    asked: tuple[str, ...] = (*CELL_NAMES, "which target", "label")
    control: bool = False
    code: bool = False


FEW = 2000  # samples of all jobs, which are probed in less time than workers take to start
QUESTIONS = {
    "training": (Probes(), Probes("MLP", asked=("which target",))),
    "code": (Probes(last=True, code=True), Probes("MLP", last=True, asked=("which target",), code=True)),
    "map": (Probes(everywhere=True),),
    "checks": (Probes(last=True, control=True), Probes("MLP", last=True, control=True)),
    "claims": (Probes(last=True, asked=("top left", "bottom right", "which target")),),
    "forecast": (Probes(last=True, asked=("which target",)),),
}


@dataclass(frozen=True)
class Job:
    """Questions, names in ``QUESTIONS``, to one subject at one kept step."""

    subject: Subject
    step: int
    questions: tuple[str, ...]


def probe(jobs: Sequence[Job], samples: int) -> pd.DataFrame:
    """Do all ``jobs`` on all cores, each probe with ``samples`` of the train split to learn from and of the test split.

    A row per probe: question, seed, step; layer, part and tokens; asked, probe, its held-out accuracy and that of the
    majority class; and, where it is a part of the question, the accuracy on the control task (control) and the lengths
    of the codes in bits (online, uniform). Same jobs, same table.
    """
    with InProcess() if len(jobs) * samples <= FEW else Workers(min(len(jobs), cpu_count())) as pool:
        futures = [pool.submit(answer, job, samples) for job in jobs]
        _follow(futures)
    return pd.concat([future.result() for future in futures], ignore_index=True)


def _follow(futures: Sequence[Future]) -> None:
    """Show progress until all are done; what one of them raises is raised at once."""
    with Progress("probing", len(futures)) as progress:
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            progress.update(done, f"{done}/{len(futures)} checkpoints")


def answer(job: Job, samples: int) -> pd.DataFrame:
    """One job, in this process and in one thread: rows as in :func:`probe`."""
    with threadpool_limits(1):
        return pd.DataFrame(_answers(job, samples))


def _answers(job: Job, samples: int) -> list[dict]:
    experiment = job.subject.experiment
    task = experiment.build_task()
    model = experiment.model_at(job.subject.run, job.step, task)
    batches = [task.sample(torch.Generator().manual_seed(seed), samples, split) for split, seed in SEEDS.items()]
    found = [probes.features(model, batch.images) for batch in batches]
    return [
        {"question": name, "seed": job.subject.seed, "step": job.step, **row}
        for name in job.questions for wanted in QUESTIONS[name] for row in _rows(wanted, found, batches, task)
    ]  # fmt: skip


def _rows(
    wanted: Probes, found: Sequence[Mapping[Place, np.ndarray]], batches: Sequence[Batch], task: TwoStepTask
) -> list[dict]:
    """A row per place and thing asked; ``found`` and ``batches`` are those to learn from and those to be judged by."""
    labels = [{name: values.numpy() for name, values in task.probe_labels(batch).items()} for batch in batches]
    types = [batch.cells.numpy() for batch in batches]
    last = max(place.layer for place in found[0])
    places = [place for place in found[0] if (wanted.everywhere or place.part == OUTPUT)
              and (place.layer == last or not wanted.last)]  # fmt: skip
    rows = []
    for place in places:
        for asked in wanted.asked:
            here = Samples(found[0][place], labels[0][asked], found[1][place], labels[1][asked])
            rows.append(asdict(place) | {"asked": asked, "probe": wanted.probe} | _measured(wanted, here, types))
    return rows


def _measured(wanted: Probes, samples: Samples, types: Sequence[np.ndarray]) -> dict[str, float]:
    row = {"accuracy": probes.accuracy(wanted.probe, samples), "majority": probes.majority(samples)}
    if wanted.control:
        row["control"] = probes.accuracy(wanted.probe, probes.control(samples, *types, seed=CONTROL_SEED))
    if wanted.code:
        row |= asdict(probes.code_length(wanted.probe, samples.x, samples.y))
    return row


def answers(table: pd.DataFrame, question: str) -> pd.DataFrame:
    """The rows of :func:`probe` to one question, with cells of one role averaged: ``asked`` is a key of ``GROUPS``."""
    group_of = {asked: group for group, members in GROUPS.items() for asked in members}
    rows = table[table["question"] == question].dropna(axis="columns")
    rows = rows.assign(asked=rows["asked"].map(group_of))
    keys = ["question", "seed", "step", "layer", "part", "tokens", "asked", "probe"]
    return rows.groupby(keys, sort=False).mean().reset_index()


def accuracies(rows: pd.DataFrame, steps: Mapping[int, int], asked: str, tokens: str) -> list[float]:
    """Accuracies at one step of each run (``steps``: seed -> step), from the :func:`answers` to "claims"."""
    at = rows.set_index(["seed", "step", "asked", "tokens"])["accuracy"]
    return [float(at[seed, step, asked, tokens]) for seed, step in steps.items()]


# ---- figures

PROBE_STYLES = {"linear": {"ls": "-"}, "MLP": {"ls": "--"}}
PROBE_COLOURS = {"linear": "#0072B2", "MLP": "#D55E00"}
PROBE_MARKS = {"linear": "o", "MLP": "s"}


def plot_training(rows: pd.DataFrame, subjects: Sequence[Subject], task: TwoStepTask) -> Figure:
    """Probes of the last block along training, a column per run, a row per token set; the network itself in black.

    Probes are linear, for "which target" there is an MLP, too (dashed). Plateau and chance are drawn.
    """
    figure, panels = _panels(subjects)
    for tokens, subject, axis in panels:
        history = subject.run.history
        axis.plot(history["step"], history["test_accuracy"], color="black", lw=2, zorder=3)
        _draw_lines(axis, _of(rows[rows["layer"] == rows["layer"].max()], subject, tokens), "accuracy")
        axis.set(ylim=(0, 1.03), ylabel=f"{tokens}:\naccuracy")
        derived_line(axis, task.plateau_accuracy, "plateau")
        derived_line(axis, 1 / task.n_classes, "chance")
    _finish(figure, panels, [*_group_handles(), Line2D([], [], color="black", lw=2, label="the network itself")])
    return figure


def plot_layers(rows: pd.DataFrame, subjects: Sequence[Subject]) -> Figure:
    """Probes for "which target" at every block along training: linear solid, MLP dashed, a colour per layer."""
    rows = rows[rows["asked"] == "which target"]
    layers = sorted(rows["layer"].unique())
    colours = dict(zip(layers, sns.color_palette("viridis", len(layers)), strict=True))
    figure, panels = _panels(subjects)
    for tokens, subject, axis in panels:
        for (layer, kind), line in _of(rows, subject, tokens).groupby(["layer", "probe"]):
            axis.plot(line["step"], line["accuracy"], color=colours[layer], lw=1.5, **PROBE_STYLES[kind])
        axis.set(ylim=(0.4, 1.03), ylabel=f"{tokens}:\naccuracy")
        derived_line(axis, rows["majority"].iloc[0], "majority")
    handles = [Line2D([], [], color=colour, lw=2, label=f"layer {layer}") for layer, colour in colours.items()]
    lines = [Line2D([], [], color="black", label=kind, **style) for kind, style in PROBE_STYLES.items()]
    _finish(figure, panels, handles + lines)
    return figure


def plot_codes(rows: pd.DataFrame, subjects: Sequence[Subject]) -> Figure:
    """Length of the online code over that of the uniform one along training, at the last block: below 1, it helps."""
    rows = rows.assign(share=rows["online"] / rows["uniform"])
    figure, panels = _panels(subjects)
    for tokens, subject, axis in panels:
        _draw_lines(axis, _of(rows, subject, tokens), "share")
        axis.set(ylim=(0, None), ylabel=f"{tokens}:\ncode / uniform code")
        derived_line(axis, 1.0, "no help", decimals=0)
    _finish(figure, panels, _group_handles())
    return figure


def plot_map(rows: pd.DataFrame, steps: Mapping[str, int]) -> Figure:
    """Where linear probes find what: a row per layer and part, a column per thing asked for.

    A panel per token set and step (``steps``: title -> step). The numbers are held-out accuracies; the colour says how
    far they are on the way from the majority baseline (0) to faultless (1). What has one class only stays blank.
    """
    titles = [(tokens, title) for tokens in (ALL_TOKENS, CLS) for title in steps]
    height = 1.6 + 0.19 * len(rows[["layer", "part"]].drop_duplicates())
    figure, axes = plt.subplots(1, len(titles), figsize=(PLOT_WIDTH, height), sharey=True)
    for axis, (tokens, title) in zip(axes, titles, strict=True):
        _draw_map(axis, rows[(rows["tokens"] == tokens) & (rows["step"] == steps[title])])
        axis.set_title(f"{tokens},\n{title}", fontsize=9, loc="center")
    axes[0].set_ylabel("layer and part")
    scale = plt.cm.ScalarMappable(plt.Normalize(0, 1), "cividis")
    figure.colorbar(scale, ax=axes, location="bottom", shrink=0.5, aspect=40,
                    label="from the majority baseline (0) to faultless (1)")  # fmt: skip
    return figure


def _draw_map(axis: Axes, rows: pd.DataFrame) -> None:
    names = [f"{layer}  {part}" for layer, part in zip(rows["layer"], rows["part"], strict=True)]
    possible = (1 - rows["majority"]).where(rows["majority"] < 1)  # above the baseline; none for a single class
    rows = rows.assign(place=names, colour=((rows["accuracy"] - rows["majority"]) / possible).clip(lower=0))
    colour, number = (
        rows.pivot(index="place", columns="asked", values=value).loc[list(dict.fromkeys(names)), list(GROUPS)]
        for value in ("colour", "accuracy")
    )
    words = number.map(lambda value: f"{value:.2f}".removeprefix("0"))
    sns.heatmap(colour, annot=words, fmt="", cmap="cividis", vmin=0, vmax=1, ax=axis, cbar=False,
                annot_kws={"fontsize": 7})  # fmt: skip
    make_readable(axis)
    borders = np.flatnonzero(np.diff(rows.drop_duplicates("place")["layer"])) + 1
    axis.hlines(borders, *axis.get_xlim(), color="white", lw=2.5)
    axis.set(xlabel="", ylabel="")
    axis.set_xticklabels(axis.get_xticklabels(), rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axis.set_yticks(axis.get_yticks(), colour.index, rotation=0, fontsize=8)
    axis.tick_params(length=0)


def plot_checks(rows: pd.DataFrame, steps: Mapping[str, int]) -> Figure:
    """Linear probe and MLP at the last block, each joined to its control task (hollow); ``steps`` name -> step.

    A row per token set, a column per thing asked for; the dotted line is the majority baseline.
    """
    figure, axes = plt.subplots(2, len(GROUPS), figsize=(PLOT_WIDTH, 4.6), sharex=True, sharey=True)
    for line, tokens in zip(axes, (ALL_TOKENS, CLS), strict=True):
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
    colours = {"start": "black", "half-way": "black", "end": "#D55E00"}
    shown = (("indicators", ALL_TOKENS, RECOGNISED), ("which target", CLS, NOT_YET_MADE))
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


# ---- what the figures share


def _panels(subjects: Sequence[Subject]) -> tuple[Figure, list[tuple[str, Subject, Axes]]]:
    """A row per token set and a column per run, each with its EM marked."""
    figure, axes = plt.subplots(2, len(subjects), figsize=(PLOT_WIDTH, 5.2), squeeze=False, sharex="col", sharey=True)
    for axis, subject in zip(axes[0], subjects, strict=True):
        axis.set_title(subject.title, fontsize=10)
    panels = [(tokens, subject, axis) for tokens, line in zip((ALL_TOKENS, CLS), axes, strict=True)
              for subject, axis in zip(subjects, line, strict=True)]  # fmt: skip
    for _, subject, axis in panels:
        axis.set_xlabel("training step")
        if subject.moment.happened:
            axis.axvline(subject.moment.step, color=DERIVED, lw=1.2, ls=":", zorder=0)
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


def _finish(figure: Figure, panels: Sequence[tuple[str, Subject, Axes]], handles: Sequence[Line2D]) -> None:
    """Outer labels only, and one legend under the figure."""
    for _, _, axis in panels:
        axis.label_outer()
        if not axis.get_subplotspec().is_last_col():
            for text in list(axis.texts):
                text.remove()  # the derived lines are named at the right end of the row
    moment = Line2D([], [], color=DERIVED, lw=1.2, ls=":", label="Eureka-moment")
    figure.legend(handles=[*handles, moment], loc="outside lower center", ncols=4, fontsize=9)
