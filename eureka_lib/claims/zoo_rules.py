"""The rules for today's attention and for the follow-up's table, written before the runs that they judge.

As in :mod:`eureka_lib.claims.rules`, each rule is a function that returns a :class:`~eureka_lib.claims.Claim`, its
docstring says what counts as reproduced, and nothing is softened afterwards. Z1 and Z2 are questions of this package,
which the paper does not ask; Z3 is the follow-up's.
"""

from collections.abc import Mapping, Sequence

from eureka_lib.analysis import compare
from eureka_lib.analysis.compare import Estimate
from eureka_lib.analysis.eureka import THRESHOLD, eureka_moment
from eureka_lib.attention.registry import short_label_of
from eureka_lib.claims.published import FOLLOW_UP, FOLLOW_UP_SEEDS
from eureka_lib.claims.registry import Claim
from eureka_lib.claims.rules import STRICT_THRESHOLD, compared
from eureka_lib.store import Run
from eureka_lib.store.runs import Groups

SHORTER = 1.0  # Z1: the mean time to the EM is shorter than softmax's
REMOVED = 0.5  # Z2: it is at most half of it, and the plateau may be said to be gone
OWN = "not in the paper"


def judge(groups: Groups, profile: str, figure: str) -> list[Claim]:
    """Z1 and Z2 for every method but softmax, with intervals that hold for all of them together (Bonferroni)."""
    others = {method: runs for method, runs in groups.items() if method != "softmax"}
    confidence = 1 - 0.05 / max(len(others), 1)
    return [
        rule(method, runs, groups["softmax"], confidence, profile, figure)
        for method, runs in others.items()
        for rule in (shortens, removes)
    ]


def shortens(
    method: str, runs: Sequence[Run], baseline: Sequence[Run], confidence: float, profile: str, figure: str
) -> Claim:
    """Z1's rule: the Eureka-moments of ``method`` come earlier than softmax's, each at its own tuned learning rate.

    Effect: mean restricted EM time, min(EM step, budget), over softmax's; bootstrap interval at ``confidence``.
    Reproduced if the interval lies below 1, not reproduced if above, and undecided if it holds 1 or if the verdict
    differs between the EM thresholds ``THRESHOLD`` and ``STRICT_THRESHOLD``.
    """
    return _timed("Z1", method, "shortens", runs, baseline, confidence, SHORTER, profile, figure)


def removes(
    method: str, runs: Sequence[Run], baseline: Sequence[Run], confidence: float, profile: str, figure: str
) -> Claim:
    """Z2's rule: ``method`` removes the plateau, that is its mean EM time is at most ``REMOVED`` times softmax's.

    It is :func:`shortens` with another threshold: reproduced if the interval lies below one half, not reproduced if
    above.
    """
    return _timed("Z2", method, "removes", runs, baseline, confidence, REMOVED, profile, figure)


def _timed(
    claim: str, method: str, does: str, runs: Sequence[Run], baseline: Sequence[Run], confidence: float,
    threshold: float, profile: str, figure: str,
) -> Claim:  # fmt: skip
    first, second = (
        compare.time_ratio(*([eureka_moment(*run.accuracy, level) for run in group] for group in (runs, baseline)),
                           confidence)
        for level in (THRESHOLD, STRICT_THRESHOLD)
    )  # fmt: skip
    k, k0 = (sum(eureka_moment(*run.accuracy).happened for run in group) for group in (runs, baseline))
    name = short_label_of(method)
    return compared(
        claim, f"{name} {does} the plateau.", [first, second], len(runs) + len(baseline),
        f"mean time to the EM (restricted to the budget), in units of softmax's: {first}; with the EM at an accuracy "
        f"of {STRICT_THRESHOLD}: {second}; EMs in the budget: {k} of {len(runs)} against {k0} of {len(baseline)}",
        f"bootstrap interval of the ratio of restricted mean EM times at {confidence:.1%}, which is 95 % for all "
        f"methods (Bonferroni), below {threshold:g} under both EM thresholds", threshold, profile, figure, name, "",
        smaller=True, source=OWN,
    )  # fmt: skip


def qr_jumps_more_often(
    groups: Mapping[tuple[str, float], Sequence[Run]], profile: str, figure: str
) -> Claim:  # fmt: skip
    """Z3's rule: over the follow-up's learning rates, more of QR's runs have an Eureka-moment than of softmax's.

    Effect: odds of an EM in the budget, QR's over softmax's, the runs of all rates taken together; exact interval.
    Reproduced if it lies above 1, not reproduced if below, and undecided if it holds 1, if nobody or everybody has an
    EM, or if the verdict differs between the two EM thresholds.
    """
    qr, softmax = ([run for (name, _), runs in groups.items() if name == method for run in runs]
                   for method in ("qr", "softmax"))  # fmt: skip
    estimates = [_odds(qr, softmax, level) for level in (THRESHOLD, STRICT_THRESHOLD)]
    k, k0 = (sum(eureka_moment(*run.accuracy).happened for run in runs) for runs in (qr, softmax))
    theirs, theirs0 = (sum(k for (name, _), (k, _) in FOLLOW_UP.items() if name == method)
                       for method in ("qr", "softmax"))  # fmt: skip
    of = FOLLOW_UP_SEEDS * len({rate for _, rate in FOLLOW_UP})
    return compared(
        "Z3", "With QR's doubly stochastic attention more seeds have their Eureka-moment than with softmax.",
        estimates, len(qr) + len(softmax),
        f"EMs in the budget: {k} of {len(qr)} against softmax's {k0} of {len(softmax)}, over all learning rates; odds "
        f"ratio {estimates[0]}; published: {theirs} of {of} against {theirs0} of {of}",
        "exact interval of the odds ratio, above 1 under both EM thresholds", 1.0, profile, figure, "QR",
        "", source="Born et al. 2025, table",
    )  # fmt: skip


def _odds(runs: Sequence[Run], baseline: Sequence[Run], level: float) -> Estimate:
    return compare.odds_ratio(*([eureka_moment(*run.accuracy, level) for run in group] for group in (runs, baseline)))
