"""Roots and the ends of conditions between two points, for many pairs at once.

`root_between` needs finite values of opposite signs at both ends, and is used where these are known. A
condition of `bisected` may also compare infinite values, hold up to a jump, or hold up to an end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import elementwise


def bisected(
    holds: Callable[[Any], Any], inside: Any, outside: Any, halvings: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """Halve intervals from ``inside``, where ``holds(x)`` is true, to ``outside``, where it is not.

    ``holds`` takes and gives arrays of the shape of both ends. Returns both ends after ``halvings``, or when
    all are neighbouring numbers: of the same end where the condition holds everywhere, or nowhere.
    """
    inside, outside = np.asarray(inside, dtype=float), np.asarray(outside, dtype=float)
    for _ in range(halvings):
        middle = 0.5 * (inside + outside)
        if np.all((middle == inside) | (middle == outside)):
            break
        true = np.asarray(holds(middle))
        inside, outside = np.where(true, middle, inside), np.where(true, outside, middle)
    return inside, outside


def root_between(
    f: Callable[..., Any], ends: tuple[Any, Any], args: tuple[Any, ...] = (), **options: Any
) -> Any:
    """`scipy.optimize.elementwise.find_root`, silent where a bracket is a few numbers wide.

    There the quotient of distances that SciPy takes the root of may round to less than 0 or more than 1: it
    warns, and bisects. ``success`` of the result says whether a root was found.
    """
    with np.errstate(invalid="ignore"):
        return elementwise.find_root(f, ends, args=args, **options)
