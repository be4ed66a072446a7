"""The exercises of the notebooks: whether a reader's function is right, or what is off.

A check calls the answer in a few cases and compares it with what the library computes there. If they differ, it looks
among the *slips*, what a usual mistake would give, for one that explains the answer; else it shows a case. Whatever an
answer raises, the reader sees.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from eureka_lib.analysis.compare import permutation_p, restricted_times
from eureka_lib.analysis.eureka import Moment, kaplan_meier
from eureka_lib.analysis.record import normalised_entropy
from eureka_lib.attention.normalisers import masked_softmax, norm_softmax, row_variance, softmax
from eureka_lib.tasks import theory

Answer = Callable[..., Any]
RIGHT = "Right."
TO_DO = "Still to do: the function gives nothing back yet."


def plateau(answer: Answer) -> str:
    """Notebook 00: the accuracy on the plateau of K classes, and the loss there without label smoothing."""
    return _judge(answer, _plateau, [{"k": k} for k in (2, 5, 10, 100)], {
        "both targets may be of one class, and then no guess is wrong": lambda k: (1 / 2, math.log(2)),
        "the accuracy is right; but where both targets are of one class there is no doubt, and no loss":
            lambda k: (_plateau(k)[0], math.log(2)),
        "the accuracy is right; but the loss is a mean of logarithms, not the logarithm of a mean":
            lambda k: (_plateau(k)[0], -math.log(_plateau(k)[0])),
    })  # fmt: skip


def skewed_plateau(answer: Answer) -> str:
    """Notebook 02: the same where the second indicator copies the first in a share ``copied`` of the samples."""
    cases = [{"k": 10, "copied": 0.5}, {"k": 5, "copied": 0.6}, {"k": 3, "copied": 0.8}]
    return _judge(answer, lambda k, copied: _plateau(k, (1 + copied) / 2), cases, {
        "an indicator that is drawn anew is the same one by chance, too": _plateau,
        "copies make one of the targets likelier than the other": lambda k, copied: _plateau(k),
        "the accuracy is right; but both targets are not equally likely any more, and the loss knows":
            lambda k, copied: (_plateau(k, (1 + copied) / 2)[0], _plateau(k)[1]),
    })  # fmt: skip


def waiting(answer: Answer) -> str:
    """Notebook 01: the Kaplan-Meier estimate, at the last step, of the share of runs that still wait."""
    cases = [{"steps": [100, 200, 300, 400], "happened": [True, False, True, False]},
             {"steps": [50, 150, 200, 250, 600], "happened": [False, True, False, True, False]}]  # fmt: skip
    return _judge(answer, lambda steps, happened: kaplan_meier(list(map(Moment, steps, happened))).no_em[-1], cases, {
        "runs without an EM are left out, or taken for EMs; they did wait until they were cut off":
            lambda steps, happened: 0.0,
        "a run that was cut off counts as if it had waited to the end; nobody knows that":
            lambda steps, happened: 1 - np.mean(happened),
    })  # fmt: skip


def scale_for(answer: Answer) -> str:
    """Notebook 03: the scale at which the attention to a row of logits has a wanted normalised entropy."""
    row = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.5], dtype=torch.float64)
    cases = [{"logits": row, "entropy": 0.9}, {"logits": row, "entropy": 0.3}, {"logits": 10 * row, "entropy": 0.5}]
    return _judge(answer, _scale, cases, {
        "that is the temperature, one over the scale": lambda logits, entropy: 1 / _scale(logits, entropy),
        "the entropy is not in nats: it is divided by that of even weights":
            lambda logits, entropy: _scale(logits, entropy / math.log(len(logits))),
    })  # fmt: skip


def masked_norm_softmax(answer: Answer) -> str:
    """Notebook 04: NormSoftmax of a row some of whose keys are hidden."""
    row, visible = torch.tensor([0.4, -0.2, 0.1, 9.0, -0.3], dtype=torch.float64), torch.arange(5) != 3
    cases = [{"z": size * row, "scale": torch.tensor(0.25), "visible": visible} for size in (1.0, 100.0)]

    def of(variance: Tensor, z: Tensor, scale: Tensor, visible: Tensor) -> Tensor:
        return masked_softmax(z / torch.minimum(variance.sqrt(), 1 / scale), visible)

    return _judge(answer, norm_softmax, cases, {
        "hidden keys get weight": lambda z, scale, visible: norm_softmax(z, scale),
        "the spread is that of the visible keys alone":
            lambda z, scale, visible: of(row_variance(z), z, scale, visible),
        "the spread is divided by the number of keys, not by one less":
            lambda z, scale, visible: of(z[visible].var(), z, scale, visible),
        "the divisor is at most 1/s": lambda z, scale, visible: of(row_variance(z, visible), z, 0 * scale, visible),
        "that is the plain softmax; where their spread is below 1/s, divide the logits by it":
            lambda z, scale, visible: softmax(z, scale, visible),
    })  # fmt: skip


def time_ratio(answer: Answer) -> str:
    """Notebook 05: the mean EM time of a fix over softmax's, both restricted to the budget; None: no EM in it."""
    cases = [{"fix": [200, 400, None], "softmax": [600, None, 900], "budget": 1000},
             {"fix": [500, 700], "softmax": [None, None], "budget": 2000}]  # fmt: skip

    def right(fix: Sequence, softmax: Sequence, budget: int) -> float:
        means = [restricted_times([Moment(t or budget, bool(t)) for t in times]).mean() for times in (fix, softmax)]
        return means[0] / means[1]

    def of_those_seen(fix: Sequence, softmax: Sequence, budget: int) -> float:
        return right([t for t in fix if t] or [budget], [t for t in softmax if t] or [budget], budget)

    return _judge(answer, right, cases, {
        "runs without an EM are left out, which makes whoever has them look fast": of_those_seen,
        "the fix stands above, softmax below": lambda fix, softmax, budget: 1 / right(fix, softmax, budget),
    })  # fmt: skip


