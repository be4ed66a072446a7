"""Runs as tidy tables: one row per run, or one row per evaluation, for any program that reads CSV or Parquet."""

import json
from ast import literal_eval
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from eureka_lib.store.runs import Run
from eureka_lib.validation import check_choice


def run_table(runs: Sequence[Run], measures: Callable[[Run], Mapping] = lambda run: {}) -> pd.DataFrame:
    """A row per run: key, status, every setting by its dotted name, where it comes from, the last evaluation.

    ``measures(run)`` gives further columns. Settings that a run does not have, since its task or model has not, are
    missing values; lists are JSON text.
    """
    return _flat(
        {"key": run.key, "status": run.status, **run.config, "last": dict(run.history.iloc[-1]), **measures(run)}
        | {"meta": {name: value for name, value in run.meta.items() if name not in ("key", "weights_sha256")}}
        for run in runs
    )


def history_table(runs: Sequence[Run]) -> pd.DataFrame:
    """A row per evaluation of each run: key, every setting by its dotted name, and what was measured at that step."""
    settings = _flat({"key": run.key, **run.config} for run in runs)
    histories = [run.history.assign(key=run.key) for run in runs]
    return settings.merge(pd.concat(histories), on="key") if runs else settings


def _flat(rows: Iterable[Mapping]) -> pd.DataFrame:
    """Nested dictionaries as rows with dotted names; columns in which types meet or lists stand, as text."""
    table = pd.json_normalize(list(rows))
    for name in table:
        if len(types := {type(value) for value in table[name].dropna()}) > 1 or list in types:
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
    if pd.isna(found):
        return wanted == "None"
    with suppress(ValueError, SyntaxError):
        return bool(found == literal_eval(wanted))
    return False


def write(table: pd.DataFrame, file: Path) -> None:
    """Write a table as CSV or Parquet, as the file's ending says; ValueError for another, ImportError without pyarrow.

    Floats are written so that they are read back exactly.
    """
    if check_choice("ending", file.suffix, (".csv", ".parquet")) == ".csv":
        table.to_csv(file, index=False, lineterminator="\n")
        return
    try:
        table.to_parquet(file, engine="pyarrow", index=False)
    except ImportError as error:
        raise ImportError("Parquet needs pyarrow: pip install 'eureka-lib[parquet]', or write a .csv") from error
