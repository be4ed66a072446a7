"""Rows of attention logits in numbers: what each normaliser makes of their standard deviation.

That of a row is sigma, the population standard deviation of its unscaled logits q·k over the keys; the tables call it
``spread``. It decides how even the weights are, and how much gradient comes back through them to W_Q and W_K. All is
computed from any function of a row's logits, or from a model at its initial weights.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from eureka_lib.analysis.record import normalised_entropy, record
from eureka_lib.attention.normalisers import softmax
from eureka_lib.attention.registry import METHODS, short_label_of

WeightsOf = Callable[[Tensor], Tensor]  # unscaled logits (..., K) -> weights (..., K)
BAND = (0.05, 0.5, 0.95)  # quantiles: low end, line, high end
DIVISORS = {  # what a row of logits of standard deviation sigma is divided by, the effective temperature
    "softmax": lambda sigma, scale: np.full_like(sigma, 1 / scale),
    "norm_softmax": lambda sigma, scale: np.minimum(sigma, 1 / scale),
    "norm_softmax_var": lambda sigma, scale: np.minimum(sigma**2, 1 / scale),
}


def methods(scale: float, sharp: float) -> dict[str, WeightsOf]:
    """The paper's normalisers at ``scale``, and softmax at the scale ``sharp`` where Heat Treatment starts."""
    at = partial(torch.tensor, dtype=torch.float64)
    ours = {name: partial(METHODS[name].normaliser, scale=at(scale)) for name in DIVISORS}
    return ours | {"heat_treatment": partial(softmax, scale=at(sharp))}


def label_of(method: str) -> str:
    """A method's name where no temperature moves: Heat Treatment is the sharp softmax that it starts with."""
    return "sharp softmax" if method == "heat_treatment" else short_label_of(method)


def random_rows(n: int, keys: int, generator: torch.Generator) -> Tensor:
    """``n`` rows of Gaussian logits (n, keys), float64, each of mean 0 and standard deviation 1."""
    rows = torch.randn(n, keys, generator=generator, dtype=torch.float64)
    return (rows - rows.mean(-1, keepdim=True)) / rows.std(-1, correction=0, keepdim=True)


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


def crossovers(scale: float) -> dict[str, float]:
    """The sigma from which on each NormSoftmax is the plain softmax: sigma = 1/s, and sigma^2 = 1/s."""
    return {"norm_softmax": 1 / scale, "norm_softmax_var": scale**-0.5}


def row_table(rows_of: Mapping[str, WeightsOf], row: Tensor, stds: Sequence[float]) -> pd.DataFrame:
    """The weights of ``row``, whose sigma is 1, times each of ``stds``: one line per method, spread and key."""
    return pd.concat([
        pd.DataFrame({"method": method, "spread": size, "key": range(1, len(row) + 1),
                      "weight": weights_of(size * row)})
        for method, weights_of in rows_of.items() for size in stds
    ], ignore_index=True)  # fmt: skip


def divisor_table(stds: Sequence[float], scale: float) -> pd.DataFrame:
    """The effective temperature of each normaliser against sigma, and the sigma of the logits divided by it."""
    sigma = np.asarray(stds, dtype=float)
    return pd.concat([
        pd.DataFrame({"method": method, "spread": sigma, "divisor": divisor(sigma, scale),
                      "spread_after": sigma / divisor(sigma, scale)})
        for method, divisor in DIVISORS.items()
    ], ignore_index=True)  # fmt: skip


def std_table(rows_of: Mapping[str, WeightsOf], unit_rows: Tensor, stds: Sequence[float]) -> pd.DataFrame:
    """Normalised entropy and Jacobian size of ``unit_rows`` (n, K) times each of ``stds``: quantiles over rows.

    Columns keys, method, spread, and for each of ``entropy`` and ``jacobian`` its ``_low``, ``_median``, ``_high``.
    """
    logits = torch.tensor(stds, dtype=torch.float64)[:, None, None] * unit_rows
    tables = []
    for method, weights_of in rows_of.items():
        measured = {"entropy": normalised_entropy(weights_of(logits)), "jacobian": jacobian_size(weights_of, logits)}
        columns = {name: values for kind, sizes in measured.items() for name, values in _band(kind, sizes).items()}
        tables.append(pd.DataFrame({"keys": unit_rows.shape[-1], "method": method, "spread": stds, **columns}))
    return pd.concat(tables, ignore_index=True)


def gain_at(table: pd.DataFrame, spread: float) -> pd.Series:
    """How many times softmax's median Jacobian NormSoftmax's has at about that spread, by the number of keys."""
    away = np.log(table["spread"] / spread).abs()
    sizes = table[away == away.min()].pivot(index="keys", columns="method", values="jacobian_median")
    return sizes["norm_softmax"] / sizes["softmax"]


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
    """The sigma of a model's rows, and normalised entropy after each method: quantiles over samples and heads.

    ``logits`` (L, B, H, Q, K). One line per layer (from 1) and method; columns as in :func:`std_table`, with
    ``spread_low``, ``spread_median``, ``spread_high``.
    """
    lines = []
    for layer, rows in enumerate(logits.flatten(1, -2), start=1):
        sigma = _band("spread", rows.var(-1, correction=0).sqrt()[None])
        for method, weights_of in rows_of.items():
            entropy = _band("entropy", normalised_entropy(weights_of(rows))[None])
            lines.append(pd.DataFrame({"layer": layer, "method": method, **sigma, **entropy}))
    return pd.concat(lines, ignore_index=True)


def _band(kind: str, values: Tensor) -> dict[str, np.ndarray]:
    """Low, median and high over the last axis."""
    low, median, high = torch.quantile(values.double(), torch.tensor(BAND, dtype=torch.float64), dim=-1).numpy()
    return {f"{kind}_low": low, f"{kind}_median": median, f"{kind}_high": high}
