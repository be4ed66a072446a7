"""The phenomenon in one picture, whatever the runs did and kept."""

from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
import torch

from eureka_lib.experiments import profiles
from eureka_lib.experiments.run import run
from eureka_lib.measure.maps import looks
from eureka_lib.measure.subjects import Subject
from eureka_lib.measure.tasks import clearest
from eureka_lib.plots.phenomenon import plot_phenomenon, plot_story
from eureka_lib.plots.style import SMALLEST, smallest_text
from eureka_lib.store import RunStore
from eureka_lib.tasks.two_step import CELL_NAMES

SHORT = profiles.get("smoke").vit.vary(steps=40, evaluate_every=4, test_samples=100)
TASK = SHORT.build_task()
BATCH = clearest(TASK.sample(torch.Generator().manual_seed(0), 200), 1)


@pytest.fixture(autouse=True)
def no_figure_stays():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Two runs, the first of which kept its weights."""
    store = RunStore(tmp_path_factory.mktemp("runs"))
    return [run(SHORT.vary(seed=seed), store, weights_every=4 * (not seed)) for seed in range(2)]


def with_accuracy(found, accuracy):
    return replace(found, history=found.history.assign(test_accuracy=accuracy))


def texts(axis):
    return [text.get_text() for text in axis.texts]


def test_looks_are_shares_of_the_cells(found, store):
    table = looks(Subject(SHORT, found[0]), TASK, BATCH.images)
    assert len(table) == 4 and table["step"].isin(found[0].weight_steps).all()
    assert table[list(CELL_NAMES)].sum(axis=1).to_list() == pytest.approx([1] * 4)
    assert looks(Subject(SHORT, found[1]), TASK, BATCH.images).empty
    with_cls = profiles.get("smoke").live
    subject = Subject(with_cls, run(with_cls, store, weights_every=10))
    shares = looks(subject, TASK, BATCH.images)[list(CELL_NAMES)].sum(axis=1)
    assert shares.between(0.5, 0.99).all(), "the rest goes to CLS"


@pytest.mark.parametrize("kept", [True, False])
def test_what_was_not_kept_is_not_drawn(found, kept):
    seen = looks(Subject(SHORT, found[0 if kept else 1]), TASK, BATCH.images)
    figure = plot_phenomenon(TASK, BATCH, found, found[0], seen)
    assert len(figure.axes) == (7 if kept else 3)
    assert smallest_text(figure) >= SMALLEST
    shares = [text for axis in figure.axes[3:] for text in texts(axis)]
    assert len(shares) == (16 if kept else 0) and all(text.endswith("%") for text in shares)


def test_a_story_names_only_what_happened(found):
    flat, up = [0.1, 0.3] + [0.55] * 9, [0.1, 0.3] + [0.55] * 5 + [0.95] * 4
    stuck, jumper = with_accuracy(found[1], flat), with_accuracy(found[0], up)
    figure, (left, right) = plt.subplots(1, 2)
    plot_story(left, [jumper, stuck], replace(jumper), TASK)  # the same run, loaded again
    widths = [line.get_linewidth() for line in left.get_lines() if len(line.get_xdata()) > 2]
    assert widths[0] > 2 > widths[1], "bold"
    plateau = "The plateau: both targets are read,\nwhich of them counts is guessed.\nDerived: 0.1 + 0.9 / 2 = 0.55"
    assert texts(left) == [plateau, "Eureka-moment", "1 of 2 still waits"]
    assert [star.get_xdata()[0] for star in left.get_lines() if star.get_gid() == "moment"] == [28]
    plot_story(right, [stuck], stuck, TASK)
    assert texts(right) == [plateau]
    plot_story(right, [found[1]], found[1], TASK)
    assert texts(right) == [plateau], "nothing of a run that learned nothing"
