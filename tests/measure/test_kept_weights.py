"""Looking at kept weights: where the gradient goes, and what attention looks at; the training stays as it was."""

import pandas as pd
import pytest
import torch

from eureka_lib.experiments import profiles
from eureka_lib.experiments.run import run as trained
from eureka_lib.measure import gradients, maps
from eureka_lib.measure.subjects import Subject
from eureka_lib.store import RunStore
from eureka_lib.tasks.two_step import CELL_NAMES


def test_a_run_that_is_diagnosed_trains_as_one_that_is_not(tiny, tmp_path, kept):
    """Bit for bit: weights are kept beside the training, and looked at after it."""
    looked_at = trained(tiny, RunStore(tmp_path / "with"), weights_every=4)
    gradients.diagnose_runs([Subject(tiny, looked_at)], kept.task, kept.batch)
    untouched = trained(tiny, RunStore(tmp_path / "without"))
    pd.testing.assert_frame_equal(looked_at.history, untouched.history, check_exact=True)
    assert looked_at.weight_steps == [0, 4, 8, 12] and untouched.weight_steps == []


def test_a_diagnosis_has_every_kept_model_and_agrees_with_the_history(kept):
    assert len(kept.table) == 4 * 6 * 3 and not kept.table.isna().any().any()
    sizes = gradients.over_layers(kept.table)
    assert len(sizes) == 4 * 6 and set(sizes["method"]) == {"softmax", "norm_softmax"}
    for run in kept.runs:  # the history's entropy is measured on these very samples, in training
        mine = sizes[sizes["run"] == run.key]
        assert mine["entropy"].tolist() == pytest.approx(run.history["attention_entropy"].tolist(), rel=1e-4)
    three = kept.table.loc[(kept.table["run"] == kept.runs[1].key) & (kept.table["step"] == 8), "W_V"]
    one = sizes.loc[(sizes["run"] == kept.runs[1].key) & (sizes["step"] == 8), "W_V"]
    assert one.item() == pytest.approx(three.mean())


def test_ratios_and_the_plateau(kept):
    sizes = gradients.over_layers(kept.table)
    ratios = gradients.ratio_table(sizes, kept.runs)
    assert ratios["step"].min() == 4 and len(ratios) == 4 * 5
    first = ratios[ratios["run"] == kept.runs[0].key]
    assert first["plateau"].tolist() == [True, True, False, False, False]
    whole = sizes[sizes["step"] > 0]
    assert ratios["W_V / W_K"].tolist() == pytest.approx((whole["W_V"] / whole["W_K"]).tolist())


def test_attention_of_two_seeds(kept):
    subjects = kept.subjects[:2]
    table = maps.attention_table(subjects, kept.task, kept.batch.images[:10])
    assert list(table["seed"].unique()) == ["seed 0: EM at step 12", "seed 1: no EM by step 20"]
    assert {"at the EM, step 12", "end, step 20"} <= set(table["moment"]) and len(table) == (4 + 1) * 3 * 2 * 25
    sums = table.groupby(["seed", "moment", "layer", "head", "from"])["weight"].sum()
    assert sums.tolist() == pytest.approx([1] * ((4 + 1) * 3 * 2 * 5))


def test_the_look_that_changes_most_is_named(kept):
    table = maps.attention_table(kept.subjects[:1], kept.task, kept.batch.images[:10])
    there = (table["layer"] == 2) & (table["head"] == 1) & (table["from"] == "CLS") & (table["to"] == "top left")
    table.loc[there, "weight"] = [0.1, 0.2, 0.3, 0.9]
    assert maps.greatest_change(table) == "Head 1 of layer 2: the look from CLS to top left goes from 10% to 90%"


def test_without_cls_the_cells_look_at_each_other(tmp_path):
    """The flagship's tokens, of half a cell each: maps among the four cells, gradients at indicators and targets."""
    short = profiles.FLAGSHIP.vary(steps=4, batch_size=8, evaluate_every=1, warmup_steps=1, test_samples=20)
    subject = Subject(short, trained(short, RunStore(tmp_path), weights_every=1))
    task = short.build_task()
    batch = task.sample(torch.Generator().manual_seed(0), 10)
    table = maps.attention_table([subject], task, batch.images)
    assert set(table["to"]) == set(CELL_NAMES) and len(table) == 4 * 2 * 4 * 4 * 4
    found = gradients.diagnose_runs([subject], task, batch)
    assert (found["q at indicators"] > 0).all() and "q at CLS" not in found
