"""Fixed points x = F(x) for batches of points, fast also where plain iteration would take 10⁹ steps.

Both solvers look for the fixed point that plain iteration from x0 would reach. They drop finished points from
the active set, recompute the residual from the value they return, and give every point its own `Status`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.status import Status

Map = Callable[[np.ndarray, np.ndarray], np.ndarray]

_EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class StepSettings:
    """Numbers of both solvers; a factor of three either way changes their iterations, not what they find."""

    # Largest growth of the gain from one iteration to the next. Empirical: the secant slope of a curved map
    # is off by less than this.
    growth: float = 4.0
    # Largest gain 1/(1 − F'). Derived: beyond it F' is 1 to rounding.
    largest_gain: float = 1e15
    # Iterate that counts as divergence. Any number whose square does not overflow serves.
    overflow: float = 1e50


_STEPS = StepSettings()


class FixedPoint(NamedTuple):
    """Fixed points of a batch.

    ``residual`` is |F(x) − x| at the returned x; ``error`` estimates the distance to the true fixed point
    (the residual, or its rounding, times the gain 1/(1 − F')); ``iterations`` counts evaluations of F.
    """

    value: np.ndarray
    residual: np.ndarray
    error: np.ndarray
    status: np.ndarray
    iterations: np.ndarray

    @property
    def converged(self) -> bool:
        """Whether every point converged."""
        return bool(np.all(self.status == Status.CONVERGED))


def scalar_fixed_point(
    map: Map,
    x0: Any,
    lower: float = -np.inf,
    upper: float = np.inf,
    tol: float = 1e-15,
    noise: float = 2 * _EPS,
    max_iterations: int = 400,
) -> FixedPoint:
    """Solve x = F(x) for every point of a batch of scalar increasing maps, from x0, inside [lower, upper].

    ``map(x, index)`` receives the active values and their positions in the batch. For an increasing map plain
    iteration moves monotonically to the first fixed point in the direction of F(x0) − x0, and so does this
    solver: x ← x + α (F(x) − x) with the secant gain α = 1/(1 − F'), which may grow fourfold from one step
    to the next; once the sign of F(x) − x has changed the root stays bracketed. Converged means that the next
    step would be below ``tol`` · |x|, or that F(x) = x to ``noise`` · |x|, the relative accuracy of F
    (``error`` then says what that leaves open). Points that run away (beyond 1e50, or until rounding hides
    the drift) are DIVERGED.
    """
    _validate.integer("max_iterations", max_iterations, low=1)
    x = np.array(x0, dtype=float).ravel()
    shape = np.shape(x0)
    search = _Search(x, lower, upper, noise)
    active = np.arange(x.size)
    for _ in range(max_iterations):
        image = np.asarray(map(search.x[active], active), dtype=float)
        active = search.advance(active, image, tol)
        if not active.size:
            break
    residual = _recompute(map, search)
    return FixedPoint(
        search.x.reshape(shape),
        residual.reshape(shape),
        search.error.reshape(shape),
        search.status.reshape(shape),
        search.iterations.reshape(shape),
    )


class _Search:
    """The state of the scalar search, one entry per point."""

    def __init__(self, x: np.ndarray, lower: float, upper: float, noise: float) -> None:
        n = x.size
        self.x = np.clip(x, lower, upper)
        self.large = 1e6 * (1.0 + np.abs(self.x))
        self.lower, self.upper, self.noise = lower, upper, noise
        self.below = np.full(n, np.nan)  # largest x known with F(x) > x, and smallest with F(x) < x
        self.above = np.full(n, np.nan)
        self.gain = np.ones(n)
        self.old_x = np.full(n, np.nan)
        self.old_step = np.full(n, np.nan)
        self.error = np.full(n, np.inf)
        self.status = np.full(n, int(Status.MAX_ITERATIONS))
        self.iterations = np.zeros(n, dtype=int)

    def advance(self, active: np.ndarray, image: np.ndarray, tol: float) -> np.ndarray:
        """Take one step of the active points given F(x); return those that go on."""
        x = self.x[active]
        self.iterations[active] += 1
        with np.errstate(invalid="ignore", over="ignore"):
            step = image - x
        self.below[active] = np.where(step > 0, x, self.below[active])
        self.above[active] = np.where(step < 0, x, self.above[active])
        gain = self._secant_gain(active, x, step)
        rounding = self.noise * np.maximum(np.abs(x), np.abs(image))
        self.error[active] = gain * (np.abs(step) + rounding)
        finite = np.isfinite(image)
        huge = (np.abs(x) > _STEPS.overflow) | (np.isinf(image) & np.isfinite(x))
        huge |= (
            (np.abs(step) <= rounding)
            & (np.abs(x) > self.large[active])
            & (self.error[active] > 0.1 * np.abs(x))
        )
        pinned = ((x <= self.lower) & (step < 0)) | ((x >= self.upper) & (step > 0))
        done = finite & ((np.abs(gain * step) <= tol * np.abs(x)) | (np.abs(step) <= rounding) | pinned)
        self.status[active[done]] = int(Status.CONVERGED)
        self.status[active[~finite]] = int(Status.NOT_FINITE)
        self.status[active[huge]] = int(Status.DIVERGED)
        going = finite & ~done & ~huge
        index, x, step, gain = active[going], x[going], step[going], gain[going]
        self.old_x[index], self.old_step[index], self.gain[index] = x, step, gain
        self.x[index] = self._bracketed(index, x, step, gain)
        return index

    def _secant_gain(self, active: np.ndarray, x: np.ndarray, step: np.ndarray) -> np.ndarray:
        """1/(1 − F') from the last two points, positive, and at most _STEPS.growth times the last one.

        Where F' ≥ 1, or the gain has just jumped, no fixed point is in sight: there x may at most double or
        halve (or take the plain step), lest a root be jumped over.
        """
        last = self.gain[active]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            secant = (self.old_x[active] - x) / (step - self.old_step[active])
            blind = np.where(x * step > 0, 1.0, 0.5) * np.abs(x / step)
        secant = np.where(np.isnan(secant), 1.0, secant)
        blind = np.where(np.isnan(blind), 1.0, np.maximum(blind, 1.0))
        most = np.minimum(_STEPS.growth * last, _STEPS.largest_gain)
        unsure = (secant <= 0) | (secant > 2 * last)
        reach = np.where(secant <= 0, most, np.minimum(secant, most))
        return np.where(unsure, np.minimum(blind, reach), secant)

    def _bracketed(self, index: np.ndarray, x: np.ndarray, step: np.ndarray, gain: np.ndarray) -> np.ndarray:
        """x + gain · step, replaced by the middle of the bracket where it would leave it."""
        with np.errstate(over="ignore"):
            proposal = np.clip(x + gain * step, self.lower, self.upper)
        below, above = self.below[index], self.above[index]
        low, high = np.fmin(below, above), np.fmax(below, above)
        enclosed = np.isfinite(below) & np.isfinite(above)
        outside = enclosed & ((proposal <= low) | (proposal >= high))
        return np.where(outside, 0.5 * (low + high), proposal)


def _recompute(map: Map, search: _Search) -> np.ndarray:
    """|F(x) − x| at the final x; infinite for points that diverged or are not finite."""
    residual = np.full(search.x.shape, np.inf)
    index = np.flatnonzero((search.status == Status.CONVERGED) | (search.status == Status.MAX_ITERATIONS))
    if index.size:
        residual[index] = np.abs(np.asarray(map(search.x[index], index), dtype=float) - search.x[index])
    return residual


def fixed_point(
    map: Map,
    x0: Any,
    tol: float = 1e-14,
    depth: int | None = None,
    max_iterations: int = 400,
) -> FixedPoint:
    """Solve x = F(x) for a batch of vector maps: Anderson acceleration, with plain iteration as the fallback.

    ``x0`` has shape (d, n), components first; ``map(x, index)`` receives one column (d, 1) and its position.
    ``depth`` is the number of differences kept (default min(d, 5)). When the residual has not fallen for a
    few iterations the memory is cleared and the search falls back to plain iteration. Converged means that
    the last accelerated step and the residual are below ``tol`` · max|x|.
    ``residual`` and ``error`` of the result are maxima over the components.
    """
    _validate.integer("max_iterations", max_iterations, low=1)
    x = np.array(x0, dtype=float)
    if x.ndim != 2:
        raise ValueError(f"x0 has shape {x.shape}: expected (d, n), components first")
    d, n = x.shape
    kept = min(d, 5) if depth is None else _validate.integer("depth", depth, low=1)
    value, residual, error = x.copy(), np.full(n, np.inf), np.full(n, np.inf)
    status, iterations = np.full(n, int(Status.MAX_ITERATIONS)), np.zeros(n, dtype=int)
    for point in range(n):
        one = np.array([point])
        outcome = _anderson(
            lambda v, one=one: map(v[:, None], one)[:, 0], x[:, point], tol, kept, max_iterations
        )
        value[:, point], residual[point], error[point], status[point], iterations[point] = outcome
    return FixedPoint(value, residual, error, status, iterations)


def _anderson(
    map: Callable[[np.ndarray], np.ndarray], x: np.ndarray, tol: float, depth: int, max_iterations: int
) -> tuple[np.ndarray, float, float, int, int]:
    """Anderson iteration for one point: value, residual, error, status, iterations."""
    history: list[tuple[np.ndarray, np.ndarray]] = []
    best = np.inf
    stalled = 0
    length = np.inf
    for iteration in range(1, max_iterations + 1):
        step = np.asarray(map(x), dtype=float) - x
        size = float(np.max(np.abs(step)))
        scale = float(np.max(np.abs(x)))
        if not np.all(np.isfinite(step)) or scale > _STEPS.overflow:
            status = Status.DIVERGED if scale > 1e8 else Status.NOT_FINITE
            return x, float("inf"), float("inf"), int(status), iteration
        history.append((x, step))
        history = history[-(depth + 1) :]
        move = anderson_move(history)
        length = float(np.max(np.abs(move)))
        rounding = 4 * _EPS * scale
        if (length <= tol * scale and size <= tol * scale) or size <= rounding:
            gain = max(length / size, 1.0) if size > 0 else 1.0
            return x, size, max(length, gain * (size + rounding)), int(Status.CONVERGED), iteration
        stalled = 0 if size < best else stalled + 1
        best = min(best, size)
        if stalled > 3 * depth + 3:
            history, stalled, best = [(x, step)], 0, size
            move = step
        x = x + move
    step = np.asarray(map(x), dtype=float) - x
    return x, float(np.max(np.abs(step))), max(length, float(np.max(np.abs(step)))), 1, max_iterations


def anderson_move(
    history: list[tuple[np.ndarray, np.ndarray]],
    *,
    mixing: float = 1.0,
    rank: float = 1e-14,
    norm: np.ndarray | None = None,
) -> np.ndarray:
    """The move from the newest point that minimises the linearised residual over the kept differences.

    ``history``: points with their residuals. ``mixing``: share of a residual that is a plain step; ``rank``:
    relative singular value of differences below which they are noise; ``norm``: factors of the residual's
    entries in what is minimised, default 1.
    """
    step = mixing * history[-1][1]
    if len(history) < 2:
        return step
    dx = np.stack([b[0] - a[0] for a, b in itertools.pairwise(history)], axis=1)
    ds = np.stack([b[1] - a[1] for a, b in itertools.pairwise(history)], axis=1)
    rows, target = (ds, history[-1][1]) if norm is None else (norm[:, None] * ds, norm * history[-1][1])
    weights = np.linalg.lstsq(rows, target, rcond=rank)[0]
    move = step - (dx + mixing * ds) @ weights
    # A first accelerated move far beyond the plain one is an extrapolation that nothing supports yet.
    limit = 1e3 * np.max(np.abs(step)) if len(history) == 2 else np.inf
    longest = np.max(np.abs(move))
    return move if longest <= limit else move * (limit / longest)
