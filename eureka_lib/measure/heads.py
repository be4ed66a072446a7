"""One attention head on random tokens: what the Jacobian of its softmax lets through to W_Q and W_K.

Its W_Q and W_K may be small or large, so that its logits have any standard deviation that one asks for; its temperature
may be any, and its keys more or less alike. A random gradient arrives at what it says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from eureka_lib.analysis.gradients import MATRICES
from eureka_lib.validation import check_real, check_whole

STDS = np.logspace(-2, 2, 41)  # standard deviations of the scaled logits
TEMPERATURES = np.logspace(-2, 2, 25)  # in multiples of the usual one
MOST_KEYS = 64
ROWS = 256  # of attention, over which a typical one is found: few enough for a knob to answer at once


@dataclass(frozen=True)
class Head:
    """A head of width C on B samples of N random tokens, in float64.

    What queries and keys read of a token, and what values read of it, may be two things.
    """

    tokens: Tensor  # (B, N, C): what queries and keys are made of
    contents: Tensor  # (B, N, C): what values are made of
    matrices: Tensor  # (3, C, C): W_Q, W_K, W_V
    upstream: Tensor  # (B, N, C): the gradient that arrives at what the head says
    temperature: float = 1.0  # in multiples of the usual one

    @property
    def scale(self) -> Tensor:
        """s = 1/sqrt(C), over the temperature."""
        return torch.tensor(self.tokens.shape[-1] ** -0.5 / self.temperature, dtype=torch.float64)


def random_head(keys: int, seed: int, width: int = 16, samples: int = 64) -> Head:
    """A head on Gaussian tokens with Gaussian weights and gradients.

    The standard deviations of its rows of scaled logits have a root mean square of 1.
    Values read the same of a token as queries and keys do.
    """
    generator = torch.Generator().manual_seed(seed)
    tokens, matrices, upstream = (torch.randn(*shape, width, generator=generator, dtype=torch.float64)
                              for shape in ((samples, keys), (3, width), (samples, keys)))  # fmt: skip
    head = Head(tokens, tokens, matrices * width**-0.5, upstream)
    size = logits_of(head).std(-1, correction=0).square().mean().sqrt()
    return with_std(head, float(1 / size))


def with_std(head: Head, factor: float) -> Head:
    """The head with W_Q and W_K each multiplied by the root of ``factor``, the logits by ``factor``."""
    factors = torch.tensor([factor**0.5, factor**0.5, 1.0], dtype=torch.float64)
    return replace(head, matrices=head.matrices * factors[:, None, None])


def logits_of(head: Head) -> Tensor:
    """Scaled logits s q·k, (B, N, N)."""
    q, k = (head.tokens @ matrix.T for matrix in head.matrices[:2])
    return head.scale * q @ k.transpose(-2, -1)


def gradients_of(head: Head) -> Tensor:
    """What the median row gives to W_Q, W_K and W_V, (3,): mean absolute gradients of the loss <u, p v> of one row.

    With the upstream gradient u and a_j = <u, v_j>, the gradient at weight j, the logits receive
    g = s (diag(p) - p p^T) a. From there on it is matrix times outer product: g k x^T for W_Q, q (g x)^T for W_K, and
    past the Jacobian u (p y)^T for W_V, where x is what queries and keys are made of, and y what values are made of.
    """
    x, y, (w_q, w_k, w_v) = head.tokens, head.contents, head.matrices
    q, k, v = x @ w_q.T, x @ w_k.T, y @ w_v.T
    p, a = torch.softmax(logits_of(head), -1), head.upstream @ v.transpose(-2, -1)  # both (B, N, N)
    g = head.scale * p * (a - (p * a).sum(-1, keepdim=True))
    outer_products = ((g @ k, x), (q, g @ x), (head.upstream, p @ y))  # mean of |u w^T|: mean of |u| times mean of |w|
    sizes = [left.abs().mean(-1) * right.abs().mean(-1) for left, right in outer_products]
    return torch.stack([size.flatten().median() for size in sizes])


def typical_row(head: Head) -> Tensor:
    """The scaled logits (N,) of the row whose standard deviation is closest to the root mean square of all."""
    rows = logits_of(head).flatten(0, 1)
    sizes = rows.std(-1, correction=0)
    return rows[(sizes - sizes.square().mean().sqrt()).abs().argmin()]


@dataclass(frozen=True)
class Setting:
    """Where the three knobs stand: the temperature in multiples of the usual one, how alike the keys are, their number.

    ``similarity`` is the expected cosine between two keys. Raises ValueError for what is out of range.
    """

    temperature: float = 1.0
    similarity: float = 0.0
    keys: int = 8

    def __post_init__(self):
        check_real("temperature", self.temperature, float(TEMPERATURES[0]), float(TEMPERATURES[-1]))
        check_real("similarity", self.similarity, 0, 1)
        if check_whole("keys", self.keys, 2) > MOST_KEYS:
            raise ValueError(f"keys must be at most {MOST_KEYS}, got {self.keys}")

    @property
    def words(self) -> str:
        """The setting as a title."""
        return f"temperature {self.temperature:.3g}, similarity {self.similarity:.3g}, {self.keys} keys"


def head_of(setting: Setting, seed: int = 0) -> Head:
    """A random head at a setting; what its values are made of is independent of its keys.

    At similarity rho queries and keys read sqrt(rho) c + sqrt(1 - rho) x_j of token j, c common to a sample's tokens.
    """
    samples = ROWS // setting.keys
    head = random_head(setting.keys, seed, samples=samples)
    contents = random_head(setting.keys, seed + 1, samples=samples).tokens
    common = head.tokens[:, :1].roll(1, dims=0)  # the first token of another sample: as random as any
    rho = setting.similarity
    tokens = rho**0.5 * common + (1 - rho) ** 0.5 * head.tokens
    return replace(head, tokens=tokens, contents=contents, temperature=setting.temperature)


def against_std(head: Head) -> pd.DataFrame:
    """:func:`gradients_of` the head at each of ``STDS``: columns W_Q, W_K, W_V, and ``spread``, as tables call it."""
    return _gradients([with_std(head, float(size)) for size in STDS]).assign(spread=STDS)


def against_temperature(head: Head) -> pd.DataFrame:
    """:func:`gradients_of` the head at each of ``TEMPERATURES``, and its limit.

    Columns W_Q, W_K, W_V, temperature; "even" is what W_Q gets from even attention, whose Jacobian no longer changes:
    it falls as 1 over the temperature.
    """
    hot = 1e6
    even = float(gradients_of(replace(head, temperature=hot))[0]) * hot / TEMPERATURES
    heads = [replace(head, temperature=float(tau)) for tau in TEMPERATURES]
    return _gradients(heads).assign(temperature=TEMPERATURES, even=even)


def _gradients(heads: Sequence[Head]) -> pd.DataFrame:
    return pd.DataFrame(torch.stack(list(map(gradients_of, heads))).numpy(), columns=MATRICES)
