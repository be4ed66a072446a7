"""Kept weights as lines over training, every seed with its Eureka-moment, and as attention maps."""

import numpy as np
import pytest

from eureka_lib.attention.registry import colour_of
from eureka_lib.measure import gradients, maps
from eureka_lib.plots import seeds
from eureka_lib.plots.maps import plot_cells

pytestmark = pytest.mark.usefixtures("house_style")


def lines(axis):
    """The medians of an axis by their labels."""
    return {line.get_label(): line for line in axis.get_lines() if not line.get_label().startswith("_")}


def test_medians_are_aligned_at_the_moment_and_runs_without_one_stand_apart(kept):
    sizes = gradients.over_layers(kept.table)
    figure = seeds.plot_weight_gradients(sizes, kept.runs)
    (softmax, nobody), below = figure.axes[:2], figure.axes[2:]
    assert softmax.get_title(loc="left") == "softmax (1 runs)" and not nobody.get_visible() and len(below) == 2
    assert "no Eureka-moment" in below[0].get_xlabel() and "Eureka-moment" in softmax.get_xlabel()
    mine = sizes[sizes["run"] == kept.runs[0].key]
    line = lines(softmax)["$W_K$"]
    around = mine[mine["step"] <= 18]  # its moment is at step 12: back to the start, and half as far on
    assert line.get_xdata().tolist() == (around["step"] - 12).tolist()
    assert line.get_ydata().tolist() == around["W_K"].tolist()
    two = sizes[sizes["method"] == "norm_softmax"].groupby("step")["W_V"].median()
    assert lines(below[1])["$W_V$"].get_ydata() == pytest.approx(two.tolist())


def test_ratios_queries_and_entropy_are_drawn(kept):
    sizes = gradients.over_layers(kept.table)
    figure = seeds.plot_ratios(gradients.ratio_table(sizes, kept.runs), kept.runs)
    assert all(any(list(line.get_ydata()) == [1, 1] for line in axis.get_lines()) for axis in figure.axes)
    assert lines(figure.axes[0])["softmax"].get_color() == colour_of("softmax")
    queries = lines(seeds.plot_feature_gradients(sizes, kept.runs).axes[0])
    assert list(queries) == ["queries of CLS", "queries of indicators", "queries of targets"]
    assert set(lines(seeds.plot_entropy(sizes, kept.runs).axes[0])) == {"softmax", "NormSoftmax"}


def test_looks_are_drawn_on_the_picture(kept):
    images = kept.batch.images[:10]
    figure = plot_cells(maps.attention_table(kept.subjects[:2], kept.task, images))
    pictures = [axis.get_images()[0].get_array() for axis in figure.axes if axis.get_images()]
    assert len(pictures) == (4 + 1) * 6
    from_cls = maps.attention_maps(kept.subjects[0], 4, kept.task, images)[0, 0, 0, 1:]
    assert np.allclose(pictures[0], from_cls.view(2, 2))
    assert figure.axes[0].texts[1].get_text() == f"{100 * float(from_cls[1]):.0f}"
