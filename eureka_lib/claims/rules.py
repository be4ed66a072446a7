"""The rules by which claims are judged, written before the runs that they judge.

Each rule is a function from runs to a :class:`~eureka_lib.claims.Claim`. Its docstring says what counts as reproduced;
nothing is softened afterwards.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from eureka_lib.analysis import compare
from eureka_lib.analysis.compare import Estimate
from eureka_lib.analysis.eureka import (
    THRESHOLD,
    Moment,
    eureka_moment,
    jump_duration,
    log_rank,
    median_step,
    plateau_fraction,
    wilson_interval,
)
from eureka_lib.analysis.gradients import plateau_steps
from eureka_lib.attention.registry import METHODS
from eureka_lib.claims.registry import NOT_REPRODUCED, REPRODUCED, UNDECIDED, Claim, opposite, verdict_of
from eureka_lib.store import Run

PLATEAU_SHARE = 0.25  # a plateau is visible if it takes at least this share of the budget
AT_ONCE_SHARE = 0.05  # "at once": within this share of the ViT's budget (the paper's ResNet: 5,000 of 117,000 steps)
MAJORITY = 0.5
STRICT_THRESHOLD = 0.90  # the second accuracy threshold of the EM, under which a comparison must come out the same
FIX_NAMES = {name: method.fix for name, method in METHODS.items() if method.fix}
CLOSE_TO_BASELINE = 0.95  # "95 % of the baseline": share of its mean final accuracy
FEWEST_RUNS = 3  # with fewer runs, or pairs of them, what kept weights show decides nothing


def plateau_then_jump(runs: Sequence[Run], profile: str, figure: str) -> Claim:
    """C1's rule: most seeds lie on the plateau for a quarter of the budget, and at least one then jumps.

    Effect: share of runs whose test accuracy lies in the plateau's band for at least ``PLATEAU_SHARE`` of the budget.
    Reproduced needs its Wilson interval above one half *and* a run with such a plateau and an EM whose jump is shorter
    than the plateau was. Not reproduced: interval below one half. Anything else is undecided.
    """
    long = [run for run in runs if plateau_fraction(*run.accuracy) >= PLATEAU_SHARE]
    jumped = [run for run in long if _jumps_abruptly(run)]
    interval = wilson_interval(len(long), len(runs))
    verdict = verdict_of(interval, MAJORITY)
    if verdict == REPRODUCED and not jumped:
        verdict = UNDECIDED
    moments = _moments(runs)
    return Claim(
        "C1", "Training and validation loss saturate for long, then some seeds improve abruptly; others never do.",
        verdict, len(runs),
        f"{len(long)} of {len(runs)} seeds on the plateau for at least {PLATEAU_SHARE:.0%} of the budget, "
        f"{len(jumped)} of these then jump; {sum(m.happened for m in moments)} of {len(runs)} EMs in all, "
        f"{step_text(median_step(moments))}",
        len(long) / len(runs), interval,
        "Wilson interval of the share of seeds with a plateau, and at least one plateau followed by a jump",
        MAJORITY, profile, "abstract, figure of the training curves", figure, "plateau, then a jump",
    )  # fmt: skip


def no_plateau_without_attention(resnets: Sequence[Run], vits: Sequence[Run], profile: str, figure: str) -> Claim:
    """C2's rule: most ResNet seeds solve the task at once, that is within ``AT_ONCE_SHARE`` of the ViT's budget.

    Effect: share of ResNet runs with an EM by then, with its Wilson interval against one half. The log-rank test
    between the two networks' EM times is reported beside it and decides nothing.
    """
    moments, others = _moments(resnets), _moments(vits)
    quick, limit, interval = _at_once(moments, vits[0].history["step"].iloc[-1])
    return Claim(
        "C2", "A convolutional network (ResNet) has no such plateau on the same task.",
        verdict_of(interval, MAJORITY), len(resnets),
        f"{quick} of {len(moments)} ResNet9 seeds have their EM within {limit:.0f} steps; ResNet9: "
        f"{step_text(median_step(moments))}, ViT: {step_text(median_step(others))}; "
        f"log-rank p = {log_rank(moments, others):.2g}",
        quick / len(moments), interval,
        f"Wilson interval of the share of ResNet9 seeds with an EM within {AT_ONCE_SHARE:.0%} of the ViT's budget",
        MAJORITY, profile, "abstract of v1, figure of the training curves", figure, "no plateau",
    )  # fmt: skip


def single_step_at_once(runs: Sequence[Run], which: str, budget: int, profile: str, figure: str) -> Claim:
    """C3's rule for one single step, ``which``: most seeds learn it at once, within ``AT_ONCE_SHARE`` of the budget.

    Effect: share of the control's runs with an EM by then, with its Wilson interval against one half. It is C2's rule.
    """
    moments = _moments(runs)
    quick, limit, interval = _at_once(moments, budget)
    return Claim(
        "C3", f"Each step alone is learned at once: the {which}.", verdict_of(interval, MAJORITY), len(runs),
        f"{quick} of {len(moments)} seeds have their EM within {limit:.0f} steps of {budget}; "
        f"{step_text(median_step(moments))}",
        quick / len(moments), interval,
        f"Wilson interval of the share of seeds with an EM within {AT_ONCE_SHARE:.0%} of the budget",
        MAJORITY, profile, "abstract", figure, f"{which} alone",
    )  # fmt: skip


def slower_together(controls: Mapping[str, Sequence[Run]], runs: Sequence[Run], profile: str, figure: str) -> Claim:
    """C3's weaker rule: the two steps together take longer than either of them alone.

    Effect: for each control, its mean restricted EM time over the two-step task's, with a bootstrap interval at 95 %
    for all controls together (Bonferroni); the larger ratio is reported. Reproduced if the intervals of all lie below
    1, not reproduced if one lies above, undecided otherwise.
    """
    confidence = 1 - 0.05 / len(controls)
    ratios = {which: compare.time_ratio(_moments(c), _moments(runs), confidence) for which, c in controls.items()}
    worst = max(ratios.values(), key=lambda ratio: ratio.value)
    verdict = (NOT_REPRODUCED if any(ratio.low > 1 for ratio in ratios.values())
               else REPRODUCED if all(ratio.high < 1 for ratio in ratios.values()) else UNDECIDED)  # fmt: skip
    return Claim(
        "C3", "The plateau comes from the multi-step structure: two steps take longer together than alone.", verdict,
        len(runs) + sum(len(control) for control in controls.values()),
        "mean time to the EM (restricted to the budget), over the two-step task's: "
        + "; ".join(f"{which} {ratio}" for which, ratio in ratios.items()),
        worst.value, worst.interval,
        f"bootstrap intervals of the ratios at {confidence:.1%}, which is 95 % for all (Bonferroni), all below 1",
        1.0, profile, "abstract", figure, "together slower",
    )  # fmt: skip


def alleviates(runs: Sequence[Run], baseline: Sequence[Run], name: str, profile: str, figure: str) -> Claim:
    """C5's rule for one fix: its EMs come earlier than the baseline's.

    Effect: mean restricted EM time, min(EM step, budget), over the baseline's; bootstrap interval. Reproduced if the
    interval lies below 1, not reproduced if above, and undecided if it holds 1 or if the verdict differs between the
    EM thresholds ``THRESHOLD`` and ``STRICT_THRESHOLD``.
    """
    estimates = _under_both_thresholds(compare.time_ratio, runs, baseline)
    p = log_rank(_moments(runs), _moments(baseline))
    return compared(
        "C5", f"{name} alleviates the plateau.", estimates, len(runs) + len(baseline),
        f"mean time to the EM (restricted to the budget), over softmax's: {estimates[0]}; with the EM at an accuracy "
        f"of {STRICT_THRESHOLD}: {estimates[1]}; log-rank p = {p:.2g}",
        "bootstrap interval of the ratio of restricted mean EM times, below 1 under both EM thresholds",
        1.0, profile, figure, "earlier", name, smaller=True,
    )  # fmt: skip


def likelier(runs: Sequence[Run], baseline: Sequence[Run], name: str, profile: str, figure: str) -> Claim:
    """C6's rule, likelihood: more of a fix's runs have an EM in the budget; exact odds-ratio interval above 1.

    Undecided also if the verdict differs between the two EM thresholds.
    """
    estimates = _under_both_thresholds(compare.odds_ratio, runs, baseline)
    k, k0 = (sum(moment.happened for moment in _moments(group)) for group in (runs, baseline))
    return compared(
        "C6", f"{name} makes learning the intermediate task likelier.", estimates, len(runs) + len(baseline),
        f"EMs in the budget: {k} of {len(runs)} against softmax's {k0} of {len(baseline)}; odds ratio {estimates[0]}",
        "exact interval of the odds ratio, above 1 under both EM thresholds", 1.0, profile, figure,
        "likelier", name,
    )  # fmt: skip


def more_accurate(runs: Sequence[Run], baseline: Sequence[Run], name: str, profile: str, figure: str) -> Claim:
    """C6's rule, accuracy: a fix's mean final test accuracy is higher; bootstrap interval of the difference above 0."""
    estimate = compare.mean_difference(_final(runs), _final(baseline))
    return compared(
        "C6", f"{name} gives a higher final accuracy.", [estimate], len(runs) + len(baseline),
        f"mean final test accuracy {np.mean(_final(runs)):.3f} against softmax's {np.mean(_final(baseline)):.3f}; "
        f"difference {estimate}",
        "bootstrap interval of the difference of mean final accuracies, above 0", 0.0, profile, figure,
        "more accurate", name,
    )  # fmt: skip


def fewer_steps(runs: Sequence[Run], baseline: Sequence[Run], name: str, profile: str, figure: str) -> Claim:
    """C6's rule, speed: a fix reaches ``CLOSE_TO_BASELINE`` of the baseline's mean final accuracy in fewer steps.

    Effect: mean steps to there, restricted to the budget, over the baseline's; bootstrap interval below 1. The paper's
    first version has 0.2, which the interval is to be compared with by the reader.
    """
    level = CLOSE_TO_BASELINE * float(np.mean(_final(baseline)))
    times, others = ([compare.first_step_at(*run.accuracy, level) for run in group] for group in (runs, baseline))
    estimate = compare.time_ratio(times, others)
    return compared(
        "C6", f"{name} needs fewer training steps (v1: 95 % of the baseline in 20 % of the steps).", [estimate],
        len(runs) + len(baseline),
        f"mean steps to a test accuracy of {level:.3f} (95 % of softmax's mean final one), over softmax's: {estimate}",
        "bootstrap interval of the ratio of restricted mean times, below 1", 1.0, profile, figure,
        "fewer steps", name, smaller=True,
    )  # fmt: skip


def judge_fix(
    method: str, runs: Sequence[Run], baseline: Sequence[Run], regime: str, profile: str, figure: str
) -> list[Claim]:
    """All rows of one fix in one regime: C5, and C6's three parts, in the order of the rules above."""
    name = f"{FIX_NAMES[method]} ({regime})"
    return [rule(runs, baseline, name, profile, figure) for rule in (alleviates, fewer_steps, likelier, more_accurate)]


