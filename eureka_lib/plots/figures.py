"""How the figures look, how they are saved, and the pictures that recur.

One style and one colour per method throughout (Okabe-Ito, safe for colour-blind readers). A notebook's ``Page`` leaves
four files per figure: PNG, PDF, the plotted data as CSV, and a JSON that says where they come from. Nothing in them is
dated or knows the machine, so the same runs give the same files.
"""

import hashlib
import io
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import DisplayHandle, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eureka_lib import paths, progress, provenance
from eureka_lib.analysis.eureka import Moment, eureka_moment, kaplan_meier, plateau_fraction
from eureka_lib.attention.registry import colour_of, label_of, short_label_of as short_label_of
from eureka_lib.claims import registry
from eureka_lib.experiments import defaults, profiles
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.store import RESULTS_VERSION, Run
from eureka_lib.tasks.two_step import CELL_NAMES, NOWHERE, Batch, TwoStepTask
from eureka_lib.validation import check_choice

DERIVED = "#555555"  # the plateau and floor lines
PLOT_WIDTH = 7.0  # inches: a text width; half of it still reads in a two-column paper


def use_style() -> None:
    """Set the style of all figures and tables of this process, whatever is in a person's own matplotlibrc."""
    plt.rcdefaults()
    pd.set_option("display.max_colwidth", None)  # verdicts are sentences
    sns.set_theme(context="paper", style="ticks", font_scale=1.1, font="DejaVu Sans")  # which matplotlib brings along
    plt.rcParams.update({
        "figure.dpi": 110, "savefig.dpi": 200, "figure.constrained_layout.use": True, "pdf.fonttype": 42,
        "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "axes.titlelocation": "left",
    })  # fmt: skip


def method_of(run: Run) -> str:
    """The method that a run stands for: the model's name where there is no attention, the fix, or the attention."""
    return _method(run.config)


def _method(config: dict) -> str:
    fix, model = config["fix"], config["model"]
    if fix["gradient_scaling"] != "none":
        return fix["gradient_scaling"]
    if fix["scale_schedule"] != "constant":
        return "heat_treatment"
    return model.get("attention", model["name"])


def moment_of(run: Run) -> Moment:
    """A run's Eureka-moment by the library's criterion."""
    return eureka_moment(*run.accuracy)


def tidy(runs: Sequence[Run]) -> pd.DataFrame:
    """All histories in one table, with the columns ``run``, ``method`` and ``seed`` in front."""
    tables = [
        run.history.assign(run=run.key, method=method_of(run), seed=run.config["model_seed"]) for run in runs
    ]  # fmt: skip
    table = pd.concat(tables, ignore_index=True)
    front = ["run", "method", "seed"]
    return table[front + [column for column in table if column not in front]]


