# SymPy annotates most results as Basic, also where only an Expr can come; NumPy's stubs know no dtype here.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportMissingImports=false, reportOptionalMemberAccess=false
"""The laws that are multiplied T times: each gives m(w) = E[X/(w − X)] and its derivatives at any
precision.

Letters: q, the variance of a pre-activation.
"""

from __future__ import annotations

import functools
from typing import Any, Protocol

import numpy as np
from mpmath import mp

from rmtrnn._core.status import ConvergenceError
from rmtrnn.cells import Activation
from rmtrnn.highprec import parameters
from rmtrnn.highprec.expressions import analytic_pieces, mpmath_function
from rmtrnn.highprec.formulas import Transform
from rmtrnn.highprec.quadrature import GUARD, GaussianTransform


class Base(Protocol):
    """A law on [0, ∞) through its transform."""

    def transform(self, w: Any, order: int = 1) -> Transform: ...
    def log_potential(self, w: Any) -> Any: ...
    def moment(self, k: int) -> Any: ...
    def mass_above(self, w: Any) -> Any: ...
    def floats(self, w: np.ndarray, line: bool = False) -> tuple[np.ndarray, np.ndarray]: ...
    def holds(self, w: Any) -> bool: ...
    def top(self) -> float: ...


class Atoms:
    """X takes finitely many values; exact sums. φ'² of a piecewise linear activation."""

    def __init__(self, locations: list[Any], masses: list[Any]) -> None:
        self.locations, self.masses = locations, masses

    def transform(self, w: Any, order: int = 1) -> Transform:
        """m, 1 + m, m', m'' at w."""
        pairs = list(zip(self.locations, self.masses, strict=True))
        if any(w == X for X, _ in pairs):
            raise ConvergenceError("w meets an atom of φ'²: λ may lie at an atom of the law, take it beside")
        return Transform(
            mp.fsum(p * X / (w - X) for X, p in pairs),
            mp.fsum(p * w / (w - X) for X, p in pairs),
            -mp.fsum(p * X / (w - X) ** 2 for X, p in pairs),
            2 * mp.fsum(p * X / (w - X) ** 3 for X, p in pairs),
        )

    def log_potential(self, w: Any) -> Any:
        """E[log(1 − X/w)], Im w > 0."""
        pairs = zip(self.locations, self.masses, strict=True)
        return mp.fsum(p * (mp.log(w - X) - mp.log(w)) for X, p in pairs)

    def moment(self, k: int) -> Any:
        """E[X^k]."""
        return mp.fsum(p * X**k for X, p in zip(self.locations, self.masses, strict=True))

    def mass_above(self, w: Any) -> Any:
        """P(X > w)."""
        return mp.fsum(p for X, p in zip(self.locations, self.masses, strict=True) if w < X)

    def holds(self, w: Any) -> bool:
        """Never: Newton's method does not meet an atom."""
        return False

    def floats(self, w: np.ndarray, line: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """m and 1 + m at many w in double precision."""
        X, p = np.array(self.locations, dtype=float), np.array(self.masses, dtype=float)
        poles = p / (w[..., None] - X)
        return (poles * X).sum(axis=-1), (poles * w[..., None]).sum(axis=-1)

    def top(self) -> float:
        """The largest value of X."""
        return float(max(self.locations))


class Slopes:
    """X = φ'(e)², e ~ N(μ, q), for an activation that is not piecewise linear."""

    def __init__(self, activation: Activation, q: Any, mu: Any, dps: int) -> None:
        self._path = GaussianTransform(activation, q, mu, dps)
        self._line = GaussianTransform(activation, q, mu, dps, deform=False)

    def transform(self, w: Any, order: int = 1) -> Transform:
        """m, 1 + m, m', m'' at w: Im w > 0, real and off the support, or real in it for w + i0."""
        return (self._path if mp.im(w) or self.holds(w) else self._line).transform(w, order)

    def log_potential(self, w: Any) -> Any:
        """E[log(1 − X/w)], Im w > 0."""
        return self._path.log_potential(w)

    def moment(self, k: int) -> Any:
        """E[X^k]."""
        return mp.re(self._line.expectation(lambda X: X**k))

    def mass_above(self, w: Any) -> Any:
        """P(X > w), w off the support; not built: such gaps need a jump of φ'."""
        raise NotImplementedError

    @functools.cached_property
    def _floats(self) -> tuple[Any, Any]:
        return self._path.floats(), self._line.floats()

    def floats(self, w: np.ndarray, line: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """m and 1 + m at many w in double precision, Im w > 0; ``line``: right above the support of X too."""
        X, c = self._floats[line]
        poles = c / (w[..., None] - X)
        return (poles * X).sum(axis=-1), w * poles.sum(axis=-1)

    @functools.cached_property
    def _ranges(self) -> list[tuple[float, float]]:
        """What X reaches on each stretch of the line: the support of X, to double precision."""
        values = [path.floats(self._line.even)[0].real for path in self._line.pieces]
        return [(float(X.min()), float(X.max())) for X in values]

    def holds(self, w: Any) -> bool:
        """Whether a real w lies in the support of X, as far as double precision knows it."""
        return any(low <= w <= high for low, high in self._ranges)

    def top(self) -> float:
        """The largest value of X among the nodes on the real line: a little below the true one."""
        return max(high for _, high in self._ranges)


def vanilla_base(numbers: parameters.Vanilla, q: Any, dps: int) -> Base:
    """The law of φ'(e)², e ~ N(μ_b, q)."""
    phi = numbers.activation
    mu = mp.mpf(numbers.mu_b.numerator) / numbers.mu_b.denominator
    if q == 0 or phi.is_piecewise_linear:
        return Atoms(*atoms(phi, q, mu))
    return Slopes(phi, q, mu, dps)


def atoms(phi: Activation, q: Any, mu: Any) -> tuple[list[Any], list[Any]]:
    """Values of φ'² and their probabilities where e is constant or φ piecewise linear.

    A constant e at a kink has the limit of small variances: half the mass on either one-sided slope.
    """
    masses: dict[Any, Any] = {}
    if q == 0:
        own = [p for p in analytic_pieces(phi) if exact_number(p.low) <= mu <= exact_number(p.high)]
        for piece in own:
            value = mp.mpf(mpmath_function(piece.symbol, [piece.slope])(mu)[0]) ** 2
            masses[value] = masses.get(value, mp.mpf(0)) + mp.mpf(1) / len(own)
        return list(masses), list(masses.values())
    for low, high, slope in phi.pieces:
        left, right = ((exact_number(end) - mu) / mp.sqrt(2 * q) for end in (low, high))
        near, far = (left, right) if left > 0 else (-right, -left)
        mass = (_erfc(near) - _erfc(far)) / 2
        value = exact_number(slope) ** 2
        masses[value] = masses.get(value, mp.mpf(0)) + mass
    return list(masses), list(masses.values())


def _erfc(x: Any) -> Any:
    return mp.erfc(x) if mp.isfinite(x) else mp.mpf(0 if x > 0 else 2)


def exact_number(expr: Any) -> Any:
    """A SymPy number as an mpmath number at the precision in force."""
    if expr.is_infinite:
        return mp.inf if expr.is_extended_positive else -mp.inf
    return mp.mpf(int(expr.p)) / int(expr.q) if expr.is_Rational else mp.mpf(expr.evalf(mp.dps + GUARD))
