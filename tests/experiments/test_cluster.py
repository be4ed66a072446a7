"""Sweeps on a local dask cluster of real processes, which are killed while they work.

``EUREKA_ENDURANCE=200 ./run_all.sh test tests/experiments/test_cluster.py -k endurance`` is the same at the size of the
promise.
"""

import logging
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from distributed import Client, LocalCluster
from watching import Deadly, Log, Watched, check_store, experiments, wait_until

from eureka_lib.experiments import cluster
from eureka_lib.experiments.pools import InProcess
from eureka_lib.experiments.sweep import SweepError, sweep
from eureka_lib.store import RunStore

ENDURANCE = int(os.environ.get("EUREKA_ENDURANCE", 24))
KILL_EVERY = 0.7  # seconds


@pytest.fixture(scope="module")
def local():
    """A cluster of two workers with a thread and a GPU (as dask believes) each, on this machine."""
    options = {"n_workers": 2, "threads_per_worker": 1, "resources": {"GPU": 1}, "dashboard_address": None}
    with LocalCluster(**options, silence_logs=logging.CRITICAL) as found:
        yield found


@pytest.fixture
def client(local):
    with Client(local, set_as_default=False) as found:
        yield found


def pids_of(client):
    return set(client.run(os.getpid, on_error="ignore").values())


def kill_now_and_then(client, log, over, killed):
    """Kill one of the workers that have shown that they work, every few seconds, until ``over``; never the last."""
    while not over.wait(KILL_EVERY):
        there = pids_of(client)
        at_work = sorted(there & Log.read(log).pids)
        if at_work and len(there) > 1:
            killed.append(random.choice(at_work))
            os.kill(killed[-1], signal.SIGKILL)


def test_endurance_with_a_worker_killed_every_few_seconds(client, store, tmp_path):
    """All runs are there, each one sound, none is trained again once it has finished; the same as in this process."""
    wanted, log, over, killed = experiments(ENDURANCE), tmp_path / "log", threading.Event(), []
    killer = threading.Thread(target=kill_now_and_then, args=(client, log, over, killed))
    killer.start()
    try:
        runs = sweep(wanted, Watched(client.get_executor(), log), store)
    finally:
        over.set()
        killer.join()
    assert killed and [run.key for run in runs] == [e.key for e in wanted]
    assert len(Log.read(log).begun) <= ENDURANCE + len(killed)
    here = RunStore(tmp_path / "here")
    sweep(wanted, InProcess(), here)
    assert check_store(store.folder, wanted, len(killed)) == check_store(here.folder, wanted)
    print(f"{ENDURANCE} runs, {len(killed)} workers killed, {len(Log.read(log).begun)} trainings begun")


CALLER = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from distributed import Client
from watching import Watched, experiments
from eureka_lib.store import RunStore
from eureka_lib.experiments.sweep import sweep
address, folder, log = sys.argv[1:]
with Client(address) as client:
    sweep(experiments(12, steps=40), Watched(client.get_executor(), log), RunStore(folder))
"""


def nothing_begins(log: Path) -> bool:
    """Whether all that workers have begun has ended, and stays so: one may be about to begin what it was given."""
    before = Log.read(log)
    time.sleep(1)
    return len(before.ended) == len(before.begun) == len(Log.read(log).begun)


def test_the_caller_is_killed_and_calls_again(local, store, tmp_path):
    """What was finished stays, what was begun is finished by the workers, the rest is trained at the second call."""
    script, log, wanted = tmp_path / "caller.py", tmp_path / "log", experiments(12, steps=40)
    script.write_text(CALLER)
    command = [sys.executable, script, local.scheduler_address, store.folder, log]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_until(lambda: process.poll() is not None or len(Log.read(log).ended) >= 2)
    process.kill()
    process.wait()
    wait_until(lambda: not local.scheduler.tasks and nothing_begins(log))
    wait_until(lambda: len(Log.read(log).begun) == len(Log.read(log).ended))
    kept = len(store.keys())
    assert 2 <= kept < 12
    again = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found, missing = map(int, re.search(r"12 runs, (\d+) of them stored, (\d+) to train", again).groups())
    assert kept <= found < 12 and found + missing == 12  # a worker may have finished one more meanwhile
    assert sorted(Log.read(log).begun) == sorted(e.key for e in wanted)
    check_store(store.folder, wanted)


def test_a_run_that_kills_its_workers_is_named_and_the_others_finish(client, local, store, monkeypatch, capsys):
    """A run that waits behind it on the same worker may be lost with it in each try: the next call trains that."""
    monkeypatch.setattr("eureka_lib.experiments.sweep.TRIES", 2)
    monkeypatch.setattr(local.scheduler, "allowed_failures", 2)  # dask's patience is usually 3
    wanted = experiments(6)
    poison = wanted[2].key
    reason = rf"runs failed \(.*{poison}: its worker was lost in each of 2 tries, by KilledWorker"
    with pytest.raises(SweepError, match=reason):
        sweep(wanted, Deadly(client.get_executor(), poison), store)
    assert f"the worker of run {poison} was lost (KilledWorker: " in capsys.readouterr().out
    others = [e for e in wanted if e.key != poison]
    assert len(store.keys()) >= 4
    monkeypatch.undo()
    sweep(others, client.get_executor(), store)
    check_store(store.folder, others)


def test_own_attention_goes_to_the_cluster(own, client, store):
    assert len(own["with_own"](client.get_executor(), store.folder)) == 2


def test_the_notebooks_cluster_and_a_gpu_for_each_task(client, local, store, monkeypatch, tmp_path):
    """EUREKA_SCHEDULER makes sweeps use it, also for a single run; each task asks for what EUREKA_PER_TASK says."""
    monkeypatch.setenv("EUREKA_SCHEDULER", local.scheduler_address)
    monkeypatch.setenv("EUREKA_PER_TASK", "GPU=1")
    (found,) = sweep(experiments(1), store=store)
    assert found.meta["history_sha256"] in check_store(store.folder, experiments(1)).values()
    with cluster.connect(local.scheduler_address, {"GPU": 1}) as executor:
        future = executor.submit(time.sleep, 0.5)
        (task,) = wait_until(lambda: [t for key, t in local.scheduler.tasks.items() if key.startswith("sleep")])
        assert task.resource_restrictions == {"GPU": 1}
        future.result()


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("login1:8786", ValueError, "address is like tcp://login1:8786 or tls://login1:8786, got 'login1:8786'"),
        ("tcp://127.0.0.1:1", ConnectionError, "no dask scheduler answers at tcp://127.0.0.1:1"),
    ],
)
def test_wrong_addresses(address, error, words, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    with pytest.raises(error, match=re.escape(words)), cluster.connect(address):
        pass


def test_without_dask_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ImportError, match="pip install 'eureka-lib\\[cluster\\]'"),
        cluster.connect("tcp://login1:8786"),
    ):
        pass


def test_resources():
    assert cluster.parse_resources("") == {}
    assert cluster.parse_resources("GPU=1,MEMORY=16e9") == {"GPU": 1.0, "MEMORY": 16e9}
    for text in ("GPU", "GPU=one", "GPU=1=2"):
        with pytest.raises(ValueError, match=f"given like GPU=1 or GPU=1,MEMORY=16e9, got '{text}'"):
            cluster.parse_resources(text)
