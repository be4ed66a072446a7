"""What networks around a body of transformers' share: their temperature."""

import pytest
import torch

from eureka_lib.models.gpt2 import InContextGPT2, InContextGPT2Config
from eureka_lib.models.roberta import Roberta, RobertaConfig

pytest.importorskip("transformers")
SMALL = {"depth": 2, "width": 16, "heads": 2}
D, POINTS, VOCABULARY, TOKENS = 3, 6, 40, 12


def gpt2(seed):
    """The model, saying something: its initial weights are so small that attention is even."""
    torch.manual_seed(seed)
    model = InContextGPT2(InContextGPT2Config(**SMALL), D, POINTS).eval()
    with torch.no_grad():
        for block in model.body.h:
            block.attn.c_attn.weight.mul_(30)
    return model


def roberta(seed):
    torch.manual_seed(seed)
    return Roberta(RobertaConfig(**SMALL, dropout=0.0, weight_std=0.3), VOCABULARY, TOKENS).eval()


def prompts():
    return torch.randn(5, 2 * POINTS, D, generator=torch.Generator().manual_seed(0))


def samples():
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(5, VOCABULARY, (5, TOKENS), generator=random)
    return torch.stack([ids, (torch.rand(5, TOKENS, generator=random) < 0.3).long()], dim=1)


@pytest.mark.parametrize(("build", "inputs"), [(gpt2, prompts()), (roberta, samples())])
def test_the_scale_factor_is_set_and_is_part_of_the_state(build, inputs):
    model, other = build(0), build(1)
    usual = model(inputs)
    model.set_scale_factor(24.0)
    sharp = model(inputs)
    assert (sharp - usual).abs().max() > 1e-3
    assert other.body.config.attention_scale_factor == 1.0, "each model has a configuration of its own"
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(inputs), sharp)
    model.set_scale_factor(1.0)
    assert torch.equal(model(inputs), usual)
