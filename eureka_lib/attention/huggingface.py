"""The paper's fixes as drop-in attention for Hugging Face models that use transformers' attention interface.

Importing this module registers ``norm_softmax``, ``norm_softmax_var`` and ``scaled_softmax``; models take them by name:

    import eureka_lib.attention.huggingface

    model = AutoModel.from_config(config, attn_implementation="norm_softmax")

``scaled_softmax`` is the plain softmax at a temperature of one's own, which :func:`set_scale_factor` sets, for good or
step by step (Heat Treatment: :mod:`eureka_lib.attention.heat_callback`). The normalisers are those of
:mod:`eureka_lib.attention.registry`; one of your own joins them with :func:`register`. What a model asks of its
attention is kept: its scale, grouped heads, relative positions, dropout, masks. Statistics are over visible keys only.

Which models. :data:`WORKS` lists the kinds that are tested, :data:`REFUSED` kinds that compute their attention
themselves: transformers lets them take any name and does nothing with it. Since this module was imported that is an
error, when the model is built or its attention set, of these and of all others of which a part has no attention but its
own; a model without any attention raises at its first call. Where some modules take the name and others beside them do
not (a pooling head, deformable attention), a warning names those that go on as before. A model of several parts takes
a name for each: ``attn_implementation={"text_config": "norm_softmax", "vision_config": "eager"}``.

Where things are kept. transformers keeps the name of the attention in the *configuration object*, and models built from
one object share it: after ``from_config(config, attn_implementation=...)`` for a second model the first has changed,
too. Give each its own, ``copy.deepcopy(config)``. Name and scale factor are entries of the configuration and saved in
``config.json`` with every checkpoint, so that ``from_pretrained`` brings both back. It asks that this module has been
imported; without that it says that it does not know the name. (A buffer would not do: transformers builds a model
before it loads the weights, and drops those that it did not build.) LoRA and other adapters of peft's are saved without
a configuration: once :func:`set_scale_factor` was called on a ``PeftModel``, or Heat Treatment has, the factor is kept
in ``adapter_model.safetensors`` and loaded from there. The name belongs to the base model: give it that again.

Weights are computed the naive way, all logits at once, as ``eager`` does: a model may be asked for them in ways that
cannot be seen from here, and most models have masks with which the fused form is of no use. Products and statistics are
float32 at least, in half precision and under autocast, too.

Needs transformers, an extra: ``pip install -e '.[hf]'``.
"""

import functools
import inspect
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType

import torch
from torch import Tensor, nn

from eureka_lib.attention.normalisers import Normaliser
from eureka_lib.attention.registry import METHODS, Method, check_attention
from eureka_lib.validation import check_real

try:
    import transformers
    from transformers.masking_utils import eager_mask
except ImportError as error:
    raise ImportError(
        "eureka_lib.attention.huggingface needs transformers 5.23 or newer, which the extra 'hf' installs: "
        "pip install -e '.[hf]' in the folder of this project"
    ) from error

HIDDEN = -1e4  # an additive mask at or below this hides a key; in use are -inf, the least number, -1e9 and -10,000
UNSUPPORTED = ("softcap", "s_aux", "sinks", "indices", "block_indices")  # what some models ask for beside a softmax

# Kinds of models (their ``model_type``) that are tested, each against its own eager attention.
WORKS = (
    "albert arcee bart bert bert-generation biogpt blenderbot camembert codegen cohere cohere2 data2vec-text deit "
    "dinov2 distilbert electra ernie ernie4_5 esm eurobert exaone4 gemma gemma3_text glm glm4 gpt2 gpt_bigcode "
    "gpt_neox gptj granite helium ijepa layoutlm llama m2m_100 marian mbart mistral mixtral mobilebert modernbert "
    "mt5 nomic_bert olmo olmo2 olmo3 opt pegasus persimmon phi phi3 plbart qwen2 qwen3 roberta "
    "roberta-prelayernorm seed_oss smollm3 splinter stablelm starcoder2 swin t5 umt5 vit vit_msn whisper "
    "xlm-roberta xlm-roberta-xl"
).split()
# Kinds that compute their attention themselves, tested to say so.
REFUSED = (
    "bloom deberta deberta-v2 falcon gpt_neo led longformer longt5 mamba megatron-bert mpnet mpt mvp rembert "
    "roformer swinv2 xlm xlnet"
).split()

ADAPTER = "adapter_model.safetensors"  # peft's name for an adapter's weights
FACTOR = "attention_scale_factor"  # of the usual scale: an entry of the configuration, or an adapter's tensor

SOFTMAXES = {"softmax", "Softmax", "scaled_dot_product_attention", "multi_head_attention_forward"}

_registered: set[str] = set()


