"""Forecasts: no seed is used twice, and the table of early signs, on runs whose fate is known."""

import pandas as pd
import pytest

from eureka_lib.analysis import forecast
from eureka_lib.analysis.forecast import SIGNS
from eureka_lib.benchmark import search
from eureka_lib.experiments import profiles
from eureka_lib.experiments.profiles import FITTING, HELD_OUT
from eureka_lib.experiments.run import run
from eureka_lib.measure import forecasts, probes
from eureka_lib.measure.forecasts import CAME, CAME_NOT, TOO_EARLY
from eureka_lib.measure.subjects import Subject
from eureka_lib.store import RunStore
from tests.planted import subjects

STEPS = range(0, 110, 5)
HORIZON = 10
SUBJECTS = subjects(profiles.get("smoke").forecast.base, 5, 40, 60, 999, steps=STEPS, test_loss=0.5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One fitting run and one held out, trained for real."""
    chosen, store = profiles.get("smoke").forecast, RunStore(tmp_path_factory.mktemp("runs"))
    return {
        group: [Subject(e, run(e, store, weights_every=chosen.weights_every)) for e in experiments]
        for group, experiments in chosen.groups(seeds=1).items()
    }


def test_no_seed_is_used_twice():
    groups = profiles.get("laptop").forecast.groups()
    fitting, held_out = ({e.model_seed for e in groups[name]} for name in (FITTING, HELD_OUT))
    assert held_out == set(range(40)) and fitting == set(range(2000, 2040))
    searched = {*search.SEARCH_SEEDS, *search.TUNING_SEEDS, *search.FORECAST_SEEDS}
    assert not (fitting | held_out) & searched
    assert [e.vary(seed=0) for e in groups[FITTING]] == [e.vary(seed=0) for e in groups[HELD_OUT]]


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_every_profile_can_be_asked_at_a_tenth(name):
    chosen = profiles.get(name).forecast
    settings = chosen.base.training
    assert chosen.weights_every * 10 == settings.steps
    assert chosen.weights_every // settings.evaluate_every >= 2


def test_the_regime_is_what_the_search_chose():
    """The stored table, the rule of ``forecast_candidates``, and the profile agree."""
    table = pd.read_csv(search.SEARCH_FOLDER / "forecast_regimes.csv")
    assert set(table["seed"]) == set(search.FORECAST_SEEDS)
    candidates = search.forecast_candidates()
    steps = {name: e.training.steps for name, e in candidates.items()}
    table["early"] = table["EM"] & (table["EM or censored at step"] <= table["regime"].map(steps) / 10)
    means = table.groupby("regime", sort=False)[["EM", "early", "accuracy at a tenth"]].mean()
    allowed = means[means["early"] == 0].assign(off=lambda rows: (rows["EM"] - 5 / 8).abs())
    best = allowed.sort_values(["off", "accuracy at a tenth"], ascending=[True, False]).index[0]
    assert candidates[best] == profiles.get("laptop").forecast.base


def test_fates():
    assert [forecasts.fate(s, HORIZON) for s in SUBJECTS] == [
        TOO_EARLY,
        CAME,
        CAME,
        CAME_NOT,
    ]
    table = forecasts.fates({HELD_OUT: SUBJECTS}, HORIZON)
    assert table.loc[HELD_OUT].to_dict() == {CAME: 2, CAME_NOT: 1, TOO_EARLY: 1}
    assert [s.seed for s in forecasts.waiting(SUBJECTS, HORIZON)] == [1, 2, 3]
    with pytest.raises(ValueError, match="no run still waits for its EM at step 60; .* must lie before step 60"):
        forecasts.waiting(SUBJECTS[:3], 60)


def test_signs_of_trained_runs(trained):
    horizon = profiles.get("smoke").forecast.weights_every
    table = forecasts.signs_table(trained, horizon, samples=100)
    assert table["group"].tolist() == [FITTING, HELD_OUT] and table["seed"].tolist() == [2000, 0]
    assert list(table.columns) == ["group", "seed", *SIGNS, "EM", "step"] and table.notna().all(axis=None)
    history = trained[HELD_OUT][0].run.history
    assert table.loc[1, "test loss"] == history[history["step"].isin([2, 4])]["test_loss"].mean()
    found = probes.answer(probes.Job(trained[HELD_OUT][0], horizon, ("forecast",)), 100)
    accuracy = found.set_index("tokens")["accuracy"]
    assert all(table.loc[1, sign] == accuracy[tokens] for sign, tokens in forecast.PROBED.items())
