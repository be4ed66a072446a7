"""Which circumstances leave a history as it is, bit for bit, and which do not:
``python -m eureka_lib.benchmark.determinism``.

On a CPU a history follows from the configuration alone: neither the process, nor the executor, nor the threads that the
caller has set, nor an interruption, nor looking on changes a bit, because a training draws from generators of its own,
takes one thread, and leaves its state exactly. What changes it, within rounding, takes sums in another order:
the code for other instructions (torch's libraries choose theirs by the processor's maker and by what it can do: AVX2,
AVX-512, ...), another version of torch, and a GPU, where even the same training may differ from itself. A GPU also has
another random generator, so that its runs are other samples, not the same ones rounded.

Rounding is small at first; a training amplifies it, so that single runs part and only rates over seeds are comparable.
The store therefore keeps the first history of a configuration, and says in ``meta.json`` where it was made.
"""

import argparse
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from eureka_lib.experiments import profiles, trainer
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.experiments.pools import Workers
from eureka_lib.experiments.run import run
from eureka_lib.store import RunStore

PROMISE = """\
Trains one small experiment in one circumstance after another, for about a minute, and holds each history to the first.
Equal bit for bit: on CPUs of one family (same maker and instruction set) with the same version of torch, in any
process, with any number of threads, interrupted or not, looked at or not.
Equal up to rounding: with another instruction set or version of torch, or on a GPU, again there.
Other samples: on a GPU, held against a CPU.
"""
IDENTICAL, ROUNDING, OTHER = "identical", "up to rounding", "other samples"
CLOSE = 1e-3  # relative difference of a loss that still passes for rounding, over the dozen steps of the experiment
OLD_PROCESSOR = {  # makes torch and its libraries take the code that they have for processors without AVX
    "ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A circumstance, what is ``promised`` of the history in it, and the largest relative ``difference`` of a loss."""

    circumstance: str
    promised: str
    difference: float

    @property
    def kept(self) -> bool:
        """Whether the promise was kept; of other samples nothing is promised."""
        limit = {IDENTICAL: 0.0, ROUNDING: CLOSE, OTHER: float("inf")}[self.promised]
        return self.difference <= limit


def again(experiment: Experiment, store: RunStore) -> pd.DataFrame:
    """The training, alone and from start to end; the history."""
    return run(experiment, store).history


def with_weights_kept(experiment: Experiment, store: RunStore) -> pd.DataFrame:
    """Copying the weights every few steps."""
    return run(experiment, store, weights_every=4).history


def with_more_threads(experiment: Experiment, store: RunStore) -> pd.DataFrame:
    """Called where torch has been given more threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        return again(experiment, store)
    finally:
        torch.set_num_threads(before)


def beside_another(experiment: Experiment, store: RunStore) -> pd.DataFrame:
    """Another thread of the process trains something else."""
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(again, e, store) for e in (experiment.vary(seed=7), experiment)]
        return both[1].result()


def interrupted(experiment: Experiment, store: RunStore) -> pd.DataFrame:
    """Stopped between two evaluations, and continued from the state that was saved."""

    def stop(history: pd.DataFrame) -> None:
        if len(history) == 3:
            raise InterruptedError

    before, trainer.SAVE_SECONDS = trainer.SAVE_SECONDS, 0
    try:
        run(experiment, store, stop)
    except InterruptedError:
        return again(experiment, store)
    finally:
        trainer.SAVE_SECONDS = before


def in_another_process(experiment: Experiment, store: RunStore) -> pd.DataFrame:
    """In a worker, as a sweep does it."""
    with Workers(1) as pool:
        return pool.submit(again, experiment, store).result()


def on_an_old_processor(experiment: Experiment, store: RunStore) -> pd.DataFrame:
    """With the code for processors that are twenty years old."""
    with environment(OLD_PROCESSOR):
        return in_another_process(experiment, store)


def on_the_cpu(experiment: Experiment, store: RunStore) -> pd.DataFrame:
    """In a process that sees no GPU."""
    with environment({"CUDA_VISIBLE_DEVICES": ""}):
        return in_another_process(experiment, store)


Circumstance = Callable[[Experiment, RunStore], pd.DataFrame]
ON_CPU: dict[str, tuple[Circumstance, str]] = {
    "again": (again, IDENTICAL),
    "in another process": (in_another_process, IDENTICAL),
    "interrupted and continued": (interrupted, IDENTICAL),
    "with its weights kept": (with_weights_kept, IDENTICAL),
    "the caller has other threads": (with_more_threads, IDENTICAL),
    "beside another, in threads": (beside_another, IDENTICAL),
    "processor without AVX (simulated)": (on_an_old_processor, ROUNDING),
}
ON_GPU = {name: (function, ROUNDING) for name, (function, _) in list(ON_CPU.items())[:-1]} | {
    "on the CPU": (on_the_cpu, OTHER)
}
VARIANTS = {"bfloat16": {"precision": "bfloat16"}, "stochastic depth": {"stochastic_depth": 0.2}}


def report() -> Iterator[Row]:
    """Try every circumstance on this machine's device, and one with variants of the experiment."""
    base = profiles.get("smoke").vit.vary(steps=12, evaluate_every=4, test_samples=100)
    circumstances = ON_GPU if trainer.device().type == "cuda" else ON_CPU
    for name, (function, promised) in circumstances.items():
        yield Row(name, promised, difference(again, function, base))
    for variant, changes in VARIANTS.items():
        yield Row(f"again, with {variant}", circumstances["again"][1], difference(again, again, base.vary(**changes)))


def difference(one: Circumstance, other: Circumstance, experiment: Experiment) -> float:
    """The largest relative difference of a training or test loss between two trainings; exactly 0 if none differs."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        first, second = (f(experiment, RunStore(Path(folder) / name)) for f, name in ((one, "one"), (other, "other")))
    if first.equals(second):
        return 0.0
    columns = ["train_loss", "test_loss"]
    found = float(((second[columns] - first[columns]).abs() / first[columns].abs()).max().max())
    return found or sys.float_info.min  # a difference in another column


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Variables for the processes that are started meanwhile, and restore what was."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report; the exit status is 1 if a promise was not kept. There are no options but --help."""
    name, as_written = "python -m eureka_lib.benchmark.determinism", argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(name, description=PROMISE, formatter_class=as_written).parse_args(arguments)
    print(PROMISE)
    print(f"{'history of a training':44} {'promised':15} largest relative difference of a loss", flush=True)
    rows = []
    for row in report():
        rows.append(row)
        print(
            f"{row.circumstance:44} {row.promised:15} {row.difference:.1e}{'' if row.kept else '   NOT KEPT'}",
            flush=True,
        )
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
