"""Three sizes of everything: a smoke test, a laptop's few minutes, and the paper.

A profile holds the experiments that the notebooks vary. Seeds below 1000 are *reported*; settings were chosen on seeds
from 1000 on, which no notebook reports.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from eureka_lib import paths
from eureka_lib.attention.gradient_scaling import GRADIENT_SCALINGS
from eureka_lib.attention.registry import METHODS, changes_of
from eureka_lib.experiments.experiment import Experiment, TrainingConfig
from eureka_lib.models.gpt2 import InContextGPT2Config
from eureka_lib.models.resnet import ResNetConfig
from eureka_lib.models.roberta import RobertaConfig
from eureka_lib.models.vit import ViTConfig
from eureka_lib.tasks.in_context import InContextConfig
from eureka_lib.tasks.language import LanguageConfig
from eureka_lib.tasks.two_step import TwoStepConfig
from eureka_lib.tasks.variants import TASKS
from eureka_lib.validation import check_choice, check_whole


@dataclass(frozen=True)
class Regime:
    """A task and a model at one size, in which methods are compared.

    ``base`` is the experiment that methods change; ``tuned`` what tuning found for each method, on seeds from 1000 on
    and with the same number of tried settings for all; ``seeds`` how many seeds are reported, or ``fewer`` of a method,
    counted from ``first_seed``.
    """

    name: str
    base: Experiment
    tuned: dict[str, dict[str, float]]
    seeds: int
    fewer: dict[str, int] = field(default_factory=dict)
    first_seed: int = 0

    def experiment(self, method: str) -> Experiment:
        """The experiment of a method, with its tuned settings; ValueError for an unknown method."""
        changes = changes_of(check_choice("method", method, self.tuned))
        return self.base.vary(**{**changes, **self.tuned[method]})

    def groups(self, methods: Sequence[str] = (), seeds: int = 0) -> dict[str, list[Experiment]]:
        """Experiments by method, softmax first, for those of ``methods`` that are tuned here (none given: all of them).

        ``seeds`` 0 means as many as usual. Raises ValueError for a name that is no method at all.
        """
        wanted = [check_choice("method", name, METHODS) for name in methods] or list(self.tuned)
        chosen = ["softmax", *(name for name in wanted if name in self.tuned and name != "softmax")]
        usual = {name: self.fewer.get(name, self.seeds) for name in chosen}
        return {name: seeded(self.experiment(name), seeds, n, self.first_seed) for name, n in usual.items()}


@dataclass(frozen=True)
class Gallery:
    """One ViT and one ResNet that all tasks are given to, each with one learning rate for all, and the reported seeds.

    ``changes`` is what a task needs beyond its name, such as another image source.
    """

    networks: dict[str, Experiment]
    seeds: int
    changes: dict[str, dict[str, str]] = field(default_factory=dict)

    def experiment(self, network: str, task: str) -> Experiment:
        """The experiment of a network on a task; ValueError for an unknown one of either."""
        base = self.networks[check_choice("network", network, self.networks)]
        return base.vary(task=task, **self.changes.get(task, {}))

    def groups(self, network: str, tasks: Sequence[str] = (), seeds: int = 0) -> dict[str, list[Experiment]]:
        """Experiments of a network by task, for ``tasks`` (none given: all); ``seeds`` 0 means as many as usual."""
        return {task: seeded(self.experiment(network, task), seeds, self.seeds) for task in tasks or TASKS}


FITTING, HELD_OUT = "fitting", "held out"
FIRST_FITTING_SEED = 2000


@dataclass(frozen=True)
class Forecast:
    """Runs whose end is forecast from their beginning: as many ``seeds`` to fit the forecast as are held out.

    The held-out seeds are reported, so they count from 0; those to fit it count from ``FIRST_FITTING_SEED``.
    """

    base: Experiment
    seeds: int

    @property
    def weights_every(self) -> int:
        """A tenth of the budget: the earliest step at which a forecast can ask a probe."""
        return self.base.training.steps // 10

    def groups(self, seeds: int = 0) -> dict[str, list[Experiment]]:
        """The experiments to fit the forecast, and those held out; ``seeds`` 0 means as many as usual of each."""
        held_out = seeded(self.base, seeds, self.seeds)
        fitting = [self.base.vary(seed=FIRST_FITTING_SEED + e.model_seed) for e in held_out]
        return {FITTING: fitting, HELD_OUT: held_out}


@dataclass(frozen=True)
class RateTable:
    """The follow-up's table: every method at every learning rate, none of them tuned, and the reported seeds."""

    base: Experiment
    methods: tuple[str, ...]
    rates: tuple[float, ...]
    seeds: int

    def groups(self, seeds: int = 0) -> dict[tuple[str, float], list[Experiment]]:
        """Experiments by method and learning rate; ``seeds`` 0 means as many as usual."""
        return {
            (method, rate): seeded(self.base.vary(**changes_of(method), learning_rate=rate), seeds, self.seeds)
            for method in self.methods
            for rate in self.rates
        }


