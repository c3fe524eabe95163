"""Bisection of conditions: where a condition stops to hold between two points, for many pairs at once.

`scipy.optimize.elementwise.find_root` needs finite values of opposite signs at both ends, and is used where
these are known. A condition may also compare infinite values, hold up to a jump, or hold up to an end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


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
