"""The law of the singular values when one draw of the weights serves all steps: theory.md (15).

The strengths of (15) are matrices over all pairs of steps, and every iteration inverts a matrix of K T + s
rows at every site. So the points are found on a few sites, placed on more, and their strengths made right for
some thousand. One Newton step on all sites follows, and F, which is stationary in the strengths, is taken
there, and on a larger population where these are too few.

The sites come in eight groups, each with a two-time mean field of its own: the spread of the groups holds
the error of the covariance of the pre-activations as well as that of the sites.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn._core import validate as _validate
from rmtrnn._core.status import Status
from rmtrnn.dyson.chain_law import chain_law
from rmtrnn.dyson.full_population import CORRECTION
from rmtrnn.dyson.inversion.assembly import assemble
from rmtrnn.dyson.inversion.panel_refinement import Settings, refine_panels
from rmtrnn.dyson.inversion.solution import Solution, longest_monotone_run
from rmtrnn.dyson.pencil import Chain, Stage
from rmtrnn.dyson.self_energy import REAL_AXIS
from rmtrnn.dyson.sites.subsampling import calibrated_weights, stratified_subsample
from rmtrnn.dyson.tied.equations import TiedSites, evaluate, tied_sites
from rmtrnn.dyson.tied.large_lambda import at_infinity, moments, site_features, start
from rmtrnn.dyson.tied.newton import Point, solve_point, stepped
from rmtrnn.ensemble import Ensemble
from rmtrnn.laws.moments import Moments
from rmtrnn.laws.tabulated import TabulatedLaw
from rmtrnn.meanfield.two_time import GROUPS, TwoTime, tied_stages, two_time_group

_MARCH_ANGLE = 0.1  # arg lambda while marching down in u: smooth enough to cross the edge
_MOST_TAIL_POINTS = 16  # on each side
_LONGEST_STEP = {-1: 2.0, 1: 0.5}  # where nothing is known beyond
_NO_MASS = 1e-5  # less than that lies beyond the points inside the support
_EMPTY = 1e-4  # of the largest density: less than this is outside the support
_SCAN_SITES = 256
# Rows of a site's matrix, up to which as many sites carry F, place points, and make the strengths right.
_DEFAULTS = (
    (5, (65536, 2048, 8192)),
    (8, (32768, 512, 4096)),
    (13, (16384, 512, 4096)),
    (math.inf, (8192, 512, 2048)),
)
_MOST_WORK, _MOST_ENTRIES = 2.0**29, 2.0**27  # of a larger population: sites * rows^3 and sites * rows^2
_RESERVE = 131072  # sites drawn in all
_LEAST_RESERVE, _MOST_RESERVE = 4, 16  # sites drawn for each that is used
_PILOT = 2048  # sites that say how much the others count for
_SHARE = 0.15  # of m_1, at most, in one panel
_STRENGTHS = 3e-3  # relative step of the strengths that placing points asks for
_FINAL = 1e-3  # and that of those for a step on all sites: small entries count as much as large ones
_NEAR = 3e-2  # the same at arg lambda > 0, on the way to the real axis
_ASTRAY = 2.0  # times what a step should change F by at most
_SHORTEST = 1e-3  # step outwards
_CLEARLY = 1e-6  # density: inside the support
_FALL = 1e-3  # of F from one point to the next: more is another solution, not the error of the strengths
_FAR = 0.5  # of the strengths: a line is not followed further
_BEYOND = 1e-4  # mass above the first point of the march
_SHARE_OF_MASS = 0.08  # between two points of the march
_SOLVED = 1e-2  # a point whose strengths would still change by more is not used

Measure = Callable[[list[Stage]], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class TiedSettings(Settings):
    """`Settings`, and the sites on which points are placed (``coarse``) and solved (``medium``)."""

    coarse: int = 4096
    medium: int = 4096


class _Marcher:
    """Solves points of one population, each from the strengths of a neighbour.

    The Hessian of Newton's method is taken on ``small``, the gradients on ``sites``.
    """

    def __init__(self, sites: TiedSites, small: TiedSites, tol: float) -> None:
        self.sites = sites
        self.small = small
        self.tol = tol
        self.log_m1, self.ratio = moments(small)  # not what redrawn weights would grow by
        self.shape = (sites.touched,) * 2
        self._factors: Any = None

    def _solved(self, log_lambda: complex, P: np.ndarray, Q: np.ndarray, tol: float) -> Point:
        point = solve_point(self.sites, P, Q, log_lambda, tol, self.small, self._factors)
        self._factors = point.factors
        return point

    def at(self, u: float, P: np.ndarray, Q: np.ndarray) -> Solution:
        """The point u on the real axis, by way of arg lambda > 0 if the direct way does not end inside."""
        direct = self.on_axis(u, P, Q)
        # With density the strengths lie in the lower half plane, where there is one solution only.
        if direct.status[0] == int(Status.CONVERGED) and direct.density[0] > _CLEARLY:
            return direct
        near = self.near_axis(u, P, Q)
        return self.on_axis(u, near.P, near.Q)

    def near_axis(self, u: float, P: np.ndarray, Q: np.ndarray) -> Point:
        return self._solved(2 * u + 1j * _MARCH_ANGLE, P, Q, min(10 * self.tol, _NEAR))

    def on_axis(self, u: float, P: np.ndarray, Q: np.ndarray) -> Solution:
        point = self._solved(2 * u + 1j * REAL_AXIS, P, Q, self.tol)
        return evaluate(self.sites, point.P, point.Q, 2 * u, point.relative, max(_SOLVED, 3 * self.tol))

    def again(self, solution: Solution) -> Solution:
        """Every point solved anew from the strengths that other sites gave it."""
        strengths = zip(solution.u, solution.sigma.y, solution.sigma.x, strict=True)
        return _joined([self.at(float(u), *self.matrices(p, q)) for u, p, q in strengths])

    def matrices(self, p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """P and Q of a row of a `Solution`."""
        return p.reshape(self.shape), q.reshape(self.shape)

    def march(self, tail: float, max_points: int) -> Solution:
        """Down from outside the support until less than ``tail`` is left."""
        # Beyond that there is less mass than _BEYOND, by Chebyshev's inequality.
        u = self.log_m1 / 2 + 0.25 * math.log(self.ratio / _BEYOND)
        P, Q = start(self.sites, 2 * u + 1j * _MARCH_ANGLE)
        done: list[Solution] = []
        step = 0.15
        for _ in range(max_points):
            inside = bool(done) and done[-1].density[0] > _CLEARLY
            point = self.on_axis(u, *self._carried(done, u)) if inside else None
            if point is None or point.status[0] != int(Status.CONVERGED):
                near = self.near_axis(u, P, Q)
                if not near.relative < 0.1:
                    break
                P, Q = near.P, near.Q
                point = self.on_axis(u, P, Q)
            else:
                P, Q = self.matrices(point.sigma.y[0], point.sigma.x[0])
            done.append(point)
            left, density = 1.0 - float(point.upper[0]), float(point.density[0])
            if left < tail and point.status[0] == int(Status.CONVERGED):
                break
            wish = _SHARE_OF_MASS / density if density > _CLEARLY else 0.0
            step = float(np.clip(wish, 0.15, min(1.0, 2.0 * step)))
            u -= step
            if density <= _CLEARLY:
                Q = Q * math.exp(2 * step)  # outside the support Q is about as 1/lambda
        return _joined(done)

    def _carried(self, done: list[Solution], u: float) -> tuple[np.ndarray, np.ndarray]:
        """Strengths at ``u`` on the line through the last two points inside the support."""
        last = done[-1]
        P, Q = self.matrices(last.sigma.y[0], last.sigma.x[0])
        if len(done) < 2 or done[-2].density[0] <= _CLEARLY:
            return P, Q
        before = self.matrices(done[-2].sigma.y[0], done[-2].sigma.x[0])
        ahead = (u - last.u[0]) / (last.u[0] - done[-2].u[0])
        steps = [ahead * (now - then) for now, then in zip((P, Q), before, strict=True)]
        if any(np.linalg.norm(d) > _FAR * np.linalg.norm(x) for d, x in zip(steps, (P, Q), strict=True)):
            return P, Q
        return P + steps[0], Q + steps[1]


def _joined(points: list[Solution]) -> Solution:
    return functools.reduce(Solution.joined, points)


def tied_law_solution(
    sites: TiedSites, low: np.ndarray, high: np.ndarray, settings: TiedSettings
) -> Solution:
    """Points found on a few sites, placed on ``settings.coarse`` and solved on ``settings.medium`` of them.

    F is stationary in the strengths, so their error on some of the sites enters it at second order; a Newton
    step on all sites takes most of that away. ``low`` and ``high`` rank the sites by
    where they count: see `TiedSites.spread`.
    """
    sizes = _SCAN_SITES, settings.coarse, settings.medium
    scan, coarse, medium = (sites.spread(n, low, high) for n in sizes)
    marcher = _Marcher(scan, scan, _STRENGTHS)
    found = _near_support(marcher.march(settings.tail, settings.max_points), marcher.log_m1)
    if found.u.size == 0:
        return found
    marcher = _Marcher(coarse, scan, _STRENGTHS)
    solution = _near_support(marcher.again(found), marcher.log_m1)
    solution = refine_panels(
        solution,
        lambda u, sigma: marcher.at(u, *marcher.matrices(sigma.y[0], sigma.x[0])),
        marcher.log_m1 / 2,
        settings,
    )
    solution = _near_support(solution, marcher.log_m1)
    solution = _to_both_ends(marcher, solution, settings.tail)
    if solution.u.size == 0:
        return solution
    solution = _share_first_moment(marcher, solution, 2 * settings.max_points)
    marcher = _Marcher(medium, scan, _FINAL)
    # Fewer sites end elsewhere.
    solution = _to_both_ends(marcher, marcher.again(solution), settings.tail)
    return _on_all_sites(sites, scan, solution)


def _share_first_moment(marcher: _Marcher, solution: Solution, max_points: int) -> Solution:
    """Halve panels until none holds more than `_SHARE` of m_1, which the largest singular values make up."""
    while len(solution.u) < max_points:
        solution = solution.sorted()
        solution = solution.at(solution.status == int(Status.CONVERGED))
        weight = np.exp(np.minimum(2 * solution.u[1:] - marcher.log_m1, 60.0))
        share = (solution.upper[:-1] - solution.upper[1:]) * weight
        heavy = np.flatnonzero((share > _SHARE) & (np.diff(solution.u) > 1e-3))
        if heavy.size == 0:
            break
        before = len(solution.u)
        for i in heavy:
            inner = i if solution.density[i] > solution.density[i + 1] else i + 1
            u = float(0.5 * (solution.u[i] + solution.u[i + 1]))
            strengths = marcher.matrices(solution.sigma.y[inner], solution.sigma.x[inner])
            solution = solution.joined(marcher.at(u, *strengths))
        if np.count_nonzero(solution.status == int(Status.CONVERGED)) < before + heavy.size:
            break  # a point that failed once is not tried again
    return _near_support(solution, marcher.log_m1)


def _on_all_sites(sites: TiedSites, small: TiedSites, solution: Solution) -> Solution:
    """F and density on all sites, after one Newton step there from strengths that solve (15) on some of them.

    The Hessian is that of ``small``. As in `full_population`, a quarter of what the step changes of F is
    stated as its error. A step that changes F by far more than it should, as in a sparse tail, is not taken;
    then all of that is stated.
    """
    if solution.site_log.shape[1] == sites.count:
        return solution
    size = sites.touched
    before, full = _averaged(sites, solution), []
    for i, (u, p, q) in enumerate(zip(solution.u, solution.sigma.y, solution.sigma.x, strict=True)):
        P, Q, bound = stepped(
            sites, small, p.reshape(size, size), q.reshape(size, size), 2 * u + 1j * REAL_AXIS
        )
        point = evaluate(sites, P, Q, 2 * u, float(solution.residual[i]), math.inf)
        change = abs(float(point.upper[0] - before.upper[i]))
        error = CORRECTION.leaves * max(bound, change)
        if not change <= _ASTRAY * bound:
            point, error = before.at(np.array([i])), bound
        full.append(replace(point, error=np.array([error if point.density[0] > 0 else 0.0])))
    return replace(_joined(full), status=solution.status)


def _averaged(sites: TiedSites, solution: Solution) -> Solution:
    """F and density on all of ``sites``, at given strengths."""
    size = sites.touched
    full = [
        evaluate(sites, p.reshape(size, size), q.reshape(size, size), 2 * u, float(residual), math.inf)
        for u, p, q, residual in zip(
            solution.u, solution.sigma.y, solution.sigma.x, solution.residual, strict=True
        )
    ]
    return replace(_joined(full), status=solution.status, error=solution.error)


def _to_both_ends(marcher: _Marcher, solution: Solution, tail: float) -> Solution:
    """Points added on both sides until less than ``tail`` is beyond."""
    for side in (-1, 1):
        solution = _near_support(_outwards(marcher, solution, side, tail), marcher.log_m1)
    return solution


def _outwards(marcher: _Marcher, solution: Solution, side: int, tail: float) -> Solution:
    """Points from the last one inside the support outwards, as long as there is mass beyond.

    The step mass/density divides the mass of an exponential tail by e, and goes two thirds of the way to a
    square-root edge. On the right the mass is weighed by s^2/m_1. A gap ends the search.
    """
    shrink = 1.0
    for _ in range(_MOST_TAIL_POINTS):
        solution = solution.sorted()
        # Near an edge the density alone is of first order in the error of the strengths.
        dense = solution.density > _EMPTY * solution.density.max(initial=0.0)
        filled = np.flatnonzero(dense & _between(solution, marcher.log_m1))
        if filled.size == 0:
            return solution
        end = int(filled[-1] if side > 0 else filled[0])
        weight = np.exp(min(2 * solution.u[end] - marcher.log_m1, 60.0)) if side > 0 else 1.0
        known = 0 <= end + side < len(solution.u)
        beyond = solution.upper[end + side] if known else 0.5 * (1 - side)
        left = abs(float(solution.upper[end] - beyond))
        longest = 0.5 * abs(solution.u[end + side] - solution.u[end]) if known else _LONGEST_STEP[side]
        step = shrink * min(1.1 * left / solution.density[end], longest)
        if left * max(1.0, weight) < tail or step < _SHORTEST:
            return solution
        strengths = marcher.matrices(solution.sigma.y[end], solution.sigma.x[end])
        point = marcher.on_axis(solution.u[end] + side * step, *strengths)
        outwards = side * (point.upper[0] - solution.upper[end]) < 0
        if point.status[0] == int(Status.CONVERGED) and outwards:
            solution = solution.joined(point)
        else:
            shrink *= 0.5
    return solution


def _between(solution: Solution, log_m1: float) -> np.ndarray:
    """Whether there is mass (or, above, a share of m_1) on both sides of a point: in the support or a gap."""
    share = solution.upper * np.exp(np.clip(2 * solution.u - log_m1, 0.0, 60.0))
    return np.minimum(share, 1.0 - solution.upper) > _NO_MASS


def _near_support(solution: Solution, log_m1: float) -> Solution:
    """The solved points of one branch that have mass on both sides, and the nearest ones beyond."""
    solution = solution.sorted()
    solution = solution.at(solution.status == int(Status.CONVERGED))
    solution = solution.at(longest_monotone_run(solution.upper, _FALL))
    kept = np.flatnonzero(_between(solution, log_m1))
    if kept.size == 0:
        return solution
    return solution.at(np.arange(max(kept[0] - 1, 0), min(kept[-1] + 2, len(solution.u))))


def tied_law(
    ens: Ensemble,
    T: int,
    *,
    population: int | None = None,
    coarse: int | None = None,
    medium: int | None = None,
    field_population: int = 8192,
    seed: int = 0,
    tol: float = 5e-4,
    max_points: int = 80,
) -> TabulatedLaw:
    """Law of the singular values of J_T when one draw of the weights serves all steps: theory.md (15).

    Parameters
    ----------
    population : multiple of 8, at least 64
        Sites that carry F, in eight independent groups with a two-time mean field each. Their spread is part
        of the ``error`` of the result. By default 8192 to 65536, fewer for longer chains, picked from
        several times as many (see `rmtrnn.dyson.sites.subsampling`), and more where the ``error`` would
        exceed 1e-3 and they cost no more than some ten seconds.
    coarse, medium : integers from 16 to ``population``
        Sites on which points are placed, and on which their strengths solve (15), before one Newton step on
        all sites. By default 512 to 2048 and 2048 to 8192, fewer for longer chains.
    field_population : integer of at least 64
        Sites that each of the eight two-time mean fields averages over.
    seed : integer
        Names the populations; the same seed gives the same law.
    tol : number in (0, 0.1]
        Error of the cdf from the finite number of points in s, and mass allowed in the unresolved lower tail.
    max_points : integer of at least 16
        Where the number of points in s stops growing.

    With K weight matrices the cost is O(points * iterations * medium * (K T + s)^3): cubic in T. A Hessian of
    Newton's method costs O(256 K^4 T^4) on the few sites that points are found on, and O(K^3 T^6) to factor,
    which is as much from T = 30 on. A step that reads no weights (b = 0 or c = 0) has the law of the product
    of its gates, without an equation to solve.
    ``error`` adds up the estimated errors of the populations, of the points, of the tails and of the
    strengths. Raises `ConvergenceError` if there is no stationary state or the two-time mean field has not
    settled.
    """
    T = _validate.integer("T", T, low=1)
    used = sum(ens.gate(gate).sigma_w > 0 for gate in ens.cell.gates)
    rows, most = used * T + len(ens.cell.state), 0
    sizes = next(sizes for largest, sizes in _DEFAULTS if rows <= largest)
    if population is None:
        population, most = sizes[0], _most_population(rows)
    population = _validate.integer("population", population, low=64)
    if population % GROUPS:
        raise ValueError(f"population = {population}: must be a multiple of {GROUPS}")
    sizes = [min(size, population) for size in sizes]
    coarse = _validate.integer("coarse", sizes[1] if coarse is None else coarse, low=16, high=population)
    medium = _validate.integer("medium", sizes[2] if medium is None else medium, low=16, high=population)
    field_population = _validate.integer("field_population", field_population, low=64)
    tol = _validate.real("tol", tol, low=0.0, high=0.1, low_open=True)
    max_points = _validate.integer("max_points", max_points, low=16)
    settings = TiedSettings(tol=tol, tail=tol, max_points=max_points, coarse=coarse, medium=medium)
    fields = grouped_fields(ens, T, field_population, seed)
    sites = draw_population(ens, T, population // GROUPS, fields, seed)

    def larger(factor: int) -> Population:
        return draw_population(
            ens, T, min(factor, most // population) * population // GROUPS, fields, seed + 1
        )

    enough = most < 2 * population
    return law_of_population(sites, T, settings, None if enough else larger)


def _most_population(rows: int) -> int:
    """Sites whose F costs some ten seconds, or whose matrices fill a gigabyte; a power of two."""
    return 2 ** int(math.log2(min(_MOST_WORK / rows**3, _MOST_ENTRIES / rows**2)))


@dataclass(frozen=True)
class Population:
    """Sites in `GROUPS` equal groups, one after the other, each with a two-time mean field of its own.

    ``low`` and ``high`` rank the sites: the size of the product of their gates, and their share of m_1.
    """

    stages: list[Stage]
    weights: np.ndarray
    low: np.ndarray
    high: np.ndarray


def draw_population(ens: Ensemble, T: int, n: int, fields: list[TwoTime], seed: int) -> Population:
    """``n`` sites for each group out of several times as many: see `rmtrnn.dyson.sites.subsampling`."""
    seeds = _seeds(seed)
    pilot = _drawn(ens, T, min(n, _PILOT), seeds[0] + 1, fields[0])
    many = any(stage.sigma2 for stage in pilot)
    measure: Measure | None = None
    if many:
        growth = Chain(pilot).growth.log_growth
        sites = tied_sites(pilot, T)
        strengths = at_infinity(sites)
        measure = functools.partial(site_features, sites=sites, strengths=strengths, log_growth=growth)

    reserve = min(max(_RESERVE // (GROUPS * n), _LEAST_RESERVE), _MOST_RESERVE) if many else 1
    groups = [
        _picked(_drawn(ens, T, reserve * n, own, field), n, measure)
        for own, field in zip(seeds, fields, strict=True)
    ]
    stages = [_side_by_side(list(parts)) for parts in zip(*(group.stages for group in groups), strict=True)]
    weights, low, high = (
        np.concatenate([getattr(group, name) for group in groups]) for name in ("weights", "low", "high")
    )
    return Population(stages, weights / GROUPS, low, high)


def grouped_stages(ens: Ensemble, T: int, n: int, field_population: int, seed: int) -> list[Stage]:
    """The stages over `GROUPS` groups of ``n`` equal sites, each with a two-time mean field of its own."""
    fields = grouped_fields(ens, T, field_population, seed)
    groups = [_drawn(ens, T, n, own, field) for own, field in zip(_seeds(seed), fields, strict=True)]
    return [_side_by_side(list(parts)) for parts in zip(*groups, strict=True)]


def grouped_fields(ens: Ensemble, T: int, field_population: int, seed: int) -> list[TwoTime]:
    """`GROUPS` independent two-time mean fields."""
    return two_time_group(ens, T, _seeds(seed), population=field_population)


def _seeds(seed: int) -> list[int]:
    return [int(_random.stream(seed, 42, group).integers(2**31)) for group in range(GROUPS)]


def _drawn(ens: Ensemble, T: int, n: int, seed: int, field: TwoTime) -> list[Stage]:
    """Stages over ``n`` sites, without weight matrices that nothing goes through."""
    found = []
    for a, b, c, sigma2, orthogonal in tied_stages(ens, T, n, seed, field=field, groups=1):
        used = [k for k, variance in enumerate(sigma2) if variance > 0 and b[k].any() and c[k].any()]
        kept = tuple(sigma2[k] for k in used), tuple(orthogonal[k] for k in used)
        found.append(Stage(a, b[used], c[used], *kept))
    return found


def _picked(stages: list[Stage], n: int, measure: Measure | None) -> Population:
    """``n`` of the sites with their weights, by what ``measure`` finds of each; without it all of them."""
    count = stages[0].a.shape[2]
    equal = np.full(count, 1.0 / count)
    if measure is None:
        return Population(stages, equal, np.zeros(count), np.zeros(count))
    own, logs = measure(stages)
    sites, weights = stratified_subsample(equal, n, logs[2], own, n // 8)
    weights = calibrated_weights(logs[:, sites], weights, logs, [(own[sites], float(own.mean()))])
    some = [replace(s, a=s.a[..., sites], b=s.b[..., sites], c=s.c[..., sites]) for s in stages]
    return Population(some, weights, logs[2][sites], own[sites])


def _side_by_side(parts: list[Stage]) -> Stage:
    """One stage over the sites of all parts."""
    a, b, c = (np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in "abc")
    return replace(parts[0], a=a, b=b, c=c)


def law_of_population(
    population: Population,
    T: int,
    settings: TiedSettings,
    larger: Callable[[int], Population] | None = None,
) -> TabulatedLaw:
    """The law of u = log s of a network that keeps its weights.

    ``larger(factor)`` gives a population about that many times larger; if the error exceeded
    `ErrorSettings.aim` without, F is averaged over that.
    """
    stages = population.stages
    if all(len(stage.sigma2) == 0 for stage in stages):
        return chain_law(Chain(stages), GROUPS, settings)[0]
    sites = tied_sites(stages, T, population.weights)
    solution = tied_law_solution(sites, population.low, population.high, settings)
    if solution.u.size == 0:
        return TabulatedLaw([], error=math.inf, status=Status.MAX_ITERATIONS)
    law, parts = assemble(sites.weights, solution, GROUPS)
    if larger is not None and parts.required_population_factor:
        more = larger(parts.required_population_factor)
        sites, count = tied_sites(more.stages, T, more.weights, like=sites), sites.count
        law, _ = assemble(sites.weights, _averaged(sites, solution), GROUPS, one=(1.0 / count, 1.0 / count))
    return law.restated(known=_known_moments(sites))


def _known_moments(sites: TiedSites) -> Moments:
    """First two moments from large lambda, with the spread between the groups."""
    n = sites.count // GROUPS
    found = np.array([moments(sites.part(slice(i * n, (i + 1) * n))) for i in range(GROUPS)])
    spread = found.std(axis=0, ddof=1) / math.sqrt(GROUPS)
    return Moments(*moments(sites), (float(spread[0]), float(spread[1])))
