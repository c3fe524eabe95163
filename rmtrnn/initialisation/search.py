"""Maximise the smallest sensitivity to the input over the lags 0 … T, within limits.

With I_k the mean square of ∂h^T/∂x^{T−k}, a plan solves

    max min_k log I_k    subject to    T E log s_1 ≥ log s_low,   log √m_1(k) ≤ log s_high,   q ≤ spread²,

s_1 a singular value of one step between the components that are carried, so that exp(T E log s_1) is the
geometric mean over T steps (log |det| adds up), m_1(k) the mean squared singular value of k steps, q the
variance of every pre-activation. As a smooth problem: max t − ρ Σ v over (x, t, v ≥ 0) with t ≤ log I_k, and
every limit relaxed by v; it always has a solution. It is solved by linear programs in boxes around the best
point so far (sequential linear programming: at an optimum as many terms are equal as numbers are free), from
the best points of a grid at a small T, then at 4 T, 16 T, …, each from where the one before ended.

Letters: T, the number of steps; N, units; q, variances; d, free numbers; x, a point in their unit cube; t,
log of the smallest mean square; v, violations.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from scipy.optimize import linprog

from rmtrnn.cells import VanillaRNN
from rmtrnn.initialisation.networks import NetworkBatch, Observed, Points, Size
from rmtrnn.initialisation.sensitivity import spaced_lags
from rmtrnn.initialisation.space import Space, carrying_gates
from rmtrnn.initialisation.vanilla import VanillaField


@dataclass(frozen=True)
class Effort:
    """Numbers of the search. Empirical: tests/initialisation/test_initialize.py moves them by ×3 and ÷3.

    basins : points of the grid from which a search starts, at the smallest T; the best goes on.
    iterations : linear programs at each T, at most.
    work : steps of all networks at each T, at most; fewer iterations where it would take more.
    first : steps of the smallest T, at most.
    lags : at which I_k is looked at, evenly spaced in log(1 + k).
    step : of difference quotients, in the unit cube.
    width, widths, narrow : half width of the first box, of those tried next to the last one, and of the last.
    enough : gain in log sensitivity of four iterations below which the search ends.
    penalty : ρ, log sensitivity paid for one unit of log s or log q beyond a limit.
    tolerance : of a limit, in log units, within which it counts as met.
    """

    basins: int = 3
    iterations: int = 24
    work: int = 40_000
    first: int = 16
    lags: int = 8
    step: float = 1e-5
    width: float = 0.1
    widths: tuple[float, ...] = (2.0, 1.0, 0.4, 0.1)
    narrow: float = 1e-4
    enough: float = 1e-3
    penalty: float = 10.0
    tolerance: float = 0.02


EFFORT = Effort()
# The networks of the search have seen T steps, as in training, and are not quite stationary.
SMALL = Size(units=48, directions=8, least_burn_in=64, memories=1, looks=4)
FLOOR = -700.0  # log of the smallest double: where nothing arrives, log I is this


class Field(Protocol):
    """What is maximised: networks, or a closed form."""

    T: int

    def observe(self, points: Points, lags: np.ndarray) -> Observed:
        """Sensitivities and limits at many points."""
        ...


class Found(NamedTuple):
    """The best point, its log smallest mean square, the slack of every limit, the gain of the last steps."""

    x: np.ndarray
    value: float
    slack: dict[str, float]
    gain: float
    finished: bool
    evaluations: int


class Terms(NamedTuple):
    """At P points: log I_k (lags, P), and the slacks of the limits, positive where met (limits, P)."""

    log_input: np.ndarray
    slack: np.ndarray

    def merit(self, penalty: float) -> np.ndarray:
        """min_k log I_k − ρ Σ v."""
        return self.log_input.min(axis=0) - penalty * np.maximum(-self.slack, 0.0).sum(axis=0)

    def rows(self) -> np.ndarray:
        """All of them, (terms, P)."""
        return np.concatenate([self.log_input, self.slack])


def terms_of(space: Space, T: int, seen: Observed) -> Terms:
    """The objective and the limits of ``space`` at what was observed over T steps."""
    low, high = (np.log(max(bound, 1e-300)) for bound in space.s)
    typical = T * np.maximum(_finite(seen.log_typical), FLOOR / T) - low
    grown = high - 0.5 * np.max(_finite(seen.log_state, -FLOOR), axis=0)
    spread = np.log(np.maximum(_finite(seen.q, 1e300), 1e-300))
    slack = [typical, grown, *(2.0 * np.log(space.spread) - spread)]
    return Terms(np.maximum(_finite(seen.log_input), FLOOR), np.array(slack))


class Problem:
    """The terms of the problem at one T."""

    def __init__(self, space: Space, T: int, effort: Effort, N: int | None = None) -> None:
        self.space, self.T, self.effort = space, T, effort
        self.field = field_of(space, T, N)
        self.lags = spaced_lags(T, effort.lags)
        self.evaluations = 0
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def terms(self, x: np.ndarray) -> Terms:
        """At rows x (P, d)."""
        self.evaluations += len(x)
        return terms_of(self.space, self.T, self.field.observe(self.space.points(x), self.lags))

    def rows(self, x: np.ndarray) -> np.ndarray:
        """All terms at x (d,), as one column."""
        if self._last is None or not np.array_equal(self._last[0], x):
            self._last = x.copy(), self.terms(x[None]).rows()[:, 0]
        return self._last[1]

    def slopes(self, x: np.ndarray) -> np.ndarray:
        """Their derivatives (terms, d), by differences into the cube."""
        step = np.where(x > 0.5, -1.0, 1.0) * self.effort.step
        moved = self.terms(x + np.diag(step)).rows()
        return (moved - self.rows(x)[:, None]) / step

    def solve(self, x: np.ndarray, iterations: int) -> tuple[np.ndarray, float, bool]:
        """Linear programs in boxes around x: the best point, the gain of the last steps, whether it ended.

        Every iteration tries the steps of several boxes at once and keeps the best; the next box follows it.
        """
        merit, width, trail = self._merit(x), self.effort.width, [self._merit(x)]
        for _ in range(iterations):
            slopes = self.slopes(x)
            widths = width * np.array(self.effort.widths)
            tried = np.array([x + self._step(x, slopes, one) for one in widths])
            found = self.terms(tried)
            merits = found.merit(self.effort.penalty)
            chosen = int(np.argmax(merits))
            if merits[chosen] > merit:
                x, merit, width = tried[chosen], float(merits[chosen]), float(widths[chosen])
                self._last = x, found.rows()[:, chosen]
            else:
                width = float(widths[-1])
            trail.append(merit)
            if width < self.effort.narrow or (len(trail) > 4 and trail[-1] - trail[-5] < self.effort.enough):
                return x, trail[-1] - trail[-2], True
        return x, trail[-1] - trail[max(len(trail) - 4, 0)], False

    def _step(self, x: np.ndarray, slopes: np.ndarray, width: float) -> np.ndarray:
        """The step Δ, |Δ| ≤ width, that solves the problem with all terms linear in Δ."""
        rows, lags, d = self.rows(x), len(self.lags), len(x)
        limits = len(rows) - lags
        cost = np.concatenate([np.zeros(d), [-1.0], np.full(limits, self.effort.penalty)])
        relaxed = np.zeros((len(rows), 1 + limits))
        relaxed[:lags, 0] = 1.0
        relaxed[lags:, 1:] = -np.eye(limits)
        inside = np.column_stack([np.maximum(-width, -x), np.minimum(width, 1.0 - x)])
        bounds = [*map(tuple, inside), (None, None), *[(0.0, None)] * limits]
        solved = linprog(cost, np.hstack([-slopes, relaxed]), rows, bounds=bounds, method="highs")
        return np.zeros(d) if solved.x is None else np.clip(solved.x[:d], inside[:, 0], inside[:, 1])

    def found(self, x: np.ndarray, gain: float, finished: bool, evaluations: int) -> Found:
        """What the point x (d,) reaches."""
        rows, lags = self.rows(x), len(self.lags)
        gates = self.space.base.cell.gates
        names = ["typical", "growth", *(f"spread of {gate!r}" for gate in gates)]
        slack = dict(zip(names, rows[lags:].tolist(), strict=True))
        return Found(x, float(rows[:lags].min()), slack, gain, finished, evaluations)

    def _merit(self, x: np.ndarray) -> float:
        rows, lags = self.rows(x), len(self.lags)
        return float(rows[:lags].min() - self.effort.penalty * np.maximum(-rows[lags:], 0.0).sum())


def field_of(space: Space, T: int, N: int | None) -> Field:
    """Closed forms of vanilla cells, else networks of N units."""
    if isinstance(space.base.cell, VanillaRNN):
        return VanillaField(space.base, T)
    return NetworkBatch(space.base, T, 0, SMALL if N is None else replace(SMALL, units=N))


def ladder(T: int, first: int) -> list[int]:
    """T, T/4, T/16, … down to ``first`` at most, ascending."""
    found = [T]
    while found[-1] > first:
        found.append(max(found[-1] // 4, 1))
    return found[::-1]


def search(
    space: Space, T: int, starts: list[np.ndarray], effort: Effort = EFFORT, N: int | None = None
) -> Found:
    """The best point of the problem at T; ``starts`` (d,) are tried besides those of the grid."""
    d, evaluations, before = len(space.free), 0, None
    if d == 0:
        return Problem(space, T, effort, N).found(np.zeros(0), 0.0, True, 1)
    x, gain, finished = np.zeros(d), 0.0, True
    own = [one[None] for one in starts]
    problem = None
    for place, steps in enumerate(ladder(T, effort.first)):
        problem = Problem(space, steps, effort, N)
        if place == 0:
            x = _first(problem, np.vstack([grid(space, steps), *own]))
        else:
            x, before = _best(problem, np.vstack([_carried(space, x, before), *own])), x
        affordable = effort.work // ((d + len(effort.widths)) * 2 * steps)
        x, gain, finished = problem.solve(x, max(min(effort.iterations, affordable), 1))
        evaluations += problem.evaluations
    assert problem is not None
    return problem.found(x, gain, finished, evaluations)


def grid(space: Space, T: int) -> np.ndarray:
    """Rows x: gates that carry open, half open or shut for T steps; weights weak, and of gain 1 and 2.

    Other gates have the mean 0. The inputs drive every pre-activation to 0.7 of its largest spread; biases
    do not vary.
    """
    carrying = carrying_gates(space.base.cell)
    names = space.base.cell.gates
    means = [i for i, one in enumerate(space.free) if one.name == "mu_b" and names[one.gate] in carrying]
    rows = []
    for gain in (0.1, 1.0, 2.0):
        for signs in itertools.product((-1.0, 0.0, 1.0), repeat=min(len(means), 5)):
            x = np.zeros(len(space.free))
            by_place = dict(zip(means, signs, strict=False))
            for place, (name, _, low, high) in enumerate(space.free):
                if name == "mu_b":
                    x[place] = (by_place.get(place, 0.0) * np.log(T + 1.0) - low) / (high - low)
                elif name == "sigma_w":
                    x[place] = (gain**2 - low**2) / (high**2 - low**2)
                elif name == "sigma_v":
                    x[place] = 0.5
            rows.append(x)
    return np.clip(np.unique(np.array(rows), axis=0), 0.0, 1.0)


def _first(problem: Problem, candidates: np.ndarray) -> np.ndarray:
    """The best of what short searches make of the best candidates, no two of them alike."""
    effort = problem.effort
    merit = problem.terms(candidates).merit(effort.penalty)
    chosen: list[np.ndarray] = []
    for i in np.argsort(-merit, kind="stable"):
        if all(np.abs(candidates[i] - other).max() > 2.0 * effort.width for other in chosen):
            chosen.append(candidates[i])
        if len(chosen) == effort.basins:
            break
    ends = [problem.solve(x, effort.iterations // 3)[0] for x in chosen]
    return _best(problem, np.array(ends))


def _carried(space: Space, x: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    """Starts at 4 T from the best point x at T: itself, extrapolated in log T, with slower gates (rows)."""
    found = [x] if before is None else [x, 2.0 * x - before]
    slower = x.copy()
    for place, (name, _, low, high) in enumerate(space.free):
        if name == "mu_b":
            mean = low + x[place] * (high - low)
            shifted = x.copy()
            shifted[place] += np.sign(mean) * np.log(4.0) / (high - low)
            slower[place] = shifted[place]
            found.append(shifted)
    return np.clip(np.array([*found, slower]), 0.0, 1.0)


def _best(problem: Problem, candidates: np.ndarray) -> np.ndarray:
    merit = problem.terms(candidates).merit(problem.effort.penalty)
    return candidates[int(np.argmax(merit))]


def _finite(values: np.ndarray, otherwise: float = FLOOR) -> np.ndarray:
    return np.where(np.isfinite(values), values, otherwise)
