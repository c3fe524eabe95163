# pyright: reportMissingImports=false, reportOptionalMemberAccess=false, reportAttributeAccessIssue=false
"""Squared singular values of α + cW, the one-step law of a cell with constant coefficients.

The case a = α, b = c of theory.md (12)-(14). α + cW_t of different steps are *-free, so S-transforms multiply
exactly, and the T-step law is that of `formulas` with n = 0. Each class gives m(w) = E[X/(w − X)], its
derivatives, E[log(1 − X/w)] and the moments in closed form.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mpmath import mp

from rmtrnn.highprec import series
from rmtrnn.highprec.formulas import Transform


class LeakyGaussian:
    """X = squared singular values of α + cW, W Gaussian: G (w (1 − c²G)² − α²) = 1 − c²G.

    The law of Dozier and Silverstein (2007), with G = E[1/(w − X)].
    """

    def __init__(self, alpha: Any, c: Any) -> None:
        self.alpha2, self.c2 = alpha**2, c**2

    def _coefficients(self, w: Any) -> list[Any]:
        a2, c2 = self.alpha2, self.c2
        return [w * c2 * c2, -2 * w * c2, w - a2 + c2, w * 0 - 1]

    def _resolvent(self, w: Any) -> Any:
        """G(w): Im w > 0, or real w for w + i0; Newton's method from double precision."""
        G = mp.mpmathify(complex(self.floats(np.array([complex(w)]))[1][0] / complex(w)))
        if mp.im(G) == 0:
            G = mp.re(G)
        for _ in range(12):
            G -= mp.polyval(self._coefficients(w), G) / self._slope(w, G)
        return G

    def _slope(self, w: Any, G: Any) -> Any:
        a2, c2 = self.alpha2, self.c2
        return 3 * w * c2 * c2 * G**2 - 4 * w * c2 * G + w - a2 + c2

    def transform(self, w: Any, order: int = 1) -> Transform:
        """m = wG − 1, 1 + m, m', m''; derivatives from the cubic."""
        G, c2 = self._resolvent(w), self.c2
        PG, Pw = self._slope(w, G), G * (1 - c2 * G) ** 2
        d1 = -Pw / PG
        PGG, PGw = 6 * w * c2 * c2 * G - 4 * w * c2, (1 - c2 * G) * (1 - 3 * c2 * G)
        d2 = -(2 * PGw * d1 + PGG * d1**2) / PG
        return Transform(w * G - 1, w * G, G + w * d1, 2 * d1 + w * d2)

    def log_potential(self, w: Any) -> Any:
        """E[log(1 − X/w)] = m − log(1 + m) + log(1 − c²G) − α²G/(1 − c²G).

        From w(G) = 1/(G (1 − c²G)) + α²/(1 − c²G)²: E[log(w − X)] = ∫ G dw = wG − ∫ w dG, 0 at infinity
        after subtraction of log w. Im G < 0, so both logarithms are principal.
        """
        G = self._resolvent(w)
        rest = 1 - self.c2 * G
        return w * G - 1 - mp.log(w * G) + mp.log(rest) - self.alpha2 * G / rest

    def moment(self, k: int) -> Any:
        """E[X^k] = [G^k] (1/(u w(G)))^{k+1}/(k + 1), by Lagrange inversion of u = 1/w."""
        one, c2 = mp.mpf(1), self.c2
        top = [one, self.alpha2 - c2]
        inverse = series.reciprocal(series.times([one, -c2], [one, -c2], k + 1))
        return series.power(series.times(top, inverse, k + 1), k + 1, k + 1)[k] / (k + 1)

    def mass_above(self, w: Any) -> Any:
        """P(X > w), w off the support: all or nothing, the support being one interval."""
        return mp.mpf(1 if w < self.edge() else 0)

    def floats(self, w: np.ndarray, line: bool = False) -> tuple[np.ndarray, np.ndarray]:
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

    def holds(self, w: Any) -> bool:
        """Never asked to avoid the real line: closed forms know no poles there."""
        return False

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


class LeakyOrthogonal:
    """X = |α + c e^{iθ}|², θ uniform: squared singular values of α + cO, O Haar on O(N).

    The eigenvalues of O fill the circle evenly. X = α² + c² + 2αc cos θ has the arcsine law on
    [(α − c)², (α + c)²]: G(w) = 1/√((w − a)(w − b)).
    """

    def __init__(self, alpha: Any, c: Any) -> None:
        self.centre, self.swing = alpha**2 + c**2, 2 * abs(alpha * c)
        self.low, self.high = (abs(alpha) - abs(c)) ** 2, (abs(alpha) + abs(c)) ** 2

    def _resolvent(self, w: Any) -> Any:
        if mp.im(w) == 0 and self.low < w < self.high:  # w + i0
            return mp.mpc(0, -1) / mp.sqrt((w - self.low) * (self.high - w))
        return 1 / (mp.sqrt(w - self.low) * mp.sqrt(w - self.high))

    def transform(self, w: Any, order: int = 1) -> Transform:
        """m = wG − 1, 1 + m, m', m'', with G' = −G³ (w − centre)."""
        G, x = self._resolvent(w), w - self.centre
        d1 = -(G**3) * x
        d2 = 3 * G**5 * x * x - G**3
        return Transform(w * G - 1, w * G, G + w * d1, 2 * d1 + w * d2)

    def log_potential(self, w: Any) -> Any:
        """E[log(1 − X/w)] = 2 log((√(w − a) + √(w − b))/2) − log w."""
        return 2 * mp.log((mp.sqrt(w - self.low) + mp.sqrt(w - self.high)) / 2) - mp.log(w)

    def moment(self, k: int) -> Any:
        """E[X^k] = Σ_j C(k, 2j) (α² + c²)^{k−2j} (αc)^{2j} C(2j, j), as E[(2 cos θ)^{2j}] = C(2j, j)."""
        half = self.swing / 2
        return mp.fsum(
            mp.binomial(k, 2 * j) * self.centre ** (k - 2 * j) * half ** (2 * j) * mp.binomial(2 * j, j)
            for j in range(k // 2 + 1)
        )

    def mass_above(self, w: Any) -> Any:
        """P(X > w), w off the support."""
        return mp.mpf(1 if w <= self.low else 0)

    def floats(self, w: np.ndarray, line: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """m and 1 + m at many w in double precision, Im w > 0."""
        w = np.asarray(w, dtype=complex)
        one_plus_m = w / (np.sqrt(w - float(self.low)) * np.sqrt(w - float(self.high)))
        return one_plus_m - 1, one_plus_m

    def holds(self, w: Any) -> bool:
        """Never asked to avoid the real line: closed forms know no poles there."""
        return False

    def edge(self) -> Any:
        """Right edge of X."""
        return self.high

    def top(self) -> float:
        """Right edge of X."""
        return float(self.high)
