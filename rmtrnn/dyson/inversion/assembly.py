"""From the Dyson equation at single points of u = log s to a law, and its error.

At every point the solver gives both the distribution function F and the density p = F' (see
`recursive_green`), so cubics in F that match both ends of a panel need few points, and no error is summed up
along the curve. The points are chosen on some of the sites (`panel_refinement`); the values come from all of
them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from rmtrnn._core.arrays import to_host
from rmtrnn._core.status import Status
from rmtrnn.dyson.continuation import mass_at_zero
from rmtrnn.dyson.diagonal_jacobian import gate_law
from rmtrnn.dyson.inversion.full_population import averaged, on_all_sites
from rmtrnn.dyson.inversion.panel_refinement import (
    EMPTY,
    FINEST,
    Levels,
    Nodes,
    Settings,
    place_nodes,
    share_of_one,
)
from rmtrnn.dyson.newton import (
    REAL_AXIS,
    Solution,
    evaluate,
    newton,
)
from rmtrnn.dyson.recursive_green import Chain
from rmtrnn.dyson.sites.error import errors_by_groups, largest
from rmtrnn.laws.tabulated import Interval, Panel, TabulatedLaw, monotone_panels
from rmtrnn.laws.tails import EDGE, SHARPEST, Tail, beyond, falling, highest, thinned

_POWER_FROM = 4e-4  # F at the lowest point, from which on a power of s is continued: the walk ended early
_SETTLED_POWER = 0.2  # relative change of the power between the two lowest points
_SETTLED = 0.1  # relative step of the strengths at the end: F errs by its square
_LOST = 0.01  # a point that fails inside a panel of less mass leaves the law usable; the mass is an error
_LOOKED_AT = 10  # points, for the error of splines
_USELESS = 0.1  # error of the cdf
_FEW_SITES = 256  # a gap with fewer of them on one side is a lack of sites
_MOST_FEW = 0.05  # of the mass: where the population itself is that small
_OUTLIERS = 4.0  # sites: beyond a point with fewer of them F is not that of the law
_PEAK = 4.0  # times that: a panel with fewer of them is no peak of the law
_LIGHT = 0.1  # quantile of the weights of sites that is about that of the outermost ones
_NO_MASS = 1e-9
_TRUST = 3.0  # times the second-order error of F at a point whose strengths have not settled
_WORTH_MORE = 0.1  # of the error aimed at
_NEAR = 0.3  # of the way to the neighbour
AIM = 1e-3  # error of the cdf that a population of free size is made large enough for
_MARGIN = 0.8  # the error of the larger population is aimed below the room that there is


@dataclass(frozen=True)
class ErrorParts:
    """Estimated errors of the cdf: of the population of sites, of the cubics, of the tails, of the solver."""

    population: float
    interpolation: float
    tail: float
    solver: float

    @property
    def total(self) -> float:
        return self.population + self.interpolation + self.tail + self.solver

    @property
    def larger(self) -> int | None:
        """By which power of two a population has to grow for `AIM`; None if it is met or cannot be."""
        room = _MARGIN * (AIM - (self.total - self.population))
        if self.total <= AIM or room <= 0:
            return None
        return 2 ** math.ceil(2 * math.log2(self.population / room))


def chain_law(
    chain: Chain,
    groups: int = 1,
    settings: Settings | None = None,
    larger: Callable[[int], Chain] | None = None,
) -> tuple[TabulatedLaw, ErrorParts]:
    """Law of u = log s of the chain, with ``groups`` independent groups of sites of equal size for the error.

    ``groups`` = 1: the sites are exact (quadrature nodes); then no population error is added.
    ``larger(factor)`` gives a population about that many times larger, scaled like ``chain``; if the error
    would exceed `AIM` without, F is averaged over that.
    """
    settings = settings or Settings()
    if chain.n_gates == 0 or all(bool((stage.b == 0).all()) for stage in chain.stages):
        law, population, between = gate_law(chain, groups)
        parts = ErrorParts(population, between, 0.0, 0.0)
        if larger is not None and parts.larger:
            law, population, between = gate_law(larger(parts.larger), groups)
            parts = ErrorParts(population, between, 0.0, 0.0)
        return law, parts
    nodes, levels = place_nodes(chain, settings)
    if nodes.u.size < 4:
        return _no_law()
    solution = with_spline_error(finish(levels.medium, levels.coarse, nodes), levels)
    lowest = 1.0 - float(solution.sorted().upper[0])
    atom = mass_at_zero(levels.medium, levels.far) if lowest > max(settings.tail, settings.grain) else 0.0
    solution = on_all_sites(chain, levels.medium, solution, max(settings.tail, settings.grain))
    one = _share_of_one(chain, solution)
    law, parts = assemble(to_host(chain.weights), solution, groups, atom, one)
    if larger is None or not parts.larger:
        return law, parts
    more = larger(parts.larger)
    return assemble(
        to_host(more.weights), averaged(more, solution), groups, atom, one or (1.0 / chain.n, 1.0 / chain.n)
    )


def _share_of_one(chain: Chain, solution: Solution) -> tuple[float, float] | None:
    """The mass of one site at both ends of the law of a long chain: see `share_of_one`."""
    good = solution.at(
        (solution.status == int(Status.CONVERGED)) & (np.abs(solution.upper - 0.5) < 0.5 - FINEST)
    )
    if chain.unknowns.basis is None or good.u.size == 0:
        return None
    top, bottom = int(np.argmin(good.upper)), int(np.argmax(good.upper))
    return (
        share_of_one(chain, 1.0 - good.site_log[bottom], 1.0 - float(good.upper[bottom])),
        share_of_one(chain, good.site_log[top], float(good.upper[top])),
    )


def _no_law() -> tuple[TabulatedLaw, ErrorParts]:
    law = TabulatedLaw([], error=math.inf, status=Status.MAX_ITERATIONS)
    return law, ErrorParts(math.inf, math.inf, math.inf, math.inf)


def finish(chain: Chain, coarse: Chain, nodes: Nodes) -> Solution:
    """A Newton step or two from the strengths of the coarse sites, then F and p.

    Where the steps do not settle, the Hessian is taken again, on all coarse sites.
    """
    solution = _finished(chain, coarse, nodes, nodes.inverse, 4)
    again = solution.status != int(Status.CONVERGED)
    if again.any():
        solution = solution.at(~again).joined(_finished(chain, coarse, nodes.kept(again), None, 12)).sorted()
        beside = _beside(solution, chain.unknowns.count)
        if beside.u.size:
            solution = solution.joined(_finished(chain, coarse, beside, None, 12))
    return solution


def _beside(solution: Solution, unknowns: int) -> Nodes:
    """Two points near each one that failed where much mass would be lost, with the strengths of a neighbour.

    What is lost is the mass between the nearest solved points.
    """
    good = np.flatnonzero(solution.status == int(Status.CONVERGED))
    u, cdf, chosen, source = solution.u, 1.0 - solution.upper, [], []
    for i in np.flatnonzero(solution.status != int(Status.CONVERGED)):
        left, right = good[good < i], good[good > i]
        if left.size == 0 or right.size == 0 or cdf[right[0]] - cdf[left[-1]] < _WORTH_MORE * AIM:
            continue
        for neighbour in (left[-1], right[0]):
            chosen.append(u[i] + _NEAR * (u[neighbour] - u[i]))
            source.append(neighbour)
    p, q = solution.p[source], solution.q[source]
    nothing = np.zeros(len(chosen))
    inverse = np.full((len(chosen), unknowns, unknowns), np.nan + 0j)
    return Nodes(np.array(chosen), p, q, nothing, nothing, nothing > 0, inverse)


def _finished(
    chain: Chain, coarse: Chain, nodes: Nodes, inverse: np.ndarray | None, max_iterations: int
) -> Solution:
    u, theta = 2 * nodes.u, np.full(nodes.u.shape, REAL_AXIS)
    p, q, _, _, inverse = newton(chain, coarse, nodes.p, nodes.q, u, theta, 0.03, max_iterations, inverse)
    return evaluate(chain, coarse, p, q, u, _SETTLED, inverse)


def with_spline_error(solution: Solution, levels: Levels) -> Solution:
    """The solution with an error that counts what splines of the step miss of the strengths.

    At some of the points the strengths are looked at in splines with twice the knots: the error is what a
    Newton step there would change in F, to second order.
    """
    medium, unknowns = levels.medium, levels.medium.unknowns
    good = np.flatnonzero((solution.status == int(Status.CONVERGED)) & (solution.density > 0))
    if unknowns.basis is None or good.size == 0:
        return solution
    some = solution.at(good[np.unique(np.linspace(0, good.size - 1, _LOOKED_AT).astype(int))])
    finer = unknowns.finer()
    seen = evaluate(
        medium.solved_in(finer), levels.steer.solved_in(finer), some.p, some.q, some.log_lambda, _SETTLED
    )
    return replace(solution, error=solution.error + float(seen.error.max()))


def assemble(
    weights: np.ndarray,
    solution: Solution,
    groups: int,
    atom: float | None = None,
    one: tuple[float, float] | None = None,
) -> tuple[TabulatedLaw, ErrorParts]:
    """Intervals, panels, atoms and error from the solved points.

    ``atom``: the mass at s = 0 if it is known; else that of a point far below all others. ``one``: the mass
    of one site, at the lower and the upper end, of the population that the strengths come from; by default
    that of the solution.
    """
    solution = solution.sorted()
    good = solution.status == int(Status.CONVERGED)
    u, cdf, density = solution.u[good], 1.0 - solution.upper[good], np.maximum(solution.density[good], 0.0)
    if u.size < 4:
        return _no_law()
    # Of the outermost sites, which can be lighter; exact nodes stand for as many sites as one likes.
    lightest = float(np.quantile(weights, _LIGHT))
    ends: dict[int, float] = dict(zip((-1, 1), one or (lightest, lightest), strict=True))
    few: dict[int, float] = dict.fromkeys(ends, 0.0)
    single = few
    least = FINEST if one else 0.0
    if groups > 1:
        few = {side: max(min(_FEW_SITES * mass, _MOST_FEW), least) for side, mass in ends.items()}
        single = {side: max(_OUTLIERS * mass, least) for side, mass in ends.items()}
    bulk = (cdf >= few[-1]) & (1.0 - cdf >= few[1])
    peak = density[bulk].max() if bulk.any() else density.max()
    empty = density <= EMPTY * peak
    missing, power_error = solution.at(~good), 0.0
    power = None if atom else _power_tail(u, cdf, density)
    if atom is None:
        atom = float(cdf[0]) if power is None and _is_atom_node(u, cdf, empty) else 0.0
    cdf = np.maximum(cdf, atom)
    empty |= 1.0 - cdf < single[1]
    if power is None:
        empty |= cdf - atom < single[-1]
    else:
        missing, power_error = missing.at(missing.u > u[0]), power.error
        empty = np.concatenate([np.zeros(power.u.shape, dtype=bool), empty])
        u, cdf, density = (
            np.concatenate(both) for both in ((power.u, u), (power.cdf, cdf), (power.density, density))
        )
    points = _Points(u, cdf, density, empty)
    if groups > 1:
        points = _without_bumps(points, atom, few, single)
    pieces, tail, interpolation = [], 0.0, 0.0
    outermost = [float(np.min(mass[mass > _NO_MASS], initial=1.0)) for mass in (cdf - atom, 1.0 - cdf)]
    for first, last in _runs(~points.empty):
        piece, error, beyond_ends = _interval(points, first, last, atom, few)
        pieces.append(piece)
        interpolation = max(interpolation, error)
        tail = max(tail, *map(_tail_error, map(min, beyond_ends, outermost)))
    atoms = [(-math.inf, atom)] if atom else []
    law = TabulatedLaw(pieces, atoms=atoms)
    interpolation = max(
        interpolation, float(np.abs(law.cdf(u) - cdf).max())
    )  # also where points were left out
    lost = _lost_mass(missing, u, cdf)
    parts = ErrorParts(
        largest(errors_by_groups(solution.site_log[good & (solution.density > 0)], weights, groups)),
        interpolation,
        tail + power_error,
        float(solution.error[good].max()) + lost,
    )
    law = law.restated(more_error=parts.total, status=_status(parts, lost, max(few.values())))
    return law, parts


def _status(parts: ErrorParts, lost: float, few: float) -> Status:
    """CONVERGED if F is known but for the population, and known at all.

    What is not due to the population, the tails among it, may add up to 1 % (or the mass of so ``few`` sites
    that nothing smaller is resolved). A law with an error of `_USELESS` is none: it does not tell a decile.
    """
    found = lost < _LOST and parts.total - parts.population < max(_LOST, few) and parts.total < _USELESS
    return Status.CONVERGED if found else Status.MAX_ITERATIONS


class _Points(NamedTuple):
    """Solved points in increasing u = log s, F and F' there, and which lie outside the support."""

    u: np.ndarray
    cdf: np.ndarray
    density: np.ndarray
    empty: np.ndarray


