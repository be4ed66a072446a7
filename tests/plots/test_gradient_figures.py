"""Looking at kept weights leaves the training as it was; the pictures show every seed; the slider moves the picture."""

from dataclasses import replace

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from eureka_lib.attention.registry import changes_of, colour_of
from eureka_lib.experiments import profiles
from eureka_lib.experiments.run import run as trained
from eureka_lib.measure import gradients, heads, maps
from eureka_lib.measure.subjects import Subject, first_and_last, telling_steps
from eureka_lib.plots import heads as drawn, seeds
from eureka_lib.plots.maps import plot_cells
from eureka_lib.plots.style import panels
from eureka_lib.store import RunStore
from eureka_lib.tasks.frame import evaluation_generator

SHORT = {"steps": 20, "evaluate_every": 4, "test_samples": 100}


pytestmark = pytest.mark.usefixtures("house_style")


@pytest.fixture(scope="module")
def experiments():
    anatomy = profiles.get("smoke").anatomy.vary(**SHORT)
    return [anatomy.vary(**changes_of(method), seed=seed) for method in ("softmax", "norm_softmax") for seed in (0, 1)]


@pytest.fixture(scope="module")
def task(experiments):
    return experiments[0].build_task()


@pytest.fixture(scope="module")
def batch(task):
    return task.sample(evaluation_generator("cpu"), 100, "test")


@pytest.fixture(scope="module")
def runs(experiments, tmp_path_factory):
    """With weights at 0, 4, ..., 20; the first one's history has a plateau and a jump planted."""
    store = RunStore(tmp_path_factory.mktemp("runs"))
    found = [trained(e, store, weights_every=4) for e in experiments]
    jumped = found[0].history.assign(test_accuracy=[0.1, 0.55, 0.55, 0.8, 0.9, 0.9])
    return [replace(found[0], history=jumped), *found[1:]]


@pytest.fixture(scope="module")
def table(experiments, runs, task, batch):
    return gradients.diagnose_runs(list(map(Subject, experiments, runs)), task, batch)


def test_a_run_that_is_diagnosed_trains_as_one_that_is_not(tiny, tmp_path, task, batch):
    """Bit for bit: weights are kept beside the training, and looked at after it."""
    looked_at = trained(tiny, RunStore(tmp_path / "with"), weights_every=4)
    gradients.diagnose_runs([Subject(tiny, looked_at)], task, batch)
    untouched = trained(tiny, RunStore(tmp_path / "without"))
    pd.testing.assert_frame_equal(looked_at.history, untouched.history, check_exact=True)
    assert looked_at.weight_steps == [0, 4, 8, 12] and untouched.weight_steps == []


def test_a_diagnosis_has_every_kept_model_and_agrees_with_the_history(table, runs, batch):
    assert len(table) == 4 * 6 * 3 and not table.isna().any().any()
    sizes = gradients.over_layers(table)
    assert len(sizes) == 4 * 6 and set(sizes["method"]) == {"softmax", "norm_softmax"}
    for run in runs:  # the history's entropy is measured on these very samples, in training
        mine = sizes[sizes["run"] == run.key]
        assert mine["entropy"].tolist() == pytest.approx(run.history["attention_entropy"].tolist(), rel=1e-4)
    three = table.loc[(table["run"] == runs[1].key) & (table["step"] == 8), "W_V"]
    one = sizes.loc[(sizes["run"] == runs[1].key) & (sizes["step"] == 8), "W_V"]
    assert one.item() == pytest.approx(three.mean())


def test_ratios_and_the_plateau(table, runs):
    sizes = gradients.over_layers(table)
    ratios = gradients.ratio_table(sizes, runs)
    assert ratios["step"].min() == 4 and len(ratios) == 4 * 5
    first = ratios[ratios["run"] == runs[0].key]
    assert first["plateau"].tolist() == [True, True, False, False, False]
    whole = sizes[sizes["step"] > 0]
    assert ratios["W_V / W_K"].tolist() == pytest.approx((whole["W_V"] / whole["W_K"]).tolist())


