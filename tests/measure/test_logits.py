"""A row of logits: the numbers equal their definitions, and the crossovers lie where they are derived."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from eureka_lib.analysis.record import record
from eureka_lib.experiments import profiles
from eureka_lib.measure import gradients, logits as lf

SCALE, SHARP = 0.125, 3.0
METHODS = lf.methods(SCALE, SHARP)
ROW = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0], dtype=torch.float64) / 2**0.5


@pytest.fixture(scope="module")
def vit():
    return profiles.get("smoke").live


@pytest.fixture(scope="module")
def task(vit):
    return vit.build_task()


@pytest.fixture(scope="module")
def batch(task):
    return task.sample(torch.Generator().manual_seed(0), 8)


def some_rows(n=6, keys=5):
    return lf.random_rows(n, keys, torch.Generator().manual_seed(1))


def full_jacobian(weights_of, row):
    return torch.autograd.functional.jacobian(weights_of, row)


def by_formula(row, power, scale):
    """P (I - c e e^T) / D for one row; power 0 is the plain softmax."""
    sigma, n = row.std(-1, correction=0), len(row)
    capped = power == 0 or sigma**power >= 1 / scale
    divisor, c = (1 / scale, 0) if capped else (sigma**power, power)
    e = (row - row.mean()) / (sigma * n**0.5)
    jacobian = lf.softmax_jacobian(torch.softmax(row / divisor, -1))
    return jacobian @ (torch.eye(n, dtype=row.dtype) - c * torch.outer(e, e)) / divisor


def test_random_rows_have_mean_zero_and_the_spread_they_are_given():
    rows = some_rows(50, 7)
    assert torch.allclose(rows.mean(-1), torch.zeros(50, dtype=rows.dtype), atol=1e-12)
    assert torch.allclose((3.0 * rows).std(-1, correction=0), torch.full((50,), 3.0, dtype=rows.dtype))
    assert math.isclose(float(ROW.std(-1, correction=0)), 1.0)


@pytest.mark.parametrize("keys", [2, 5, 197])
def test_softmax_jacobian_at_its_two_ends_and_at_its_largest(keys):
    uniform, one_hot = torch.full((keys,), 1 / keys, dtype=torch.float64), torch.zeros(keys, dtype=torch.float64)
    one_hot[0] = 1
    two = torch.zeros(keys, dtype=torch.float64)
    two[:2] = 0.5
    size = [float(lf.softmax_jacobian(p).norm()) / keys**0.5 for p in (uniform, one_hot, two)]
    assert size == pytest.approx([(keys - 1) ** 0.5 / keys**1.5, 0, 0.5 / keys**0.5])
    anywhere = torch.softmax(8 * torch.randn(200, keys, generator=torch.Generator().manual_seed(0)).double(), -1)
    assert lf.softmax_jacobian(anywhere).norm(dim=(1, 2)).max() <= 0.5 + 1e-12


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sigma", [0.3, 2.0, 5.0, 20.0])
def test_jacobian_size_is_the_norm_of_the_jacobian(method, sigma):
    rows = sigma * some_rows()
    expected = [float(full_jacobian(METHODS[method], row).norm()) / 5**0.5 for row in rows]
    assert lf.jacobian_size(METHODS[method], rows).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_jacobian_size_is_the_rms_gradient_under_white_gradients():
    logits = (0.5 * some_rows(1, 4)).expand(20_000, 4).clone().requires_grad_()
    white = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(METHODS["norm_softmax"](logits), logits, white)
    expected = float(lf.jacobian_size(METHODS["norm_softmax"], logits[:1].detach()))
    assert float(gradient.square().mean().sqrt()) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("method", "power"), [("softmax", 0), ("norm_softmax", 1), ("norm_softmax_var", 2)])
@pytest.mark.parametrize("sigma", [0.1, 0.9, 2.0, 2.7, 2.9, 7.9, 8.1, 50.0])
def test_jacobians_are_the_derived_ones(method, power, sigma):
    for row in sigma * some_rows():
        assert torch.allclose(full_jacobian(METHODS[method], row), by_formula(row, power, SCALE), rtol=0, atol=1e-12)


def test_more_spread_changes_nothing_under_norm_softmax_and_flattens_under_the_variance():
    z = (0.3 * ROW)[None]
    entropy = {m: [float(-torch.special.xlogy(p, p).sum()) for p in map(METHODS[m], (z, 1.1 * z))] for m in METHODS}
    assert entropy["norm_softmax"][0] == pytest.approx(entropy["norm_softmax"][1], rel=1e-12)
    assert entropy["norm_softmax_var"][1] > entropy["norm_softmax_var"][0]
    assert entropy["softmax"][1] < entropy["softmax"][0]


@pytest.mark.parametrize("method", lf.DIVISORS)
@pytest.mark.parametrize("sigma", [1e-3, 0.5, 1.0, 2.8, 3.0, 7.9, 8.1, 100.0])
def test_divisors_are_the_librarys(method, sigma):
    row = sigma * ROW
    divisor = float(lf.DIVISORS[method](np.array([sigma]), SCALE)[0])
    assert torch.allclose(torch.softmax(row / divisor, -1), METHODS[method](row), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [0.125, 32**-0.5, 3.0])
def test_crossovers_are_where_the_divisor_stops_growing(scale):
    for method, sigma in lf.crossovers(scale).items():
        below, at, above = lf.DIVISORS[method](sigma * np.array([0.99, 1.0, 1.01]), scale)
        assert below < 1 / scale and at == pytest.approx(1 / scale) and above == 1 / scale
    assert lf.crossovers(scale)["norm_softmax_var"] ** 2 == pytest.approx(1 / scale)


def test_spread_after_division():
    table = lf.divisor_table([0.01, 1.0, SCALE**-0.5, 8.0, 80.0], SCALE).set_index("method")["spread_after"]
    assert table["softmax"].tolist() == pytest.approx([0.00125, 0.125, SCALE**0.5, 1, 10])
    assert table["norm_softmax"].tolist() == pytest.approx([1, 1, 1, 1, 10])
    assert table["norm_softmax_var"].tolist() == pytest.approx([100, 1, SCALE**0.5, 1, 10])


def test_spread_table_holds_quantiles_of_the_definitions():
    rows, spreads = some_rows(9), [0.2, 4.0]
    table = lf.std_table(METHODS, rows, spreads).set_index(["method", "spread"])
    for (method, sigma), line in table.iterrows():
        p = METHODS[method](sigma * rows)
        entropy = -torch.special.xlogy(p, p).sum(-1) / math.log(5)
        assert line["entropy_median"] == pytest.approx(float(entropy.median()), abs=1e-12)  # of nine: one of them
        assert line["jacobian_median"] == pytest.approx(float(lf.jacobian_size(METHODS[method], sigma * rows).median()))
        for kind in ("entropy", "jacobian"):
            assert line[f"{kind}_low"] <= line[f"{kind}_median"] <= line[f"{kind}_high"]
    assert (table["keys"] == 5).all()


def test_flat_softmax_rows_pass_s_over_n_and_norm_softmax_one_over_sigma():
    rows = some_rows(16, 197)
    table = lf.std_table(METHODS, rows, [1e-3, 1e-2]).set_index(["method", "spread"])["jacobian_median"]
    assert table["softmax", 1e-3] == pytest.approx(SCALE * 196**0.5 / 197**1.5, rel=1e-3)
    assert table["norm_softmax", 1e-3] == pytest.approx(10 * table["norm_softmax", 1e-2])


def test_unit_spread_has_the_entropy_of_many_gaussian_keys():
    """log N - 1/2, over log N."""
    table = lf.std_table({"norm_softmax": METHODS["norm_softmax"]}, some_rows(8, 1000), [0.1])
    assert table["entropy_median"].item() == pytest.approx(1 - 0.5 / math.log(1000), abs=0.01)


def test_two_keys_get_no_gradient_under_norm_softmax():
    """Their only direction is the spread itself."""
    assert lf.jacobian_size(METHODS["norm_softmax"], some_rows(4, 2)).max() < 1e-12


def test_attention_logits_are_those_that_the_model_normalises(vit, task, batch):
    model = vit.build_model(task).eval()
    logits = lf.attention_logits(model, batch.images)
    assert logits.shape == (3, 8, 2, 5, 5) and not logits.requires_grad
    with record({str(i): layer.weights for i, layer in enumerate(model.attention_layers())}) as trace:
        model(batch.images)
    for layer, weights in enumerate(trace.values()):
        expected = torch.softmax(logits[layer] * model.attention_layers()[layer].weights.scale, -1)
        assert torch.allclose(weights, expected, atol=1e-6)


def test_layer_table_measures_every_row_of_a_layer(vit, task, batch):
    logits = lf.attention_logits(vit.build_model(task).eval(), batch.images)
    table = lf.layer_table(METHODS, logits)
    assert len(table) == 3 * len(METHODS) and sorted(table["layer"].unique()) == [1, 2, 3]
    sigma = logits[1].double().var(-1, correction=0).sqrt().flatten()
    assert table.loc[table["layer"] == 2, "spread_median"].iloc[0] == pytest.approx(float(sigma.quantile(0.5)))


def test_gradient_sizes_agree_with_a_gradient_taken_by_hand(vit, task, batch):
    """Central differences in one weight of each of W_Q, W_K and W_V, in float64."""
    model = vit.build_model(task).double().eval()
    batch = replace(batch, images=batch.images.double())
    sizes = gradients.gradient_sizes(model, batch, 0.1)
    weight = model.attention_layers()[0].qkv.weight
    assert sizes.shape == (3, 3)
    for part in range(3):
        rows = weight.grad[64 * part : 64 * (part + 1)]
        assert float(sizes[0, part]) == pytest.approx(float(rows.abs().mean()))
        place, h = (64 * part + 5, 7), 1e-4
        losses = []
        with torch.no_grad():
            for step in (h, -2 * h, h):  # the last one restores the weight
                weight[place] += step
                outputs = model(batch.images)
                losses.append(torch.nn.functional.cross_entropy(outputs, batch.labels, label_smoothing=0.1))
        assert float((losses[0] - losses[1]) / (2 * h)) == pytest.approx(float(weight.grad[place]), rel=1e-3)


def test_gradient_table_compares_the_same_weights(vit, task, batch):
    experiments = {name: vit.vary(attention=name) for name in lf.DIVISORS}
    weights = [e.vary(seed=3).build_model(task).attention_layers()[0].qkv.weight for e in experiments.values()]
    assert all(torch.equal(weights[0], other) for other in weights)
    table = gradients.gradient_table(experiments, [3, 4], task, batch)
    assert len(table) == 3 * 2 * 3 * 3 and (table["gradient"] > 0).all()
    ratios = gradients.gradient_ratios(table[table["seed"] == 3])
    one = table[(table["seed"] == 3) & (table["method"] == "softmax") & (table["layer"] == 1)]
    one = one.set_index("matrix")["gradient"]
    assert ratios.loc["softmax", "layer 1"] == pytest.approx(one["W_V"] / one["W_Q"], abs=0.01)


def test_below_the_temperature_the_gradient_is_at_right_angles_to_the_queries_weights(vit, task, batch):
    """Scaling W_Q of a head changes nothing under norm_softmax, so its gradient does not point along it."""
    cosines = {}
    for name in ("softmax", "norm_softmax"):
        model = vit.vary(attention=name).build_model(task).double()
        assert lf.attention_logits(model, batch.images.double()).std(-1, correction=0).max() < 1
        gradients.gradient_sizes(model, replace(batch, images=batch.images.double()), 0.1)
        layer = model.attention_layers()[0]
        w, g = (layer.split_weight(x)[0, 0].flatten() for x in (layer.qkv.weight.detach(), layer.qkv.weight.grad))
        cosines[name] = abs(float(torch.nn.functional.cosine_similarity(w, g, dim=0)))
    assert cosines["norm_softmax"] < 1e-9 < 1e-4 < cosines["softmax"]


def test_gain_of_even_rows_is_the_temperature_over_the_spread():
    """Rows of tiny logits have softmax's Jacobian s P; NormSoftmax's is of the order of P / sigma."""
    methods = lf.methods(0.125, sharp=3.0)
    tables = [lf.std_table(methods, lf.random_rows(20, n, torch.Generator().manual_seed(0)), [1e-3, 1e-2, 1.0])
              for n in (5, 50)]  # fmt: skip
    gain = lf.gain_at(pd.concat(tables), 0.012)
    assert gain.index.tolist() == [5, 50] and gain.between(0.3 * 800, 3 * 800).all()
