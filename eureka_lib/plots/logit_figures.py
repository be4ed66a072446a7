"""One row of attention logits, in numbers and pictures: what each normaliser makes of its spread.

The spread sigma of a row is the population standard deviation of its unscaled logits q·k over the keys. It decides how
even the weights are, and how much gradient comes back through them to W_Q and W_K. Here are the quantities that the
notebook on NormSoftmax plots: computed from any function of a row's logits, or from a model at its initial weights.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from eureka_lib.analysis.gradients import weight_gradients
from eureka_lib.analysis.record import normalised_entropy, record
from eureka_lib.attention.normalisers import softmax
from eureka_lib.attention.registry import METHODS, colour_of, dash_of
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.plots.style import DERIVED, PLOT_WIDTH
from eureka_lib.tasks.two_step import Batch, TwoStepTask

WeightsOf = Callable[[Tensor], Tensor]  # unscaled logits (..., K) -> weights (..., K)
LABELS = {"softmax": "softmax", "norm_softmax": "NormSoftmax", "norm_softmax_var": "NormSoftmax (variance)",
          "heat_treatment": "sharp softmax"}  # fmt: skip
MARKERS = {"softmax": "o", "norm_softmax": "s", "norm_softmax_var": "^", "heat_treatment": "D"}
MATRICES = ("W_Q", "W_K", "W_V")
BAND = (0.05, 0.5, 0.95)  # quantiles: low end, line, high end
DIVISORS = {  # what a row of logits of spread sigma is divided by, the effective temperature
    "softmax": lambda sigma, scale: np.full_like(sigma, 1 / scale),
    "norm_softmax": lambda sigma, scale: np.minimum(sigma, 1 / scale),
    "norm_softmax_var": lambda sigma, scale: np.minimum(sigma**2, 1 / scale),
}


def methods(scale: float, sharp: float) -> dict[str, WeightsOf]:
    """The paper's normalisers at ``scale``, and softmax at the scale ``sharp`` where Heat Treatment starts."""
    at = partial(torch.tensor, dtype=torch.float64)
    ours = {name: partial(METHODS[name].normaliser, scale=at(scale)) for name in DIVISORS}
    return ours | {"heat_treatment": partial(softmax, scale=at(sharp))}


def spread(logits: Tensor) -> Tensor:
    """sigma: population standard deviation over the keys, (..., K) -> (...)."""
    return logits.var(dim=-1, correction=0).sqrt()


def random_rows(n: int, keys: int, generator: torch.Generator) -> Tensor:
    """``n`` rows of Gaussian logits (n, keys), float64, each of mean 0 and of spread exactly 1."""
    rows = torch.randn(n, keys, generator=generator, dtype=torch.float64)
    return (rows - rows.mean(-1, keepdim=True)) / spread(rows)[:, None]


def softmax_jacobian(weights: Tensor) -> Tensor:
    """diag(p) - p p^T, (..., K) -> (..., K, K): how softmax weights p answer to the numbers under the exponential."""
    return torch.diag_embed(weights) - weights[..., :, None] * weights[..., None, :]


def jacobian_size(weights_of: WeightsOf, logits: Tensor) -> Tensor:
    """Root-mean-square gradient at a logit if every weight receives an independent gradient of size 1.

    That is the Frobenius norm of a row's Jacobian d weights / d logits over sqrt(K), by autograd: (..., K) -> (...).
    Uniform softmax rows have s sqrt(K - 1) / K^(3/2), about s / K.
    """
    logits = logits.detach().requires_grad_()
    weights, total = weights_of(logits), torch.zeros(logits.shape[:-1], dtype=logits.dtype)
    for key in range(logits.shape[-1]):
        (gradient,) = torch.autograd.grad(weights[..., key].sum(), logits, retain_graph=True)
        total += gradient.square().sum(-1)
    return (total / logits.shape[-1]).sqrt()


def row_table(rows_of: Mapping[str, WeightsOf], row: Tensor, spreads: Sequence[float]) -> pd.DataFrame:
    """The weights of one ``row`` of unit spread, stretched to each of ``spreads``: one line per method, spread, key."""
    return pd.concat([
        pd.DataFrame({"method": method, "spread": size, "key": range(1, len(row) + 1),
                      "weight": weights_of(size * row)})
        for method, weights_of in rows_of.items() for size in spreads
    ], ignore_index=True)  # fmt: skip


