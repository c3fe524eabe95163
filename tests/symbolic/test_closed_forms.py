"""Closed forms: equal to theory.md where it states them, and to 30-digit numbers everywhere."""

import numpy as np
import pytest
import sympy
from mpmath import mp

import rmtrnn as rt
from rmtrnn import symbolic
from rmtrnn.highprec import spectrum
from rmtrnn.highprec.fixed_points import gaussian_average
from rmtrnn.symbolic.transforms import G, lam, m, mu, p, q, sigma_w, w


@pytest.fixture(autouse=True)
def _precision():
    with mp.workdps(45):
        yield


def is_zero(expr):
    return sympy.simplify(expr) == 0


@pytest.mark.equation(8)
def test_transforms_of_theory():
    """theory.md (8) and section 3: S of Gaussian and orthogonal weights and of a mask."""
    assert is_zero(symbolic.weight_transform("gaussian") - 1 / (sigma_w**2 * (1 + m)))
    assert is_zero(symbolic.weight_transform("orthogonal") - 1 / sigma_w**2)
    assert is_zero(symbolic.bernoulli_transform() - (1 + m) / (p + m))
    assert is_zero(symbolic.r_from_s(1 / (1 + m)) - 1 / (1 - sympy.Symbol("g")))
    branches = symbolic.m_from_s(1 / (1 + m))
    assert any(is_zero(sympy.limit(branch, w, sympy.oo)) for branch in branches)
    assert r"\sigma_{w}^{2}" in sympy.latex(symbolic.weight_transform("gaussian"))


@pytest.mark.parametrize("activation", ["relu", "hard_tanh"])
def test_mask_probability_to_thirty_digits(activation):
    """p(q, μ) from the Gaussian integral, against an independent quadrature of the density."""
    mass = symbolic.slope_probabilities(activation)[1]
    values = {q: sympy.Rational(7, 10), mu: sympy.Rational(1, 5)}
    ends = [0, mp.inf] if activation == "relu" else [-1, 1]
    exact = mp.quad(lambda e: mp.npdf(e, mp.mpf("0.2"), mp.sqrt(mp.mpf("0.7"))), ends)
    assert abs(mp.mpf(sympy.N(mass.subs(values), 40)) - exact) < mp.mpf(10) ** -30
    S = symbolic.s_transform(activation, 1, "orthogonal") * sigma_w**2
    assert is_zero(S - (1 + m) / (mass + m))


@pytest.mark.equation(9)
def test_linear_network_for_any_depth():
    """Fuss–Catalan: right edge σ_w^{2T} (T + 1)^{T+1}/T^T with T a symbol."""
    T = sympy.Symbol("T", positive=True)
    ((at, edge),) = symbolic.exact_edges(symbolic.s_transform("linear", T))
    assert is_zero(at - 1 / T)
    expected = sigma_w ** (2 * T) * (T + 1) ** (T + 1) / T**T
    for depth in (1, 2, 16, 256):
        assert is_zero(edge.subs(T, depth) - expected.subs(T, depth))


@pytest.mark.equation(9)
def test_algebraic_equation_and_discriminant():
    """T = 2 linear: P(λ, G) = 0 holds for the 30-digit density, and the discriminant has the edge 27/4."""
    P = symbolic.spectral_polynomial(symbolic.weight_transform("gaussian") ** 2).subs(sigma_w, 1)
    edges = sympy.solve(symbolic.edge_discriminant(P), lam)
    assert sympy.Rational(27, 4) in edges
    law = spectrum.product(rt.Ensemble(rt.VanillaRNN("linear"), sigma_b=0.1), 2, 35)
    for value in (mp.mpf("0.5"), mp.mpf("4.25")):
        _, f, _ = law.root(mp.log(value))
        residual = sympy.lambdify((lam, G), P, "mpmath")(value, f.one_plus_m / value)
        assert abs(residual) < mp.mpf(10) ** -30
        assert abs(sympy.lambdify((lam, G), P, "mpmath")(value, f.one_plus_m / value + mp.mpf("1e-6"))) > 1e-9


