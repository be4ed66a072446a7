"""Whole sweeps: how long many seeds take."""

import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import torch
from loky import cpu_count

from eureka_lib.benchmark.measure import FULL, Row, Setting, measure_pairs, seconds, threads
from eureka_lib.benchmark.straightforward import Straightforward
from eureka_lib.experiments import profiles
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.experiments.pools import InProcess
from eureka_lib.experiments.sweep import sweep
from eureka_lib.experiments.trainer import device
from eureka_lib.store import RunStore

BAR = 0.5  # of the straightforward sweep's time, or twice its runs per hour
PAIRS = 3  # at most, and none to warm up: a sweep is long, and starts its processes anew


def sweep_rows(setting: Setting) -> Iterator[Row]:
    """The library's sweep against one seed after another, both on all cores; what starting its processes takes.

    All train on the first GPU if there is one, whatever the setting's device, and evaluate equally often.
    """
    where, sizes = device(), setting.sizes
    n = sizes.sweep_runs
    base = profiles.get(sizes.profile).cheap.base.vary(steps=sizes.sweep_steps)
    experiments, cost = profiles.seeded(base, n, n), partial(seconds, device=where.type)
    ours, pairs = partial(swept, experiments, sizes.processes), min(PAIRS, max(1, setting.pairs // 4))
    name = f"sweep of {n} runs of {sizes.sweep_steps} steps"
    baseline = f"straightforward, {cpu_count()} thread{'s' * (cpu_count() > 1)}"
    ratio = measure_pairs(cost, ours, partial(in_turn, experiments, where, cpu_count()), pairs, unmeasured=0)
    yield Row(name, baseline, **ratio, bar=BAR if sizes == FULL else None)
    start = partial(swept, [experiment.vary(steps=1, test_samples=1) for experiment in experiments], sizes.processes)
    yield Row(f"{name}: the start", "that sweep", **measure_pairs(cost, start, ours, pairs=1, unmeasured=0))


def swept(experiments: Sequence[Experiment], processes: bool) -> None:
    """The library's sweep by its defaults, into a store that is thrown away, without its lines of progress."""
    with tempfile.TemporaryDirectory() as folder, quietly():
        sweep(experiments, None if processes else InProcess(), store=RunStore(Path(folder)))


@contextmanager
def quietly() -> Iterator[None]:
    """Print nothing."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


def in_turn(experiments: Sequence[Experiment], where: torch.device, count: int) -> None:
    """The straightforward sweep: train one after another, each operation on ``count`` CPU threads."""
    with threads(count):
        for experiment in experiments:
            Straightforward(experiment, where).train()
