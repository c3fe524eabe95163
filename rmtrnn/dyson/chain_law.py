"""Law of the singular values of a chain of stages: placement, solution, full population, inversion."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from rmtrnn._core.arrays import to_host
from rmtrnn._core.progress import announce, is_shown
from rmtrnn._core.status import Status
from rmtrnn.dyson.continuation import mass_at_zero
from rmtrnn.dyson.diagonal_jacobian import diagonal_law, has_no_weights, one_orthogonal_step
from rmtrnn.dyson.duration import seconds_of_law
from rmtrnn.dyson.full_population import averaged_over, correct_on_full_population
from rmtrnn.dyson.inversion.assembly import assemble, no_law
from rmtrnn.dyson.inversion.error_budget import ERRORS, ErrorParts, law_status
from rmtrnn.dyson.inversion.panel_refinement import Settings
from rmtrnn.dyson.inversion.solution import Solution
from rmtrnn.dyson.inversion.tail_extension import TAILS
from rmtrnn.dyson.newton import evaluate, newton
from rmtrnn.dyson.pencil import Chain
from rmtrnn.dyson.placement import SIZES, Levels, Nodes, SubsampleSizes, mass_of_one_site, place_nodes
from rmtrnn.dyson.self_energy import Points
from rmtrnn.laws.second_look import mean_of_power, second_look
from rmtrnn.laws.tabulated import TabulatedLaw


@dataclass(frozen=True)
class FinishSettings:
    """Numbers of the last Newton steps on the placement sites; moved in tests/dyson/test_numbers.py."""

    # Relative step at the end, and the one up to which a point counts as solved: F errs by its square.
    tol: float = 0.03
    settled: float = 0.1
    # Iterations from the inverse Hessian that the point has, and from a new one.
    iterations: int = 4
    again: int = 12
    # Of `ErrorSettings.aim`: mass around a point that failed that is worth two more points.
    worth: float = 0.1
    # Of the way from a failed point to its neighbour, where these lie.
    near: float = 0.3
    # Points at which the error of the splines is looked at.
    looked_at: int = 10
    # Sites: where fewer of them make up the mass, the population is not looked at more closely. Empirical.
    resolution: float = 8.0


@dataclass(frozen=True)
class SaturationSettings:
    """When saturated gates are looked for. Empirical: a message and the order of methods depend on it."""

    # Error from which on a cause is looked for.
    error: float = 0.01
    # Size of b σ_w c relative to a below which a gate counts as saturated, and the share of such sites.
    coupling: float = 0.03
    share: float = 0.3
    # Share of the growth of m_1 that is due to weights, below which the gates alone are tried first.
    growth: float = 1e-4


_SATURATION = SaturationSettings()
_FINISH = FinishSettings()


def chain_law(
    chain: Chain,
    groups: int = 1,
    settings: Settings | None = None,
    larger: Callable[[int], Chain] | None = None,
    sizes: SubsampleSizes = SIZES,
) -> tuple[TabulatedLaw, ErrorParts]:
    """Law of u = log s of the chain, theory.md (12)-(14), and the parts of its error.

    ``groups``: independent groups of sites of equal size, whose spread gives the error of the population;
    1: the sites are exact (quadrature nodes), without such an error. ``larger(factor)`` gives a population
    about that many times larger, scaled like ``chain``; if the error would exceed `ErrorSettings.aim`
    without, F is averaged over that.
    """
    settings = settings or Settings()
    if has_no_weights(chain):
        return _law_of_gates_alone(chain, groups, larger)
    if is_shown():
        announce("Dyson equation", seconds_of_law(chain, sizes.placement))
    nodes, levels = place_nodes(chain, settings, sizes)
    if nodes.u.size < 4:
        return no_law()
    solution = with_parametrisation_error(finish(levels, nodes), levels)
    tail = max(settings.tail, settings.mass_resolution)
    lowest = float(solution.sorted().cdf[0])
    atom = mass_at_zero(levels.placement, levels.continuation) if lowest > tail else 0.0
    solution = correct_on_full_population(chain, levels.placement, solution, tail)
    one = _masses_of_one_site(chain, solution)
    law, parts = assemble(to_host(chain.weights), solution, groups, atom, one)
    if larger is None or not parts.required_population_factor:
        return law, parts
    more = larger(parts.required_population_factor)
    equal = (1.0 / chain.n, 1.0 / chain.n)
    return assemble(to_host(more.weights), averaged_over(more, solution), groups, atom, one or equal)


def law_of_chain(
    chain: Chain,
    states: int,
    groups: int,
    *,
    tol: float,
    max_points: int,
    larger: Callable[[int], Chain] | None = None,
) -> TabulatedLaw:
    """The law of a chain without dead dimensions; those of the ``states`` that are gone are exact zeros."""
    law = one_orthogonal_step(chain)
    if law is None:
        resolution = _FINISH.resolution / chain.n if groups > 1 else tol  # one group: the sites are exact
        settings = Settings(tol=tol, tail=tol, mass_resolution=resolution, max_points=max_points)
        law = _law_of_any_chain(chain, groups, settings, larger)
    return checked(law, float(chain.log_mean)).with_zeros(1.0 - chain.s_out / states)


def _law_of_any_chain(
    chain: Chain, groups: int, settings: Settings, larger: Callable[[int], Chain] | None
) -> TabulatedLaw:
    """The law by the Dyson equation, or of saturated gates alone where the bound of that is smaller."""
    is_square, alone = chain.stages[0].a.shape[1] == chain.s_out, None
    if is_square and float(chain.growth.gate_share.sum()) < _SATURATION.growth:
        alone, parts = _law_of_gates_alone(chain, groups, larger)
        if parts.solver <= parts.population:
            return alone
    law, _ = chain_law(chain, groups, settings, larger)
    if law.status is Status.CONVERGED and law.error <= _SATURATION.error:
        return law
    if is_square:
        if alone is None:
            alone, parts = _law_of_gates_alone(chain, groups, larger)
        if alone.error < min(law.error, ERRORS.useless):
            law = alone.restated(status=law_status(alone.error, parts.population, 0.0, 0.0))
    return law.restated(cause=saturation(chain))


def saturation(chain: Chain) -> str:
    """In words, at how many sites the weights of every stage add next to nothing to what a lets through.

    A matrix that is a plus something small has its singular values at those of a, closer than points in
    log s resolve. Empty below `SaturationSettings.share` of the sites.
    """
    shares = []
    for stage in chain.stages:
        if stage.sigma2:
            a, b, c = (to_host(getattr(stage, name)) ** 2 for name in ("a", "b", "c"))
            added = np.einsum("k,kis,kjs->s", np.array(stage.sigma2), b, c)
            shares.append(float(np.mean(added < _SATURATION.coupling**2 * a.sum(axis=(0, 1)))))
    share = min(shares, default=0.0)
    if share < _SATURATION.share:
        return ""
    return (
        f"gates are saturated at {share:.0%} of the sites: their weights add less than "
        f"{_SATURATION.coupling:.0%} to the state that is carried on, and the law is close to that of the "
        "gates alone, narrower than the points in log s resolve; try a smaller |mu_b|"
    )


def checked(law: TabulatedLaw, log_mean: float, relative_error: float = 0.0) -> TabulatedLaw:
    """The law with the error and the status that a second look at it gives; ``log_mean``: log E[s²]."""
    if not law.support or not math.isfinite(law.error):
        return law
    mean = mean_of_power(law, 2.0, log_mean, relative_error)
    look = second_look(law, error=law.error, mass=law.mass, mean=mean)
    if look.failed and law.status is Status.CONVERGED:
        law = law.restated(status=look.status, cause=look.cause)
    return law.restated(more_error=look.covering_error - law.error)


def _law_of_gates_alone(
    chain: Chain, groups: int, larger: Callable[[int], Chain] | None
) -> tuple[TabulatedLaw, ErrorParts]:
    """The law of the gates alone, exact where b = 0: see `diagonal_jacobian`."""
    law, parts = diagonal_law(chain, groups)
    if larger is not None and parts.required_population_factor:
        law, parts = diagonal_law(larger(parts.required_population_factor), groups)
    return law, parts


def _masses_of_one_site(chain: Chain, solution: Solution) -> tuple[float, float] | None:
    """The mass of one site at both ends of the law of a long chain: see `mass_of_one_site`."""
    good = solution.at(solution.converged & (np.abs(solution.survival - 0.5) < 0.5 - TAILS.finest))
    if chain.parametrisation.basis is None or good.u.size == 0:
        return None
    top, bottom = int(np.argmin(good.survival)), int(np.argmax(good.survival))
    return (
        mass_of_one_site(chain, 1.0 - good.site_phase[bottom], float(good.cdf[bottom])),
        mass_of_one_site(chain, good.site_phase[top], float(good.survival[top])),
    )


def finish(levels: Levels, nodes: Nodes) -> Solution:
    """A Newton step or two at the placed points, then F and density.

    Where the steps do not settle, the Hessian is taken again, on all placement sites; then at points beside.
    """
    solution = _finished(levels.placement, nodes, nodes.inverse, _FINISH.iterations)
    again = ~solution.converged
    if again.any():
        retried = _finished(levels.placement, nodes.at(again), None, _FINISH.again)
        solution = solution.at(~again).joined(retried).sorted()
        beside = _beside(solution, levels.placement.parametrisation.count)
        if beside.u.size:
            solution = solution.joined(_finished(levels.placement, beside, None, _FINISH.again))
    return solution


def _finished(chain: Chain, nodes: Nodes, inverse: np.ndarray | None, iterations: int) -> Solution:
    log_lambda = 2 * nodes.u
    found = newton(chain, chain, nodes.sigma, Points.real(log_lambda), _FINISH.tol, iterations, inverse)
    return evaluate(chain, chain, found.sigma, log_lambda, _FINISH.settled, found.inverse)


def _beside(solution: Solution, unknowns: int) -> Nodes:
    """Two points near each one that failed where much mass would be lost, with what a neighbour has.

    What is lost is the mass between the nearest solved points.
    """
    good = np.flatnonzero(solution.converged)
    u, cdf, chosen, source = solution.u, solution.cdf, [], []
    for i in np.flatnonzero(~solution.converged):
        left, right = good[good < i], good[good > i]
        if left.size == 0 or right.size == 0 or cdf[right[0]] - cdf[left[-1]] < _FINISH.worth * ERRORS.aim:
            continue
        for neighbour in (left[-1], right[0]):
            chosen.append(u[i] + _FINISH.near * (u[neighbour] - u[i]))
            source.append(neighbour)
    none = np.zeros(len(chosen))
    inverse = np.full((len(chosen), unknowns, unknowns), np.nan + 0j)
    pick = np.array(source, dtype=int)
    return Nodes(np.array(chosen), solution.sigma[pick], none, none, none > 0, inverse)


def with_parametrisation_error(solution: Solution, levels: Levels) -> Solution:
    """The solution with an error that counts what splines of the step miss of the self-energies.

    At some of the points the self-energies are looked at in splines with twice the knots: the error is what a
    Newton step there would change in F, to second order.
    """
    chain, small = levels.placement, levels.hessian
    good = np.flatnonzero(solution.converged & (solution.density > 0))
    if chain.parametrisation.basis is None or good.size == 0:
        return solution
    some = solution.at(good[np.unique(np.linspace(0, good.size - 1, _FINISH.looked_at).astype(int))])
    finer = chain.parametrisation.refined()
    chain, small = chain.parametrised_by(finer), small.parametrised_by(finer)
    seen = evaluate(chain, small, some.sigma, some.log_lambda, _FINISH.settled)
    return replace(solution, error=solution.error + float(seen.error.max()))
