"""spectrum(..., Q0=...): the law of J_T from a given state, against sampled networks and closed forms."""

import math

import numpy as np
import pytest
import sympy as sp

import rmtrnn as rt
from rmtrnn.spectra.vanilla_moments import slope_law

h, x, e = sp.symbols("h x e")
RESIDUAL = rt.Cell("residual", state=h, input=x, gates={"e": h}, update=h + sp.tanh(e) / 2)
VANILLA = rt.Ensemble("vanilla", sigma_w=1.5, sigma_b=0.2)
# An ensemble, T, the start, and sites of the law.
STARTS = {
    "vanilla": (VANILLA, 3, 4.0, 4096),
    "vanilla tied": (VANILLA.replace(tied=True, weights="orthogonal"), 3, 4.0, 4096),
    "minimal": (rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0), 3, 9.0, 8192),
    "gru": (rt.Ensemble("gru", sigma_w=1.5, sigma_v=0.5), 2, 4.0, 4096),
    "gru tied": (rt.Ensemble("gru", sigma_w=1.5, sigma_v=0.5, tied=True), 2, 4.0, 2048),
}


def distance(spec, mc):
    """Kolmogorov distance of a law from the pooled singular values of a sample."""
    u = np.sort(mc.log_s, axis=None)
    return float(np.abs(spec.log_s.cdf(u) - (np.arange(u.size) + 0.5) / u.size).max())


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.sweep if one == "gru tied" else ()) for one in STARTS]
)
def test_the_law_from_a_start_is_that_of_samples_and_the_stationary_one_is_not(name):
    ens, T, Q0, sites = STARTS[name]
    spec = rt.spectrum(ens, T, Q0=Q0, population=sites)
    mc = rt.sample(ens, T, N=128, trials=6, Q0=Q0)
    assert spec.Q0 == mc.Q0 == Q0
    report = rt.compare(spec, mc)
    assert report.agrees, str(report)
    stationary = rt.spectrum(ens, T) if name.startswith("vanilla") else rt.spectrum(ens, T, population=sites)
    assert distance(stationary, mc) > max(0.1, 2.0 * report.kolmogorov)  # the negative control
    assert abs(mc.moment(1).value - spec.moment(1)) < 4 * mc.moment(1).error + 3 * spec.moment_error(1)


@pytest.mark.parametrize("tied", [False, True])
def test_residual_network_without_stationary_state(tied):
    """h + f(h, x): E[h²] grows without bound, and J_T from a given state has a law."""
    ens = rt.Ensemble(RESIDUAL, sigma_w=1.0, sigma_v=0.5, tied=tied, weights="orthogonal")
    spec = rt.spectrum(ens, 3, Q0=1.0, population=2048)
    mc = rt.sample(ens, 3, N=128, trials=6, Q0=1.0)
    report = rt.compare(spec, mc)
    assert report.agrees, str(report)
    other = rt.spectrum(ens.replace(tied=not tied), 3, Q0=1.0, population=2048)
    assert distance(other, mc) > 0.1  # tied and untied weights differ


def test_no_stationary_state_is_still_refused():
    with pytest.raises(rt.ConvergenceError):
        rt.spectrum(rt.Ensemble(RESIDUAL, sigma_w=1.0, sigma_v=0.5), 3)


def test_a_start_at_the_stationary_moment_has_the_stationary_law():
    """A vanilla network is stationary from the first step on if it starts with E[h²] = Q."""
    Q = rt.mean_field(VANILLA).Q
    spec, exact = rt.spectrum(VANILLA, 3, Q0=Q, population=8192), rt.spectrum(VANILLA, 3)
    u = exact.log_s.icdf(np.linspace(0.02, 0.98, 41))
    assert np.abs(spec.log_s.cdf(u) - exact.log_s.cdf(u)).max() < spec.error
    assert spec.moment(1) == pytest.approx(exact.moment(1), rel=0.02)


