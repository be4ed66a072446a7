"""Forecasts as pictures: every run is there, and the values are the tables'."""

import numpy as np
import pandas as pd
import pytest

from eureka_lib.analysis import forecast
from eureka_lib.analysis.forecast import PREDICTORS, QUESTIONS, SIGNS, WHEN
from eureka_lib.experiments import profiles
from eureka_lib.experiments.profiles import FITTING, HELD_OUT
from eureka_lib.measure import forecasts
from eureka_lib.plots.intervals import plot_scores
from eureka_lib.plots.seeds import RUN_COLOURS, plot_fates
from eureka_lib.plots.times import plot_signs
from tests.planted import subjects

pytestmark = pytest.mark.usefixtures("house_style")
STEPS = range(0, 110, 5)
HORIZON = 10
SUBJECTS = subjects(profiles.get("smoke").forecast.base, 5, 40, 60, 999, steps=STEPS, test_loss=0.5)


def signs(n, seed):
    """A table of signs, as :func:`forecasts.signs_table` gives it: the first loss tells all, the others none."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(size=(n, len(SIGNS))), columns=SIGNS)
    table["step"] = (80 + 30 * table["test loss"]).clip(15, 100).round().astype(int)
    return table.assign(EM=table["step"] < 100, seed=range(n), group=FITTING if seed else HELD_OUT)


@pytest.fixture(scope="module")
def judged():
    return forecast.judge(signs(40, 1), signs(40, 0))


def test_runs_are_coloured_by_their_fate_and_seen_up_to_the_horizon():
    figure = plot_fates(SUBJECTS, HORIZON, SUBJECTS[0].experiment.build_task())
    whole, start = figure.axes
    curves = [line for line in whole.get_lines() if len(line.get_xdata()) == len(STEPS)]
    assert [line.get_color() for line in curves] == [RUN_COLOURS[forecasts.fate(s, HORIZON)] for s in SUBJECTS]
    assert all(max(line.get_xdata()) == HORIZON for line in start.get_lines())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(RUN_COLOURS)


def test_every_run_is_a_mark_in_every_panel(judged):
    table = pd.concat([signs(12, 1), signs(9, 0)], ignore_index=True)
    figure = plot_signs(table, judged)
    scores = judged[judged["question"] == WHEN].set_index("predictor").loc[list(SIGNS)]
    ordered = scores.sort_values("value", ascending=False)
    assert ordered.index[0] == "test loss" and len(figure.axes) == len(SIGNS)
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == [f"{value:.0%} ranked rightly" for value in ordered["value"]]
    assert [axis.patch.get_gid() == "guess" for axis in figure.axes] == [
        low <= 0.5 <= high for low, high in ordered[["low", "high"]].to_numpy()
    ]
    for axis, sign in zip(figure.axes, ordered.index, strict=True):
        marks = [xy for line in axis.get_lines() for xy in line.get_xydata().tolist()]
        assert sorted(marks) == sorted(table[[sign, "step"]].astype(float).to_numpy().tolist())
        hollow = [line for line in axis.get_lines() if line.get_marker() == "^"]
        assert {y for line in hollow for y in line.get_ydata()} <= {100}


def test_scores_are_the_tables(judged):
    figure = plot_scores(judged)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        f"{name} the Eureka-moment comes" for name in QUESTIONS
    ]
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
    judged = forecast.judge(none[1], none[0])
    figure = plot_scores(judged)
    assert len(figure.axes) == 2
    figure.canvas.draw()
    figure = plot_signs(pd.concat(none.values()), judged)
    figure.canvas.draw()
    assert {axis.get_title(loc="left") for axis in figure.axes} == {"no pairs"}
