"""Verdicts follow their rules on histories whose answer is known."""

import json
from pathlib import Path

import pandas as pd
import pytest

from eureka_lib import claims, paths, rules
from eureka_lib.runs import Run

STEPS = list(range(0, 2050, 50))


def planted(jump_at, budget=2000):
    """On the plateau until ``jump_at``, solved from there on."""
    steps = [step for step in STEPS if step <= budget]
    accuracy = [0.97 if step >= jump_at else 0.55 for step in steps]
    return Run(Path("run"), {}, pd.DataFrame({"step": steps, "test_accuracy": accuracy}), {"status": "finished"})


def c1(*jumps):
    return rules.plateau_then_jump([planted(jump) for jump in jumps], "smoke", "figure")


def test_c1_reproduced_needs_plateaus_and_a_jump():
    assert c1(*[1000] * 5, *[9999] * 5).verdict == "reproduced"
    assert c1(*[9999] * 10).verdict == "undecided"  # plateaus, but nobody jumps
    assert c1(*[100] * 10).verdict == "not reproduced"  # nobody has a plateau
    assert c1(1000, 9999).verdict == "undecided"  # two seeds cannot tell


def test_c1_reports_its_numbers():
    row = c1(600, 1000, 100, 9999)
    assert (row.n, row.value, row.threshold) == (4, 0.75, 0.5)
    assert row.effect.startswith("3 of 4 seeds on the plateau for at least 25% of the budget, 2 of these then jump")
    assert "3 of 4 EMs in all, median EM step 600" in row.effect
    assert row.interval[0] < 0.75 < row.interval[1]


def c2(resnet_jumps, vit_jumps):
    return rules.no_plateau_without_attention(
        [planted(jump, budget=1000) for jump in resnet_jumps], [planted(jump) for jump in vit_jumps], "smoke", "figure"
    )


def test_c2_asks_for_the_moment_at_once():
    late = [1000] * 8
    assert c2([100] * 6, late).verdict == "reproduced"  # 5 % of 2000 steps
    assert c2([150] * 6, late).verdict == "not reproduced"  # earlier than the ViT, but not at once
    assert c2([100, 150, 100, 150], late).verdict == "undecided"
    row = c2([150] * 6, late)
    assert "0 of 6 ResNet9 seeds have their EM within 100 steps" in row.effect
    assert "ResNet9: median EM step 150, ViT: median EM step 1000" in row.effect


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [((0.6, 0.9), "reproduced"), ((0.1, 0.4), "not reproduced"), ((0.4, 0.6), "undecided"), ((0.5, 0.9), "undecided")],
)
def test_verdict_of(interval, verdict):
    assert claims.verdict_of(interval, 0.5) == verdict


def test_claims_are_saved_as_data(tmp_path, monkeypatch):
    monkeypatch.setenv("EUREKA_FIGURES", str(tmp_path))
    row = c1(1000, 9999)
    path = claims.save([row], "01_the_eureka_moment", "smoke")
    assert path == paths.figures_dir("smoke") / "claims" / "01_the_eureka_moment.json"
    (stored,) = json.loads(path.read_text())
    assert {"claim", "verdict", "n", "effect", "interval", "test", "threshold", "profile", "source", "figure"} <= set(
        stored
    )
    assert claims.table([row]).loc["C1", "verdict"] == row.verdict
