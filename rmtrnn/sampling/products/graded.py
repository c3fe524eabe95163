"""Graded matrices diag(2^d) T: triangular products, factorisations, and all their log singular values.

T is well conditioned with rows of comparable size, the integers d hold the dynamic range. LAPACK's methods
keep the digits of every row of such a matrix, provided its rows come from large to small:

- Householder QR of the transpose, R again graded (QLP, Stewart 1999), shrinks the couplings between rows by
  the square of the ratio of their scales;
- one-sided Jacobi rotations (gejsv; Drmač and Veselić 2008) give all singular values within the range of
  doubles to high relative accuracy, but take ten times as long as a bidiagonalisation;
- Householder tridiagonalisation of M Mᵀ from the large end, then dqds, is as accurate where T is well
  conditioned, and faster than a bidiagonalisation. The sum of the logs, which is log |det|, tells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core import arrays as _arrays
from rmtrnn._core.status import ConvergenceError
from rmtrnn.sampling.products import dense
from rmtrnn.sampling.products.accuracy import UNIT, largest_norm, signs

LOG_2 = math.log(2.0)


@dataclass(frozen=True)
class GradedSettings:
    """Numbers of the method. Ranges are powers of two, log2 of the ratio of the largest 2^d to the smallest.

    Derived from the range of doubles, 2^±1022:
    block_range : the squares within one Jacobi block stay in range, 2 · 560 < 2044, with room for T.
    window_range : the Gram matrix of a window, and sums of its entries' squares, 4 · 360 < 2044.
    direct_range : 2^d is applied to the rows of T as it stands, 900 < 1022 with room for T.

    Empirical, moved by ×3 and ÷3 in tests/sampling/products/test_product_settings.py:
    negligible : relative. A coupling between blocks below it changes every singular value by less.
    sweeps : most sweeps of QR before the method gives up.
    jacobi_size : rows. Smaller matrices go to one-sided Jacobi rotations whole; speed.
    window_sweeps : sweeps before a matrix is cut into windows.
    window_margin : log2. Values so near to the end of a window feel the rows left out.
    squared : share of the tolerance. T is squared where rounding errors times ‖T⁻¹‖² are below it.
    """

    block_range: int = 560
    window_range: int = 360
    direct_range: int = 900
    negligible: float = 1e-13
    sweeps: int = 200
    jacobi_size: int = 160
    window_sweeps: int = 3
    window_margin: float = 8.0
    squared: float = 0.1


SETTINGS = GradedSettings()


def scaled_product(
    upper: Any, t: Any, d: np.ndarray, workspace: dense.Workspace, *, triangular: bool
) -> tuple[Any, np.ndarray]:
    """Return T' and d' with diag(2^d') T' = triu(upper) · diag(2^d) T, rows of T' as in `row_scaled`.

    T is overwritten. ``t`` None is the identity; ``triangular``: T is upper triangular.
    """
    xp = _arrays.namespace(upper)
    smallest = float(np.log2(np.min(np.abs(_arrays.to_host(xp.diagonal(upper))))))
    if t is None:
        t, base = dense.upper_triangle(upper), np.zeros(len(upper), dtype=np.int64)
    elif np.ptp(d) - smallest <= SETTINGS.direct_range:
        base = np.full(len(d), d.max())
        t *= power_of_two(d - base, xp)[:, None]
        t = dense.upper_times(upper, t, workspace, triangular=triangular)
    else:
        base = d
        upper = conjugated(upper, d)
        t = dense.upper_times(dense.fortran(upper), t, workspace, triangular=triangular)
    return row_scaled(t, base)


def grading_violation(size: np.ndarray) -> float:
    """Return by how much an entry exceeds one before it, at most: 0 for entries that never grow."""
    return float(np.max(np.maximum.accumulate(size[::-1])[::-1] - size, initial=0.0))


def with_lower(upper: Any, t: Any, d: np.ndarray, workspace: dense.Workspace) -> tuple[Any, np.ndarray]:
    """Return T', upper triangular, and d' with the singular values of L diag(2^d) T, L = ``upper``ᵀ.

    (L diag(2^d) T)ᵀ = Q R diag(2^d) Lᵀ with Tᵀ = Q R, where the product of the last three is triangular as
    they are. The entries of d come nearly in decreasing order.
    """
    xp = _arrays.namespace(t)
    d, t = _scaled_upper(dense.r_factor(dense.fortran(t.T, copy=True), xp), d, xp)
    return row_scaled(dense.upper_times(t, upper, workspace, triangular=True), d)


def inverse_norm(t: Any, xp: Any) -> float:
    """Return ‖T⁻¹ r‖ for the worst of a few vectors r of signs; T upper triangular."""
    return largest_norm(_arrays.to_host(dense.solve_upper(t, xp.asarray(signs(len(t))), xp)))


def power_of_two(exponents: np.ndarray, xp: Any) -> Any:
    """Return 2^k, 0 or ∞ beyond doubles."""
    with np.errstate(over="ignore", under="ignore"):
        return xp.asarray(np.ldexp(1.0, np.clip(exponents, -2000, 2000)))


def conjugated(upper: Any, d: Any) -> Any:
    """Return diag(2^−d) triu(U) diag(2^d), for d that hardly grows along the diagonal; d may be longer."""
    xp = _arrays.namespace(upper)
    rows, columns = upper.shape[-2:]
    differences = xp.asarray(d[..., None, :columns] - d[..., :rows, None])
    with np.errstate(over="ignore", under="ignore"):
        return xp.ldexp(xp.triu(upper), xp.clip(xp.triu(differences), -2000, 2000))


def exponents(sizes: Any) -> Any:
    """Return k with sizes/2^k in [½, 1), as far as 2^k and 2^−k are doubles; 0 for 0."""
    xp = _arrays.namespace(sizes)
    return xp.clip(xp.frexp(sizes)[1], -1000, 1000)


def row_scaled(t: Any, d: Any) -> tuple[Any, Any]:
    """Return T' and d' with diag(2^d') T' = diag(2^d) T, rows of T' with largest entry in [½, 1).

    T is overwritten. d lies where T does, or on the host.
    """
    xp = _arrays.namespace(t)
    added = exponents(_arrays.largest(t, axis=t.ndim - 1))
    t *= xp.ldexp(1.0, -added)[..., None]
    return t, d + (added if _arrays.namespace(d) is xp else _arrays.to_host(added))


class GradedQR(NamedTuple):
    """y·diag(2^d_before) = Q·diag(2^d)·T·Π: Π takes the columns in ``order``; log2 of the range of R."""

    basis: Any
    d: np.ndarray
    t: Any
    order: np.ndarray
    log_range: float


def graded_qr(y: Any, d: np.ndarray, xp: Any) -> GradedQR:
    """Factor y·diag(2^d) = Q·diag(2^d')·T·Π for y of any shape.

    Columns go in decreasing size, and rows of y too, so that those of very different size keep their own
    digits. Rows of zeros are taken out before and put back after, and columns of zeros dropped, so that exact
    rank loss stays exact.
    """
    norms = _arrays.to_host(_arrays.largest(y, axis=0))
    with np.errstate(divide="ignore"):
        order = np.argsort(-(np.log2(norms) + d), kind="stable")
    order = order[norms[order] > 0.0]
    row_norms = _arrays.to_host(_arrays.largest(y, axis=1))
    rows = np.argsort(-row_norms, kind="stable")
    rows = rows[row_norms[rows] > 0.0]
    q_rows, r = xp.linalg.qr(y[xp.asarray(rows)][:, xp.asarray(order)])
    q = xp.zeros((y.shape[0], r.shape[0]))
    q[xp.asarray(rows)] = q_rows

    diagonal = np.abs(_arrays.to_host(xp.diagonal(r))) / norms[order][: len(r)]
    with np.errstate(divide="ignore"):
        log_range = max(-float(np.log2(diagonal.min())), 0.0) if len(diagonal) else 0.0
    d, t = _scaled_upper(r, d[order], xp)
    kept = np.flatnonzero(_arrays.to_host(xp.any(t != 0.0, axis=1)))
    kept_there = xp.asarray(kept)
    return GradedQR(q[:, kept_there], d[kept], t[kept_there], order, log_range)


def _scaled_upper(r: Any, d: np.ndarray, xp: Any) -> tuple[np.ndarray, Any]:
    """diag(2^d') T = triu(r) diag(2^d)."""
    base = d[: len(r)]
    if len(d) and np.ptp(d) <= SETTINGS.direct_range:
        t = dense.upper_triangle(r)
        t *= power_of_two(d - d.max(), xp)
        base = np.full(len(r), d.max())
    else:
        t = conjugated(r, d)
    t, d = row_scaled(t, base)
    return d, t


def _swept(t: Any, d: np.ndarray, xp: Any) -> tuple[np.ndarray, Any]:
    """d' and T', upper triangular, with the singular values of diag(2^d) T: R of the transpose."""
    sizes = _arrays.to_host(_arrays.largest(t, axis=1))
    with np.errstate(divide="ignore"):
        order = np.argsort(-(np.log2(sizes) + d), kind="stable")
    return _scaled_upper(dense.r_factor(t[xp.asarray(order)].T, xp), d[order], xp)


def graded_log_singular_values(
    t: Any, d: np.ndarray, xp: Any, *, triangular: bool, tolerance: float = 1e-10
) -> np.ndarray:
    """Return the log singular values of diag(2^d)·t, t of full row rank, unordered.

    Up to ``jacobi_size`` rows: sweeps of QR, until T falls into blocks whose ranges fit a double; gejsv does
    each block. Above: tridiagonalisation, checked by the determinant to ``tolerance``, of the whole, after a
    sweep if it must be, or of overlapping windows; if they fail, as for small ones.
    """
    large = len(d) > SETTINGS.jacobi_size
    if large and np.ptp(d) <= SETTINGS.window_range:
        if triangular:
            values = _squared(t, d, xp, tolerance)
            if values is not None:
                return values
        d, t = _swept(t, d, xp)
        values = _squared(t, d, xp, tolerance)
        if values is not None:
            return values
        d, t = _swept(t, d, xp)
    t = _arrays.to_host(t)
    for sweep in range(1, SETTINGS.sweeps + 1):
        d, t = _swept(t, d, np)
        if large and sweep == SETTINGS.window_sweeps:
            values = _windows(t, d, tolerance)
            if values is not None:
                return values
        blocks = _blocks(t, d) if sweep >= SETTINGS.window_sweeps or not large else None
        if blocks is not None:
            return np.concatenate([_jacobi(t[a:b, a:b], d[a:b]) for a, b in blocks] or [np.zeros(0)])
    raise ConvergenceError(
        f"log singular values: blocks did not decouple in {SETTINGS.sweeps} sweeps "
        f"(range 2^{np.ptp(d)}, {len(d)} values)"
    )


def _squared(t: Any, d: np.ndarray, xp: Any, tolerance: float) -> np.ndarray | None:
    """`_checked` where T is so well conditioned that its square will do; else None."""
    if not UNIT * inverse_norm(t, xp) ** 2 < SETTINGS.squared * tolerance:
        return None
    return _checked(t, d, xp, tolerance)


def _checked(t: Any, d: np.ndarray, xp: Any, tolerance: float) -> np.ndarray | None:
    """Log singular values, descending, of diag(2^d)·t, t upper triangular; None if Σ log s ≠ log |det|."""
    top = int(d.max())
    m = t * power_of_two(d - top, xp)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        if xp is np:
            values = 0.5 * np.log(dense.eigenvalues_of_gram(m)[::-1])
        else:
            values = np.log(_arrays.to_host(xp.linalg.svd(m, compute_uv=False)))
        determinant = np.log(np.abs(_arrays.to_host(xp.diagonal(t)))) + (d - top) * LOG_2
    allowed = tolerance + 8.0 * np.finfo(float).eps * np.abs(determinant).sum()
    if not abs(math.fsum(values) - math.fsum(determinant)) <= allowed:
        return None
    return values + top * LOG_2


def _windows(t: np.ndarray, d: np.ndarray, tolerance: float) -> np.ndarray | None:
    """Log singular values of diag(2^d)·t, upper triangular and swept, from overlapping windows.

    The window that starts at row a gives the values between its top less the margin and its end, where 2^d
    has fallen by ``window_range``, plus the margin: beyond, the rows left out still couple. None where a
    window fails its check, leaves a value uncovered, or meets the last one out of order.
    """
    n, margin = len(d), SETTINGS.window_margin * LOG_2
    scale = np.maximum.accumulate(d[::-1])[::-1]
    found: list[float] = []
    start, ceiling = 0, math.inf
    while len(found) < n:
        stop = int(np.searchsorted(-scale, SETTINGS.window_range - scale[start], side="right"))
        floor = -math.inf if stop == n else scale[stop - 1] * LOG_2 + margin
        values = _checked(t[start:stop, start:stop], d[start:stop], np, tolerance)
        if values is None:
            return None
        taken = values[len(found) - start :]
        taken = taken[taken >= floor]
        if not len(taken) or taken[0] > ceiling:
            return None
        found.extend(taken)
        ceiling = found[-1]
        if len(found) < n:
            start = min(int(np.searchsorted(-scale, -(ceiling + margin) / LOG_2)), len(found))
    return np.array(found)


def _blocks(t: np.ndarray, d: np.ndarray) -> list[tuple[int, int]] | None:
    """Ranges [a, b) of upper triangular T with negligible couplings between them, or None if too wide."""
    n = len(d)
    if n == 0 or np.ptp(d) <= SETTINGS.block_range:
        return [(0, n)] if n else []
    with np.errstate(divide="ignore", invalid="ignore"):  # a row of zeros couples to nothing
        coupling = np.triu(np.where(t == 0.0, 0.0, np.abs(t) / np.abs(np.diagonal(t))[:, None]), 1)
    corner = np.maximum.accumulate(coupling, axis=0)
    corner = np.maximum.accumulate(corner[:, ::-1], axis=1)[:, ::-1]
    splits = [k for k in range(1, n) if corner[k - 1, k] <= SETTINGS.negligible] + [n]
    blocks, start = [], 0
    for position, split in enumerate(splits):
        last = position + 1 == len(splits)
        if last or np.ptp(d[start : splits[position + 1]]) > SETTINGS.block_range:
            if np.ptp(d[start:split]) > SETTINGS.block_range:
                return None
            blocks.append((start, split))
            start = split
    return blocks


def _jacobi(t: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Log singular values of diag(2^d)·t, range within a double, by LAPACK's dgejsv."""
    from scipy.linalg import lapack

    middle = int(d.max() + d.min()) // 2
    graded = np.asfortranarray(t.T * power_of_two(d - middle, np))
    # joba 0: A = B·diag with B well conditioned; no vectors; jobr 0: the full range of doubles.
    values, _, _, work, _, info = lapack.dgejsv(  # pyright: ignore[reportAttributeAccessIssue]
        graded, joba=0, jobu=3, jobv=3, jobr=0, jobt=1, jobp=1
    )
    if info != 0:
        raise ConvergenceError(f"log singular values: LAPACK's dgejsv ended with info = {info}")
    with np.errstate(divide="ignore"):
        return np.log(values) + math.log(work[0] / work[1]) + middle * LOG_2
