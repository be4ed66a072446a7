"""Runs as tidy tables: one row per run, or one row per evaluation, for any program that reads CSV or Parquet."""

import json
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from eureka_lib.store.runs import Config, Run
from eureka_lib.validation import check_choice

FORMATS = (".csv", ".parquet")
NO_MEASURES: Callable[[Run], Mapping] = lambda run: {}  # noqa: E731


def run_table(runs: Sequence[Run], measures: Callable[[Run], Mapping] = NO_MEASURES) -> pd.DataFrame:
    """A row per run: key, status, every setting by its dotted name, where it comes from, the last evaluation.

    ``measures(run)`` gives further columns. Settings that a run does not have, since its task or model has not, are
    missing values.
    """
    rows = [
        {"key": run.key, "status": run.status}
        | flat(run.config)
        | {f"last.{name}": value for name, value in run.history.iloc[-1].items()}
        | dict(measures(run))
        | {
            f"meta.{name}": value
            for name, value in flat(run.meta).items()
            if not name.startswith(("weights_sha256", "key"))
        }
        for run in runs
    ]
    return _one_type_each(pd.DataFrame(rows))


def history_table(runs: Sequence[Run]) -> pd.DataFrame:
    """A row per evaluation of each run: key, every setting by its dotted name, and what was measured at that step."""
    tables = [
        run.history.assign(**{"key": run.key, **flat(run.config)})[["key", *flat(run.config), *run.history]]
        for run in runs
    ]
    return _one_type_each(pd.concat(tables, ignore_index=True) if tables else pd.DataFrame())


def flat(config: Config, above: str = "") -> dict[str, object]:
    """Nested dictionaries as one, with dotted names; lists as JSON text."""
    found = {}
    for name, value in config.items():
        if isinstance(value, dict):
            found |= flat(value, f"{above}{name}.")
        else:
            found[above + name] = json.dumps(value) if isinstance(value, list | tuple) else value
    return found


def _one_type_each(table: pd.DataFrame) -> pd.DataFrame:
    """Columns in which several types meet, since runs have settings of one name but two kinds, as text."""
    for name in table:
        if len({type(value) for value in table[name].dropna()}) > 1:
            table[name] = [v if v is None or isinstance(v, str) else json.dumps(v) for v in table[name]]
    return table


def matching(table: pd.DataFrame, conditions: Mapping[str, str]) -> pd.DataFrame:
    """The rows where each named column has the given value, written as in Python; texts may have ``*`` and ``?``.

    A name may leave out what stands before its last dot, if that is clear. Raises ValueError for an unknown one.
    """
    for name, value in conditions.items():
        if len(table):
            table = table[[_is(found, value) for found in table[_column(name, table)]]]
    return table


def _column(name: str, table: pd.DataFrame) -> str:
    short = [column for column in table if column.split(".")[-1] == name]
    if name not in table and len(short) > 1:
        raise ValueError(f"which {name}: {' or '.join(short)}?")
    return short[0] if name not in table and short else check_choice("column", name, table.columns)


def _is(found: object, wanted: str) -> bool:
    if isinstance(found, str):
        return fnmatchcase(found, wanted)
    with suppress(ValueError, SyntaxError):
        value = literal_eval(wanted)
        return bool(pd.isna(found)) if value is None else bool(found == value)
    return False


def write(table: pd.DataFrame, file: Path) -> None:
    """Write a table as CSV or Parquet, as the file's ending says; ValueError for another, ImportError without pyarrow.

    Floats are written so that they are read back exactly.
    """
    if check_choice("ending", file.suffix, FORMATS) == ".csv":
        table.to_csv(file, index=False, lineterminator="\n")
        return
    try:
        table.to_parquet(file, engine="pyarrow", index=False)
    except ImportError as error:
        raise ImportError("Parquet needs pyarrow: pip install 'eureka-lib[parquet]', or write a .csv") from error
