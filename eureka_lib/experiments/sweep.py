"""Many experiments at once: ``sweep(experiments)`` returns their runs, training those that are not stored yet.

The same call serves eight runs on a laptop and thousands on a cluster: each run is a task for any executor with the
``concurrent.futures`` interface. By default that is this process for a single run, else a worker process per core (one
on a GPU), one thread each; or the dask cluster that ``EUREKA_SCHEDULER`` names (:mod:`eureka_lib.experiments.cluster`).

A task looks into the store first and keeps its run there, so it may be done twice by whomever, and nothing that has
finished is lost or trained twice. Whatever is killed, a worker or this process, the same call goes on from what is
stored. A task whose worker is lost is tried again, up to a limit.
"""

import os
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import islice
from typing import Any, NamedTuple

import pandas as pd
from loky import cpu_count

from eureka_lib.attention.registry import METHODS, Method
from eureka_lib.experiments import cluster
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.experiments.pools import InProcess, Workers
from eureka_lib.experiments.run import run, stored
from eureka_lib.experiments.trainer import OnEvaluation, device
from eureka_lib.progress import Progress
from eureka_lib.provenance import is_own, source_of
from eureka_lib.store import Run, RunStore, StoreError
from eureka_lib.tasks.images import SOURCES
from eureka_lib.tasks.variants import TASKS

SMALL = 2000  # steps of all runs of a sweep, which take less time than workers' imports do
TRIES = 3  # of a task whose worker is lost
PATIENCE = 60  # seconds until what another machine has stored must be visible here, through a network's caches
NAMED_AT_MOST = 5  # reasons in a message, and runs for each of them
OUT_OF_MEMORY = "out of memory? Train fewer at a time, as with executor=eureka_lib.experiments.pools.Workers(1)"
CRASH = "compiled code crashed; the terminal has the lines of Python where, and run(experiment) alone repeats it"
# Where experiments find by name what may be the user's own.
REGISTRIES: tuple[dict[str, Any], ...] = (METHODS, TASKS, SOURCES)


class SweepError(RuntimeError):
    """Some experiments of a sweep could not be trained; all others have finished and are stored."""


def sweep(
    experiments: Sequence[Experiment],
    executor: Executor | None = None,
    store: RunStore | None = None,
    title: str = "training",
    weights_every: int = 0,
) -> list[Run]:
    """Runs of ``experiments``, in their order; stored ones are loaded, the others trained and stored.

    ``executor`` must run tasks on machines that share the store's folder; ``weights_every`` is that of ``run``. An
    attention of one's own reaches the workers, wherever it is defined; only a standard ProcessPoolExecutor wants it in
    a module. Raises :class:`SweepError` at the end, after all others have finished, if some experiments could not be
    trained; and StoreError before anything is trained if something has to be and the store cannot be written.
    """
    store = (store or RunStore()).absolute()
    tasks = [Task(e, key, store, weights_every, _own(e)) for key, e in {e.key: e for e in experiments}.items()]
    runs = {task.key: found for task in tasks if (found := task.load())}
    missing = [task for task in tasks if task.key not in runs]
    came = sum(run.released for run in runs.values())
    words = f"{len(runs)} of them stored{f' ({came} released with the checkout)' if came else ''}"
    print(f"{title}: {len(tasks)} runs, {words}, {len(missing)} to train", flush=True)
    if missing:
        store.check_writable()
        random.Random().shuffle(missing)  # so that two sweeps of the same seldom train the same run at the same time
        runs |= _train_all(missing, executor, title)
    return [runs[e.key] for e in experiments]


def sweep_groups(groups: Mapping[Any, Sequence[Experiment]], **options) -> dict[Any, list[Run]]:
    """One sweep over all groups of experiments; the runs come back under their groups' names. Options as in sweep."""
    runs = iter(sweep([e for experiments in groups.values() for e in experiments], **options))
    return {name: list(islice(runs, len(experiments))) for name, experiments in groups.items()}


class Task(NamedTuple):
    """A run to train, the store it goes to, and what it needs that is the user's ``own`` (see :func:`_own`)."""

    experiment: Experiment
    key: str
    store: RunStore
    weights_every: int = 0
    own: Sequence[tuple[int, str, Any, list[str]]] = ()

    def load(self) -> Run | None:
        """The run, if it is stored."""
        return stored(self.experiment, self.store, self.weights_every)


def train(task: Task, on_evaluation: OnEvaluation | None = None) -> None:
    """What a worker does: make known what is the user's own, then train and store what is not stored yet."""
    for registry, name, thing, sources in task.own:
        if REGISTRIES[registry].get(name) is not thing:  # in another process than the user's
            REGISTRIES[registry][name] = thing
            for part, source in zip(_own_code(thing), sources, strict=True):
                part.__source__ = source  # a part of the key, and there may be no file to read it from
    if task.experiment.key != task.key:
        raise RuntimeError("this worker's eureka_lib is not the sweep's: the same experiment has another key here")
    run(task.experiment, task.store, on_evaluation, task.weights_every)


def _own(experiment: Experiment) -> list[tuple[int, str, Any, list[str]]]:
    """What ``experiment`` takes by name: index in REGISTRIES, name, thing, sources of the user's own."""
    names = {value for part in (experiment.task, experiment.model) for value in vars(part).values()}
    found = [(i, name, known[name]) for i, known in enumerate(REGISTRIES) for name in names & known.keys()]
    return [(i, name, thing, list(map(source_of, _own_code(thing)))) for i, name, thing in found]


