"""Maximise the smallest sensitivity to the input over the lags 0 … T, within limits.

With I_k the mean square of ∂h^T/∂x^{T−k}, a plan solves

    max min_k log I_k    subject to    T E log s_1 ≥ log s_low,   log √m_1(k) ≤ log s_high,   q ≤ spread²,

s_1 a singular value of one step between the components that are carried, so that exp(T E log s_1) is the
geometric mean over T steps (log |det| adds up), m_1(k) the mean squared singular value of k steps, q the
variance of every pre-activation. As a smooth problem: max t − ρ Σ v over (x, t, v ≥ 0) with t ≤ log I_k, and
every limit relaxed by v; it always has a solution. It is solved by linear programs in boxes around the best
point so far (sequential linear programming: at an optimum as many terms are equal as numbers are free), from
the best of many points at a small T, then at 3 T, 9 T, …, each from where the one before ended and from
points spread anew. Where the end breaks a limit, the violations come first: a higher price ρ, their sum
alone, and, since networks in chaos have no useful slopes, points spread in shrinking boxes.

Letters: T, the number of steps; N, units; q, variances; d, free numbers; x, a point in their unit cube; t,
log of the smallest mean square; v, violations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from rmtrnn.cells import VanillaRNN
from rmtrnn.initialisation.networks import NetworkBatch, Observed, Points, Size
from rmtrnn.initialisation.sensitivity import spaced_lags
from rmtrnn.initialisation.space import Space
from rmtrnn.initialisation.starts import carried, grid, scattered, unlike
from rmtrnn.initialisation.vanilla import VanillaField


@dataclass(frozen=True)
class Effort:
    """Numbers of the search. Empirical: tests/initialisation/test_initialize.py moves them by ×3 and ÷3.

    basins : points from which short searches start, at every T; the best goes on.
    scattered : points spread over the cube, at every T, at most.
    iterations : linear programs at the last T, at most; half of them before, a third in short searches.
    race : iterations of the short searches after which only the better half of them goes on.
    work : steps of all networks at each T, at most, for each of: the points spread (a quarter), the short
        searches, the long one, and every part of the search for a point within the limits.
    final : how many times as much the long search at the last T may take.
    call : points that take as long as the overhead of looking at any. Measured: 0.07 ms a step against 0.005
        for each point (GRU, 48 units).
    first, ratio : steps of the smallest T, at most, and of one T to the next smaller one.
    lags : at which I_k is looked at, evenly spaced in log(1 + k).
    step : of difference quotients, in the unit cube.
    width, widths, narrow : half width of the first box, of those tried next to the last one, and of the last.
    corrected : of the widest boxes, whose steps are corrected for the curvature of the terms.
    enough : gain in log sensitivity of four iterations below which the search ends.
    penalty : ρ, log sensitivity paid for one unit of log s or log q beyond a limit.
    dearer : factors of ρ that are tried where the end breaks a limit.
    zooms : half widths of the boxes in which points are spread around one that breaks a limit.
    tolerance : of a limit, in log units, within which it counts as met.
    """

    basins: int = 5
    scattered: int = 256
    iterations: int = 24
    race: int = 2
    work: int = 50_000
    final: int = 4
    call: int = 14
    first: int = 16
    ratio: int = 3
    lags: int = 8
    step: float = 3e-4
    width: float = 0.1
    widths: tuple[float, ...] = (2.0, 1.0, 0.4, 0.1)
    corrected: int = 2
    narrow: float = 1e-4
    enough: float = 1e-3
    penalty: float = 10.0
    dearer: tuple[float, ...] = (10.0, 100.0)
    zooms: tuple[float, ...] = (0.25, 0.1, 0.04)
    tolerance: float = 0.02


EFFORT = Effort()
# The networks of the search have seen T steps, as in training, and are not quite stationary.
SMALL = Size(units=48, directions=8, least_burn_in=64, memories=1, looks=4, rescaled=8, dtype="float32")
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


class Price(NamedTuple):
    """ρ and w of the merit w min_k log I_k − ρ Σ v."""

    penalty: float
    weight: float = 1.0


class Terms(NamedTuple):
    """At P points: log I_k (lags, P), and the slacks of the limits, positive where met (limits, P)."""

    log_input: np.ndarray
    slack: np.ndarray

    def merit(self, penalty: float, weight: float = 1.0) -> np.ndarray:
        """w min_k log I_k − ρ Σ v."""
        return weight * self.log_input.min(axis=0) - penalty * np.maximum(-self.slack, 0.0).sum(axis=0)

    def meets(self, tolerance: float) -> np.ndarray:
        """Which points meet all limits."""
        return np.all(self.slack >= -tolerance, axis=0)

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


class Ended(NamedTuple):
    """A search from one start: the point reached, its merit, the gain of the last steps, whether it ended."""

    x: np.ndarray
    merit: float
    gain: float
    finished: bool


class Problem:
    """The terms of the problem at one T."""

    def __init__(self, space: Space, T: int, effort: Effort, N: int | None = None) -> None:
        self.space, self.T, self.effort = space, T, effort
        self.field = field_of(space, T, N)
        self.lags = spaced_lags(T, effort.lags)
        self.evaluations = 0
        self._known: dict[bytes, np.ndarray] = {}

    def terms(self, x: np.ndarray) -> Terms:
        """At rows x (P, d); every point is looked at once."""
        names = [one.tobytes() for one in x]
        if not len(x):
            return Terms(np.empty((len(self.lags), 0)), np.empty((2 + len(self.space.base.cell.gates), 0)))
        new = {name: i for i, name in enumerate(names) if name not in self._known}
        if new:
            self.evaluations += len(new)
            points = self.space.points(x[[*new.values()]])
            rows = terms_of(self.space, self.T, self.field.observe(points, self.lags)).rows()
            self._known.update(zip(new, rows.T, strict=True))
        rows = np.array([self._known[name] for name in names]).T
        return Terms(rows[: len(self.lags)], rows[len(self.lags) :])

    def affordable(self, points: int, calls: int, most: int, share: float = 1.0) -> int:
        """How often ``points`` points may be looked at in ``calls`` calls, ``most`` or what work allows."""
        steps = 2 * self.T * (points + self.effort.call * calls)
        return min(most, int(share * self.effort.work) // steps)

    def iterations(self, share: float = 1.0, starts: int = 1) -> int:
        """Linear programs from so many starts that the work allows."""
        points = len(self.space.free) + len(self.effort.widths) + self.effort.corrected
        most = int(min(share, 1.0) * self.effort.iterations)
        return self.affordable(points * starts, 3, most, max(share, 1.0))

    def spread(self) -> np.ndarray:
        """Points spread over the cube, as many as the work allows."""
        return scattered(len(self.space.free), self.affordable(1, 0, self.effort.scattered, 0.25))

    def solve(self, starts: np.ndarray, iterations: int, price: Price, race: int = 0) -> list[Ended]:
        """Linear programs in boxes around the best points so far, from all ``starts`` (B, d) side by side.

        ``race``: after so many iterations, and again and again, the better half goes on alone.
        """
        descents = [Descent(self, x, price) for x in starts]
        terms = self.terms(starts)
        for one, rows in zip(descents, terms.rows().T, strict=True):
            one.begin(rows)
        for i in range(iterations):
            running = [one for one in descents if one.running]
            if race and i and i % race == 0:
                for one in sorted(running, key=lambda one: -one.merit)[(len(running) + 1) // 2 :]:
                    one.running = False
            active = [one for one in descents if one.running]
            if not active:
                break
            for ask, answer in (
                (Descent.neighbours, Descent.take_slopes),
                (Descent.steps, Descent.take_steps),
                (Descent.corrections, Descent.take_corrections),
            ):
                asked = [ask(one) for one in active]
                rows = self.terms(np.vstack(asked)).rows()
                parts = np.split(rows, np.cumsum([*map(len, asked)])[:-1], axis=1)
                for one, rows in zip(active, parts, strict=True):
                    answer(one, rows)
        return [one.ended() for one in descents]

    def best(self, starts: np.ndarray, iterations: int, price: Price) -> Ended:
        """The best end."""
        return max(self.solve(starts, iterations, price), key=lambda one: one.merit)

    def found(self, x: np.ndarray, gain: float, finished: bool, evaluations: int) -> Found:
        """What the point x (d,) reaches."""
        terms = self.terms(x[None])
        gates = self.space.base.cell.gates
        names = ["typical", "growth", *(f"spread of {gate!r}" for gate in gates)]
        slack = dict(zip(names, terms.slack[:, 0].tolist(), strict=True))
        return Found(x, float(terms.log_input.min()), slack, gain, finished, evaluations)

    def meets(self, x: np.ndarray) -> bool:
        """Whether x (d,) meets all limits."""
        return bool(self.terms(x[None]).meets(self.effort.tolerance)[0])


class Descent:
    """One search: slopes by differences, the steps of several boxes at once, and the best of them.

    `Problem.solve` asks for points and answers with their terms, those of all searches in one batch.
    """

    def __init__(self, problem: Problem, x: np.ndarray, price: Price) -> None:
        self.x, self.finished, self.running = x, False, True
        self._effort, self._lags, self._price = problem.effort, len(problem.lags), price
        self._width = problem.effort.width

    def begin(self, rows: np.ndarray) -> None:
        """The terms of the start."""
        self._rows = rows
        self._trail = [float(self._merit(rows[:, None])[0])]

    def neighbours(self) -> np.ndarray:
        """Points for the slopes, inside the cube."""
        self._moved = np.where(self.x > 0.5, -1.0, 1.0) * self._effort.step
        return self.x + np.diag(self._moved)

    def take_slopes(self, rows: np.ndarray) -> None:
        """Derivatives (terms, d)."""
        self._slopes = (rows - self._rows[:, None]) / self._moved

    def steps(self) -> np.ndarray:
        """The best points of the boxes if all terms were linear."""
        self._widths = self._width * np.array(self._effort.widths)
        self._tried = np.array([self.x + self._step(self._rows, one) for one in self._widths])
        return self._tried

    def take_steps(self, rows: np.ndarray) -> None:
        """What they are."""
        self._seen = rows

    def corrections(self) -> np.ndarray:
        """Steps Δ' with f(x + Δ) − f'Δ in place of f(x), which stay on a curved ridge.

        This is a second-order correction. None where the widest box has the best step already.
        """
        merits = self._merit(self._seen)
        if np.argmax(merits) == 0 and merits[0] > self._trail[-1]:
            self._again = self._tried[:0]
            return self._again
        steps = self._tried[: self._effort.corrected] - self.x
        bent = [self._seen[:, i] - self._slopes @ step for i, step in enumerate(steps)]
        again = [self._step(rows, width) for rows, width in zip(bent, self._widths, strict=False)]
        self._again = self.x + np.array(again).reshape(-1, len(self.x))
        return self._again

    def take_corrections(self, rows: np.ndarray) -> None:
        """The best of all becomes the next point, its box the next box."""
        seen = np.hstack([self._seen, rows])
        merits = self._merit(seen)
        chosen = int(np.argmax(merits))
        if merits[chosen] > self._trail[-1]:
            points = np.vstack([self._tried, self._again])
            self.x, self._rows = points[chosen], seen[:, chosen]
            self._width = float(self._widths[chosen % len(self._widths)])
        else:
            self._width = float(self._widths[-1])
        trail = self._trail
        trail.append(max(float(merits[chosen]), trail[-1]))
        gained_little = len(trail) > 4 and trail[-1] - trail[-5] < self._effort.enough
        self.finished = self._width < self._effort.narrow or gained_little
        self.running = not self.finished

    @property
    def merit(self) -> float:
        """Of the best point so far."""
        return self._trail[-1]

    def ended(self) -> Ended:
        """Where it stands."""
        trail = self._trail
        since = -2 if self.finished and len(trail) > 1 else -min(len(trail), 4)
        return Ended(self.x, trail[-1], trail[-1] - trail[since], self.finished)

    def _merit(self, rows: np.ndarray) -> np.ndarray:
        return Terms(rows[: self._lags], rows[self._lags :]).merit(*self._price)

    def _step(self, rows: np.ndarray, width: float) -> np.ndarray:
        """The step Δ, |Δ| ≤ width, that solves the problem with all terms ``rows`` + slopes · Δ."""
        lags, d, x = self._lags, len(self.x), self.x
        limits = len(rows) - lags
        cost = np.concatenate([np.zeros(d), [-self._price.weight], np.full(limits, self._price.penalty)])
        relaxed = np.zeros((len(rows), 1 + limits))
        relaxed[:lags, 0] = 1.0
        relaxed[lags:, 1:] = -np.eye(limits)
        inside = np.column_stack([np.maximum(-width, -x), np.minimum(width, 1.0 - x)])
        low = np.concatenate([inside[:, 0], [2.0 * FLOOR], np.zeros(limits)])
        high = np.concatenate([inside[:, 1], [-2.0 * FLOOR], np.full(limits, np.inf)])
        # Without integers, and with less to do beside the solver than `scipy.optimize.linprog` has. Its
        # annotations know numbers only, its documentation arrays.
        upper: Any = rows
        box: Any = low, high
        below = LinearConstraint(np.hstack([-self._slopes, relaxed]), -np.inf, upper)
        solved = milp(cost, constraints=below, bounds=Bounds(*box))
        return np.zeros(d) if solved.x is None else np.clip(solved.x[:d], inside[:, 0], inside[:, 1])


def field_of(space: Space, T: int, N: int | None) -> Field:
    """Closed forms of vanilla cells, else networks of N units."""
    if isinstance(space.base.cell, VanillaRNN):
        return VanillaField(space.base, T)
    return NetworkBatch(space.base, T, 0, SMALL if N is None else replace(SMALL, units=N), space.pattern)


def ladder(T: int, first: int, ratio: int) -> list[int]:
    """T, T/ratio, T/ratio², … down to ``first`` at most, ascending."""
    found = [T]
    while found[-1] > first:
        found.append(max(found[-1] // ratio, 1))
    return found[::-1]


def search(
    space: Space, T: int, starts: list[np.ndarray], effort: Effort = EFFORT, N: int | None = None
) -> Found:
    """The best point of the problem at T; ``starts`` (d,) are tried besides those of `starts`."""
    d, evaluations, price = len(space.free), 0, Price(effort.penalty)
    if d == 0:
        return Problem(space, T, effort, N).found(np.zeros(0), 0.0, True, 1)
    given, space = space, space.resolving(T)
    own = np.array([space.place(given.ensemble(x)) for x in starts]).reshape(-1, d)
    ends: list[Ended] = []
    before, problem = None, None
    end, candidates = Ended(np.zeros(d), 0.0, 0.0, True), own
    for steps in ladder(T, effort.first, effort.ratio):
        problem = Problem(space, steps, effort, N)
        usual = carried(space, end.x, before, effort.ratio) if ends else grid(space, steps)
        others = [
            carried(space, one.x, None, effort.ratio, every=False) for one in ends if one.x is not end.x
        ]
        before = end.x if ends else None
        candidates = np.vstack([usual, *others, own, problem.spread()])
        ends = _promising(problem, candidates, price)
        best = max(ends, key=lambda one: one.merit)
        end = problem.best(
            best.x[None], max(problem.iterations(effort.final if steps == T else 0.5), 1), price
        )
        ends = [end, *(one for one in ends if one is not best)]
        evaluations += problem.evaluations
    assert problem is not None
    if not problem.meets(end.x):
        earlier = problem.evaluations
        end = _nearest(problem, end, candidates)
        evaluations += problem.evaluations - earlier
    found = problem.found(end.x, end.gain, end.finished, evaluations)
    return found._replace(x=given.place(space.ensemble(end.x)))


def _promising(problem: Problem, candidates: np.ndarray, price: Price) -> list[Ended]:
    """Ends of short searches from the best candidates, as many as the work allows."""
    effort = problem.effort
    merit = problem.terms(candidates).merit(*price)
    chosen = unlike(candidates, merit, effort.basins, 2.0 * effort.width)
    while len(chosen) > 1 and problem.iterations(1.0 / 3.0, len(chosen)) < 2:
        chosen = chosen[:-1]
    short = problem.iterations(1.0 / 3.0, len(chosen)) if len(chosen) > 1 else 0
    return problem.solve(chosen, short, price, effort.race)


def _nearest(problem: Problem, end: Ended, candidates: np.ndarray) -> Ended:
    """A point within the limits, if one is found from the end or the candidates; else the best seen."""
    effort, usual = problem.effort, Price(problem.effort.penalty)
    prices = [Price(effort.penalty * factor) for factor in effort.dearer]
    iterations = problem.iterations()
    seen = [end.x]
    for price in prices:
        tried = problem.best(seen[-1][None], max(iterations, 1), price)
        seen.append(tried.x)
        if problem.meets(tried.x):
            return tried
        if iterations < 2:
            return problem.best(np.array(seen), 0, usual)
    violation = Price(1.0, 0.0)
    merit = problem.terms(candidates).merit(*violation)
    near = np.vstack([end.x, unlike(candidates, merit, effort.basins, 2.0 * effort.width)])
    ends = problem.solve(near, max(problem.iterations(1.0 / 3.0, len(near)), 1), violation)
    within = np.array([one.x for one in ends if problem.meets(one.x)])
    if len(within):
        return problem.best(within, max(problem.iterations(1.0, len(within)), 1), prices[-1])
    return _zoomed(problem, np.vstack([*seen, *(one.x for one in ends), candidates]), prices[-1])


def _zoomed(problem: Problem, seen: np.ndarray, dear: Price) -> Ended:
    """The best of the points seen (P, d) and of points spread around the best, nearer and nearer."""
    effort, price = problem.effort, Price(problem.effort.penalty)
    cube = problem.spread()
    best = seen[0]
    for width in (*effort.zooms, 0.0):
        terms = problem.terms(seen)
        merit, within = terms.merit(*price), terms.meets(effort.tolerance)
        if within.any():
            best = seen[int(np.argmax(np.where(within, merit, -np.inf)))]
            return problem.best(best[None], max(problem.iterations(), 1), dear)
        best = seen[int(np.argmax(merit))]
        seen = np.clip(np.vstack([best, best + width * (2.0 * cube - 1.0)]), 0.0, 1.0)
    return problem.best(best[None], max(problem.iterations(), 1), price)


def _finite(values: np.ndarray, otherwise: float = FLOOR) -> np.ndarray:
    return np.where(np.isfinite(values), values, otherwise)
