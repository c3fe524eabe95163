# SymPy annotates most results as Basic, also where only an Expr can come; NumPy's stubs know no dtype here.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportMissingImports=false, reportOptionalMemberAccess=false
"""The laws that are multiplied T times: each gives m(w) = E[X/(w − X)] and its derivatives at any
precision.
"""

from __future__ import annotations

import functools
from typing import Any, Protocol

import numpy as np
from mpmath import mp

from rmtrnn.cells import Activation
from rmtrnn.highprec import parameters
from rmtrnn.highprec.formulas import Transform
from rmtrnn.highprec.quadrature import GUARD, GaussianTransform


class Base(Protocol):
    """A law on [0, ∞) through its transform."""

    def transform(self, w: Any, order: int = 1) -> Transform: ...
    def log_potential(self, w: Any) -> Any: ...
    def moment(self, k: int) -> Any: ...
    def floats(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...
    def top(self) -> float: ...


class Atoms:
    """X takes finitely many values; exact sums. φ'² of a piecewise linear activation."""

    def __init__(self, locations: list[Any], masses: list[Any]) -> None:
        self.locations, self.masses = locations, masses

    def transform(self, w: Any, order: int = 1) -> Transform:
        """m, 1 + m, m', m'' at w."""
        pairs = list(zip(self.locations, self.masses, strict=True))
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

    def floats(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
        """m, 1 + m, m', m'' at w: Im w > 0, or real and off the support."""
        return (self._path if mp.im(w) else self._line).transform(w, order)

    def log_potential(self, w: Any) -> Any:
        """E[log(1 − X/w)], Im w > 0."""
        return self._path.log_potential(w)

    def moment(self, k: int) -> Any:
        """E[X^k]."""
        return mp.re(self._line.expectation(lambda X: X**k))

    @functools.cached_property
    def _floats(self) -> tuple[np.ndarray, np.ndarray]:
        return self._path.floats()

    def floats(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """m and 1 + m at many w in double precision, Im w > 0."""
        X, c = self._floats
        poles = c / (w[..., None] - X)
        return (poles * X).sum(axis=-1), w * poles.sum(axis=-1)

    def top(self) -> float:
        """The largest value of X among the nodes on the real line: a little below the true one."""
        return float(self._line.floats()[0].real.max())


class LeakyGaussian:
    """X = squared singular values of α + c W, W Gaussian: G (w (1 − c²G)² − α²) = 1 − c²G.

    The one-step case of theory.md (12)–(14) with constant a = α, b = c, and the law of Dozier and
    Silverstein (2007). α + cW_t of different steps are *-free, so S-transforms multiply exactly.
    """

    def __init__(self, alpha: Any, c: Any) -> None:
        self.alpha2, self.c2 = alpha**2, c**2

    def _coefficients(self, w: Any) -> list[Any]:
        a2, c2 = self.alpha2, self.c2
        return [w * c2 * c2, -2 * w * c2, w - a2 + c2, w * 0 - 1]

    def transform(self, w: Any, order: int = 1) -> Transform:
        """m = wG − 1 by Newton from double precision, derivatives from the cubic; real w is w + i0."""
        G = mp.mpmathify(complex(self.floats(np.array([complex(w)]))[1][0] / complex(w)))
        if mp.im(G) == 0:
            G = mp.re(G)
        a2, c2 = self.alpha2, self.c2
        for _ in range(12):
            P = mp.polyval(self._coefficients(w), G)
            PG = 3 * w * c2 * c2 * G**2 - 4 * w * c2 * G + w - a2 + c2
            G -= P / PG
        PG = 3 * w * c2 * c2 * G**2 - 4 * w * c2 * G + w - a2 + c2
        Pw = G * (1 - c2 * G) ** 2
        d1 = -Pw / PG
        PGG, PGw = 6 * w * c2 * c2 * G - 4 * w * c2, (1 - c2 * G) * (1 - 3 * c2 * G)
        d2 = -(2 * PGw * d1 + PGG * d1**2) / PG
        return Transform(w * G - 1, w * G, G + w * d1, 2 * d1 + w * d2)

    def log_potential(self, w: Any) -> Any:
        raise NotImplementedError("the distribution function of a leaky cell is not available in closed form")

    def moment(self, k: int) -> Any:
        raise NotImplementedError

    def floats(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From the root with Im G < 0 and Im wG ≤ 0 (unique), in double precision; near 1/w for real w."""
        values = []
        for point in np.asarray(w, dtype=complex).ravel():
            roots = np.roots([complex(value) for value in self._coefficients(point)])
            if point.imag == 0 and point.real > self.top():
                roots = [G.real for G in roots if abs(G.imag) <= 1e-6 * abs(G)]  # near an edge two roots meet
                values.append(min(roots) * point)
                continue
            slack = 1e-14 * np.abs(roots * point)
            allowed = [G for G, e in zip(roots, slack, strict=True) if G.imag < 0 and (G * point).imag <= e]
            values.append(min(allowed or list(roots), key=lambda G: (G * point).imag) * point)
        one_plus_m = np.array(values, dtype=complex).reshape(np.shape(w))
        return one_plus_m - 1, one_plus_m

    def edge(self) -> Any:
        """Right edge of X: the larger zero of the discriminant over G of the cubic, which is c⁴ w times

        4 α² w² − (8 α⁴ + 20 α² c² − c⁴) w + 4 (α² − c²)³.
        """
        a2, c2 = self.alpha2, self.c2
        linear, constant = 8 * a2**2 + 20 * a2 * c2 - c2**2, 4 * (a2 - c2) ** 3
        if a2 == 0:
            return 4 * c2
        return (linear + mp.sqrt(linear**2 - 16 * a2 * constant)) / (8 * a2)

    def top(self) -> float:
        """Right edge of X."""
        return float(self.edge())


def vanilla_base(numbers: parameters.Vanilla, q: Any, dps: int) -> Base:
    """The law of φ'(e)², e ~ N(μ_b, q)."""
    phi = numbers.activation
    mu = mp.mpf(numbers.mu_b.numerator) / numbers.mu_b.denominator
    if q == 0 or phi.is_piecewise_linear:
        return Atoms(*atoms(phi, q, mu))
    return Slopes(phi, q, mu, dps)


def atoms(phi: Activation, q: Any, mu: Any) -> tuple[list[Any], list[Any]]:
    """Values of φ'² and their probabilities where e is constant or φ piecewise linear."""
    if q == 0:
        return [phi.numeric(mp, 1)(mu) ** 2], [mp.mpf(1)]
    masses: dict[Any, Any] = {}
    for low, high, slope in phi.pieces:
        left, right = ((_number(end) - mu) / mp.sqrt(2 * q) for end in (low, high))
        near, far = (left, right) if left > 0 else (-right, -left)
        mass = (_erfc(near) - _erfc(far)) / 2
        value = _number(slope) ** 2
        masses[value] = masses.get(value, mp.mpf(0)) + mass
    return list(masses), list(masses.values())


def _erfc(x: Any) -> Any:
    return mp.erfc(x) if mp.isfinite(x) else mp.mpf(0 if x > 0 else 2)


def _number(expr: Any) -> Any:
    if expr.is_infinite:
        return mp.inf if expr.is_extended_positive else -mp.inf
    return mp.mpf(int(expr.p)) / int(expr.q) if expr.is_Rational else mp.mpf(expr.evalf(mp.dps + GUARD))
