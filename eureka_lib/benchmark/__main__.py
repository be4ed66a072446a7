"""The command line: ``python -m eureka_lib.benchmark --help``."""

import argparse
from collections.abc import Sequence

import torch

from eureka_lib import provenance
from eureka_lib.benchmark.attention import attention_rows
from eureka_lib.benchmark.measure import Row, Setting
from eureka_lib.benchmark.training import step_rows, sweep_rows, zoo_rows
from eureka_lib.validation import check_choice, check_whole

GROUPS = {"attention": attention_rows, "step": step_rows, "zoo": zoo_rows, "sweep": sweep_rows}
HEADER = f"{'':50} {'over':26} {'ratio':>7}  {'quartiles':15} {'floor':>5}  bar"


def line_of(row: Row) -> str:
    """A row of the table, as text."""
    floor = "" if row.floor is None else f"{row.floor:.2f}"
    bar = "" if row.bar is None else f"<= {row.bar:.2f} {'met' if row.met else 'MISSED'}"
    ratio, low, high = (f"{value:.3g}" if value < 0.1 else f"{value:.2f}" for value in (row.ratio, row.low, row.high))
    return f"{row.name:50} {row.baseline:26} {ratio:>7}  {f'{low} to {high}':15} {floor:>5}  {bar}".rstrip()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the asked groups and print each row as it comes; ValueError for a bad option."""
    parser = argparse.ArgumentParser(
        prog="python -m eureka_lib.benchmark", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="How fast and how large, as ratios to named baselines: prints one table of them.",
        epilog="\n".join(f"  {name:10} {rows.__doc__.splitlines()[0]}" for name, rows in GROUPS.items()),
    )  # fmt: skip
    parser.add_argument("groups", nargs="*", help="of rows, see below; default: all")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; default: cpu")
    parser.add_argument("--precision", default="float32", help="of attention: float32 (default), bfloat16 or float16")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of measurements a row; default: 20")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, which show that it runs and nothing else")
    options = parser.parse_args(arguments)
    groups = [check_choice("group", name, GROUPS) for name in options.groups or GROUPS]
    setting = Setting(
        device=check_choice("device", options.device, ["cpu"] + ["cuda"] * torch.cuda.is_available()),
        precision=check_choice("precision", options.precision, ("float32", "bfloat16", "float16")),
        pairs=check_whole("pairs", options.pairs, 1),
        smoke=options.smoke,
    )
    print(f"{setting}, torch {torch.__version__}, {provenance.machine()}\n{HEADER}")
    for name in groups:
        for row in GROUPS[name](setting):
            print(line_of(row), flush=True)


if __name__ == "__main__":
    main()
