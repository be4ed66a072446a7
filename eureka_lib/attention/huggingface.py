"""The paper's fixes as drop-in attention for Hugging Face models that use transformers' attention interface.

Importing this module registers ``norm_softmax``, ``norm_softmax_var`` and ``scaled_softmax``; models take them by name:

    import eureka_lib.attention.huggingface

    model = AutoModel.from_config(config, attn_implementation="norm_softmax")

``scaled_softmax`` is the plain softmax at a temperature that :func:`set_scale_factor` sets, for good or step by step
(Heat Treatment: :class:`HeatTreatmentCallback`). The normalisers are those of :mod:`eureka_lib.attention.registry`; one
of your own joins them with :func:`register`. Scale, grouped heads, relative positions, dropout and masks stay the
model's. Statistics are over visible keys only.

Which models. :data:`WORKS` lists the kinds that are tested, :data:`REFUSED` kinds that compute their attention
themselves, which transformers lets take any name without effect. Once this module is imported that is an error, when
the model is built or its attention set, for every kind of which transformers says so. Attention that does not take the
name beside some that does (a pooling head, LongT5's local attention) is named in a warning; so is a model without any.
A model of several parts takes a name for each:
``attn_implementation={"text_config": "norm_softmax", "vision_config": "eager"}``.

Where things are kept. transformers keeps the name of the attention in the *configuration object*, which models built
from one object share: give each its own, ``copy.deepcopy(config)``. Name and scale factor are entries of the
configuration and saved in ``config.json`` with every checkpoint, so that ``from_pretrained`` restores both; without an
import of this module it raises an error for the name. (A buffer would not do: transformers builds a model before it
loads the weights, and drops those that it did not build.) Adapters of peft's (LoRA) are saved without a configuration:
set name and factor again after loading.

Weights are computed naively, all logits at once, as ``eager`` does: a model may be asked for them in ways that cannot
be seen from here, and the fused form takes no causal masks. Products and statistics are float32 at least, in half
precision and under autocast, too.

Needs transformers, an extra: ``pip install -e '.[hf]'``.
"""

import functools
import inspect
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from eureka_lib.attention.heat import SCALE_SCHEDULES, heat
from eureka_lib.attention.normalisers import Normaliser
from eureka_lib.attention.registry import METHODS, Method, check_attention
from eureka_lib.validation import check_choice, check_real

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
    "bloom deberta deberta-v2 falcon gpt_neo led longformer megatron-bert mpnet mpt mvp rembert roformer swinv2 xlm "
    "xlnet"
).split()

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
        weights = normaliser(logits, scale * getattr(module.config, "attention_scale_factor", 1.0), visible)
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
    if len(inspect.signature(normaliser).parameters) > 2:
        return normaliser

    def without_masks(logits: Tensor, scale: Tensor, visible: Tensor | None) -> Tensor:
        if visible is not None:
            raise ValueError(
                f"the normaliser {normaliser.__name__!r} knows no masks, and this model has one (padding or the "
                "future): give it a third argument 'visible', None or boolean, False for hidden keys"
            )
        return normaliser(logits, scale)

    return without_masks


def attention_modules(model: nn.Module) -> list[nn.Module]:
    """The modules of ``model`` that go through transformers' attention interface, in order of registration."""
    return [module for module in model.modules() if _asks_the_interface(type(module))]


@functools.cache
def _asks_the_interface(kind: type[nn.Module]) -> bool:
    code = getattr(inspect.unwrap(kind.forward), "__code__", None)
    return code is not None and "ALL_ATTENTION_FUNCTIONS" in code.co_names


def set_scale_factor(model: nn.Module, factor: float) -> None:
    """Multiply the scale of every attention in ``model`` by ``factor``; its temperature is 1/factor of the usual one.

    Above 1 attention is sharper, below it flatter. The factor replaces an earlier one, is kept in the configuration,
    which models may share, and saved with it. Raises ValueError if no attention of the model is one of ours, and for a
    factor below 1e-6; TypeError if it is no number.
    """
    check_real("factor", factor, 1e-6)
    used = [module.config for module in attention_modules(model)]
    if not any(map(_is_ours, used)):
        names = sorted({str(config._attn_implementation) for config in (model.config, *used)})
        raise ValueError(
            f"{type(model).__name__} uses attn_implementation {', '.join(names)}, and no attention that goes by such a "
            f"name is one of ours; a scale factor needs one of {', '.join(sorted(_registered))}: "
            "model.set_attn_implementation('scaled_softmax')"
        )
    for config in filter(_is_ours, (model.config, *used)):
        config.attention_scale_factor = float(factor)


def _is_ours(config: transformers.PreTrainedConfig) -> bool:
    return config._attn_implementation in _registered


