"""One attention head as three panels: the weights of a row, their Jacobian, and what reaches W_Q, W_K and W_V.

Drawn at a few settings for the printed page and for runs that nobody watches, with sliders for whoever looks on.
"""

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
    gradients_of,
    head_of,
    typical_row,
    with_std,
)
from eureka_lib.measure.logits import softmax_jacobian
from eureka_lib.plots.live import knobs_above
from eureka_lib.plots.style import DERIVED, MATRICES, PLOT_WIDTH
from eureka_lib.progress import headless

LOWEST = 1e-6  # where the axis of the gradients ends: of a one-hot row nothing comes back
LABELS = {"spread": "spread of the logits", "temperature": "temperature / usual"}
EVEN = "even attention: 1/temperature"


class HeadView:
    """The three panels of one head; the gradients are drawn against ``x``, a key of ``LABELS``."""

    def __init__(self, axes: Sequence[Axes], x: str):
        self.axes, self.x = axes, x
        weights, jacobian, gradients = axes
        self.bars = weights.stairs([0], [0, 1], fill=True, color=colour_of("softmax"))
        weights.set(xlim=(0, 1), ylim=(0, 1.03), xticks=[], xlabel="key", ylabel="weight $p$")
        self.image = jacobian.imshow([[0]], cmap="PuOr", vmin=-0.25, vmax=0.25, extent=(0, 1, 1, 0), origin="upper")
        jacobian.set(xticks=[], yticks=[], xlabel="key", ylabel="key")
        jacobian.spines[:].set_visible(True)
        self.size = jacobian.set_title("Jacobian, size 0.000")
        style = {"even": (DERIVED, "--", 1, EVEN)} if x == "temperature" else {}
        style |= {name: (colour, line, None, f"${name}$") for name, (colour, line) in MATRICES.items()}
        self.lines = {name: gradients.plot([], [], color=colour, ls=line, lw=width, label=label)[0]
                      for name, (colour, line, width, label) in style.items()}  # fmt: skip
        self.dots = [gradients.plot([], [], "o", color=colour, ms=9 - 2 * i, zorder=5)[0]
                     for i, (colour, _) in enumerate(MATRICES.values())]  # fmt: skip
        gradients.set(xscale="log", yscale="log", xlim=(0.01, 100), ylim=(LOWEST, 10), xlabel=LABELS[x],
                      ylabel="gradient", title="from a typical row")  # fmt: skip

    @property
    def moving(self) -> list[Artist]:
        """What changes with the head."""
        return [self.bars, self.image, self.size, *self.lines.values(), *self.dots]

    def show(self, head: Head, table: pd.DataFrame, at: float) -> None:
        """Turn the artists to a head, which stands ``at`` a place of its ``table`` of gradients."""
        weights = torch.softmax(typical_row(head), -1)
        jacobian = softmax_jacobian(weights)
        self.bars.set_data(weights.numpy(), np.linspace(0, 1, len(weights) + 1))
        self.image.set_data(jacobian.numpy())
        self.size.set_text(f"Jacobian, size {float(jacobian.norm()) / len(weights) ** 0.5:.2g}")
        for name, line in self.lines.items():
            line.set_data(table[self.x], table[name])
        for dot, size in zip(self.dots, gradients_of(head).tolist(), strict=True):
            dot.set_data([at], [size])


def plot_heads(shown: Sequence[tuple[str, Head, pd.DataFrame, float]], x: str) -> Figure:
    """The three panels of each of ``shown``, one row each: title, and what :meth:`HeadView.show` takes."""
    figure, axes = plt.subplots(len(shown), 3, figsize=(PLOT_WIDTH, 1.95 * len(shown) + 0.4), squeeze=False)
    for row, (title, *head) in zip(axes, shown, strict=True):
        HeadView(row, x).show(*head)
        row[0].set_title(title, fontsize=8)
    for axis in axes[:-1].flat:
        axis.set_xlabel("")
    figure.legend(*axes[0, 2].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def plot_stds(head: Head, table: pd.DataFrame, stds: Sequence[float]) -> Figure:
    """The head at each of ``stds``, standard deviations of its logits; ``table``: its ``against_std``."""
    return plot_heads([(f"spread {size:.3g}", with_std(head, size), table, size) for size in stds], "spread")


def plot_settings(settings: Sequence[Setting]) -> tuple[Figure, pd.DataFrame]:
    """The head at each of ``settings``, and the gradients that are drawn."""
    shown = {setting: (head_of(setting), against_temperature(head_of(setting))) for setting in settings}
    figure = plot_heads([(setting.words.replace(", sim", ",\nsim"), head, table, setting.temperature)
                         for setting, (head, table) in shown.items()], "temperature")  # fmt: skip
    tables = [table.assign(similarity=setting.similarity, keys=setting.keys, shown=setting.words)
              for setting, (_, table) in shown.items()]  # fmt: skip
    return figure, pd.concat(tables, ignore_index=True)


def std_knob(head: Head, table: pd.DataFrame) -> ipywidgets.VBox | None:
    """The three panels with a slider for the logits' standard deviation; no widget in a run that nobody watches."""
    if headless():
        print("A slider for the spread stands here if somebody looks on.")
        return None
    figure, view = _view("spread")
    knob = ipywidgets.FloatLogSlider(value=1.0, min=-2, max=2, step=0.05, description="spread")
    return knobs_above(figure, view.moving, [knob], lambda size: view.show(with_std(head, size), table, size))


def setting_knobs() -> ipywidgets.VBox | None:
    """The three panels with a slider for each part of a setting; None in a run that nobody watches."""
    if headless():
        print("Three sliders stand here if somebody looks on.")
        return None
    figure, view = _view("temperature")

    def show(temperature: float, similarity: float, keys: int) -> None:
        temperature = float(np.clip(temperature, TEMPERATURES[0], TEMPERATURES[-1]))  # a slider's end errs by rounding
        head = head_of(Setting(temperature, similarity, keys))
        view.show(head, against_temperature(head), temperature)

    style = {"style": {"description_width": "7em"}, "layout": {"width": "30em"}}
    knobs = [
        ipywidgets.FloatLogSlider(1.0, min=-2, max=2, step=0.05, description="temperature", **style),
        ipywidgets.FloatSlider(0.0, min=0, max=1, step=0.02, description="key similarity", **style),
        ipywidgets.IntSlider(8, min=2, max=MOST_KEYS, description="tokens", **style),
    ]
    return knobs_above(figure, view.moving, knobs, show)


def _view(x: str) -> tuple[Figure, HeadView]:
    figure = Figure(figsize=(PLOT_WIDTH, 2.6), layout="constrained")
    view = HeadView(figure.subplots(1, 3), x)
    figure.legend(*view.axes[2].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure, view
