"""In-context regression (Garg et al. 2022): learn a linear function from the examples in a prompt, in one forward pass.

A prompt is x_1, f(x_1), x_2, f(x_2), ... with f(x) = w·x; x and w are drawn from N(0, I_d). At each x_i a network
predicts f(x_i) from the i - 1 examples before it. Ignoring them, the best answer is 0: the *plateau*. Using them, it is
that of least squares.

Errors are mean squared errors over the variance of f(x), which is d, so that the zero predictor has 1. With n examples
least squares has 1 - n/d, and 0 from d examples on: there is no noise. On test prompts the variance is measured.

A baseline is a pure function of whole prompts, x (B, P, d) and y (B, P), to predictions (B, P), the i-th from the
examples before it alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eureka_lib.tasks.protocol import EVALUATION_CHUNK, Loss, Pair, evaluation_generator
from eureka_lib.validation import check_real, check_whole

RIDGE_PENALTY = 0.5  # for comparison: without noise the best is 0, which is least squares
NEIGHBOURS = 3  # as in the paper


@dataclass(frozen=True)
class InContextConfig:
    """Size of the prompts; the defaults are the paper's."""

    name: str = "in_context"
    dimensions: int = 20  # of x, d
    points: int = 41  # pairs (x, f(x)) in a prompt, P; the last one has P - 1 examples before it

    def __post_init__(self):
        check_whole("dimensions", self.dimensions, 1)
        check_whole("points", self.points, 1)


class InContextTask:
    """Endless random prompts, each with its own w."""

    config_class = InContextConfig
    plateau_loss = 1.0  # derived error of the zero predictor

    def __init__(self, config: InContextConfig, device: torch.device | str = "cpu"):
        self.config = config
        self._device = device

    @classmethod
    def checksums(cls, config: InContextConfig) -> dict[str, str]:
        """None: the data are synthetic."""
        return {}

    @property
    def floor_loss(self) -> float:
        """Derived error of least squares, averaged over the points of a prompt."""
        return float(least_squares_error(torch.arange(self.config.points), self.config.dimensions).mean())

    def sample(self, generator: torch.Generator, n: int) -> tuple[Tensor, Tensor]:
        """``n`` prompts: x (n, P, d) and y = f(x) (n, P)."""
        check_whole("n", n)
        d, points, where = self.config.dimensions, self.config.points, generator.device
        x = torch.randn(n, points, d, generator=generator, device=where)
        w = torch.randn(n, d, 1, generator=generator, device=where)
        return x, (x @ w)[..., 0]

    def pairs(self, generator: torch.Generator, batch_size: int) -> Iterator[Pair]:
        """Endless training batches: tokens (B, 2P, d) as in :func:`tokens`, and y (B, P)."""
        while True:
            x, y = self.sample(generator, batch_size)
            yield tokens(x, y), y

    def loss(self, label_smoothing: float) -> Loss:
        """Mean squared error over d. Raises ValueError for a ``label_smoothing``: there are no labels to smooth."""
        check_real("label_smoothing of a regression", label_smoothing, 0, 0)
        return lambda predictions, y: (predictions - y).square().mean() / self.config.dimensions

    def test_set(self, n: int) -> list[Pair]:
        """``n`` test prompts in large batches, the same ones at every call."""
        x, y = self.sample(evaluation_generator(self._device), n)
        parts = zip(x.split(EVALUATION_CHUNK), y.split(EVALUATION_CHUNK), strict=True)
        return [(tokens(x_part, y_part), y_part) for x_part, y_part in parts]

    def errors(self, model: nn.Module, test_set: list[Pair]) -> Tensor:
        """Error (P,) of ``model`` by the number of examples: 0, 1, ... P - 1."""
        predictions = torch.cat([model(inputs) for inputs, _ in test_set])
        return relative_errors(predictions, torch.cat([y for _, y in test_set]))

    def evaluate(self, model: nn.Module, test_set: list[Pair], loss: Loss) -> dict[str, float]:
        """ "test_loss", the mean error over all points, and "last_error", that at the last one."""
        errors = self.errors(model, test_set)
        return {"test_loss": errors.mean().item(), "last_error": errors[-1].item()}


