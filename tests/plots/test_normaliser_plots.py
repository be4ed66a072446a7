"""Normalisers as curves, intervals and maps: the drawn values are the tables'."""

import numpy as np
import pytest
import torch

from eureka_lib.analysis.gradients import MATRICES
from eureka_lib.attention.registry import colour_of
from eureka_lib.experiments import profiles
from eureka_lib.measure import gradients, logits as lf
from eureka_lib.plots import curves, intervals
from eureka_lib.plots.maps import plot_jacobians
from eureka_lib.plots.style import panels

SCALE = 0.125
METHODS = lf.methods(SCALE, sharp=3.0)
ROW = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0], dtype=torch.float64) / 2**0.5
pytestmark = pytest.mark.usefixtures("house_style")


@pytest.mark.parametrize(("kind", "bands"), [("entropy", 2), ("jacobian", 0)])
def test_plotted_values_are_the_tables(kind, bands):
    table = lf.std_table(METHODS, lf.random_rows(6, 5, torch.Generator().manual_seed(1)), [0.1, 1.0, 10.0])
    figure, axes = panels(1)
    curves.plot_against_std(axes, table, kind, SCALE, (0.05, 0.2))
    lines = {line.get_label(): line for line in axes[0].get_lines()}
    for method in METHODS:
        one = table[table["method"] == method]
        assert lines[lf.label_of(method)].get_ydata().tolist() == one[f"{kind}_median"].tolist()
        assert lines[lf.label_of(method)].get_color() == colour_of(method)
    assert {"$1/s$", "$\\sqrt{1/s}$"} == {text.get_text() for text in axes[0].texts}
    assert len(axes[0].collections) == bands
    (start,) = axes[0].patches
    assert (start.get_x(), start.get_width()) == pytest.approx((0.05, 0.15))


def test_divisors_are_plotted_with_a_dot_at_each_crossover():
    figure, axes = panels(2)
    curves.plot_divisors(axes, lf.divisor_table([0.1, 1.0, 10.0], SCALE), SCALE)
    for axis, heights in zip(axes, ([8, 8], [1, SCALE**0.5]), strict=True):
        dots = [line for line in axis.get_lines() if line.get_marker() in "s^" and len(line.get_xdata()) == 1]
        assert [dot.get_xdata()[0] for dot in dots] == pytest.approx([8, 8**0.5])
        assert [dot.get_ydata()[0] for dot in dots] == pytest.approx(heights)


def test_rows_and_jacobians_are_drawn_as_they_are():
    spreads = [0.1, 30.0]
    figure = plot_jacobians(ROW, spreads, SCALE)
    for i, sigma in enumerate(spreads):
        p = METHODS["softmax"](sigma * ROW)
        assert [bar.get_height() for bar in figure.axes[i].patches] == pytest.approx(p.tolist())
        picture = figure.axes[2 + i].get_images()[0].get_array()
        assert np.allclose(picture, torch.diag(p) - torch.outer(p, p))
    _, axes = panels(2)
    table = lf.row_table(METHODS, ROW, spreads)
    curves.plot_rows(axes, table)
    assert table.groupby(["method", "spread"])["weight"].sum().tolist() == pytest.approx([1] * 8)
    assert axes[1].get_lines()[0].get_ydata().tolist() == METHODS["softmax"](30 * ROW).tolist()


def test_layers_and_gradients_show_every_layer_and_seed():
    vit = profiles.get("smoke").live
    task = vit.build_task()
    batch = task.sample(torch.Generator().manual_seed(0), 8)
    logits = lf.attention_logits(vit.build_model(task).eval(), batch.images)
    _, axes = panels(2)
    table = lf.layer_table(METHODS, logits)
    intervals.plot_layers(axes, table, SCALE)
    assert len(axes[1].containers) == len(METHODS) and axes[0].get_ylim()[0] > axes[0].get_ylim()[1]
    _, axes = panels(3)
    found = gradients.gradient_table({"softmax": vit, "norm_softmax": vit.vary(attention="norm_softmax")}, [0, 1, 2],
                                  task, batch)  # fmt: skip
    intervals.plot_gradients(axes, found)
    for axis, matrix in zip(axes, MATRICES, strict=True):
        drawn = sorted(y for line in axis.get_lines() for y in line.get_ydata())
        assert drawn == sorted(found.loc[found["matrix"] == matrix, "gradient"])
