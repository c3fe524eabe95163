"""First two moments of s² as a record that does not overflow."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rmtrnn._core.status import CONFIDENCE


class Moments(NamedTuple):
    """First two moments of s², as log m_1 and m_2/m_1², which do not overflow for any T.

    ``error`` is the standard error of (log m_1, m_2/m_1²) from independent populations of sites; zero where
    the value is closed-form.
    """

    log_m1: float
    ratio: float
    error: tuple[float, float] = (0.0, 0.0)

    @property
    def m_1(self) -> float:
        """lim tr JJᵀ / N."""
        return _exp(self.log_m1)

    @property
    def m_2(self) -> float:
        """lim tr (JJᵀ)² / N."""
        return _exp(2 * self.log_m1) * self.ratio

    @property
    def variance(self) -> float:
        """Variance of s²."""
        return _exp(2 * self.log_m1) * (self.ratio - 1)

    def moment(self, k: int) -> tuple[float, float]:
        """m_1 or m_2 (k = 1 or 2) and its error, `CONFIDENCE` standard errors."""
        spread = CONFIDENCE * (k * self.error[0] + (self.error[1] / self.ratio if k == 2 else 0.0))
        value = self.m_1 if k == 1 else self.m_2
        return value, value * spread


def _exp(x: float) -> float:
    with np.errstate(over="ignore", under="ignore"):
        return float(np.exp(x)) if not math.isnan(x) else math.nan
