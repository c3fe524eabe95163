"""Elimination of many complex symmetric matrices with Im A > 0, without exchanges of rows.

Schur complements of such matrices have a positive imaginary part as well, so all pivots lie in the upper half
plane: none is 0, and the sum of their principal logarithms is the branch of log det A that starts at i x 1.
Of real matrices it is the branch from above. Halves are eliminated by a solution with exchanges, which keeps
the signs of small imaginary parts; small blocks row by row, at all matrices at once. NumPy and CuPy run the
same lines.
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
    half = min(size // 2, size - last)
    if size <= _SMALL or half == 0:
        return _row_by_row(matrix, last)
    xp = namespace(matrix)
    first, side = matrix[:, :half, :half], matrix[:, :half, half:]
    rest = matrix[:, half:, half:] - xp.swapaxes(side, 1, 2) @ xp.linalg.solve(first, side)
    log_first, found = eliminate(first).log_det, eliminate(rest, last)
    return Eliminated(log_first + found.log_det, found.last)


def _row_by_row(matrix: Any, last: int) -> Eliminated:
    """The same, one pivot after the other at all matrices at once."""
    xp, size = namespace(matrix), matrix.shape[1]
    work = xp.moveaxis(matrix, 0, -1).copy()
    log_det = xp.zeros(matrix.shape[0], dtype=complex)
    rest = work
    for i in range(size):
        if i == size - last:
            rest = xp.moveaxis(work[i:, i:], -1, 0).copy()
        pivot = work[i, i]
        log_det += xp.log(pivot.real + 1j * (xp.maximum(pivot.imag, 0.0) + 0.0))  # not -0.0
        row = work[i, i + 1 :]
        work[i + 1 :, i + 1 :] -= (row / pivot)[:, None] * row
    return Eliminated(log_det, xp.linalg.inv(rest))
