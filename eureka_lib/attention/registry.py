"""The registry of methods, the paper's and others: one entry each, for models, sweeps and figures.

``METHODS["mine"] = Method(my_normaliser)`` adds one of your own: models, sweeps and figures take it by its name. To
have it in every notebook, make that an entry of the table below. ``experiment.vary(**changes_of(name))`` is an
experiment under a method; settings that were tuned, a learning rate for each method, belong to the profiles.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from eureka_lib.attention import fused, zoo
from eureka_lib.attention.fused import Fused
from eureka_lib.attention.normalisers import Normaliser, norm_softmax, norm_softmax_var, softmax
from eureka_lib.validation import check_choice


@dataclass(frozen=True)
class Method:
    """A method and how it is drawn; treatments of softmax attention have no ``normaliser``."""

    normaliser: Normaliser | None = None
    label: str | None = None  # in legends and titles; None: the name
    colour: str = "#882255"
    dash: str = "-"  # the line's style, where lines of several methods cross
    learned: float | None = None  # where a number per head starts, the normaliser's keyword ``learned`` (H, 1, 1)
    prepare: Callable[[Tensor], Tensor] | None = None  # done to queries and keys (B, H, T, D) before their product
    fused: Fused | None = None  # the same attention without the matrix of logits
    row_wise: bool = False  # whether a row of weights is known to depend on its own logits alone
    changes: dict[str, str | float] | None = None  # settings of an experiment; None: ``attention`` is the name
    fix: str | None = None  # the name that claims give to a fix of the paper's


HEAT = {"scale_schedule": "half_cosine"}
MATCHED_START = 58.0  # times the usual scale
METHODS: dict[str, Method] = {
    "softmax": Method(softmax, "ViT, softmax", "#0072B2", fused=fused.softmax, row_wise=True, changes={}),
    "norm_softmax": Method(
        norm_softmax, "ViT, NormSoftmax", "#009E73", "--", fused=fused.norm_softmax, row_wise=True, fix="NormSoftmax"
    ),
    "norm_softmax_var": Method(
        norm_softmax_var, "ViT, NormSoftmax (variance)", "#CC79A7", "-.", fused=fused.norm_softmax_var, row_wise=True,
        fix="NormSoftmax with the variance",
    ),
    "heat_treatment": Method(
        None, "ViT, Heat Treatment", "#C77700", ":", fix="Heat Treatment",
        changes=HEAT | {"scale_start": 24.0},
    ),
    # Controls: attention as sharp at the start as the paper's (a logit spread of about 1.2) where our narrower networks
    # start at 0.5, for good or for a while; and what a longer step of the logits alone does.
    "fixed_temperature": Method(None, "ViT, sharp throughout", "#7F7F7F", changes={"scale_start": MATCHED_START}),
    "heat_treatment_matched": Method(
        None, "ViT, Heat Treatment, matched", "#8C564B", changes=HEAT | {"scale_start": MATCHED_START}
    ),
    "query_key_rate_12": Method(None, "ViT, 12 x rate of W_Q, W_K", "#999933", changes={"query_key_rate": 12.0}),
    "query_key_rate_48": Method(None, "ViT, 48 x rate of W_Q, W_K", "#661100", changes={"query_key_rate": 48.0}),
    "to_block_mean": Method(
        None, "ViT, gradients to block mean", "#7F7F7F", changes={"gradient_scaling": "to_block_mean"}
    ),
    "to_value_mean": Method(
        None, "ViT, gradients to value mean", "#4D4D4D", changes={"gradient_scaling": "to_value_mean"}
    ),
    "to_value_mean_per_head": Method(
        None, "ViT, gradients to value mean per head", "#A6761D", changes={"gradient_scaling": "to_value_mean_per_head"}
    ),
    "softmax1": Method(zoo.softmax1, "ViT, softmax1", row_wise=True),
    "attention_sink": Method(zoo.attention_sink, "ViT, attention sink", learned=0.0, row_wise=True),
    "scalable_softmax": Method(zoo.scalable_softmax, "ViT, scalable softmax", learned=1.0, row_wise=True),
    "learnable_temperature": Method(
        zoo.learnable_temperature, "ViT, learnable temperature", learned=1.0, row_wise=True
    ),
    "qk_norm": Method(zoo.qk_norm, "ViT, QK-norm", learned=1.0, prepare=zoo.unit_rms, row_wise=True),
    "sigmoid": Method(zoo.sigmoid, "ViT, sigmoid", row_wise=True),
    "sparsemax": Method(zoo.sparsemax, "ViT, sparsemax", row_wise=True),
    "entmax15": Method(zoo.entmax15, "ViT, entmax-1.5", row_wise=True),
    "sinkhorn": Method(zoo.sinkhorn, "ViT, Sinkhorn"),
    "qr": Method(zoo.qr, "ViT, QR", "#000000"),
}  # fmt: skip
# What is drawn beside them: a network without attention, and the shapes that Heat Treatment can have.
DRAWN_BESIDE: dict[str, Method] = {
    "resnet9": Method(label="ResNet9", colour="#D55E00"),
    "linear": Method(label="Heat Treatment, linear", colour="#C77700"),
    "cosine": Method(label="Heat Treatment, cosine", colour="#C77700"),
    "half_cosine": Method(label="Heat Treatment, half cosine", colour="#C77700"),
    "constant": Method(label="sharp throughout", colour="#7F7F7F"),
}


def check_attention(name: str) -> Method:
    """The method whose normaliser goes by ``name``; ValueError if there is none."""
    return METHODS[check_choice("attention", name, (name for name, method in METHODS.items() if method.normaliser))]


def changes_of(name: str) -> dict[str, str | float]:
    """What a method changes in an experiment, for ``experiment.vary``; ValueError for an unknown one."""
    changes = METHODS[check_choice("method", name, METHODS)].changes
    return {"attention": name} if changes is None else changes


def dash_of(method: str) -> str:
    """The style of the method's line, where those of several methods cross."""
    return _drawn(method).dash


def label_of(method: str) -> str:
    """The method's name in legends and titles."""
    return _drawn(method).label or f"ViT, {method.replace('_', ' ')}"


def short_label_of(method: str) -> str:
    """The method's name where all that is compared is one kind of network."""
    return label_of(method).removeprefix("ViT, ")


def colour_of(method: str) -> str:
    """The method's colour; wine where none of its own is known, as for a reader's own attention."""
    return _drawn(method).colour


def _drawn(method: str) -> Method:
    return METHODS.get(method) or DRAWN_BESIDE.get(method) or Method()
