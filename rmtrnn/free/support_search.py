"""Where a law that is known through G has its continuous part, and the integral of its density there.

Intervals of the support are looked for on equidistant points, and their ends by bisection. On each the
density of an angle, which is smooth at square-root edges, is a Legendre series.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmtrnn.free.subordination_newton import Transform

Support = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class SupportSettings:
    """Numbers of the search for the support and of its table. tests/free/test_free_numbers.py moves them."""

    # Points on which intervals of the support are looked for, one number after the other until no mass is
    # missing. Empirical: a narrower interval is missed.
    scan: tuple[int, ...] = (401, 1601, 6401)
    # Mass that may be missing before the next scan, and before the law is refused.
    missing: float = 1e-6
    lost: float = 1e-3
    # Power in which an interval that ends at λ = 0 of a product is resolved, and the distance, in widths of
    # the law, within which it does. Derived: densities there are powers above −1 of λ, and λ = θ^8 makes
    # that of θ vanish as θ for λ^(−3/4), while 512 nodes stay above 1e-43 widths. Twice the power goes to
    # 1e-86, where the equations of a product are lost in rounding.
    zero_power: float = 4.0
    at_zero: float = 1e-12
    # Im ω relative to the width of the law below which a point is outside the support. Empirical.
    empty: float = 1e-6
    # Gauss points on an interval of the support, one number after the other.
    nodes: tuple[int, ...] = (64, 128, 256, 512)
    # Relative size of the last coefficients. Empirical: the mass is then right to some 1e-9.
    series_tail: float = 1e-8


SEARCH = SupportSettings()


@dataclass(frozen=True)
class Interval:
    """An interval of the support in the angle θ from 0 to π: x − left = (right − left) s^k, s = sin²(θ/2).

    From the right end where ``from_right``. k = ``power`` is 1, but for a density that diverges at that end.
    """

    left: float
    right: float
    power: float = 1.0
    from_right: bool = False

    def place(self, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x(θ) and |dx/dθ|."""
        length, share = self.right - self.left, np.sin(0.5 * angle) ** 2
        x = length * share**self.power
        slope = length * self.power * share ** (self.power - 1.0) * 0.5 * np.sin(angle)
        return (self.right - x if self.from_right else self.left + x), slope

    def angle(self, x: np.ndarray) -> np.ndarray:
        """θ(x), of the nearer end outside."""
        length = self.right - self.left
        away = (self.right - x if self.from_right else x - self.left) / length
        share = np.clip(away, 0.0, 1.0) ** (1.0 / self.power)
        return 2.0 * np.arctan2(np.sqrt(share), np.sqrt(1.0 - share))


class Piece(NamedTuple):
    """An interval of the support: its mass, the mass up to x, and the least value of the density of θ."""

    mass: float
    upto: Callable[[np.ndarray], np.ndarray]
    floor: float


