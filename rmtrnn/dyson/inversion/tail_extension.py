"""Tails of an inverted law: where a population has few sites, and beyond the last solved point.

The forms of the tails themselves are those of `rmtrnn.laws.tails`.

Letters: u = log s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmtrnn.dyson.inversion.error_budget import ERRORS
from rmtrnn.laws.tails import (
    EDGE,
    SHARPEST,
    Tail,
    clearly_falling,
    densest_panel,
    monotone_density,
    pareto_tail,
)


@dataclass(frozen=True)
class TailSettings:
    """Numbers of the tails; moved by three both ways in tests/dyson/test_numbers.py."""

    # Sites: a gap with fewer of them on one side is a lack of sites. Empirical; their mass at most, where the
    # population itself is that small.
    few_sites: float = 256.0
    most_few: float = 0.05
    # Sites: beyond a point with fewer of them F is not that of the law.
    outliers: float = 4.0
    # Times that: a panel with fewer sites is no peak of the law.
    peak: float = 4.0
    # Quantile of the weights of sites that is about that of the outermost ones.
    light: float = 0.1
    # Mass below which nothing lies beyond an end: rounding of F.
    no_mass: float = 1e-9
    # Mass: F is not known better, in few unknowns (splines of the step).
    finest: float = 1e-5
    # Of the largest density: less than this is outside the support. Between rounding (1e-7) and a square-root
    # edge at 1e-8 of the range.
    empty: float = 3e-5


@dataclass(frozen=True)
class PowerSettings:
    """Numbers of a tail that reaches down to s = 0; moved by three in tests/dyson/test_numbers.py."""

    # F at the lowest point from which on a power of s is continued: the tail extension ended early.
    least: float = 4e-4
    # Relative change of the power, while F falls by a factor of e, up to which it has settled. Empirical.
    settled: float = 0.3
    # Times F at the lowest point: points up to there say the power and its change. Empirical.
    up_to: float = 8.0


TAILS, POWER = TailSettings(), PowerSettings()


class SupportPoints(NamedTuple):
    """Solved points in increasing u = log s, F and F' there, and which lie outside the support."""

    u: np.ndarray
    cdf: np.ndarray
    density: np.ndarray
    empty: np.ndarray

    def without_last(self) -> SupportPoints:
        """Without the uppermost point inside the support, and all above."""
        last = np.flatnonzero(~self.empty)[-1]
        return SupportPoints(*(values[:last] for values in self))


class Resolution(NamedTuple):
    """Masses at the lower (side -1) and upper end (side 1) of a law from a finite population.

    ``few``: of so few sites that a gap there is a lack of sites; ``single``: of so few that F is not that of
    the law. Both 0 where sites are exact.
    """

    few: dict[int, float]
    single: dict[int, float]

    @classmethod
    def of(cls, weights: np.ndarray, groups: int, one: tuple[float, float] | None) -> Resolution:
        """``one``: the mass of one site at both ends; by default that of the lighter sites."""
        if groups == 1:
            return cls({-1: 0.0, 1: 0.0}, {-1: 0.0, 1: 0.0})
        light = float(np.quantile(weights, TAILS.light))
        ends = dict(zip((-1, 1), one or (light, light), strict=True))
        least = TAILS.finest if one else 0.0
        few = {side: max(min(TAILS.few_sites * mass, TAILS.most_few), least) for side, mass in ends.items()}
        return cls(few, {side: max(TAILS.outliers * mass, least) for side, mass in ends.items()})


