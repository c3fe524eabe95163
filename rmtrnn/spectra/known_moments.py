"""First two moments of s² as a record that does not overflow, and where a spectrum gets them from."""

from __future__ import annotations

import importlib
import math
from typing import NamedTuple

import numpy as np

from rmtrnn.ensemble import Ensemble

CONFIDENCE = 3.0  # standard errors in the error of a sampled moment


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


def without_law(ens: Ensemble, T: int, k: int) -> Moments | None:
    """Moments of redrawn weights by the routes of `rmtrnn.spectra.moments`; for k = 1 the ratio may be nan.

    None for the kept weights of a gated cell: these routes need fresh ones.
    """
    routes = importlib.import_module("rmtrnn.spectra.moments")  # it imports the laws itself
    if not routes.has_recursion(ens):
        return None
    return routes.first_moment(ens, T) if k == 1 else routes.exact_moments(ens, T)


def _exp(x: float) -> float:
    with np.errstate(over="ignore", under="ignore"):
        return float(np.exp(x)) if not math.isnan(x) else math.nan