class HeatTreatmentCallback(transformers.TrainerCallback):
    """Heat Treatment in transformers' Trainer: the factor of each update, from ``scale_start`` down to 1.

        model = AutoModel...from_config(config, attn_implementation="scaled_softmax")
        Trainer(model, ..., callbacks=[HeatTreatmentCallback()])

    The paper's values are the defaults; ``schedule`` is a name in SCALE_SCHEDULES. A training that is resumed, or that
    loads its best checkpoint at the end, has the factor of the step it came from. Raises ValueError for an unknown
    schedule or a start below 1e-6, and, when training begins, for a model whose attention has no factor to set.
    """

    def __init__(self, scale_start: float = 24.0, schedule: str = "half_cosine"):
        self.scale_start = check_real("scale_start", scale_start, 1e-6)
        self.schedule = check_choice("schedule", schedule, SCALE_SCHEDULES)

    def on_step_begin(self, args, state, control, model, **others) -> None:
        """The factor of the update that comes next; ``state.global_step`` have been made."""
        self._set(model, state.global_step, state.max_steps)

    def on_train_end(self, args, state, control, model, **others) -> None:
        """The factor of the best checkpoint, if its weights have just been loaded: the Trainer loads nothing else."""
        if args.load_best_model_at_end and state.best_global_step:
            self._set(model, state.best_global_step - 1, state.max_steps)

    def _set(self, model, step: int, steps: int) -> None:
        set_scale_factor(model, heat(step, steps, self.scale_start, self.schedule))


# --- no name is taken and ignored, and none is lost on saving --------------------------------------------------------


def _check_kind(model: transformers.PreTrainedModel, name: str) -> None:
    """Raise ValueError if transformers says that models of this kind take no attention by name."""
    base = transformers.PreTrainedModel  # not asked itself: what is cached there would answer for all
    kinds = [kind for kind in type(model).__mro__ if issubclass(kind, base) and kind is not base]
    # Classes of a notebook have no source that transformers could judge by.
    if not all(kind._can_set_attn_implementation() for kind in kinds if kind.__module__ != "__main__"):
        raise ValueError(
            f"{type(model).__name__} computes its attention itself: attn_implementation={name!r} would do nothing. "
            f"Tested to work: {', '.join(WORKS)}; others that go through transformers' attention interface should, "
            "too. If this is part of a larger model, name its parts: attn_implementation={'text_config': ..., ...}"
        )


def _warn_of_others(model: transformers.PreTrainedModel) -> None:
    """Warn of attention that goes on as before beside that which takes the name, or that there is none."""
    others = sorted({
        type(module).__name__
        for module in _own_modules(model)
        if "attention" in type(module).__name__.lower() and not attention_modules(module)
    })  # fmt: skip
    if others or not attention_modules(model):
        warnings.warn(
            f"{type(model).__name__}: attn_implementation={model.config._attn_implementation!r} is for attention that "
            f"goes through transformers' interface; as before go on: {', '.join(others) or 'all parts, it has none'}",
            stacklevel=4,
        )


def _own_modules(module: nn.Module) -> Iterator[nn.Module]:
    """The modules within ``module`` but for those of other models of transformers' within it."""
    for child in module.children():
        if not isinstance(child, transformers.PreTrainedModel):
            yield child
            yield from _own_modules(child)


def _remember(config: transformers.PreTrainedConfig) -> None:
    """Make the names of our attentions an entry of the configuration, which is saved; transformers saves none."""
    names = _names(config)
    if any(name in str(names) for name in _registered):
        config.attn_implementation = names
    else:
        vars(config).pop("attn_implementation", None)


def _names(config: transformers.PreTrainedConfig) -> str | dict:
    parts = {key: part for key in config.sub_configs if (part := getattr(config, key, None)) is not None}
    name = config._attn_implementation
    return {"": name} | {key: _names(part) for key, part in parts.items()} if parts else name


def _watch(kind: type[transformers.PreTrainedModel]) -> None:
    """Check and remember where transformers decides on a model's attention; models without our names pass through.

    There is no hook for it, so three public methods are wrapped, once.
    """
    if hasattr(kind.post_init, "__wrapped__"):
        return
    choose, complete, change = kind.get_correct_attn_implementation, kind.post_init, kind.set_attn_implementation

    @functools.wraps(choose)
    def get_correct_attn_implementation(self, requested_attention, *others, **options):
        if requested_attention in _registered:
            _check_kind(self, requested_attention)
        return choose(self, requested_attention, *others, **options)

    @functools.wraps(complete)
    def post_init(self):
        complete(self)
        if _is_ours(self.config):
            _warn_of_others(self)
        _remember(self.config)

    @functools.wraps(change)
    def set_attn_implementation(self, attn_implementation, *others, **options):
        parts = [module for module in self.modules() if isinstance(module, transformers.PreTrainedModel)]
        if isinstance(attn_implementation, str) and attn_implementation in _registered:
            for part in parts:
                _check_kind(part, attn_implementation)
        change(self, attn_implementation, *others, **options)
        for part in parts:
            if _is_ours(part.config):
                _warn_of_others(part)
            _remember(part.config)

    kind.get_correct_attn_implementation = get_correct_attn_implementation
    kind.post_init = post_init
    kind.set_attn_implementation = set_attn_implementation


_watch(transformers.PreTrainedModel)
register("norm_softmax")
register("norm_softmax_var")
register("scaled_softmax", "softmax")
