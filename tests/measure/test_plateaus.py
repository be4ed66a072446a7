"""A planted leap is found at its step, by loss and by accuracy."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eureka_lib.analysis.eureka import Moment
from eureka_lib.measure.plateaus import ACCURACY, Plateau
from eureka_lib.store import Run

STEPS = np.arange(0, 2050, 50)
PLATEAU = Plateau(2.0, thresholds=(0.5, 0.65))
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
    assert PLATEAU.is_abrupt(run)


def test_a_run_without_a_leap_is_censored():
    run = planted()
    assert PLATEAU.leap(run) == Moment(2000, False)
    assert PLATEAU.share(run) == 1.0 and PLATEAU.descent(run) is None and not PLATEAU.is_abrupt(run)


def test_what_is_not_on_the_plateau_does_not_count():
    assert PLATEAU.share(planted(1000, start=500)) == pytest.approx((900 - 450) / 2000)
    lower = planted(1000)
    lower.history["test_loss"] = lower.history["test_loss"].clip(upper=1.8)  # a shelf below it
    assert PLATEAU.share(lower) == 0.0 and not PLATEAU.is_abrupt(lower)


@pytest.mark.parametrize(("descent", "abrupt"), [(200, True), (1200, False)])
def test_abrupt_is_shorter_than_the_plateau(descent, abrupt):
    assert PLATEAU.is_abrupt(planted(1700, descent=descent)) is abrupt


def test_bad_plateaus_are_named():
    with pytest.raises(ValueError, match="loss must be in .*, got 0"):
        Plateau(0, (0.5,))
    with pytest.raises(ValueError, match=r"threshold must be in \[0.05, 1\], got 0.01"):
        Plateau(1, (0.5, 0.01))
    with pytest.raises(ValueError, match="thresholds must have at least one entry"):
        Plateau(1, ())


def test_the_eureka_moment_is_the_leap_of_an_accuracy():
    """On the plateau until step 1000, half-way up at 1050, and solved from 1100 on."""
    accuracy = np.select([STEPS < 1050, STEPS < 1100], [0.55, 0.8], 0.97)
    run = Run(Path("run"), {}, pd.DataFrame({"step": STEPS, "test_accuracy": accuracy}), {})
    assert ACCURACY.leap(run) == Moment(1050, True) and ACCURACY.leap(run, ACCURACY.thresholds[1]) == Moment(1100, True)
    assert ACCURACY.share(run) == 0.5 and ACCURACY.descent(run) == 100 and ACCURACY.is_abrupt(run)
