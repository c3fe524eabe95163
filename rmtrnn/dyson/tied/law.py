"""The law of the singular values with tied weights: theory.md (15), (20), (21), (30), (31).

Points and their self-energies are found on some of the sites: at a positive arg λ (`angled`), and on the real
axis (`path`) where the law is too rough for the way back. F, which is stationary in the self-energies, is
averaged over all sites.

Letters: T, the number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.arrays import check_memory, module_for, resolve_device
from rmtrnn._core.progress import announce
from rmtrnn._core.status import Status
from rmtrnn.dyson.chain_law import chain_law, law_of_chain
from rmtrnn.dyson.full_population import CORRECTION
from rmtrnn.dyson.inversion.assembly import assemble, no_law
from rmtrnn.dyson.inversion.error_budget import ERRORS
from rmtrnn.dyson.inversion.solution import Solution, longest_monotone_run
from rmtrnn.dyson.inversion.tail_extension import TAILS
from rmtrnn.dyson.pencil import Chain
from rmtrnn.dyson.reduction import VanishingJacobian, onto_the_smaller_state, reduced
from rmtrnn.dyson.self_energy import SelfEnergy
from rmtrnn.dyson.sites.subsampling import stratified_subsample
from rmtrnn.dyson.tied.anchors import SharedNode, on_all_sites
from rmtrnn.dyson.tied.iteration import Point
from rmtrnn.dyson.tied.large_lambda import large_lambda
from rmtrnn.dyson.tied.long_chains import (
    LEAST,
    Chains,
    law_of_length,
    logits,
    longest_solved,
    ports_and_reads,
)
from rmtrnn.dyson.tied.negative_axis import smoothed
from rmtrnn.dyson.tied.node import error_of_sites
from rmtrnn.dyson.tied.path import LawSettings, PathFollower
from rmtrnn.dyson.tied.site_matrices import SiteMatrices
from rmtrnn.dyson.tied.sites import Population, draw_population, stationary_field, windows
from rmtrnn.dyson.tied.way_back import on_the_real_axis
from rmtrnn.ensemble import Ensemble
from rmtrnn.laws.moments import Moments
from rmtrnn.laws.tabulated import TabulatedLaw
from rmtrnn.meanfield.periodic_process import GROUPS
from rmtrnn.meanfield.shortfall import Shortfall, shortfall_of


@dataclass(frozen=True)
class Sizes:
    """Numbers of sites for up to so many ``rows``: what the weights read at a site.

    ``population``: that F is averaged over; ``path``: that (15) is solved on; ``check``: that say by how much
    the self-energies of ``path`` change F.
    """

    rows: float
    population: int
    path: int
    check: int


# Empirical: the error of the population is then 1e-3 to 4e-3. The cost grows with rows^3.
_SIZES = (
    Sizes(5, 32768, 2048, 8192),
    Sizes(16, 16384, 2048, 8192),
    Sizes(40, 8192, 1024, 4096),
    Sizes(math.inf, 2048, 256, 1024),
)
# Numbers in the matrices of all sites that two moments of a long chain are averaged over: 512 MiB. And sites
# for them, at least: with fewer their spread says nothing. Both decide where moments are not known.
_MOMENT_NUMBERS, _MOMENT_SITES = 2**26, 256
# Points at which more sites say what few of them change.
_CHECKED = 5


@dataclass(frozen=True)
class Duration:
    """Seconds of one core. Empirical: right within a factor of four for minimalRNN, T = 2 to 30. No result
    depends on them."""

    # For each site and row^3: 66 s for 8192 sites and 30 rows, under load, on 2026-11-29.
    site: float = 3e-7
    # For each row on the few sites of the path.
    path: float = 2.0


_SECONDS = Duration()


def tied_law(
    ens: Ensemble,
    T: int,
    *,
    population: int | None = None,
    seed: int = 0,
    tol: float = 5e-4,
    max_points: int = 100,
    device: str = "cpu",
    block: tuple[int, int] | None = None,
    Q0: np.ndarray | None = None,
) -> TabulatedLaw:
    """Law of the singular values of J_T when one draw of the weights serves all steps: theory.md (15).

    Parameters
    ----------
    population : 8 times a power of two, at least 64
        Sites that carry F, in eight independent groups with a two-time mean field each, picked from several
        times as many. Their spread is part of the ``error`` of the result. By default 32768 to
        2048, fewer for longer chains.
    seed : integer
        Names the populations; the same seed gives the same law.
    tol : number in (0, 0.1]
        Error of the cdf from the finite number of points in s, and mass allowed in the unresolved lower tail.
    max_points : integer of at least 16
        Where the number of points in s stops growing.
    device : "cpu", "cuda" or "auto"
        Where (15) is evaluated, on the same sites. They are drawn on the host, where their self-energies are
        iterated as well: one evaluation brings its averages back once. "auto" is CUDA if CuPy sees a device.
    block : pair of positions (into, from) of states
        The law of the block ∂h_into^T/∂h_from^0, an N × N matrix. None: the whole Jacobian.
    Q0 : array (s,)
        Second moments of the centred Gaussian state that the T steps start from, the same weights at all of
        them. None: the stationary state.

    The cost of a point is O(population (K T)^3), with K what the weights read in a step. Laws of 16 steps and
    more are found at λ < 0, those of more than 32 (16 where two vectors are read in each) from those of fewer
    (`long_chains`), unless Q0 is given. A step that reads no weights (b = 0 or c = 0) has the law of the
    product of its gates.
    ``error`` adds up the estimated errors of the populations, of the points, of the tails and of the
    self-energies. Raises `ConvergenceError` if there is no stationary state, RuntimeError without the device.
    """
    device = resolve_device(device)
    T = _validate.integer("T", T, low=1)
    tol = _validate.real("tol", tol, low=0.0, high=0.1, low_open=True)
    max_points = _validate.cost("max_points", _validate.integer("max_points", max_points, low=16), 0.1)
    settings = LawSettings(tol=tol, max_points=max_points)

    def solved(steps: int) -> TabulatedLaw:
        return _solved_law(ens, steps, population, seed, settings, device, block, Q0)

    def chains_of(lengths: Sequence[int]) -> Chains | None:
        return _chains(ens, lengths, population, seed, device, block)

    if Q0 is not None:
        return solved(T)
    longest = longest_solved(ens)
    law = law_of_length(solved, chains_of, T, longest) if longest else solved(T)
    return inheriting(law, shortfall_of(stationary_field(ens, seed)))


def _solved_law(
    ens: Ensemble,
    T: int,
    population: int | None,
    seed: int,
    settings: LawSettings,
    device: str,
    block: tuple[int, int] | None,
    Q0: np.ndarray | None,
) -> TabulatedLaw:
    """`tied_law` by (15) for all T steps."""
    population, rows = _affordable(ens, T, population, device)
    announce("Dyson equation, tied weights", _seconds(population, rows))
    sites = draw_population(ens, T, population // GROUPS, seed, Q0, block)
    return law_of_population(sites, T, settings, module_for(device))


def _affordable(ens: Ensemble, T: int, population: int | None, device: str) -> tuple[int, int]:
    """The number of sites, and of what the weights read at each; raises where these cannot be afforded."""
    _validate.cost("T", T, 10.0)
    ports, rows = (T * count for count in ports_and_reads(ens))
    named = ("T", T) if population is None else ("population", population)
    if population is None:
        population = _sizes(rows).population
    population = _validate.power_of_two("population", population, low=64, times=GROUPS)
    population = _validate.cost("population", population, 0.01)
    check_memory(*named, 2 * 8.0 * population * ports**2, device)  # the propagators, and a copy
    _validate.cost("T", T, _SECONDS.site * population * rows**3 / T)
    return population, rows


def _chains(
    ens: Ensemble,
    lengths: Sequence[int],
    population: int | None,
    seed: int,
    device: str,
    block: tuple[int, int] | None,
) -> Chains | None:
    """S-transforms of chains of some ``lengths``, the longest one first, at the same sites.

    None where they are not solved.
    """
    longest = lengths[0]
    population, rows = _affordable(ens, longest, population, device)
    sizes = _sizes(rows)
    announce("Dyson equation, tied weights", _seconds(sizes.path, rows) + _seconds(population, rows) / rows)
    drawn = draw_population(ens, longest, population // GROUPS, seed)
    curves, moments = [], None
    for steps in lengths:
        sites = windows(drawn, longest, steps, block)
        if not any(stage.sigma2 for stage in sites.stages):  # the law of the gates alone
            return Chains(lengths, [], [], has_mass=True)
        whole = SiteMatrices.of(sites.stages, steps, sites.weights, module_for(device))
        some, half = (whole.at(*picked(sites, n)) for n in (sizes.path, sizes.path // 2))
        curve = smoothed(whole, some, half, sites.groups, LEAST)
        if curve is None:
            return None
        if curve.has_mass:
            return Chains(lengths, [], [], has_mass=True)
        curves.append(curve)
        if steps == longest:
            moments = _known_moments(whole, sites.groups)
    excesses = [curve.excess(logits()) for curve in curves]
    ends = [curve.without_lowest().excess(logits()) for curve in curves]
    changes = [(end - whole).mean(axis=0) for end, whole in zip(ends, excesses, strict=True)]
    return Chains(lengths, excesses, changes, curves[0].error, moments)


def moments_of_long_chain(ens: Ensemble, T: int, seed: int = 0) -> Moments | None:
    """Two moments of s² where `tied_law` does not give them: from sites of all T steps, at large λ.

    nan for longer chains than these can be afforded for; None where the law has its moments.
    """
    ports, longest = T * ports_and_reads(ens)[0], longest_solved(ens)
    if not 0 < longest < T:
        return None
    sites = 2 ** int(math.log2(_MOMENT_NUMBERS / ports**2))
    if sites < _MOMENT_SITES:
        return Moments(math.nan, math.nan, (math.nan, math.nan))
    population = draw_population(ens, T, min(sites, _SIZES[0].population) // GROUPS, seed)
    if not any(stage.sigma2 for stage in population.stages):  # the law of the gates alone
        return None
    return _known_moments(SiteMatrices.of(population.stages, T, population.weights), population.groups)


def inheriting(law: TabulatedLaw, field: Shortfall) -> TabulatedLaw:
    """The law with the status, the error and the cause that it takes over from its mean field."""
    if field.status is Status.CONVERGED:
        return law
    cause = "; ".join(part for part in (field.cause, law.cause) if part)
    return law.restated(more_error=field.error, status=field.status, cause=cause)


def _seconds(population: int, rows: int) -> float:
    """Estimate the time of a law, on one core."""
    return rows * (_SECONDS.path + _SECONDS.site * population * rows**2)


def _sizes(rows: int) -> Sizes:
    return next(one for one in _SIZES if rows <= one.rows)


def law_of_population(population: Population, T: int, settings: LawSettings, xp: Any = np) -> TabulatedLaw:
    """The law of u = log s over given sites; ``xp``, the array module of the device."""
    if T == 1:
        return _one_step(population, settings, xp)
    if all(len(stage.sigma2) == 0 for stage in population.stages):
        return chain_law(Chain(population.stages), GROUPS)[0]
    full = SiteMatrices.of(population.stages, T, population.weights, xp)
    sizes = _sizes(full.chain.size - full.s_out)
    picks = [picked(population, n) for n in (sizes.path, sizes.check)]
    some, check = (full.at(*pick) for pick in picks)
    path = PathFollower(some, large_lambda(some), settings, 1.0 / full.n if full.n > 1 else 0.0)
    nodes = path.points()
    if not nodes:
        return no_law()[0]
    error = largest_error_of_sites(check, [node.point for node in nodes])
    for further_points in reversed(range(CORRECTION.at_ends + 1)):
        shared = on_all_sites(full, some, nodes, population.groups)
        on_axis, left = on_the_real_axis([one.node for one in shared])
        further = path.nearer_to_end(nodes, on_axis) if further_points else None
        if further is None:
            break
        nodes = further
    shared = [one._replace(node=node) for one, node in zip(shared, on_axis, strict=True)]
    solution = as_solution(shared, error + left)
    solved = np.flatnonzero(solution.converged)
    if solved.size:  # what lies beyond the outermost solved points is an error of the tails
        solution = solution.at(np.arange(solved[0], solved[-1] + 1))
    light = float(np.quantile(full.weights, TAILS.light))
    equal = np.full(population.groups, 1.0 / population.groups)
    known = _known_moments(full, population.groups)
    law, _ = assemble(equal, solution, population.groups, one=(light, light), log_m1=known.log_m1)
    return law.restated(known=known)


def _one_step(population: Population, settings: LawSettings, xp: Any) -> TabulatedLaw:
    """One step uses every matrix once: the untied law over the sites that tied weights made."""
    states = population.stages[0].a.shape[1]
    try:
        stages = onto_the_smaller_state(reduced(population.stages))
    except VanishingJacobian:
        return TabulatedLaw([], atoms=[(-math.inf, 1.0)])
    chain = Chain([stage.on(xp) for stage in stages], population.weights)
    return law_of_chain(chain, states, population.groups, tol=settings.tol, max_points=settings.max_points)


def picked(population: Population, n: int) -> tuple[Any, np.ndarray]:
    """About ``n`` of the sites, of every group a quarter the outermost on each side, and their weights."""
    size = population.weights.size // population.groups
    some = n // population.groups
    if some >= size:
        return slice(None), population.weights
    found = []
    for group in range(population.groups):
        here = slice(group * size, (group + 1) * size)
        low, high = population.low[here], population.high[here]
        sites, weights = stratified_subsample(population.weights[here], some, low, high, some // 4)
        found.append((sites + here.start, weights))
    sites, weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return sites, weights


def some_of(points: list[Point]) -> list[Point]:
    """`_CHECKED` points, spread evenly."""
    places = np.linspace(0, len(points) - 1, _CHECKED + 2).astype(int)[1:-1] if points else []
    return [points[i] for i in np.unique(places)]


def largest_error_of_sites(sites: SiteMatrices, points: list[Point]) -> float:
    """What the self-energies of few sites change F by, at most at some points."""
    return max((error_of_sites(sites, point) for point in some_of(points)), default=0.0)


def as_solution(shared: list[SharedNode], error: float) -> Solution:
    """Convert to what `rmtrnn.dyson.inversion` takes; outside the support F has no error.

    Points out of order lie on another branch of (15) and do not count as solved.
    """
    nodes = [one.node for one in shared]
    none = np.zeros((len(nodes), 1), dtype=complex)
    survival = np.array([1.0 - node.cdf for node in nodes])
    good = np.isfinite(survival) & (np.abs(survival - 0.5) < 0.5 + ERRORS.fall)
    good &= np.array([node.point.is_solved(ERRORS.fall) for node in nodes])
    good[good] = np.isin(np.arange(good.sum()), longest_monotone_run(survival[good], ERRORS.fall))
    return Solution(
        log_lambda=np.array([2 * node.u for node in nodes]),
        sigma=SelfEnergy(none, none),
        survival=survival,
        density=np.array([node.density for node in nodes]),
        residual=np.array([node.point.relative for node in nodes]),
        error=np.array([error if node.density > 0.0 else 0.0 for node in nodes]),
        status=np.where(good, int(Status.CONVERGED), int(Status.MAX_ITERATIONS)),
        site_phase=np.array([one.groups for one in shared]),
    )


def _known_moments(full: SiteMatrices, groups: int) -> Moments:
    """First two moments from large λ, with the spread between the groups."""
    whole, n = large_lambda(full), full.n // groups
    parts = [large_lambda(full.at(slice(i * n, (i + 1) * n))) for i in range(groups if groups > 1 else 0)]
    found = np.array([(part.log_m1, part.ratio) for part in parts])
    spread = found.std(axis=0, ddof=1) / math.sqrt(groups) if parts else np.zeros(2)
    return Moments(whole.log_m1, whole.ratio, (float(spread[0]), float(spread[1])))