def temperature_matters(groups: Mapping[float, Sequence[Run]], profile: str, figure: str) -> Claim:
    """C5's first half: some fixed temperature has EM times other than the default's, ``groups[1]``.

    Effect: the ratio of mean restricted EM times, of the scale for which it is farthest from 1 (on a logarithmic axis)
    over the default scale; bootstrap interval at 95 % for all scales together (Bonferroni). Reproduced if it excludes
    1. An interval that holds 1 leaves the claim undecided, since no number of runs shows that nothing matters.
    """
    others = {scale: runs for scale, runs in groups.items() if scale != 1}
    confidence = 1 - 0.05 / len(others)
    ratios = {
        scale: compare.time_ratio(_moments(runs), _moments(groups[1]), confidence) for scale, runs in others.items()
    }
    scale, ratio = max(ratios.items(), key=lambda item: abs(np.log(item[1].value)))
    decided = [s for s, r in ratios.items() if r.low > 1 or r.high < 1]
    return Claim(
        "C5", "Temperature matters.", REPRODUCED if decided else UNDECIDED, sum(len(runs) for runs in groups.values()),
        f"mean time to the EM (restricted to the budget) at {scale:g} times the default scale, over the default's: "
        f"{ratio}; the interval excludes 1 at {len(decided)} of {len(others)} other scales"
        + (f" ({', '.join(f'{s:g}' for s in decided)})" if decided else ""),
        ratio.value, ratio.interval,
        f"bootstrap interval of the ratio at {confidence:.1%}, which is 95 % for all {len(others)} scales (Bonferroni)",
        1.0, profile, "abstract", figure, f"scale x {scale:g}", "temperature",
    )  # fmt: skip


