"""Training steps and whole sweeps beside straightforward ones, and steps with each attention beside softmax."""

import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from loky import cpu_count

from eureka_lib.attention.registry import short_label_of
from eureka_lib.benchmark.measure import Row, Setting, compare, threads
from eureka_lib.benchmark.straightforward import Straightforward
from eureka_lib.experiments import profiles
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.experiments.sweep import sweep
from eureka_lib.experiments.trainer import Training, device
from eureka_lib.store import RunStore

PAPER_BATCH = {"cpu": 4, "cuda": 512}
PAPER_PRECISION = {"cpu": "float32", "cuda": "bfloat16"}
SWEEP_BAR = 0.5  # of the straightforward sweep's time, or twice its runs per hour
SWEEP_PAIRS = 3  # at most, and none to warm up: a sweep is long, and starts its processes anew
ENDLESS = 10**6  # steps of a training that the benchmark will not see the end of


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


def step_rows(setting: Setting) -> Iterator[Row]:
    """A training step against a straightforward one, in the laptop's cheapest configuration and the paper's.

    The latter reads embedded digits, resized to its 28 pixels, so that nothing is downloaded; its batch is small on a
    CPU, where it also is float32, and its own on a GPU.
    """
    few = 2 if setting.smoke else 16
    paper = profiles.get("paper").vit.vary(
        indicator_source="digits", target_source="digits", depth=1 if setting.smoke else 7,
        batch_size=PAPER_BATCH[setting.device], precision=PAPER_PRECISION[setting.device],
    )  # fmt: skip
    on_paper = 1 if setting.device == "cpu" else few
    cases = {
        f"step, {setting.profile}": (profiles.get(setting.profile).cheap.base, few),
        "step, paper on digits": (paper, on_paper),
        "NormSoftmax step, paper on digits": (paper.vary(attention="norm_softmax"), on_paper),
    }
    for name, (experiment, n) in cases.items():
        name = f"{name}, batch {experiment.training.batch_size}"
        works = [partial(each(experiment, setting.device).steps, n) for each in (Library, Straightforward)]
        yield compare(setting, name, "straightforward step", *works)


def zoo_rows(setting: Setting) -> Iterator[Row]:
    """A training step with each of the zoo's attentions against one with softmax, at the laptop's size."""
    regime, n = profiles.get(setting.profile).zoo, 2 if setting.smoke else 16
    works = {name: partial(Library(regime.experiment(name), setting.device).steps, n) for name in regime.tuned}
    plain = works.pop("softmax")
    for name, work in works.items():
        yield compare(setting, short_label_of(name), "softmax", work, plain)


def sweep_rows(setting: Setting) -> Iterator[Row]:
    """The library's sweep against one seed after another, both on all cores.

    All train on the first GPU if there is one, whatever the setting's device, and evaluate equally often.
    """
    where, (n, steps) = device(), (1, 2) if setting.smoke else (8, 300)
    base = profiles.get(setting.profile).cheap.base.vary(steps=steps)
    experiments = profiles.seeded(base, n, n)
    baseline = f"straightforward, {cpu_count()} thread{'s' * (cpu_count() > 1)}"
    yield compare(
        replace(setting, device=where.type), f"sweep of {n} runs of {steps} steps", baseline,
        partial(swept, experiments), partial(in_turn, experiments, where), unmeasured=0,
        pairs=min(SWEEP_PAIRS, max(1, setting.pairs // 4)), bar=None if setting.smoke else SWEEP_BAR,
    )  # fmt: skip


def swept(experiments: Sequence[Experiment]) -> None:
    """The library's sweep by its defaults, into a store that is thrown away, without its lines of progress."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        sweep(experiments, store=RunStore(Path(folder)))


def in_turn(experiments: Sequence[Experiment], where: torch.device) -> None:
    """The straightforward sweep: train one after another, each operation on all cores."""
    with threads(cpu_count()):
        for experiment in experiments:
            Straightforward(experiment, where).train()
