"""A rule's effect becomes a row with its verdict, and rows are kept as data."""

import json
import math
from dataclasses import asdict

import pytest

from eureka_lib import paths
from eureka_lib.analysis.compare import Estimate
from eureka_lib.claims import registry
from eureka_lib.claims.registry import CLAIMS, Effect, at_scale, command, kind_of, rule, side_of

LOW, MIDDLE, HIGH = Estimate(1, 0.5, 2), Estimate(3, 2.5, 3.5), Estimate(9, 8, 10)


@pytest.mark.parametrize(
    ("interval", "above", "below", "off"),
    [
        ((0.6, 0.9), 1, -1, 1),
        ((0.1, 0.4), -1, 1, 1),
        ((0.4, 0.6), 0, 0, 0),
        ((0.5, 0.9), 0, 0, 0),
        ((math.nan, math.nan), 0, 0, 0),
        ((0.6, math.inf), 1, -1, 1),
    ],
)
def test_on_which_side_of_a_threshold_an_interval_lies(interval, above, below, off):
    assert (side_of(interval, above=0.5), side_of(interval, below=0.5), side_of(interval, off=0.5)) == (
        above,
        below,
        off,
    )


@pytest.mark.parametrize(
    ("several", "agreed", "all_hold", "one_holds"),
    [
        ([HIGH, HIGH], "reproduced", "reproduced", "reproduced"),
        ([HIGH, MIDDLE], "undecided", "undecided", "reproduced"),
        ([HIGH, LOW], "undecided", "not reproduced", "reproduced"),
        ([MIDDLE, LOW], "undecided", "not reproduced", "undecided"),
        ([LOW], "not reproduced", "not reproduced", "not reproduced"),
    ],
)
def test_several_estimates_make_one_verdict(several, agreed, all_hold, one_holds):
    def row(**options):
        @rule("C4", "", part="", unit="", above=3, **options)
        def judge():
            """The interval."""
            return Effect(several, 5, "")

        return judge()

    rows = row(), row(combine=min), row(combine=max)
    assert [row.verdict for row in rows] == [agreed, all_hold, one_holds] and rows[0].value == several[0].value


@rule("{claim}", "{name} is high.", part="{name}", above=3, about="of {name}", unit="share", asks="how high")
def is_high(estimate, claim="C2", enough=True):
    """The interval of {name},
    above {threshold:g}.

    Whatever it is.
    """
    return Effect([estimate], 5, "much", {"name": "it", "claim": claim}, enough, censored=2)


def test_a_row_has_the_rules_texts_and_the_claims():
    row = is_high(HIGH)
    assert row.test == "interval of it, above 3" and is_high.__doc__.startswith("The interval of {name}")
    assert (row.claim, row.statement, row.part, row.about) == ("C2", "it is high.", "it", "of it")
    assert (row.verdict, row.n, row.effect, row.value, row.interval) == ("reproduced", 5, "much", 9, (8, 10))
    assert (row.source, row.figure, row.threshold) == (CLAIMS["C2"].source, "01_survival", 3.0)
    assert (row.asks, row.unit, row.supports, row.censored) == ("how high", "share", "above 3", 2)
    assert is_high(HIGH, "F1").verdict == "holds" and is_high(LOW, "F1").verdict == "does not hold"
    assert is_high(HIGH, enough=False).verdict == is_high(HIGH, "F1", enough=False).verdict == "undecided"


def test_a_verdict_says_its_scale():
    seen, unseen, own = is_high(HIGH), is_high(LOW), is_high(LOW, "F1")
    for profile, word in (("smoke", "not seen at this scale"), ("laptop", "not seen at this scale"),
                          ("paper", "not reproduced")):  # fmt: skip
        assert [at_scale(row, profile).verdict for row in (seen, unseen, own)] == ["reproduced", word, "does not hold"]
        assert kind_of(word) == kind_of("does not hold") == "not reproduced" and kind_of("holds") == "reproduced"


def test_a_row_knows_what_repeats_it():
    row = is_high(HIGH)
    assert command(at_scale(row, "laptop")) == "./run_all.sh 01"
    assert command(at_scale(row, "smoke")) == "./run_all.sh --profile smoke 01"


def test_every_claim_has_its_notebook():
    numbers = {path.name[:2] for path in paths.NOTEBOOKS.glob("*.ipynb")}
    assert {claim.notebook for claim in CLAIMS.values()} <= numbers


def test_rows_are_saved_as_data(tmp_path, monkeypatch):
    monkeypatch.setenv("EUREKA_FIGURES", str(tmp_path))
    rows = [is_high(HIGH), is_high(Estimate(math.inf, 3.5, math.inf)), is_high(Estimate(*[math.nan] * 3))]
    path = registry.save(rows, "01_the_eureka_moment", "smoke")
    assert path == paths.figures_dir("smoke") / "claims" / "01_the_eureka_moment.json"
    bounded, unbounded, nothing = json.loads(path.read_text())
    assert list(bounded) == [
        "claim", "statement", "verdict", "n", "effect", "value", "interval", "test", "threshold", "profile", "source",
        "figure", "part", "about", "asks", "unit", "supports", "censored",
    ]  # fmt: skip
    assert (bounded["profile"], bounded["value"], bounded["interval"]) == ("smoke", 9, [8, 10])
    assert (unbounded["value"], unbounded["interval"]) == (None, [3.5, None])
    assert nothing["verdict"] == "undecided" and nothing["interval"] == [None, None]
    written = path.stat().st_mtime_ns
    registry.save(rows, "01_the_eureka_moment", "smoke")
    assert path.stat().st_mtime_ns == written, "the same rows again leave the file as it is"
    assert registry.load(path)[0] == at_scale(rows[0], "smoke") and registry.load(path)[1].value is None
    table = registry.table(rows, "smoke")
    assert table["verdict"].tolist() == ["reproduced", "reproduced", "undecided"] and set(table["profile"]) == {"smoke"}
    assert registry.table([], "smoke").empty


def test_rows_of_older_versions_are_read(tmp_path):
    new = asdict(at_scale(is_high(LOW), "laptop"))
    old = {name: new[name] for name in list(new)[:14]} | {"verdict": "not reproduced"}
    (tmp_path / "01.json").write_text(json.dumps([old, old | {"profile": "paper"}]))
    small, large = registry.load(tmp_path / "01.json")
    assert (small.verdict, large.verdict) == ("not seen at this scale", "not reproduced")
    assert (small.unit, small.asks, small.censored, small.value) == ("", "", None, 1)


def test_every_row_that_is_kept_has_its_unit_and_side():
    for path in (paths.ROOT / "figures" / "claims").glob("*.json"):
        assert all(row.unit and row.supports and row.asks for row in registry.load(path)), path.name