def more_robust(rates: pd.DataFrame, method: str, profile: str, figure: str) -> Claim:
    """C6's last part: over a grid of hyper-parameters, a fix has its EM in more of the runs than softmax.

    ``rates`` has a row per cell of the grid, columns "softmax" and ``method``: EM rates. Effect: mean difference over
    cells, with a bootstrap interval over cells (paired). Reproduced if it lies above 0, not reproduced if below.
    """
    estimate = compare.paired_difference(rates[method], rates["softmax"])
    return Claim(
        "C6", f"{FIX_NAMES[method]} is more robust to hyper-parameters.", verdict_of(estimate.interval, 0.0),
        len(rates),
        f"EM rate averaged over {len(rates)} cells: {rates[method].mean():.2f} against softmax's "
        f"{rates['softmax'].mean():.2f}; difference {estimate}",
        estimate.value, estimate.interval, "bootstrap interval over cells of the mean difference of EM rates, above 0",
        0.0, profile, "abstract", figure, FIX_NAMES[method], "robustness",
    )  # fmt: skip


def _under_both_thresholds(
    estimate: Callable[[list[Moment], list[Moment]], Estimate], runs: Sequence[Run], baseline: Sequence[Run]
) -> list[Estimate]:
    return [estimate(_moments(runs, level), _moments(baseline, level)) for level in (THRESHOLD, STRICT_THRESHOLD)]


