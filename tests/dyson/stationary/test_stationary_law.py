"""Exponents from the stationary Dyson equation: closed forms, sampled networks, long chains."""

import dataclasses

import numpy as np
import pytest
from reference.kolmogorov import distance

import rmtrnn as rt
from rmtrnn._core.status import Status
from rmtrnn.dyson.quantiles import log_quantiles
from rmtrnn.dyson.stationary import edge, equation, exponents, law
from rmtrnn.dyson.stationary.equation import solve
from rmtrnn.dyson.stationary.law import stationary_law
from rmtrnn.dyson.stationary.response import Modes, respond
from rmtrnn.dyson.stationary.sites import SiteSteps, tied_steps, untied_steps

TANH = rt.Ensemble("vanilla", sigma_w=3.0)
GRU = rt.Ensemble("gru", sigma_w=3.0, sigma_v=0.5, sigma_b=0.3, tied=True)


@pytest.mark.equation(24)
@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_vanilla_networks_have_their_closed_form(weights):
    """Also beyond w = 1/2, where the two branches of F of (13) meet, and far down."""
    ens = TANH.replace(weights=weights)
    found = stationary_law(ens, 16, 256, 0)
    exact = rt.lyapunov(ens).spectrum
    levels = found.law.levels
    miss = np.abs(exact.cdf(found.law.quantiles) - levels).max()
    assert miss < found.law.error < 0.03
    assert levels[0] < 0.05
    assert found.law.largest == pytest.approx(exact.largest, abs=1e-9)
    other = rt.lyapunov(ens.replace(sigma_w=2.5)).spectrum
    assert np.abs(other.cdf(found.law.quantiles) - levels).max() > 0.03


def test_weights_of_any_singular_values():
    """A vanilla network: −½ log S(−p) of the product of both laws, from their own S-transforms."""
    singular = rt.SingularValues([0.5, 1.0, 1.5], [0.3, 0.4, 0.3])
    ens = TANH.replace(weights=singular)
    found = stationary_law(ens, 16, 256, 0).law
    step = rt.lyapunov(TANH.replace(weights="orthogonal")).spectrum  # σ² φ'² alone, at another q
    squares = rt.free.Discrete([value**2 for value in singular.values], singular.masses)
    assert rt.mean_field(ens).q == pytest.approx(rt.mean_field(TANH).q, rel=1e-6)
    grid = np.linspace(0.01, 0.99, 400)
    exact = step.icdf(grid) - 0.5 * np.log(squares.S(grid - 1.0))
    inner = (found.levels > 0.02) & (found.levels < 0.98)
    miss, other = (
        np.abs(np.interp(found.quantiles, curve, grid) - found.levels)[inner].max()
        for curve in (exact, step.icdf(grid))
    )
    assert miss < 0.01 < found.error < 0.03
    assert other > 0.02


@pytest.mark.equation(24)
def test_tied_weights_of_a_vanilla_network_change_nothing():
    """Its self-energies have no correlations in time, whatever the bands allow."""
    found = stationary_law(TANH.replace(sigma_b=0.5, tied=True), 16, 256, 0)
    exact = rt.lyapunov(TANH.replace(sigma_b=0.5)).spectrum
    assert np.abs(exact.cdf(found.law.quantiles) - found.law.levels).max() < found.law.error < 0.1


@pytest.mark.sweep
@pytest.mark.equation(24)
def test_sampled_gated_networks_have_the_predicted_exponents():
    """One network of 96 units; the law of untied weights misses it."""
    sample = rt.sample_lyapunov(GRU, N=96, steps=200, seed=1).exponents[0]
    tied, untied = (stationary_law(ens, 32, 64, 0).law for ens in (GRU, GRU.replace(tied=False)))
    assert distance(tied, sample) < 0.05
    assert distance(untied, sample) > 0.07


@pytest.mark.equation(24)
def test_the_path_has_points_among_few_positive_exponents(monkeypatch):
    """Of the tanh map near its transition; a path from log ρ = 0.1 down interpolates their sum."""
    ens = TANH.replace(sigma_w=1.1)
    exact = rt.lyapunov(ens)
    assert 0.0 < exact.unstable_fraction < 0.02
    found = stationary_law(ens, 16, 128, 0).law
    assert np.sum(found.quantiles > 0.0) >= 3
    assert found.entropy_rate == pytest.approx(exact.entropy_rate, rel=1e-3)
    assert found.unstable_fraction == pytest.approx(exact.unstable_fraction, rel=1e-3)
    coarse = dataclasses.replace(exponents.SETTINGS, first=0.1, positive=np.inf)
    monkeypatch.setattr(exponents, "SETTINGS", coarse)
    other = stationary_law(ens, 16, 128, 0).law
    assert abs(other.entropy_rate / exact.entropy_rate - 1.0) > 4e-3