def test_relu_one_step_is_marchenko_pastur():
    P = symbolic.spectral_polynomial(symbolic.bernoulli_transform() * symbolic.weight_transform("gaussian"))
    edges = sympy.solve(symbolic.edge_discriminant(P), lam)
    for sign in (1, -1):
        assert any(is_zero(edge - sigma_w**2 * (1 + sign * sympy.sqrt(p)) ** 2) for edge in edges)


@pytest.mark.equation(11)
def test_expansion_to_third_order():
    """theory.md (11): S = (1 + s_1 m + …)/m_1, Var(λ); S to m³ against the exact S of a mask."""
    T, sigma = sympy.symbols("T sigma_w", positive=True)
    mu_1, mu_2 = symbolic.moment_symbols(2)
    for weights, s_1 in (("gaussian", -1), ("orthogonal", 0)):
        m_1 = (mu_1 * sigma**2) ** T
        stated = m_1**2 * T * (mu_2 / mu_1**2 - 1 - s_1)
        assert is_zero(sympy.powsimp(sympy.expand(symbolic.variance(weights) - stated), force=True))
    coefficients = symbolic.s_coefficients([p] * 4)  # all moments of a mask are p
    series = sympy.series(symbolic.bernoulli_transform(), m, 0, 4).removeO()
    for k, coefficient in enumerate(coefficients):
        assert is_zero(coefficient - series.coeff(m, k))
    first = symbolic.moments_from_s(symbolic.s_coefficients(symbolic.moment_symbols(4)))
    assert all(is_zero(a - b) for a, b in zip(first, symbolic.moment_symbols(4), strict=True))


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_moments_agree_with_thirty_digits(weights):
    ens = rt.Ensemble(rt.VanillaRNN("erf"), sigma_w=1.25, sigma_b=0.5, weights=weights)
    exact = symbolic.product_moments(3, weights, 5)
    values = {sympy.Symbol("sigma_w", positive=True): sympy.Rational(5, 4)}
    variance = rt.highprec.fixed_point(ens, 40)
    for k, symbol in enumerate(symbolic.moment_symbols(3), 1):
        values[symbol] = sympy.N(symbolic.slope_moment("erf", k).subs(q, sympy.Float(variance, 42)), 42)
    for k in (1, 2, 3):
        found = rt.highprec.moment(ens, 5, k, 40)
        assert abs(mp.mpf(sympy.N(exact[k - 1].subs(values), 40)) / found - 1) < mp.mpf(10) ** -30


def test_slope_moments_of_a_polynomial():
    """φ = z³/3 − z: E[(z² − 1)^{2k}] against a 30-digit quadrature."""
    z = sympy.Symbol("z", real=True)
    phi = z**3 / 3 - z
    for k in (1, 2):
        exact = mp.mpf(sympy.N(symbolic.slope_moment(phi, k).subs(q, sympy.Rational(1, 2)), 40))
        found = gaussian_average(
            rt.Activation(phi), lambda v, _, k=k: [v[1] ** (2 * k)], mp.mpf("0.5"), mp.mpf(0), 1
        )[0]
        assert abs(exact - found) < mp.mpf(10) ** -30 * abs(found)
    with pytest.raises(ValueError, match="analytic"):
        symbolic.slope_moment("softsign", 1)


