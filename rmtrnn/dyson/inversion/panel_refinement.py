"""Where to put the points of a Dyson law: found without a guess, walked out into the tails, halved between.

Points are placed on some of the sites (`Levels`); what they are worth on all sites is `assembly`'s matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core.arrays import to_host
from rmtrnn._core.status import Status
from rmtrnn.dyson.continuation import Far, polish
from rmtrnn.dyson.newton import REAL_AXIS, Solution, evaluate, newton
from rmtrnn.dyson.recursive_green import Chain, forward, sweep

_SITES_PER_GATE = 2.5  # of the few sites, at least: strengths p and q are two for each gate
_SCAN = np.array([3.0, 1.2, 0.6, 0.1, -0.5, -1.2, -2.2, -4.0])  # u - log(m_1)/2
_LEVELS = np.array([0.99, 0.95, 0.85, 0.65, 0.45, 0.25, 0.12, 0.05, 0.02])  # of the law, smeared out
FINEST = 1e-5  # mass: F is not known better, in few unknowns
EMPTY = 3e-5  # of the largest density: less than this is outside the support
_MOST_TAIL_POINTS = 40  # on each side
_LONGEST_STEP = 0.6  # of the range known so far: this far below a density that is still there lies an atom
_MOMENT = 0.3  # weight of the first moment, relative to m_1, beside the cdf where points are placed
_MOST_SHRUNK = 0.04  # of the natural step: if even this fails, the walk outwards ends
_SHORTEST = 1e-4  # distance in u below which no point is put between two
_ENOUGH_INSIDE, _MOST_BISECTIONS = 4, 12  # points of the scan
_DOWNWARDS = np.array([1.0, 2.0, 4.0, 6.0, 9.0, 13.0, 19.0, 28.0, 40.0, 60.0, 90.0])  # of u, below a gap
_MOST_GAPS = 4
_MUCH = 0.01  # mass below the lowest point that is looked for
_PARTS = (0.5, 0.35, 0.65, 0.2, 0.8)  # of a panel, in turn
_NOTHING = 1e-6  # density in log s that is not there
_HIGHEST = 100.0  # above log(m_1)/2: E s^2 = m_1 leaves nothing there


@dataclass(frozen=True)
class Settings:
    """Accuracy knobs: ``tol`` of the interpolated cdf and a third of that of m_1 (relative); ``tail``, the
    mass beyond the outermost points; ``grain``, the mass of a few sites where these are a random population:
    less than that is not resolved; ``max_points``; ``scan``, ``steer`` and ``coarse``, sites used to find
    points, to steer Newton's method (fewer in long chains) and to place points; ``medium``, sites that the
    strengths are right for, before they take a step on all; ``solver_tol``, relative, on the coarse sites.
    """

    tol: float = 1e-4
    tail: float = 1e-4
    grain: float = 0.0
    max_points: int = 400
    scan: int = 128
    steer: int = 1024
    coarse: int = 4096
    medium: int = 4096
    solver_tol: float = 1e-3


@dataclass
class Nodes:
    """Points in increasing u with strengths, F = P(log s <= u) and its derivative, on the coarse sites.

    ``inverse`` is the inverse Hessian of each point as `newton` left it, for whoever goes on from there.
    """

    u: np.ndarray
    p: np.ndarray
    q: np.ndarray
    cdf: np.ndarray
    density: np.ndarray
    ok: np.ndarray
    inverse: np.ndarray

    @classmethod
    def of(cls, solution: Solution, inverse: np.ndarray) -> Nodes:
        ok = solution.status == int(Status.CONVERGED)
        u, density = solution.log_lambda / 2, np.maximum(solution.density, 0.0)
        return cls(u, solution.p, solution.q, 1.0 - solution.upper, density, ok, inverse)

    def merged(self, other: Nodes) -> Nodes:
        order = np.argsort(np.concatenate([self.u, other.u]))
        both = (
            np.concatenate([getattr(self, one.name), getattr(other, one.name)])[order] for one in fields(self)
        )
        return Nodes(*both)

    def kept(self, mask: np.ndarray) -> Nodes:
        return Nodes(*(getattr(self, one.name)[mask] for one in fields(self)))


class Levels(NamedTuple):
    """The chain on more and more of its sites: see `Settings`; on the fewest, strengths without a guess."""

    far: Far
    steer: Chain
    coarse: Chain
    medium: Chain

    @classmethod
    def of(cls, chain: Chain, settings: Settings, marching: bool, *ranks: np.ndarray) -> Levels:
        # The Hessian costs gates^2 per site: long chains take it from fewer sites, and stay linear in T up to
        # where the sites would be fewer than its rows.
        # Splines have few unknowns, however long the chain: fewer sites scatter them as little.
        scan, steer, medium = settings.scan, 3 * settings.steer // 8, settings.coarse
        if chain.unknowns.basis is None:
            medium = settings.medium
            scan, steer = (
                int(max(np.clip(n * 20 / chain.n_gates, 3 * n // 8, n), _SITES_PER_GATE * chain.n_gates))
                for n in (settings.scan, settings.steer)
            )
        least = int(_SITES_PER_GATE / 2 * chain.unknowns.count)
        scan, steer = max(scan, least), max(steer, least)
        few, *more = (chain.stratified(n, *ranks) for n in (scan, steer, settings.coarse, medium))
        return cls(Far(few, marching), *more)


def place_nodes(chain: Chain, settings: Settings) -> tuple[Nodes, Levels]:
    """Find where the mass is and put points until cubics in F are good to ``settings.tol``."""
    for marching in (False, True):
        if not marching and chain.unknowns.basis is not None:
            continue
        rough = settings if chain.unknowns.basis is None else replace(settings, coarse=settings.steer)
        levels = Levels.of(chain, rough, marching)
        nodes = _scan(levels)
        inside = np.flatnonzero(nodes.density > EMPTY * nodes.density.max(initial=0.0))
        if inside.size >= 2:
            break
    else:
        return nodes.kept(np.zeros(nodes.u.size, dtype=bool)), levels
    ends = nodes.kept(inside[[0, -1]])
    ranks = _ranks(chain, ends)
    levels = Levels.of(chain, settings, marching, *ranks)
    if chain.unknowns.basis is not None:
        settings = replace(settings, grain=_grain(chain, ends, ranks, settings.grain))
    # Once more, on the sites that all other points will have: F must not jump between neighbours.
    nodes = _solve(levels, nodes.u, nodes.p, nodes.q, settings.solver_tol, nodes.inverse)
    nodes = _walk(levels.coarse, levels.steer, nodes.kept(nodes.ok), settings)
    for _ in range(_MOST_GAPS):
        lower = _below_gap(levels, nodes, settings)
        if lower is None:
            break
        nodes = _walk(levels.coarse, levels.steer, nodes.merged(lower), settings)
    while len(nodes.u) < settings.max_points:
        good = nodes.kept(nodes.ok)
        middle = _worst(good.u, good.cdf, good.density, chain.log_mean / 2, settings.tail, settings)
        u = 0.5 * (good.u[middle] + good.u[middle + 1])
        new = ~np.isin(u, nodes.u)  # a point that failed once is not tried again
        if not new.any():
            break
        guess = [_between(values, middle[new]) for values in (good.p, good.q)]
        nodes = nodes.merged(
            _solve(levels, u[new], guess[0], guess[1], settings.solver_tol, good.inverse[middle[new]])
        )
    return nodes.kept(nodes.ok), levels


def _ranks(chain: Chain, ends: Nodes) -> np.ndarray:
    """What each site adds to P(s^2 > lambda) at a low and at a high point: where it matters in the tails."""
    return forward(chain, ends.p, ends.q, 2 * ends.u, np.full(2, REAL_AXIS))[0]


def _grain(chain: Chain, ends: Nodes, ranks: np.ndarray, grain: float) -> float:
    """Mass that as many sites share as there are whole ones in ``grain``: see `share_of_one`."""
    upper = ranks / (np.pi * chain.s_out)
    mass = max(float(ends.cdf[0]), FINEST), max(1.0 - float(ends.cdf[1]), FINEST)
    one = max(share_of_one(chain, 1.0 - upper[0], mass[0]), share_of_one(chain, upper[1], mass[1]))
    return min(grain, max(grain * chain.n * one, FINEST))


def share_of_one(chain: Chain, parts: np.ndarray, mass: float) -> float:
    """Mass of one site, ``mass`` divided by the number of sites that make it up with these ``parts``.

    The number is (sum w x)^2/sum (w x)^2. It is the mass times n if every site is either a part of it or not,
    and far more in long chains, where each singular value belongs to many sites.
    """
    weighted = to_host(chain.weights) * parts
    return mass * float(np.sum(weighted**2) / max(weighted.sum() ** 2, np.sum(weighted**2) / chain.n))


def _walk(chain: Chain, small: Chain, nodes: Nodes, settings: Settings) -> Nodes:
    """Go on outwards until less than ``settings.tail`` is left (weighed by s^2/m_1 on the right).

    The step mass/density divides the mass of an exponential tail by e, and goes two thirds of the way to a
    square-root edge. Both sides go together.
    """
    shrink = {-1: 1.0, 1: 1.0}
    for _ in range(_MOST_TAIL_POINTS):
        steps = {side: _outward(chain, nodes, side, settings) for side in shrink}
        ahead = {side: (found[0], shrink[side] * found[1]) for side, found in steps.items() if found}
        going = [side for side in ahead if shrink[side] > _MOST_SHRUNK and ahead[side][1] > _SHORTEST]
        if not going:
            break
        ends, lengths = (np.array([ahead[side][i] for side in going]) for i in (0, 1))
        side = np.array(going)
        u = nodes.u[ends] + side * lengths
        p, q = (extrapolated(nodes.u, values, ends, side, u) for values in (nodes.p, nodes.q))
        found = _from_guess(chain, small, u, p, q, nodes.inverse[ends], 3e-3)
        useful = found.ok & (side * found.cdf > side * nodes.cdf[ends])
        for one, good in zip(going, useful, strict=True):
            shrink[one] = min(1.0, 2.0 * shrink[one]) if good else 0.5 * shrink[one]
        nodes = nodes.merged(found.kept(useful))
    return nodes


def _below_gap(levels: Levels, nodes: Nodes, settings: Settings) -> Nodes | None:
    """Points in what lies below the gap at which the walk has ended; None if that is little, or at s = 0.

    The law of a state of two components can have two bands, a gap of many orders of magnitude between them.
    On the negative real axis, where no guess is needed, E[x/(x + s^2)] says how much lies below s^2 = x. A
    band much narrower than one unit of log s can be missed; its mass then is in the error, as that of any
    lost tail.
    """
    below, lowest = float(nodes.cdf[0]), float(nodes.u[0])
    if below <= max(settings.tail, settings.grain, _MUCH):
        return None
    u = lowest - _DOWNWARDS
    for _ in range(_MOST_BISECTIONS):
        share = _share_below(levels.far, u) / below
        inside = (share > 0.1) & (share < 0.9)
        if np.count_nonzero(inside) >= 2:
            found = _unguessed(levels, np.sort(u[inside]))
            found = found.kept((found.density > _NOTHING) & (found.cdf < below))
            return found if found.u.size >= 2 else None
        above, under = u[share >= 0.9], u[share <= 0.1]
        if above.size == 0 or under.size == 0:
            return None
        u = np.linspace(above.min(), under.max(), 8)
    return None


def _share_below(far: Far, u: np.ndarray) -> np.ndarray:
    """E[x/(x + s^2)] at x = e^{2u}; nan where the equations were not solved."""
    p, q, ok = far.on_negative_axis(2 * u)
    m = sweep(far.chain, p, q, 2 * u, np.full(u.shape, np.pi)).m
    return np.where(ok, 1.0 + np.real(m), np.nan)


def extrapolated(
    u: np.ndarray, values: np.ndarray, ends: np.ndarray, side: np.ndarray, to: np.ndarray
) -> np.ndarray:
    """Strengths at ``to`` beyond the points ``ends``: the power of lambda through these and the next."""
    inner = ends - side
    logs = np.log(values[ends]) - np.log(values[inner])
    return values[ends] * np.exp(logs * ((to - u[ends]) / (u[ends] - u[inner]))[:, None])


def _outward(chain: Chain, nodes: Nodes, side: int, settings: Settings) -> tuple[int, float] | None:
    """The last point inside on one side and the step to take from it; None where the tail is short enough."""
    filled = np.flatnonzero(nodes.density > EMPTY * nodes.density.max())
    if filled.size < 2:
        return None
    end = int(filled[-1] if side > 0 else filled[0])
    known = 0 <= end + side < nodes.u.size
    bound = nodes.cdf[end + side] if known else 0.5 * (1 + side)
    left = abs(bound - nodes.cdf[end])
    length = _LONGEST_STEP * (nodes.u[filled[-1]] - nodes.u[filled[0]])
    room = 0.5 * abs(nodes.u[end + side] - nodes.u[end]) if known else length
    weight = _MOMENT * math.exp(min(2 * nodes.u[end] - chain.log_mean, 60.0)) if side > 0 else 0.0
    if left * max(1.0, weight) < settings.tail or left < settings.grain:
        return None
    return end, float(min(1.1 * left / nodes.density[end], room))


def place_between(solution: Solution, solve: Any, centre: float, settings: Settings) -> Solution:
    """Halve panels until cubics in F are good to ``settings.tol``; ``solve(u, p, q)`` gives one point."""
    while len(solution.u) < settings.max_points:
        solution = solution.sorted()
        good = solution.at(solution.status == int(Status.CONVERGED))
        density = np.maximum(good.density, 0.0)
        middle = _worst(good.u, 1.0 - good.upper, density, centre, settings.tail, settings)
        u = 0.5 * (good.u[middle] + good.u[middle + 1])
        new = np.flatnonzero(~np.isin(u, solution.u))
        if new.size == 0:
            break
        shape = (math.isqrt(good.p.shape[1]),) * 2
        for i in new:
            p, q = (_between(values, middle[[i]])[0].reshape(shape) for values in (good.p, good.q))
            solution = solution.joined(solve(float(u[i]), p, q))
    return solution.sorted()


def _between(values: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Mean of neighbouring strengths; where one of them is real, the complex one, which finds both."""
    low, high = values[left], values[left + 1]
    mean = 0.5 * (low + high)
    flat_low = np.abs(np.imag(low)) < 1e-6 * np.abs(low)
    flat_high = np.abs(np.imag(high)) < 1e-6 * np.abs(high)
    return np.where(flat_low & ~flat_high, high, np.where(flat_high & ~flat_low, low, mean))


