"""log det(1 - Z S) of small matrices at many sites, on the branch that is 0 at S = 0."""

from __future__ import annotations

import itertools

import numpy as np

_NEGLIGIBLE = 1e-12  # of the largest coefficient: a direction without self-energy
_REAL = 1e-13  # radians: how far from the real axis a logarithm is taken at least
_SAME = 1e-9  # relative: coefficients between which no determinant goes around 0
_PATHS = (2, 8, 32)  # steps along which a determinant is followed
_TURN = 0.5 * np.pi  # radians: no phase may change by more in one of them


def log_det_border(Z: np.ndarray, S: np.ndarray) -> np.ndarray:
    """log det(1 - Z S) (n,) on the branch that is 0 at S = 0, for Im S, Im Z <= 0.

    It is log det S + log det(S^{-1} - Z): the eigenvalues of S lie in the lower half plane, the pivots of the
    symmetric matrix S^{-1} - Z, without exchanges, in the upper one. What rounding has put on the other side
    of the real axis is put back.
    """
    size = float(np.abs(S).max(initial=0.0))
    if size == 0.0:
        return np.zeros(len(Z), dtype=complex)
    eigen = np.linalg.eigvals(S)
    eigen = np.where(np.abs(eigen) > _NEGLIGIBLE * size, eigen, -1j * _NEGLIGIBLE * size)
    base = np.log(np.real(eigen) - 1j * np.maximum(-np.imag(eigen), _REAL * np.abs(eigen))).sum()
    rest = np.ascontiguousarray(
        np.moveaxis(np.linalg.inv(S - 1j * _NEGLIGIBLE * size * np.eye(len(S))) - Z, 0, -1)
    )
    total = np.full(len(Z), base)
    for j in range(len(S)):
        pivot = rest[j, j]
        total += np.log(pivot.real + 1j * np.maximum(pivot.imag, _REAL * np.abs(pivot)))
        row = rest[j, j + 1 :]
        rest[j + 1 :, j + 1 :] -= (row / pivot)[:, None] * row[None]
    return total


def continued_log_det(Z: np.ndarray, S: np.ndarray, low: np.ndarray) -> np.ndarray:
    """log det(1 - Z S) (n,) followed from ``low``, where Im S <= 0, on a straight line.

    Between self-energies whose sums of both parts lie in the lower half plane no determinant vanishes.
    """
    total = log_det_border(Z, low)
    if np.abs(S - low).max(initial=0.0) <= _SAME * np.abs(S).max(initial=0.0):
        return total
    for steps in _PATHS:
        logs = [log_det_modulo(Z, low + (S - low) * s) for s in np.linspace(0.0, 1.0, steps + 1)]
        changes = [wrapped(after - before) for before, after in itertools.pairwise(logs)]
        if max(float(np.abs(np.imag(change)).max()) for change in changes) < _TURN:
            break
    return total + np.sum(changes, axis=0)


def log_det_modulo(Z: np.ndarray, S: np.ndarray) -> np.ndarray:
    """log det(1 - Z S) up to multiples of 2 pi i."""
    sign, size = np.linalg.slogdet(np.eye(len(S)) - Z @ S)
    return size + 1j * np.angle(sign)


def wrapped(change: np.ndarray) -> np.ndarray:
    """The same with the imaginary part between -pi and pi."""
    return change - 2j * np.pi * np.round(np.imag(change) / (2.0 * np.pi))
