"""Claims and what became of them, as data.

A rule (:mod:`eureka_lib.claims.rules`) turns measurements into one of three verdicts: reproduced, not reproduced,
undecided (the interval holds both answers). Each notebook saves its rows to ``figures/claims/<notebook>.json``, from
which later pages are built.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from eureka_lib import paths

REPRODUCED, NOT_REPRODUCED, UNDECIDED = "reproduced", "not reproduced", "undecided"
OWN_WORDS = {REPRODUCED: "holds", NOT_REPRODUCED: "does not hold", UNDECIDED: UNDECIDED}  # of a question of our own


@dataclass(frozen=True)
class Claim:
    """One claim's row: what the paper says, what was measured on ``n`` runs, and the verdict by a rule."""

    claim: str  # "C1" ... as numbered in the notebooks
    statement: str  # what the paper says
    verdict: str
    n: int  # runs behind the effect
    effect: str  # what was measured, in words and numbers
    value: float  # the effect's number
    interval: tuple[float, float]  # 95 % interval of the value
    test: str  # the rule and test, in words
    threshold: float  # what the interval is compared with
    profile: str
    source: str  # where the claim stands in the paper
    figure: str  # the figure that shows it
    part: str = ""  # which part of the claim this is, in two or three words
    about: str = ""  # which of several fixes and regimes it is about, if the claim is judged for more than one


def verdict_of(interval: tuple[float, float], threshold: float) -> str:
    """Reproduced if the whole interval lies above ``threshold``, not reproduced if below, undecided otherwise.

    Also undecided if the interval is not a number.
    """
    low, high = interval
    return REPRODUCED if low > threshold else NOT_REPRODUCED if high < threshold else UNDECIDED


def opposite(verdict: str) -> str:
    """The verdict of a claim that a number lies *below* a threshold, from ``verdict_of``, which asks for above."""
    return {REPRODUCED: NOT_REPRODUCED, NOT_REPRODUCED: REPRODUCED}.get(verdict, UNDECIDED)


def kind_of(verdict: str) -> str:
    """A verdict in the words for a claim, of which there are three, also if it is about a question of our own."""
    return {word: kind for kind, word in OWN_WORDS.items()}.get(verdict, verdict)


def save(claims: Sequence[Claim], notebook: str, profile: str) -> Path:
    """Write a notebook's claims to ``claims/<notebook>.json`` in the profile's figures folder."""
    path = paths.figures_dir(profile) / "claims" / f"{notebook}.json"
    text = json.dumps([_as_json(claim) for claim in claims], indent=2, allow_nan=False) + "\n"
    paths.write_if_changed(path, text.encode())
    return path


def _as_json(claim: Claim) -> dict:
    """JSON has no infinity: where the data do not bound a number, it is null."""
    value, *interval = (number if math.isfinite(number) else None for number in (claim.value, *claim.interval))
    return {**asdict(claim), "value": value, "interval": interval}


def table(claims: Sequence[Claim]) -> pd.DataFrame:
    """The claims as a table to show: claim, verdict, what was measured, interval."""
    shown = pd.DataFrame([asdict(claim) for claim in claims])
    shown["95 % interval"] = [f"{low:.2f} to {high:.2f}" for low, high in shown["interval"]]
    return shown.set_index("claim")[["statement", "verdict", "n", "effect", "95 % interval", "test", "profile"]]