def _solve(
    levels: Levels,
    u: np.ndarray,
    p: np.ndarray,
    q: np.ndarray,
    tol: float,
    inverse: np.ndarray | None = None,
) -> Nodes:
    """The points ``u`` on the coarse sites, from a guess or, where that is not good enough, without one."""
    far, steer, coarse, _ = levels
    p, q, _, inverse = polish(coarse, steer, 2 * u, p, q, tol, inverse=inverse, far=far)
    return Nodes.of(evaluate(coarse, steer, p, q, 2 * u, 30 * tol, inverse), inverse)


def _from_guess(
    chain: Chain,
    small: Chain,
    u: np.ndarray,
    p: np.ndarray,
    q: np.ndarray,
    inverse: np.ndarray | None,
    tol: float,
) -> Nodes:
    """As `_solve`, but a guess from which Newton does not converge is given up.

    Where the Hessian of the ``small`` chain does not lead there, that of the whole chain is taken: deep in a
    tail few sites do not tell it.
    """
    theta = np.full(u.shape, REAL_AXIS)
    guess = p, q
    p, q, ok, _, inverse = newton(chain, small, p, q, 2 * u, theta, tol, 20, inverse)
    lost = np.flatnonzero(~ok)
    if lost.size:
        p[lost], q[lost], ok[lost], _, inverse[lost] = newton(
            chain, chain, guess[0][lost], guess[1][lost], 2 * u[lost], theta[lost], tol, 20
        )
    return Nodes.of(evaluate(chain, small, p, q, 2 * u, 30 * tol, inverse), inverse)


