"""Verdicts follow their rules on histories whose answer is known."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eureka_lib.analysis.eureka import eureka_moment
from eureka_lib.analysis.forecast import ALL, CONSTANT, WHEN, WHETHER
from eureka_lib.claims import rules
from eureka_lib.claims.studies import Study
from eureka_lib.measure.plateaus import Plateau
from eureka_lib.store import Run

STEPS = list(range(0, 2050, 50))
NEVER = 9999


def planted(jump_at, budget=2000, final=0.97):
    """On the plateau until ``jump_at``, at ``final`` from there on."""
    steps = [step for step in STEPS if step <= budget]
    accuracy = [final if step >= jump_at else 0.55 for step in steps]
    return Run(Path("run"), {}, pd.DataFrame({"step": steps, "test_accuracy": accuracy}), {"status": "finished"})


# ---- C1, C7, C8: one rule in two parts, by accuracy and by loss


def planted_loss(jump_at, descent=50):
    """The same by a loss, whose plateau is at 2: down to 0.1 in ``descent`` steps up to ``jump_at``."""
    done = np.clip((np.array(STEPS) - jump_at + descent) / descent, 0, 1)
    return Run(Path("run"), {}, pd.DataFrame({"step": STEPS, "test_loss": 2 - 1.9 * done}), {})


def by_accuracy(*jumps):
    runs = [planted(jump) for jump in jumps]
    return rules.long_plateau(runs), rules.abrupt_jump(runs)


def by_loss(*jumps):
    runs, study = [planted_loss(jump) for jump in jumps], Study("C8", "a made-up task", Plateau(2.0, (0.5, 0.65)))
    return rules.long_plateau(runs, study), rules.abrupt_jump(runs, study)


@pytest.mark.parametrize("judge", [by_accuracy, by_loss])
def test_a_plateau_and_a_jump_whatever_tells_them(judge):
    def verdicts(*jumps):
        return [row.verdict for row in judge(*jumps)]

    assert verdicts(*[1000] * 10) == ["reproduced", "reproduced"]
    assert verdicts(*[1000] * 5, *[NEVER] * 5) == ["reproduced", "reproduced"]  # who never jumps is censored
    assert verdicts(*[NEVER] * 10) == ["reproduced", "undecided"]  # plateaus, but nobody jumps
    assert verdicts(*[100] * 10) == ["not reproduced", "undecided"]  # nobody has a plateau
    assert verdicts(1000, NEVER) == ["undecided", "undecided"]  # two seeds cannot tell
    assert [row.censored for row in judge(*[1000] * 5, *[NEVER] * 5)] == [5, 5]


def test_a_slope_is_no_jump():
    study, slow = Study("C8", "a made-up task", Plateau(2.0, (0.5,))), [planted_loss(1900, descent=1300)] * 10
    assert [rule(slow, study).verdict for rule in (rules.long_plateau, rules.abrupt_jump)] == [
        "reproduced", "not reproduced"
    ]  # fmt: skip


def test_a_jump_that_stops_half_way_counts_against_it():
    shelf = [planted(1000, final=0.8)] * 10
    assert (rules.abrupt_jump(shelf).n, rules.abrupt_jump(shelf).verdict) == (10, "not reproduced")


def test_their_rows_have_the_numbers_and_the_scale():
    plateau, jump = by_accuracy(600, 1000, 100, NEVER)
    assert (plateau.n, plateau.value, plateau.threshold, plateau.claim) == (4, 0.75, 0.5, "C1")
    assert plateau.effect.startswith("3 of 4 seeds on the plateau (accuracy 0.50 to 0.57) for at least 25% of the")
    assert "3 of 4 Eureka-moments in all, median EM step 600" in plateau.effect
    assert plateau.interval[0] < 0.75 < plateau.interval[1]
    assert (jump.n, jump.value, jump.figure) == (2, 1.0, "01_training_loss")
    assert "1 of 3 had no Eureka-moment by the end of the budget" in jump.effect
    plateau, jump = by_loss(1000, 1200, 200, NEVER)
    assert (plateau.claim, plateau.about, plateau.figure) == ("C8", "a made-up task", "10_loss")
    assert plateau.statement == "There is a long plateau in a made-up task." and "(loss 2)" in plateau.effect
    assert jump.statement == "The plateau ends abruptly in a made-up task." and jump.value == 1.0


# ---- C2


def c2(resnet_jumps, vit_jumps):
    return rules.no_plateau_without_attention(
        [planted(jump, budget=1000) for jump in resnet_jumps], [planted(jump) for jump in vit_jumps]
    )


def test_c2_asks_for_the_moment_at_once():
    late = [1000] * 8
    assert c2([100] * 6, late).verdict == "reproduced"  # 5 % of 2000 steps
    assert c2([150] * 6, late).verdict == "not reproduced"  # earlier than the ViT, but not at once
    assert c2([100, 150, 100, 150], late).verdict == "undecided"
    row = c2([150] * 6, late)
    assert "0 of 6 ResNet9 seeds have their EM within 100 steps" in row.effect
    assert "ResNet9: median EM step 150, ViT: median EM step 1000" in row.effect


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
    row = rules.starved(SIX, sizes_of(SIX, v_to_q, v_to_k, noise=noise))
    assert row.verdict == verdict
    assert row.value == pytest.approx(min(v_to_q, v_to_k)) and row.interval[0] < row.value < row.interval[1]


def test_c4_starved_leaves_out_runs_without_a_plateau():
    runs = [*SIX, planted_seed(6, jump_at=50)]
    row = rules.starved(runs, sizes_of(runs))
    assert (row.n, row.verdict) == (6, "reproduced") and "the plateaus of 6 of 7 runs" in row.effect
    row = rules.starved(runs[1:], sizes_of(runs))
    assert (row.n, row.verdict) == (5, "undecided") and row.value > 1 and math.isnan(row.interval[0])
    row = rules.starved(runs[6:], sizes_of(runs))
    assert (row.n, row.verdict) == (0, "undecided") and math.isnan(row.value)


@pytest.mark.parametrize("jumps", [EARLIER, LATER])
@pytest.mark.parametrize(("other", "verdict"), [(1, "reproduced"), (6, "not reproduced"), (3, "undecided")])
def test_c4_because_of_softmax_compares_the_same_steps(other, verdict, jumps):
    """What lies beyond the earlier of the two EMs must not count: there the planted ratios are others."""
    others = [planted_seed(seed, jump, "norm") for seed, jump in enumerate(jumps)]
    sizes = pd.concat([sizes_of(SIX, 3, 3), sizes_of(others, other, other, noise=1 / 1.1)])
    row = rules.because_of_softmax(SIX, others, sizes)
    assert (row.verdict, row.n) == (verdict, 6) and row.value == pytest.approx(3 / other)
    with pytest.raises(ValueError, match="paired by their seeds, got seeds 0 and 5"):
        rules.because_of_softmax(SIX, others[::-1], sizes)


@pytest.mark.parametrize(("after", "verdict"), [(0.7, "reproduced"), (0.99, "not reproduced"), (0.9, "undecided")])
def test_c4_ill_distributed_compares_the_plateau_with_the_end(after, verdict):
    jumping = [planted_seed(seed, jump) for seed, jump in enumerate(EARLIER)]
    row = rules.ill_distributed([*jumping, *SIX[3:4]], sizes_of([*jumping, *SIX[3:4]], after=after))
    assert (row.verdict, row.n) == (verdict, 6)
    assert row.value == pytest.approx(0.9 - after, abs=0.04) and "in 6 of 7 runs" in row.effect
    row = rules.ill_distributed(jumping[1:], sizes_of(jumping, after=after))
    assert (row.n, row.verdict) == (5, "undecided") and math.isnan(row.interval[1])


# ---- C3


def test_a_single_step_at_once():
    quick, slow = [planted(100)] * 6, [planted(400)] * 6
    assert rules.single_step_at_once(quick, "targets", 2000).verdict == "holds"
    row = rules.single_step_at_once(slow, "indicators", 2000)
    assert row.verdict == "does not hold" and "0 of 6 seeds have their EM within 100 steps of 2000" in row.effect
    assert row.part == "indicators alone"


def test_slower_together_needs_both_controls():
    together = [planted(jump) for jump in (1000, 1200, 1400, 1600, NEVER)]
    quick, slower = [planted(100)] * 5, [planted(NEVER)] * 5
    for other, verdict in ((quick, "reproduced"), (together, "undecided"), (slower, "not reproduced")):
        row = rules.slower_together({"targets": quick, "indicators": other}, together)
        assert row.verdict == verdict and row.n == 15


@pytest.mark.parametrize(("values", "there", "not_made"), [
    ([0.97, 0.99, 0.98] * 2, "reproduced", "not reproduced"),
    ([0.50, 0.52, 0.49] * 2, "not reproduced", "reproduced"),
    ([0.70, 0.99, 0.98] * 2, "undecided", "not reproduced"),
    ([0.45, 0.52, 0.99] * 2, "undecided", "undecided"),
    ([0.50] * 5, "undecided", "undecided"),  # too few runs
])  # fmt: skip
def test_what_probes_say(values, there, not_made):
    first, second = rules.information_is_there(values, [0.9]), rules.comparison_is_not_made(values, [])
    assert (first.verdict, second.verdict) == (there, not_made)
    assert first.claim == second.claim == "C3" and first.n == len(values)
    assert first.value == pytest.approx(np.mean(values)) and "at the initial weights 0.90" in first.effect
    assert "no run had it" in second.effect


# ---- C5, C6

SLOW = [planted(jump) for jump in [1400, 1500, 1600, NEVER, NEVER] * 4]
MIDDLE = [planted(jump) for jump in [700, 800, 900, 1000, 1100] * 4]
QUICK = [planted(jump) for jump in [300, 350, 400, 450, 600] * 4]


def verdicts_of_a_fix(fixed, baseline):
    return [row.verdict for row in rules.judge_fix("norm_softmax", fixed, baseline, "regime")]


def test_a_quicker_fix_is_reproduced_and_a_slower_one_is_not():
    assert verdicts_of_a_fix(QUICK, SLOW) == ["reproduced"] * 4
    assert verdicts_of_a_fix(SLOW, MIDDLE) == ["not reproduced"] * 4
    assert verdicts_of_a_fix(SLOW, SLOW) == ["undecided"] * 4
    rows = rules.judge_fix("norm_softmax", QUICK, SLOW, "regime")
    assert [row.unit for row in rows] == ["ratio of times"] * 2 + ["odds ratio", "difference of accuracies"]
    assert [row.claim for row in rows] == ["C5", "C6", "C6", "C6"]
    assert {row.about for row in rows} == {"NormSoftmax (regime)"} and math.isinf(rows[2].interval[1])


def test_where_softmax_has_no_plateau_there_is_nothing_to_shorten():
    assert verdicts_of_a_fix(QUICK, QUICK) == verdicts_of_a_fix(SLOW, QUICK) == ["not testable here"] * 4
    assert rules.temperature_matters({1: QUICK, 4: SLOW}).verdict == "not testable here"
    assert helped(LATE, [planted_loss(100, 100)] * 8).verdict == "not testable here"
    assert {row.verdict for row in rules.judge_zoo({"softmax": QUICK, "sigmoid": SLOW})} == {"not testable here"}


def test_where_softmax_ends_on_the_plateau_the_time_to_its_accuracy_says_nothing():
    stuck = [planted(NEVER)] * 19 + [planted(1500)]
    verdicts = {row.part: row.verdict for row in rules.judge_fix("norm_softmax", QUICK, stuck, "regime")}
    assert verdicts["fewer steps"] == "not testable here" and verdicts["earlier"] == "reproduced"


def test_several_regimes_that_judge_one_claim_share_the_error():
    alone, among = (rules.judge_fix("norm_softmax", QUICK, SLOW, "regime", n)[0] for n in (1, 5))
    assert alone.interval[1] < among.interval[1] and "at 95.0%" in alone.test and "at 99.0%" in among.test


def test_moments_that_are_lost_again_are_reported():
    lost = planted(300)
    lost.history.loc[lost.history["step"] > 1500, "test_accuracy"] = 0.55
    assert "; 2 EMs lost again by the end" in rules.alleviates([lost] * 2 + QUICK, SLOW, "a fix").effect
    assert "; 1 EMs of softmax's lost again" in rules.alleviates(QUICK, [lost, *SLOW], "a fix").effect
    assert "lost" not in rules.alleviates(QUICK, SLOW, "a fix").effect


def test_em_thresholds_that_disagree_leave_it_undecided():
    """A fix that is quick to 0.8 but never reaches 0.9 is quicker under one EM threshold and slower under the other."""
    row = rules.judge_fix("norm_softmax", [planted(300, final=0.8)] * 20, SLOW, "regime")[0]
    assert row.verdict == "undecided" and row.value < 0.5


def test_temperature_matters():
    row = rules.temperature_matters({0.25: SLOW, 1: SLOW, 4: QUICK})
    assert row.verdict == "reproduced" and "at 4 times the default scale" in row.effect and row.interval[1] < 1
    assert "excludes 1 at 1 of 2 other scales (4)" in row.effect and row.part == "scale x 4"
    assert rules.temperature_matters({0.25: SLOW, 1: SLOW}).verdict == "undecided"


def test_more_robust_compares_cells():
    rates = pd.DataFrame({"softmax": [0.0, 0.2, 0.4, 0.2, 0.0, 0.1], "norm_softmax": [0.8, 1.0, 1.0, 0.6, 0.8, 1.0]})
    assert rules.more_robust(rates, "norm_softmax", SLOW).verdict == "reproduced"
    assert rules.more_robust(rates.assign(norm_softmax=rates["softmax"]), "norm_softmax", SLOW).verdict == "undecided"
    assert rules.more_robust(rates, "norm_softmax", QUICK).verdict == "not testable here"


# ---- C7, C8: a fix by its leaps

LATE = [planted_loss(step, 100) for step in (1000, 1100, 1200, 1300, 1400, 1500, NEVER, NEVER)]
EARLY = [planted_loss(step, 100) for step in (400, 450, 500, 550, 600, 650, 700, NEVER)]


def helped(runs, baseline, thresholds=(0.5, 0.65)):
    return rules.helps("norm_softmax", runs, baseline, Study("C8", "a made-up task", Plateau(2.0, thresholds)))


def test_a_fix_helps_if_its_leaps_come_earlier():
    assert helped(EARLY, LATE).verdict == "reproduced"
    assert helped([planted_loss(NEVER)] * 8, [planted_loss(1000, 100)] * 8).verdict == "not reproduced"
    assert helped(LATE, LATE).verdict == "undecided"
    assert helped([planted_loss(NEVER)] * 5, [planted_loss(NEVER)] * 5).verdict == "undecided"
    row = helped(EARLY, LATE)
    assert row.statement == "NormSoftmax helps in a made-up task." and row.n == 16 and row.figure == "10_times"
    assert row.value == pytest.approx(np.mean([400, 450, 500, 550, 600, 650, 700, 2000]) / np.mean(
        [1000, 1100, 1200, 1300, 1400, 1500, 2000, 2000]), rel=0.03)  # fmt: skip
    assert "leaps in the budget: 7 of 8 against softmax's 6 of 8" in row.effect
    assert "with the leap at a score of 0.65" in row.effect
    assert "mean time to a score of 0.05, just off the plateau, over softmax's: 0." in row.effect


def test_a_fix_that_leaps_earlier_but_not_as_far_is_undecided():
    shelf = [planted_loss(step, 100) for step in (400, 450, 500, 550, 600, 650, 700, 750)]
    for run in shelf:
        run.history["test_loss"] = run.history["test_loss"].clip(lower=0.9)  # a score of 0.55
    assert helped(shelf, LATE).interval[1] < 1 and helped(shelf, LATE).verdict == "undecided"
    assert helped(shelf, LATE, thresholds=(0.5,)).verdict == "reproduced"


# ---- Z1, Z2, Z3

ZOO = {
    method: [planted(jump, budget=1000) for jump in jumps]
    for method, jumps in {
        "softmax": (600, 650, 700, 750, 800, 800, 850, 850, NEVER, NEVER),
        "sigmoid": (100, 150, 150, 200, 200, 250, 250, 250, 300, 300),
        "qk_norm": (500, 550, 550, 550, 600, 600, 600, 600, 650, 650),
        "sinkhorn": [NEVER] * 10,
        "sparsemax": (500, 650, 700, 750, 800, 800, 850, NEVER, NEVER, NEVER),
    }.items()
}


def test_shortened_and_removed():
    rows = rules.judge_zoo(ZOO)
    verdicts = {(row.claim, row.part): row.verdict for row in rows}
    assert verdicts == {
        ("Z1", "sigmoid"): "reproduced", ("Z2", "sigmoid"): "reproduced",
        ("Z1", "QK-norm"): "reproduced", ("Z2", "QK-norm"): "not reproduced",
        ("Z1", "Sinkhorn"): "not reproduced", ("Z2", "Sinkhorn"): "not reproduced",
        ("Z1", "sparsemax"): "undecided", ("Z2", "sparsemax"): "not reproduced",
    }  # fmt: skip
    assert [rows[0].statement, rows[1].statement] == ["sigmoid shortens the plateau.", "sigmoid removes the plateau."]


def test_intervals_hold_for_all_methods_together():
    alone = rules.judge_zoo({name: ZOO[name] for name in ("softmax", "sparsemax")})[0]
    among = rules.judge_zoo(ZOO)[-2]
    assert among.statement == alone.statement and among.value == alone.value
    assert among.interval[0] < alone.interval[0] and among.interval[1] > alone.interval[1]
    assert "at 95.0%" in alone.test and "at 98.8%" in among.test and "below 1 under" in among.test
    assert "EMs in the budget: 7 of 10 against 8 of 10" in among.effect and among.n == 20


def test_the_follow_ups_question():
    often, never = (
        [planted(jump, budget=1000) for jump in jumps] for jumps in ((300, 400, 500, 600, NEVER), [NEVER] * 5)
    )

    def ask(qr, softmax):
        groups = {"qr": qr, "softmax": softmax}
        return rules.qr_jumps_more_often({(name, rate): groups[name] for name in groups for rate in (1e-3, 5e-4)})

    row = ask(often, never)
    assert row.verdict == "reproduced" and row.n == 20
    assert "8 of 10 against softmax's 0 of 10" in row.effect and "published: 8 of 15 against 1 of 15" in row.effect
    assert ask(never, often).verdict == "not reproduced"
    assert ask(often, often).verdict == ask(never, never).verdict == "undecided"


# ---- F1, F2


def judged(question=WHETHER, runs=40, ems=25, **changes):
    """A judged table of two predictors, of which the one that uses all signs has the given numbers."""
    numbers = {"value": 0.8, "low": 0.6, "high": 0.9, "difference": 0.1, "difference low": 0.02,
               "difference high": 0.2, "on fitting runs": 0.9}  # fmt: skip
    row = {"question": question, "predictor": ALL, "runs": runs, "EMs": ems, **numbers, **changes}
    return pd.DataFrame([{**row, "predictor": CONSTANT, "value": 0.5}, row])


def verdicts_of_a_forecast(table, question=WHETHER):
    return [rule(table, question).verdict for rule in (rules.forecasts, rules.tells_more_than_the_losses)]


def test_forecasts():
    assert verdicts_of_a_forecast(judged()) == ["holds", "holds"]
    assert verdicts_of_a_forecast(judged(low=0.45)) == ["undecided", "holds"]
    assert verdicts_of_a_forecast(judged(**{"difference low": -0.1})) == ["holds", "undecided"]
    worse = {"low": 0.1, "high": 0.4, "difference low": -0.3, "difference high": -0.1}
    assert verdicts_of_a_forecast(judged(**worse)) == ["does not hold", "does not hold"]
    nothing = dict.fromkeys(("value", "low", "high", "difference", "difference low", "difference high"), np.nan)
    assert verdicts_of_a_forecast(judged(**nothing)) == ["undecided", "undecided"]


def test_forecasts_want_enough_of_what_they_compare():
    for ems in (4, 36):
        assert verdicts_of_a_forecast(judged(ems=ems)) == ["undecided", "undecided"]
    assert verdicts_of_a_forecast(judged(WHEN, ems=4), WHEN) == ["undecided", "undecided"]
    assert verdicts_of_a_forecast(judged(WHEN, ems=40), WHEN) == ["holds", "holds"]  # all EMs: their order is enough


def test_forecasts_report_their_numbers():
    table = pd.concat([judged(), judged(WHEN, ems=30)])
    rows = rules.judge_forecasts(table)
    assert [row.claim for row in rows] == ["F1", "F1", "F2", "F2"]
    assert (rows[0].value, rows[0].interval, rows[0].n) == (0.8, (0.6, 0.9), 40)
    assert "25 of 40 held-out runs have an EM" in rows[0].effect and "AUC" in rows[0].effect
    assert "which is 0.70" in rows[3].effect and (rows[3].value, rows[3].threshold) == (0.1, 0)
