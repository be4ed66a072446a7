"""Verdicts follow their rules on histories whose answer is known."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from eureka_lib import claims, paths
from eureka_lib.analysis.eureka import eureka_moment
from eureka_lib.claims import rules
from eureka_lib.store import Run

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
    written = path.stat().st_mtime_ns
    claims.save([row], "01_the_eureka_moment", "smoke")
    assert path.stat().st_mtime_ns == written, "the same claims again leave the file as it is"


# ---- C4, on planted gradients

KEPT = list(range(0, 2050, 100))


def planted_seed(seed, jump_at=9999, name=""):
    run = planted(jump_at)
    return Run(Path(f"run-{name}{seed}"), {"model_seed": seed}, run.history, run.meta)


def sizes_of(runs, v_to_q=3.0, v_to_k=2.0, before=0.9, after=0.7, noise=1.1):
    """Gradients of given ratios on the plateau, others elsewhere, so that a rule that looks there is found out."""
    rows = []
    for i, run in enumerate(runs):
        for step in KEPT:
            flat = 0 < step <= eureka_moment(*run.accuracy).step
            factor = noise ** (i % 3 - 1)
            q, k = (1 / (v_to_q * factor), 1 / (v_to_k * factor)) if flat else (100.0, 100.0)
            entropy = (before if flat else after) + 0.01 * (i % 3 - 1) * flat
            rows.append({"run": run.key, "step": step, "W_Q": q, "W_K": k, "W_V": 1.0, "entropy": entropy})
    return pd.DataFrame(rows)


JUMPS, EARLIER, LATER = (  # between two kept steps, each
    [950, 1250, 750, 9999, 1550, 9999], [650, 950, 450, 1750, 1250, 1750], [1250, 1550, 1050, 9999, 1850, 9999]
)  # fmt: skip
SIX = [planted_seed(seed, jump) for seed, jump in enumerate(JUMPS)]


@pytest.mark.parametrize(
    ("v_to_q", "v_to_k", "noise", "verdict"),
    [
        (3, 2, 1.1, "reproduced"), (2, 3, 1.1, "reproduced"), (3, 0.5, 1.1, "not reproduced"),
        (0.5, 3, 1.1, "not reproduced"), (3, 1, 1.1, "undecided"), (3, 1.2, 3, "undecided"),
    ],
)  # fmt: skip
def test_c4_starved_needs_both_ratios(v_to_q, v_to_k, noise, verdict):
    row = rules.starved(SIX, sizes_of(SIX, v_to_q, v_to_k, noise=noise), "smoke", "figure")
    assert row.verdict == verdict
    assert row.value == pytest.approx(min(v_to_q, v_to_k)) and row.interval[0] < row.value < row.interval[1]


def test_c4_starved_leaves_out_runs_without_a_plateau():
    runs = [*SIX[:3], planted_seed(6, jump_at=50)]
    row = rules.starved(runs, sizes_of(runs), "smoke", "figure")
    assert (row.n, row.verdict) == (3, "reproduced") and "the plateaus of 3 of 4 runs" in row.effect
    row = rules.starved(runs[1:], sizes_of(runs), "smoke", "figure")
    assert (row.n, row.verdict) == (2, "undecided") and row.value > 1 and math.isnan(row.interval[0])
    row = rules.starved(runs[3:], sizes_of(runs), "smoke", "figure")
    assert (row.n, row.verdict) == (0, "undecided") and math.isnan(row.value)
    assert claims.registry._as_json(row)["interval"] == [None, None]


@pytest.mark.parametrize("jumps", [EARLIER, LATER])
@pytest.mark.parametrize(("other", "verdict"), [(1, "reproduced"), (6, "not reproduced"), (3, "undecided")])
def test_c4_because_of_softmax_compares_the_same_steps(other, verdict, jumps):
    """What lies beyond the earlier of the two EMs must not count: there the planted ratios are others."""
    others = [planted_seed(seed, jump, "norm") for seed, jump in enumerate(jumps)]
    sizes = pd.concat([sizes_of(SIX, 3, 3), sizes_of(others, other, other, noise=1 / 1.1)])
    row = rules.because_of_softmax(SIX, others, sizes, "smoke", "figure")
    assert (row.verdict, row.n) == (verdict, 6) and row.value == pytest.approx(3 / other)
    with pytest.raises(ValueError, match="paired by their seeds, got seeds 0 and 5"):
        rules.because_of_softmax(SIX, others[::-1], sizes, "smoke", "figure")


@pytest.mark.parametrize(("after", "verdict"), [(0.7, "reproduced"), (0.99, "not reproduced"), (0.9, "undecided")])
def test_c4_ill_distributed_compares_the_plateau_with_the_end(after, verdict):
    row = rules.ill_distributed(SIX, sizes_of(SIX, after=after), "smoke", "figure")
    assert (row.verdict, row.n) == (verdict, 4)
    assert row.value == pytest.approx(0.9 - after, abs=0.01) and "in 4 of 6 runs" in row.effect
    row = rules.ill_distributed(SIX[2:], sizes_of(SIX, after=after), "smoke", "figure")
    assert (row.n, row.verdict) == (2, "undecided") and math.isnan(row.interval[1])
