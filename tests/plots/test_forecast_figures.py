"""Tables and pictures of forecasts, on runs whose fate is known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eureka_lib.analysis import forecast
from eureka_lib.analysis.forecast import PREDICTORS, QUESTIONS, SIGNS
from eureka_lib.benchmark import search
from eureka_lib.experiments import profiles
from eureka_lib.experiments.profiles import FITTING, HELD_OUT
from eureka_lib.experiments.run import run
from eureka_lib.measure import forecasts, probes
from eureka_lib.measure.forecasts import CAME, CAME_NOT, TOO_EARLY
from eureka_lib.measure.subjects import Subject
from eureka_lib.plots.intervals import plot_scores
from eureka_lib.plots.seeds import RUN_COLOURS, plot_fates
from eureka_lib.plots.times import plot_signs
from eureka_lib.store import Run, RunStore

pytestmark = pytest.mark.usefixtures("house_style")

STEPS = list(range(0, 110, 5))
HORIZON = 10


def planted(jump_at, seed=0):
    """A run that jumps at ``jump_at``, with a test loss that tells it."""
    experiment = profiles.get("smoke").forecast.base.vary(seed=seed)
    accuracy = [0.97 if step >= jump_at else 0.55 for step in STEPS]
    history = pd.DataFrame({"step": STEPS, "test_accuracy": accuracy, "test_loss": [jump_at / 100.0] * len(STEPS)})
    return Subject(experiment, Run(Path(f"run{seed}"), experiment.config(), history, {"status": "finished"}))


SUBJECTS = [planted(jump, seed) for seed, jump in enumerate([5, 40, 60, 999])]


def signs(n, seed):
    """A table of signs, as :func:`forecasts.signs_table` gives it: the first loss tells all, the others none."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(size=(n, len(SIGNS))), columns=SIGNS)
    table["step"] = (80 + 30 * table["test loss"]).clip(15, 100).round().astype(int)
    return table.assign(EM=table["step"] < 100, seed=range(n), group=FITTING if seed else HELD_OUT)


@pytest.fixture(scope="module")
def judged():
    return forecast.judge(signs(40, 1), signs(40, 0))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One fitting run and one held out, trained for real."""
    chosen, store = profiles.get("smoke").forecast, RunStore(tmp_path_factory.mktemp("runs"))
    return {
        group: [Subject(e, run(e, store, weights_every=chosen.weights_every)) for e in experiments]
        for group, experiments in chosen.groups(seeds=1).items()
    }


# ---- seeds and regimes


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


# ---- tables


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


# ---- pictures


def test_runs_are_coloured_by_their_fate_and_seen_up_to_the_horizon():
    figure = plot_fates(SUBJECTS, HORIZON, SUBJECTS[0].experiment.build_task())
    whole, start = figure.axes
    curves = [line for line in whole.get_lines() if len(line.get_xdata()) == len(STEPS)]
    assert [line.get_color() for line in curves] == [RUN_COLOURS[forecasts.fate(s, HORIZON)] for s in SUBJECTS]
    assert all(max(line.get_xdata()) == HORIZON for line in start.get_lines())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(RUN_COLOURS)


def test_every_run_is_a_mark_in_every_panel():
    table = pd.concat([signs(12, 1), signs(9, 0)], ignore_index=True)
    figure = plot_signs(table)
    assert len(figure.axes) == len(SIGNS)
    for axis, sign in zip(figure.axes, SIGNS, strict=True):
        marks = [xy for line in axis.get_lines() for xy in line.get_xydata().tolist()]
        assert sorted(marks) == sorted(table[[sign, "step"]].astype(float).to_numpy().tolist())
        hollow = [line for line in axis.get_lines() if line.get_marker() == "^"]
        assert {y for line in hollow for y in line.get_ydata()} <= {100}


def test_scores_are_the_tables(judged):
    figure = plot_scores(judged)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [f"{name} the EM comes" for name in QUESTIONS]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(PREDICTORS)
    for axis, question in zip(figure.axes, QUESTIONS, strict=True):
        rows = judged[judged["question"] == question]
        filled = [
            line for line in axis.get_lines() if line.get_marker() == "o" and line.get_markerfacecolor() != "none"
        ]
        assert [line.get_xdata()[0] for line in filled] == rows["value"].tolist()
        intervals = [list(line.get_xdata()) for line in axis.get_lines() if len(set(line.get_ydata())) == 1
                     and len(line.get_xdata()) == 2]  # fmt: skip
        assert intervals == rows[["low", "high"]].to_numpy().tolist()


def test_pictures_of_runs_without_any_em():
    """As at profile smoke: nothing to compare, and still pictures."""
    none = {seed: signs(6, seed).assign(EM=False, step=100) for seed in (0, 1)}
    figure = plot_scores(forecast.judge(none[1], none[0]))
    assert len(figure.axes) == 2
    figure.canvas.draw()
    plot_signs(pd.concat(none.values())).canvas.draw()
