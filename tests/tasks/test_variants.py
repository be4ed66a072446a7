"""The variants: each rule, written again in plain Python, holds for every sample; pictures show what is said."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn.neural_network import MLPClassifier
from torch._subclasses.fake_tensor import FakeTensorMode

from eureka_lib.experiments.experiment import Experiment
from eureka_lib.tasks import images
from eureka_lib.tasks.images import load_images
from eureka_lib.tasks.two_step import (
    BLUE,
    BOTTOM_LEFT,
    BOTTOM_RIGHT,
    BYSTANDER,
    CELL_NAMES,
    EMPTY,
    FIRST,
    INDICATOR,
    NOWHERE,
    RED,
    SECOND,
    TOP_LEFT,
    TOP_RIGHT,
    WHITE,
    TwoStepConfig,
)  # fmt: skip
from eureka_lib.tasks.variants import TASKS, NaturalIndicatorsConfig

TWO_TARGETS = ("two_step", "no_fixed_position", "natural_indicators", "position_as_indicator", "same_colour",
               "colour_or_item", "digit_groups")  # fmt: skip


def generator(seed):
    return torch.Generator().manual_seed(seed)


def make(name, **changes):
    return Experiment().vary(task=name, **changes).build_task()


@pytest.fixture(scope="module")
def tasks():
    return {name: make(name) for name in TASKS}


def expected(name, cells, roles, colours):
    """(same, target cell, label) of one sample, from its four classes, roles and colours, in plain Python."""
    shown = [i for i in range(4) if roles[i] == INDICATOR]
    if name == "position_as_indicator":
        items = [i for i in range(4) if cells[i] != EMPTY]
        assert len(items) == 2 and items[0] in (0, 1) and items[1] in (2, 3)
        same = items in ([0, 2], [1, 3])
        target = items[0] if same else items[1]
        return same, target, cells[target]
    first, second = shown
    if name == "digit_groups":
        same = {cells[first], cells[second]} <= {1, 2} or {cells[first], cells[second]} <= {3, 4}
    elif name == "same_colour":
        same = colours[first] == colours[second]
    else:
        same = cells[first] == cells[second]
    if name == "indicators_only":
        return same, NOWHERE, int(same)
    if name == "targets_only":
        return same, TOP_RIGHT, cells[TOP_RIGHT]
    if name == "colour_or_item":
        return same, TOP_RIGHT, cells[TOP_RIGHT] if same else colours[TOP_RIGHT]
    target = roles.index(FIRST) if same else roles.index(SECOND)
    return same, target, cells[target]


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(0, 30), split=st.sampled_from(["train", "test"]))
def test_the_rule_holds_for_every_sample(tasks, name, seed, n, split):
    task = tasks[name]
    batch = task.sample(generator(seed), n, split)
    assert batch.images.shape == (n, 3, 16, 16) and batch.images.dtype == torch.float32
    columns = (batch.cells, batch.roles, batch.colours, batch.same, batch.target, batch.labels)
    for cells, roles, colours, *answer in zip(*(column.tolist() for column in columns), strict=True):
        assert tuple(answer) == expected(name, cells, roles, colours)
    assert (task.oracle(batch) == batch.labels).all()
    assert ((batch.labels >= 0) & (batch.labels < task.n_classes)).all()


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_oracle_and_shortcut_score_what_is_derived(name, p):
    task = make(name, top_right_probability=p)
    batch = task.sample(generator(1), 30_000, "test")
    assert (task.oracle(batch) == batch.labels).all()
    assert (task.shortcut(batch) == batch.labels).float().mean().item() == pytest.approx(
        task.plateau_accuracy, abs=0.015
    )
    assert batch.same.float().mean().item() == pytest.approx(p + (1 - p) / 2, abs=0.015)


@pytest.mark.parametrize("name", TWO_TARGETS)
def test_the_derived_lines_are_the_main_tasks(tasks, name):
    task = tasks[name]
    assert task.n_classes == 10 and task.plateau_accuracy == pytest.approx(0.55)
    assert task.plateau_loss(0.1) == pytest.approx(1.025, abs=1e-3) and task.floor_loss(0.1) == pytest.approx(
        0.5, abs=1e-3
    )


@pytest.mark.parametrize("name", TWO_TARGETS)
def test_nothing_but_the_first_step_tells_which_target_counts(tasks, name):
    """No single cell's class and no single place says more than a coin about the first step."""
    batch = tasks[name].sample(generator(2), 40_000)
    for values in (*batch.cells.T, *batch.roles.T, *batch.colours.T):
        for value in values.unique():
            chosen = batch.same[values == value]
            if len(chosen) > 2000:
                assert chosen.float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_rows_are_swapped_independently(tasks):
    batch = tasks["no_fixed_position"].sample(generator(3), 20_000)
    assert (batch.roles[:, :2] == INDICATOR).sum(1).eq(1).all() and (batch.roles[:, 2:] == INDICATOR).sum(1).eq(1).all()
    top, bottom = (batch.roles[:, [0, 2]] == INDICATOR).float().T
    for share in (top.mean(), bottom.mean(), (top == bottom).float().mean()):
        assert share.item() == pytest.approx(0.5, abs=0.02)
    white = batch.colours == WHITE
    assert torch.equal(white, batch.roles != INDICATOR)


