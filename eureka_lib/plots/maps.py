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
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from seaborn.utils import relative_luminance
from torch import Tensor

from eureka_lib.analysis.probes import ALL_TOKENS, READ
from eureka_lib.attention.normalisers import softmax
from eureka_lib.attention.registry import colour_of, short_label_of
from eureka_lib.measure.logits import softmax_jacobian
from eureka_lib.measure.maps import asking, names_of
from eureka_lib.measure.plateaus import BEFORE
from eureka_lib.measure.probes import GROUPS
from eureka_lib.plots.style import DERIVED, FAILED, PLOT_WIDTH, SMALLEST, WAITS, panels
from eureka_lib.tasks.two_step import CELL_NAMES

EVEN_CONTRAST = (1.05 * 0.05) ** 0.5 - 0.05  # the luminance on which black and white stand out alike


def plot_grid(axis: Axes, grid: pd.DataFrame, names: tuple[str, str], tuned: tuple | None = None) -> None:
    """A grid of EM rates as a heat map: k of n in each cell, and after how many steps in the mean.

    A run without an EM counts with its budget; there is no time where none has one. The cell with the ``tuned`` values
    is framed.
    """
    first = grid[names[0]].unique()  # in the order of the table; pivot sorts
    table = grid.pivot(index=names[0], columns=names[1]).loc[first]
    k, times = table["k"], table["mean restricted EM time"].map("after {:,.0f}".format)
    words = k.astype(str) + " of " + table["n"].astype(str)
    sns.heatmap(table["EM rate"], annot=words, fmt="", cmap="cividis", vmin=0, vmax=1, ax=axis, cbar=False,
                linewidths=0.5, annot_kws={"fontsize": 11, "va": "bottom"})  # fmt: skip
    make_readable(axis)
    for text, time in zip(list(axis.texts), times.where(k > 0, "-").to_numpy().flat, strict=True):
        axis.annotate(time, text.get_position(), (0, -2), textcoords="offset points", ha="center", va="top",
                      fontsize=SMALLEST, color=text.get_color())  # fmt: skip
    if tuned and tuned[0] in k.index and tuned[1] in k.columns:
        corner = k.columns.get_loc(tuned[1]), k.index.get_loc(tuned[0])
        axis.add_patch(plt.Rectangle(corner, 1, 1, fill=False, ec=FAILED, lw=2.5, clip_on=False, gid="tuned"))
    axis.set_yticks(axis.get_yticks(), [name_of(value) for value in k.index], rotation=0)
    axis.set(xlabel=names[1], ylabel="" if names[0] == "method" else names[0])  # methods' names tell themselves


def plot_grids(tables: Mapping[str, pd.DataFrame], names: tuple[str, str], tuned: Mapping[str, tuple]) -> Figure:
    """A :func:`plot_grid` per method, each with what the method was ``tuned`` to."""
    figure, axes = panels(len(tables), height=3.2)
    for axis, (method, table) in zip(axes, tables.items(), strict=True):
        plot_grid(axis, table, names, tuned[method])
        axis.set_title(short_label_of(method), fontsize=10)
        axis.label_outer()
    return figure


def name_of(value: Any) -> str:
    """A method's name, or a number as one writes it."""
    return short_label_of(value) if isinstance(value, str) else f"{value:.4g}"


def make_readable(axis: Axes) -> None:
    """Write the numbers of a heat map in black or white, whichever stands out more from its cell (WCAG contrast)."""
    cells = axis.collections[0]
    written = ~np.ma.getmaskarray(cells.get_array()).ravel()  # an empty cell has no number
    for text, colour in zip(axis.texts, cells.get_facecolors()[written], strict=True):
        text.set_color("black" if relative_luminance(colour) > EVEN_CONTRAST else "white")


def plot_attention(table: pd.DataFrame, tokens: int) -> Figure:
    """Where hidden tokens look at the end, a panel per method: a row per head, a column per offset.

    Grey is the weight over that of even attention to ``tokens``. Above stands the mean of all heads before the leap.
    """
    table = table.assign(times=table["weight"] * tokens)
    methods, offsets = table["method"].unique(), table["offset"].unique()
    figure, axes = panels(len(methods), 2.8, share_y=True)
    scale = LogNorm(1, max(2, table["times"].max()))
    for axis, method in zip(axes, methods, strict=True):
        one = table[table["method"] == method]
        before = one["phase"] == BEFORE
        heads = one[~before].pivot(index=["layer", "head"], columns="offset", values="times")
        shown = np.vstack([one[before].groupby("offset")["times"].mean(), heads])
        edges = (offsets.min() - 0.5, offsets.max() + 0.5, len(shown) - 0.5, -0.5)
        image = axis.imshow(shown, cmap="Greys", norm=scale, aspect="auto", extent=edges)
        axis.axhline(0.5, color=DERIVED, lw=1)
        axis.set_yticks(range(len(shown)), ["before: all heads", *(f"layer {i}, head {j}" for i, j in heads.index)])
        axis.set_title(short_label_of(method), fontsize=9)
        axis.tick_params(labelsize=SMALLEST)
        axis.spines[:].set(visible=True, linewidth=0.5)
    figure.supxlabel("\N{LEFTWARDS ARROW} left      tokens away      right \N{RIGHTWARDS ARROW}", fontsize=10)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, extend="min", ticks=[1, 2, 5, 10, 20, 50], format="{x:g}")
    bar.set_label("weight / even weight")
    bar.ax.minorticks_off()
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
                annot_kws={"fontsize": SMALLEST})  # fmt: skip
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
        above.set(ylim=(0, 1.03), title=f"spread {size:g}")
        image = below.imshow(jacobian.numpy(), cmap="PuOr", vmin=-0.25, vmax=0.25)
        below.set(
            xticks=range(len(row)), yticks=range(len(row)), xticklabels=names, yticklabels=names, xlabel="logit $j$"
        )
        below.set_title(f"size {float(jacobian.norm() / len(row) ** 0.5):.2g}", fontsize=9)
        above.label_outer()
        below.label_outer()
        below.spines[:].set_visible(True)
    axes[0, 0].set_ylabel("weight $p$")
    axes[1, 0].set_ylabel("weight $i$")
    bar = figure.colorbar(image, ax=list(axes[1]), shrink=0.85)
    bar.ax.set_title("$\\partial p_i / \\partial u_j$", loc="center", fontsize=9)
    return figure
