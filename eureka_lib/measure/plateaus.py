"""Plateaus, and when a run has left them: by its accuracy, or, where there is none, by its loss.

In regression or in language modelling an Eureka-moment is a leap of the test loss. It is found by the library's one
criterion (:mod:`eureka_lib.analysis.eureka`), applied to a *score*, 1 - loss / plateau: 0 on the derived plateau, 1 at
a loss of 0. A run that does not leave its plateau is censored at the end of its budget, and stays in every number.
"""

from dataclasses import dataclass

import pandas as pd

from eureka_lib.analysis.eureka import (
    PLATEAU_BAND,
    THRESHOLD,
    Moment,
    eureka_moment,
    jump_duration,
    late_jump,
    plateau_fraction,
)
from eureka_lib.store import Run
from eureka_lib.validation import check_real

# The phases of a run of which kept weights are shown.
BEFORE, AFTER, NEVER = "before the leap", "at the end, after a leap", "at the end, no leap"

STRICT_THRESHOLD = 0.90  # the second accuracy threshold of the EM, under which a comparison must come out the same
JUMP = (0.60, 0.90)  # a jump of the accuracy lies between these
DESCENT = (0.1, 0.8)  # and a leap of the score between these shares of the run's best one
PLATEAU_SHARE = 0.25  # a plateau is long if it takes at least this share of the budget


@dataclass(frozen=True)
class Plateau:
    """A task's plateau: the derived test ``loss`` on it (None: accuracy is the score), and when a run has left it.

    The leap is where the score stays at or above the first of ``thresholds``; a comparison of methods has to come out
    the same under each of them. Scores in ``band`` count as lying on the plateau. Raises ValueError for a loss that is
    not positive, and for thresholds outside [0, 1] or within the band.
    """

    loss: float | None
    thresholds: tuple[float, ...]
    band: tuple[float, float] = (-0.05, 0.05)

    def __post_init__(self):
        if self.loss is not None:
            check_real("loss", self.loss, 1e-12)
        if not self.thresholds:
            raise ValueError("thresholds must have at least one entry, got none")
        for threshold in self.thresholds:
            check_real("threshold", threshold, self.band[1], 1)

    @property
    def event(self) -> str:
        """What leaving it is called in tables."""
        return "EM" if self.loss is None else "leap"

    def __str__(self) -> str:
        return f"loss {self.loss:.3g}" if self.loss else "accuracy {:.2f} to {:.2f}".format(*self.band)

    @property
    def level(self) -> float:
        """The accuracy, or the test loss, from which on a run counts as having left it."""
        return self.thresholds[0] if self.loss is None else self.loss * (1 - self.thresholds[0])

    def score(self, run: Run) -> tuple[pd.Series, pd.Series]:
        """Steps and scores of all evaluations, as the functions of ``analysis.eureka`` take them."""
        return run.accuracy if self.loss is None else (run.history["step"], 1 - run.history["test_loss"] / self.loss)

    def leap(self, run: Run, threshold: float | None = None) -> Moment:
        """When ``run`` leaves the plateau, by the first threshold or by another one; censored if it does not."""
        return eureka_moment(*self.score(run), self.thresholds[0] if threshold is None else threshold)

    def late(self, run: Run) -> int | None:
        """The step of a jump that the end of the budget cuts short; None if there is none, or one that counts."""
        return late_jump(*self.score(run), self.thresholds[0])

    def share(self, run: Run) -> float:
        """Share of the budget spent on the plateau before the leap, in [0, 1]."""
        return plateau_fraction(*self.score(run), self.band, self.thresholds[0])

    def is_long(self, run: Run) -> bool:
        """Whether ``run`` lies on the plateau for ``PLATEAU_SHARE`` of its budget."""
        return self.share(run) >= PLATEAU_SHARE

    def descent(self, run: Run) -> int | None:
        """Steps that the leap takes, from the lower to the upper end of ``JUMP`` or ``DESCENT``; None without both."""
        steps, score = self.score(run)
        low, high = JUMP if self.loss is None else (share * score.max() for share in DESCENT)
        return jump_duration(steps, score, low, high, self.thresholds[0])

    def is_abrupt(self, run: Run) -> bool:
        """Whether ``run`` leaves the plateau, all the way, in less time than it lay there."""
        descent = self.descent(run)
        return descent is not None and descent < self.share(run) * int(run.history["step"].iloc[-1])


ACCURACY = Plateau(None, (THRESHOLD, STRICT_THRESHOLD), PLATEAU_BAND)  # of the two-step task


def phases(run: Run, plateau: Plateau) -> dict[str, int]:
    """The kept steps of a run that are shown, by the names of their phases.

    Before the leap is the kept step nearest to half of the time until it, or of the budget of a run without one.
    """
    leap = plateau.leap(run)
    half = min(run.weight_steps, key=lambda step: abs(step - leap.step / 2))
    return {BEFORE: half, AFTER if leap.happened else NEVER: run.weight_steps[-1]}
