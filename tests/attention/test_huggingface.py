"""The fixes in Hugging Face models: against transformers' own attention, against ours, and for what must not leak."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import transformers
from torch import Tensor, nn

from eureka_lib.attention import huggingface
from eureka_lib.attention.huggingface import REFUSED, WORKS, attend, attention_modules, register, set_scale_factor
from eureka_lib.attention.layer import MultiHeadAttention
from eureka_lib.attention.registry import METHODS, Method

NAMES = {"scaled_softmax": "softmax", "norm_softmax": "norm_softmax", "norm_softmax_var": "norm_softmax_var"}
WORDS, TOKENS, PADDING = 50, 9, 3
BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
TEXT = BERT | {"vocab_size": WORDS, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BART = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
BART |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "vocab_size": WORDS, "decoder_start_token_id": 1}


def words(seed: int = 0) -> Tensor:
    return torch.randint(5, WORDS, (2, TOKENS), generator=torch.Generator().manual_seed(seed))


def padded(side: str) -> dict[str, Tensor]:
    """Two sentences, the first with PADDING tokens of padding on one side."""
    mask = torch.ones(2, TOKENS, dtype=torch.long)
    mask[0, slice(PADDING) if side == "left" else slice(-PADDING, None)] = 0
    return {"input_ids": words(), "attention_mask": mask}


def translated() -> dict[str, Tensor]:
    return padded("right") | {"decoder_input_ids": words(1)}


@dataclass(frozen=True)
class Family:
    """A kind of model: how to build it, what to give it, and how many attention modules a tiny one has."""

    auto: type
    config: transformers.PreTrainedConfig
    inputs: Callable[[], dict[str, Tensor]]
    attentions: int = 2

    def build(self, attention: str, dtype: torch.dtype = torch.float32) -> transformers.PreTrainedModel:
        """A model whose weights depend on the family alone, large enough that its attention is far from uniform."""
        config = copy.deepcopy(self.config)
        model = self.auto.from_config(config, attn_implementation=attention, dtype=dtype)
        random = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim >= 2:
                    parameter.copy_(0.4 * torch.randn(parameter.shape, generator=random))
        return model.eval()


CAUSAL, SEQ2SEQ = transformers.AutoModelForCausalLM, transformers.AutoModelForSeq2SeqLM
ENCODERS = {
    "bert": Family(transformers.AutoModel, transformers.BertConfig(**TEXT), lambda: padded("right")),
    "roberta": Family(transformers.AutoModel, transformers.RobertaConfig(**TEXT), lambda: padded("right")),
    "distilbert": Family(
        transformers.AutoModel,
        transformers.DistilBertConfig(dim=16, n_layers=2, n_heads=4, hidden_dim=24, vocab_size=WORDS),
        lambda: padded("right"),
    ),
}
DECODERS = {
    "gpt2": Family(
        CAUSAL,
        transformers.GPT2Config(
            n_embd=16, n_layer=2, n_head=4, vocab_size=WORDS, scale_attn_by_inverse_layer_idx=True,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        ),
        lambda: padded("left"),
    ),
    "llama": Family(CAUSAL, transformers.LlamaConfig(**TEXT, num_key_value_heads=2), lambda: padded("left")),
    "qwen3": Family(
        CAUSAL, transformers.Qwen3Config(**TEXT, num_key_value_heads=1, head_dim=6), lambda: padded("left")
    ),
    "mistral": Family(
        CAUSAL, transformers.MistralConfig(**TEXT, num_key_value_heads=2, sliding_window=4), lambda: padded("left")
    ),
}  # fmt: skip
TRANSLATORS = {
    "t5": Family(
        SEQ2SEQ,
        transformers.T5Config(
            d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, vocab_size=WORDS, decoder_start_token_id=1
        ),
        translated,
        attentions=6,
    ),
    "bart": Family(SEQ2SEQ, transformers.BartConfig(**BART), translated, attentions=6),
}
OTHERS = {
    "vit": Family(
        transformers.AutoModel,
        transformers.ViTConfig(**BERT, image_size=8, patch_size=4, qkv_bias=False),
        lambda: {"pixel_values": torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))},
    ),
    "whisper": Family(
        transformers.AutoModelForSpeechSeq2Seq,
        transformers.WhisperConfig(**BART, num_mel_bins=8, max_source_positions=10, pad_token_id=0, eos_token_id=2),
        lambda: (
            {"input_features": torch.randn(2, 8, 20, generator=torch.Generator().manual_seed(0))}
            | {"decoder_input_ids": words(1)}
        ),
        attentions=6,
    ),
}
FAMILIES = ENCODERS | DECODERS | TRANSLATORS | OTHERS


def every(families: dict[str, Family]):
    return pytest.mark.parametrize("family", families.values(), ids=families)


def first_output(model: transformers.PreTrainedModel, **inputs: Tensor) -> Tensor:
    """Hidden states of an encoder, logits of a decoder: (B, T, ...)."""
    with torch.no_grad():
        return model(**inputs)[0]


# --- the same as transformers' eager attention, and as our own -------------------------------------------------------


@every(FAMILIES)
def test_softmax_at_factor_one_is_the_models_eager_attention(family):
    eager, ours = family.build("eager"), family.build("scaled_softmax")
    assert eager.config._attn_implementation == "eager" and ours.config._attn_implementation == "scaled_softmax"
    assert len(attention_modules(ours)) == family.attentions
    with torch.no_grad():
        expected, got = (model(**family.inputs(), output_attentions=True) for model in (eager, ours))
    assert torch.allclose(got[0], expected[0], atol=1e-5)
    for kind in (name for name in expected if name.endswith("attentions")):
        for theirs, weights in zip(expected[kind], got[kind], strict=True):
            assert torch.allclose(weights, theirs, atol=1e-6), kind
            assert weights.std(-1).mean() > 0.05, "weights too uniform to tell one attention from another"


@pytest.mark.parametrize("name", ["norm_softmax", "norm_softmax_var"])
@every(FAMILIES)
def test_norm_softmax_is_another_attention(family, name):
    inputs = family.inputs()
    difference = first_output(family.build(name), **inputs) - first_output(family.build("eager"), **inputs)
    assert difference.isfinite().all() and difference.abs().max() > 1e-2


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_librarys_attention(name):
    """The attention layer of a Hugging Face ViT and that of ours, with the same weights, in float64."""
    theirs = attention_modules(OTHERS["vit"].build(name, torch.float64))[0]
    ours = MultiHeadAttention(16, 4, NAMES[name]).double()
    projections = (theirs.q_proj, theirs.k_proj, theirs.v_proj)
    ours.qkv.weight.data = torch.cat([layer.weight for layer in projections])
    ours.out.load_state_dict(theirs.o_proj.state_dict())
    x = torch.randn(2, 5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(theirs(x)[0], ours(x), atol=1e-12)


def heads(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain_module(**settings: float) -> torch.nn.Module:
    """What attend asks of the module that calls it: a configuration, and whether it is in training."""
    module = torch.nn.Module()
    module.config = transformers.PreTrainedConfig(**settings)
    return module


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("name", NAMES.values())
def test_attend_is_its_definition(name, additive):
    """Grouped heads, a bias, a mask with other keys in every row, a scale of the model's own and a factor."""
    q, k, v = heads(2, 4, 5, 6), heads(2, 2, 7, 6, seed=1), heads(2, 2, 7, 6, seed=2)
    bias = heads(1, 4, 5, 7, seed=3)
    visible = heads(2, 1, 5, 7, seed=4) > 0
    visible[..., 0] = True
    mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min) if additive else visible
    module = plain_module(attention_scale_factor=3.0)
    out, weights = attend(METHODS[name].normaliser, module, q, k, v, mask, scaling=0.7, position_bias=bias)
    k, v = (torch.stack([x[:, head // 2] for head in range(4)], 1) for x in (k, v))
    expected = METHODS[name].normaliser(q @ k.mT + bias / 0.7, torch.tensor(2.1, dtype=torch.float64), visible)
    assert torch.allclose(weights, expected, atol=1e-12)
    assert torch.allclose(out, (expected @ v).transpose(1, 2), atol=1e-12)


def test_an_additive_mask_may_carry_a_bias():
    """As ALiBi does: what is finite is added to the scaled logits, what stands for minus infinity hides."""
    q, k, v = (heads(1, 2, 4, 3, seed=seed) for seed in range(3))
    mask = -0.5 * torch.arange(4.0, dtype=torch.float64).expand(1, 1, 4, 4).clone()
    mask[..., 3] = -10_000
    _, weights = attend(METHODS["softmax"].normaliser, plain_module(), q, k, v, mask)
    assert torch.allclose(weights, torch.softmax(q @ k.mT * 3**-0.5 + mask, -1))
    assert (weights[..., 3] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_query_that_sees_nothing_gives_finite_gradients(name):
    q, k, v = (heads(1, 1, 3, 2, seed=seed).requires_grad_() for seed in range(3))
    visible = torch.tensor([[False, False, False], [True, False, False], [True, True, True]])
    out, weights = attend(METHODS[NAMES[name]].normaliser, plain_module(), q, k, v, visible)
    out.sum().backward()
    assert torch.allclose(weights[0, 0, :2], torch.tensor([[1 / 3] * 3, [1, 0, 0]], dtype=torch.float64))
    assert all(x.grad.isfinite().all() for x in (q, k, v))


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_half_precision_logits_are_computed_in_float32(name):
    q, k, v = (heads(2, 2, 9, 4, seed=seed).bfloat16() for seed in range(3))
    visible = torch.ones(9, 9, dtype=torch.bool).tril()
    _, weights = attend(METHODS[NAMES[name]].normaliser, plain_module(), q, k, v, visible)
    expected = METHODS[NAMES[name]].normaliser(q.float() @ k.float().mT, torch.tensor(0.5), visible)
    assert weights.dtype == torch.bfloat16 and torch.equal(weights, expected.bfloat16())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("how", ["inputs", "autocast"])
@pytest.mark.parametrize("offset", [0.0, 5.0, 40.0])
def test_half_precision_loses_no_more_than_torchs_own_attention(offset, how, dtype):
    """Queries and keys far from 0, as Qwen2's biases make them: q·k beyond float16's range, its differences small."""
    q, k, v = (heads(1, 2, 32, 64, seed=seed) for seed in range(3))
    q, k, v = (q + offset).to(dtype), (k + offset).to(dtype), v.to(dtype)
    exact = nn.functional.scaled_dot_product_attention(q.double(), k.double(), v.double())
    torchs = nn.functional.scaled_dot_product_attention(q, k, v).double()
    given = [x.float() for x in (q, k, v)] if how == "autocast" else (q, k, v)
    with torch.autocast("cpu", dtype, enabled=how == "autocast"):
        ours = attend(METHODS["softmax"].normaliser, plain_module(), *given, None)[0].transpose(1, 2).double()
    assert (ours - exact).abs().max() <= 1.1 * (torchs - exact).abs().max()


def test_dropout_drops_weights_in_training_only():
    module = plain_module()
    q, k, v = (heads(2, 4, 9, 3, seed=seed) for seed in range(3))
    _, weights = attend(METHODS["softmax"].normaliser, module.train(), q, k, v, None, dropout=0.25)
    whole = torch.softmax(q @ k.mT * 3**-0.5, -1)
    kept = weights != 0
    assert torch.allclose(weights[kept], whole[kept] / 0.75) and 0.6 < kept.double().mean() < 0.9
    _, weights = attend(METHODS["softmax"].normaliser, module.eval(), q, k, v, None, dropout=0.25)
    assert torch.allclose(weights, whole)


# --- what must not leak ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@every(DECODERS | TRANSLATORS | {"whisper": OTHERS["whisper"]})
def test_the_future_does_not_leak(family, name):
    model, inputs = family.build(name), family.inputs()
    before = first_output(model, **inputs)
    given = "decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"
    inputs[given] = inputs[given].clone()
    inputs[given][:, 6:] = inputs[given][:, 6:] % 40 + 7
    after = first_output(model, **inputs)
    seen = before[:, PADDING:6], after[:, PADDING:6]  # the first tokens may be padding
    assert torch.equal(*seen) and not torch.allclose(before[:, 6:], after[:, 6:], atol=1e-2)


@pytest.mark.parametrize("name", NAMES)
@every(ENCODERS | DECODERS | TRANSLATORS)
def test_padding_does_not_leak(family, name):
    model, inputs = family.build(name), family.inputs()
    before, hidden = first_output(model, **inputs), inputs["attention_mask"] == 0
    visible = torch.ones_like(hidden) if "decoder_input_ids" in inputs else ~hidden
    inputs["input_ids"] = inputs["input_ids"].where(~hidden, 4)
    assert torch.equal(first_output(model, **inputs)[visible], before[visible])
    inputs["attention_mask"] = torch.ones_like(inputs["attention_mask"])
    assert not torch.allclose(first_output(model, **inputs)[visible], before[visible], atol=1e-2)


@pytest.mark.parametrize("name", NAMES)
@every(ENCODERS)
def test_padding_does_not_count(family, name):
    """A padded sentence comes out as it does alone, so hidden keys are in no statistic."""
    model, inputs = family.build(name), family.inputs()
    together = first_output(model, **inputs)[:1, :-PADDING]
    alone = first_output(model, input_ids=inputs["input_ids"][:1, :-PADDING])
    assert torch.allclose(together, alone, atol=1e-5)


# --- training, precision, generation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
@every(FAMILIES)
def test_gradients_are_finite_and_reach_queries_and_keys(family, name, dtype):
    model = family.build(name, dtype).train()
    inputs = {key: x.to(dtype) if x.is_floating_point() else x for key, x in family.inputs().items()}
    out = model(**inputs)[0]
    assert out.dtype == dtype
    out.float().square().mean().backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    for module in attention_modules(model):
        assert all(parameter.grad.abs().max() > 0 for parameter in module.parameters() if parameter.ndim == 2)


@pytest.mark.parametrize("name", NAMES)
@every(FAMILIES)
def test_autocast(family, name):
    """bfloat16 under autocast stays close to float32."""
    model, inputs = family.build(name), family.inputs()
    exact = first_output(model, **inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rough = first_output(model, **inputs).float()
    assert (rough - exact).abs().mean() < 0.1 * exact.abs().mean()


@pytest.mark.parametrize("name", NAMES)
@every(DECODERS | TRANSLATORS)
def test_generation_with_a_cache_is_generation_without(family, name):
    model, inputs = family.build(name), family.inputs()
    inputs.pop("decoder_input_ids", None)
    options = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    options |= {"output_logits": True, "return_dict_in_generate": True}
    cached, fresh = (model.generate(**inputs, **options, use_cache=use_cache) for use_cache in (True, False))
    for one, other in zip(cached.logits, fresh.logits, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    assert torch.equal(cached.sequences, fresh.sequences)


def test_it_compiles_and_a_changing_factor_does_not_compile_anew():
    from torch._dynamo.testing import CompileCounter

    model, inputs = FAMILIES["gpt2"].build("norm_softmax"), FAMILIES["gpt2"].inputs()
    torch.compiler.reset()
    counter = CompileCounter()
    compiled = torch.compile(model, backend=counter)
    for factor in (24.0, 17.0, 9.0, 4.0, 1.0):
        set_scale_factor(model, factor)
        assert torch.equal(first_output(compiled, **inputs), first_output(model, **inputs))
    assert counter.frame_count <= 2


# --- the temperature -------------------------------------------------------------------------------------------------


@every({name: FAMILIES[name] for name in ("roberta", "gpt2", "llama", "t5", "vit")})
def test_the_factor_multiplies_the_models_own_scale(family):
    eager, ours = family.build("eager"), family.build("scaled_softmax")
    usual = first_output(ours, **family.inputs())
    set_scale_factor(ours, 3.0)
    for module in attention_modules(eager):
        module.scaling *= 3.0
        if hasattr(module, "relative_attention_bias"):  # T5 adds it to the scaled logits: part of what a softmax sees
            module.relative_attention_bias.weight.data *= 3.0
    got = first_output(ours, **family.inputs())
    assert torch.allclose(got, first_output(eager, **family.inputs()), atol=1e-4)
    assert not torch.allclose(got, usual, atol=1e-2)
    set_scale_factor(ours, 1)
    assert torch.equal(first_output(ours, **family.inputs()), usual)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_factor_needs_one_of_our_attentions(attention):
    model = FAMILIES["gpt2"].build(attention)
    with pytest.raises(ValueError, match=f"GPT2LMHeadModel uses attn_implementation {attention}.*'scaled_softmax'"):
        set_scale_factor(model, 2.0)
    model.set_attn_implementation("scaled_softmax")
    set_scale_factor(model, 2.0)
    with pytest.raises(ValueError, match="factor must be in .*nearest valid value is 1e-06"):
        set_scale_factor(model, 0)
    with pytest.raises(TypeError, match="factor must be a number.*'2'"):
        set_scale_factor(model, "2")


# --- saving and loading ----------------------------------------------------------------------------------------------


@every(FAMILIES)
def test_a_saved_model_comes_back_with_its_attention_and_its_temperature(family, tmp_path):
    model = family.build("norm_softmax")
    set_scale_factor(model, 2.5)
    expected = first_output(model, **family.inputs())
    model.save_pretrained(tmp_path)
    loaded = family.auto.from_pretrained(tmp_path)
    assert loaded.config._attn_implementation == "norm_softmax"
    assert torch.equal(first_output(loaded, **family.inputs()), expected)


def test_a_saved_model_says_its_attention_as_it_was_last_set(tmp_path):
    """Nobody asks for it: neither here nor when the model is loaded, trained on and saved again."""
    family = FAMILIES["roberta"]
    model = family.build("norm_softmax")
    expected = first_output(model, **family.inputs())
    for folder in (tmp_path / "once", tmp_path / "twice"):
        model.save_pretrained(folder)
        model = family.auto.from_pretrained(folder)
        assert torch.equal(first_output(model, **family.inputs()), expected)
    other = family.auto.from_pretrained(folder, attn_implementation="eager")
    assert other.config._attn_implementation == "eager"
    for name in ("norm_softmax_var", "eager"):
        model.set_attn_implementation(name)
        model.save_pretrained(folder)
        kept = json.loads((folder / "config.json").read_text()).get("attn_implementation")
        assert kept == (None if name == "eager" else name), "a name of transformers' own is not kept, as ever"


def test_a_name_that_is_not_registered_is_an_error_when_loaded(tmp_path, monkeypatch):
    FAMILIES["bert"].build("norm_softmax").save_pretrained(tmp_path)
    monkeypatch.delitem(transformers.AttentionInterface._global_mapping, "norm_softmax")
    with pytest.raises(ValueError, match="norm_softmax.*is not supported"):
        transformers.AutoModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("image", ["eager", "norm_softmax"])
def test_a_model_of_two_parts_keeps_both(image, tmp_path):
    config = transformers.CLIPConfig(
        text_config=TEXT | {"max_position_embeddings": 20},
        vision_config=BERT | {"image_size": 8, "patch_size": 4},
        projection_dim=8,
    )
    names = {"text_config": "norm_softmax", "vision_config": image}
    model = transformers.AutoModel.from_config(config, attn_implementation=names)
    set_scale_factor(model, 3.0)
    model.save_pretrained(tmp_path)
    loaded = transformers.AutoModel.from_pretrained(tmp_path).config
    assert loaded.text_config._attn_implementation == "norm_softmax" and loaded.text_config.attention_scale_factor == 3
    assert loaded.vision_config._attn_implementation == image
    assert getattr(loaded.vision_config, "attention_scale_factor", None) == (None if image == "eager" else 3)
    assert json.loads((tmp_path / "config.json").read_text())["attn_implementation"]["vision_config"] == image


# --- which models work -----------------------------------------------------------------------------------------------

GROUPED = TEXT | {"num_key_value_heads": 2}
T5 = {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4, "vocab_size": WORDS}
T5 |= {"decoder_start_token_id": 1}
GPT = {"n_embd": 16, "n_layer": 2, "n_head": 4, "vocab_size": WORDS, "bos_token_id": 1, "eos_token_id": 2}
IMAGES = BERT | {"image_size": 8, "patch_size": 4}
SWIN = {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 2, "image_size": 16, "patch_size": 2}
SETTINGS = {
    **dict.fromkeys(
        "albert arcee bert bert-generation biogpt camembert cohere cohere2 data2vec-text electra ernie ernie4_5 esm "
        "eurobert gemma3_text glm glm4 gpt_neox granite layoutlm llama mobilebert modernbert nomic_bert olmo olmo2 "
        "olmo3 opt persimmon phi phi3 roberta roberta-prelayernorm smollm3 splinter starcoder2 xlm-roberta "
        "xlm-roberta-xl bloom deberta deberta-v2 falcon longformer megatron-bert mpnet mpt rembert roformer "
        "xlm".split(),
        TEXT,
    ),
    **dict.fromkeys("exaone4 gemma helium mistral mixtral qwen2 qwen3 seed_oss stablelm".split(), GROUPED),
    **dict.fromkeys("gpt2 gpt_bigcode".split(), GPT),
    **dict.fromkeys("codegen gptj".split(), GPT | {"rotary_dim": 2}),
    **dict.fromkeys("bart blenderbot led m2m_100 marian mbart mvp pegasus plbart".split(), BART | {"pad_token_id": 0}),
    **dict.fromkeys("mt5 t5 umt5".split(), T5),
    **dict.fromkeys("deit dinov2 ijepa vit vit_msn".split(), IMAGES),
    **dict.fromkeys("swin swinv2".split(), SWIN),
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 24, "vocab_size": WORDS},
    "gpt_neo": {"hidden_size": 16, "num_layers": 2, "num_heads": 4, "attention_types": [[["global"], 2]]},
    "whisper": BART | {"num_mel_bins": 8, "max_source_positions": 10, "pad_token_id": 0, "eos_token_id": 2},
    "xlnet": {"d_model": 16, "n_layer": 2, "n_head": 4, "d_inner": 24, "vocab_size": WORDS},
}


def tiny(kind: str) -> Family:
    """A small model of a ``model_type``, without its head."""
    settings = SETTINGS[kind]
    config = transformers.AutoConfig.for_model(kind, **settings | ({"head_dim": 4} if settings is GROUPED else {}))
    if "image_size" in settings:
        size = settings["image_size"]
        inputs = {"pixel_values": torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))}
    elif kind == "whisper":
        inputs = OTHERS["whisper"].inputs()
    else:
        inputs = {"input_ids": words()} | ({"decoder_input_ids": words(1)} if config.is_encoder_decoder else {})
    return Family(transformers.AutoModel, config, lambda: inputs)


def test_the_lists_are_in_order_and_all_of_them_is_tested():
    for kinds in (WORKS, REFUSED):
        assert list(kinds) == sorted(set(kinds))
    assert {*WORKS, *REFUSED} == set(SETTINGS) and not {*WORKS} & {*REFUSED}


@pytest.mark.filterwarnings("error:.*is for attention that goes through")
@pytest.mark.parametrize("kind", WORKS)
def test_it_works(kind):
    family = tiny(kind)
    inputs, model = family.inputs(), family.build("scaled_softmax")
    usual = first_output(model, **inputs)
    assert torch.allclose(usual, first_output(family.build("eager"), **inputs), atol=1e-5)
    set_scale_factor(model, 3.0)
    for other in (first_output(model, **inputs), first_output(family.build("norm_softmax"), **inputs)):
        assert other.isfinite().all() and not torch.allclose(other, usual, atol=1e-2)


@pytest.mark.parametrize("kind", REFUSED)
def test_it_refuses(kind):
    family = tiny(kind)
    said = (
        "computes its attention itself: attn_implementation='norm_softmax' would do nothing.*Tested to work: albert, "
    )
    with pytest.raises(ValueError, match=said):
        family.build("norm_softmax")
    assert first_output(family.build("eager"), **family.inputs()).isfinite().all(), "nothing changes without our names"


@pytest.mark.parametrize("kind", ["mpnet", "swinv2"])
def test_it_refuses_to_be_changed(kind):
    """And is what it was, after that."""
    family = tiny(kind)
    model = family.build("eager")
    expected = first_output(model, **family.inputs())
    with pytest.raises(ValueError, match="'norm_softmax' would do nothing"):
        model.set_attn_implementation("norm_softmax")
    model.set_attn_implementation("eager")
    assert torch.equal(first_output(model, **family.inputs()), expected)
    with pytest.raises(ValueError, match="a scale factor needs one of"):
        set_scale_factor(model, 2.0)


def test_a_part_that_cannot_is_named_and_parts_can_have_names_of_their_own():
    """A Swinv2 that looks and a BERT that writes."""
    writer = transformers.BertConfig(**TEXT, is_decoder=True, add_cross_attention=True)
    parts = {"encoder": SETTINGS["swinv2"] | {"model_type": "swinv2"}, "decoder": writer.to_dict()}
    names = {"encoder": "eager", "decoder": "norm_softmax"}
    build = transformers.VisionEncoderDecoderModel._from_config
    with pytest.raises(ValueError, match="Swinv2Model computes its attention itself.*name its parts"):
        build(transformers.VisionEncoderDecoderConfig(**parts), attn_implementation="norm_softmax")
    model = build(transformers.VisionEncoderDecoderConfig(**parts), attn_implementation={"": "eager"} | names)
    set_scale_factor(model, 2.0)
    assert {part: getattr(model, part).config._attn_implementation for part in names} == names
    with pytest.raises(ValueError, match="Swinv2Model computes its attention itself"):
        model.set_attn_implementation("scaled_softmax")
    assert {part: getattr(model, part).config._attn_implementation for part in names} == names


def test_a_model_without_attention_is_named_and_may_be_part_of_one_with():
    """A ResNet that looks and a BERT that writes: the name is for the second."""
    picture = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8], "depths": [1], "hidden_size": 8}
    writer = transformers.BertConfig(**TEXT, is_decoder=True, add_cross_attention=True).to_dict()
    config = transformers.VisionEncoderDecoderConfig(encoder=picture, decoder=writer)
    with pytest.warns(UserWarning, match="ResNetModel: attn_implementation='norm_softmax' .* all parts, it has none"):
        model = transformers.VisionEncoderDecoderModel._from_config(config, attn_implementation="norm_softmax")
    set_scale_factor(model, 2.0)
    assert model.encoder(torch.zeros(1, 3, 16, 16)).last_hidden_state.shape == (1, 8, 4, 4)


@pytest.mark.parametrize(
    "config, others",
    [
        (transformers.SiglipVisionConfig(**IMAGES), "as before go on: MultiheadAttention, Siglip"),
        (transformers.LongT5Config(**T5), "as before go on: LongT5LayerLocalSelfAttention, LongT5LocalAttention"),
    ],
)
def test_attention_beside_that_which_takes_the_name_is_named(config, others):
    with pytest.warns(UserWarning, match=f"'norm_softmax' is for attention that goes through .*{others}"):
        transformers.AutoModel.from_config(config, attn_implementation="norm_softmax")


def test_a_model_defined_in_a_notebook_takes_the_name():
    """It has no source file by which transformers could judge."""
    own = type("Own", (transformers.BertModel,), {"__module__": "__main__"})
    assert attention_modules(own._from_config(transformers.BertConfig(**TEXT), attn_implementation="norm_softmax"))
    refused = type("Own", (transformers.DebertaModel,), {"__module__": "__main__"})
    with pytest.raises(ValueError, match="Own computes its attention itself"):
        refused._from_config(transformers.DebertaConfig(**TEXT), attn_implementation="norm_softmax")


# --- one's own, and what goes wrong ----------------------------------------------------------------------------------


@pytest.fixture
def own(monkeypatch):
    """Add a normaliser for one test."""

    def add(name, function):
        monkeypatch.setitem(METHODS, name, Method(function))
        for interface in (transformers.AttentionInterface, transformers.AttentionMaskInterface):
            monkeypatch.setitem(interface._global_mapping, name, None)  # so that it goes again
        huggingface._registered.add(name)
        register(name)

    yield add
    huggingface._registered.intersection_update(NAMES)


def squared_relu(logits, scale, visible=None):
    weights = (logits * scale).relu().square() + 1e-6
    weights = weights if visible is None else weights.where(visible, 0)
    return weights / weights.sum(dim=-1, keepdim=True)


def test_ones_own_is_registered_in_one_line(own):
    own("own_relu", squared_relu)
    family = FAMILIES["gpt2"]
    model, inputs = family.build("own_relu"), family.inputs()
    with torch.no_grad():
        weights = model(**inputs, output_attentions=True).attentions[0]
    assert torch.allclose(weights.sum(-1), torch.ones(2, 4, TOKENS))
    assert (weights[1].triu(1) == 0).all() and (weights[0, :, PADDING:, :PADDING] == 0).all()


def test_one_that_knows_no_masks_says_so_where_there_is_one(own):
    own("own_maskless", lambda logits, scale: torch.softmax(logits * scale, -1))
    images = FAMILIES["vit"]
    assert torch.allclose(
        first_output(images.build("own_maskless"), **images.inputs()),
        first_output(images.build("eager"), **images.inputs()),
        atol=1e-5,
    )
    with pytest.raises(ValueError, match="knows no masks.*third argument 'visible'"):
        first_output(FAMILIES["gpt2"].build("own_maskless"), **FAMILIES["gpt2"].inputs())


def test_bad_names_are_named():
    with pytest.raises(ValueError, match="unknown attention 'norm_sofmax'.*did you mean 'norm_softmax'"):
        register("norm_sofmax")
    with pytest.raises(ValueError, match="'qk_norm' needs more than logits.*allowed are entmax15, norm_softmax, "):
        register("qk_norm")
    with pytest.raises(ValueError, match="'sdpa' is an attention of transformers itself"):
        register("sdpa", "softmax")


def test_a_model_that_wants_more_than_a_softmax_is_refused():
    config = transformers.Gemma2Config(**TEXT, num_key_value_heads=2, head_dim=4, attn_logit_softcapping=50.0)
    model = CAUSAL.from_config(config, attn_implementation="norm_softmax")
    with pytest.raises(ValueError, match="Gemma2Attention asks for softcap"):
        model(input_ids=words())


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_without_transformers_the_error_names_the_extra():
    code = """
import sys
sys.modules["transformers"] = None  # as if it were not installed
try:
    import eureka_lib.attention.huggingface
except ImportError as error:
    print(error)
"""
    assert "needs transformers 5.23 or newer, which the extra 'hf' installs" in python(code)


def test_the_rest_of_the_library_does_not_wait_for_transformers():
    ours = "experiments.experiment", "experiments.sweep", "plots.page", "claims"
    imports = ", ".join(f"eureka_lib.{module}" for module in ours)
    assert python(f"import sys, {imports}; print('transformers' in sys.modules)").strip() == "False"