def register(name: str, attention: str | None = None) -> None:
    """Make an attention of :data:`METHODS` known to transformers, as ``attn_implementation=name``.

    ``attention`` is its name in METHODS, None if it is the same. Registering a name again replaces what it stood
    for. Raises ValueError for an unknown ``attention``, for one that learns a number per head or treats queries and
    keys, which have no place in somebody else's model, and for a name that transformers itself uses.
    """
    attention = attention or name
    method = check_attention(attention)
    if not _is_logits_alone(method):
        allowed = sorted(name for name, other in METHODS.items() if other.normaliser and _is_logits_alone(other))
        raise ValueError(
            f"{attention!r} needs more than logits, a learned number per head or other queries and keys, for which a "
            f"model of transformers' has no place: allowed are {', '.join(allowed)}"
        )
    taken = {"eager", *transformers.AttentionInterface().valid_keys()} - _registered
    if name in taken:
        raise ValueError(f"{name!r} is an attention of transformers itself: choose a name other than {sorted(taken)}")
    _registered.add(name)
    transformers.AttentionInterface.register(name, functools.partial(attend, _with_masks(method.normaliser)))
    transformers.AttentionMaskInterface.register(name, eager_mask)  # without it the mask would silently be None


def _is_logits_alone(method: Method) -> bool:
    return method.learned is None and method.prepare is None


def attend(
    normaliser: Normaliser,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_bias: Tensor | None = None,
    **others: object,
) -> tuple[Tensor, Tensor]:
    """Attention as transformers calls it, but for its first argument.

    ``query`` (B, H, Q, D), ``key`` and ``value`` (B, G, K, D) where G divides H (grouped-query heads); the mask None,
    boolean (True: visible) or additive, broadcastable to (B, H, Q, K); ``scaling`` the model's own scale, None for
    1/sqrt(D); ``position_bias`` added to the scaled logits (T5): part of them, so the scale factor multiplies it, too.
    Returns (B, Q, H, D) and the weights (B, H, Q, K) after dropout, as ``eager`` does, in the type of ``value``; all
    before that is float32 at least, as half precision overflows in q·k or rounds away what the keys differ in.
    Raises ValueError if the model asks for something beside a softmax, see UNSUPPORTED.
    """
    asked = [name for name in UNSUPPORTED if others.get(name) is not None]
    if asked:
        raise ValueError(f"{type(module).__name__} asks for {', '.join(asked)}, which this attention does not have")
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    kind, dtype = value.dtype, torch.promote_types(query.dtype, torch.float32)
    with torch.autocast(query.device.type, enabled=False):  # which would lower the products again
        logits = query.to(dtype) @ key.to(dtype).transpose(-2, -1)  # (B, H, Q, K)
        scale = torch.ones((), dtype=dtype, device=logits.device)
        scale = scale * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        if position_bias is not None:
            logits = logits + position_bias / scale
        logits, visible = _apply_mask(logits, attention_mask, scale)
        weights = normaliser(logits, scale * _scale_factor(module), visible)
        weights = nn.functional.dropout(weights, dropout, module.training)
        out = (weights @ value.to(weights.dtype)).to(kind)
    return out.transpose(1, 2).contiguous(), weights.to(kind)


def _apply_mask(logits: Tensor, mask: Tensor | None, scale: Tensor) -> tuple[Tensor, Tensor | None]:
    """Logits plus the finite part of an additive mask (a bias), and which keys are visible, None for all.

    A row without a visible key (a query that is padding itself) sees all keys alike, as with ``eager``.
    """
    if mask is None:
        return logits, None
    visible = mask if mask.dtype == torch.bool else mask > HIDDEN
    if mask.dtype != torch.bool:
        logits = logits + mask.where(visible, 0) / scale
    blind = ~visible.any(-1, keepdim=True)
    return logits.masked_fill(blind, 0), visible | blind


def _with_masks(normaliser: Normaliser) -> Normaliser:
    """A normaliser that takes ``visible``: itself, or one that raises ValueError where keys are hidden."""
    try:
        inspect.signature(normaliser).bind("logits", "scale", "visible")
        return normaliser
    except TypeError:
        return functools.partial(_without_masks, normaliser)


def _without_masks(normaliser: Normaliser, logits: Tensor, scale: Tensor, visible: Tensor | None) -> Tensor:
    if visible is not None:
        raise ValueError(
            f"the normaliser {normaliser.__name__!r} knows no masks, and this model has one (padding or the future): "
            "give it a third argument 'visible', None or boolean, False for hidden keys"
        )
    return normaliser(logits, scale)


def _scale_factor(module: nn.Module) -> float:
    return getattr(module.config, "attention_scale_factor", 1.0)


def attention_modules(model: nn.Module) -> list[nn.Module]:
    """The modules of ``model`` that go through transformers' attention interface, in order of registration."""
    return [module for module in model.modules() if _asks_the_interface(type(module))]


