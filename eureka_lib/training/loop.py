"""The training loop. It knows neither task nor model: it takes batches, a loss and an optimiser, returns a history.

A history is a table with one row per evaluation: the step, the mean training loss since the row before, the learning
rate, and whatever ``evaluate`` measures. Anything else that has to happen, a temperature schedule or a live plot, is a
callback, so that looking on changes nothing. Several trainings of the same shape go through the loop together
(:func:`train_together`), each a :class:`Trainee` with its own data, optimiser and history; one alone is the special
case.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor, nn

FINISHED, DIVERGED = "finished", "diverged"


@dataclass(frozen=True)
class Outcome:
    """What a training gave: its ``history``, and ``status``: "finished", or "diverged" if a loss was not finite."""

    history: pd.DataFrame
    status: str


@dataclass
class Trainee:
    """One training: a model, which is changed in place, and all that belongs to it alone.

    ``batches`` yields (inputs, labels); ``learning_rate(step)`` is set before each step. ``evaluate(model)`` runs in
    evaluation mode without gradients, before the first step, every ``evaluate_every`` steps and after the last.
    ``before_step`` is called before a step's forward pass, ``before_update`` between its backward pass and the update,
    when gradients are there to be seen or rescaled, ``on_evaluation`` with the history so far after every evaluation.
    ``rows`` is the history so far, to be continued.
    """

    model: nn.Module
    batches: Iterator[tuple[Tensor, Tensor]]
    optimizer: torch.optim.Optimizer
    learning_rate: Callable[[int], float]
    evaluate: Callable[[nn.Module], dict[str, float]]
    before_step: Callable[[int], None] = lambda step: None
    before_update: Callable[[int], None] = lambda step: None
    on_evaluation: Callable[[pd.DataFrame], None] = lambda history: None
    rows: list[dict[str, float]] = field(default_factory=list)
    status: str = FINISHED
    losses: list[Tensor] = field(default_factory=list)  # of the steps since the last evaluation

    def look(self, step: int) -> None:
        """Evaluate, and add a row to the history."""
        self.model.eval()
        with torch.no_grad():
            metrics = self.evaluate(self.model)
        self.model.train()
        mean_loss = torch.stack(self.losses).mean().item() if self.losses else math.nan
        if self.losses and not torch.stack(self.losses).isfinite().all():
            self.status = DIVERGED
        self.losses.clear()
        self.rows.append({"step": step, "train_loss": mean_loss, "learning_rate": self.learning_rate(step), **metrics})
        self.on_evaluation(pd.DataFrame(self.rows))

    def update(self, step: int, loss: Tensor) -> None:
        """Take one step with the gradients that are there."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        self.before_update(step)
        self.optimizer.step()
        self.losses.append(loss.detach())


Forward = Callable[[Sequence[nn.Module], Sequence[Tensor]], Sequence[Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]


def one_by_one(models: Sequence[nn.Module], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Each model's output for its own inputs."""
    return [model(given) for model, given in zip(models, inputs, strict=True)]


def train_together(
    trainees: Sequence[Trainee], loss: Loss, steps: int, evaluate_every: int, forward: Forward = one_by_one
) -> list[Outcome]:
    """Train all ``trainees`` in place up to step ``steps``, in lockstep; an outcome for each, in their order.

    ``forward`` maps their models and inputs to their outputs; each one's ``loss(outputs, labels)`` is minimised. A loss
    that is not finite ends that training, with status "diverged" and the history so far, and no other. A trainee whose
    ``rows`` are not empty is continued from the step of the last one; all must stand at the same step.
    """
    start = trainees[0].rows[-1]["step"] if trainees[0].rows else 0
    if not start:
        for trainee in trainees:
            trainee.look(0)
    active = list(trainees)
    for step in range(start, steps):
        for trainee in active:
            trainee.before_step(step)
            trainee.optimizer.zero_grad()
        inputs, labels = zip(*(next(trainee.batches) for trainee in active), strict=True)
        outputs = forward([trainee.model for trainee in active], inputs)
        losses = [loss(output, truth) for output, truth in zip(outputs, labels, strict=True)]
        sum(losses[1:], losses[0]).backward()
        for trainee, value in zip(active, losses, strict=True):
            trainee.update(step, value)
        if (step + 1) % evaluate_every == 0 or step + 1 == steps:
            for trainee in active:
                trainee.look(step + 1)
            active = [trainee for trainee in active if trainee.status != DIVERGED]
            if not active:
                break
    return [Outcome(pd.DataFrame(trainee.rows), trainee.status) for trainee in trainees]
