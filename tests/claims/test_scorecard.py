"""The scorecard: claims are read back, drawn, and stand in the README as they are in the figures' folder."""

from dataclasses import replace

import matplotlib.pyplot as plt
import pytest

from eureka_lib import paths
from eureka_lib.claims import registry, scorecard
from eureka_lib.claims.registry import NOT_REPRODUCED, NOT_SEEN, REPRODUCED, UNDECIDED, Row
from eureka_lib.plots import verdicts
from eureka_lib.plots.page import Page

pytestmark = pytest.mark.usefixtures("house_style")
ROW = Row("C1", "It waits.", REPRODUCED, 12, "much", 1.0, (0.76, 1.0), "a test", 0.5, "laptop", "abstract",
            "01_training_loss", "a plateau", "", "a plateau", "share of seeds", "above 0.5", 3)  # fmt: skip


def fix(claim, part, verdict, about, figure="05_survival"):
    return replace(
        ROW, claim=claim, part=part, asks=part, verdict=verdict, about=about, n=40, value=1.25, figure=figure
    )


ROWS = {
    "05_the_fixes_compared": [
        fix("C5", "earlier", NOT_REPRODUCED, "a fix (digits)"),
        fix("C6", "likelier", UNDECIDED, "a fix (digits)"),
        fix("C5", "earlier", UNDECIDED, "a fix (patterns)"),
    ],
    "06_robustness": [fix("C6", "a fix", UNDECIDED, "robustness", "06_warm_up")],
    "01_the_eureka_moment": [ROW],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EUREKA_FIGURES", str(tmp_path))
    for notebook, rows in ROWS.items():
        registry.save(rows, notebook, "laptop")
    return tmp_path


def test_claims_of_a_played_notebook_are_not_taken(folder):
    before = scorecard.read("laptop")
    Page("06_robustness", {"profile": "laptop", "seeds": 40}).record([replace(ROW, claim="C2")])
    assert scorecard.read("laptop").equals(before)
    Page("06_robustness", {"profile": "laptop"}).record([replace(ROW, claim="C2")])
    assert "C2" in set(scorecard.read("laptop")["claim"])


def test_claims_are_read_in_the_order_of_the_page(folder):
    table = scorecard.read("laptop")
    assert table["claim"].tolist() == ["C1", "C5", "C5", "C6", "C6"]
    assert table["notebook"].tolist() == ["01_the_eureka_moment", *["05_the_fixes_compared"] * 3, "06_robustness"]
    assert (table["low"] == 0.76).all() and table["value"].tolist() == [1.0, *[1.25] * 4]
    assert scorecard.missing(table) == ["C2", "C3", "C4", "C7", "C8", "Z1", "Z2", "Z3", "S1", "F1", "F2"]
    assert scorecard.counts(table).loc["C5"].to_dict() == {"reproduced": 0, NOT_SEEN: 1, "undecided": 1}


def test_what_is_said_of_one_fix_shares_a_line(folder):
    grouped = scorecard.lines(scorecard.read("laptop"))
    assert {key: rows["part"].tolist() for key, rows in grouped.items()} == {
        ("C1", ""): ["a plateau"],
        ("C5, C6", "a fix (digits)"): ["earlier", "likelier"],
        ("C5", "a fix (patterns)"): ["earlier"],
        ("C6", "robustness"): ["a fix"],
    }


def test_the_table_holds_every_number_once(folder):
    text = scorecard.markdown(scorecard.read("laptop"))
    assert text.count("1.25 (0.76 to 1.00)") == 4 and text.count("1.00 (0.76 to 1.00)") == 1
    assert text.count(scorecard.CLAIMS["C5"].words) == text.count(scorecard.CLAIMS["C6"].words) == 1
    assert "| C6: robustness | a fix **undecided** 1.25 (0.76 to 1.00) | 40 | [06](figures/06_warm_up.png) |" in text
    assert len({line.count("|") for line in text.splitlines()}) == 1


def test_numbers_that_the_data_do_not_bound():
    assert scorecard.number({"value": 2.0, "low": 0.5, "high": None}) == "2.00 (0.50 to \N{INFINITY})"
    assert scorecard.number({"value": None, "low": 1.5, "high": None}) == "\N{INFINITY} (1.50 to \N{INFINITY})"
    assert scorecard.number({"value": None, "low": None, "high": None}) == "no number"


def test_a_tile_for_every_verdict(folder):
    table = scorecard.read("laptop")
    texts = [text.get_text() for text in verdicts.plot(table).axes[0].texts]
    assert sum("\n1." in text for text in texts) == len(table)
    assert {"\N{MULTIPLICATION X} not reproduced / does not hold", "? undecided"} <= set(texts)


def test_nothing_judged_yet(tmp_path, monkeypatch):
    monkeypatch.setenv("EUREKA_FIGURES", str(tmp_path))
    table = scorecard.read("smoke")
    assert scorecard.missing(table) == list(scorecard.CLAIMS)
    assert scorecard.counts(table).empty and not scorecard.lines(table)
    assert "no notebook has judged" in verdicts.plot(table).axes[0].texts[-1].get_text()


def test_what_is_no_claim_is_named(folder):
    registry.save([replace(ROW, claim="C9")], "07_where_the_gradient_goes", "laptop")
    with pytest.raises(ValueError, match="unknown claim 'C9'; allowed are C1, C2"):
        scorecard.read("laptop")
    (folder / "claims" / "07_where_the_gradient_goes.json").write_text('[{"claim": "C1"}]')
    with pytest.raises(ValueError, match=r"07_where.*json does not hold claims .*run_all.sh 07_where"):
        scorecard.read("laptop")


def test_it_goes_between_its_marks(folder):
    table = scorecard.read("laptop")
    page = f"before\n{scorecard.BEGIN}\nold\n{scorecard.END}\nafter\n"
    once = scorecard.into(page, table)
    assert once == f"before\n{scorecard.BEGIN}\n{scorecard.markdown(table)}\n{scorecard.END}\nafter\n"
    assert scorecard.into(once, table) == once
    with pytest.raises(ValueError, match="no place for the scorecard"):
        scorecard.into("before and after", table)


def test_the_readme_is_written_by_the_laptops_own_figures_alone(folder, tmp_path, monkeypatch):
    table = scorecard.read("laptop")
    assert "left alone: it holds the verdicts of profile laptop" in scorecard.write_readme(table, "laptop")  # elsewhere
    monkeypatch.delenv("EUREKA_FIGURES")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").touch()  # what makes it a checkout
    assert "left alone" in scorecard.write_readme(table, "smoke")
    assert "C2, C3, C4, C7, C8, Z1, Z2, Z3, S1, F1, F2 not judged yet" in scorecard.write_readme(table, "laptop")
    monkeypatch.setattr(scorecard, "CLAIMS", {claim: scorecard.CLAIMS[claim] for claim in ("C1", "C5", "C6")})
    (tmp_path / "README.md").write_text(f"{scorecard.BEGIN}\n{scorecard.END}\n")
    assert scorecard.write_readme(table, "laptop") == "README.md now has these verdicts"
    assert scorecard.markdown(table) in (tmp_path / "README.md").read_text()
    assert scorecard.write_readme(table, "laptop") == "README.md has these verdicts already"


def test_the_readme_and_the_figures_folder_say_the_same(monkeypatch):
    monkeypatch.delenv("EUREKA_FIGURES", raising=False)
    table = scorecard.read("laptop")
    assert not scorecard.missing(table)
    readme = (paths.ROOT / "README.md").read_text()
    assert scorecard.into(readme, table) == readme


def test_each_verdict_has_its_figure(monkeypatch):
    monkeypatch.delenv("EUREKA_FIGURES", raising=False)
    for _, row in scorecard.read("laptop").iterrows():
        assert (paths.ROOT / "figures" / f"{row['figure']}.png").exists(), row["statement"]
        assert row["part"] and row["figure"][:2] == row["notebook"][:2], row["statement"]
    assert plt.get_fignums() == []
