"""Log singular values of many long products of small matrices side by side: every operation on all at once.

On a device small matrices take as long to launch as to multiply. Here all products go through the same steps,
with no decision that depends on numbers: after every factor Y = F X of each is split by QR, rows and columns
from large to small,

    Y = X' R,      diag(2^d') T' = R diag(2^d) T,

as `LogProduct` does where it trusts nothing else. Nothing is fetched before the values are asked for. (CuPy
itself looks after a factorisation whether it failed, where errors are to be raised.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rmtrnn._core import arrays as _arrays
from rmtrnn._core import validate as _validate
from rmtrnn.sampling.products import accuracy, graded
from rmtrnn.sampling.products.accuracy import UNIT, rounding_size


class LogProducts:
    """``count`` products J = F_T ⋯ F_1 of n × n matrices, as `LogProduct` has one.

    ``multiply(factor)``: a function Y ↦ F Y for arrays (count, n, n), or an array (count, n, n).
    ``error`` and ``condition`` are arrays, with the meaning they have there. A product that meets a row or
    column of zeros is lost: ``log_singular_values()`` has None for it.
    """

    def __init__(self, count: int, n: int, xp: Any = np) -> None:
        self._xp = xp
        self.count, self.n = _validate.integer("count", count, low=1), _validate.integer("n", n, low=1)
        self._x = xp.zeros((count, n, n)) + xp.eye(n)
        self._t = self._x.copy()
        self._d = xp.zeros((count, n), dtype=np.int64)
        self._steps = 0
        self._error, self._condition = xp.zeros(count), xp.ones(count)
        self._lost = xp.zeros(count, dtype=bool)
        self._signs = xp.asarray(accuracy.signs(n))

    @property
    def error(self) -> np.ndarray:
        """Estimated relative errors of the singular values so far."""
        t, signs = _arrays.to_host(self._t), accuracy.signs(self.n)
        with np.errstate(all="ignore"):
            inverse_norms = [accuracy.largest_norm(np.linalg.solve(part, signs)) for part in self._regular(t)]
        rounded = [accuracy.triangle_error(norm, self._steps, self.n) for norm in inverse_norms]
        return _arrays.to_host(self._error) + np.array(rounded)

    @property
    def condition(self) -> np.ndarray:
        """Worst amplifications of rounding errors by a factor."""
        return _arrays.to_host(self._condition)

    def multiply(self, factor: Any) -> None:
        """J ← factor · J for all of them."""
        xp = self._xp
        y: Any
        if hasattr(factor, "dtype"):
            y = xp.matmul(factor, self._x.astype(factor.dtype, copy=False))
        else:
            y = factor(self._x)
        unit = max(UNIT, float(np.finfo(y.dtype).eps) / 2)
        y = y.astype(np.float64, copy=False)
        exponent = graded.exponents(xp.max(xp.abs(y), axis=(1, 2)))
        amplification = self._split(y * xp.ldexp(1.0, -exponent)[:, None, None])
        self._d += exponent[:, None]
        self._error += unit * amplification
        self._condition = xp.maximum(self._condition, amplification)
        self._steps += 1

    def _split(self, y: Any) -> Any:
        """Split Y as in the module's equation; return the amplification of rounding errors."""
        xp = self._xp
        rows, columns = (xp.max(xp.abs(y), axis=axis) for axis in (2, 1))
        self._lost |= xp.any(rows == 0.0, axis=1) | xp.any(columns == 0.0, axis=1)
        rows, columns = (xp.where(sizes == 0.0, 1.0, sizes) for sizes in (rows, columns))

        by_row = xp.argsort(-rows, axis=1)
        by_column = xp.argsort(-(xp.log2(columns) + self._d), axis=1)
        y = xp.take_along_axis(y, by_row[:, :, None], axis=1)
        y = xp.take_along_axis(y, by_column[:, None, :], axis=2)
        q, r = xp.linalg.qr(y)
        self._x = xp.take_along_axis(q, xp.argsort(by_row, axis=1)[:, :, None], axis=1)

        d = xp.take_along_axis(self._d, by_column, axis=1)
        t = xp.take_along_axis(self._t, by_column[:, :, None], axis=1)
        self._t, self._d = graded.row_scaled(xp.matmul(graded.conjugated(r, d), t), d)

        rows, columns = (
            xp.take_along_axis(sizes, order, axis=1)
            for sizes, order in ((rows, by_row), (columns, by_column))
        )
        probes = xp.matmul(q.swapaxes(1, 2), rows[:, :, None] * self._signs)
        shares = columns / xp.max(columns, axis=1)[:, None]
        solved = xp.linalg.solve(self._regular(r), probes)
        return accuracy.norms(accuracy.amplified(solved, shares, rounding_size(self.n)))

    def _regular(self, upper: Any) -> Any:
        """Matrices R or T, with 1 in place of those of the products that are lost."""
        xp = _arrays.namespace(upper)
        lost = self._lost if xp is self._xp else _arrays.to_host(self._lost)
        return xp.where(lost[:, None, None], xp.eye(self.n), upper)

    def log_singular_values(self) -> list[np.ndarray | None]:
        """Of each product, ascending; None for those with a row or column of zeros.

        Raises ConvergenceError like `LogProduct`, ValueError if a factor was not finite.
        """
        t, d, lost = (_arrays.to_host(part) for part in (self._t, self._d, self._lost))
        if not np.isfinite(t).all():
            raise ValueError("factor: has entries that are not finite, or a product beyond 1e308")
        tolerance = accuracy.SETTINGS.checked * accuracy.default_tolerance(self.n)
        return [
            None
            if lost[k]
            else np.sort(
                graded.graded_log_singular_values(t[k], d[k], np, triangular=False, tolerance=tolerance)
            )
            for k in range(self.count)
        ]
