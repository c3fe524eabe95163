"""Psi of tied weights, its gradient, and the map whose fixed point solves theory.md (15).

With the propagators gamma of `site_matrices`, P = diag(self-energies of the y, 1) and Q = diag(self-energies
of the x, 1/lambda),

    h = gamma P gamma^T,   R = (1 - Q h)^{-1},   g = E[h R],   k = E[gamma^T R Q gamma],          (20)

and E s^2/(lambda - s^2) = tr_L g/(lambda s_L) - 1.

For each weight matrix P = sigma^2 g, Q = sigma^2 k (Gaussian), P = g (sigma^2 - Q P), Q = k (sigma^2 - P Q)
(Haar), which needs no matrix root. These are the stationary points of

    Psi = E log det(1 - Q h) + sum_k C_k,                                                         (21)

C = tr(P Q)/sigma^2 (Gaussian) or -log det(1 - P Q/sigma^2) (Haar).

There Im Psi(lambda + i0) = pi s_L P(s^2 > lambda), so that an error of P and Q enters the distribution
function squared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rmtrnn.dyson.self_energy import REAL_AXIS
from rmtrnn.dyson.tied.site_matrices import SiteMatrices

# Relative shift of Q before it is inverted. Derived: the square root of rounding, as a smooth Q is
# numerically singular.
_SHIFT = 1e-8
# Rows up to which pivots are eliminated one by one at all sites at once. Empirical: speed only.
_SMALL = 12


def with_ends(sites: SiteMatrices, energy: np.ndarray, log_lambda: complex) -> tuple[np.ndarray, np.ndarray]:
    """P and Q of (20) from ``energy`` (2, K, T, T), with the entries of y_0 and x_L."""
    P = np.eye(sites.gamma.shape[2], dtype=complex)
    Q = np.eye(sites.gamma.shape[1], dtype=complex) * np.exp(sites.log_mean - log_lambda)
    for block, p, q in zip(sites.blocks(), *energy, strict=True):
        P[block, block], Q[block, block] = p, q
    return P, Q


def _h(gamma: np.ndarray, P: np.ndarray) -> np.ndarray:
    """gamma P gamma^T for complex symmetric P, by real products of both parts of P side by side."""
    n, rows, columns = gamma.shape
    left = (gamma.reshape(n * rows, columns) @ P.view(float)).view(complex).reshape(n, rows, columns)
    return np.matmul(gamma, np.ascontiguousarray(np.swapaxes(left, 1, 2)).view(float)).view(complex)


def overlaps(sites: SiteMatrices, energy: np.ndarray, log_lambda: complex) -> np.ndarray:
    """g and k of (20), (2, K, T, T)."""
    P, Q = with_ends(sites, energy, log_lambda)
    rows, columns = sites.gamma.shape[1:]

    def part(gamma: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = len(gamma)
        h = _h(gamma, P)
        transposed = np.eye(rows) - (h.reshape(n * rows, rows) @ Q).reshape(n, rows, rows)
        R = np.linalg.inv(np.swapaxes(transposed, 1, 2)) * weights[:, None, None]
        R = R.reshape(n * rows, rows)
        g = h.reshape(n * rows, rows).T @ R  # h is symmetric
        right = (R @ Q).reshape(n, rows, rows)  # R Q, symmetric as well
        left = np.matmul(np.swapaxes(gamma, 1, 2), right.view(float)).view(complex)
        turned = np.ascontiguousarray(np.swapaxes(left, 1, 2)).reshape(n * rows, columns)
        return g, (gamma.reshape(n * rows, columns).T @ turned.view(float)).view(complex)

    parts = sites.over_sites(part)
    both = [np.sum([one[i] for one in parts], axis=0) for i in range(2)]
    found = np.array([[matrix[block, block] for block in sites.blocks()] for matrix in both])
    return 0.5 * (found + np.swapaxes(found, -1, -2))


def image(sites: SiteMatrices, energy: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The self-energies that g and k ask for: the right-hand side of (15)."""
    sigma2 = np.array(sites.sigma2)[:, None, None]
    new = sigma2 * found
    haar = np.flatnonzero(sites.orthogonal)
    if haar.size:
        one = np.eye(sites.steps)
        new[:, haar] = np.linalg.solve(one + found[:, haar] @ energy[::-1, haar], new[:, haar])
    return 0.5 * (new + np.swapaxes(new, -1, -2))


