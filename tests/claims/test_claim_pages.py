"""A page per claim: its texts are the registry's, its numbers the rows'."""

import re

import pytest

from eureka_lib import paths
from eureka_lib.claims import pages, scorecard
from eureka_lib.claims.registry import CLAIMS


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
    assert "| 12 | 3 |" in text and "| 9 | not recorded |" in text


def test_another_profile_has_pages_of_its_own(table, tmp_path, monkeypatch):
    monkeypatch.setenv("EUREKA_FIGURES", str(tmp_path))
    smoke = table[table["claim"] == "C2"].assign(profile="smoke")
    (file,) = pages.write(smoke, "smoke")
    assert file == tmp_path / "smoke" / "claims" / "C2.md"
    assert "| cost | not measured | not known to us |" in file.read_text() and "size | not recorded" in file.read_text()
