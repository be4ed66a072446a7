"""Heat Treatment: the factor of the attention's scale as a function of the step.

Steps count from 0: step 0 is the first update. A schedule over any number of steps works, also one.
"""

import math


def linear(done: float) -> float:
    """1 at the start of training (``done`` 0), 0 at its end (``done`` 1), in a straight line."""
    return 1 - done


def cosine(done: float) -> float:
    """1 to 0 along half a period of a cosine, over all of training."""
    return (1 + math.cos(math.pi * done)) / 2


def half_cosine(done: float) -> float:
    """1 to 0 along half a period of a cosine over the first half of training, then 0: the paper's Heat Treatment."""
    return cosine(min(2 * done, 1.0))


def constant(done: float) -> float:
    """1 throughout."""
    return 1.0


def heat(step: int, steps: int, start: float, shape: str) -> float:
    """Heat Treatment: what multiplies the attention's scale at ``step`` of ``steps``, from ``start`` down to 1.

    Attention starts sharp and is heated: the temperature is 1/scale (the paper's section on Heat Treatment). ``shape``
    is a name in :data:`SCALE_SCHEDULES`. The last step is at the end of the schedule; a single step has ``start``.
    """
    return 1 + (start - 1) * SCALE_SCHEDULES[shape](step / max(steps - 1, 1))


SCALE_SCHEDULES = {"linear": linear, "cosine": cosine, "half_cosine": half_cosine, "constant": constant}
