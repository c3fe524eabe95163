"""Vanilla spectra: thirty-digit reference, closed forms, extreme T, tied weights by sampling, refusals."""

import math

import numpy as np
import pytest
from reference.chains import haar
from reference.kolmogorov import distance
from reference.tanh_product import TanhReference

import rmtrnn as rt
from rmtrnn._core import storage as _storage
from rmtrnn._core.status import ConvergenceError
from rmtrnn.laws.tabulated import Interval, tabulate
from rmtrnn.spectra.result import Spectrum

BASE = {"sigma_w": 1.05, "sigma_b": 0.05}


@pytest.mark.parametrize("gaussian", [True, False], ids=["gaussian", "orthogonal"])
@pytest.mark.parametrize("T", [4, pytest.param(16, marks=pytest.mark.sweep), 64])
@pytest.mark.equation(9, 10)
def test_density_against_thirty_digits(T, gaussian):
    reference = TanhReference("1.05", "0.05", T, gaussian)
    ens = rt.Ensemble("vanilla", weights="gaussian" if gaussian else "orthogonal", **BASE)
    spec = rt.spectrum(ens, T)
    assert spec.converged
    assert float(reference.q) == pytest.approx(0.07415459325188096, rel=1e-15)
    assert float(reference.chi) == pytest.approx(0.9712159099375688, rel=1e-15)
    assert rt.mean_field(ens).chi == pytest.approx(float(reference.chi), rel=1e-13)
    # Orthogonal: the bulk is narrow, and below it w comes too near the slopes for the reference's plain sums.
    fractions = ["0.97", "0.6", "0.2", "0.02"] if gaussian else ["0.97", "0.85", "0.75"]
    for value, density in reference.density(fractions):
        s = math.sqrt(float(value))
        assert spec.pdf(s) / (2 * s) == pytest.approx(float(density), rel=1e-10)
    top = math.exp(float(reference.edge()[1]) / 2)
    assert spec.support[-1][1] == pytest.approx(top, rel=1e-12)


def log_mean(spec, tail):
    """⟨log s⟩ = ∫ u p(u) du, the values below the ``tail`` quantile counted as equal to it."""
    bottom = spec.log_s.icdf(tail)
    intervals = [Interval(max(a, bottom), b) for a, b in spec.log_s.support]
    law = tabulate(spec.log_s.pdf, intervals, tol=1e-9)  # scales what is left to mass 1
    return (1 - tail) * law.expectation(lambda u: u) + tail * bottom


def lyapunov_sum(ens, T):
    """T (E log|φ'| + log σ_w − 1/2 for Gaussian weights), tanh: each MP factor has ⟨log λ⟩ = −1."""
    q = rt.mean_field(ens).q
    z = np.linspace(-12, 12, 4001)
    weight = np.exp(-(z**2) / 2) * (z[1] - z[0]) / math.sqrt(2 * math.pi)
    slope = float(np.sum(weight * np.log(1 / np.cosh(math.sqrt(q) * z) ** 2)))
    return T * (slope + math.log(ens.sigma_w) - (0.5 if ens.weights == "gaussian" else 0))


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("T", [1, 8, 100_000])
@pytest.mark.equation(9)
def test_any_depth(T, weights):
    ens = rt.Ensemble("vanilla", weights=weights, **BASE)
    spec = rt.spectrum(ens, T)
    assert spec.converged
    assert spec.error < 1e-8
    assert spec.mass == pytest.approx(1, abs=1e-8)
    # Deep orthogonal products end abruptly at small s: the lowest 1 % lie within 2 % of each other.
    tail, close = (0.01, 2e-4) if (T, weights) == (100_000, "orthogonal") else (1e-10, 1e-6)
    assert log_mean(spec, tail) == pytest.approx(lyapunov_sum(ens, T), rel=close)
    quantiles = spec.log_s.icdf(np.linspace(0.01, 0.999, 60))
    assert np.all(np.isfinite(quantiles))
    density = spec.log_s.pdf(quantiles)
    assert np.all(density > 0)
    assert np.all(np.isfinite(density))


