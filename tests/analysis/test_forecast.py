"""Forecasts see the beginning of a run only, and are worth what planted signs make them worth."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from eureka_lib.analysis import forecast
from eureka_lib.analysis.forecast import ALL, BASELINE, CONSTANT, QUESTIONS, SIGNS, WHEN, WHETHER

STEPS = np.arange(0, 610, 10)
BUDGET, HORIZON = 600, 60


def history():
    """Straight lines, so that levels and slopes are known: at time t in units of the horizon."""
    t = STEPS / HORIZON
    columns = {
        "step": STEPS, "train_loss": np.where(STEPS > 0, 2 - 0.5 * t, np.nan), "test_loss": 3 - t, "test_accuracy": 0.1,
        "attention_entropy": 1 - 0.2 * t, "gradient_q": 1e-3, "gradient_k": 3e-3, "gradient_v": 2e-3 * np.exp(0.7 * t),
    }  # fmt: skip
    return pd.DataFrame(columns)


# ---- early signs


def test_signs_of_straight_lines():
    found = forecast.early_signs(history(), HORIZON)
    late = 5 / 6  # the mean time of steps 40, 50 and 60
    assert set(found) == set(SIGNS) - set(forecast.PROBED)
    assert found["test loss"] == pytest.approx(3 - late)
    assert found["training loss"] == pytest.approx(2 - 0.5 * late)
    assert found["attention entropy"] == pytest.approx(1 - 0.2 * late)
    assert found["attention entropy, slope"] == pytest.approx(-0.2)
    assert found["gradient ratio"] == pytest.approx(0.7 * late)  # log(2 / mean(1, 3)) = 0
    assert found["gradient ratio, slope"] == pytest.approx(0.7)


def test_nothing_leaks_from_behind_the_horizon():
    seen, changed = history(), history()
    later = changed["step"] > HORIZON
    rng = np.random.default_rng(0)
    for column in changed.columns.drop("step"):
        changed[column] = changed[column].where(~later, rng.random(len(changed)))
    assert (changed[later] != seen[later]).drop(columns="step").all(axis=None)
    assert forecast.early_signs(changed, HORIZON) == forecast.early_signs(seen, HORIZON)
    assert forecast.early_signs(seen[~later], HORIZON) == forecast.early_signs(seen, HORIZON)
    assert forecast.early_signs(changed, HORIZON + 10) != forecast.early_signs(seen, HORIZON + 10)


def test_too_early_a_horizon_is_named():
    with pytest.raises(ValueError, match="at least 2 evaluations .* got 1 up to step 15; the earliest .* is 20"):
        forecast.early_signs(history(), 15)


# ---- measures


def outcomes(*steps):
    """A table of runs: a step below the budget is an EM; the others are censored at it, or at minus the step."""
    return pd.DataFrame({"step": [abs(s) for s in steps], "EM": [0 < s < BUDGET for s in steps]})


def value(risk, table, question):
    pairs = QUESTIONS[question].pairs(table)
    return forecast.mean_over_pairs(pairs, forecast.won(np.array(risk)), 0.5).value


def test_concordance_by_hand():
    """Runs with EMs at 100, 200 and 200, censored at 200 and at 600.

    Pairs, the sooner first: 100 with the four others; each EM at 200 with both censored ones. That makes 8; the two EMs
    at 200 are no pair, nor are the censored ones, though 600 is more than 200.
    """
    table = outcomes(100, 200, 200, -200, 600)
    assert QUESTIONS[WHEN].pairs(table).sum() == 8
    assert value([5, 4, 3, 2, 1], table, WHEN) == 1
    assert value([1, 2, 3, 4, 5], table, WHEN) == 0
    assert value([1, 4, 3, 2, 0], table, WHEN) == 5 / 8  # the first run loses against three of its four
    assert value([5, 4, 2, 2, 1], table, WHEN) == 7.5 / 8  # a tie of risks is half a pair
    assert value([0, 0, 0, 0, 0], table, WHEN) == 0.5


def test_a_run_that_is_censored_early_says_nothing_of_what_comes_later():
    """Censored at 50, before the EM at 100: who waits longer is not known."""
    assert QUESTIONS[WHEN].pairs(outcomes(100, -50)).sum() == 0
    assert math.isnan(value([1, 2], outcomes(100, -50), WHEN))


def test_auc_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    for _ in range(20):
        table = outcomes(*rng.choice([100, 300, 600], 30))
        risk = rng.integers(0, 6, 30)  # with many ties
        assert value(risk, table, WHETHER) == pytest.approx(roc_auc_score(table["EM"], risk))


def test_concordance_counts_pairs_as_two_loops_do():
    rng = np.random.default_rng(2)
    table = outcomes(*rng.integers(1, 20, 30) * 10 * rng.choice([1, -1], 30))
    risk, came, step = rng.integers(0, 9, 30), table["EM"], table["step"]
    points = [
        1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
        for i in range(30) for j in range(30)
        if came[i] and (step[i] < step[j] or (step[i] == step[j] and not came[j]))
    ]  # fmt: skip
    assert value(risk, table, WHEN) == pytest.approx(np.mean(points))


def test_interval_is_as_wide_as_theory_says():
    """For risks that say nothing the standard error of the AUC is that of the Mann-Whitney statistic."""
    rng = np.random.default_rng(3)
    table = outcomes(*[100] * 25, *[600] * 15)
    pairs = QUESTIONS[WHETHER].pairs(table)
    expected = 2 * 1.96 * math.sqrt((25 + 15 + 1) / (12 * 25 * 15))
    found = [forecast.mean_over_pairs(pairs, forecast.won(rng.random(40)), 0.5) for _ in range(20)]
    assert np.mean([e.high - e.low for e in found]) == pytest.approx(expected, rel=0.1)
    assert sum(e.low <= 0.5 <= e.high for e in found) >= 16


def test_a_resample_without_pairs_says_nothing():
    """Of one EM and one censored run, half of the resamples draw one of them twice: they count as a guess."""
    pairs = QUESTIONS[WHETHER].pairs(outcomes(100, 600))
    found = forecast.mean_over_pairs(pairs, forecast.won(np.array([1.0, 0.0])), 0.5)
    assert (found.value, found.low, found.high) == (1, 0.5, 1)


# ---- predictors


def planted(n, seed, sign=-1):
    """Runs whose EM is early where the gradient ratio is low (``sign`` -1), and late or never where it is high.

    All other signs are noise.
    """
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(size=(n, len(SIGNS))), columns=SIGNS)
    steps = 500 - sign * 200 * table["gradient ratio"]
    table["step"] = steps.clip(HORIZON + 10, BUDGET).round(-1).astype(int)
    return table.assign(EM=table["step"] < BUDGET)


@pytest.fixture(scope="module")
def judged():
    return forecast.judge(planted(40, 0), planted(40, 1)).set_index(["question", "predictor"])


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_planted_sign_forecasts_and_noise_does_not(judged, question):
    rows = judged.loc[question]
    assert list(rows.index) == list(forecast.PREDICTORS)
    perfect = rows.loc["gradient ratio"]
    assert (perfect["value"], perfect["low"], perfect["high"]) == (1, 1, 1)
    for noise in ("test loss", "attention entropy", "which target, CLS"):
        assert rows.loc[noise, "low"] < 0.5 < rows.loc[noise, "high"], noise
    assert rows.loc[ALL, "low"] > 0.75 and rows.loc[ALL, "difference low"] > 0
    assert rows.loc[ALL, "difference"] == pytest.approx(rows.loc[ALL, "value"] - rows.loc[BASELINE, "value"])
    assert rows.loc[CONSTANT, ["value", "low", "high"]].tolist() == [0.5, 0.5, 0.5]
    assert rows.loc[BASELINE, ["difference", "difference low", "difference high"]].tolist() == [0, 0, 0]


def test_the_fitting_runs_flatter(judged):
    """On its own runs a predictor of eight signs looks no worse than on others."""
    assert (judged.xs(ALL, level="predictor")["on fitting runs"] > 0.9).all()
    noise = {CONSTANT: (), BASELINE: forecast.LOSSES, "noise": tuple(s for s in SIGNS if s != "gradient ratio")}
    rows = forecast.judge(planted(40, 0), planted(40, 1), noise).query("predictor == 'noise'")
    assert (rows["on fitting runs"] > rows["value"]).all()


def test_the_sign_is_fixed_on_the_fitting_runs():
    rows = forecast.judge(planted(40, 0), planted(40, 1, sign=+1)).set_index(["question", "predictor"])
    for question in QUESTIONS:
        assert rows.loc[(question, "gradient ratio"), "value"] == 0
        assert rows.loc[(question, "gradient ratio"), "on fitting runs"] == 1


def test_when_is_told_from_times_where_all_have_their_em():
    """Nothing can be said of whether, and everything of when."""
    fitting, held_out = planted(30, 0), planted(30, 1)
    for table in (fitting, held_out):
        table["step"] = (table["step"] * 0.9).astype(int)
        table["EM"] = True
    rows = forecast.judge(fitting, held_out).set_index(["question", "predictor"])
    assert math.isnan(rows.loc[(WHETHER, "gradient ratio"), "value"])
    assert math.isnan(rows.loc[(WHETHER, ALL), "difference low"])
    assert rows.loc[(WHEN, "gradient ratio"), "value"] == 1


def test_fitting_runs_that_are_all_alike_teach_nothing():
    fitting = planted(20, 0).assign(EM=False, step=BUDGET)
    rows = forecast.judge(fitting, planted(20, 1)).set_index("predictor")
    assert (rows["value"] == 0.5).all() and rows["on fitting runs"].isna().all()


def test_a_waiting_run_counts_in_every_period_up_to_its_em():
    table = outcomes(90, 600, 240)
    samples, now = QUESTIONS[WHEN].samples(np.array([[1.0], [2.0], [3.0]]), table)
    assert samples.shape == (2 + 10 + 4, 1 + 10)
    assert now.tolist() == [False, True] + [False] * 10 + [False, False, False, True]
    assert samples[:, 0].tolist() == [1.0] * 2 + [2.0] * 10 + [3.0] * 4
    assert samples[:, 1:].argmax(axis=1).tolist() == [0, 1, *range(10), *range(4)]
