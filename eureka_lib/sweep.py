"""Many experiments at once: ``sweep(experiments)`` returns their runs, training those that are not stored yet.

The same call serves eight runs on a laptop and thousands on a cluster: the work goes to an executor with the
``concurrent.futures`` interface. By default that is this process for one run, else a worker process per core (one on
a GPU), one thread each; or the dask cluster that ``EUREKA_SCHEDULER`` names (:mod:`eureka_lib.cluster`).

Nothing that has finished is lost, and nothing finished is trained twice: a run is stored by the process that trained
it, which looks into the store right before. So whatever is killed, a worker or this process, the same call goes on
from what is stored. A task whose worker is lost is tried again, up to a limit.
"""

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from itertools import islice
from typing import Any

from eureka_lib import cluster, pools
from eureka_lib.experiment import Experiment, stored
from eureka_lib.follow import Note, Tally, Task, do
from eureka_lib.runs import Run, RunStore
from eureka_lib.trainer import device

POLL_SECONDS = 0.5
NOT_BEGUN = "not begun any more"
NAMED_AT_MOST = 5  # reasons in a message, and runs for each of them


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

    ``executor`` must run tasks on machines that share the store's folder; ``weights_every`` is that of ``run``. Raises
    :class:`SweepError` at the end, after all others have finished, if some experiments could not be trained; and
    StoreError before anything is trained if something has to be and the store cannot be written.
    """
    store = store or RunStore()
    runs = {e.key: stored(e, store, weights_every) for e in experiments}
    missing = [e for e in {e.key: e for e in experiments}.values() if runs[e.key] is None]
    print(f"{title}: {len(runs)} runs, {len(runs) - len(missing)} of them stored, {len(missing)} to train", flush=True)
    if missing:
        stacks = [[experiment] for experiment in missing]
        # Slow and fast ones mixed, so that the time left can be told from the steps done; and differently each time, so
        # that two sweeps of the same experiments seldom train the same one at the same time.
        random.Random().shuffle(stacks)
        runs |= _train(stacks, executor, store, title, weights_every, [run for run in runs.values() if run])
    return [runs[e.key] for e in experiments]


def sweep_groups(groups: Mapping[Any, Sequence[Experiment]], **options) -> dict[Any, list[Run]]:
    """One sweep over all groups of experiments; the runs come back under their groups' names. Options as in sweep."""
    runs = iter(sweep([e for experiments in groups.values() for e in experiments], **options))
    return {name: list(islice(runs, len(experiments))) for name, experiments in groups.items()}


def _train(
    stacks: list[list[Experiment]], executor: Executor | None, store: RunStore, title: str, weights_every: int,
    stored: Sequence[Run],
) -> dict[str, Run]:  # fmt: skip
    """Train all stacks and return the runs by key."""
    with store.scratch() as notes:
        tasks = []
        for members in stacks:
            keys = [e.key for e in members]
            tasks.append(Task(members, keys, store.folder.absolute(), weights_every, Note(notes / keys[0])))
        tally = Tally(title, tasks, stored)
        try:
            with tally.progress, _pool(executor, len(tasks)) as pool:
                _follow(tasks, pool, tally)
        except KeyboardInterrupt:
            kept = sum((store.folder / key).is_dir() for key in tally.keys)
            print(f"{title}: stopped; {kept} of {len(tally.keys)} are stored, and the same call trains the rest")
            raise
    _raise_failures(tally)
    return tally.runs


@contextmanager
def _pool(executor: Executor | None, tasks: int) -> Iterator[Executor]:
    """``executor`` as it is, or what suits the number of tasks, which ends with this block."""
    if executor is not None:
        yield executor
    elif address := os.environ.get("EUREKA_SCHEDULER"):
        with cluster.connect(address, cluster.parse_resources(os.environ.get("EUREKA_PER_TASK", ""))) as executor:
            yield executor
    elif tasks == 1:
        yield pools.InProcess()
    else:
        with pools.workers(min(tasks, 1 if device().type == "cuda" else pools.cores())) as executor:
            yield executor


def _follow(tasks: list[Task], pool: Executor, tally: Tally) -> None:
    """Submit all tasks, and those that must be tried again, until there are none."""
    if isinstance(pool, pools.InProcess):  # which leaves no other moment to look
        for task in tasks:
            task.note.look = tally.look
    try:
        while tasks or tally.open:
            for task in tasks:
                future = _submit(task, pool, tally)
                tally.open[future] = task
                if future.done():
                    tally.look()
            wait(tally.open, POLL_SECONDS, FIRST_EXCEPTION)
            tally.look()
            tasks, tally.again = tally.again, []
    except BaseException:
        tally.give_up()
        raise


def _submit(task: Task, pool: Executor, tally: Tally) -> Future:
    try:
        if tally.given_up:
            raise CancelledError
        return pool.submit(do, task)
    except Exception as error:  # also of a pool that is broken or shut down
        future = Future()
        future.set_exception(error)
        return future


def _raise_failures(tally: Tally) -> None:
    """Raise SweepError if there are failures, with the first few runs of each of the first few reasons."""
    if not tally.failures:
        return
    failed: dict[str, list[str]] = {}
    for key, error in tally.failures.items():
        reason = NOT_BEGUN if isinstance(error, CancelledError) else f"{type(error).__name__}: {error}"
        failed.setdefault(reason, []).append(key)
    idle = failed.pop(NOT_BEGUN, [])
    reasons = [f"{_first_few(keys)}: {reason}" for reason, keys in islice(failed.items(), NAMED_AT_MOST)]
    reasons += [f"{_first_few(idle)}: {NOT_BEGUN}"] if idle else []
    raise SweepError(
        f"{len(tally.failures)} of {len(tally.keys)} runs failed ({'; '.join(reasons)}). The others are stored; "
        "the same call again trains only what is missing."
    ) from next(iter(tally.failures.values()))


def _first_few(keys: Sequence[str]) -> str:
    more = len(keys) - NAMED_AT_MOST
    return ", ".join(keys[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
