"""The loop on a problem whose answer is known; it has never heard of images."""

import math

import pandas as pd
import pytest
import torch
from torch import nn

from eureka_lib.training.loop import Trainer


def linear_problem(learning_rate=0.1, slope=3.0, **hooks):
    """Fit y = slope * x by gradient descent; evaluation reports the weight."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    x = torch.tensor([[1.0], [2.0]])
    return Trainer(
        model,
        batches=iter(lambda: (x, slope * x), None),
        loss=nn.functional.mse_loss,
        optimizer=torch.optim.SGD(model.parameters()),
        learning_rate=lambda step: learning_rate,
        evaluate=lambda model: {"weight": model.weight.item(), "training_mode": float(model.training)},
        **hooks,
    )


def solve(steps=50, evaluate_every=20, **settings):
    return linear_problem(**settings).fit(steps, evaluate_every)


def test_it_learns_and_records_every_evaluation_and_the_last_step():
    history, status = solve()
    assert status == "finished"
    assert history["step"].tolist() == [0, 20, 40, 50]
    assert history["weight"].iloc[0] == 0 and history["weight"].iloc[-1] == pytest.approx(3.0, abs=1e-3)
    assert (history["training_mode"] == 0).all()
    assert math.isnan(history["train_loss"][0]) and history["train_loss"][1:].is_monotonic_decreasing


def test_training_loss_is_the_mean_since_the_last_evaluation():
    history = solve(learning_rate=0.0, steps=4, evaluate_every=2)[0]
    assert history["train_loss"].tolist()[1:] == pytest.approx([22.5, 22.5])  # (9 + 36) / 2


def test_hooks_see_every_step_and_the_growing_history():
    steps, lengths = [], []
    solve(steps=5, evaluate_every=2, before_step=steps.append, on_evaluation=lambda h: lengths.append(len(h)))
    assert steps == [0, 1, 2, 3, 4]
    assert lengths == [1, 2, 3, 4]


def test_looking_on_changes_nothing():
    watched, _ = solve(on_evaluation=lambda history: history.assign(weight=0))
    pd.testing.assert_frame_equal(watched, solve()[0])


def test_divergence_is_an_outcome():
    history, status = solve(learning_rate=1e6, steps=1000, evaluate_every=10)
    assert status == "diverged"
    assert history["step"].iloc[-1] < 1000