def _scan(levels: Levels) -> Nodes:
    """Points without any guess: some in the support, and up to where nothing is above.

    They lie around log(m_1)/2; after a march at quantiles of the smeared law that it has seen.
    """
    centre, far = levels.coarse.log_mean / 2, levels.far
    u = centre + np.sort(_SCAN)
    if far.marching:
        far.march(-math.inf, _LEVELS[-1])
        if far.smeared.size > 1:
            u = np.unique(np.interp(_LEVELS, far.smeared[::-1], far.log_lambda[::-1] / 2))
    nodes = _unguessed(levels, u)
    while nodes.u.size and nodes.cdf[-1] < 1.0 - 1e-9 and nodes.u[-1] < centre + _HIGHEST:
        more = _unguessed(levels, nodes.u[-1] + np.array([1.0, 2.0, 4.0]))
        if more.u.size == 0:
            break
        nodes = nodes.merged(more)
    for k in range(_MOST_BISECTIONS):  # a law narrower than the grid
        if np.count_nonzero(nodes.density > _NOTHING) >= _ENOUGH_INSIDE:
            break
        rising = np.flatnonzero(np.diff(nodes.cdf) > 0.02)
        if rising.size == 0:  # nothing solved, or nothing between the points that were
            break
        # Not always the middle: where one point cannot be solved another may.
        part = _PARTS[k % len(_PARTS)]
        nodes = nodes.merged(_unguessed(levels, (1 - part) * nodes.u[rising] + part * nodes.u[rising + 1]))
    return nodes