def monotone_tails(points: SupportPoints, atom: float, resolution: Resolution) -> SupportPoints:
    """The points with densities that fall outwards where few sites lie beyond on a side.

    There the sites of a finite population stand so far apart that each has an interval of its own. The law
    has neither gaps nor peaks there. Points beyond which single sites lie are left as they are.
    """
    u, cdf, density, empty = (values.copy() for values in points)
    outer = {-1: cdf - atom, 1: 1.0 - cdf}
    few, single = resolution
    bulk = np.flatnonzero((outer[-1] >= few[-1]) & (outer[1] >= few[1]) & ~empty)
    if bulk.size == 0:
        return points
    used = np.ones(u.shape, dtype=bool)
    for side, start in ((-1, bulk[0]), (1, bulk[-1])):
        tail = np.arange(start, len(u) if side > 0 else -1, side)
        tail = tail[outer[side][tail] > single[side]]
        if tail.size == 0:  # of so few sites, all of the side are single ones
            continue
        kept = clearly_falling(outer[side][tail])
        kept = kept[densest_panel(side * u[tail[kept]], outer[side][tail[kept]], TAILS.peak * single[side]) :]
        tail, kept = tail[kept[0] :], tail[kept]
        used[tail], used[kept], empty[kept] = False, True, False
        density[kept] = monotone_density(side * u[kept], outer[side][kept], density[kept])
    return SupportPoints(*(values[used] for values in (u, cdf, density, empty)))


class PowerTail(NamedTuple):
    """Points of F = c s^kappa below the lowest one, and how far F may be from it."""

    u: np.ndarray
    cdf: np.ndarray
    density: np.ndarray
    error: float


def power_tail(u: np.ndarray, cdf: np.ndarray, density: np.ndarray) -> PowerTail | None:
    """Where the law reaches down to s = 0, F ends in a power of s, far below what the solver can reach.

    The power kappa = F'/F and its slope are those of a line through the lowest points. Downwards a power that
    rises is carried on, log F a parabola; half of what that changes, and the scatter about the line, are the
    error. A power that falls is kept, and half of its change is the error. None where F is small enough,
    where there is no density, or where kappa has not settled.
    """
    inside = density[:2].min() > TAILS.empty * density.max()
    if not (POWER.least < cdf[0] < 0.5 and inside):
        return None
    count = max(2, int(np.searchsorted(cdf, POWER.up_to * cdf[0])))
    x, powers = u[:count] - u[0], density[:count] / cdf[:count]
    slope, kappa = np.polyfit(x, powers, 1)
    scatter = float(np.sqrt(np.sum((slope * x + kappa - powers) ** 2) / max(count - 2, 1)))
    if kappa <= 0.0 or abs(slope) > POWER.settled * kappa**2:
        return None
    bend = max(-float(slope), 1e-9 * kappa**2)
    down = np.arange(6, 0, -1) * 1.5
    reach = (np.sqrt(kappa**2 + 2.0 * bend * down) - kappa) / bend
    fallen = cdf[0] * np.exp(-down)
    change = 0.5 * max(slope, 0.0) / kappa**2 + 0.5 * float(np.max(np.exp(-kappa * reach) - np.exp(-down)))
    error = float(cdf[0] * min(0.5, change + scatter / (math.e * kappa)))
    return PowerTail(u[0] - reach, fallen, (kappa + bend * reach) * fallen, error)


def end_of_interval(
    points: SupportPoints, index: int, side: int, bound: float, few: float, stretch: float = 1.0
) -> tuple[Tail, float]:
    """What lies beyond the outermost point of an interval of the support, and F there.

    ``bound`` is F where there is no interval further out; ``stretch``, a factor on the length of the tail.
    """
    u, cdf, density, empty = points
    further = ~empty[index + 1 :] if side > 0 else ~empty[:index]
    outside, inner = index + side, index - side
    known = 0 <= outside < u.size
    if further.any():
        bound = float(cdf[outside])
    mass = side * (bound - float(cdf[index]))
    sparse = mass < few and not further.any()
    room = math.inf
    if known and not sparse:
        room = abs(float(u[outside] - u[index]))
    elif mass >= ERRORS.lost:
        room = float(u[-1] - u[0])  # what is lost has no known shape
    hazard = float(density[index]) / mass if mass > 0.0 else 0.0
    inner_hazard, spacing = 0.0, 0.0
    if 0 <= inner < u.size and not empty[inner]:
        beyond = side * (bound - float(cdf[inner]))
        inner_hazard = float(density[inner]) / beyond if beyond > 0.0 else 0.0
        spacing = abs(float(u[inner] - u[index]))
    tail = pareto_tail(mass, hazard, inner_hazard, spacing, EDGE if sparse else SHARPEST, room)
    stretch = min(stretch, room / tail.reach)
    return Tail(tail.x * stretch, tail.mass, tail.density / stretch, tail.reach * stretch), bound