@pytest.mark.parametrize("T", [10, 1000, 100_000])
@pytest.mark.equation(6, 10)
def test_first_moment_from_the_density(T):
    """At χ = 1, ∫ e^{2u} p(u) du = 1 though only a fraction ~1/T of the values is near the edge."""
    q = 0.3
    z = np.linspace(-12, 12, 4001)
    weight = np.exp(-(z**2) / 2) * (z[1] - z[0]) / math.sqrt(2 * math.pi)
    sigma_w = 1 / math.sqrt(np.sum(weight / np.cosh(math.sqrt(q) * z) ** 4))
    rest = q - sigma_w**2 * np.sum(weight * np.tanh(math.sqrt(q) * z) ** 2)
    ens = rt.Ensemble("vanilla", sigma_w=sigma_w, sigma_v=math.sqrt(rest))
    spec = rt.spectrum(ens, T)
    assert spec.moment(1) == pytest.approx(1, rel=1e-12 + 2e-14 * T)  # χ itself is known to 2e-14
    edge = spec.log_s.support[-1][1]
    nodes, weights = np.polynomial.legendre.leggauss(200)
    angle = (nodes + 1) * math.pi / 4
    u = edge - 40 * np.cos(angle) ** 2
    mean = np.sum(weights * math.pi / 4 * 40 * np.sin(2 * angle) * np.exp(2 * u) * spec.log_s.pdf(u))
    assert mean == pytest.approx(1, rel=1e-7)


def test_one_orthogonal_step_is_the_law_of_the_slope():
    """T = 1, orthogonal: s = σ_w |φ'(e)|, so P(s ≤ x) = P(|e| ≥ arcosh(√(σ_w/x))) for tanh."""
    ens = rt.Ensemble("vanilla", sigma_w=1.4, sigma_b=0.5, weights="orthogonal")
    spec, q = rt.spectrum(ens, 1), rt.mean_field(ens).q
    s = np.linspace(0.05, 1.39, 25)
    truth = [math.erfc(math.acosh(math.sqrt(1.4 / x)) / math.sqrt(2 * q)) for x in s]
    np.testing.assert_allclose(spec.cdf(s), truth, rtol=1e-9, atol=1e-12)
    assert spec.support[-1][1] == pytest.approx(1.4, rel=1e-12)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("T", [1, 4, 16])
@pytest.mark.equation(9)
def test_linear_networks(T, weights):
    """Orthogonal: one atom at σ_w^T. Gaussian: Fuss–Catalan, edge σ_w^T √((T+1)^{T+1}/T^T)."""
    ens = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=0.9, sigma_v=0.2, weights=weights)
    spec = rt.spectrum(ens, T)
    if weights == "orthogonal":
        assert spec.support == ()
        assert spec.atoms == ((pytest.approx(0.9**T), pytest.approx(1.0)),)
        assert spec.variance == pytest.approx(0, abs=1e-15)
        return
    edge = T * math.log(0.9) + 0.5 * ((T + 1) * math.log(T + 1) - T * math.log(T))
    assert spec.log_s.support[-1][1] == pytest.approx(edge, abs=1e-12)
    angle = np.linspace(0.05, 0.95, 9) * math.pi / (T + 1)
    log_lam = (
        (T + 1) * np.log(np.sin((T + 1) * angle)) - np.log(np.sin(angle)) - T * np.log(np.sin(T * angle))
    )
    log_rho = 2 * np.log(np.sin(angle)) + (T - 1) * np.log(np.sin(T * angle))
    log_rho -= math.log(math.pi) + T * np.log(np.sin((T + 1) * angle))
    u = T * math.log(0.9) + log_lam / 2
    np.testing.assert_allclose(spec.log_s.pdf(u), 2 * np.exp(log_rho + log_lam), rtol=1e-10)


