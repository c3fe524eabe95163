"""Laws of φ'² where φ' jumps, is flat, or ranges over many decades: exact values and sampled matrices."""

import math
import time

import numpy as np
import pytest
import scipy.special
import sympy

import rmtrnn as rt

Z = sympy.Symbol("z")
ELU = sympy.Piecewise((sympy.exp(Z) - 1, Z < 0), (Z, True))


def vanilla(phi, **parameters):
    return rt.Ensemble(rt.VanillaRNN(phi), **parameters)


def test_a_jump_of_the_slope_is_no_value_of_the_slope():
    """|tanh|: s = 0.4 sech² e; P(s ≤ x) = P(|e| ≥ arcosh √(0.4/x))."""
    ens = vanilla(sympy.Abs(sympy.tanh(Z)), sigma_w=0.4, sigma_b=0.5, weights="orthogonal")
    spec, q = rt.spectrum(ens, 1), rt.mean_field(ens).q
    s = np.array([0.1, 0.2, 0.3, 0.39])
    exact = [math.erfc(math.acosh(math.sqrt(0.4 / x)) / math.sqrt(2 * q)) for x in s]
    np.testing.assert_allclose(spec.cdf(s), exact, atol=1e-12)
    assert spec.cdf(0.1) == pytest.approx(0.0128, abs=5e-5) and spec.cdf(0.2) == pytest.approx(
        0.0958, abs=5e-5
    )
    assert spec.support == ((0.0, pytest.approx(0.4)),)


def test_a_flat_half_and_a_jump():
    spec = rt.spectrum(
        vanilla(sympy.tanh(sympy.Max(Z, 0)), sigma_w=0.4, sigma_b=0.5, weights="orthogonal"), 1
    )
    assert spec.atoms == ((0.0, pytest.approx(0.5)),)
    assert spec.support[-1][1] == pytest.approx(0.4)


def test_atoms_of_elu():
    one = rt.spectrum(vanilla(ELU, sigma_w=0.4, sigma_b=0.5, weights="orthogonal"), 1)
    assert one.atoms == ((pytest.approx(0.4), pytest.approx(0.5)),)
    three = rt.spectrum(vanilla(ELU, sigma_w=0.9, sigma_b=0.3, mu_b=2.0, weights="orthogonal"), 3)
    assert three.atoms == ((pytest.approx(0.729), pytest.approx(0.1918, abs=5e-5)),)
    assert three.mass == pytest.approx(1, abs=1e-7) and three.error < 1e-6
    np.testing.assert_allclose(three.cdf(three.icdf([0.1, 0.5, 0.8])), [0.1, 0.5, 0.8], atol=1e-10)


def test_supports_with_a_gap_above_zero():
    law = rt.free.Pushforward(lambda y: 1 + 2 * scipy.special.ndtr(y), 1.0)
    assert law.support == ((pytest.approx(1.0), pytest.approx(3.0)),)
    product = rt.free.MarchenkoPastur(0.1) @ law
    assert product.support == ((pytest.approx(0.6906, abs=1e-4), pytest.approx(4.079, abs=1e-3)),)
    # X = 1 + 2U: by sampled matrices, within a few eigenvalues' width.
    rng = np.random.default_rng(5)
    x, D = rng.normal(size=(400, 4000)) / math.sqrt(4000), np.sqrt(1 + 2 * rng.random(400))
    values = np.linalg.eigvalsh((D[:, None] * x) @ (D[:, None] * x).T)
    assert np.max(np.abs(product.cdf(values) - (np.arange(400) + 0.5) / 400)) < 0.02


def test_a_law_over_two_hundred_decades():
    ens = vanilla(
        sympy.tanh(Z) ** 2,
        sigma_w=0.36645705084248625,
        mu_b=27.41556020720197,
        sigma_b=3.539415084455848,
        R=0.5336808800850208,
    )
    spec = rt.spectrum(ens, 4)
    assert spec.converged and spec.error < 1e-6 and spec.mass == pytest.approx(1, abs=1e-8)
    sample = rt.sample(ens, T=4, N=200, trials=4, seed=1)
    assert np.max(np.abs(spec.log_s.cdf(sample.log_s).mean(axis=0) - (np.arange(200) + 0.5) / 200)) < 0.03


def test_a_long_tail_to_zero_has_one_bottom():
    """φ' of gelu vanishes inside the law: far down the quadrature of the base has no digits."""
    ens = vanilla(
        "gelu",
        sigma_w=1.0484731165018708,
        sigma_v=0.18757964636049052,
        sigma_b=0.5788347996853308,
        R=0.44458166064279214,
        weights="orthogonal",
    )
    spec = rt.spectrum(ens, 60)
    assert spec.error < 1e-6
    levels = np.array([0.02, 0.3, 0.7, 0.98])
    np.testing.assert_allclose(spec.log_s.cdf(spec.log_s.icdf(levels)), levels, atol=1e-9)