def with_accuracy(run, accuracy):
    return replace(run, history=run.history.assign(test_accuracy=accuracy))


def test_which_seeds_and_steps_are_shown(runs):
    late = with_accuracy(runs[1], [0.1, 0.55, 0.55, 0.9, 0.9, 0.9])
    never = with_accuracy(runs[1], [0.1] + [0.55] * 5)
    early = with_accuracy(runs[1], [0.1, 0.55, 0.9, 0.9, 0.9, 0.9])
    found = [first_and_last([Subject(None, run) for run in some])
             for some in ([late, never, early], [late, early], [never])]  # fmt: skip
    assert [[subject.run for subject in pair] for pair in found] == [[early, never], [early, late], [never, never]]
    assert telling_steps(late) == {"plateau": 4, "before EM": 8, "at the EM": 12, "end": 20}
    assert list(telling_steps(never).values()) == [5 // 4 * 4, 8, 12, 20]
    few = replace(late, meta={"weights_sha256": {"0": "", "20": ""}})
    with pytest.raises(ValueError, match="kept its weights at 2 steps; at least 5 are needed"):
        telling_steps(few)


def test_attention_of_two_seeds(experiments, runs, task, batch):
    shown = maps.two_seeds(list(map(Subject, experiments[:2], runs)), task, batch.images[:10])
    assert list(shown) == ["seed 0: EM at step 12", "seed 1: no EM"]
    assert list(shown["seed 0: EM at step 12"])[2] == "at the EM\nstep 12" and "step 12" in shown["seed 1: no EM"]
    for models in shown.values():
        for weights in models.values():
            assert weights.shape == (3, 2, 5, 5) and torch.allclose(weights.sum(-1), torch.ones(3, 2, 5))
    data = maps.attention_table(shown)
    assert len(data) == 2 * 4 * 3 * 2 * 25
    figure = plot_cells(shown)
    pictures = [axis.get_images()[0].get_array() for axis in figure.axes if axis.get_images()]
    assert len(pictures) == 2 * 4 * 6
    assert np.array_equal(pictures[0], shown["seed 0: EM at step 12"]["plateau\nstep 4"][0, 0])
    one = plot_cells({seed: models for seed, models in shown.items() if seed == "seed 1: no EM"})
    assert sum(bool(axis.get_images()) for axis in one.axes) == 4 * 6


def stars(axis):
    return [line for line in axis.get_lines() if line.get_marker() == "*"]


def test_weight_gradients_show_every_seed_layer_and_moment(table, runs):
    figure = seeds.plot_weight_gradients(table, runs)
    assert len(figure.axes) == 3 * 2
    for i, axis in enumerate(figure.axes):  # softmax left, NormSoftmax right: three matrices, two seeds
        jumped = i % 2 == 0
        assert len(axis.get_lines()) == 6 + 3 * jumped and len(stars(axis)) == 3 * jumped
        assert axis.get_yscale() == "log"
    assert all(star.get_xdata()[0] == 12 for star in stars(figure.axes[0]))
    drawn = {line.get_label(): line.get_ydata().tolist() for line in figure.axes[2].get_lines()}
    mine = table[(table["run"] == runs[0].key) & (table["layer"] == 2)]
    assert drawn["$W_K$"] == mine["W_K"].tolist()


def test_ratios_are_drawn_with_a_line_at_one_and_dots_on_the_plateau(table, runs):
    _, axes = panels(2, share_y=True)
    seeds.plot_ratios(axes, gradients.ratio_table(gradients.over_layers(table), runs), runs)
    for axis in axes:
        assert any(line.get_linestyle() == "--" and line.get_ydata() == [1, 1] for line in axis.get_lines())
        dots = [line for line in axis.get_lines() if line.get_marker() == "."]
        assert [len(line.get_xdata()) for line in dots] == [2, 0] and len(stars(axis)) == 1
        colours = {line.get_color() for line in axis.get_lines()}
        assert {colour_of("softmax"), colour_of("norm_softmax")} <= colours


def test_features_and_entropy_show_every_seed(table, runs):
    figure = seeds.plot_feature_gradients(gradients.over_layers(table), runs)
    assert [len(axis.get_lines()) - len(stars(axis)) for axis in figure.axes] == [6] * 6
    _, axes = panels(2)
    seeds.plot_entropy(axes, table, runs, runs[:2])
    assert [len(axis.get_lines()) - len(stars(axis)) for axis in axes] == [4, 6]


# ---- the Jacobian, at every spread


@pytest.fixture(scope="module")
def head():
    return heads.random_head(keys=5, seed=0)


def test_the_heads_logits_have_the_spread_asked_for(head):
    for factor in (0.1, 1.0, 7.0):
        sizes = heads.logits_of(heads.with_spread(head, factor)).std(-1, correction=0)
        assert float(sizes.square().mean().sqrt()) == pytest.approx(factor)


def test_a_rows_gradients_are_those_of_autograd():
    head = heads.random_head(keys=3, seed=1, width=4, samples=3)
    sizes = []
    for sample in range(3):
        for row in range(3):
            matrices, x = head.matrices.clone().requires_grad_(), head.tokens[sample]
            q, k, v = (x @ matrix.T for matrix in matrices)
            said = torch.softmax(q @ k.T / 2, -1)[row] @ v  # s = 1/sqrt(4)
            (gradient,) = torch.autograd.grad(said @ head.pull[sample, row], matrices)
            sizes.append(gradient.abs().mean(dim=(1, 2)))
    expected = torch.stack(sizes).median(dim=0).values
    assert heads.gradients_of(head).tolist() == pytest.approx(expected.tolist(), rel=1e-9)


def test_queries_and_keys_starve_at_both_ends_and_values_at_none(head):
    flat, between, sharp = (heads.gradients_of(heads.with_spread(head, sigma)) for sigma in (0.01, 1.5, 50.0))
    assert (flat[:2] < 0.2 * between[:2]).all() and (sharp[:2] < 1e-3 * between[:2]).all()
    assert 1 / 4 < flat[2] / between[2] < 4 and 1 / 4 < sharp[2] / between[2] < 4


def test_queries_starve_where_values_or_keys_are_alike(head):
    tokens_alike = replace(head, tokens=head.tokens[:, :1].expand_as(head.tokens))
    values_alike = replace(head, matrices=head.matrices * torch.tensor([1.0, 1.0, 0.0])[:, None, None])
    for alike in (tokens_alike, values_alike):
        found = heads.gradients_of(alike)
        assert (found[:2] < 1e-12).all() and found[2] > 0.1


def test_settings_show_weights_jacobian_and_gradients(head):
    curve = heads.against_spread(head)
    figure = drawn.plot_spreads(head, curve, [0.1, 10.0])
    for i, sigma in enumerate((0.1, 10.0)):
        weights, jacobian, sizes = figure.axes[3 * i : 3 * i + 3]
        p = torch.softmax(sigma * heads.typical_row(head), -1)
        assert np.allclose(weights.patches[0].get_data().values, p)
        assert np.allclose(jacobian.get_images()[0].get_array(), torch.diag(p) - torch.outer(p, p))
        dots = [line.get_ydata()[0] for line in sizes.get_lines() if line.get_marker() == "o"]
        assert dots == pytest.approx(heads.gradients_of(heads.with_spread(head, sigma)).tolist())


def test_nobody_gets_a_slider_in_a_headless_run(head, monkeypatch, capsys):
    monkeypatch.setattr(drawn, "ipywidgets", None)  # building a widget would fail
    assert drawn.spread_knob(head, heads.against_spread(head)) is None
    assert "slider" in capsys.readouterr().out


def test_the_slider_moves_the_picture(head, monkeypatch):
    monkeypatch.delenv("EUREKA_HEADLESS")
    curve = heads.against_spread(head)
    knob, picture = drawn.spread_knob(head, curve).children
    assert isinstance(knob, ipywidgets.FloatLogSlider) and bytes(picture.value[:4]) == b"\x89PNG"
    before = bytes(picture.value)
    knob.value = 10.0
    assert picture.value != before
    knob.value = 1.0
    assert picture.value == before and not plt.get_fignums()
