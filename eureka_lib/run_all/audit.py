"""``./run_all.sh audit``: some of the released runs are trained again and compared (:mod:`eureka_lib.measure.audit`).

The exit status is 1 if they disagree with what was released, 2 for a mistake on the command line.
"""

import argparse
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path

BESIDE = ("--runs", "2", "--at-most", "60")  # beside the notebooks: short ones


def main(arguments: Sequence[str], only_check: bool = False) -> int:
    """Audit, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="./run_all.sh audit", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=6, metavar="N", help="how many, by chance; default: 6")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), metavar="S", help="chooses the same again")
    parser.add_argument("--at-most", type=float, default=inf, metavar="SECONDS", help="of those that took that long")
    options = parser.parse_args(arguments)
    if only_check:
        return 0
    from eureka_lib.measure import audit
    from eureka_lib.store import RunStore

    try:
        runs = audit.choose(RunStore(), options.runs, options.seed, options.at_most)
    except ValueError as problem:
        parser.exit(2, f"run_all.sh audit: {problem}\n")
    print(f"Audit: {len(runs)} released runs, chosen by --seed {options.seed}, are trained again", flush=True)
    table = audit.audit(runs)
    print(table.to_string(index=False))
    agrees, p = audit.agrees(table), audit.p_of_times(table)
    words = f"{audit.turned(table)}; log-rank p of the EM times {p:.2g}"
    print(f"Audit: {'agrees' if agrees else 'DISAGREES'} with what was released ({words})")
    return 0 if agrees else 1


@contextmanager
def beside(scratch: Path) -> Iterator[subprocess.Popen]:
    """An audit in a process of its own while this block runs, which it does not outlive; prints into scratch/audit."""
    with open(scratch / "audit", "wb") as file:
        command = [sys.executable, "-m", "eureka_lib.run_all", "audit", *BESIDE]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def outcome(process: subprocess.Popen, scratch: Path) -> tuple[int, str]:
    """Wait for an audit :func:`beside`: its exit status, and what it printed, progress aside."""
    status = process.wait()
    lines = (scratch / "audit").read_text(encoding="utf-8", errors="replace").splitlines()
    return status, "\n".join(line for line in lines if not line.startswith("training again"))
