"""The Dyson equation where another exact answer is known, with quadrature nodes instead of a population."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from scipy import stats

import rmtrnn as rt
from rmtrnn.dyson.continuation import Continuation, correct
from rmtrnn.dyson.negative_axis import Reached
from rmtrnn.dyson.newton import evaluate
from rmtrnn.dyson.pencil import Chain, Stage
from rmtrnn.dyson.self_energy import SelfEnergy
from rmtrnn.numerics.gaussian_quadrature import gaussian_nodes
from validation.hunt import checks


def at_points(chain, u):
    """F and density of log s at the points ``u``, all of which must be solved to 1e-10."""
    log_lambda = 2 * np.asarray(u, dtype=float)
    near = Continuation(chain).near_real_axis(log_lambda)
    assert near.ok.all()
    found = correct(chain, chain, near.sigma, log_lambda, 1e-10, 40)
    assert found.converged.all()
    return evaluate(chain, chain, found.sigma, log_lambda, 1e-9)


def vanilla_chain(ens, T):
    """T stages a = 0, b = phi'(e), c = 1 over quadrature nodes of e."""
    law = ens.gate("e")
    e, mass = gaussian_nodes(96, variance=rt.mean_field(ens).q, mean=law.mu_b)
    keep = mass > 1e-16
    e, mass = e[keep], mass[keep] / mass[keep].sum()
    b = ens.cell.activation.numeric(np, 1)(e)
    one, zero = np.ones((1, 1, e.size)), np.zeros((1, 1, e.size))
    stage = Stage(zero, b[None, None], one, (law.sigma_w**2,), (law.weights == "orthogonal",))
    return Chain([stage] * T, mass)


# Below 5 % the orthogonal chain of 16 steps is not reached without a guess from a neighbouring point.
LEVELS = np.array([0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 0.999])


@pytest.mark.parametrize("T", [1, 4, 16])
@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.equation(9, 13)
def test_vanilla_distribution_function_is_that_of_the_free_product(T, weights):
    """a = 0: two routes to one law, theory.md (9) and (13), agree to 1e-8 in the cdf."""
    if weights == "orthogonal" and T == 1:
        pytest.skip("the law of phi'(e) itself: no distribution of eigenvalues has to be found")
    ens = rt.Ensemble("vanilla", sigma_w=1.2, sigma_v=0.3, sigma_b=0.2, mu_b=0.1, weights=weights)
    exact = rt.spectrum(ens, T, method="s-transform")
    u = exact.log_s.icdf(LEVELS)
    found = at_points(vanilla_chain(ens, T), u)
    np.testing.assert_allclose(1.0 - found.survival, exact.log_s.cdf(u), atol=1e-8)
    np.testing.assert_allclose(found.density, exact.log_s.pdf(u), rtol=1e-6)
    wrong = rt.spectrum(ens.replace(sigma_w=1.2 + 1e-6), T, method="s-transform")
    assert np.abs(1.0 - found.survival - wrong.log_s.cdf(u)).max() > 1e-7


@pytest.mark.parametrize("T", [1, 2])
@pytest.mark.equation(14)
def test_a_cell_without_recurrent_weights_has_the_law_of_its_gates(T):
    """b = 0: a = exp z with z Gaussian, so that log s is Gaussian, of mean T mu and variance T sigma^2."""
    h, x, z = sympy.symbols("h x z")
    cell = rt.Cell("product", state=h, input=x, gates={z: sympy.Integer(0)}, update={h: sympy.exp(z) * h + x})
    spec = rt.spectrum(rt.Ensemble(cell, sigma_w=0.0, sigma_v=0.0, sigma_b=0.5, mu_b=-1.0), T)
    exact = stats.norm(-T, 0.5 * np.sqrt(T))
    u = exact.ppf(np.linspace(0.001, 0.999, 500))
    assert spec.error < 1e-3
    assert np.abs(spec.log_s.cdf(u) - exact.cdf(u)).max() < spec.error
    np.testing.assert_allclose(spec.log_s.pdf(u), exact.pdf(u), atol=0.08 * exact.pdf(-T))


def test_the_transform_is_not_read_where_its_equation_was_not_solved(monkeypatch):
    """Untied LSTM, T = 3: what Newton's method gave up with overflowed in the transform."""
    chain = vanilla_chain(rt.Ensemble("vanilla", sigma_b=0.3), 2)
    log_lambda, solve = np.array([0.0, -1.0, -2.0]), Continuation.on_negative_axis
    whole = Continuation(chain).transform(log_lambda)

    def partly(self, log_lambda):
        found, lost = solve(self, log_lambda), log_lambda < -1.5
        coefficients = np.where(lost[:, None], 1e200, found.sigma.coefficients)
        return Reached(SelfEnergy.of(coefficients), found.ok & ~lost)

    monkeypatch.setattr(Continuation, "on_negative_axis", partly)
    part = Continuation(chain).transform(log_lambda)
    assert np.isfinite(whole).all() and np.isnan(part[2])
    assert np.allclose(part[:2], whole[:2], rtol=1e-14)


@pytest.mark.parametrize("tied", [False, True])
def test_a_jacobian_from_a_smaller_state_to_a_larger_one(tied):
    """LSTM with peepholes: nothing reads h, so J maps c to (c, h) and half of its singular values are 0."""
    scales = {"sigma_w": 1.0, "sigma_v": 1.0} if tied else {"sigma_w": 2.0, "sigma_v": 0.1, "sigma_b": 0.07}
    ens = rt.Ensemble("lstm_peephole", weights="orthogonal", tied=tied, **scales)
    spec = rt.spectrum(ens, 1, population=1024)
    assert spec.atoms == ((0.0, 0.5),) and spec.converged and spec.error < 0.01
    sample = rt.sample(ens, 1, N=150, trials=3, seed=2).log_s.ravel()
    assert np.mean(sample == -np.inf) == 0.5
    assert checks.kolmogorov(spec.log_s.cdf, sample) < 0.02 + spec.error
    other = rt.spectrum(ens.replace(sigma_w=0.5 * scales["sigma_w"]), 1, population=1024)
    assert checks.kolmogorov(other.log_s.cdf, sample) > 0.04 + spec.error