@pytest.mark.equation(24)
def test_a_path_whose_points_are_not_solved_ends_in_the_bulk(monkeypatch):
    """The upper exponents stay as they are, and the law says that the lower ones are not known."""
    ens = TANH.replace(sigma_w=1.1)
    whole, solve, asked = stationary_law(ens, 16, 128, 0), exponents.solve, []

    def fail_below(*arguments):
        found = solve(*arguments)
        asked.append(found.above)
        return found._replace(converged=found.above < 0.4)

    monkeypatch.setattr(exponents, "solve", fail_below)
    found = stationary_law(ens, 16, 128, 0)
    assert max(asked) < 0.65
    assert found.status is Status.MAX_ITERATIONS
    assert found.error > 0.35
    assert found.law.entropy_rate == pytest.approx(whole.law.entropy_rate, rel=1e-6)


@pytest.mark.sweep
@pytest.mark.equation(24)
def test_long_chains_tend_to_it():
    """Quantiles of log s at T, 2T and 4T of the Dyson equation of (12), extrapolated in 1/T."""
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5)
    levels = [0.1, 0.3, 0.5, 0.7, 0.9]
    short, middle, long = (log_quantiles(ens, T, levels, population=2048).log_s / T for T in (24, 48, 96))
    limit = (8.0 * long - 6.0 * middle + short) / 3.0
    found = stationary_law(ens, 32, 512, 0).law
    assert np.abs(found.cdf(limit) - levels).max() < found.error + 0.01
    assert np.abs(found.cdf(short) - levels).max() > 0.02


