"""Quantiles of long products in splines of the step: exact laws of vanilla cells, full solver."""

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.dyson.quantiles import log_quantiles
from rmtrnn.dyson.self_energy import Parametrisation

LEVELS = (0.05, 0.5, 0.95)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.equation(13)
def test_vanilla_quantiles_are_exact(weights):
    """T = 64: the S-transform knows the law; the same numbers must reject one with another σ_w."""
    ens = rt.Ensemble("vanilla", sigma_w=1.1, sigma_b=0.1, weights=weights)
    found = log_quantiles(ens, 64, LEVELS, population=2048)
    assert found.converged and np.all(found.residual < 1e-3)
    exact, wrong = (rt.spectrum(ens.replace(sigma_w=s), 64).log_s for s in (1.1, 1.13))
    assert np.all(np.abs(exact.cdf(found.log_s) - LEVELS) <= found.cdf_error + 1e-4)
    assert np.all(found.cdf_error < 0.02)
    assert np.any(np.abs(wrong.cdf(found.log_s) - LEVELS) > 2 * found.cdf_error)
    assert np.all(np.abs(exact.icdf(LEVELS) - found.log_s) <= 1.5 * found.error)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_minimal_quantiles_are_those_of_the_full_law(weights):
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.2, mu_b=2.0, R=0.46, weights=weights)
    found = log_quantiles(ens, 24, LEVELS, population=2048)
    spec = rt.spectrum(ens, 24, population=4096, tol=2e-3, seed=5)
    assert found.converged and spec.converged
    assert np.all(np.abs(spec.log_s.cdf(found.log_s) - LEVELS) <= found.cdf_error + spec.error)
    assert np.all(found.cdf_error < 0.02) and np.all(np.diff(found.log_s) > 0)
    density = spec.log_s.pdf(found.log_s)
    np.testing.assert_allclose(found.density, density, rtol=0.2)


def test_splines_have_fewer_coefficients_than_coefficients_and_follow_them():
    coarse = Parametrisation.splines(400, 400, 1)
    fine = coarse.refined()
    assert coarse.count < fine.count < 120
    t = np.arange(400.0)
    profile = np.concatenate([np.exp(-t / 9) + 0.2 * np.exp(-(399 - t) / 40), np.log1p(t)])[None]
    below = np.exp(profile - 0.5j)  # in the lower half plane, as coefficients are
    misses = [np.abs(np.log(one.projected(below) / below)).max() for one in (coarse, fine)]
    assert misses[1] < misses[0] < 0.02
    at_both_ends = np.exp(profile - 1j * np.pi * (np.arange(800) >= 400))  # p > 0 > q
    assert np.abs(np.log(coarse.projected(at_both_ends) / at_both_ends)).max() < 0.02


def test_steps_of_splines_stay_in_the_lower_half_plane_and_among_the_splines():
    unknowns = Parametrisation.splines(60, 60, 1)
    t = np.arange(60.0)
    x = unknowns.projected(np.exp(np.tile(-0.02 * t, 2) - 0.05j)[None])
    upwards = unknowns.projected(x * np.exp(np.tile(0.01 * t, 2) * 1j)) / x
    step = np.linalg.lstsq(unknowns.basis, np.log(upwards[0]), rcond=None)[0][None]
    moved, taken = unknowns.after_step(x, step)
    assert np.imag(x * np.exp(unknowns.log_change(step))).max() > 0.1
    assert np.imag(moved).max() < 0.02
    np.testing.assert_allclose(moved, x * np.exp(unknowns.log_change(taken)), rtol=1e-12)
    np.testing.assert_allclose(unknowns.projected(moved), moved, rtol=1e-9)


def test_bad_arguments():
    ens = rt.Ensemble("minimal", sigma_w=2.0)
    with pytest.raises(ValueError, match="T = 4"):
        log_quantiles(ens, 4, LEVELS)
    with pytest.raises(ValueError, match="probabilities"):
        log_quantiles(ens, 50, (0.5, 0.1))
    with pytest.raises(ValueError, match="probabilities"):
        log_quantiles(ens, 50, (0.0, 0.1))
    with pytest.raises(ValueError, match="tied"):
        log_quantiles(ens.replace(tied=True), 50, LEVELS)
    with pytest.raises(ValueError, match="population"):
        log_quantiles(ens, 50, LEVELS, population=3000)


def test_a_factor_of_all_p_and_its_inverse_of_all_q_are_no_step():
    """B-splines sum to one: equal coefficients are one factor. Without splines every self-energy counts."""
    splines = Parametrisation.splines(40, 40, 1)
    half = splines.count // 2
    common = np.concatenate([np.full(half, 5.0), np.full(half, -5.0)])[None]
    alone = np.concatenate([np.full(half, 5.0), np.zeros(half)])[None]
    np.testing.assert_allclose(splines.log_change(common)[0, [0, -1]], [5.0, -5.0])
    np.testing.assert_allclose(splines.step_norm(np.concatenate([common, alone])), [0.0, 5.0], atol=1e-12)
    np.testing.assert_allclose(Parametrisation(2).step_norm(np.array([[3.0, -4.0, 1.0, 2.0]])), [4.0])
