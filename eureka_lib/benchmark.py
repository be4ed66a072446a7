"""How fast and how large, as ratios: ``python -m eureka_lib.benchmark`` prints one table of them.

A millisecond says little about code, since it depends on the machine and on what else runs there. So each row is the
cost of something over that of a baseline, both measured in turn (A B A B ...) and divided pair by pair: the median of
the pairs' ratios, and their quartiles. Where there is a ratio that the count of operations suggests (``floor``), or one
that we hold ourselves to (``bar``, at most), the row carries it.

A group of rows is a function ``Setting -> iterator of Row`` in :data:`GROUPS`; name groups on the command line to have
only those. ``--device cuda`` measures a GPU, ``--json FILE`` keeps the rows.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile

from eureka_lib import provenance
from eureka_lib.models.attention import FUSED, NORMALISERS
from eureka_lib.validation import check_choice, check_whole

LENGTHS = (17, 65, 197, 1024)  # tokens: the laptop's, 8 x 8 and 14 x 14 (the paper's) patches and CLS, a long text
HEADS, HEAD_WIDTH = 4, 64  # the paper's ViT
TOKENS = {"cpu": 2048, "cuda": 2**17}  # of a batch: enough to keep the device busy
SDPA_SLACK = 1.15  # how much above its floor the fused form may be: float32, rows of 197 and longer
NAIVE_SHARE = 0.35  # how much of the naive form's time the fused one may take: float32, rows of 1024 and longer


@dataclass(frozen=True)
class Setting:
    """Where and how thoroughly to measure."""

    device: str = "cpu"  # or "cuda"
    precision: str = "float32"  # of all tensors; a torch dtype's name
    pairs: int = 20  # how often A B is repeated


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


def measure_pairs(cost: Callable[[Work], float], work: Work, baseline: Work, pairs: int) -> dict[str, float]:
    """Median and quartiles of cost(work) / cost(baseline), measured in turn after one unmeasured pair."""
    ratios = [cost(work) / cost(baseline) for _ in range(pairs + 1)][1:]
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


def peak_memory(work: Work, device: str) -> float:
    """The most bytes that ``work`` holds at once, beyond what was there before."""
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() - before
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


# --- attention -------------------------------------------------------------------------------------------------------


def attention_rows(setting: Setting, lengths: Sequence[int] = LENGTHS) -> Iterator[Row]:
    """Fused NormSoftmax against the naive form and against torch's plain attention, forward and backward."""
    costs = {"time": seconds, "memory": peak_memory}
    for tokens in lengths:
        work = {name: partial(forward_backward, *case) for name, case in attention_cases(setting, tokens).items()}
        floor = 1 + HEAD_WIDTH / tokens
        bars = {}
        if setting.precision == "float32" and tokens >= 197:
            bars["SDPA", "time"] = SDPA_SLACK * floor
        if setting.precision == "float32" and tokens >= 1024:
            bars["naive", "time"] = NAIVE_SHARE
        for what, cost in costs.items():
            pairs = setting.pairs if what == "time" else 1  # memory is the same every time
            for baseline in ("naive", "SDPA"):
                yield Row(
                    name=f"fused NormSoftmax, {what}, {tokens} tokens",
                    baseline="naive NormSoftmax" if baseline == "naive" else "SDPA softmax",
                    **measure_pairs(partial(cost, device=setting.device), work["fused"], work[baseline], pairs),
                    floor=floor if (baseline, what) == ("SDPA", "time") else None,
                    bar=bars.get((baseline, what)),
                )


Case = tuple[Callable[[Tensor, Tensor, Tensor], Tensor], list[Tensor], Tensor]


def attention_cases(setting: Setting, tokens: int) -> dict[str, Case]:
    """Fused, naive and SDPA: each a function of q, k, v, those tensors, laid out as in the model, and a gradient."""
    batch = max(2, TOKENS[setting.device] // tokens)
    options = {"device": setting.device, "dtype": getattr(torch, setting.precision)}
    qkv = torch.randn(batch, tokens, 3, HEADS, HEAD_WIDTH, **options)
    leaves = [part.transpose(1, 2).requires_grad_() for part in qkv.unbind(2)]  # each (B, H, T, D)
    scale = torch.tensor(HEAD_WIDTH**-0.5, device=setting.device)
    naive = NORMALISERS["norm_softmax"]
    functions = {
        "fused": lambda q, k, v: FUSED[naive](q, k, v, scale),
        "naive": lambda q, k, v: naive(q @ k.transpose(-2, -1), scale) @ v,
        "SDPA": scaled_dot_product_attention,
    }
    upstream = torch.randn(leaves[0].shape, **options)
    return {name: (function, leaves, upstream) for name, function in functions.items()}


def forward_backward(function: Callable[..., Tensor], leaves: list[Tensor], upstream: Tensor) -> tuple[Tensor, ...]:
    """The gradients of ``leaves``, for the gradient ``upstream`` of the function's output."""
    return torch.autograd.grad(function(*leaves), leaves, upstream)


# --- the table -------------------------------------------------------------------------------------------------------

GROUPS: dict[str, Callable[[Setting], Iterator[Row]]] = {"attention": attention_rows}
HEADER = f"{'':38} {'over':18} {'ratio':>5}  {'quartiles':12} {'floor':>5}  bar"


def line_of(row: Row) -> str:
    """A row of the table, as text."""
    floor = "" if row.floor is None else f"{row.floor:.2f}"
    bar = "" if row.bar is None else f"<= {row.bar:.2f} {'met' if row.met else 'MISSED'}"
    spread = f"{row.low:.2f} to {row.high:.2f}"
    return f"{row.name:38} {row.baseline:18} {row.ratio:5.2f}  {spread:12} {floor:>5}  {bar}".rstrip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m eureka_lib.benchmark", description=__doc__.split("\n")[0])
    parser.add_argument("groups", nargs="*", help=f"of rows: {', '.join(GROUPS)}; default: all")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; default: cpu")
    parser.add_argument("--precision", default="float32", help="float32, bfloat16 or float16; default: float32")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of measurements a row; default: 20")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU; default: 1, as trainings have it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    return parser


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Measure the asked groups, print each row as it comes, and return all of them; ValueError for a bad option."""
    options = _parser().parse_args(arguments)
    groups = [check_choice("group", name, GROUPS) for name in options.groups or GROUPS]
    setting = Setting(
        device=check_choice("device", options.device, ["cpu"] + ["cuda"] * torch.cuda.is_available()),
        precision=check_choice("precision", options.precision, ("float32", "bfloat16", "float16")),
        pairs=check_whole("pairs", options.pairs, 1),
    )
    torch.set_num_threads(check_whole("threads", options.threads, 1))
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler announces each start and stop
    print(f"{setting}, threads={options.threads}, torch {torch.__version__}, {provenance.machine()}\n{HEADER}")
    rows = []
    for name in groups:
        for row in GROUPS[name](setting):
            print(line_of(row), flush=True)
            rows.append(row)
    if options.json:
        table = {
            "setting": asdict(setting) | {"threads": options.threads},
            "versions": provenance.versions(),
            "machine": provenance.machine(),
            "rows": [asdict(row) for row in rows],
        }
        options.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return rows


if __name__ == "__main__":
    main()