def test_large_responses_keep_their_digits():
    """Singular values s of U up to 10⁷ give s/(1 + s²) in X^{−1} U; forming X loses those of order 1."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((2, 6, 6)))[0] for _ in range(2))
    s = np.array([[1e7, 1e5, 30.0, 1.0, 0.1, 1e-3], [3.0, 2.0, 1.0, 0.5, 0.1, 0.0]])
    exact = left @ (right * (s / (1.0 + s**2))[:, None, :]).transpose(0, 2, 1)
    U = left @ (right * s[:, None, :]).transpose(0, 2, 1)
    assert np.abs(equation.resolved(U) - exact).max() < 1e-8
    plain = np.linalg.solve(np.eye(6) + U @ U.transpose(0, 2, 1), U)
    assert np.abs(plain - exact)[0].max() > 1e-5
    assert np.abs(plain - exact)[1].max() < 1e-14


def test_slopes_of_the_response():
    rng = np.random.default_rng(0)
    parts = (
        0.3 * rng.standard_normal(shape) for shape in ((8, 2, 2, 3), (8, 2, 3, 3), (8, 2, 2, 3), (8, 2, 3, 3))
    )
    A, B, C, D = parts
    steps = SiteSteps(A, B, C, D, np.array([0, 1, 1]), np.ones(3), ("gaussian",) * 3, True)
    modes = Modes.of(8, tied=True)
    assert np.abs(modes.basis @ modes.basis.T - np.eye(8)).max() < 1e-13
    low, here, high = (respond(steps, modes, mu) for mu in (0.2 - 1e-5, 0.2, 0.2 + 1e-5))
    np.testing.assert_allclose(here.slope, (low.H - high.H) / 2e-5, atol=1e-8)


def test_the_largest_exponent_is_half_the_log_of_chi():
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5)
    found = edge.representative(untied_steps(ens, 32, 2048, 0), 64, -0.2)
    exact = rt.mean_field(ens).lyapunov
    assert abs(found.largest - exact) < found.error < 0.03
    assert abs(rt.mean_field(ens.replace(sigma_w=2.5)).lyapunov - exact) > 0.03


def test_few_sites_are_calibrated_to_the_largest_exponent():
    """Without that, 32 sites miss it."""
    ens = rt.Ensemble(rt.Leaky(0.5, form="current"), sigma_w=3.0, tied=True)
    field = law.tied_field(ens, None, 1024, 0)
    steps, modes = tied_steps(ens, field, 32, 32, 0), Modes.of(32, tied=True)
    exact = rt.mean_field(ens).lyapunov
    found, _ = edge.largest_exponent(edge.calibrated(steps, modes, exact), modes, exact)
    assert found == pytest.approx(exact, abs=1e-8)
    assert abs(edge.largest_exponent(steps, modes, exact)[0] - exact) > 1e-3


@pytest.mark.parametrize(("gain", "near", "relative"), [(1.1, 1.2, 0.01), (3.0, 2.0, 0.1)])
def test_numbers_have_errors_of_their_own(gain, near, relative):
    """Of the tanh map, whose numbers are exact in closed form; of another gain they are beyond."""
    found = stationary_law(TANH.replace(sigma_w=gain), 16, 64, 0)
    exact, other = (rt.lyapunov(TANH.replace(sigma_w=g)) for g in (gain, near))
    for name in ("unstable_fraction", "entropy_rate", "kaplan_yorke"):
        value, error = getattr(found.law, name), found.errors[name]
        assert abs(value - getattr(exact, name)) < error < relative * value
        assert abs(value - getattr(other, name)) > error
    assert abs(found.law.mean - exact.spectrum.mean) < found.errors["mean"]
    assert exact.errors["entropy_rate"] < 1e-9


def test_the_largest_exponent_is_found_to_a_tolerance(monkeypatch):
    """Further sets of sites, with the error that is asked for; in the law it is the upper end."""
    monkeypatch.setattr(law, "SETTINGS", dataclasses.replace(law.SETTINGS, most=256, field=512))
    ens = rt.Ensemble("minimal", sigma_w=3.34, sigma_v=0.5, R=0.96, tied=True)
    plain, better = (stationary_law(ens, 32, 32, 0, tolerance) for tolerance in (None, 0.04))
    assert better.largest_error < 0.05 * abs(better.law.largest) < plain.largest_error
    assert 0.0 < abs(better.law.largest - plain.law.largest) < plain.largest_error


@pytest.fixture(autouse=True)
def few_sites(monkeypatch):
    """Fewer sites to choose from, and a smaller tied mean field: seconds in place of a minute."""
    monkeypatch.setattr(law, "SETTINGS", dataclasses.replace(law.SETTINGS, most=2048, field=1024))


NUMBERS = [
    (name, factor)
    for name in ("tolerance", "depth", "mixing", "rank", "longest", "portion")
    for factor in (1 / 3, 3)
]


@pytest.mark.parametrize(("name", "factor"), NUMBERS)
def test_numbers_of_the_iteration_do_not_matter(monkeypatch, name, factor):
    value = getattr(equation.SETTINGS, name)
    changed = min(value * factor, 1.0) if name == "mixing" else type(value)(value * factor)
    modes, mu = Modes.of(16, tied=True), -0.4
    steps = untied_steps(GRU.replace(tied=False), 16, 32, 0)
    response = respond(steps, modes, mu)
    start = np.zeros((2, len(steps.reading), len(modes.size)))
    usual = solve(steps, modes, response, start)
    monkeypatch.setattr(equation, "SETTINGS", dataclasses.replace(equation.SETTINGS, **{name: changed}))
    moved = solve(steps, modes, response, start)
    assert usual.converged and moved.converged
    assert moved.above == pytest.approx(usual.above, abs=1e-3)


@pytest.mark.parametrize("factor", [1 / 3, 3])
@pytest.mark.parametrize(
    ("module", "name"), [(exponents, "first"), (exponents, "positive"), (exponents, "apart"), (edge, "near")]
)
def test_numbers_of_the_path_do_not_matter(monkeypatch, module, name, factor):
    usual = stationary_law(TANH, 16, 64, 0).law
    changed = dataclasses.replace(module.SETTINGS, **{name: factor * getattr(module.SETTINGS, name)})
    monkeypatch.setattr(module, "SETTINGS", changed)
    moved = stationary_law(TANH, 16, 64, 0).law
    at = np.linspace(-4.0, 0.25, 30)
    assert np.abs(moved.cdf(at) - usual.cdf(at)).max() < 6e-3


def test_where_the_equation_says_nothing():
    with pytest.raises(ValueError, match=r"no recurrent weights.*rt.sample_lyapunov"):
        rt.lyapunov(rt.Ensemble("mingru", sigma_v=1.0))
    with pytest.raises(ValueError, match=r"dies out.*rt.eigenvalue_curve"):
        rt.lyapunov(rt.Ensemble("gru", sigma_w=1.2, tied=True))
    with pytest.raises(ValueError, match="sites = 100"):
        rt.lyapunov(GRU, sites=100)
    with pytest.raises(ValueError, match="period = 17"):
        rt.lyapunov(GRU, period=17)
