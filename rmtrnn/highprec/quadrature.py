# SymPy annotates most results as Basic, also where only an Expr can come; NumPy's stubs know no dtype here.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportMissingImports=false, reportOptionalMemberAccess=false
"""Gaussian expectations E[1/(w − X)], X = φ'(e)², that stay right when w comes close to the values of X.

On the real line the integrand has poles at distance ~ Im w from the path, and any rule that does not know it
can be wrong in every digit. For w in the upper half plane, and for real w as w + i0, the poles are avoided
instead: the path

    e(x) = x − iε s(x),   s = B r/(a² + r²),   r = φ''/φ',   so that   X(e(x)) ≈ X(x) (1 − 2iε s r),

turns X into the closed *lower* half plane by an angle that does not fade in the tails, away from every such w
at once, so one table of nodes serves all w. B = 1 for an analytic φ'; between kinks B vanishes at the finite
ends, which stay where they are (as zeros of φ' do by themselves); a is a typical |r| where the weight is. ε
is chosen so that Im X ≤ 0 on all paths between 0 and ε: then no pole is crossed.

Analytic φ' without zeros: the trapezoidal rule in z = (x − μ)/√q. Between kinks and zeros of φ': tanh-sinh,
which is the trapezoidal rule after x = x(t). Both converge geometrically (halving the step doubles the
correct digits). The step is halved until two successive results agree to all digits asked for, so that the
true error is far below.

Letters: q, the variance of a pre-activation.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import sympy
from mpmath import mp

from rmtrnn._core.status import ConvergenceError
from rmtrnn.cells import Activation
from rmtrnn.cells.functions import differentiate
from rmtrnn.cells.numeric import compile_expressions
from rmtrnn.highprec import numbers
from rmtrnn.highprec.expressions import AnalyticPiece, analytic_pieces, mpmath_function
from rmtrnn.highprec.formulas import Transform
from rmtrnn.highprec.numbers import acb, evaluator, exponential, flint_precision, middle, mpc, number

GUARD = 15
"""Decimal digits carried beyond those asked for."""


@dataclass(frozen=True)
class QuadratureSettings:
    """Numbers of the quadrature; the precision is asked for, and the halvings reach it."""

    # Step of level 0, in standard deviations. It decides how many halvings there are, not the accuracy.
    first_step: float = 0.25
    # Bits. Derived: Arb rounds down, so a sum of n terms may lose log2(n) bits, and n < 2^24.
    guard_bits: int = 24
    # Nodes before a quadrature gives up: minutes of time. Two equal levels end it before.
    most_nodes: int = 400_000
    # Nodes beyond which the pieces are split at the critical points of X first. Empirical: without such
    # points fewer serve at 100 digits.
    few_nodes: int = 20_000
    # Halvings of the step before an average over e is given up: 2^18 nodes. Two equal levels end it before.
    halvings: int = 18
    # Digits that Im m may lie below |m| before a density is given up as not distinguishable from 0.
    most_lost: int = 400


SETTINGS = QuadratureSettings()


class _Level(NamedTuple):
    """Nodes that one halving of the step adds: values of X, weights c and c·X."""

    X: list[Any]
    c: list[Any]
    cX: list[Any]


class GaussianTransform:
    """m(w) = E[X/(w − X)] and its derivatives for X = φ'(e)², e ~ N(μ, q), at ``dps`` digits.

    ``deform=False`` keeps the path on the real line: for real w outside the support of X, for moments, and
    for checking the deformed path against it.
    """

    def __init__(
        self,
        activation: Activation,
        q: Any,
        mu: Any,
        dps: int,
        deform: bool = True,
        turns: bool = False,
    ) -> None:
        self.dps, self._turns = dps, turns
        with mp.workdps(dps + GUARD):
            self.q, self.mu = +mp.mpf(q), +mp.mpf(mu)
            self.reach = mp.sqrt(2 * (dps + GUARD) * mp.log(10)) * mp.mpf("1.05")
            self.pieces = [
                _Path(piece, low, high, self, deform)
                for piece in analytic_pieces(activation)
                for low, high in self._stretches(piece, deform)
            ]
        self.even = len(self.pieces) == 1 and self.mu == 0 and _is_even(analytic_pieces(activation)[0])
        self.levels: list[_Level] = []
        self._split = (activation, q, mu, dps, True, True) if deform and not turns else None

    @functools.cached_property
    def split(self) -> GaussianTransform:
        """The same transform with paths that end at the critical points of X, for w near the values there."""
        assert self._split is not None
        return GaussianTransform(*self._split)

    def _stretches(self, piece: AnalyticPiece, deform: bool) -> list[tuple[Any, Any]]:
        """The piece within reach. A deformed path ends at zeros of φ', near which X = w has two close
        solutions, and with ``turns`` also at zeros of φ'', the other critical points of X.
        """
        low, high = (self.mu + sign * self.reach * mp.sqrt(self.q) for sign in (-1, 1))
        low = max(low, _real(piece.low)) if piece.low.is_finite else low
        high = min(high, _real(piece.high)) if piece.high.is_finite else high
        if low >= high:
            return []
        zeros: list[Any] = []
        first = differentiate(piece.slope, piece.symbol)
        if deform and first != 0:
            zeros = _zeros(piece.slope, piece.symbol, low, high)
            zeros += _zeros(first, piece.symbol, low, high) if self._turns else []
        return list(itertools.pairwise([low, *sorted(zeros), high]))

    def level(self, index: int) -> _Level:
        """The nodes of one level, made on first use."""
        while len(self.levels) <= index:
            with mp.workdps(self.dps + GUARD), flint_precision(mp.prec + SETTINGS.guard_bits):
                new = [node for path in self.pieces for node in path.nodes(len(self.levels), self.even)]
                X, c = [X for X, _ in new], [c for _, c in new]
                self.levels.append(_Level(X, c, [x * y for x, y in zip(X, c, strict=True)]))
        return self.levels[index]

    def _converged(self, add: Callable[[_Level], list[Any]]) -> list[Any]:
        """Sum a batch of integrands over ever more nodes until two levels agree relative to |value|."""
        if self._split is None:
            return self._halve(add, SETTINGS.most_nodes)
        try:
            return self._halve(add, SETTINGS.few_nodes)
        except ConvergenceError:
            return self.split._halve(add, SETTINGS.most_nodes)

    def _halve(self, add: Callable[[_Level], list[Any]], limit: int) -> list[Any]:
        total: list[Any] | None = None
        previous: list[Any] | None = None
        nodes = 0
        tolerance = mp.mpf(10) ** -(self.dps + 3)
        for index in range(40):
            level = self.level(index)
            nodes += len(level.X)
            part = add(level)
            total = part if total is None else [old / 2 + new for old, new in zip(total, part, strict=True)]
            if (
                previous is not None
                and index >= 2
                and all(abs(a - b) <= tolerance * abs(a) for a, b in zip(total, previous, strict=True))
            ):
                return total
            if nodes > limit:
                break
            previous = total
        raise ConvergenceError(
            f"quadrature: {nodes} nodes do not give {self.dps} digits; w is too close to the support of φ'² "
            "for this activation, ask for fewer digits or a larger λ"
        )

    def transform(self, w: Any, order: int = 1) -> Transform:
        """m, 1 + m, m', m'' (0 unless ``order`` = 2) at w: Im w > 0, or real and off the support."""

        def add(level: _Level) -> list[Any]:
            return _pole_sums(level, w, order)

        one, m, d1, d2 = [*self._converged(add), mp.mpf(0)][:4]
        return Transform(m, one, d1, d2)

    def log_potential(self, w: Any) -> Any:
        """E[log(1 − X/w)], Im w > 0: w − X stays in the upper half plane, both logarithms are principal."""

        def add(level: _Level) -> list[Any]:
            if numbers.flint is None:
                return [mp.fsum(c * mp.log(w - X) for X, c in zip(level.X, level.c, strict=True))]
            with flint_precision(mp.prec + SETTINGS.guard_bits):
                point, total = acb(w), numbers.flint.acb(0)
                for X, c in zip(level.X, level.c, strict=True):
                    total += c * (point - X).log()
                return [mpc(total)]

        return self._converged(add)[0] - mp.log(w)

    def expectation(self, f: Callable[[Any], Any]) -> Any:
        """E[f(X)]."""

        def add(level: _Level) -> list[Any]:
            return [mp.fsum(mpc(c) * f(mpc(X)) for X, c in zip(level.X, level.c, strict=True))]

        return self._converged(add)[0]

    def floats(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes of a rule good for starting values, as complex128 arrays (X, weights)."""
        parts = [path.floats(self.even) for path in self.pieces]
        X, c = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
        keep = abs(c) > 1e-40
        return X[keep], c[keep]


class _Path:
    """The (deformed) path along one analytic piece, and its nodes level by level."""

    def __init__(
        self, piece: AnalyticPiece, low: Any, high: Any, owner: GaussianTransform, deform: bool
    ) -> None:
        z = self._z = piece.symbol
        self.low, self.high, self.mu, self.root = low, high, owner.mu, mp.sqrt(owner.q)
        first = differentiate(piece.slope, z)
        bump, length = sympy.Integer(1), sympy.Rational(round(1000 * min(1.0, float(self.root))) + 1, 4000)
        for end in (piece.low, piece.high):
            if end.is_finite:
                away = z - end if end is piece.low else end - z
                bump *= away / (length + away)
        self._parts = [piece.slope, first, differentiate(first, z), bump, sympy.diff(bump, z)]
        self._slope, self._bend = (evaluator(z, parts) for parts in (self._parts[:1], self._parts))
        self.analytic = (
            low == owner.mu - owner.reach * self.root and high == owner.mu + owner.reach * self.root
        )
        # tanh-sinh ends where the distance to the end of the piece is below the working precision
        self.t_max = mp.asinh((2 / mp.pi) * mp.log(mp.mpf(10)) * (owner.dps + GUARD) / 2 * mp.mpf("1.1"))
        self.epsilon, self.scale = mp.mpf(0), mp.mpf(1)
        if deform and first != 0:
            self._choose_path()

    @functools.cached_property
    def _arrays(self) -> Callable[[Any], list[Any]]:
        return compile_expressions([self._z], self._parts, np)

    def _float_shift(self, x: np.ndarray) -> np.ndarray:
        """s(x) at real x in double precision."""
        f1, f2, _, bump, _ = (np.broadcast_to(part, x.shape) for part in self._arrays(x))
        size = (float(self.scale) * f1) ** 2 + f2**2
        with np.errstate(invalid="ignore"):
            return np.where(size > 0, bump * f1 * f2 / size, 0.0)

    def _choose_path(self) -> None:
        """a = a typical |r| (80 % are below) within 3√q of μ, and the largest of a few ε for which Im X ≤ 0
        on all paths up to it, tried at 400 points in double precision.
        """
        low, high, mu, root = (float(v) for v in (self.low, self.high, self.mu, self.root))
        x = low + (high - low) * (np.arange(400) + 0.37) / 400
        near = np.linspace(max(low, mu - 3 * root), min(high, mu + 3 * root), 102)[1:-1]
        f1, f2, *_ = (np.broadcast_to(part, near.shape) for part in self._arrays(near))
        ratios = np.abs(f2[f1 != 0] / f1[f1 != 0])
        typical = float(np.quantile(ratios, 0.8)) if ratios.size else 0.0
        self.scale = mp.mpf(typical) if typical > 0 else mp.mpf(1)
        shifts = self._float_shift(x)
        largest = float(abs(shifts).max())
        if largest == 0:
            return
        width = min(0.5, 2 * root) / largest  # the weight on the path grows by at most e²
        for factor in (1, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625):
            X = [self._arrays(x - 1j * width * factor * k / 4 * shifts)[0] ** 2 for k in (1, 2, 3, 4)]
            if all(np.all(part.imag <= 1e-13 * abs(part)) for part in X):
                self.epsilon = mp.mpf(width * factor)
                return

    def nodes(self, level: int, even: bool) -> Iterator[tuple[Any, Any]]:
        """(X, weight) of the nodes that ``level`` adds: Arb numbers without radius, or mpmath's."""
        step = mp.mpf(SETTINGS.first_step) / 2**level
        rule = self._trapezoid(step, level, even) if self.analytic else self._tanh_sinh(step, level)
        mu, half, a2 = number(self.mu), number(1 / (2 * self.root**2)), number(self.scale**2)
        turn, norm = number(mp.mpc(0, -self.epsilon)), number(1 / (self.root * mp.sqrt(2 * mp.pi)))
        for x, dx in rule:
            e, weight = number(x), norm * number(dx)
            if self.epsilon:
                f1, f2, f3, bump, bump1 = self._bend(e)
                size = a2 * f1 * f1 + f2 * f2
                top, top1 = f1 * f2, f2 * f2 + f1 * f3
                e += turn * bump * top / size
                rise = top1 / size - 2 * top * (a2 * f1 * f2 + f2 * f3) / (size * size)
                weight *= 1 + turn * (bump1 * top / size + bump * rise)
            X = self._slope(e)[0]
            yield middle(X * X), middle(weight * exponential(-((e - mu) ** 2) * half))

    def floats(self, even: bool) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and weights in double precision, at a fixed step."""
        with mp.workdps(30):
            step = mp.mpf(SETTINGS.first_step) / 32
            rule = self._trapezoid(step, 0, even) if self.analytic else self._tanh_sinh(step, 0, t_max=4)
            x, dx = np.array([(float(x), float(dx)) for x, dx in rule]).T
        root, shift, h = float(self.root), self._float_shift(x), 1e-5
        inner = np.clip(x, float(self.low) + 2 * h, float(self.high) - 2 * h)
        slope = (self._float_shift(inner + h) - self._float_shift(inner - h)) / (
            2 * h
        )  # starting values only
        e = x - 1j * float(self.epsilon) * shift
        weight = (
            np.exp(-(((e - float(self.mu)) / root) ** 2) / 2) * (1 - 1j * float(self.epsilon) * slope) * dx
        )
        X = np.broadcast_to(self._arrays(e)[0], e.shape) ** 2
        return X, weight / (root * np.sqrt(2 * np.pi))

    def _trapezoid(self, step: Any, level: int, even: bool) -> Iterator[tuple[Any, Any]]:
        step = min(step, step / self.root)
        reach = (self.high - self.mu) / self.root
        first, stride = (0, 1) if level == 0 else (1, 2)
        for k in range(first, int(reach / step) + 1, stride):
            x, dx = k * step * self.root, step * self.root
            if k == 0:
                yield self.mu, dx
            elif even:
                yield self.mu + x, 2 * dx
            else:
                yield self.mu + x, dx
                yield self.mu - x, dx

    def _tanh_sinh(self, step: Any, level: int, t_max: Any = None) -> Iterator[tuple[Any, Any]]:
        half = (self.high - self.low) / 2
        first, stride = (0, 1) if level == 0 else (1, 2)
        count = int((self.t_max if t_max is None else min(self.t_max, t_max)) / step)
        for k in range(first, count + 1, stride):
            t = k * step
            u = mp.pi / 2 * mp.sinh(t)
            gap = half * 2 / (1 + mp.exp(2 * u))  # distance from the nearer end, without cancellation
            dx = half * step * mp.pi / 2 * mp.cosh(t) / mp.cosh(u) ** 2
            yield self.high - gap, dx
            if k:
                yield self.low + gap, dx


def _zeros(expr: sympy.Expr, z: sympy.Symbol, low: Any, high: Any) -> list[Any]:
    """Sign changes of ``expr`` seen on a grid of 2000 points, at the precision in force."""
    x = np.linspace(float(low), float(high), 2001)[1:-1] + (float(high) - float(low)) / 7001
    sign = np.sign(np.broadcast_to(compile_expressions([z], [expr], np)(x)[0], x.shape))
    exact = mpmath_function(z, [expr])
    return [
        mp.findroot(lambda v: exact(v)[0], (x[k], x[k + 1]), solver="anderson")
        for k in np.flatnonzero(sign[:-1] * sign[1:] < 0)
    ]


def _pole_sums(level: _Level, w: Any, order: int) -> list[Any]:
    """Σ c w/(w − X), Σ cX/(w − X), −Σ cX/(w − X)², 2 Σ cX/(w − X)³ (if order = 2)."""
    fast = numbers.flint is not None
    with flint_precision(mp.prec + SETTINGS.guard_bits):
        point = acb(w) if fast else w
        one = m = d1 = d2 = point * 0
        for X, c, cX in zip(level.X, level.c, level.cX, strict=True):
            pole = 1 / (point - X)
            one += c * pole
            term = cX * pole
            m += term
            term = term * pole
            d1 -= term
            if order == 2:
                d2 += term * pole
        sums = [one * point, m, d1] + ([2 * d2] if order == 2 else [])
    values = [mpc(value) for value in sums] if fast else sums
    return [value.real for value in values] if mp.im(w) == 0 and not _complex(level) else values


def _complex(level: _Level) -> bool:
    return any(mp.im(mpc(X)) != 0 for X in level.X[:3] + level.X[-3:])


def _is_even(piece: AnalyticPiece) -> bool:
    X = piece.slope**2
    return sympy.simplify(X - X.subs(piece.symbol, -piece.symbol)) == 0


def _real(expr: sympy.Expr) -> Any:
    return mp.mpf(sympy.N(expr, mp.dps + 5)) if not expr.is_Rational else mp.mpf(int(expr.p)) / int(expr.q)
