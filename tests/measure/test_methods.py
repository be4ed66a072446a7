"""Tables that hold methods against each other."""

import pandas as pd
import pytest

from eureka_lib.measure.methods import rate_curves
from eureka_lib.plots.curves import plot_rates
from eureka_lib.plots.style import panels

TABLE = pd.DataFrame({
    "method": ["softmax"] * 4 + ["norm_softmax"] * 2,
    "learning_rate": [1e-3, 1e-3, 2e-3, 2e-3, 1e-3, 1e-3],
    "EM": [True, False, False, False, True, True],
    "EM or censored at step": [500, 1000, 1000, 1000, 100, 300],
})  # fmt: skip


def test_rate_curves_count_every_run():
    curves = rate_curves(TABLE).set_index(["method", "learning rate"])
    assert curves["k"].tolist() == [1, 0, 2] and set(curves["n"]) == {2}
    row = curves.loc[("softmax", 1e-3)]
    assert (row["EM rate"], row["mean restricted EM time"]) == (0.5, 750) and row["low"] < 0.1 < 0.9 < row["high"]
    assert curves.loc[("softmax", 2e-3), "mean restricted EM time"] == 1000


def test_rate_curves_are_drawn_over_one_axis_of_rates(house_style):
    _, axes = panels(2)
    plot_rates(axes, rate_curves(TABLE), 1000)
    assert [line.get_label() for line in axes[1].lines if line.get_label()[0] != "_"] == ["softmax", "NormSoftmax"]
    assert axes[0].get_xticks() == pytest.approx([1e-3, 2e-3]) and axes[1].get_ylim()[1] > 1000
