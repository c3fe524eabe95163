"""Dense factorisations on NumPy (LAPACK, in place) or CuPy (cuSOLVER), as the long product needs them.

Arrays on the host are kept in Fortran order, so that LAPACK works in the memory it is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import blas as _blas
from scipy.linalg import lapack as _lapack

from rmtrnn._core import arrays as _arrays

# SciPy makes these names at import, so type checkers do not know them.
blas: Any = _blas
lapack: Any = _lapack


@dataclass(frozen=True)
class BlockSizes:
    """Sides of blocks, in rows. Empirical, for speed alone: no value depends on them beyond rounding.

    tile : of a copy in the other order of memory. gather : of a copy with permuted columns.
    panel : of LAPACK's workspace. leaf : triangular matrices up to this size are multiplied whole.
    """

    tile: int = 64
    gather: int = 32
    panel: int = 64
    leaf: int = 128


BLOCKS = BlockSizes()


class Workspace:
    """Arrays to write into: a long product allocates only its first few (new pages cost the host 5 %)."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self._kept: dict[Any, list[Any]] = {}

    def take(self, shape: tuple[int, ...], dtype: Any = np.float64) -> Any:
        """An array with any contents, in Fortran order on the host."""
        kept = self._kept.get((shape, np.dtype(dtype)))
        if kept:
            return kept.pop()
        return self._xp.empty(shape, dtype=dtype, order="F" if self._xp is np else "C")

    def give(self, array: Any) -> None:
        """Leave an array that nothing else refers to."""
        if self._xp is not np or array.flags.f_contiguous:
            self._kept.setdefault((array.shape, array.dtype), []).append(array)


class UnitLower:
    """X = P L of a factorisation Y = P L U: L unit lower triangular, below the diagonal of ``lu``."""

    def __init__(self, lu: Any, pivots: Any, xp: Any) -> None:
        self.lu, self._xp = lu, xp
        self.rows = _permutation(_arrays.to_host(pivots))  # (P L)[rows] = L

    def dense(self) -> Any:
        lower = self._xp.tril(self.lu, -1)
        lower[self._xp.arange(len(lower)), self._xp.arange(len(lower))] = 1.0
        out = self._xp.empty_like(lower)
        out[self._xp.asarray(self.rows)] = lower
        return out

    def lower_transposed(self) -> Any:
        """Lᵀ; rows in another order do not matter to singular values."""
        upper = upper_triangle(self.lu.T)
        upper[self._xp.arange(len(upper)), self._xp.arange(len(upper))] = 1.0
        return upper

    def multiplied(self, factor: Any, workspace: Workspace) -> Any:
        """factor · X; on the host half the work of a product of full matrices."""
        if self._xp is not np or factor.dtype != np.float64 or factor.shape[0] != factor.shape[1]:
            return product(factor, self.dense().astype(factor.dtype, copy=False), workspace)
        gathered = workspace.take(factor.shape)
        for start in range(0, len(factor), BLOCKS.gather):
            gathered.T[:, start : start + BLOCKS.gather] = factor[start : start + BLOCKS.gather].T[self.rows]
        return blas.dtrmm(1.0, self.lu, gathered, side=1, lower=1, diag=1, overwrite_b=1)

    def transposed(self, values: Any) -> Any:
        """Xᵀ values."""
        values = values[self._xp.asarray(self.rows)]
        if self._xp is np:
            return blas.dtrmm(1.0, self.lu, values, lower=1, diag=1, trans_a=1)
        return self._xp.tril(self.lu, -1).T @ values + values

    def coordinates(self, values: Any) -> Any:
        """X⁻¹ values."""
        return self.solve_lower(values[self._xp.asarray(self.rows)])

    def solve_lower(self, values: Any) -> Any:
        """L⁻¹ values."""
        return _solve_triangular(self.lu, values, self._xp, lower=True, unit_diagonal=True)

    def annihilator(self, k: int) -> Any:
        """Z, k columns, with Zᵀ X = (0  L_bb), L_bb the last k × k block of L."""
        xp = self._xp
        values = xp.zeros((len(self.lu), k))
        values[-k:] = xp.triu(self.lu[-k:, -k:].T, 1) + xp.eye(k)
        values = _solve_triangular(self.lu, values, xp, transposed=True, lower=True, unit_diagonal=True)
        out = xp.empty_like(values)
        out[xp.asarray(self.rows)] = values
        return out

    def with_last_block(self, left: np.ndarray, rows: np.ndarray) -> UnitLower:
        """P L with another last block: ``left`` holds L_bb below its diagonal, rows as in ``rows``."""
        k = len(rows)
        self.lu[-k:, :-k] = self.lu[-k:, :-k][self._xp.asarray(rows)]
        self.lu[-k:, -k:] = self._xp.asarray(left)
        self.rows[-k:] = self.rows[-k:][rows]
        return self