def paired_p(answer: Answer) -> str:
    """Notebook 06: the p-value of a paired permutation test, two-sided, of EM rates in the cells of a grid."""
    cases = [{"fix": [1.0, 0.75, 0.5, 1.0, 0.75, 0.25], "softmax": [0.5, 0.5, 0.25, 0.75, 0.75, 0.0]},
             {"fix": [0.25, 0.75, 1.0, 0.5], "softmax": [0.5, 0.0, 0.25, 0.0]}]  # fmt: skip

    def right(fix: Sequence[float], softmax: Sequence[float]) -> float:
        return permutation_p((np.subtract(fix, softmax),))

    return _judge(answer, right, cases, {
        "the cells are pairs: only the signs of their differences may be exchanged":
            lambda fix, softmax: permutation_p((np.array(fix), np.array(softmax))),
        "a mean as far below zero would have counted, too": lambda fix, softmax: right(fix, softmax) / 2,
    })  # fmt: skip


def query_gradient(answer: Answer) -> str:
    """Notebook 07: what a query gets, given the gradients a_j at its weights."""
    keys, q, a = (torch.tensor(numbers, dtype=torch.float64) for numbers in (
        [[1.0, 0.5], [0.0, -1.0], [-0.5, 2.0]], [0.3, -0.8], [1.0, 2.0, -0.5]))  # fmt: skip
    cases = [{"q": size * q, "k": keys, "a": a + 3, "scale": torch.tensor(0.5)} for size in (1.0, 5.0)]

    def right(q: Tensor, k: Tensor, a: Tensor, scale: Tensor) -> Tensor:
        q = q.clone().requires_grad_()
        return torch.autograd.grad(softmax(k @ q, scale) @ a, q)[0]

    return _judge(answer, right, cases, {
        "a is not centred: the same gradient at all weights would move the query":
            lambda q, k, a, scale: scale * softmax(k @ q, scale) * a @ k,
        "the factor s is missing": lambda q, k, a, scale: right(q, k, a, scale) / scale,
        "the weights are not even: the covariance is over what the query attends to":
            lambda q, k, a, scale: scale * (a - a.mean()) @ k / len(a),
    })  # fmt: skip


def control_labels(answer: Answer) -> str:
    """Notebook 08: labels of a probe's control task: of each type one, drawn at random as often as the real ones."""
    types = np.random.default_rng(0).integers(0, 20, (4000, 2))
    y = (types.sum(axis=1) % 5 == 0).astype(int)  # one in five
    given = answer(types, y, np.random.default_rng(1))
    if given is None or given is ...:
        return TO_DO
    labels = np.asarray(given)
    if labels.shape != y.shape:
        return f"Not yet: it should be {len(y)} labels, one for each sample; yours has shape {labels.shape}."
    known, where = np.unique(types, axis=0, return_inverse=True)
    ones = np.bincount(where.ravel(), labels) / np.bincount(where.ravel())  # of each type
    chance = y.mean() * (1 - y.mean())
    if ((ones > 0) & (ones < 1)).any():
        return "Not yet: samples of one type have different labels, so that there is nothing to learn by heart."
    if abs(labels.mean() - y.mean()) > 5 * math.sqrt(chance / len(known)):
        return f"Not yet: {labels.mean():.0%} of your labels are 1, of the real ones {y.mean():.0%}."
    if abs(np.corrcoef(labels, y)[0, 1]) > 5 / math.sqrt(len(known)):
        return "Not yet: your labels know the real ones, which the network may know as well."
    return RIGHT


