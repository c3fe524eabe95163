"""Moments and spectral curves of ensembles: growth χ, the Dyson law, the stability of simple cells."""

import math

import numpy as np
import pytest

import rmtrnn as rt
import rmtrnn.meanfield
from rmtrnn._core.status import ConvergenceError
from rmtrnn.spectra import eigenvalue_curve, second_moment, spectral_radius

MINIMAL = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("T", [1, 6])
@pytest.mark.equation(6)
def test_minimal_growth_is_chi(T, weights):
    """m_1 = χ^T for one scalar state; the second moment exceeds its square."""
    ens = MINIMAL.replace(weights=weights)
    moments = second_moment(ens, T, sites=2**11)
    assert moments.log_m1 == pytest.approx(T * math.log(rt.mean_field(ens).chi), abs=4 * moments.error[0])
    assert moments.error[0] < 0.01
    assert moments.variance > 0


def test_haar_weights_spread_less():
    """At one step the two weight laws differ by E[B]² = (m_1 − E[u²])² in m_2."""
    gaussian, haar = (
        second_moment(MINIMAL.replace(weights=weights), 1, sites=2**11)
        for weights in ("gaussian", "orthogonal")
    )
    q = rt.mean_field(MINIMAL).q
    z = np.linspace(-12, 12, 4001)
    gate = 1 / (1 + np.exp(-1.0 - math.sqrt(q) * z))
    squared = np.sum(np.exp(-(z**2) / 2) * gate**2) * (z[1] - z[0]) / math.sqrt(2 * math.pi)
    assert gaussian.m_1 == pytest.approx(haar.m_1, rel=1e-12)
    assert gaussian.m_2 - haar.m_2 == pytest.approx((gaussian.m_1 - squared) ** 2, rel=5e-3)


@pytest.mark.equation(6, 11)
def test_vanilla_moments_and_circle():
    ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05)
    chi = rt.mean_field(ens).chi
    assert second_moment(ens, 7).m_1 == pytest.approx(chi**7, rel=1e-12)
    assert second_moment(ens, 7).variance == pytest.approx(rt.spectrum(ens, 7).variance, rel=1e-10)
    np.testing.assert_allclose(np.abs(eigenvalue_curve(ens)), math.sqrt(chi), rtol=1e-12)


@pytest.mark.equation(16)
def test_minimal_curve_meets_equation_16_on_another_population():
    """σ_w² E[u'²(h−x)²/|z−u|²] = 1 off the axis, with a population of another seed."""
    curve = eigenvalue_curve(MINIMAL, points=24, sites=2**12)
    assert curve.shape == (48,)
    population = rt.meanfield.site_population(MINIMAL, 2**13, 7)
    rng = np.random.default_rng(8)
    h, n = population.state[0], 2**13
    e = 1.0 + math.sqrt(rt.mean_field(MINIMAL).q) * rng.standard_normal(n)
    u = 1 / (1 + np.exp(-e))
    slope = 4.0 * (u * (1 - u) * (h - math.sqrt(0.5) * rng.standard_normal(n))) ** 2
    high = curve[np.abs(curve.imag) > 0.1]
    assert len(high) > 10
    gains = [np.mean(slope / np.abs(z - u) ** 2) for z in high]
    np.testing.assert_allclose(gains, 1, rtol=0.1)
    assert spectral_radius(MINIMAL, sites=2**12) == pytest.approx(np.max(np.abs(curve)), rel=1e-3)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="tied = True"):
        second_moment(MINIMAL.replace(tied=True), 3)
    with pytest.raises(ValueError, match="T = 0"):
        second_moment(MINIMAL, 0)
    with pytest.raises(ValueError, match="replicates = 1"):
        second_moment(MINIMAL, 2, replicates=1)
    with pytest.raises(ValueError, match="points = 1"):
        eigenvalue_curve(MINIMAL, points=1)
    with pytest.raises(ConvergenceError):
        spectral_radius(rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=1.6, mu_b=0.5))
