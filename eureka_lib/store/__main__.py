"""The command line of the run store: ``python -m eureka_lib.store --help``.

The exit status is 0 if all is well, 1 if a run is damaged, 2 for a mistake on the command line.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from eureka_lib import paths
from eureka_lib.analysis.eureka import eureka_moment
from eureka_lib.store import Run, RunStore, StoreError, released
from eureka_lib.store.contents import (
    behind_figures,
    entries,
    merge,
    release,
    remove,
    size_of,
    sound_runs,
    useless,
)
from eureka_lib.store.table import history_table, matching, run_table, write

EPILOG = """\
examples:
  python -m eureka_lib.store list attention=norm_softmax 'key=3f*'
  python -m eureka_lib.store verify                        weights too; exit status 1 if a run is damaged
  python -m eureka_lib.store export runs.parquet           a row per run; or runs.csv
  python -m eureka_lib.store export evaluations.csv --histories
  python -m eureka_lib.store prune                         says what would go: what no sweep will ever use
  python -m eureka_lib.store prune --yes status=diverged   removes it, and the diverged runs
  python -m eureka_lib.store release                       the runs behind the figures, as archives in figures/runs
  python -m eureka_lib.store merge /media/other/runs       verifies, copies what is not here, replaces nothing

A condition NAME=VALUE names a column of the exported table, such as training.steps=600, or steps=600 for short.
"""


def list_runs(store: RunStore, options: argparse.Namespace) -> int:
    """Print the runs that meet the conditions, with the settings in which they differ."""
    table, _ = _selected(store, options)
    marks = [name for name in ("eureka_moment", "eureka_step", "last.test_accuracy") if name in table]
    settings = [name for name in table if not name.startswith(("last.", "meta.")) and name not in ("key", *marks)]
    differ = [name for name in settings if table[name].nunique(dropna=False) > 1]
    if len(table):
        print(table[["key", *differ, *marks]].to_string(index=False))
    print(f"{len(table)} runs in {store.folder}")
    return 0


def verify_runs(store: RunStore, options: argparse.Namespace) -> int:
    """Verify every file of every run, stored or released, and say which do not fit."""
    own, others = ([*entries(folders.values(), weights=True)] for folders in (store.folders(), store.released()))
    wrong = [f"{entry.folder.name}: {entry.problem}" for entry in own + others if not entry.run]
    wrong += [f"{name}: {problem}" for name, problem in released.verify(store.archives) if problem]
    for line in wrong:
        print(line)
    damaged = sum(entry.run is None for entry in own)
    print(f"{len(own) - damaged} runs in {store.folder} are what they say, {damaged} are not")
    if others:
        print(f"{len(others)} released ones in {store.archives}")
    return 1 if wrong else 0


def release_runs(store: RunStore, options: argparse.Namespace) -> int:
    """Write the runs behind the laptop's figures as archives, which come with the checkout; 1 if some are missing."""
    wanted = behind_figures(paths.figures_dir(paths.DEFAULT_PROFILE))
    missing = release(store, wanted, store.archives)
    for name, keys in wanted.items():
        words = f"; {len(missing[name])} more are neither stored nor released" if missing[name] else ""
        print(f"{name}: {len(keys) - len(missing[name])} runs{words}")
    print(f"{size_of(store.archives):,} bytes in {store.archives}")
    return 1 if any(missing.values()) else 0


def export_runs(store: RunStore, options: argparse.Namespace) -> int:
    """Write the runs that meet the conditions as a table."""
    table, runs = _selected(store, options)
    if options.histories:
        table = history_table([run for run in runs if run.key in set(table["key"])])
    write(table, options.file)
    print(f"{len(table)} rows, {len(table.columns)} columns in {options.file}")
    return 0


def prune_store(store: RunStore, options: argparse.Namespace) -> int:
    """Remove, or without --yes name, what no sweep will ever use, and the runs that meet the conditions, if any."""
    going = list(useless(store))
    if options.conditions:
        going += [(store.folder / key, "meets the conditions") for key in _selected(store, options)[0]["key"]]
    for path, reason in going:
        print(f"{path.relative_to(store.folder)} ({size_of(path):,} bytes): {reason}")
        if options.yes:
            remove(path)
    print(f"{len(going)} removed" if options.yes else f"{len(going)} would be removed with --yes")
    return 0


def merge_stores(store: RunStore, options: argparse.Namespace) -> int:
    """Copy what another store has and this one lacks."""
    if not options.other.is_dir():
        raise ValueError(f"merge needs the folder of another store, got {options.other}")
    counts = Counter()
    for key, outcome in merge(store, RunStore(options.other)):
        counts[outcome.split(":")[0]] += 1
        if outcome not in ("copied", "already here"):
            print(f"{key}: {outcome}")
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or f"no runs in {options.other}")
    return 1 if counts["damaged"] else 0


def _moments(run: Run) -> dict[str, object]:
    """Whether a run had its Eureka-moment, and the step of it or at which it is censored."""
    if "test_accuracy" not in run.history:
        return {}
    moment = eureka_moment(*run.accuracy)
    return {"eureka_moment": moment.happened, "eureka_step": moment.step}


def _selected(store: RunStore, options: argparse.Namespace) -> tuple[pd.DataFrame, list[Run]]:
    """The table of the runs that meet the conditions, and all runs it was chosen from."""
    runs = sound_runs(store)
    if damaged := len(store.folders() | store.released()) - len(runs):
        print(f"{damaged} damaged runs are left out; verify names them", file=sys.stderr)
    return matching(run_table(runs, _moments), dict(options.conditions)), runs


def _condition(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"a condition is NAME=VALUE, for example status=diverged; got {word!r}")
    return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eureka_lib.store", description="List, verify, export, prune and merge stored runs.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--store", type=Path, metavar="FOLDER", help="default: $EUREKA_STORE, or the checkout's runs")
    commands, added = parser.add_subparsers(metavar="COMMAND", required=True), {}
    for name, command in (("list", list_runs), ("verify", verify_runs), ("export", export_runs),
                          ("prune", prune_store), ("release", release_runs), ("merge", merge_stores)):  # fmt: skip
        added[name] = commands.add_parser(name, parents=[where], help=command.__doc__)
        added[name].set_defaults(command=command)
    added["export"].add_argument("file", type=Path, help="runs.csv or runs.parquet")
    added["export"].add_argument("--histories", action="store_true", help="a row per evaluation, not per run")
    added["prune"].add_argument("--yes", action="store_true", help="do it")
    added["merge"].add_argument("other", type=Path, help="the folder of another store")
    for name in ("list", "export", "prune"):
        added[name].add_argument("conditions", nargs="*", type=_condition, metavar="NAME=VALUE")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    store = RunStore(options.store, None if options.store is None else options.store / "released")
    try:
        if not store.folder.is_dir() and not store.released() and options.command is not merge_stores:
            raise ValueError(f"there is no run store in {store.folder}")
        return options.command(store, options)
    except (ValueError, ImportError, StoreError) as problem:
        parser.exit(2, f"eureka_lib.store: {problem}\n")


if __name__ == "__main__":
    sys.exit(main())