def compared(
    claim: str, statement: str, estimates: Sequence[Estimate], n: int, effect: str, test: str, threshold: float,
    profile: str, figure: str, part: str, about: str, smaller: bool = False, source: str = "abstract",
) -> Claim:  # fmt: skip
    """A comparison's row: the verdict of all ``estimates`` if they agree, else undecided; the first one is reported."""
    verdicts = {verdict_of(estimate.interval, threshold) for estimate in estimates}
    verdict = verdicts.pop() if len(verdicts) == 1 else UNDECIDED
    return Claim(
        claim, statement, opposite(verdict) if smaller else verdict, n, effect, estimates[0].value,
        estimates[0].interval, test, threshold, profile, source, figure, part, about,
    )  # fmt: skip


def _moments(runs: Sequence[Run], threshold: float = THRESHOLD) -> list[Moment]:
    return [eureka_moment(*run.accuracy, threshold) for run in runs]


def _at_once(moments: Sequence[Moment], budget: int) -> tuple[int, float, tuple[float, float]]:
    """How many had their EM within ``AT_ONCE_SHARE`` of the budget, that step, and the share's Wilson interval."""
    limit = AT_ONCE_SHARE * budget
    quick = sum(moment.happened and moment.step <= limit for moment in moments)
    return quick, limit, wilson_interval(quick, len(moments))


