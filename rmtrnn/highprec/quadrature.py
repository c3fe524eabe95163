# SymPy annotates most results as Basic, also where only an Expr can come; NumPy's stubs know no dtype here.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportMissingImports=false, reportOptionalMemberAccess=false
"""Gaussian expectations E[1/(w − X)], X = φ'(e)², that stay right when w comes close to the values of X.

On the real line the integrand has poles at distance ~ Im w from the path, and any rule that does not know it
can be wrong in every digit. For w in the upper half plane the poles are avoided instead: the path

    e(x) = x − iε s(x),   s(x) = X'(x) B(x),   so that   X(e(x)) ≈ X(x) − iε B X'(x)²

carries X into the closed *lower* half plane, away from every such w at once, so one table of nodes serves
all w. B = 1 for an analytic φ'; between kinks B vanishes quadratically at the finite ends, which stay where
they are. ε is chosen so that Im X ≤ 0 on all paths between 0 and ε: then no pole is crossed.

Analytic φ': the trapezoidal rule in z = (x − μ)/√q. Pieces between kinks: tanh-sinh, which is the
trapezoidal rule after x = x(t). Both converge geometrically (halving the step doubles the correct digits).
The step is halved until two successive results agree to all digits asked for, so that the true error is far
below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import mpmath
import numpy as np
import sympy
from mpmath import mp

from rmtrnn._result import ConvergenceError
from rmtrnn.cells import Activation
from rmtrnn.highprec.expressions import (
    AnalyticPiece,
    UnsupportedExpression,
    analytic_pieces,
    arb_function,
    mpmath_function,
)
from rmtrnn.highprec.formulas import Transform

try:  # python-flint only makes it faster
    import flint
except ImportError:
    flint = None

GUARD = 15
"""Decimal digits carried beyond those asked for."""
_FIRST_STEP = 0.25
_MAX_NODES = 400_000


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

    def __init__(self, activation: Activation, q: Any, mu: Any, dps: int, deform: bool = True) -> None:
        self.dps = dps
        with mp.workdps(dps + GUARD):
            self.q, self.mu = +mp.mpf(q), +mp.mpf(mu)
            self.reach = mp.sqrt(2 * (dps + GUARD) * mp.log(10)) * mp.mpf("1.05")
            self.pieces = [_Path(piece, self, deform) for piece in analytic_pieces(activation)]
        self.even = len(self.pieces) == 1 and self.mu == 0 and _is_even(analytic_pieces(activation)[0])
        self.levels: list[_Level] = []

    def level(self, index: int) -> _Level:
        """The nodes of one level, made on first use."""
        while len(self.levels) <= index:
            with mp.workdps(self.dps + GUARD):
                new = [node for path in self.pieces for node in path.nodes(len(self.levels), self.even)]
                number = (lambda value: value) if flint is None else _acb
                with _flint_precision(mp.prec):
                    X, c = [number(X) for X, _ in new], [number(c) for _, c in new]
                    self.levels.append(_Level(X, c, [x * y for x, y in zip(X, c, strict=True)]))
        return self.levels[index]

    def _converged(self, add: Callable[[_Level], list[Any]]) -> list[Any]:
        """Sum a batch of integrands over ever more nodes until two levels agree relative to |value|."""
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
            if nodes > _MAX_NODES:
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
            if flint is None:
                return [mp.fsum(c * mp.log(w - X) for X, c in zip(level.X, level.c, strict=True))]
            with _flint_precision(mp.prec):
                point, total = _acb(w), flint.acb(0)
                for X, c in zip(level.X, level.c, strict=True):
                    total += c * (point - X).log()
                return [_mpc(total)]

        return self._converged(add)[0] - mp.log(w)

    def expectation(self, f: Callable[[Any], Any]) -> Any:
        """E[f(X)]."""

        def add(level: _Level) -> list[Any]:
            return [mp.fsum(_mpc(c) * f(_mpc(X)) for X, c in zip(level.X, level.c, strict=True))]

        return self._converged(add)[0]

    def floats(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes of a rule good for starting values, as complex128 arrays (X, weights)."""
        depth = 5
        levels = [self.level(index) for index in range(depth + 1)]
        X = np.array([complex(_mpc(x)) for level in levels for x in level.X])
        weights = [
            complex(_mpc(c)) * 2.0 ** (index - depth) for index, level in enumerate(levels) for c in level.c
        ]
        c = np.array(weights)
        keep = abs(c) > 1e-40
        return X[keep], c[keep]


