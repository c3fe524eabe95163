"""The law of the singular values with tied weights at a cost linear in T: theory.md (15), (20)-(21).

Points are found on a few sites (`path`), their self-energies corrected on some thousand, and F, which is
stationary in them, is averaged over all sites with the second-order correction that the gradient of all sites
gives.

Letters: T, the number of steps.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.status import Status
from rmtrnn.dyson.chain_law import chain_law
from rmtrnn.dyson.inversion.assembly import assemble
from rmtrnn.dyson.inversion.solution import Solution
from rmtrnn.dyson.pencil import Chain
from rmtrnn.dyson.self_energy import SelfEnergy
from rmtrnn.dyson.sites.subsampling import stratified_subsample
from rmtrnn.dyson.tied.chain import TiedChain
from rmtrnn.dyson.tied.path import Node, PathFollower, PathSettings, moments, node_at, on_more_sites
from rmtrnn.dyson.tied.sites import Population, draw_population
from rmtrnn.ensemble import Ensemble
from rmtrnn.laws.moments import Moments
from rmtrnn.laws.tabulated import TabulatedLaw
from rmtrnn.meanfield.periodic_process import GROUPS

_SETTLED = 0.1  # relative Newton step of the self-energies, and error of F: a point beyond is not used
_POPULATIONS = ((40, 8192), (math.inf, 4096))  # matrices times T, and sites
_SCAN, _MEDIUM = 512, 2048  # sites that points are found on, and that their self-energies are corrected on


def tied_law(
    ens: Ensemble,
    T: int,
    *,
    population: int | None = None,
    seed: int = 0,
    tol: float = 5e-4,
    max_points: int = 100,
) -> TabulatedLaw:
    """Law of the singular values of J_T when one draw of the weights serves all steps: theory.md (15).

    Parameters
    ----------
    population : 8 times a power of two, at least 64
        Sites that carry F, in eight independent groups with a two-time mean field each, picked from several
        times as many. Their spread is part of the ``error`` of the result. By default 8192, and 4096
        for longer chains.
    seed : integer
        Names the populations; the same seed gives the same law.
    tol : number in (0, 0.1]
        Error of the cdf from the finite number of points in s, and mass allowed in the unresolved lower tail.
    max_points : integer of at least 16
        Where the number of points in s stops growing.

    With K weight matrices and r modes in time the cost of a point is O(population * T K^2 r^2) and the number
    of points does not depend on T. Up to T = 12 the modes hold every self-energy; beyond, r grows to at most
    16 until F changes by less than 1e-3, and what is left is in ``error``: for memories much shorter than T
    these are too few. A step that reads no weights (b = 0 or c = 0) has the law of the product of its gates.
    ``error`` adds up the estimated errors of the populations, of the points, of the tails, of the modes and
    of the self-energies. Raises `ConvergenceError` if there is no stationary state.
    """
    T = _validate.integer("T", T, low=1)
    if population is None:
        used = sum(ens.gate(gate).sigma_w > 0 for gate in ens.cell.gates)
        population = next(sites for largest, sites in _POPULATIONS if used * T <= largest)
    population = _validate.integer("population", population, low=64)
    if population % GROUPS or (population // GROUPS) & (population // GROUPS - 1):
        raise ValueError(f"population = {population}: must be {GROUPS} times a power of two")
    tol = _validate.real("tol", tol, low=0.0, high=0.1, low_open=True)
    max_points = _validate.integer("max_points", max_points, low=16)
    sites = draw_population(ens, T, population // GROUPS, seed)
    return law_of_population(sites, T, PathSettings(tol=tol, max_points=max_points))


def law_of_population(population: Population, T: int, settings: PathSettings) -> TabulatedLaw:
    """The law of u = log s over given sites."""
    if all(len(stage.sigma2) == 0 for stage in population.stages):
        return chain_law(Chain(population.stages), GROUPS)[0]
    full = TiedChain(population.stages, T, population.weights)
    scan, medium = (subsample(full, population, n) for n in (_SCAN, _MEDIUM))
    follower = PathFollower(scan, settings)
    nodes = follower.refined(follower.march())
    if len(nodes) < 4:
        return TabulatedLaw([], error=math.inf, status=Status.MAX_ITERATIONS)
    nodes, basis_error = follower.in_larger_bases(nodes)
    points = [on_more_sites(medium, scan, node) for node in nodes]
    solution = as_solution([node_at(full, point) for point in points])
    solution = replace(solution, error=solution.error + basis_error)
    law, _ = assemble(full.weights, solution, population.groups)
    return law.restated(known=_known_moments(full, follower, population.groups))


def subsample(chain: TiedChain, population: Population, n: int) -> TiedChain:
    """About ``n`` of the sites, an eighth of them the outermost on each side."""
    if n >= chain.n:
        return chain
    return chain.at(*stratified_subsample(chain.weights, n, population.low, population.high, n // 8))


def as_solution(nodes: list[Node]) -> Solution:
    """Convert to what `rmtrnn.dyson.inversion` takes; outside the support F has no error."""
    none = np.zeros((len(nodes), 1), dtype=complex)
    good = [node.point.relative < _SETTLED and node.error < _SETTLED for node in nodes]
    return Solution(
        log_lambda=np.array([2 * node.u for node in nodes]),
        sigma=SelfEnergy(none, none),
        upper=np.array([1.0 - node.cdf for node in nodes]),
        density=np.array([node.density for node in nodes]),
        residual=np.array([node.point.relative for node in nodes]),
        error=np.array([node.error if node.density > 0.0 else 0.0 for node in nodes]),
        status=np.where(good, int(Status.CONVERGED), int(Status.MAX_ITERATIONS)),
        site_log=np.array([node.site_log for node in nodes]),
    )


def _known_moments(full: TiedChain, follower: PathFollower, groups: int) -> Moments:
    """First two moments from large lambda, with the spread between the groups."""
    every = moments(full, follower.far, groups)
    spread = every[1:].std(axis=0, ddof=1) / math.sqrt(groups) if groups > 1 else np.zeros(2)
    return Moments(float(every[0, 0]), float(every[0, 1]), (float(spread[0]), float(spread[1])))
