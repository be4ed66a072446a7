"""One attention head at every sharpness: what the Jacobian of its softmax lets through to W_Q and W_K.

A head on random tokens, its W_Q and W_K small or large, so that its logits have any spread that one asks for; a random
gradient arrives at what it says. The picture has three parts: the weights p of one row, its Jacobian diag(p) - p p^T,
and what a typical row gives to the gradients of W_Q, W_K and W_V, against the spread. It comes with a slider for
whoever looks on, and as panels at a few spreads for the printed page and for runs that nobody watches.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from eureka_lib.attention.registry import colour_of
from eureka_lib.plots.gradient_figures import MATRIX_STYLE
from eureka_lib.plots.logit_figures import softmax_jacobian, spread
from eureka_lib.plots.style import DERIVED, PLOT_WIDTH
from eureka_lib.progress import headless

SPREADS = np.logspace(-2, 2, 41)  # of the scaled logits, for the curves and the slider
LOWEST = 1e-6  # where the axis of the gradients ends: of a one-hot row nothing comes back


@dataclass(frozen=True)
class Head:
    """A head of width C on B samples of N random tokens, in float64.

    What queries and keys read of a token, and what values read of it, may be two things.
    """

    tokens: Tensor  # (B, N, C): what queries and keys are made of
    contents: Tensor  # (B, N, C): what values are made of
    matrices: Tensor  # (3, C, C): W_Q, W_K, W_V
    pull: Tensor  # (B, N, C): the gradient that arrives at what the head says
    temperature: float = 1.0  # in multiples of the usual one

    @property
    def scale(self) -> Tensor:
        """s = 1/sqrt(C), over the temperature."""
        return torch.tensor(self.tokens.shape[-1] ** -0.5 / self.temperature, dtype=torch.float64)


def random_head(keys: int, seed: int, width: int = 16, samples: int = 64) -> Head:
    """A head on Gaussian tokens with Gaussian weights and gradients; W_Q and W_K give scaled logits of RMS spread 1.

    Values read the same of a token as queries and keys do.
    """
    generator = torch.Generator().manual_seed(seed)
    tokens, matrices, pull = (torch.randn(*shape, width, generator=generator, dtype=torch.float64)
                              for shape in ((samples, keys), (3, width), (samples, keys)))  # fmt: skip
    head = Head(tokens, tokens, matrices * width**-0.5, pull)
    size = spread(logits_of(head)).square().mean().sqrt()
    return with_spread(head, float(1 / size))


def with_spread(head: Head, factor: float) -> Head:
    """The head with W_Q and W_K each multiplied by the root of ``factor``: the spread of the logits by ``factor``."""
    factors = torch.tensor([factor**0.5, factor**0.5, 1.0], dtype=torch.float64)
    return replace(head, matrices=head.matrices * factors[:, None, None])


def logits_of(head: Head) -> Tensor:
    """Scaled logits s q·k, (B, N, N)."""
    q, k = (head.tokens @ matrix.T for matrix in head.matrices[:2])
    return head.scale * q @ k.transpose(-2, -1)


def gradients_of(head: Head) -> Tensor:
    """What the median row gives to W_Q, W_K and W_V, (3,): mean absolute gradients of the loss <pull, p v> of one row.

    With a_j = <pull, v_j>, the gradient at weight j, the logits receive g = s (diag(p) - p p^T) a. From there on it is
    matrix times outer product: g k x^T for W_Q, q (g x)^T for W_K, and past the Jacobian pull (p y)^T for W_V, where x
    is what queries and keys are made of, and y what values are made of.
    """
    x, y, (w_q, w_k, w_v) = head.tokens, head.contents, head.matrices
    q, k, v = x @ w_q.T, x @ w_k.T, y @ w_v.T
    p, a = torch.softmax(logits_of(head), -1), head.pull @ v.transpose(-2, -1)  # both (B, N, N)
    g = head.scale * p * (a - (p * a).sum(-1, keepdim=True))
    outer_products = ((g @ k, x), (q, g @ x), (head.pull, p @ y))  # mean of |u w^T|: mean of |u| times mean of |w|
    sizes = [left.abs().mean(-1) * right.abs().mean(-1) for left, right in outer_products]
    return torch.stack([size.flatten().median() for size in sizes])


def typical_row(head: Head) -> Tensor:
    """The scaled logits (N,) of the row whose spread is closest to the root-mean-square one."""
    rows = logits_of(head).flatten(0, 1)
    sizes = spread(rows)
    return rows[(sizes - sizes.square().mean().sqrt()).abs().argmin()]


def curve(head: Head) -> pd.DataFrame:
    """:func:`gradients_of` the head at each of ``SPREADS``: columns W_Q, W_K, W_V, spread."""
    sizes = torch.stack([gradients_of(with_spread(head, float(sigma))) for sigma in SPREADS])
    return pd.DataFrame(sizes.numpy(), columns=list(MATRIX_STYLE)).assign(spread=SPREADS)


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
