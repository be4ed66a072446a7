"""The scorecard: claims are read back, drawn, and stand in the README as they are in the figures' folder."""

from dataclasses import replace

import matplotlib.pyplot as plt
import pytest

from eureka_lib import paths
from eureka_lib.claims import registry, scorecard
from eureka_lib.claims.registry import (
    CLAIMS,
    NOT_REPRODUCED,
    NOT_SEEN,
    NOT_TESTABLE,
    REPRODUCED,
    UNDECIDED,
    Row,
    kind_of,
)
from eureka_lib.plots import verdicts
from eureka_lib.plots.page import Page
from eureka_lib.plots.style import SMALLEST, smallest_text

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


def test_a_line_counts_all_rows_and_chooses_none(folder):
    table = scorecard.read("laptop")
    c1, c5, c6 = (table[table["claim"] == claim] for claim in ("C1", "C5", "C6"))
    assert scorecard.tally(c1) == "reproduced" and scorecard.seen(c1) == "**reproduced**"
    assert scorecard.tally(c5) == "0 of 2 reproduced (1 not seen, 1 undecided)"
    assert scorecard.seen(c6) == "**undecided (all 2)**: likelier; a fix"
    assert scorecard.measured(c1) == "share of seeds 1.00 (0.76 to 1.00); claimed: above 0.5"
    both = c5.assign(value=[0.5, 2.0])
    assert scorecard.measured(both) == "share of seeds 0.50 to 2.00 in 2 comparisons; claimed: above 0.5"
    assert (scorecard.runs(c1), scorecard.runs(both.assign(n=[20, 40]))) == ("12", "20 to 40")


def test_one_row_that_holds_does_not_make_a_claim(folder):
    row = ROWS["05_the_fixes_compared"][0]
    rows = [replace(row, verdict=REPRODUCED, value=0.1), row, replace(row, asks="speed", verdict=REPRODUCED)]
    registry.save(rows, "05_the_fixes_compared", "laptop")
    c5 = scorecard.read("laptop").query("claim == 'C5'")
    assert scorecard.seen(c5) == ("**2 of 3 reproduced (1 not seen)**: earlier 1 of 2; speed reproduced")
    assert scorecard.measured(c5).startswith("share of seeds 0.10 to 1.25 in 2 comparisons")


def test_the_table_has_a_line_per_claim(folder):
    registry.save(
        [replace(ROW, claim="F1", verdict="holds", figure="14_scores")], "14_forecasting_the_moment", "laptop"
    )
    text = scorecard.markdown(scorecard.read("laptop"))
    paper, beyond = text.split("\n\n")
    assert [line[:7] for line in paper.splitlines()[2:]] == ["| [C1](", "| [C5](", "| [C6]("]
    assert beyond.splitlines()[2].startswith("| [F1](figures/claims/F1.md) | a run's first tenth")
    assert "*(ours)* | **holds** | share of seeds" in beyond and "ours" not in paper
    assert {line.count("|") for line in text.splitlines() if line} == {6}


def test_what_we_find_is_two_sentences(folder):
    table = scorecard.read("laptop")
    first, second = scorecard.findings(table).splitlines()
    assert first == f"At profile `laptop` we see that {CLAIMS['C1'].short} (C1); and in part nothing."
    assert f"that {CLAIMS['C5'].short} (C5); that {CLAIMS['C6'].short} (C6)." in second
    some = table.assign(verdict=[UNDECIDED, REPRODUCED, UNDECIDED, UNDECIDED, UNDECIDED])
    assert f"in part that {CLAIMS['C5'].short} (C5: one of its parts, in part; not earlier)." in scorecard.findings(
        some
    )


def test_what_nobody_could_test_is_not_found(folder):
    table = scorecard.read("laptop")
    some = table.assign(verdict=[REPRODUCED, UNDECIDED, UNDECIDED, REPRODUCED, NOT_TESTABLE])
    holds, untested = table["asks"][3:]
    assert f"in part that {CLAIMS['C6'].short} (C6: {holds}; not {untested})" in scorecard.findings(some)


def test_numbers_that_the_data_do_not_bound():
    assert scorecard.number({"value": 2.0, "low": 0.5, "high": None}) == "2.00 (0.50 to \N{INFINITY})"
    assert scorecard.number({"value": None, "low": 1.5, "high": None}) == "\N{INFINITY} (1.50 to \N{INFINITY})"
    assert scorecard.number({"value": None, "low": None, "high": None}) == "no number"


