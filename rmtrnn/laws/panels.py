"""A density of u = log s on one interval: panels of Chebyshev series in an edge-adapted angle.

On an interval [a, b] of the support the angle θ in [0, π] is defined by

    u = a + (b − a) sin²(θ/2)                  (finite ends)
    u = b + log(sin²(θ/2)) / κ                 (a = −∞, density ~ e^{κu}: a hard edge at s = 0)

so that g(θ) = p(u) du/dθ is smooth at square-root edges, at inverse-square-root edges and at the hard
edge at once, and about 60 values of p give the law to many digits.

The series stay Chebyshev series and are summed by Clenshaw's rule. SciPy's PPoly holds powers of the distance
from a breakpoint, whose coefficients grow like 6ⁿ: with the 63 terms of a panel nothing is left of a double.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.polynomial import chebyshev

_SUBPANELS = 8
"""Parts of a panel for integrals of f·p, so that an f that varies over many e-folds is resolved; empirical,
tests/laws/test_tabulated.py moves it by a factor of three both ways."""
_GAUSS = 24
"""Gauss nodes on each part: exact for degree 47. Empirical, as above."""


@dataclass(frozen=True)
class Interval:
    """One interval of the support in u = log s, and the map between u and the angle θ.

    ``left`` may be −∞; then ``rate`` is the κ of the density's tail e^{κu}.
    """

    left: float
    right: float
    rate: float = 1.0

    def __post_init__(self) -> None:
        if not (self.left < self.right and math.isfinite(self.right)):
            raise ValueError(
                f"interval = ({self.left!r}, {self.right!r}): the ends must satisfy left < right < inf"
            )
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise ValueError(f"rate = {self.rate!r}: must be a finite number in (0, inf)")

    def u(self, angle: np.ndarray) -> np.ndarray:
        """u(θ)."""
        sine2, cosine2 = np.sin(angle / 2) ** 2, np.cos(angle / 2) ** 2
        if self.left == -math.inf:
            with np.errstate(divide="ignore"):
                return self.right + np.log(sine2) / self.rate
        width = self.right - self.left
        return np.where(sine2 < cosine2, self.left + width * sine2, self.right - width * cosine2)

    def slope(self, angle: np.ndarray) -> np.ndarray:
        """du/dθ."""
        if self.left == -math.inf:
            with np.errstate(divide="ignore"):
                return 1 / (self.rate * np.tan(angle / 2))
        return (self.right - self.left) / 2 * np.sin(angle)

    def angle(self, u: np.ndarray) -> np.ndarray:
        """θ(u), with u outside the interval taken to the nearer end."""
        u = np.clip(u, self.left, self.right)
        if self.left == -math.inf:
            x = np.exp(self.rate * (u - self.right))
            return 2 * np.arctan2(np.sqrt(x), np.sqrt(-np.expm1(self.rate * (u - self.right))))
        return 2 * np.arctan2(np.sqrt(u - self.left), np.sqrt(self.right - u))


@dataclass(frozen=True)
class Panel:
    """g(θ) on [lo, hi] as a Chebyshev series in t = (2θ − lo − hi)/(hi − lo), and its integral from lo."""

    lo: float
    hi: float
    series: np.ndarray
    integral: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        integral = chebyshev.chebint(self.series, lbnd=-1) * (self.hi - self.lo) / 2
        object.__setattr__(self, "integral", integral)

    def local(self, angle: np.ndarray) -> np.ndarray:
        """t(θ)."""
        return (2 * angle - self.lo - self.hi) / (self.hi - self.lo)

    def density(self, angle: np.ndarray) -> np.ndarray:
        """g(θ)."""
        return chebyshev.chebval(self.local(angle), self.series)

    def mass_below(self, angle: np.ndarray) -> np.ndarray:
        """∫ g from lo to θ, θ outside the panel taken to the nearer end."""
        return chebyshev.chebval(np.clip(self.local(angle), -1, 1), self.integral)

    @property
    def mass(self) -> float:
        """∫ g over the panel."""
        return float(np.sum(self.integral))  # every Chebyshev polynomial is 1 at t = 1


class Piece:
    """The density on one interval: panels in order of θ, which cover [0, π]."""

    def __init__(self, interval: Interval, panels: Sequence[Panel]) -> None:
        self.interval, self.panels = interval, tuple(panels)
        self.mass = sum(panel.mass for panel in self.panels)

    def density(self, u: np.ndarray) -> np.ndarray:
        """p(u); 0 outside the open interval."""
        result = np.zeros(u.shape)
        inside = (u > self.interval.left) & (u < self.interval.right)
        lifted, decay = self._lift(u[inside])
        angle = self.interval.angle(lifted)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = self._sum(self._series, angle) / self.interval.slope(angle)
            result[inside] = decay * np.fmax(slope, 0.0)
        return result

    def mass_below(self, u: np.ndarray) -> np.ndarray:
        """∫ p up to u."""
        lifted, decay = self._lift(u)
        angle = self.interval.angle(lifted)
        # Rounding must not lower an atom's own mass.
        return decay * np.maximum(self._sum(self._integrals, angle), 0.0)

    @functools.cached_property
    def first(self) -> float:
        """The first tabulated point: below it the density of a hard edge is the pure exponential."""
        panel, n = self.panels[0], len(self.panels[0].series)
        share = np.sin(np.pi / (2 * n + 2)) ** 2
        return float(self.interval.u(np.asarray(panel.lo + (panel.hi - panel.lo) * share)))

    def integral(self, f: Callable[[np.ndarray], np.ndarray]) -> float:
        """∫ f(u) p(u) du; f must have a limit at the left end."""
        nodes, weights = _legendre(_GAUSS)
        total = 0.0
        for panel in self.panels:
            cuts = np.linspace(panel.lo, panel.hi, _SUBPANELS + 1)
            half = (cuts[1:] - cuts[:-1])[:, None] / 2
            angle = cuts[:-1, None] + half * (1 + nodes)
            total += float(np.sum(half * weights * panel.density(angle) * f(self.interval.u(angle))))
        return total

    def nodes(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Points u and masses of a quadrature rule for p: ``count`` Gauss nodes a panel."""
        nodes, weights = _legendre(count)
        half = np.array([(panel.hi - panel.lo) / 2 for panel in self.panels])[:, None]
        angle = np.array([panel.lo for panel in self.panels])[:, None] + half * (1 + nodes)
        density = np.array([panel.density(one) for panel, one in zip(self.panels, angle, strict=True)])
        return self.interval.u(angle).ravel(), (half * weights * np.maximum(density, 0.0)).ravel()

    def knots(self) -> np.ndarray:
        """Points between which the integral is to be inverted: four for every term of a series."""
        angles = [np.linspace(panel.lo, panel.hi, 4 * len(panel.series)) for panel in self.panels]
        points = self.interval.u(np.concatenate(angles))
        return np.append(points, self.first) if self.interval.left == -math.inf else points

    def _lift(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Move points of an exponential tail up to ``first``; return (points, e^{κ·distance}).

        Below ``first`` the series is right in absolute terms only, the pure exponential in relative ones.
        """
        if self.interval.left > -math.inf:
            return u, np.ones(u.shape)
        return np.maximum(u, self.first), np.exp(self.interval.rate * np.minimum(u - self.first, 0.0))

    def _sum(self, coefficients: np.ndarray, angle: np.ndarray) -> np.ndarray:
        """Σ_k c_k T_k(t) with the coefficients of the panel that holds each angle (Clenshaw)."""
        index = np.clip(np.searchsorted(self._starts, angle, side="right") - 1, 0, len(self.panels) - 1)
        lo, hi = self._starts[index], self._ends[index]
        t = np.clip((2 * angle - lo - hi) / (hi - lo), -1, 1)
        last, before = np.zeros(angle.shape), np.zeros(angle.shape)
        for row in coefficients[:0:-1]:
            last, before = row[index] - before + 2 * t * last, last
        return coefficients[0][index] - before + t * last

    @functools.cached_property
    def _starts(self) -> np.ndarray:
        return np.array([panel.lo for panel in self.panels])

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        return np.array([panel.hi for panel in self.panels])

    @functools.cached_property
    def _series(self) -> np.ndarray:
        """Coefficients of g, (terms, panels), short series filled up with zeros."""
        return _side_by_side([panel.series for panel in self.panels])

    @functools.cached_property
    def _integrals(self) -> np.ndarray:
        """Coefficients of ∫ g from 0, (terms, panels)."""
        rows = _side_by_side([panel.integral for panel in self.panels])
        below = np.cumsum([0.0, *(panel.mass for panel in self.panels[:-1])])
        rows[0] += below
        return rows


def monotone_panels(angle: np.ndarray, value: np.ndarray, slope: np.ndarray) -> list[Panel]:
    """Panels between points of F(θ) with slopes: monotone cubics (Fritsch and Carlson 1980)."""
    panels = []
    for (lo, hi), (below, above), (start, end) in zip(
        *map(itertools.pairwise, (angle, value, slope)), strict=True
    ):
        width = hi - lo
        if width <= 0:
            continue
        mean = max(float(above - below), 0.0) / width
        g0, g1 = min(start, 3 * mean), min(end, 3 * mean)
        curve = 1.5 * (0.5 * (g0 + g1) - mean)
        panels.append(Panel(float(lo), float(hi), np.array([mean + curve / 6, 0.5 * (g1 - g0), 0.5 * curve])))
    return panels


def _side_by_side(columns: Sequence[np.ndarray]) -> np.ndarray:
    table = np.zeros((max(map(len, columns)), len(columns)))
    for k, column in enumerate(columns):
        table[: len(column), k] = column
    return table


@functools.lru_cache(maxsize=8)
def _legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(n)
