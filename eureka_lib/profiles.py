"""Three sizes of everything: a smoke test, a laptop's few minutes, and the paper.

A profile holds the experiments that the notebooks vary. Seeds from 0 on are *reported*; settings were chosen on seeds
from 1000 on, which no notebook reports.
"""

import os
from dataclasses import dataclass

from eureka_lib import paths
from eureka_lib.experiment import Experiment, TrainingConfig
from eureka_lib.models.resnet import ResNetConfig
from eureka_lib.models.vit import ViTConfig
from eureka_lib.tasks.two_step import TwoStepConfig
from eureka_lib.validation import check_choice, check_whole


@dataclass(frozen=True)
class Profile:
    """A size: its ``name``, the main task's ``vit`` and ``resnet`` experiments, and how many seeds are reported."""

    name: str
    vit: Experiment
    resnet: Experiment
    vit_seeds: int
    resnet_seeds: int


_DIGITS = TwoStepConfig(cell=8, pixel_mean=0.25, pixel_std=0.35)
_FEW_TOKENS = ViTConfig(patch=8, depth=3, width=64, heads=2, stochastic_depth=0.0, position_std=1.0)
_SMALL_RESNET = ResNetConfig(base_width=16, stem="small")
_MINUTE = TrainingConfig(
    steps=2400,
    batch_size=128,
    learning_rate=3e-4,
    learning_rate_schedule="constant",
    warmup_steps=40,
    precision="float32",
    evaluate_every=50,
    test_samples=2000,
)
_PAPER_TASK = TwoStepConfig(indicator_source="mnist", target_source="fashion_mnist", cell=28)

_LAPTOP_VIT = Experiment(_DIGITS, _FEW_TOKENS, _MINUTE)
_LAPTOP_RESNET = Experiment(_DIGITS, _SMALL_RESNET, _MINUTE).vary(steps=1200, learning_rate=3e-3)
_SMOKE = {"steps": 40, "batch_size": 32, "evaluate_every": 10, "warmup_steps": 5, "test_samples": 200}

PROFILES = {
    profile.name: profile
    for profile in (
        Profile("smoke", _LAPTOP_VIT.vary(**_SMOKE), _LAPTOP_RESNET.vary(base_width=4, **_SMOKE), 2, 2),
        Profile("laptop", _LAPTOP_VIT, _LAPTOP_RESNET, 12, 6),
        Profile("paper", Experiment(_PAPER_TASK), Experiment(_PAPER_TASK, ResNetConfig()), 5, 3),
    )
}


def get(name: str = "auto") -> Profile:
    """The profile of that name; "auto" takes the environment variable ``EUREKA_PROFILE``, or else laptop."""
    if name == "auto":
        name = os.environ.get("EUREKA_PROFILE", paths.DEFAULT_PROFILE)
    return PROFILES[check_choice("profile", name, PROFILES)]


def seeded(experiment: Experiment, n: int, default: int) -> list[Experiment]:
    """The experiment with the reported seeds 0 to n - 1; ``n`` 0 means ``default`` of them."""
    return [experiment.vary(seed=seed) for seed in range(check_whole("number of seeds", n) or default)]