class Orthogonal:
    """X = Q of Y = Q R as LAPACK leaves it (reflectors below R), rows of Y taken in the order ``rows``."""

    def __init__(self, reflectors: Any, tau: Any, rows: Any) -> None:
        self._reflectors, self._tau, self._rows = reflectors, tau, rows
        self._corner: np.ndarray | None = None

    def dense(self) -> Any:
        n = len(self._tau)
        q = lapack.dorgqr(self._reflectors, self._tau, lwork=BLOCKS.panel * n)[0]
        if self._corner is not None:
            q[:, -len(self._corner) :] @= self._corner
        out = np.empty_like(q)
        out[self._rows] = q
        return out

    def multiplied(self, factor: Any, workspace: Workspace) -> Any:
        return product(factor, self.dense().astype(factor.dtype, copy=False), workspace)

    def transposed(self, values: Any) -> Any:
        """Xᵀ values."""
        rotated = self.coordinates(values)
        if self._corner is not None:
            k = len(self._corner)
            rotated[-k:] = self._corner.T @ rotated[-k:]
        return rotated

    def coordinates(self, values: Any) -> Any:
        """X⁻¹ values, of X as it was made."""
        return lapack.dormqr("L", "T", self._reflectors, self._tau, values[self._rows], BLOCKS.panel * 8)[0]

    def annihilator(self, k: int) -> Any:
        """The last k columns of X."""
        n = len(self._tau)
        columns = np.eye(n, k, k - n, order="F")
        rotated = lapack.dormqr("L", "N", self._reflectors, self._tau, columns, BLOCKS.panel * 8)[0]
        out = np.empty_like(rotated)
        out[self._rows] = rotated
        return out

    def with_last_block(self, left: np.ndarray, rows: None) -> Orthogonal:
        """Q with its last columns times ``left``."""
        self._corner = left
        return self


class Dense:
    """X as an array with orthonormal columns."""

    def __init__(self, array: Any, xp: Any = np) -> None:
        self._array, self._xp = array, xp

    def dense(self) -> Any:
        return self._array

    def multiplied(self, factor: Any, workspace: Workspace) -> Any:
        return product(factor, self._array.astype(factor.dtype, copy=False), workspace)

    def transposed(self, values: Any) -> Any:
        """Xᵀ values."""
        return self._array.T @ values

    def coordinates(self, values: Any) -> Any:
        """X⁻¹ values."""
        return self.transposed(values)

    def annihilator(self, k: int) -> Any:
        """The last k columns of X."""
        return self._array[:, -k:]

    def with_last_block(self, left: np.ndarray, rows: None) -> Dense:
        """Q with its last columns times ``left``."""
        k = len(left)
        self._array[:, -k:] = self._array[:, -k:] @ self._xp.asarray(left)
        return self


def fortran(matrix: Any, *, copy: bool = False) -> Any:
    """The matrix in Fortran order, a copy where it was not or ``copy``; on a device as it is.

    Tile by tile, since a plain transposed copy thrashes the cache.
    """
    if _arrays.namespace(matrix) is not np:
        return matrix.copy() if copy else matrix
    if matrix.flags.f_contiguous:
        return matrix.copy(order="F") if copy else matrix
    out = np.empty(matrix.shape, order="F")
    for i in range(0, matrix.shape[0], BLOCKS.tile):
        for j in range(0, matrix.shape[1], BLOCKS.tile):
            out[i : i + BLOCKS.tile, j : j + BLOCKS.tile] = matrix[i : i + BLOCKS.tile, j : j + BLOCKS.tile]
    return out


def upper_triangle(matrix: Any) -> Any:
    """triu(matrix), a copy, in Fortran order on the host."""
    xp = _arrays.namespace(matrix)
    if xp is not np:
        return xp.triu(matrix)
    out = np.zeros(matrix.shape, order="F")
    for i in range(0, len(matrix), BLOCKS.tile):
        out[i : i + BLOCKS.tile, i : i + BLOCKS.tile] = np.triu(
            matrix[i : i + BLOCKS.tile, i : i + BLOCKS.tile]
        )
        for j in range(i + BLOCKS.tile, matrix.shape[1], BLOCKS.tile):
            out[i : i + BLOCKS.tile, j : j + BLOCKS.tile] = matrix[i : i + BLOCKS.tile, j : j + BLOCKS.tile]
    return out


def product(matrix: Any, y: Any, workspace: Workspace | None = None) -> Any:
    """matrix · y, in Fortran order on the host: half as long again otherwise for y of few columns."""
    xp = _arrays.namespace(y)
    out = (workspace or Workspace(xp)).take((len(matrix), y.shape[1]), xp.result_type(matrix, y))
    return xp.matmul(matrix, y, out=out)


def cholesky(gram: Any, xp: Any) -> Any:
    """R, upper triangular, with Rᵀ R = gram; entries nan where gram is not positive definite."""
    if xp is not np:
        with _arrays.strict_linear_algebra("cuda"):
            try:
                return xp.linalg.cholesky(gram).T
            except np.linalg.LinAlgError:
                return xp.full(gram.shape, math.nan)
    r, info = lapack.dpotrf(gram, lower=0, clean=1)
    return r if info == 0 else np.full_like(r, math.nan)


