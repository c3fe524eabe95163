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
from rmtrnn.free.boundary_curve import Curve, Piece
from rmtrnn.free.s_transform_series import product_moments
from rmtrnn.laws.expectation import expectation
from rmtrnn.laws.protocol import LogView

_BISECTIONS = 60


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
        return self._product.log_moment(_validate.integer("k", k, low=0))


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
                log_w = self.curve.invert(v[inside], piece)
                density[inside] = np.maximum(-np.imag(self.curve.at(log_w).m) / math.pi, 0.0)
        return density

    def cdf(self, v: np.ndarray) -> np.ndarray:
        """P(log X ≤ v)."""
        if self.is_base:
            return self._base.log_cdf(v - self._log_scale)
        total = np.zeros(v.shape)
        for location, mass in self.atoms:
            total += mass * (v >= location)
        for piece in self.curve.pieces:
            total += np.where(v >= piece.v_right, piece.mass, 0.0)
            inside = (v > piece.v_left) & (v < piece.v_right)
            if np.any(inside):
                log_w = self.curve.invert(v[inside], piece)
                above = self.curve.survival(log_w, self.curve.at(log_w))
                total[inside] += np.clip(piece.survival_left - above, 0.0, piece.mass)
        return np.clip(total, 0.0, 1.0)

    def icdf(self, p: np.ndarray) -> np.ndarray:
        """Smallest v with cdf(v) ≥ p, a probability."""
        if self.is_base:
            return self._base.log_icdf(p) + self._log_scale
        marks: list[tuple[float, float, Piece | None]] = [(v, mass, None) for v, mass in self.atoms]
        marks += [(piece.v_left, piece.mass, piece) for piece in self.curve.pieces]
        result = np.full(p.shape, np.nan)
        below = 0.0
        order = sorted(marks, key=lambda mark: (mark[0], mark[2] is not None))
        for position, (v, mass, piece) in enumerate(order):
            last = position == len(order) - 1
            here = np.isnan(result) & ((p <= below + mass) | last)
            if np.any(here):
                result[here] = (
                    v if piece is None else self._quantile(np.clip(p[here] - below, 0.0, mass), piece)
                )
            below += mass
        return result

    def expectation(self, f: Callable[[np.ndarray], np.ndarray]) -> float:
        """E[f(v)]."""
        return expectation(self, f)

    def _quantile(self, p: np.ndarray, piece: Piece) -> np.ndarray:
        """v with probability p below it in one piece, 0 ≤ p ≤ mass: bracketed Newton from the table."""
        curve = self.curve
        known = np.maximum.accumulate(piece.survival_left - piece.survival)
        v = np.interp(p, known, piece.v)
        low, high = np.full(p.shape, piece.v_left), np.full(p.shape, piece.v_right)
        live = np.flatnonzero((p > 0) & (p < piece.mass))
        deep = np.flatnonzero((p > 0) & (p < known[0]) & math.isinf(piece.v_left))
        if deep.size:  # below the table the mass is exponential in v
            rate = math.log(known[1] / known[0]) / (piece.v[1] - piece.v[0])
            v[deep] = piece.v[0] + np.log(p[deep] / known[0]) / rate
        for _ in range(_BISECTIONS):
            if not live.size:
                break
            log_w = curve.invert(v[live], piece)
            point = curve.at(log_w)
            mass = piece.survival_left - curve.survival(log_w, point)
            high[live] = np.where(mass > p[live], v[live], high[live])
            low[live] = np.where(mass > p[live], low[live], v[live])
            with np.errstate(divide="ignore", invalid="ignore"):
                new = v[live] + (p[live] - mass) * math.pi / -np.imag(point.m)
            lo, hi = low[live], high[live]
            middle = np.where(np.isfinite(lo), 0.5 * (lo + hi), hi - 1.0)
            new = np.where((new > lo) & (new < hi), new, middle)
            open_ = (np.abs(mass - p[live]) > 1e-15) & (hi - lo > 4e-16 * (1.0 + np.abs(hi)))
            v[live] = np.where(open_, new, v[live])
            live = live[open_]
        v[p <= 0] = piece.v_left
        v[p >= piece.mass] = piece.v_right
        return v

    @property
    def support(self) -> tuple[tuple[float, float], ...]:
        """Intervals of the continuous part."""
        if self.is_base:
            return tuple((a + self._log_scale, b + self._log_scale) for a, b in self._base.log_support)
        return tuple((piece.v_left, piece.v_right) for piece in self.curve.pieces)

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
