"""The law of the Lyapunov exponents from the stationary Dyson equation: a path in μ, and its errors.

The path starts below the largest exponent, where ρ(μ) = 1 (`equation.linear_growth`), and goes down. Just
below it P and Q grow like the root of the distance d from it. So each point starts from the line in log d
through the two before it, and distances double until p changes by enough.

Letters: L, the period in steps; p, the share of exponents above μ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmtrnn._core.progress import advance
from rmtrnn._core.status import ConvergenceError
from rmtrnn.dyson.stationary import equation
from rmtrnn.dyson.stationary.edge import calibrated, largest_exponent
from rmtrnn.dyson.stationary.equation import Growth, Solution, linear_growth, solve
from rmtrnn.dyson.stationary.response import Modes, respond
from rmtrnn.dyson.stationary.sites import SiteSteps
from rmtrnn.meanfield.periodic_process import GROUPS
from rmtrnn.meanfield.tied_field import standard_error


@dataclass(frozen=True)
class PathSettings:
    """Numbers of the path; tests/dyson/stationary moves the first three by a factor of three both ways.

    ``first``: log ρ at the first point; about a tenth of it is the share of exponents above. ``positive``:
    distance of the first point from a positive largest exponent, in units of this exponent, at most: sums of
    positive exponents need points among them. ``apart``: largest change of p between points; the monotone
    cubic between them errs by some 1e-4. ``last``: p at which the path ends; ``end``: p beyond which a point
    that is not solved ends it, as at a lower edge; before, two in a row end it in the bulk. ``most``: points.
    ``every``: of so many points one has its error measured. ``shares``: of the distance to the next point,
    tried in turn until it is solved.
    """

    first: float = 0.02
    positive: float = 0.125
    apart: float = 0.06
    last: float = 0.985
    end: float = 0.9
    most: int = 60
    every: int = 4
    shares: tuple[float, ...] = (1.0, 0.5, 0.25)


SETTINGS = PathSettings()


class Path(NamedTuple):
    """p at falling μ, and its error (points,) by the groups of sites and by the period.

    ``converged``: whether every point is, and the path has not ended in the bulk.
    """

    mu: np.ndarray
    above: np.ndarray
    error: np.ndarray
    residual: float
    converged: bool


class _Point(NamedTuple):
    """A growth rate, its distance from the largest exponent, and the solution there."""

    mu: float
    distance: float
    found: Solution


def follow(steps: SiteSteps, shorter: SiteSteps, largest: float) -> Path:
    """The whole path below the ``largest`` exponent; ``shorter``: other sites on half the period.

    All sites, and each group of them, are calibrated to it. Raises ConvergenceError where ρ does not fall as
    the rate rises, or the first points are not solved.
    """
    follower = _Follower(steps, shorter, largest)
    points: list[_Point] = []
    measured: list[tuple[float, float]] = []
    while len(points) < SETTINGS.most and (not points or points[-1].found.above <= SETTINGS.last):
        point = follower.after(points)
        if not np.isfinite(point.found.residual):
            break
        if not point.found.converged and (point.found.above > SETTINGS.end or _unsolved(points)):
            break
        if len(points) % SETTINGS.every == 0:
            measured.append((point.mu, follower.error(point)))
        points.append(point)
    if len(points) < 3:
        raise ConvergenceError(f"no solution of the stationary Dyson equation near {largest:.4g} per step")
    at, error = np.array(measured)[::-1].T
    mu = np.array([one.mu for one in points])
    return Path(
        mu,
        np.array([one.found.above for one in points]),
        np.interp(mu, at, error),
        max(one.found.residual for one in points),
        all(one.found.converged for one in points) and points[-1].found.above > SETTINGS.end,
    )


def _unsolved(points: list[_Point]) -> bool:
    """Whether the last point is not solved: another after it is no start for a third."""
    return bool(points) and not points[-1].found.converged


class _Follower:
    """Solves (*) at falling growth rates, on sites calibrated to the ``largest`` exponent."""

    def __init__(self, steps: SiteSteps, shorter: SiteSteps, largest: float) -> None:
        self.modes, self.half = (Modes.of(one.period, tied=one.tied) for one in (steps, shorter))
        self.steps = calibrated(steps, self.modes, largest)
        self.shorter = calibrated(shorter, self.half, largest)
        self.parts = [self.steps.group(index) for index in range(GROUPS)]
        self.groups = [calibrated(self.steps.of(part), self.modes, largest) for part in self.parts]
        self.largest = largest
        _, slope = largest_exponent(self.steps, self.modes, largest)
        self.slope = abs(slope)

    def after(self, points: list[_Point]) -> _Point:
        """The next point; where it is not solved, one at a smaller distance from the last."""
        point = None
        for distance, energy in self._starts(points):
            advance("stationary Dyson equation: growth rates")
            mu = self.largest - distance
            found = solve(
                self.steps, self.modes, respond(self.steps, self.modes, mu), energy, self._tolerance(distance)
            )
            point = _Point(mu, distance, found)
            if found.converged:
                break
        assert point is not None
        return point

    def _starts(self, points: list[_Point]) -> Iterator[tuple[float, np.ndarray]]:
        """Distances of the next point that are tried in turn, and log (P, Q) to start from."""
        if not points:
            distance = SETTINGS.first / self.slope
            if self.largest > 0.0:
                distance = min(distance, SETTINGS.positive * self.largest)
            growth = linear_growth(self.steps, self.modes, self.largest - distance)
            yield distance, np.log(_amplitude(self.steps, self.modes, growth))
            return
        last = points[-1]
        step, rise = last.distance, np.full_like(last.found.log_energy, 0.5)
        if len(points) > 1:
            older = points[-2]
            change = max(last.found.above - older.found.above, 1e-6)
            apart = last.distance - older.distance
            step = min(max(SETTINGS.apart / change, 0.3) * apart, 2.0 * apart, last.distance)
            rise = (last.found.log_energy - older.found.log_energy) / math.log(last.distance / older.distance)
        for share in SETTINGS.shares:
            distance = last.distance + share * step
            yield distance, last.found.log_energy + math.log(distance / last.distance) * rise

    def _tolerance(self, distance: float) -> float:
        """That of the equation times log ρ below 1: p is proportional to log ρ, and so is what moves it."""
        return equation.SETTINGS.tolerance * min(1.0, distance * self.slope)

    def error(self, point: _Point) -> float:
        """Error of p by the groups of sites, and by other sites on half the period."""
        response, start = respond(self.steps, self.modes, point.mu), point.found.log_energy
        tolerance = self._tolerance(point.distance)
        shares = [
            solve(group, self.modes, response.of(part), start, tolerance).above
            for group, part in zip(self.groups, self.parts, strict=True)
        ]
        short = self._on_half_period(point, tolerance)
        return max(float(standard_error(np.array(shares))), abs(short.above - point.found.above))

    def _on_half_period(self, point: _Point, tolerance: float) -> Solution:
        """The solution on half the period, from that on the whole one at the same frequencies."""
        middle, wanted = (
            one.mean((np.arange(len(one.band)) + 1) // 2 / len(one.band)) for one in (self.modes, self.half)
        )
        start = np.array(
            [[np.interp(wanted, middle, row) for row in part] for part in point.found.log_energy]
        )
        return solve(self.shorter, self.half, respond(self.shorter, self.half, point.mu), start, tolerance)


def _amplitude(steps: SiteSteps, modes: Modes, growth: Growth) -> np.ndarray:
    """The eigenvectors scaled so that Q g is about log ρ at each of the frequencies that take part."""
    driven, read = growth.energy
    passed = driven * read / steps.variance[:, None]
    total = np.sum(modes.size * passed)
    taking_part = total**2 / np.sum(modes.size * passed**2)
    return growth.energy * math.sqrt(max(math.log(growth.rho), 1e-6) * taking_part / total)
