"""One attention head as three panels: the weights of a row, their Jacobian, and what reaches W_Q, W_K and W_V."""

import io
from collections.abc import Sequence

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eureka_lib.attention.registry import colour_of
from eureka_lib.measure.heads import (
    MOST_KEYS,
    TEMPERATURES,
    Head,
    Setting,
    against_temperature,
    example_row,
    gradients_of,
    head_of,
    typical_row,
    with_spread,
)
from eureka_lib.measure.logits import softmax_jacobian
from eureka_lib.plots.live import Screen
from eureka_lib.plots.seeds import MATRIX_STYLE
from eureka_lib.plots.style import DERIVED, PLOT_WIDTH
from eureka_lib.progress import headless

LOWEST = 1e-6  # where the axis of the gradients ends: of a one-hot row nothing comes back


def draw(axes: Sequence[Axes], head: Head, table: pd.DataFrame, sigma: float) -> None:
    """The three parts of the picture at the spread ``sigma``; ``table`` is the head's :func:`curve`."""
    weights = torch.softmax(sigma * typical_row(head), -1)
    jacobian, names = softmax_jacobian(weights), [str(key) for key in range(1, len(weights) + 1)]
    axes[0].bar(names, weights.numpy(), color=colour_of("softmax"))
    axes[0].set(ylim=(0, 1.03), xlabel="key", ylabel="weight $p$", title=f"spread {sigma:.3g}")
    axes[1].imshow(jacobian.numpy(), cmap="PuOr", vmin=-0.25, vmax=0.25)
    axes[1].set(xticks=range(len(names)), yticks=range(len(names)), xticklabels=names, yticklabels=names, ylabel="key")
    axes[1].set(title=f"Jacobian, size {float(jacobian.norm() / len(names) ** 0.5):.2g}", xlabel="key")
    axes[1].spines[:].set_visible(True)
    now = gradients_of(with_spread(head, sigma)).tolist()
    for i, ((name, (colour, line)), size) in enumerate(zip(MATRIX_STYLE.items(), now, strict=True)):
        axes[2].plot(table["spread"], table[name], color=colour, ls=line, label=f"${name}$")
        axes[2].plot(sigma, size, "o", color=colour, ms=9 - 2 * i, zorder=5)  # one may hide another
    axes[2].axvline(sigma, color=DERIVED, lw=0.8, zorder=0)
    axes[2].set(xscale="log", yscale="log", ylim=(LOWEST, None), xlabel="spread of the logits", ylabel="gradient",
                title="from a typical row")  # fmt: skip


