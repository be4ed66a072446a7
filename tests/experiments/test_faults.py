"""What may go wrong with a sweep, each with real processes: nothing finished is lost or trained again, and it is said.

The same on a dask cluster is in test_cluster.py, damage to stored runs in test_runs.py.
"""

import ctypes
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from watching import Deadly, Log, Watched, check_store, experiments, wait_until

from eureka_lib.experiments import trainer
from eureka_lib.experiments.pools import InProcess, Workers
from eureka_lib.experiments.run import run
from eureka_lib.experiments.sweep import SweepError, Task, sweep, train
from eureka_lib.store import RESULTS_VERSION, RunStore, StoreError
from eureka_lib.store.contents import sound_runs
from eureka_lib.store.runs import FILES, SUMS, sums_of

SCRIPT = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from watching import Watched, experiments
from eureka_lib.experiments.pools import InProcess, Workers
from eureka_lib.store import RunStore
from eureka_lib.experiments.sweep import sweep
store = RunStore(sys.argv[1])
"""


def start(tmp_path, body, *arguments, **options):
    """Start a script of its own process, that goes on after ``SCRIPT`` with ``body``."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + body)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, script, *map(str, arguments)], **pipes, **options)


# --- Processes die ---------------------------------------------------------------------------------------------------


def kill_one(log, killed):
    """Kill a worker of this process that has shown that it works, in the middle of its next run."""
    at_work = wait_until(lambda: Log.read(log).pids & {child.pid for child in multiprocessing.active_children()})
    killed.append(random.choice(sorted(at_work)))
    time.sleep(0.2)
    os.kill(killed[-1], signal.SIGKILL)


def test_a_killed_worker_loses_its_own_run_only(store, tmp_path, capsys):
    wanted, log, killed = experiments(6, steps=40), tmp_path / "log", []
    killer = threading.Thread(target=kill_one, args=(log, killed))
    with Workers(2) as pool:
        killer.start()
        runs = sweep(wanted, Watched(pool, log), store)
        killer.join()
    assert [one.key for one in runs] == [e.key for e in wanted]
    assert len(killed) == 1 and len(Log.read(log).begun) <= len(wanted) + 1
    begun, said = Log.read(log).begun, capsys.readouterr().out
    for key in {key for key in begun if begun.count(key) > 1}:
        assert f"the worker of run {key} was lost (SIGKILL: out of memory?" in said
    here = RunStore(tmp_path / "here")
    sweep(wanted, InProcess(), here)
    assert check_store(store.folder, wanted, killed=1) == check_store(here.folder, wanted)


@pytest.mark.parametrize(("how", "advice"), [("SIGKILL", "out of memory?"), ("SIGSEGV", "compiled code crashed")])
def test_a_run_that_kills_its_worker_is_named_with_the_signal(store, capsys, monkeypatch, how, advice):
    """And what to do about it; the others finish."""
    monkeypatch.setattr("eureka_lib.experiments.sweep.TRIES", 2)  # to wait for fewer workers
    wanted = experiments(3)
    poison = wanted[1].key
    reason = rf"1 of 3 runs failed \({poison}: its worker was lost in each of 2 tries, by {how}: {re.escape(advice)}"
    with pytest.raises(SweepError, match=reason):
        with Workers(2) as pool:
            sweep(wanted, Deadly(pool, poison, signal.Signals[how]), store)
    assert capsys.readouterr().out.count(f"the worker of run {poison} was lost ({how}: ") == 1
    check_store(store.folder, [wanted[0], wanted[2]])


def test_a_standard_pool_that_breaks_is_said_and_the_same_call_goes_on(store):
    """It is of no use any more after a worker's death; with a new one, only what is missing is trained."""
    wanted = experiments(4)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(SweepError, match=r"of 4 runs failed \(.*BrokenProcessPool.*The others are stored"):
            sweep(wanted, Deadly(pool, wanted[2].key), store)
    kept = len(store.keys())
    with ThreadPoolExecutor(1) as pool:
        sweep(wanted, Watched(pool, store.folder / "log"), store)
    assert len(Log.read(store.folder / "log").begun) == 4 - kept
    check_store(store.folder, wanted)


UNGUARDED = """
with Workers(1) as pool:
    sweep(experiments(2), pool, store)
"""


def test_a_script_needs_no_main_guard(tmp_path, store):
    """Workers do not run the script again: it prints once."""
    text, errors = start(tmp_path, UNGUARDED, store.folder).communicate(timeout=120)
    assert text.count("2 runs, 0 of them stored, 2 to train") == 1, errors
    check_store(store.folder, experiments(2))


TWO = """
if __name__ == "__main__":
    with Workers(1) as pool:
        sweep(experiments(14, steps=20), Watched(pool, sys.argv[2]), store)
"""


