"""The law of an exponent known by some of its quantiles: a monotone cubic between them.

Between the first level p_0 and 1 the quantile u(p) is the monotone cubic of Fritsch and Carlson (1980, SIAM
J. Numer. Anal. 17, 238). Below p_0 it goes on as u_0 + κ log(p/p_0), the exponential tail through the two
lowest quantiles, of which nothing is known but its mass.

Letters: p, a probability; u = log s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq

from rmtrnn._core import random as _random
from rmtrnn.laws.protocol import elementwise, probability


@dataclass(frozen=True, eq=False)
class QuantileLaw:
    """The law whose quantile at ``levels`` is ``quantiles`` and which ends at ``largest``.

    ``levels`` in (0, 1) and ``quantiles`` increase; ``largest`` is above them; ``error``: of the cdf.
    """

    levels: np.ndarray
    quantiles: np.ndarray
    largest: float
    error: float

    def __post_init__(self) -> None:
        increasing = np.all(np.diff(self.levels) > 0) and np.all(np.diff(self.quantiles) > 0)
        if not (increasing and self.levels[0] > 0 and self.levels[-1] < 1):
            raise ValueError("levels, in (0, 1), and quantiles must both increase")
        if not self.largest > self.quantiles[-1]:
            raise ValueError(f"largest = {self.largest}: must exceed the last quantile {self.quantiles[-1]}")

    @property
    def support(self) -> tuple[tuple[float, float], ...]:
        """One interval, open below."""
        return ((-math.inf, self.largest),)

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """None."""
        return ()

    def icdf(self, p: Any) -> Any:
        """Smallest u with cdf(u) ≥ p. ValueError unless 0 ≤ p ≤ 1."""
        return elementwise(self._icdf, "p", probability(p))

    def cdf(self, u: Any) -> Any:
        """P(U ≤ u). ValueError for nan."""
        return elementwise(self._cdf, "u", u)

    def pdf(self, u: Any) -> Any:
        """Density of u; 0 above the support. ValueError for nan."""
        return elementwise(lambda u: np.where(u > self.largest, 0.0, 1.0 / self._slope(self._cdf(u))), "u", u)

    def rvs(self, n: int, rng: int | np.random.Generator | None = None) -> np.ndarray:
        """``n`` independent draws."""
        return self._icdf(_random.generator(rng).random(n))

    @property
    def mean(self) -> float:
        """∫ u dp; below p_0 the integral of u_0 + κ log(p/p_0) is p_0 (u_0 − κ)."""
        return self._sum_above(0.0)

    @property
    def unstable_fraction(self) -> float:
        """P(U > 0)."""
        return float(1.0 - self.cdf(0.0))

    @property
    def entropy_rate(self) -> float:
        """E[max(U, 0)]."""
        return self._sum_above(float(self.cdf(0.0))) if self.largest > 0.0 else 0.0

    @property
    def kaplan_yorke(self) -> float:
        """D with ∫_{1−D}^1 u dp = 0; 0 where no exponent is positive, 1 where the sum of all is."""
        if self.largest <= 0.0:
            return 0.0
        if self.mean >= 0.0:
            return 1.0
        rest = brentq(self._sum_above, 0.0, float(self.cdf(0.0)), xtol=1e-13)
        return 1.0 - float(rest)  # pyright: ignore[reportArgumentType]  # no full output was asked for

    @cached_property
    def _curve(self) -> PchipInterpolator:
        return PchipInterpolator(np.append(self.levels, 1.0), np.append(self.quantiles, self.largest))

    @property
    def _rate(self) -> float:
        """κ."""
        return float((self.quantiles[1] - self.quantiles[0]) / math.log(self.levels[1] / self.levels[0]))

    def _icdf(self, p: np.ndarray) -> np.ndarray:
        low = self.levels[0]
        with np.errstate(divide="ignore"):
            tail = self.quantiles[0] + self._rate * np.log(np.minimum(p, low) / low)
        return np.where(p < low, tail, self._curve(np.maximum(p, low)))

    def _slope(self, p: np.ndarray) -> np.ndarray:
        low = self.levels[0]
        with np.errstate(divide="ignore"):
            return np.where(p < low, self._rate / p, self._curve(np.maximum(p, low), 1))

    def _cdf(self, u: np.ndarray) -> np.ndarray:
        low = self.levels[0]
        tail = low * np.exp(np.minimum((u - self.quantiles[0]) / self._rate, 0.0))
        found = np.array([self._level(x) for x in np.clip(u, self.quantiles[0], self.largest)])
        return np.where(u < self.quantiles[0], tail, found)

    def _level(self, u: float) -> float:
        """The root of the monotone cubic."""
        roots = self._curve.solve(u, extrapolate=False)
        return float(roots[0]) if len(roots) else 1.0

    def _sum_above(self, level: float) -> float:
        """∫ u dp from ``level`` to 1."""
        low = self.levels[0]
        above = float(self._curve.integrate(max(level, low), 1.0))
        if level >= low:
            return above
        tail = low * (self.quantiles[0] - self._rate)
        if level > 0.0:
            tail -= level * (self.quantiles[0] + self._rate * (math.log(level / low) - 1.0))
        return above + tail