@pytest.mark.parametrize("correlation", ["-0.6", "0.3", "0.95"])
@pytest.mark.equation(3)
def test_arcsine_and_arc_cosine_kernels(correlation):
    """The textbook kernels, and a 30-digit double integral (in polar angle for relu)."""
    qv, r = sympy.Rational(7, 10), sympy.Rational(correlation)
    values = {sympy.Symbol("q", positive=True): qv, sympy.Symbol("c", real=True): qv * r}
    arcsine = mp.mpf(sympy.N(symbolic.erf_kernel().subs(values), 40))
    assert abs(arcsine - 2 / mp.pi * mp.asin(2 * mp.mpf("0.7") * mp.mpf(correlation) / mp.mpf("2.4"))) < 1e-35
    angle = mp.acos(mp.mpf(correlation))
    cosine = mp.mpf("0.7") * (mp.sin(angle) + (mp.pi - angle) * mp.cos(angle)) / (2 * mp.pi)
    relu = mp.mpf(sympy.N(symbolic.relu_kernel().subs(values), 40))
    assert abs(relu - cosine) < mp.mpf(10) ** -35
    assert (
        abs(mp.mpf(sympy.N(symbolic.relu_slope_kernel().subs(values), 40)) - (mp.pi - angle) / (2 * mp.pi))
        < 1e-35
    )
    # independent: a = r cos t, b = r cos(t − angle), E[r²] = 2q, both positive for t in (angle − π/2, π/2)
    with mp.workdps(35):
        direct = mp.mpf("0.7") * mp.quad(
            lambda t: mp.cos(t) * mp.cos(t - angle) / mp.pi, [angle - mp.pi / 2, mp.pi / 2]
        )
    assert abs(direct - relu) < mp.mpf(10) ** -30


def test_refusals():
    with pytest.raises(ValueError, match="rational"):
        symbolic.spectral_polynomial(sympy.sqrt(1 + m))
    with pytest.raises(ValueError):
        symbolic.s_transform("tanh")
    with pytest.raises(ValueError):
        symbolic.weight_transform("uniform")


def law_of(activation, T, weights, **parameters):
    """The 30-digit solver, and the ensemble's numbers as values of the symbols q, μ and σ_w."""
    ens = rt.Ensemble(rt.VanillaRNN(activation), sigma_w=1.25, weights=weights, **parameters)
    variance = sympy.Float(rt.highprec.fixed_point(ens, 50), 50) if activation != "linear" else 1
    values = {sigma_w: sympy.Rational(5, 4), q: variance, mu: sympy.Rational(str(ens.mu_b))}
    return spectrum.product(ens, T, 40), ens, values


@pytest.mark.parametrize(
    ("activation", "T", "weights"),
    [
        ("linear", 1, "gaussian"),
        ("linear", 3, "gaussian"),
        ("relu", 1, "gaussian"),
        ("relu", 4, "orthogonal"),
        ("relu", 3, "gaussian"),
        ("hard_tanh", 2, "gaussian"),
        ("hard_tanh", 3, "orthogonal"),
    ],
)
def test_algebraic_spectra_to_thirty_digits(activation, T, weights):
    """P(λ, G) = 0 holds for the solver's G, and the largest zero of the discriminant is its right edge."""
    law, ens, values = law_of(activation, T, weights, sigma_b=0.5, mu_b=0.25)
    P = symbolic.spectral_polynomial(symbolic.s_transform(activation, T, weights))
    at = sympy.lambdify((lam, G), P.subs(values), "mpmath")
    assert sympy.latex(P)
    edge = rt.highprec.edge(ens, T, 40)
    for share in ("0.1", "0.7"):
        value = edge * mp.mpf(share)
        _, f, _ = law.root(mp.log(value))
        exact = f.one_plus_m / value
        residual = abs(at(value, exact))
        assert mp.im(f.m) < 0
        assert residual < mp.mpf(10) ** -30
        assert abs(at(value, exact * (1 + mp.mpf("1e-6")))) > 1e-9  # negative control
    # S has p and not its erf in it here: SymPy factors the discriminant of that in no time
    mass = symbolic.slope_probabilities(activation)[1] if activation != "linear" else sympy.Integer(1)
    S = (symbolic.bernoulli_transform() * symbolic.weight_transform(weights)) ** T
    discriminant = symbolic.edge_discriminant(symbolic.spectral_polynomial(S))
    number = sympy.N(mass.subs(values), 45)
    factors = [f.subs({p: number, **values}) for f, _ in sympy.factor_list(discriminant)[1] if f.has(lam)]
    zeros = [z for factor in factors for z in sympy.Poly(factor, lam).nroots(n=40, maxsteps=200)]
    real = [mp.mpf(z) for z in zeros if abs(sympy.im(z)) < 1e-20]
    assert min(abs(z - edge) for z in real) < mp.mpf(10) ** -30 * edge
    pairs = [value.subs({p: number, **values}) for _, value in symbolic.exact_edges(S)]
    edges = [mp.mpf(sympy.re(sympy.N(value, 40))) for value in pairs]
    assert min(abs(z - edge) for z in edges) < mp.mpf(10) ** -30 * edge