def _tail_error(missing: float) -> float:
    """Error of F from the mass beyond an end of the solved points, of which only the amount is known.

    Little mass is close to the end, and the cubic through it errs by half of it at most. Much of it may lie
    anywhere beyond.
    """
    return 0.5 * missing if missing < _LOST else missing


def _without_bumps(points: _Points, atom: float, few: dict[int, float], single: dict[int, float]) -> _Points:
    """The points with densities that fall outwards where less than ``few`` of the mass lies beyond on a side.

    There the sites of a finite population stand so far apart that each has an interval of its own. The law
    has neither gaps nor bumps there. Points beyond which less than ``single`` lies are left as they are.
    """
    u, cdf, density, empty = (values.copy() for values in points)
    outer = {-1: cdf - atom, 1: 1.0 - cdf}
    bulk = np.flatnonzero((outer[-1] >= few[-1]) & (outer[1] >= few[1]) & ~empty)
    if bulk.size == 0:
        return points
    used = np.ones(u.shape, dtype=bool)
    for side, start in ((-1, bulk[0]), (1, bulk[-1])):
        tail = np.arange(start, len(u) if side > 0 else -1, side)
        tail = tail[outer[side][tail] > single[side]]
        kept = thinned(outer[side][tail])
        kept = kept[highest(side * u[tail[kept]], outer[side][tail[kept]], _PEAK * single[side]) :]
        tail, kept = tail[kept[0] :], tail[kept]
        used[tail], used[kept], empty[kept] = False, True, False
        density[kept] = falling(side * u[kept], outer[side][kept], density[kept])
    return _Points(*(values[used] for values in (u, cdf, density, empty)))


