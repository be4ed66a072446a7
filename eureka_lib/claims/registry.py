"""The claims, and the decorator that makes a rule's effect a row with a verdict.

A rule (:mod:`eureka_lib.claims.rules`) measures an effect; :func:`rule` holds its interval against the rule's threshold
and says reproduced, not reproduced or undecided (the interval holds both answers). Each notebook saves its rows to
``figures/claims/<notebook>.json``, from which the scorecard and the gallery are made.
"""

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import pandas as pd

from eureka_lib import paths
from eureka_lib.analysis.compare import Estimate

REPRODUCED, NOT_REPRODUCED, UNDECIDED = "reproduced", "not reproduced", "undecided"
OWN_WORDS = {REPRODUCED: "holds", NOT_REPRODUCED: "does not hold", UNDECIDED: UNDECIDED}  # of a question of our own


@dataclass(frozen=True)
class Claim:
    """What is claimed, in ``words``, and where; ``own`` marks a forecast of ours, whose verdicts are ``OWN_WORDS``."""

    words: str
    source: str  # where it stands in the paper
    figure: str  # that shows it, unless a rule names another one
    own: bool = False

    @property
    def notebook(self) -> str:
        """The number of the notebook that judges it, or judges it first: its figures' names start with it."""
        return self.figure[:2]


CLAIMS = {  # in the order of the scorecard
    "C1": Claim("the loss saturates for long, then some seeds improve abruptly, others never do",
                "abstract, figure of the training curves", "01_training_loss"),
    "C2": Claim("a ResNet has no such plateau", "abstract of v1, figure of the training curves", "01_survival"),
    "C3": Claim("the plateau comes from the multi-step structure; each step alone is learned at once",
                "abstract", "02_times"),
    "C4": Claim("softmax starves W_Q and W_K of gradient while W_V gets plenty", "abstract", "07_ratios"),
    "C5": Claim("temperature matters; Heat Treatment and NormSoftmax alleviate the plateau", "abstract", "05_survival"),
    "C6": Claim("the fixes need fewer steps, are likelier to learn, more accurate, more robust to hyper-parameters",
                "abstract", "05_survival"),
    "C7": Claim("the same leaps exist in language modelling (RoBERTa), and the fixes help there",
                "appendix", "11_loss"),
    "C8": Claim("the same leaps exist in in-context learning (GPT-2), and the fixes help there",
                "appendix", "10_loss"),
    "Z1": Claim("not in the paper: today's attention variants shorten the plateau", "not in the paper", "13_verdicts"),
    "Z2": Claim("not in the paper: they remove it, so that at most half of softmax's time is left",
                "not in the paper", "13_verdicts"),
    "Z3": Claim("Born et al. 2025: with QR's doubly stochastic attention more seeds jump than with softmax",
                "Born et al. 2025, table", "13_follow_up"),
    "F1": Claim("not in the paper: the first tenth of a run forecasts whether the Eureka-moment comes",
                "our own question", "14_scores", own=True),
    "F2": Claim("not in the paper: the first tenth of a run forecasts when it comes",
                "our own question", "14_scores", own=True),
}  # fmt: skip


@dataclass(frozen=True)
class Effect:
    """What a rule measured on ``n`` runs, in ``words``; ``estimates[0]`` is reported, all of them decide.

    ``names`` fill the braces in the rule's texts. If the runs are not ``enough``, nothing is decided.
    """

    estimates: Sequence[Estimate]
    n: int
    words: str
    names: Mapping[str, object] = field(default_factory=dict)
    enough: bool = True


@dataclass(frozen=True)
class Row:
    """One part of a claim, what was measured for it, and the verdict; a line of the notebook's JSON."""

    claim: str  # "C1" ...
    statement: str  # what is claimed
    verdict: str
    n: int  # runs behind the effect
    effect: str  # what was measured, in words and numbers
    value: float  # the effect's number
    interval: tuple[float, float]  # 95 % interval of the value
    test: str  # the rule and test, in words
    threshold: float  # what the interval is compared with
    profile: str  # known to the notebook's page, not to a rule
    source: str  # where the claim stands in the paper
    figure: str  # the figure that shows it
    part: str = ""  # which part of the claim this is, in two or three words
    about: str = ""  # which of several fixes and regimes it is about, if the claim is judged for more than one


