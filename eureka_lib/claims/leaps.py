"""Leaps of a loss off its derived plateau, and the rules that judge them, written before the runs that they judge.

Where there is no accuracy, as in regression or in language modelling, an Eureka-moment is a leap of the test loss; what
counts as one is said by a :class:`~eureka_lib.measure.leaps.Plateau`, which each task gives for itself. A run without a
leap is censored at the end of its budget, and stays in every number.

As in :mod:`eureka_lib.claims.rules`, a rule's docstring says what counts as reproduced, and nothing is softened
afterwards. The verdict holds at the scale that was run, which therefore stands in every claim's text (:class:`Study`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eureka_lib.analysis import compare
from eureka_lib.analysis.eureka import log_rank, median_step, wilson_interval
from eureka_lib.claims.registry import Claim, verdict_of
from eureka_lib.claims.rules import FIX_NAMES, MAJORITY, PLATEAU_SHARE, compared, step_text
from eureka_lib.measure.leaps import Plateau
from eureka_lib.store import Run


@dataclass(frozen=True)
class Study:
    """What a claim about leaps rests on: ``claim`` ("C7", "C8"), and ``about``, what was trained and at which scale.

    ``about`` continues "There is a plateau and then a leap in ..." and stands in the text of every verdict.
    """

    claim: str
    about: str
    plateau: Plateau
    profile: str


def is_abrupt(run: Run, plateau: Plateau) -> bool:
    """Whether ``run`` lies on the plateau for ``PLATEAU_SHARE`` of its budget and leaves it in less time than that."""
    share, descent, budget = plateau.share(run), plateau.descent(run), int(run.history["step"].iloc[-1])
    return share >= PLATEAU_SHARE and descent is not None and descent < share * budget


def plateau_then_leap(runs: Sequence[Run], study: Study, figure: str) -> Claim:
    """The rule for the phenomenon: most seeds lie on the plateau for long, and then leave it abruptly.

    Effect: share of runs that spend at least ``PLATEAU_SHARE`` of their budget on the plateau and then leap, the
    descent (between 10 and 80 % of the run's best score) taking less time than the plateau took. Reproduced if the
    share's Wilson interval lies above one half, not reproduced if below, undecided otherwise.
    """
    plateau = study.plateau
    leaps = [plateau.leap(run) for run in runs]
    abrupt = sum(is_abrupt(run, plateau) for run in runs)
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
