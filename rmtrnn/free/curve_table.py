"""The boundary curve of a free product as piecewise Chebyshev series: density, distribution and quantiles.

Between two edges the curve is followed in a parameter t in which everything is analytic, the square-root
edges included: log|w| = left + (right − left) sin²(t/2), 0 < t < π, or log|w| = right − t², t < 0, where the
law reaches down to 0. On panels of t, halved until the last coefficients vanish, the series hold

    v = log λ,   the angle θ of w,   the survival function P(Λ > λ),   the density −Im m/π of v.

At an edge where the density is unbounded it grows like 1/t; there t times the density is tabulated.

v rises and the survival function falls along the curve, so that a value at given v, or a quantile, is one
root of one series.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev

from rmtrnn.numerics.bisection import bisected, root_between

_NODES = 18
_X = chebyshev.chebpts1(_NODES)
_ANALYSIS = np.linalg.inv(chebyshev.chebvander(_X, _NODES - 1))


class _Row(IntEnum):
    """What the series hold, row by row."""

    V = 0
    THETA = 1
    SURVIVAL = 2
    DENSITY = 3


class _Panels(NamedTuple):
    """Panels of one pass: ends in t, series (row, panel, term), error of the survival function, whether fine
    enough, and whether the density has too much noise to be integrated."""

    ends: np.ndarray
    series: np.ndarray
    error: np.ndarray
    fine: np.ndarray
    noisy: np.ndarray

    def where(self, keep: np.ndarray) -> _Panels:
        return _Panels(
            self.ends[keep], self.series[:, keep], self.error[keep], self.fine[keep], self.noisy[keep]
        )


@dataclass(frozen=True)
class TableTolerance:
    """When a panel is fine enough, and when halving stops.

    ``tail``: largest of the last four coefficients, in units of rounding of the row (empirical: panels cost
    the same for a tenth or ten times of it, since convergence is geometric). ``narrowest``: of the parameter
    range, where rounding of log w decides. ``negligible``: error of the cdf below which a panel may have an
    error of ``coarse`` in log λ. ``coarse_mass``: noise of the density in one panel, as a mass, above which
    its integral is no second look at that panel. ``panels``: most panels of one interval of the support.
    ``run_out``: mass below which the bottom of a tail is rounding. ``deepest``: log w is followed to there.
    """

    tail: float = 30.0
    narrowest: float = 1e-7
    negligible: float = 1e-13
    coarse: float = 1e-7
    coarse_mass: float = 1e-10
    panels: int = 400
    run_out: float = 1e-14
    deepest: float = -690.0


_EPS = float(np.finfo(float).eps)


class CurveTable:
    """One interval of the support between the edges ``left`` and ``right`` of log w.

    ``follow(x, start)`` gives the rows v, θ, survival, density at log|w| = x, and the errors of each row from
    rounding and from quadrature.
    ``survival`` are the values of the survival function at the two edges, ``v`` those of log λ. ``error``
    estimates that of the survival function: quadrature, rounding, and the last coefficients of the series.
    """

    def __init__(
        self,
        follow: Callable[[np.ndarray, np.ndarray | None], tuple[np.ndarray, np.ndarray, np.ndarray]],
        left: float,
        right: float,
        v: tuple[float, float],
        survival: tuple[float, float],
        tolerance: TableTolerance | None = None,
    ) -> None:
        self.x_left, self.x_right = left, right
        self.v_left, self.v_right = v
        self.survival_left, self.mass = survival[0], survival[0] - survival[1]
        self._follow, self._tolerance = follow, tolerance or TableTolerance()
        self._build()

    # -- building ----------------------------------------------------------------------------------------

    def log_radius(self, t: np.ndarray) -> np.ndarray:
        """log|w| at the parameter t."""
        if math.isfinite(self.x_left):
            return self.x_left + (self.x_right - self.x_left) * np.sin(0.5 * t) ** 2
        return self.x_right - t * t

    def _range(self) -> np.ndarray:
        """First panels: four between two edges; ever longer ones down a tail, as far as it carries mass."""
        if math.isfinite(self.x_left):
            return np.linspace(0.0, math.pi, 5)
        deepest = math.sqrt(self.x_right - min(self._tolerance.deepest, self.x_right - 1.0))
        edges = -np.append(np.geomspace(deepest, 0.25, 33), 0.0)
        middles = 0.5 * (edges[1:] + edges[:-1])
        sound = self._is_sound(middles)
        first = int(np.max(np.flatnonzero(~sound), initial=-1)) + 1
        if first == 0:
            return edges
        if first == len(middles):
            return edges[-2:]
        # A law may end abruptly far down.
        start, _ = bisected(self._is_sound, middles[[first]], middles[[first - 1]], 20)
        return np.concatenate([start, edges[first + 1 :]])

    def _is_sound(self, t: np.ndarray) -> np.ndarray:
        """Where the curve is off the axis, carries mass below it, and λ rises to the next point."""
        rows, *_ = self._follow(self.log_radius(t), None)
        below = self.survival_left - rows[_Row.SURVIVAL]
        sound = (below > self._tolerance.run_out) & np.isfinite(rows[_Row.V]) & (rows[_Row.THETA] > 1e-12)
        sound[:-1] &= (np.diff(rows[_Row.V]) > 0) & (np.diff(rows[_Row.SURVIVAL]) <= 0)
        # In the upper half of the mass, all the way from the right edge, there is no bottom to be found.
        upper = np.logical_and.accumulate((2.0 * below > self.mass)[::-1])[::-1]
        return sound | upper if len(t) > 1 else sound

    def _build(self) -> None:
        """Halve panels of t until every series is fine, or too narrow to halve."""
        edges = self._range()
        self._unbounded = self._unbounded_ends()
        todo, starts, count = np.stack([edges[:-1], edges[1:]], axis=1), None, 0
        done: list[_Panels] = []
        while len(todo):
            panels = self._fit(todo, starts)
            count += len(todo)
            width = todo[:, 1] - todo[:, 0]
            narrow = width < 2.0 * self._tolerance.narrowest * (edges[-1] - edges[0])
            keep = panels.fine | narrow | (count > self._tolerance.panels)
            done.append(panels.where(keep))
            split, middle = todo[~keep], todo[~keep].mean(axis=1)
            todo = np.concatenate([np.c_[split[:, 0], middle], np.c_[middle, split[:, 1]]])
            theta = panels.series[_Row.THETA, ~keep]
            parts = [chebyshev.chebval(0.5 * (_X + side), theta.T) for side in (-1.0, 1.0)]
            starts = np.concatenate(parts).clip(1e-12, math.pi - 1e-12)
        ends = np.concatenate([panels.ends for panels in done])
        order = np.argsort(ends[:, 0])
        self._edges = np.append(ends[order, 0], ends[order[-1], 1])
        self._series = np.concatenate([panels.series for panels in done], axis=1)[:, order]
        self.error = float(max(panels.error.max(initial=0.0) for panels in done))
        self._by_survival = np.concatenate([panels.noisy for panels in done])[order]

    def _fit(self, ends: np.ndarray, starts: np.ndarray | None) -> _Panels:
        """Series of the four rows on panels, and what is known of their errors."""
        t = ends.mean(axis=1)[:, None] + 0.5 * (ends[:, 1:] - ends[:, :1]) * _X
        rows, rounding, quadrature = (
            part.reshape(4, -1, _NODES)
            for part in self._follow(self.log_radius(t).ravel(), None if starts is None else starts.ravel())
        )
        # Far down, where the base has no digits left, the survival function is at least what it is above.
        rows[_Row.SURVIVAL] = np.maximum.accumulate(rows[_Row.SURVIVAL][:, ::-1], axis=1)[:, ::-1]
        density, weight = rows[_Row.DENSITY].copy(), self._weight(t)
        rows[_Row.DENSITY], rounding[_Row.DENSITY] = weight * density, weight * rounding[_Row.DENSITY]
        quadrature[_Row.DENSITY] = weight * quadrature[_Row.DENSITY]
        series = rows @ _ANALYSIS.T
        tail = np.max(np.abs(series[..., -4:]), axis=2)
        survival = rows[_Row.SURVIVAL]
        by_v = np.minimum(tail[_Row.V] * np.max(density, axis=1), np.ptp(survival, axis=1))
        moved = tail[_Row.SURVIVAL] + by_v
        # An error of the survival function is at most what is left below, or above.
        above = survival - (self.survival_left - self.mass)
        left = np.clip(np.minimum(above, self.survival_left - survival), 0.0, 1.0)
        error = np.max(np.minimum(rounding[_Row.SURVIVAL] + quadrature[_Row.SURVIVAL], left), axis=1) + moved
        both = rounding + quadrature
        # At an edge with an unbounded density a few nodes are all noise, and no measure of the others.
        noise = np.minimum(both.max(axis=2), 100.0 * np.median(both, axis=2))
        fine = np.all(tail <= self._tolerance.tail * noise, axis=0)
        # Far down a tail rounding of the base is large, at an edge that of the edge: not worth halving.
        spread = tail[_Row.DENSITY] * np.minimum(1.0, 0.5 * (ends[:, 1] - ends[:, 0]))
        fine |= (moved + spread < self._tolerance.negligible) & (tail[_Row.V] < self._tolerance.coarse)
        # What noise of the density does to its integral over the panel.
        lost = np.maximum(noise[_Row.DENSITY], tail[_Row.DENSITY]) * np.ptp(rows[_Row.V], axis=1)
        return _Panels(ends, series, error, fine, ~fine | (lost > self._tolerance.coarse_mass))

    def _unbounded_ends(self) -> tuple[bool, bool]:
        """Whether the density of v grows like 1/|t| into the left and into the right edge."""
        inwards = np.array([1e-4, 1e-5])
        ends = [inwards, math.pi - inwards] if math.isfinite(self.x_left) else [None, -inwards]
        found = []
        for t in ends:
            rows = None if t is None else self._follow(self.log_radius(t), None)[0]
            found.append(rows is not None and bool(rows[_Row.DENSITY][1] > 3.0 * rows[_Row.DENSITY][0]))
        return found[0], found[1]

    def _weight(self, t: np.ndarray) -> np.ndarray:
        """What the density is tabulated times: 1, and a zero at every edge at which it is unbounded."""
        left, right = self._unbounded
        if not math.isfinite(self.x_left):
            return np.minimum(-t, 1.0) if right else np.ones_like(t)
        weight = np.sin(0.5 * t) if left else np.ones_like(t)
        return weight * np.cos(0.5 * t) if right else weight

    # -- evaluation --------------------------------------------------------------------------------------

    def _row(self, row: int, t: np.ndarray, panel: np.ndarray) -> np.ndarray:
        a, b = self._edges[panel], self._edges[panel + 1]
        local = np.clip((2.0 * t - a - b) / (b - a), -1.0, 1.0)
        return chebyshev.chebval(local, self._series[row, panel].T, tensor=False)

    @functools.cached_property
    def _at_edges(self) -> np.ndarray:
        """Rows at the ends of the panels, monotone: each from the panel on its left."""
        panels = np.arange(len(self._edges) - 1)
        right = np.array([self._row(row, self._edges[1:], panels) for row in range(4)])
        first = np.array([self._row(row, self._edges[:1], panels[:1]) for row in range(4)])
        values = np.concatenate([first, right], axis=1)
        values[_Row.V] = np.maximum.accumulate(values[_Row.V])
        values[_Row.SURVIVAL] = np.minimum.accumulate(values[_Row.SURVIVAL])
        return values

    def _solve(self, row: int, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Parameter and panel where a monotone row takes the values ``target``; the nearest end beyond."""
        sign = 1.0 if row == _Row.V else -1.0
        marks = sign * self._at_edges[row]
        panel = np.clip(np.searchsorted(marks, sign * target, side="right") - 1, 0, len(marks) - 2)
        low, high = self._edges[panel], self._edges[panel + 1]
        found = root_between(
            lambda t, target, panel: self._row(row, t, panel.astype(int)) - target,
            (low, high),
            args=(target, panel.astype(float)),
        )
        nearest = np.where(sign * target <= marks[panel], low, high)
        return np.where(found.success, np.clip(found.x, low, high), nearest), panel

    def density(self, v: np.ndarray) -> np.ndarray:
        """Density of log Λ at v inside the interval."""
        t, panel = self._solve(_Row.V, v)
        return np.where(v >= self._bottom, self._density_at(t, panel), self._tail(v) * self._rate)

    def _density_at(self, t: np.ndarray, panel: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            density = self._row(_Row.DENSITY, t, panel) / self._weight(t)
        return np.where(np.isfinite(density), np.maximum(density, 0.0), 0.0)

    def below(self, v: np.ndarray) -> np.ndarray:
        """Mass of this interval below v, v inside it."""
        t, panel = self._solve(_Row.V, v)
        mass = self.survival_left - self._row(_Row.SURVIVAL, t, panel)
        return np.clip(np.where(v >= self._bottom, mass, self._tail(v)), 0.0, self.mass)

    def quantile(self, p: np.ndarray) -> np.ndarray:
        """v with probability p of this interval below it, 0 ≤ p ≤ mass."""
        t, panel = self._solve(_Row.SURVIVAL, self.survival_left - p)
        v = self._row(_Row.V, t, panel)
        deep = (p < self._bottom_mass) & math.isinf(self.v_left)
        with np.errstate(divide="ignore"):
            v = np.where(deep, self._bottom + np.log(p / self._bottom_mass) / self._rate, v)
        v = np.clip(v, self.v_left, self.v_right)
        return np.where(p <= 0, self.v_left, np.where(p >= self.mass, self.v_right, v))

    # Below the table, where less than ``run_out`` is left, the mass is taken as exponential in v.

    @property
    def _bottom(self) -> float:
        return float(self._at_edges[_Row.V, 0])

    @property
    def _bottom_mass(self) -> float:
        return max(self.survival_left - float(self._at_edges[_Row.SURVIVAL, 0]), 1e-300)

    @functools.cached_property
    def _rate(self) -> float:
        density = self._density_at(self._edges[:1], np.array([0]))[0]
        return max(float(density) / self._bottom_mass, 1e-12)

    def _tail(self, v: np.ndarray) -> np.ndarray:
        return self._bottom_mass * np.exp(np.minimum(self._rate * (v - self._bottom), 0.0))

    def integral(self, weight: Callable[[np.ndarray], np.ndarray]) -> float:
        """∫ weight(v) · density dv: a second way to the mass, without the survival function."""
        x, w = np.polynomial.legendre.leggauss(_NODES)
        basis = chebyshev.chebvander(x, _NODES - 1)
        v = self._series[_Row.V] @ basis.T
        rate = chebyshev.chebder(self._series[_Row.V], axis=1) @ basis[:, :-1].T
        middle, half = 0.5 * (self._edges[1:] + self._edges[:-1]), 0.5 * np.diff(self._edges)
        density = self._series[_Row.DENSITY] @ basis.T / self._weight(middle[:, None] + half[:, None] * x)
        parts = np.sum(w * weight(v) * rate * density, axis=1)
        # Where the density is mostly noise, far down a tail, from the survival function.
        ends = chebyshev.chebval(np.array([-1.0, 1.0]), self._series[_Row.SURVIVAL].T)
        by_mass = weight(v).mean(axis=1) * (ends[:, 0] - ends[:, 1])
        return float(np.sum(np.where(self._by_survival, by_mass, parts)))