def divisor_table(spreads: Sequence[float], scale: float) -> pd.DataFrame:
    """The effective temperature of each normaliser against the spread, and the spread of the logits divided by it."""
    sigma = np.asarray(spreads, dtype=float)
    return pd.concat([
        pd.DataFrame({"method": method, "spread": sigma, "divisor": divisor(sigma, scale),
                      "spread_after": sigma / divisor(sigma, scale)})
        for method, divisor in DIVISORS.items()
    ], ignore_index=True)  # fmt: skip


def spread_table(rows_of: Mapping[str, WeightsOf], unit_rows: Tensor, spreads: Sequence[float]) -> pd.DataFrame:
    """Normalised entropy and Jacobian size of ``unit_rows`` (n, K) stretched to each spread: quantiles over the rows.

    Columns keys, method, spread, and for each of ``entropy`` and ``jacobian`` its ``_low``, ``_median``, ``_high``.
    """
    logits = torch.tensor(spreads, dtype=torch.float64)[:, None, None] * unit_rows
    tables = []
    for method, weights_of in rows_of.items():
        measured = {"entropy": normalised_entropy(weights_of(logits)), "jacobian": jacobian_size(weights_of, logits)}
        columns = {name: values for kind, sizes in measured.items() for name, values in _band(kind, sizes).items()}
        tables.append(pd.DataFrame({"keys": unit_rows.shape[-1], "method": method, "spread": spreads, **columns}))
    return pd.concat(tables, ignore_index=True)


def attention_logits(model: nn.Module, images: Tensor) -> Tensor:
    """The unscaled logits q·k of every layer, (L, B, H, Q, K), from a hook on the projections."""
    layers = model.attention_layers()
    with record({str(i): layer.qkv for i, layer in enumerate(layers)}) as trace, torch.no_grad():
        model(images)
    logits = []
    for layer, made in zip(layers, trace.values(), strict=True):
        q, k, _ = layer.split_features(made)
        logits.append(q @ k.transpose(-2, -1))
    return torch.stack(logits)


def layer_table(rows_of: Mapping[str, WeightsOf], logits: Tensor) -> pd.DataFrame:
    """Spread of a model's rows, and normalised entropy after each method: quantiles over a layer's samples and heads.

    ``logits`` (L, B, H, Q, K). One line per layer (from 1) and method; columns as in :func:`spread_table`, with
    ``spread_low``, ``spread_median``, ``spread_high``.
    """
    lines = []
    for layer, rows in enumerate(logits.flatten(1, -2), start=1):
        sigma = _band("spread", spread(rows)[None])
        for method, weights_of in rows_of.items():
            entropy = _band("entropy", normalised_entropy(weights_of(rows))[None])
            lines.append(pd.DataFrame({"layer": layer, "method": method, **sigma, **entropy}))
    return pd.concat(lines, ignore_index=True)


def _band(kind: str, values: Tensor) -> dict[str, np.ndarray]:
    """Low, median and high over the last axis."""
    low, median, high = torch.quantile(values.double(), torch.tensor(BAND, dtype=torch.float64), dim=-1).numpy()
    return {f"{kind}_low": low, f"{kind}_median": median, f"{kind}_high": high}


def gradient_sizes(model: nn.Module, batch: Batch, label_smoothing: float) -> Tensor:
    """Mean absolute gradient (nats) of W_Q, W_K and W_V for one batch, (L, 3); the model is left in evaluation mode."""
    model.eval()  # without stochastic depth
    model.zero_grad()
    cross_entropy(model(batch.images), batch.labels, label_smoothing=label_smoothing).backward()
    layers = model.attention_layers()
    return weight_gradients(layers, [layer.qkv.weight.grad for layer in layers])


