"""A planted leap is found at its step, and verdicts follow their rules on histories whose answer is known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eureka_lib.analysis.eureka import Moment
from eureka_lib.claims import leaps
from eureka_lib.claims.leaps import Plateau, Study
from eureka_lib.store import Run

STEPS = np.arange(0, 2050, 50)
PLATEAU = Plateau(2.0, thresholds=(0.5, 0.65))
STUDY = Study("C8", "a made-up task (2 layers)", PLATEAU, "smoke")
NEVER = 9999


def planted(leap_at=NEVER, descent=100, end=0.6, start=0, seed=0):
    """Loss 2.0, at the start above it until ``start``, then down to ``end`` in ``descent`` steps up to ``leap_at``."""
    done = np.clip((STEPS - leap_at + descent) / descent, 0, 1)
    loss = 2.0 + (end - 2.0) * done + 1.0 * (start > STEPS)
    return Run(Path("run"), {"model_seed": seed}, pd.DataFrame({"step": STEPS, "test_loss": loss}), {})


def test_the_score_is_0_on_the_plateau_and_1_at_no_loss():
    steps, score = PLATEAU.score(planted(1000, end=0.0, start=100))
    assert steps.tolist() == STEPS.tolist()
    assert score.iloc[0] == -0.5 and score.iloc[10] == 0 and score.iloc[-1] == 1


def test_a_planted_leap_is_found_at_its_step():
    run = planted(1000, descent=400)  # 2.0 at step 600, 0.6 at step 1000: half of the plateau, 1.0, at 885
    assert PLATEAU.leap(run) == Moment(900, True)
    assert PLATEAU.leap(run, 0.65) == Moment(1000, True)
    assert PLATEAU.leap(run, 0.75) == Moment(2000, False)
    assert PLATEAU.share(run) == pytest.approx(600 / 2000)
    assert PLATEAU.descent(run) == 350  # from 600, the last evaluation below a tenth of 0.7, to 950, the first at 0.56
    assert leaps.is_abrupt(run, PLATEAU)


def test_a_run_without_a_leap_is_censored():
    run = planted()
    assert PLATEAU.leap(run) == Moment(2000, False)
    assert PLATEAU.share(run) == 1.0 and PLATEAU.descent(run) is None and not leaps.is_abrupt(run, PLATEAU)


def test_what_is_not_on_the_plateau_does_not_count():
    assert PLATEAU.share(planted(1000, start=500)) == pytest.approx((900 - 450) / 2000)
    lower = planted(1000)
    lower.history["test_loss"] = lower.history["test_loss"].clip(upper=1.8)  # a shelf below it
    assert PLATEAU.share(lower) == 0.0 and not leaps.is_abrupt(lower, PLATEAU)


@pytest.mark.parametrize(("descent", "abrupt"), [(200, True), (1200, False)])
def test_abrupt_is_shorter_than_the_plateau(descent, abrupt):
    assert leaps.is_abrupt(planted(1700, descent=descent), PLATEAU) is abrupt


def test_bad_plateaus_are_named():
    with pytest.raises(ValueError, match="loss must be in .*, got 0"):
        Plateau(0, (0.5,))
    with pytest.raises(ValueError, match=r"threshold must be in \[0.05, 1\], got 0.01"):
        Plateau(1, (0.5, 0.01))
    with pytest.raises(ValueError, match="thresholds must have at least one entry"):
        Plateau(1, ())


def phenomenon(*runs):
    return leaps.plateau_then_leap(runs, STUDY, "figure")


def test_a_plateau_and_then_a_leap():
    assert phenomenon(*[planted(1000)] * 10).verdict == "reproduced"
    assert phenomenon(*[planted()] * 10).verdict == "not reproduced"  # nobody leaps
    assert phenomenon(*[planted(200)] * 10).verdict == "not reproduced"  # nobody has a plateau
    assert phenomenon(*[planted(1700, descent=1200)] * 10).verdict == "not reproduced"  # a slope is no leap
    assert phenomenon(*[planted(1000)] * 5, *[planted()] * 5).verdict == "undecided"
    assert phenomenon(planted(1000)).verdict == "undecided"  # one seed cannot tell


def test_its_row_has_the_numbers_and_the_scale():
    row = phenomenon(planted(1000), planted(1200), planted(200), planted())
    assert (row.claim, row.n, row.value, row.threshold, row.profile) == ("C8", 4, 0.5, 0.5, "smoke")
    assert row.statement == "There is a plateau and then a leap in a made-up task (2 layers)."
    assert "3 of 4 seeds on the plateau (loss 2) for at least 25% of the budget, 2 of these then leap" in row.effect
    assert "3 of 4 leaps in all, median leap step 1000" in row.effect
    assert row.interval[0] < 0.5 < row.interval[1]


LATE = [planted(step) for step in (1000, 1100, 1200, 1300, 1400, 1500, NEVER, NEVER)]
EARLY = [planted(step) for step in (400, 450, 500, 550, 600, 650, 700, NEVER)]


def helped(runs, baseline):
    return leaps.helps("norm_softmax", runs, baseline, STUDY, "figure")


def test_a_fix_helps_if_its_leaps_come_earlier():
    assert helped(EARLY, LATE).verdict == "reproduced"
    assert helped(LATE, EARLY).verdict == "not reproduced"
    assert helped(LATE, LATE).verdict == "undecided"
    row = helped(EARLY, LATE)
    assert row.statement == "NormSoftmax helps in a made-up task (2 layers)." and row.n == 16
    assert row.value == pytest.approx(np.mean([400, 450, 500, 550, 600, 650, 700, 2000]) / np.mean(
        [1000, 1100, 1200, 1300, 1400, 1500, 2000, 2000]), rel=0.03)  # fmt: skip
    assert "leaps in the budget: 7 of 8 against softmax's 6 of 8" in row.effect
    assert "with the leap at a score of 0.65" in row.effect
    assert "mean time to a score of 0.05, just off the plateau, over softmax's: 0." in row.effect


def test_a_fix_that_leaps_earlier_but_not_as_far_is_undecided():
    shelf = [planted(step, end=0.9) for step in (400, 450, 500, 550, 600, 650, 700, 750)]  # a score of 0.55
    assert helped(shelf, LATE).interval[1] < 1 and helped(shelf, LATE).verdict == "undecided"
    only = Study("C8", "a made-up task", Plateau(2.0, (0.5,)), "smoke")
    assert leaps.helps("norm_softmax", shelf, LATE, only, "figure").verdict == "reproduced"


def test_nobody_leaps_decides_nothing():
    assert helped([planted()] * 5, [planted()] * 5).verdict == "undecided"
