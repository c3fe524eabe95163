"""Tied weights: the Dyson equation (15) and the two-time mean field against sampled networks."""

from __future__ import annotations

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.meanfield.twotime import two_time
from rmtrnn.spectra.dyson import dyson_spectrum
from rmtrnn.spectra.dyson_chain import Stage
from rmtrnn.spectra.dyson_solve import REAL_AXIS
from rmtrnn.spectra.tied_equations import evaluate, site_log_det, solve_point, start, tied_sites

MINIMAL = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5, tied=True)


def distance(law, x):
    x = np.sort(np.ravel(x))
    below = law.cdf(x)
    steps = np.arange(x.size + 1) / x.size
    return max(np.abs(below - steps[:-1]).max(), np.abs(below - steps[1:]).max())


@pytest.mark.parametrize("orthogonal", [False, True])
def test_one_constant_site_tied_equals_powers(orthogonal):
    """a = 0, b = 1: J = W^T. Haar: s = sigma^T, an atom; Gaussian: W^T has the law of T free factors."""
    n, steps = 1, 3
    stage = Stage(np.zeros((1, 1, n)), np.ones((1, 1, n)), np.ones((1, 1, n)), (1.0,), (orthogonal,))
    sites = tied_sites([stage] * steps, steps)
    if orthogonal:
        point = 2.0 + 0.4j  # log lambda
        P, Q = start(sites, point)
        P, Q, _ = solve_point(sites, P, Q, point, 1e-12, 200)
        assert site_log_det(sites, P, Q, point)[1] == pytest.approx(1 / (np.exp(point) - 1), abs=1e-10)
        return
    phi = np.array([0.3, 0.6]) * np.pi / (steps + 1)
    log_lambda = (
        (steps + 1) * np.log(np.sin((steps + 1) * phi))
        - np.log(np.sin(phi))
        - steps * np.log(np.sin(steps * phi))
    )
    density = (
        np.sin(phi) ** 2 * np.sin(steps * phi) ** (steps - 1) / np.pi / np.sin((steps + 1) * phi) ** steps
    )
    for target, expected in zip(log_lambda, 2 * np.exp(log_lambda) * density, strict=True):
        P, Q = start(sites, 4.0 + 0.3j)
        for position in np.linspace(4.0, target, 25):
            P, Q, _ = solve_point(sites, P, Q, position + 0.3j, 1e-4)
        P, Q, relative = solve_point(sites, P, Q, target + 1j * REAL_AXIS, 1e-11, 300)
        found = evaluate(sites, P, Q, target, relative, 1e-9)
        assert found.density[0] == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_minimal_rnn_against_matrices(weights):
    """Tied T = 4, N = 400 x 4: the right law fits, a sample of a slower network does not."""
    ens = MINIMAL.replace(weights=weights)
    spec = dyson_spectrum(ens, 4, population=2048, coarse=256)
    sample = rt.sample(ens, T=4, N=400, trials=4, seed=1).log_s
    assert distance(spec.log_s, sample) < 0.03
    wrong = rt.sample(ens.replace(mu_b=0.5), T=4, N=400, trials=4, seed=1).log_s
    assert distance(spec.log_s, wrong) > 0.06


def test_two_time_law_is_that_of_a_network():
    """Autocovariance of h and gate moments against the sites of one network, N = 2000."""
    field = two_time(MINIMAL, 6, population=16384)
    assert field.clipped <= 1e-9
    rng = np.random.default_rng(7)
    n = 2000
    W = rng.normal(size=(n, n)) * 2.0 / np.sqrt(n)
    V = rng.normal(size=(n, n)) / np.sqrt(n)
    h, states = np.zeros(n), []
    for _ in range(100):
        x = rng.normal(size=n) * np.sqrt(0.5)
        u = 1 / (1 + np.exp(-(W @ h + V @ x + 1.0)))
        h = u * h + (1 - u) * x
        states.append(h)
    states = np.array(states[40:])
    lags = np.array([np.mean(states[lag:] * states[: len(states) - lag]) for lag in range(6)])
    np.testing.assert_allclose(field.autocovariance(), lags, atol=0.006)
    assert lags[3] > 0.03  # there is something to compare
