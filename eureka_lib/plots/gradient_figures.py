"""Where the gradient goes along a training: tables from kept weights, and their pictures.

``diagnose_runs`` asks each kept model of each run what one backward pass leaves at W_Q, W_K and W_V, at q, k and v, and
how even its attention is (:mod:`eureka_lib.analysis.gradients`). All of it happens after the training, which therefore
cannot notice. The pictures show every seed; a star marks its Eureka-moment (EM).
"""

from collections.abc import Iterator, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator
from torch import Tensor

from eureka_lib.analysis.gradients import CLS, FEATURES, MATRICES, by_cell, diagnose, plateau_steps
from eureka_lib.analysis.record import record_blocks
from eureka_lib.attention.registry import colour_of, label_of
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.experiments.trainer import device, quiet_surroundings
from eureka_lib.measure.runs import method_of, moment_of
from eureka_lib.plots.style import DERIVED, PLOT_WIDTH
from eureka_lib.progress import Progress
from eureka_lib.store import Run
from eureka_lib.tasks.two_step import CELL_NAMES, FIRST, INDICATOR, SECOND, Batch, TwoStepTask

PLACES = {CLS: ("#4D4D4D", ":"), "indicators": ("#CC79A7", "-"), "targets": ("#E69F00", "--")}  # colour, line
MATRIX_STYLE = {"W_Q": ("#D55E00", "-"), "W_K": ("#56B4E9", "--"), "W_V": ("black", "-")}
RUN = ["run", "method", "seed", "step"]  # what names a kept model in a table
TOKENS = [CLS, *CELL_NAMES]


# ---- tables


def diagnose_runs(
    experiments: Sequence[Experiment], runs: Sequence[Run], task: TwoStepTask, batch: Batch
) -> pd.DataFrame:
    """Every kept model of ``runs`` (of ``experiments``, in their order) on one batch: a row per step and layer.

    Columns run (its key), method, seed, step, layer (from 1); W_Q, W_K, W_V, mean absolute gradients (nats); the same
    of features, as "q at indicators", for each of q, k, v and each of ``PLACES``; the attention's normalised "entropy".
    """
    where, tables = device(), []
    images, labels = batch.images.to(where), batch.labels.to(where)
    cells = {"indicators": batch.roles == INDICATOR, "targets": (batch.roles == FIRST) | (batch.roles == SECOND)}
    total = sum(len(run.weight_steps) for run in runs)
    with quiet_surroundings(where), Progress("diagnosing kept models", total, lines=2) as progress:
        for experiment, run in zip(experiments, runs, strict=True):
            for step in run.weight_steps:
                model = experiment.model_at(run, step, task).to(where)
                found = diagnose(model, images, labels, cells, experiment.training.label_smoothing)
                columns = dict(zip(MATRICES, found.weights.T, strict=True)) | {"entropy": found.entropy}
                for place, sizes in found.features.items():
                    columns |= {f"{name} at {place}": size for name, size in zip(FEATURES, sizes.T, strict=True)}
                table = pd.DataFrame({name: values.tolist() for name, values in columns.items()})
                names = (run.key, method_of(run), run.config["model_seed"], step, table.index + 1)
                tables.append(table.assign(**dict(zip([*RUN, "layer"], names, strict=True))))
                progress.update(len(tables))
    table = pd.concat(tables, ignore_index=True)
    return table[[*RUN, "layer", *table.columns.drop([*RUN, "layer"])]]


def over_layers(table: pd.DataFrame) -> pd.DataFrame:
    """A :func:`diagnose_runs` table averaged over layers: a row per kept model, as the rules of C4 take it."""
    return table.groupby(RUN, sort=False).mean().drop(columns="layer").reset_index()


