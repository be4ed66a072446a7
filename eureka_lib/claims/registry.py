"""The claims, and the decorator that makes a rule's effect a row with a verdict.

A rule (:mod:`eureka_lib.claims.rules`) measures an effect; :func:`rule` holds its interval against a threshold. The
verdict is reproduced or, if the interval lies on the other side, not reproduced; undecided if it holds both answers;
not testable here if what the claim takes for granted is not seen (no plateau, so nothing to shorten). A verdict says
its scale: what a smaller profile than the paper's does not reproduce is not seen at this scale (:func:`at_scale`).
Each notebook saves its rows to ``figures/claims/<notebook>.json``, from which the scorecard, the claims' pages and the
gallery are made.
"""

import functools
import inspect
import json
import math
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import pandas as pd

from eureka_lib import paths
from eureka_lib.analysis.compare import Estimate

REPRODUCED, NOT_REPRODUCED, UNDECIDED = "reproduced", "not reproduced", "undecided"
NOT_TESTABLE = "not testable here"
NOT_SEEN = "not seen at this scale"  # what "not reproduced" is called at any other profile than the paper's
PAPER_PROFILE = "paper"
VERDICTS = {1: REPRODUCED, -1: NOT_REPRODUCED, 0: UNDECIDED}  # by the side of the threshold on which an interval lies
OWN_WORDS = {  # of a question of ours, which has no scale to fall short of
    REPRODUCED: "holds", NOT_REPRODUCED: "does not hold", UNDECIDED: UNDECIDED, NOT_TESTABLE: NOT_TESTABLE
}  # fmt: skip


VISION = ("a ViT of 7 layers, width 256, 197 tokens; 35,100 steps of batch 512 (300 epochs), in the published curves "
          "117,000 steps, 3 seeds")  # fmt: skip
UNKNOWN = "not known to us: no code for it was released"
BORN = "a ViT of up to 4 layers, width 256, 8 tokens; batch 512, 100 epochs; 5 seeds at each of three rates"
NOWHERE = "nobody has claimed it"


@dataclass(frozen=True)
class Claim:
    """What is claimed, in ``words``, and where; ``own`` marks a question of ours, whose verdicts are ``OWN_WORDS``.

    The other texts are for the scorecard and the claim's page; none of them has a number that a run could change.
    """

    words: str  # as the source has it
    source: str  # where it stands
    figure: str  # that shows it, unless a rule names another one
    own: bool = False
    short: str = ""  # ten words at most, to stand behind "that ..."
    did: str = ""  # what we did to judge it
    limits: str = ""  # what that does not show
    scale: str = NOWHERE  # at which it was made
    lead: str = ""  # what the rule asks whose number stands for the claim; none: the claim's first row

    @property
    def notebook(self) -> str:
        """The number of the notebook that judges it, or judges it first: its figures' names start with it."""
        return self.figure[:2]


