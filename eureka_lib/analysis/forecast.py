"""Does the beginning of a run tell whether, and when, its Eureka-moment (EM) comes?

A landmark analysis (van Houwelingen 2007): at one step, the *horizon*, every run without an EM so far is described by
its *early signs*, numbers measured up to there, from which its EM is forecast. *Whether* it comes within the budget is
scored by the area under the ROC curve (AUC); *when*, by Harrell's concordance index, which accounts for censored runs.
Both are the share of comparable pairs of runs that are ranked correctly; chance is 1/2. Predictors are fitted on some
runs and scored on others. Tables have a row per run.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from eureka_lib.analysis.compare import Estimate, bootstrap
from eureka_lib.analysis.probes import ALL_TOKENS, READ

LATEST = 3  # a sign's level is its mean over so many evaluations, the last ones before the horizon
PERIODS = 10  # of equal length, into which the budget is cut where times are fitted

LOSSES = ("test loss", "training loss")
GRADIENT, ENTROPY = "gradient ratio", "attention entropy"
PROBED = {"which target, CLS": READ, "which target, all tokens": ALL_TOKENS}  # sign -> the tokens that a probe sees
INSIDE = (GRADIENT, f"{GRADIENT}, slope", ENTROPY, f"{ENTROPY}, slope", *PROBED)
SIGNS = (*LOSSES, *INSIDE)

CONSTANT, BASELINE, ALL = "constant", "both losses", "all signs"
PREDICTORS: dict[str, tuple[str, ...]] = {  # the signs that each may use; what needs no look inside comes first
    CONSTANT: (),
    **{loss: (loss,) for loss in LOSSES},
    BASELINE: LOSSES,
    **{sign: (sign,) for sign in INSIDE},
    ALL: SIGNS,
}
TABLE = ("EM", "step")  # beside its signs, a row per run says whether its EM came, and when, or the last step


# ---- early signs


def early_signs(history: pd.DataFrame, horizon: int) -> dict[str, float]:
    """The signs in a run's ``history`` up to step ``horizon``: all of ``SIGNS`` but those of probes.

    Losses (nats), attention entropy (in [0, 1]) and the natural logarithm of the gradient ratio, |grad W_V| over the
    mean of |grad W_Q| and |grad W_K|, are means over the ``LATEST`` evaluations. A slope is that of a straight line
    through all evaluations, times the horizon. Later rows are ignored. Raises ValueError unless there are two
    evaluations after step 0.
    """
    seen = history[(history["step"] > 0) & (history["step"] <= horizon)]
    if len(seen) < 2:
        raise ValueError(
            f"at least 2 evaluations after step 0 are needed for a slope, got {len(seen)} up to step {horizon}; "
            f"the earliest valid horizon is {history['step'].iloc[min(2, len(history) - 1)]}"
        )
    ratio = np.log(seen["gradient_v"] / seen[["gradient_q", "gradient_k"]].mean(axis=1))
    time = seen["step"] / horizon
    return {
        "test loss": _level(seen["test_loss"]),
        "training loss": _level(seen["train_loss"]),
        GRADIENT: _level(ratio),
        f"{GRADIENT}, slope": _slope(time, ratio),
        ENTROPY: _level(seen["attention_entropy"]),
        f"{ENTROPY}, slope": _slope(time, seen["attention_entropy"]),
    }


def _level(values: pd.Series) -> float:
    return float(values.tail(LATEST).mean())


def _slope(time: pd.Series, values: pd.Series) -> float:
    return float(np.polyfit(time, values, 1)[0])


# ---- the two questions


@dataclass(frozen=True)
class Question:
    """A question about n runs: the ``measure`` of a predictor, the ``samples`` to fit it, the ``pairs`` to score it.

    ``samples`` turns features (n, F) and a table into inputs and labels of a logistic regression, features first. In
    ``pairs`` (n, n) of a table, [i, j] says that run i should have a higher risk than run j.
    """

    measure: str
    samples: Callable[[np.ndarray, pd.DataFrame], tuple[np.ndarray, np.ndarray]]
    pairs: Callable[[pd.DataFrame], np.ndarray]


def _came(features: np.ndarray, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return features, table["EM"].to_numpy(bool)


def _came_now(features: np.ndarray, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """A sample per run and period that it waits in, with the period as a one-hot: did the EM come in this one?

    The discrete-time hazard model of Allison (1982), in which a censored run says what it knows: not yet.
    """
    step, happened = table["step"].to_numpy(), table["EM"].to_numpy(bool)
    waited = np.ceil(PERIODS * step / step.max()).astype(int)  # periods, that of the EM included
    run = np.repeat(np.arange(len(step)), waited)
    period = np.concatenate([np.arange(n) for n in waited])
    now = happened[run] & (period == waited[run] - 1)
    return np.hstack([features[run], np.eye(PERIODS)[period]]), now


def _one_came(table: pd.DataFrame) -> np.ndarray:
    happened = table["EM"].to_numpy(bool)
    return happened[:, None] & ~happened


def _one_came_first(table: pd.DataFrame) -> np.ndarray:
    """Harrell's comparable pairs: j is known to be later than i. Two EMs at one step are no pair."""
    happened, step = table["EM"].to_numpy(bool), table["step"].to_numpy()
    return happened[:, None] & ((step[:, None] < step) | ((step[:, None] == step) & ~happened))