@dataclass(frozen=True)
class SupportSearch:
    """The search for the support of a law between the ends of ``hull``; see the module's text.

    ``zero_power``: k of the intervals that end at 0, beside which the density may diverge; else 1.
    """

    stieltjes: Transform
    hull: tuple[float, float]
    atoms: Sequence[tuple[float, float]]
    zero_power: float

    def found(self) -> tuple[Support, list[Piece]]:
        """The support and its pieces, on ever finer scans until no mass is missing."""
        support: Support = ()
        pieces: list[Piece] = []
        atomic = math.fsum(mass for _, mass in self.atoms)
        if self.hull[0] == self.hull[1] or atomic > 1.0 - 1e-12:
            return support, pieces
        for count in SEARCH.scan:
            support = self._scanned(count)
            pieces = [self._piece(interval) for ends in support for interval in self._intervals(*ends)]
            if abs(atomic + math.fsum(piece.mass for piece in pieces) - 1.0) <= SEARCH.missing:
                break
        return support, pieces

    def _scanned(self, count: int) -> Support:
        """Intervals that hold at least one of ``count`` equidistant points."""
        low, high = self.hull
        margin = 1e-3 * (high - low)
        grid = np.linspace(low - margin, high + margin, count)
        filled = self._is_filled(grid)
        left = np.flatnonzero(filled[1:] != filled[:-1])
        inside = np.where(filled[left], grid[left], grid[left + 1])
        outside = np.where(filled[left], grid[left + 1], grid[left])
        share = np.linspace(0.0, 1.0, 17)[:, None]
        for _ in range(10):  # sixteen parts each time, of all edges together: 40 bits in ten calls
            parts = inside + share * (outside - inside)
            parts[-1] = outside
            known = self._is_filled(parts[1:-1].ravel()).reshape(15, -1)
            last = np.sum(np.logical_and.accumulate(known, axis=0), axis=0)
            inside, outside = (np.take_along_axis(parts, last[None] + i, axis=0)[0] for i in (0, 1))
        edges = 0.5 * (inside + outside)
        if self.zero_power != 1.0:
            edges = np.where(np.abs(edges) < SEARCH.at_zero * (high - low), 0.0, edges)
        return tuple(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))

    def _intervals(self, left: float, right: float) -> list[Interval]:
        """An interval of the support, cut at atoms inside, beside which the density may peak, and at λ = 0.

        At λ = 0 of a product it may diverge.
        """
        places = {where for where, _ in self.atoms if left < where < right}
        diverges = self.zero_power != 1.0 and left <= 0.0 <= right
        cuts: list[float] = sorted({left, right, *places, *([0.0] if diverges else [])})
        found = []
        for low, high in itertools.pairwise(cuts):
            power = self.zero_power if diverges and 0.0 in (low, high) else 1.0
            found.append(Interval(low, high, power, from_right=power != 1.0 and high == 0.0))
        return found

    def _is_filled(self, x: np.ndarray) -> np.ndarray:
        """Whether x lies in the continuous part; at an atom, where G is infinite, whether its sides do."""
        width = self.hull[1] - self.hull[0]
        for where, _ in self.atoms:
            beside = np.where(x < where, where - SEARCH.empty * width, where + SEARCH.empty * width)
            x = np.where(np.abs(x - where) < SEARCH.empty * width, beside, x)
        filled = (x > self.hull[0]) & (x < self.hull[1])
        values, _ = self.stieltjes(x[filled] + 0j)
        filled[filled] = -np.imag(values) > SEARCH.empty * (1.0 + np.abs(values)) / width
        return filled

    def _piece(self, interval: Interval) -> Piece:
        """The integral of the density of θ, smooth at the ends, from Legendre coefficients."""
        for count in SEARCH.nodes:  # until the last coefficients vanish: a peak inside needs more
            series, floor = self._angle_series(interval, count)
            if np.max(np.abs(series[-4:])) < SEARCH.series_tail * np.max(np.abs(series)):
                break
        primitive = np.polynomial.legendre.legint(series) * 0.5 * math.pi
        # From the ends as they round: no mass lies before an interval, exactly.
        start, end = (float(np.polynomial.legendre.legval(x, primitive)) for x in (-1.0, 1.0))
        mass = end - start

        def upto(x: np.ndarray) -> np.ndarray:
            inner = np.polynomial.legendre.legval(2.0 * interval.angle(x) / math.pi - 1.0, primitive) - start
            return mass - inner if interval.from_right else inner

        return Piece(mass, upto, floor)

    def _angle_series(self, interval: Interval, count: int) -> tuple[np.ndarray, float]:
        """Legendre coefficients of the density of θ in 2θ/π − 1 from Gauss points, and its least value."""
        nodes, weights = np.polynomial.legendre.leggauss(count)
        x, slope = interval.place(0.5 * math.pi * (1.0 + nodes))
        values = -np.imag(self.stieltjes(x + 0j)[0]) / math.pi * slope
        degree = 3 * count // 4
        basis = np.polynomial.legendre.legvander(nodes, degree)
        return (np.arange(degree + 1) + 0.5) * ((weights * values) @ basis), float(np.min(values))
