"""Chebyshev panels of a density by nested points: double them, and halve panels, until nothing changes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.polynomial import chebyshev

from rmtrnn.laws.panels import Interval, Panel

Density = Callable[[np.ndarray], np.ndarray]

LEVELS = (15, 31, 63)
"""Interior Chebyshev points cos(jπ/n), n = 16, 32, 64: each set contains the one before. Beyond 64 two panels
cost no more and follow a local feature better. Empirical; moved by tests/laws/test_tabulated.py."""
_COMPARED = 129
"""Points of a panel at which two fits are compared: twice the finest set, so that none falls between."""


def fit(
    density: Density, intervals: Sequence[Interval], tol: float, max_points: int
) -> tuple[list[tuple[Interval, list[Panel]]], float, bool]:
    """Panels of every interval, the last change of the cdf, and whether the density was finite everywhere."""
    pieces: list[tuple[Interval, list[Panel]]] = []
    count, change, good = 0, 0.0, True
    for interval in intervals:
        work, done = [(0.0, np.pi)], []
        while work:
            lo, hi = work.pop(0)
            panel, shift, used, finite = _fit_panel(density, interval, lo, hi, tol, max_points - count)
            count += used
            good = good and finite
            if shift > tol and finite and count < max_points:
                middle = 0.5 * (lo + hi)
                work[:0] = [(lo, middle), (middle, hi)]
                continue
            change += shift
            done.append(panel)
        pieces.append((interval, done))
    return pieces, change, good


def _fit_panel(
    density: Density, interval: Interval, lo: float, hi: float, tol: float, budget: int
) -> tuple[Panel, float, int, bool]:
    """Fit g on one panel with nested points; return (panel, last change, values used, all finite)."""
    values: np.ndarray | None = None
    panel = Panel(lo, hi, np.zeros(1))
    shift = math.inf
    for level in LEVELS:
        nodes, to_series = _interior(level)
        angle = lo + (hi - lo) / 2 * (1 + nodes)
        fresh = np.ones(level, dtype=bool)
        if values is not None:
            fresh[1::2] = False
        g = np.empty(level)
        g[fresh] = density(interval.u(angle[fresh])) * interval.slope(angle[fresh])
        if values is not None:
            g[1::2] = values
        if not np.all(np.isfinite(g)):
            return Panel(lo, hi, to_series @ np.nan_to_num(g, posinf=0.0, neginf=0.0)), math.inf, level, False
        values, previous, panel = g, panel, Panel(lo, hi, to_series @ g)
        if level > LEVELS[0]:
            shift = _difference(interval, panel, previous)
            if shift <= tol or level >= budget:
                return panel, shift, level, True
    return panel, shift, LEVELS[-1], True


def _difference(interval: Interval, panel: Panel, other: Panel) -> float:
    """Largest change of the cdf and of the (relative) first moment below θ between two fits of one panel."""
    angle = np.linspace(panel.lo, panel.hi, _COMPARED)
    cdf = np.max(np.abs(panel.mass_below(angle) - other.mass_below(angle)))
    weight = np.exp(2 * (interval.u(angle) - interval.right))
    first, second = weight * panel.density(angle), weight * other.density(angle)
    total = np.sum(np.abs(first))
    moment = np.abs(np.sum(first - second)) / total if total > 0 else 0.0
    # The relative first moment of a panel far below the edge does not matter: weigh it by its share.
    share = min(1.0, float(np.max(weight)))
    return float(max(cdf, moment * share))


@functools.lru_cache(maxsize=8)
def _interior(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Points −cos(jπ/(n+1)), j = 1..n, and the matrix from values there to Chebyshev coefficients."""
    nodes = -np.cos(np.pi * np.arange(1, n + 1) / (n + 1))
    return nodes, np.linalg.inv(chebyshev.chebvander(nodes, n - 1))