def test_an_unbounded_slope_reaches_infinity():
    assert rt.spectrum(vanilla(sympy.exp(Z), sigma_w=0.1, sigma_b=0.1), 1).support == ((0.0, math.inf),)


def test_a_slope_that_is_constant_to_rounding_is_an_atom():
    spec = rt.spectrum(vanilla("gelu", sigma_w=0.7883, mu_b=-10.8949, weights="orthogonal"), 6)
    assert len(spec.atoms) == 1 and spec.atoms[0][1] == pytest.approx(1.0)


def test_at_rest_on_a_kink_both_slopes_count():
    """q = 0 at the kink of leaky relu is the limit of small q."""
    spec = rt.spectrum(vanilla(sympy.Piecewise((Z / 4, Z < 0), (sympy.tanh(Z), True)), sigma_w=0.5), 1)
    assert spec.converged
    resting = rt.spectra.vanilla_moments.slope_law(vanilla(ELU / 2 + sympy.Abs(Z) / 4, sigma_w=0.5), 0.0)
    assert resting.atoms == ((pytest.approx(1 / 16), 0.5), (pytest.approx(9 / 16), 0.5))


# Each with a jump, a flat part, or both; none is in the list of faults.
OWN = {
    "tent": sympy.Max(0, 1 - sympy.Abs(Z)),
    "squared_relu": sympy.Max(Z, 0) ** 2 / 2,
    "abs_sine_start": sympy.Piecewise((0, Z < 0), (sympy.sin(Z), sympy.pi > Z), (0, True)),
    "soft_threshold": sympy.Max(Z - sympy.Rational(1, 2), 0) + sympy.Min(Z + sympy.Rational(1, 2), 0),
    "tanh_left_line_right": sympy.Piecewise((sympy.tanh(Z), Z < 0), (Z, True)),
    "bent_gauss": sympy.Abs(Z) * sympy.exp(-(Z**2) / 2),
    "two_steps": sympy.Piecewise((-1, Z < -1), (Z, Z < 1), (sympy.sqrt(Z), True)),
    "erf_of_abs": sympy.erf(sympy.Abs(Z - sympy.Rational(1, 4))),
    "capped_softplus": sympy.Min(sympy.log(1 + sympy.exp(Z)), sympy.Rational(3, 2)),
    "heaviside_ramp": Z * sympy.Heaviside(Z) + sympy.tanh(Z) / 2,
}


@pytest.mark.parametrize("weights", ["gaussian", pytest.param("orthogonal", marks=pytest.mark.sweep)])
@pytest.mark.parametrize("name", OWN)
def test_own_activations_against_sampled_matrices(name, weights):
    ens = vanilla(OWN[name], sigma_w=0.7, sigma_v=0.5, sigma_b=0.3, mu_b=0.2, weights=weights)
    spec = rt.spectrum(ens, 2)
    assert spec.converged and spec.error < 1e-4 and abs(spec.mass - 1) < 1e-4
    assert math.log(spec.moment(1)) == pytest.approx(2 * math.log(rt.mean_field(ens).chi), abs=1e-8)
    sample = rt.sample(ens, T=2, N=256, trials=6, seed=3)
    # Zeros of relu-like steps fluctuate: J has as many as the step with the most (`compare._rank_bias`).
    zero = sum(mass for s, mass in spec.atoms if s == 0.0)
    assert distance(spec, sample) < 0.02 + 1.5 * math.sqrt(zero * (1 - zero) / 256)
    wrong = rt.spectrum(ens.replace(sigma_w=0.77), 2)
    assert distance(wrong, sample) > distance(spec, sample)


def distance(spec, sample):
    """Largest difference of the laws at quantiles of the theory, its atoms left out."""
    u = np.sort(sample.log_s.ravel())
    points = spec.log_s.icdf(np.linspace(0.03, 0.97, 95))
    points = points[np.isfinite(points)]
    keep = [not any(abs(v - where) < 1e-9 for where, _ in spec.log_s.atoms) for v in points]
    points = points[keep]
    found = np.searchsorted(u, points) / u.size
    return float(np.max(np.abs(found - spec.log_s.cdf(points)), initial=0.0))


@pytest.mark.parametrize("phi", ["tanh", "gelu", sympy.cos(Z)], ids=str)
def test_two_hundred_points_after_the_law_is_built_are_cheap(phi):
    """Counted in processor time, best of three: 20 ms (smooth) and 100 ms (kinks, oscillations)."""
    spec = rt.spectrum(vanilla(phi, sigma_w=0.6, sigma_v=2.0), 8)
    u = spec.log_s.icdf(np.linspace(0.01, 0.99, 200))
    for function, argument in (
        (spec.log_s.pdf, u),
        (spec.log_s.cdf, u),
        (spec.log_s.icdf, np.linspace(0.01, 0.99, 200)),
    ):
        spent = []
        for _ in range(3):
            start = time.process_time()
            function(argument)
            spent.append(time.process_time() - start)
        assert min(spent) < 0.05
