"""Values that change over training, as pure functions of the step.

Steps count from 0: step 0 is the first update. A schedule over any number of steps works, also one.
"""

import math


def warmup_cosine(step: int, steps: int, warmup: int, peak: float, edge: float) -> float:
    """Linear warm-up from ``edge`` to ``peak`` over ``warmup`` steps, then half a cosine down to ``edge`` (paper).

    The peak is reached at step ``warmup``, and ``edge`` at the step after the last.
    """
    if step < warmup:
        return edge + (peak - edge) * step / warmup
    done = (step - warmup) / max(steps - warmup, 1)
    return edge + (peak - edge) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def warmup_constant(step: int, steps: int, warmup: int, peak: float, edge: float) -> float:
    """Linear warm-up from ``edge`` to ``peak`` over ``warmup`` steps, then ``peak`` to the end."""
    return edge + (peak - edge) * step / warmup if step < warmup else peak


LEARNING_RATE_SCHEDULES = {"cosine": warmup_cosine, "constant": warmup_constant}
