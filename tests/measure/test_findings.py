"""Sentences that hold whatever happened."""

from pathlib import Path

import pandas as pd
import pytest

from eureka_lib.experiments import profiles
from eureka_lib.measure.findings import jumps, story
from eureka_lib.store import Run

STUCK = [0.1, 0.3, 0.55, 0.55, 0.55]


def fake(accuracy):
    """A run with these accuracies, 100 steps apart."""
    history = pd.DataFrame({"step": range(0, 100 * len(accuracy), 100), "test_accuracy": accuracy})
    return Run(Path("fake"), profiles.get("smoke").vit.config(), history, {"status": "finished"})


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ([0.7, 0.95, 0.95, 0.95], "A transformer is stuck for 300 steps, then gets it within 200"),
        ([0.7, 0.85, 0.85, 0.85], "A transformer is stuck for 300 steps, then gets it at step 600"),
        ([0.55, 0.55, 0.6, 0.95], "A transformer is stuck for 500 of 800 steps, and does not get out"),
    ],
)
def test_the_story_of_a_run(after, said):
    assert story(fake(STUCK + after)) == said


def test_how_many_jump():
    jumper, late = fake(STUCK + [0.95] * 4), fake([*STUCK, 0.55, 0.95, 0.95, 0.95])
    stuck = fake(STUCK)
    assert jumps([stuck, stuck]) == "none of 2 jumps in 400 steps"
    assert jumps([stuck, late]) == "1 of 2 jumps, at step 600"
    assert jumps([jumper, late, stuck]) == "2 of 3 jump, at step 500 to 600"
    assert jumps([jumper, late]) == "all 2 jump, at step 500 to 600"
