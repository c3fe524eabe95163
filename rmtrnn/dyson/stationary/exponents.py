"""The law of the Lyapunov exponents from the stationary Dyson equation: a path in μ, and its errors.

The path starts below the largest exponent, where ρ(μ) = 1 (`equation.linear_growth`), and goes down; each
point starts from the line through the two before it.

Letters: L, the period in steps; p, the share of exponents above μ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmtrnn._core.progress import advance
from rmtrnn._core.status import ConvergenceError
from rmtrnn.dyson.stationary.edge import calibrated, largest_exponent
from rmtrnn.dyson.stationary.equation import Growth, Solution, linear_growth, solve
from rmtrnn.dyson.stationary.response import Modes, respond
from rmtrnn.dyson.stationary.sites import SiteSteps
from rmtrnn.meanfield.periodic_process import GROUPS
from rmtrnn.meanfield.tied_field import standard_error


@dataclass(frozen=True)
class PathSettings:
    """Numbers of the path; tests/dyson/stationary moves each by a factor of three both ways.

    ``first``: log ρ at the first point, where some per cent of the exponents are above. ``apart``: largest
    change of p between points; the monotone cubic between them errs by some 1e-4. ``last``: p at which the
    path ends; ``end``: p beyond which a point that is not solved ends it, as at a lower edge; before, it ends
    in the bulk. ``most``: points. ``every``: of so many points one has its error measured.
    """

    first: float = 0.1
    apart: float = 0.06
    last: float = 0.985
    end: float = 0.9
    most: int = 60
    every: int = 5


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


def follow(steps: SiteSteps, shorter: SiteSteps, largest: float) -> Path:
    """The whole path below the ``largest`` exponent; ``shorter``: other sites on half the period.

    All sites, and each group of them, are calibrated to it. Raises ConvergenceError where ρ does not fall as
    the rate rises, or the first point is not solved.
    """
    modes, half = (Modes.of(one.period, tied=one.tied) for one in (steps, shorter))
    steps, shorter = calibrated(steps, modes, largest), calibrated(shorter, half, largest)
    parts = [steps.group(index) for index in range(GROUPS)]
    groups = [calibrated(steps.of(part), modes, largest) for part in parts]
    _, slope = largest_exponent(steps, modes, largest)
    mu = largest - SETTINGS.first / abs(slope)
    growth = linear_growth(steps, modes, mu)
    before: list[tuple[float, Solution]] = []
    energy = np.log(_amplitude(steps, modes, growth))
    measured: list[tuple[float, float]] = []
    while len(before) < SETTINGS.most:
        advance("stationary Dyson equation: growth rates")
        response = respond(steps, modes, mu)
        found = solve(steps, modes, response, energy)
        if not np.isfinite(found.residual) or (not found.converged and found.above > SETTINGS.end):
            break
        if len(before) % SETTINGS.every == 0:
            shares = [
                solve(group, modes, response.of(part), found.log_energy).above
                for group, part in zip(groups, parts, strict=True)
            ]
            short = _on_half_period(shorter, half, modes, mu, found)
            measured.append(
                (mu, max(float(standard_error(np.array(shares))), abs(short.above - found.above)))
            )
        before.append((mu, found))
        if found.above > SETTINGS.last:
            break
        mu, energy = _next(before, largest)
    if len(before) < 3:
        raise ConvergenceError(f"no solution of the stationary Dyson equation near {mu:.4g} per step")
    at, error = np.array(measured)[::-1].T
    where = np.array([one for one, _ in before])
    return Path(
        where,
        np.array([one.above for _, one in before]),
        np.interp(where, at, error),
        max(one.residual for _, one in before),
        all(one.converged for _, one in before) and before[-1][1].above > SETTINGS.end,
    )


def _amplitude(steps: SiteSteps, modes: Modes, growth: Growth) -> np.ndarray:
    """The eigenvectors scaled so that Q g is about log ρ at each of the frequencies that take part."""
    driven, read = growth.energy
    passed = driven * read / steps.variance[:, None]
    total = np.sum(modes.size * passed)
    taking_part = total**2 / np.sum(modes.size * passed**2)
    return growth.energy * math.sqrt(max(math.log(growth.rho), 1e-6) * taking_part / total)


def _next(before: list[tuple[float, Solution]], largest: float) -> tuple[float, np.ndarray]:
    """The next growth rate, and log (P, Q) there on the line through the last two points."""
    mu, last = before[-1]
    if len(before) == 1:
        return mu - (largest - mu), last.log_energy
    older, first = before[-2]
    change = max(last.above - first.above, 1e-6)
    ratio = min(max(SETTINGS.apart / change, 0.3), 2.0)
    return mu - ratio * (older - mu), last.log_energy + ratio * (last.log_energy - first.log_energy)


def _on_half_period(steps: SiteSteps, modes: Modes, whole: Modes, mu: float, found: Solution) -> Solution:
    """The solution on half the period, from that on the whole one at the same frequencies."""
    middle, wanted = (one.mean((np.arange(len(one.band)) + 1) // 2 / len(one.band)) for one in (whole, modes))
    energy = np.array([[np.interp(wanted, middle, row) for row in part] for part in found.log_energy])
    return solve(steps, modes, respond(steps, modes, mu), energy)
