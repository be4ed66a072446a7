"""In-context learning from the profile to the pictures: runs, their weights, and what the study says of itself."""

from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from eureka_lib.claims import studies
from eureka_lib.experiments import profiles
from eureka_lib.experiments.run import run
from eureka_lib.experiments.sweep import sweep
from eureka_lib.measure.in_context import PLATEAU, baseline_table, errors_by_examples, prompt_table
from eureka_lib.measure.methods import method_table
from eureka_lib.measure.plateaus import AFTER, BEFORE, NEVER, Plateau, phases
from eureka_lib.measure.runs import all_runs, run_table
from eureka_lib.plots.curves import GREYS, plot_errors
from eureka_lib.plots.seeds import plot_methods
from eureka_lib.plots.style import panels
from eureka_lib.plots.times import plot_times
from eureka_lib.store import Run, RunStore

pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("house_style")
STUDY = "in_context"
METHODS = ("softmax", "norm_softmax", "heat_treatment")


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_every_profile_has_a_regime_that_trains(name):
    regime = profiles.get(name).in_context
    assert set(regime.tuned) == set(METHODS) and regime.experiment("heat_treatment").fix.scale_start == 24
    base = regime.base
    assert (base.training.weight_decay, base.training.learning_rate_schedule) == (0, "constant")
    task = base.build_task()
    with torch.device("meta"):
        model = base.build_model(task)
    assert model.body.wpe.weight.shape == (2 * base.task.points, base.model.width)


def test_the_papers_scale():
    base = profiles.get("paper").in_context.base
    assert (base.task.dimensions, base.task.points) == (20, 41)
    assert (base.model.depth, base.model.heads, base.model.width) == (12, 8, 256)
    assert (base.training.steps, base.training.batch_size, base.training.learning_rate) == (500_000, 64, 1e-4)


def test_a_run_is_stored_and_the_same_again_bit_for_bit(groups, runs, store, tmp_path):
    for method in METHODS:
        experiment, first = groups[method][0], runs[method][0]
        assert run(experiment, store, weights_every=2).folder == first.folder
        again = run(experiment, RunStore(tmp_path), weights_every=2)
        pd.testing.assert_frame_equal(first.history, again.history, check_exact=True)
        assert {"test_loss", "last_error", "train_loss"} <= set(first.history)
        weights, others = first.weights(6), again.weights(6)
        assert weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)
    losses = [runs[method][0].history["test_loss"].iloc[-1] for method in METHODS]
    assert len(set(losses)) == 3, "the methods differ"


def test_a_sweep_trains_it_beside_tasks_with_an_accuracy(groups, tiny, store, capsys):
    fresh = groups["softmax"][0].vary(seed=7)
    with ThreadPoolExecutor(1) as executor:
        found = sweep([fresh, tiny], executor=executor, store=store)
    assert found[0].history["test_loss"].notna().all() and "test_accuracy" not in found[0].history
    assert "2/2 done" in capsys.readouterr().out


def test_kept_weights_evaluate_as_they_did_in_training(groups, runs):
    """Heat Treatment's, too, whose temperature is another one at every step."""
    for method in METHODS:
        experiment, stored = groups[method][0], runs[method][0]
        task = experiment.build_task()
        test_set, loss = task.test_set(50), task.loss(0.0)
        for step in (2, 4):
            with torch.no_grad():
                found = task.evaluate(experiment.model_at(stored, step, task), test_set, loss)
            row = stored.history.set_index("step").loc[step]
            # An evaluation has the factor of the step before it, and what is kept that of the step that comes.
            tolerance = 0.1 if method == "heat_treatment" else 1e-5
            assert found["test_loss"] == pytest.approx(row["test_loss"], rel=tolerance)
    factors = [runs["heat_treatment"][0].weights(step)["_extra_state"].item() for step in (0, 2, 4, 6)]
    assert factors == sorted(factors, reverse=True) and factors[0] == 24 and factors[-1] == 1