class _PowerTail(NamedTuple):
    """Points of F = c s^kappa below the lowest one, and how far F may be from it."""

    u: np.ndarray
    cdf: np.ndarray
    density: np.ndarray
    error: float


def _power_tail(u: np.ndarray, cdf: np.ndarray, density: np.ndarray) -> _PowerTail | None:
    """Where the law reaches down to s = 0, F ends in a power of s, far below what the solver can reach.

    The power kappa = F'/F is that of the lowest point; its change from the next one, carried on, is the
    error.
    None where F is small enough, where there is no density, or where kappa has not settled.
    """
    if not (_POWER_FROM < cdf[0] < 0.5 and density[:2].min() > EMPTY * density.max()):
        return None
    kappa, above = density[0] / cdf[0], density[1] / cdf[1]
    drift = abs(above / kappa - 1.0)
    if drift > _SETTLED_POWER:
        return None
    change = drift / (kappa * (u[1] - u[0]))  # of log kappa while F falls by a factor of e
    down = np.arange(6, 0, -1) * 1.5
    fallen = cdf[0] * np.exp(-down)
    return _PowerTail(u[0] - down / kappa, fallen, kappa * fallen, float(cdf[0] * min(0.5, 0.5 * change)))


def _lost_mass(missing: Solution, u: np.ndarray, cdf: np.ndarray) -> float:
    """Largest error of F from points that could not be solved.

    F is monotone, so it is at most the mass between the solved neighbours; and it is at most the distance of
    F at the point from the line between these, if F is known there to second order in strengths that have
    not settled.
    """
    index = np.searchsorted(u, missing.u)
    full = np.concatenate([[0.0], cdf, [1.0]])
    between = full[index + 1] - full[index]
    off = np.abs(np.interp(missing.u, u, cdf) - (1.0 - missing.upper)) + _TRUST * missing.error
    known = np.isfinite(off) & (index > 0) & (index < u.size)
    return float(np.max(np.where(known, np.minimum(between, off), between), initial=0.0))


