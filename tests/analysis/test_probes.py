"""Probes on features whose content is known: a planted code, an exclusive or, noise."""

import numpy as np
import pytest
import torch

from eureka_lib.analysis import probes
from eureka_lib.analysis.places import mean_by_place, token_places
from eureka_lib.analysis.probes import ALL_TOKENS, OUTPUT, READ, Place, Samples
from eureka_lib.analysis.record import record_blocks
from eureka_lib.experiments import profiles

N, F = 600, 12


def samples(label, seed=0):
    """Noise features, of which ``label`` (function of x) makes the labels; as many to be judged by."""
    rng = np.random.default_rng(seed)
    x, x_test = rng.normal(size=(2, N, F))
    return Samples(x, label(x), x_test, label(x_test))


def planted(x):
    return (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)  # three classes, one after the other along (1, 1)


def gap(data):
    """The same samples, with the two planted features pushed away from 0."""
    widened = [np.where(np.arange(F) < 2, x + 2 * np.sign(x), x) for x in (data.x, data.x_test)]
    return Samples(widened[0], data.y, widened[1], data.y_test)


LINEAR = gap(samples(planted))
XOR = gap(samples(lambda x: ((x[:, 0] > 0) ^ (x[:, 1] > 0)).astype(int)))
NOISE = samples(lambda x: np.random.default_rng(7).permutation(np.arange(N) % 2))


@pytest.mark.parametrize("probe", probes.PROBES)
def test_planted_code_is_found_and_short(probe):
    assert probes.accuracy(probe, LINEAR) > 0.98 and probes.majority(LINEAR) < 0.6
    code = probes.code_length(probe, LINEAR.x, LINEAR.y)
    assert code.uniform == pytest.approx(N * np.log2(3)) and code.compression > 3


def test_code_of_what_is_obvious_is_little_more_than_its_first_block():
    y = np.arange(N) % 2
    code = probes.code_length("linear", y[:, None] + np.zeros((N, 3)), y)
    assert round(N / 32) < code.online < round(N / 32) + 30 and code.compression > 10


@pytest.mark.parametrize("probe", probes.PROBES)
def test_noise_stays_at_chance_and_is_not_compressed(probe):
    assert probes.accuracy(probe, NOISE) == pytest.approx(0.5, abs=0.07)
    assert probes.code_length(probe, NOISE.x, NOISE.y).compression == pytest.approx(1, abs=0.15)


def test_exclusive_or_is_seen_by_the_mlp_alone():
    assert probes.accuracy("linear", XOR) < 0.6 and probes.accuracy("MLP", XOR) > 0.95
    linear, mlp = (probes.code_length(probe, XOR.x, XOR.y).compression for probe in ("linear", "MLP"))
    assert linear < 1.05 and mlp > 1.5


def test_shuffled_labels_are_at_chance():
    """Each input a type of its own: the control task is then nothing but labels shuffled."""
    own = probes.control(LINEAR, np.arange(N), np.arange(N, 2 * N))
    assert probes.accuracy("linear", own) <= probes.majority(own) + 0.05
    shares = [np.bincount(y, minlength=3) / N for y in (LINEAR.y, own.y)]
    assert np.allclose(*shares, atol=0.07)


def test_control_gives_each_type_one_label():
    rng = np.random.default_rng(1)
    types, types_test = rng.integers(4, size=(2, N, 2))
    found = probes.control(XOR, types, types_test, seed=3)
    rows, labels = np.concatenate([types, types_test]), np.concatenate([found.y, found.y_test])
    assert all(len(np.unique(labels[(rows == row).all(1)])) == 1 for row in np.unique(rows, axis=0))
    assert found.x is XOR.x and set(labels) == {0, 1}
    same, other = (probes.control(XOR, types, types_test, seed=seed) for seed in (3, 4))
    assert (same.y == found.y).all() and (other.y != found.y).any()


def test_control_that_can_be_learnt_by_heart_is():
    """With one feature per type, the linear probe learns what each type is called: no selectivity."""
    types, types_test = np.random.default_rng(1).integers(8, size=(2, N))
    one_hot = Samples(np.eye(8)[types], types % 2, np.eye(8)[types_test], types_test % 2)
    assert probes.accuracy("linear", probes.control(one_hot, types, types_test)) == 1


@pytest.mark.parametrize("probe", probes.PROBES)
def test_a_single_class_needs_no_looking_and_no_code(probe):
    constant = Samples(NOISE.x, np.full(N, 4), NOISE.x_test, np.full(N, 4))
    assert probes.accuracy(probe, constant) == 1 == probes.majority(constant)
    code = probes.code_length(probe, constant.x, constant.y)
    assert code.online == code.uniform == 0 and np.isnan(code.compression)


def test_a_class_that_comes_late_has_a_price():
    y = (np.arange(N) >= N // 2).astype(int)  # all blocks but the last are of one class
    code = probes.code_length("linear", NOISE.x, y)
    assert N // 2 < code.online < 10 * N


def test_same_seed_same_probe():
    first, again = (probes.fit("MLP", XOR.x, XOR.y, seed=5).predict_proba(XOR.x_test) for _ in range(2))
    assert (first == again).all()
    with pytest.raises(ValueError, match="unknown probe 'Linear'.*did you mean 'linear'"):
        probes.fit("Linear", XOR.x, XOR.y)
    with pytest.raises(ValueError, match="number of samples"):
        probes.code_length("linear", XOR.x[:20], XOR.y[:20])


@pytest.mark.parametrize("patch", [8, 4])
def test_features_are_what_the_blocks_make(patch):
    experiment = profiles.DIGITS_VIT.vary(patch=patch)
    task = experiment.build_task()
    model = experiment.build_model(task).eval()
    images = task.sample(torch.Generator().manual_seed(0), probes.CHUNK + 3).images
    found = probes.features(model, images)
    assert len(found) == 3 * (2 + 3 + 1) * 2  # layers; heads, q k v, output; token sets
    inside = record_blocks(model, images)[1]
    assert np.allclose(found[Place(2, OUTPUT, READ)], inside.output[:, 0], atol=1e-6)
    means = mean_by_place(inside.heads[:, 1], token_places(model))
    assert np.allclose(found[Place(2, "head 2", ALL_TOKENS)], means.flatten(1), atol=1e-6)
    assert np.allclose(found[Place(2, "k", READ)], inside.k[:, :, 0].flatten(1), atol=1e-6)
    assert found[Place(3, "q", ALL_TOKENS)].shape == (len(images), 5 * 64)
    assert np.ptp(found[Place(1, "v", READ)], axis=0).max() < 1e-5  # it has not looked at the image yet


def test_without_cls_the_head_reads_the_mean_of_all_tokens():
    task = profiles.FLAGSHIP.build_task()
    model = profiles.FLAGSHIP.build_model(task).eval()
    images = task.sample(torch.Generator().manual_seed(0), 5).images
    found = probes.features(model, images)
    output = record_blocks(model, images)[1].output
    assert np.allclose(found[Place(2, OUTPUT, READ)], output.mean(dim=1), atol=1e-6)
    assert np.allclose(found[Place(2, OUTPUT, ALL_TOKENS)][:, :64], output[:, [0, 2]].mean(dim=1), atol=1e-6)
    assert found[Place(1, "q", ALL_TOKENS)].shape == (5, 4 * 64)