def tokens(x: Tensor, y: Tensor) -> Tensor:
    """The network's input tokens (B, 2P, d): x_1, y_1, x_2, y_2, ..., each y padded with zeros (Garg et al.)."""
    padded = nn.functional.pad(y[..., None], (0, x.shape[-1] - 1))
    return torch.stack([x, padded], dim=2).flatten(1, 2)


def relative_errors(predictions: Tensor, y: Tensor) -> Tensor:
    """Mean squared errors at each point over the mean of y squared there: two of (B, P) to (P,)."""
    return (predictions - y).square().mean(dim=0) / y.square().mean(dim=0)


# ---- baselines and their derived errors


def zero(x: Tensor, y: Tensor) -> Tensor:
    """Always 0, the best prediction without the examples."""
    return torch.zeros_like(y)


def least_squares(x: Tensor, y: Tensor) -> Tensor:
    """The shortest w that fits all examples: optimal for w from N(0, I) without noise."""
    return _by_examples(x, y, lambda seen, values: torch.linalg.pinv(seen) @ values)


def ridge(x: Tensor, y: Tensor, penalty: float = RIDGE_PENALTY) -> Tensor:
    """Ridge regression, w = (X'X + penalty I)^-1 X'y: optimal for noise of variance ``penalty``."""
    check_real("penalty", penalty, 1e-12)

    def fit(seen: Tensor, values: Tensor) -> Tensor:
        gram = seen.mT @ seen + penalty * torch.eye(seen.shape[-1], dtype=seen.dtype, device=seen.device)
        return torch.linalg.solve(gram, seen.mT @ values)

    return _by_examples(x, y, fit)


def averaging(x: Tensor, y: Tensor) -> Tensor:
    """w = mean of y_j x_j: unbiased, since E[x x'] = I."""
    return _by_examples(x, y, lambda seen, values: seen.mT @ values / seen.shape[1])


def nearest_neighbours(x: Tensor, y: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Mean of the y of the ``k`` examples whose x is nearest, or of all while there are no more; 0 without any."""
    check_whole("k", k, 1)
    predictions = torch.zeros_like(y)
    for n in range(1, y.shape[1]):
        distances = (x[:, :n] - x[:, n : n + 1]).square().sum(dim=-1)  # (B, n)
        nearest = distances.topk(min(k, n), largest=False).indices
        predictions[:, n] = y.gather(1, nearest).mean(dim=1)
    return predictions


BASELINES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "zero predictor": zero,
    "least squares": least_squares,
    "ridge": ridge,
    "nearest neighbours": nearest_neighbours,
    "averaging": averaging,
}


def _by_examples(x: Tensor, y: Tensor, fit: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Predictions x_n · w for every n, w = ``fit``(x (B, n, d), y (B, n, 1)) of the examples before it; 0 at the first.

    In float64: few examples can be nearly collinear.
    """
    wide_x, wide_y, predictions = x.double(), y.double()[..., None], torch.zeros_like(y)
    for n in range(1, y.shape[1]):
        w = fit(wide_x[:, :n], wide_y[:, :n])  # (B, d, 1)
        predictions[:, n] = (wide_x[:, n : n + 1] @ w)[:, 0, 0]
    return predictions


def least_squares_error(examples: Tensor, dimensions: int) -> Tensor:
    """Derived error of least squares by the number of ``examples``: 1 - n/d, and 0 from d on.

    The examples span a random subspace; the part of w outside it, a share of 1 - n/d of its square, is unknown.
    """
    return (1 - examples / dimensions).clamp_min(0)


def averaging_error(examples: Tensor, dimensions: int) -> Tensor:
    """Derived error of averaging by the number of ``examples``: (d + 1)/n, and 1 without any (Gaussian moments)."""
    return torch.where(examples > 0, (dimensions + 1) / examples, 1.0)