CLAIMS = {  # in the order of the scorecard
    "C1": Claim(
        "the loss saturates for long, then some seeds improve abruptly, others never do",
        "abstract, figure of the training curves", "01_training_loss", scale=VISION,
        short="the loss waits on a plateau, then some seeds jump",
        did="Many seeds of a small ViT learn the two-step task: two digits, the indicators, decide which of two "
            "patterns is the label. Who reads both targets and guesses between them has a derived accuracy, "
            "0.55. One rule asks whether a seed lies there for at least a quarter of the budget, another one whether "
            "it then leaves in less time than it lay there.",
        limits="That some seeds *never* jump: no finite budget shows it, and who has not jumped by its end is "
               "censored. The waiting lasts some hundred to some thousand steps here, not hundreds of epochs."),
    "C2": Claim(
        "a ResNet has no such plateau", "abstract of v1, figure of the training curves", "01_survival", scale=VISION,
        short="a ResNet has no such plateau",
        did="A small ResNet learns the same task. The rule asks whether more than half of its seeds have their "
            "Eureka-moment at once, that is within 5 % of the ViT's budget; in the paper's curves the ResNet needs "
            "about 5,000 of 117,000 steps.",
        limits="Anything about a ResNet of the paper's width on its pictures. *At once* is a stricter demand where "
               "all is over within some thousand steps; how much sooner than the ViT it is stands beside the verdict "
               "and decides nothing."),
    "C3": Claim(
        "the plateau comes from the multi-step structure", "abstract", "02_single_steps", scale=VISION,
        short="the plateau comes from the task's several steps",
        did="The two-step task is held against each of its steps alone: the targets without indicators, the "
            "comparison of the indicators without targets. Linear probes, half-way to the Eureka-moment, ask what "
            "the network knows by then: the digits, and whether they are the same.",
        limits="What the network *uses*: a probe shows what can be read from it. The paper suspects the structure; "
               "that both steps together take longer than each alone is our way to ask."),
    "C4": Claim(
        "softmax starves W_Q and W_K of gradient while W_V gets plenty", "abstract", "07_ratios", scale=VISION,
        short="softmax starves queries and keys of gradient, values not",
        did="At kept weights along training we measure the gradients of W_Q, W_K and W_V and how even the attention "
            "is: on the plateau against afterwards, and softmax against NormSoftmax at the same steps and rates.",
        limits="That starving *causes* the plateau: it goes together with it. A cause would have to shorten the "
               "plateau when it is taken away, which is what [C5](C5.md) asks. AdamW divides a gradient by its own "
               "size, so a small one need not be a slow one."),
    "C5": Claim(
        "temperature matters; Heat Treatment and NormSoftmax alleviate the plateau", "abstract", "05_survival",
        scale=VISION, lead="earlier", short="temperature, Heat Treatment and NormSoftmax ease the plateau",
        did="Each fix against softmax in several regimes, each method at a learning rate of its own, tuned on other "
            "seeds with the same effort. What counts is the time to the Eureka-moment, min(EM, budget). Softmax at "
            "fixed temperatures is compared in the same way.",
        limits="What the fixes do at the paper's size, with 197 tokens and long budgets, at its rates; and that they "
               "help everywhere: the first regime was looked for, by pilots on other seeds, as one in which softmax "
               "has a long plateau; without one nothing can be said ([what tuning saw](../search/flagship.csv))."),
    "C6": Claim(
        "the fixes need fewer steps, are likelier to learn, more accurate, more robust to hyper-parameters",
        "abstract", "05_survival", scale=VISION, lead="fewer steps",
        short="the fixes are faster, likelier, more accurate, more robust",
        did="In the runs of [C5](C5.md): the steps to 95 % of softmax's final accuracy, how many seeds have their "
            "Eureka-moment, and the final accuracy. Robustness is the share of Eureka-moments over a grid of "
            "learning rates and weight decays.",
        limits="Independent answers: the parts share their runs. Where all of softmax's seeds jump, none can be "
               "likelier to; the final accuracy is that at the end of a short budget, not of a converged network."),
    "C7": Claim(
        "the same leaps exist in language modelling (RoBERTa), and the fixes help there", "abstract", "11_loss",
        scale=UNKNOWN, short="language models leap too, and the fixes help there",
        did="A small RoBERTa learns to guess hidden words of a text. A derived line says where it waits: at the loss "
            "of whoever knows only how frequent words are. Leap and fixes are judged as in C1 and C5.",
        limits="Anything about the size of a real RoBERTa, or another text; few seeds, one network."),
    "C8": Claim(
        "the same leaps exist in in-context learning (GPT-2), and the fixes help there", "abstract", "10_loss",
        scale=UNKNOWN, short="in-context learners leap too, and the fixes help there",
        did="A small GPT-2 learns linear regression from the examples in its prompt (Garg et al. 2022), without "
            "their curriculum, which hides the plateau. Leap and fixes are judged as in C1 and C5.",
        limits="Anything about longer prompts, larger networks or budgets; a slow fall within a short budget may be "
               "a leap within a long one."),
    "Z1": Claim(
        "not in the paper: today's attention variants shorten the plateau", "not in the paper", "13_verdicts",
        short="today's attention variants shorten the plateau",
        did="Attention variants of today and the fixes, on one bench against softmax, each at its own tuned rate. "
            "Intervals are widened for the number of methods (Bonferroni).",
        limits="Other sizes and tasks: it is one small regime, with few tokens, for which most of them were not "
               "made."),
    "Z2": Claim(
        "not in the paper: they remove it, so that at most half of softmax's time is left", "not in the paper",
        "13_verdicts", short="today's attention variants halve the plateau",
        did="The runs of [Z1](Z1.md), held against half of softmax's time.",
        limits="Other sizes and tasks, as for [Z1](Z1.md)."),
    "Z3": Claim(
        "Born et al. 2025: with QR's doubly stochastic attention more seeds jump than with softmax",
        "Born et al. 2025, table", "13_follow_up", scale=BORN, short="QR attention jumps in more seeds than softmax",
        did="The paper's follow-up in small: its methods and rates, several seeds of each, all rates taken together.",
        limits="The order of the other methods, and tuned rates: these are theirs, as they are."),
    "S1": Claim(
        "not in the paper: each step alone is learned at once", "our reading of the abstract", "02_single_steps",
        own=True,
        short="each step alone is learned at once",
        did="The rule of [C2](C2.md), for each step of the task alone.",
        limits="A claim of the paper's: it says less, namely [C3](C3.md)."),
    "F1": Claim(
        "not in the paper: the first tenth of a run forecasts whether the Eureka-moment comes", "our own question",
        "14_scores", own=True, short="a run's first tenth forecasts whether the jump comes",
        did="Early signs of some runs (losses, gradients, entropy) are fitted to what became of them; the forecast "
            "is judged on other runs.",
        limits="That nothing can be forecast: with so few runs a weak forecast cannot be told from a guess."),
    "F2": Claim(
        "not in the paper: the first tenth of a run forecasts when it comes", "our own question", "14_scores", own=True,
        short="a run's first tenth forecasts when the jump comes",
        did="As for [F1](F1.md), with the step of the Eureka-moment in the place of yes or no.",
        limits="That nothing can be forecast, as for [F1](F1.md)."),
}  # fmt: skip


