"""Which runs and steps are looked into."""

from dataclasses import replace

import pytest

from eureka_lib.experiments import profiles
from eureka_lib.measure.subjects import Subject, early_and_late, telling_steps
from tests.planted import planted, subjects

KEPT = range(0, 1050, 50)
ANATOMY = profiles.get("smoke").live


def test_steps_of_a_run():
    jumps, never = subjects(ANATOMY, 600, 9999)
    assert jumps.phases == {"start": 0, "half-way": 300, "end": 1000} and never.halfway == 500
    assert never.checkpoints(5) == [0, 250, 500, 750, 1000] and never.checkpoints(1) == [0]
    assert jumps.checkpoints(5) == [0, 250, 450, 500, 550, 600, 650, 750, 1000]  # and those around the EM
    assert jumps.checkpoints(100) == never.checkpoints(100) == list(KEPT)
    assert jumps.title == "seed 0: EM at step 600" and never.title == "seed 1: no EM by step 1000"


def test_a_typical_run_stands_beside_one_that_stays():
    def chosen(*jumps):
        return [subject.seed for subject in early_and_late(subjects(ANATOMY, *jumps))]

    assert chosen(900, 9999, 300, 500) == [3, 1]  # the median of those that jump; the one that never does
    assert chosen(900, 300, 500) == [2]  # all jump: nobody stays
    assert chosen(300, 1000) == [0]  # a jump at the very end is none, but nor does it stay
    assert chosen(9999, 9999) == [0, 1] and chosen(300) == [0]


def brief(*accuracy):
    """A run that was evaluated, and kept its weights, every 4 steps."""
    run = planted(ANATOMY, 0, range(0, 4 * len(accuracy), 4))
    return Subject(ANATOMY, replace(run, history=run.history.assign(test_accuracy=accuracy)))


def test_which_steps_are_shown():
    late, never = brief(0.1, 0.55, 0.55, 0.9, 0.9, 0.9), brief(0.1, *[0.55] * 5)
    assert telling_steps(late.run) == {"plateau": 4, "before EM": 8, "at the EM": 12, "end": 20}
    assert list(telling_steps(never.run).values()) == [4, 8, 12, 20]
    with pytest.raises(ValueError, match="kept its weights at 2 steps; at least 5 are needed"):
        telling_steps(brief(0.1, 0.55).run)
