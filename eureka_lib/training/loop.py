"""The training loop. It knows neither task nor model: it takes batches, a loss and an optimiser, returns a history.

A history is a table with one row per evaluation: the step, the mean training loss since the row before, the learning
rate, and whatever ``evaluate`` measures. Anything else that has to happen, a temperature schedule or a live plot, is a
callback, so that looking on changes nothing.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

FINISHED, DIVERGED = "finished", "diverged"


@dataclass(frozen=True)
class Outcome:
    """What a training gave: its ``history``, and ``status``: "finished", or "diverged" if a loss was not finite."""

    history: pd.DataFrame
    status: str


def train(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    learning_rate: Callable[[int], float],
    steps: int,
    evaluate: Callable[[nn.Module], dict[str, float]],
    evaluate_every: int,
    before_step: Callable[[int], None] = lambda step: None,
    before_update: Callable[[int], None] = lambda step: None,
    on_evaluation: Callable[[pd.DataFrame], None] = lambda history: None,
) -> Outcome:
    """Train ``model`` in place for ``steps`` updates.

    ``batches`` yields (inputs, labels); ``loss(model(inputs), labels)`` is minimised at ``learning_rate(step)``.
    ``evaluate(model)`` runs in evaluation mode without gradients, before the first step, every ``evaluate_every`` steps
    and after the last. ``before_step`` is called before a step's forward pass, ``before_update`` between its backward
    pass and the update, when gradients are there to be seen or rescaled. A loss that is not finite ends the training
    with status "diverged" and the history so far.
    """
    rows, losses = [], []

    def look(step: int) -> None:
        model.eval()
        with torch.no_grad():
            metrics = evaluate(model)
        model.train()
        mean_loss = torch.stack(losses).mean().item() if losses else math.nan
        rows.append({"step": step, "train_loss": mean_loss, "learning_rate": learning_rate(step), **metrics})
        losses.clear()
        on_evaluation(pd.DataFrame(rows))

    look(0)
    for step, (inputs, labels) in zip(range(steps), batches, strict=False):
        before_step(step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        value = loss(model(inputs), labels)
        optimizer.zero_grad()
        value.backward()
        before_update(step)
        optimizer.step()
        losses.append(value.detach())
        if (step + 1) % evaluate_every == 0 or step + 1 == steps:
            diverged = not torch.stack(losses).isfinite().all()
            look(step + 1)
            if diverged:
                return Outcome(pd.DataFrame(rows), DIVERGED)
    return Outcome(pd.DataFrame(rows), FINISHED)