def bernoulli_root(lam, p, T):
    """M(λ + i0) for S = ((1+m)/(p+m))^T: the root of (p+m)^T = λ m (1+m)^{T−1} that is p^T/λ at large λ,
    followed down from there through the upper half plane."""
    poly = np.polynomial.polynomial
    left, right = poly.polypow([p, 1.0], T), poly.polymul([0.0, 1.0], poly.polypow([1.0, 1.0], T - 1))
    path = np.concatenate([lam + 1j * np.geomspace(1e3, 1e-9, 2000), [lam]])
    m = p**T / path[0]
    for z in path:
        roots = poly.polyroots(poly.polysub(left, z * right))
        m = roots[np.argmin(np.abs(roots - m))]
    return m if m.imag < 0 else np.conj(m)


def hard_tanh(T, sigma_b):
    ens = rt.Ensemble(rt.VanillaRNN("hard_tanh"), sigma_w=1.02, sigma_b=sigma_b, weights="orthogonal")
    p = math.erf(1 / math.sqrt(2 * rt.mean_field(ens).q))
    return rt.spectrum(ens, T), p


@pytest.mark.parametrize(("T", "sigma_b"), [(2, 0.3), (4, 0.3), (8, 0.8), (3, 1.5)])
@pytest.mark.equation(9, 10)
def test_hard_tanh_orthogonal(T, sigma_b):
    """Bernoulli(p)^{⊠T}: atoms 1 − p at 0 and max(0, 1 − T(1 − p)) at σ_w^T; density from the polynomial."""
    spec, p = hard_tanh(T, sigma_b)
    expected = {-math.inf: 1 - p}
    top = 1 - T * (1 - p)
    if top > 0:
        expected[T * math.log(1.02)] = top
    found = dict(spec.log_s.atoms)
    assert len(found) == len(expected)
    for (location, mass), (u, share) in zip(sorted(found.items()), sorted(expected.items()), strict=True):
        assert location == pytest.approx(u, abs=1e-13)
        assert mass == pytest.approx(share, abs=1e-13)
    (left, right) = spec.support[-1]
    for s in left + (right - left) * np.array([0.1, 0.4, 0.7, 0.95]):
        lam = (s / 1.02**T) ** 2
        density = -bernoulli_root(lam, p, T).imag / (math.pi * lam) / 1.02 ** (2 * T)
        assert spec.pdf(s) / (2 * s) == pytest.approx(density, rel=1e-9)
    assert spec.mass == pytest.approx(1, abs=1e-9)


@pytest.mark.equation(8, 9)
def test_relu_gaussian_one_step_is_marchenko_pastur():
    """DW with half of the rows zero: an atom 1/2 at 0 and a scaled Marchenko–Pastur law of ratio 1/2."""
    ens = rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=1.3, sigma_v=0.7)
    spec = rt.spectrum(ens, 1)
    assert spec.atoms == ((0.0, pytest.approx(0.5, abs=1e-14)),)
    low, high = (1.3 * (1 - math.sqrt(0.5)), 1.3 * (1 + math.sqrt(0.5)))
    assert spec.support == ((pytest.approx(low, rel=1e-12), pytest.approx(high, rel=1e-12)),)
    lam = np.linspace(low**2, high**2, 12)[1:-1]
    # W has N columns; the N/2 kept rows give a Wishart of ratio 1/2 and scale σ_w².
    rho = np.sqrt((high**2 - lam) * (lam - low**2)) / (2 * math.pi * 1.69 * lam)
    np.testing.assert_allclose(spec.pdf(np.sqrt(lam)) / (2 * np.sqrt(lam)), rho, rtol=1e-10)