@dataclass(frozen=True)
class Profile:
    """A size: Figure 1's ``vit`` and ``resnet`` with the numbers of their reported seeds, and its regimes.

    Those seeds count from ``first_seed``. ``live`` is a run that one can watch.
    ``regimes`` are those in which methods are compared, the one closest to the paper first, the cheapest last.
    ``gallery`` gives all tasks to the same two networks. Of ``vit`` the notebooks on gradients and on probes take
    ``dissected`` runs apart, which keep their weights every ``weights_every`` steps, and one of them every
    ``film_every``. ``in_context`` is the
    regime of in-context learning, ``language`` that of masked language modelling. In ``zoo`` today's attention is
    compared with the paper's; ``follow_up`` is the table of the paper's follow-up.
    ``forecast`` is for many seeds of one experiment, of which only some jump.
    """

    name: str
    live: Experiment
    vit: Experiment
    resnet: Experiment
    vit_seeds: int
    resnet_seeds: int
    first_seed: int
    regimes: tuple[Regime, ...]
    gallery: Gallery
    dissected: int
    weights_every: int
    film_every: int
    in_context: Regime
    language: Regime
    zoo: Regime
    follow_up: RateTable
    forecast: Forecast

    @property
    def cheap(self) -> Regime:
        """The regime for sweeps and grids."""
        return self.regimes[-1]


# Real digits of 8 x 8 pixels, one token a cell.
DIGITS = TwoStepConfig(cell=8, pixel_mean=0.25, pixel_std=0.35)
DIGITS_VIT = Experiment(
    DIGITS,
    ViTConfig(patch=8, depth=3, width=64, heads=2, stochastic_depth=0.0, position_std=1.0),
    TrainingConfig(
        steps=2400,
        batch_size=128,
        learning_rate=3e-4,
        learning_rate_schedule="constant",
        warmup_steps=40,
        precision="float32",
        evaluate_every=50,
        test_samples=1000,
    ),
)
# Random patterns of 6 x 6 pixels: nothing to recognise. One token a cell.
PATTERNS = TwoStepConfig("two_step", "patterns", "patterns", cell=6, pixel_mean=0.5, pixel_std=0.25)
PATTERNS_4 = replace(DIGITS_VIT, task=PATTERNS).vary(
    patch=6, learning_rate=5e-4, batch_size=64, steps=600, evaluate_every=25, test_samples=500
)
# Cheap, and only some of the seeds jump: what python -m eureka_lib.benchmark.search forecast_regimes chose. As in the
# paper, the warm-up is a fiftieth of the budget.
PATTERNS_FORECAST = PATTERNS_4.vary(
    depth=2, heads=4, position_std=0.5, learning_rate=1e-3, warmup_steps=12, evaluate_every=10
)
PAPER_VIT = Experiment(TwoStepConfig(indicator_source="mnist", target_source="fashion_mnist", cell=28))
PAPER_RESNET = replace(PAPER_VIT, model=ResNetConfig())

