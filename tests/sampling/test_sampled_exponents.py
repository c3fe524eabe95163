"""Lyapunov exponents of finite networks: theory, long products, an independent QR, exact cases."""

import dataclasses
import math

import numpy as np
import pytest
from reference.kolmogorov import distance

import rmtrnn as rt
from rmtrnn.sampling.lyapunov import SETTINGS, _kaplan_yorke
from rmtrnn.sampling.network import Network

TANH = rt.Ensemble("vanilla", sigma_w=3.0)


def test_finite_networks_have_the_predicted_spectrum():
    found = rt.sample_lyapunov(TANH, N=96, steps=400, seed=1)
    law = rt.lyapunov(TANH).spectrum
    assert distance(law, found.exponents[0]) < 0.03
    wrong = rt.lyapunov(TANH.replace(sigma_w=2.5)).spectrum
    assert distance(wrong, found.exponents[0]) > 0.05


def test_they_are_the_growth_rates_of_a_long_product():
    """log s / T of the same kind of network: apart by O(1/T) for each exponent."""
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5, tied=True)
    steps = 600
    found = rt.sample_lyapunov(ens, N=24, steps=steps, trials=4, seed=3, burn_in=200)
    product = rt.sample(ens, T=steps, N=24, trials=4, seed=3, burn_in=200)
    apart = found.exponents.mean(axis=0)[::-1] - product.log_s.mean(axis=0) / steps
    assert np.abs(apart).max() < 0.02


def test_the_frame_is_that_of_a_plain_qr():
    ens = rt.Ensemble("gru", sigma_w=2.0, sigma_v=0.5, sigma_b=0.1, tied=True)
    n, steps = 16, 240
    found = rt.sample_lyapunov(ens, N=n, steps=steps, seed=5, burn_in=50)
    network = Network(ens, n, 5, 0, np, "float64")
    network.run(50)
    q, total = np.eye(n), np.zeros(n)
    for step in range(steps + steps // 4):
        q, r = np.linalg.qr(network.step()(q))
        if step >= steps // 4:
            total += np.log(np.abs(np.diag(r)))
    plain = np.sort(total / steps)[::-1]
    np.testing.assert_allclose(found.exponents[0], plain, atol=0.02)
    assert np.sum(found.exponents[0]) == pytest.approx(np.sum(plain), abs=1e-8)  # log |det J|, any frame


def test_orthogonal_linear_networks_have_one_exponent():
    ens = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.5, weights="orthogonal")
    found = rt.sample_lyapunov(ens, N=20, steps=40)
    np.testing.assert_allclose(found.exponents, math.log(1.5), atol=1e-13)
    assert found.unstable_fraction.value == 1.0


def test_some_exponents_cost_less_and_are_the_largest():
    every = rt.sample_lyapunov(TANH, N=48, steps=200, seed=2)
    few = rt.sample_lyapunov(TANH, N=48, steps=200, seed=2, count=3)
    np.testing.assert_allclose(few.exponents[0], every.exponents[0, :3], atol=0.05)
    assert few.largest.value == pytest.approx(every.largest.value, abs=0.03)
    with pytest.raises(ValueError, match="needs all 48 exponents"):
        _ = few.kaplan_yorke


def test_dead_units_have_no_exponent():
    ens = rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=1.0)
    found = rt.sample_lyapunov(ens, N=12, steps=32, burn_in=0)
    assert np.isneginf(found.exponents[0, -1])
    assert np.isfinite(found.exponents[0, 0])


def test_dimension_of_a_given_spectrum():
    assert _kaplan_yorke(np.array([0.9, 0.0, -14.6])) == pytest.approx(2 + 0.9 / 14.6)  # Lorenz 1963
    assert _kaplan_yorke(np.array([-0.1, -0.2])) == 0.0
    assert _kaplan_yorke(np.array([0.3, 0.1])) == 2.0


def test_trials_resume(tmp_path):
    first = rt.sample_lyapunov(TANH, N=12, steps=32, trials=1, checkpoint=tmp_path)
    both = rt.sample_lyapunov(TANH, N=12, steps=32, trials=2, checkpoint=tmp_path)
    np.testing.assert_array_equal(both.exponents[0], first.exponents[0])
    with pytest.raises(ValueError, match="steps = 3"):
        rt.sample_lyapunov(TANH, steps=3)


@pytest.mark.parametrize("factor", [1 / 3, 3])
@pytest.mark.parametrize("name", ["spread", "most_steps"])
def test_when_the_frame_is_factorised_does_not_matter(monkeypatch, name, factor):
    """R of a product is the product of the R: exponents change by rounding only."""
    ens = TANH.replace(tied=True)
    usual = rt.sample_lyapunov(ens, N=16, steps=120, burn_in=50)
    value = type(getattr(SETTINGS, name))(getattr(SETTINGS, name) * factor)
    changed = dataclasses.replace(SETTINGS, **{name: value})
    monkeypatch.setattr("rmtrnn.sampling.lyapunov.SETTINGS", changed)
    found = rt.sample_lyapunov(ens, N=16, steps=120, burn_in=50)
    np.testing.assert_allclose(found.exponents[0, :4], usual.exponents[0, :4], atol=1e-6)
    assert np.sum(found.exponents) == pytest.approx(np.sum(usual.exponents), abs=1e-6)