def test_two_sweeps_of_the_same_on_one_store(tmp_path, store):
    """Both get all runs; none is trained again that has finished, only what both have in flight is trained twice."""
    log = tmp_path / "log"
    both = [start(tmp_path, TWO, store.folder, log) for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    begun = Log.read(log).begun  # which checks that none is begun after it has ended
    assert len(set(begun)) == 14 and len(begun) < 24, "14 and a few in flight, not 28"
    check_store(store.folder, experiments(14, steps=20))


SLOW = """
import signal
import eureka_lib.experiments.sweep as module
module.SMALL = 0  # few steps, and yet with workers
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background, deaf to Ctrl-C
if __name__ == "__main__":
    print(os.getpid(), flush=True)
    sweep(experiments(int(sys.argv[2]), steps=int(sys.argv[3])), store=store)
"""


def family(pid):
    """A process's children, and theirs."""
    children = {int(word) for file in Path(f"/proc/{pid}/task").glob("*/children") for word in file.read_text().split()}
    return children.union(*map(family, children))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes in Linux's /proc")
@pytest.mark.parametrize(("n", "steps"), [(1, 100_000), (8, 150)])
def test_ctrl_c_stops_at_once_keeps_what_is_finished_and_says_so(tmp_path, store, n, steps):
    """Sent to the whole group of processes, as a terminal does; in this process (one run) and with workers."""
    process = start(tmp_path, SLOW, store.folder, n, steps, start_new_session=True)
    wait_until(lambda: len(store.keys()) >= 2 or (n == 1 and store.folder.is_dir()))
    children = family(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    text, errors = process.communicate(timeout=20)
    kept = len(sound_runs(store))
    assert f"training: stopped; {kept} of {n} are stored, and the same call trains the rest" in text
    assert process.returncode == -signal.SIGINT and errors.count("Traceback") == 1, errors
    assert kept == len(store.keys()) and (n == 1 or 2 <= kept < n)
    assert (n == 1 or children) and not any(map(works, children))


def works(pid):
    """Whether a process lives, and is not multiprocessing's own tracker, which ends a little later."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()  # empty, once the process is ending
    except OSError:
        return False
    return bool(command) and b"resource_tracker" not in command


# --- The store cannot be written -------------------------------------------------------------------------------------


FULL = """
import resource
if __name__ == "__main__":
    sweep(experiments(2), InProcess(), store)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))  # bytes of a file; as on a full disk, a larger write fails
    sweep(experiments(40), store=store)
"""


def test_a_disk_that_takes_no_more(tmp_path, store):
    """It is said, nothing is trained in vain beyond what is in flight, no half-written run; later it goes on."""
    process = start(tmp_path, FULL, store.folder)
    _, errors = process.communicate(timeout=120)
    message = errors.splitlines()[-1]
    assert "SweepError: 38 of 38 runs failed" in message and process.returncode == 1
    assert re.search(r"\(\w{16}: StoreError: .*run \w{16} could not be stored in \S+: File too large", message), message
    assert int(re.search(r"and (\d+) more: given up after that", message)[1]) > 20
    check_store(store.folder, experiments(2))
    sweep(experiments(4), InProcess(), store)
    check_store(store.folder, experiments(4))


def test_a_full_disk_does_not_end_a_training_that_only_saves_its_state(store, monkeypatch):
    """The state is a convenience; without it the run goes on to its end, and here is stored where there is room."""
    monkeypatch.setattr(trainer, "SAVE_SECONDS", 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.warns(UserWarning, match=r"state could not be saved as \S+ \(.*\); it goes on"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            found = run(experiments(1)[0], store)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert found.status == "finished" and not list((store.folder / "unfinished").iterdir())


READ_ONLY = """
if __name__ == "__main__":
    sweep(experiments(2), store=store)
    sweep(experiments(3), InProcess(), store)
"""


def without_privilege():
    """Let a process of root, too, obey the permission bits of folders (Linux: no CAP_DAC_OVERRIDE)."""
    if os.geteuid() == 0:
        drop, override = 24, 1
        assert ctypes.CDLL(None).prctl(drop, override, 0, 0, 0) == 0


@contextmanager
def read_only(folder):
    """Folders in which nothing can be made or moved meanwhile."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    try:
        yield
    finally:
        for path in folders:
            path.chmod(0o755)


@pytest.mark.skipif(sys.platform != "linux", reason="lets root obey permissions, by a system call of Linux")
def test_a_read_only_store_serves_what_it_has_and_trains_nothing(tmp_path, store):
    """A damaged run in it is named and not used, though it cannot be moved."""
    *_, damaged = sweep(experiments(3), InProcess(), store)
    (damaged.folder / "history.csv").write_text("step,test_accuracy\n0,1.0\n")
    with read_only(store.folder):
        process = start(tmp_path, READ_ONLY, store.folder, preexec_fn=without_privilege)
        text, errors = process.communicate(timeout=120)
    assert text == "training: 2 runs, 2 of them stored, 0 to train\ntraining: 3 runs, 2 of them stored, 1 to train\n"
    assert f"stored run {damaged.key} is damaged (its history.csv does not match the checksum" in errors
    assert "it stays, as it could not be moved (Permission denied)" in errors
    assert re.search(rf"StoreError: .*the run store {store.folder} cannot be written: Permission denied", errors)


