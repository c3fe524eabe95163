"""The law of X = f(e), e ~ N(mean, variance), for a piecewise analytic f ≥ 0 (a `Base` of free products).

f is given by branches: functions on intervals that meet at breakpoints, where f may jump. A branch on which f
is constant is an atom. Every other branch is cut at its turning points, so that X is a monotone function of e
on each `_Stretch`: the distribution function is a sum of Gaussian masses, and the support a union of images.

Expectations E[g(X)] are sums over double exponential nodes on the stretches, refined by halving the step.
Close to the support the integrand 1/(w − f) has poles close to the real axis. Where a branch is analytic the
integral for Im w ≥ 0 is therefore taken along z = t − i a σ(t), σ of the sign of f' and zero at both ends of
the stretch: there Im f < 0, the poles keep their distance, and a few dozen nodes serve for every w. The depth
a is the largest, of a few tried, with Im f ≤ 0 on a grid of the strip above the contour, so that no pole is
crossed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from scipy import special
from scipy.optimize import elementwise

from rmtrnn.free.base_transforms import Sums, log_potential_of, weighted_sums

Z_MAX = 9.5
"""Standard deviations; the normal mass beyond is 2e-21."""
_CONSTANT = 1e-13
"""Relative spread of f below which a branch is an atom: rounding of f, 500 eps."""
_FIRST_STEP, _LAST = 0.5, 12
"""First step of the quadrature in its own variable, and how often it is halved at most."""
_MOST_NODES, _MOST_ON_AXIS = 1 << 13, 1 << 17
"""Nodes at most along a contour, where more only average rounding, and on the real axis, close to poles."""
_ROUNDING = 4e-15
"""Relative change between two levels that no further level improves on."""
_STAGNANT = 1e3
"""Change between levels, in units of the tolerance, below which one that does not shrink is rounding."""
_ZERO_ROUNDING = 4e-16
_DEPTHS = (2.0, 1.4, 1.0, 0.7, 0.5, 0.35, 0.25, 0.12, 0.06)
"""In units of the length on which f varies; a steeper contour spends its nodes on the way down and up."""
_T_END = 3.6
"""Steps beyond the ends: τ + e^τ = 40, so that what is left of a stretch is e^{−40}."""


class VanishingFunction(ValueError):
    """f is zero wherever e has mass: the law is an atom at 0, which has no free powers."""


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


class _Stretch(NamedTuple):
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


class GaussianImage:
    """The law of f(e)/scale; see the module's text. ``log_scale`` is the logarithm of the largest f.

    Raises ValueError for an f that is negative or not finite where e has mass, or zero everywhere.
    """

    def __init__(self, branches: Sequence[Branch], mean: float, deviation: float) -> None:
        self._branches, self._mean, self._deviation = tuple(branches), float(mean), float(deviation)
        self._cache: dict[tuple[bool, int], tuple[np.ndarray, np.ndarray]] = {}
        masses: dict[float, float] = {}
        stretches: list[_Stretch] = []
        for branch in self._branches:
            low, high = ((end - mean) / deviation for end in (branch.low, branch.high))
            a, b = max(low, -Z_MAX), min(high, Z_MAX)
            if a >= b:
                continue
            grid = self._grid(a, b)
            values = self._value(branch, grid)
            if not (np.all(np.isfinite(values)) and np.all(values >= 0.0)):
                raise ValueError(f"f must be finite and ≥ 0, but is not on [{self._e(a):g}, {self._e(b):g}]")
            if np.ptp(values) <= _CONSTANT * np.max(values):
                place = float(values[len(values) // 2])
                masses[place] = masses.get(place, 0.0) + normal_mass(low, high)
            else:
                stretches += self._monotone(branch, grid, values)
        tops = [max(s.at_a, s.at_b) for s in stretches] + [
            place for place, mass in masses.items() if mass > 0
        ]
        self._scale = max(tops, default=0.0)
        if self._scale == 0.0:
            raise VanishingFunction("f is zero wherever e has mass")
        self.atoms = tuple(
            sorted((place / self._scale, mass) for place, mass in masses.items() if mass > 0.0)
        )
        self._stretches = tuple(
            s._replace(at_a=s.at_a / self._scale, at_b=s.at_b / self._scale, depth=self._depth_of(s))
            for s in stretches
        )
        self._tails = self._tail_ranges()
        self.is_bounded = all(math.isfinite(high) for _, high in self._tails)
        self.gaps = self._find_gaps()

    @property
    def is_discrete(self) -> bool:
        """Whether there are atoms only."""
        return not self._stretches

    @property
    def log_scale(self) -> float:
        """log of the largest value of f within Z_MAX standard deviations."""
        return math.log(self._scale)

    # -- the stretches -----------------------------------------------------------------------------------

    def _e(self, z: np.ndarray | float) -> np.ndarray | float:
        return self._mean + self._deviation * z

    def _value(self, branch: Branch, z: np.ndarray) -> np.ndarray:
        return np.asarray(branch.value(np.asarray(self._e(z))))

    def _slope(self, branch: Branch, z: np.ndarray) -> np.ndarray:
        return np.asarray(branch.slope(np.asarray(self._e(z))), dtype=float) * self._deviation

    def _grid(self, a: float, b: float) -> np.ndarray:
        """Points of [a, b] that see features of unit width in e near e = 0 and near the ends."""
        even = np.linspace(a, b, 2001)
        near = np.geomspace(1e-6, 1.0, 61) * (b - a)
        low, high = (math.asinh(self._mean + self._deviation * end) for end in (a, b))
        wide = (np.sinh(np.linspace(low, high, 2001)) - self._mean) / self._deviation
        points = np.concatenate([even, a + near, b - near, wide])
        return np.unique(np.clip(points, a, b))

    def _monotone(self, branch: Branch, grid: np.ndarray, values: np.ndarray) -> list[_Stretch]:
        """Cut a branch at its turning points: sign changes of f' on the grid, refined to rounding."""
        slope = np.sign(self._slope(branch, grid[1:-1]))
        live = 1 + np.flatnonzero(slope)  # where f underflows f' is 0 and decides nothing
        changes = np.flatnonzero(slope[live[1:] - 1] != slope[live[:-1] - 1])
        left, right = grid[live[changes]], grid[live[changes + 1]]
        turns = np.array([])
        if len(changes):
            found = elementwise.find_root(lambda z: self._slope(branch, z), (left, right))
            turns = np.where(found.success, found.x, 0.5 * (left + right))
        ends = np.array([grid[0], *turns, grid[-1]])
        at = self._value(branch, ends)
        at[1:-1] = self._touching(branch, turns, at[1:-1])
        parts = []
        for i in range(len(ends) - 1):
            parts += self._split(branch, ends[i], ends[i + 1], at[i], at[i + 1])
        return parts

    def _touching(self, branch: Branch, turns: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Values at the turning points, rounding of a double zero taken for the zero that it is."""
        around = np.maximum(self._value(branch, turns - 1e-3), self._value(branch, turns + 1e-3))
        return np.where(at <= 1e-12 * around, 0.0, at)

    def _split(self, branch: Branch, a: float, b: float, at_a: float, at_b: float) -> list[_Stretch]:
        """One stretch; two where f climbs on a small part of a long interval, met half way up."""
        if b - a <= 0 or at_a == at_b:
            return []
        grid = np.linspace(a, b, 33)[1:-1]
        share = (self._value(branch, grid) - at_a) / (at_b - at_a)
        whole = _Stretch(branch, float(a), float(b), float(at_a), float(at_b), 0.0)
        if np.count_nonzero((share > 0.1) & (share < 0.9)) > 3 or min(share[0], 1 - share[-1]) > 0.1:
            return [whole]
        middle = self._preimage(whole, np.array([0.5 * (at_a + at_b)]), 1.0)[0]
        if not a + 1e-3 * (b - a) < middle < b - 1e-3 * (b - a):
            return [whole]
        at = float(self._value(branch, np.array([middle]))[0])
        return [whole._replace(b=float(middle), at_b=at), whole._replace(a=float(middle), at_a=at)]

    def _preimage(self, stretch: _Stretch, x: np.ndarray, unit: float) -> np.ndarray:
        """z on the stretch with f(z) = x · unit, clipped to its ends."""
        low, high = sorted((stretch.at_a, stretch.at_b))
        z = np.where((x <= low) == stretch.rising, stretch.a, stretch.b)
        inside = (x > low) & (x < high)
        if np.any(inside):
            target = x[inside]
            found = elementwise.find_root(
                lambda z, target: self._value(stretch.branch, z) / unit - target,
                (np.full(target.shape, stretch.a), np.full(target.shape, stretch.b)),
                args=(target,),
            )
            # At a zero of f its computed value may exceed x by rounding: the zero itself is meant.
            lowest = stretch.a if stretch.rising else stretch.b
            z[inside] = np.where(found.success, np.clip(found.x, stretch.a, stretch.b), lowest)
        return z

    def _tail_ranges(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """(inf, sup) of f/scale beyond Z_MAX standard deviations, on the left and on the right."""
        ranges = []
        for side, branch in ((-1.0, self._branches[0]), (1.0, self._branches[-1])):
            start = self._e(side * Z_MAX)
            if not branch.low <= start <= branch.high or not math.isinf(
                max(side * branch.low, side * branch.high)
            ):
                ranges.append((math.inf, 0.0))
                continue
            with np.errstate(all="ignore"):
                far = start + side * np.concatenate(
                    [np.linspace(0.0, 50.0, 5001), np.geomspace(51.0, 1e12, 1000)]
                )
                values = np.asarray(branch.value(far), dtype=float) / self._scale
            values = values[~np.isnan(values)]
            last = values[-1] if values.size else 0.0
            grows = math.isinf(last) or (values.size > 250 and last > max(2.0 * values[-250], 1.0))
            low = float(np.min(values, initial=math.inf))
            ranges.append((low if low > 1e-10 else 0.0, math.inf if grows else 1.0))
        return ranges[0], ranges[1]

    @functools.cached_property
    def _images(self) -> list[tuple[float, float]]:
        """Disjoint intervals of X/scale that carry the continuous part, in order; ends within 1e-14 merge."""
        images = []
        for s in self._stretches:
            low, high = sorted((s.at_a, s.at_b))
            if s.a == -Z_MAX and s.rising:
                low = min(low, self._tails[0][0])
            if s.b == Z_MAX and not s.rising:
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

    # -- quadrature --------------------------------------------------------------------------------------

    def _contour(
        self, s: _Stretch, da: np.ndarray, db: np.ndarray, depth: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """z − t and dz/dt at the distances da, db from the ends: −i a σ, σ = ± tanh(da/ℓ) tanh(db/ℓ)."""
        width = self._unit(s)
        sign = 1.0 if s.rising else -1.0
        up = np.ones_like(da) if s.a == -Z_MAX else np.tanh(da / width)
        down = np.ones_like(db) if s.b == Z_MAX else np.tanh(db / width)
        slope = ((1.0 - up * up) * down - up * (1.0 - down * down)) / width
        return -1j * depth * sign * up * down, 1.0 - 1j * depth * sign * slope

    def _depth_of(self, s: _Stretch) -> float:
        """The largest depth of the contour, of a few tried, with Im f ≤ 0 all the way down; else 0."""
        if not s.branch.analytic:
            return 0.0
        share = np.concatenate(
            [np.linspace(0.0, 1.0, 61)[1:-1], np.geomspace(1e-3, 0.1, 10), 1 - np.geomspace(1e-3, 0.1, 10)]
        )
        width = s.b - s.a
        t = s.a + width * share
        for depth in self._unit(s) * np.array(_DEPTHS):
            shift = self._contour(s, width * share, width * (1.0 - share), depth)[0]
            strip = t + shift * np.linspace(0.05, 1.0, 20)[:, None]
            with np.errstate(all="ignore"):
                values = self._value(s.branch, strip)
            if np.all(np.isfinite(values)) and np.all(np.imag(values) <= 1e-13 * np.abs(values)):
                return 0.9 * float(depth)
        return 0.0

    def _level(self, level: int, shifted: bool) -> tuple[np.ndarray, np.ndarray]:
        """Nodes X and weights that this level adds (level 0: all), weights in units of its full step."""
        key = (shifted, level)
        if key not in self._cache:
            parts = [self._nodes(s, _FIRST_STEP / (1 << level), level == 0, shifted) for s in self._stretches]
            X, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
            keep = np.abs(weight) > 1e-24
            self._cache[key] = X[keep], weight[keep]
        return self._cache[key]

    def _nodes(self, s: _Stretch, step: float, first: bool, shifted: bool) -> tuple[np.ndarray, np.ndarray]:
        """X and weights of one stretch at t = j·step, all j or the odd ones.

        z = a + ℓ log((1 + e^y)/(1 + e^{y−D})), D = (b − a)/ℓ, y = D/2 + t + 2 e^{−D/2} sinh t: equal steps
        ℓ dt in the middle, double exponential decay of the distance to the nearer end.
        """
        width = self._unit(s)
        D = (s.b - s.a) / width
        last = math.ceil((0.5 * D + _T_END) / step)
        index = np.arange(-last, last + 1) if first else np.arange(1 - last - last % 2, last + 1, 2)
        t = step * index
        y = 0.5 * D + t + 2.0 * math.exp(-0.5 * D) * np.sinh(t)
        inside = -np.expm1(-D)
        da = width * np.log1p(inside * np.exp(np.minimum(y, D)) / (1.0 + np.exp(np.minimum(y, D) - D)))
        db = width * np.log1p(inside * np.exp(D - np.maximum(y, 0.0)) / (1.0 + np.exp(-np.maximum(y, 0.0))))
        left = t <= 0
        da, db = np.where(left, da, s.b - s.a - db), np.where(left, s.b - s.a - da, db)
        density = step * width * inside * special.expit(y) * special.expit(D - y)
        density *= 1.0 + 2.0 * math.exp(-0.5 * D) * np.cosh(t)
        z = np.where(left, s.a + da, s.b - db)
        slope = np.ones_like(z)
        if shifted and s.depth:
            shift, slope = self._contour(s, da, db, s.depth)
            z = z + shift
        weight = density * slope * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
        return self._value(s.branch, z) / self._scale, weight

    def _unit(self, s: _Stretch) -> float:
        """Length in z on which f varies: 1 in e, at most that of the Gaussian, and 2 to 100 of it in all."""
        width = s.b - s.a
        return min(max(min(1.0, 1.0 / self._deviation), width / 100.0), 0.5 * width)

    @functools.cached_property
    def _has_zero(self) -> bool:
        return any(s.at_a == 0.0 or s.at_b == 0.0 for s in self._stretches)

    @property
    def has_real_nodes(self) -> bool:
        """Whether the sums at complex w are over real nodes: no contour leaves the axis."""
        return not any(s.depth for s in self._stretches)

    def _is_shifted(self, y: np.ndarray) -> bool:
        return bool(np.iscomplexobj(y)) and not self.has_real_nodes

    def _refined(
        self,
        sum_of: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
        y: np.ndarray,
        floor: float,
        near_zero: np.ndarray | float = 0.0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sums over ever finer nodes until two levels agree: values (rows, points) and relative errors.

        A level halves the weights of all before and adds its own nodes. Convergence is geometric: the finer
        level's error is about change²/(the change before). ``floor`` is added to |value| as the reference,
        ``near_zero`` to the tolerance.
        """
        shifted = self._is_shifted(y)
        todo = np.arange(y.size)
        masses = sum(mass for _, mass in self.atoms)
        X, weight = self._level(0, shifted)
        total, found = sum_of(X, weight, y), np.sum(weight)
        value, error = np.array(total), np.full(y.size, math.inf)
        last, count = np.full(y.size, math.inf), len(X)
        tolerance = np.broadcast_to(_ROUNDING + near_zero, y.shape)
        most = (
            max(_MOST_NODES, 1024 * len(self._stretches))
            if shifted and all(s.depth for s in self._stretches)
            else _MOST_ON_AXIS
        )
        for level in range(1, _LAST + 1):
            X, weight = self._level(level, shifted)
            before, total = total, 0.5 * total + sum_of(X, weight, y[todo])
            found, count = 0.5 * found + np.sum(weight), count + len(X)
            missing = max(0.0, float(abs(found + masses - 1.0)) - 4e-15 * (1.0 + count / 1e4))
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                change = np.max(np.abs(total - before) / (np.maximum(np.abs(total), 1e-300) + floor), axis=0)
                ratio = np.where(np.isinf(last) | (change == 0), 1.0, change / last)
            estimate = np.where(ratio < 0.1, change * ratio, change) + 4e-16 + missing
            value[:, todo], error[todo] = total, estimate
            # Rounding, not the next feature of f, is all that is left only close to the tolerance.
            stagnant = (change < _STAGNANT * tolerance[todo]) & (change > 0.3 * last) & (level > 3)
            going = (estimate > tolerance[todo]) & ~stagnant
            if not np.any(going) or count > most:
                break
            todo, last, total = todo[going], change[going], total[:, going]
        return value, error

    def sums(self, y: np.ndarray) -> Sums:
        """The four expectations of `Sums` at y = 1/w."""
        y = np.asarray(y)
        flat = y.ravel()
        places, masses = self._atom_arrays
        fixed = weighted_sums(places, masses, flat)
        if self.is_discrete or not flat.size:
            return Sums(fixed[0], fixed[1], fixed[2], fixed[3], np.zeros(flat.shape)).reshape(y.shape)
        # Close to a zero of f, at a distance √w, rounding of e is relative to the distance.
        near_zero = np.minimum(_ZERO_ROUNDING * np.sqrt(np.abs(flat)), 1e-10) if self._has_zero else 0.0
        value, error = self._refined(weighted_sums, flat, 0.0, near_zero)
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
        value, error = self._refined(
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
        value, _ = self._refined(
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
        for s in self._stretches:
            z = self._preimage(s, x, self._scale)
            total += normal_masses(s.a, z) if s.rising else normal_masses(z, s.b)
        return total

    def log_pdf(self, v: np.ndarray) -> np.ndarray:
        x = np.exp(np.minimum(v, 1.0))
        total = np.zeros(v.shape)
        for s in self._stretches:
            z = self._preimage(s, x, self._scale)
            inside = (z > s.a) & (z < s.b)
            with np.errstate(divide="ignore", invalid="ignore"):
                slope = np.abs(self._slope(s.branch, z)) / self._scale
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
            low = np.full(int(np.sum(open_)), max(bottom, -745.0))
            found = elementwise.find_root(
                lambda v, target: self.log_cdf(v) - target, (low, np.zeros(low.shape)), args=(p[open_],)
            )
            result[open_] = np.where(found.success, found.x, np.where(p[open_] >= 0.5, 0.0, low))
        return result

    @staticmethod
    def _log(place: float) -> float:
        return math.log(place) if place > 0 else -math.inf

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GaussianImage):
            return NotImplemented
        mine, others = self._key(), other._key()
        return mine == others

    def _key(self) -> tuple[object, ...]:
        return self._branches, self._mean, self._deviation

    def __hash__(self) -> int:
        return hash(self._key())


def normal_mass(low: float, high: float) -> float:
    """P(low < Z < high) of a standard normal, accurate in both tails."""
    return float(normal_masses(np.array([low]), np.array([high]))[0])


def normal_masses(low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """P(low < Z < high) elementwise, from the tail that does not cancel."""
    low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    mirrored = low > 0
    first, second = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
    return np.maximum(special.ndtr(second) - special.ndtr(first), 0.0)