def test_a_mark_for_every_verdict_behind_what_was_asked(folder):
    table = scorecard.read("laptop")
    figure = verdicts.plot(table)
    texts = [text.get_text() for text in figure.axes[0].texts if text.get_text()]
    signs = [verdicts.MARKS[kind_of(verdict)] for verdict in (REPRODUCED, NOT_SEEN, UNDECIDED)]
    assert [texts.count(sign) for sign in signs] == [2, 2, 4], "one of each is the key"
    assert {"1 reproduced", "1 not seen at this scale", "3 undecided", CLAIMS["C5"].short, "0 of 2 reproduced"} <= set(
        texts
    )
    after = texts[texts.index("0 of 2 reproduced") + 1 :]
    assert after[:3] == ["earlier", signs[1], signs[2]]


def test_times_to_the_jump_stand_below_by_setting(monkeypatch):
    monkeypatch.delenv("EUREKA_FIGURES", raising=False)
    table = scorecard.read("laptop")
    ratios = scorecard.times(table)
    assert (
        len(ratios)
        and set(ratios["unit"]) == {"ratio of times"}
        and not ratios["setting"].str.contains("Softmax").any()
    )
    axis = verdicts.plot(table).axes[1].child_axes[0]
    points = [line.get_xdata()[0] for line in axis.get_lines() if line.get_marker() == "o"]
    assert points == ratios["value"].tolist()
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert "masked language modelling" in labels and labels.count("NormSoftmax") == ratios["setting"].nunique()
    assert len(verdicts.plot(table[table["claim"] == "C1"]).axes) == 1, "nothing to compare"


def test_the_headline_counts(folder):
    assert scorecard.headline(scorecard.read("laptop")).endswith("hold here, 1 do not, 3 are undecided")


def test_it_is_legible_and_nothing_runs_out_of_it(monkeypatch):
    monkeypatch.delenv("EUREKA_FIGURES", raising=False)
    figure = verdicts.plot(scorecard.read("laptop"))
    figure.canvas.draw()
    width, height = figure.get_size_inches() * figure.dpi
    texts = figure.axes[0].texts
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert figure.get_size_inches()[0] == 7 and smallest_text(figure) >= SMALLEST
    assert all(0 <= box.x0 and box.x1 <= width and 0 <= box.y0 and box.y1 <= height for box in boxes)
    assert not any(a.padded(-1).overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_nothing_judged_yet(tmp_path, monkeypatch):
    monkeypatch.setenv("EUREKA_FIGURES", str(tmp_path))
    table = scorecard.read("smoke")
    assert scorecard.missing(table) == list(scorecard.CLAIMS)
    assert scorecard.counts(table).empty
    assert "no notebook has judged" in verdicts.plot(table).axes[0].texts[-1].get_text()


def test_what_is_no_claim_is_named(folder):
    registry.save([replace(ROW, claim="C9")], "07_where_the_gradient_goes", "laptop")
    with pytest.raises(ValueError, match="unknown claim 'C9'; allowed are C1, C2"):
        scorecard.read("laptop")
    (folder / "claims" / "07_where_the_gradient_goes.json").write_text('[{"claim": "C1"}]')
    with pytest.raises(ValueError, match=r"07_where.*json does not hold claims .*run_all.sh 07_where"):
        scorecard.read("laptop")


def test_blocks_go_between_their_marks(folder):
    table = scorecard.read("laptop")
    findings, card = map(scorecard.marks, scorecard.BLOCKS)
    between = "before\n{}{}{}\nbetween\n{}{}{}\nafter\n"
    page = between.format(findings[0], "\nold\n", findings[1], card[0], "\n", card[1])
    once = scorecard.into(page, table)
    new = [f"\n{write(table)}\n" for write in scorecard.BLOCKS.values()]
    assert once == between.format(findings[0], new[0], findings[1], card[0], new[1], card[1])
    assert scorecard.into(once, table) == once
    with pytest.raises(ValueError, match="no place for the findings"):
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
    empty = "\n".join(mark for block in scorecard.BLOCKS for mark in scorecard.marks(block))
    (tmp_path / "README.md").write_text(f"{empty}\n")
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


def test_a_notebook_ends_with_what_its_rows_say():
    rows = [replace(ROW, claim="C1"), replace(ROW, claim="C1", verdict=UNDECIDED), replace(ROW, claim="C2")]
    head, _, first, second = scorecard.conclusion(rows, "laptop").splitlines()
    assert "What the runs say" in head and first.startswith("- **C1**, that the loss waits on a plateau")
    assert "1 of 2 reproduced (1 undecided)" in first and "claimed: " in first and second.startswith("- **C2**, ")