# What python -m eureka_lib.benchmark.search tuning found; the paper's are its documented runs'.
TUNED_4 = {
    "softmax": {"learning_rate": 0.002},
    "norm_softmax": {"learning_rate": 0.004},
    "norm_softmax_var": {"learning_rate": 0.002},
    "heat_treatment": {"learning_rate": 0.002},
    "to_block_mean": {"learning_rate": 0.002},
    "to_value_mean": {"learning_rate": 0.004},
    "to_value_mean_per_head": {"learning_rate": 0.002},
}
# What python -m eureka_lib.benchmark.search zoo found.
TUNED_ZOO = {
    "softmax1": {"learning_rate": 0.001},
    "attention_sink": {"learning_rate": 0.002},
    "scalable_softmax": {"learning_rate": 0.002},
    "learnable_temperature": {"learning_rate": 0.004},
    "qk_norm": {"learning_rate": 0.002},
    "sigmoid": {"learning_rate": 0.002},
    "sparsemax": {"learning_rate": 0.002},
    "entmax15": {"learning_rate": 0.002},
    "sinkhorn": {"learning_rate": 0.004},
    "qr": {"learning_rate": 0.002},
}
PAPERS = ("softmax", "norm_softmax", "heat_treatment")  # the paper's methods that the zoo is held against
LAPTOP_ZOO = {method: TUNED_4[method] for method in PAPERS} | TUNED_ZOO
TUNED_PAPER = {
    "softmax": {"learning_rate": 5e-4},
    "norm_softmax": {"learning_rate": 1e-5},
    "norm_softmax_var": {"learning_rate": 1e-5},
    "heat_treatment": {"learning_rate": 1e-4},
}

PAPER_REGIME = Regime("paper", PAPER_VIT, TUNED_PAPER, seeds=5)
# At the paper's scale nothing was tuned for the zoo: all have softmax's rate there. QR is of no use where there are 197
# tokens and 64 features per head.
PAPER_ZOO = {method: TUNED_PAPER[method] for method in PAPERS}
PAPER_ZOO |= {method: TUNED_PAPER["softmax"] for method in TUNED_ZOO if method != "qr"}

# Born et al.'s table (2025): their task, patches, depth, batch, epochs and rates. The rest is not known to us; ours are
# the paper's warm-up, cosine, weight decay and label smoothing, and the network's width, heads and initial weights.
FOLLOW_UP_METHODS = ("softmax", "norm_softmax_var", "sinkhorn", "qr")
FOLLOW_UP_RATES = (1e-3, 7e-4, 5e-4)
PAPER_FOLLOW_UP = PAPER_VIT.vary(
    patch=14, patch_width=28, pooling="mean", depth=4, stochastic_depth=0.0, steps=100 * 117
)
# The same in small, half a cell is 3 x 6 pixels. Budget and source were chosen on seeds 1000 and 1001: in 1,000 steps
# QR sometimes leaves the plateau on patterns, and not on digits.
LAPTOP_FOLLOW_UP = replace(
    DIGITS_VIT,
    task=PATTERNS,
).vary(
    patch=3, patch_width=6, pooling="mean", depth=2, heads=4, steps=1000, batch_size=64, evaluate_every=25,
    test_samples=500,
)  # fmt: skip

# The flagship: the follow-up's network in small, with two sources as in the paper. Digits are recognised and compared,
# patterns are targets; a token is half a cell. With mean pooling the tokens of the targets answer for themselves, and
# only the comparison needs attention.
FLAGSHIP = LAPTOP_FOLLOW_UP.vary(
    indicator_source="digits", cell=8, pixel_mean=0.4, pixel_std=0.3, patch=4, patch_width=8, steps=4000,
    evaluate_every=50,
)  # fmt: skip
# Both with a budget in which softmax leaves the plateau at all; python -m eureka_lib.benchmark.search flagship_budgets.
FLAGSHIP_VIT = FLAGSHIP.vary(steps=10_000, learning_rate=1e-3)
FLAGSHIP_RESNET = replace(FLAGSHIP, model=ResNetConfig(base_width=16, stem="small")).vary(
    steps=2000, learning_rate=1e-3
)

