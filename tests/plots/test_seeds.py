"""Kept weights as lines over training, every seed with its Eureka-moment, and as attention maps."""

import numpy as np
import pytest

from eureka_lib.attention.registry import colour_of
from eureka_lib.measure import gradients, maps
from eureka_lib.plots import seeds
from eureka_lib.plots.maps import plot_cells
from eureka_lib.plots.style import panels

pytestmark = pytest.mark.usefixtures("house_style")


def stars(axis):
    return [line for line in axis.get_lines() if line.get_marker() == "*"]


def test_weight_gradients_show_every_seed_layer_and_moment(kept):
    figure = seeds.plot_weight_gradients(kept.table, kept.runs)
    assert len(figure.axes) == 3 * 2
    for i, axis in enumerate(figure.axes):  # softmax left, NormSoftmax right: three matrices, two seeds
        jumped = i % 2 == 0
        assert len(axis.get_lines()) == 6 + 3 * jumped and len(stars(axis)) == 3 * jumped
        assert axis.get_yscale() == "log"
    assert all(star.get_xdata()[0] == 12 for star in stars(figure.axes[0]))
    drawn = {line.get_label(): line.get_ydata().tolist() for line in figure.axes[2].get_lines()}
    mine = kept.table[(kept.table["run"] == kept.runs[0].key) & (kept.table["layer"] == 2)]
    assert drawn["$W_K$"] == mine["W_K"].tolist()


def test_ratios_are_drawn_with_a_line_at_one_and_dots_on_the_plateau(kept):
    _, axes = panels(2, share_y=True)
    seeds.plot_ratios(axes, gradients.ratio_table(gradients.over_layers(kept.table), kept.runs), kept.runs)
    for axis in axes:
        assert any(line.get_linestyle() == "--" and line.get_ydata() == [1, 1] for line in axis.get_lines())
        dots = [line for line in axis.get_lines() if line.get_marker() == "."]
        assert [len(line.get_xdata()) for line in dots] == [2, 0] and len(stars(axis)) == 1
        colours = {line.get_color() for line in axis.get_lines()}
        assert {colour_of("softmax"), colour_of("norm_softmax")} <= colours


def test_features_and_entropy_show_every_seed(kept):
    figure = seeds.plot_feature_gradients(gradients.over_layers(kept.table), kept.runs)
    assert [len(axis.get_lines()) - len(stars(axis)) for axis in figure.axes] == [6] * 6
    _, axes = panels(2)
    seeds.plot_entropy(axes, kept.table, kept.runs, kept.runs[:2])
    assert [len(axis.get_lines()) - len(stars(axis)) for axis in axes] == [4, 6]


def test_attention_of_two_seeds_is_drawn(kept):
    images = kept.batch.images[:10]
    figure = plot_cells(maps.attention_table(kept.subjects[:2], kept.task, images))
    pictures = [axis.get_images()[0].get_array() for axis in figure.axes if axis.get_images()]
    assert len(pictures) == 2 * 4 * 6
    assert np.allclose(pictures[0], maps.attention_maps(kept.subjects[0], 4, kept.task, images)[0, 0])
    one = plot_cells(maps.attention_table(kept.subjects[1:2], kept.task, images))
    assert sum(bool(axis.get_images()) for axis in one.axes) == 4 * 6
