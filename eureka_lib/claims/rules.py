"""The rules by which claims are judged, written before the runs that they judge.

Each rule is a function that measures an effect; its decorator says what is claimed and which threshold the effect's
interval is held against, and makes the row with the verdict. The docstring is the rule: its first paragraph stands in
the row, with the names in braces filled. Nothing is softened afterwards.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import gmean

from eureka_lib.analysis import compare
from eureka_lib.analysis.compare import Estimate
from eureka_lib.analysis.eureka import Moment, log_rank, median_step, wilson_interval
from eureka_lib.analysis.forecast import ALL, BASELINE, QUESTIONS, WHEN, WHETHER
from eureka_lib.attention.registry import METHODS, short_label_of
from eureka_lib.claims.published import FOLLOW_UP, FOLLOW_UP_SEEDS
from eureka_lib.claims.registry import CLAIMS, REPRODUCED, Effect, Row, rule
from eureka_lib.claims.studies import TWO_STEP, Study
from eureka_lib.measure.gradients import imbalance, kept, on_plateau, same_steps
from eureka_lib.measure.plateaus import ACCURACY, PLATEAU_SHARE, STRICT_THRESHOLD, Plateau
from eureka_lib.store import Run
from eureka_lib.store.runs import Groups

AT_ONCE_SHARE = 0.05  # "at once": within this share of the ViT's budget (the paper's ResNet: 5,000 of 117,000 steps)
PUBLISHED_RATIO = 0.08  # the ResNet's time over the ViT's: about 5,000 of 61,000 steps
MAJORITY = 0.5
SHARE, TIMES, ODDS = "share of seeds", "ratio of times", "odds ratio"  # units
FIX_NAMES = {name: method.fix for name, method in METHODS.items() if method.fix}
CLOSE_TO_BASELINE = 0.95  # "95 % of the baseline": share of its mean final accuracy
FEWEST_RUNS = 6  # of fewer, or pairs of them, all lie on one side by chance in more than 5 % of cases
RECOGNISED = 0.9  # held-out accuracy of a probe above which an input counts as recognised
NOT_YET_MADE = 0.6  # and below which the comparison, a yes or no, counts as not made
SHORTER = 1.0  # Z1: the mean time to the EM is shorter than softmax's
REMOVED = 0.5  # Z2: it is at most half of it, and the plateau may be said to be gone
FEWEST_EACH = 5  # with fewer held-out runs of a kind that a forecast compares, nothing is decided
GUESS = 0.5  # what a constant forecast gets


# ---- C1, C7, C8: the phenomenon


@rule(
    "{claim}", "There is a long plateau in {what}.", part="plateau", about="{about}", above=MAJORITY, unit=SHARE,
)  # fmt: skip
def long_plateau(runs: Sequence[Run], study: Study = TWO_STEP) -> Effect:
    """The Wilson interval of the share of seeds on the plateau for at least {long:.0%} of the budget.

    Whether or not they leave it afterwards: a run without an Eureka-moment (EM) has been on the plateau all the same.
    """
    long, leaps = sum(map(study.plateau.is_long, runs)), _leaps(runs, study.plateau)
    happened = sum(leap.happened for leap in leaps)
    words = (
        f"{long} of {len(runs)} seeds on the plateau ({study.plateau}) for at least {PLATEAU_SHARE:.0%} of the budget; "
        f"{happened} of {len(runs)} Eureka-moments in all, {step_text(median_step(leaps))}"
    )
    return Effect([_rate(long, len(runs))], len(runs), words, _names(study), censored=len(runs) - happened)


@rule("{claim}", "The plateau ends abruptly in {what}.", part="jump", about="{about}", above=MAJORITY, unit=SHARE)
def abrupt_jump(runs: Sequence[Run], study: Study = TWO_STEP) -> Effect:
    """The Wilson interval of the share of seeds that leave a long plateau in less time than they lay there.

    Of the runs with such a plateau, those count that have their EM. The others are censored: how they will leave it, if
    ever, is not known. A jump that is not finished by the end of the budget counts against the claim.
    """
    long = [run for run in runs if study.plateau.is_long(run)]
    left = [run for run in long if study.plateau.leap(run).happened]
    abrupt, censored = sum(map(study.plateau.is_abrupt, left)), len(long) - len(left)
    words = (
        f"{abrupt} of {len(left)} seeds that left a long plateau ({study.plateau}) did so in less time than they lay "
        f"there; {censored} of {len(long)} had no Eureka-moment by the end of the budget"
    )
    return Effect([_rate(abrupt, len(left))], len(left), words, _names(study), censored=censored)


def _names(study: Study) -> dict[str, str]:
    return {"claim": study.claim, "what": study.about or "the two-step task", "about": study.about,
            "notebook": CLAIMS[study.claim].notebook, "long": PLATEAU_SHARE}  # fmt: skip


# ---- C2, C3: other networks, single steps, probes


@rule(
    "C2", "A convolutional network (ResNet) has no such plateau on the same task.", part="no plateau", above=MAJORITY,
    unit=SHARE,
)  # fmt: skip
def no_plateau_without_attention(resnets: Sequence[Run], vits: Sequence[Run]) -> Effect:
    """The Wilson interval of the share of ResNet9 seeds with an EM within {at_once:.0%} of the ViT's budget.

    The ratio of the two networks' restricted mean EM times and a log-rank test are reported beside it and decide
    nothing; a ResNet9 without an EM counts there with the ViT's whole budget, as the ResNet's may be shorter.
    """
    moments, others = _leaps(resnets), _leaps(vits)
    budget = int(vits[0].history["step"].iloc[-1])
    quick, limit = _at_once(moments, budget)
    worst = [moment if moment.happened else Moment(budget, False) for moment in moments]
    words = (
        f"{quick} of {len(moments)} ResNet9 seeds have their EM within {limit:.0f} steps; ResNet9: "
        f"{step_text(median_step(moments))}, ViT: {step_text(median_step(others))}; mean time to the EM (restricted to "
        f"the budget), over the ViT's: {compare.time_ratio(worst, others)}, in the paper's curves about "
        f"{PUBLISHED_RATIO:g}; log-rank p = {log_rank(worst, others):.2g}"
    )
    names = {"at_once": AT_ONCE_SHARE}
    return Effect([_rate(quick, len(moments))], len(moments), words, names, censored=_censored(moments))


@rule(
    "S1", "Each step alone is learned at once: the {which}.", part="{which} alone", asks="at once", above=MAJORITY,
    unit=SHARE,
)  # fmt: skip
def single_step_at_once(runs: Sequence[Run], which: str, budget: int) -> Effect:
    """The Wilson interval of the share of seeds with an EM within {at_once:.0%} of the budget.

    C2's rule for a control that has a single step, ``which``. A question of ours: the paper does not say so.
    """
    moments = _leaps(runs)
    quick, limit = _at_once(moments, budget)
    words = (
        f"{quick} of {len(moments)} seeds have their EM within {limit:.0f} steps of {budget}; "
        f"{step_text(median_step(moments))}"
    )
    names = {"which": which, "at_once": AT_ONCE_SHARE}
    return Effect([_rate(quick, len(moments))], len(moments), words, names, censored=_censored(moments))


@rule(
    "C3", "The plateau comes from the multi-step structure: two steps take longer together than alone.",
    part="together slower", below=1, combine=min, unit=TIMES,
)  # fmt: skip
def slower_together(controls: Mapping[str, Sequence[Run]], runs: Sequence[Run]) -> Effect:
    """The intervals of the ratios at {confidence:.1%}, which is 95 % for all (Bonferroni), all below 1.

    For each control, its mean restricted EM time over the two-step task's; the larger ratio is reported.
    """
    confidence = _bonferroni(len(controls))
    ratios = {which: compare.time_ratio(_leaps(c), _leaps(runs), confidence) for which, c in controls.items()}
    words = "mean time to the EM (restricted to the budget), over the two-step task's: " + "; ".join(
        f"{which} {ratio}" for which, ratio in ratios.items()
    )
    n = len(runs) + sum(map(len, controls.values()))
    slowest_first = sorted(ratios.values(), key=lambda ratio: -ratio.value)
    censored = _censored(*map(_leaps, [runs, *controls.values()]))
    return Effect(slowest_first, n, words, {"confidence": confidence}, censored=censored)


# The next two take probes of *every* run's last block at one step before its EM: the kept step nearest to half of the
# time until the EM, or until the end of a run without one; one accuracy on held-out samples per run.


@rule(
    "C3", "The information is there: each input is recognised long before the Eureka-moment.",
    part="inputs recognised", above=RECOGNISED, unit="accuracy", figure="08_every_run",
    source="diagnostics, appendix",
)  # fmt: skip
def information_is_there(accuracies: Sequence[float], untrained: Sequence[float]) -> Effect:
    """The interval over runs of the mean accuracy, above {threshold:g}.

    Of linear probes for the class of each indicator cell, mean of the two, on all tokens. ``untrained``, the same at
    the initial weights, is reported beside it and decides nothing.
    """
    found = compare.paired_difference(accuracies, [0.0])  # the mean
    words = (
        f"linear probes for the indicators' classes on all tokens of the last block, half-way to the EM: held-out "
        f"accuracy {found}; at the initial weights {np.mean(untrained):.2f}"
    )
    return Effect([found], len(accuracies), words, enough=len(accuracies) >= FEWEST_RUNS)


@rule(
    "C3", "The comparison is not made yet: before the Eureka-moment the head is not told which target counts.",
    part="not compared yet", below=NOT_YET_MADE, unit="accuracy", figure="08_every_run",
    source="diagnostics, appendix",
)  # fmt: skip
def comparison_is_not_made(accuracies: Sequence[float], afterwards: Sequence[float]) -> Effect:
    """The interval over runs of the mean accuracy, below {threshold:g}.

    Of linear probes for "which target" on what the head reads. ``afterwards``, the same at the end of the runs that had
    their EM, is reported beside it and decides nothing.
    """
    found = compare.paired_difference(accuracies, [0.0])  # the mean
    after = f"{np.mean(afterwards):.2f} ({len(afterwards)} runs)" if len(afterwards) else "not known, no run had it"
    words = (
        f'linear probes for "which target" on what the head reads, half-way to the EM: held-out accuracy {found}; '
        f"at the end of runs with an EM: {after}"
    )
    return Effect([found], len(accuracies), words, enough=len(accuracies) >= FEWEST_RUNS)


# ---- C4, from the gradients of kept weights. `sizes` has a row per run and kept step: "run" (its key), "step", the
# mean absolute gradients "W_Q", "W_K", "W_V", averaged over layers, and the normalised "entropy" of the attention.


@rule(
    "C4", "On the plateau W_Q and W_K are starved of gradient, while W_V gets plenty.", part="queries, keys starve",
    above=1, combine=min, unit="ratio of gradients",
)  # fmt: skip
def starved(runs: Sequence[Run], sizes: pd.DataFrame) -> Effect:
    """The intervals over runs of both ratios, above 1 (the row has the smaller ratio's).

    For each run the geometric mean of |grad W_V| / |grad W_Q| over its kept steps on the plateau (after step 0, before
    the EM if there is one, test accuracy in the plateau's band), and the same for W_K; then the geometric mean over
    runs. Runs without such a step are left out; fewer than ``FEWEST_RUNS`` others leave it undecided.
    """
    plateaus = [rows for rows in (on_plateau(run, sizes) for run in runs) if len(rows)]
    to_q, to_k = (_estimated(compare.geometric_mean, [gmean(rows["W_V"] / rows[name]) for rows in plateaus])
                  for name in ("W_Q", "W_K"))  # fmt: skip
    words = (
        f"mean absolute gradient of W_V over that of W_Q: {to_q}, over that of W_K: {to_k}; "
        f"geometric means over the plateaus of {len(plateaus)} of {len(runs)} runs"
    )
    return Effect(sorted([to_q, to_k], key=lambda ratio: ratio.value), len(plateaus), words)


@rule(
    "C4", "The softmax is the cause: with NormSoftmax, W_Q and W_K are starved less.", part="softmax is the cause",
    above=1, unit="ratio of gradient ratios",
)  # fmt: skip
def because_of_softmax(runs: Sequence[Run], others: Sequence[Run], sizes: pd.DataFrame) -> Effect:
    """The interval over seeds of the paired ratio, above 1.

    For each softmax run in ``runs``, and the NormSoftmax run of the same seed in ``others``, at equal learning rates,
    the geometric mean of |grad W_V| over the mean of |grad W_Q| and |grad W_K|, over the same kept steps: after step 0,
    up to the earlier of the two runs' EMs (or ends). Then the geometric mean over seeds of the first over the second;
    with fewer than ``FEWEST_RUNS`` pairs undecided.
    """
    pairs = [pair for pair in (same_steps(*two, sizes) for two in zip(runs, others, strict=True)) if len(pair[0])]
    ratio = _estimated(compare.geometric_mean, [gmean(imbalance(a) / imbalance(b)) for a, b in pairs])
    words = (
        f"gradient of W_V over the mean of those of W_Q and W_K, softmax's over NormSoftmax's at the same steps: "
        f"{ratio}; geometric mean over {len(pairs)} seeds"
    )
    return Effect([ratio], len(pairs), words)


@rule(
    "C4", "Attention is ill-distributed on the plateau: more even than after the Eureka-moment.", part="too even",
    above=0, unit="difference of entropies", figure="07_entropy",
)  # fmt: skip
def ill_distributed(runs: Sequence[Run], sizes: pd.DataFrame) -> Effect:
    """The interval over runs of the paired difference, above 0.

    In runs that have an EM, the mean normalised entropy over all rows, heads and layers on the kept steps of the
    plateau (as in :func:`starved`), minus that at the last kept step. With fewer than ``FEWEST_RUNS`` runs undecided.
    """
    jumped = [run for run in runs if ACCURACY.leap(run).happened and len(on_plateau(run, sizes))]
    before = [on_plateau(run, sizes)["entropy"].mean() for run in jumped]
    after = [kept(run, sizes)["entropy"].iloc[-1] for run in jumped]
    difference = _estimated(compare.paired_difference, before, after)
    means = f": {np.mean(before):.2f} against {np.mean(after):.2f}" if jumped else ""
    words = (
        f"mean normalised entropy of the attention on the plateau against the end of training{means}; difference "
        f"{difference}, in {len(jumped)} of {len(runs)} runs with a plateau and an EM"
    )
    return Effect([difference], len(jumped), words)


# ---- C5, C6, C7, C8, Z1, Z2: one method against softmax. All of them take for granted that softmax has a plateau
# (C1's rule on its runs); where it has none there is nothing to shorten, and the verdict is "not testable here".


def has_plateau(baseline: Sequence[Run], study: Study = TWO_STEP) -> bool:
    """Whether C1's rule finds a plateau in the baseline's runs: the precondition of what claims to shorten it."""
    return long_plateau(baseline, study).verdict == REPRODUCED


def earlier(
    runs: Sequence[Run], baseline: Sequence[Run], plateau: Plateau = ACCURACY, confidence: float = 0.95
) -> list[Estimate]:
    """Mean restricted time to the leap, min(leap, budget), over the baseline's, under each of the plateau's thresholds.

    Below 1 is earlier. A verdict has to be the same under all of them.
    """
    return [compare.time_ratio(_leaps(runs, plateau, level), _leaps(baseline, plateau, level), confidence)
            for level in plateau.thresholds]  # fmt: skip


@rule("C5", "{name} alleviates the plateau.", part="earlier", about="{name}", below=1, unit=TIMES)
def alleviates(runs: Sequence[Run], baseline: Sequence[Run], name: str, confidence: float = 0.95) -> Effect:
    """The interval of the ratio of restricted mean EM times at {confidence:.1%}, below 1 under both EM thresholds."""
    ratio, strict = earlier(runs, baseline, confidence=confidence)
    words = (
        f"mean time to the EM (restricted to the budget), over softmax's: {ratio}; with the EM at an accuracy "
        f"of {STRICT_THRESHOLD}: {strict}; log-rank p = {log_rank(_leaps(runs), _leaps(baseline)):.2g}"
        + "".join(f"; {k} EMs{whose} lost again by the end" for k, whose in
                  ((_lost(runs), ""), (_lost(baseline), " of softmax's")) if k)
    )  # fmt: skip
    return _against(runs, baseline, [ratio, strict], words, name, confidence)


@rule(
    "C6", "{name} needs fewer training steps (v1: 95 % of the baseline in 20 % of the steps).", part="fewer steps",
    about="{name}", below=1, unit=TIMES,
)  # fmt: skip
def fewer_steps(runs: Sequence[Run], baseline: Sequence[Run], name: str, confidence: float = 0.95) -> Effect:
    """The interval of the ratio of restricted mean times at {confidence:.1%}, below 1.

    To the first evaluation at ``CLOSE_TO_BASELINE`` of the baseline's mean final accuracy. The paper's first version
    has a ratio of 0.2, which the interval is to be compared with by the reader. Where that accuracy is not an EM yet,
    since most of the baseline's runs still lie on the plateau, the time to it says nothing of the plateau's length: not
    testable (a precondition that was added when the flagship's first runs had been seen).
    """
    level = CLOSE_TO_BASELINE * float(np.mean(_final(baseline)))
    times, others = ([compare.first_step_at(*run.accuracy, level) for run in group] for group in (runs, baseline))
    ratio = compare.time_ratio(times, others, confidence)
    words = f"mean steps to a test accuracy of {level:.3f} (95 % of softmax's mean final one), over softmax's: {ratio}"
    effect = _against(runs, baseline, [ratio], words, name, confidence)
    return replace(effect, testable=effect.testable and level >= ACCURACY.thresholds[0])


@rule(
    "C6", "{name} makes learning the intermediate task likelier.", part="likelier", about="{name}", above=1, unit=ODDS
)
def likelier(runs: Sequence[Run], baseline: Sequence[Run], name: str, confidence: float = 0.95) -> Effect:
    """The exact interval of the odds ratio at {confidence:.1%}, above 1 under both EM thresholds."""
    estimates = _odds(runs, baseline, confidence)
    words = f"EMs in the budget: {_counts(runs, baseline)}; odds ratio {estimates[0]}"
    return _against(runs, baseline, estimates, words, name, confidence)


@rule(
    "C6", "{name} gives a higher final accuracy.", part="more accurate", about="{name}", above=0,
    unit="difference of accuracies",
)  # fmt: skip
def more_accurate(runs: Sequence[Run], baseline: Sequence[Run], name: str, confidence: float = 0.95) -> Effect:
    """The interval of the difference of mean final accuracies at {confidence:.1%}, above 0."""
    difference = compare.mean_difference(_final(runs), _final(baseline), confidence)
    words = (
        f"mean final test accuracy {np.mean(_final(runs)):.3f} against softmax's {np.mean(_final(baseline)):.3f}; "
        f"difference {difference}"
    )
    return _against(runs, baseline, [difference], words, name, confidence)


def judge_fix(method: str, runs: Sequence[Run], baseline: Sequence[Run], regime: str, regimes: int = 1) -> list[Row]:
    """All rows of one fix in one of ``regimes`` regimes that judge it (Bonferroni): C5, and C6's three parts."""
    name, confidence = f"{FIX_NAMES[method]} ({regime})", _bonferroni(regimes)
    return [judge(runs, baseline, name, confidence) for judge in (alleviates, fewer_steps, likelier, more_accurate)]


def _against(
    runs: Sequence[Run], baseline: Sequence[Run], estimates: Sequence[Estimate], words: str, name: str,
    confidence: float,
) -> Effect:  # fmt: skip
    names = {"name": name, "confidence": confidence}
    censored = _censored(_leaps(runs), _leaps(baseline))
    testable = has_plateau(baseline)
    return Effect(estimates, len(runs) + len(baseline), words, names, testable=testable, censored=censored)


@rule(
    "{claim}", "{name} helps in {about}.", part="{name}", about="{about}", asks="earlier with a fix", below=1,
    unit=TIMES, figure="{notebook}_times",
)  # fmt: skip
def helps(method: str, runs: Sequence[Run], baseline: Sequence[Run], study: Study) -> Effect:
    """The interval of the ratio of restricted mean times to the leap, below 1 under all its thresholds.

    The same ratio for merely leaving the plateau is reported beside it and decides nothing: a run may leave early and
    then linger on a shelf below.
    """
    plateau = study.plateau
    ratios = earlier(runs, baseline, plateau)
    others = "".join(f", or {ratio} with the leap at a score of {level:g}"
                     for level, ratio in zip(plateau.thresholds[1:], ratios[1:], strict=True))  # fmt: skip
    leaving = compare.time_ratio(*(_leaps(group, plateau, plateau.band[1]) for group in (runs, baseline)))
    words = (
        f"mean time to the leap (restricted to the budget), over softmax's: {ratios[0]}{others}; leaps in the budget: "
        f"{_counts(runs, baseline, plateau)}; log-rank p = "
        f"{log_rank(_leaps(runs, plateau), _leaps(baseline, plateau)):.2g}; mean time to a score of "
        f"{plateau.band[1]:g}, just off the plateau, over softmax's: {leaving}"
    )
    names = _names(study) | {"name": FIX_NAMES[method]}
    censored = _censored(_leaps(runs, plateau), _leaps(baseline, plateau))
    testable = has_plateau(baseline, study)
    return Effect(ratios, len(runs) + len(baseline), words, names, testable=testable, censored=censored)


def _shortened(method: str, runs: Sequence[Run], baseline: Sequence[Run], confidence: float) -> Effect:
    """The interval of the ratio of restricted mean EM times at {confidence:.1%}, which is 95 % for all
    methods (Bonferroni), below {threshold:g} under both EM thresholds.

    Each method has its own tuned learning rate.
    """
    ratio, strict = earlier(runs, baseline, confidence=confidence)
    words = (
        f"mean time to the EM (restricted to the budget), in units of softmax's: {ratio}; with the EM at an accuracy "
        f"of {STRICT_THRESHOLD}: {strict}; EMs in the budget: {_counts(runs, baseline, whose='')}"
    )
    return _against(runs, baseline, [ratio, strict], words, short_label_of(method), confidence)


_of_a_variant = functools.partial(rule, part="{name}", unit=TIMES)
shortens = _of_a_variant("Z1", "{name} shortens the plateau.", asks="shorter", below=SHORTER)(_shortened)
removes = _of_a_variant("Z2", "{name} removes the plateau.", asks="removed", below=REMOVED)(_shortened)


def judge_zoo(groups: Groups) -> list[Row]:
    """Z1 and Z2 for every method but softmax, with intervals that hold for all of them together (Bonferroni)."""
    others = {method: runs for method, runs in groups.items() if method != "softmax"}
    confidence = _bonferroni(len(others))
    return [judge(method, runs, groups["softmax"], confidence)
            for method, runs in others.items() for judge in (shortens, removes)]  # fmt: skip


@rule(
    "Z3", "With QR's doubly stochastic attention more seeds have their Eureka-moment than with softmax.", part="QR",
    asks="likelier", above=1, unit=ODDS,
)  # fmt: skip
def qr_jumps_more_often(groups: Mapping[tuple[str, float], Sequence[Run]]) -> Effect:
    """The exact interval of the odds ratio, above 1 under both EM thresholds.

    Odds of an EM in the budget, QR's over softmax's, the runs of all rates taken together. Undecided also if nobody or
    everybody has an EM.
    """
    qr, softmax = ([run for (name, _), runs in groups.items() if name == method for run in runs]
                   for method in ("qr", "softmax"))  # fmt: skip
    theirs, theirs0 = (sum(k for (name, _), (k, _) in FOLLOW_UP.items() if name == method)
                       for method in ("qr", "softmax"))  # fmt: skip
    of = FOLLOW_UP_SEEDS * len({rate for _, rate in FOLLOW_UP})
    estimates = _odds(qr, softmax)
    words = (
        f"EMs in the budget: {_counts(qr, softmax)}, over all learning rates; odds ratio {estimates[0]}; published: "
        f"{theirs} of {of} against {theirs0} of {of}"
    )
    censored = _censored(_leaps(qr), _leaps(softmax))
    return Effect(estimates, len(qr) + len(softmax), words, censored=censored)


@rule(
    "C5", "Temperature matters.", part="scale x {scale:g}", about="temperature", asks="temperature", off=1, combine=max,
    unit=TIMES, figure="03_fixed_temperature",
)  # fmt: skip
def temperature_matters(groups: Mapping[float, Sequence[Run]]) -> Effect:
    """The interval of the ratio at {confidence:.1%}, which is 95 % for all {scales} scales (Bonferroni).

    Mean restricted EM time at each scale over that at the default one, ``groups[1]``; that which is farthest from 1 (on
    a logarithmic axis) is reported, and one that excludes 1 is enough.
    """
    others = {scale: runs for scale, runs in groups.items() if scale != 1}
    confidence = _bonferroni(len(others))
    ratios = {scale: compare.time_ratio(_leaps(runs), _leaps(groups[1]), confidence) for scale, runs in others.items()}
    farthest = sorted(ratios, key=lambda scale: -abs(np.log(ratios[scale].value)))
    decided = [f"{scale:g}" for scale, ratio in ratios.items() if ratio.low > 1 or ratio.high < 1]
    words = (
        f"mean time to the EM (restricted to the budget) at {farthest[0]:g} times the default scale, over the "
        f"default's: {ratios[farthest[0]]}; the interval excludes 1 at {len(decided)} of {len(others)} other scales"
        + (f" ({', '.join(decided)})" if decided else "")
    )
    names = {"scale": farthest[0], "confidence": confidence, "scales": len(others)}
    n, testable = sum(map(len, groups.values())), has_plateau(groups[1])
    censored = _censored(*map(_leaps, groups.values()))
    return Effect([ratios[scale] for scale in farthest], n, words, names, testable=testable, censored=censored)


@rule(
    "C6", "{name} is more robust to hyper-parameters.", part="{name}", about="robustness", asks="more robust", above=0,
    unit="difference of EM rates", figure="06_learning_rate_weight_decay",
)  # fmt: skip
def more_robust(rates: pd.DataFrame, method: str, baseline: Sequence[Run]) -> Effect:
    """The interval over cells of the mean difference of EM rates, above 0.

    ``rates`` has a row per cell of the grid, columns "softmax" and ``method``: EM rates. The cells are paired. The
    ``baseline`` are softmax's runs at its tuned settings.
    """
    difference = compare.paired_difference(rates[method], rates["softmax"])
    words = (
        f"EM rate averaged over {len(rates)} cells: {rates[method].mean():.2f} against softmax's "
        f"{rates['softmax'].mean():.2f}; difference {difference}"
    )
    return Effect([difference], len(rates), words, {"name": FIX_NAMES[method]}, testable=has_plateau(baseline))


# ---- F1 (whether the EM comes) and F2 (when). One predictor is judged, the one that uses all early signs, on held-out
# runs, in the table of `analysis.forecast.judge`. Fewer than FEWEST_EACH runs with an EM or, for F1, without one, leave
# it undecided. With so few runs an interval that holds the threshold is no proof that nothing can be forecast.

FORECASTS = {WHETHER: ("F1", "whether the Eureka-moment comes within the budget"), WHEN: ("F2", "when it comes")}


@rule("{claim}", "The beginning of a run forecasts {what}.", part="better than a guess", above=GUESS, unit="{measure}")
def forecasts(judged: pd.DataFrame, question: str) -> Effect:
    """The interval over held-out runs of the {measure}, above {threshold:g}.

    The measure is the AUC (whether) or the concordance index (when), of the predictor ``ALL``.
    """
    row, names = _forecast(judged, question)
    found = Estimate(row["value"], row["low"], row["high"])
    words = (
        f"{names['measure']} of {ALL} {found}, on the fitting runs {row['on fitting runs']:.2f}; "
        f"{row['EMs']} of {row['runs']} held-out runs have an EM"
    )
    return Effect([found], row["runs"], words, names, _enough(row))


@rule(
    "{claim}", "A look inside the network forecasts {what} better than the losses alone.",
    part="better than the losses", above=0, unit="difference in {measure}",
)  # fmt: skip
def tells_more_than_the_losses(judged: pd.DataFrame, question: str) -> Effect:
    """The interval over held-out runs of the paired difference of the {measure}, above 0.

    The measure of ``ALL`` minus that of ``BASELINE``, both fitted on the same runs and judged on
    the same resamples of the held-out ones.
    """
    row, names = _forecast(judged, question)
    found = Estimate(row["difference"], row["difference low"], row["difference high"])
    words = f"{names['measure']} of {ALL} minus that of {BASELINE}, which is {row['value'] - found.value:.2f}: {found}"
    return Effect([found], row["runs"], words, names, _enough(row))


def judge_forecasts(judged: pd.DataFrame) -> list[Row]:
    """All four rows: both parts of F1, then of F2."""
    return [judge(judged, question) for question in QUESTIONS for judge in (forecasts, tells_more_than_the_losses)]


def _forecast(judged: pd.DataFrame, question: str) -> tuple[dict, dict[str, str]]:
    """The judged predictor's row, and the names for the rules' texts."""
    row = judged[(judged["question"] == question) & (judged["predictor"] == ALL)].iloc[0].to_dict()
    claim, what = FORECASTS[question]
    return row, {"claim": claim, "what": what, "measure": QUESTIONS[question].measure}


def _enough(row: dict) -> bool:
    kinds = [row["EMs"]]
    if row["question"] == WHETHER:  # F2 compares EMs with each other, too
        kinds.append(row["runs"] - row["EMs"])
    return min(kinds) >= FEWEST_EACH


# ---- what the rules share


def step_text(median: float | None) -> str:
    """A median step in words; None: fewer than half of the runs had their EM."""
    return "median EM step " + ("not reached" if median is None else f"{median:.0f}")


def _censored(*groups: Sequence[Moment]) -> int:
    """How many runs of all the groups had no leap by the end of the budget."""
    return sum(not moment.happened for group in groups for moment in group)


def _leaps(runs: Sequence[Run], plateau: Plateau = ACCURACY, threshold: float | None = None) -> list[Moment]:
    return [plateau.leap(run, threshold) for run in runs]


def _counts(
    runs: Sequence[Run], baseline: Sequence[Run], plateau: Plateau = ACCURACY, whose: str = "softmax's "
) -> str:
    """How many of each have leapt, in words."""
    k, k0 = (sum(leap.happened for leap in _leaps(group, plateau)) for group in (runs, baseline))
    return f"{k} of {len(runs)} against {whose}{k0} of {len(baseline)}"


def _odds(runs: Sequence[Run], baseline: Sequence[Run], confidence: float = 0.95) -> list[Estimate]:
    """Odds ratio of an EM in the budget, under each EM threshold."""
    return [compare.odds_ratio(_leaps(runs, threshold=level), _leaps(baseline, threshold=level), confidence)
            for level in ACCURACY.thresholds]  # fmt: skip


def _rate(k: int, n: int) -> Estimate:
    """A share with its Wilson interval; not a number if there is nothing to count."""
    return Estimate(k / n, *wilson_interval(k, n)) if n else Estimate(math.nan, math.nan, math.nan)


def _at_once(moments: Sequence[Moment], budget: int) -> tuple[int, float]:
    """How many had their EM within ``AT_ONCE_SHARE`` of the budget, and that step."""
    limit = AT_ONCE_SHARE * budget
    return sum(moment.happened and moment.step <= limit for moment in moments), limit


def _bonferroni(comparisons: int) -> float:
    """The confidence of each of several intervals that makes 95 % for all of them together."""
    return 1 - 0.05 / max(comparisons, 1)


def _lost(runs: Sequence[Run]) -> int:
    """How many had their EM and are below its accuracy again at the end."""
    return sum(ACCURACY.leap(run).happened and run.final_accuracy < ACCURACY.thresholds[0] for run in runs)


def _final(runs: Sequence[Run]) -> list[float]:
    return [run.final_accuracy for run in runs]


def _estimated(estimate: Callable[..., Estimate], *samples: Sequence[float]) -> Estimate:
    """The estimate, without an interval if there are too few samples for one."""
    n = len(samples[0])
    if n >= FEWEST_RUNS:
        return estimate(*samples)
    return Estimate(estimate(*samples).value if n else math.nan, math.nan, math.nan)