def test_moments_follow_the_trajectory_of_the_mean_field():
    """m_1 = Π σ_w² E[φ'²] at the variances q_t of theory (2), from mean_field(steps=, Q0=)."""
    field = rt.mean_field(VANILLA, steps=2, Q0=4.0)
    z = np.linspace(-9.5, 9.5, 4001)
    weights = np.exp(-0.5 * z**2) * (z[1] - z[0]) / math.sqrt(2 * math.pi)
    m_1 = 1.0
    for Q in field.Q_t[:3]:
        q = 1.5**2 * Q + 0.2**2
        m_1 *= 1.5**2 * float(weights @ np.cosh(math.sqrt(q) * z) ** -4.0)
    spec = rt.spectrum(VANILLA, 3, Q0=4.0, population=4096)
    assert spec.moment(1) == pytest.approx(m_1, rel=0.02)


@pytest.mark.sweep
@pytest.mark.equation(9)
def test_steps_of_different_laws_are_a_free_product():
    """T = 3 from a start: the S-transforms of the laws of φ'² at the three variances q_t multiply."""
    ens = VANILLA.replace(weights="orthogonal")
    field = rt.mean_field(ens, steps=2, Q0=4.0)
    first, second, third = (slope_law(ens, 1.5**2 * Q + 0.2**2) for Q in field.Q_t[:3])
    assert first is not None and second is not None and third is not None
    p = np.linspace(0.05, 0.95, 7)
    u = 0.5 * np.log((first @ second @ third).icdf(p)) + 3 * math.log(1.5)
    spec = rt.spectrum(ens, 3, Q0=4.0, population=4096)
    assert np.abs(spec.log_s.cdf(u) - p).max() < spec.error < 0.01
    stationary = rt.spectrum(ens, 3)
    assert np.abs(stationary.log_s.cdf(u) - p).max() > 0.1


def test_one_vanilla_step_is_exact():
    """Orthogonal W: s = σ_w sech² e, e ~ N(0, q) with q = σ_w² Q0 + σ_b²."""
    ens = VANILLA.replace(weights="orthogonal")
    spec = rt.spectrum(ens, 1, Q0=4.0)
    q = 1.5**2 * 4.0 + 0.2**2
    for s in (0.1, 0.7, 1.4):
        e = math.acosh(math.sqrt(1.5 / s))
        assert spec.cdf(s) == pytest.approx(math.erfc(e / math.sqrt(2 * q)), abs=1e-13)


def test_a_state_of_several_vectors_names_its_starts(tmp_path):
    ens = rt.Ensemble("lstm", sigma_w=1.5, sigma_v=0.5)
    start = {"c": 4.0, "h": 1.0}
    mc = rt.sample(ens, 2, N=8, trials=2, Q0=start)
    assert start == mc.Q0
    spec = rt.spectrum(ens, 1, Q0=start, population=512)
    assert start == spec.Q0 and "Q0=" in repr(spec)
    spec.save(tmp_path / "law.npz")
    again = rt.load(tmp_path / "law.npz")
    assert start == again.Q0 and again.moment(1) == spec.moment(1)
    with pytest.raises(ValueError, match=r"Q0 = .*state names"):
        rt.spectrum(ens, 1, Q0={"c": 1.0})


def test_different_starts_are_not_compared():
    mc = rt.sample(VANILLA, 1, N=16, trials=2, Q0=4.0)
    with pytest.raises(ValueError, match="stationary state, mc from Q0 = 4"):
        rt.compare(rt.spectrum(VANILLA, 1), mc)
    with pytest.raises(ValueError, match=r"Q0 = 2\.0, mc from Q0 = 4"):
        rt.compare(rt.spectrum(VANILLA, 1, Q0=2.0), mc)


def test_bad_starts_are_refused():
    with pytest.raises(ValueError, match="Q0"):
        rt.spectrum(VANILLA, 2, Q0=-1.0)
    with pytest.raises(ValueError, match="different laws"):
        rt.spectrum(VANILLA, 2, method="s-transform", Q0=1.0)
    with pytest.raises(ValueError, match="no burn-in"):
        rt.sample(VANILLA, 2, N=8, trials=2, Q0=1.0, burn_in=5)
