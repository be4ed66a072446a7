"""Probes of stored runs: which steps and runs are chosen, the table, the pictures, and the rules of claim C3."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from eureka_lib.analysis.probes import ALL_TOKENS
from eureka_lib.experiments import profiles
from eureka_lib.experiments.run import run
from eureka_lib.measure.probes import Job, accuracies, answer, answers, probe
from eureka_lib.measure.subjects import Subject, early_and_late
from eureka_lib.plots import probes
from eureka_lib.plots.maps import plot_probes
from eureka_lib.plots.style import use_style
from eureka_lib.store import Run

KEPT = range(0, 1050, 50)


def planted(jump_at, seed=0):
    """A run that jumps at ``jump_at`` and kept its weights every 50 steps."""
    experiment = profiles.get("smoke").anatomy.vary(seed=seed)
    accuracy = [0.97 if step >= jump_at else 0.55 for step in KEPT]
    history = pd.DataFrame({"step": KEPT, "test_accuracy": accuracy})
    meta = {"status": "finished", "weights_sha256": {str(step): "" for step in KEPT}}
    return Subject(experiment, Run(Path(f"run{seed}"), experiment.config(), history, meta))


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """A run of a few steps that kept its weights."""
    from eureka_lib.store import RunStore

    experiment = profiles.get("smoke").anatomy.vary(steps=20, evaluate_every=10, depth=2)
    store = RunStore(tmp_path_factory.mktemp("runs"))
    return Subject(experiment, run(experiment, store, weights_every=10))


@pytest.fixture(scope="module")
def table(subject):
    jobs = [Job(subject, step, ("training", "code", "map", "checks", "claims")) for step in (0, 20)]
    jobs.append(Job(subject, 10, ("claims",)))
    return pd.concat([answer(job, 100) for job in jobs], ignore_index=True)


@pytest.fixture(autouse=True)
def styled_figures():
    use_style()
    yield
    plt.close("all")


def test_steps_of_a_run():
    jumps, never = planted(600), planted(9999)
    assert jumps.phases == {"start": 0, "half-way": 300, "end": 1000} and never.halfway == 500
    assert never.checkpoints(5) == [0, 250, 500, 750, 1000] and never.checkpoints(1) == [0]
    assert jumps.checkpoints(5) == [0, 250, 450, 500, 550, 600, 650, 750, 1000]  # and those around the EM
    assert jumps.checkpoints(100) == never.checkpoints(100) == list(KEPT)
    assert jumps.title == "seed 0: EM at step 600" and never.title == "seed 0: no EM by step 1000"


def test_a_typical_run_stands_beside_the_last():
    def chosen(*jumps):
        subjects = [planted(jump, seed) for seed, jump in enumerate(jumps)]
        return [subject.seed for subject in early_and_late(subjects)]

    assert chosen(900, 9999, 300, 500) == [3, 1]  # the median of those that jump; the one that never does
    assert chosen(900, 300, 500) == [2, 0]  # all jump: the median and the last
    assert chosen(9999, 9999) == [0, 1] and chosen(300) == [0]


def test_table_holds_what_was_asked(table):
    counts = table[table["step"] == 0].groupby("question").size()
    assert counts.to_dict() == {"training": 28, "code": 14, "map": 144, "checks": 24, "claims": 6}
    assert table["accuracy"].between(0, 1).all()
    code = answers(table, "code")
    assert (code["online"] > 0).all() and "control" not in code and "online" not in answers(table, "map")
    same = [answers(table, name).query("layer == 2 and tokens == 'CLS' and asked == 'label' and probe == 'linear' "
                                       "and part == 'block output'")["accuracy"].tolist()
            for name in ("training", "map", "code", "checks")]  # fmt: skip
    assert same[0] == same[1] == same[2] == same[3]


def test_random_weights_do_not_hide_the_digits_but_nobody_has_compared_them(table):
    rows = answers(table, "checks").query("step == 0 and tokens == 'all tokens'").set_index(["asked", "probe"])
    assert rows.loc[("indicators", "linear"), "accuracy"] > 0.85
    assert rows.loc[("which target", "linear"), "accuracy"] < 0.7


def test_jobs_on_all_cores_give_the_same_table(subject, table):
    jobs = [Job(subject, step, ("claims",)) for step in (0, 20, 10)]
    found = probe(jobs, 100)
    here = table[table["question"] == "claims"].dropna(axis="columns").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, here)


def test_plotted_values_are_the_tables(subject, table):
    found = answers(table, "training")
    figure = probes.plot_training(found, [subject], subject.experiment.build_task())
    drawn = [list(line.get_ydata()) for line in figure.axes[1].get_lines()]
    expected = found.query("layer == 2 and tokens == 'CLS' and asked == 'label'")["accuracy"].tolist()
    assert expected in drawn and subject.run.history["test_accuracy"].tolist() in drawn
    codes = answers(table, "code")
    figure = probes.plot_codes(codes, [subject])
    row = codes.query("tokens == 'all tokens' and asked == 'targets' and step == 20").iloc[0]
    lines = [line.get_ydata() for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 2]
    assert any(line[-1] == row["online"] / row["uniform"] for line in lines)


def test_map_writes_the_accuracies_and_leaves_constant_classes_blank(table):
    rows = answers(table, "map")
    rows.loc[rows["asked"] == "label", ["accuracy", "majority"]] = 1.0
    figure = plot_probes(rows, {"half-way": 0, "end": 20})
    axis = figure.axes[0]
    assert axis.get_title(loc="center") == "all tokens,\nhalf-way"
    assert [text.get_text() for text in axis.get_yticklabels()][:2] == ["1  head 1", "1  head 2"]
    colours = axis.collections[0].get_array().reshape(12, 4)
    assert colours.mask[:, 3].all() and not colours.mask[:, :3].any()
    first = rows.query("step == 0 and tokens == 'all tokens' and part == 'head 1' and layer == 1").set_index("asked")
    assert axis.texts[0].get_text() == f"{first.loc['indicators', 'accuracy']:.2f}".removeprefix("0")


def test_every_figure_can_be_drawn(subject, table):
    assert len(probes.plot_layers(answers(table, "training"), [subject, subject]).axes) == 4
    assert len(probes.plot_checks(answers(table, "checks"), {"start": 0, "end": 20}).axes) == 8
    figure = probes.plot_every_run(answers(table, "claims"), [subject])
    marks = [line for line in figure.axes[0].get_lines() if line.get_label() == "end"]
    steps = {subject.seed: 20}
    assert marks[0].get_xdata().tolist() == accuracies(answers(table, "claims"), steps, "indicators", ALL_TOKENS)
