"""Dense factorisations on NumPy (LAPACK, in place) or CuPy (cuSOLVER), as the long product needs them.

Arrays on the host are kept in Fortran order, so that LAPACK works in the memory it is given.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.linalg import blas as _blas
from scipy.linalg import lapack as _lapack

from rmtrnn import _array

# SciPy makes these names at import, so type checkers do not know them.
blas: Any = _blas
lapack: Any = _lapack
# Side of the tiles of a transposed copy, LAPACK's panels, parts of a product of triangular matrices.
TILE, PANEL, CHUNKS = 64, 64, 4


class UnitLower:
    """X = P L of a factorisation Y = P L U: L unit lower triangular, below the diagonal of ``lu``."""

    def __init__(self, lu: Any, pivots: Any, xp: Any) -> None:
        self.lu, self.pivots, self._xp = lu, pivots, xp
        self.rows = _permutation(_array.to_host(pivots))

    def dense(self) -> Any:
        lower = self._xp.tril(self.lu, -1)
        lower[self._xp.arange(len(lower)), self._xp.arange(len(lower))] = 1.0
        out = self._xp.empty_like(lower)
        out[self._xp.asarray(self.rows)] = lower
        return out

    def multiplied(self, factor: Any) -> Any:
        """factor · X; on the host half the work of a product of full matrices."""
        if self._xp is not np or factor.dtype != np.float64 or factor.shape[0] != factor.shape[1]:
            return factor @ self.dense().astype(factor.dtype, copy=False)
        gathered = fortran(np.take(factor, self.rows, axis=1))
        return blas.dtrmm(1.0, self.lu, gathered, side=1, lower=1, diag=1, overwrite_b=1)

    def solve(self, values: Any) -> Any:
        """U⁻¹ (P L)⁻¹ values."""
        if self._xp is np:
            return lapack.dgetrs(self.lu, self.pivots, values)[0]
        from cupyx.scipy.linalg import lu_solve

        return lu_solve((self.lu, self.pivots), values)

    def solve_lower(self, values: Any) -> Any:
        """L⁻¹ values."""
        if self._xp is np:
            return lapack.dtrtrs(self.lu, values, lower=1, unitdiag=1)[0]
        from cupyx.scipy.linalg import solve_triangular

        return solve_triangular(self.lu, values, lower=True, unit_diagonal=True, check_finite=False)


class Orthogonal:
    """X = Q of Y = Q R as LAPACK leaves it (reflectors below R), rows of Y taken in the order ``rows``."""

    def __init__(self, reflectors: Any, tau: Any, rows: Any) -> None:
        self._reflectors, self._tau, self._rows = reflectors, tau, rows

    def dense(self) -> Any:
        n = len(self._tau)
        q = lapack.dorgqr(self._reflectors, self._tau, lwork=PANEL * n)[0]
        out = np.empty_like(q)
        out[self._rows] = q
        return out

    def multiplied(self, factor: Any) -> Any:
        return factor @ self.dense().astype(factor.dtype, copy=False)

    def solve(self, values: Any) -> Any:
        """R⁻¹ Qᵀ values."""
        rotated = lapack.dormqr("L", "T", self._reflectors, self._tau, values[self._rows], PANEL * 8)[0]
        return lapack.dtrtrs(self._reflectors, rotated)[0]


class Dense:
    """X as an array with orthonormal columns."""

    def __init__(self, array: Any, r: Any = None, xp: Any = np) -> None:
        self._array, self._r, self._xp = array, r, xp

    def dense(self) -> Any:
        return self._array

    def multiplied(self, factor: Any) -> Any:
        return factor @ self._array.astype(factor.dtype, copy=False)

    def solve(self, values: Any) -> Any:
        """R⁻¹ Qᵀ values."""
        return solve_upper(self._r, self._array.T @ values, self._xp)


def fortran(matrix: Any, *, copy: bool = False) -> Any:
    """The matrix in Fortran order, a copy where it was not or ``copy``; on a device as it is.

    Tile by tile, since a plain transposed copy thrashes the cache.
    """
    if _array.namespace(matrix) is not np:
        return matrix.copy() if copy else matrix
    if matrix.flags.f_contiguous:
        return matrix.copy(order="F") if copy else matrix
    out = np.empty(matrix.shape, order="F")
    for i in range(0, matrix.shape[0], TILE):
        for j in range(0, matrix.shape[1], TILE):
            out[i : i + TILE, j : j + TILE] = matrix[i : i + TILE, j : j + TILE]
    return out


def lu(y: Any, xp: Any) -> tuple[UnitLower, Any] | None:
    """Y = X U with X = P L, rows pivoted; Y is overwritten on the host. None if a pivot is exactly zero."""
    if xp is np:
        factored, pivots, _ = lapack.dgetrf(y, overwrite_a=1)
    else:
        from cupyx.scipy.linalg import lu_factor

        factored, pivots = lu_factor(y, overwrite_a=True, check_finite=False)
    if not bool(xp.all(xp.diagonal(factored) != 0.0)):
        return None
    return UnitLower(factored, pivots, xp), factored


def qr(y: Any, row_sizes: Any, xp: Any) -> tuple[Orthogonal | Dense, Any]:
    """Y = X R with X = Q orthogonal, large rows first, so that small rows keep their own digits."""
    rows = xp.argsort(-xp.asarray(row_sizes))
    if xp is np:
        reflectors, tau, _, _ = lapack.dgeqrf(fortran(y[rows]), lwork=PANEL * len(y), overwrite_a=1)
        return Orthogonal(reflectors, tau, rows), reflectors
    q, r = xp.linalg.qr(y[rows])
    out = xp.empty_like(q)
    out[rows] = q
    return Dense(out, r, xp), r


def solve_upper(upper: Any, values: Any, xp: Any) -> Any:
    """triu(upper)⁻¹ values."""
    if xp is np:
        return lapack.dtrtrs(upper, values)[0]
    from cupyx.scipy.linalg import solve_triangular

    return solve_triangular(upper, values, check_finite=False)


def r_factor(y: Any, xp: Any) -> Any:
    """R of Y = Q R in the upper triangle; below it anything. Y may be overwritten."""
    if xp is not np:
        return xp.linalg.qr(y, mode="r")
    y = fortran(y)
    return lapack.dgeqrf(y, lwork=PANEL * y.shape[1], overwrite_a=1)[0][: min(y.shape)]


def upper_times(upper: Any, t: Any, xp: Any, *, triangular: bool) -> Any:
    """triu(upper) · T; T may be overwritten. ``triangular``: T is upper triangular too; saves a third."""
    if xp is not np:
        return xp.triu(upper) @ t
    if not triangular:
        return blas.dtrmm(1.0, upper, fortran(t), overwrite_b=1)
    width = -(-len(t) // CHUNKS)
    for start in range(0, len(t), width):
        stop = min(start + width, len(t))
        t[:stop, start:stop] = blas.dtrmm(1.0, upper[:stop, :stop], t[:stop, start:stop])
    return t


def eigenvalues_of_gram(m: Any) -> np.ndarray:
    """Eigenvalues of M Mᵀ on the host, ascending; rows of M graded from large to small.

    Householder tridiagonalisation from the large end keeps the grading, and the eigenvalues of the positive
    definite tridiagonal matrix are found by dqds to high relative accuracy (LAPACK's dpteqr). Negative
    or missing ones (nan) mean that M was too badly conditioned for its square.
    """
    gram = blas.dsyrk(1.0, m, lower=1)
    _, diagonal, off_diagonal, _, _ = lapack.dsytrd(gram, lower=1, lwork=PANEL * len(m), overwrite_a=1)
    values, _, _, info = lapack.dpteqr(diagonal, off_diagonal, np.zeros((1, 1)), compute_z=0)
    return values[::-1] if info == 0 else np.full(len(m), math.nan)


def _permutation(pivots: np.ndarray) -> np.ndarray:
    """Row interchanges of LAPACK as one index array: (P L)[rows] = L."""
    rows = list(range(len(pivots)))
    for i, j in enumerate(pivots.tolist()):
        rows[i], rows[j] = rows[j], rows[i]
    return np.array(rows)