def jacobian(ens, T, n, rng):
    """Singular values of J_T of one tied tanh network without inputs, after a burn-in."""
    w = haar(n, rng) if ens.weights == "orthogonal" else rng.standard_normal((n, n)) / math.sqrt(n)
    w, b = ens.sigma_w * w, ens.sigma_b * rng.standard_normal(n)
    h, product = 0.5 * rng.standard_normal(n), np.eye(n)
    for step in range(60 + T):
        h = np.tanh(w @ h + b)
        if step >= 60:
            product = (1 - h**2)[:, None] * (w @ product)
    return np.linalg.svd(product, compute_uv=False)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("sigma_b", [0.3, 0.8])
@pytest.mark.equation(9)
def test_tied_weights_have_the_same_law(weights, sigma_b):
    """At σ_b = 0.8 the state is a fixed point and all D_t are one matrix: the law is still the product's."""
    ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=sigma_b, weights=weights, tied=True)
    spec = rt.spectrum(ens, 4)
    untied = rt.spectrum(ens.replace(tied=False), 4)
    assert spec.tied
    np.testing.assert_array_equal(spec.cdf(np.linspace(0, 3, 20)), untied.cdf(np.linspace(0, 3, 20)))
    rng = np.random.default_rng(5)
    samples = [jacobian(ens, 4, 500, rng) for _ in range(4)]
    # The sites' own fluctuations, O(1/√N) in q, move the cdf of one network by 0.01 to 0.03.
    assert distance(spec, samples) < 0.03
    assert distance(rt.spectrum(ens, 5), samples) > 2 * 0.03  # control: the wrong number of steps


def test_storage_keeps_the_law(tmp_path):
    spec = rt.spectrum(rt.Ensemble("vanilla", **BASE), 5)
    kind, meta, arrays = _storage.read(spec.save(tmp_path / "vanilla.npz"))
    again = Spectrum.restore(meta, arrays)
    assert kind == "spectrum"
    np.testing.assert_array_equal(again.pdf(np.linspace(0.1, 2, 9)), spec.pdf(np.linspace(0.1, 2, 9)))
    assert (again.T, again.method, again.ensemble) == (5, "s-transform", spec.ensemble)


@pytest.mark.parametrize("T", [0, -3, 2.5, True, "8", None])
def test_bad_T_is_refused(T):
    with pytest.raises((TypeError, ValueError), match="T = "):
        rt.spectrum(rt.Ensemble("vanilla", **BASE), T)


def test_bad_arguments_are_refused():
    ens = rt.Ensemble("vanilla", **BASE)
    with pytest.raises(ValueError, match="method = 'magic'"):
        rt.spectrum(ens, 2, method="magic")
    with pytest.raises(ValueError, match="not free of each other"):
        rt.spectrum(rt.Ensemble("minimal"), 2, method="s-transform")
    with pytest.raises(TypeError, match="ens = "):
        rt.spectrum("vanilla", 2)
    with pytest.raises(TypeError, match="sites"):
        rt.spectrum(ens, 2, sites=100)


@pytest.mark.parametrize("ens", [rt.Ensemble("vanilla", sigma_w=0.0, sigma_b=1.0)])
def test_no_weights_leave_an_atom_at_zero(ens):
    spec = rt.spectrum(ens, 3)
    assert spec.atoms == ((0.0, 1.0),)
    assert spec.moment(1) == 0.0


def test_scale_free_networks_need_no_stationary_state():
    """relu at σ_w² = 2 and linear networks beyond σ_w = 1: the slopes do not depend on the state."""
    relu = rt.spectrum(rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=math.sqrt(2), sigma_v=1.0), 4)
    assert relu.moment(1) == pytest.approx(1, rel=1e-14)
    assert relu.variance == pytest.approx(4 * 2, rel=1e-12)  # L (1 − s_1), Gaussian
    linear = rt.spectrum(rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.1, sigma_v=1.0), 3)
    assert linear.moment(1) == pytest.approx(1.1**6, rel=1e-14)


def test_no_stationary_state_is_said():
    with pytest.raises(ConvergenceError, match="grows without bound"):
        rt.spectrum(rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=1.6, mu_b=0.5), 3)
