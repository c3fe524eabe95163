"""Log singular values of long products of matrices, all of them to high relative accuracy.

In J = F_T ⋯ F_1 formed in floating point every singular value below ε·s_max is noise. `LogProduct` keeps

    J = X · diag(2^d) · T,      X well conditioned, T with rows of largest entry in [½, 1),     (XDT)

where only the integers d carry the dynamic range (Stewart 1997; the U D T scheme of determinant quantum
Monte Carlo). Factors multiply X alone, as many as the accuracy allows; then Y = F ⋯ F X is split again,

    Y = X' U,      d' and T' from   diag(2^d') T' = U diag(2^d) T,

with X' = P L of an LU factorisation with row pivoting. It is as good here as an orthogonal matrix, since
multiplication by a matrix of moderate condition number is backward stable, and takes a fifth of the time;
where an estimate says that it would not do, L is replaced by its Q factor. A group may be longer than its
condition allows if the condition is due to few directions, as for Gaussian factors: the last rows and columns
of U, where these show, are then found anew (`rmtrnn.sampling.products.deflation`). Scalings are by powers of
two, so they are exact: factors times 2^k give the same digits. `rmtrnn.sampling.products.graded` gets the
singular values of diag(2^d) T. Theory.md section 6.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core import arrays as _arrays
from rmtrnn._core import validate as _validate
from rmtrnn.sampling.products import deflation, dense, graded
from rmtrnn.sampling.products.graded import UNIT, graded_qr, scaled_product

# Longest group of factors multiplied plainly; shorter where so many n × n matrices would fill LARGEST_GROUP.
MAX_GROUP, LARGEST_GROUP = 64, 2**28
# Default tolerance: the first times n, or times SMALL for smaller n.
ACCURACY, SMALL = 1e-11, 100
# A group is planned to stay this much below the tolerance.
MARGIN = 5.0
# The growth per factor expected is the last one found, or the one expected before times this if larger.
FORGET = 0.9
# Length of groups with the corner of U found anew, to begin with; growth of errors per factor to expect.
DEFLATED_GROUP, DEFLATED_GROWTH = 3, 30.0
# Amplification, without the factor for rounding, of a random orthogonal matrix.
ORTHOGONAL = 4.0
# Columns of Y diag(2^d) out of order by more than this (log2) are sorted. T then is triangular no more.
DISORDER = 8.0
# An orthogonal X has been needed: back to triangular ones when errors are this much below the tolerance.
CAREFUL = 100.0
# Rows or columns of the product of a group smaller than this, relatively, are on their way to underflow.
SMALLEST = 1e-100
# Products are scaled when their largest entry is not within 2^±NEAR.
NEAR = 128
# Growth of pivots in LU that counts as ordinary.
PIVOT_GROWTH = 10.0

Factor = Any  # a matrix, a function Y ↦ F Y, or a function with a method matrix() that returns F


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
    """

    def __init__(self, n: int, xp: Any = np, rtol: float | None = None) -> None:
        self.n = _validate.integer("n", n, low=1)
        if rtol is None:
            rtol = ACCURACY * max(n, SMALL)
        self.rtol = _validate.real("rtol", rtol, low=0.0, low_open=True)
        self.condition = 1.0
        self._xp = xp
        self._x: Any = None
        self._d = np.zeros(n, dtype=np.int64)
        self._t: Any = None
        self._triangular = True
        self._careful = False
        self._group_errors, self._t_error, self.groups = 0.0, 0.0, 0
        self._rows = n
        self._pending: list[Factor] = []
        self._spare = dense.Spare(xp)
        self._start, self._growth, self._longest = ORTHOGONAL * rounding(n), 0.0, longest_group(n)
        self._deflated_group = DEFLATED_GROUP if deflation.width(n) else 1
        # Errors of the first group are smaller, as X = 1.
        self._group = self._deflated_group + 1 if deflation.width(n) else 1

    @property
    def error(self) -> float:
        """Estimated relative error of the singular values so far."""
        return self._group_errors + self._t_error

    def multiply(self, factor: Any) -> None:
        """J ← factor · J."""
        if len(self._pending) >= self._group:
            self._flush()
        self._pending.append(factor)

    def log_singular_values(self) -> np.ndarray:
        """Log singular values, ascending, min(rows, columns) of them; −∞ for exact zeros.

        Raises ConvergenceError if the blocks of a product beyond the range of doubles do not decouple.
        """
        self._flush()
        if self._t is None:
            return np.zeros(self.n)
        if isinstance(self._x, dense.UnitLower) and graded.disorder(self._d) > DISORDER:
            self._orthogonalise()
        if self._triangular:
            amplification = rounding(self.n) * graded.inverse_norm(self._t, self._xp)
            self._t_error = math.sqrt(self.groups) * UNIT * amplification
        t, d, triangular = self._t, self._d, self._triangular
        if isinstance(self._x, dense.UnitLower):
            self._t_error = math.hypot(self._t_error, UNIT * self._start)
            t, d, triangular = *graded.with_lower(self._x.lower_transposed(), t, d, self._spare), True
        values = graded.graded_log_singular_values(
            t, d, self._xp, triangular=triangular, tolerance=0.1 * self.rtol
        )
        missing = min(self._rows, self.n) - len(values)
        return np.concatenate([np.full(missing, -np.inf), np.sort(values)])

    def _flush(self) -> None:
        factors, self._pending = self._pending, []
        if factors:
            self._absorb(factors)

    def _absorb(self, factors: list[Factor]) -> None:
        """Multiply ``factors`` into X and split the product; in halves or from an orthogonal X if need be."""
        y, shift, unit = self._multiplied(factors)
        self._rows = len(y)
        sizes = _Sizes.of(y)
        scale = 2.0**-sizes.exponent
        if sizes.exponent:
            y *= scale
            shift, sizes = shift + sizes.exponent, sizes.scaled()
        if len(factors) > 1 and sizes.smallest < SMALLEST:
            self._absorb_halves(factors)
            return
        split = None
        if y.shape[0] == y.shape[1] and sizes.positive:
            split = self._split_square(y, sizes)
            if split is None:
                y = self._multiplied(factors)[0] * scale
        if split is None:
            split = self._split_any(y)
        error = unit * split.amplification
        if error > self.rtol:
            split = self._deflated(split, factors, unit)
            error = unit * split.amplification
        if error > self.rtol and len(factors) > 1:
            self._growth = self._grown(len(factors), split.plain)
            self._deflated_group = max(1, min(self._deflated_group, len(factors) - 1))
            self._absorb_halves(factors)
            return
        triangular = isinstance(self._x, dense.UnitLower)
        if error > self.rtol and (triangular or not self._careful):
            if triangular:
                self._orthogonalise()
            self._careful = True
            self._absorb(factors)
            return
        self._update(split, shift)
        if triangular:
            self._spare.give(self._x.lu)
        self._x = split.x if split.corner is None else split.x.cornered(split.corner.left, split.corner.rows)
        self._group_errors += error
        self.groups += 1
        self.condition = max(self.condition, split.amplification)
        self._careful = self._careful and error * CAREFUL > self.rtol
        self._plan(len(factors), split, unit)

    def _absorb_halves(self, factors: list[Factor]) -> None:
        half = len(factors) // 2
        self._absorb(factors[:half])
        self._absorb(factors[half:])

    def _plan(self, count: int, split: _Split, unit: float) -> None:
        """Length of the next group, from what errors grow by per factor.

        Plainly: the amplification is that of X times a factor for every matrix. With the corner found anew:
        one factor more than in the last such group if there is room for DEFLATED_GROWTH.
        """
        self._growth = max(self._grown(count, split.plain), FORGET * self._growth)
        before, self._start = self._start, ORTHOGONAL * rounding(self.n)
        if isinstance(self._x, dense.UnitLower):
            signs = self._xp.asarray(graded.signs(self.n))
            self._start = rounding(self.n) * graded.largest_norm(_arrays.to_host(self._x.solve_lower(signs)))
        room = math.log(max(self.rtol / (MARGIN * unit * self._start), 1.0))
        plain = max(1, min(int(room / self._growth), 4 * count))
        longer = DEFLATED_GROWTH * unit * split.amplification * self._start / before
        if split.corner is not None and longer <= self.rtol:
            self._deflated_group = max(self._deflated_group, count + 1)
        self._group = min(max(plain, self._deflated_group), self._longest)

    def _grown(self, count: int, amplification: float) -> float:
        """Log growth of the amplification per factor."""
        return math.log(min(max(amplification / self._start, 1.001), 1e300)) / count

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
            if y is not None and matrix is not None:
                before, y = y, dense.product(matrix, y, self._spare)
                if ours:
                    self._spare.give(before)
            elif y is not None:
                y = factor(y)
            elif self._x is None:
                y = factor(xp.eye(self.n)) if matrix is None else matrix
            else:
                y = factor(self._x.dense()) if matrix is None else self._x.multiplied(matrix, self._spare)
            ours = matrix is not None and y is not matrix
            if y.dtype != np.float64:
                unit = max(unit, float(np.finfo(y.dtype).eps) / 2)
        # What a caller may still hold is copied, since Y is overwritten.
        copy = not ours and y.dtype == np.float64
        return dense.fortran(y.astype(np.float64, copy=False), copy=copy), shift, unit

    def _split_square(self, y: Any, sizes: _Sizes) -> _Split | None:
        """Y = X U with square factors; None if a pivot is exactly zero. Y is overwritten."""
        order = self._order(sizes.columns)
        if order is not None:
            y = y[:, self._xp.asarray(order)]
        columns = sizes.columns if order is None else sizes.columns[order]
        if self._careful:
            x, upper = dense.qr(y, sizes.rows, self._xp)
        else:
            found = dense.lu(dense.fortran(y), self._xp)
            if found is None:
                return None
            x, upper = found
        probes = x.coordinates(self._xp.asarray(sizes.rows[:, None] * graded.signs(len(y))))
        growth = 1.0 if self._careful else float(_arrays.largest(upper)) / (PIVOT_GROWTH * sizes.rows.max())
        unit_error, weights = rounding(self.n) * max(1.0, growth), columns / columns.max()
        plain, apart = (
            unit_error * self._solution(upper, probes, size) * weights[:size, None]
            for size in (len(y), len(y) - deflation.width(len(y)))
        )
        amplification = graded.largest_norm(plain)
        return _Split(x, upper, None, order, amplification, amplification, apart)

    def _solution(self, upper: Any, values: Any, size: int) -> np.ndarray:
        """U⁻¹ values for the upper left block of U of this size."""
        return _arrays.to_host(dense.solve_upper(upper, values, self._xp, size)[:size])

    def _deflated(self, split: _Split, factors: list[Factor], unit: float) -> _Split:
        """With the corner of U found anew, where that may be done and the rest of it is accurate enough."""
        able = all(deflation.backward(factor) is not None for factor in factors)
        if not able or unit > UNIT or split.apart is None or deflation.width(self.n) == 0:
            return split
        spread = self._obliqueness()
        if unit * graded.largest_norm(split.apart) * spread > self.rtol:
            return split
        corner = deflation.found_anew(split, self._x, factors, self._d, rounding(self.n), spread, self._xp)
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
        solved = self._xp.linalg.solve(self._t, self._xp.asarray(graded.signs(self.n)))
        return max(1.0, graded.largest_norm(_arrays.to_host(solved)) / self.n)

    def _split_any(self, y: Any) -> _Split:
        """Y of any shape, with rows or columns of zeros: Householder, columns sorted."""
        q, d, t, order, log_range = graded_qr(y, self._d[: y.shape[1]], self._xp)
        amplification = rounding(self.n) * 2.0 ** min(log_range, 1000.0)
        return _Split(dense.Dense(q, self._xp), t, d, order, amplification, amplification)

    def _order(self, columns: np.ndarray) -> np.ndarray | None:
        """Order of the columns of Y by decreasing size, None where they are in order as they are."""
        size = np.log2(columns) + self._d
        if graded.disorder(size) <= DISORDER:
            return None
        return np.argsort(-size, kind="stable")

    def _update(self, split: _Split, shift: Any) -> None:
        """diag(2^d) T ← U diag(2^d) T."""
        xp = self._xp
        if split.order is not None and self._t is not None:
            self._t, self._triangular = self._t[xp.asarray(split.order)], False
        if split.d is not None:
            self._t = split.upper if self._t is None else split.upper @ self._t
            self._d, self._triangular = split.d + int(shift), False
            return
        d = self._d if split.order is None else self._d[split.order]
        rows = None if split.corner is None else self._last_rows(split.corner, d)
        self._t, self._d = scaled_product(split.upper, self._t, d, self._spare, triangular=self._triangular)
        self._d = self._d + int(shift)
        if rows is not None:
            t, last = rows
            k = len(last)
            self._t[-k:, -t.shape[1] :], self._d[-k:] = xp.asarray(t), last

    def _last_rows(self, corner: deflation.Corner, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """d' and T' of diag(2^d') T' = S diag(2^d) T for the last rows (T triangular: last block)."""
        k, spare = len(corner.left), dense.Spare(np)
        t: Any = None
        last = d[-k:]
        if self._t is not None:
            t = self._t[-k:, -k:] if self._triangular else self._t[-k:]
            t = np.array(_arrays.to_host(t), order="F")
        for upper in corner.uppers:
            t, last = scaled_product(np.asfortranarray(upper), t, last, spare, triangular=self._triangular)
        return t, last + corner.exponent

    def _orthogonalise(self) -> None:
        """X = Q R with R taken over into T; X is dense where it was triangular."""
        x = self._x.dense()
        q, r = dense.qr(x, _arrays.largest(x, axis=1), self._xp)
        self._x = q
        self._t, self._d = scaled_product(r, self._t, self._d, self._spare, triangular=self._triangular)


class _Split(NamedTuple):
    """Y = X U, columns in ``order``; where ``d`` is given, U = diag(2^d) ``upper`` diag(2^−d_before).

    ``amplification`` of rounding errors: with the corner of U found anew where that is given. ``plain``: with
    U as it is. ``apart``: of U_aa, the columns whose norms it is.
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
        exponent = int(np.clip(np.frexp(top)[1], -1000, 1000))
        self.exponent = exponent if abs(exponent) > NEAR else 0
        self.positive = bool(rows.all() and columns.all())
        self.smallest = min(rows.min(initial=top), columns.min(initial=top)) / top if top > 0.0 else 0.0

    @classmethod
    def of(cls, y: Any) -> _Sizes:
        return cls(*(_arrays.to_host(_arrays.largest(y, axis=axis)) for axis in (1, 0)))

    def scaled(self) -> _Sizes:
        """Those of 2^−exponent Y."""
        return _Sizes(np.ldexp(self.rows, -self.exponent), np.ldexp(self.columns, -self.exponent))


def longest_group(n: int) -> int:
    """Largest number of factors kept before they are multiplied."""
    return min(MAX_GROUP, max(4, LARGEST_GROUP // (8 * n * n)))


def _matrix(factor: Factor) -> Any | None:
    if hasattr(factor, "matrix"):
        return factor.matrix()
    return None if callable(factor) else factor


def _near_one(y: Any, xp: Any, *, ours: bool) -> tuple[Any, Any]:
    """y/2^k and k with no entry beyond 2^NEAR, in place if ``ours``.

    Powers of two are exact. On the host k = 0 where that will do; from a device no value is fetched for it.
    """
    exponent = xp.frexp(_arrays.largest(y))[1]
    if xp is np and abs(exponent) <= NEAR:
        return y, 0
    return xp.multiply(y, xp.ldexp(1.0, -exponent), out=y if ours else None), exponent


def rounding(n: int) -> float:
    """Size of rounding errors of a product of n × n matrices, in units of rounding, with a factor to spare.

    Sums of n terms round like √n/2. The errors of the smallest singular values of Gaussian, tanh and
    minimalRNN products, n = 16 to 1024, were within half of this times the probed amplification.
    """
    return 12.0 + 1.5 * math.sqrt(n)
