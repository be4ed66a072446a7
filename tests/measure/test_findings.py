"""Sentences above the figures, on runs whose answer is known; they are true for any outcome."""

from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from eureka_lib.experiments import profiles
from eureka_lib.measure import findings
from eureka_lib.measure.methods import rate_curves, rate_grid
from eureka_lib.measure.plateaus import ACCURACY
from eureka_lib.store import Run
from tests import planted

NEVER = 9999
group = partial(planted.group, profiles.get("smoke").cheap.base)
SLOW = group("softmax", 700, 800, 800, 900, NEVER)
QUICK = group("norm_softmax", 150, 200, 200, 250, 300)
SLOWER = group("heat_treatment", 950, *[NEVER] * 4)
GROUPS = {"softmax": SLOW, "norm_softmax": QUICK, "heat_treatment": SLOWER}


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (SLOW, "4 of 5 jump, at step 700 to 900"),
        (QUICK[1:3], "all 2 jump, at step 200"),
        (SLOWER[1:], "none of 4 jumps in 1,000 steps"),
        (QUICK[:1], "jumps at step 150"),
        (SLOWER[4:], "does not jump in 1,000 steps"),
    ],
)
def test_jumps_are_counted_and_timed(runs, said):
    assert findings.jumps(runs) == said


def test_methods_are_held_against_softmax():
    assert findings.against(GROUPS) == (
        "4 of 5 runs jump with softmax; with others 0 of 5 (Heat Treatment) to 5 of 5 (NormSoftmax)"
    )
    assert findings.soonest(GROUPS) == (
        "Mean steps until the jump, or the end: 840 with softmax; "
        "with others 220 (NormSoftmax) to 1,000 (Heat Treatment)"
    )
    assert findings.sooner(GROUPS) == "1 of 2 methods surely sooner than softmax, 1 later"
    two = {"softmax": SLOW, "norm_softmax": QUICK}
    assert findings.against(two).endswith("with others 5 of 5 (NormSoftmax)")
    assert findings.soonest(two).endswith("with others 220 (NormSoftmax)")


def test_leaps_are_abrupt_or_slow():
    said = findings.leaps(SLOW, ACCURACY)
    assert said == "4 of 5 leap, 4 of them in less time than they lay on the plateau"


def test_rates_and_grids_are_summed_up():
    rows = [
        ("softmax", 1e-3, False),
        ("softmax", 2e-3, True),
        ("norm_softmax", 1e-3, True),
        ("norm_softmax", 2e-3, True),
    ]
    table = pd.DataFrame(rows, columns=["method", "learning_rate", "EM"]).assign(**{"EM or censored at step": 100})
    assert findings.most_rates(rate_curves(table)).endswith("softmax 1 of 2, NormSoftmax 2 of 2")
    grid = rate_grid({(name, 1e-3): runs for name, runs in GROUPS.items()}, ("method", "learning rate"))
    assert findings.shares(grid) == "softmax 80%, NormSoftmax 100%, Heat Treatment 0%"


STUCK = [0.1, 0.3, 0.55, 0.55, 0.55]


def fake(accuracy):
    """A run with these accuracies, 100 steps apart."""
    history = pd.DataFrame({"step": range(0, 100 * len(accuracy), 100), "test_accuracy": accuracy})
    return Run(Path("fake"), profiles.get("smoke").vit.config(), history, {"status": "finished"})


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ([0.7, 0.95, 0.95, 0.95], "A transformer is stuck for 200 steps, then gets it within 200"),
        ([0.7, 0.85, 0.85, 0.85], "A transformer is stuck for 200 steps, then gets it at step 600"),
        ([0.55, 0.55, 0.6, 0.95], "A transformer is stuck for 500 of 800 steps, and does not get out"),
    ],
)
def test_the_story_of_a_run(after, said):
    assert findings.story(fake(STUCK + after)) == said


def test_how_many_jump():
    jumper, late = fake(STUCK + [0.95] * 4), fake([*STUCK, 0.55, 0.95, 0.95, 0.95])
    stuck = fake(STUCK)
    assert findings.jumps([stuck, stuck]) == "none of 2 jumps in 400 steps"
    assert findings.jumps([stuck, late]) == "1 of 2 jumps, at step 600"
    assert findings.jumps([jumper, late, stuck]) == "2 of 3 jump, at step 500 to 600"
    assert findings.jumps([jumper, late]) == "all 2 jump, at step 500 to 600"
