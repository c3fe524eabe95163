"""From solved points of a law with tied weights to what `rmtrnn.dyson.inversion` takes."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from rmtrnn._core.status import Status
from rmtrnn.dyson.inversion.error_budget import ERRORS
from rmtrnn.dyson.inversion.solution import Solution, longest_monotone_run
from rmtrnn.dyson.self_energy import SelfEnergy
from rmtrnn.dyson.tied.anchors import SharedNode

Item = TypeVar("Item")

# Points at which other sites, or other equations, say what the self-energies change F by.
_CHECKED = 5


def some_of(points: list[Item], count: int = _CHECKED) -> list[Item]:
    """``count`` points, spread evenly."""
    places = np.linspace(0, len(points) - 1, count + 2).astype(int)[1:-1] if points else []
    return [points[i] for i in np.unique(places)]


def as_solution(shared: list[SharedNode], error: float) -> Solution:
    """Convert to what `rmtrnn.dyson.inversion` takes; outside the support F has no error.

    Points out of order lie on another branch of (15) and do not count as solved.
    """
    nodes = [one.node for one in shared]
    none = np.zeros((len(nodes), 1), dtype=complex)
    survival = np.array([1.0 - node.cdf for node in nodes])
    good = np.isfinite(survival) & (np.abs(survival - 0.5) < 0.5 + ERRORS.fall)
    good &= np.array([node.point.is_solved(ERRORS.fall) for node in nodes])
    good[good] = np.isin(np.arange(good.sum()), longest_monotone_run(survival[good], ERRORS.fall))
    return Solution(
        log_lambda=np.array([2 * node.u for node in nodes]),
        sigma=SelfEnergy(none, none),
        survival=survival,
        density=np.array([node.density for node in nodes]),
        residual=np.array([node.point.relative for node in nodes]),
        error=np.array([error if node.density > 0.0 else 0.0 for node in nodes]),
        status=np.where(good, int(Status.CONVERGED), int(Status.MAX_ITERATIONS)),
        site_phase=np.array([one.groups for one in shared]),
    )
