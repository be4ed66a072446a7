"""The paper's fixes as drop-in attention for any Hugging Face model that uses transformers' attention interface.

Importing this module registers ``norm_softmax``, ``norm_softmax_var`` and ``scaled_softmax``; models take them by name:

    import eureka_lib.models.huggingface

    model = AutoModel.from_config(config, attn_implementation="norm_softmax")

``scaled_softmax`` is the plain softmax at a temperature of one's own, which :func:`set_scale_factor` sets, for good or
step by step (Heat Treatment: :mod:`eureka_lib.heat_callback`). The normalisers are those of
:mod:`eureka_lib.models.attention`; one of your own joins them with :func:`register`. What a model asks of its attention
is kept: its scale, grouped heads, relative positions, dropout, masks. Statistics are over visible keys only.

Where things are kept. transformers keeps the name of the attention in the *configuration object*, and models built from
one object share it: after ``from_config(config, attn_implementation=...)`` for a second model the first has changed,
too. Give each its own, ``copy.deepcopy(config)``. The name is not saved: a reload silently gives the default, plain
softmax. Say it again, ``from_pretrained(folder, attn_implementation="norm_softmax")``, or call
:func:`remember_attention` once before saving. The scale factor is an entry of the configuration, as well, and is saved
in ``config.json`` with every checkpoint, so that each evaluates at the temperature it was trained with. (A buffer would
not do: transformers builds a model before it loads the weights, and drops those that it did not build.)

Weights are computed the naive way, all logits at once, as ``eager`` does: a model may be asked for them in ways that
cannot be seen from here, and most models have masks with which the fused form is of no use.

Needs transformers, an extra: ``pip install -e '.[hf]'``.
"""

import functools
import inspect

import torch
from torch import Tensor, nn

from eureka_lib.models.attention import LEARNED, NORMALISERS, QUERY_KEY, Normaliser
from eureka_lib.validation import check_choice, check_real

try:
    import transformers
    from transformers.masking_utils import eager_mask
except ImportError as error:
    raise ImportError(
        "eureka_lib.models.huggingface needs transformers 5.23 or newer, which the extra 'hf' installs: "
        "pip install -e '.[hf]' in the folder of this project"
    ) from error

HIDDEN = -1e4  # an additive mask at or below this hides a key; in use are -inf, the least number, -1e9 and -10,000
UNSUPPORTED = ("softcap", "s_aux", "sinks", "indices", "block_indices")  # what some models ask for beside a softmax

_registered: set[str] = set()


def register(name: str, attention: str | None = None) -> None:
    """Make a normaliser of :data:`NORMALISERS` known to transformers, as ``attn_implementation=name``.

    ``attention`` is its name in NORMALISERS, None if it is the same. Registering a name again replaces what it stood
    for. Raises ValueError for an unknown ``attention``, for one that learns a number per head or treats queries and
    keys, which have no place in somebody else's model, and for a name that transformers itself uses.
    """
    attention = check_choice("attention", attention or name, NORMALISERS)
    if attention in LEARNED or attention in QUERY_KEY:
        allowed = sorted(NORMALISERS.keys() - LEARNED.keys() - QUERY_KEY.keys())
        raise ValueError(
            f"{attention!r} needs more than logits, a learned number per head or other queries and keys, for which a "
            f"model of transformers' has no place: allowed are {', '.join(allowed)}"
        )
    normaliser = NORMALISERS[attention]
    taken = {"eager", *transformers.AttentionInterface().valid_keys()} - _registered
    if name in taken:
        raise ValueError(f"{name!r} is an attention of transformers itself: choose a name other than {sorted(taken)}")
    _registered.add(name)
    transformers.AttentionInterface.register(name, functools.partial(attend, _with_masks(normaliser)))
    transformers.AttentionMaskInterface.register(name, eager_mask)  # without it the mask would silently be None


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
    Returns (B, Q, H, D) and the weights (B, H, Q, K) after dropout, as ``eager`` does. Logits are float32 at least.
    Raises ValueError if the model asks for something beside a softmax, see UNSUPPORTED.
    """
    asked = [name for name in UNSUPPORTED if others.get(name) is not None]
    if asked:
        raise ValueError(f"{type(module).__name__} asks for {', '.join(asked)}, which this attention does not have")
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    logits = query @ key.transpose(-2, -1)  # (B, H, Q, K)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    scale = torch.ones((), dtype=logits.dtype, device=logits.device)
    scale = scale * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if position_bias is not None:
        logits = logits + position_bias / scale
    logits, visible = _apply_mask(logits, attention_mask, scale)
    weights = normaliser(logits, scale * _scale_factor(module), visible).to(value.dtype)
    weights = nn.functional.dropout(weights, dropout, module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


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
    code = getattr(inspect.unwrap(kind.forward), "__code__", None)
    return code is not None and "ALL_ATTENTION_FUNCTIONS" in code.co_names


def set_scale_factor(model: transformers.PreTrainedModel, factor: float) -> None:
    """Multiply the scale of every attention in ``model`` by ``factor``; its temperature is 1/factor of the usual one.

    Above 1 attention is sharper, below it flatter. The factor replaces an earlier one, is kept in the configuration and
    saved with the model, and so is the attention's name (:func:`remember_attention`). Models that share a configuration
    object share it. Raises ValueError if no attention of the model is one of ours, and for a factor below 1e-6;
    TypeError if it is no number.
    """
    check_real("factor", factor, 1e-6)
    configs = [model.config, *(module.config for module in attention_modules(model))]
    ours = [config for config in configs if config._attn_implementation in _registered]
    if not ours:
        used = sorted({str(config._attn_implementation) for config in configs})
        raise ValueError(
            f"{type(model).__name__} uses attn_implementation {', '.join(used)}; a scale factor needs one of "
            f"{', '.join(sorted(_registered))}: model.set_attn_implementation('scaled_softmax')"
        )
    for config in ours:
        config.attention_scale_factor = float(factor)
    remember_attention(model)


def remember_attention(model: transformers.PreTrainedModel) -> None:
    """Write the name of the model's attention into its configuration, so that a saved model comes back with it.

    ``from_pretrained`` then needs no ``attn_implementation``, only that this module has been imported; without that it
    says that it does not know the name. Call it again after ``set_attn_implementation``, and after loading, before the
    model is saved once more: transformers forgets the name of its own accord.
    """
    model.config.attn_implementation = _names(model.config)


def _names(config: transformers.PreTrainedConfig) -> str | dict:
    parts = {key: part for key in config.sub_configs if (part := getattr(config, key, None)) is not None}
    name = config._attn_implementation
    return {"": name} | {key: _names(part) for key, part in parts.items()} if parts else name


register("norm_softmax")
register("norm_softmax_var")
register("scaled_softmax", "softmax")
