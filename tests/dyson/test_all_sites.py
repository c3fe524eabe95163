"""F on all sites, one Newton step from strengths that are right for some of them."""

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.meanfield.growth import field_of_one
from rmtrnn.spectra.dyson import GROUPS, grouped_chain
from rmtrnn.spectra.dyson_chain import forward, sweep
from rmtrnn.spectra.dyson_law import averaged, finish, on_all_sites
from rmtrnn.spectra.dyson_nodes import Settings, place_nodes
from rmtrnn.spectra.dyson_solve import REAL_AXIS, evaluate, newton


def chain_of(ens, T, n):
    return grouped_chain(ens, T, n // GROUPS, 1, field=field_of_one(ens))


def test_one_step_on_all_sites_solves_them():
    """Against strengths iterated to 1e-5 on all sites; those of 8192 sites leave 1e-4 in F, unstated."""
    ens = rt.Ensemble(
        "minimal", sigma_w=2.69, sigma_v=0.846, mu_b=0.307, sigma_b=0.403, R=0.443, weights="orthogonal"
    )
    chain = chain_of(ens, 1, 65536)
    nodes, levels = place_nodes(chain, Settings(grain=8 / 65536))
    some = finish(levels.medium, levels.coarse, nodes).sorted()
    some = some.at(some.status == 0)
    u, theta = some.log_lambda, np.full(some.u.shape, REAL_AXIS)
    p, q, *_, inverse = newton(chain, levels.medium, some.p, some.q, u, theta, 1e-5, 12)
    exact = evaluate(chain, levels.medium, p, q, u, 1e-3, inverse)
    inside = (exact.status == 0) & (exact.density > 0.02 * exact.density.max())
    assert inside.sum() > 10
    stepped = on_all_sites(chain, levels.coarse, some)
    off = np.abs(stepped.upper - exact.upper)[inside]
    assert (off <= stepped.error[inside] + 1e-6).all()
    assert off.max() < 5e-6
    assert off.max() < 0.1 * np.abs(averaged(chain, some).upper - exact.upper)[inside].max()
    density = np.abs(stepped.density - exact.density)[inside].max()
    assert density < 0.25 * np.abs(averaged(chain, some).density - exact.density)[inside].max()


@pytest.mark.parametrize("hessian", [False, True])
def test_blocks_of_sites_are_the_whole(hessian):
    """A chain of more sites than one block gives what its blocks give one by one."""
    chain = chain_of(rt.Ensemble("minimal", sigma_w=1.5, sigma_v=0.7, mu_b=0.5, R=0.5), 2, 32768)
    assert chain.n > chain.portion
    u = np.array([-2.0, 0.0])
    theta = np.full(2, 0.3)
    p, q = (np.full((2, 2), value - 0.3j) for value in (0.5, 0.2))
    whole = sweep(chain, p, q, u, theta, phase=True, hessian=hessian)
    chain.portion = chain.n
    one = sweep(chain, p, q, u, theta, phase=True, hessian=hessian)
    for name in ("k", "g", "m", "phase") + ("hessian",) * hessian:
        np.testing.assert_allclose(getattr(whole, name), getattr(one, name), rtol=1e-12)
    phase, m = forward(chain, p, q, u, theta)
    np.testing.assert_allclose(phase, whole.phase, rtol=1e-12)
    np.testing.assert_allclose(m, whole.m, rtol=1e-12)
