"""The rules for the forecasts of notebook 14, written before the runs that they judge.

F1 and F2 are questions of our own, not claims of the paper: whether, and when, the Eureka-moment (EM) comes, told from
the first tenth of a run. So their verdicts are "holds" and "does not hold", or "undecided". One predictor is judged,
the one that uses all early signs, on held-out runs; the others are shown. Each rule takes the table of
:func:`eureka_lib.analysis.forecast.judge` and a question in it, and returns a :class:`~eureka_lib.claims.Claim`.
"""

import pandas as pd

from eureka_lib.analysis.compare import Estimate
from eureka_lib.analysis.forecast import ALL, BASELINE, QUESTIONS, WHEN, WHETHER
from eureka_lib.claims.registry import OWN_WORDS, UNDECIDED, Claim, verdict_of

NAMES = {WHETHER: ("F1", "whether the Eureka-moment comes within the budget"), WHEN: ("F2", "when it comes")}
FEWEST_EACH = 5  # with fewer held-out runs of a kind that the question compares, nothing is decided
GUESS = 0.5  # what a constant gets
SOURCE = "our own question"


def forecasts(judged: pd.DataFrame, question: str, profile: str, figure: str) -> Claim:
    """F1 (whether) and F2 (when), part 1: the early signs together forecast it better than a guess.

    Effect: AUC or concordance index of the predictor ``ALL`` on the held-out runs, with a bootstrap interval over them.
    It holds if the interval lies above ``GUESS`` and does not if below. Fewer than ``FEWEST_EACH`` runs with an EM or,
    for F1, without one, leave it undecided. With as few runs as these an interval that holds 1/2 is no proof that
    nothing can be forecast.
    """
    row, measure = _row(judged, question), QUESTIONS[question].measure
    claim, what = NAMES[question]
    found = Estimate(row["value"], row["low"], row["high"])
    return Claim(
        claim, f"The beginning of a run forecasts {what}.", _verdict(found, row, GUESS), row["runs"],
        f"{measure} of {ALL} {found}, on the fitting runs {row['on fitting runs']:.2f}; "
        f"{row['EMs']} of {row['runs']} held-out runs have an EM",
        found.value, found.interval, f"bootstrap interval over held-out runs of the {measure}, above {GUESS:g}", GUESS,
        profile, SOURCE, figure, "better than a guess",
    )  # fmt: skip


def tells_more_than_the_losses(judged: pd.DataFrame, question: str, profile: str, figure: str) -> Claim:
    """F1 and F2, part 2: a look inside the network forecasts it better than its losses alone do.

    Effect: AUC or concordance index of ``ALL`` minus that of ``BASELINE``, both fitted on the same runs and judged on
    the same resamples of the held-out ones. It holds if the bootstrap interval lies above 0 and does not if below;
    undecided as in :func:`forecasts`.
    """
    row, measure = _row(judged, question), QUESTIONS[question].measure
    claim, what = NAMES[question]
    found = Estimate(row["difference"], row["difference low"], row["difference high"])
    return Claim(
        claim, f"A look inside the network forecasts {what} better than the losses alone.",
        _verdict(found, row, 0.0), row["runs"],
        f"{measure} of {ALL} minus that of {BASELINE}, which is {row['value'] - row['difference']:.2f}: {found}",
        found.value, found.interval,
        f"bootstrap interval over held-out runs of the paired difference of the {measure}, above 0", 0.0,
        profile, SOURCE, figure, "better than the losses",
    )  # fmt: skip


def judge_forecasts(judged: pd.DataFrame, profile: str, figure: str) -> list[Claim]:
    """All four rows: both parts of F1, then of F2."""
    rules = (forecasts, tells_more_than_the_losses)
    return [rule(judged, question, profile, figure) for question in QUESTIONS for rule in rules]


def _row(judged: pd.DataFrame, question: str) -> dict:
    return judged[(judged["question"] == question) & (judged["predictor"] == ALL)].iloc[0].to_dict()


def _verdict(found: Estimate, row: dict, threshold: float) -> str:
    kinds = [row["EMs"]]
    if row["question"] == WHETHER:  # F2 compares EMs with each other, too
        kinds.append(row["runs"] - row["EMs"])
    if min(kinds) < FEWEST_EACH:
        return UNDECIDED
    return OWN_WORDS[verdict_of(found.interval, threshold)]