WHETHER, WHEN = "whether", "when"
QUESTIONS = {
    WHETHER: Question("AUC", _came, _one_came),
    WHEN: Question("concordance index", _came_now, _one_came_first),
}


# ---- predictions and their scores


def risks(signs: Sequence[str], question: Question, fitting: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    """Risks (n,) of the runs of ``table`` by a predictor fitted on ``fitting``; higher means an earlier EM.

    It is a logistic regression on the standardised ``signs`` with scikit-learn's default penalty. Without signs, or
    with fitting runs of one class, all risks are 0.
    """
    columns = list(signs)
    if not columns:
        return np.zeros(len(table))
    scaler = StandardScaler().fit(fitting[columns].to_numpy())
    samples, answers = question.samples(scaler.transform(fitting[columns].to_numpy()), fitting)
    if len(np.unique(answers)) < 2:
        return np.zeros(len(table))
    weights = LogisticRegression().fit(samples, answers).coef_[0, : len(columns)]
    return scaler.transform(table[columns].to_numpy()) @ weights


def won(risk: np.ndarray) -> np.ndarray:
    """Whether i's risk is higher than j's: (n, n), 1 or 0, and 1/2 where they are equal."""
    return (np.sign(risk[:, None] - risk) + 1) / 2


def mean_over_pairs(pairs: np.ndarray, values: np.ndarray, nothing: float) -> Estimate:
    """Mean of ``values`` (n, n) over the ``pairs`` (n, n), with a bootstrap interval over the n runs.

    Of :func:`won` over the pairs of a question it is the AUC or the concordance index; of the difference of two
    predictors', it is their difference, on the same resamples. A resample without any pair counts as ``nothing``.
    Without a pair in the data, it is not a number.
    """
    if not pairs.any():
        return Estimate(math.nan, math.nan, math.nan)
    counted = np.where(pairs, values, 0.0)

    def mean(drawn: np.ndarray, axis: int) -> np.ndarray:
        times = (drawn[..., None] == np.arange(len(pairs))).sum(axis=-2).astype(float)  # that each run was drawn
        total, n = (((times @ matrix) * times).sum(axis=-1) for matrix in (counted, pairs.astype(float)))
        return np.where(n > 0, total / np.maximum(n, 1), nothing)

    return bootstrap((np.arange(len(pairs)),), mean)


def judge(
    fitting: pd.DataFrame, held_out: pd.DataFrame, predictors: Mapping[str, Sequence[str]] = PREDICTORS
) -> pd.DataFrame:
    """Every predictor, fitted on ``fitting``, on the runs of ``held_out``, for both questions: a row each.

    Both tables have a column per sign and those of ``TABLE``. Columns: question, predictor; value, low and high of its
    AUC or concordance index; "difference", "difference low" and "difference high", the same for its value minus the
    ``BASELINE``'s; "on fitting runs", where the value is flattered; "runs" and "EMs", the numbers held out.
    """
    rows = []
    for name, question in QUESTIONS.items():
        pairs, own_pairs = question.pairs(held_out), question.pairs(fitting)
        wins = {predictor: won(risks(signs, question, fitting, held_out)) for predictor, signs in predictors.items()}
        for predictor, signs in predictors.items():
            found = mean_over_pairs(pairs, wins[predictor], 0.5)
            more = mean_over_pairs(pairs, wins[predictor] - wins[BASELINE], 0.0)
            own = won(risks(signs, question, fitting, fitting))[own_pairs]
            rows.append({
                "question": name, "predictor": predictor, "value": found.value, "low": found.low, "high": found.high,
                "difference": more.value, "difference low": more.low, "difference high": more.high,
                "on fitting runs": own.mean() if len(own) else math.nan,
                "runs": len(held_out), "EMs": int(held_out["EM"].sum()),
            })  # fmt: skip
    return pd.DataFrame(rows)
