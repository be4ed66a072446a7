"""The run store: what was stored comes back exactly; what is damaged is said so and never used."""

import multiprocessing
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from eureka_lib.store import RunStore, key_of, runs as store_module

CONFIG = {"task": {"name": "two_step"}, "seed": 3, "scale": None, "rate": 0.1}
KEY = key_of(CONFIG)
META = {"status": "finished", "wall_seconds": 1.5}


def history(seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"step": [0, 50, 100], "train_loss": [np.nan, *rng.random(2)], "test_accuracy": rng.random(3)})


def test_what_is_stored_comes_back_bit_for_bit(store):
    saved = store.save(KEY, CONFIG, history(), META)
    loaded = RunStore(store.folder).load(KEY)
    pd.testing.assert_frame_equal(loaded.history, history(), check_exact=True)
    pd.testing.assert_frame_equal(saved.history, loaded.history, check_exact=True)
    assert loaded.config == CONFIG and loaded.status == "finished" and loaded.meta["wall_seconds"] == 1.5
    assert sorted(path.name for path in (store.folder / loaded.key).iterdir()) == [
        "SHA256SUMS", "config.json", "history.csv", "meta.json",
    ]  # fmt: skip


def test_unknown_config_is_none(store):
    store.save(KEY, CONFIG, history(), META)
    assert store.load(key_of({**CONFIG, "seed": 4})) is None


def test_key_depends_on_everything_but_the_order(monkeypatch):
    assert key_of(CONFIG) == key_of(dict(reversed(CONFIG.items())))
    assert len({key_of(CONFIG), key_of({**CONFIG, "seed": 4}), key_of({**CONFIG, "rate": 0.2})}) == 3
    before = key_of(CONFIG)
    monkeypatch.setattr(store_module, "RESULTS_VERSION", store_module.RESULTS_VERSION + 1)
    assert key_of(CONFIG) != before


def test_equal_values_of_two_types_have_one_key():
    assert key_of({**CONFIG, "seed": 3.0}) == key_of(CONFIG) != key_of({**CONFIG, "seed": 3.5})
    assert key_of({"sizes": [1, 2.0]}) == key_of({"sizes": (1.0, 2)}) and key_of({"a": True}) != key_of({"a": 1})


def test_weights_are_part_of_one_run(store):
    """Asked for later they join it, those of earlier requests stay, and a training elsewhere replaces all of it."""
    first, second = ({step: {"weight": torch.full((2,), float(step))}} for step in (5, 10))
    store.save(KEY, CONFIG, history(), META)
    assert store.save(KEY, CONFIG, history(), META, first).weight_steps == [5]
    both = store.save(KEY, CONFIG, history(), META, second)
    assert both.weight_steps == [5, 10] and both.weights(5)["weight"].tolist() == [5, 5]
    assert store.save(KEY, CONFIG, history(), META).weight_steps == [5, 10]
    other = store.save(KEY, CONFIG, history(1), META, {7: {"weight": torch.ones(2)}})
    assert other.weight_steps == [7] and other.history.equals(history(1))
    assert store.keys() == [KEY] and not any((store.folder / ".partial").iterdir())


def test_the_first_stored_run_stays(store):
    store.save(KEY, CONFIG, history(0), META)
    again = store.save(KEY, CONFIG, history(1), META)
    pd.testing.assert_frame_equal(again.history, history(0), check_exact=True)
    assert not any((store.folder / ".partial").iterdir())


def change(name, text):
    """A way to damage a run: a file with other content, or without one if there is no ``text``."""
    return lambda folder: (folder / name).unlink() if text is None else (folder / name).write_text(text)


def another_run(folder):
    """A sound run, but of another configuration than the key says."""
    other = RunStore(folder.parent / "other").save("f" * 16, {**CONFIG, "seed": 99}, history(), META)
    shutil.rmtree(folder)
    other.folder.rename(folder)


@pytest.mark.parametrize(
    "damage",
    [change("history.csv", "step"), change("config.json", "{}"), change("meta.json", "[]"), change("meta.json", None),
     change("SHA256SUMS", ""), change("SHA256SUMS", None), change("step_0000005.safetensors", "{}"),
     change("step_0000005.safetensors", None), another_run],
)  # fmt: skip
def test_a_damaged_run_is_set_aside_with_a_warning(store, damage):
    key = store.save(KEY, CONFIG, history(), META, {5: {"weight": torch.ones(2)}}).key
    damage(store.folder / key)
    with pytest.warns(UserWarning, match=f"stored run {key} is damaged"):
        assert store.load(KEY) is None
    assert not (store.folder / key).exists()
    assert len(list((store.folder / "damaged").iterdir())) == 1
    store.save(KEY, CONFIG, history(), META)
    assert store.load(KEY) is not None


def test_what_is_no_run_under_right_checksums_is_damaged_too(store):
    files = {"config.json": b"{}", "history.csv": b"step", "meta.json": b"[]"}
    store.put(KEY, files | {"SHA256SUMS": store_module.sums_of(files)})
    with pytest.warns(UserWarning, match="it is not what a run looks like"):
        assert store.load(KEY) is None


def save_many(folder, seed):
    for number in range(20):
        RunStore(folder).save(f"{number:016}", CONFIG, history(seed), META)


def test_no_flipped_bit_goes_unnoticed(store):
    saved = store.save(KEY, CONFIG, history(), META, {5: {"weight": torch.ones(2)}})
    for name in saved.file_names:
        data = (saved.folder / name).read_bytes()
        for bit in [*range(0, 8 * len(data), 53), 8 * len(data) - 1]:
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            (saved.folder / name).write_bytes(changed)
            with pytest.raises(ValueError):
                store_module.read_run(saved.folder, weights=True)
        (saved.folder / name).write_bytes(data)
    assert store.load(KEY)


def test_a_run_of_an_older_results_version_is_not_taken_for_todays(store, monkeypatch):
    """Neither under its own key, which is another one, nor where it has been moved to today's."""
    monkeypatch.setattr(store_module, "RESULTS_VERSION", 0)
    old = store.save(key_of(CONFIG), CONFIG, history(), META)
    monkeypatch.undo()
    assert store.load(KEY) is None and old.folder.exists()
    old.folder.rename(store.folder / KEY)
    with pytest.warns(UserWarning, match="is damaged .it is of results version 0, and now it is [1-9]"):
        assert store.load(KEY) is None


def test_two_processes_may_store_the_same_runs(store):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=save_many, args=(store.folder, seed)) for seed in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    for number in range(20):
        assert store.load(f"{number:016}") is not None
