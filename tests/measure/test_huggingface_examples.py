"""The worked examples: what they say of attention is true, and their training is transformers' own."""

import matplotlib.pyplot as plt
import pytest
import torch

from eureka_lib.attention.heat import heat
from eureka_lib.attention.registry import short_label_of
from eureka_lib.experiments import profiles
from eureka_lib.measure import huggingface_examples as examples
from eureka_lib.plots import curves
from eureka_lib.plots.maps import plot_weights
from eureka_lib.plots.style import panels

pytestmark = pytest.mark.usefixtures("house_style")
BASE = profiles.get("smoke").cheap.base


@pytest.fixture(scope="module")
def task():
    return BASE.build_task()


@pytest.fixture(scope="module")
def three(task):
    return examples.examples(task.sample(torch.Generator().manual_seed(0), 2).images, seed=0)


def test_each_example_sees_what_it_says_it_sees(three):
    for name, example in three.items():
        for attention in ("eager", "norm_softmax"):
            weights = example.attention(example.build(attention, seed=0))
            assert weights.shape[-2:] == example.visible.shape, name
            assert torch.equal(weights > 0, example.visible.expand_as(weights)), (name, attention)


def test_models_of_one_seed_share_their_weights_but_not_their_attention(three):
    for example in three.values():
        eager, ours = (example.build(attention, seed=3) for attention in ("eager", "norm_softmax"))
        assert eager.config._attn_implementation == "eager"
        expected = eager.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in ours.state_dict().items())


def test_evenness_of_known_rows():
    visible = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 1]], dtype=torch.bool)
    even = visible / visible.sum(-1, keepdim=True)
    sharp = torch.eye(3)
    assert examples.evenness(torch.stack([even, sharp])[None], visible)[0].tolist() == pytest.approx([1.0, 0.0])
    half = torch.tensor([[1, 0, 0], [1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
    assert examples.evenness(half[None, None], visible).item() == pytest.approx(0.5)


def test_temperature_only_sharpens_and_leaves_norm_softmax_alone_until_it_is_the_sharper_one(three):
    table = examples.temperature_table(three, [1.0, 30.0, 1000.0], seed=0)
    assert len(table) == 3 * 2 * 3 * 3
    mean = table.groupby(["model", "method", "factor"])["evenness"].mean().unstack()
    assert (mean.diff(axis=1).iloc[:, 1:] < 1e-3).all(axis=None)
    softmax, norm = mean.xs("softmax", level="method"), mean.xs("norm_softmax", level="method")
    assert (softmax[1.0] > 0.99).all() and (norm[1.0] < 0.9).all()
    assert (norm[1.0] - norm[30.0]).abs().max() < 0.03 and (softmax[1000.0] - norm[1000.0]).abs().max() < 0.03


def test_the_training_is_the_tasks_and_the_same_again(task):
    first, again = (examples.train(BASE, task, 4, 1e-3, [1000], 24.0) for _ in range(2))
    assert first.equals(again)
    assert first["method"].unique().tolist() == list(examples.METHODS) and first["step"].max() == 4
    hot = first[first["method"] == "heat_treatment"]
    assert hot["factor"].tolist() == [heat(step, 4, 24.0, "half_cosine") for step in range(4)]
    assert (first.loc[first["method"] != "heat_treatment", "factor"] == 1).all()
    losses = first.pivot(index="step", columns="method", values="loss")
    assert losses.loc[1].round(1).nunique() == 1 and losses.loc[4].nunique() == 3


def test_batches_are_the_tasks_stream(task):
    batches = iter(examples.TwoStepBatches(task, 8, seed=5))
    expected = task.stream(torch.Generator().manual_seed(5), 8)
    for _ in range(2):
        batch, given = next(expected), next(batches)
        assert torch.equal(given["pixel_values"], batch.images) and torch.equal(given["labels"], batch.labels)


def test_figures_are_drawn_and_named(three, task):
    table = examples.map_table(three, seed=0)
    sums = table.groupby(["model", "method", "query"])["weight"].sum()
    assert sums.to_numpy() == pytest.approx(1, abs=1e-5)
    figure = plot_weights(table)
    assert [axis.get_title(loc="left") for axis in figure.axes[:3]] == [name.replace(", ", "\n") for name in three]
    sweep, (axis,) = panels(1)
    curves.plot_temperatures(axis, examples.temperature_table(three, [0.1, 1.0, 10.0], seed=0), 24.0)
    losses, (loss,) = panels(1)
    curves.plot_scaled_training(loss, examples.train(BASE, task, 3, 1e-3, [1000, 1001], 24.0), task)
    assert [text.get_text() for text in loss.get_legend().get_texts()] == [
        short_label_of(method) for method in examples.METHODS
    ]
    assert len(loss.get_lines()) == 7  # two seeds each, and the plateau
    assert [text.get_text() for text in axis.texts][:3] == [
        name.split(",")[0] for name in three
    ]  # the levels of NormSoftmax
    for drawn in (figure, sweep, losses):
        drawn.draw_without_rendering()
        plt.close(drawn)
