"""Densities, edges, moments and fixed points: closed forms, two precisions, two steps, the float solver."""

import dataclasses

import numpy as np
import pytest
import sympy
from mpmath import mp

import rmtrnn as rt
from rmtrnn._core.status import ConvergenceError
from rmtrnn.highprec import quadrature, spectrum
from rmtrnn.highprec.formulas import Transform, log_lambda, log_terms

TANH = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05)
LINEAR = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.0, sigma_b=0.1)


@pytest.fixture(autouse=True)
def _precision():
    with mp.workdps(130):
        yield


def close(a, b, digits):
    return abs(a - b) <= mp.mpf(10) ** -digits * abs(b)


@pytest.mark.parametrize("T", [1, 2, 16, 256])
@pytest.mark.parametrize("fraction", ["0.01", "0.6"])
@pytest.mark.equation(9, 10)
def test_fuss_catalan_to_sixty_digits(T, fraction):
    """theory.md section 3: the parametrisation of the linear Gaussian law."""
    p = mp.pi / (T + 1) * mp.mpf(fraction)
    lam = mp.sin((T + 1) * p) ** (T + 1) / (mp.sin(p) * mp.sin(T * p) ** T)
    rho = mp.sin(p) ** 2 * mp.sin(T * p) ** (T - 1) / (mp.pi * mp.sin((T + 1) * p) ** T)
    assert close(rt.highprec.density(LINEAR, T, lam, 60), rho, 60)
    assert close(rt.highprec.edge(LINEAR, T, 60), mp.mpf(T + 1) ** (T + 1) / mp.mpf(T) ** T, 60)


@pytest.mark.equation(9)
def test_marchenko_pastur_distribution_function():
    """T = 1 linear: P(Λ ≤ λ) = ∫_0^{√λ} √(4 − v²) dv/π, the quarter circle."""
    lam = mp.mpf("1.7")
    with mp.workdps(40):
        exact = mp.quad(lambda v: mp.sqrt(4 - v * v) / mp.pi, [0, mp.sqrt(lam)])  # v = √λ: quarter circle
    assert close(rt.highprec.cdf(LINEAR, 1, lam, 30), exact, 30)
    assert rt.highprec.cdf(LINEAR, 1, 5, 30) == 1


@pytest.mark.parametrize("T", [4, 16])
@pytest.mark.equation(9, 10)
def test_tanh_fifty_digits_under_doubled_precision_and_halved_step(T, monkeypatch):
    lam = "0.6"
    value = rt.highprec.density(TANH, T, lam, 50)
    assert close(value, rt.highprec.density(TANH, T, lam, 100), 50)
    spectrum.product.cache_clear()
    spectrum._vanilla_base.cache_clear()
    finer = dataclasses.replace(quadrature.SETTINGS, first_step=quadrature.SETTINGS.first_step / 2 * 0.9)
    monkeypatch.setattr(quadrature, "SETTINGS", finer)
    assert close(value, rt.highprec.density(TANH, T, lam, 50), 50)
    spectrum.product.cache_clear()
    spectrum._vanilla_base.cache_clear()


@pytest.mark.parametrize(
    ("activation", "weights"),
    [
        ("erf", "orthogonal"),
        ("relu", "gaussian"),
        ("hard_tanh", "orthogonal"),
        ("sigmoid", "orthogonal"),
        ("softsign", "gaussian"),
        ("gelu", "orthogonal"),
    ],
)
@pytest.mark.equation(9, 10)
def test_float_spectrum_agrees(activation, weights):
    ens = rt.Ensemble(rt.VanillaRNN(activation), sigma_w=1.1, sigma_b=0.3, mu_b=0.1, weights=weights)
    spec = rt.spectrum(ens, 4)
    assert float(rt.highprec.moment(ens, 4, 2, 20)) == pytest.approx(spec.moment(2), rel=1e-10)
    for share in (0.1, 0.6):
        lam = spec.support[-1][1] ** 2 * share
        s = lam**0.5
        density, below = (f(ens, 4, lam, 20) for f in (rt.highprec.density, rt.highprec.cdf))
        assert spec.pdf(s) / (2 * s) == pytest.approx(float(density), rel=1e-8)
        assert spec.cdf(s) == pytest.approx(float(below), abs=1e-10)