class _Path:
    """The (deformed) path along one analytic piece, and its nodes level by level."""

    def __init__(self, piece: AnalyticPiece, owner: GaussianTransform, deform: bool) -> None:
        z = piece.symbol
        X = piece.slope**2
        bump = sympy.Integer(1)
        for end in (piece.low, piece.high):
            if end.is_finite:
                bump *= (z - end) ** 2 / (1 + (z - end) ** 2)
        shift = sympy.diff(X, z) * bump
        self._shift = _fast(z, shift), _fast(z, sympy.diff(shift, z))
        self._X = _fast(z, X)
        self.mu, self.root = owner.mu, mp.sqrt(owner.q)
        left, right = self.mu - owner.reach * self.root, self.mu + owner.reach * self.root
        self.low = max(left, _real(piece.low)) if piece.low.is_finite else left
        self.high = min(right, _real(piece.high)) if piece.high.is_finite else right
        self.analytic = not (piece.low.is_finite or piece.high.is_finite)
        self.constant = not piece.slope.has(z)
        # tanh-sinh ends where the distance to the end of the piece is below the working precision
        self.t_max = mp.asinh((2 / mp.pi) * mp.log(mp.mpf(10)) * (owner.dps + GUARD) / 2 * mp.mpf("1.1"))
        self.epsilon = self._choose_epsilon() if deform and self.low < self.high else mp.mpf(0)

    def _choose_epsilon(self) -> Any:
        """The largest of a few ε for which Im X ≤ 0 on all paths up to it, tried at 200 points at 15
        digits.
        """
        with mp.workdps(20):
            points = [self.low + (self.high - self.low) * (k + mp.mpf("0.37")) / 200 for k in range(200)]
            shifts = [mp.re(self._shift[0](x)) for x in points]
            largest = max(abs(s) for s in shifts)
            if largest == 0:
                return mp.mpf(0)
            width = min(mp.mpf("0.4"), self.root) / largest
            tiny = mp.mpf("1e-18")
            for factor in (1, 0.5, 0.25, 0.125, 0.0625, 0.03125):
                paths = [width * factor * k / 4 for k in (1, 2, 3, 4)]
                values = [
                    mp.im(self._X(x - 1j * e * s)) for e in paths for x, s in zip(points, shifts, strict=True)
                ]
                if max(values) <= tiny:
                    return paths[-1]
        return mp.mpf(0)

    def nodes(self, level: int, even: bool) -> Iterator[tuple[Any, Any]]:
        """(X, weight) of the nodes that ``level`` adds."""
        if self.low >= self.high:
            return
        for x, dx in self._trapezoid(level, even) if self.analytic else self._tanh_sinh(level):
            if self.epsilon:
                shift, derivative = (part(x) for part in self._shift)
                e, jacobian = x - 1j * self.epsilon * shift, 1 - 1j * self.epsilon * derivative
            else:
                e, jacobian = x, mp.mpf(1)
            weight = mp.exp(-(((e - self.mu) / self.root) ** 2) / 2) * jacobian * dx
            yield self._X(e), weight / (self.root * mp.sqrt(2 * mp.pi))

    def _trapezoid(self, level: int, even: bool) -> Iterator[tuple[Any, Any]]:
        step = min(mp.mpf(_FIRST_STEP), _FIRST_STEP / self.root) / 2**level
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

    def _tanh_sinh(self, level: int) -> Iterator[tuple[Any, Any]]:
        step = mp.mpf(_FIRST_STEP) / 2**level
        half = (self.high - self.low) / 2
        first, stride = (0, 1) if level == 0 else (1, 2)
        count = int(self.t_max / step)
        for k in range(first, count + 1, stride):
            t = k * step
            u = mp.pi / 2 * mp.sinh(t)
            gap = half * 2 / (1 + mp.exp(2 * u))  # distance from the nearer end, without cancellation
            dx = half * step * mp.pi / 2 * mp.cosh(t) / mp.cosh(u) ** 2
            yield self.high - gap, dx
            if k:
                yield self.low + gap, dx


def _pole_sums(level: _Level, w: Any, order: int) -> list[Any]:
    """Σ c w/(w − X), Σ cX/(w − X), −Σ cX/(w − X)², 2 Σ cX/(w − X)³ (if order = 2)."""
    fast = flint is not None
    with _flint_precision(mp.prec):
        point = _acb(w) if fast else w
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
    values = [_mpc(value) for value in sums] if fast else sums
    return [value.real for value in values] if mp.im(w) == 0 and not _complex(level) else values


def _complex(level: _Level) -> bool:
    return any(mp.im(_mpc(X)) != 0 for X in level.X[:3] + level.X[-3:])


def _is_even(piece: AnalyticPiece) -> bool:
    X = piece.slope**2
    return sympy.simplify(X - X.subs(piece.symbol, -piece.symbol)) == 0


def _real(expr: sympy.Expr) -> Any:
    return mp.mpf(sympy.N(expr, mp.dps + 5)) if not expr.is_Rational else mp.mpf(int(expr.p)) / int(expr.q)


def _fast(z: sympy.Symbol, expr: sympy.Expr) -> Callable[[Any], Any]:
    """One mpmath number to another, through Arb where it can."""
    slow = mpmath_function(z, [expr])
    if flint is None:
        return lambda x: slow(x)[0]
    try:
        ball = arb_function(z, expr)
    except UnsupportedExpression:
        return lambda x: slow(x)[0]

    def evaluate(x: Any) -> Any:
        with _flint_precision(mp.prec):
            return _mpc(ball(_acb(x), False))

    return evaluate


class _flint_precision:
    """Sets the working precision of python-flint for a block (does nothing without it)."""

    def __init__(self, bits: int) -> None:
        self._bits = bits

    def __enter__(self) -> None:
        if flint is not None:
            self._old, flint.ctx.prec = flint.ctx.prec, self._bits

    def __exit__(self, *_: Any) -> None:
        if flint is not None:
            flint.ctx.prec = self._old


def _acb(value: Any) -> Any:
    assert flint is not None
    value = mp.mpmathify(value)
    return flint.acb(flint.arb(value.real), flint.arb(value.imag))


def _mpf(ball: Any) -> Any:
    mantissa, exponent = ball.mid().man_exp()
    return mp.ldexp(mp.mpf(int(mantissa)), int(exponent))


def _mpc(value: Any) -> Any:
    if isinstance(value, mpmath.mpf | mpmath.mpc):
        return value
    return mp.mpc(_mpf(value.real), _mpf(value.imag))