PAPER = [claim for claim in CLAIMS if claim.startswith("C")]  # the paper's eight


@dataclass(frozen=True)
class Effect:
    """What a rule measured on ``n`` runs, in ``words``; ``estimates[0]`` is reported, all of them decide.

    ``names`` fill the braces in the rule's texts. If the runs are not ``enough``, nothing is decided; if they are not
    ``testable``, what the claim takes for granted is not seen in them. ``censored`` is how many runs had no
    Eureka-moment (or leap) by the end of the budget, None if the rule does not ask.
    """

    estimates: Sequence[Estimate]
    n: int
    words: str
    names: Mapping[str, object] = field(default_factory=dict)
    enough: bool = True
    testable: bool = True
    censored: int | None = None


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
    asks: str = ""  # what the rule asks, in a word or two: a claim's rows that ask the same are counted together
    unit: str = ""  # of the value: "share of seeds", "ratio of times" ...
    supports: str = ""  # the side of the threshold on which the claim has the value: "above 0.5"
    censored: int | None = None  # runs without an Eureka-moment by the end of the budget, if the rule knows

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.interval[0]

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.interval[1]


def side_of(
    interval: tuple[float, float], above: float | None = None, below: float | None = None, off: float | None = None
) -> int:
    """1 if the whole interval lies on the claimed side of a threshold, -1 if on the other one, else 0.

    0 also if it is not a number. The claim that a number lies ``off`` a threshold has no other side: no interval shows
    that nothing matters.
    """
    low, high = interval
    if off is not None:
        return int(low > off or high < off)
    if below is not None:
        low, high, above = -high, -low, -below
    return int(low > above) - int(high < above)


def agreed(sides: Collection[int]) -> int:
    """The side under several criteria for the same thing: 0 unless all of them give the same."""
    return min(sides) if len(set(sides)) == 1 else 0