@pytest.mark.equation(9)
def test_one_formula_with_the_float_solver():
    """The float solver's curve and `formulas` give the same log λ at the same w and m."""
    from rmtrnn.free.boundary_curve import Curve

    class Fixed:
        def sums(self, y):
            from rmtrnn.free.base_transforms import Sums

            X, c = np.array([0.2, 1.0]), np.array([0.3, 0.7])
            pole = c / (1 - X * y[..., None])
            return Sums(
                pole.sum(-1),
                (pole * X).sum(-1),
                (pole * X * y[..., None] / (1 - X * y[..., None])).sum(-1),
                (pole * X * X * y[..., None] / (1 - X * y[..., None])).sum(-1),
                np.zeros(y.shape),
            )

    w = np.array([0.8 + 0.5j])
    m = (np.array([0.3 * 0.2, 0.7]) / (w[:, None] - np.array([0.2, 1.0]))).sum(-1)
    mine = log_lambda(log_terms(w, Transform(m, 1 + m, 0, 0), np.log), 5, 5, 0.3)
    theirs = Curve(Fixed(), 5, {1.0: 5}, 0.3).at(np.log(w)).log_lambda
    assert mine == pytest.approx(theirs, rel=1e-13)


@pytest.mark.parametrize("T", [1, 3, 64])
@pytest.mark.equation(6, 11)
def test_first_and_second_moment(T):
    """m_1 = χ^T (theory.md (6)) and Var = m_1² T (μ_2/μ_1² − 1 − s_1) (11), to 30 digits."""
    chi = rt.highprec.chi(TANH, 40)
    assert close(rt.highprec.moment(TANH, T, 1, 40), chi**T, 38)
    base = spectrum._vanilla_base(TANH, 40)
    ratio = base.moment(2) / base.moment(1) ** 2
    m2 = rt.highprec.moment(TANH, T, 2, 40)
    assert close(m2, chi ** (2 * T) * (1 + T * ratio), 37)
    haar = TANH.replace(weights="orthogonal")
    assert close(rt.highprec.moment(haar, T, 2, 40), chi ** (2 * T) * (1 + T * (ratio - 1)), 37)


def test_density_vanishes_beyond_the_edge_and_like_a_root_below():
    edge = rt.highprec.edge(TANH, 16, 40)
    assert rt.highprec.density(TANH, 16, edge * (1 + mp.mpf(10) ** -20), 40) == 0
    near, nearer = (rt.highprec.density(TANH, 16, edge * (1 - mp.mpf(10) ** -k), 40) for k in (16, 18))
    assert abs(near / nearer - 10) < 1e-6


def test_orthogonal_projections_share_a_subspace():
    """hard_tanh, orthogonal, P(|e| < 1) > (T − 1)/T: an atom at σ_w^{2T} is the right end of the support."""
    ens = rt.Ensemble(rt.VanillaRNN("hard_tanh"), sigma_w=1.1, sigma_b=0.3, weights="orthogonal")
    assert close(rt.highprec.edge(ens, 2, 30), mp.mpf("1.1") ** 4, 30)
    location, mass = max(rt.spectrum(ens, 2).atoms)
    assert location == pytest.approx(1.1**2)
    base = spectrum._vanilla_base(ens, 30)
    p = dict(zip(base.locations, base.masses, strict=True))[mp.mpf(1)]
    assert mass == pytest.approx(float(2 * p - 1), abs=1e-12)


def leaky(weights="gaussian", sigma_w=1.2, **parameters):
    h, x, e = sympy.symbols("h x e", real=True)
    update = sympy.Rational(1, 2) * h + sympy.Rational(3, 4) * e + x / 5 + 1
    cell = rt.Cell("leaky", state=h, input=x, gates=[rt.Gate("e", e, h)], update=update)
    return rt.Ensemble(cell, sigma_w=sigma_w, weights=weights, **parameters)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("T", [1, 3])
