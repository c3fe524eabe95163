"""How a solve ended: one status vocabulary for the whole package.

No solver returns a bare array. It returns the value together with a `Status` (per point on grids),
a residual recomputed from the returned value, and where it can an error estimate.
"""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """Outcome of one solve. Integer-valued, so that arrays of it are plain integer arrays.

    >>> rt.spectrum(rt.Ensemble("vanilla", sigma_b=0.1), T=2).status.name
    'CONVERGED'
    """

    CONVERGED = 0
    MAX_ITERATIONS = 1
    NOT_FINITE = 2
    NO_SOLUTION = 3
    DIVERGED = 4

    @property
    def message(self) -> str:
        """What happened and what to try, in one line."""
        return _MESSAGES[self]


_MESSAGES = {
    Status.CONVERGED: "converged",
    Status.MAX_ITERATIONS: "iteration limit reached; try a larger max_iterations or a looser tolerance",
    Status.NOT_FINITE: "a non-finite value appeared; check the parameters, or start closer to the solution",
    Status.NO_SOLUTION: "no solution exists in the allowed range of the parameters",
    Status.DIVERGED: "the iteration grows without bound: the network has no finite stationary state here",
}


class ConvergenceError(RuntimeError):
    """Raised where a number was asked for and none could be computed to the stated tolerance."""
