"""Log singular values of long products of matrices, all of them to high relative accuracy.

In J = F_T ⋯ F_1 formed in floating point every singular value below ε·s_max is noise. `LogProduct` keeps

    J = X · diag(2^d) · T,      X well conditioned, T with rows of largest entry in [½, 1),     (XDT)

where only the integers d carry the dynamic range (Stewart 1997; the U D T scheme of determinant quantum
Monte Carlo). Factors multiply X alone, as many as the accuracy allows; then Y = F ⋯ F X is split again,

    Y = X' U,      d' and T' from   diag(2^d') T' = U diag(2^d) T,                              (split)

with X' = P L of an LU factorisation with row pivoting. It is as good here as an orthogonal matrix, since
multiplication by a matrix of moderate condition number is backward stable, and takes a fifth of the time;
where an estimate says that it would not do, L is replaced by its Q factor. A group may be longer than its
condition allows if the condition is due to few directions, as for Gaussian factors: the last rows and columns
of U, where these show, are then computed anew (`rmtrnn.sampling.products.deflation`). Scalings are by powers
of two, so they are exact: factors times 2^k give the same digits. `rmtrnn.sampling.products.graded` computes
the singular values of diag(2^d) T. Theory.md section 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core import arrays as _arrays
from rmtrnn._core import validate as _validate
from rmtrnn.sampling.products import accuracy, deflation, dense, graded
from rmtrnn.sampling.products.accuracy import UNIT, largest_norm, rounding_size, signs
from rmtrnn.sampling.products.grouping import GroupPlan

Factor = Any  # a matrix, a function Y ↦ F Y, or a function with a method matrix() that returns F


@dataclass(frozen=True)
class SplitSettings:
    """Numbers of the split. Empirical, moved by ×3 and ÷3 (test_product_settings.py).

    grading_violation : log2. Columns of Y diag(2^d) out of order by more are sorted; T is triangular no more.
    leave_orthogonal : factor. Triangular X again when errors are this much below the tolerance.
    underflow : relative. A group whose product has a smaller row or column is halved before numbers vanish.
    scaled : log2. Products are scaled when their largest entry is not within 2^±scaled.
    pivot_growth : growth of pivots in LU that counts as ordinary.
    """

    grading_violation: float = 8.0
    leave_orthogonal: float = 100.0
    underflow: float = 1e-100
    scaled: int = 128
    pivot_growth: float = 10.0


SETTINGS = SplitSettings()


class LogProduct:
    """The product J = F_T ⋯ F_1 of matrices that arrive one by one, n columns, kept as (XDT).

    ``multiply(factor)`` takes a matrix (m', m), or a function that applies one to an array (m, r). If the
    function has a method ``matrix()``, that may return the matrix (cheaper here), or None; with a method
    ``transposed(y)``, Fᵀ y, groups of ill-conditioned factors may be longer.
    ``log_singular_values()`` may be asked for at any time.

    ``rtol`` is the accuracy: a group of factors that is multiplied between two factorisations may change any
    singular value by a relative ``rtol`` at most, as estimated from U⁻¹ applied to a few vectors of rounding
    errors; None means 1e-9 up to n = 100, then n · 1e-11. Only the smallest singular values come near to it,
    the others have relative errors of 1e-13. ``error`` is the estimate for the whole product, the sum over
    the groups: relative errors of the singular values, absolute ones of their logs. (Not the root of the sum
    of squares: errors of the groups reach a singular value through the angles between directions before and
    after them, and the few smallest angles decide.) A
    single factor is never refused; an ill-conditioned one shows in ``error``. ``condition`` is the worst
    amplification of rounding errors met in a group, ``groups`` their number.

    Exact rank loss by rows of zeros, as relu makes them, is kept exactly: those singular values are −∞.

    Raises ValueError for a factor that is not finite.

    >>> product = rt.LogProduct(2)
    >>> for _ in range(100):
    ...     product.multiply(np.diag([1.0, 1e-9]))
    >>> product.log_singular_values().round(3)
    array([-2072.327,     0.   ])
    """

    def __init__(self, n: int, xp: Any = np, rtol: float | None = None) -> None:
        self.n = _validate.integer("n", n, low=1)
        if rtol is None:
            rtol = accuracy.default_tolerance(n)
        self.rtol = _validate.real("rtol", rtol, low=0.0, low_open=True)
        self.condition = 1.0
        self.groups = 0
        self._xp = xp
        self._x: Any = None
        self._d = np.zeros(n, dtype=np.int64)
        self._t: Any = None
        self._triangular = True  # T
        self._orthogonal_mode = False  # X orthogonal, where triangular ones lose too much
        self._group_errors, self._t_error = 0.0, 0.0
        self._rows = n
        self._pending: list[Factor] = []
        self._workspace = dense.Workspace(xp)
        self._plan = GroupPlan(n, self.rtol)

    @property
    def error(self) -> float:
        """Estimated relative error of the singular values so far."""
        return self._group_errors + self._t_error

    def multiply(self, factor: Any) -> None:
        """J ← factor · J."""
        if len(self._pending) >= self._plan.length:
            self._flush()
        self._pending.append(factor)

    def log_singular_values(self) -> np.ndarray:
        """Log singular values, ascending, min(rows, columns) of them; −∞ for exact zeros.

        Raises ConvergenceError if the blocks of a product beyond the range of doubles do not decouple.
        """
        self._flush()
        if self._t is None:
            return np.zeros(self.n)
        if self._x_is_triangular and graded.grading_violation(self._d) > SETTINGS.grading_violation:
            self._orthogonalise()
        if self._triangular:
            inverse_norm = graded.inverse_norm(self._t, self._xp)
            self._t_error = accuracy.triangle_error(inverse_norm, self.groups, self.n)
        t, d, triangular = self._t, self._d, self._triangular
        if self._x_is_triangular:
            self._t_error = math.hypot(self._t_error, UNIT * self._plan.start)
            t, d = graded.with_lower(self._x.lower_transposed(), t, d, self._workspace)
            triangular = True
        tolerance = accuracy.SETTINGS.checked * self.rtol
        values = graded.graded_log_singular_values(t, d, self._xp, triangular=triangular, tolerance=tolerance)
        missing = min(self._rows, self.n) - len(values)
        return np.concatenate([np.full(missing, -np.inf), np.sort(values)])

    @property
    def _x_is_triangular(self) -> bool:
        return isinstance(self._x, dense.UnitLower)

    def _flush(self) -> None:
        factors, self._pending = self._pending, []
        if factors:
            self._append(factors)

    def _append(self, factors: list[Factor]) -> None:
        """Multiply J by a group of factors and split the product anew, equation (split).

        The group is kept if its estimated error is within the tolerance. Else it goes in halves; a single
        factor goes once more with orthogonal X, and is kept whatever its error then is.
        """
        product = self._group_product(factors)
        self._rows = len(product.y)
        if len(factors) > 1 and product.sizes.smallest < SETTINGS.underflow:
            self._append_halves(factors)
            return
        split = self._split(product, factors)
        if product.unit * split.amplification <= self.rtol:
            self._keep(split, product, len(factors))
        elif len(factors) > 1:
            self._plan.refused(len(factors), split.plain)
            self._append_halves(factors)
        elif self._x_is_triangular or not self._orthogonal_mode:
            if self._x_is_triangular:
                self._orthogonalise()
            self._orthogonal_mode = True
            self._append(factors)
        else:
            self._keep(split, product, len(factors))

    def _append_halves(self, factors: list[Factor]) -> None:
        half = len(factors) // 2
        self._append(factors[:half])
        self._append(factors[half:])

    def _keep(self, split: _Split, product: _GroupProduct, count: int) -> None:
        """Take X', d' and T' of the split for X, d and T, account for the error, and plan the next group."""
        self._update(split, product.shift)
        if self._x_is_triangular:
            self._workspace.give(self._x.lu)
        corner = split.corner
        self._x = split.x if corner is None else split.x.with_last_block(corner.left, corner.rows)
        error = product.unit * split.amplification
        self._group_errors += error
        self.groups += 1
        self.condition = max(self.condition, split.amplification)
        self._orthogonal_mode = self._orthogonal_mode and error * SETTINGS.leave_orthogonal > self.rtol
        start = None
        if self._x_is_triangular:
            solved = self._x.solve_lower(self._xp.asarray(signs(self.n)))
            start = rounding_size(self.n) * largest_norm(_arrays.to_host(solved))
        deflated = None if corner is None else split.amplification
        self._plan.accepted(count, plain=split.plain, deflated=deflated, unit=product.unit, start=start)

    def _group_product(self, factors: list[Factor]) -> _GroupProduct:
        """Y = F ⋯ F X over a power of two, with entries near one."""
        y, shift, unit = self._multiplied(factors)
        sizes = _Sizes.of(y)
        if sizes.exponent:
            y *= 2.0**-sizes.exponent
            shift, sizes = shift + sizes.exponent, sizes.scaled()
        return _GroupProduct(y, shift, unit, sizes)

    def _multiplied(self, factors: list[Factor]) -> tuple[Any, Any, float]:
        """Y with 2^shift Y = F ⋯ F X, its shift, and the unit of rounding of the products."""
        xp, shift, unit = self._xp, 0, UNIT
        y: Any = None
        ours = False  # nothing else refers to y
        for factor in factors:
            if y is not None:
                scaled, exponent = _near_one(y, xp, ours=ours)
                ours, y, shift = ours or scaled is not y, scaled, shift + exponent
            matrix = _matrix(factor)
            before, y = y, self._applied(factor, matrix, y)
            if ours and matrix is not None:
                self._workspace.give(before)
            ours = matrix is not None and y is not matrix
            if y.dtype != np.float64:
                unit = max(unit, float(np.finfo(y.dtype).eps) / 2)
        # What a caller may still hold is copied, since Y is overwritten.
        copy = not ours and y.dtype == np.float64
        return dense.fortran(y.astype(np.float64, copy=False), copy=copy), shift, unit

    def _applied(self, factor: Factor, matrix: Any | None, y: Any | None) -> Any:
        """F Y; with ``y`` None F X. ``matrix`` is F as an array if it is at hand."""
        if y is not None:
            return factor(y) if matrix is None else dense.product(matrix, y, self._workspace)
        if self._x is None:
            return factor(self._xp.eye(self.n)) if matrix is None else matrix
        return factor(self._x.dense()) if matrix is None else self._x.multiplied(matrix, self._workspace)

    def _split(self, product: _GroupProduct, factors: list[Factor]) -> _Split:
        """Y = X' U; deflated where the plain split is beyond the tolerance. Y is overwritten."""
        split, y = None, product.y
        if y.shape[0] == y.shape[1] and product.sizes.positive:
            split = self._split_square(y, product.sizes)
            if split is None:
                y = self._group_product(factors).y
        if split is None:
            split = self._split_any(y)
        if product.unit * split.amplification > self.rtol:
            split = self._deflated(split, factors, product.unit)
        return split

    def _split_square(self, y: Any, sizes: _Sizes) -> _Split | None:
        """Y = X U with square factors; None if a pivot is exactly zero. Y is overwritten."""
        order = self._order(sizes.columns)
        if order is not None:
            y = y[:, self._xp.asarray(order)]
        columns = sizes.columns if order is None else sizes.columns[order]
        factored = self._factored(y, sizes)
        if factored is None:
            return None
        x, upper, pivot_growth = factored
        n = len(y)
        probes = x.coordinates(self._xp.asarray(sizes.rows[:, None] * signs(n)))
        rounding, shares = rounding_size(self.n) * pivot_growth, columns / columns.max()
        plain, apart = (
            accuracy.amplified(self._solution(upper, probes, size), shares[:size], rounding)
            for size in (n, n - deflation.width(n))
        )
        amplification = largest_norm(plain)
        return _Split(x, upper, None, order, amplification, amplification, apart)

    def _factored(self, y: Any, sizes: _Sizes) -> tuple[Any, Any, float] | None:
        """X and U of Y = X U, and how far pivots grew beyond the ordinary; None if one is exactly zero."""
        if self._orthogonal_mode:
            x, upper = dense.qr(y, sizes.rows, self._xp)
            return (x, upper, 1.0) if bool(self._xp.all(self._xp.diagonal(upper) != 0.0)) else None
        found = dense.lu(dense.fortran(y), self._xp)
        if found is None:
            return None
        growth = float(_arrays.largest(found[1])) / (SETTINGS.pivot_growth * sizes.rows.max())
        return *found, max(1.0, growth)

    def _solution(self, upper: Any, values: Any, size: int) -> np.ndarray:
        """U⁻¹ values for the upper left block of U of this size, on the host."""
        return _arrays.to_host(dense.solve_upper(upper, values, self._xp, size)[:size])

    def _deflated(self, split: _Split, factors: list[Factor], unit: float) -> _Split:
        """The split with the corner of U computed anew, if the factors allow it and the rest is accurate."""
        able = all(deflation.transpose_of(factor) is not None for factor in factors)
        if not able or unit > UNIT or split.apart is None or deflation.width(self.n) == 0:
            return split
        spread = self._obliqueness()
        if unit * largest_norm(split.apart) * spread > self.rtol:
            return split
        corner = deflation.deflated_corner(split, self._x, factors, self._d, spread, self._xp)
        return split if corner is None else split._replace(amplification=corner.amplification, corner=corner)

    def _obliqueness(self) -> float:
        """How far an error in all directions of X spreads: the norm of T⁻¹, a column's share of it.

        Such an error (1 + E) stands between X and diag(2^d) T. As a factor on either side of J its entries
        are those of T E T⁻¹ for this T, or for that of the factors to come, which is of the same kind.
        """
        if self._t is None:
            return 1.0
        if self._triangular:
            return max(1.0, graded.inverse_norm(self._t, self._xp) / self.n)
        solved = self._xp.linalg.solve(self._t, self._xp.asarray(signs(self.n)))
        return max(1.0, largest_norm(_arrays.to_host(solved)) / self.n)

    def _split_any(self, y: Any) -> _Split:
        """Y of any shape, with rows or columns of zeros: Householder, columns sorted."""
        found = graded.graded_qr(y, self._d[: y.shape[1]], self._xp)
        amplification = rounding_size(self.n) * 2.0 ** min(found.log_range, 1000.0)
        x = dense.Dense(found.basis, self._xp)
        return _Split(x, found.t, found.d, found.order, amplification, amplification)

    def _order(self, columns: np.ndarray) -> np.ndarray | None:
        """Order of the columns of Y by decreasing size, None where they are in order as they are."""
        size = np.log2(columns) + self._d
        if graded.grading_violation(size) <= SETTINGS.grading_violation:
            return None
        return np.argsort(-size, kind="stable")

    def _update(self, split: _Split, shift: Any) -> None:
        """diag(2^d) T ← U diag(2^d) T."""
        if split.order is not None and self._t is not None:
            self._t, self._triangular = self._t[self._xp.asarray(split.order)], False
        if split.d is not None:
            self._t = split.upper if self._t is None else split.upper @ self._t
            self._d, self._triangular = split.d + int(shift), False
            return
        d = self._d if split.order is None else self._d[split.order]
        rows = None if split.corner is None else self._last_rows(split.corner, d)
        self._t, self._d = self._scaled_product(split.upper, d)
        self._d = self._d + int(shift)
        if rows is not None:
            t, last = rows
            k = len(last)
            self._t[-k:, -t.shape[1] :], self._d[-k:] = self._xp.asarray(t), last

    def _scaled_product(self, upper: Any, d: np.ndarray) -> tuple[Any, np.ndarray]:
        """T' and d' of diag(2^d') T' = U diag(2^d) T; T is overwritten."""
        return graded.scaled_product(upper, self._t, d, self._workspace, triangular=self._triangular)

    def _last_rows(self, corner: deflation.Corner, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """d' and T' of diag(2^d') T' = S diag(2^d) T for the last rows (T triangular: last block)."""
        k, workspace = len(corner.left), dense.Workspace(np)
        t: Any = None
        last = d[-k:]
        if self._t is not None:
            t = self._t[-k:, -k:] if self._triangular else self._t[-k:]
            t = np.array(_arrays.to_host(t), order="F")
        for upper in corner.uppers:
            upper = np.asfortranarray(upper)
            t, last = graded.scaled_product(upper, t, last, workspace, triangular=self._triangular)
        return t, last + corner.exponent

    def _orthogonalise(self) -> None:
        """X = Q R with R taken over into T; X is dense where it was triangular."""
        x = self._x.dense()
        self._x, r = dense.qr(x, _arrays.largest(x, axis=1), self._xp)
        self._t, self._d = self._scaled_product(r, self._d)


class _GroupProduct(NamedTuple):
    """2^shift Y = F ⋯ F X, the unit of rounding of the products, and the sizes of rows and columns of Y."""

    y: Any
    shift: Any
    unit: float
    sizes: _Sizes


class _Split(NamedTuple):
    """Y = X U, columns in ``order``; where ``d`` is given, U = diag(2^d) ``upper`` diag(2^−d_before).

    ``amplification`` of rounding errors: of the deflated U where there is a ``corner``. ``plain``: of U as it
    is. ``apart``: the estimated errors of U_aa, whose norms are its amplification.
    """

    x: Any
    upper: Any
    d: np.ndarray | None
    order: np.ndarray | None
    amplification: float
    plain: float
    apart: np.ndarray | None = None
    corner: deflation.Corner | None = None


class _Sizes:
    """Largest entries of the rows and columns of Y, on the host; 2^exponent is next to the largest of all.

    It is 1 where that is near 1.
    """

    def __init__(self, rows: np.ndarray, columns: np.ndarray) -> None:
        self.rows, self.columns = rows, columns
        if not (np.isfinite(rows).all() and np.isfinite(columns).all()):
            raise ValueError("factor: has entries that are not finite, or a product beyond 1e308")
        top = rows.max(initial=0.0)
        exponent = int(graded.exponents(top))
        self.exponent = exponent if abs(exponent) > SETTINGS.scaled else 0
        self.positive = bool(rows.all() and columns.all())
        self.smallest = min(rows.min(initial=top), columns.min(initial=top)) / top if top > 0.0 else 0.0

    @classmethod
    def of(cls, y: Any) -> _Sizes:
        return cls(*(_arrays.to_host(_arrays.largest(y, axis=axis)) for axis in (1, 0)))

    def scaled(self) -> _Sizes:
        """Those of 2^−exponent Y."""
        return _Sizes(np.ldexp(self.rows, -self.exponent), np.ldexp(self.columns, -self.exponent))


def _matrix(factor: Factor) -> Any | None:
    if hasattr(factor, "matrix"):
        return factor.matrix()
    return None if callable(factor) else factor


def _near_one(y: Any, xp: Any, *, ours: bool) -> tuple[Any, Any]:
    """y/2^k and k with no entry beyond 2^scaled, in place if ``ours``.

    Powers of two are exact. On the host k = 0 where that will do; from a device no value is fetched for it.
    """
    exponent = graded.exponents(_arrays.largest(y))
    if xp is np and abs(exponent) <= SETTINGS.scaled:
        return y, 0
    return xp.multiply(y, xp.ldexp(1.0, -exponent), out=y if ours else None), exponent