def test_leaky_linear_cell_against_matrices(T, weights):
    """J = Π (1/2 + (3/4) W_t): cdf at five points, moments and edge; a wrong σ_w fails."""
    ens, wrong = leaky(weights), leaky(weights, 1.0)
    rng, n = np.random.default_rng(5), 500
    J = np.eye(n)
    for _ in range(T):
        W = rng.standard_normal((n, n)) / np.sqrt(n)
        if weights == "orthogonal":
            Q, R = np.linalg.qr(W)
            W = Q * np.sign(np.diag(R))
        J = (np.eye(n) / 2 + 0.9 * W) @ J
    lam = np.linalg.svd(J, compute_uv=False) ** 2
    edge = float(rt.highprec.edge(ens, T, 20))
    assert lam.max() == pytest.approx(edge, rel=0.05)
    for k in (1, 2):
        assert float(rt.highprec.moment(ens, T, k, 20)) == pytest.approx(np.mean(lam**k), rel=0.03)
    points = np.geomspace(0.12, 0.9 * edge, 5)
    seen = np.array([np.mean(lam <= v) for v in points])
    theory, control = (
        np.array([float(rt.highprec.cdf(which, T, v, 15)) for v in points]) for which in (ens, wrong)
    )
    assert abs(theory - seen).max() < 0.012
    assert abs(control - seen).max() > 0.03


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("T", [1, 4])
def test_leaky_cdf_and_moments_to_thirty_digits(T, weights):
    """d cdf = ρ dλ across an interval, m_1 = χ^T, Var from the one-step moments; T = 1 moments by hand."""
    ens = leaky(weights)
    a, b = (rt.highprec.edge(ens, T, 40) * mp.mpf(share) for share in ("0.3", "0.31"))
    with mp.workdps(40):
        mass = mp.quad(lambda v: rt.highprec.density(ens, T, v, 36), [a, b], method="gauss-legendre")
    found = rt.highprec.cdf(ens, T, b, 36) - rt.highprec.cdf(ens, T, a, 36)
    assert 1e-4 < found < 0.1
    assert abs(found - mass) < mp.mpf(10) ** -30
    alpha2, c2 = mp.mpf("0.25"), mp.mpf("0.81")
    # E|α + cW|⁴: α⁴ + 4α²c² + m_2(W Wᵀ) c⁴, with 2 α² c² from the square of the hermitian part
    second = alpha2**2 + 4 * alpha2 * c2 + (2 if weights == "gaussian" else 1) * c2**2
    chi = rt.highprec.chi(ens, 40)
    assert close(chi, alpha2 + c2, 39)
    assert close(rt.highprec.moment(ens, T, 1, 40), chi**T, 38)
    ratio = second / chi**2 - 1
    assert close(rt.highprec.moment(ens, T, 2, 40), chi ** (2 * T) * (1 + T * ratio), 37)
    assert rt.highprec.cdf(ens, T, rt.highprec.edge(ens, T, 30) * 2, 30) == 1


@pytest.mark.equation(17)
def test_affine_fixed_and_critical_points():
    ens = leaky("gaussian", 0.9, sigma_b=0.3, sigma_v=0.2, R=0.7, mu_b=0.4)
    mf = rt.mean_field(ens)
    assert float(rt.highprec.fixed_point(ens, 20)) == pytest.approx(mf.q, rel=1e-12)
    assert float(rt.highprec.chi(ens, 20)) == pytest.approx(mf.chi, rel=1e-12)
    sigma_w, q = rt.highprec.critical_sigma_w(ens, dps=30)
    assert close(sigma_w, mp.sqrt(mp.mpf("0.75")) / mp.mpf("0.75"), 30)
    assert q == mp.inf
    with pytest.raises(ConvergenceError, match="grows"):
        rt.highprec.fixed_point(ens.replace(sigma_w=2.0))
    with pytest.raises(ValueError, match="bracket"):
        rt.highprec.critical_sigma_w(TANH)