def _final(runs: Sequence[Run]) -> list[float]:
    return [run.final_accuracy for run in runs]


def _jumps_abruptly(run: Run) -> bool:
    duration = jump_duration(*run.accuracy)
    plateau = plateau_fraction(*run.accuracy) * run.history["step"].iloc[-1]
    return duration is not None and duration < plateau


def step_text(median: float | None, event: str = "EM") -> str:
    """A median step in words; None: fewer than half of the runs had the event."""
    return f"median {event} step " + ("not reached" if median is None else f"{median:.0f}")


# C4, from the gradients of kept weights. `sizes` has a row per run and kept step: "run" (its key), "step", the mean
# absolute gradients "W_Q", "W_K", "W_V", averaged over layers, and the normalised "entropy" of the attention.


def starved(runs: Sequence[Run], sizes: pd.DataFrame, profile: str, figure: str) -> Claim:
    """C4's rule, part 1: on the plateau W_V gets more gradient than W_Q, and more than W_K.

    Effect: for each run the geometric mean of |grad W_V| / |grad W_Q| over its kept steps on the plateau (after step 0,
    before the EM if there is one, test accuracy in the plateau's band), and the same for W_K; then the geometric mean
    over runs, with bootstrap intervals. Reproduced if both intervals lie above 1, not reproduced if either lies below.
    The smaller ratio is the row's value. Runs without such a step are left out, and n counts the others; fewer than
    ``FEWEST_RUNS`` of them leave it undecided.
    """
    plateaus = [rows for rows in (_plateau(run, sizes) for run in runs) if len(rows)]
    ratios = {name: _estimated(compare.geometric_mean, [_typical(rows["W_V"] / rows[name]) for rows in plateaus])
              for name in ("W_Q", "W_K")}  # fmt: skip
    weaker = min(ratios.values(), key=lambda ratio: ratio.value)
    verdicts = [verdict_of(ratio.interval, 1.0) for ratio in ratios.values()]
    return Claim(
        "C4", "On the plateau W_Q and W_K are starved of gradient, while W_V gets plenty.",
        NOT_REPRODUCED if NOT_REPRODUCED in verdicts else UNDECIDED if UNDECIDED in verdicts else REPRODUCED,
        len(plateaus),
        f"mean absolute gradient of W_V over that of W_Q: {ratios['W_Q']}, over that of W_K: {ratios['W_K']}; "
        f"geometric means over the plateaus of {len(plateaus)} of {len(runs)} runs",
        weaker.value, weaker.interval,
        "bootstrap intervals over runs of both ratios, above 1 (the row has the smaller ratio's)", 1.0, profile,
        "abstract", figure, "queries, keys starve",
    )  # fmt: skip


def because_of_softmax(
    runs: Sequence[Run], others: Sequence[Run], sizes: pd.DataFrame, profile: str, figure: str
) -> Claim:
    """C4's rule, part 2: with NormSoftmax, at equal seeds and learning rate, W_Q and W_K are starved less.

    Effect: for each softmax run in ``runs``, and the NormSoftmax run of the same seed in ``others``, the geometric mean
    of |grad W_V| over the mean of |grad W_Q| and |grad W_K|, over the same kept steps: after step 0, up to the earlier
    of the two runs' EMs (or ends). Then the geometric mean over seeds of the first over the second, with a bootstrap
    interval. Reproduced if it lies above 1, not reproduced if below; with fewer than ``FEWEST_RUNS`` pairs undecided.
    """
    pairs = [pair for pair in (_same_steps(*two, sizes) for two in zip(runs, others, strict=True)) if len(pair[0])]
    ratio = _estimated(compare.geometric_mean, [_typical(_imbalance(a) / _imbalance(b)) for a, b in pairs])
    return Claim(
        "C4", "The softmax is the cause: with NormSoftmax, W_Q and W_K are starved less.",
        verdict_of(ratio.interval, 1.0), len(pairs),
        f"gradient of W_V over the mean of those of W_Q and W_K, softmax's over NormSoftmax's at the same steps: "
        f"{ratio}; geometric mean over {len(pairs)} seeds",
        ratio.value, ratio.interval, "bootstrap interval over seeds of the paired ratio, above 1", 1.0, profile,
        "abstract", figure, "softmax is the cause",
    )  # fmt: skip


