"""Derived losses and accuracies of a task with two targets.

With K classes and label smoothing e, the target is 1 - e + e/K for the label and e/K elsewhere. The loss of the solved
task is the entropy of that target, the *floor*. Classifying both targets perfectly but ignoring the indicators leaves
two answers, each with its probability: the *plateau*. The paper's 1.04 and 0.5 (K = 10, e = 0.1) are these two lines.

``p_first`` is the probability that the label is the first (top-right) target's class, 1/2 unless
``top_right_probability`` skews it: P(first) = p + (1 - p)/2.
"""

import numpy as np
from scipy.special import entr

from eureka_lib.validation import check_real, check_whole


def floor_loss(n_classes: int, label_smoothing: float) -> float:
    """Cross-entropy in nats when the task is solved: the entropy of the smoothed one-hot target."""
    return smoothed_entropy([1.0], n_classes, label_smoothing)


def plateau_loss(n_classes: int, label_smoothing: float, p_first: float = 0.5) -> float:
    """Cross-entropy in nats when both targets are classified and the indicators are ignored.

    With probability 1/K both targets have one class, which is the answer; otherwise the best prediction is the mixture
    of the two smoothed targets.
    """
    check_real("p_first", p_first, 0, 1)
    mixture = smoothed_entropy([p_first, 1 - p_first], n_classes, label_smoothing)
    return floor_loss(n_classes, label_smoothing) / n_classes + mixture * (1 - 1 / n_classes)


def plateau_accuracy(n_classes: int, p_first: float = 0.5) -> float:
    """Accuracy of answering with the likelier target's class: 1/K + (1 - 1/K) max(p, 1 - p)."""
    check_whole("n_classes", n_classes, 2)
    check_real("p_first", p_first, 0, 1)
    return 1 / n_classes + (1 - 1 / n_classes) * max(p_first, 1 - p_first)


def smoothed_entropy(weights: list[float], n_classes: int, label_smoothing: float) -> float:
    """Entropy in nats of a smoothed target whose first classes have the probabilities ``weights``."""
    check_whole("n_classes", n_classes, 2)
    check_real("label_smoothing", label_smoothing, 0, 1)
    target = np.full(n_classes, label_smoothing / n_classes)
    target[: len(weights)] += (1 - label_smoothing) * np.array(weights)
    return float(entr(target).sum())
