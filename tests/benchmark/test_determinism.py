"""The report on which circumstances leave a history as it is: its promises are kept, and it notices a broken one."""

import pytest

from eureka_lib.benchmark import determinism
from eureka_lib.benchmark.determinism import IDENTICAL, ROUNDING, Row


def test_its_promises_are_kept(capsys):
    """All rows of the report on this machine; most are promised to be identical, bit for bit."""
    assert determinism.main([]) == 0
    promise, table = capsys.readouterr().out.split("\n\n")
    lines = table.splitlines()
    assert promise + "\n" == determinism.PROMISE
    assert "NOT KEPT" not in "".join(lines) and len(lines) >= 1 + len(determinism.ON_CPU) + len(determinism.VARIANTS)


@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("--seeds=3", 2), ("cpu", 2)])
def test_only_without_arguments_it_trains(argument, status, capsys, monkeypatch):
    monkeypatch.setattr(determinism, "report", None)  # so that a training would fail
    with pytest.raises(SystemExit) as end:
        determinism.main([argument])
    out, err = capsys.readouterr()
    assert end.value.code == status
    assert determinism.PROMISE in out if status == 0 else f"unrecognized arguments: {argument}" in err


def other_seed(experiment, store):
    return determinism.again(experiment.vary(data_seed=1), store)


def test_it_notices_a_difference(tiny):
    found = determinism.difference(determinism.again, other_seed, tiny)
    assert found > determinism.CLOSE
    assert determinism.difference(determinism.again, determinism.again, tiny) == 0


@pytest.mark.parametrize(
    ("promised", "difference", "kept"),
    [(IDENTICAL, 0.0, True), (IDENTICAL, 1e-300, False), (ROUNDING, 1e-7, True), (ROUNDING, 0.1, False)],
)
def test_a_promise_is_kept_or_not(promised, difference, kept):
    assert Row("somewhere", promised, difference).kept is kept
