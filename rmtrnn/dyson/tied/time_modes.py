"""Self-energies in time as a diagonal and a smooth part: the subspace in which long tied chains are solved.

With a gauge that takes out their growth along the steps, the self-energies of theory.md (15) are

    P = G (diag(Phi d) + Phi p Phi^T) G,    Q = G^{-1} (diag(Phi e) + Phi q Phi^T) G^{-1},          (22)

Phi (T, r) the first Legendre polynomials in time, orthonormal on the steps. A smooth diagonal averages the
noise of few sites over time. Ψ of (21), made stationary among these alone (Galerkin), errs by the square of
what (22) misses. The condition is (15), projected orthogonally.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

# Degree of the polynomial in time of the logarithm of the gauge. Empirical.
GAUGE_DEGREE = 3
# Least product of P_tt and Q_tt, relative to the largest. Derived: far above rounding.
_NOTHING = 1e-12


class Parts(NamedTuple):
    """The diagonal Phi d (..., T) and the coefficients of the smooth part (..., r, r) of (22)."""

    diagonal: np.ndarray
    smooth: np.ndarray


class TimeModes:
    """The first ``count`` Legendre polynomials on ``steps`` steps, and the projection onto (22)."""

    def __init__(self, steps: int, count: int) -> None:
        self.steps, self.count = steps, min(count, steps)
        self.basis = legendre(steps, self.count)
        self._level = self.basis @ self.basis.T
        self._smooth, self._free = (self._inverse(level) for level in (self._level, np.eye(steps)))

    def from_moments(self, diagonal: np.ndarray, moments: np.ndarray) -> Parts:
        """Project a matrix of this ``diagonal`` (..., T) and these ``moments`` Phi^T A Phi (..., r, r)."""
        return self._parts(diagonal @ self._level, moments, self._smooth, self._level)

    def of(self, matrix: np.ndarray) -> Parts:
        """Split symmetric matrices (..., T, T) into a smooth part and any diagonal, as well as can be."""
        diagonal = np.diagonal(matrix, axis1=-2, axis2=-1)
        return self._parts(diagonal, self.moments(matrix), self._free, None)

    def moments(self, matrix: np.ndarray) -> np.ndarray:
        """Phi^T A Phi, (..., r, r)."""
        return self.basis.T @ matrix @ self.basis

    def _parts(
        self, diagonal: np.ndarray, moments: np.ndarray, inverse: np.ndarray, level: np.ndarray | None
    ) -> Parts:
        phi = self.basis
        rest = moments - phi.T @ (diagonal[..., :, None] * phi)
        smooth = (rest.reshape(*rest.shape[:-2], -1) @ inverse).reshape(rest.shape)
        change = ((phi @ smooth) * phi).sum(axis=-1)
        return Parts(diagonal - (change if level is None else change @ level), smooth)

    def _inverse(self, level: np.ndarray) -> np.ndarray:
        """Inverse of what the diagonal leaves of the smooth part; where both serve, the diagonal does."""
        pairs = (self.basis[:, :, None] * self.basis[:, None, :]).reshape(self.steps, -1)
        return np.linalg.pinv(np.eye(self.count**2) - pairs.T @ level @ pairs, rcond=1e-9, hermitian=True)

    def matrix(self, parts: Parts) -> np.ndarray:
        """diag(Phi d) + Phi p Phi^T, (..., T, T)."""
        whole = self.basis @ parts.smooth @ self.basis.T
        steps = np.arange(self.steps)
        whole[..., steps, steps] += parts.diagonal
        return whole


@lru_cache(maxsize=8)
def time_modes(steps: int, count: int) -> TimeModes:
    return TimeModes(steps, count)


def legendre(steps: int, count: int) -> np.ndarray:
    """Legendre polynomials of degree below ``count`` (steps, count), orthonormal on equal steps."""
    place = (2.0 * np.arange(steps) + 1.0) / steps - 1.0
    return np.linalg.qr(np.polynomial.legendre.legvander(place, count - 1))[0]


def diagonal_size(energy: np.ndarray) -> np.ndarray:
    """|P_tt| and |Q_tt| (2, K, T), floored where nothing passes.

    P comes out of sums of the size of 1/Q, with their rounding, and Q out of 1/P: the product of both says
    what is there, whatever their growth along the steps.
    """
    size = np.abs(np.diagonal(energy, axis1=-2, axis2=-1))
    least = _NOTHING * size.prod(axis=0).max(axis=-1, keepdims=True)
    largest = size.max(axis=-1, keepdims=True)
    other = size[::-1]
    floor = np.where(other > 0.0, least / np.where(other > 0.0, other, 1.0), _NOTHING * largest)
    return np.maximum(size, floor + 1e-300)


def smooth_gauge(energy: np.ndarray, degree: int) -> np.ndarray:
    """G (K, T) of (22): |P_tt/Q_tt|^{1/4}, its logarithm fitted by a polynomial in t of ``degree``.

    A gauge that is not smooth would make the smooth part rough.
    """
    y, x = diagonal_size(energy)
    logs = 0.25 * (np.log(y) - np.log(x))
    basis = legendre(energy.shape[-1], min(degree + 1, energy.shape[-1]))
    return np.exp(logs @ basis @ basis.T)


def in_gauge(energy: np.ndarray, log_gauge: np.ndarray) -> np.ndarray:
    """Multiply P by a gauge G (K, T) on both sides, and divide Q by it; (..., 2, K, T, T)."""
    unit = log_gauge[:, :, None] + log_gauge[:, None, :]
    return energy * np.exp(np.array([unit, -unit]))
