"""A ratio of two costs: what a row is, where and how large to measure, and the two costs, time and memory."""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True)
class Sizes:
    """How large the measured things are."""

    lengths: tuple[int, ...]  # tokens of the attention: the laptop's and up, 197 is the paper's (14 x 14 and CLS)
    profile: str  # whose experiments are trained
    paper_depth: int  # blocks of the paper's ViT
    steps: int  # training steps of a small model in one measurement
    sweep_runs: int  # seeds in a sweep
    sweep_steps: int  # that each of them trains
    processes: bool = True  # whether the sweep starts some, as is its default; that takes seconds


FULL = Sizes((17, 65, 197, 1024), "laptop", paper_depth=7, steps=16, sweep_runs=8, sweep_steps=300)
SMOKE = Sizes(  # shows that everything runs, and nothing else
    (17, 65), "smoke", paper_depth=1, steps=2, sweep_runs=1, sweep_steps=2, processes=False
)


@dataclass(frozen=True)
class Setting:
    """Where and how thoroughly to measure."""

    device: str = "cpu"  # or "cuda"
    precision: str = "float32"  # of the tensors in the group "attention"; a torch dtype's name
    pairs: int = 20  # how often A B is repeated
    threads: int = 1  # of the CPU; a training takes 1
    sizes: Sizes = FULL


@dataclass(frozen=True)
class Row:
    """A measured ratio: ``name`` costs ``ratio`` times what ``baseline`` does."""

    name: str
    baseline: str
    ratio: float  # median over pairs
    low: float  # lower quartile of the pairs
    high: float  # upper quartile
    floor: float | None = None  # what counting operations suggests
    bar: float | None = None  # at most, or the code is too slow

    @property
    def met(self) -> bool | None:
        """Whether the ratio is within its bar, None without one."""
        return None if self.bar is None else self.ratio <= self.bar


Work = Callable[[], object]


def measure_pairs(
    cost: Callable[[Work | None], float], work: Work, baseline: Work | None, pairs: int, unmeasured: int = 1
) -> dict[str, float]:
    """Median and quartiles of cost(work) / cost(baseline), measured in turn after ``unmeasured`` pairs to warm up."""
    ratios = [cost(work) / cost(baseline) for _ in range(pairs + unmeasured)][unmeasured:]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if pairs > 1 else ratios * 3
    return {"ratio": statistics.median(ratios), "low": low, "high": high}


def seconds(work: Work, device: str) -> float:
    """Wall time of ``work`` in s; on a GPU, until it has finished there."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started


def measure_against(limit: float, work: Work, pairs: int) -> dict[str, float]:
    """As :func:`measure_pairs`, of the wall time of ``work`` over ``limit`` s, which need not be waited for."""
    return measure_pairs(lambda done: limit if done is None else seconds(done, "cpu"), work, None, pairs)


def peak_memory(work: Work, device: str) -> float:
    """The most bytes that ``work`` holds at once, beyond what was there before."""
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler announces each start and stop
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = [event for event in json.loads(trace.read_text())["traceEvents"] if event.get("name") == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event["ts"]):
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return peak


@contextmanager
def threads(n: int) -> Iterator[None]:
    """``n`` CPU threads for torch's operations, and restore what was."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