def ratio_table(sizes: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """From :func:`over_layers`, without step 0: the gradient of W_V over W_Q's and W_K's, and if on the plateau."""
    table = sizes.loc[sizes["step"] > 0, RUN].assign(plateau=False)
    for name in ("W_Q", "W_K"):
        table[f"W_V / {name}"] = sizes["W_V"] / sizes[name]
    for run in runs:
        mine = table["run"] == run.key
        table.loc[mine, "plateau"] = table.loc[mine, "step"].isin(plateau_steps(*run.accuracy))
    return table


def first_and_last(runs: Sequence[Run]) -> tuple[int, int]:
    """Which of the runs has its EM first, and which has none, or the last one: two indices."""
    order = sorted(range(len(runs)), key=lambda i: (not moment_of(runs[i]).happened, moment_of(runs[i]).step))
    return order[0], order[-1]


def telling_steps(run: Run) -> dict[str, int]:
    """Four kept steps of a run, by name: mid-plateau, just before the EM, at the EM (or just after it), and the end.

    A run without an EM, or without enough kept steps around it, has four spread over its budget instead, so that there
    is something to draw. Raises ValueError if it kept fewer than five.
    """
    kept, moment = run.weight_steps, moment_of(run)
    if len(kept) < 5:
        raise ValueError(f"run {run.key} kept its weights at {len(kept)} steps; at least 5 are needed")
    plateau = sorted(set(kept) & set(plateau_steps(*run.accuracy)))
    after = [step for step in kept if step >= moment.step]
    if not moment.happened or len(plateau) < 2 or len(after) < 2:
        return {f"quarter {i}": kept[i * (len(kept) - 1) // 4] for i in (1, 2, 3, 4)}
    before = kept[kept.index(after[0]) - 1]
    steps = (plateau[(len(plateau) - 1) // 2], before, after[0], kept[-1])
    return dict(zip(("plateau", "before EM", "at the EM", "end"), steps, strict=True))


def attention_maps(experiment: Experiment, run: Run, step: int, task: TwoStepTask, images: Tensor) -> Tensor:
    """Mean attention of a kept model over ``images``, among CLS and the four cells: (L, H, 5, 5), rows sum to 1."""
    layers = record_blocks(experiment.model_at(run, step, task), images)
    return torch.stack([by_cell(layer.attention.mean(dim=0)) for layer in layers])


def two_seeds(
    experiments: Sequence[Experiment], runs: Sequence[Run], task: TwoStepTask, images: Tensor
) -> dict[str, dict[str, Tensor]]:
    """:func:`attention_maps` of :func:`first_and_last`, at the first one's :func:`telling_steps`, as to be plotted."""
    chosen = first_and_last(runs)
    steps = telling_steps(runs[chosen[0]])
    return {
        _title(runs[i]): {
            f"{name}\nstep {step}" if i == chosen[0] else f"step {step}": attention_maps(
                experiments[i], runs[i], step, task, images
            )
            for name, step in steps.items()
        }
        for i in chosen
    }


def attention_table(maps: dict[str, dict[str, Tensor]]) -> pd.DataFrame:
    """What :func:`plot_attention` shows, as a table: seed, moment, layer and head (from 1), from, to, weight."""
    rows = []
    for seed, models in maps.items():
        for moment, model in models.items():
            for layer, head, query, key in torch.cartesian_prod(*map(torch.arange, model.shape)).tolist():
                weight = float(model[layer, head, query, key])
                rows.append((seed, moment.replace("\n", ", "), layer + 1, head + 1, TOKENS[query], TOKENS[key], weight))
    return pd.DataFrame(rows, columns=["seed", "moment", "layer", "head", "from", "to", "weight"])


def _title(run: Run) -> str:
    moment = moment_of(run)
    return f"seed {run.config['model_seed']}: " + (f"EM at step {moment.step}" if moment.happened else "no EM")


# ---- pictures


def plot_weight_gradients(table: pd.DataFrame, runs: Sequence[Run]) -> Figure:
    """A :func:`diagnose_runs` table: gradients of W_Q, W_K, W_V over training; a row per layer, a column per method."""
    methods, layers = table["method"].unique(), sorted(table["layer"].unique())
    figure, axes = plt.subplots(len(layers), len(methods), figsize=(PLOT_WIDTH, 0.7 + 1.45 * len(layers)), sharex=True,
                                sharey=True, squeeze=False)  # fmt: skip
    for row, layer in zip(axes, layers, strict=True):
        for axis, method in zip(row, methods, strict=True):
            one = table[(table["layer"] == layer) & (table["method"] == method)]
            for name, (colour, line) in MATRIX_STYLE.items():
                _seeds(axis, one, name, runs, color=colour, ls=line, label=f"${name}$")
        row[0].set_ylabel(f"layer {layer}")
    _finish_grid(axes, methods)
    figure.supylabel("mean absolute gradient (nats)", fontsize=10)
    return figure


def plot_ratios(axes: Sequence[Axes], table: pd.DataFrame, runs: Sequence[Run]) -> None:
    """A :func:`ratio_table` in two panels: W_V over W_Q, W_V over W_K. Dots: the plateau, which the rule looks at."""
    for axis, name in zip(axes, ("W_Q", "W_K"), strict=True):
        column = f"W_V / {name}"
        for method, one in table.groupby("method", sort=False):
            _seeds(axis, one, column, runs, color=colour_of(method), label=label_of(method))
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
    _legend_below(axes[0])


def plot_feature_gradients(sizes: pd.DataFrame, runs: Sequence[Run]) -> Figure:
    """Gradients of q, k and v (columns) at CLS, indicators and targets, from :func:`over_layers`; a row per method."""
    methods = sizes["method"].unique()
    figure, axes = plt.subplots(len(methods), 3, figsize=(PLOT_WIDTH, 0.9 + 1.9 * len(methods)), sharex=True,
                                sharey=True, squeeze=False)  # fmt: skip
    for row, method in zip(axes, methods, strict=True):
        for axis, name in zip(row, FEATURES, strict=True):
            for place, (colour, line) in PLACES.items():
                one = sizes[sizes["method"] == method]
                _seeds(axis, one, f"{name} at {place}", runs, color=colour, ls=line, label=place)
            axis.set_title(f"${name}$", loc="right")
        row[0].set_title(label_of(method), color=colour_of(method))
    _finish_grid(axes, [])
    figure.supylabel("mean absolute gradient (nats)", fontsize=10)
    return figure


def plot_attention(maps: dict[str, dict[str, Tensor]]) -> Figure:
    """Attention maps (L, H, 5, 5) by seed and moment, the row of CLS framed: a row per head, a column per moment.

    ``maps["seed 3"]["step 700"]`` are those of one model. White is 0 and black is 1, everywhere.
    """
    n, (layers, heads) = len(next(iter(maps.values()))), next(_models(maps))[1].shape[:2]
    widths = [width for _ in maps for width in [1] * n + [0.2]][:-1]  # a gap between seeds
    figure, axes = plt.subplots(layers * heads, len(widths), squeeze=False, width_ratios=widths,
                                figsize=(PLOT_WIDTH, 1.3 + 0.65 * layers * heads), layout="constrained")  # fmt: skip
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, hspace=0.02)
    for axis in axes[:, n :: n + 1].flat:
        axis.axis("off")
    columns = [column for i, column in enumerate(axes.T) if i % (n + 1) != n]
    for column, (moment, model) in zip(columns, _models(maps), strict=True):
        column[0].set_title("\n\n" + moment, fontsize=8, loc="center")
        for axis, weights in zip(column, model.flatten(0, 1), strict=True):
            _map(axis, weights)
        column[-1].set_xticks(range(5), TOKENS, rotation=90, fontsize=7)
    for i, axis in enumerate(axes[:, 0]):
        axis.set_yticks(range(5), TOKENS, fontsize=6.5)
        axis.set_ylabel(f"layer {i // heads + 1}\nhead {i % heads + 1}", fontsize=8)
    for axis, seed in zip(axes[0, :: n + 1], maps, strict=True):
        axis.annotate(seed, (0, 1), (0, 32), "axes fraction", "offset points", fontsize=10).set_in_layout(False)
    return figure


def _models(maps: dict[str, dict[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    for models in maps.values():
        yield from models.items()


def _map(axis: Axes, weights: Tensor) -> None:
    axis.imshow(weights.numpy(), cmap="Greys", vmin=0, vmax=1)
    axis.add_patch(plt.Rectangle((-0.5, -0.5), 5, 1, fill=False, ec="#D55E00", lw=1.5, clip_on=False, zorder=5))
    axis.set(xticks=[], yticks=[])
    axis.tick_params(length=0, pad=1)
    axis.spines[:].set(visible=True, linewidth=0.5)


def plot_entropy(axes: Sequence[Axes], table: pd.DataFrame, runs: Sequence[Run], shown: Sequence[Run]) -> None:
    """Normalised entropy of the attention, two panels: every run, over all layers; and the ``shown`` runs by layer."""
    for method, one in over_layers(table).groupby("method", sort=False):
        _seeds(axes[0], one, "entropy", runs, color=colour_of(method), label=label_of(method))
    axes[0].set(title="all seeds, mean over layers", ylabel="normalised entropy of the attention")
    layers = sorted(table["layer"].unique())
    for run, line in zip(shown, ("-", "--"), strict=True):
        for layer in layers:
            colour = plt.get_cmap("viridis")(0.85 * (layer - 1) / max(len(layers) - 1, 1))
            one = table[(table["run"] == run.key) & (table["layer"] == layer)]
            label = f"layer {layer}, seed {run.config['model_seed']}"
            _seeds(axes[1], one, "entropy", [run], color=colour, ls=line, label=label)
    axes[1].set_title("two seeds of softmax, by layer")
    for axis in axes:
        axis.set(xlabel="training step")
        axis.legend(fontsize=8)


def _seeds(axis: Axes, table: pd.DataFrame, column: str, runs: Sequence[Run], **style) -> None:
    """A line for each run of ``table``, and a star at its EM; the first line alone has the label."""
    label = style.pop("label")
    for run in runs:
        one = table[table["run"] == run.key]
        if one.empty:
            continue
        axis.plot(one["step"], one[column], lw=0.9, alpha=0.8, label=label, **style)
        label, moment = None, moment_of(run)
        at = one[one["step"] >= moment.step]
        if moment.happened and len(at):
            axis.plot(at["step"].iloc[0], at[column].iloc[0], "*", color=style["color"], ms=7, mec="white", mew=0.5,
                      zorder=5)  # fmt: skip


def _finish_grid(axes: np.ndarray, methods: Sequence[str]) -> None:
    for axis in axes.flat:
        axis.set_yscale("log")
        axis.yaxis.set_minor_locator(NullLocator())
    for axis, method in zip(axes[0], methods, strict=False):
        axis.set_title(label_of(method), color=colour_of(method))
    for axis in axes[-1]:
        axis.set_xlabel("training step")
    _legend_below(axes[0, 0])


def _legend_below(axis: Axes) -> None:
    """One legend for all panels, under the figure."""
    handles, labels = axis.get_legend_handles_labels()
    axis.figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), handlelength=2.6)