@pytest.mark.skipif(sys.platform != "linux", reason="lets root obey permissions, by a system call of Linux")
def test_a_folder_that_another_user_closed_is_named(tmp_path, store):
    closed = store.folder / ".partial"
    closed.mkdir(parents=True)
    closed.chmod(0o555)
    process = start(tmp_path, "sweep(experiments(1), store=store)", store.folder, preexec_fn=without_privilege)
    _, errors = process.communicate(timeout=120)
    assert f"Permission denied in {closed}, which belongs to {closed.owner()}" in errors


def truncate(folder):
    path = folder / "history.csv"
    path.write_bytes(path.read_bytes()[:-40])


def flip_bit(folder):
    path = folder / "meta.json"
    data = path.read_bytes().replace(b"finished", b"finishee")  # d and e differ in one bit
    path.write_bytes(data)


def another_config(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"steps": 10', '"steps": 20'))


def older_version(folder):
    path = folder / "meta.json"
    path.write_text(path.read_text().replace(f'"results_version": {RESULTS_VERSION}', '"results_version": 0'))
    (folder / SUMS).write_bytes(sums_of({name: (folder / name).read_bytes() for name in FILES}))


def test_damaged_runs_are_named_set_aside_and_trained_again(store):
    """Truncated, a bit flipped, of an older results version, with a config that is not its key's; the others stay."""
    wanted, damages = experiments(6), (truncate, flip_bit, another_config, older_version)
    first = sweep(wanted, InProcess(), store)
    sums = check_store(store.folder, wanted)
    kept = [one.folder.stat().st_ino for one in first[4:]]
    for one, damage in zip(first, damages, strict=False):
        damage(one.folder)
    with pytest.warns(UserWarning, match="is damaged") as told:
        again = sweep(wanted, store=store)
    for one, problem in zip(first, ("history.csv does not match", "meta.json does not match",
                                    "config.json does not match", "of results version 0"), strict=False):  # fmt: skip
        (message,) = [str(warning.message) for warning in told if one.key in str(warning.message)]
        assert problem in message and "moved to" in message and "training again" in message
    assert len(list((store.folder / "damaged").iterdir())) == 4
    assert [one.folder.stat().st_ino for one in again[4:]] == kept
    shutil.rmtree(store.folder / "damaged")
    assert check_store(store.folder, wanted) == sums


# --- Runs and workers that are not as they should be -----------------------------------------------------------------


def test_a_run_that_diverges_is_an_outcome_like_any_other(tiny, store, capsys):
    bad = tiny.vary(learning_rate=1e30, warmup_steps=0)
    with Workers(1) as pool:
        found = sweep([bad, tiny], pool, store)
    assert [one.status for one in found] == ["diverged", "finished"]
    assert "2/2 done, 0 failed" in capsys.readouterr().out
    assert sweep([bad], store=store)[0].history.isna().to_numpy().any()  # stored, and found


def test_many_failures_are_counted_and_few_named(tiny, store):
    with pytest.raises(SweepError, match="8 of 9 runs failed") as caught:
        sweep([tiny, *(tiny.vary(patch=5, seed=seed) for seed in range(8))], InProcess(), store)
    assert re.search(r"\((\w{16}, ){4}\w{16} and 3 more: ValueError: patch 5 does not divide", str(caught.value))
    assert store.load(tiny.key)


def test_trainings_in_threads_take_turns_and_are_what_they_are_alone(tiny, store, tmp_path):
    """They share torch's random generator, which stochastic depth and the first weights draw from."""
    wanted = [tiny.vary(seed=seed, stochastic_depth=0.3) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        threaded = sweep(wanted, pool, store)
    for experiment, found in zip(wanted, threaded, strict=True):
        alone = run(experiment, RunStore(tmp_path / "alone"))
        pd.testing.assert_frame_equal(found.history, alone.history, check_exact=True)


def test_a_worker_of_another_version_is_refused(tiny, store):
    with pytest.raises(RuntimeError, match="this worker's eureka_lib is not the sweep's"):
        train(Task(tiny, "0123456789abcdef", store))


class Elsewhere(InProcess):
    """Its workers see another folder where the store should be."""

    def submit(self, function, task, *callbacks):
        return super().submit(function, task._replace(store=RunStore(task.store.folder / "elsewhere")))


def test_a_worker_that_does_not_share_the_store_is_noticed(tiny, store, monkeypatch):
    monkeypatch.setattr("eureka_lib.experiments.sweep.PATIENCE", 0.2)
    with pytest.raises(SweepError, match=r"StoreError: a worker has stored run \w+, but not in \S+ as seen from"):
        sweep([tiny], Elsewhere(), store)


def test_a_store_that_cannot_be_read_is_not_a_damaged_run(tiny, store, monkeypatch):
    """A disk's or network's trouble must not set a good run aside."""
    found = run(tiny, store)
    (found.folder / "history.csv").rename(found.folder / "kept")
    (found.folder / "history.csv").mkdir()  # reading it is an OSError, and it is there
    with pytest.raises(StoreError, match="cannot be read"):
        store.load(tiny.key)
    assert found.folder.exists()
