"""Sweeps: any executor, nothing trained twice, failures do not take the others with them, kills lose nothing."""

import inspect
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from watching import experiments

from eureka_lib.experiments.pools import InProcess, Workers
from eureka_lib.experiments.run import run
from eureka_lib.experiments.sweep import SweepError, sweep
from eureka_lib.progress import Progress
from eureka_lib.provenance import source_of
from eureka_lib.store import RunStore


def seeds_of(runs):
    return [r.config["model_seed"] for r in runs]


def test_process_pool_gives_what_single_runs_give(tiny, store, tmp_path, capsys):
    experiments = [tiny.vary(seed=seed) for seed in (2, 0, 1)]
    found = sweep(experiments, store=store)
    assert seeds_of(found) == [2, 0, 1]
    assert "3 runs, 0 of them stored, 3 to train" in capsys.readouterr().out
    for experiment, swept in zip(experiments, found, strict=True):
        alone = run(experiment, RunStore(tmp_path / "alone"))
        pd.testing.assert_frame_equal(alone.history, swept.history, check_exact=True)


def test_stored_runs_are_not_trained_again_and_duplicates_once(tiny, store, capsys):
    run(tiny, store)
    with ThreadPoolExecutor(1) as executor:
        found = sweep([tiny, tiny.vary(seed=1), tiny], executor=executor, store=store)
    assert "2 runs, 1 of them stored, 1 to train" in capsys.readouterr().out
    assert seeds_of(found) == [0, 1, 0]


def test_a_failing_experiment_does_not_take_the_others_with_it(tiny, store):
    bad = tiny.vary(patch=5)
    with pytest.raises(SweepError, match=rf"1 of 3 runs failed \({bad.key}: ValueError: patch 5 does not divide"):
        sweep([tiny, bad, tiny.vary(seed=1)], store=store)
    assert store.load(tiny.key) and store.load(tiny.vary(seed=1).key)


# --- What a person sees ----------------------------------------------------------------------------------------------


@pytest.fixture
def three(store):
    """Three experiments: the first is stored, the last cannot be trained."""
    first, second, third = experiments(3)
    run(first, store)
    return [first, second, third.vary(patch=5)]


def test_the_bar_in_a_terminal(three, store, monkeypatch, capsys):
    monkeypatch.delenv("EUREKA_HEADLESS")
    with pytest.raises(SweepError):
        sweep(three, InProcess(), store, "three")
    states = capsys.readouterr().err.split("\r")
    assert "three   0%" in states[1] and "left" not in states[1]
    assert "three 100%" in states[-1] and "2/2 done, 1 failed, 0:00 left" in states[-1]


def test_lines_where_nobody_looks_on(three, store, capsys):
    with pytest.raises(SweepError):
        sweep(three, InProcess(), store, "three")
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[0] == "three: 3 runs, 1 of them stored, 2 to train" and len(lines) <= 11
    assert re.fullmatch("three: 100%, (2/2 done, 1 failed, )?0:00 left", last)  # it depends on which comes first


def test_a_single_run_is_seen_while_it_trains(store, capsys):
    sweep(experiments(1), store=store)
    assert "training:  50%" in capsys.readouterr().out


def test_time_left_is_not_told_before_it_can_be_known(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("EUREKA_STATUS", str(tmp_path / "status"))
    with Progress("eight", 8) as progress:
        progress.started -= 10  # seconds
        progress.update(0.1)
        assert (tmp_path / "status").read_text() == "eight:   1%"
        progress.update(1)
        assert (tmp_path / "status").read_text() == "eight:  12%, 1:10 left"
    assert capsys.readouterr().out == "eight:  12%, 1:10 left\n"


# --- One's own -------------------------------------------------------------------------------------------------------


def source_here():
    from eureka_lib.attention.registry import METHODS  # of the process that this is called in

    return source_of(METHODS["own"].normaliser)


def test_own_attention_goes_to_the_workers_with_its_source_and_what_it_learns(own, store, tmp_path):
    with Workers(1) as pool:
        there = own["with_own"](pool, store.folder)
        source = pool.submit(source_here).result()
    assert source == inspect.getsource(own["own"])
    here = own["with_own"](InProcess(), tmp_path / "here")
    for one, other in zip(there, here, strict=True):
        pd.testing.assert_frame_equal(one.history, other.history, check_exact=True)


# --- Killed ----------------------------------------------------------------------------------------------------------

KILLED = """
import sys
import eureka_lib.experiments.sweep as module
module.SMALL = 0  # few steps, and yet with workers
from eureka_lib.experiments import profiles
from eureka_lib.store import RunStore
from eureka_lib.experiments.sweep import sweep
base = profiles.get("smoke").live.vary(steps=100, evaluate_every=50, test_samples=100)
if __name__ == "__main__":
    sweep([base.vary(seed=seed) for seed in range(10)], store=RunStore(sys.argv[1]))
"""


def finished(folder):
    """The stored runs' folders by key."""
    return {path.parent.name: path.parent for path in folder.glob("[0-9a-f]" * 16 + "/meta.json")}


def alive(pid):
    try:
        state = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(
    not os.path.exists(f"/proc/self/task/{os.getpid()}/children"), reason="finds child processes in Linux's /proc"
)
def test_killed_in_the_middle_nothing_finished_is_lost_and_workers_end(store, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    process = subprocess.Popen([sys.executable, script, store.folder], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while len(finished(store.folder)) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    assert len(children) >= 2  # the pool's workers, at least one, and multiprocessing's resource tracker
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while any(alive(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kept = {key: (path / "meta.json").stat().st_mtime_ns for key, path in finished(store.folder).items()}
    assert 2 <= len(kept) < 10
    for key in finished(store.folder):  # no half-written run: each one loads under its own config
        assert store.load(key).key == key
    again = subprocess.run([sys.executable, script, store.folder], capture_output=True, text=True, check=True).stdout
    assert f"10 runs, {len(kept)} of them stored, {10 - len(kept)} to train" in again
    after = {key: (path / "meta.json").stat().st_mtime_ns for key, path in finished(store.folder).items()}
    assert len(after) == 10 and kept.items() <= after.items()
