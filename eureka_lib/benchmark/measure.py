"""A ratio of two costs: what a row is, where and how thoroughly to measure, and the two costs, time and memory."""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

Work = Callable[[], object]
TRIES, DISTURBED = 3, 0.2  # how often a row is measured at most, while its quartiles differ by more than that share


@dataclass(frozen=True)
class Setting:
    """Where and how thoroughly to measure; ``smoke`` takes tiny sizes, to show that everything runs."""

    device: str = "cpu"  # or "cuda"
    precision: str = "float32"  # of the tensors in the group "attention"; a torch dtype's name
    pairs: int = 20  # how often A B is repeated
    smoke: bool = False

    @property
    def profile(self) -> str:
        """The profile whose experiments are trained."""
        return "smoke" if self.smoke else "laptop"


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


def seconds(work: Work, device: str) -> float:
    """Wall time of ``work`` in s; on a GPU, until it has finished there."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started


def compare(
    setting: Setting, name: str, baseline: str, work: Work, other: Work, cost: Callable[[Work, str], float] = seconds,
    pairs: int | None = None, unmeasured: int = 1, **marks: float | None,
) -> Row:  # fmt: skip
    """The row of cost(work) / cost(other), measured in turn after ``unmeasured`` pairs to warm up.

    ``pairs`` are the setting's if not given, ``marks`` the row's floor and bar. On one CPU thread, as trainings are.
    Measured again where the quartiles lie so far apart that something else must have been running.
    """
    pairs = pairs or setting.pairs
    for _ in range(TRIES):
        with threads(1):
            costs = [(cost(work, setting.device), cost(other, setting.device)) for _ in range(pairs + unmeasured)]
        ratios = [ours / theirs for ours, theirs in costs[unmeasured:]]
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive") if pairs > 1 else ratios * 3
        if high - low <= DISTURBED * median:
            break
    return Row(name, baseline, median, low, high, **marks)


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
    changes = [event["args"]["Bytes"] for event in sorted(events, key=lambda event: event["ts"])]
    return max(accumulate(changes, initial=0))


@contextmanager
def threads(n: int) -> Iterator[None]:
    """``n`` CPU threads for torch's operations, and restore what was."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
