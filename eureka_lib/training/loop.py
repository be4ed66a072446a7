"""The training loop. It knows neither task nor model: it takes batches, a loss and an optimiser, returns a history.

A history is a table with one row per evaluation: the step, the mean training loss since the row before, the learning
rate, and the metrics of ``evaluate``. All else, such as a temperature schedule or a live plot, is a callback.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor, nn

FINISHED, DIVERGED = "finished", "diverged"
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Trainer:
    """A training and its state; the model is changed in place.

    ``batches`` yields (inputs, labels), and ``loss(outputs, labels)`` is minimised; ``learning_rate(step)`` is set
    before each step. ``evaluate(model)`` runs in evaluation mode without gradients, before the first step, every
    ``evaluate_every`` steps and after the last. Callbacks: ``before_step`` before a step's forward pass,
    ``before_update`` between its backward pass and the update, when gradients are there to be seen or rescaled,
    ``on_evaluation`` with the history so far after every evaluation. ``rows`` is the history so far, to be continued.
    """

    model: nn.Module
    batches: Iterator[tuple[Tensor, Tensor]]
    loss: Loss
    optimizer: torch.optim.Optimizer
    learning_rate: Callable[[int], float]
    evaluate: Callable[[nn.Module], dict[str, float]]
    before_step: Callable[[int], None] = lambda step: None
    before_update: Callable[[int], None] = lambda step: None
    on_evaluation: Callable[[pd.DataFrame], None] = lambda history: None
    rows: list[dict[str, float]] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)  # of the steps since the last evaluation

    def fit(self, steps: int, evaluate_every: int) -> tuple[pd.DataFrame, str]:
        """Train up to step ``steps``, from that of the last row if there are any: the history, and how it ended.

        That is "finished", or "diverged" if a loss was not finite, which the next evaluation finds and ends it.
        """
        start = self.rows[-1]["step"] if self.rows else 0
        if not start:
            self.add_row(0)
        for step in range(start, steps):
            self.take_step(step)
            if (step + 1) % evaluate_every == 0 or step + 1 == steps:
                diverged = not torch.stack(self.losses).isfinite().all()
                self.add_row(step + 1)
                if diverged:
                    return pd.DataFrame(self.rows), DIVERGED
        return pd.DataFrame(self.rows), FINISHED

    def take_step(self, step: int) -> None:
        """One update."""
        self.before_step(step)
        self.optimizer.zero_grad()
        inputs, labels = next(self.batches)
        loss = self.loss(self.model(inputs), labels)
        loss.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        self.before_update(step)
        self.optimizer.step()
        self.losses.append(loss.detach())

    def add_row(self, step: int) -> None:
        """Evaluate, and add a row to the history."""
        self.model.eval()
        with torch.no_grad():
            metrics = self.evaluate(self.model)
        self.model.train()
        mean_loss = torch.stack(self.losses).mean().item() if self.losses else math.nan
        self.losses.clear()
        self.rows.append({"step": step, "train_loss": mean_loss, "learning_rate": self.learning_rate(step), **metrics})
        self.on_evaluation(pd.DataFrame(self.rows))
