"""From runs and their tables to verdicts: what a claim is, the rules, and the scorecard of all of them."""

from eureka_lib.claims.registry import (
    NOT_REPRODUCED,
    OWN_WORDS,
    REPRODUCED,
    UNDECIDED,
    Claim,
    kind_of,
    opposite,
    save,
    table,
    verdict_of,
)

__all__ = [
    "NOT_REPRODUCED",
    "OWN_WORDS",
    "REPRODUCED",
    "UNDECIDED",
    "Claim",
    "kind_of",
    "opposite",
    "save",
    "table",
    "verdict_of",
]
