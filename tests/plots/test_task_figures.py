"""The gallery, the tables and the times of the tasks, on histories whose answer is known."""

from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from eureka_lib.benchmark import search
from eureka_lib.experiments import profiles
from eureka_lib.measure.runs import setting_of
from eureka_lib.measure.tasks import SAMPLES, baseline_table, run_table, sample_table, task_table, tidy
from eureka_lib.plots.samples import plot_gallery
from eureka_lib.plots.seeds import plot_tasks
from eureka_lib.plots.style import SMALLEST, smallest_text
from eureka_lib.plots.times import plot_task_times
from eureka_lib.store import Run
from eureka_lib.tasks.variants import TASKS

GALLERY = profiles.get("smoke").gallery


@pytest.fixture(scope="module")
def built():
    return {name: GALLERY.experiment("softmax", name).build_task() for name in TASKS}


def fake(network, task, seed, jump):
    """A run that lies at 0.55 until ``jump``, and at 0.95 from there on (never, if None); evaluated every 50 steps."""
    steps = list(range(0, 1001, 50))
    accuracy = [0.1] + [0.95 if jump is not None and step >= jump else 0.55 for step in steps[1:]]
    config = GALLERY.experiment(network, task).vary(seed=seed).config()
    history = pd.DataFrame({"step": steps, "test_accuracy": accuracy})
    return Run(Path(f"{network}-{task}-{seed}"), config, history, {"status": "finished"})


@pytest.fixture
def networks():
    return {
        "softmax": {"two_step": [fake("softmax", "two_step", s, j) for s, j in enumerate((500, 600, None))],
                    "targets_only": [fake("softmax", "targets_only", s, 50) for s in range(3)]},
        "resnet9": {"two_step": [fake("resnet9", "two_step", s, 100) for s in range(3)],
                    "targets_only": [fake("resnet9", "targets_only", s, 50) for s in range(3)]},
    }  # fmt: skip


def test_gallery_shows_every_task_with_its_rule(built):
    figure = plot_gallery(built, seed=0)
    titles = [block.get_suptitle() for block in figure.subfigs]
    assert titles == [name.replace("_", " ") for name in TASKS]
    assert all(len(block.axes) == SAMPLES for block in figure.subfigs)
    figure.draw_without_rendering()
    marks = {block.get_suptitle(): Counter(patch.get_gid() for axis in block.axes for patch in axis.patches)
             for block in figure.subfigs}  # fmt: skip
    assert marks.pop("indicators only") == {"indicator": 2 * SAMPLES}
    assert marks.pop("position as indicator") == {"target": SAMPLES}
    assert all(found == {"indicator": 2 * SAMPLES, "target": SAMPLES} for found in marks.values())
    assert smallest_text(figure) >= SMALLEST
    plt.close(figure)
    table = sample_table(built, seed=0)
    assert len(table) == len(TASKS) * SAMPLES and table["words"].str.contains("label").all()


def test_baselines_are_what_is_derived(built):
    table = baseline_table(built, n=20_000, seed=1)
    assert (table["oracle"] == 1).all()
    assert (table["shortcut, measured"] - table["shortcut, derived"]).abs().max() < 0.02


def test_table_counts_and_measures_the_plateau(networks, built):
    tasks = {name: built[name] for name in ("two_step", "targets_only")}
    table = task_table(networks, tasks)
    row = table.loc["two step"]
    assert (row["plateau, derived"], row["plateau, measured"]) == ("0.55", "0.550")
    assert (row["ViT, softmax: EMs"], row["ViT, softmax: median EM step"]) == ("2 of 3", "600")
    assert row["share of the budget"] == f"{(450 + 550 + 1000) / 3000:.2f}"
    assert (row["ResNet9: EMs"], row["ResNet9: median EM step"]) == ("3 of 3", "100")
    assert table.loc["targets only", "plateau, measured"] == "none"


def test_times_hold_every_run_hollow_if_censored(networks):
    figure, axis = plt.subplots()
    plot_task_times(axis, networks)
    marks = [line for line in axis.get_lines() if line.get_marker() == "o" and len(line.get_xdata())]
    assert len(marks) == 12
    hollow = [line.get_xdata()[0] for line in marks if line.get_gid() == "censored"]
    assert hollow == [1000]
    plt.close(figure)


def test_curves_and_their_data(networks, built):
    tasks = {name: built[name] for name in ("two_step", "targets_only")}
    figure = plot_tasks(networks, tasks)
    assert [axis.get_visible() for axis in figure.axes] == [True, True]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["ViT, softmax", "ResNet9 (width 8)", "derived plateau"]
    lines = [line.get_visible() for axis in figure.axes for line in axis.get_lines() if line.get_linestyle() == "--"]
    assert lines == [True, False], "what is solved in one step has no plateau"
    grounds = [axis.get_facecolor()[0] for axis in figure.axes]
    assert grounds[0] == 1 > grounds[1]
    assert not figure.axes[0].texts, "all budgets end where the axis does"
    plt.close(figure)
    table = tidy(networks)
    assert len(table) == 12 * 21 and set(table["task"]) == {"two_step", "targets_only"}
    assert len(run_table(networks)) == 12


def test_the_setting_counts_tasks_once(networks):
    runs = [run for by_task in networks.values() for runs in by_task.values() for run in runs]
    assert setting_of(runs).startswith("digits, 4 tokens / digits, learning rate 0.002, 40 steps, 3 seeds each")
    third = [fake(network, "same_colour", 0, 100) for network in networks]
    assert setting_of(runs + third).startswith("3 tasks, ")


def sources_of(experiment):
    return TASKS[experiment.task.name].sources(experiment.task)


def test_every_network_meets_every_task_in_every_profile():
    for name in profiles.PROFILES:
        gallery = profiles.get(name).gallery
        for network in gallery.networks:
            groups = gallery.groups(network)
            assert list(groups) == list(TASKS)
            assert [e.model_seed for e in groups["two_step"]] == list(range(gallery.seeds))
    paper = profiles.get("paper").gallery
    assert sources_of(paper.experiment("softmax", "natural_indicators")) == ["cifar10", "fashion_mnist", "mnist"]
    assert sources_of(paper.experiment("softmax", "same_colour")) == ["mnist"]
    assert sources_of(paper.experiment("softmax", "position_as_indicator")) == ["fashion_mnist"]
    with pytest.raises(ValueError, match="unknown network 'resnet'.*did you mean 'resnet9'"):
        paper.experiment("resnet", "two_step")


def test_learning_rates_are_those_that_the_search_found():
    table = pd.read_csv(search.SEARCH_FOLDER / "tasks.csv")
    assert (table["seed"] >= 1000).all() and set(table["task"]) == set(TASKS)
    best = search.SEARCHES["tasks"].best(table).set_index("network")["learning_rate"]
    networks = profiles.get("laptop").gallery.networks
    assert {name: experiment.training.learning_rate for name, experiment in networks.items()} == best.to_dict()