def normaliser(answer: Answer) -> str:
    """An attention of one's own: weights that are a row's, sum to 1, do not mind the keys' order, pass a gradient."""
    rows = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    logits = torch.cat([size * rows for size in (0.0, 1.0, 100.0)]).requires_grad_()
    scale = torch.tensor(0.5)
    weights = answer(logits, scale)
    if weights is None or weights is ...:
        return TO_DO
    if not isinstance(weights, Tensor) or weights.shape != logits.shape:
        got = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        return (
            f"Not yet: for logits of shape {tuple(logits.shape)} the weights must be a tensor of that shape, got {got}."
        )
    (gradient,) = torch.autograd.grad(weights.square().sum(), logits, allow_unused=True) if weights.grad_fn else (None,)
    off = {
        "some weights are not numbers: try logits that are all equal, or large": not weights.isfinite().all(),
        "some weights are negative": (weights < 0).any(),
        "the rows do not sum to 1: divide by the sum over the last axis":
            not torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-3),
        "the order of the keys makes a difference":
            not torch.allclose(answer(logits.flip(-1), scale).flip(-1), weights, atol=1e-3),
        "no gradient comes back to the logits": gradient is None or not gradient.any(),
        "the gradient is not a number where all logits of a row are equal, or large":
            gradient is not None and not gradient.isfinite().all(),
        "this is softmax itself": torch.allclose(weights, softmax(logits, scale), atol=1e-3),
    }  # fmt: skip
    return next((f"Not yet: {words}." for words, is_off in off.items() if is_off), RIGHT)


def _plateau(k: int, p_first: float = 0.5) -> tuple[float, float]:
    """Accuracy, and loss in nats without label smoothing."""
    return theory.plateau_accuracy(k, p_first), theory.plateau_loss(k, 0.0, p_first)


def _scale(logits: Tensor, entropy: float) -> float:
    """Where the normalised entropy, which falls as the scale grows, is ``entropy``."""

    def too_even(log_scale: float) -> float:
        return float(normalised_entropy(softmax(logits, torch.tensor(math.exp(log_scale))))) - entropy

    return math.exp(brentq(too_even, -10, 10))


def _judge(answer: Answer, right: Answer, cases: Sequence[dict], slips: Mapping[str, Answer]) -> str:
    """RIGHT, TO_DO, or what is off: the slip that gives the same as ``answer`` in all cases, or a case that differs."""
    given = [answer(*case.values()) for case in cases]
    given = [value.detach() if isinstance(value, Tensor) else value for value in given]
    if any(value is None or value is ... for value in given):
        return TO_DO
    wanted = [right(*case.values()) for case in cases]
    if all(map(_equal, given, wanted)):
        return RIGHT
    for words, slip in slips.items():
        if all(map(_equal, given, [slip(*case.values()) for case in cases])):
            return f"Not yet: {words}."
    case, yours, ours = next(three for three in zip(cases, given, wanted, strict=True) if not _equal(*three[1:]))
    where = ", ".join(f"{name} = {_text(value)}" for name, value in case.items())
    return f"Not yet: for {where} it should be {_text(ours)}; yours gives {_text(yours)}."


def _equal(given: Any, wanted: Any) -> bool:
    """To a thousandth; False for what is no number, or numbers of another shape."""
    try:
        given = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        return False
    return given.shape == np.shape(wanted) and np.allclose(given, wanted, rtol=1e-3, atol=1e-6)


def _text(value: Any) -> str:
    """Numbers to four digits, whatever holds them; anything else as Python shows it."""
    try:
        numbers = np.asarray(value)
    except ValueError:  # rows of unequal length
        return repr(value)
    return np.array2string(numbers, precision=4, separator=", ") if numbers.dtype.kind in "biuf" else repr(value)
