"""A sweep under way: what its workers are asked to do, and what becomes of it, for whoever is looking.

Each stack is a :class:`Task` for some worker, in this process, another or on another machine. The worker trains, stores
the runs and leaves how far it is in a small file in the store; it answers with nothing, because what counts is what
is in the store. So a task may be done twice, by whatever executor after whatever accident, and no harm is done: the
second time it finds the runs. :class:`Tally` keeps count, loads what has been stored, and decides what to do about
what has failed.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from eureka_lib import cluster, paths
from eureka_lib.analysis.eureka import eureka_moment
from eureka_lib.experiment import Experiment, run, stored
from eureka_lib.pools import WorkerLost
from eureka_lib.progress import Progress
from eureka_lib.runs import Run, RunStore, StoreError

BEAT_SECONDS = 2  # how often a worker says that it lives
SILENT_SECONDS = 10  # after which it does not count as running
IDLE_SECONDS = 60  # that nothing runs until it is said
LOST_AT_MOST = 3  # times that a stack's worker may be lost while it trains it
DASK_COUNTS = 2  # of them for each time that dask gives up on a stack, which it has tried on four workers by then
LOST_WAITING_AT_MOST = 30  # times, while it only waited there: on a cluster many tasks wait at one worker
PATIENCE = 60  # seconds until what another machine has stored must be visible here, through a network's caches


@dataclass
class Note:
    """How many steps a stack has done: a file that is there, and rewritten, while the stack is trained (``with note``).

    ``look`` is called whenever steps are done, for trainings in the process that looks on.
    """

    path: Path
    look: Callable[[], None] | None = None
    steps: int = 0

    def __enter__(self) -> "Note":
        self.leave()
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._heart.join()
        with suppress(OSError):
            self.path.unlink()

    def done(self, history: pd.DataFrame) -> None:
        """Take notice of an evaluation."""
        self.steps = int(history["step"].iloc[-1])
        if self.look:
            self.leave()
            self.look()

    def leave(self) -> None:
        """Write the file. That it cannot be written, on a full disk, does not end a training."""
        with suppress(OSError):
            paths.write_atomically(self.path, str(self.steps).encode())

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            self.leave()


@dataclass(frozen=True)
class Task:
    """A stack to train: its ``members`` and their ``keys``, and the ``store`` they go to.

    ``lost`` counts the times that a worker died while training it, ``waited`` those while it only waited there.
    """

    members: Sequence[Experiment]
    keys: Sequence[str]
    store: Path
    weights_every: int
    note: Note
    lost: int = 0
    waited: int = 0

    @property
    def steps(self) -> int:
        """Training steps of all members."""
        return sum(e.training.steps for e in self.members)

    @property
    def names(self) -> str:
        """The runs by key, in a few words."""
        return f"run {self.keys[0]}" if len(self.keys) == 1 else f"runs {', '.join(self.keys)}"


def do(task: Task) -> None:
    """What a worker does with a task: train what is not stored yet, and store it."""
    if [e.key for e in task.members] != list(task.keys):
        raise RuntimeError("this worker's eureka_lib is not the sweep's: the same experiment has another key here")
    with task.note as note:
        run(task.members[0], RunStore(task.store), note.done, task.weights_every)


class Tally:
    """Keeps count of a sweep's tasks, and shows it: done, running, stored before, failed, and Eureka-moments so far.

    ``runs`` are those trained and loaded, ``failures`` the errors of those that could not be, both by key. ``open`` are
    the tasks in an executor's hands, ``again`` those that must be submitted once more.
    """

    def __init__(self, title: str, tasks: Sequence[Task], stored: Sequence[Run]):
        self.runs: dict[str, Run] = {}
        self.failures: dict[str, BaseException] = {}
        self.open: dict[Future, Task] = {}
        self.again: list[Task] = []
        self.given_up = False
        self.keys = [key for task in tasks for key in task.keys]
        self.notes = {task.note.path: task for task in tasks}
        self.beats: dict[Path, tuple[int, float]] = {}  # a note's time of change, and when that was noticed
        self.active, self.idle = time.monotonic(), False  # when something was last seen to go on; whether that was said
        self.stored = len(stored)
        self.moments: list[bool] = []  # whether there was one, of the runs that can be asked
        self._count_moments(stored)
        self.steps = 0  # of the tasks that are over
        self.progress = Progress(title, sum(task.steps for task in tasks))

    def look(self) -> None:
        """Take notice of what has come to its end, and show where all stands."""
        over = [future for future in self.open if future.done()]
        for future in over:
            self._close(self.open.pop(future), error_of(future))
        under_way = self._under_way()
        self._notice_idleness(bool(over or under_way))
        steps = self.steps + sum(len(task.keys) * steps for task, steps in under_way)
        running = sum(len(task.keys) for task, _ in under_way)
        moments = f", {sum(self.moments)} EMs" if self.moments else ""
        self.progress.update(
            min(steps, self.progress.total - (self.steps < self.progress.total)),  # all is done when all is stored
            f"{len(self.runs)}/{len(self.keys)} done, {running} running, {self.stored} stored, "
            f"{len(self.failures)} failed{moments}",
        )

    def give_up(self) -> None:
        """Begin nothing more."""
        self.given_up = True
        for future in self.open:
            future.cancel()

    def _under_way(self) -> list[tuple[Task, int]]:
        """The tasks whose workers live, and the steps done of each."""
        found = []
        for path in next(iter(self.notes)).parent.iterdir():
            with suppress(OSError, ValueError):  # it is removed at this moment
                changed, now = path.stat().st_mtime_ns, time.monotonic()
                if changed != self.beats.get(path, (0, 0))[0]:
                    self.beats[path] = changed, now
                if path in self.notes and now - self.beats[path][1] < SILENT_SECONDS:
                    found.append((self.notes[path], int(path.read_text())))
        return found

    def _notice_idleness(self, active: bool) -> None:
        now = time.monotonic()
        if active:
            self.active, self.idle = now, False
        elif self.open and now - self.active > IDLE_SECONDS and not self.idle:
            self.idle = True
            self.progress.say(f"nothing has run for {IDLE_SECONDS} s: {len(self.open)} tasks wait for workers")

    def _close(self, task: Task, error: BaseException | None) -> None:
        """Load what a task has stored, or note why it has not."""
        if isinstance(error, CancelledError) and not self.given_up:
            error = ConnectionError("the executor has cancelled it, as dask does if its scheduler is gone")
        if isinstance(error, WorkerLost) or cluster.is_loss(error):
            error = self._after_loss(task, error)
            if error is None:
                return
        if error is None:
            try:
                found = load_all(task)
                self.runs |= found
                self._count_moments(found.values())
            except StoreError as problem:
                error = problem
        if error is not None:
            self.failures |= dict.fromkeys(task.keys, error)
        if isinstance(error, StoreError):  # whatever is trained from here on would be lost, too
            self.give_up()
        self.steps += task.steps

    def _count_moments(self, runs: Iterable[Run]) -> None:
        """Of the runs that have an accuracy: what a leap of a loss is, only its task knows."""
        self.moments += [eureka_moment(*run.accuracy).happened for run in runs if "test_accuracy" in run.history]

    def _after_loss(self, task: Task, error: BaseException) -> BaseException | None:
        """Try a task again whose worker was lost; beyond the limit, the error that it counts as."""
        begun = task.note.path.exists()  # as only a worker that was killed leaves it
        with suppress(OSError):
            task.note.path.unlink()
        if begun:
            task = replace(task, lost=task.lost + (DASK_COUNTS if cluster.is_loss(error) else 1))
        else:
            task = replace(task, waited=task.waited + 1)
        if task.lost > LOST_AT_MOST or task.waited > LOST_WAITING_AT_MOST:
            return WorkerLost(f"every worker that tried it was lost, the last time: {error}")
        if begun:
            self.progress.say(f"a worker was lost while it trained {task.names} ({type(error).__name__}); trying again")
        self.again.append(task)
        return None


def load_all(task: Task) -> dict[str, Run]:
    """The runs of a task that a worker says it has stored; StoreError if they are not there to be seen."""
    store, deadline = RunStore(task.store), time.monotonic() + PATIENCE
    runs = {}
    for experiment, key in zip(task.members, task.keys, strict=True):
        while (found := stored(experiment, store, task.weights_every)) is None:
            if time.monotonic() > deadline:
                raise StoreError(f"a worker has stored run {key}, but not in {store.folder} as it is seen from here")
            time.sleep(0.1)
            store.keys()  # makes a network file system look again
        runs[key] = found
    return runs


def error_of(future: Future) -> BaseException | None:
    """What a future that is done has raised; also its cancellation, instead of raising that."""
    return CancelledError("not begun") if future.cancelled() else future.exception()