def test_natural_indicators_are_shuffled_over_all_cells(tasks):
    batch = tasks["natural_indicators"].sample(generator(4), 24_000)
    assert (batch.roles.sort(1).values == torch.tensor([INDICATOR, INDICATOR, FIRST, SECOND])).all()
    arrangements, counts = batch.roles.unique(dim=0, return_counts=True)
    assert len(arrangements) == 12 and counts.min() > 1800  # of 2,000 expected each


def test_natural_indicators_look_like_their_source():
    """Without noise each cell is an image of the source that its role says, and of the class that ``cells`` says."""
    task = make("natural_indicators", colour_noise=0.0)
    source_of = {INDICATOR: "photographs", FIRST: "digits", SECOND: "patterns"}
    sources = {role: load_images(name, "test", 8) for role, name in source_of.items()}
    batch = task.sample(generator(5), 30, "test")
    for image, cells, roles in zip(batch.images, batch.cells, batch.roles, strict=True):
        for i, (value, role) in enumerate(zip(cells.tolist(), roles.tolist(), strict=True)):
            row, column = divmod(i, 2)
            corner = image[:, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
            distance = (sources[role].images - corner).abs().amax((1, 2, 3))
            assert distance.min() < 1e-6 and sources[role].labels[distance.argmin()] == value


def test_empty_cells_are_black_and_items_are_one_to_a_row(tasks):
    batch = make("position_as_indicator", colour_noise=0.0).sample(generator(6), 200)
    for image, cells, roles in zip(batch.images, batch.cells.tolist(), batch.roles.tolist(), strict=True):
        for i in range(4):
            row, column = divmod(i, 2)
            corner = image[:, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
            assert (corner.abs().max() == 0) == (cells[i] == EMPTY) == (roles[i] == BYSTANDER)


def test_colours_of_the_parts(tasks):
    same_colour, colour_or_item = (tasks[n].sample(generator(7), 20_000) for n in ("same_colour", "colour_or_item"))
    assert set(same_colour.colours.unique().tolist()) == {BLUE, RED}
    assert set(same_colour.cells[:, TOP_LEFT].tolist()) == set(range(10)), "the indicators' class is free"
    assert colour_or_item.colours[:, [TOP_RIGHT, BOTTOM_LEFT]].flatten().bincount(minlength=10).min() > 3500
    assert set(colour_or_item.colours[:, [TOP_LEFT, BOTTOM_RIGHT]].unique().tolist()) == {BLUE, RED}


def test_digit_groups_use_four_classes_evenly(tasks):
    batch = tasks["digit_groups"].sample(generator(8), 20_000)
    counts = batch.cells[:, [TOP_LEFT, BOTTOM_RIGHT]].flatten().bincount()
    assert counts[0] == 0 and len(counts) == 5 and counts[1:].min() > 9000


@pytest.mark.parametrize("name", TASKS)
def test_drawing_a_batch_waits_for_no_value(tasks, name):
    """Tensors without values stand for those of a GPU: whatever asked for one, and made the host wait, would raise."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert tasks[name].sample(generator(9), 8).images.shape == (8, 3, 16, 16)


@pytest.mark.parametrize("name", TASKS)
def test_probe_labels(tasks, name):
    batch = tasks[name].sample(generator(9), 50)
    labels = tasks[name].probe_labels(batch)
    assert list(labels) == [*CELL_NAMES, "which target", "label"]
    assert all(value.shape == (50,) and value.dtype == torch.int64 for value in labels.values())
    assert torch.equal(labels["label"], batch.labels) and torch.equal(labels["which target"].bool(), batch.same)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_says_what_it_does(tasks, name):
    batch = tasks[name].sample(generator(10), 20)
    for i in range(20):
        text = tasks[name].describe(batch, i)
        assert f"label {batch.labels[i]}" in text and (
            name == "indicators_only" or f"{CELL_NAMES[batch.target[i]]} counts" in text
        )
    rules = [task.rule for task in tasks.values()]
    assert len(set(rules)) == len(rules) and all(len(rule) < 90 for rule in rules)


def test_any_source_will_do_whose_classes_suffice():
    batch = make("same_colour", target_source="patterns", indicator_source="patterns").sample(generator(11), 4)
    assert batch.images.shape == (4, 3, 16, 16)
    rgb = make("two_step", indicator_source="photographs").sample(generator(11), 4)
    assert rgb.images.shape == (4, 3, 16, 16)
    with pytest.raises(ValueError, match=r"targets need the classes 0 to K - 1; present are \[1, 2\]"):
        make("two_step", target_source="photographs")
    with pytest.raises(ValueError, match=r"no image of class 3: wanted are \[1, 2, 3, 4\], present are \[1, 2\]"):
        make("digit_groups", indicator_source="photographs")


def test_natural_indicators_need_three_sources():
    with pytest.raises(ValueError, match="must be three different sources, got .*'digits', 'digits'.*photographs"):
        NaturalIndicatorsConfig(item_source="digits")
    experiment = Experiment().vary(task="natural_indicators", cell=6, item_source="mnist")
    assert experiment.task == NaturalIndicatorsConfig(cell=6, item_source="mnist")
    assert TASKS[experiment.task.name].sources(experiment.task) == ["digits", "mnist", "photographs"]
    assert experiment.vary(task="two_step").task == TwoStepConfig(cell=6)
    with pytest.raises(TypeError, match="task natural_indicators takes a NaturalIndicatorsConfig"):
        Experiment(task=TwoStepConfig(name="natural_indicators"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_photographs_are_balanced_and_told_apart_by_a_small_network(split):
    train, crops = (load_images("photographs", name, 8) for name in ("train", split))
    assert crops.images.shape[1:] == (3, 8, 8) and 0 <= crops.images.min() and crops.images.max() <= 1
    assert crops.labels.bincount().tolist() == ([0, 420, 420] if split == "train" else [0, 280, 280])
    network = MLPClassifier((64,), max_iter=800, random_state=0).fit(train.images.flatten(1).numpy(), train.labels)
    assert network.score(crops.images.flatten(1).numpy(), crops.labels) > 0.8


def test_photographs_of_train_and_test_share_no_row():
    rows = {}
    for split in ("train", "test"):
        pixels, labels = images.SOURCES["photographs"](split)
        for label in (1, 2):
            rows[split, label] = {row.tobytes() for crop in pixels[labels == label] for row in crop.transpose(1, 2, 0)}
    assert not rows["train", 1] & rows["test", 1] and not rows["train", 2] & rows["test", 2]


# --- the controls ----------------------------------------------------------------------------------------------------


def test_controls_show_the_same_images(tasks):
    names = ("two_step", "targets_only", "indicators_only")
    images = [tasks[name].sample(generator(0), 50).images for name in names]
    assert torch.equal(images[0], images[1]) and torch.equal(images[0], images[2])


def test_targets_only_is_solved_by_the_shortcut(tasks):
    task = tasks["targets_only"]
    batch = task.sample(generator(0), 2000)
    assert (task.shortcut(batch) == batch.labels).float().mean() == task.plateau_accuracy == 1
    assert task.plateau_loss(0.1) == task.floor_loss(0.1)


def test_indicators_only_has_two_answers(tasks):
    task = tasks["indicators_only"]
    assert task.n_classes == 2 and task.plateau_loss(0.1) == pytest.approx(math.log(2))
