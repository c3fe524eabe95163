# SymPy annotates most results as Basic, also where only an Expr can come; NumPy's stubs know no dtype here.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportMissingImports=false, reportOptionalMemberAccess=false
"""Rigorous enclosures of Gaussian expectations in Arb balls: `acb.integral` between cuts, and proven tails.

The variable is e itself, so that kinks are exact and only the Gaussian weight knows q. Beyond |e − μ| = A√q
the integrand is bounded on the real line by elementary means, from the structure of the expression.

Letters: q, the variance of a pre-activation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import sympy
from flint import acb, arb, ctx, fmpq

from rmtrnn.cells import Activation, logistic, normal_cdf, sech2
from rmtrnn.cells.functions import softplus
from rmtrnn.highprec.expressions import UnsupportedExpression, analytic_pieces, arb_function
from rmtrnn.highprec.formulas import Transform

_ROUGH = 64
"""Bits at work for the highest derivative, which only bounds a remainder: 20 correct bits are enough."""


class CertificationError(RuntimeError):
    """Raised where a statement could not be proven; says which one and why."""


class OutOfScope(CertificationError):
    """More digits would not help: a function or a case that the rules built in here do not cover."""


def rational(value: Any) -> Any:
    """A Fraction as a ball."""
    return arb(fmpq(int(value.numerator), int(value.denominator)))


class _Segment(NamedTuple):
    """A finite stretch of the e axis on which φ and φ' are analytic."""

    low: Any
    high: Any
    phi: Callable[[Any, bool], Any]
    slope: Callable[[Any, bool], Any]


