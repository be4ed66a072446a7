"""From configuration to run: same seeds, same bits; changed settings land where they belong."""

import functools
import importlib.util
import json
import subprocess
import sys
from dataclasses import make_dataclass, replace

import pandas as pd
import pytest
import torch

from eureka_lib.attention.registry import METHODS, Method
from eureka_lib.experiments import profiles
from eureka_lib.experiments.experiment import Experiment, FixConfig
from eureka_lib.experiments.run import run
from eureka_lib.experiments.trainer import flushes_denormals, learning_rate_of
from eureka_lib.models.resnet import ResNet9
from eureka_lib.models.vit import ViT
from eureka_lib.tasks.variants import TASKS


def test_vary_finds_the_part(tiny):
    other = tiny.vary(attention="norm_softmax", steps=7, cell=16, seed=5)
    assert (other.model.attention, other.training.steps, other.task.cell) == ("norm_softmax", 7, 16)
    assert (other.model_seed, other.data_seed) == (5, 5)
    assert tiny.vary(data_seed=9) == tiny.vary(data_seed=9) != tiny
    assert tiny.vary() == tiny


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"attentoin": "softmax"}, ValueError, "unknown setting 'attentoin'.*did you mean 'attention'"),
        ({"attention": "sofmax"}, ValueError, "unknown attention 'sofmax'.*did you mean 'softmax'"),
        ({"seed": -1}, ValueError, "seed must be a whole number >= 0, got -1; the nearest valid value is 0"),
        ({"seed": "one"}, TypeError, "seed must be a whole number >= 0, got 'one' of type str"),
        ({"model_seed": 1.5}, TypeError, "model_seed must be a whole number"),
        ({"heads": 3}, ValueError, "heads 3 does not divide width 64"),
        ({"steps": 0}, ValueError, "steps must be a whole number >= 1, got 0"),
        ({"precision": "float16"}, ValueError, "unknown precision 'float16'.*bfloat16"),
        ({"learning_rate": -1.0}, ValueError, "learning_rate must be in"),
        ({"indicator_source": "minst"}, None, None),
    ],
)
def test_bad_settings_are_named(tiny, change, error, words):
    if error is None:  # sources are checked when images are needed
        with pytest.raises(ValueError, match="unknown image source 'minst'.*did you mean 'mnist'"):
            tiny.vary(**change).build_task()
        return
    with pytest.raises(error, match=words):
        tiny.vary(**change)


def test_patch_must_divide_the_image(tiny, store):
    with pytest.raises(ValueError, match="patch 7 does not divide image size 16"):
        run(tiny.vary(patch=7), store)


def test_unknown_task_and_model_are_named(tiny):
    config = tiny.task.__class__(name="two_stop")
    with pytest.raises(ValueError, match="unknown task 'two_stop'.*did you mean 'two_step'"):
        Experiment(task=config)


def test_models_are_built_by_name(tiny):
    task = tiny.build_task()
    assert isinstance(tiny.build_model(task), ViT)
    resnet = profiles.get("smoke").resnet
    assert isinstance(resnet.build_model(task), ResNet9)


def test_a_run_is_stored_and_found_again(tiny, store):
    seen = []
    first = run(tiny, store, on_evaluation=lambda history: seen.append(len(history)))
    assert seen == [1, 2, 3, 4]
    assert first.history["step"].tolist() == [0, 4, 8, 12]
    again = run(tiny, store, on_evaluation=lambda history: seen.append(len(history)))
    assert seen[4:] == [4]  # found, not trained
    pd.testing.assert_frame_equal(first.history, again.history, check_exact=True)
    meta = again.meta
    assert meta["status"] == "finished" and meta["wall_seconds"] > 0
    assert {"machine", "versions", "git_commit", "data_sha256", "device"} <= set(meta)


def test_a_run_leaves_generator_and_threads_as_they_were(tiny, store):
    torch.manual_seed(1)
    threads, expected = torch.get_num_threads(), torch.rand(3)
    assert not flushes_denormals()
    torch.manual_seed(1)
    run(tiny, store)
    assert torch.equal(torch.rand(3), expected) and torch.get_num_threads() == threads
    assert not flushes_denormals()


def test_training_counts_numbers_below_the_smallest_normal_one_as_zero(tiny, store):
    seen = []
    run(tiny, store, lambda history: seen.append(flushes_denormals()))
    assert all(seen)
    torch.set_flush_denormal(True)
    try:
        run(tiny.vary(seed=1), store)
        assert flushes_denormals(), "as it was"
    finally:
        torch.set_flush_denormal(False)


SCRIPT = """
import sys
from eureka_lib.experiments import profiles
from eureka_lib.experiments.run import run
from eureka_lib.store import RunStore
e = profiles.get("smoke").live.vary(steps=12, evaluate_every=4, test_samples=100, stochastic_depth=0.2, seed=3)
print(run(e, RunStore(sys.argv[1])).meta["history_sha256"])
"""


def test_a_fresh_process_gives_the_same_history_bit_for_bit(tiny, store, tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "other")]
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert there == run(tiny.vary(stochastic_depth=0.2, seed=3), store).meta["history_sha256"]


def test_seeds_matter_separately(tiny, store):
    histories = [run(tiny.vary(**change), store).history["train_loss"].tolist()[1:]
                 for change in ({}, {"model_seed": 1}, {"data_seed": 1})]  # fmt: skip
    assert len({tuple(h) for h in histories}) == 3


