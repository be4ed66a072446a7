"""Tables over two axes as heat maps."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from seaborn.utils import relative_luminance
from torch import Tensor

from eureka_lib.analysis.probes import ALL_TOKENS, READ
from eureka_lib.attention.normalisers import softmax
from eureka_lib.attention.registry import colour_of, short_label_of
from eureka_lib.measure.logits import softmax_jacobian
from eureka_lib.measure.maps import asking, names_of
from eureka_lib.measure.probes import GROUPS
from eureka_lib.plots.style import PLOT_WIDTH, WAITS
from eureka_lib.tasks.two_step import CELL_NAMES

EVEN_CONTRAST = (1.05 * 0.05) ** 0.5 - 0.05  # the luminance on which black and white stand out alike


def plot_grid(axis: Axes, grid: pd.DataFrame, names: tuple[str, str], bar: bool) -> None:
    """A grid of EM rates as a heat map: k/n and the mean restricted EM time written in each cell."""
    first = grid[names[0]].unique()  # in the order of the table; pivot sorts
    rates = grid.pivot(index=names[0], columns=names[1], values="EM rate").loc[first]
    text = grid.assign(text=[f"{k}/{n}\n{t:.0f}" for k, n, t in
                             zip(grid["k"], grid["n"], grid["mean restricted EM time"], strict=True)])  # fmt: skip
    words = text.pivot(index=names[0], columns=names[1], values="text").loc[first]
    sns.heatmap(rates, annot=words, fmt="", cmap="cividis", vmin=0, vmax=1, ax=axis, cbar=bar, linewidths=0.5,
                annot_kws={"fontsize": 8}, cbar_kws={"label": "EM rate"})  # fmt: skip
    make_readable(axis)
    axis.set_yticks(axis.get_yticks(), [name_of(value) for value in rates.index], rotation=0)
    axis.set(xlabel=names[1], ylabel=names[0])


def name_of(value: Any) -> str:
    """A method's name, or a number as one writes it."""
    return short_label_of(value) if isinstance(value, str) else f"{value:.4g}"


def make_readable(axis: Axes) -> None:
    """Write the numbers of a heat map in black or white, whichever stands out more from its cell (WCAG contrast)."""
    cells = axis.collections[0]
    written = ~np.ma.getmaskarray(cells.get_array()).ravel()  # an empty cell has no number
    for text, colour in zip(axis.texts, cells.get_facecolors()[written], strict=True):
        text.set_color("black" if relative_luminance(colour) > EVEN_CONTRAST else "white")