def ill_distributed(runs: Sequence[Run], sizes: pd.DataFrame, profile: str, figure: str) -> Claim:
    """C4's rule, part 3: before the EM the attention is too even, more so than after it.

    Effect: in runs that have an EM, the mean normalised entropy over all rows, heads and layers on the kept steps of
    the plateau (as in :func:`starved`), minus that at the last kept step; mean over runs, paired, with a bootstrap
    interval. Reproduced if it lies above 0, not reproduced if below; with fewer than ``FEWEST_RUNS`` runs undecided.
    """
    jumped = [run for run, moment in zip(runs, _moments(runs), strict=True) if moment.happened]
    jumped = [run for run in jumped if len(_plateau(run, sizes))]
    before = [_plateau(run, sizes)["entropy"].mean() for run in jumped]
    after = [_kept(run, sizes)["entropy"].iloc[-1] for run in jumped]
    difference = _estimated(compare.paired_difference, before, after)
    means = f": {np.mean(before):.2f} against {np.mean(after):.2f}" if jumped else ""
    return Claim(
        "C4", "Attention is ill-distributed on the plateau: more even than after the Eureka-moment.",
        verdict_of(difference.interval, 0.0), len(jumped),
        f"mean normalised entropy of the attention on the plateau against the end of training{means}; difference "
        f"{difference}, in {len(jumped)} of {len(runs)} runs with a plateau and an EM",
        difference.value, difference.interval, "bootstrap interval over runs of the paired difference, above 0", 0.0,
        profile, "abstract", figure, "too even",
    )  # fmt: skip


def _kept(run: Run, sizes: pd.DataFrame) -> pd.DataFrame:
    """The rows of a run by step, ascending."""
    return sizes[sizes["run"] == run.key].set_index("step").sort_index()


def _plateau(run: Run, sizes: pd.DataFrame) -> pd.DataFrame:
    rows = _kept(run, sizes)
    return rows[rows.index.isin(plateau_steps(*run.accuracy))]


def _same_steps(run: Run, other: Run, sizes: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of two runs of one seed at the steps that both have kept, up to the earlier EM or end."""
    seeds = [pair.config["model_seed"] for pair in (run, other)]
    if seeds[0] != seeds[1]:
        raise ValueError(f"runs must be paired by their seeds, got seeds {seeds[0]} and {seeds[1]}")
    rows, others = _kept(run, sizes), _kept(other, sizes)
    last = min(moment.step for moment in _moments([run, other]))
    steps = [step for step in rows.index.intersection(others.index) if 0 < step <= last]
    return rows.loc[steps], others.loc[steps]


def _imbalance(rows: pd.DataFrame) -> pd.Series:
    return rows["W_V"] / rows[["W_Q", "W_K"]].mean(axis=1)


def _typical(ratios: pd.Series) -> float:
    """Geometric mean over the steps of a run."""
    return float(np.exp(np.log(ratios).mean()))


def _estimated(estimate: Callable[..., Estimate], *samples: Sequence[float]) -> Estimate:
    """The estimate, without an interval if there are too few samples for one."""
    n = len(samples[0])
    if n >= FEWEST_RUNS:
        return estimate(*samples)
    return Estimate(estimate(*samples).value if n else math.nan, math.nan, math.nan)
