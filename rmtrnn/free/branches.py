"""A function f ≥ 0 of a normal variable e ~ N(mean, variance), cut into stretches on which f is monotone.

f is given by branches: functions on intervals that meet at breakpoints, where f may jump. A branch on which f
is constant is a point mass. Every other branch is cut at its turning points. z = (e − mean)/deviation.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from scipy import special

from rmtrnn.numerics.bisection import root_between

Z_MAX = 9.5
"""Standard deviations; the normal mass beyond is 2e-21."""
_CONSTANT = 1e-13
"""Relative spread of f below which a branch is an atom: rounding of f, 500 eps."""


class Branch(Protocol):
    """f on the interval from ``low`` to ``high`` of its argument; branches compare and hash by content.

    ``value`` and ``slope`` (f') take real arrays, and complex ones below the real axis if ``analytic``.
    """

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def analytic(self) -> bool: ...
    def value(self, e: np.ndarray) -> np.ndarray: ...
    def slope(self, e: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class FunctionBranch:
    """A user's f between two breakpoints; its slope by differences (a complex step if ``analytic``)."""

    f: Callable[[np.ndarray], np.ndarray]
    low: float
    high: float
    analytic: bool

    def value(self, e: np.ndarray) -> np.ndarray:
        if np.iscomplexobj(e):
            return np.asarray(self.f(e))
        # The breakpoints themselves belong to either side: stay on this one.
        inside = np.clip(e, np.nextafter(self.low, math.inf), np.nextafter(self.high, -math.inf))
        return np.asarray(self.f(inside), dtype=float)

    def slope(self, e: np.ndarray) -> np.ndarray:
        """df/de by Richardson's central difference, kept on the branch."""
        size = 1e-3 * np.ones_like(e)
        h = np.minimum(size, 0.4 * np.minimum(e - self.low, self.high - e))
        h = np.where(h > 0, h, 1e-9)
        outer, inner = (self.value(e + k * h) - self.value(e - k * h) for k in (2, 1))
        noise = 32 * np.finfo(float).eps * self.value(e)
        return np.where(np.abs(outer) > noise, (8 * inner - outer) / (12 * h), 0.0)


def is_analytic(f: Callable[[np.ndarray], np.ndarray], low: float, high: float, variance: float) -> bool:
    """Whether f takes complex arrays and continues itself analytically between ``low`` and ``high``.

    On circles around points of the branch an analytic f has no negative Fourier coefficients; |e|, Re e and
    the conjugate have some. An f that does not take complex numbers at all, or warns about them, is not.
    """
    deviation = math.sqrt(variance)
    a, b = max(low, -6.0 * deviation), min(high, 6.0 * deviation)
    if not b > a:
        return False
    share = (np.arange(24) + 0.5) / 24
    centre = (a + (b - a) * share)[:, None]
    radius = np.minimum(0.05, 0.4 * np.minimum(centre - a, b - centre))
    circle = centre + radius * np.exp(2j * np.pi * np.arange(32) / 32)
    try:
        with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
            warnings.simplefilter("error")
            values = np.asarray(f(circle))
    except Exception:  # a user's function: whatever it raises for complex numbers
        return False
    if values.shape != circle.shape or not np.iscomplexobj(values) or not np.all(np.isfinite(values)):
        return False
    coefficients = np.abs(np.fft.fft(values, axis=1)) / 32
    largest = np.max(np.abs(values), axis=1)
    return bool(np.all(np.max(coefficients[:, 17:], axis=1) <= 1e-13 * largest + 1e-300))


class Stretch(NamedTuple):
    """A monotone part of a branch: ends in z = (e − mean)/deviation, f there, depth of the contour."""

    branch: Branch
    a: float
    b: float
    at_a: float
    at_b: float
    depth: float

    @property
    def rising(self) -> bool:
        return self.at_b > self.at_a


class MonotoneStretches:
    """The stretches of f and the point masses of its constant branches; see the module's text.

    ``reach``: standard deviations beyond which f is left out. Raises ValueError for an f that is negative or
    not finite where e has mass.
    """

    def __init__(self, branches: Sequence[Branch], mean: float, deviation: float) -> None:
        self.branches, self.mean, self.deviation = tuple(branches), float(mean), float(deviation)
        self.reach = self._reach()
        self.masses: dict[float, float] = {}
        stretches: list[Stretch] = []
        far: dict[float, float] = {}
        for branch in self.branches:
            low, high = ((end - mean) / deviation for end in (branch.low, branch.high))
            a, b = max(low, -self.reach), min(high, self.reach)
            if a >= b:
                self._add_flat(branch, low, high, far)
                continue
            grid = self._grid(a, b)
            values = self.value(branch, grid)
            if not (np.all(np.isfinite(values)) and np.all(values >= 0.0)):
                raise ValueError(f"f must be finite and ≥ 0, but is not on [{self._e(a):g}, {self._e(b):g}]")
            if np.ptp(values) <= _CONSTANT * np.max(values):
                place = float(values[len(values) // 2])
                self.masses[place] = self.masses.get(place, 0.0) + normal_mass(low, high)
            else:
                stretches += self._monotone(branch, grid)
        self.stretches = tuple(stretches)
        if not stretches:  # else what lies beyond the reach is left out: it would set the scale of the rest
            for place, mass in far.items():
                self.masses[place] = self.masses.get(place, 0.0) + mass

    def _reach(self) -> float:
        """Z_MAX; further out where f > 0 on so little mass that what is beyond Z_MAX is no rounding of it."""
        beyond, live = float(special.ndtr(-Z_MAX)), 0.0
        for branch in self.branches:
            low, high = ((end - self.mean) / self.deviation for end in (branch.low, branch.high))
            a, b = max(low, -Z_MAX), min(high, Z_MAX)
            if a < b and np.any(self.value(branch, np.linspace(a, b, 33)[1:-1]) != 0.0):
                live += normal_mass(a, b)
        if live == 0.0 or beyond < np.finfo(float).eps * live:
            return Z_MAX
        return float(-special.ndtri(beyond * live))

    def _add_flat(self, branch: Branch, low: float, high: float, masses: dict[float, float]) -> None:
        """Add the mass of a constant branch beyond Z_MAX, which is known however small it is."""
        left, right = max(low, -2.0 * Z_MAX), min(high, 2.0 * Z_MAX)
        values = self.value(branch, np.linspace(left, right, 33)[1:-1])
        if left < right and np.all(np.isfinite(values)) and np.ptp(values) == 0.0:
            place = float(values[0])
            masses[place] = masses.get(place, 0.0) + normal_mass(low, high)

    @property
    def largest(self) -> float:
        """The largest value of f where e has mass; 0 if there is none above it."""
        tops = [max(s.at_a, s.at_b) for s in self.stretches]
        return max([*tops, *(place for place, mass in self.masses.items() if mass > 0)], default=0.0)

    def scaled(self, scale: float) -> tuple[Stretch, ...]:
        """The stretches with f in units of ``scale``."""
        return tuple(s._replace(at_a=s.at_a / scale, at_b=s.at_b / scale) for s in self.stretches)

    def _e(self, z: np.ndarray | float) -> np.ndarray | float:
        return self.mean + self.deviation * z

    def value(self, branch: Branch, z: np.ndarray) -> np.ndarray:
        """f on the branch at z."""
        return np.asarray(branch.value(np.asarray(self._e(z))))

    def slope(self, branch: Branch, z: np.ndarray) -> np.ndarray:
        """df/dz on the branch at z."""
        return np.asarray(branch.slope(np.asarray(self._e(z))), dtype=float) * self.deviation

    def _grid(self, a: float, b: float) -> np.ndarray:
        """Points of [a, b] that see features of unit width in e near e = 0 and near the ends."""
        even = np.linspace(a, b, 2001)
        near = np.geomspace(1e-6, 1.0, 61) * (b - a)
        low, high = (math.asinh(self.mean + self.deviation * end) for end in (a, b))
        wide = (np.sinh(np.linspace(low, high, 2001)) - self.mean) / self.deviation
        points = np.concatenate([even, a + near, b - near, wide])
        return np.unique(np.clip(points, a, b))

    def _monotone(self, branch: Branch, grid: np.ndarray) -> list[Stretch]:
        """Cut a branch at its turning points: sign changes of f' on the grid, refined to rounding."""
        slope = np.sign(self.slope(branch, grid[1:-1]))
        live = 1 + np.flatnonzero(slope)  # where f underflows f' is 0 and decides nothing
        changes = np.flatnonzero(slope[live[1:] - 1] != slope[live[:-1] - 1])
        left, right = grid[live[changes]], grid[live[changes + 1]]
        turns = np.array([])
        if len(changes):
            found = root_between(lambda z: self.slope(branch, z), (left, right))
            turns = np.where(found.success, found.x, 0.5 * (left + right))
        ends = np.array([grid[0], *turns, grid[-1]])
        at = self.value(branch, ends)
        at[1:-1] = self._touching(branch, turns, at[1:-1])
        parts = []
        for i in range(len(ends) - 1):
            parts += self._split(branch, ends[i], ends[i + 1], at[i], at[i + 1])
        return parts

    def _touching(self, branch: Branch, turns: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Values at the turning points, rounding of a double zero taken for the zero that it is."""
        around = np.maximum(self.value(branch, turns - 1e-3), self.value(branch, turns + 1e-3))
        return np.where(at <= 1e-12 * around, 0.0, at)

    def _split(self, branch: Branch, a: float, b: float, at_a: float, at_b: float) -> list[Stretch]:
        """One stretch; two where f climbs on a small part of a long interval, met half way up."""
        if b - a <= 0 or at_a == at_b:
            return []
        grid = np.linspace(a, b, 33)[1:-1]
        share = (self.value(branch, grid) - at_a) / (at_b - at_a)
        whole = Stretch(branch, float(a), float(b), float(at_a), float(at_b), 0.0)
        if np.count_nonzero((share > 0.1) & (share < 0.9)) > 3 or min(share[0], 1 - share[-1]) > 0.1:
            return [whole]
        middle = self.preimage(whole, np.array([0.5 * (at_a + at_b)]), 1.0)[0]
        if not a + 1e-3 * (b - a) < middle < b - 1e-3 * (b - a):
            return [whole]
        at = float(self.value(branch, np.array([middle]))[0])
        return [whole._replace(b=float(middle), at_b=at), whole._replace(a=float(middle), at_a=at)]

    def preimage(self, stretch: Stretch, x: np.ndarray, unit: float) -> np.ndarray:
        """z on the stretch with f(z) = x · unit, clipped to its ends."""
        return self.preimages((stretch,), x, unit)[0]

    def preimages(self, stretches: Sequence[Stretch], x: np.ndarray, unit: float) -> np.ndarray:
        """The same for many stretches: an array (stretches, points), from one search for each branch."""
        a, b, at_a, at_b = (np.array([s[i] for s in stretches])[:, None] for i in (1, 2, 3, 4))
        rising = at_b > at_a
        low, high = np.minimum(at_a, at_b), np.maximum(at_a, at_b)
        lowest = np.where(rising, a, b)  # where f is least
        z = np.where((x <= low) == rising, a, b)
        inside = (x > low) & (x < high)
        for branch in dict.fromkeys(s.branch for s in stretches):
            mine = inside & np.array([s.branch == branch for s in stretches])[:, None]
            if not np.any(mine):
                continue
            target, left, right = (np.broadcast_to(part, z.shape)[mine] for part in (x, a, b))
            found = root_between(functools.partial(self._excess, branch, unit), (left, right), args=(target,))
            # At a zero of f its computed value may exceed x by rounding: the zero itself is meant.
            zero = np.broadcast_to(lowest, z.shape)[mine]
            z[mine] = np.where(found.success, np.clip(found.x, left, right), zero)
        return z

    def _excess(self, branch: Branch, unit: float, z: np.ndarray, target: np.ndarray) -> np.ndarray:
        return self.value(branch, z) / unit - target

    def tail_ranges(self, scale: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """(inf, sup) of f/scale beyond the reach, on the left and on the right."""
        ranges = []
        for side, branch in ((-1.0, self.branches[0]), (1.0, self.branches[-1])):
            start = self._e(side * self.reach)
            if not branch.low <= start <= branch.high or not math.isinf(
                max(side * branch.low, side * branch.high)
            ):
                ranges.append((math.inf, 0.0))
                continue
            with np.errstate(all="ignore"):
                far = start + side * np.concatenate(
                    [np.linspace(0.0, 50.0, 5001), np.geomspace(51.0, 1e12, 1000)]
                )
                values = np.asarray(branch.value(far), dtype=float) / scale
            values = values[~np.isnan(values)]
            last = values[-1] if values.size else 0.0
            grows = math.isinf(last) or (values.size > 250 and last > max(2.0 * values[-250], 1.0))
            low = float(np.min(values, initial=math.inf))
            ranges.append((low if low > 1e-10 else 0.0, math.inf if grows else 1.0))
        return ranges[0], ranges[1]


def normal_mass(low: float, high: float) -> float:
    """P(low < Z < high) of a standard normal, accurate in both tails."""
    return float(normal_masses(np.array([low]), np.array([high]))[0])


def normal_masses(low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """P(low < Z < high) elementwise, from the tail that does not cancel."""
    low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    mirrored = low > 0
    first, second = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
    return np.maximum(special.ndtr(second) - special.ndtr(first), 0.0)