def _is_atom_node(u: np.ndarray, cdf: np.ndarray, empty: np.ndarray) -> bool:
    """Whether the lowest point lies far below the density and still has mass below it: mass at s = 0."""
    filled = np.flatnonzero(~empty)
    return bool(empty[0] and cdf[0] > 1e-6 and u[0] < u[filled[0]] - 0.5 * (u[filled[-1]] - u[filled[0]]))


def _runs(inside: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _interval(
    points: _Points, first: int, last: int, atom: float, few: dict[int, float]
) -> tuple[tuple[Interval, list[Panel]], float, list[float]]:
    """One interval of the support with its panels, the error of the cubics, the mass beyond its points."""
    left, low = _end(points, first, -1, atom, few[-1])
    right, high = _end(points, last, 1, 1.0, few[1])
    inside = slice(first, last + 1)
    u = np.concatenate([points.u[first] - left.x[::-1], points.u[inside], points.u[last] + right.x])
    cdf = np.concatenate([low + left.mass[::-1], points.cdf[inside], high - right.mass])
    density = np.concatenate([left.density[::-1], points.density[inside], right.density])
    interval = Interval(float(points.u[first] - left.reach), float(points.u[last] + right.reach))
    panels, error = _panels(interval, u, cdf, density, low, high)
    return (interval, panels), error, [float(points.cdf[first]) - low, high - float(points.cdf[last])]


def _end(points: _Points, index: int, side: int, bound: float, few: float) -> tuple[Tail, float]:
    """What lies beyond the outermost point of an interval of the support, and F there.

    ``bound`` is F where there is no interval further out.
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
    elif mass >= _LOST:
        room = float(u[-1] - u[0])  # what is lost has no known shape
    hazard = float(density[index]) / mass if mass > 0.0 else 0.0
    inner_hazard, spacing = 0.0, 0.0
    if 0 <= inner < u.size and not empty[inner]:
        inner_hazard = float(density[inner]) / (side * (bound - float(cdf[inner])))
        spacing = abs(float(u[inner] - u[index]))
    return beyond(mass, hazard, inner_hazard, spacing, EDGE if sparse else SHARPEST, room), bound


def _panels(
    interval: Interval, u: np.ndarray, cdf: np.ndarray, density: np.ndarray, low: float, high: float
) -> tuple[list[Panel], float]:
    """Panels between neighbouring points, monotone cubics of F in the edge-adapted angle, and their error."""
    angle = np.concatenate([[0.0], interval.angle(u), [np.pi]])
    value = np.concatenate([[low], cdf, [high]])
    slope = np.concatenate([[0.0], density * interval.slope(angle[1:-1]), [0.0]])
    return monotone_panels(angle, value, slope), _leave_out_error(angle, value, slope)


def _leave_out_error(u: np.ndarray, cdf: np.ndarray, density: np.ndarray) -> float:
    """Error of the cubics from leaving out one point, which doubles the spacing.

    A smooth F would gain a factor of 16, but a density can have kinks: then it is 4.
    """
    h = u[2:] - u[:-2]
    if not (h > 0).all():
        return 1.0
    t = (u[1:-1] - u[:-2]) / h
    guess = (
        (1 + 2 * t) * (1 - t) ** 2 * cdf[:-2]
        + t * (1 - t) ** 2 * h * density[:-2]
        + t**2 * (3 - 2 * t) * cdf[2:]
        - t**2 * (1 - t) * h * density[2:]
    )
    return float(np.max(np.abs(guess - cdf[1:-1]), initial=0.0)) / 4.0
