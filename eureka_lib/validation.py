"""Clear answers to bad input.

Every check here raises an error that names the value it got, what is allowed, and, where there is one, the nearest
valid choice. The rest of the library calls these instead of writing its own messages.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from math import isfinite
from numbers import Integral, Real


def check_choice(kind: str, value: object, allowed: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``allowed``; raise ValueError with the nearest valid choice otherwise."""
    allowed = sorted(allowed)
    if value in allowed:
        return value
    near = get_close_matches(str(value), allowed, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown {kind} {value!r}: allowed are {', '.join(allowed)}{hint}")


def check_whole(name: str, value: object, minimum: int = 0) -> int:
    """Return ``value`` if it is a whole number >= ``minimum`` (a bool is not one); raise TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        near = f"; did you mean {max(round(value), minimum)}?" if isinstance(value, float) and isfinite(value) else ""
        kind = type(value).__name__
        raise TypeError(f"{name} must be a whole number >= {minimum}, got {value!r} of type {kind}{near}")
    if value < minimum:
        raise ValueError(
            f"{name} must be a whole number >= {minimum}, got {value}; the nearest valid value is {minimum}"
        )
    return int(value)


def check_real(name: str, value: object, low: float, high: float = float("inf")) -> float:
    """Return ``value`` if it is a real number in [``low``, ``high``]; raise TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number in [{low}, {high}], got {value!r} of type {type(value).__name__}")
    if not low <= value <= high:
        nearest = high if value > high else low
        raise ValueError(f"{name} must be in [{low}, {high}], got {value}; the nearest valid value is {nearest}")
    return value


def check_divides(part_name: str, part: int, whole_name: str, whole: int) -> None:
    """Raise ValueError, naming the nearest divisors, unless ``part`` divides ``whole``."""
    check_whole(part_name, part, 1)
    if whole % part:
        divisors = [d for d in range(1, whole + 1) if whole % d == 0]
        nearest = min(divisors, key=lambda d: abs(d - part))
        raise ValueError(
            f"{part_name} {part} does not divide {whole_name} {whole}: allowed are "
            f"{', '.join(map(str, divisors))}; the nearest is {nearest}"
        )
