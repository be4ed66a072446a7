"""Many experiments at once: ``sweep(experiments)`` returns their runs, training those that are not stored yet.

The work goes to an executor with the ``concurrent.futures`` interface; the default is a process pool with one worker
per core (one on a GPU), one thread each. A run is stored by the process that trained it, so nothing that has finished
is lost if something else fails, or if this process is killed.
"""

import multiprocessing
import os
import random
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

import pandas as pd

from eureka_lib.analysis.eureka import eureka_moment
from eureka_lib.experiment import Experiment, device, run, stored_config
from eureka_lib.progress import Progress
from eureka_lib.runs import Run, RunStore

POLL_SECONDS = 0.5


class SweepError(RuntimeError):
    """Some experiments of a sweep raised; all others have finished and are stored."""


def sweep(
    experiments: Sequence[Experiment],
    executor: Executor | None = None,
    store: RunStore | None = None,
    title: str = "training",
    weights_every: int = 0,
) -> list[Run]:
    """Runs of ``experiments``, in their order; stored ones are loaded, the others trained and stored.

    ``executor`` must run tasks on machines that share the store's folder; ``weights_every`` is that of ``run``. Raises
    :class:`SweepError` at the end, after all others have finished, if some experiments could not be trained.
    """
    store = store or RunStore()
    runs = {e.key: store.load(stored_config(e, weights_every)) for e in experiments}
    missing = [e for e in {e.key: e for e in experiments}.values() if runs[e.key] is None]
    print(f"{title}: {len(runs)} runs, {len(runs) - len(missing)} of them stored, {len(missing)} to train", flush=True)
    random.Random(0).shuffle(missing)  # slow and fast ones mixed, so that the time left can be told from the steps done
    if missing:
        with tempfile.TemporaryDirectory(prefix="eureka-") as notes, _pool(executor, len(missing)) as pool:
            futures = {pool.submit(_run_and_note, e, store.folder, Path(notes) / e.key, weights_every): e
                       for e in missing}  # fmt: skip
            _follow(futures, Path(notes), title)
        runs |= {e.key: future.result() for future, e in futures.items() if not future.exception()}
        _raise_failures(futures)
    return [runs[e.key] for e in experiments]


def sweep_groups(groups: Mapping[Any, Sequence[Experiment]], **options) -> dict[Any, list[Run]]:
    """One sweep over all groups of experiments; the runs come back under their groups' names. Options as in sweep."""
    runs = iter(sweep([e for experiments in groups.values() for e in experiments], **options))
    return {name: list(islice(runs, len(experiments))) for name, experiments in groups.items()}


def _run_and_note(experiment: Experiment, store_folder: Path, note: Path, weights_every: int) -> Run:
    """What a worker does: run, and leave the number of steps done in the file ``note`` for whoever follows."""

    def write_steps(history: pd.DataFrame) -> None:
        if note.parent.is_dir():  # a worker on another machine does not see it
            note.write_text(str(history["step"].iloc[-1]))

    return run(experiment, RunStore(store_folder), write_steps, weights_every)


def _follow(futures: dict[Future, Experiment], notes: Path, title: str) -> None:
    """Show progress until all futures are done."""
    total = sum(e.training.steps for e in futures.values())
    note_of = {future: notes / e.key for future, e in futures.items()}
    pending, steps, moments = set(futures), 0, 0  # steps and moments of the runs that are done
    with Progress(title, total) as progress:
        while pending:
            done, pending = wait(pending, timeout=POLL_SECONDS)
            steps += sum(futures[f].training.steps for f in done)
            moments += sum(_has_moment(f) for f in done)
            under_way = sum(_steps_noted(note_of[f]) for f in pending)
            note = f"{len(futures) - len(pending)}/{len(futures)} runs, {moments} Eureka-moments"
            progress.update(steps + under_way, note)


def _has_moment(future: Future) -> bool:
    if future.exception():
        return False
    return eureka_moment(*future.result().accuracy).happened


def _steps_noted(note: Path) -> int:
    try:
        return int(note.read_text())
    except (OSError, ValueError):  # not there yet, or just being written
        return 0


def _raise_failures(futures: dict[Future, Experiment]) -> None:
    failed = {e.key: f.exception() for f, e in futures.items() if f.exception()}
    if failed:
        reasons = "; ".join(f"{key}: {type(error).__name__}: {error}" for key, error in failed.items())
        raise SweepError(
            f"{len(failed)} of {len(futures)} runs failed ({reasons}). The others are stored; "
            "the same call again trains only what is missing."
        ) from next(iter(failed.values()))


@contextmanager
def _pool(executor: Executor | None, tasks: int) -> Iterator[Executor]:
    """``executor`` as it is, or a process pool that ends with this block, at once if the block is interrupted."""
    if executor is not None:
        yield executor
        return
    workers = min(tasks, 1 if device().type == "cuda" else cores())
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    try:
        yield pool
    except BaseException:
        for worker in set(multiprocessing.active_children()) - before:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_with_parent() -> None:
    """Let a worker end when its parent is killed; the pool by itself would leave it waiting for ever."""

    def watch() -> None:
        wait_for([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
