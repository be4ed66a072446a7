"""The rules for what probes say about claim C3, written before the runs that they judge.

C3 says that the plateau comes from the two steps, not from either alone. Probes show its inner side: on the plateau
the inputs are recognised, and what is missing is their comparison. As in :mod:`eureka_lib.claims.rules`, each rule is a
function that returns a :class:`~eureka_lib.claims.Claim`, and nothing is softened afterwards. Both rules take probes of
*every* run's last block at one step before its Eureka-moment (EM): the kept step nearest to half of the time until the
EM, or until the end of a run without one.
"""

from collections.abc import Sequence

import numpy as np

from eureka_lib.analysis import compare
from eureka_lib.analysis.compare import Estimate
from eureka_lib.claims.registry import UNDECIDED, Claim, opposite, verdict_of
from eureka_lib.claims.rules import FEWEST_RUNS

RECOGNISED = 0.9  # held-out accuracy above which an input counts as recognised
NOT_YET_MADE = 0.6  # and below which the comparison, a yes or no, counts as not made
SOURCE = "diagnostics, appendix"


def information_is_there(
    accuracies: Sequence[float], untrained: Sequence[float], profile: str, figure: str
) -> Claim:  # fmt: skip
    """C3, inner side, part 1: each input is recognised long before the EM.

    Effect: held-out accuracy of linear probes for the class of each indicator cell, mean of the two, on all tokens; one
    of ``accuracies`` per run. Reproduced if the bootstrap interval over runs lies above ``RECOGNISED``, not reproduced
    if below, undecided otherwise. ``untrained``, the same at the runs' initial weights, is reported beside it and
    decides nothing.
    """
    found = _mean(accuracies)
    return Claim(
        "C3", "The information is there: each input is recognised long before the Eureka-moment.",
        _verdict(found, len(accuracies), RECOGNISED), len(accuracies),
        f"linear probes for the indicators' classes on all tokens of the last block, half-way to the EM: held-out "
        f"accuracy {found}; at the initial weights {np.mean(untrained):.2f}",
        found.value, found.interval, f"bootstrap interval over runs of the mean accuracy, above {RECOGNISED}",
        RECOGNISED, profile, SOURCE, figure, "inputs recognised",
    )  # fmt: skip


def comparison_is_not_made(
    accuracies: Sequence[float], afterwards: Sequence[float], profile: str, figure: str
) -> Claim:  # fmt: skip
    """C3, inner side, part 2: the comparison is not made yet.

    Effect: held-out accuracy of linear probes for "which target" on CLS, one of ``accuracies`` per run. Reproduced if
    the bootstrap interval over runs lies below ``NOT_YET_MADE``, not reproduced if above, undecided otherwise.
    ``afterwards``, the same at the end of the runs that had their EM, is reported beside it and decides nothing.
    """
    found = _mean(accuracies)
    after = f"{np.mean(afterwards):.2f} ({len(afterwards)} runs)" if len(afterwards) else "not known, no run had it"
    return Claim(
        "C3", "The comparison is not made yet: before the Eureka-moment CLS does not know which target counts.",
        opposite(_verdict(found, len(accuracies), NOT_YET_MADE)), len(accuracies),
        f'linear probes for "which target" on CLS of the last block, half-way to the EM: held-out accuracy {found}; '
        f"at the end of runs with an EM: {after}",
        found.value, found.interval, f"bootstrap interval over runs of the mean accuracy, below {NOT_YET_MADE}",
        NOT_YET_MADE, profile, SOURCE, figure, "not compared yet",
    )  # fmt: skip


def _mean(values: Sequence[float]) -> Estimate:
    return compare.paired_difference(values, np.zeros(len(values)))


def _verdict(found: Estimate, n: int, threshold: float) -> str:
    return verdict_of(found.interval, threshold) if n >= FEWEST_RUNS else UNDECIDED
