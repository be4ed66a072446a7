"""For the tests of sweeps: who trains what, and when, written down by the workers themselves as they do it."""

import os
import signal
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from eureka_lib.experiments import profiles
from eureka_lib.store import RunStore


def experiments(n, steps=10):
    """``n`` experiments of a tenth of a second for each 10 steps or so."""
    base = profiles.get("smoke").cheap.base
    return profiles.seeded(base.vary(steps=steps, evaluate_every=5, batch_size=16, test_samples=50), n, n)


class Watched(Executor):
    """Passes a sweep's tasks on to another executor, and has its workers keep a log of what they train."""

    def __init__(self, inner, log):
        self.inner, self.log = inner, log

    def submit(self, function, task):
        return self.inner.submit(watched, function, task, self.log)


def watched(function, task, log):
    """Do a task; write down its beginning and end, unless its run is there already."""
    if not task.load():
        note(log, "begin", task.key)
        function(task)
        note(log, "end", task.key)


class Deadly(Watched):
    """Passes tasks on; the one of the run ``log`` ends its worker by a signal."""

    def __init__(self, inner, log, how=signal.SIGKILL):
        super().__init__(inner, log)
        self.how = how

    def submit(self, function, task):
        if task.key != self.log:
            return self.inner.submit(function, task)
        return self.inner.submit(die, self.how)


def die(how):
    """End this process after a second: a dask worker that ends as soon as it has started is not replaced."""
    time.sleep(1.2)
    os.kill(os.getpid(), how)


def note(log, what, key):
    """Add a line to ``log``; several processes may."""
    with open(log, "a") as file:
        file.write(f"{what} {key} {os.getpid()}\n")


@dataclass
class Log:
    """The log, read: keys of the trainings begun and ended, in order, and the processes that ended any."""

    begun: list[str]
    ended: list[str]
    pids: set[int]

    @classmethod
    def read(cls, path):
        lines = [line.split() for line in Path(path).read_text().splitlines()] if Path(path).exists() else []
        for i, (what, key, _) in enumerate(lines):  # what was finished is never begun again
            assert what == "end" or ["end", key] not in [earlier[:2] for earlier in lines[:i]], f"{key} trained twice"
        kinds = {kind: [key for what, key, _ in lines if what == kind] for kind in ("begin", "end")}
        return cls(kinds["begin"], kinds["end"], {int(pid) for what, _, pid in lines if what == "end"})


def check_store(folder, wanted, killed=0):
    """The store has exactly the runs that were wanted, each of them sound; each killed process left at most one part.

    Returns the checksums of the histories by key.
    """
    from eureka_lib.store.contents import sound_runs

    runs = sound_runs(RunStore(folder))
    assert sorted(run.key for run in runs) == sorted(e.key for e in wanted) == RunStore(folder).keys()
    for name, most in {".partial": killed, "damaged": 0}.items():
        assert len(list((Path(folder) / name).glob("*"))) <= most, name
    return {run.key: run.meta["history_sha256"] for run in runs}


def wait_until(condition, seconds=300):
    """Wait until ``condition()`` is true; what it is then."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found
