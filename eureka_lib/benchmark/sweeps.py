"""Whole sweeps: how long many seeds take."""

import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import torch
from loky import cpu_count

from eureka_lib.benchmark.measure import Row, Setting, measure_pairs, seconds, threads
from eureka_lib.benchmark.straightforward import Straightforward
from eureka_lib.experiments import profiles
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.experiments.sweep import sweep
from eureka_lib.experiments.trainer import device
from eureka_lib.store import RunStore

BAR = 0.5  # of the straightforward sweep's time, or twice its runs per hour
PAIRS = 3  # at most, and none to warm up: a sweep is long, and starts its processes anew


def sweep_rows(setting: Setting) -> Iterator[Row]:
    """The library's sweep against one seed after another, both on all cores.

    All train on the first GPU if there is one, whatever the setting's device, and evaluate equally often.
    """
    where, (n, steps) = device(), (1, 2) if setting.smoke else (8, 300)
    base = profiles.get(setting.profile).cheap.base.vary(steps=steps)
    experiments = profiles.seeded(base, n, n)
    ratio = measure_pairs(
        partial(seconds, device=where.type), partial(swept, experiments), partial(in_turn, experiments, where),
        pairs=min(PAIRS, max(1, setting.pairs // 4)), unmeasured=0,
    )  # fmt: skip
    baseline = f"straightforward, {cpu_count()} thread{'s' * (cpu_count() > 1)}"
    yield Row(f"sweep of {n} runs of {steps} steps", baseline, **ratio, bar=None if setting.smoke else BAR)


def swept(experiments: Sequence[Experiment]) -> None:
    """The library's sweep by its defaults, into a store that is thrown away, without its lines of progress."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        sweep(experiments, store=RunStore(Path(folder)))


def in_turn(experiments: Sequence[Experiment], where: torch.device) -> None:
    """The straightforward sweep: train one after another, each operation on all cores."""
    with threads(cpu_count()):
        for experiment in experiments:
            Straightforward(experiment, where).train()
