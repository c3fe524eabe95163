"""The law of X = f(e), e ~ N(mean, variance), for a piecewise analytic f ≥ 0 (a `Base` of free products).

f is cut into stretches on which X is a monotone function of e (`rmtrnn.free.branches`): the distribution
function is a sum of Gaussian masses, and the support a union of images. Expectations E[g(X)] are sums over
nodes on the stretches (`rmtrnn.free.stretch_quadrature`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from rmtrnn.free.base_transforms import Sums, log_potential_of, weighted_sums
from rmtrnn.free.branches import Branch, MonotoneStretches, normal_masses
from rmtrnn.free.stretch_quadrature import StretchQuadrature
from rmtrnn.numerics.bisection import root_between


class VanishingFunction(ValueError):
    """f is zero wherever e has mass: the law is an atom at 0, which has no free powers."""


class GaussianImage:
    """The law of f(e)/scale; see the module's text. ``log_scale`` is the logarithm of the largest f.

    Raises ValueError for an f that is negative or not finite where e has mass, or zero everywhere.
    """

    def __init__(self, branches: Sequence[Branch], mean: float, deviation: float) -> None:
        self._parts = MonotoneStretches(branches, mean, deviation)
        self._scale = self._parts.largest
        if self._scale == 0.0:
            raise VanishingFunction("f is zero wherever e has mass")
        masses = self._parts.masses.items()
        self.atoms = tuple(sorted((place / self._scale, mass) for place, mass in masses if mass > 0.0))
        self._stretches = self._parts.scaled(self._scale)
        rest = 1.0 - math.fsum(mass for _, mass in self.atoms)
        self._quadrature = StretchQuadrature(self._parts, self._scale, rest)
        self._tails = self._parts.tail_ranges(self._scale)
        self.is_bounded = all(math.isfinite(high) for _, high in self._tails)
        self.gaps = self._find_gaps()

    @property
    def is_discrete(self) -> bool:
        """Whether there are atoms only."""
        return not self._stretches

    @property
    def has_real_nodes(self) -> bool:
        """Whether the sums at complex w are over real nodes: no contour leaves the axis."""
        return self._quadrature.has_real_nodes

    @property
    def underflowing(self) -> float:
        """P(0 < X/scale < a thousand times the smallest double), where log X cannot be resolved."""
        tiny = 1e3 * np.finfo(float).tiny / min(self._scale, 1.0)
        return float(self._continuous_cdf(np.array([tiny]))[0])

    @property
    def log_scale(self) -> float:
        """log of the largest value of f within the reach of its stretches."""
        return math.log(self._scale)

    @functools.cached_property
    def _images(self) -> list[tuple[float, float]]:
        """Disjoint intervals of X/scale that carry the continuous part, in order; ends within 1e-14 merge."""
        images = []
        for s in self._stretches:
            low, high = sorted((s.at_a, s.at_b))
            if s.a == -self._parts.reach and s.rising:
                low = min(low, self._tails[0][0])
            if s.b == self._parts.reach and not s.rising:
                low = min(low, self._tails[1][0])
            images.append((low, high))
        images.sort()
        merged: list[tuple[float, float]] = []
        for low, high in images:
            if merged and low <= merged[-1][1] * (1.0 + 1e-14) + 1e-300:
                merged[-1] = (merged[-1][0], max(merged[-1][1], high))
            else:
                merged.append((low, high))
        return merged

    def _find_gaps(self) -> tuple[tuple[float, float], ...]:
        """Intervals of (0, 1) without mass, each bounded by what carries some."""
        marks = sorted([*self._images, *((place, place) for place, _ in self.atoms)])
        gaps, edge = [], 0.0
        for low, high in marks:
            if low > edge * (1.0 + 1e-14) and low > 1e-14:
                gaps.append((edge, low))
            edge = max(edge, high)
        return tuple(gaps)

    @property
    def log_support(self) -> tuple[tuple[float, float], ...]:
        """Intervals of log X that carry the continuous part."""
        with np.errstate(divide="ignore"):
            return tuple((float(np.log(low)), float(np.log(high))) for low, high in self._images)

    # -- expectations ------------------------------------------------------------------------------------

    def sums(self, y: np.ndarray) -> Sums:
        """The four expectations of `Sums` at y = 1/w."""
        y = np.asarray(y)
        flat = y.ravel()
        places, masses = self._atom_arrays
        fixed = weighted_sums(places, masses, flat)
        if self.is_discrete or not flat.size:
            return Sums(fixed[0], fixed[1], fixed[2], fixed[3], np.zeros(flat.shape)).reshape(y.shape)
        value, error = self._quadrature.refined(weighted_sums, flat, 0.0, near_zero=True)
        total = value + fixed
        return Sums(total[0], total[1], total[2], total[3], error).reshape(y.shape)

    def log_potential(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """E[log(1 − X y)] with arguments in [0, π], and its absolute error."""
        y = np.asarray(y)
        flat = y.ravel().astype(complex)
        fixed = log_potential_of(*self._atom_arrays, flat)
        if self.is_discrete:
            return fixed.reshape(y.shape), np.zeros(y.shape)
        shifted = y if np.iscomplexobj(y) else y.astype(float)
        value, error = self._quadrature.refined(
            lambda X, weight, points: log_potential_of(X, weight, points)[None], shifted.ravel(), 1.0
        )
        error = error * (1.0 + np.abs(value[0]))
        return (value[0] + fixed).reshape(y.shape), error.reshape(y.shape)

    @functools.cached_property
    def _atom_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array([place for place, _ in self.atoms]), np.array([mass for _, mass in self.atoms])

    def _expectation(self, g: Callable[[np.ndarray], np.ndarray]) -> float:
        places, masses = self._atom_arrays
        fixed = float(np.sum(masses * g(places))) if len(places) else 0.0
        if self.is_discrete:
            return fixed
        value, _ = self._quadrature.refined(
            lambda X, weight, points: np.sum(weight * g(X)).reshape(1, 1), np.zeros(1), abs(fixed)
        )
        return fixed + float(value[0, 0])

    def moment(self, k: int) -> float:
        return self._expectation(lambda x: x**k)

    def variance(self) -> float:
        mean = self.moment(1)
        return self._expectation(lambda x: (x - mean) ** 2)

    def log_mean(self) -> float:
        with np.errstate(divide="ignore"):
            return self._expectation(lambda x: np.log(np.maximum(x, 5e-324)))

    # -- the law itself, through the stretches -----------------------------------------------------------

    def log_cdf(self, v: np.ndarray) -> np.ndarray:
        x = np.exp(np.minimum(v, 1.0))
        total = self._continuous_cdf(x)
        for place, mass in self.atoms:
            total += mass * (v >= (math.log(place) if place > 0 else -math.inf))
        return np.clip(np.where(v >= 0, 1.0, total), 0.0, 1.0)

    def _continuous_cdf(self, x: np.ndarray) -> np.ndarray:
        total = np.zeros(x.shape)
        if self._stretches:
            for s, z in zip(
                self._stretches, self._parts.preimages(self._stretches, x, self._scale), strict=True
            ):
                total += normal_masses(s.a, z) if s.rising else normal_masses(z, s.b)
        return total

    def log_pdf(self, v: np.ndarray) -> np.ndarray:
        x = np.exp(np.minimum(v, 1.0))
        total = np.zeros(v.shape)
        if not self._stretches:
            return total
        for s, z in zip(self._stretches, self._parts.preimages(self._stretches, x, self._scale), strict=True):
            inside = (z > s.a) & (z < s.b)
            with np.errstate(divide="ignore", invalid="ignore"):
                slope = np.abs(self._parts.slope(s.branch, z)) / self._scale
                density = x * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) / slope
                total += np.where(inside & (slope > 0), density, 0.0)
        return np.where(v < 0, total, 0.0)

    def log_icdf(self, p: np.ndarray) -> np.ndarray:
        """Smallest v with cdf ≥ p, a probability: an atom where its jump holds p, else a root."""
        bottom = min([low for low, _ in self.log_support] + [self._log(place) for place, _ in self.atoms])
        result = np.where(p <= 0, bottom, np.nan)
        below = 0.0
        for place, mass in self.atoms:
            v = self._log(place)
            before = self._continuous_cdf(np.array([place]))[0] + below
            result = np.where((p > before) & (p <= before + mass * (1 + 1e-15)) & (p > 0), v, result)
            below += mass
        open_ = np.isnan(result)
        if np.any(open_):
            low, high = self._bracket(p[open_], max(bottom, -745.0))
            found = root_between(lambda v, target: self.log_cdf(v) - target, (low, high), args=(p[open_],))
            result[open_] = np.where(found.success, found.x, np.where(p[open_] >= 0.5, high, low))
        return result

    def _bracket(self, p: np.ndarray, lowest: float) -> tuple[np.ndarray, np.ndarray]:
        """Neighbours of a grid of v ≤ 0 between which the cdf takes each probability p."""
        grid = np.unique(np.concatenate([-np.geomspace(1e-12, max(-lowest, 1e-9), 100), [lowest, 0.0]]))
        at = np.maximum.accumulate(self.log_cdf(grid))
        index = np.clip(np.searchsorted(at, p), 1, len(grid) - 1)
        return grid[index - 1], grid[index]

    @staticmethod
    def _log(place: float) -> float:
        return math.log(place) if place > 0 else -math.inf

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GaussianImage):
            return NotImplemented
        mine, others = self._key(), other._key()
        return mine == others

    def _key(self) -> tuple[object, ...]:
        return self._parts.branches, self._parts.mean, self._parts.deviation

    def __hash__(self) -> int:
        return hash(self._key())
