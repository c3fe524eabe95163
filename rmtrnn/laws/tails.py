"""The outermost parts of a law: where a population has few sites, and beyond the last solved point.

A tail is seen from the bulk outwards: ``x`` is the distance, ``mass`` what lies beyond it, ``density`` that
of x, ``hazard`` their ratio density/mass. Beyond the last point the mass is continued as

    mass(x) = mass(0) (1 - x/r)^alpha,      hazard(x) = alpha/(r - x),                              (*)

the generalised Pareto form, to which tails beyond a high level tend (Pickands 1975, Ann. Stat. 3, 119). A
square-root edge is alpha = 3/2 exactly, a soft tail has a large alpha, and alpha -> infinity is exponential.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

EDGE = 1.5
"""alpha of a square-root edge, the sharpest end of a law whose sites are spread out."""
SHARPEST = 0.5
"""alpha of an inverse-square-root edge, the sharpest end of all."""


@dataclass(frozen=True)
class Settings:
    """Points of tails; tests/laws/test_tails.py moves them by three both ways."""

    fall: float = 1.0
    """Of log mass from one added point to the next; empirical: cubics follow e^{-x} over that to 1e-3."""
    added: int = 9
    """Points added at most: the mass falls by 1e-4, less than any population resolves."""
    smallest_reach: float = 1e-9
    """Distance of the end from a point without mass or density beyond it: an interval must not be empty."""
    clear: float = 0.7
    """Share of the mass beyond one point that is left beyond the next; empirical: sites lie between them."""


SETTINGS = Settings()


class Tail(NamedTuple):
    """What is added beyond the last point: points (x, mass, density), and the end of the support."""

    x: np.ndarray
    mass: np.ndarray
    density: np.ndarray
    reach: float


def pareto_tail(
    mass: float,
    hazard: float,
    inner_hazard: float,
    spacing: float,
    sharpest: float,
    room: float,
    settings: Settings = SETTINGS,
) -> Tail:
    """Continue a tail by (*), through its last point and the hazard at another one ``spacing`` before it.

    Two hazards fix r and alpha, alpha >= ``sharpest``. The end is at most ``room`` away; there alpha is what
    the last hazard asks for. Points are added where (*) is softer than a square-root edge, and from the last
    one a square-root edge takes the mass that is left.
    """
    none = np.zeros(0)
    if not (mass > 0.0 and hazard > 0.0):
        return Tail(none, none, none, min(settings.smallest_reach, room))
    growth = hazard / inner_hazard - 1.0 if inner_hazard > 0.0 else math.inf
    reach = spacing / growth if growth > 0.0 else math.inf
    reach = min(max(reach, sharpest / hazard), room)
    alpha = max(hazard * reach, sharpest)
    if not alpha > EDGE:
        return Tail(none, none, none, reach)
    steps = settings.fall * np.arange(1, settings.added + 1)
    # 1 - x/r = exp(-steps/alpha), also for infinite alpha and r
    x = steps / hazard if math.isinf(alpha) else -reach * np.expm1(-steps / alpha)
    left, ahead = mass * np.exp(-steps), hazard * np.exp(steps / alpha)
    return Tail(x, left, left * ahead, float(x[-1] + EDGE / ahead[-1]))


def clearly_falling(mass: np.ndarray, settings: Settings = SETTINGS) -> np.ndarray:
    """Indices of points, the first among them, from each of which to the next ``mass`` falls clearly."""
    kept = [0]
    for i in range(1, len(mass)):
        if mass[i] < settings.clear * mass[kept[-1]]:
            kept.append(i)
    return np.array(kept)


def densest_panel(x: np.ndarray, mass: np.ndarray, least: float) -> int:
    """Index of the point where the panel of largest mean density begins, of those that hold ``least``."""
    fall = -np.diff(mass)
    return int(np.argmax(np.where(fall >= least, fall / np.diff(x), 0.0))) if len(x) > 1 else 0


def monotone_density(x: np.ndarray, mass: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Make the density of a tail of few sites fall outwards, as that of the law does, and keep its masses.

    Sites that stand apart have intervals of their own with gaps between them, but the mass on both sides of
    each is right. In a panel of mean density M, the parabola from p_0 through that mean to p_1 falls where
    p_0 + 2 p_1 <= 3 M <= 2 p_0 + p_1. At the ends of panels where this fails the density is taken from the
    means of the panels on both sides, log-linear between their middles. At the last point the hazard is at
    least that of the panel before it. The first point is left alone. Isotonic regression of the
    densities would move the masses of panels, which are known.
    """
    if len(x) < 2:
        return density
    width, mean = np.diff(x), -np.diff(mass) / np.diff(x)
    share = width[:-1] / (width[:-1] + width[1:])
    last = mass[-1] * math.log(mass[-2] / mass[-1]) / width[-1]
    log_mean = np.log(mean)
    even = np.concatenate([density[:1], np.exp((1 - share) * log_mean[:-1] + share * log_mean[1:]), [last]])
    density = np.concatenate([density[:-1], [max(density[-1], last)]])
    for _ in range(len(x)):
        inner, outer = density[:-1], density[1:]
        bad = (inner + 2 * outer > 3 * mean) | (2 * inner + outer < 3 * mean)
        ends = np.concatenate([[False], bad]) | np.concatenate([bad, [False]])
        if (density[ends] == even[ends]).all():
            break
        density[ends] = even[ends]
    return density