class GaussianBalls:
    """Enclosures of expectations over e ~ N(μ, q), q a ball, at the flint precision in force when made."""

    def __init__(self, activation: Activation, q: Any, mu: Any, bits: int) -> None:
        if not q > 0:
            raise CertificationError(f"q = {q}: the enclosure of q* is not positive")
        self.activation, self.q, self.mu = activation, q, mu
        # erfc(z/√2) < 2^{-bits-20} needs z² ≥ 2 log 2 (bits + 20)
        z = int((2 * 0.6932 * (bits + 20)) ** 0.5) + 2
        radius = int(100 * float((q.sqrt() * z).abs_upper())) + 101
        # The tails beyond the cuts belong to the outermost pieces alone, and the cuts lie on both sides of 0:
        # bounds "for |e| ≥ reach" then hold on all of both tails.
        self.pieces = analytic_pieces(activation)
        for point in [arb(0), *(_exact(piece.low) for piece in self.pieces[1:])]:
            radius = max(radius, int(100 * float(abs(point - mu).abs_upper())) + 801)
        self.half_width = fmpq(radius, 100)
        self.z = (arb(self.half_width) / q.sqrt()).abs_lower()
        self.low, self.high = mu - arb(self.half_width), mu + arb(self.half_width)
        if not (self.low < 0 and self.high > 0):
            raise CertificationError(f"the cuts {self.low}, {self.high} do not enclose 0")
        self.reach = (self.low.abs_lower()).min(self.high.abs_lower())
        self.even = len(self.pieces) == 1 and mu == 0 and _even(self.pieces[0])
        self._norm = 1 / (2 * arb.pi() * q).sqrt()

    def segments(self) -> list[_Segment]:
        """The stretches between the lower cut, the kinks and the upper cut."""
        try:
            found = []
            for piece in self.pieces:
                phi, slope = (arb_function(piece.symbol, part) for part in (piece.phi, piece.slope))
                low = self.low if piece.low is -sympy.oo else _exact(piece.low)
                high = self.high if piece.high is sympy.oo else _exact(piece.high)
                found.append(_Segment(low, high, phi, slope))
            return found
        except UnsupportedExpression as error:
            raise OutOfScope(str(error)) from error

    def integrate(self, f: Callable[[_Segment, Any, bool], Any], even: bool = False) -> Any:
        """∫ f(e) N(e; μ, q) de between the cuts. ``even``: f is known to be even about μ = 0."""
        total = acb(0)
        for segment in self.segments():

            def integrand(e: Any, analytic: bool, segment: _Segment = segment) -> Any:
                return f(segment, e, analytic) * (-((e - self.mu) ** 2) / (2 * self.q)).exp()

            low = acb(0) if even else acb(segment.low)
            total += acb.integral(integrand, low, acb(segment.high)) * (2 if even else 1)
        if not total.is_finite():
            raise CertificationError(
                "an expectation has no finite enclosure: w is, or cannot be told from, a value of φ'²"
            )
        return total * self._norm

    def transform(self, w: Any, order: int = 1) -> Transform:
        """Enclosures of m, 1 + m, m', m'' for a ball w: in the upper half plane, or real and above sup X.

        The derivative of the highest ``order`` serves as the slope in Krawczyk's operator: 15 digits do.
        """
        distance = self._tail_distance(w)
        mass = (self.z / arb(2).sqrt()).erfc()
        bound = mass * (1 + abs(w).abs_upper() / distance)  # |X/(w − X)| ≤ 1 + |w|/|w − X|

        def power(n: int, sign: int) -> Any:
            def f(segment: _Segment, e: Any, analytic: bool) -> Any:
                X = segment.slope(e, analytic) ** 2
                return sign * X / (w - X) ** n

            tail = bound / distance ** (n - 1) * abs(sign)
            if n - 1 == order:
                with ctx.workprec(_ROUGH):
                    rough = self._try(f)
                if rough is not None and rough.rel_accuracy_bits() > 20:
                    return _inflate(rough, tail, w.imag == 0)
            return _inflate(self.integrate(f, self.even), tail, w.imag == 0)

        m = power(1, 1)
        return Transform(m, 1 + m, power(2, -1), power(3, 2) if order == 2 else acb(0))

    def _try(self, f: Callable[[_Segment, Any, bool], Any]) -> Any:
        """`integrate`, or None where the working precision gives no finite enclosure."""
        try:
            return self.integrate(f, self.even)
        except CertificationError:
            return None

    def log_potential(self, w: Any) -> Any:
        """E[log(1 − X/w)] = E[log(w − X)] − log w, Im w > 0; both logarithms principal on the real line.

        There Im (w − X) > 0, so the first is log((w − X)/i) + iπ/2, whose cut does not run beside the path.
        """
        turn = acb(0, arb.pi() / 2) - w.log()

        def f(segment: _Segment, e: Any, analytic: bool) -> Any:
            return ((w - segment.slope(e, analytic) ** 2) * acb(0, -1)).log(analytic=analytic) + turn

        # on the real line Im w/|w| ≤ |1 − X/w| ≤ 1 + X/|w|, and the argument lies in (0, π)
        size = abs(w).abs_lower()
        low = (abs(w) / w.imag).abs_upper().log()
        height = arb.pi() + low + (1 + self.tail_slope() ** 2 / size).log()
        return _inflate(self.integrate(f, self.even), (self.z / arb(2).sqrt()).erfc() * height, False)

    def _tail_distance(self, w: Any) -> Any:
        """A lower bound of |w − X| beyond the cuts."""
        if w.imag > 0:
            return w.imag.abs_lower()
        top = self.tail_slope() ** 2
        distance = w.real - top
        if not distance > 0:
            raise CertificationError(
                f"w = {w.real} is not proven to lie above the values of φ'² in the tails (bound {top})"
            )
        return distance.abs_lower()

    def tail_slope(self) -> Any:
        """An upper bound of |φ'(e)| beyond the cuts."""
        bounds = [_size(piece.slope, piece, self.reach) for piece in (self.pieces[0], self.pieces[-1])]
        total = []
        for terms in bounds:
            value = arb(0)
            for (k, a), c in terms.items():
                if k and not a * self.reach > k:
                    raise CertificationError("φ' is not proven to be bounded in the tails")
                value += c * self.reach**k * (-a * self.reach).exp()
            total.append(value)
        return total[0].max(total[1]).abs_upper()

    def second_moment(self) -> tuple[Any, Any]:
        """E[φ²] and E[φ² (z² − 1)], z = (e − μ)/√q."""
        tail = arb(0)
        scale = abs(self.mu).abs_upper() + self.q.sqrt().abs_upper()  # |e| ≤ scale·|z| for |z| ≥ 1
        for piece in (self.pieces[0], self.pieces[-1]):
            square = _times(*[_size(piece.phi, piece, self.reach)] * 2)
            for (k, _), c in square.items():
                if not self.z**2 > 2 * (k + 2):
                    raise CertificationError("the tails of φ² are not proven to be small")
                # φ² (z² + 1) ≤ 2 c scale^k |z|^{k+2}, and |z|^n e^{−z²/4} falls beyond z² = 2n
                height = 2 * c * scale**k * self.z ** (k + 2) * (-(self.z**2) / 4).exp()
                tail += height * arb(2).sqrt() * (self.z / 2).erfc()

        def plain(segment: _Segment, e: Any, analytic: bool) -> Any:
            return segment.phi(e, analytic) ** 2

        def rise(segment: _Segment, e: Any, analytic: bool) -> Any:
            return segment.phi(e, analytic) ** 2 * ((e - self.mu) ** 2 / self.q - 1)

        return tuple(_inflate(self.integrate(f), tail, True).real for f in (plain, rise))

    def mean(self) -> Any:
        """E[X], X = φ'(e)²."""

        def square(segment: _Segment, e: Any, analytic: bool) -> Any:
            return segment.slope(e, analytic) ** 2

        tail = (self.z / arb(2).sqrt()).erfc() * self.tail_slope() ** 2
        return _inflate(self.integrate(square, self.even), tail, True).real

    def lies_below(self, w: Any) -> bool:
        """Whether X < w is proven at one point of every segment: with no pole there, on all of them."""
        values = (s.slope(acb((s.low + s.high) / 2), False) ** 2 for s in self.segments())
        return all(bool(X.real < w) for X in values)


