"""Tables and pictures that compare methods, on histories whose answer is known."""

from functools import partial

import matplotlib.pyplot as plt
import pytest

from eureka_lib.benchmark import search
from eureka_lib.experiments import profiles
from eureka_lib.measure.methods import method_table, rate_grid, settings_table
from eureka_lib.plots.intervals import plot_sweep
from eureka_lib.plots.maps import plot_grid
from eureka_lib.plots.seeds import plot_methods
from eureka_lib.plots.style import PAPER, smallest_text
from eureka_lib.plots.times import plot_times
from tests import planted

pytestmark = pytest.mark.usefixtures("house_style")

group = partial(planted.group, profiles.get("smoke").cheap.base, attention_entropy=0.9)
SLOW = group("softmax", *([700, 750, 800, 9999, 9999] * 4))
QUICK = group("norm_softmax", *([150, 200, 250, 300, 350] * 4))


def test_method_table_says_what_happened():
    table = method_table({"softmax": SLOW, "norm_softmax": QUICK})
    assert table.loc["softmax", "EMs"] == "12 of 20" and table.loc["NormSoftmax", "EMs"] == "20 of 20"
    assert table.loc["softmax", "median EM step"] == "800"
    assert table.loc["softmax", "mean restricted EM time"] == f"{(700 + 750 + 800 + 2000) / 5:.0f}"
    assert table.loc["NormSoftmax", "time / softmax's"].startswith("0.29 (")
    assert float(table.loc["NormSoftmax", "log-rank p"]) < 1e-6


def test_times_show_every_run_hollow_where_censored():
    figure, axis = plt.subplots()
    plot_times(axis, {"softmax": SLOW, "norm_softmax": QUICK})
    marks = [line for line in axis.get_lines() if line.get_marker() == "o"]
    assert len(marks) == 40
    places = [(line.get_xdata()[0], round(float(line.get_ydata()[0]), 6)) for line in marks]
    assert len(set(places)) == 40, "no mark hides another"
    hollow = [line for line in marks if line.get_gid() == "censored"]
    assert {line.get_markerfacecolor() for line in hollow} == {PAPER}
    assert len(hollow) == 8 and {line.get_xdata()[0] for line in hollow} == {1000}
    assert [text.get_text() for text in axis.texts] == ["12 of 20", "20 of 20"]


def test_many_that_wait_stand_beside_each_other():
    figure, axis = plt.subplots()
    plot_times(axis, {"softmax": group("softmax", *[9999] * 25)})
    figure.draw_without_rendering()
    rings = [line for line in axis.get_lines() if line.get_gid() == "censored"]
    places = [line.get_transform().transform(line.get_xydata())[0] for line in rings]
    assert len({round(x, 3) for x, _ in places}) == 3 and len(rings) == 25
    assert all(axis.bbox.x0 < x < axis.bbox.x1 for x, _ in places)


def test_methods_get_a_panel_each():
    figure = plot_methods(
        {"softmax": SLOW, "norm_softmax": QUICK, "heat_treatment": group("heat_treatment", 100)},
        "test_accuracy",
        "test accuracy",
        {"plateau": 0.55},
    )
    titles = [axis.get_title(loc="left") for axis in figure.axes if axis.get_visible()]
    assert titles == ["softmax:\n12 of 20 jump", "NormSoftmax:\n20 of 20 jump", "Heat Treatment:\n1 of 1 jump"]
    (level,) = [line for line in figure.axes[0].get_lines() if line.get_gid() == "level"]
    assert list(level.get_ydata()) == [0.75, 0.75]


def test_sweep_shows_every_run_and_the_rate():
    figure = plot_sweep({0.25: SLOW, 1: QUICK}, "scale", 0.55)
    rate, steps = figure.axes[:2]
    dots = [line.get_ydata()[0] for line in rate.get_lines() if line.get_marker() == "o"]
    assert dots == [0.6, 1.0]
    runs = [line for line in steps.get_lines() if line.get_marker() == "o"]
    filled = [
        sum(len(line.get_xdata()) for line in runs if (line.get_mfc() != "none") == kind) for kind in (True, False)
    ]
    assert filled == [32, 8]
    assert len({x for line in runs for x in line.get_xdata()}) == 40, "no run hides another"
    means = [bar.get_segments()[0][0][1] for bar in steps.collections]
    assert means == [(700 + 750 + 800 + 2000) / 5, 250]
    assert [label.get_text() for label in figure.axes[2].get_xticklabels()] == ["1/4", "1"]


def test_grid_counts_cells():
    grid = rate_grid({(1e-3, 0.05): SLOW, (1e-3, 0.5): QUICK}, ("learning rate", "weight decay"))
    assert grid["EM rate"].tolist() == [0.6, 1.0] and grid["k"].tolist() == [12, 20]
    figure, axis = plt.subplots()
    plot_grid(axis, grid, ("learning rate", "weight decay"), tuned=(1e-3, 0.5))
    assert [text.get_text() for text in axis.texts] == ["12 of 20", "20 of 20", "after 850", "after 250"]
    (frame,) = axis.patches
    assert frame.get_xy() == (1, 0) and smallest_text(figure) >= 8
    figure, axis = plt.subplots()
    never = rate_grid({(1e-3, 0.05): group("softmax", 9999)}, ("learning rate", "weight decay"))
    plot_grid(axis, never, ("learning rate", "weight decay"), tuned=(4e-3, 0.5))
    assert [text.get_text() for text in axis.texts] == ["0 of 1", "-"], "no time where nobody jumps"
    assert not axis.patches, "what was tuned is not on the grid"


def test_regimes_build_their_groups():
    regime = profiles.get("smoke").cheap
    groups = regime.groups(["heat_treatment"], seeds=3)
    assert list(groups) == ["softmax", "heat_treatment"] and [e.model_seed for e in groups["softmax"]] == [0, 1, 2]
    assert list(regime.groups()) == list(regime.tuned)
    with pytest.raises(ValueError, match="unknown method 'heat'.*did you mean 'heat_treatment'"):
        regime.groups(["heat"])


def test_settings_table_names_the_command():
    groups = {"regime": profiles.get("smoke").cheap.groups(["norm_softmax"])}
    table = settings_table(groups, "05_the_fixes_compared")
    command = table.loc[("regime", "norm_softmax"), "repeat by"]
    assert command == "./run_all.sh 05 -p \"methods=['norm_softmax']\""


def test_no_searched_seed_is_reported():
    reported = {e.model_seed for r in profiles.get("laptop").regimes for es in r.groups().values() for e in es}
    assert not reported & {*search.SEARCH_SEEDS, *search.TUNING_SEEDS, *search.FLAGSHIP_SEEDS}
