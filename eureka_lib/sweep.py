"""Many experiments at once: ``sweep(experiments)`` returns their runs, training those that are not stored yet.

The work goes to an executor with the ``concurrent.futures`` interface; the default is a process pool with one worker
per core (one on a GPU), one thread each. On a GPU, experiments that differ in their own affairs only are trained as
stacks. A run is stored by the process that trained it, so nothing that has finished
is lost if something else fails, or if this process is killed.
"""

import multiprocessing
import os
import random
import tempfile
import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

import pandas as pd

from eureka_lib.analysis.eureka import eureka_moment
from eureka_lib.experiment import Experiment, run_together, stack_key, stored_config
from eureka_lib.progress import Progress
from eureka_lib.runs import Run, RunStore
from eureka_lib.trainer import device
from eureka_lib.validation import check_whole

POLL_SECONDS = 0.5
# How many experiments pay as one stack (python -m eureka_lib.benchmark stack): on a CPU, processes pay instead.
STACK_SIZES = {"cpu": 1, "cuda": 16}


class SweepError(RuntimeError):
    """Some experiments of a sweep raised; all others have finished and are stored."""


def sweep(
    experiments: Sequence[Experiment],
    executor: Executor | None = None,
    store: RunStore | None = None,
    title: str = "training",
    weights_every: int = 0,
    stack: int | None = None,
) -> list[Run]:
    """Runs of ``experiments``, in their order; stored ones are loaded, the others trained and stored.

    ``executor`` must run tasks on machines that share the store's folder; ``weights_every`` is that of ``run``. Up to
    ``stack`` experiments that allow it are trained as one (None: what pays on this device). Raises :class:`SweepError`
    at the end, after all others have finished, if some experiments could not be trained.
    """
    store = store or RunStore()
    runs = {e.key: store.load(stored_config(e, weights_every)) for e in experiments}
    missing = [e for e in {e.key: e for e in experiments}.values() if runs[e.key] is None]
    print(f"{title}: {len(runs)} runs, {len(runs) - len(missing)} of them stored, {len(missing)} to train", flush=True)
    if missing:
        stacks = stacks_of(missing, STACK_SIZES[device().type] if stack is None else check_whole("stack", stack, 1))
        random.Random(0).shuffle(stacks)  # slow and fast ones mixed: the time left can be told from the steps done
        with tempfile.TemporaryDirectory(prefix="eureka-") as notes, _pool(executor, len(stacks)) as pool:
            futures = {pool.submit(_run_and_note, members, store.folder, Path(notes) / members[0].key, weights_every):
                       members for members in stacks}  # fmt: skip
            _follow(futures, Path(notes), title)
        for future, members in futures.items():
            if not future.exception():
                runs |= {e.key: run for e, run in zip(members, future.result(), strict=True)}
        _raise_failures(futures)
    return [runs[e.key] for e in experiments]


def stacks_of(experiments: Sequence[Experiment], size: int) -> list[list[Experiment]]:
    """``experiments`` in groups of up to ``size`` that can be trained as one stack; alone where that cannot be."""
    alike: dict[Hashable, list[Experiment]] = {}
    for experiment in experiments:
        alike.setdefault(stack_key(experiment) or experiment, []).append(experiment)
    return [group[i : i + size] for group in alike.values() for i in range(0, len(group), size)]


def sweep_groups(groups: Mapping[Any, Sequence[Experiment]], **options) -> dict[Any, list[Run]]:
    """One sweep over all groups of experiments; the runs come back under their groups' names. Options as in sweep."""
    runs = iter(sweep([e for experiments in groups.values() for e in experiments], **options))
    return {name: list(islice(runs, len(experiments))) for name, experiments in groups.items()}


def _run_and_note(members: Sequence[Experiment], store_folder: Path, note: Path, weights_every: int) -> list[Run]:
    """What a worker does: run, and leave the number of steps done in the file ``note`` for whoever follows."""

    def write_steps(history: pd.DataFrame) -> None:
        if note.parent.is_dir():  # a worker on another machine does not see it
            note.write_text(str(history["step"].iloc[-1]))

    return run_together(members, RunStore(store_folder), write_steps, weights_every)


def _follow(futures: dict[Future, list[Experiment]], notes: Path, title: str) -> None:
    """Show progress until all futures are done."""
    steps_of = {future: sum(e.training.steps for e in members) for future, members in futures.items()}
    note_of = {future: notes / members[0].key for future, members in futures.items()}
    n_runs = sum(len(members) for members in futures.values())
    pending, steps, runs, moments = set(futures), 0, 0, 0  # steps, runs and moments of the stacks that are done
    with Progress(title, sum(steps_of.values())) as progress:
        while pending:
            done, pending = wait(pending, timeout=POLL_SECONDS)
            steps += sum(steps_of[f] for f in done)
            runs += sum(len(futures[f]) for f in done)
            moments += sum(_count_moments(f) for f in done)
            under_way = sum(_steps_noted(note_of[f]) * len(futures[f]) for f in pending)
            said = f", {moments} Eureka-moments" if moments else ""
            progress.update(steps + under_way, f"{runs}/{n_runs} runs{said}")


def _count_moments(future: Future) -> int:
    """Of the runs that have an accuracy: what a leap of a loss is, only its task knows."""
    if future.exception():
        return 0
    return sum(eureka_moment(*run.accuracy).happened for run in future.result() if "test_accuracy" in run.history)


def _steps_noted(note: Path) -> int:
    try:
        return int(note.read_text())
    except (OSError, ValueError):  # not there yet, or just being written
        return 0


def _raise_failures(futures: dict[Future, list[Experiment]]) -> None:
    failed = {e.key: f.exception() for f, members in futures.items() if f.exception() for e in members}
    if failed:
        total = sum(len(members) for members in futures.values())
        reasons = "; ".join(f"{key}: {type(error).__name__}: {error}" for key, error in failed.items())
        raise SweepError(
            f"{len(failed)} of {total} runs failed ({reasons}). The others are stored; "
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
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent)
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


def end_with_parent() -> None:
    """Let a worker end when its parent is killed; the pool by itself would leave it waiting for ever."""

    def watch() -> None:
        wait_for([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