def verdict_of(
    interval: tuple[float, float], above: float | None = None, below: float | None = None, off: float | None = None
) -> str:
    """Reproduced if the whole interval lies on the claimed side of a threshold, not reproduced if on the other one.

    Undecided if it holds the threshold or is not a number. The claim that a number lies ``off`` a threshold has no
    other side: no interval shows that nothing matters.
    """
    low, high = interval
    if off is not None:
        return REPRODUCED if low > off or high < off else UNDECIDED
    if below is not None:
        low, high, above = -high, -low, -below
    return REPRODUCED if low > above else NOT_REPRODUCED if high < above else UNDECIDED


def agree(verdicts: set[str]) -> str:
    """The verdict under several criteria for the same thing: undecided unless all of them give the same."""
    return next(iter(verdicts)) if len(verdicts) == 1 else UNDECIDED


def all_hold(verdicts: set[str]) -> str:
    """The verdict of a conjunction: one part that is not reproduced is enough against it."""
    return next(verdict for verdict in (NOT_REPRODUCED, UNDECIDED, REPRODUCED) if verdict in verdicts)


def one_holds(verdicts: set[str]) -> str:
    """The verdict of a disjunction: one part that is reproduced is enough for it."""
    return next(verdict for verdict in (REPRODUCED, UNDECIDED, NOT_REPRODUCED) if verdict in verdicts)


def rule(
    claim: str, statement: str, *, part: str, test: str, above: float | None = None, below: float | None = None,
    off: float | None = None, combine: Callable[[set[str]], str] = agree, about: str = "", figure: str = "",
    source: str = "",
) -> Callable[[Callable[..., Effect]], Callable[..., Row]]:  # fmt: skip
    """Make a function that measures an :class:`Effect` a rule of ``claim``, which gives a :class:`Row`.

    Its intervals are held against one of ``above``, ``below`` and ``off`` (:func:`verdict_of`); ``combine`` makes one
    verdict of those of several estimates. All texts may have braces, which the effect's ``names`` fill; without a
    ``figure`` or a ``source`` the row has the claim's.
    """
    (threshold,) = (value for value in (above, below, off) if value is not None)

    def decorate(measure: Callable[..., Effect]) -> Callable[..., Row]:
        @functools.wraps(measure)
        def judge(*args, **options) -> Row:
            effect = measure(*args, **options)
            name = claim.format(**effect.names)
            known, reported = CLAIMS[name], effect.estimates[0]
            found = combine({verdict_of(estimate.interval, above, below, off) for estimate in effect.estimates})
            verdict = found if effect.enough else UNDECIDED
            texts = {"statement": statement, "test": test, "figure": figure or known.figure, "part": part,
                     "about": about}  # fmt: skip
            return Row(
                claim=name, verdict=OWN_WORDS[verdict] if known.own else verdict, n=effect.n, effect=effect.words,
                value=reported.value, interval=reported.interval, threshold=float(threshold), profile="",
                source=source or known.source, **{key: text.format(**effect.names) for key, text in texts.items()},
            )  # fmt: skip

        return judge

    return decorate


def kind_of(verdict: str) -> str:
    """A verdict in the words for a claim, of which there are three, also if it is about a question of our own."""
    return {word: kind for kind, word in OWN_WORDS.items()}.get(verdict, verdict)


def save(rows: Sequence[Row], notebook: str, profile: str) -> Path:
    """Write a notebook's rows to ``claims/<notebook>.json`` in the profile's figures folder."""
    path = paths.figures_dir(profile) / "claims" / f"{notebook}.json"
    text = json.dumps([_as_json(row) | {"profile": profile} for row in rows], indent=2, allow_nan=False) + "\n"
    paths.write_if_changed(path, text.encode())
    return path


def _as_json(row: Row) -> dict:
    """JSON has no infinity: where the data do not bound a number, it is null."""
    value, *interval = (number if math.isfinite(number) else None for number in (row.value, *row.interval))
    return {**asdict(row), "value": value, "interval": interval}


def table(rows: Sequence[Row], profile: str) -> pd.DataFrame:
    """The rows as a table to show: claim, verdict, what was measured, interval."""
    shown = pd.DataFrame([asdict(row) for row in rows], columns=[column.name for column in fields(Row)])
    shown["95 % interval"] = [f"{low:.2f} to {high:.2f}" for low, high in shown["interval"]]
    columns = ["statement", "verdict", "n", "effect", "95 % interval", "test", "profile"]
    return shown.assign(profile=profile).set_index("claim")[columns]
