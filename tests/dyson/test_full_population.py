"""F on all sites, one Newton step from self-energies that are right for some of them."""

from dataclasses import replace

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.dyson.chain_law import finish
from rmtrnn.dyson.full_population import averaged_over, correct_on_full_population
from rmtrnn.dyson.inversion.panel_refinement import Settings
from rmtrnn.dyson.law import grouped_chain
from rmtrnn.dyson.newton import evaluate as evaluate_chain
from rmtrnn.dyson.newton import newton
from rmtrnn.dyson.placement import place_nodes
from rmtrnn.dyson.recursive_green import green_averages, log_determinant
from rmtrnn.dyson.self_energy import Points, SelfEnergy
from rmtrnn.dyson.sites.error import GROUPS
from rmtrnn.meanfield.growth import single_replica_mean_field


def chain_of(ens, T, n):
    return grouped_chain(ens, T, n // GROUPS, 1, field=single_replica_mean_field(ens))


def test_one_step_on_all_sites_solves_them():
    """Against self-energies iterated to 1e-5 on all sites; those of 8192 sites leave 1e-4 in F, unstated."""
    ens = rt.Ensemble(
        "minimal", sigma_w=2.69, sigma_v=0.846, mu_b=0.307, sigma_b=0.403, R=0.443, weights="orthogonal"
    )
    chain = chain_of(ens, 1, 65536)
    nodes, levels = place_nodes(chain, Settings(mass_resolution=8 / 65536))
    some = finish(levels, nodes).sorted()
    some = some.at(some.converged)
    found = newton(chain, levels.placement, some.sigma, Points.real(some.log_lambda), 1e-5, 12)
    exact = evaluate_chain(chain, levels.placement, found.sigma, some.log_lambda, 1e-3, found.inverse)
    inside = (exact.status == 0) & (exact.density > 0.02 * exact.density.max())
    assert inside.sum() > 10
    stepped = correct_on_full_population(chain, levels.hessian, some, 1.0)
    off = np.abs(stepped.survival - exact.survival)[inside]
    assert (off <= stepped.error[inside] + 1e-6).all()
    assert off.max() < 5e-6
    assert off.max() < 0.1 * np.abs(averaged_over(chain, some).survival - exact.survival)[inside].max()
    density = np.abs(stepped.density - exact.density)[inside].max()
    assert density < 0.25 * np.abs(averaged_over(chain, some).density - exact.density)[inside].max()


def test_a_point_of_another_branch_is_solved_from_its_neighbours():
    """One point with wrong self-energies, and F out of order; the others are not touched."""
    chain = chain_of(rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5), 2, 2048)
    nodes, levels = place_nodes(chain, Settings(tol=1e-3, tail=1e-3, mass_resolution=8 / 2048))
    right = finish(levels, nodes).sorted()
    at = np.array([int(np.argmin(np.abs(right.survival - 0.5)))])
    survival = right.survival.copy()
    survival[at] -= 0.5
    shifted = SelfEnergy(1.4 * right.sigma.y[at], 0.9 * right.sigma.x[at])
    wrong = replace(right, survival=survival, sigma=right.sigma.replaced(at, shifted))
    found = correct_on_full_population(chain, levels.placement, wrong, 1.0)
    np.testing.assert_array_equal(found.u, right.u)
    assert abs(found.survival[at] - right.survival[at]) < found.error[at] + 1e-5
    np.testing.assert_array_equal(np.delete(found.survival, at), np.delete(right.survival, at))


@pytest.mark.parametrize("hessian", [False, True])
def test_blocks_of_sites_are_the_whole(hessian):
    """A chain of more sites than one block gives what its blocks give one by one."""
    chain = chain_of(rt.Ensemble("minimal", sigma_w=1.5, sigma_v=0.7, mu_b=0.5, R=0.5), 2, 32768)
    assert chain.n > chain.portion
    points = Points.at(np.array([-2.0, 0.0]), 0.3)
    sigma = SelfEnergy(*(np.full((2, 2), value - 0.3j) for value in (0.5, 0.2)))
    whole = green_averages(chain, sigma, points, phase=True, hessian=hessian)
    chain.portion = chain.n
    one = green_averages(chain, sigma, points, phase=True, hessian=hessian)
    for name in ("k", "g", "m", "phase") + ("hessian",) * hessian:
        np.testing.assert_allclose(getattr(whole, name), getattr(one, name), rtol=1e-12)
    phase, m = log_determinant(chain, sigma, points)
    np.testing.assert_allclose(phase, whole.phase, rtol=1e-12)
    np.testing.assert_allclose(m, whole.m, rtol=1e-12)