class AtomBalls:
    """The same transform where φ' takes finitely many values."""

    def __init__(self, activation: Activation, q: Any, mu: Any) -> None:
        masses: dict[Any, Any] = {}
        for low, high, slope in activation.pieces:
            value = sympy.Rational(slope) ** 2
            masses[value] = masses.get(value, arb(0)) + self._mass(low, high, q, mu)
        self.atoms = [(_exact(value), mass) for value, mass in masses.items()]

    @staticmethod
    def _mass(low: sympy.Expr, high: sympy.Expr, q: Any, mu: Any) -> Any:
        """P(low < e < high), small masses without cancellation: from the tail on their own side of μ."""

        def tail(end: sympy.Expr, sign: int) -> Any:  # P(e > end), or P(e < end) for sign = −1
            if end.is_infinite:
                return arb(0) if end.is_extended_positive == (sign > 0) else arb(1)
            return (sign * (_exact(end) - mu) / (2 * q).sqrt()).erfc() / 2

        if low.is_finite and _exact(low) > mu:
            return tail(low, 1) - tail(high, 1)
        if high.is_finite and _exact(high) < mu:
            return tail(high, -1) - tail(low, -1)
        return 1 - tail(low, -1) - tail(high, 1)

    def transform(self, w: Any, order: int = 1) -> Transform:
        """Enclosures of m, 1 + m, m', m'' for a ball w off the atoms."""
        m = sum((p * X / (w - X) for X, p in self.atoms), acb(0))
        one = sum((p * w / (w - X) for X, p in self.atoms), acb(0))
        d1 = -sum((p * X / (w - X) ** 2 for X, p in self.atoms), acb(0))
        d2 = 2 * sum((p * X / (w - X) ** 3 for X, p in self.atoms), acb(0))
        if not (m.is_finite() and one.is_finite() and d1.is_finite()):
            raise CertificationError(f"w = {w} is not separated from the atoms of φ'²")
        return Transform(m, one, d1, d2)

    def mean(self) -> Any:
        """E[X]."""
        return sum((p * X for X, p in self.atoms), arb(0))

    def mass_above(self, w: Any) -> Any:
        """P(X > w) for a real ball w off the atoms."""
        if any(not (w < X or w > X) for X, _ in self.atoms):
            raise CertificationError(f"w = {w} is not separated from the atoms of φ'²")
        return sum((p for X, p in self.atoms if w < X), arb(0))

    def log_potential(self, w: Any) -> Any:
        """E[log(1 − X/w)], Im w > 0."""
        return sum((p * ((w - X).log() - w.log()) for X, p in self.atoms), acb(0))


def _inflate(value: Any, tail: Any, is_real: bool) -> Any:
    ball = arb(0, tail.abs_upper())
    return acb(value.real + ball, arb(0) if is_real else value.imag + ball)


def _exact(expr: sympy.Expr) -> Any:
    if expr.is_Rational:
        return arb(fmpq(int(expr.p), int(expr.q)))
    return arb_function(sympy.Dummy(), expr)(acb(0), False).real


