"""The paper's methods, and today's attention beside them, by name: what each changes in an experiment.

``experiment.vary(**METHODS["heat_treatment"])`` is all there is to it. Settings that were tuned, such as a learning
rate for each method, belong to the profiles.
"""

METHODS: dict[str, dict[str, str | float]] = {
    "softmax": {},
    "norm_softmax": {"attention": "norm_softmax"},
    "norm_softmax_var": {"attention": "norm_softmax_var"},
    "heat_treatment": {"scale_schedule": "half_cosine", "scale_start": 24.0},
    "to_block_mean": {"gradient_scaling": "to_block_mean"},
    "to_value_mean": {"gradient_scaling": "to_value_mean"},
    "to_value_mean_per_head": {"gradient_scaling": "to_value_mean_per_head"},
    "softmax1": {"attention": "softmax1"},
    "attention_sink": {"attention": "attention_sink"},
    "scalable_softmax": {"attention": "scalable_softmax"},
    "learnable_temperature": {"attention": "learnable_temperature"},
    "qk_norm": {"attention": "qk_norm"},
    "sigmoid": {"attention": "sigmoid"},
    "sparsemax": {"attention": "sparsemax"},
    "entmax15": {"attention": "entmax15"},
    "sinkhorn": {"attention": "sinkhorn"},
    "qr": {"attention": "qr"},
}


LABELS = {
    "softmax": "ViT, softmax",
    "resnet9": "ResNet9",
    "norm_softmax": "ViT, NormSoftmax",
    "norm_softmax_var": "ViT, NormSoftmax (variance)",
    "heat_treatment": "ViT, Heat Treatment",
    "to_block_mean": "ViT, gradients to block mean",
    "to_value_mean": "ViT, gradients to value mean",
    "to_value_mean_per_head": "ViT, gradients to value mean per head",
    "softmax1": "ViT, softmax1",
    "attention_sink": "ViT, attention sink",
    "scalable_softmax": "ViT, scalable softmax",
    "learnable_temperature": "ViT, learnable temperature",
    "qk_norm": "ViT, QK-norm",
    "sigmoid": "ViT, sigmoid",
    "sparsemax": "ViT, sparsemax",
    "entmax15": "ViT, entmax-1.5",
    "sinkhorn": "ViT, Sinkhorn",
    "qr": "ViT, QR",
    "linear": "Heat Treatment, linear",
    "cosine": "Heat Treatment, cosine",
    "half_cosine": "Heat Treatment, half cosine",
    "constant": "sharp throughout",
}


def label_of(method: str) -> str:
    """The method's name in legends and titles."""
    return LABELS.get(method, f"ViT, {method}")


def short_label_of(method: str) -> str:
    """The method's name where all that is compared is one kind of network."""
    return label_of(method).removeprefix("ViT, ")
