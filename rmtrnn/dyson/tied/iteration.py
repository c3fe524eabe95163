"""Anderson acceleration of theory.md (15): self-energies of tied weights at one λ, without a Hessian.

The map of (15) contracts weakly and is analytic. Combining the last images so that the linearised change is
least (Anderson 1965, J. ACM 12, 547; Walker and Ni 2011, SIAM J. Numer. Anal. 49, 1715) solves it in about
ten evaluations, in the support as outside and whatever T. Changes are measured in units of the diagonal of
the self-energies (a gauge), which may grow by many orders of magnitude along the steps.

Letters: x, the self-energies (2, K, T, T); r, the change that the map makes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmtrnn._core.progress import advance
from rmtrnn.dyson.full_population import CORRECTION
from rmtrnn.dyson.tied.functional import gradient, image
from rmtrnn.dyson.tied.gauge import diagonal_size
from rmtrnn.dyson.tied.site_matrices import SiteMatrices


@dataclass(frozen=True)
class IterationSettings:
    """Numbers of the iteration; moved by three both ways in tests/dyson/tied/test_iteration.py."""

    # Differences that are combined. Empirical: 6 and 12 take as many evaluations.
    depth: int = 8
    # Share of the change of their combination that is taken. Derived: near λ = 0 the map is about c/x,
    # whose slope is -1, so that half of the change leads to its fixed point.
    mixing: float = 0.5
    # Singular values of the differences, relative to the largest, that are left out: a factor common to all P
    # and its inverse to all Q hardly change where everything passes through the weights.
    rank: float = 0.01
    # Evaluations at a point: at least, so that the differences say how far the point is off; at most, from
    # self-energies of a neighbour (a nearer one serves better than more of them), and from any others.
    least: int = 2
    warm: int = 24
    most: int = 80
    # Largest relative change of a point whose F is believed. It enters F squared, times some tenths: F of
    # an LSTM of ten steps scatters by 1e-3 with a change of 0.1.
    settled: float = 0.01
    # Growth of the change, relative to the least one, from which the differences are dropped.
    astray: float = 3.0


_ITERATION = IterationSettings()
# Im of self-energies above the real axis, in units of the diagonal, that is not of another branch.
_SLACK = 0.01


class Differences(NamedTuple):
    """Differences of x and of r between evaluations, each (d, 2, K, T, T): an approximate derivative."""

    x: np.ndarray
    r: np.ndarray

    @classmethod
    def none(cls, like: np.ndarray) -> Differences:
        return cls(np.zeros((0, *like.shape), like.dtype), np.zeros((0, *like.shape), like.dtype))

    def joined(self, x: np.ndarray, r: np.ndarray) -> Differences:
        """With one more of each, of the last `IterationSettings.depth`."""
        both = (
            np.concatenate([old, new[None]])[-_ITERATION.depth :]
            for old, new in zip(self, (x, r), strict=True)
        )
        return Differences(*both)

    def step(self, r: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """The step for a change ``r``: least squares over the differences, in units ``unit``."""
        step = _ITERATION.mixing * r
        if len(self.x) == 0:
            return step
        columns = (self.r / unit).reshape(len(self.r), -1).T
        share = np.linalg.lstsq(columns, (r / unit).ravel(), rcond=_ITERATION.rank)[0]
        return step - np.tensordot(share, self.x + _ITERATION.mixing * self.r, 1)


class Point(NamedTuple):
    """Self-energies at log λ.

    ``relative``, the change that (15) would have made of those before them; ``error``, that of F at these, to
    second order; ``lower``: whether they lie in the lower half plane.
    """

    log_lambda: complex
    energy: np.ndarray
    relative: float
    error: float
    evaluations: int
    lower: bool
    differences: Differences

    def is_settled(self, tol: float) -> bool:
        """Whether F is known to ``tol``."""
        return self.error < tol and self.relative < _ITERATION.settled

    def is_solved(self, tol: float) -> bool:
        """Whether F is known to ``tol``, by self-energies in the lower half plane, where F is one."""
        return self.is_settled(tol) and self.lower


def gauge_unit(energy: np.ndarray) -> np.ndarray:
    """sqrt(|x_tt x_ss|) of every entry, floored where nothing passes."""
    root = np.sqrt(diagonal_size(energy))
    return root[..., :, None] * root[..., None, :]


def relative_size(change: np.ndarray, unit: np.ndarray) -> float:
    """Norm of a change in units of the diagonal, over sqrt(T), the largest of all weight matrices."""
    return float(np.sqrt((np.abs(change / unit) ** 2).sum(axis=(-2, -1)) / change.shape[-1]).max())


def solve(
    sites: SiteMatrices,
    energy: np.ndarray,
    log_lambda: complex,
    tol: float,
    known: Differences | None = None,
) -> Point:
    """Iterate (15) from ``energy`` until F is known to ``tol``, an error of second order in the step left.

    ``known``: differences of a neighbouring point, or of the same point on other sites, to begin with.
    """
    advance("Dyson equation: points solved")
    x, least = energy, np.inf
    most = _ITERATION.most if known is None else _ITERATION.warm
    known = Differences.none(energy) if known is None else known
    before: tuple[np.ndarray, np.ndarray] | None = None
    best = x, np.inf, np.inf
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what overflows is given up
        for count in range(1, most + 1):
            try:
                found = sites.overlaps(x, log_lambda)
                r = image(sites, x, found) - x
            except np.linalg.LinAlgError:  # a pivot of a site is exactly 0: given up as what overflows
                break
            unit = gauge_unit(x)
            relative = relative_size(r, unit)
            if not np.isfinite(relative):
                break
            if before is not None:
                known = known.joined(x - before[0], r - before[1])
            if relative > _ITERATION.astray * least:
                known, least = Differences.none(x), relative
            least, before = min(least, relative), (x, r)
            step = known.step(r, unit)
            error = CORRECTION.leaves * abs(gain_of_step(sites, x, found, step))
            x = projected_to_lower_half_plane(x + step)
            enough = error < tol and relative < _ITERATION.settled and count >= _ITERATION.least
            if relative < best[1] or enough:
                best = x, relative, error
            if enough:
                break
        return Point(log_lambda, *best, count, is_lower(best[0]), known)


def gain_of_step(sites: SiteMatrices, x: np.ndarray, found: np.ndarray, step: np.ndarray) -> complex:
    """By how much a ``step`` from x, where g and k are ``found``, changes Ψ/(π s_L), whose Im is 1 - F.

    Ψ is stationary, so that this is half its gradient times a step that leads to where the gradient is 0.
    """
    gain = 0.5 * complex(np.einsum("fkij,fkji->", gradient(sites, x, found), step))
    return gain / (math.pi * sites.s_out)


def is_lower(energy: np.ndarray) -> bool:
    """Whether Im P and Im Q are negative semidefinite, up to `_SLACK` in units of the diagonal."""
    scaled = np.imag(energy) / gauge_unit(energy)
    return bool(np.isfinite(scaled).all() and np.linalg.eigvalsh(scaled).max() <= _SLACK)


def projected_to_lower_half_plane(energy: np.ndarray) -> np.ndarray:
    """The nearest self-energies in the lower half plane, in the gauge of their diagonal.

    Real ones, at λ < 0, as they are.
    """
    if not np.iscomplexobj(energy):
        return energy
    unit = gauge_unit(energy)
    eigen, vectors = np.linalg.eigh(np.imag(energy) / unit)
    below = (vectors * np.minimum(eigen, 0.0)[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    return np.real(energy) + 1j * unit * below