def gradient_table(
    experiments: Mapping[str, Experiment], seeds: Sequence[int], task: TwoStepTask, batch: Batch
) -> pd.DataFrame:
    """:func:`gradient_sizes` before training, one line per method, seed, layer (from 1) and matrix.

    A seed gives every experiment the same initial weights as long as they differ in their attention only.
    """
    lines = []
    for method, experiment in experiments.items():
        for seed in seeds:
            model = experiment.vary(seed=seed).build_model(task)
            sizes = gradient_sizes(model, batch, experiment.training.label_smoothing)
            for layer, values in enumerate(sizes.tolist(), start=1):
                lines += [(method, seed, layer, *pair) for pair in zip(MATRICES, values, strict=True)]
    return pd.DataFrame(lines, columns=["method", "seed", "layer", "matrix", "gradient"])


def gradient_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Per method and layer: the gradient of W_V over that of W_Q, the median over the seeds of a gradient table."""
    wide = table.pivot(index=["method", "layer", "seed"], columns="matrix", values="gradient")
    ratio = (wide["W_V"] / wide["W_Q"]).groupby(["method", "layer"]).median().unstack("layer")
    ratio = ratio.loc[table["method"].unique()].rename(index=LABELS, columns="layer {}".format)
    return ratio.rename_axis(index=None, columns=None).round(2)


def plot_jacobians(row: Tensor, spreads: Sequence[float], scale: float) -> Figure:
    """Softmax of one row at several spreads: above the weights, below diag(p) - p p^T and its size."""
    figure, axes = plt.subplots(2, len(spreads), figsize=(PLOT_WIDTH, 3.7), height_ratios=[1, 1.25], squeeze=False)
    names = [str(key) for key in range(1, len(row) + 1)]
    for size, above, below in zip(spreads, axes[0], axes[1], strict=True):
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


def plot_rows(axes: Sequence[Axes], table: pd.DataFrame) -> None:
    """A :func:`row_table`, one panel per spread: the weight of each key under each method."""
    for axis, (size, group) in zip(axes, table.groupby("spread"), strict=True):
        for method, one in group.groupby("method", sort=False):
            axis.plot(one["key"], one["weight"], **_line(method), marker=MARKERS.get(method, "v"), ms=5)
        axis.set(title=f"$\\sigma$ = {size:g}", xlabel="key", xticks=group["key"].unique(), ylim=(-0.03, 1.03))
    axes[0].set_ylabel("weight")
    _legend_below(axes)


def plot_divisors(axes: Sequence[Axes], table: pd.DataFrame, scale: float) -> None:
    """A :func:`divisor_table` in two panels, with the derived crossovers to plain softmax as dots."""
    for axis, column in zip(axes, ("divisor", "spread_after"), strict=True):
        for method, one in table.groupby("method", sort=False):
            axis.plot(one["spread"], one[column], **_line(method))
        axis.set(xscale="log", yscale="log", xlabel="spread $\\sigma$ of the logits")
        for method, sigma in crossovers(scale).items():
            height = {"divisor": 1 / scale, "spread_after": sigma * scale}[column]
            axis.plot(sigma, height, MARKERS[method], color=colour_of(method), mec="black", ms=7, zorder=5)
        _mark_crossovers(axis, scale)
    axes[0].set(ylabel="divided by (effective temperature)")
    axes[1].set(ylabel="spread after division")
    axes[1].axhline(1, color=DERIVED, lw=0.6, zorder=0)
    _legend_below(axes)


def crossovers(scale: float) -> dict[str, float]:
    """The spread from which on each NormSoftmax is the plain softmax: sigma = 1/s, and sigma^2 = 1/s."""
    return {"norm_softmax": 1 / scale, "norm_softmax_var": scale**-0.5}


def plot_against_spread(axes: Sequence[Axes], table: pd.DataFrame, kind: str, scale: float) -> None:
    """The column ``kind`` ("entropy" or "jacobian") of a :func:`spread_table` with its band, one panel per size."""
    for axis, (keys, group) in zip(axes, table.groupby("keys"), strict=True):
        for method, one in group.groupby("method", sort=False):
            axis.plot(one["spread"], one[f"{kind}_median"], **_line(method))
            axis.fill_between(one["spread"], one[f"{kind}_low"], one[f"{kind}_high"], color=colour_of(method),
                              alpha=0.18, lw=0)  # fmt: skip
        axis.set(xscale="log", title=f"{keys} keys", xlabel="spread $\\sigma$ of the logits")
        _mark_crossovers(axis, scale)
    if kind == "entropy":
        axes[0].set(ylabel="normalised entropy", ylim=(-0.03, 1.05))
    else:
        axes[0].set(ylabel="size of the Jacobian", yscale="log", ylim=(1e-6, 1e4))
    _legend_below(axes)


def plot_layers(axes: Sequence[Axes], table: pd.DataFrame, scale: float) -> None:
    """A :func:`layer_table` in two panels, a line per layer: where the rows lie, and what each method makes of them."""
    first = table.drop_duplicates("layer")
    _bars(axes[0], first, "spread", first["layer"], color=DERIVED, marker="o")
    for i, (method, one) in enumerate(table.groupby("method", sort=False)):
        offset = 0.18 * (i - (table["method"].nunique() - 1) / 2)
        style = {"color": colour_of(method), "marker": MARKERS.get(method, "v"), "label": LABELS.get(method, method)}
        _bars(axes[1], one, "entropy", one["layer"] + offset, **style)
    layers = first["layer"].tolist()
    axes[0].set(xscale="log", xlim=(0.01, 30), xlabel="spread $\\sigma$ of the logits", ylabel="layer")
    axes[1].set(xlim=(-0.03, 1.03), xlabel="normalised entropy of the row")
    for axis in axes:
        axis.set(yticks=layers, ylim=(max(layers) + 0.6, 0.4))  # the first layer on top
    _mark_crossovers(axes[0], scale)
    _legend_below(axes[1:])


def _bars(axis: Axes, table: pd.DataFrame, kind: str, heights: pd.Series, **style) -> None:
    """Median and band as points with horizontal bars."""
    median = table[f"{kind}_median"]
    reach = [median - table[f"{kind}_low"], table[f"{kind}_high"] - median]
    axis.errorbar(median, heights, xerr=reach, ls="none", ms=5, lw=1.4, **style)


def plot_gradients(axes: Sequence[Axes], table: pd.DataFrame) -> None:
    """A :func:`gradient_table`, one panel per matrix: a point per seed, a short line at their median."""
    names = list(table["method"].unique())
    for axis, matrix in zip(axes, MATRICES, strict=True):
        for (method, layer), one in table[table["matrix"] == matrix].groupby(["method", "layer"], sort=False):
            at = layer + 0.18 * (names.index(method) - (len(names) - 1) / 2)
            label = LABELS.get(method, method) if layer == 1 else None
            axis.plot([at] * len(one), one["gradient"], MARKERS.get(method, "v"), color=colour_of(method), ms=4,
                      alpha=0.6, mew=0, label=label)  # fmt: skip
            axis.hlines(one["gradient"].median(), at - 0.08, at + 0.08, color="black", lw=1)
        axis.set(yscale="log", title=f"${matrix}$", xlabel="layer", xticks=sorted(table["layer"].unique()))
        axis.grid(axis="y", lw=0.4)
        axis.label_outer()
    axes[0].set_ylabel("mean absolute gradient (nats)")
    _legend_below(axes)


def _line(method: str) -> dict:
    """How a method's line looks, the same in every panel."""
    return {"color": colour_of(method), "ls": dash_of(method), "lw": 1.8, "label": LABELS.get(method, method)}


def _mark_crossovers(axis: Axes, scale: float) -> None:
    """Thin lines where the NormSoftmaxes become plain softmax, named above the axes."""
    names, sides = ("1/s", "\\sqrt{1/s}"), ("left", "right")  # the two may lie close together
    for (method, sigma), name, side in zip(crossovers(scale).items(), names, sides, strict=True):
        axis.axvline(sigma, color=colour_of(method), lw=0.8, zorder=0)
        axis.annotate(f"${name}$", (sigma, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 2), ha=side,
                      textcoords="offset points", fontsize=8, color=DERIVED)  # fmt: skip


def _legend_below(axes: Sequence[Axes]) -> None:
    """One legend for all panels, under the figure."""
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), handlelength=2.6)
