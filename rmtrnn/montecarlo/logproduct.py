"""Log singular values of long products of matrices, all of them to high relative accuracy.

In J = F_T ⋯ F_1 formed in floating point every singular value below ε·s_max is noise. `LogProduct` keeps

    J = Q · diag(e^d) · T,      Q orthonormal columns, T with rows of largest entry 1,      (UDT)

where only the logarithms d carry the dynamic range (Stewart 1997; the U D T scheme of determinant quantum
Monte Carlo). A factor multiplies Q alone; (F Q) diag(e^d) is refactored with its columns sorted by size, so
that the scaling never mixes large and small digits. At the end the singular values of diag(e^d) T are found
by one-sided Jacobi rotations (LAPACK's gejsv; Drmač and Veselić 2008), block by block where the range exceeds
that of a double. Theory.md section 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rmtrnn import _array
from rmtrnn._result import ConvergenceError

# A group of factors is multiplied plainly while its condition number stays below e^GROUP_RANGE: digits lost.
GROUP_RANGE = math.log(1e4)
MAX_GROUP = 64
# Columns of one group that differ by more are on their way to underflow.
SMALLEST_COLUMN = 1e-100
# Largest range of log scales handed to gejsv at once: e^400 ≈ 1e174 either side leaves room for squares.
BLOCK_RANGE = 400.0
# Couplings between blocks below this are dropped: they change every singular value by less, relatively.
NEGLIGIBLE = 1e-13
MAX_SWEEPS = 200
# Matrices up to this size go to gejsv whole.
JACOBI_SIZE = 160
# Windows, after this many sweeps. Values nearer than e^MARGIN to a window's top feel the rows left out, those
# below e^−DEPTH of it lose digits. Against gejsv on the whole matrix, N = 300 to 512: 1e-13 (2 sweeps: 1e-9).
WINDOW_SWEEPS, WINDOW_MARGIN, WINDOW_DEPTH = 3, 5.0, 12.0


Factor = Callable[[Any], Any]


class LogProduct:
    """The product J = F_T ⋯ F_1 of matrices that arrive one by one, n columns, kept as (UDT).

    ``multiply(factor)`` takes a matrix (m', m) or a function that applies one to an array (m, r).
    ``log_singular_values()`` may be asked for at any time.

    Exact rank loss (rows of zeros, as relu makes them) is kept exactly: those singular values are −∞.
    ``condition`` is the largest condition number (estimated from the triangular factor) of any group of
    factors that was multiplied before a refactorisation; relative errors are of the order ε·condition·√T.
    """

    def __init__(self, n: int, xp: Any = np) -> None:
        self.n = n
        self.condition = 1.0
        self._xp = xp
        self._q = xp.eye(n)
        self._log_d = np.zeros(n)
        self._t = xp.eye(n)
        self._rows = n
        self._pending: list[Factor] = []
        self._group, self._longest = 1, MAX_GROUP

    def multiply(self, factor: Any) -> None:
        """J ← factor · J."""
        self._pending.append(factor if callable(factor) else lambda y, matrix=factor: matrix @ y)
        if len(self._pending) >= self._group:
            self._flush()

    def log_singular_values(self) -> np.ndarray:
        """Log singular values, ascending, min(rows, columns) of them; −∞ for exact zeros.

        Raises ConvergenceError if the blocks of a product beyond the range of doubles do not decouple.
        """
        self._flush()
        values = graded_log_singular_values(_array.to_host(self._t).astype(float), self._log_d)
        missing = min(self._rows, self.n) - len(values)
        return np.concatenate([np.full(missing, -np.inf), np.sort(values)])

    def _flush(self) -> None:
        factors, self._pending = self._pending, []
        if not factors:
            return
        log_range = self._absorb(factors, limit=GROUP_RANGE if len(factors) > 1 else math.inf)
        if log_range is None:
            self._longest = max(1, len(factors) - 1)
            self._group = 1
            for factor in factors:
                self._absorb([factor], limit=math.inf)
            return
        # The range of a group grows more slowly than its length; one that turns out too wide is done again.
        if log_range * (len(factors) + 1) <= GROUP_RANGE * len(factors) * 1.5:
            self._group = min(len(factors) + 1, self._longest)
        elif log_range > GROUP_RANGE:
            self._group = max(1, len(factors) - 1)

    def _absorb(self, factors: list[Factor], limit: float) -> float | None:
        """Multiply ``factors`` into Q and refactor; None, with nothing changed, if that loses digits."""
        y, log_size = self._q, 0.0
        for factor in factors:
            y = factor(y).astype(np.float64, copy=False)
            size = float(self._xp.max(self._xp.abs(y), initial=0.0))
            if size > 0.0:
                y = y / size
                log_size += math.log(size)
        if (
            len(factors) > 1
            and y.size
            and float(self._xp.max(self._xp.abs(y), axis=0).min()) < SMALLEST_COLUMN
        ):
            return None
        q, log_d, t, order, log_range = graded_qr(y, self._log_d + log_size, self._xp)
        if log_range > limit:
            return None
        self._q, self._log_d, self._t = q, log_d, t @ self._t[order]
        self._rows = y.shape[0]
        self.condition = max(self.condition, math.exp(min(log_range, 700.0)))
        return log_range


def graded_qr(y: Any, log_d: np.ndarray, xp: Any) -> tuple[Any, np.ndarray, Any, np.ndarray, float]:
    """Factor y·diag(e^{log_d}) = Q·diag(e^{d})·T·Π; return Q, d, T, the column order Π, log-range of R.

    Columns go in decreasing size, and rows of y too, so that those of very different size keep their own
    digits. Rows of zeros are taken out before and put back after, and columns of zeros dropped, so that exact
    rank loss stays exact.
    """
    norms = _array.to_host(xp.max(xp.abs(y), axis=0, initial=0.0))
    with np.errstate(divide="ignore"):
        order = np.argsort(-(np.log(norms) + log_d), kind="stable")
    order = order[norms[order] > 0.0]
    row_norms = _array.to_host(xp.max(xp.abs(y), axis=1, initial=0.0))
    rows = np.argsort(-row_norms, kind="stable")
    rows = rows[row_norms[rows] > 0.0]
    log_d = log_d[order]
    scale = norms[order]
    q_rows, r = xp.linalg.qr(y[rows][:, order])
    q = xp.zeros((y.shape[0], r.shape[0]))
    q[rows] = q_rows

    diagonal = np.abs(_array.to_host(xp.diagonal(r))) / scale[: len(r)]
    with np.errstate(divide="ignore"):
        log_range = max(-float(np.log(diagonal.min())), 0.0) if len(diagonal) else 0.0
    exponents = xp.asarray(np.triu(log_d[None, :] - log_d[: len(r), None]))
    t = xp.triu(r) * xp.exp(exponents)
    sizes = xp.max(xp.abs(t), axis=1) if len(r) else xp.zeros(0)
    host_sizes = _array.to_host(sizes)
    kept = np.flatnonzero(host_sizes > 0.0)
    new_log_d = log_d[kept] + np.log(host_sizes[kept])
    return q[:, kept], new_log_d, t[kept] / sizes[kept, None], order, log_range


def graded_log_singular_values(t: np.ndarray, log_d: np.ndarray) -> np.ndarray:
    """Log singular values of diag(e^{log_d})·t for well-conditioned t, unordered.

    A graded QR of the transpose, and of its transpose in turn, shrinks the couplings of T by the square of
    the ratio of neighbouring scales each time (QLP, Stewart 1999). Once T falls into blocks whose ranges
    fit a double, gejsv does each block. Large matrices are cut into overlapping windows before that.
    """
    if len(log_d) > JACOBI_SIZE and np.ptp(log_d) <= WINDOW_DEPTH:
        values = _plain(t, log_d)
        if np.ptp(values) <= WINDOW_DEPTH:
            return values
    for sweep in range(1, MAX_SWEEPS + 1):
        _, log_d, t, _, _ = graded_qr(np.ascontiguousarray(t.T), log_d, np)
        if sweep == WINDOW_SWEEPS and len(log_d) > JACOBI_SIZE:
            values = _windows(t, log_d)
            if values is not None:
                return values
        blocks = _blocks(t, log_d) if sweep >= WINDOW_SWEEPS or len(log_d) <= JACOBI_SIZE else None
        if blocks is not None:
            return np.concatenate([_jacobi(t[a:b, a:b], log_d[a:b]) for a, b in blocks] or [np.zeros(0)])
    raise ConvergenceError(
        f"log singular values: blocks did not decouple in {MAX_SWEEPS} sweeps "
        f"(log range {np.ptp(log_d):.3g}, {len(log_d)} values)"
    )


def _windows(t: np.ndarray, log_d: np.ndarray) -> np.ndarray | None:
    """Log singular values of diag(e^{log_d})·t, upper triangular, descending, from overlapping windows.

    Jacobi rotations take some ten times as long as a bidiagonalisation, which is accurate relative to the
    largest value only. So the window that starts at row a gives the values between its top − WINDOW_MARGIN
    and its top − WINDOW_DEPTH: above, the rows left out still couple; below, digits are lost. Each window
    ends where e^{log_d} has fallen below rounding. The last JACOBI_SIZE rows are left to gejsv. None where
    the windows leave a value uncovered or meet out of order.
    """
    n = len(log_d)
    scale = np.maximum.accumulate(log_d[::-1])[::-1]
    found: list[float] = []
    start, ceiling = 0, math.inf
    while len(found) < n:
        top = scale[start]
        if n - start <= JACOBI_SIZE:
            if top - scale[-1] > BLOCK_RANGE:
                return None
            stop, floor = n, -math.inf
            values = np.sort(_jacobi(t[start:, start:], log_d[start:]))[::-1]
        else:
            stop, floor = int(np.searchsorted(-scale, 38.0 - top, side="right")), top - WINDOW_DEPTH
            values = _plain(t[start:stop, start:stop], log_d[start:stop])
        taken = values[len(found) - start :]
        taken = taken[taken >= floor]
        if not len(taken) or taken[0] > ceiling:
            return None
        found.extend(taken)
        ceiling = found[-1]
        if len(found) < n:
            start = min(int(np.searchsorted(-scale, -(ceiling + WINDOW_MARGIN))), len(found))
    return np.array(found)


def _plain(t: np.ndarray, log_d: np.ndarray) -> np.ndarray:
    """Log singular values of diag(e^{log_d})·t, descending, accurate relative to the largest only."""
    top = log_d.max()
    with np.errstate(divide="ignore"):
        return np.log(np.linalg.svd(t * np.exp(log_d - top)[:, None], compute_uv=False)) + top


def _blocks(t: np.ndarray, log_d: np.ndarray) -> list[tuple[int, int]] | None:
    """Ranges [a, b) of upper triangular T with negligible couplings between them, or None if too wide."""
    n = len(log_d)
    if n == 0 or np.ptp(log_d) <= BLOCK_RANGE:
        return [(0, n)] if n else []
    coupling = np.triu(np.abs(t) / np.abs(np.diagonal(t))[:, None], 1)
    corner = np.maximum.accumulate(coupling, axis=0)
    corner = np.maximum.accumulate(corner[:, ::-1], axis=1)[:, ::-1]
    splits = [k for k in range(1, n) if corner[k - 1, k] <= NEGLIGIBLE] + [n]
    blocks, start = [], 0
    for position, split in enumerate(splits):
        last = position + 1 == len(splits)
        if last or np.ptp(log_d[start : splits[position + 1]]) > BLOCK_RANGE:
            if np.ptp(log_d[start:split]) > BLOCK_RANGE:
                return None
            blocks.append((start, split))
            start = split
    return blocks


def _jacobi(t: np.ndarray, log_d: np.ndarray) -> np.ndarray:
    """Log singular values of diag(e^{log_d})·t, range within a double, by LAPACK's dgejsv."""
    from scipy.linalg import lapack

    middle = 0.5 * (log_d.max() + log_d.min())
    graded = np.asfortranarray(t.T * np.exp(log_d - middle))
    # joba 0: A = B·diag with B well conditioned; no vectors; jobr 0: the full range of doubles.
    values, _, _, work, _, info = lapack.dgejsv(  # pyright: ignore[reportAttributeAccessIssue]
        graded, joba=0, jobu=3, jobv=3, jobr=0, jobt=1, jobp=1
    )
    if info != 0:
        raise ConvergenceError(f"log singular values: LAPACK's dgejsv ended with info = {info}")
    with np.errstate(divide="ignore"):
        return np.log(values) + math.log(work[0] / work[1]) + middle
