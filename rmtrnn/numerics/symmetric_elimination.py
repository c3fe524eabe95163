"""Elimination of many complex symmetric matrices with Im A > 0, without exchanges of rows.

Schur complements of such matrices have a positive imaginary part as well, so all pivots lie in the upper half
plane: none is 0, and the sum of their principal logarithms is the branch of log det A that starts at i x 1.
Of real matrices it is the branch from above.
Halves are eliminated by matrix products, small blocks entry by entry at all matrices at once, so that NumPy
and CuPy run the same lines.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rmtrnn._core.arrays import namespace

# Rows up to which pivots are eliminated one by one. Empirical: speed only.
_SMALL = 12


class Eliminated(NamedTuple):
    """Sum of the logarithms of the pivots (n,), and the inverse of the last Schur complement (n, s, s)."""

    log_det: Any
    last: Any


def eliminate(matrix: Any, last: int = 1) -> Eliminated:
    """Eliminate symmetric matrices (n, r, r), up to a Schur complement of ``last`` rows.

    Its inverse is the last block of the inverse of the matrix.
    """
    size = matrix.shape[1]
    if size <= max(_SMALL, last):
        inverse, log_det = _swept(matrix)
        return Eliminated(log_det, inverse[:, size - last :, size - last :])
    half = min(size // 2, size - last)
    log_det, _, rest = _halved(matrix, half)
    found = eliminate(rest, last)
    return Eliminated(log_det + found.log_det, found.last)


def symmetric_inverse(matrix: Any) -> tuple[Any, Any]:
    """Inverse of symmetric matrices (n, r, r), and the sum of the logarithms of their pivots (n,)."""
    size = matrix.shape[1]
    if size <= _SMALL:
        return _swept(matrix)
    xp, half = namespace(matrix), size // 2
    log_first, (first, side), rest = _halved(matrix, half)
    last, log_last = symmetric_inverse(rest)
    right = side @ last
    inverse = xp.empty_like(matrix)
    inverse[:, :half, :half] = first + right @ xp.swapaxes(side, 1, 2)
    inverse[:, :half, half:] = -right
    inverse[:, half:, :half] = -xp.swapaxes(right, 1, 2)
    inverse[:, half:, half:] = last
    return inverse, log_first + log_last


def _halved(matrix: Any, half: int) -> tuple[Any, tuple[Any, Any], Any]:
    """log det A, (A^{-1}, A^{-1} B) and C - B^T A^{-1} B of [[A, B], [B^T, C]]."""
    xp = namespace(matrix)
    first, log_det = symmetric_inverse(matrix[:, :half, :half])
    right = matrix[:, :half, half:]
    side = first @ right
    return log_det, (first, side), matrix[:, half:, half:] - xp.swapaxes(right, 1, 2) @ side


def _swept(matrix: Any) -> tuple[Any, Any]:
    """Inverse and sum of the logarithms of the pivots, by one sweep for each row at all matrices at once."""
    xp = namespace(matrix)
    work = xp.moveaxis(matrix, 0, -1).copy()
    log_det = xp.zeros(matrix.shape[0], dtype=complex)
    for i in range(matrix.shape[1]):
        pivot = work[i, i].copy()
        log_det += xp.log(pivot.real + 1j * (xp.maximum(pivot.imag, 0.0) + 0.0))  # not -0.0
        row = work[i].copy()
        scaled = row / pivot
        work -= scaled[:, None] * row
        work[i] = scaled
        work[:, i] = scaled
        work[i, i] = -1.0 / pivot
    return xp.ascontiguousarray(xp.moveaxis(-work, -1, 0)), log_det