def plot_settings(head: Head, table: pd.DataFrame, spreads: Sequence[float]) -> Figure:
    """The picture at each of ``spreads``, one below the other."""
    figure, axes = plt.subplots(len(spreads), 3, figsize=(PLOT_WIDTH, 1.75 * len(spreads) + 0.5), squeeze=False)
    for row, sigma in zip(axes, spreads, strict=True):
        draw(row, head, table, sigma)
    for axis in axes[:-1].flat:
        axis.set_xlabel("")
    figure.legend(*axes[0, 2].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def slider(head: Head, table: pd.DataFrame) -> ipywidgets.VBox | None:
    """The picture with a slider for the spread; None, and no widget at all, in a run that nobody watches."""
    if headless():
        print("A slider for the spread stands here if somebody looks on.")
        return None
    knob = ipywidgets.FloatLogSlider(value=1.0, min=-2, max=2, step=0.05, description="spread", continuous_update=False)
    picture = ipywidgets.Image(value=_png(head, table, knob.value), format="png")

    def redraw(change: dict) -> None:
        picture.value = _png(head, table, change["new"])

    knob.observe(redraw, names="value")
    return ipywidgets.VBox([knob, picture])


def _png(head: Head, table: pd.DataFrame, sigma: float) -> bytes:
    figure = Figure(figsize=(PLOT_WIDTH, 2.4), layout="constrained")
    axes = figure.subplots(1, 3)
    draw(axes, head, table, sigma)
    axes[2].legend(fontsize=8)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    return data.getvalue()


LOWEST_HEAD = 1e-5  # where the axis of the gradients ends


class HeadView:
    """Three panels of one head: the weights of a row, their Jacobian, and the gradients that reach the matrices."""

    def __init__(self, axes: Sequence[Axes]):
        weights, jacobian, gradients = axes
        self.bars = weights.stairs([0], [0, 1], fill=True, color=colour_of("softmax"))
        weights.set(xlim=(0, 1), ylim=(0, 1.03), xticks=[], xlabel="key", ylabel="weight $p$")
        self.image = jacobian.imshow([[0]], cmap="PuOr", vmin=-0.25, vmax=0.25, extent=(0, 1, 1, 0), origin="upper")
        jacobian.set(xticks=[], yticks=[], xlabel="key", ylabel="key")
        jacobian.spines[:].set_visible(True)
        self.size = jacobian.set_title("Jacobian, size 0.000")
        (self.even,) = gradients.plot([], [], color=DERIVED, ls="--", lw=1, label="even attention: 1/temperature")
        self.lines = {name: gradients.plot([], [], color=colour, ls=line, label=f"${name}$")[0]
                      for name, (colour, line) in MATRIX_STYLE.items()}  # fmt: skip
        self.dots = {name: gradients.plot([], [], "o", color=colour, ms=9 - 2 * i, zorder=5)[0]
                     for i, (name, (colour, _)) in enumerate(MATRIX_STYLE.items())}  # fmt: skip
        gradients.set(xscale="log", yscale="log", xlim=(TEMPERATURES[0], TEMPERATURES[-1]), ylim=(LOWEST_HEAD, 10),
                      xlabel="temperature / usual", ylabel="gradient", title="from a typical row")  # fmt: skip
        self.axes = axes

    @property
    def moving(self) -> list[Artist]:
        """What changes with the setting."""
        return [self.bars, self.image, self.size, self.even, *self.lines.values(), *self.dots.values()]

    def show(self, setting: Setting) -> pd.DataFrame:
        """Turn the artists to a setting; returns the table of gradients."""
        head = head_of(setting)
        weights, table, now = example_row(head), against_temperature(head), gradients_of(head).tolist()
        jacobian = softmax_jacobian(weights)
        self.bars.set_data(weights.numpy(), np.linspace(0, 1, setting.keys + 1))
        self.image.set_data(jacobian.numpy())
        self.size.set_text(f"Jacobian, size {float(jacobian.norm()) / setting.keys**0.5:.2g}")
        self.even.set_data(table["temperature"], table["even"])
        for name, size in zip(MATRIX_STYLE, now, strict=True):
            self.lines[name].set_data(table["temperature"], table[name])
            self.dots[name].set_data([setting.temperature], [size])
        return table.assign(similarity=setting.similarity, keys=setting.keys)


def plot_head(settings: Sequence[Setting]) -> tuple[Figure, pd.DataFrame]:
    """The three panels at each of ``settings``, one row each, and the gradients that are drawn."""
    figure, axes = plt.subplots(len(settings), 3, figsize=(PLOT_WIDTH, 1.95 * len(settings) + 0.4), squeeze=False)
    tables = []
    for row, setting in zip(axes, settings, strict=True):
        view = HeadView(row)
        tables.append(view.show(setting).assign(shown=setting.words))
        row[0].set_title(setting.words.replace(", sim", ",\nsim"), fontsize=8)
    for axis in axes[:-1].flat:
        axis.set_xlabel("")
    figure.legend(*axes[0, 2].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure, pd.concat(tables, ignore_index=True)


def head_knobs() -> ipywidgets.VBox | None:
    """The three panels with a slider for each knob; None, and no widget at all, in a run that nobody watches."""
    if headless():
        print("Three sliders stand here if somebody looks on.")
        return None
    figure = Figure(figsize=(PLOT_WIDTH, 2.6), layout="constrained")
    view = HeadView(figure.subplots(1, 3))
    view.show(Setting())
    figure.legend(*view.axes[2].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    screen = Screen(figure, view.moving)
    style = {"style": {"description_width": "7em"}, "layout": {"width": "30em"}}
    knobs = {
        "temperature": ipywidgets.FloatLogSlider(1.0, min=-2, max=2, step=0.05, description="temperature", **style),
        "similarity": ipywidgets.FloatSlider(0.0, min=0, max=1, step=0.02, description="key similarity", **style),
        "keys": ipywidgets.IntSlider(8, min=2, max=MOST_KEYS, description="tokens", **style),
    }
    picture = ipywidgets.Image(value=screen.frame(), format="png")

    def redraw(_) -> None:
        temperature = float(np.clip(knobs["temperature"].value, TEMPERATURES[0], TEMPERATURES[-1]))
        view.show(Setting(temperature, knobs["similarity"].value, knobs["keys"].value))
        picture.value = screen.frame()

    for knob in knobs.values():
        knob.observe(redraw, names="value")
    return ipywidgets.VBox([*knobs.values(), picture])
