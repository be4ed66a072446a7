"""RoBERTa: transformers' own model, asked only where something is to be guessed, at a temperature of its own."""

import pandas as pd
import pytest
import torch

from eureka_lib.attention.registry import METHODS, Method
from eureka_lib.experiments import profiles
from eureka_lib.experiments.run import run
from eureka_lib.models.roberta import Roberta, RobertaConfig
from eureka_lib.store import RunStore

transformers = pytest.importorskip("transformers")
VOCABULARY, TOKENS = 40, 12
SMALL = {"depth": 2, "width": 16, "heads": 2, "dropout": 0.0, "weight_std": 0.3}  # far from even attention


def build(seed=0, **changes):
    torch.manual_seed(seed)
    return Roberta(RobertaConfig(**{**SMALL, **changes}), VOCABULARY, TOKENS).eval()


@pytest.fixture
def inputs():
    """Five samples, a third of their tokens to be guessed."""
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(5, VOCABULARY, (5, TOKENS), generator=random)
    ids[:, 0], ids[:, -1] = 0, 2
    return torch.stack([ids, (torch.rand(5, TOKENS, generator=random) < 0.3).long()], dim=1)


def test_it_is_transformers_roberta(inputs):
    """The same logits as RobertaForMaskedLM with its eager attention, at the tokens to be guessed, in their order."""
    ours = build()
    theirs = transformers.AutoModelForMaskedLM.from_config(
        transformers.RobertaConfig(
            vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            max_position_embeddings=TOKENS + 2, type_vocab_size=1, layer_norm_eps=1e-5,
        ),
        attn_implementation="eager",
    ).eval()  # fmt: skip
    theirs.load_state_dict(ours.body.state_dict())
    ids, chosen = inputs.unbind(1)
    with torch.no_grad():
        logits = ours(inputs)
        assert logits.shape == (int(chosen.sum()), VOCABULARY)
        assert torch.allclose(logits, theirs(ids).logits[chosen.bool()], atol=1e-5)
    assert logits.std() > 0.1


def test_its_default_is_roberta_base():
    """Of the published size, which the model of the paper's profile has, vocabulary and positions included."""
    with torch.device("meta"):
        task = profiles.get("paper").language.base.task
        model = Roberta(RobertaConfig(), task.vocabulary, task.tokens)
    assert sum(parameter.numel() for parameter in model.parameters()) == 124_697_433


@pytest.mark.parametrize("attention", ["norm_softmax", "norm_softmax_var"])
def test_the_attention_is_the_one_that_was_asked_for(inputs, attention):
    softmax, other = build(), build(attention=attention)
    assert softmax.body.config._attn_implementation == "scaled_softmax"
    assert other.body.config._attn_implementation == attention
    assert all(torch.equal(a, b) for a, b in zip(softmax.parameters(), other.parameters(), strict=True))
    assert (softmax(inputs) - other(inputs)).abs().max() > 1e-3


def test_every_guess_sees_all_tokens_and_only_its_own_sample(inputs):
    model = build()
    guesses = inputs[:, 1].sum(dim=1).tolist()
    before = model(inputs).split(guesses)
    changed = inputs.clone()
    changed[0, 0, 5] = changed[0, 0, 5] % 30 + 6
    after = model(changed).split(guesses)
    assert (before[0] - after[0]).abs().amax(dim=1).min() > 1e-4
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(before[1:], after[1:], strict=True))


def test_every_parameter_is_trained_and_dropout_is_the_only_chance(inputs):
    model = build().train()
    assert torch.equal(model(inputs), model(inputs))
    model(inputs).square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.no_weight_decay() <= {name for name, _ in model.named_parameters()}
    dropping = build(dropout=0.5).train()
    assert not torch.equal(dropping(inputs), dropping(inputs))


def test_an_attention_of_ones_own(inputs, monkeypatch):
    even = Method(lambda logits, scale: torch.softmax(0 * logits, dim=-1))
    monkeypatch.setitem(METHODS, "even_in_roberta", even)
    softmax = build()
    softmax.set_scale_factor(1e-6)  # so hot that all weights are equal
    assert torch.allclose(build(attention="even_in_roberta")(inputs), softmax(inputs), atol=1e-4)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="heads 3 does not divide width 16"):
        RobertaConfig(width=16, heads=3)
    with pytest.raises(ValueError, match="unknown attention 'sofmax'.*did you mean 'softmax'"):
        RobertaConfig(attention="sofmax")
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 0.999\], got 1"):
        RobertaConfig(dropout=1)


def test_a_run_is_stored_and_comes_back_bit_for_bit(store, tmp_path):
    """Trained twice and loaded once: equal histories, and a kept model that evaluates as it did in training."""
    experiment = profiles.get("smoke").language.experiment("norm_softmax").vary(steps=6, evaluate_every=3)
    first = run(experiment, store, weights_every=3)
    for other in (run(experiment, store), run(experiment, RunStore(tmp_path / "other"))):
        pd.testing.assert_frame_equal(first.history, other.history, check_exact=True)
    assert {"train_loss", "test_loss", "masked_accuracy"} <= set(first.history) and first.history["step"].iloc[-1] == 6
    assert first.meta["data_sha256"] == experiment.checksums()
    task = experiment.build_task()
    model, test_set = experiment.model_at(first, 3, task), task.test_set(experiment.training.test_samples)
    with torch.no_grad():
        assert task.evaluate(model, test_set, task.loss(0.0))["test_loss"] == first.history["test_loss"][1]


def test_an_interrupted_training_goes_on_exactly_where_it_was(goes_on_exactly):
    """Its tied matrix, which has two names, and the temperature of that step included."""
    experiment = profiles.get("smoke").language.experiment("heat_treatment").vary(steps=8, evaluate_every=2)
    goes_on_exactly(experiment, interrupted=6, continued=4)
