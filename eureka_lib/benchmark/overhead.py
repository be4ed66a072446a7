"""What a run costs beyond its training: the store, and whoever passes it on."""

import importlib.util
import logging
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import pandas as pd

from eureka_lib.benchmark.measure import Row, Setting, measure_against
from eureka_lib.benchmark.sweeps import quietly
from eureka_lib.experiments import profiles
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.experiments.pools import InProcess, Workers
from eureka_lib.experiments.sweep import sweep
from eureka_lib.store import RunStore, key_of

RUN_SECONDS = 20  # of the run that the cost is compared with
BAR = 0.05  # of it, at most
EVALUATIONS = 50  # rows of a stored history


def overhead_rows(setting: Setting) -> Iterator[Row]:
    """What a run costs beyond its training, against a run of 20 s: the store alone, and whole runs of a single step.

    The latter are all that is not training and, in so far as they evaluate twice, a little that is; so it is a bound.
    The workers have been started before, since that is paid once: see the group sweep.
    """
    n = setting.sizes.sweep_runs
    base = profiles.get(setting.sizes.profile).cheap.base.vary(steps=1, test_samples=1)
    seeds = count()  # a new one for each run: none is found in the store
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore(Path(folder))
        yield _row(setting, "store: look, keep, load", n, lambda: [_keep(store, base, next(seeds)) for _ in range(n)])
        for name, start in EXECUTORS.items() if setting.sizes.processes else [("in process", EXECUTORS["in process"])]:
            with start() as executor:
                some = lambda: [base.vary(seed=next(seeds)) for _ in range(n)]  # noqa: E731
                work = partial(_swept, executor, store, some)
                work()
                yield _row(setting, f"run of 1 step, {name}", n, work)


def _row(setting: Setting, name: str, n: int, work: Callable[[], object]) -> Row:
    """The row of ``work``, which does ``n`` runs, against as many of 20 s."""
    ratio = measure_against(n * RUN_SECONDS, work, max(1, setting.pairs // 4))
    return Row(name, f"run of {RUN_SECONDS} s", **ratio, bar=BAR if setting.sizes.processes else None)


def _keep(store: RunStore, base: Experiment, seed: int) -> None:
    """What a run asks of the store: it is not there, it is stored, it is loaded."""
    config = base.vary(seed=seed).config() | {"of": "the store alone"}
    history = pd.DataFrame({f"column {i}": [seed / (row + 1) for row in range(EVALUATIONS)] for i in range(10)})
    key = key_of(config)
    assert store.load(key) is None
    store.save(key, config, history, {"status": "finished"})
    store.load(key)


def _swept(executor: Executor, store: RunStore, experiments: Callable[[], list[Experiment]]) -> None:
    with quietly():
        sweep(experiments(), executor, store)


@contextmanager
def _dask_worker() -> Iterator[Executor]:
    from distributed import Client, LocalCluster

    with ExitStack() as stack:
        options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
        local = stack.enter_context(LocalCluster(**options, silence_logs=logging.CRITICAL))
        yield stack.enter_context(Client(local, set_as_default=False)).get_executor()


EXECUTORS: dict[str, Callable[[], AbstractContextManager[Executor]]] = {
    "in process": InProcess,
    "worker process": partial(Workers, 1),
}
if importlib.util.find_spec("distributed"):
    EXECUTORS["dask worker"] = _dask_worker