def run_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run: method, seed, whether and when it had its EM, share of the budget on the plateau, accuracy."""
    rows = []
    for run in runs:
        moment = moment_of(run)
        rows.append({
            "method": method_of(run), "seed": run.config["model_seed"], "status": run.status,
            "EM": moment.happened, "EM or censored at step": moment.step,
            "plateau, share of budget": round(plateau_fraction(*run.accuracy), 3),
            "final test accuracy": run.final_accuracy,
        })  # fmt: skip
    return pd.DataFrame(rows)


def describe_run(run: Run) -> str:
    """A run in a sentence: its plateau, its EM, where it ended."""
    moment, share = moment_of(run), plateau_fraction(*run.accuracy)
    what = f"Eureka-moment at step {moment.step}" if moment.happened else f"no Eureka-moment by step {moment.step}"
    return (
        f"{share:.0%} of the budget on the plateau; {what}; final test accuracy {run.final_accuracy:.3f} ({run.status})"
    )


class Page:
    """A notebook's place for its figures and claims: ``page = figures.Page("07_where_the_gradient_goes", globals())``.

    Made in the set-up cell. Of the notebook's ``namespace`` only the profile and the parameters are read. If one of
    these is not at its default (:mod:`eureka_lib.experiments.defaults`), the run is played: figures go to a folder of
    their own, no claims are recorded, and a line says so. Raises ValueError for a notebook whose defaults are not
    known.
    """

    def __init__(self, notebook: str, namespace: Mapping[str, object]):
        known = defaults.read(paths.NOTEBOOKS)
        self.notebook = check_choice("notebook of notebooks/defaults.json", notebook, known)
        self.profile = profiles.get(namespace["profile"]).name
        self._namespace, self._defaults = namespace, known[notebook]
        self.played: dict[str, object] = {}  # the parameters that are, or have been, other than their defaults
        self._look()

    def _look(self) -> None:
        """Note what is played; again at each product, as cells are executed in any order."""
        present = {name: self._namespace.get(name, value) for name, value in self._defaults.items()}
        played = self.played | defaults.changed(present, self._defaults)
        if played != self.played:
            self.played = played
            values, folder = ", ".join(defaults.as_arguments(played)), self.folder
            folder = folder.relative_to(paths.ROOT) if folder.is_relative_to(paths.ROOT) else folder
            print(f"Played with {values}: figures go to {folder}, and no claims are kept.")

    @property
    def folder(self) -> Path:
        """Where the figures go."""
        folder = paths.figures_dir(self.profile)
        return folder / paths.PLAYED if self.played else folder

    def record(self, rows: Sequence[registry.Row]) -> pd.DataFrame:
        """Keep the rows of the notebook's claims for the pages made of them, unless it is played; gives their table."""
        self._look()
        if not self.played:
            registry.save(rows, self.notebook, self.profile)
        return registry.table(rows, self.profile)

    def save(self, figure: Figure, name: str, data: pd.DataFrame, runs: Sequence[Run]) -> Path:
        """Save ``figure`` as ``<name>.png`` and ``.pdf``, with ``data`` as ``.csv`` and its provenance as ``.json``.

        ``name`` starts with the number of its notebook ("01_loss" of "01_the_eureka_moment"), by which the products of
        a notebook are found; ValueError otherwise. What depends on the machine, the time and the commit is kept apart,
        in ``machine/<name>.json``; so the four files change only if the figure does. Returns the PNG's path.
        """
        number = self.notebook.split("_")[0]
        if not name.startswith(f"{number}_"):
            raise ValueError(f"figure name {name!r} must start with its notebook's number: {number}_{name} would do")
        self._look()
        table = data.to_csv(index=False, lineterminator="\n").encode()
        groups = _by_config(runs)
        facts = {
            "figure": name,
            "notebook": self.notebook,
            "profile": self.profile,
            "parameters": self._defaults | self.played,
            "command": shlex.join(["./run_all.sh", "--profile", self.profile, self.notebook, *self._options()]),
            "plotted_data": f"{name}.csv",
            "plotted_data_sha256": hashlib.sha256(table).hexdigest(),
            "runs": [_origin(group) for group in groups],
        }
        machine = {
            "figure": name,
            "runs": [_circumstances(group) for group in groups],
            "versions": provenance.versions(),
            "git_commit": provenance.git_commit(),
        }
        files = {
            f"{name}.csv": table,
            f"{name}.png": _drawn(figure, "png", ["Software"]),
            f"{name}.pdf": _drawn(figure, "pdf", ["CreationDate", "Creator", "Producer"]),
            f"{name}.json": _json(facts),
            f"machine/{name}.json": _json(machine),
        }
        for file, content in files.items():
            paths.write_if_changed(self.folder / file, content)
        return self.folder / f"{name}.png"

    def _options(self) -> list[str]:
        return [word for argument in defaults.as_arguments(self.played) for word in ("-p", argument)]


def _drawn(figure: Figure, suffix: str, undated: Sequence[str]) -> bytes:
    """The figure as a file, without the metadata that are named."""
    file = io.BytesIO()
    figure.savefig(file, format=suffix, metadata=dict.fromkeys(undated))
    return file.getvalue()


def _json(facts: dict) -> bytes:
    return (json.dumps(facts, indent=2) + "\n").encode()