@pytest.mark.parametrize("activation", ["erf", "relu", "tanh", "softsign"])
@pytest.mark.equation(2, 3, 4)
def test_fixed_point_satisfies_its_equation(activation):
    """q* against closed forms of E[φ²] (erf, relu) or the float mean field."""
    ens = rt.Ensemble(rt.VanillaRNN(activation), sigma_w=1.2, sigma_b=0.3)
    q, rest = rt.highprec.fixed_point(ens, 40), mp.mpf("0.09")
    if activation == "erf":
        assert close(mp.mpf("1.44") * 2 / mp.pi * mp.asin(2 * q / (1 + 2 * q)) + rest, q, 39)
    elif activation == "relu":
        assert close(rest / (1 - mp.mpf("0.72")), q, 39)
    assert float(q) == pytest.approx(rt.mean_field(ens).q, rel=1e-12)
    assert float(rt.highprec.chi(ens, 20)) == pytest.approx(rt.mean_field(ens).chi, rel=1e-12)


@pytest.mark.equation(5, 17)
def test_critical_points():
    """χ = 1 for tanh; theory.md (17): q* = 16, R = 0.46 → σ_w = 6.8917, σ_v = 1.3923; q* = 9 infeasible."""
    sigma_w, q = rt.highprec.critical_sigma_w(TANH, ("0.01", "1"), 30)
    there = TANH.replace(sigma_w=float(sigma_w))
    assert float(rt.highprec.chi(there, 20)) == pytest.approx(1, abs=1e-14)
    assert float(rt.highprec.fixed_point(there, 20)) == pytest.approx(float(q), rel=1e-12)
    sigma_w, sigma_v = rt.highprec.critical_minimal(16, "0.46", dps=30)
    assert (mp.nstr(sigma_w, 5), mp.nstr(sigma_v, 5)) == ("6.8917", "1.3923")
    with pytest.raises(ValueError, match="infeasible"):
        rt.highprec.critical_minimal(9, "0.46")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((TANH, 0, 1), ValueError),
        ((TANH, 4, 0), ValueError),
        ((TANH, 4, -1), ValueError),
        ((TANH, 4, 1, 5), ValueError),
        ((TANH, 4, True), TypeError),
        ((rt.Ensemble("gru"), 4, 1), ValueError),
        ((TANH.replace(tied=True), 4, 1), ValueError),
        ((TANH.replace(weights="orthogonal"), 1, 1), ValueError),
        ((LINEAR.replace(weights="orthogonal"), 3, 1), ValueError),
        (("tanh", 4, 1), TypeError),
    ],
)
def test_refusals(arguments, error):
    with pytest.raises(error):
        rt.highprec.density(*arguments)


@pytest.mark.equation(9)
def test_wrong_branch_is_refused():
    """A root of λ(w) = λ whose arguments sum to −2πk is not accepted."""
    law = spectrum.product(TANH, 16, 30)
    with mp.workdps(45):
        w, _, terms = law.root(mp.log(mp.mpf("0.6")))
        law._check(w, terms, mp.mpf(1), 0)
        shifted = (terms[0], terms[1] - 2j * mp.pi / 15, terms[2])
        with pytest.raises(ConvergenceError, match="another branch"):
            law._check(w, shifted, mp.mpf(1), 0)
        with pytest.raises(ConvergenceError, match="another branch"):
            law._check(mp.conj(w), tuple(mp.conj(term) for term in terms), mp.mpf(1), 0)


@pytest.mark.parametrize(
    ("activation", "share"),
    [
        ("linear", 1),
        ("relu", 0.5),
        (sympy.Abs(sympy.Symbol("z", real=True)), 1),
        ("hard_tanh", 1),
        ("tanh", 1),
    ],
)
def test_chi_of_the_dead_state_takes_both_sides_of_a_kink(activation, share):
    """Without input and bias e = 0: φ' there, or the limit of small variances at a kink."""
    ens = rt.Ensemble(rt.VanillaRNN(activation), sigma_w=0.75)
    assert close(rt.highprec.chi(ens, 30), mp.mpf(0.75) ** 2 * share, 28)
    assert float(rt.highprec.chi(ens, 30)) == pytest.approx(rt.mean_field(ens).chi)


def test_a_fixed_point_that_every_variance_is_is_refused():
    z = sympy.Symbol("z", real=True)
    with pytest.raises(ConvergenceError, match="critical"):
        rt.highprec.fixed_point(rt.Ensemble(rt.VanillaRNN(sympy.Abs(z)), sigma_w=1.0), 20)
