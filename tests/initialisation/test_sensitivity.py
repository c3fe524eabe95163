"""Sensitivities against closed forms, sampled networks, and each other; tied weights are not untied ones."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import comb

import rmtrnn as rt
from rmtrnn.initialisation.networks import NetworkBatch, Points, Size
from rmtrnn.initialisation.sensitivity import DEFAULT, error_of_mean, mean_squares
from rmtrnn.initialisation.tied import tied_mean_squares
from rmtrnn.initialisation.untied import untied_mean_squares
from rmtrnn.sampling.network import Networks

GRU = rt.Ensemble(
    "gru", sigma_w=2.0, sigma_v=0.7, mu_b={"r": 0.0, "u": 2.0, "c": 0.0}, weights="orthogonal", tied=True
)


@pytest.mark.parametrize("tied", [True, False])
def test_gate_without_weights_in_closed_form(tied):
    """A constant gate u: ∂h^T/∂x^{T−k} = u^k (1 − u), the k-step Jacobian u^k."""
    k, u = np.arange(21), 1 / (1 + np.exp(-2.0))
    ens = rt.Ensemble("minimal", sigma_w=0.0, mu_b=2.0, tied=tied)
    found = mean_squares(ens, 20, 512, 0)
    np.testing.assert_allclose(found.to_input, (u**k * (1 - u)) ** 2, rtol=1e-9)
    np.testing.assert_allclose(found.to_state, u ** (2 * k), rtol=1e-9)


def test_linear_leaky_network_in_closed_form():
    """(1 − δ + δ W)^k has the mean square Σ_j C(k, j)² (1 − δ)^{2(k−j)} (δ σ_w)^{2j} with tied weights."""
    delta, gain, T = 0.25, 0.9, 12
    ens = rt.Ensemble(rt.Leaky(delta), sigma_w=gain, sigma_v=1e-3, weights="orthogonal", tied=True)
    k, j = np.arange(T + 1)[:, None], np.arange(T + 1)[None]
    powers = (1.0 - delta) ** np.maximum(k - j, 0) * (delta * gain) ** j
    exact = np.sum((comb(k, j) * powers) ** 2, axis=1)
    found = tied_mean_squares(ens, T, 2048, 0)
    assert np.all(np.abs(found.to_state / exact - 1.0) < np.maximum(found.state_error / exact, 1e-9) + 0.02)
    np.testing.assert_allclose(found.to_input / (delta * 1e-3) ** 2, exact, rtol=0.1)
    untied = ((1.0 - delta) ** 2 + (delta * gain) ** 2) ** np.arange(T + 1)
    assert untied[-1] < 0.5 * exact[-1]  # the theory of untied weights fails this test


def test_vanilla_closed_form_is_the_recursion():
    ens = rt.Ensemble("vanilla", sigma_w=1.3, sigma_v=0.4, sigma_b=0.2)
    closed, general = mean_squares(ens, 10, 2048, 0), untied_mean_squares(ens, 10, 2048, 0)
    np.testing.assert_allclose(general.to_input, closed.to_input, rtol=1e-3)
    np.testing.assert_allclose(general.to_state, closed.to_state, rtol=1e-3)
    assert mean_squares(ens.replace(tied=True), 10, 2048, 0).method == "closed form"
    silent = mean_squares(ens.replace(sigma_w=0.0), 3, 2048, 0)
    assert silent.to_input[0] > 0.1 and not silent.to_input[1:].any()


def test_untied_growth_is_chi():
    """m_1(k) = χ^k; theory.md (6)."""
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0)
    found = mean_squares(ens, 20, 8192, 0)
    np.testing.assert_allclose(found.to_state, rt.mean_field(ens).chi ** np.arange(21), rtol=0.05)


def test_tied_theory_against_sampled_networks():
    """A GRU of N = 512; the recursion of untied weights is far off."""
    T, lags = 24, np.array([0, 1, 4, 12, 24])
    theory, networks = tied_mean_squares(GRU, T, 1024, 0), Networks(GRU, 512, 0, range(2), np, "float64")
    networks.run(150)
    change = np.random.default_rng(0).standard_normal((2, 512, 16))
    found = [np.mean(change**2)]
    for _ in range(T):
        change = networks.step()(change)
        found.append(np.mean(change**2))
    ratio = np.array(found) / found[0] / theory.to_state
    assert np.all(np.abs(ratio - 1.0) < 0.15)
    batch = NetworkBatch(GRU, T, 0, Size(units=512, least_burn_in=150, looks=0))
    to_input = np.exp(batch.observe(Points.of(GRU), lags).log_input[:, 0])
    assert np.all(np.abs(to_input / theory.to_input[lags] - 1.0) < 0.3)
    untied = untied_mean_squares(GRU.replace(tied=False), T, 2048, 0)
    assert untied.to_state[-1] < 0.2 * theory.to_state[-1]


@pytest.mark.sweep
@pytest.mark.parametrize("cell", [name for name in rt.cells.LIBRARY if name != "vanilla"])
@pytest.mark.parametrize("T", [10, 100])
def test_every_cell_against_sampled_networks(cell, T):
    """N = 512, tied: within the errors of both, at all lags."""
    ens = rt.Ensemble(cell, sigma_w=1.2, sigma_v=0.8, weights="orthogonal", tied=True)
    theory, lags = tied_mean_squares(ens, T, 2048, 0), np.unique(np.geomspace(1, T, 6).astype(int))
    runs = []
    for seed in range(4):
        seen = NetworkBatch(ens, T, seed, Size(units=512, looks=0)).observe(Points.of(ens), lags)
        runs.append(np.exp([seen.log_input[:, 0], seen.log_state[:, 0]]))
    mean, error = np.mean(runs, axis=0), 3.0 * np.std(runs, axis=0, ddof=1) / 2.0
    for row, (value, own) in enumerate(
        [(theory.to_input, theory.input_error), (theory.to_state, theory.state_error)]
    ):
        allowed = np.hypot(own[lags], error[row]) + 0.1 * value[lags]
        assert np.all(np.abs(mean[row] - value[lags]) < allowed)


def test_quantiles_of_the_state_are_those_of_the_law():
    ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_v=0.2, weights="orthogonal", tied=True)
    found, law = rt.sensitivity(ens, 8), rt.spectrum(ens.replace(tied=False), 8)
    for p, value in ((0.05, found.state.low), (0.5, found.state.typical), (0.95, found.state.high)):
        assert np.log(value[8]) == pytest.approx(law.log_s.icdf(p), abs=0.15 if p > 0.1 else 0.6)
    assert np.all(found.input.low <= found.input.typical) and np.all(found.input.typical <= found.input.high)


def test_a_gate_that_never_opens_is_isometric_and_insensitive():
    found = rt.sensitivity(rt.Ensemble("minimal", sigma_w=0.0, mu_b=12.0, tied=True), 10)
    assert found.state.mean_square.min() > 0.999 and found.smallest < 1e-5


def test_settings_hardly_matter():
    """Half the sites; networks in place of the theory."""
    base = rt.sensitivity(GRU, 8, sites=512)
    for sites in (256,):
        other = rt.sensitivity(GRU, 8, sites=sites)
        allowed = 2.0 * (base.input.error + other.input.error)
        assert np.all(np.abs(other.input.mean_square - base.input.mean_square) < allowed)
    networks = mean_squares(GRU, 8, 512, 0, replace(DEFAULT, longest=4, N=128, trials=4))
    assert networks.method == "networks"
    assert np.all(np.abs(networks.to_state / base.state.mean_square - 1.0) < 0.15)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"T": 0}, ValueError, "T = 0"),
        ({"T": 5, "sites": 100}, ValueError, "sites = 100"),
        ({"T": 30_000}, ValueError, "T = 30000"),
        ({"T": 5, "seed": -1}, ValueError, "seed = -1"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        rt.sensitivity(GRU, **arguments)
    with pytest.raises(TypeError, match="expected an Ensemble"):
        rt.sensitivity("gru", 5)


def test_error_of_few_networks_holds():
    """Student's t: the mean of 4 numbers lies beyond in 0.27 % of all cases; 3 standard errors in 5.8 %."""
    numbers = np.random.default_rng(0).standard_normal((20_000, 4))
    beyond = np.mean(np.abs(numbers.mean(axis=-1)) > error_of_mean(numbers))
    assert beyond == pytest.approx(0.0027, abs=4.0 * np.sqrt(0.0027 / 20_000))
    usual = 3.0 * numbers.std(axis=-1, ddof=1) / 2.0
    assert np.mean(np.abs(numbers.mean(axis=-1)) > usual) > 0.05