@functools.cache
def _asks_the_interface(kind: type[nn.Module]) -> bool:
    return "ALL_ATTENTION_FUNCTIONS" in _words_of(kind.forward)


@functools.cache
def _attends_by_itself(kind: type[nn.Module]) -> bool:
    """Whether modules of this kind are attention by their name and compute it, to judge by the names in their code."""
    if issubclass(kind, nn.MultiheadAttention):
        return True
    if _asks_the_interface(kind) or not any(word in kind.__name__.lower() for word in ("attention", "attn")):
        return False
    bases = [base for base in kind.__mro__ if not base.__module__.startswith("torch.")]
    methods = [method for base in bases for method in vars(base).values() if callable(method)]
    return any(_words_of(method) & SOFTMAXES for method in methods)


def _words_of(function: object) -> set[str]:
    """Names of whatever a Python function mentions, comprehensions and inner functions included."""
    function = inspect.unwrap(function)
    return _words_in(function.__code__) if isinstance(function, FunctionType) else set()


def _words_in(code: CodeType) -> set[str]:
    inner = (_words_in(part) for part in code.co_consts if isinstance(part, CodeType))
    return set(code.co_names).union(*inner)


def set_scale_factor(model: nn.Module, factor: float) -> None:
    """Multiply the scale of every attention in ``model`` by ``factor``; its temperature is 1/factor of the usual one.

    ``model`` is one of transformers', or a ``PeftModel`` around one. Above 1 attention is sharper, below it flatter.
    The factor replaces an earlier one, is kept in the configuration and saved with the model, or with its adapter.
    Models that share a configuration object share it. Raises ValueError if no attention of the model is one of ours,
    and for a factor below 1e-6; TypeError if it is no number.
    """
    check_real("factor", factor, 1e-6)
    used = [module.config for module in attention_modules(model)]
    if not any(_is_ours(config) for config in used):
        names = sorted({str(config._attn_implementation) for config in (model.config, *used)})
        raise ValueError(
            f"{type(model).__name__} uses attn_implementation {', '.join(names)}, and no attention that goes by such a "
            f"name is one of ours; a scale factor needs one of {', '.join(sorted(_registered))}: "
            "model.set_attn_implementation('scaled_softmax')"
        )
    for config in filter(_is_ours, (model.config, *used)):
        setattr(config, FACTOR, float(factor))
    peft = sys.modules.get("peft")
    if peft is not None and isinstance(model, peft.PeftModel) and "save_pretrained" not in vars(model):
        model.save_pretrained = functools.partial(_save_adapter, model, model.save_pretrained)


def _is_ours(config: transformers.PreTrainedConfig) -> bool:
    return config._attn_implementation in _registered


# --- adapters of peft's ----------------------------------------------------------------------------------------------


def _save_adapter(model: nn.Module, save_pretrained, folder: str | Path, *others: object, **options: object) -> None:
    """Save as peft does, and put the scale factor beside the adapter's weights, of which each has its own file."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    save_pretrained(folder, *others, **options)
    factor = next(getattr(module.config, FACTOR) for module in attention_modules(model) if _is_ours(module.config))
    places = (Path(folder) / ("" if name == "default" else name) / ADAPTER for name in model.peft_config)
    files = [file for file in places if file.exists()]
    if not files and options.get("is_main_process", True):
        raise ValueError(f"no {ADAPTER} was written to {folder}, so the attention's scale factor would be lost")
    for file in files:
        with safe_open(file, "pt") as saved:
            tensors, notes = {key: saved.get_tensor(key) for key in saved.keys()}, saved.metadata()  # noqa: SIM118
        save_file(tensors | {f"base_model.model.{FACTOR}": torch.tensor(factor, dtype=torch.float64)}, file, notes)


def _load_factor(model: transformers.PreTrainedModel, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Before a state is loaded into ``model``: take an adapter's scale factor out of it."""
    if prefix + FACTOR in state:
        set_scale_factor(model, state.pop(prefix + FACTOR).item())


# --- no name is taken and ignored ------------------------------------------------------------------------------------


def _settle(model: transformers.PreTrainedModel) -> None:
    """Once ``model`` is complete, or its attention's name set: see that the name has an effect, and that it is saved.

    Raises ValueError if all its attention is its own, and warns of that which is beside attention that takes the name.
    A model without attention may be part of another, so that only its call, if it comes first, is an error.
    """
    for part in _parts(model):
        if waiting := vars(part).pop("_refuses_to_be_called", None):
            waiting.remove()
    if _is_ours(model.config):
        takes = any(_is_ours(module.config) for module in attention_modules(model))
        own = sorted({type(module).__name__ for module in _own_modules(model) if _attends_by_itself(type(module))})
        if own and not takes:
            raise _refusal(model, f"computes its attention itself ({', '.join(own)})")
        if own:
            warnings.warn(
                f"{type(model).__name__}: attn_implementation={model.config._attn_implementation!r} is for part of its "
                f"attention; this computes itself and goes on as before: {', '.join(own)}",
                stacklevel=4,
            )
        if not takes:
            model._refuses_to_be_called = model.register_forward_pre_hook(_refuse_to_be_called)
    _remember(model.config)


