"""Tables over two axes as heat maps."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from seaborn.utils import relative_luminance

from eureka_lib.attention.registry import short_label_of
from eureka_lib.plots.style import PLOT_WIDTH

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
