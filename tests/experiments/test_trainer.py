"""Interrupted trainings give the runs that would have been."""

import subprocess
import sys

import pandas as pd
import pytest

from eureka_lib.experiments import trainer
from eureka_lib.experiments.run import run, unfinished_path
from eureka_lib.store import RunStore

INTERRUPTED = """
import os, sys
from eureka_lib.experiments import profiles, trainer
from eureka_lib.experiments.run import run
from eureka_lib.store import RunStore
trainer.SAVE_SECONDS = 0
e = profiles.get("smoke").live.vary(steps=20, evaluate_every=4, test_samples=100, stochastic_depth=0.2, seed=3)
def die(history):
    if history["step"].iloc[-1] == 12:
        os._exit(9)
run(e, RunStore(sys.argv[1]), on_evaluation=die)
"""


def test_an_interrupted_training_goes_on_exactly_where_it_was(tiny, store, tmp_path, capsys, monkeypatch):
    """A process dies between two evaluations; another continues: the history is that of an undisturbed run."""
    experiment = tiny.vary(steps=20, stochastic_depth=0.2, seed=3)
    died = subprocess.run([sys.executable, "-c", INTERRUPTED, str(store.folder)], capture_output=True)
    assert died.returncode == 9 and unfinished_path(store, experiment).exists() and store.load(experiment.key) is None
    steps = []
    found = run(experiment, store, on_evaluation=lambda history: steps.append(history["step"].iloc[-1]))
    assert "continuing from step 8" in capsys.readouterr().out and steps == [12, 16, 20]
    undisturbed = run(experiment, RunStore(tmp_path / "other"))
    pd.testing.assert_frame_equal(found.history, undisturbed.history, check_exact=True)
    assert not unfinished_path(store, experiment).exists()


def test_a_state_of_other_versions_is_not_continued(tiny, store, monkeypatch, capsys):
    monkeypatch.setattr(trainer, "SAVE_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, store, on_evaluation=interrupt_at(8))
    monkeypatch.setattr(trainer.provenance, "versions", lambda: {"torch": "0"})
    run(tiny, store)
    assert "continuing" not in capsys.readouterr().out


def test_a_damaged_state_is_named_and_passed_over(tiny, store, monkeypatch):
    monkeypatch.setattr(trainer, "SAVE_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, store, on_evaluation=interrupt_at(8))
    path = unfinished_path(store, tiny)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(UserWarning, match=f"{path.name} is damaged .*; training from the start"):
        found = run(tiny, store)
    assert found.status == "finished" and not path.exists()


def test_a_flipped_bit_in_a_saved_weight_does_not_reach_the_history(tiny, store, tmp_path, monkeypatch):
    """The file is as valid as before, but for its checksum."""
    monkeypatch.setattr(trainer, "SAVE_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, store, on_evaluation=interrupt_at(8))
    path = unfinished_path(store, tiny)
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    with pytest.warns(UserWarning, match="is damaged .its checksum does not match.; training from the start"):
        found = run(tiny, store)
    undisturbed = run(tiny, RunStore(tmp_path / "other"))
    pd.testing.assert_frame_equal(found.history, undisturbed.history, check_exact=True)


def test_short_trainings_save_nothing(tiny, store):
    run(tiny, store)
    assert not unfinished_path(store, tiny).parent.exists()


def interrupt_at(step):
    def on_evaluation(history):
        if history["step"].iloc[-1] == step:
            raise KeyboardInterrupt

    return on_evaluation
