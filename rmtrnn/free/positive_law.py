"""A law as an object that can be multiplied: free products and powers of positive laws.

A `PositiveLaw` is the free product of the t-th free power of a base law, Marchenko–Pastur factors and a
dilation, kept in that canonical form; ``a @ b``, ``a ** t`` and ``a.dilate(c)`` only change the exponents.
The numbers come from `rmtrnn.free.boundary_curve`, in v = log x, so that no T and no scale over- or
underflows.

Conventions: laws are laws of x (for Jacobians x = s², the squared singular values). G(z) = E[1/(z − X)],
M(w) = E[X/(w − X)] = w G(w) − 1, S(m) = (1 + m)/(m M⁻¹(m)), R(g) = G⁻¹(g) − 1/g (theory.md (7)).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn._core import validate as _validate
from rmtrnn._core.arrays import check_memory
from rmtrnn._core.status import Status
from rmtrnn.free import subordination
from rmtrnn.free.base_transforms import Base, PointMasses, marchenko_pastur_stieltjes, point_masses_stieltjes
from rmtrnn.free.boundary_curve import Curve
from rmtrnn.free.log_form import PositiveLogView, ProductInLog
from rmtrnn.free.subordination_newton import Transform
from rmtrnn.laws.protocol import elementwise, exponential, logarithm
from rmtrnn.numerics.bisection import bisected

_ONE = PointMasses(np.array([1.0]), np.array([1.0]))


@dataclass(frozen=True)
class RealAxisSettings:
    """Numbers of the search for w on the real axis."""

    # Bisections of log w. Derived: 1400 · 2^-80 is below the rounding of log w.
    bisections: int = 80
    # Largest |log w|. Derived: e^709 is the largest double.
    end: float = 700.0
    # Nearest approach of log w to the right end of the law. Derived: some hundred roundings of log w.
    nearest: float = 1e-13
    # Relative distance from the target beyond which it lies outside the axis. Empirical: √eps, which a
    # bisection to rounding meets wherever the curve is not flat.
    met: float = 1e-8


_REAL_AXIS = RealAxisSettings()


class PositiveLaw:
    """A law on [0, ∞) in canonical form: base^{⊠t} ⊠ Π_c MP_c^{⊠n_c}, dilated by exp(log_scale).

    ``a @ b`` is the free multiplicative convolution, ``a ** t`` (real t ≥ 1) the free multiplicative power,
    ``a + b`` and ``a.free_sum(t)`` the additive ones, ``a.dilate(c)`` the law of c·X.

    >>> law = rt.free.MarchenkoPastur() ** 3 @ rt.free.Discrete([1.0, 2.0], [0.5, 0.5])
    >>> round(law.moment(1), 9)
    1.5
    """

    def __init__(
        self,
        base: Base,
        power: float = 1.0,
        ratios: Mapping[float, float] | None = None,
        log_scale: float = 0.0,
        text: str = "",
    ) -> None:
        self._base, self._power = base, float(power)
        self._ratios = dict(sorted((ratios or {}).items()))
        self._log_scale = float(log_scale)
        self._text = text
        self._in_log = ProductInLog(self._base, self._power, self._ratios, self._log_scale)

    # -- algebra ---------------------------------------------------------------------------------------------

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, subordination.RealLaw):
            return subordination.free_product(self, other)
        if not isinstance(other, PositiveLaw):
            return NotImplemented
        if self._base is _ONE:
            base, power = other._base, other._power
        elif other._base is _ONE:
            base, power = self._base, self._power
        elif self._base == other._base:
            base, power = self._base, self._power + other._power
        else:
            return subordination.free_product(self, other)
        ratios = dict(self._ratios)
        for ratio, count in other._ratios.items():
            ratios[ratio] = ratios.get(ratio, 0.0) + count
        log_scale = self._log_scale + other._log_scale
        return PositiveLaw(base, power, ratios, log_scale, f"{self._grouped()} @ {other._grouped()}")

    def __pow__(self, t: float) -> PositiveLaw:
        t = _validate.real("t", t, low=1.0)
        if t == 1.0:
            return self
        power = 1.0 if self._base is _ONE else self._power * t
        ratios = {ratio: count * t for ratio, count in self._ratios.items()}
        return PositiveLaw(self._base, power, ratios, self._log_scale * t, f"{self._grouped()} ** {t:g}")

    def __add__(self, other: Any) -> subordination.RealLaw:
        return subordination.free_sum(self, other)

    __radd__ = __add__

    def free_sum(self, t: float) -> subordination.RealLaw:
        """Return the t-th free additive power, real t ≥ 1: free cumulants times t."""
        return subordination.free_sum_power(self, t)

    def dilate(self, c: float | None = None, *, log_c: float | None = None) -> PositiveLaw:
        """Return the law of c·X; give c > 0 or its logarithm."""
        if (c is None) == (log_c is None):
            raise TypeError("dilate: give exactly one of c and log_c")
        if c is not None:
            log_c = math.log(_validate.real("c", c, low=0.0, low_open=True))
        log_c = _validate.real("log_c", log_c)
        text = f"{self._grouped()}.dilate({f'{c!r}' if c is not None else f'log_c={log_c!r}'})"
        return PositiveLaw(self._base, self._power, self._ratios, self._log_scale + log_c, text)

    # -- the law in x ----------------------------------------------------------------------------------------

    @functools.cached_property
    def log(self) -> PositiveLogView:
        """The same law in v = log x."""
        return PositiveLogView(self._in_log)

    def pdf(self, x: Any) -> Any:
        """Density of the continuous part at x; 0 off the support and at x ≤ 0."""
        return elementwise(self._pdf, "x", x)

    def cdf(self, x: Any) -> Any:
        """P(X ≤ x), atoms included."""
        return elementwise(
            lambda x: np.where(x >= 0, self._in_log.cdf(logarithm(x, self._in_log)), 0.0), "x", x
        )

    def icdf(self, p: Any) -> Any:
        """Smallest x with cdf(x) ≥ p, a probability."""
        return exponential(self.log.icdf(p))

    def rvs(self, n: int, rng: int | np.random.Generator | None = None) -> np.ndarray:
        """Return n independent draws (not eigenvalues: those repel)."""
        n = _validate.integer("n", n, low=0)
        check_memory("n", n, 4 * 8.0 * n)
        return np.asarray(self.icdf(_random.generator(rng).random(n)))

    def moment(self, k: int) -> float:
        """E[X^k], k = 0, 1, 2, …, from the S-transform's power series."""
        return float(np.exp(self.log.moment(k)))

    @property
    def variance(self) -> float:
        """Var X = m_1² (t Var(X_base)/E[X_base]² + Σ_c n_c c), from the S-expansion (theory.md (11))."""
        return self.moment(1) ** 2 * self.relative_variance

    @functools.cached_property
    def relative_variance(self) -> float:
        """Var X/m_1², which neither over- nor underflows."""
        spread = self._power * self._base.variance() / self._base.moment(1) ** 2
        return spread + sum(count * ratio for ratio, count in self._ratios.items())

    @property
    def support(self) -> tuple[tuple[float, float], ...]:
        """Closed intervals of the continuous part."""
        return tuple((exponential(a), exponential(b)) for a, b in self.log.support)

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """Pairs (location, mass), exact.

        At 0 the base's mass; elsewhere a base atom a of mass α survives the t-th free power as a^t of mass
        1 − t(1 − α), if that is positive and there is no Marchenko–Pastur factor.
        """
        return tuple((exponential(v), mass) for v, mass in self.log.atoms)

    @functools.cached_property
    def error(self) -> float:
        """Estimated absolute error of the cdf: quadrature, rounding, series, second look at the mass."""
        return self._in_log.error

    @property
    def status(self) -> Status:
        """INCONSISTENT where the law fails a second look at itself; ``message`` says in what."""
        return self._in_log.look.status

    @property
    def cause(self) -> str:
        """What the second look found; empty if nothing."""
        return self._in_log.look.cause

    @property
    def message(self) -> str:
        """Where the law is at odds with itself, if it is."""
        return self._in_log.look.message

    @property
    def integrated_mass(self) -> float:
        """Atoms and the integral of the density: 1 up to the error, by a way that the cdf does not take."""
        return self._in_log.integrated_mass

    # -- transforms ------------------------------------------------------------------------------------------

    def M(self, w: Any) -> Any:
        """M(w) = E[X/(w − X)]; w complex or real, a real w inside the support standing for w + i0."""
        return elementwise(self._moment_transform, "w", w, dtype=complex)

    def G(self, z: Any) -> Any:
        """G(z) = E[1/(z − X)] = (1 + M(z))/z."""
        return (1.0 + self.M(z)) / np.asarray(z)

    def S(self, m: Any) -> Any:
        """S(m) = (1 + m)/(m M⁻¹(m)) for real m in (−1 + P(X = 0), M(right edge)); S(0) = 1/E[X].

        M⁻¹ is taken on the real axis left and right of the law: m < 0 and m > 0. ValueError elsewhere.
        """
        return elementwise(self._s_transform, "m", m)

    def R(self, g: Any) -> Any:
        """R(g) = G⁻¹(g) − 1/g for real g in (G(0−), G(right edge)), by R(m S(m)) = 1/S(m); R(0) = E[X].

        G⁻¹ is taken on the real axis left and right of the law: g < 0 and g > 0. ValueError elsewhere.
        """
        return elementwise(self._r_transform, "g", g)

    @property
    def stieltjes(self) -> Transform | None:
        """G and G' on a flat array in the closed upper half plane; None for a product (see `factors`).

        In closed form for finitely many atoms and for a Marchenko–Pastur law,
        G(z) = 2/(z − s(1 − c) + √(z − x₋) √(z − x₊)), x± = s (1 ± √c)²; by quadrature for other bases.
        """
        base, scale = self._base, math.exp(self._log_scale)
        if self._in_log.is_base:
            if isinstance(base, PointMasses):
                return lambda z: point_masses_stieltjes(base.locations * scale, base.masses, z)
            return self._base_stieltjes
        if self._power != 1.0 or list(self._ratios.values()) != [1.0] or not isinstance(base, PointMasses):
            return None
        (c,) = self._ratios
        if len(base.atoms) == 2:  # a projection of rank 1/c' and MP_1: MP_c'
            if c != 1.0 or base.locations[0] != 0.0:
                return None
            c = 1.0 / float(base.masses[1])
        elif len(base.atoms) > 2:
            return None
        return functools.partial(marchenko_pastur_stieltjes, c, scale * base.moment(1))

    def _base_stieltjes(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """G = E[1/(1 − Xy)]/z and G' = −E[1/(1 − Xy)²]/z² with X the base and y = scale/z."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            log_z = np.log(z)  # its angle is in [0, π], also for a negative zero
            y = np.exp(self._log_scale - np.real(log_z) - 1j * np.abs(np.imag(log_z)))
            sums = self._base.sums(y)
            return sums.a0 / z, -(sums.a0 + sums.b1) / z**2

    @property
    def factors(self) -> list[tuple[PositiveLaw, float]]:
        """Laws with a `stieltjes` and their powers, of which this law is the free product."""
        if self.stieltjes is not None:
            return [(self, 1.0)]
        base = [] if self._base is _ONE else [(PositiveLaw(self._base), self._power)]
        others = [(PositiveLaw(_ONE, 1.0, {c: 1.0}), count) for c, count in self._ratios.items()]
        (first, t), *rest = base + others
        return [(first.dilate(log_c=self._log_scale / t), t), *rest]

    # -- how it is done --------------------------------------------------------------------------------------

    @property
    def _curve(self) -> Curve:
        return self._in_log.curve

    def _pdf(self, x: np.ndarray) -> np.ndarray:
        density = np.zeros(x.shape)
        positive = x > 0
        density[positive] = self._in_log.pdf(np.log(x[positive])) / x[positive]
        return density

    def _moment_transform(self, w: np.ndarray) -> np.ndarray:
        log_w = np.log(w)
        log_w = np.real(log_w) + 1j * np.abs(np.imag(log_w))
        if self._in_log.is_base:
            y = np.exp(self._log_scale - log_w)
            m = y * self._base.sums(y).a1
        else:
            m = self._curve.at(self._curve.invert_complex(log_w)).m
        return np.where(np.imag(w) < 0, np.conj(m), m)

    def _s_transform(self, m: np.ndarray) -> np.ndarray:
        x, here = self._on_the_axis(m, lambda m, one_plus_m, log_lambda: m)
        if not np.all((np.abs(here - m) <= _REAL_AXIS.met * np.abs(m)) & (m > self._floor)):
            raise ValueError(f"m = {m!r}: must lie in {self._transform_domain()[0]}")
        s = np.full(m.shape, np.exp(-self._in_log.log_moment(1)))
        off = m != 0
        log_lambda = self._axis_point(x[off], np.sign(m[off]))[2]
        s[off] = np.exp(np.log1p(m[off]) - np.log(np.abs(m[off])) - log_lambda)
        return s

    def _r_transform(self, g: np.ndarray) -> np.ndarray:
        x, here = self._on_the_axis(
            g, lambda m, one_plus_m, log_lambda: one_plus_m * np.exp(np.minimum(-log_lambda, _REAL_AXIS.end))
        )
        if not np.all(np.abs(here - g) <= _REAL_AXIS.met * np.abs(g)):
            raise ValueError(f"g = {g!r}: must lie in {self._transform_domain()[1]}")
        r = np.full(g.shape, np.exp(self._in_log.log_moment(1)))
        off = g != 0
        r[off] = self._axis_point(x[off], np.sign(g[off]))[0] / g[off]  # R = 1/S = m/g: nothing cancels
        return r

    def _axis_point(self, x: np.ndarray, sign: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """m, 1 + m and log|λ| at the real w = sign·e^x off the curve: w < 0, or w right of its right end."""
        y = sign * np.exp(-x)
        sums = self._base.sums(y)
        m = y * sums.a1
        log_lambda = x + (self._power - 1.0) * np.log(sums.a1 / sums.a0) + self._log_scale
        for ratio, count in self._ratios.items():
            log_lambda = log_lambda + count * (np.log(sums.a0) if ratio == 1.0 else np.log1p(ratio * m))
        return m, sums.a0, log_lambda

    @property
    def _floor(self) -> float:
        """M(0−) = P(X = 0) − 1, where m begins on the real axis."""
        return sum(mass for v, mass in self._in_log.atoms if v == -math.inf) - 1.0

    @property
    def _right_end(self) -> float:
        """log w at the right end of the law, the largest point of the base being w = 1."""
        return 0.0 if self._in_log.is_base or not self._curve.pieces else self._curve.pieces[-1].x_right

    def _on_the_axis(
        self, target: np.ndarray, size: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """x with |size(m, 1 + m, log|λ|)| = |target| at w = ±e^x, the sign the target's; and its value there.

        |size| falls as |w| grows, so bisections do; where the target is beyond reach an end comes back.
        """
        right, sign = self._right_end, np.where(target < 0, -1.0, 1.0)
        low = np.where(sign < 0, -_REAL_AXIS.end, math.log(_REAL_AXIS.nearest))
        high = np.where(sign < 0, _REAL_AXIS.end, math.log(_REAL_AXIS.end))

        def place(where: np.ndarray) -> np.ndarray:
            return np.where(sign < 0, where, right + np.exp(np.minimum(where, math.log(_REAL_AXIS.end))))

        def value(where: np.ndarray) -> np.ndarray:
            return sign * np.abs(size(*self._axis_point(place(where), sign)))

        _, high = bisected(lambda x: np.abs(value(x)) > np.abs(target), low, high, _REAL_AXIS.bisections)
        return place(high), np.where(target == 0, 0.0, value(high))

    def _transform_domain(self) -> tuple[str, str]:
        """The intervals of m = M(w) and g = G(z) over the real z left and right of the law, as text."""
        m, one_plus_m, log_lambda = self._axis_point(
            np.array([self._right_end + _REAL_AXIS.nearest]), np.array([1.0])
        )
        m_top, g_top = float(m[0]), float(one_plus_m[0] * np.exp(-log_lambda[0]))
        return f"({self._floor:g}, M(right edge) ≈ {m_top:.4g})", f"(G(0-), G(right edge) ≈ {g_top:.4g})"

    # -- identity --------------------------------------------------------------------------------------------

    def _key(self) -> tuple[Any, ...]:
        return self._base, self._power, tuple(self._ratios.items()), self._log_scale

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, PositiveLaw) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return self._text

    def _grouped(self) -> str:
        return (
            f"({self._text})"
            if " " in self._text.split("(")[0] or " @ " in self._text or " ** " in self._text
            else self._text
        )
