"""From the Dyson equation at single points of u = log s to a law, and its error.

Every solved point has both the distribution function F and the density p = F', so cubics in F that match both
ends of a panel need few points, and no error is summed up along the curve.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq

from rmtrnn._core.status import Status
from rmtrnn.dyson.inversion.error_budget import (
    ERRORS,
    ErrorParts,
    law_status,
    lost_mass,
    tail_error,
)
from rmtrnn.dyson.inversion.panel_refinement import errors_of_cubics
from rmtrnn.dyson.inversion.solution import Solution
from rmtrnn.dyson.inversion.tail_extension import (
    TAILS,
    Resolution,
    SupportPoints,
    end_of_interval,
    monotone_tails,
    power_tail,
)
from rmtrnn.dyson.sites.error import errors_by_groups, largest_error
from rmtrnn.laws.tabulated import Interval, Panel, TabulatedLaw, monotone_panels

# Largest factor on the length of the upper tail, or divisor of it, that a known m_1 may ask for. Derived: a
# square-root edge moves by 0.46 of the mass beyond the last point, an exponential tail by 0.33, and half of
# that mass is an error of the tail. Moved by three in tests/dyson/inversion/test_assembly.py.
_STRETCH = 2.5


def no_law() -> tuple[TabulatedLaw, ErrorParts]:
    """A law that was not found."""
    law = TabulatedLaw([], error=math.inf, status=Status.MAX_ITERATIONS)
    return law, ErrorParts(math.inf, math.inf, math.inf, math.inf)


def assemble(
    weights: np.ndarray,
    solution: Solution,
    groups: int,
    atom: float | None = None,
    one: tuple[float, float] | None = None,
    log_m1: float | None = None,
) -> tuple[TabulatedLaw, ErrorParts]:
    """Build the law of u = log s from F and F' of theory.md (14) at solved points, and its error.

    One interval for every run of points inside the support, monotone cubics of F between them. ``atom``: the
    mass at s = 0 if it is known; else that of a point far below all others. ``one``: the mass of one site, at
    the lower and the upper end, of the population that the self-energies come from; by default that of the
    solution. ``log_m1``: log E s² where it is known; beyond the last point the law is then made longer or
    shorter until it has it, as far as the error of the tail allows.
    """
    solution = solution.sorted()
    good = solution.converged
    if np.count_nonzero(good) < 4:
        return no_law()
    resolution = Resolution.of(weights, groups, one)
    found = _support(solution, resolution, atom)
    points = monotone_tails(found.points, found.atom, resolution) if groups > 1 else found.points
    atoms = [(-math.inf, found.atom)] if found.atom else []
    runs = _runs(~points.empty)

    def built(stretch: float = 1.0) -> tuple[TabulatedLaw, list[_Piece]]:
        """The law and its pieces, the upper tail longer by a factor."""
        pieces = [
            _interval(points, *ends, found.atom, resolution, stretch if ends is runs[-1] else 1.0)
            for ends in runs
        ]
        return TabulatedLaw([piece.panels for piece in pieces], atoms=atoms), pieces

    law, pieces = built()
    if not pieces and not found.atom:
        return no_law()
    if log_m1 is not None and pieces:
        while _is_out_of_reach(lambda stretch: built(stretch)[0], points, log_m1):
            points = points.without_last()
            runs = _runs(~points.empty)
        law, pieces = built(_stretch_of_known_mean(lambda stretch: built(stretch)[0], log_m1))
    left_out = float(np.abs(law.cdf(found.points.u) - found.points.cdf).max())  # at all points
    lost = lost_mass(found.missing, found.points.u, found.points.cdf)
    inside = good & (solution.density > 0)
    parts = ErrorParts(
        population=largest_error(errors_by_groups(solution.site_phase[inside], weights, groups)),
        interpolation=max([left_out, *(piece.error for piece in pieces)]),
        tail=_error_of_tails(pieces, found) + found.power_error,
        solver=float(solution.error[good].max()) + lost,
    )
    law = law.restated(more_error=parts.total)
    status = law_status(law.error, parts.population, lost, max(resolution.few.values()))
    return law.restated(status=status), parts


class _Support(NamedTuple):
    """Points of the law, the mass at s = 0, the points that are missing, and the error of a power below."""

    points: SupportPoints
    atom: float
    missing: Solution
    power_error: float


def _support(solution: Solution, resolution: Resolution, atom: float | None) -> _Support:
    """Which points lie inside the support; what lies below the lowest."""
    good = solution.converged
    u, cdf, density = solution.u[good], solution.cdf[good], np.maximum(solution.density[good], 0.0)
    few, single = resolution
    bulk = (cdf >= few[-1]) & (1.0 - cdf >= few[1])
    peak = density[bulk].max() if bulk.any() else density.max()
    empty = density <= TAILS.empty * peak
    missing = solution.at(~good)
    power = None if atom else power_tail(u, cdf, density)
    if atom is None:
        atom = float(cdf[0]) if power is None and _is_atom_point(u, cdf, empty) else 0.0
    cdf = np.maximum(cdf, atom)
    empty |= 1.0 - cdf < single[1]
    if power is None:
        empty |= cdf - atom < single[-1]
        return _Support(SupportPoints(u, cdf, density, empty), atom, missing, 0.0)
    below = np.zeros(power.u.shape, dtype=bool)
    pairs = ((power.u, u), (power.cdf, cdf), (power.density, density), (below, empty))
    points = SupportPoints(*(np.concatenate(pair) for pair in pairs))
    return _Support(points, atom, missing.at(missing.u > u[0]), power.error)


def _is_out_of_reach(law: Callable[[float], TabulatedLaw], points: SupportPoints, log_m1: float) -> bool:
    """Whether no tail gives the ``law`` its E s², and little lies beyond the point before the last one.

    F is known to an error there that hardly counts but in E s².
    """
    inside = np.flatnonzero(~points.empty)
    if len(inside) < 5 or 0.5 * (1.0 - float(points.cdf[inside[-2]])) > ERRORS.aim:
        return False
    least, most = (math.log(law(stretch).moment(1)) for stretch in (1.0 / _STRETCH, _STRETCH))
    return not least < log_m1 < most


def _stretch_of_known_mean(law: Callable[[float], TabulatedLaw], log_m1: float) -> float:
    """The factor on the length of the upper tail with which the ``law`` has log E s², or next to it."""

    @functools.cache  # the root search asks for both ends again
    def excess(log_stretch: float) -> float:
        return math.log(law(math.exp(log_stretch)).moment(1)) - log_m1

    far = -math.log(_STRETCH) if excess(0.0) > 0.0 else math.log(_STRETCH)
    if excess(0.0) * excess(far) > 0.0:
        return math.exp(far)
    found: Any = brentq(excess, *sorted((0.0, far)), xtol=1e-6)
    return math.exp(found)


class _Piece(NamedTuple):
    """One interval of the support with its panels, the error of the cubics, the mass beyond its points."""

    panels: tuple[Interval, list[Panel]]
    error: float
    beyond: tuple[float, float]


def _error_of_tails(pieces: list[_Piece], found: _Support) -> float:
    """Largest error of F beyond the ends of the intervals, where no point is solved."""
    masses = found.points.cdf - found.atom, 1.0 - found.points.cdf
    outermost = [float(np.min(mass[mass > TAILS.no_mass], initial=1.0)) for mass in masses]
    beyond = [mass for piece in pieces for mass in map(min, piece.beyond, outermost)]
    return max(map(tail_error, beyond), default=0.0)


def _is_atom_point(u: np.ndarray, cdf: np.ndarray, empty: np.ndarray) -> bool:
    """Whether the lowest point lies far below the density and still has mass below it: mass at s = 0."""
    filled = np.flatnonzero(~empty)
    return bool(empty[0] and cdf[0] > 1e-6 and u[0] < u[filled[0]] - 0.5 * (u[filled[-1]] - u[filled[0]]))


def _runs(inside: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _interval(
    points: SupportPoints, first: int, last: int, atom: float, resolution: Resolution, stretch: float
) -> _Piece:
    """The interval of the points ``first`` to ``last``, with its tails, the upper one times ``stretch``."""
    left, low = end_of_interval(points, first, -1, atom, resolution.few[-1])
    right, high = end_of_interval(points, last, 1, 1.0, resolution.few[1], stretch)
    inside = slice(first, last + 1)
    u = np.concatenate([points.u[first] - left.x[::-1], points.u[inside], points.u[last] + right.x])
    cdf = np.concatenate([low + left.mass[::-1], points.cdf[inside], high - right.mass])
    density = np.concatenate([left.density[::-1], points.density[inside], right.density])
    interval = Interval(float(points.u[first] - left.reach), float(points.u[last] + right.reach))
    panels, error = _panels(interval, u, cdf, density, low, high)
    return _Piece((interval, panels), error, (float(points.cdf[first]) - low, high - float(points.cdf[last])))


def _panels(
    interval: Interval, u: np.ndarray, cdf: np.ndarray, density: np.ndarray, low: float, high: float
) -> tuple[list[Panel], float]:
    """Panels between neighbouring points, monotone cubics of F in the edge-adapted angle, and their error."""
    angle = np.concatenate([[0.0], interval.angle(u), [np.pi]])
    value = np.concatenate([[low], cdf, [high]])
    slope = np.concatenate([[0.0], density * interval.slope(angle[1:-1]), [0.0]])
    error = float(errors_of_cubics(angle, value, slope).max())
    return monotone_panels(angle, value, slope), error
