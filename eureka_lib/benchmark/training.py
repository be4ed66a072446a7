"""Training steps: beside straightforward ones, taken apart, compiled, and beside the processor's own limit.

The configurations are the laptop's cheapest and the paper's. The latter runs on embedded digits, resized to its 28
pixels, so that nothing is downloaded; its batch is small on a CPU, where it also is float32, and its own on a GPU.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from loky import cpu_count
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from eureka_lib.attention.registry import short_label_of
from eureka_lib.benchmark.measure import Row, Setting, Work, measure_pairs, seconds, threads
from eureka_lib.benchmark.straightforward import Straightforward
from eureka_lib.experiments import profiles
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.experiments.trainer import Training

PAPER_BATCH = {"cpu": 4, "cuda": 512}
PAPER_PRECISION = {"cpu": "float32", "cuda": "bfloat16"}
MATRIX = {"cpu": 2048, "cuda": 8192}  # rows and columns of the product that shows the processor's rate
ENDLESS = 10**6  # steps of a training that the benchmark will not see the end of


class Case(NamedTuple):
    """An experiment to take steps of, ``n`` in one measurement."""

    name: str
    experiment: Experiment
    n: int


def cases(setting: Setting) -> list[Case]:
    """The laptop's configuration and the paper's."""
    device, sizes = setting.device, setting.sizes
    laptop = profiles.get(sizes.profile).cheap.base
    paper = profiles.get("paper").vit.vary(
        indicator_source="digits", target_source="digits", depth=sizes.paper_depth,
        batch_size=PAPER_BATCH[device], precision=PAPER_PRECISION[device],
    )  # fmt: skip
    return [
        Case(f"{sizes.profile}, batch {laptop.training.batch_size}", laptop, sizes.steps),
        Case(f"paper on digits, batch {PAPER_BATCH[device]}", paper, 1 if device == "cpu" else sizes.steps),
    ]


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

    def batch(self) -> tuple[Tensor, Tensor]:
        """Compose the next images (B, 3, h, h) and labels (B,)."""
        return next(self.trainer.batches)

    def passes(self, images: Tensor, labels: Tensor) -> Tensor:
        """Forward and backward pass; returns the loss."""
        self.trainer.optimizer.zero_grad()
        loss = self.trainer.loss(self.trainer.model(images), labels)
        loss.backward()
        return loss

    def update(self) -> None:
        """Take a step with the gradients that are there."""
        self.trainer.optimizer.step()


def compare(setting: Setting, name: str, baseline: str, work: Work, other: Work) -> Row:
    """The row of two works' times."""
    return Row(name, baseline, **measure_pairs(partial(seconds, device=setting.device), work, other, setting.pairs))


def step_rows(setting: Setting) -> Iterator[Row]:
    """A whole training step against a straightforward one; bfloat16 and a second thread against without."""
    for name, experiment, n in cases(setting):
        methods = {"training step": experiment}
        if "paper" in name:
            methods["NormSoftmax step"] = experiment.vary(attention="norm_softmax")
        for method, chosen in methods.items():
            ours, plain = Library(chosen, setting.device), Straightforward(chosen, setting.device)
            work = partial(ours.steps, n)
            yield compare(setting, f"{method}, {name}", "straightforward step", work, partial(plain.steps, n))
        low, full = (Library(experiment.vary(precision=p), setting.device) for p in ("bfloat16", "float32"))
        yield compare(setting, f"bfloat16, {name}", "float32", partial(low.steps, n), partial(full.steps, n))
        if setting.device == "cpu" and cpu_count() > 1:
            work = [partial(with_threads, count, partial(full.steps, n)) for count in (2, 1)]
            yield compare(setting, f"2 threads, {name}", "1 thread", *work)


def with_threads(n: int, work: Work) -> None:
    """Do ``work`` on ``n`` CPU threads."""
    with threads(n):
        work()


def zoo_rows(setting: Setting) -> Iterator[Row]:
    """A training step with each of the zoo's attentions against one with softmax, at the laptop's size."""
    regime = profiles.get(setting.sizes.profile).zoo
    plain = Library(regime.experiment("softmax"), setting.device)
    for method in regime.tuned:
        if method != "softmax":
            ours = Library(regime.experiment(method), setting.device)
            work = [partial(training.steps, setting.sizes.steps) for training in (ours, plain)]
            yield compare(setting, short_label_of(method), "softmax", *work)


def part_rows(setting: Setting) -> Iterator[Row]:
    """Where the time goes: each part of a step, ours and the straightforward, against a straightforward step."""
    for name, experiment, n in cases(setting):
        plain = Straightforward(experiment, setting.device)
        for whose, training in (("ours", Library(experiment, setting.device)), ("straightforward", plain)):
            batch = training.batch()
            training.passes(*batch)  # the update needs gradients
            parts = {"data": training.batch, "passes": partial(training.passes, *batch), "update": training.update}
            for part, work in parts.items():
                repeated = partial(repeat, n, work)
                label = f"{part}, {whose}, {name}"
                yield compare(setting, label, "straightforward step", repeated, partial(plain.steps, n))


def repeat(n: int, work: Work) -> None:
    """Do ``work`` ``n`` times."""
    for _ in range(n):
        work()


def compile_rows(setting: Setting) -> Iterator[Row]:
    """A step of a model under torch.compile against an eager one, and what compiling costs, in eager steps."""
    for name, experiment, n in cases(setting):
        compiled, eager = (Library(experiment, setting.device) for _ in range(2))
        compiled.trainer.model = torch.compile(compiled.trainer.model)
        eager.steps(1)
        clock = partial(seconds, device=setting.device)
        first = measure_pairs(clock, partial(compiled.steps, 1), partial(eager.steps, 1), pairs=1, unmeasured=0)
        yield Row(f"first compiled step, {name}", "eager step", **first)
        yield compare(setting, f"compiled step, {name}", "eager step", partial(compiled.steps, n),
                      partial(eager.steps, n))  # fmt: skip


def limit_rows(setting: Setting) -> Iterator[Row]:
    """The matrix products of a step at the rate of one large product, against the step: the share of it reached."""
    for name, experiment, n in cases(setting):
        precision = getattr(torch, experiment.training.precision)
        matrix = torch.randn(MATRIX[setting.device], MATRIX[setting.device], device=setting.device, dtype=precision)
        ours = Library(experiment, setting.device)
        row = compare(setting, f"products at full rate, {name}", "training step", lambda m=matrix: m @ m,
                      partial(ours.steps, n))  # fmt: skip
        share = n * step_flops(experiment, setting.device) / (2 * len(matrix) ** 3)
        yield replace(row, ratio=row.ratio * share, low=row.low * share, high=row.high * share)


def step_flops(experiment: Experiment, where: torch.device | str) -> int:
    """Floating-point operations of the matrix products in a step's forward and backward pass, attention naive."""
    training = Straightforward(experiment, where)
    with FlopCounterMode(display=False) as counter:
        training.passes(*training.batch())
    return counter.get_total_flops()