# Linear functions in context: Garg et al.'s standard setting without its curriculum, and a smaller one. Adam is AdamW
# without weight decay.
PAPER_IN_CONTEXT = Experiment(
    InContextConfig(),
    InContextGPT2Config(),
    TrainingConfig(
        steps=500_000,
        batch_size=64,
        learning_rate=1e-4,
        learning_rate_schedule="constant",
        warmup_steps=0,
        weight_decay=0.0,
        label_smoothing=0.0,
        precision="float32",
        evaluate_every=2000,
        test_samples=1000,
    ),
)
LAPTOP_IN_CONTEXT = PAPER_IN_CONTEXT.vary(
    dimensions=4,
    points=9,
    depth=3,
    width=32,
    heads=4,
    position_std=1.0,
    learning_rate=2e-3,
    warmup_steps=20,
    steps=1800,
    evaluate_every=50,
    test_samples=500,
)
# What python -m eureka_lib.benchmark.search in_context found. At the paper's scale nothing was tuned: the rate is Garg
# et al.'s.
TUNED_IN_CONTEXT = {
    "softmax": {"learning_rate": 0.002},
    "norm_softmax": {"learning_rate": 0.002},
    "heat_treatment": {"learning_rate": 0.002},
}
PAPER_TUNED_IN_CONTEXT = {method: {"learning_rate": 1e-4} for method in TUNED_IN_CONTEXT}

# RoBERTa-base on WikiText-103 with the rates, decay and dropout of its authors' recipe for that text (fairseq's
# examples/roberta); batches are 64 instead of their 2,048, for one GPU, steps and warm-up fewer by four, and the rate
# falls along a cosine instead of a line.
PAPER_LANGUAGE = Experiment(
    LanguageConfig(),
    RobertaConfig(),
    TrainingConfig(
        steps=31_250,
        batch_size=64,
        learning_rate=5e-4,
        warmup_steps=2500,
        weight_decay=0.01,
        label_smoothing=0.0,
        evaluate_every=250,
        test_samples=500,
    ),
)
LAPTOP_LANGUAGE = PAPER_LANGUAGE.vary(
    corpus="docstrings", vocabulary=512, tokens=24, depth=2, width=64, heads=4, mlp_ratio=2.0, dropout=0.0,
    weight_std=0.07,  # as RoBERTa-base's 0.02 at its width: 0.02 * sqrt(768 / 64)
    steps=1400, batch_size=96, learning_rate=2e-3, learning_rate_schedule="constant", warmup_steps=50,
    precision="float32", evaluate_every=25, test_samples=500,
)  # fmt: skip
# What python -m eureka_lib.benchmark.search language found. At the paper's scale nothing was tuned: all have the
# recipe's rate.
TUNED_LANGUAGE = {
    "softmax": {"learning_rate": 0.002},
    "norm_softmax": {"learning_rate": 0.004},
    "heat_treatment": {"learning_rate": 0.002},
}
PAPER_TUNED_LANGUAGE = {method: {"learning_rate": 5e-4} for method in TUNED_LANGUAGE}

# What python -m eureka_lib.benchmark.search flagship found.
TUNED_FLAGSHIP = {
    "softmax": {"learning_rate": 0.004},
    "norm_softmax": {"learning_rate": 0.0005},
    "norm_softmax_var": {"learning_rate": 0.001},
    "heat_treatment": {"learning_rate": 0.0005},
}
LAPTOP_REGIMES = (
    # Seeds 0 to 4 were seen in the follow-up's table, which is this network's.
    Regime("digits and patterns, 8 tokens", FLAGSHIP, TUNED_FLAGSHIP, seeds=40, first_seed=100),
    Regime("patterns, 4 tokens", PATTERNS_4, TUNED_4, seeds=20, fewer=dict.fromkeys(GRADIENT_SCALINGS, 10)),
)
LAPTOP_GALLERY = Gallery(
    {
        "softmax": DIGITS_VIT.vary(steps=1200, learning_rate=2e-3),
        "resnet9": replace(DIGITS_VIT, model=ResNetConfig(base_width=8, stem="small")).vary(
            steps=700, batch_size=64, learning_rate=2e-3
        ),
    },
    seeds=5,
)
# All of same_colour's cells are digits; the other tasks' targets are items.
PAPER_SOURCES = {
    "same_colour": {"target_source": "mnist"},
    "natural_indicators": {"indicator_source": "cifar10", "target_source": "mnist", "item_source": "fashion_mnist"},
}


def _smoke(experiment: Experiment) -> Experiment:
    """The same, a second long."""
    return experiment.vary(steps=40, batch_size=32, evaluate_every=10, warmup_steps=5, test_samples=200)