@pytest.mark.equation(7)
def test_laws_in_closed_form():
    """S, M, R and moments of Marchenko–Pastur, Haar, mask and Fuss–Catalan laws, against each other, the
    numeric laws of rmtrnn.free, and the 30-digit solver.
    """
    g = sympy.Symbol("g")
    c, s = sympy.symbols("c s", positive=True)
    for law in (symbolic.marchenko_pastur(), symbolic.haar(), symbolic.mask(), symbolic.fuss_catalan(1)):
        # definitions: M at w = (1 + m)/(m S), and R(m S) = 1/S, at numbers on the physical branches
        values = {c: sympy.Rational(2, 3), s: 2, p: sympy.Rational(3, 4), sigma_w: sympy.Rational(5, 4)}
        small = sympy.Rational(1, 50)
        S = law.S.subs(values).subs(m, small)
        assert abs(sympy.N(law.M.subs(values).subs(w, (1 + small) / (small * S)) - small, 40)) < 1e-35
        assert abs(sympy.N(law.R.subs(values).subs(g, small * S) - 1 / S, 40)) < 1e-35
        assert all(map(sympy.latex, (law.S, law.M, law.R, law.moment(3))))
    numeric = rt.free.MarchenkoPastur(ratio=2 / 3, scale=2.0)
    mp_law = symbolic.marchenko_pastur()
    for k in (1, 2, 3, 4):
        exact = float(mp_law.moment(k).subs({c: sympy.Rational(2, 3), s: 2}))
        assert exact == pytest.approx(numeric.moment(k))
    at = complex(mp_law.M.subs({c: sympy.Rational(2, 3), s: 2, w: 9}))
    assert np.real(numeric.M(np.array([9.0]))[0]) == pytest.approx(at.real)
    T = sympy.Symbol("T", positive=True)
    for k in (1, 2, 3):  # the Fuss–Catalan numbers, T a symbol
        exact = [symbolic.fuss_catalan(T).moment(k).subs(T, depth) for depth in (1, 2, 16)]
        assert exact == [sympy.binomial((depth + 1) * k, k) / (depth * k + 1) for depth in (1, 2, 16)]
        linear = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.0, sigma_b=0.1)
        assert abs(rt.highprec.moment(linear, 16, k, 40) - int(exact[2])) < mp.mpf(10) ** -30
        assert symbolic.mask().moment(k) == p
    law = spectrum.product(rt.Ensemble(rt.VanillaRNN("linear"), sigma_b=0.1), 1, 40)
    _, f, _ = law.root(mp.log(mp.mpf("6.5")))
    assert abs(f.m - mp.mpf(sympy.N(symbolic.fuss_catalan(1).M.subs(w, sympy.Rational(13, 2)), 40))) < 1e-30


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.equation(11)
def test_product_expansion_with_a_symbolic_depth(weights):
    """The coefficients of S to m³, T a symbol, against the series of the exact S of a masked product."""
    T = sympy.Symbol("T", positive=True)
    found = symbolic.product_s_coefficients(4, weights)
    exact = (symbolic.bernoulli_transform() * symbolic.weight_transform(weights)) ** T
    masks = dict.fromkeys(symbolic.moment_symbols(4), p)
    numbers = {p: sympy.Rational(3, 7), sigma_w: sympy.Rational(5, 4), T: 6}
    series = sympy.series(exact.subs(numbers), m, 0, 4).removeO()
    for k, coefficient in enumerate(found):
        assert sympy.nsimplify(coefficient.subs(masks).subs(numbers) - series.coeff(m, k)) == 0
    assert sympy.latex(found[3])