def times_inverse(columns: Any, upper: Any, xp: Any) -> Any:
    """columns · triu(upper)⁻¹."""
    if xp is np:
        return blas.dtrsm(1.0, upper, columns, side=1)
    return _solve_triangular(upper, columns.T, xp, transposed=True).T


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
        reflectors, tau, _, _ = lapack.dgeqrf(fortran(y[rows]), lwork=BLOCKS.panel * len(y), overwrite_a=1)
        return Orthogonal(reflectors, tau, rows), reflectors
    q, r = xp.linalg.qr(y[rows])
    out = xp.empty_like(q)
    out[rows] = q
    return Dense(out, xp), r


def solve_upper(upper: Any, values: Any, xp: Any, size: int | None = None) -> Any:
    """triu(upper)⁻¹ values; with ``size`` for the upper left block of that size, zeros below."""
    if size is not None and size < len(values):
        values = values.copy()  # cheaper than the block as a matrix of its own
        values[size:] = 0.0
    return _solve_triangular(upper, values, xp)


def _solve_triangular(
    matrix: Any,
    values: Any,
    xp: Any,
    *,
    lower: bool = False,
    transposed: bool = False,
    unit_diagonal: bool = False,
) -> Any:
    """matrix⁻¹ values, or (matrixᵀ)⁻¹ values; only the named triangle of the matrix is read."""
    trans = int(transposed)
    if xp is np:
        return lapack.dtrtrs(matrix, values, lower=int(lower), trans=trans, unitdiag=int(unit_diagonal))[0]
    from cupyx.scipy.linalg import solve_triangular

    return solve_triangular(
        matrix, values, trans=trans, lower=lower, unit_diagonal=unit_diagonal, check_finite=False
    )


def r_factor(y: Any, xp: Any) -> Any:
    """R of Y = Q R in the upper triangle; below it anything. Y may be overwritten."""
    if xp is not np:
        return xp.linalg.qr(y, mode="r")
    if y.size == 0:  # LAPACK prints a message for an array without rows
        return np.empty((min(y.shape), y.shape[1]))
    y = fortran(y)
    return lapack.dgeqrf(y, lwork=BLOCKS.panel * y.shape[1], overwrite_a=1)[0][: min(y.shape)]


def upper_times(upper: Any, t: Any, workspace: Workspace, *, triangular: bool) -> Any:
    """triu(upper) · T; T may be overwritten. ``triangular``: T is upper triangular too; saves a third."""
    if _arrays.namespace(t) is not np:
        out = product(_arrays.namespace(t).triu(upper), t, workspace)
    elif not triangular:
        return blas.dtrmm(1.0, upper, fortran(t), overwrite_b=1)
    else:
        out = workspace.take(t.shape)
        _triangular_product(upper, t, out)
    workspace.give(t)
    return out


def _triangular_product(a: Any, b: Any, out: Any) -> None:
    """triu(a) · triu(b) into the upper triangle of ``out``, by halves."""
    if len(a) <= BLOCKS.leaf:
        block = blas.dtrmm(1.0, a, b)
        np.copyto(out, block)
        return
    h = len(a) // 2
    out[h:, :h] = 0.0
    _triangular_product(a[:h, :h], b[:h, :h], out[:h, :h])
    _triangular_product(a[h:, h:], b[h:, h:], out[h:, h:])
    corner = blas.dtrmm(1.0, a[:h, :h], b[:h, h:])
    corner += blas.dtrmm(1.0, b[h:, h:], a[:h, h:], side=1)
    out[:h, h:] = corner


def eigenvalues_of_gram(m: Any) -> np.ndarray:
    """Eigenvalues of M Mᵀ on the host, ascending; M upper triangular, its rows graded from large to small.

    Householder tridiagonalisation from the large end keeps the grading, and the eigenvalues of the positive
    definite tridiagonal matrix are found by dqds to high relative accuracy (LAPACK's dpteqr). Negative
    or missing ones (nan) mean that M was too badly conditioned for its square.
    """
    gram = lapack.dlauum(fortran(m.T, copy=True), lower=1, overwrite_c=1)[0]
    _, diagonal, off_diagonal, _, _ = lapack.dsytrd(gram, lower=1, lwork=BLOCKS.panel * len(m), overwrite_a=1)
    values, _, _, info = lapack.dpteqr(diagonal, off_diagonal, np.zeros((1, 1)), compute_z=0)
    return values[::-1] if info == 0 else np.full(len(m), math.nan)


def _permutation(pivots: np.ndarray) -> np.ndarray:
    """Row interchanges of LAPACK as one index array: (P L)[rows] = L."""
    rows = list(range(len(pivots)))
    for i, j in enumerate(pivots.tolist()):
        rows[i], rows[j] = rows[j], rows[i]
    return np.array(rows)
