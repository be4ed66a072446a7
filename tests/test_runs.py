"""The run store: what was stored comes back exactly; what is damaged is said so and never used."""

import json
import multiprocessing

import numpy as np
import pandas as pd
import pytest

from eureka_lib import runs
from eureka_lib.runs import RunStore, key_of

CONFIG = {"task": {"name": "two_step"}, "seed": 3, "scale": None, "rate": 0.1}
META = {"status": "finished", "wall_seconds": 1.5}


def history(seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"step": [0, 50, 100], "train_loss": [np.nan, *rng.random(2)], "test_accuracy": rng.random(3)})


def test_what_is_stored_comes_back_bit_for_bit(store):
    saved = store.save(CONFIG, history(), META)
    loaded = RunStore(store.folder).load(CONFIG)
    pd.testing.assert_frame_equal(loaded.history, history(), check_exact=True)
    pd.testing.assert_frame_equal(saved.history, loaded.history, check_exact=True)
    assert loaded.config == CONFIG and loaded.status == "finished" and loaded.meta["wall_seconds"] == 1.5
    assert sorted(path.name for path in (store.folder / loaded.key).iterdir()) == [
        "config.json", "history.csv", "meta.json",
    ]  # fmt: skip


def test_unknown_config_is_none(store):
    store.save(CONFIG, history(), META)
    assert store.load({**CONFIG, "seed": 4}) is None


def test_key_depends_on_everything_but_the_order(monkeypatch):
    assert key_of(CONFIG) == key_of(dict(reversed(CONFIG.items())))
    assert len({key_of(CONFIG), key_of({**CONFIG, "seed": 4}), key_of({**CONFIG, "rate": 0.2})}) == 3
    before = key_of(CONFIG)
    monkeypatch.setattr(runs, "RESULTS_VERSION", runs.RESULTS_VERSION + 1)
    assert key_of(CONFIG) != before


def test_the_first_stored_run_stays(store):
    store.save(CONFIG, history(0), META)
    again = store.save(CONFIG, history(1), META)
    pd.testing.assert_frame_equal(again.history, history(0), check_exact=True)
    assert not any((store.folder / ".partial").iterdir())


def damage_history(folder):
    path = folder / "history.csv"
    path.write_text(path.read_text().replace("100", "101"))


def truncate_history(folder):
    path = folder / "history.csv"
    path.write_text(path.read_text()[:20])


def swap_config(folder):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seed": 99}))


def break_json(folder):
    (folder / "meta.json").write_text("{")


def lose_file(folder):
    (folder / "meta.json").unlink()


@pytest.mark.parametrize("damage", [damage_history, truncate_history, swap_config, break_json, lose_file])
def test_a_damaged_run_is_set_aside_with_a_warning(store, damage):
    key = store.save(CONFIG, history(), META).key
    damage(store.folder / key)
    with pytest.warns(UserWarning, match=f"stored run {key} is damaged"):
        assert store.load(CONFIG) is None
    assert not (store.folder / key).exists()
    assert len(list((store.folder / "damaged").iterdir())) == 1
    store.save(CONFIG, history(), META)
    assert store.load(CONFIG) is not None


def save_many(folder, seed):
    for number in range(20):
        RunStore(folder).save({**CONFIG, "number": number}, history(seed), META)


def test_two_processes_may_store_the_same_runs(store):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=save_many, args=(store.folder, seed)) for seed in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    for number in range(20):
        assert store.load({**CONFIG, "number": number}) is not None