def gradient(sites: SiteMatrices, energy: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Gradient of (21) by P and Q, (2, K, T, T): a change d of them changes Psi by tr(gradient d)."""
    own = energy[::-1] / np.array(sites.sigma2)[:, None, None]
    haar = np.flatnonzero(sites.orthogonal)
    if haar.size:
        own[:, haar] = np.linalg.solve(np.eye(sites.steps) - own[:, haar] @ energy[:, haar], own[:, haar])
    return own - found[::-1]


class Values(NamedTuple):
    """``upper`` = P(s^2 > lambda); ``density`` of u = log s; ``site_log`` = Im log det per site/(pi s_L)."""

    upper: float
    density: float
    site_log: np.ndarray


def distribution_and_density(sites: SiteMatrices, energy: np.ndarray, log_lambda: complex) -> Values:
    """F and the density at self-energies that may solve (15) on some of the sites."""
    log_det, m = log_determinant(sites, energy, log_lambda)
    norm = np.pi * sites.s_out
    psi = complex(sites.weights @ log_det) + weight_value(sites, energy)
    return Values(psi.imag / norm, -2.0 / np.pi * m.imag, np.imag(log_det) / norm)


def weight_value(sites: SiteMatrices, energy: np.ndarray) -> complex:
    """sum_k C_k of (21), on the branch that is 0 at P = 0."""
    total = 0j
    for p, q, variance, haar in zip(*energy, sites.sigma2, sites.orthogonal, strict=True):
        z = np.linalg.eigvals(p @ q / variance)
        total += complex(-np.log(1.0 - z).sum() if haar else z.sum())
    return total


def log_determinant(
    sites: SiteMatrices, energy: np.ndarray, log_lambda: complex
) -> tuple[np.ndarray, complex]:
    """log det(1 - Q h) (n,) on the branch that is 0 at Q = 0, and m = E[s^2/(lambda - s^2)].

    It is log det Q + log det(Q^{-1} - h). Im Q < 0 and Im(Q^{-1} - h) > 0: the eigenvalues of Q lie in the
    lower half plane, the pivots of the other without exchanges in the upper one. The Schur complement at
    x_L is the inverse of the block of (Q^{-1} - h)^{-1} there, which gives m.
    """
    P, Q = with_ends(sites, energy, log_lambda)
    Q = Q - 1j * _SHIFT * np.diag(np.abs(np.diagonal(Q)))
    eigen = np.linalg.eigvals(Q)
    base = np.log(eigen.real - 1j * np.maximum(-eigen.imag, REAL_AXIS * np.abs(eigen))).sum()
    inverse = np.linalg.inv(Q)

    def part(gamma: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, complex]:
        inner, last = _split(inverse - _h(gamma, P), sites.ports)
        trace = np.trace(np.linalg.inv(last), axis1=1, axis2=2)
        return base + _log_pivots(inner) + _log_pivots(last), complex(weights @ trace)

    parts = sites.over_sites(part)
    m = sum(one[1] for one in parts) * np.exp(log_lambda - sites.log_mean) / sites.s_out - 1.0
    return np.concatenate([one[0] for one in parts]), m


def _split(matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First ``size`` rows and columns of symmetric matrices (n, rows, rows), and the Schur complement."""
    first, side = matrix[:, :size, :size], matrix[:, :size, size:]
    return first, matrix[:, size:, size:] - np.swapaxes(side, 1, 2) @ np.linalg.solve(first, side)


def _log_pivots(matrix: np.ndarray) -> np.ndarray:
    """Sum of the logarithms of the pivots of symmetric matrices (n, rows, rows) of positive imaginary part.

    Schur complements have a positive imaginary part as well, so all pivots lie in the upper half plane.
    """
    size = matrix.shape[1]
    if size > _SMALL:
        first, rest = _split(matrix, size // 2)
        return _log_pivots(first) + _log_pivots(rest)
    matrix = np.moveaxis(matrix, 0, -1).copy()
    total = np.zeros(matrix.shape[2], dtype=complex)
    for i in range(size):
        pivot = matrix[i, i]
        total += np.log(pivot.real + 1j * np.maximum(pivot.imag, REAL_AXIS * np.abs(pivot)))
        row = matrix[i, i + 1 :]
        matrix[i + 1 :, i + 1 :] -= (row / pivot)[:, None] * row[None]
    return total