def plot_attention(table: pd.DataFrame) -> Figure:
    """A row of panels per method, one per phase: a row per head, a column per offset, darker where it looks."""
    phases = table.groupby("method", sort=False)["phase"].unique()
    columns = max(len(names) for names in phases)
    size = (PLOT_WIDTH, 0.5 + 1.5 * len(phases))
    figure, axes = plt.subplots(len(phases), columns, figsize=size, squeeze=False, sharex=True, sharey=True)
    for row, (method, names) in zip(axes, phases.items(), strict=True):
        for axis, phase in zip(row, names, strict=False):
            part = table[(table["method"] == method) & (table["phase"] == phase)]
            grid = part.pivot(index=["layer", "head"], columns="offset", values="weight")
            edges = (grid.columns.min() - 0.5, grid.columns.max() + 0.5, len(grid) - 0.5, -0.5)
            image = axis.imshow(grid, cmap="Greys", vmin=0, vmax=table["weight"].max(), aspect="auto", extent=edges)
            axis.set_yticks(range(len(grid)), [f"{layer}.{head}" for layer, head in grid.index], fontsize=8)
            axis.set_title(f"{short_label_of(method)}, {phase}: step {part['step'].iloc[0]}", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("key minus query (tokens)")
    for axis in axes[:, 0]:
        axis.set_ylabel("layer.head")
    figure.colorbar(image, ax=axes, label="attention weight", shrink=0.8)
    return figure


def draw_look(axis: Axes, weights: np.ndarray, place: str) -> AxesImage:
    """Where a ``place`` looks, on the picture: the weights (2, 2) of its cells, white 0 and black 1; itself framed."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set(visible=True, linewidth=0.5)
    if place in CELL_NAMES:
        row, column = divmod(CELL_NAMES.index(place), 2)
        axis.add_patch(
            plt.Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, ec=WAITS, lw=2, zorder=5, gid="asks")
        )
    return axis.imshow(weights, cmap="Greys", vmin=0, vmax=1)


def plot_cells(table: pd.DataFrame) -> Figure:
    """An :func:`eureka_lib.measure.maps.attention_table`, on the picture: where those :func:`asking` look, in percent.

    A row per head, a block of columns per seed and place, a column per moment.
    """
    places = names_of(table["to"].nunique())
    queries, heads = [places[i] for i in asking(len(places))], table[["layer", "head"]].drop_duplicates().to_numpy()
    blocks = list(product(table["seed"].unique(), queries))
    moments = {seed: list(one["moment"].unique()) for seed, one in table.groupby("seed")}
    widths = [width for seed, _ in blocks for width in [1] * len(moments[seed]) + [0.25]][:-1]  # a gap between blocks
    height = 1.2 + PLOT_WIDTH / (sum(widths) + 0.8) * len(heads)
    figure, axes = plt.subplots(len(heads), len(widths), squeeze=False, width_ratios=widths, layout="constrained",
                                figsize=(PLOT_WIDTH, height))  # fmt: skip
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015, hspace=0, wspace=0)
    looks, columns = table.set_index(["seed", "from", "moment", "layer", "head"]), iter(axes.T)
    for i, (seed, query) in enumerate(blocks):
        for axis in next(columns) if i else ():
            axis.axis("off")
        for j, moment in enumerate(moments[seed]):
            for axis, head in zip(column := next(columns), heads, strict=True):
                weights = looks.loc[(seed, query, moment, *head), "weight"].to_numpy()[-len(CELL_NAMES) :].reshape(2, 2)
                draw_look(axis, weights, query)
                for (y, x), weight in np.ndenumerate(weights):
                    colour = "white" if weight > 0.5 else "black"
                    axis.text(x, y, f"{100 * weight:.0f}", ha="center", va="center", fontsize=8, color=colour)
            column[0].set_title("\n\n" + moment.replace(", step", "").replace(" ", "\n"), fontsize=8, loc="center")
            if not j and query == queries[0]:
                words = column[0].annotate(seed.replace(": ", "\n"), (0, 1), (0, 42), "axes fraction", "offset points",
                                           fontsize=8, weight="bold")  # fmt: skip
                words.set_in_layout(False)
    for axis, (layer, head) in zip(axes[:, 0], heads, strict=True):
        axis.set_ylabel(f"layer {layer}\nhead {head}", fontsize=8)
    return figure


def plot_weights(table: pd.DataFrame) -> Figure:
    """A :func:`map_table`: a column per model, eager softmax above, NormSoftmax below.

    Grey is the weight over that of even attention to the keys that the query sees: 1 is even, white nothing.
    """
    models, methods = list(table["model"].unique()), list(table["method"].unique())
    figure, axes = plt.subplots(len(methods), len(models), figsize=(PLOT_WIDTH, 4.6))
    for (model, method), one in table.groupby(["model", "method"], sort=False):
        weights = one.pivot(index="query", columns="key", values="weight")
        seen = one.pivot(index="query", columns="key", values="visible").sum(axis=1)
        axis = axes[methods.index(method), models.index(model)]
        picture = axis.imshow(weights.mul(seen, axis=0), cmap="Greys", vmin=0, vmax=3)
        axis.set(xticks=[], yticks=[], xlabel="key" if method == methods[-1] else "")
        axis.spines[:].set(visible=True, linewidth=0.5)
        if method == methods[0]:
            axis.set_title(model.replace(", ", "\n"), fontsize=10)
    for axis, method in zip(axes[:, 0], methods, strict=True):
        axis.set_ylabel(f"{short_label_of(method)}\nquery")
    bar = figure.colorbar(picture, ax=axes, shrink=0.7, extend="max", ticks=range(4))
    bar.set_label("weight / even weight")
    return figure


def plot_probes(rows: pd.DataFrame, steps: Mapping[str, int]) -> Figure:
    """Where linear probes find what: a row per layer and part, a column per thing asked for.

    A panel per token set and step (``steps``: title -> step). The numbers are held-out accuracies; the colour says how
    far they are on the way from the majority baseline (0) to faultless (1). What has one class only stays blank.
    """
    titles = [(tokens, title) for tokens in (ALL_TOKENS, READ) for title in steps]
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


def plot_jacobians(row: Tensor, stds: Sequence[float], scale: float) -> Figure:
    """Softmax of one row at several standard deviations: above the weights, below diag(p) - p p^T and its size."""
    figure, axes = plt.subplots(2, len(stds), figsize=(PLOT_WIDTH, 3.7), height_ratios=[1, 1.25], squeeze=False)
    names = [str(key) for key in range(1, len(row) + 1)]
    for size, above, below in zip(stds, axes[0], axes[1], strict=True):
        weights = softmax(size * row, torch.tensor(scale, dtype=row.dtype))
        jacobian = softmax_jacobian(weights)
        above.bar(names, weights.numpy(), color=colour_of("softmax"))
        above.set(ylim=(0, 1.03), title=f"$\\sigma$ = {size:g}")
        image = below.imshow(jacobian.numpy(), cmap="PuOr", vmin=-0.25, vmax=0.25)
        below.set(xticks=range(len(row)), yticks=range(len(row)), xticklabels=names, yticklabels=names, xlabel="key")
        below.set_title(f"size {float(jacobian.norm() / len(row) ** 0.5):.2g}", fontsize=9)
        above.label_outer()
        below.label_outer()
        below.spines[:].set_visible(True)
    axes[0, 0].set_ylabel("weight $p$")
    axes[1, 0].set_ylabel("key")
    bar = figure.colorbar(image, ax=list(axes[1]), shrink=0.85)
    bar.ax.set_title("$\\partial p_i / \\partial u_j$", loc="center", fontsize=9)
    return figure
