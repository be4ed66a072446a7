"""The table of all rows, as text, as JSON, and from the command line."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from eureka_lib import provenance
from eureka_lib.benchmark.attention import attention_rows
from eureka_lib.benchmark.frames import frame_rows
from eureka_lib.benchmark.measure import FULL, SMOKE, Row, Setting, threads
from eureka_lib.benchmark.overhead import overhead_rows
from eureka_lib.benchmark.sweeps import sweep_rows
from eureka_lib.benchmark.training import compile_rows, limit_rows, part_rows, step_rows, zoo_rows
from eureka_lib.validation import check_choice, check_whole

GROUPS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "attention": attention_rows,
    "step": step_rows,
    "parts": part_rows,
    "zoo": zoo_rows,
    "compile": compile_rows,
    "sweep": sweep_rows,
    "limit": limit_rows,
    "overhead": overhead_rows,
    "frames": frame_rows,
}
DEFAULT_GROUPS = tuple(name for name in GROUPS if name != "compile")  # compiling takes a minute or more
HEADER = f"{'':50} {'over':26} {'ratio':>7}  {'quartiles':15} {'floor':>5}  bar"


def rows_of(group: str, setting: Setting) -> Iterator[Row]:
    """Measure a group, row by row; ValueError for an unknown one."""
    with threads(setting.threads):
        yield from GROUPS[check_choice("group", group, GROUPS)](setting)


def line_of(row: Row) -> str:
    """A row of the table, as text."""
    floor = "" if row.floor is None else f"{row.floor:.2f}"
    bar = "" if row.bar is None else f"<= {row.bar:.2f} {'met' if row.met else 'MISSED'}"
    ratio, low, high = (f"{value:.3g}" if value < 0.1 else f"{value:.2f}" for value in (row.ratio, row.low, row.high))
    return f"{row.name:50} {row.baseline:26} {ratio:>7}  {f'{low} to {high}':15} {floor:>5}  {bar}".rstrip()


def _parser() -> argparse.ArgumentParser:
    description = "How fast and how large, as ratios: prints one table of them."
    groups = "\n".join(f"  {name:10} {measure.__doc__.splitlines()[0]}" for name, measure in GROUPS.items())
    parser = argparse.ArgumentParser(
        prog="python -m eureka_lib.benchmark", description=description, epilog=f"groups of rows:\n{groups}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("groups", nargs="*", help="see below; default: all but compile")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; default: cpu")
    parser.add_argument("--precision", default="float32", help="of attention: float32 (default), bfloat16 or float16")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of measurements a row; default: 20")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU; default: 1, as trainings have it")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, which show that it runs and nothing else")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    return parser


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Measure the asked groups, print each row as it comes, and return all of them; ValueError for a bad option."""
    options = _parser().parse_args(arguments)
    groups = [check_choice("group", name, GROUPS) for name in options.groups or DEFAULT_GROUPS]
    setting = Setting(
        device=check_choice("device", options.device, ["cpu"] + ["cuda"] * torch.cuda.is_available()),
        precision=check_choice("precision", options.precision, ("float32", "bfloat16", "float16")),
        pairs=check_whole("pairs", options.pairs, 1),
        threads=check_whole("threads", options.threads, 1),
        sizes=SMOKE if options.smoke else FULL,
    )
    print(f"{setting}, torch {torch.__version__}, {provenance.machine()}\n{HEADER}")
    rows = []
    for name in groups:
        for row in rows_of(name, setting):
            print(line_of(row), flush=True)
            rows.append(row)
    if options.json:
        table = {
            "setting": asdict(setting),
            "versions": provenance.versions(),
            "machine": provenance.machine(),
            "rows": [asdict(row) for row in rows],
        }
        options.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return rows