def _settle_all(model: transformers.PreTrainedModel) -> None:
    for part in reversed(_parts(model)):
        _settle(part)


def _is_adopted(asked: str | dict, names: str | dict) -> bool:
    """Whether the names of a configuration, as :func:`_names` gives them, are those asked for, where these are ours."""
    if isinstance(names, str):
        return asked not in _registered or names == asked
    given = asked if isinstance(asked, dict) else dict.fromkeys(names, asked)
    return all(_is_adopted(given[key], names[key]) for key in given.keys() & names.keys())


def _refuse_to_be_called(model: transformers.PreTrainedModel, inputs: tuple) -> None:
    raise _refusal(model, "has no attention that goes through transformers' interface")


def _refusal(model: transformers.PreTrainedModel, why: str, name: str | None = None) -> ValueError:
    return ValueError(
        f"{type(model).__name__} {why}: attn_implementation={name or model.config._attn_implementation!r} would do "
        f"nothing. Tested to work: {', '.join(WORKS)}; others that go through transformers' attention interface "
        "should, too. If this is part of a larger model, name its parts: attn_implementation={'text_config': ..., ...}"
    )


def _parts(model: nn.Module) -> list[transformers.PreTrainedModel]:
    """The models of transformers' within ``model``, itself included, outer ones first."""
    return [module for module in model.modules() if isinstance(module, transformers.PreTrainedModel)]


def _own_modules(module: nn.Module) -> Iterator[nn.Module]:
    """The modules within ``module`` but for those of other models of transformers' within it."""
    for child in module.children():
        if not isinstance(child, transformers.PreTrainedModel):
            yield child
            yield from _own_modules(child)


def _remember(config: transformers.PreTrainedConfig) -> None:
    """Make the names of our attentions an entry of the configuration, which is saved; of its own accord none is."""
    names = _names(config)
    if any(name in str(names) for name in _registered):
        config.attn_implementation = names
    else:
        vars(config).pop("attn_implementation", None)


def _names(config: transformers.PreTrainedConfig) -> str | dict:
    parts = {key: part for key in config.sub_configs if (part := getattr(config, key, None)) is not None}
    name = config._attn_implementation
    return {"": name} | {key: _names(part) for key, part in parts.items()} if parts else name


def _lacking(kind: type[nn.Module], name: str) -> str | None:
    """The table by which a model of this kind chooses a class of attention, if it does so and ``name`` is not in it."""
    module, seen, todo = vars(sys.modules[kind.__module__]), set(), [kind]
    while todo:
        for word in _words_of(todo.pop().__init__) - seen:
            seen.add(word)
            found = module.get(word)
            if isinstance(found, dict) and "eager" in found and name not in found:
                return word
            if isinstance(found, type) and issubclass(found, nn.Module):
                todo += [] if issubclass(found, transformers.PreTrainedModel) else [found]
    return None


def _watch(kind: type[transformers.PreTrainedModel]) -> None:
    """Have :func:`_settle` called where transformers decides on a model's attention; nothing else changes.

    There is no hook for it, so three public methods are wrapped, once. Models without our names pass through.
    """
    if hasattr(kind.post_init, "__wrapped__"):
        return
    choose, complete, change = kind.get_correct_attn_implementation, kind.post_init, kind.set_attn_implementation

    @functools.wraps(choose)
    def get_correct_attn_implementation(self, requested_attention, *others, **options):
        if requested_attention in _registered and (table := _lacking(type(self), requested_attention)):
            raise _refusal(self, f"chooses its attention from a table of its own ({table})", requested_attention)
        return choose(self, requested_attention, *others, **options)

    @functools.wraps(complete)
    def post_init(self):
        complete(self)
        self.register_load_state_dict_pre_hook(_load_factor)
        _settle(self)

    @functools.wraps(change)
    def set_attn_implementation(self, attn_implementation, *others, **options):
        before = _names(self.config)
        change(self, attn_implementation, *others, **options)
        try:
            if not _is_adopted(attn_implementation, _names(self.config)):  # which transformers only logs
                raise _refusal(self, "has attention that takes no name", str(attn_implementation))
            _settle_all(self)
        except ValueError:
            self.config._attn_implementation = before
            _settle_all(self)
            raise

    kind.get_correct_attn_implementation = get_correct_attn_implementation
    kind.post_init = post_init
    kind.set_attn_implementation = set_attn_implementation


_watch(transformers.PreTrainedModel)
register("norm_softmax")
register("norm_softmax_var")
register("scaled_softmax", "softmax")
