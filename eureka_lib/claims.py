"""Claims and what became of them, as data.

A rule is a function that is written before the runs it judges; it turns measurements into one of three verdicts:
reproduced, not reproduced, undecided (the interval holds both answers). Each notebook saves its rows to
``figures/claims/<notebook>.json``, from which later pages are built.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from eureka_lib import paths
from eureka_lib.analysis.eureka import (
    eureka_moment,
    jump_duration,
    log_rank,
    median_step,
    plateau_fraction,
    wilson_interval,
)  # fmt: skip
from eureka_lib.runs import Run

REPRODUCED, NOT_REPRODUCED, UNDECIDED = "reproduced", "not reproduced", "undecided"
PLATEAU_SHARE = 0.25  # a plateau is visible if it takes at least this share of the budget
AT_ONCE_SHARE = 0.05  # "at once": within this share of the ViT's budget (the paper's ResNet: 5,000 of 117,000 steps)
MAJORITY = 0.5


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


def verdict_of(interval: tuple[float, float], threshold: float) -> str:
    """Reproduced if the whole interval lies above ``threshold``, not reproduced if below, undecided otherwise."""
    low, high = interval
    return REPRODUCED if low > threshold else NOT_REPRODUCED if high < threshold else UNDECIDED


def plateau_then_jump(runs: Sequence[Run], profile: str, figure: str) -> Claim:
    """C1's rule: most seeds lie on the plateau for a quarter of the budget, and at least one then jumps.

    Effect: share of runs whose test accuracy lies in the plateau's band for at least ``PLATEAU_SHARE`` of the budget.
    Reproduced needs its Wilson interval above one half *and* a run with such a plateau and an EM whose jump is shorter
    than the plateau was. Not reproduced: interval below one half. Anything else is undecided.
    """
    long = [run for run in runs if plateau_fraction(*_accuracy(run)) >= PLATEAU_SHARE]
    jumped = [run for run in long if _jumps_abruptly(run)]
    interval = wilson_interval(len(long), len(runs))
    verdict = verdict_of(interval, MAJORITY)
    if verdict == REPRODUCED and not jumped:
        verdict = UNDECIDED
    moments = [eureka_moment(*_accuracy(run)) for run in runs]
    return Claim(
        "C1", "Training and validation loss saturate for long, then some seeds improve abruptly; others never do.",
        verdict, len(runs),
        f"{len(long)} of {len(runs)} seeds on the plateau for at least {PLATEAU_SHARE:.0%} of the budget, "
        f"{len(jumped)} of these then jump; {sum(m.happened for m in moments)} of {len(runs)} EMs in all, "
        f"{_step_text(median_step(moments))}",
        len(long) / len(runs), interval,
        "Wilson interval of the share of seeds with a plateau, and at least one plateau followed by a jump",
        MAJORITY, profile, "abstract, figure of the training curves", figure,
    )  # fmt: skip


def no_plateau_without_attention(resnets: Sequence[Run], vits: Sequence[Run], profile: str, figure: str) -> Claim:
    """C2's rule: most ResNet seeds solve the task at once, that is within ``AT_ONCE_SHARE`` of the ViT's budget.

    Effect: share of ResNet runs with an EM by then, with its Wilson interval against one half. The log-rank test
    between the two networks' EM times is reported beside it and decides nothing.
    """
    limit = AT_ONCE_SHARE * vits[0].history["step"].iloc[-1]
    moments, others = ([eureka_moment(*_accuracy(run)) for run in runs] for runs in (resnets, vits))
    quick = sum(moment.happened and moment.step <= limit for moment in moments)
    interval = wilson_interval(quick, len(moments))
    return Claim(
        "C2", "A convolutional network (ResNet) has no such plateau on the same task.",
        verdict_of(interval, MAJORITY), len(resnets),
        f"{quick} of {len(moments)} ResNet9 seeds have their EM within {limit:.0f} steps; ResNet9: "
        f"{_step_text(median_step(moments))}, ViT: {_step_text(median_step(others))}; "
        f"log-rank p = {log_rank(moments, others):.2g}",
        quick / len(moments), interval,
        f"Wilson interval of the share of ResNet9 seeds with an EM within {AT_ONCE_SHARE:.0%} of the ViT's budget",
        MAJORITY, profile, "abstract of v1, figure of the training curves", figure,
    )  # fmt: skip


def save(claims: Sequence[Claim], notebook: str, profile: str) -> Path:
    """Write a notebook's claims to ``claims/<notebook>.json`` in the profile's figures folder."""
    path = paths.figures_dir(profile) / "claims" / f"{notebook}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(claim) for claim in claims], indent=2) + "\n")
    return path


def table(claims: Sequence[Claim]) -> pd.DataFrame:
    """The claims as a table to show: claim, verdict, what was measured, interval."""
    shown = pd.DataFrame([asdict(claim) for claim in claims])
    shown["95 % interval"] = [f"{low:.2f} to {high:.2f}" for low, high in shown["interval"]]
    return shown.set_index("claim")[["statement", "verdict", "n", "effect", "95 % interval", "test", "profile"]]


def _accuracy(run: Run) -> tuple[pd.Series, pd.Series]:
    return run.history["step"], run.history["test_accuracy"]


def _jumps_abruptly(run: Run) -> bool:
    duration = jump_duration(*_accuracy(run))
    plateau = plateau_fraction(*_accuracy(run)) * run.history["step"].iloc[-1]
    return duration is not None and duration < plateau


def _step_text(median: float | None) -> str:
    return "median EM step not reached" if median is None else f"median EM step {median:.0f}"
