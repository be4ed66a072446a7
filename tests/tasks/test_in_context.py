"""In-context regression: prompts that nobody has seen before, and baselines that score what theory says."""

import pytest
import torch
from torch import nn

from eureka_lib.tasks import in_context
from eureka_lib.tasks.in_context import BASELINES, InContextConfig, InContextTask

D, P = 4, 9
MANY = 20_000
EXAMPLES = torch.arange(P)


@pytest.fixture(scope="module")
def task():
    return InContextTask(InContextConfig(dimensions=D, points=P))


@pytest.fixture(scope="module")
def prompts(task):
    return task.sample(torch.Generator().manual_seed(0), MANY)


def errors(prompts, predictions):
    return in_context.relative_errors(predictions, prompts[1])


def test_prompts_are_linear_functions_of_gaussian_inputs(task, prompts):
    x, y = prompts
    assert x.shape == (MANY, P, D) and y.shape == (MANY, P)
    w = torch.linalg.lstsq(x[:100].double(), y[:100, :, None].double()).solution  # (100, D, 1)
    assert torch.allclose(x[:100].double() @ w, y[:100, :, None].double(), atol=1e-4)
    assert x.mean().abs() < 0.01 and abs(x.var() - 1) < 0.01 and abs(w.var() - 1) < 0.2
    assert abs(y.var() / D - 1) < 0.05  # hence errors are divided by d


def test_tokens_are_x_and_y_in_turn(task):
    x, y = task.sample(torch.Generator().manual_seed(0), 3)
    tokens = in_context.tokens(x, y)
    assert tokens.shape == (3, 2 * P, D)
    assert torch.equal(tokens[:, ::2], x) and torch.equal(tokens[:, 1::2, 0], y)
    assert not tokens[:, 1::2, 1:].any()
    one = InContextTask(InContextConfig(dimensions=1, points=2))
    (inputs, labels) = next(one.pairs(torch.Generator().manual_seed(0), 5))
    assert inputs.shape == (5, 4, 1) and torch.equal(inputs[:, 1::2, 0], labels)


def test_the_zero_predictor_is_on_the_plateau(task, prompts):
    zeros = in_context.zero(*prompts)
    assert torch.equal(errors(prompts, zeros), torch.ones(P)) and task.plateau_loss == 1.0
    assert task.loss(0.0)(zeros, prompts[1]).item() == pytest.approx(1, abs=0.02)


def test_least_squares_needs_d_examples(task, prompts):
    found = errors(prompts, in_context.least_squares(*prompts))
    derived = in_context.least_squares_error(EXAMPLES, D)
    assert derived.tolist() == [1, 0.75, 0.5, 0.25, 0, 0, 0, 0, 0]
    assert torch.allclose(found, derived, atol=0.03) and found[D:].max() < 1e-5
    assert task.floor_loss == pytest.approx(2.5 / P)


def test_averaging_scores_what_gaussian_moments_say(prompts):
    found = errors(prompts, in_context.averaging(*prompts))
    derived = in_context.averaging_error(EXAMPLES, D)
    assert derived[[0, 1, 5]].tolist() == [1, 5, 1]
    assert torch.allclose(found, derived, rtol=0.06)


def test_ridge_becomes_least_squares_without_a_penalty_and_zero_with_a_large_one(prompts):
    x, y = (part[:500] for part in prompts)
    assert torch.allclose(in_context.ridge(x, y, 1e-9), in_context.least_squares(x, y), atol=1e-2)
    assert in_context.ridge(x, y, 1e9).abs().max() < 1e-4
    least, penalised = (errors(prompts, f(*prompts)) for f in (in_context.least_squares, in_context.ridge))
    assert (penalised[1:] > least[1:]).all() and (penalised[1:] < 1).all()  # without noise the best penalty is 0


def test_nearest_neighbours_by_hand():
    x = torch.tensor([[[0.0], [1.0], [5.0], [1.2], [0.9]]])
    y = torch.tensor([[1.0, 2.0, 3.0, 4.0, 99.0]])
    assert in_context.nearest_neighbours(x, y).tolist() == [[0, 1, 1.5, 2, pytest.approx((1 + 2 + 4) / 3)]]
    assert in_context.nearest_neighbours(x, y, k=1).tolist() == [[0, 1, 2, 2, 2]]
    with pytest.raises(ValueError, match="k must be a whole number >= 1, got 0"):
        in_context.nearest_neighbours(x, y, k=0)


@pytest.mark.parametrize("name", BASELINES)
def test_no_baseline_sees_the_answer_or_what_comes_after_it(prompts, name):
    x, y = (part[:50].clone() for part in prompts)
    before = BASELINES[name](x, y)
    y[:, 4:] += 100
    x[:, 5:] -= 100
    assert torch.equal(BASELINES[name](x, y)[:, :5], before[:, :5])


def test_seeds_decide_what_is_drawn_and_the_test_set_is_nobodys(task):
    first, same, other = (next(task.pairs(torch.Generator().manual_seed(seed), 8)) for seed in (0, 0, 1))
    assert torch.equal(first[0], same[0]) and not torch.equal(first[0], other[0])
    test = task.test_set(1200)
    assert [len(y) for _, y in test] == [500, 500, 200]
    assert torch.equal(test[0][0], task.test_set(1200)[0][0])
    stream = task.pairs(torch.Generator().manual_seed(0), 64)
    drawn = torch.cat([next(stream)[0] for _ in range(20)])
    seen = {tuple(row) for row in drawn.flatten(1).tolist()}
    assert len(seen) == 1280 and not seen & {tuple(row) for row in test[0][0].flatten(1).tolist()}


class Oracle(nn.Module):
    """Least squares as a network: it reads the tokens."""

    def forward(self, tokens):
        return in_context.least_squares(tokens[:, ::2], tokens[:, 1::2, 0])


def test_evaluation_is_the_mean_over_the_points(task):
    test = task.test_set(1100)
    found = task.evaluate(Oracle(), test, task.loss(0.0))
    assert found["test_loss"] == pytest.approx(task.floor_loss, abs=0.02) and found["last_error"] < 1e-5
    by_point = task.errors(Oracle(), test)
    assert by_point.shape == (P,) and by_point.mean().item() == pytest.approx(found["test_loss"], rel=1e-5)


def test_bad_settings_are_named(task):
    with pytest.raises(ValueError, match="dimensions must be a whole number >= 1, got 0"):
        InContextConfig(dimensions=0)
    with pytest.raises(TypeError, match="points must be a whole number"):
        InContextConfig(points=1.5)
    with pytest.raises(ValueError, match=r"label_smoothing of a regression must be in \[0, 0\], got 0.1"):
        task.loss(0.1)
    with pytest.raises(ValueError, match="penalty must be in"):
        in_context.ridge(torch.zeros(1, 2, 1), torch.zeros(1, 2), 0)