def _own_code(thing: Any) -> list[Any]:
    """The functions and classes in an entry of a registry that are the user's own."""
    parts = [thing.normaliser, thing.prepare] if isinstance(thing, Method) else [thing]
    return [part for part in parts if part is not None and is_own(part)]


def _train_all(tasks: list[Task], executor: Executor | None, title: str) -> dict[str, Run]:
    """Train all ``tasks`` and return the runs by key; SweepError if some could not be."""
    runs, errors = {}, {}
    try:
        with (
            _pool(executor, tasks) as pool,
            Progress(title, len(tasks)) as progress,
            closing(_outcomes(tasks, pool, progress)) as outcomes,
        ):
            for task, error, running in outcomes:
                try:
                    runs |= {task.key: _stored_by_worker(task)} if error is None else {}
                except StoreError as problem:
                    error = problem
                errors |= {task.key: error} if error is not None else {}
                done = len(runs) + len(errors)
                half = max(0, running - 1) / 2  # those under way count half, but for the one that has just begun
                progress.update(done + half, f"{done}/{len(tasks)} done, {len(errors)} failed")
                if isinstance(error, StoreError):  # whatever is trained from here on would be lost, too
                    break
    except KeyboardInterrupt:
        kept = sum(task.load() is not None for task in tasks)
        print(f"{title}: stopped; {kept} of {len(tasks)} are stored, and the same call trains the rest", flush=True)
        raise
    errors |= {task.key: CancelledError("given up after that") for task in tasks if task.key not in runs | errors}
    if errors:
        raise SweepError(_in_words(errors, len(tasks))) from next(iter(errors.values()))
    return runs


def _outcomes(
    tasks: list[Task], pool: Executor, progress: Progress
) -> Iterator[tuple[Task, BaseException | None, int]]:
    """Each task as it ends, its error, and how many are running; those whose worker was lost come again at the end.

    Closing it, also by an exception, takes back what has not begun.
    """
    for tries_left in reversed(range(TRIES)):
        futures = {_submit(pool, task, progress, i): task for i, task in enumerate(tasks)}
        tasks = []
        try:
            for future in as_completed(futures):
                task, error = futures[future], _error_of(future)
                if tries_left and _is_loss(error):
                    progress.say(f"the worker of run {task.key} was lost ({_cause_of(error)}); it is tried again")
                    tasks.append(task)
                else:
                    yield task, error, sum(other.running() for other in futures)
        finally:
            for future in futures:
                future.cancel()


def _submit(pool: Executor, task: Task, progress: Progress, before: int) -> Future:
    """Hand ``task`` to the pool; in this process its evaluations count as progress, after ``before`` other runs."""
    steps = task.experiment.training.steps

    def show(history: pd.DataFrame) -> None:
        if (step := history["step"].iloc[-1]) < steps:  # the end is shown when the run is stored
            progress.update(before + step / steps)

    try:
        return pool.submit(train, task, *([show] if isinstance(pool, InProcess) else []))
    except Exception as error:  # of a pool that is broken or shut down
        future = Future()
        future.set_exception(error)
        return future


def _pool(executor: Executor | None, tasks: Sequence[Task]) -> AbstractContextManager[Executor]:
    """``executor`` as it is, or what suits the tasks, which ends with this block."""
    if executor is not None:
        return nullcontext(executor)
    if address := os.environ.get("EUREKA_SCHEDULER"):
        return cluster.connect(address, cluster.parse_resources(os.environ.get("EUREKA_PER_TASK", "")))
    if len(tasks) == 1 or sum(task.experiment.training.steps for task in tasks) <= SMALL:
        return nullcontext(InProcess())
    return Workers(min(len(tasks), 1 if device().type == "cuda" else cpu_count()))


def _stored_by_worker(task: Task) -> Run:
    deadline = time.monotonic() + PATIENCE
    while (found := task.load()) is None:
        if time.monotonic() > deadline:
            raise StoreError(f"a worker has stored run {task.key}, but not in {task.store.folder} as seen from here")
        time.sleep(0.1)
        task.store.keys()  # makes a network file system look again
    return found


def _error_of(future: Future) -> BaseException | None:
    if future.cancelled():
        return ConnectionError("the executor has cancelled it, as dask does if its scheduler is gone")
    return future.exception()


def _is_loss(error: BaseException | None) -> bool:
    """Whether a task failed because the process that worked on it ended."""
    return isinstance(error, BrokenExecutor) or cluster.is_loss(error)


def _cause_of(error: BaseException) -> str:
    """The signal that ended a worker, and what to do; what the executor says where it does not know it."""
    for signal in re.findall(r"\bSIG[A-Z]+\b", str(error)):
        return f"{signal}: {OUT_OF_MEMORY if signal == 'SIGKILL' else CRASH}"
    return f"{type(error).__name__}: {error}"


def _in_words(errors: Mapping[str, BaseException], tasks: int) -> str:
    """The first few runs of each of the first few reasons."""
    failed: dict[str, list[str]] = {}
    for key, error in errors.items():
        reason = str(error) if isinstance(error, CancelledError) else f"{type(error).__name__}: {error}"
        if _is_loss(error):
            reason = f"its worker was lost in each of {TRIES} tries, by {_cause_of(error)}"
        failed.setdefault(reason, []).append(key)
    reasons = []
    for reason, keys in islice(failed.items(), NAMED_AT_MOST):
        more = f" and {len(keys) - NAMED_AT_MOST} more" if len(keys) > NAMED_AT_MOST else ""
        reasons.append(f"{', '.join(keys[:NAMED_AT_MOST])}{more}: {reason}")
    return (
        f"{len(errors)} of {tasks} runs failed ({'; '.join(reasons)}). The others are stored; "
        "the same call again trains only what is missing."
    )
