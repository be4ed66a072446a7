"""Leaps of a loss off its derived plateau, and the rules that judge them, written before the runs that they judge.

Where there is no accuracy, as in regression or in language modelling, an Eureka-moment is a leap of the test loss. It
is found by the library's one criterion (:mod:`eureka_lib.analysis.eureka`), applied to a *score*: 1 - loss / plateau.
The score is 0 on the derived plateau and 1 at a loss of 0. What counts as a leap is said by a :class:`Plateau`, which
each task gives for itself; a run without a leap is censored at the end of its budget, and stays in every number.

As in :mod:`eureka_lib.claims.rules`, a rule's docstring says what counts as reproduced, and nothing is softened
afterwards. The verdict holds at the scale that was run, which therefore stands in every claim's text (:class:`Study`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from eureka_lib.analysis import compare
from eureka_lib.analysis.eureka import (
    Moment,
    eureka_moment,
    jump_duration,
    log_rank,
    median_step,
    plateau_fraction,
    wilson_interval,
)
from eureka_lib.claims.registry import Claim, verdict_of
from eureka_lib.claims.rules import FIX_NAMES, MAJORITY, PLATEAU_SHARE, compared, step_text
from eureka_lib.store import Run
from eureka_lib.validation import check_real

DESCENT = (0.1, 0.8)  # the descent of a leap: between these shares of the run's best score, C1's 0.60 and 0.90


@dataclass(frozen=True)
class Plateau:
    """A task's plateau: the derived test ``loss`` on it, and when a run has left it.

    The leap is where the score stays at or above the first of ``thresholds``; a comparison of methods has to come out
    the same under each of them. Scores in ``band`` count as lying on the plateau. Raises ValueError for a loss that is
    not positive, and for thresholds outside [0, 1] or within the band.
    """

    loss: float
    thresholds: tuple[float, ...]
    band: tuple[float, float] = (-0.05, 0.05)

    def __post_init__(self):
        check_real("loss", self.loss, 1e-12)
        if not self.thresholds:
            raise ValueError("thresholds must have at least one entry, got none")
        for threshold in self.thresholds:
            check_real("threshold", threshold, self.band[1], 1)

    def score(self, run: Run) -> tuple[pd.Series, pd.Series]:
        """Steps and scores of all evaluations, as the functions of ``analysis.eureka`` take them."""
        return run.history["step"], 1 - run.history["test_loss"] / self.loss

    def leap(self, run: Run, threshold: float | None = None) -> Moment:
        """When ``run`` leaves the plateau, by the first threshold or by another one; censored if it does not."""
        return eureka_moment(*self.score(run), self.thresholds[0] if threshold is None else threshold)

    def share(self, run: Run) -> float:
        """Share of the budget spent on the plateau before the leap, in [0, 1]."""
        return plateau_fraction(*self.score(run), self.band, self.thresholds[0])

    def descent(self, run: Run) -> int | None:
        """Steps that the leap takes, between the shares ``DESCENT`` of the run's best score; None without a leap."""
        steps, score = self.score(run)
        low, high = (share * score.max() for share in DESCENT)
        return jump_duration(steps, score, low, high, self.thresholds[0])

    def is_abrupt(self, run: Run) -> bool:
        """Whether ``run`` lies on the plateau for ``PLATEAU_SHARE`` of its budget and leaves it in less time than that.

        In less time than it lay there, that is.
        """
        share, descent, budget = self.share(run), self.descent(run), int(run.history["step"].iloc[-1])
        return share >= PLATEAU_SHARE and descent is not None and descent < share * budget


@dataclass(frozen=True)
class Study:
    """What a claim about leaps rests on: ``claim`` ("C7", "C8"), and ``about``, what was trained and at which scale.

    ``about`` continues "There is a plateau and then a leap in ..." and stands in the text of every verdict.
    """

    claim: str
    about: str
    plateau: Plateau
    profile: str


def plateau_then_leap(runs: Sequence[Run], study: Study, figure: str) -> Claim:
    """The rule for the phenomenon: most seeds lie on the plateau for long, and then leave it abruptly.

    Effect: share of runs that spend at least ``PLATEAU_SHARE`` of their budget on the plateau and then leap, the
    descent (between 10 and 80 % of the run's best score) taking less time than the plateau took. Reproduced if the
    share's Wilson interval lies above one half, not reproduced if below, undecided otherwise.
    """
    plateau = study.plateau
    leaps = [plateau.leap(run) for run in runs]
    abrupt = sum(plateau.is_abrupt(run) for run in runs)
    long = sum(plateau.share(run) >= PLATEAU_SHARE for run in runs)
    interval = wilson_interval(abrupt, len(runs))
    return Claim(
        study.claim, f"There is a plateau and then a leap in {study.about}.", verdict_of(interval, MAJORITY), len(runs),
        f"{long} of {len(runs)} seeds on the plateau (loss {plateau.loss:.3g}) for at least {PLATEAU_SHARE:.0%} of the "
        f"budget, {abrupt} of these then leap in less time than they lay there; "
        f"{sum(leap.happened for leap in leaps)} of {len(runs)} leaps in all, {step_text(median_step(leaps), 'leap')}",
        abrupt / len(runs), interval,
        "Wilson interval of the share of seeds with a plateau and an abrupt leap", MAJORITY, study.profile, "appendix",
        figure, "plateau, then a leap", study.about,
    )  # fmt: skip


def helps(method: str, runs: Sequence[Run], baseline: Sequence[Run], study: Study, figure: str) -> Claim:
    """The rule for one fix, C5's: its leaps come earlier than the baseline's.

    Effect: mean restricted time to the leap, min(leap, budget), over the baseline's; bootstrap interval. Reproduced if
    the interval lies below 1, not reproduced if above, and undecided if it holds 1 or if the verdict differs between
    the plateau's thresholds. The same ratio for merely leaving the plateau is reported beside it and decides nothing: a
    run may leave early and then linger on a shelf below.
    """
    plateau = study.plateau
    leaps = [([plateau.leap(r, level) for r in runs], [plateau.leap(r, level) for r in baseline])
             for level in plateau.thresholds]  # fmt: skip
    estimates = [compare.time_ratio(*pair) for pair in leaps]
    k, k0 = (sum(leap.happened for leap in group) for group in leaps[0])
    left = compare.time_ratio(*([plateau.leap(r, plateau.band[1]) for r in group] for group in (runs, baseline)))
    others = "".join(f", or {estimate} with the leap at a score of {level:g}"
                     for level, estimate in zip(plateau.thresholds[1:], estimates[1:], strict=True))  # fmt: skip
    return compared(
        study.claim, f"{FIX_NAMES[method]} helps in {study.about}.", estimates, len(runs) + len(baseline),
        f"mean time to the leap (restricted to the budget), over softmax's: {estimates[0]}{others}; leaps in the "
        f"budget: {k} of {len(runs)} against softmax's {k0} of {len(baseline)}; log-rank p = "
        f"{log_rank(*leaps[0]):.2g}; mean time to a score of {plateau.band[1]:g}, just off the plateau, over softmax's:"
        f" {left}",
        "bootstrap interval of the ratio of restricted mean times to the leap, below 1 under all its thresholds", 1.0,
        study.profile, figure, FIX_NAMES[method], study.about, smaller=True, source="appendix",
    )  # fmt: skip