def rule(
    claim: str, statement: str, *, part: str, unit: str, above: float | None = None, below: float | None = None,
    off: float | None = None, combine: Callable[[Collection[int]], int] = agreed, about: str = "", asks: str = "",
    figure: str = "", source: str = "",
) -> Callable[[Callable[..., Effect]], Callable[..., Row]]:  # fmt: skip
    """Make a function that measures an :class:`Effect` a rule of ``claim``, which gives a :class:`Row`.

    The effect's intervals are held against one of ``above``, ``below`` and ``off`` (:func:`side_of`). Where there are
    several, ``combine`` decides: all have to agree, ``min``: one that fails is enough against the claim, ``max``: one
    that holds is enough for it. The texts, and the docstring's first paragraph, which is the row's test, may have
    braces, which the effect's ``names`` fill. ``unit`` is that of the effect's numbers. Without ``figure`` and
    ``source`` the row has the claim's, without ``asks`` its part's name.
    """
    thresholds = {"above": above, "below": below, "other than": off}
    ((side, threshold),) = ((side, value) for side, value in thresholds.items() if value is not None)

    def decorate(measure: Callable[..., Effect]) -> Callable[..., Row]:
        test = " ".join((inspect.getdoc(measure) or "").split("\n\n")[0].split()).removeprefix("The ").removesuffix(".")

        @functools.wraps(measure)
        def judge(*args, **options) -> Row:
            effect = measure(*args, **options)
            names = {"threshold": threshold, **effect.names}
            known, reported = CLAIMS[claim.format(**names)], effect.estimates[0]
            sides = [side_of(estimate.interval, above, below, off) for estimate in effect.estimates]
            verdict = VERDICTS[combine(sides) if effect.enough else 0] if effect.testable else NOT_TESTABLE
            texts = {"claim": claim, "statement": statement, "test": test, "figure": figure or known.figure,
                     "part": part, "about": about, "asks": asks or part, "unit": unit}  # fmt: skip
            return Row(
                verdict=OWN_WORDS[verdict] if known.own else verdict, n=effect.n, effect=effect.words,
                value=reported.value, interval=reported.interval, threshold=float(threshold), profile="",
                source=source or known.source, supports=f"{side} {threshold:g}", censored=effect.censored,
                **{key: text.format(**names) for key, text in texts.items()},
            )  # fmt: skip

        return judge

    return decorate


def kind_of(verdict: str) -> str:
    """What a verdict says, whoever asked and at whichever scale: one of the keys of ``OWN_WORDS``."""
    return {NOT_SEEN: NOT_REPRODUCED, **{word: kind for kind, word in OWN_WORDS.items()}}.get(verdict, verdict)


def at_scale(row: Row, profile: str) -> Row:
    """The row of a profile's notebook: not reproduced is a word for the paper's scale only."""
    not_seen = row.verdict == NOT_REPRODUCED and profile != PAPER_PROFILE
    return replace(row, profile=profile, verdict=NOT_SEEN if not_seen else row.verdict)


def command(row: Row) -> str:
    """What repeats it: the notebook with the number of its figure, at its profile."""
    scale = [] if row.profile == paths.DEFAULT_PROFILE else ["--profile", row.profile]
    return shlex.join(["./run_all.sh", *scale, row.figure[:2]])


def save(rows: Sequence[Row], notebook: str, profile: str) -> Path:
    """Write a notebook's rows to ``claims/<notebook>.json`` in the profile's figures folder."""
    path = paths.figures_dir(profile) / "claims" / f"{notebook}.json"
    text = json.dumps([_as_json(at_scale(row, profile)) for row in rows], indent=2, allow_nan=False) + "\n"
    paths.write_if_changed(path, text.encode())
    return path


def load(path: Path) -> list[Row]:
    """The rows that :func:`save` wrote; ValueError if there are none in the file.

    Files of older versions, which lack the last fields and knew one word for all scales, are read, too.
    """
    try:
        rows = [Row(**row | {"interval": tuple(row["interval"])}) for row in json.loads(path.read_text("utf-8"))]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not hold claims ({error!r}); ./run_all.sh {path.stem} writes it") from error
    return [at_scale(row, row.profile) for row in rows]


def _as_json(row: Row) -> dict:
    """JSON has no infinity: where the data do not bound a number, it is null."""
    value, *interval = (number if math.isfinite(number) else None for number in (row.value, *row.interval))
    return {**asdict(row), "value": value, "interval": interval}


def table(rows: Sequence[Row], profile: str) -> pd.DataFrame:
    """The rows as a table to show: claim, verdict, what was measured, interval, its unit and the claim's side."""
    placed = [asdict(at_scale(row, profile)) for row in rows]
    shown = pd.DataFrame(placed, columns=[column.name for column in fields(Row)])
    shown["95 % interval"] = [f"{low:.2f} to {high:.2f}" for low, high in shown["interval"]]
    columns = ["statement", "verdict", "n", "effect", "95 % interval", "unit", "supports", "test", "profile"]
    return shown.set_index("claim")[columns]
