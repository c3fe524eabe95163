"""A free product in v = log x: base^{⊠t} ⊠ Π_c MP_c^{⊠n_c}, dilated, as functions of arrays.

The numbers of a `PositiveLaw` come from here, on its boundary curve (`rmtrnn.free.boundary_curve`).
In log x no power and no scale over- or underflows.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn.free.base_transforms import Base
from rmtrnn.free.boundary_curve import Curve
from rmtrnn.free.curve_table import CurveTable
from rmtrnn.free.s_transform_series import MOMENT_SECONDS, product_moments
from rmtrnn.laws.expectation import expectation
from rmtrnn.laws.protocol import LogView
from rmtrnn.laws.second_look import SecondLook, mean_of_power, second_look


class PositiveLogView(LogView):
    """The law in v = log x: density, distribution function, quantiles, support, atoms, mean of v, moments."""

    def __init__(self, law: ProductInLog) -> None:
        super().__init__(law)
        self._product = law

    @property
    def mean(self) -> float:
        """E[log X] = t E[log X_base] + Σ n_c E[log MP_c] + log(scale); −∞ with mass at 0."""
        return self._product.mean

    def moment(self, k: int) -> float:
        """log E[X^k], which does not overflow."""
        return self._product.log_moment(_validate.cost("k", _validate.integer("k", k, low=0), MOMENT_SECONDS))


class ProductInLog:
    """The free product as a `rmtrnn.laws.protocol.LogForm` of v = log x."""

    def __init__(self, base: Base, power: float, ratios: Mapping[float, float], log_scale: float) -> None:
        self._base, self._power, self._ratios, self._log_scale = base, power, ratios, log_scale

    @property
    def is_base(self) -> bool:
        """Whether the law is its base but for the scale."""
        return self._power == 1.0 and not self._ratios

    @functools.cached_property
    def curve(self) -> Curve:
        """The curve on which λ is real."""
        return Curve(self._base, self._power, self._ratios, self._log_scale)

    def pdf(self, v: np.ndarray) -> np.ndarray:
        """Density of v, atoms left out."""
        if self.is_base:
            return self._base.log_pdf(v - self._log_scale)
        density = np.zeros(v.shape)
        for piece in self.curve.pieces:
            inside = (v > piece.v_left) & (v < piece.v_right)
            if np.any(inside):
                density[inside] = piece.density(v[inside])
        return density

    def cdf(self, v: np.ndarray) -> np.ndarray:
        """P(log X ≤ v)."""
        if self.is_base:
            return self._base.log_cdf(self._of_base(v))
        total = np.zeros(v.shape)
        for location, mass in self.atoms:
            total += mass * (v >= location)
        for piece in self.curve.pieces:
            total += np.where(v >= piece.v_right, piece.mass, 0.0)
            inside = (v > piece.v_left) & (v < piece.v_right)
            if np.any(inside):
                total[inside] += piece.below(v[inside])
        return np.clip(total, 0.0, 1.0)

    def _of_base(self, v: np.ndarray) -> np.ndarray:
        """v − log(scale); at an atom the base's own location, whatever the difference rounds to."""
        shifted = v - self._log_scale
        for place, _ in self._base.atoms:
            if place > 0.0:
                own = math.log(place)
                shifted = np.where(v == own + self._log_scale, own, shifted)
        return shifted

    def icdf(self, p: np.ndarray) -> np.ndarray:
        """Smallest v with cdf(v) ≥ p, a probability."""
        if self.is_base:
            return self._base.log_icdf(p) + self._log_scale
        marks: list[tuple[float, float, CurveTable | None]] = [(v, mass, None) for v, mass in self.atoms]
        marks += [(piece.v_left, piece.mass, piece) for piece in self.curve.pieces]
        result = np.full(p.shape, np.nan)
        below = 0.0
        order = sorted(marks, key=lambda mark: (mark[0], mark[2] is not None))
        for position, (v, mass, piece) in enumerate(order):
            last = position == len(order) - 1
            here = np.isnan(result) & ((p <= below + mass) | last)
            if np.any(here):
                inside = np.clip(p[here] - below, 0.0, mass)
                result[here] = v if piece is None else piece.quantile(inside)
            below += mass
        return result

    def expectation(self, f: Callable[[np.ndarray], np.ndarray]) -> float:
        """E[f(v)]."""
        return expectation(self, f)

    @property
    def support(self) -> tuple[tuple[float, float], ...]:
        """Intervals of the continuous part."""
        if self.is_base:
            return tuple((a + self._log_scale, b + self._log_scale) for a, b in self._base.log_support)
        ends = [[piece.v_left, piece.v_right] for piece in self.curve.pieces]
        if ends and not self._base.is_bounded:
            ends[-1][1] = math.inf
        return tuple((left, right) for left, right in ends)

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """Pairs (v, mass), exact."""
        atoms = []
        for location, mass in self._base.atoms:
            if location == 0.0:
                atoms.append((-math.inf, mass))
            elif not self._ratios and 1.0 - self._power * (1.0 - mass) > 0.0:
                kept = 1.0 - self._power * (1.0 - mass)
                atoms.append((self._power * math.log(location) + self._log_scale, kept))
        return tuple(sorted(atoms))

    @functools.cached_property
    def integrated_mass(self) -> float:
        """Atoms and the integral of the density: 1 up to the error, by a way that the cdf does not take."""
        if self.is_base:
            return 1.0
        atoms = math.fsum(mass for _, mass in self.atoms)
        return atoms + math.fsum(piece.integral(np.ones_like) for piece in self.curve.pieces)

    @property
    def error(self) -> float:
        """Estimated error of the cdf: quadrature, rounding, series, and what the second look finds.

        The masses of the intervals, and the integral of the density, must make 1.
        """
        return self.look.covering_error

    @functools.cached_property
    def look(self) -> SecondLook:
        """What else holds for every law, looked at here: see `rmtrnn.laws.second_look`."""
        if self.is_base:
            error = 1e-15 + self._base.underflowing
            return second_look(self, error=error, mean=mean_of_power(self, 1.0, self.log_moment(1)))
        pieces = self.curve.pieces
        whole = math.fsum([mass for _, mass in self.atoms] + [piece.mass for piece in pieces])
        estimate = max((piece.error for piece in pieces), default=0.0)
        error = (
            1e-15 + self._base.underflowing + estimate + abs(whole - 1.0) + abs(self.integrated_mass - 1.0)
        )
        mean = mean_of_power(self, 1.0, self.log_moment(1))
        return second_look(self, error=error, mass=self.integrated_mass, mean=mean)

    @property
    def mean(self) -> float:
        """E[log X]."""
        if any(location == 0.0 for location, _ in self._base.atoms):
            return -math.inf
        total = self._power * self._base.log_mean() + self._log_scale
        for ratio, count in self._ratios.items():
            rest = 0.0 if ratio == 1.0 else (1.0 - ratio) * math.log1p(-ratio) / ratio
            total += count * (-1.0 - rest)
        return total

    def log_moment(self, k: int) -> float:
        """log E[X^k]."""
        if k == 0:
            return 0.0
        base = [self._base.moment(j) for j in range(1, k + 1)]
        scale, moments = product_moments(base, self._power, self._ratios)
        return k * (scale + self._log_scale) + math.log(moments[k - 1])