def test_errors_before_and_after(groups, runs):
    task = groups["softmax"][0].build_task()
    table = errors_by_examples(groups, runs, task, PLATEAU, 40)
    points = task.config.points
    assert len(table) == 3 * 2 * 2 * points and set(table["phase"]) == {BEFORE, NEVER}
    assert table["examples"].max() == points - 1
    ended = table[(table["method"] == "softmax") & (table["seed"] == 0) & (table["phase"] == NEVER)]
    assert ended["step"].unique().tolist() == [6]
    with torch.no_grad():
        model = groups["softmax"][0].model_at(runs["softmax"][0], 6, task)
        assert np.allclose(ended["error"], task.errors(model, task.test_set(40)))
    baselines = baseline_table(task, 40)
    figure = plot_errors(table, baselines)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        f"{BEFORE}: 6 runs",
        f"{NEVER}: 6 runs",
    ]
    lines = len(GREYS) + 3 * 3  # two seeds of each method, and their median
    assert [len(axis.lines) for axis in figure.axes] == [lines] * 2
    (median, *_) = [line.get_ydata() for line in figure.axes[1].lines if line.get_gid() == "median"]
    mine = table[(table["method"] == "softmax") & (table["phase"] == NEVER)]
    assert np.allclose(median, mine.groupby("examples")["error"].median())
    plt.close(figure)


def leaping(run, at):
    loss = [1.0 if step < at else 0.2 for step in run.history["step"]]
    return Run(run.folder, run.config, run.history.assign(test_loss=loss), run.meta)


def test_phases_follow_the_leap(runs):
    stored = leaping(runs["softmax"][0], 2)
    assert PLATEAU.leap(stored).step == 2
    assert phases(stored, PLATEAU) == {BEFORE: 0, AFTER: 6}


def test_tables_and_pictures_of_leaps(runs):
    planted = {"softmax": [leaping(runs["softmax"][0], 2), runs["softmax"][1]], "norm_softmax": runs["norm_softmax"]}
    table = run_table(all_runs(planted), PLATEAU)
    assert table["leap"].tolist() == [True, False, False, False]
    assert table["leap or censored at step"].tolist() == [2, 6, 6, 6]
    assert table["final score"].iloc[0] == 0.8
    methods = method_table(planted, PLATEAU)
    assert methods["leaps"].tolist() == ["1 of 2", "0 of 2"] and methods.loc["NormSoftmax", "time / softmax's"]
    figure = plot_methods(planted, "test_loss", "test error", {"zero predictor": 1.0}, PLATEAU)
    first, second = figure.axes
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "softmax:\n1 of 2 leap",
        "NormSoftmax:\n0 of 2 leap",
    ]
    assert sum(line.get_marker() == "*" for line in first.lines) == 1
    assert not any(line.get_marker() == "*" for line in second.lines)
    figure, (axis,) = panels(1)
    plot_times(axis, planted, PLATEAU)
    assert "of the leap" in axis.get_xlabel() and axis.lines[0].get_xdata() == [2]
    assert all_runs(planted) == [run for group in planted.values() for run in group]
    plt.close("all")


def test_the_study_names_its_scale(regime):
    found = studies.in_context(regime.base)
    base = regime.base
    assert found.claim == "C8" and found.plateau == PLATEAU == Plateau(1.0, PLATEAU.thresholds)
    for part in (f"{base.model.depth} layers", f"width {base.model.width}", f"d = {base.task.dimensions}",
                 f"{base.task.points} points", f"{base.training.steps:,} steps"):  # fmt: skip
        assert part in found.about


def test_prompts_and_baselines_as_tables(regime):
    task = regime.base.build_task()
    prompt = prompt_table(task, seed=0)
    d, points = task.config.dimensions, task.config.points
    assert len(prompt) == points and (prompt["zero predictor"] == 0).all()
    assert np.allclose(prompt["least squares"][d:], prompt["f(x)"][d:], atol=0.02)
    table = baseline_table(task, 20_000)
    assert np.allclose(table["least squares"], table["least squares, derived"], atol=0.05)
    assert np.allclose(table["averaging"], table["averaging, derived"], rtol=0.15)
