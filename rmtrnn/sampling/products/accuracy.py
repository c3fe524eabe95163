"""How rounding errors of a group of factors reach the singular values of a product, as estimated.

Y = F ⋯ F X is formed in rounding errors E, |E| about ``rounding_size(n)`` units of rounding of |Y|. With
Y = X' U they act on the product as a factor 1 + E', E' = X'⁻¹ E U⁻¹, so a relative change of the singular
values by at most ‖E'‖. That norm is estimated by U⁻¹ applied to a few vectors of signs, times the sizes of
the columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from rmtrnn._core import arrays as _arrays
from rmtrnn._core import random as _random

UNIT = float(np.finfo(np.float64).eps) / 2


@dataclass(frozen=True)
class AccuracySettings:
    """Numbers of the error estimate. Empirical, moved by ×3 and ÷3 (test_product_settings.py).

    tolerance : relative error of a singular value per row of J. The default accuracy is n times this.
    least_rows : rows. Smaller matrices have the tolerance of so many rows.
    rounding_offset, rounding_slope : units of rounding. A product of n × n matrices errs by
        offset + slope·√n units; sums of n terms err like √n/2. The errors of the smallest singular values of
        Gaussian, tanh and minimalRNN products, n = 16 to 1024, were within half of the estimate.
    probes : vectors of signs. The largest of so many norms stands for the norm of a matrix.
    checked : share of the tolerance left to the singular values of diag(2^d) T.
    """

    tolerance: float = 1e-11
    least_rows: int = 100
    rounding_offset: float = 12.0
    rounding_slope: float = 1.5
    probes: int = 3
    checked: float = 0.1


SETTINGS = AccuracySettings()


def default_tolerance(n: int) -> float:
    """Return the relative accuracy of singular values that a product of n × n matrices keeps by default."""
    return SETTINGS.tolerance * max(n, SETTINGS.least_rows)


def rounding_size(n: int) -> float:
    """Return the size of rounding errors of a product of n × n matrices, in units of rounding."""
    return SETTINGS.rounding_offset + SETTINGS.rounding_slope * math.sqrt(n)


@lru_cache(maxsize=4)
def signs(n: int) -> np.ndarray:
    """Return vectors like those of rounding errors, (n, probes): fixed signs."""
    return np.where(_random.stream(0).random((n, SETTINGS.probes)) < 0.5, -1.0, 1.0)


def amplified(solved: Any, column_shares: Any, rounding: float) -> Any:
    """Return the estimated errors E' of the columns: ``rounding`` · U⁻¹ probes, by their share in Y.

    ``solved``: (..., n, probes); ``column_shares``: (..., n), sizes of the columns of Y over the largest.
    """
    return rounding * solved * column_shares[..., None]


def norms(columns: Any) -> Any:
    """Return the largest norm of a column, for every matrix of (..., n, columns)."""
    xp = _arrays.namespace(columns)
    return xp.max(xp.sqrt(xp.sum(columns * columns, axis=-2)), axis=-1)


def largest_norm(columns: np.ndarray) -> float:
    """Return the largest norm of a column of one matrix; ∞ if there is none, or nan."""
    norm = float(norms(columns))
    return norm if math.isfinite(norm) else math.inf


def triangle_error(inverse_norm: float, groups: int, n: int) -> float:
    """Return the relative error of the singular values by rounding in T, after ``groups`` updates of it."""
    return math.sqrt(groups) * UNIT * (rounding_size(n) * inverse_norm)