def test_error_of_networks_holds_what_a_finite_width_misses():
    """A CFN, whose mean squares are lower in narrow networks: those of four times the width lie within."""
    means, gains = {"t": 3.7, "i": -3.7, "c": 0.0}, {"t": 0.9, "i": 0.9, "c": 0.01}
    ens = rt.Ensemble("cfn", mu_b=means, sigma_w=gains, sigma_v=0.6, weights="orthogonal", tied=True)
    found = mean_squares(ens, 40, 512, 0, replace(DEFAULT, longest=4, N=48, trials=16))
    wide = mean_squares(ens, 40, 512, 0, replace(DEFAULT, longest=4, N=192, trials=16))
    for name in ("state", "input"):
        value, error = getattr(found, f"to_{name}"), getattr(found, f"{name}_error")
        other, own = getattr(wide, f"to_{name}"), getattr(wide, f"{name}_error")
        assert np.all(np.abs(value - other) <= np.hypot(error, own) + 1e-6 * value)


def test_picture():
    profile = rt.sensitivity(rt.Ensemble("vanilla", sigma_v=0.2, weights="orthogonal"), 6)
    ax = profile.plot()
    assert ax.get_yscale() == "log" and len(ax.get_lines()) == 2
    assert len(rt.plotting.plot_sensitivity(profile, to="state", band=False).get_lines()) == 1
    with pytest.raises(ValueError, match="to = 'x'"):
        rt.plotting.plot_sensitivity(profile, to="x")


def test_error_of_tied_growth_holds_what_the_steps_before_have_missed():
    """log m_1(50) of few sites: one seed scatters as the error says, by a tenth to all of it."""
    ens = rt.Ensemble("minimal", sigma_w=6.88, sigma_v=1.39, mu_b=3.5, R=0.46, tied=True)
    many, few = tied_mean_squares(ens, 50, 2048, 9), [tied_mean_squares(ens, 50, 256, s) for s in range(3)]
    expected, margin = np.log(many.to_state[50]), many.state_error[50] / many.to_state[50]
    distances = [abs(np.log(one.to_state[50]) - expected) for one in few]
    errors = [one.state_error[50] / one.to_state[50] for one in few]
    assert all(distance < error + margin for distance, error in zip(distances, errors, strict=True))
    assert np.mean(distances) > 0.1 * np.mean(errors)