def _unguessed(levels: Levels, u: np.ndarray) -> Nodes:
    """Those of the points ``u`` that can be solved without a guess."""
    p, q, _ = levels.far.near_real_axis(2 * u)
    found = _solve(levels, u, p, q, 1e-3)
    return found.kept(found.ok)


def _worst(
    u: np.ndarray, cdf: np.ndarray, density: np.ndarray, centre: float, rest: float, settings: Settings
) -> np.ndarray:
    """Left indices of the panels to halve: where the cubic through both ends may be wrong by ``tol``."""
    width = np.diff(u)
    rise = np.diff(cdf)
    mean = 0.5 * (density[1:] + density[:-1])
    bend = np.abs(np.diff(density)) * width / 8.0
    defect = np.abs(rise - mean * width)
    empty = EMPTY * density.max(initial=0.0)
    outside = (density[1:] <= empty) & (density[:-1] <= empty)
    edge = (density[1:] <= empty) != (density[:-1] <= empty)
    error = np.where(outside, np.abs(rise) / 2, np.maximum(defect, 0.02 * bend))
    error = np.where(edge, np.abs(rise), error)  # the end lies somewhere in the panel
    importance = np.maximum(1.0, _MOMENT * 2.0 * width * np.exp(np.minimum(2 * (u[1:] - centre), 60.0)))
    beyond = (cdf[1:] < rest) | (cdf[:-1] > 1 - rest)
    bad = (error * importance > 4 * settings.tol) & ~beyond & (rise > settings.grain)
    return np.flatnonzero(bad & (width > _SHORTEST))
