"""The gauge of self-energies: what takes out their growth along the steps.

Multiplying P of theory.md (15) by a diagonal G on both sides, and Q by its inverse, scales what the weights
read and add at single steps. With

    G_t = |P_tt/Q_tt|^{1/4},                                                                        (22)

smooth in time, both are of one size at all steps.

Letters: P and Q, self-energies (2, K, T, T) of the y and of the x, between all steps.
"""

from __future__ import annotations

import numpy as np

# Degree of the polynomial in time of the logarithm of the gauge. Empirical.
GAUGE_DEGREE = 3
# Least product of P_tt and Q_tt, relative to the largest. Derived: far above rounding.
_NOTHING = 1e-12


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
    """G (K, T) of (22), its logarithm fitted by a polynomial in t of ``degree``."""
    y, x = diagonal_size(energy)
    logs = 0.25 * (np.log(y) - np.log(x))
    basis = legendre(energy.shape[-1], min(degree + 1, energy.shape[-1]))
    return np.exp(logs @ basis @ basis.T)


def in_gauge(energy: np.ndarray, log_gauge: np.ndarray) -> np.ndarray:
    """Multiply P by a gauge G (K, T) on both sides, and divide Q by it; (..., 2, K, T, T)."""
    unit = log_gauge[:, :, None] + log_gauge[:, None, :]
    return energy * np.exp(np.array([unit, -unit]))
