"""The error of an inverted law: its parts, what they make of its status, and what more sites would buy.

Letters: u = log s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rmtrnn._core.status import Status
from rmtrnn.dyson.inversion.solution import Solution


@dataclass(frozen=True)
class ErrorSettings:
    """Masses and errors of the cdf; moved by three both ways in tests/dyson/test_numbers.py."""

    # Error that a population of free size is made large enough for: a tenth of what a sampled network of
    # N = 1000 can tell.
    aim: float = 1e-3
    # The error of the larger population is aimed this far below the room that there is: errors by eight
    # groups scatter by a quarter.
    margin: float = 0.8
    # Mass that may be lost inside a panel or beyond an end and leave the law usable; it is an error.
    lost: float = 0.01
    # A law with this error is none: it does not tell a decile.
    useless: float = 0.1
    # By how much F may fall from one solved point to the next: twice the largest error of a point
    # (`NewtonSettings.largest_error`). More is another branch of the Dyson equation.
    fall: float = 2e-4
    # Times the second-order error of F at a point whose self-energies have not settled. Empirical.
    trust: float = 3.0


ERRORS = ErrorSettings()


@dataclass(frozen=True)
class ErrorParts:
    """Estimated errors of the cdf: of the population of sites, of the cubics, of the tails, of the solver."""

    population: float
    interpolation: float
    tail: float
    solver: float

    @property
    def total(self) -> float:
        return self.population + self.interpolation + self.tail + self.solver

    @property
    def required_population_factor(self) -> int | None:
        """Smallest 2^k whose population error fits `ErrorSettings.aim`; None if met or unreachable."""
        room = ERRORS.margin * (ERRORS.aim - (self.total - self.population))
        if not math.isfinite(self.total) or self.total <= ERRORS.aim or room <= 0:
            return None
        return 2 ** math.ceil(2 * math.log2(self.population / room))


def law_status(error: float, population: float, lost: float, few: float) -> Status:
    """CONVERGED if F is known but for the population, and known at all.

    What of the ``error`` is not due to the ``population`` may be 1 %, or the mass of so ``few`` sites that
    nothing smaller is resolved. Tails and a defect of the mass are part of it.
    """
    settled = error - population < max(ERRORS.lost, few)
    found = lost < ERRORS.lost and settled and error < ERRORS.useless
    return Status.CONVERGED if found else Status.MAX_ITERATIONS


def tail_error(missing: float) -> float:
    """Error of F from the mass ``missing`` beyond an end of the solved points.

    Little mass is close to the end, and the cubic through it errs by half of it at most. Much of it may lie
    anywhere beyond.
    """
    return 0.5 * missing if missing < ERRORS.lost else missing


def lost_mass(missing: Solution, u: np.ndarray, cdf: np.ndarray) -> float:
    """Largest error of F from points that could not be solved.

    F is monotone, so it is at most the mass between the solved neighbours; and it is at most the distance of
    F at the point from the line between these, if F is known there to second order in self-energies that have
    not settled.
    """
    index = np.searchsorted(u, missing.u)
    full = np.concatenate([[0.0], cdf, [1.0]])
    between = full[index + 1] - full[index]
    off = np.abs(np.interp(missing.u, u, cdf) - missing.cdf) + ERRORS.trust * missing.error
    known = np.isfinite(off) & (index > 0) & (index < u.size)
    return float(np.max(np.where(known, np.minimum(between, off), between), initial=0.0))
