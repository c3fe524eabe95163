"""The law of the singular values when one draw of the weights serves all steps: theory.md (15).

The strengths of (15) are matrices over all pairs of steps, and every iteration inverts a matrix of K T + s
rows at every site. So the points are found on a few sites, placed on more, and the strengths that they end
with are right for some thousand; F, which is stationary in the strengths, is taken on all sites.

The sites come in eight groups, each with a two-time mean field of its own: the spread of the groups holds
the error of the covariance of the pre-activations as well as that of the sites.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from rmtrnn import _random, _validate
from rmtrnn._result import Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.twotime import GROUPS, tied_stages, two_time_group
from rmtrnn.spectra.dyson_chain import Chain, Stage
from rmtrnn.spectra.dyson_law import assemble, chain_law
from rmtrnn.spectra.dyson_nodes import Settings, place_between
from rmtrnn.spectra.dyson_solve import REAL_AXIS, Solution
from rmtrnn.spectra.result import Spectrum
from rmtrnn.spectra.tabulated import TabulatedLaw
from rmtrnn.spectra.tied_equations import TiedSites, evaluate, solve_point, start, tied_sites

_MARCH_ANGLE = 0.1  # arg lambda while marching down in u: smooth enough to cross the edge
_FIRST_U = 1.2  # per square root of the number of steps, above log(m_1)/2: outside the support
_MOST_TAIL_POINTS = 16  # on each side
_LONGEST_STEP = {-1: 2.0, 1: 0.5}  # where nothing is known beyond
_EMPTY = 1e-4  # of the largest density: less than this is outside the support
_SCAN_SITES = 128
_SHARE = 0.15  # of m_1, at most, in one panel
_STRENGTHS = 1e-3  # relative change of the strengths that placing points asks for
_FINAL = 1e-4  # and that of the result: F errs by its square
_SOLVED = 3e-3  # a point whose strengths would still change by more is not used


class _Marcher:
    """Solves points of one population, each from the strengths of a neighbour."""

    def __init__(self, sites: TiedSites, tol: float) -> None:
        self.sites = sites
        self.tol = tol

    def at(self, u: float, P: np.ndarray, Q: np.ndarray) -> Solution:
        """The point u on the real axis, by way of arg lambda > 0."""
        near = 2 * u + 1j * _MARCH_ANGLE
        P, Q, _ = solve_point(self.sites, P, Q, near, 30 * self.tol)
        return self.on_axis(u, P, Q)

    def on_axis(self, u: float, P: np.ndarray, Q: np.ndarray) -> Solution:
        P, Q, relative = solve_point(self.sites, P, Q, 2 * u + 1j * REAL_AXIS, self.tol)
        return evaluate(self.sites, P, Q, 2 * u, relative, max(_SOLVED, 3 * self.tol))

    def again(self, solution: Solution) -> Solution:
        """Every point solved anew from the strengths that other sites gave it."""
        shape = (self.sites.touched,) * 2
        outside = solution.density <= _EMPTY * solution.density.max(initial=0.0)
        found: Solution | None = None
        for i, u in enumerate(solution.u):
            solve = self.at if outside[i] else self.on_axis
            point = solve(float(u), solution.p[i].reshape(shape), solution.q[i].reshape(shape))
            if point.status[0] != int(Status.CONVERGED) and not outside[i]:
                point = self.at(float(u), solution.p[i].reshape(shape), solution.q[i].reshape(shape))
            found = point if found is None else found.joined(point)
        assert found is not None
        return found

    def march(self, tail: float, max_points: int) -> Solution:
        """Down from outside the support until less than ``tail`` is left."""
        u = self.sites.log_mean / 2 + _FIRST_U * math.sqrt(self.sites.steps)
        P, Q = start(self.sites, 2 * u + 1j * _MARCH_ANGLE)
        done: Solution | None = None
        step = 0.25
        for _ in range(max_points):
            near_p, near_q, relative = solve_point(self.sites, P, Q, 2 * u + 1j * _MARCH_ANGLE, 10 * self.tol)
            if not relative < 0.1:
                break
            P, Q = near_p, near_q
            point = self.on_axis(u, P, Q)
            done = point if done is None else done.joined(point)
            left = 1.0 - float(point.upper[0])
            if left < tail and point.status[0] == int(Status.CONVERGED):
                break
            density = max(float(point.density[0]), 1e-12)
            step = float(np.clip(0.08 / density, 0.15, 1.0)) if density > 1e-6 else 0.15
            u -= step
        assert done is not None
        return done


def tied_law_solution(sites: TiedSites, settings: Settings) -> Solution:
    """Points found on a few sites and placed on ``settings.coarse``, solved on ``settings.medium`` of them.

    F is stationary in the strengths, so their error on some of the sites enters it at second order; F and the
    density of the result are those of all sites at these strengths.
    """
    scan, coarse = sites.spread(_SCAN_SITES), sites.spread(settings.coarse)
    found = _near_support(_Marcher(scan, _STRENGTHS).march(settings.tail, settings.max_points))
    if found.u.size == 0:
        return found
    marcher = _Marcher(coarse, _STRENGTHS)
    solution = _near_support(marcher.again(found))
    solution = _near_support(place_between(solution, marcher.at, sites.log_mean / 2, settings))
    for side in (-1, 1):
        solution = _near_support(_outwards(marcher, solution, side, settings.tail))
    if solution.u.size == 0:
        return solution
    solution = _share_first_moment(marcher, solution, 2 * settings.max_points)
    solution = _Marcher(sites.spread(settings.medium), _FINAL).again(solution)
    return _on_all_sites(sites, solution)


def _share_first_moment(marcher: _Marcher, solution: Solution, max_points: int) -> Solution:
    """Halve panels until none holds more than `_SHARE` of m_1, which the largest singular values make up."""
    shape = (marcher.sites.touched,) * 2
    while len(solution.u) < max_points:
        solution = solution.sorted()
        solution = solution.at(solution.status == int(Status.CONVERGED))
        weight = np.exp(np.minimum(2 * solution.u[1:] - marcher.sites.log_mean, 60.0))
        share = (solution.upper[:-1] - solution.upper[1:]) * weight
        heavy = np.flatnonzero((share > _SHARE) & (np.diff(solution.u) > 1e-3))
        if heavy.size == 0:
            break
        before = len(solution.u)
        for i in heavy:
            inner = i if solution.density[i] > solution.density[i + 1] else i + 1
            u = float(0.5 * (solution.u[i] + solution.u[i + 1]))
            point = marcher.at(u, solution.p[inner].reshape(shape), solution.q[inner].reshape(shape))
            solution = solution.joined(point)
        if np.count_nonzero(solution.status == int(Status.CONVERGED)) < before + heavy.size:
            break  # a point that failed once is not tried again
    return _near_support(solution)


def _on_all_sites(sites: TiedSites, solution: Solution) -> Solution:
    """F and density on all sites, at strengths that solve (15) on some of them."""
    if solution.site_log.shape[1] == sites.count:
        return solution
    shape = (sites.touched,) * 2
    full: Solution | None = None
    for i in range(len(solution.u)):
        P, Q = solution.p[i].reshape(shape), solution.q[i].reshape(shape)
        point = evaluate(sites, P, Q, 2 * solution.u[i], float(solution.residual[i]), math.inf)
        full = point if full is None else full.joined(point)
    assert full is not None
    return replace(full, status=solution.status)


def _outwards(marcher: _Marcher, solution: Solution, side: int, tail: float) -> Solution:
    """Points from the last one inside the support outwards, as long as there is mass beyond.

    The step mass/density divides the mass of an exponential tail by e, and goes two thirds of the way to a
    square-root edge. On the right the mass is weighed by s^2/m_1.
    """
    shape, shrink = (marcher.sites.touched,) * 2, 1.0
    for _ in range(_MOST_TAIL_POINTS):
        solution = solution.sorted()
        filled = np.flatnonzero(solution.density > _EMPTY * solution.density.max(initial=0.0))
        if filled.size == 0:
            return solution
        end = int(filled[-1] if side > 0 else filled[0])
        left = float(solution.upper[end] if side > 0 else 1.0 - solution.upper[end])
        weight = np.exp(min(2 * solution.u[end] - marcher.sites.log_mean, 60.0)) if side > 0 else 1.0
        known = 0 <= end + side < len(solution.u)
        longest = 0.5 * abs(solution.u[end + side] - solution.u[end]) if known else _LONGEST_STEP[side]
        step = shrink * min(1.1 * left / solution.density[end], longest)
        if left * max(1.0, weight) < tail or step < 1e-3:
            return solution
        point = marcher.on_axis(
            solution.u[end] + side * step, solution.p[end].reshape(shape), solution.q[end].reshape(shape)
        )
        beyond = side * (point.upper[0] - solution.upper[end]) < 0
        if point.status[0] == int(Status.CONVERGED) and beyond:
            solution = solution.joined(point)
        else:
            shrink *= 0.5
    return solution


def _near_support(solution: Solution) -> Solution:
    """The solved points inside the support, and the nearest solved ones outside on both sides."""
    solution = solution.sorted()
    solution = solution.at(solution.status == int(Status.CONVERGED))
    filled = np.flatnonzero(solution.density > _EMPTY * solution.density.max(initial=0.0))
    if filled.size == 0:
        return solution
    return solution.at(np.arange(max(filled[0] - 1, 0), min(filled[-1] + 2, len(solution.u))))


def tied_spectrum(
    ens: Ensemble,
    T: int,
    *,
    population: int = 8192,
    coarse: int = 512,
    medium: int = 2048,
    field_population: int = 4096,
    seed: int = 0,
    tol: float = 5e-4,
    max_points: int = 80,
) -> Spectrum:
    """Law of the singular values of J_T when one draw of the weights serves all steps: theory.md (15).

    Parameters
    ----------
    population : multiple of 8, at least 64
        Sites that carry F, in eight independent groups with a two-time mean field each. Their spread is part
        of the ``error`` of the result.
    coarse, medium : integers from 16 to ``population``
        Sites on which points are placed, and on which their strengths solve (15). F is stationary in the
        strengths: their error enters it squared.
    field_population : integer of at least 64
        Sites that each of the eight two-time mean fields averages over.
    seed : integer
        Names the populations; the same seed gives the same law.
    tol : number in (0, 0.1]
        Error of the cdf from the finite number of points in s, and mass allowed in the unresolved lower tail.
    max_points : integer of at least 16
        Where the number of points in s stops growing.

    With K weight matrices the cost is O(points * iterations * medium * (K T + s)^3): cubic in T. A step that
    reads no weights (b = 0 or c = 0) has the law of the product of its gates, without an equation to solve.
    ``error`` adds up the estimated errors of the populations, of the points, of the tails and of the
    strengths. Raises `ConvergenceError` if there is no stationary state or the two-time mean field has not
    settled.
    """
    T = _validate.integer("T", T, low=1)
    population = _validate.integer("population", population, low=64)
    if population % GROUPS:
        raise ValueError(f"population = {population}: must be a multiple of {GROUPS}")
    coarse = _validate.integer("coarse", coarse, low=16, high=population)
    medium = _validate.integer("medium", medium, low=16, high=population)
    field_population = _validate.integer("field_population", field_population, low=64)
    tol = _validate.real("tol", tol, low=0.0, high=0.1, low_open=True)
    max_points = _validate.integer("max_points", max_points, low=16)
    stages = grouped_stages(ens, T, population // GROUPS, field_population, seed)
    settings = Settings(tol=tol, tail=tol, max_points=max_points, coarse=coarse, medium=medium)
    return Spectrum(tied_law(stages, T, settings), ensemble=ens, T=T, method="dyson")


def tied_law(stages: list[Stage], T: int, settings: Settings) -> TabulatedLaw:
    """The law of u = log s of stages whose sites come in `GROUPS` groups of equal size."""
    if all(len(stage.sigma2) == 0 for stage in stages):
        return chain_law(Chain(stages), GROUPS, settings)[0]
    sites = tied_sites(stages, T)
    solution = tied_law_solution(sites, settings)
    if solution.u.size == 0:
        return TabulatedLaw([], error=math.inf, status=Status.MAX_ITERATIONS)
    return assemble(sites.weights, solution, GROUPS)[0]


def grouped_stages(ens: Ensemble, T: int, n: int, field_population: int, seed: int) -> list[Stage]:
    """The stages over `GROUPS` groups of ``n`` sites, one after the other, each with its own mean field."""
    seeds = [int(_random.stream(seed, 42, group).integers(2**31)) for group in range(GROUPS)]
    fields = two_time_group(ens, T, seeds, population=field_population)
    groups = [
        tied_stages(ens, T, n, own, field=field, groups=1) for own, field in zip(seeds, fields, strict=True)
    ]
    return [_side_by_side(parts) for parts in zip(*groups, strict=True)]


def _side_by_side(parts: tuple) -> Stage:
    """One stage over the sites of all parts, without weight matrices that nothing goes through."""
    a, b, c = (np.concatenate([part[i] for part in parts], axis=-1) for i in range(3))
    sigma2, orthogonal = parts[0][3], parts[0][4]
    used = [k for k, variance in enumerate(sigma2) if variance > 0 and b[k].any() and c[k].any()]
    return Stage(a, b[used], c[used], tuple(sigma2[k] for k in used), tuple(orthogonal[k] for k in used))