def _even(piece: Any) -> bool:
    X = piece.slope**2
    return sympy.simplify(X - X.subs(piece.symbol, -piece.symbol)) == 0


Terms = dict[tuple[int, Any], Any]
"""Σ c |e|^k exp(−a |e|) as {(k, a): c}."""


def _size(expr: sympy.Expr, piece: Any, reach: Any) -> Terms:
    """A bound of |expr| for real e of the piece with |e| ≥ reach, as a sum of c |e|^k exp(−a |e|), a ≥ 0."""
    z = piece.symbol
    if not expr.has(z):
        return {(0, 0): abs(_exact(expr)).abs_upper()}
    if expr == z:
        return {(1, 0): arb(1)}
    if isinstance(expr, sympy.Add):
        return _plus(*(_size(part, piece, reach) for part in expr.args))
    if isinstance(expr, sympy.Mul):
        return _size_of_product(list(expr.args), piece, reach)
    if isinstance(expr, sympy.Pow) and expr.exp.is_Integer:
        return _size_of_power(expr, piece, reach)
    if isinstance(expr, sympy.tanh | sympy.erf | logistic | normal_cdf | sympy.sin | sympy.cos):
        return {(0, 0): arb(1)}
    if isinstance(expr, softplus) and sympy.degree(expr.args[0], z) == 1:  # log(1 + e^u) ≤ 1 + |u|
        return _plus(_size(expr.args[0], piece, reach), {(0, 0): arb(1)})
    if isinstance(expr, sech2):
        return {(0, 2 * _rate(expr.args[0], z)): arb(4)}  # sech² u ≤ 4 e^{−2|u|}
    if isinstance(expr, sympy.exp) and expr.args[0].is_polynomial(z):
        poly = sympy.Poly(expr.args[0], z)
        if poly.degree() == 2 and poly.coeff_monomial(z) == 0 and poly.LC() < 0:
            # e^{−c e²} ≤ e^{−c·reach·|e|}, c rounded down to an eighth
            rate = int(abs(poly.LC()) * 8) * int(float(reach.abs_lower())) // 8
            return {(0, rate): abs(_exact(sympy.exp(poly.coeff_monomial(1)))).abs_upper()}
    raise OutOfScope(f"the growth of {expr} is not bounded by the rules built in here")


def _size_of_product(factors: list[sympy.Expr], piece: Any, reach: Any) -> Terms:
    terms: Terms = {(0, 0): arb(1)}
    gates = [factor for factor in factors if isinstance(factor, logistic)]
    for first, second in itertools.combinations(gates, 2):
        if first.args[0] == -second.args[0]:  # σ(u) σ(−u) ≤ e^{−|u|}
            factors = [factor for factor in factors if factor not in (first, second)]
            terms = {(0, _rate(first.args[0], piece.symbol)): arb(1)}
            break
    for factor in factors:
        terms = _times(terms, _size(factor, piece, reach))
    return terms


def _size_of_power(expr: sympy.Pow, piece: Any, reach: Any) -> Terms:
    n = int(expr.exp)
    if n > 0:
        terms = base = _size(expr.base, piece, reach)
        for _ in range(n - 1):
            terms = _times(terms, base)
        return terms
    z = piece.symbol
    if expr.base.is_polynomial(z) and sympy.degree(expr.base, z) == 1:
        end = piece.low if piece.low.is_finite else piece.high
        if end.is_finite:
            slope, value = sympy.diff(expr.base, z), expr.base.subs(z, end)
            away = slope if piece.low.is_finite else -slope
            if value > 0 and away > 0:
                return {(0, 0): (1 / _exact(value) ** (-n)).abs_upper()}
    raise OutOfScope(f"{expr} is not bounded by the rules built in here")


def _rate(argument: sympy.Expr, z: sympy.Symbol) -> int:
    """An integer below |du/dz| for u = c z; 0 where u has another form."""
    ratio = argument / z
    return int(abs(ratio)) if ratio.is_number else 0


def _plus(*bounds: Terms) -> Terms:
    out: Terms = {}
    for key, c in itertools.chain.from_iterable(terms.items() for terms in bounds):
        out[key] = out.get(key, arb(0)) + c
    return out


def _times(left: Terms, right: Terms) -> Terms:
    out: Terms = {}
    for (k, a), c in left.items():
        for (j, b), d in right.items():
            out[k + j, a + b] = out.get((k + j, a + b), arb(0)) + c * d
    return out
