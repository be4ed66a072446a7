"""A page per claim: its texts are the registry's, its numbers the rows'."""

import math
import re
from dataclasses import fields, replace
from types import SimpleNamespace

import pytest

from eureka_lib import paths
from eureka_lib.claims import pages, scorecard
from eureka_lib.claims.registry import CLAIMS, UNDECIDED, Row


@pytest.fixture
def table(monkeypatch):
    monkeypatch.delenv("EUREKA_FIGURES", raising=False)
    return scorecard.read("laptop")


def test_the_pages_and_the_rows_say_the_same(table):
    for claim, rows in table.groupby("claim"):
        file = paths.ROOT / "figures" / "claims" / f"{claim}.md"
        assert file.read_text() == pages.page(claim, rows, paths.ROOT / "figures"), file.name


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_page_says_everything(claim, table):
    rows, known = table[table["claim"] == claim], CLAIMS[claim]
    text = (paths.ROOT / "figures" / "claims" / f"{claim}.md").read_text()
    assert len(known.short.split()) <= 10
    for words in (known.words, known.source, known.did, known.limits, known.scale):
        assert words and words in text
    for row in rows.to_dict("records"):
        line = f"**{row['verdict']}** | {scorecard.number(row)} | {row['unit']} | {row['supports']} | {row['n']} |"
        assert line in text and row["effect"] in text and row["test"] in text and f"\n{row['command']}\n" in text
    assert ("A question of ours" in text) == known.own
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (paths.ROOT / "figures" / "claims" / target).exists(), target


def test_censored_runs_are_told_where_a_rule_knows_them(table):
    rows = table[table["claim"] == "C1"]
    assert "without a jump" not in pages.page("C1", rows.assign(censored=None), paths.ROOT / "figures")
    text = pages.page("C1", rows.assign(censored=[3, None]), paths.ROOT / "figures")
    first, second = rows["n"]
    assert f"| {first} | 3 |" in text and f"| {second} | not recorded |" in text


def test_another_profile_has_pages_of_its_own(table, tmp_path, monkeypatch):
    monkeypatch.setenv("EUREKA_FIGURES", str(tmp_path))
    smoke = table[table["claim"] == "C2"].assign(profile="smoke")
    (file,) = pages.write(smoke, "smoke")
    assert file == tmp_path / "smoke" / "claims" / "C2.md"
    assert "| cost | not measured | not known to us |" in file.read_text() and "size | not recorded" in file.read_text()


@pytest.mark.parametrize(
    ("unit", "supports", "value", "interval", "words"),
    [
        ("share of seeds", "above 0.5", 0.6, (0.3, 0.83), "With 10 runs it takes at least 9 to decide it"),
        ("ratio of times", "below 1", 0.8, (0.5, 1.6), "only for numbers below 0.50"),
        ("odds ratio", "above 1", 3.0, (0.5, math.inf), "only for numbers above 6.00"),
        ("difference of accuracies", "above 0", 0.1, (-0.1, 0.3), "only for numbers above 0.20"),
        ("odds ratio", "above 1", 3.0, (0.0, 9.0), ""),
        ("ratio of times", "other than 1", 0.8, (0.5, 1.6), ""),
    ],
)
def test_an_undecided_row_says_what_it_could_have_decided(table, unit, supports, value, interval, words):
    facts = {"unit": unit, "supports": supports, "value": value, "interval": interval, "n": 10, "verdict": UNDECIDED}
    row = Row(**dict.fromkeys((field.name for field in fields(Row)), "") | facts)
    assert words in pages.power(row) and bool(words) == bool(pages.power(row))
    assert pages.power(replace(row, verdict="reproduced")) == ""
    assert words in pages.power(SimpleNamespace(**facts, low=interval[0], high=interval[1])), "as in the table"
