"""Expectations under a law: integrals of the density above a low quantile, of the quantile function below.

A tail towards s = 0 is long and its density costly, while the quantile function is bounded there by u.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rmtrnn.laws.protocol import LogForm, lower_mass
from rmtrnn.laws.tabulated import Interval, TabulatedLaw, tabulate


@dataclass(frozen=True)
class ExpectationSettings:
    """Numbers of the integrals."""

    # Share of the mass below the low quantile. Empirical: tests/laws/test_expectation.py moves it by a factor
    # of three both ways.
    tail: float = 1e-2
    # Of the cdf of the table above it: far below any error of a law, and reached with some 60 points.
    tol: float = 1e-10
    # Gauss nodes in p below it; empirical, tested with ``tail``.
    nodes: int = 24


SETTINGS = ExpectationSettings()


def expectation(law: LogForm, f: Callable[[np.ndarray], np.ndarray], tail: float = SETTINGS.tail) -> float:
    """E[f(u)], atoms included; f must have a limit at −∞ if there is mass at s = 0.

    The continuous part is scaled to the mass that the atoms leave.
    """
    total = sum(mass * float(f(np.asarray(u))) for u, mass in law.atoms)
    continuous = 1.0 - sum(mass for _, mass in law.atoms)
    if not (law.support and continuous > 0.0):
        return total
    bottom, at_bottom, table = _above(law, tail)
    start = lower_mass(law)
    below = at_bottom - sum(mass for u, mass in law.atoms if u <= bottom)
    total += (continuous - below) * table.expectation(f)
    nodes, weights = _gauss()
    u = law.icdf(start + 0.5 * (at_bottom - start) * (1 + nodes))
    inside = np.isfinite(u) & ~np.isin(u, [u for u, _ in law.atoms])
    return total + 0.5 * below * float(np.sum(weights * np.where(inside, f(u), 0.0)))


def integrated_mass(law: LogForm) -> float:
    """The total mass with the density integrated where the cdf was computed without it: 1 if the two agree.

    The cdf at a low quantile, the atoms above it, and the integral of the density above it.
    """
    if not law.support:
        return sum(mass for _, mass in law.atoms)
    bottom, at_bottom, table = _above(law, SETTINGS.tail)
    return at_bottom + table.mass + sum(mass for u, mass in law.atoms if u > bottom)


def _above(law: LogForm, tail: float) -> tuple[float, float, TabulatedLaw]:
    """The low quantile, the cdf there, and the density above it as a table."""
    start = lower_mass(law)
    bottom = float(law.icdf(np.array([start + tail * (1.0 - start)]))[0])
    intervals = [Interval(max(a, bottom), b) for a, b in law.support if b > bottom]
    return bottom, float(law.cdf(np.array([bottom]))[0]), tabulate(law.pdf, intervals, tol=SETTINGS.tol)


@functools.lru_cache(maxsize=1)
def _gauss() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(SETTINGS.nodes)
