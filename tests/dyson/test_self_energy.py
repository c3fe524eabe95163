"""Whole laws of long chains, whose self-energies are splines of the step."""

from __future__ import annotations

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn._core.status import Status
from rmtrnn.dyson.chain_law import chain_law
from rmtrnn.dyson.functional import gradient_in_unknowns, inverse_hessian
from rmtrnn.dyson.inversion.error_budget import law_status
from rmtrnn.dyson.inversion.panel_refinement import Settings
from rmtrnn.dyson.law import LONG, grouped_chain
from rmtrnn.dyson.pencil import Chain
from rmtrnn.dyson.self_energy import Parametrisation, Points
from rmtrnn.dyson.sites.error import GROUPS
from rmtrnn.meanfield.growth import single_replica_mean_field

MINIMAL = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5)


def chain_of(ens: rt.Ensemble, T: int, n: int) -> Chain:
    return grouped_chain(ens, T, n, 0, field=single_replica_mean_field(ens))


def test_differences_give_the_hessian_of_the_self_energies():
    """B^T H B of the recursion over all coefficients, and what the gradient adds where it does not vanish."""
    chain = chain_of(MINIMAL, LONG, 64).subsample(256)
    assert chain.parametrisation.basis is not None
    rng = np.random.default_rng(0)
    y = 0.3 * rng.standard_normal((2, chain.parametrisation.count))
    x = np.exp(chain.parametrisation.log_change(y) - 0.4j)
    points = Points(np.array([-12.0, -6.0]), np.array([0.3, 0.7]))
    every = chain.parametrised_by(Parametrisation(chain.n_gates))
    hessian = np.linalg.inv(inverse_hessian(every, x, points))
    hessian += gradient_in_unknowns(every, x, points)[:, None] * np.eye(2 * chain.n_gates)
    basis = chain.parametrisation.basis
    expected = np.linalg.inv(basis.T @ hessian @ basis)
    found = inverse_hessian(chain, x, points)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("weights", ["gaussian", pytest.param("orthogonal", marks=pytest.mark.sweep)])
def test_law_in_splines_is_that_in_all_strengths(weights):
    chain = chain_of(MINIMAL.replace(weights=weights), LONG, 256)
    settings = Settings(tol=1e-3, tail=1e-3, mass_resolution=8 / chain.n)
    law, parts = chain_law(chain, GROUPS, settings)
    every, _ = chain_law(chain.parametrised_by(Parametrisation(chain.n_gates)), GROUPS, settings)
    u = every.icdf(np.linspace(0.01, 0.99, 200))
    apart = np.abs(law.cdf(u) - every.cdf(u)).max()
    assert law.status == every.status == Status.CONVERGED
    assert apart < parts.total - parts.population + 1e-3  # the sites are the same
    assert apart < 0.5 * law.error


@pytest.mark.sweep
def test_hundred_steps_keep_mass_and_growth():
    spec = rt.spectrum(MINIMAL, 100, population=8192)
    assert spec.converged
    assert spec.mass == pytest.approx(1.0, abs=1e-3)
    growth = rt.mean_field(MINIMAL).chi ** 100
    assert spec.density_moment(1) == pytest.approx(growth, rel=3e-3)
    assert spec.density_moment(2) == pytest.approx(spec.moment(2), rel=0.05)
    assert spec.moment(1) == pytest.approx(growth, rel=1e-12)


@pytest.mark.equation(13)
def test_long_law_against_matrices():
    """N = 256 x 4; a sample of another ensemble is told apart."""
    spec = rt.spectrum(MINIMAL, 48, population=2048, tol=1e-3)
    right, wrong = (
        rt.sample(ens, 48, N=256, trials=4, seed=1).log_s for ens in (MINIMAL, MINIMAL.replace(mu_b=0.8))
    )
    apart = [
        np.abs(spec.log_s.cdf(np.sort(x.ravel())) - (np.arange(x.size) + 0.5) / x.size).max()
        for x in (right, wrong)
    ]
    assert apart[0] < spec.error + 0.02
    assert apart[1] > 3 * apart[0]


def test_strongly_ordered_law_is_found():
    """The median lies 150 e-folds below the mean: no first guess leads there."""
    ens = rt.Ensemble("minimal", sigma_w=6.8917, sigma_v=1.3923, mu_b=-2.0, R=0.46)
    spec = rt.spectrum(ens, 100, population=2048, tol=2e-3)
    assert spec.converged
    assert spec.error < 0.03
    assert spec.log_s.icdf(0.5) < -120
    assert spec.mass == pytest.approx(1.0, abs=1e-3)
    x = np.sort(rt.sample(ens, 100, N=128, trials=4, seed=2).log_s.ravel())
    assert np.abs(spec.log_s.cdf(x) - (np.arange(x.size) + 0.5) / x.size).max() < spec.error + 0.03


def test_a_law_with_a_large_error_is_not_converged():
    assert law_status(error=0.023, population=0.02, lost=0.0, few=0.0) is Status.CONVERGED
    between_points = law_status(error=0.023, population=0.02, lost=0.02, few=0.0)
    assert between_points is Status.MAX_ITERATIONS
    tail = law_status(error=0.792, population=0.001, lost=0.0, few=0.05)
    assert tail is Status.MAX_ITERATIONS
    assert law_status(error=0.05, population=0.02, lost=0.0, few=0.05) is Status.CONVERGED
    assert law_status(error=0.05, population=0.02, lost=0.0, few=0.0) is Status.MAX_ITERATIONS
    no_decile = law_status(error=0.203, population=0.2, lost=0.0, few=0.05)
    assert no_decile is Status.MAX_ITERATIONS
