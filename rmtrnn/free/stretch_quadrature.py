"""Expectations over a function of a normal variable by double exponential quadrature on its stretches.

Close to the support the integrand 1/(w − f) has poles close to the real axis. Where a branch is analytic the
integral for Im w ≥ 0 is therefore taken along z = t − i a σ(t), σ of the sign of f' and zero at both ends of
the stretch: there Im f < 0, the poles keep their distance, and a few dozen nodes serve for every w. The depth
a is the largest, of a few tried, with Im f ≤ 0 on a grid of the strip above the contour, so that no pole is
crossed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from rmtrnn.free.branches import MonotoneStretches, Stretch


@dataclass(frozen=True)
class QuadratureSettings:
    """Where the quadrature starts and ends.

    ``first_step``: in its own variable, halved at most ``halvings`` times. ``most_nodes``: along a contour,
    where more only average rounding; ``most_on_axis``: on the real axis, close to poles. ``rounding``:
    relative change between two levels that no further level improves on; ``near_zero``: the same at w = 1
    for an f with a zero, where rounding of e is relative to the distance √w. ``stagnant``: change in units
    of the tolerance below which one that does not shrink is rounding. ``end``: steps beyond the ends of a
    stretch, τ + e^τ = 40, so that e^{−40} is left out. ``depths``: of the contours tried, in units of the
    length on which f varies; a steeper contour spends its nodes on the way down and up.
    """

    first_step: float = 0.5
    halvings: int = 12
    most_nodes: int = 1 << 13
    most_on_axis: int = 1 << 17
    rounding: float = 4e-15
    near_zero: float = 4e-16
    stagnant: float = 1e3
    end: float = 3.6
    depths: tuple[float, ...] = (2.0, 1.4, 1.0, 0.7, 0.5, 0.35, 0.25, 0.12, 0.06)


SumOf = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class StretchQuadrature:
    """Weighted sums over f/scale on the stretches; see the module's text.

    ``mass`` is the probability of all stretches together: what the weights must add up to.
    """

    def __init__(
        self,
        parts: MonotoneStretches,
        scale: float,
        mass: float,
        settings: QuadratureSettings | None = None,
    ) -> None:
        self._parts, self._scale, self._mass = parts, scale, mass
        self._settings = settings or QuadratureSettings()
        self._cache: dict[tuple[bool, int], tuple[np.ndarray, np.ndarray]] = {}
        self._stretches = tuple(s._replace(depth=self._depth_of(s)) for s in parts.scaled(scale))
        self.has_real_nodes = not any(s.depth for s in self._stretches)
        self._has_zero = any(s.at_a == 0.0 or s.at_b == 0.0 for s in self._stretches)

    def _contour(
        self, s: Stretch, da: np.ndarray, db: np.ndarray, depth: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """z − t and dz/dt at the distances da, db from the ends: −i a σ, σ = ± tanh(da/ℓ) tanh(db/ℓ)."""
        width = self._unit(s)
        sign = 1.0 if s.rising else -1.0
        up = np.ones_like(da) if s.a == -self._parts.reach else np.tanh(da / width)
        down = np.ones_like(db) if s.b == self._parts.reach else np.tanh(db / width)
        slope = ((1.0 - up * up) * down - up * (1.0 - down * down)) / width
        return -1j * depth * sign * up * down, 1.0 - 1j * depth * sign * slope

    def _depth_of(self, s: Stretch) -> float:
        """The largest depth of the contour, of a few tried, with Im f ≤ 0 all the way down; else 0."""
        if not s.branch.analytic:
            return 0.0
        share = np.concatenate(
            [np.linspace(0.0, 1.0, 61)[1:-1], np.geomspace(1e-3, 0.1, 10), 1 - np.geomspace(1e-3, 0.1, 10)]
        )
        width = s.b - s.a
        t = s.a + width * share
        for depth in self._unit(s) * np.array(self._settings.depths):
            shift = self._contour(s, width * share, width * (1.0 - share), depth)[0]
            strip = t + shift * np.linspace(0.05, 1.0, 20)[:, None]
            with np.errstate(all="ignore"):
                values = self._parts.value(s.branch, strip)
            if np.all(np.isfinite(values)) and np.all(np.imag(values) <= 1e-13 * np.abs(values)):
                return 0.9 * float(depth)
        return 0.0

    def _level(self, level: int, shifted: bool) -> tuple[np.ndarray, np.ndarray]:
        """Nodes X and weights that this level adds (level 0: all), weights in units of its full step."""
        key = (shifted, level)
        if key not in self._cache:
            parts = [
                self._nodes(s, self._settings.first_step / (1 << level), level == 0, shifted)
                for s in self._stretches
            ]
            X, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
            keep = np.abs(weight) > 1e-24 * max(self._mass, np.finfo(float).tiny)
            self._cache[key] = X[keep], weight[keep]
        return self._cache[key]

    def _nodes(self, s: Stretch, step: float, first: bool, shifted: bool) -> tuple[np.ndarray, np.ndarray]:
        """X and weights of one stretch at t = j·step, all j or the odd ones.

        z = a + ℓ log((1 + e^y)/(1 + e^{y−D})), D = (b − a)/ℓ, y = D/2 + t + 2 e^{−D/2} sinh t: equal steps
        ℓ dt in the middle, double exponential decay of the distance to the nearer end.
        """
        width = self._unit(s)
        D = (s.b - s.a) / width
        last = math.ceil((0.5 * D + self._settings.end) / step)
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
        return self._parts.value(s.branch, z) / self._scale, weight

    def _unit(self, s: Stretch) -> float:
        """Length in z on which f varies: 1 in e, at most that of the Gaussian, and 2 to 100 of it in all."""
        width = s.b - s.a
        return min(max(min(1.0, 1.0 / self._parts.deviation), width / 100.0), 0.5 * width)

    def _is_shifted(self, y: np.ndarray) -> bool:
        return bool(np.iscomplexobj(y)) and not self.has_real_nodes

    def refined(
        self,
        sum_of: SumOf,
        y: np.ndarray,
        floor: float,
        near_zero: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sums over ever finer nodes until two levels agree: values (rows, points) and relative errors.

        A level halves the weights of all before and adds its own nodes. Convergence is geometric: the finer
        level's error is about change²/(the change before). ``floor`` is added to |value| as the reference;
        ``near_zero``: the sums are as sensitive to rounding close to a zero of f as 1/(1 − f y) is.
        """
        settings, shifted = self._settings, self._is_shifted(y)
        todo = np.arange(y.size)
        X, weight = self._level(0, shifted)
        total, found = sum_of(X, weight, y), np.sum(weight)
        value, error = np.array(total), np.full(y.size, math.inf)
        last, count = np.full(y.size, math.inf), len(X)
        tolerance = np.full(y.shape, settings.rounding)
        if near_zero and self._has_zero:  # rounding of e is relative to the distance √w from the zero
            tolerance += np.minimum(settings.near_zero * np.sqrt(np.abs(y)), 1e-10)
        most = (
            max(settings.most_nodes, 1024 * len(self._stretches))
            if shifted and all(s.depth for s in self._stretches)
            else settings.most_on_axis
        )
        for level in range(1, settings.halvings + 1):
            X, weight = self._level(level, shifted)
            before, total = total, 0.5 * total + sum_of(X, weight, y[todo])
            found, count = 0.5 * found + np.sum(weight), count + len(X)
            missing = max(0.0, float(abs(found - self._mass)) - 4e-15 * (1.0 + count / 1e4))
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                change = np.max(np.abs(total - before) / (np.maximum(np.abs(total), 1e-300) + floor), axis=0)
                ratio = np.where(np.isinf(last) | (change == 0), 1.0, change / last)
            estimate = np.where(ratio < 0.1, change * ratio, change) + 4e-16 + missing
            value[:, todo], error[todo] = total, estimate
            # Rounding, not the next feature of f, is all that is left only close to the tolerance.
            stagnant = (change < settings.stagnant * tolerance[todo]) & (change > 0.3 * last) & (level > 3)
            going = (estimate > tolerance[todo]) & ~stagnant
            if not np.any(going) or count > most:
                break
            todo, last, total = todo[going], change[going], total[:, going]
        return value, error
