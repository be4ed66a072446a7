"""Training steps beside straightforward ones, and with each attention beside softmax."""

from collections.abc import Iterator
from functools import partial
from typing import Protocol

import torch

from eureka_lib.attention.registry import short_label_of
from eureka_lib.benchmark.measure import Row, Setting, measure_pairs, seconds
from eureka_lib.benchmark.straightforward import Straightforward
from eureka_lib.experiments import profiles
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.experiments.trainer import Training

PAPER_BATCH = {"cpu": 4, "cuda": 512}
PAPER_PRECISION = {"cpu": "float32", "cuda": "bfloat16"}
ENDLESS = 10**6  # steps of a training that the benchmark will not see the end of


class Steps(Protocol):
    """A training that goes on when asked."""

    def steps(self, n: int) -> object:
        """Train ``n`` steps."""


class Library:
    """A training as the library puts it together, without its evaluations."""

    def __init__(self, experiment: Experiment, where: torch.device | str):
        endless = experiment.vary(steps=ENDLESS)
        task = endless.build_task(where)
        self.trainer = Training(endless, task, task.test_set(1)).trainer
        self.trainer.evaluate = lambda model: {}
        self.taken = 0

    def steps(self, n: int) -> None:
        """Train ``n`` steps."""
        self.taken += n
        self.trainer.fit(self.taken, self.taken)


def compare(setting: Setting, name: str, baseline: str, ours: Steps, other: Steps, n: int) -> Row:
    """The row of the times that ``n`` steps take."""
    cost, work = partial(seconds, device=setting.device), [partial(each.steps, n) for each in (ours, other)]
    return Row(name, baseline, **measure_pairs(cost, *work, setting.pairs))


def step_rows(setting: Setting) -> Iterator[Row]:
    """A training step against a straightforward one, in the laptop's cheapest configuration and the paper's.

    The latter reads embedded digits, resized to its 28 pixels, so that nothing is downloaded; its batch is small on a
    CPU, where it also is float32, and its own on a GPU.
    """
    device, few = setting.device, 2 if setting.smoke else 16
    paper = profiles.get("paper").vit.vary(
        indicator_source="digits", target_source="digits", depth=1 if setting.smoke else 7,
        batch_size=PAPER_BATCH[device], precision=PAPER_PRECISION[device],
    )  # fmt: skip
    on_paper = 1 if device == "cpu" else few
    cases = {
        f"step, {setting.profile}": (profiles.get(setting.profile).cheap.base, few),
        "step, paper on digits": (paper, on_paper),
        "NormSoftmax step, paper on digits": (paper.vary(attention="norm_softmax"), on_paper),
    }
    for name, (experiment, n) in cases.items():
        ours, plain = Library(experiment, device), Straightforward(experiment, device)
        name = f"{name}, batch {experiment.training.batch_size}"
        yield compare(setting, name, "straightforward step", ours, plain, n)


def zoo_rows(setting: Setting) -> Iterator[Row]:
    """A training step with each of the zoo's attentions against one with softmax, at the laptop's size."""
    regime = profiles.get(setting.profile).zoo
    plain = Library(regime.experiment("softmax"), setting.device)
    for method in regime.tuned:
        if method != "softmax":
            ours = Library(regime.experiment(method), setting.device)
            yield compare(setting, short_label_of(method), "softmax", ours, plain, 2 if setting.smoke else 16)
