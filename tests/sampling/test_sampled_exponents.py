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


@pytest.mark.sweep
@pytest.mark.parametrize(
    "ens",
    [
        rt.Ensemble(rt.Leaky(0.25, form="current"), sigma_w=3.0, tied=True),
        rt.Ensemble("gru", sigma_w=3.0, sigma_v=0.5, sigma_b=0.3, tied=True),
    ],
    ids=["leaky", "gru"],
)
def test_512_units_have_the_exponents_of_a_plain_qr_and_of_a_long_product(ens):
    """The same network: QR of NumPy after every step, and log s / T of `rt.sample`.

    Both follow the trajectory from the same start. The frames have turned after as many steps to what is
    left of e^{−(u_i − u_{i+1}) t}, the product has 1/T; log |det J| along it knows neither.
    """
    n, steps, burn_in, seed = 512, 400, 1000, 12
    found = rt.sample_lyapunov(ens, N=n, steps=steps, seed=seed, burn_in=burn_in).exponents[0]
    network = Network(ens, n, seed, 0, np, "float64")
    network.run(burn_in)
    q, total = np.linalg.qr(np.random.default_rng(1).standard_normal((n, n)))[0], np.zeros(n)
    for step in range(steps + steps // 4):
        q, r = np.linalg.qr(network.step()(q))
        total += (step >= steps // 4) * np.log(np.abs(np.diag(r)))
    plain = np.sort(total / steps)[::-1]
    assert found.sum() == pytest.approx(plain.sum(), abs=1e-6)
    assert np.abs(found - plain).mean() < 0.01
    product = rt.sample(ens, T=steps, N=n, trials=1, seed=seed, burn_in=burn_in + steps // 4).log_s[0]
    assert product.sum() / steps == pytest.approx(found.sum(), abs=1e-6)
    assert np.abs(product[::-1] / steps - found).mean() < 0.02
    other = rt.sample_lyapunov(ens.replace(sigma_w=1.5), N=n, steps=64, seed=seed, burn_in=burn_in)
    assert np.abs(other.exponents[0] - found).mean() > 0.02  # fails the same test


def test_given_networks(tmp_path):
    """A GRU with given weights against a plain QR of its steps, and log |det J| along the trajectory."""
    rng = np.random.default_rng(4)
    weights = {gate: 2.0 * rng.standard_normal((10, 10)) / math.sqrt(10) for gate in "ruc"}
    drive = {gate: rng.standard_normal((10, 3)) for gate in "ruc"}
    network = rt.GivenNetwork("gru", weights, drive)
    inputs = rng.standard_normal((250, 2, 3))
    found = rt.sample_lyapunov(network, inputs=inputs, steps=200, seed=1)
    state, q, total = network.initial_state, np.eye(10), np.zeros(10)
    for step, x in enumerate(inputs[:, 1]):
        state, factor = network(state, x)
        q, r = np.linalg.qr(factor(q))
        total += (step >= 50) * np.log(np.abs(np.diag(r)))
    assert found.exponents.shape == (2, 10)
    np.testing.assert_allclose(found.exponents[1], np.sort(total / 200)[::-1], atol=0.02)
    assert found.exponents[1].sum() == pytest.approx(total.sum() / 200, abs=1e-6)
    assert np.abs(found.exponents[0] - found.exponents[1]).max() > 1e-3  # other inputs
    assert 0.0 < found.kaplan_yorke.value <= 1.0 or found.largest.value < 0.0
    assert rt.load(found.save(tmp_path / "given")) == found
    assert "given network" in repr(found) and found.plot().get_title() == "given network"
    few = rt.sample_lyapunov(network, inputs=inputs[:, 0], steps=200, count=1)
    assert few.largest.value == pytest.approx(found.exponents[0, 0], abs=0.01)


def test_sequences_of_a_given_network_resume(tmp_path, monkeypatch):
    """A run that ends after one of two sequences goes on with the other; other weights are refused."""
    rng = np.random.default_rng(6)
    weights = rng.standard_normal((4, 4))
    network, inputs = rt.GivenNetwork("vanilla", weights), rng.standard_normal((40, 2, 4))
    given = {"inputs": inputs, "steps": 16, "checkpoint": tmp_path}
    usual = rt.sample_lyapunov(network, inputs=inputs, steps=16)
    calls = []

    def interrupted(done, total, label):
        if done == 1 and not calls:
            calls.append(label)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rt.sample_lyapunov(network, progress=interrupted, **given)
    assert [path.name for path in tmp_path.iterdir()] == ["trial-000000.dat"]
    steps = []
    monkeypatch.setattr(rt.GivenNetwork, "__call__", _counted(rt.GivenNetwork.__call__, steps))
    assert rt.sample_lyapunov(network, **given) == usual
    assert len(steps) == 40
    with pytest.raises(ValueError, match=r"differs in \['network'\]"):
        rt.sample_lyapunov(rt.GivenNetwork("vanilla", 2.0 * weights), **given)
    with pytest.raises(ValueError, match=r"differs in \['state'\]"):
        rt.sample_lyapunov(network, state=np.ones((1, 4)), **given)


def _counted(function, calls):
    def counted(*arguments):
        calls.append(1)
        return function(*arguments)

    return counted


def test_arguments_that_mean_nothing_are_refused():
    network = rt.GivenNetwork("vanilla", np.eye(3))
    for name, value in {"N": 3, "trials": 2, "burn_in": 5, "device": "cpu"}.items():
        with pytest.raises(TypeError, match=f"{name} = .*given network"):
            rt.sample_lyapunov(network, inputs=np.zeros((40, 3)), steps=16, **{name: value})
    with pytest.raises(TypeError, match="state = 0: means nothing for an ensemble"):
        rt.sample_lyapunov(TANH, state=0)
    with pytest.raises(ValueError, match="inputs: have 40 steps; must have 2500"):
        rt.sample_lyapunov(network, inputs=np.zeros((40, 3)))
    with pytest.raises(TypeError, match="expected an Ensemble"):
        rt.sample_lyapunov(network)


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
