"""The law of the Lyapunov exponents of a product of free, identically distributed factors.

Let x = s² be the squared singular values of a product of n free factors, each of law μ with S-transform S
(theory.md (7)). As n → ∞ the exponents u = lim (log s)/n have the law (Haagerup and Möller 2013,
arXiv:1211.4457, Theorem 2; Tucci 2010, J. Funct. Anal. 258, 3653, Theorem 4.2; Kargin 2008, arXiv:0712.1378)

    u(p) = −½ log S(−p),      p = P(exponent > u),  0 < p < 1 − μ({0}).                                    (*)

For μ = base^{⊠t} ⊠ Π_c MP_c^{⊠n_c}, dilated by e^ℓ, (7) gives S(−p) at m = M_base(−ω) = −p, for ω > 0:

    p = E[X/(ω + X)],      2u = ℓ + t log κ + Σ_c n_c log(1 − c p),      κ = ω p/(1 − p),                 (**)

so ω runs along the negative real axis, where every integrand is smooth, and no equation is left to solve for
the curve (u(ω), p(ω)). With A = −dp/d log ω = E[Xω/(ω + X)²] the density of u is A/(du/d log ω).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq

from rmtrnn._core import random as _random
from rmtrnn.free.positive_law import PositiveLaw
from rmtrnn.laws.protocol import elementwise, probability


@dataclass(frozen=True)
class CurveSettings:
    """How the curve (**) is tabulated.

    ``top``: largest log ω. X is at most 1, so p < e^{-top} = 4e-18 beyond.
    ``lost``: mass of the lowest exponents that is left out; sums over X cost seconds where 1 − p is smaller.
    ``panel``: width of a panel in log ω. ``nodes``: Gauss–Legendre nodes of a panel. The integrands are
    analytic for |Im log ω| < π, so the error is of order (π + √(π² + 1))^{-2 nodes} = 1e-26.
    ``newton_steps``: from the table; each one squares the relative error, some 1e-2 at first.
    """

    top: float = 40.0
    lost: float = 1e-10
    panel: float = 2.0
    nodes: int = 16
    newton_steps: int = 3


class Exponents(NamedTuple):
    """Points of the curve (**) at log ω: exponent, P(exponent > u) and its complement, slopes by log ω.

    ``error``: relative error of the sums over X.
    """

    u: np.ndarray
    survival: np.ndarray
    cdf: np.ndarray
    u_slope: np.ndarray
    density_by_log_omega: np.ndarray
    error: np.ndarray


class _Table(NamedTuple):
    """Panels of the curve from log ω = ``start`` upwards, and ∫ u dp above the lower end of each."""

    log_omega: np.ndarray
    at: Exponents
    sums: np.ndarray
    start: float


@dataclass(frozen=True)
class ExponentLaw:
    """The law of the exponents u = lim (log s)/n of free products of n factors JJᵀ of the law ``step``.

    All functions take exponents per factor, in units of 1/factor (natural logarithm). The density may jump at
    the ends of the support: at the upper one it is E[X]²/Var(X) for the law of s² of one factor.

    >>> law = ExponentLaw(rt.free.MarchenkoPastur())
    >>> abs(float(law.cdf(0.5 * np.log(0.3))) - 0.3) < 1e-12   # e^{2u} is uniform: Newman 1986
    True
    """

    step: PositiveLaw
    settings: CurveSettings = CurveSettings()

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """Pairs (exponent, mass): −∞ for s = 0, or the one exponent of factors that are a multiple of 1."""
        if self._is_constant:
            return ((self.mean, 1.0),)
        zero = 1.0 - self._most
        return ((-math.inf, zero),) if zero > 0.0 else ()

    @property
    def support(self) -> tuple[tuple[float, float], ...]:
        """The interval of the continuous part; its upper end is ½ log m_1 of one factor."""
        if self._is_constant:
            return ()
        return ((float(self._lower_edge()), self.largest),)

    @property
    def largest(self) -> float:
        """Upper end of the law: ½ log E[X], as S(0) = 1/E[X]."""
        return 0.5 * self.step.log.moment(1)

    @property
    def error(self) -> float:
        """Estimated error of the cdf: of the sums over X, and the mass that is left out at the lower end."""
        return self.settings.lost + float(np.max(self._table.at.error)) if self.support else 0.0

    @property
    def mean(self) -> float:
        """½ E[log X] of one factor; −∞ with mass at 0."""
        return 0.5 * self.step.log.mean

    def pdf(self, u: Any) -> Any:
        """Density of the exponents, atoms left out; 0 off the support. ValueError for nan."""
        return elementwise(self._pdf, "u", u)

    def cdf(self, u: Any) -> Any:
        """P(exponent ≤ u), atoms included. ValueError for nan."""
        return elementwise(self._cdf, "u", u)

    def icdf(self, p: Any) -> Any:
        """Smallest exponent u with cdf(u) ≥ p. ValueError unless 0 ≤ p ≤ 1."""
        return elementwise(self._icdf, "p", probability(p))

    def rvs(self, n: int, rng: int | np.random.Generator | None = None) -> np.ndarray:
        """``n`` independent draws of an exponent."""
        return self._icdf(_random.generator(rng).random(n))

    def _pdf(self, u: np.ndarray) -> np.ndarray:
        density = np.zeros(u.shape)
        inside = self._inside(u)
        if inside.any():
            at = self.at(self._log_omega(u[inside]))
            density[inside] = at.density_by_log_omega / at.u_slope
        return density

    def _cdf(self, u: np.ndarray) -> np.ndarray:
        total = sum((mass * (u >= location) for location, mass in self.atoms), start=np.zeros(u.shape))
        if self.support:
            total = np.where(u >= self.largest, 1.0, total)
            inside = self._inside(u)
            total[inside] = self.at(self._log_omega(u[inside])).cdf
        return total

    def _icdf(self, p: np.ndarray) -> np.ndarray:
        result = np.full(p.shape, self.largest if self.support else self.atoms[0][0])
        if self.support:
            low, high = self._table.at.cdf[[0, -1], [0, -1]]
            result = np.where(p <= low, self.support[0][0] if self._most == 1.0 else -math.inf, result)
            inside = (p > low) & (p < min(high, 1.0))  # rounding may put the last value above 1
            result[inside] = self.at(self._log_omega_of_level(p[inside])).u
        return result

    @property
    def unstable_fraction(self) -> float:
        """P(exponent > 0)."""
        return float(1.0 - self.cdf(0.0))

    @property
    def entropy_rate(self) -> float:
        """E[max(u, 0)]: the sum of the positive exponents per unit and factor (Pesin's formula)."""
        if not self.support:
            return max(self.atoms[0][0], 0.0)
        return self._sum_above(self._zero) if self.largest > 0.0 else 0.0

    @property
    def kaplan_yorke(self) -> float:
        """D with ∫_0^D u dp = 0 over the largest exponents: the Kaplan–Yorke dimension per unit.

        0 where no exponent is positive; the mass of finite exponents where the sum of all is positive.
        """
        if not self.support:
            return float(self.atoms[0][0] > 0.0)
        if self.largest <= 0.0:
            return 0.0
        if self._sum_above(self._table.start) >= 0.0:
            return self._most
        end = brentq(self._sum_above, self._table.start, self._zero, xtol=1e-14)
        return float(self.at(np.array([end])).survival[0])

    # -- the curve ------------------------------------------------------------------------------------------

    def at(self, log_omega: np.ndarray) -> Exponents:
        """The curve (**)."""
        step = self.step
        omega = np.exp(np.asarray(log_omega, dtype=float))
        sums = step._base.sums(-1.0 / omega)
        rest, survival = sums.a0, sums.a1 / omega  # 1 − p and p
        fall = -sums.b1  # A
        log_kappa_slope = -sums.b2 / sums.a1 - fall / rest
        twice = step._log_scale + step._power * np.log(sums.a1 / rest)
        slope = step._power * log_kappa_slope
        for ratio, count in step._ratios.items():
            left = (1.0 - ratio) + ratio * rest  # 1 − c p
            twice = twice + count * np.log(left)
            slope = slope + count * ratio * fall / left
        return Exponents(0.5 * twice, survival, rest, 0.5 * slope, fall, sums.error)

    @property
    def _is_constant(self) -> bool:
        return not self.step._ratios and self.step._base.variance() == 0.0

    @property
    def _most(self) -> float:
        """P(exponent > −∞): the free product has at 0 the largest of its factors' atoms at 0."""
        return 1.0 - sum(mass for location, mass in self.step._base.atoms if location == 0.0)

    def _lower_edge(self) -> float:
        """−∞ with a square Gaussian factor or an atom at 0; else u that all but ``settings.lost`` exceed."""
        if 1.0 in self.step._ratios or self._most < 1.0:
            return -math.inf
        return float(self._table.at.u[0, 0])

    def _inside(self, u: np.ndarray) -> np.ndarray:
        if not self.support:
            return np.zeros(u.shape, dtype=bool)
        curve = self._table.at.u
        return (u > curve[0, 0]) & (u < min(curve[-1, -1], self.largest))

    @property
    def _zero(self) -> float:
        """log ω where u = 0."""
        return float(self._log_omega(np.zeros(1))[0])

    @functools.cached_property
    def _table(self) -> _Table:
        """The curve, panel by panel from the top down to where ``settings.lost`` of the mass is left."""
        nodes, weights = np.polynomial.legendre.leggauss(self.settings.nodes)
        end, panels, sums, total = self.settings.top, [], [], 0.0
        while True:
            x = end - 0.5 * self.settings.panel * (1.0 - nodes)
            at = self.at(x)
            total += 0.5 * self.settings.panel * float((at.u * at.density_by_log_omega) @ weights)
            panels.append((x, at))
            sums.append(total)
            end -= self.settings.panel
            if at.cdf[0] - (1.0 - self._most) < self.settings.lost:
                break
        x = np.array([x for x, _ in panels[::-1]])
        curve = Exponents(*(np.array(part) for part in zip(*(at for _, at in panels[::-1]), strict=True)))
        return _Table(x, curve, np.array(sums[::-1]), end)

    def _log_omega(self, u: np.ndarray) -> np.ndarray:
        """log ω at exponents u: Newton's method from the table; u grows with ω."""
        x, at = self._table.log_omega, self._table.at
        found = np.interp(u, at.u.ravel(), x.ravel())
        for _ in range(self.settings.newton_steps):
            here = self.at(found)
            found = found - (here.u - u) / here.u_slope
        return found

    def _log_omega_of_level(self, level: np.ndarray) -> np.ndarray:
        """log ω at given values of the cdf, by the log odds, whose slope in log ω is of order 1."""
        x, at = self._table.log_omega, self._table.at
        odds = np.log(level) - np.log1p(-level)
        found = np.interp(odds, (np.log(at.cdf) - np.log(at.survival)).ravel(), x.ravel())
        for _ in range(self.settings.newton_steps):
            here = self.at(found)
            miss = np.log(here.cdf) - np.log(here.survival) - odds
            found = found - miss * here.cdf * here.survival / here.density_by_log_omega
        return found

    def _sum_above(self, log_omega: float) -> float:
        """∫ u dp over the exponents above u(ω)."""
        sums, start = self._table.sums, self._table.start
        panel = min(int((log_omega - start) / self.settings.panel), len(sums) - 1)
        top = start + (panel + 1) * self.settings.panel
        nodes, weights = np.polynomial.legendre.leggauss(self.settings.nodes)
        at = self.at(0.5 * (top + log_omega) + 0.5 * (top - log_omega) * nodes)
        part = 0.5 * (top - log_omega) * float((at.u * at.density_by_log_omega) @ weights)
        return part + (float(sums[panel + 1]) if panel + 1 < len(sums) else 0.0)
