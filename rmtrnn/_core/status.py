"""How a solve ended: one status vocabulary for the whole package.

No solver returns a bare array. It returns the value together with a `Status` (per point on grids),
a residual recomputed from the returned value, and where it can an error estimate.
"""

from __future__ import annotations

from enum import IntEnum

CONFIDENCE = 3.0
"""Reported errors of sampled numbers are this many standard errors: 99.7 % of a normal law lie within."""


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
    INCONSISTENT = 5

    @property
    def message(self) -> str:
        """What happened and what to try, in one line that holds for every solver; see also ``message`` of a
        result, which knows the arguments of its own solver."""
        return _MESSAGES[self]


_MESSAGES = {
    Status.CONVERGED: "converged",
    Status.MAX_ITERATIONS: "the iteration ended before its tolerance was met; error and residual say how far "
    "from it the numbers are",
    Status.NOT_FINITE: "a value that is not finite appeared; try smaller sigma_w, sigma_v, sigma_b or |mu_b|",
    Status.NO_SOLUTION: "no solution exists in the allowed range of the parameters; widen the range",
    Status.DIVERGED: "the iteration grows without bound: the network has no finite stationary state here; "
    "try a smaller sigma_w, or a bounded activation",
    Status.INCONSISTENT: "a second look found the answer at odds with itself (mass, first moment, "
    "distribution function, support or sign): error covers what it found; "
    "try other accuracy settings, or rt.sample",
}


class ConvergenceError(RuntimeError):
    """Raised where a number was asked for and none could be computed to the stated tolerance."""
