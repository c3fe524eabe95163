"""Solved points of the matrix Dyson equation, as the inversion to a law sees them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from rmtrnn._core.status import Status
from rmtrnn.dyson.self_energy import SelfEnergy


@dataclass(frozen=True)
class Solution:
    """Self-energies and what follows from them, per point of log|λ|.

    ``sigma``: coefficients of the self-energies; ``survival`` = P(s² > λ) and ``density`` = that of
    u = log s, both at arg λ = 0; ``residual`` = relative size of the Newton step that the returned
    self-energies would take next, ``error`` = its effect on ``survival`` (second order); ``status``: `Status`
    each; ``site_phase`` = Im log det per site, divided by π s_L, for error estimates by groups of sites.
    """

    log_lambda: np.ndarray
    sigma: SelfEnergy
    survival: np.ndarray
    density: np.ndarray
    residual: np.ndarray
    error: np.ndarray
    status: np.ndarray
    site_phase: np.ndarray

    @property
    def u(self) -> np.ndarray:
        """log s of the points."""
        return self.log_lambda / 2

    @property
    def cdf(self) -> np.ndarray:
        """P(s² <= λ)."""
        return 1.0 - self.survival

    @property
    def converged(self) -> np.ndarray:
        """Whether each point is solved."""
        return self.status == int(Status.CONVERGED)

    def joined(self, other: Solution) -> Solution:
        """The points of both."""
        return joined_points(self, other)

    def at(self, pick: np.ndarray) -> Solution:
        """Some of the points."""
        return Solution(*(getattr(self, field.name)[pick] for field in fields(self)))

    def sorted(self) -> Solution:
        """The points in increasing u."""
        return self.at(np.argsort(self.log_lambda))


def joined_points(one: Any, other: Any) -> Any:
    """The points of two records of one type, whose fields are arrays or `SelfEnergy`."""
    pairs = ((getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    return type(one)(
        *(a.joined(b) if isinstance(a, SelfEnergy) else np.concatenate([a, b]) for a, b in pairs)
    )


def longest_monotone_run(survival: np.ndarray, slack: float) -> np.ndarray:
    """Indices of the most points along which P(s² > λ) does not rise by more than ``slack``.

    Points out of order lie on another branch of the Dyson equation than the others. Points in increasing u.
    """
    length, before = np.ones(len(survival), dtype=int), np.full(len(survival), -1)
    for i in range(1, len(survival)):
        earlier = np.flatnonzero(survival[:i] >= survival[i] - slack)
        if earlier.size:
            before[i] = earlier[np.argmax(length[earlier])]
            length[i] = length[before[i]] + 1
    kept = [int(np.argmax(length))] if len(survival) else []
    while kept and before[kept[-1]] >= 0:
        kept.append(int(before[kept[-1]]))
    return np.array(kept[::-1], dtype=int)