def test_paper_profile_is_the_papers_and_trains_on_a_cpu(store):
    """Its exact model and optimiser settings; two steps, on the embedded digits at the paper's image size."""
    paper = profiles.get("paper").vit
    assert TASKS[paper.task.name].sources(paper.task) == ["fashion_mnist", "mnist"]
    settings = paper.training
    assert (settings.steps, settings.batch_size, settings.warmup_steps) == (300 * 117, 512, 5 * 117)
    assert (settings.learning_rate, settings.weight_decay, settings.label_smoothing) == (5e-4, 0.05, 0.1)
    assert learning_rate_of(settings)(step=585) == pytest.approx(5e-4)
    short = paper.vary(indicator_source="digits", target_source="digits", steps=2, evaluate_every=1, test_samples=16)
    task = short.build_task()
    assert task.image_size == 56
    assert sum(p.numel() for p in short.build_model(task).parameters()) == 3_750_666
    history = run(short.vary(batch_size=16), store).history
    assert history["step"].tolist() == [0, 1, 2]
    assert history["test_loss"].between(2.0, 2.7).all() and history["train_loss"][1:].between(2.0, 2.7).all()


def test_a_diverged_run_is_a_recorded_outcome(tiny, store):
    found = run(tiny.vary(learning_rate=1e30, warmup_steps=0), store)
    assert found.status == "diverged"
    assert store.load(found.key).status == "diverged"


def test_config_is_plain_data(tiny):
    assert json.loads(json.dumps(tiny.config())) == tiny.config()


@pytest.mark.parametrize("part", ["vit", "resnet", "in_context", "language"])
@pytest.mark.parametrize("profile", ["smoke", "paper"])
def test_a_configuration_gives_the_experiment_back(profile, part):
    found = getattr(profiles.get(profile), part)
    experiment = getattr(found, "base", found).vary(seed=3)
    again = Experiment.from_config(json.loads(json.dumps(experiment.config())))
    assert again == experiment and again.key == experiment.key


def test_a_configuration_with_code_of_ones_own_gives_none(tiny):
    with pytest.raises(ValueError, match="code that the library does not have: its attention"):
        Experiment.from_config(tiny.config() | {"own": {"attention": "def own(): ..."}})


def test_what_has_its_default_value_is_no_part_of_the_key(tiny, monkeypatch):
    """So a setting that is added later leaves all keys as they are; those that differ from it do not."""
    later = make_dataclass("FixConfig", [("later", float, 0.5)], bases=(FixConfig,), frozen=True)
    extended = replace(tiny, fix=later())
    assert extended.key == tiny.key and replace(tiny, fix=later(later=0.6)).key != tiny.key
    assert tiny.vary(scale_start=24).key == tiny.vary(scale_start=24.0).key != tiny.key


OWN = """
def mine(logits, scale):
    return (logits * scale).softmax(dim=-1) * {factor}
"""


def test_an_attention_of_ones_own_is_known_by_its_source(tiny, store, monkeypatch, tmp_path):
    """Changed under its name, it is another run; an unchanged one is found again."""
    keys = []
    for number, factor in enumerate((1.0, 0.5, 1.0)):
        path = tmp_path / f"own_{number}.py"
        path.write_text(OWN.format(factor=factor))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setitem(METHODS, "mine", Method(module.mine))
        found = run(tiny.vary(attention="mine"), store)
        assert f"* {factor}" in found.config["own"]["attention"]
        keys.append(found.key)
    assert keys[0] == keys[2] != keys[1] and store.keys() == sorted(set(keys))
    monkeypatch.setitem(METHODS, "mine", Method(functools.partial(module.mine)))
    with pytest.raises(ValueError, match="the source of .* cannot be read.*define it by def or class"):
        run(tiny.vary(attention="mine"), store)


def test_a_task_of_ones_own_is_one_entry_of_the_table(tiny, store, monkeypatch):
    class BottomLeftTask(TASKS["targets_only"]):
        def target(self, grid, same):
            return torch.full_like(grid.cells[:, 0], 2)

    monkeypatch.setitem(TASKS, "bottom_left", BottomLeftTask)
    mine = tiny.vary(task="bottom_left")
    batch = mine.build_task().sample(torch.Generator().manual_seed(0), 20)
    assert (batch.labels == batch.cells[:, 2]).all()
    assert "class BottomLeftTask" in run(mine, store).config["own"]["task"] and mine.key != tiny.key


def test_weights_asked_for_later_are_added_to_the_run(tiny, store):
    first = run(tiny, store)
    assert run(tiny, store, weights_every=6).weight_steps == [0, 6, 12]
    assert run(tiny, store, weights_every=4).weight_steps == [0, 4, 6, 8, 12]
    again = run(tiny, store)
    assert again.key == first.key and again.history.equals(first.history) and again.weight_steps == [0, 4, 6, 8, 12]


@pytest.mark.parametrize("change", [{"optimizer": "sgd"}, {"query_key_rate": 12.0}, {"query_key_std": 0.1}])
def test_settings_of_optimiser_and_queries_change_the_training(tiny, store, change):
    usual, other = run(tiny, store).history, run(tiny.vary(**change), store).history
    assert other["test_loss"].notna().all() and not other["train_loss"][1:].equals(usual["train_loss"][1:])


def test_a_rate_for_queries_and_keys_needs_attention_of_ours():
    with pytest.raises(ValueError, match="query_key_rate=12.0.* treats attention, of which resnet9 has none"):
        profiles.get("smoke").resnet.vary(query_key_rate=12.0)
    with pytest.raises(ValueError, match="query_key_rate 12.0 is for a ViT, not gpt2; allowed is 1.0"):
        profiles.get("smoke").in_context.base.vary(query_key_rate=12.0)