def _by_config(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs of each configuration, which differ in their seeds."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(_without_seeds(run.config)), []).append(run)
    return list(groups.values())


def _without_seeds(config: dict) -> dict:
    return {name: value for name, value in config.items() if not name.endswith("_seed")}


def _origin(group: Sequence[Run]) -> dict:
    """What decides the histories of the runs of one configuration."""
    return {
        "config": _without_seeds(group[0].config),
        "seeds": [{s: run.config[s] for s in ("model_seed", "data_seed")} for run in group],
        "keys": [run.key for run in group],
        "results_version": RESULTS_VERSION,
        "status": [run.status for run in group],
        "data_sha256": _distinct(run.meta["data_sha256"] for run in group),
    }


def _circumstances(group: Sequence[Run]) -> dict:
    """Where, when and how long the runs of one configuration were trained."""
    facts = ("device", "machine", "versions", "git_commit")
    return {
        "keys": [run.key for run in group],
        "wall_seconds": round(sum(run.meta["wall_seconds"] for run in group), 2),
        **{fact: _distinct(run.meta[fact] for run in group) for fact in facts},
    }


def _distinct(values) -> list:
    return list({json.dumps(value): value for value in values}.values())


def plot_batch(batch: Batch, n: int = 6) -> Figure:
    """The first ``n`` samples as pictures: which target counts (framed), and the label."""
    figure, axes = plt.subplots(1, n, figsize=(PLOT_WIDTH, PLOT_WIDTH / n + 0.45))
    for i, axis in enumerate(axes):
        plot_sample(axis, batch, i)
        same = "same" if batch.same[i] else "different"
        axis.set_title(f"{same} \N{RIGHTWARDS ARROW}\nlabel {batch.labels[i]}", fontsize=9, loc="center")
    return figure


def plot_sample(axis: Axes, batch: Batch, i: int) -> None:
    """Sample ``i`` as a picture, on the brightness scale of its batch, the cell that gives the label framed."""
    cell, low, high = batch.images.shape[-1] // 2, batch.images.min(), batch.images.max()
    axis.imshow(((batch.images[i] - low) / (high - low)).permute(1, 2, 0).numpy())
    if batch.target[i] != NOWHERE:
        row, column = divmod(int(batch.target[i]), 2)
        frame = plt.Rectangle((column * cell - 0.5, row * cell - 0.5), cell, cell, fill=False, ec="#F0E442", lw=2.5,
                              clip_on=False)  # fmt: skip
        axis.add_patch(frame)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def batch_table(batch: Batch) -> pd.DataFrame:
    """A batch without its pixels: the class in each cell, which target counts, the label."""
    table = pd.DataFrame(batch.cells.tolist(), columns=list(CELL_NAMES))
    return table.assign(
        target=["" if i == NOWHERE else CELL_NAMES[i] for i in batch.target.tolist()], label=batch.labels.tolist()
    )


def panels(n: int, height: float = 3.0, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure of text width with ``n`` panels side by side, ``height`` inches high."""
    figure, axes = plt.subplots(1, n, figsize=(PLOT_WIDTH, height), squeeze=False, sharey=share_y)
    return figure, list(axes[0])


def derived_line(axis: Axes, value: float, text: str, decimals: int = 2) -> None:
    """A dashed line at a derived ``value``, named at its right end, outside the axes."""
    axis.axhline(value, color=DERIVED, ls="--", lw=1, zorder=1)
    label, place = f"{text}\n{value:.{decimals}f}", ("axes fraction", "data")
    axis.annotate(label, (1.01, value), xycoords=place, va="center", fontsize=8, color=DERIVED)


def make_readable(axis: Axes) -> None:
    """Write the numbers of a heat map in black or white, whichever stands out more from its cell (WCAG contrast)."""
    cells = axis.collections[0]
    written = ~np.ma.getmaskarray(cells.get_array()).ravel()  # an empty cell has no number
    for text, colour in zip(axis.texts, cells.get_facecolors()[written], strict=True):
        parts = np.where(colour[:3] <= 0.03928, colour[:3] / 12.92, ((colour[:3] + 0.055) / 1.055) ** 2.4)
        luminance = parts @ [0.2126, 0.7152, 0.0722]
        text.set_color("black" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "white")


def plot_seeds(axis: Axes, runs: Sequence[Run], column: str, moment_of: Callable[[Run], Moment] = moment_of) -> None:
    """One line per run of a history's ``column`` against the training step, with a star at each Eureka-moment."""
    seen = set()
    for run in runs:
        method, history, moment = method_of(run), run.history, moment_of(run)
        label = None if method in seen else label_of(method)
        seen.add(method)
        axis.plot(history["step"], history[column], color=colour_of(method), lw=1.1, alpha=0.75, label=label)
        if moment.happened:
            at = history.loc[history["step"] == moment.step, column]
            axis.plot(moment.step, at, "*", color=colour_of(method), ms=9, mec="white", mew=0.6, zorder=5)
    axis.set_xlabel("training step")


def plot_loss(axis: Axes, runs: Sequence[Run], task: TwoStepTask) -> None:
    """Training-loss curves over the derived plateau and floor; the runs share one label smoothing."""
    smoothing = runs[0].config["training"]["label_smoothing"]
    plot_seeds(axis, runs, "train_loss")
    derived_line(axis, task.plateau_loss(smoothing), "plateau", decimals=3)
    derived_line(axis, task.floor_loss(smoothing), "floor", decimals=3)
    axis.set_ylabel("training loss (nats)")
    axis.set_ylim(bottom=0.4)


def plot_accuracy(axis: Axes, runs: Sequence[Run], task: TwoStepTask) -> None:
    """Test accuracy over the derived plateau and chance."""
    plot_seeds(axis, runs, "test_accuracy")
    derived_line(axis, task.plateau_accuracy, "plateau")
    derived_line(axis, 1 / task.n_classes, "chance")
    axis.set(ylabel="test accuracy", ylim=(0, 1.02))


def plot_survival(axis: Axes, groups: dict[str, Sequence[Run]]) -> None:
    """Kaplan-Meier curves: share of runs still without an EM, per method, with 95 % band and ticks where censored."""
    for method, runs in groups.items():
        k = sum(moment_of(run).happened for run in runs)
        plot_survival_curve(axis, runs, colour_of(method), f"{label_of(method)}:\n{k} of {len(runs)} EMs")
    axis.set(xlabel="training step", ylabel="share of runs without an EM", ylim=(-0.03, 1.03))
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9)


def plot_survival_curve(axis: Axes, runs: Sequence[Run], colour: str, label: str) -> None:
    """One Kaplan-Meier curve with its band and its ticks."""
    moments = [moment_of(run) for run in runs]
    curve, end = kaplan_meier(moments), max(run.history["step"].iloc[-1] for run in runs)
    steps, no_em, low, high = (
        np.concatenate([[first], values, [last]]) for first, values, last in (
            (0, curve.steps, end), (1, curve.no_em, curve.no_em[-1]),
            (1, curve.low, curve.low[-1]), (1, curve.high, curve.high[-1]))
    )  # fmt: skip
    axis.step(steps, no_em, where="post", color=colour, label=label)
    axis.fill_between(steps, low, high, step="post", color=colour, alpha=0.15, lw=0)
    for moment in moments:
        if not moment.happened:
            axis.plot(moment.step, curve.no_em[-1], "|", color=colour, ms=10, mew=1.5)


class LiveCurve:
    """Test accuracy of one run, drawn while it trains; give it as ``on_evaluation``.

    In a headless run the picture is drawn once, at the end: a film that nobody watches costs time.
    """

    def __init__(self, experiment: Experiment, task: TwoStepTask):
        self.steps, self.method = experiment.training.steps, _method(experiment.config())
        self.bar = progress.Progress("training", self.steps)
        self.handle: DisplayHandle | None = None
        self.figure, self.axis = plt.subplots(figsize=(PLOT_WIDTH, 3))
        derived_line(self.axis, task.plateau_accuracy, "plateau")
        self.axis.set(xlim=(0, self.steps), ylim=(0, 1.02), xlabel="training step", ylabel="test accuracy")
        (self.line,) = self.axis.plot([], [], color=colour_of(self.method), lw=2)

    def __enter__(self) -> "LiveCurve":
        self.bar.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.bar.__exit__(*error)
        if progress.headless():
            display(self.figure)
        plt.close(self.figure)  # it has been shown

    def __call__(self, history: pd.DataFrame) -> None:
        """Draw the history so far."""
        last = history.iloc[-1]
        self.bar.update(int(last["step"]), f"test accuracy {last['test_accuracy']:.2f}")
        self.line.set_data(history["step"], history["test_accuracy"])
        if progress.headless():
            return
        if self.handle is None:
            self.handle = display(self.figure, display_id=True)
        else:
            self.handle.update(self.figure)
