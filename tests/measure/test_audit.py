"""An audit agrees with runs that this code gives, and says which it does not give."""

import pandas as pd
import pytest

from eureka_lib.experiments.pools import InProcess
from eureka_lib.experiments.sweep import sweep
from eureka_lib.measure import audit
from eureka_lib.store import RunStore
from eureka_lib.store.contents import release


@pytest.fixture
def clone(tiny, store, tmp_path):
    """A store with three released runs under it."""
    runs = sweep([tiny.vary(seed=seed) for seed in range(3)], InProcess(), store)
    release(store, {"01_name": {run.key: () for run in runs}}, tmp_path / "archives")
    return RunStore(tmp_path / "clone", tmp_path / "archives")


def test_runs_of_this_machine_come_out_equal_bit_for_bit(clone):
    table = audit.audit(audit.choose(clone, 2, seed=0), InProcess())
    assert list(table["verdict"]) == [audit.EXACT] * 2 and audit.agrees(table)


def test_a_run_that_this_code_does_not_give_is_different(clone, monkeypatch):
    (run,) = audit.choose(clone, 1, seed=0)
    run.meta["history_sha256"] = "0" * 64
    assert list(audit.audit([run], InProcess())["verdict"]) == [audit.WRONG]


@pytest.mark.parametrize("off, verdict", [(0.01, audit.CLOSE), (0.2, audit.WRONG)])
def test_another_kind_of_machine_may_round_but_no_more(clone, off, verdict):
    (run,) = audit.choose(clone, 1, seed=0)
    run.meta["machine"]["instructions"] = "another"
    run.meta["history_sha256"] = "0" * 64
    run.history["train_loss"] += off
    table = audit.audit([run], InProcess())
    assert list(table["verdict"]) == [verdict] and audit.agrees(table) == (verdict == audit.CLOSE)
    assert table["training loss soon after by"][0] == pytest.approx(off)


def test_what_is_chosen_depends_on_the_seed_and_on_how_long_it_took(clone):
    keys = [[run.key for run in audit.choose(clone, 2, seed)] for seed in range(20)]
    assert keys[0] == [run.key for run in audit.choose(clone, 2, 0)] and len({*map(tuple, keys)}) > 1
    assert len(audit.choose(clone, 99, seed=0)) == 3
    with pytest.raises(ValueError, match="no released runs"):
        audit.choose(clone, 1, seed=0, at_most=0)
    with pytest.raises(ValueError, match="number of runs"):
        audit.choose(clone, 0, seed=0)


def test_times_that_differ_on_the_whole_are_disagreement_though_each_run_may_pass():
    from eureka_lib.analysis.eureka import Moment

    rows = [
        {"released": Moment(100 + i, True), "here": Moment(900 + i, True), "verdict": audit.CLOSE} for i in range(9)
    ]
    assert audit.agrees(pd.DataFrame(rows[:1])) and not audit.agrees(pd.DataFrame(rows))
    rows[0]["here"] = Moment(2000, False)
    assert audit.turned(pd.DataFrame(rows)) == "1 of 9 outcomes turned"
