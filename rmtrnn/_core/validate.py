"""Checks at the door: every public argument is refused with its name, its value and the allowed range.

Each function returns the argument as a plain Python number, so that callers store exactly what was checked.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection
from typing import Any

_LONGEST_DAYS = 30


def instance(name: str, value: Any, kind: type) -> None:
    """Refuse a value of another class."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{name} = {value!r}: expected {article} {kind.__name__}, got {type(value).__name__}")


def real(
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    low_open: bool = False,
    high_open: bool = False,
) -> float:
    """Return ``value`` as a finite float in the interval from ``low`` to ``high``.

    Raises TypeError if it is not a real number (bool and complex are not) and ValueError if it is
    not finite or lies outside the interval.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} = {value!r}: expected a real number, got {type(value).__name__}")
    number = float(value)
    left = "(" if low_open or math.isinf(low) else "["
    right = ")" if high_open or math.isinf(high) else "]"
    inside = (number > low if low_open else number >= low) and (
        number < high if high_open else number <= high
    )
    if not math.isfinite(number) or not inside:
        raise ValueError(f"{name} = {value!r}: must be a finite number in {left}{low:g}, {high:g}{right}")
    return number


def integer(name: str, value: Any, *, low: int | None = None, high: int | None = None) -> int:
    """Return ``value`` as an int with ``low <= value <= high``; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} = {value!r}: expected an integer, got {type(value).__name__}")
    number = int(value)
    if (low is not None and number < low) or (high is not None and number > high):
        at_least = "-inf" if low is None else str(low)
        at_most = "inf" if high is None else str(high)
        raise ValueError(f"{name} = {value!r}: must be an integer from {at_least} to {at_most}")
    return number


def power_of_two(
    name: str, value: Any, *, low: int | None = None, high: int | None = None, times: int = 1
) -> int:
    """Return an `integer` that is ``times`` a power of two; TypeError or ValueError otherwise."""
    number = integer(name, value, low=low, high=high)
    share = number // times
    if share < 1 or share * times != number or share & (share - 1):
        multiple = f"{times} times a power of two" if times > 1 else "a power of two"
        raise ValueError(f"{name} = {value!r}: must be {multiple}")
    return number


def cost(name: str, value: int, seconds: float) -> int:
    """Return ``value``, ValueError if at ``seconds`` of one core for each unit it would take over a month."""
    days = math.inf if value.bit_length() > 1000 else value * seconds / 86400
    if days > _LONGEST_DAYS:
        took = "more years than a float holds" if math.isinf(days) else f"some {days / 365:.2g} years"
        shown = str(value) if value.bit_length() <= 128 else f"10^{len(str(value)) - 1}"
        raise ValueError(
            f"{name} = {shown}: would take {took} of one core; "
            f"must be at most {_LONGEST_DAYS * 86400 / seconds:.2g}, a month"
        )
    return value


def choice(name: str, value: Any, allowed: Collection[str]) -> str:
    """Return ``value`` if it is one of the strings ``allowed``; TypeError or ValueError otherwise."""
    if not isinstance(value, str):
        raise TypeError(f"{name} = {value!r}: expected a string, one of {sorted(allowed)}")
    if value not in allowed:
        raise ValueError(f"{name} = {value!r}: must be one of {sorted(allowed)}")
    return value


def boolean(name: str, value: Any) -> bool:
    """Return ``value`` if it is True or False; TypeError otherwise."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} = {value!r}: expected True or False, got {type(value).__name__}")
    return value