PROFILES = {
    "smoke": Profile(
        name="smoke",
        live=_smoke(DIGITS_VIT),
        vit=_smoke(FLAGSHIP_VIT),
        resnet=_smoke(FLAGSHIP_RESNET).vary(base_width=4),
        vit_seeds=2,
        resnet_seeds=2,
        first_seed=0,
        regimes=tuple(replace(regime, base=_smoke(regime.base), seeds=2, fewer={}) for regime in LAPTOP_REGIMES),
        gallery=Gallery({name: _smoke(network) for name, network in LAPTOP_GALLERY.networks.items()}, seeds=1),
        dissected=2,
        weights_every=10,
        film_every=5,
        in_context=Regime("in context", _smoke(LAPTOP_IN_CONTEXT), TUNED_IN_CONTEXT, seeds=2),
        language=Regime("language", _smoke(LAPTOP_LANGUAGE).vary(documents=40), TUNED_LANGUAGE, seeds=2),
        zoo=Regime("zoo", _smoke(PATTERNS_4), LAPTOP_ZOO, seeds=2),
        follow_up=RateTable(_smoke(LAPTOP_FOLLOW_UP), FOLLOW_UP_METHODS, FOLLOW_UP_RATES, seeds=1),
        forecast=Forecast(_smoke(PATTERNS_FORECAST).vary(evaluate_every=2), seeds=3),
    ),
    "laptop": Profile(
        name="laptop",
        live=DIGITS_VIT,
        vit=FLAGSHIP_VIT,
        resnet=FLAGSHIP_RESNET,
        vit_seeds=12,
        resnet_seeds=6,
        first_seed=100,
        regimes=LAPTOP_REGIMES,
        gallery=LAPTOP_GALLERY,
        dissected=6,
        weights_every=2000,
        film_every=500,
        in_context=Regime("in context", LAPTOP_IN_CONTEXT, TUNED_IN_CONTEXT, seeds=10),
        language=Regime("language", LAPTOP_LANGUAGE, TUNED_LANGUAGE, seeds=6),
        zoo=Regime("zoo", PATTERNS_4, LAPTOP_ZOO, seeds=10),
        follow_up=RateTable(LAPTOP_FOLLOW_UP, FOLLOW_UP_METHODS, FOLLOW_UP_RATES, seeds=5),
        forecast=Forecast(PATTERNS_FORECAST, seeds=40),
    ),
    "paper": Profile(
        name="paper",
        live=PAPER_VIT,
        vit=PAPER_VIT,
        resnet=PAPER_RESNET,
        vit_seeds=5,
        resnet_seeds=3,
        first_seed=0,
        regimes=(PAPER_REGIME,),
        gallery=Gallery({"softmax": PAPER_VIT, "resnet9": PAPER_RESNET}, 5, PAPER_SOURCES),
        dissected=5,
        weights_every=3510,  # thirty epochs
        film_every=1170,
        in_context=Regime("in context", PAPER_IN_CONTEXT, PAPER_TUNED_IN_CONTEXT, seeds=5),
        language=Regime("language", PAPER_LANGUAGE, PAPER_TUNED_LANGUAGE, seeds=3),
        zoo=Regime("zoo", PAPER_VIT, PAPER_ZOO, seeds=10),
        follow_up=RateTable(PAPER_FOLLOW_UP, FOLLOW_UP_METHODS, FOLLOW_UP_RATES, seeds=5),
        forecast=Forecast(PAPER_VIT, seeds=20),
    ),
}


def get(name: str = "auto") -> Profile:
    """The profile of that name; "auto" takes the environment variable ``EUREKA_PROFILE``, or else laptop."""
    if name == "auto":
        name = os.environ.get("EUREKA_PROFILE", paths.DEFAULT_PROFILE)
    return PROFILES[check_choice("profile", name, PROFILES)]


def seeded(experiment: Experiment, n: int, default: int, first: int = 0) -> list[Experiment]:
    """The experiment with ``n`` reported seeds from ``first`` on; ``n`` 0 means ``default`` of them."""
    seeds = range(first, first + (check_whole("number of seeds", n) or default))
    return [experiment.vary(seed=seed) for seed in seeds]
