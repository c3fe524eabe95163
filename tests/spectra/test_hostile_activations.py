"""Ten activations of no library, each with a jump, a flat or a pole: right laws, or refused with the place.

The laws are held against the singular values of a matrix product whose φ' is a difference quotient of φ.
"""

import math

import numpy as np
import pytest
import sympy as sp
from scipy.special import ndtri

import rmtrnn as rt
from validation.hunt import checks

z = sp.Symbol("z", real=True)
HALF = sp.Rational(1, 2)
ANSWERED = {
    "flat hat": sp.Piecewise((sp.Min(1, sp.Abs(z)), sp.Abs(z) < 2), (3 - sp.Abs(z), True)),
    "folded tanh": sp.Abs(sp.Abs(sp.tanh(z)) - HALF),
    "dead zone": z - sp.Max(-HALF, sp.Min(HALF, z)),
    "stairs of slopes": sp.Max(z / 4, sp.Min(z, 1), (z + 2) / 5),
    "half a wave": sp.Piecewise((0, z < 0), (sp.sin(z), z < sp.pi / 2), (1, True)),
    "clipped cube": sp.Max(-1, sp.Min(1, z**3)),
    "arctangent with a kink": sp.atan(z) + sp.Abs(z - 1) / 2,
}
REFUSED = {
    "jump": sp.sign(z) + sp.tanh(z),
    "pole": z / (z**2 - 4),
    "logarithm": sp.log(sp.Abs(z - 1)),
}


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("name", ANSWERED)
def test_answered(name, weights):
    ens = rt.Ensemble(rt.VanillaRNN(ANSWERED[name]), sigma_w=0.7, sigma_b=0.4, mu_b=0.3, weights=weights)
    phi = sp.lambdify(
        z, ANSWERED[name].rewrite(sp.Piecewise), "numpy"
    )  # SymPy 1.13 prints Max of a number badly
    field, rng = rt.mean_field(ens), np.random.default_rng(7)
    assert field.converged
    for T in (1, 2) if weights == "orthogonal" else (2,):
        spec = rt.spectrum(ens, T)
        assert spec.converged and spec.error < 1e-6
        checks.law(spec.log_s, spec.error, spec.mass, close=2e-3)
        J = np.eye(240)
        for _ in range(T):
            e = 0.3 + np.sqrt(field.q) * checks.stratified_normals(240, rng)
            slope = (phi(e + 1e-6) - phi(e - 1e-6)) / 2e-6
            J = slope[:, None] * (checks.weight(240, ens, rng) @ J)
        s = np.linalg.svd(J, compute_uv=False)
        with np.errstate(divide="ignore"):
            u = np.log(np.where(s > 1e-9 * s[0], s, 0.0))
        assert checks.kolmogorov(spec.log_s.cdf, u) < 0.03
        wrong = rt.spectrum(ens.replace(sigma_w=0.95), T)
        assert checks.kolmogorov(wrong.log_s.cdf, u) > 0.05


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_place(name):
    with pytest.raises(ValueError, match=r"at z = "):
        rt.VanillaRNN(REFUSED[name])


def test_kinks_that_cannot_be_listed_are_asked_for():
    with pytest.raises(ValueError, match="give kinks="):
        rt.VanillaRNN(sp.sin(z) - sp.Max(-HALF, sp.Min(HALF, sp.sin(z))))


def test_slopes_that_underflow_count_as_error():
    """φ′² below the smallest double has no logarithm: the law says what mass that is."""
    ens = rt.Ensemble(
        rt.VanillaRNN(sp.exp(-((2 * z - 1) ** 2))), sigma_w=0.9, sigma_b=0.9, sigma_v=1.2, mu_b=-6.8,
        weights="orthogonal",
    )  # fmt: skip
    spec = rt.spectrum(ens, 1)
    e = -6.8 + math.sqrt(rt.mean_field(ens).q) * ndtri((np.arange(20000) + 0.5) / 20000)
    log_s = math.log(0.9) + np.log(np.abs(8 * e - 4)) - (2 * e - 1) ** 2
    at = np.array([-600.0, -354.5, -350.0, -200.0, -50.0])
    exact = np.array([np.mean(log_s <= u) for u in at])
    assert np.all(np.abs(spec.log_s.cdf(at) - exact) <= spec.error + 1e-4)
    assert 0.05 < exact[1] < spec.error
    assert np.max(np.abs(spec.log_s.cdf(at) - exact)[2:]) < 1e-4
