"""Probes of stored runs: the table holds what was asked, on one core or on all."""

import pandas as pd

from eureka_lib.analysis.probes import OUTPUT, READ
from eureka_lib.measure.probes import Job, answers, probe


def test_table_holds_what_was_asked(probed):
    counts = probed.table[probed.table["step"] == 0].groupby("question").size()
    assert counts.to_dict() == {"training": 28, "code": 14, "map": 144, "checks": 24, "claims": 6}
    assert probed.table["accuracy"].between(0, 1).all()
    code = answers(probed.table, "code")
    assert (code["online"] > 0).all() and "control" not in code and "online" not in answers(probed.table, "map")
    where = f"layer == 2 and tokens == {READ!r} and asked == 'label' and probe == 'linear' and part == {OUTPUT!r}"
    same = [answers(probed.table, name).query(where)["accuracy"].tolist()
            for name in ("training", "map", "code", "checks")]  # fmt: skip
    assert same[0] == same[1] == same[2] == same[3]


def test_random_weights_do_not_hide_the_digits_but_nobody_has_compared_them(probed):
    rows = answers(probed.table, "checks").query("step == 0 and tokens == 'all tokens'").set_index(["asked", "probe"])
    assert rows.loc[("indicators", "linear"), "accuracy"] > 0.85
    assert rows.loc[("which target", "linear"), "accuracy"] < 0.7


def test_jobs_on_all_cores_give_the_same_table(probed):
    jobs = [Job(probed.subject, step, ("claims",)) for step in (0, 20, 10)]
    found = probe(jobs, 100)
    here = probed.table[probed.table["question"] == "claims"].dropna(axis="columns").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, here)
