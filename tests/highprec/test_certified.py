"""Certified enclosures: width, truth, honesty of the float solver, and what must be refused."""

import numpy as np
import pytest
import sympy
from mpmath import mp

import rmtrnn as rt

pytest.importorskip("flint")
from rmtrnn.highprec.certified import CertificationError

TANH = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05)


@pytest.fixture(autouse=True)
def _precision():
    with mp.workdps(80):
        yield


@pytest.mark.equation(9, 10)
@pytest.mark.parametrize("apart", [5, pytest.param(1, marks=pytest.mark.sweep)])
def test_points_of_tanh(apart):
    """T = 16: radius ≤ 1e-25 (absolute), and the 50-digit value lies inside."""
    edge = rt.highprec.edge(TANH, 16, 50)
    for k in range(0, 50, apart):
        lam = mp.nstr(edge * mp.mpf(10) ** (-mp.mpf(k) / 8) * mp.mpf("0.97"), 6)
        certified = rt.highprec.certified_density(TANH, 16, lam)
        assert certified.radius <= mp.mpf("1e-25")
        assert rt.highprec.density(TANH, 16, lam, 50) in certified
        assert certified.midpoint > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "weights", "T"),
    [
        ("tanh", "gaussian", 16),
        ("relu", "orthogonal", 256),
        *(
            pytest.param(*case, marks=pytest.mark.sweep)
            for case in (("erf", "orthogonal", 4), ("relu", "gaussian", 2), ("hard_tanh", "gaussian", 64))
        ),
    ],
)
@pytest.mark.equation(9)
def test_float_solver_is_honest_at_random_points(activation, weights, T):
    """40 random λ of each law, 200 in all: the float cdf is in the interval widened by its own error."""
    rng = np.random.default_rng(2)
    ens = TANH.replace(cell=rt.VanillaRNN(activation), weights=weights)
    spec = rt.spectrum(ens, T)
    assert spec.error < 1e-9
    empty = sum(mass for _, mass in spec.atoms)
    for s in spec.icdf(empty + (1 - empty) * rng.uniform(0.01, 0.99, 40)):
        certified = rt.highprec.certified_cdf(ens, T, mp.mpf(float(s)) ** 2, 20)
        assert certified.radius < 1e-20
        assert abs(float(spec.cdf(s)) - certified.midpoint) <= certified.radius + spec.error


@pytest.mark.parametrize(
    ("activation", "weights"),
    [
        ("relu", "gaussian"),
        ("hard_tanh", "orthogonal"),
        ("silu", "gaussian"),
        *(
            pytest.param(*case, marks=pytest.mark.sweep)
            for case in (
                ("erf", "orthogonal"),
                ("sigmoid", "gaussian"),
                ("softsign", "orthogonal"),
                ("gelu", "gaussian"),
            )
        ),
    ],
)
def test_every_activation(activation, weights):
    ens = rt.Ensemble(rt.VanillaRNN(activation), sigma_w=1.1, sigma_b=0.3, mu_b=0.1, weights=weights)
    q = rt.highprec.certified_fixed_point(ens)
    assert rt.highprec.fixed_point(ens, 50) in q
    assert q.radius < mp.mpf("1e-30")
    chi = rt.highprec.certified_chi(ens)
    assert rt.highprec.chi(ens, 50) in chi
    assert chi.radius < mp.mpf("1e-28")
    edge = rt.highprec.certified_edge(ens, 4)
    assert rt.highprec.edge(ens, 4, 50) in edge
    lam = mp.nstr(edge.midpoint / 3, 6)
    density = rt.highprec.certified_density(ens, 4, lam)
    assert rt.highprec.density(ens, 4, lam, 50) in density
    assert density.radius < mp.mpf("1e-25") * density.midpoint
    beyond = rt.highprec.certified_density(ens, 4, mp.nstr(edge.midpoint * 2, 6))
    assert (beyond.midpoint, beyond.radius) == (0, 0)


@pytest.mark.equation(5)
def test_chi_of_erf_in_closed_form():
    """erf: σ_w² E[φ'²] = (4 σ_w²/π)/√(1 + 4q*), from an independent q*."""
    ens = rt.Ensemble(rt.VanillaRNN("erf"), sigma_w=1.1, sigma_b=0.3)
    q = mp.findroot(
        lambda v: mp.mpf("1.21") * 2 / mp.pi * mp.asin(2 * v / (1 + 2 * v)) + mp.mpf("0.09") - v, 0.6
    )
    exact = 4 * mp.mpf("1.21") / mp.pi / mp.sqrt(1 + 4 * q)
    certified = rt.highprec.certified_chi(ens)
    assert exact in certified
    assert exact + mp.mpf("1e-26") not in certified


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_largest_exponent(weights):
    """Erf in closed form, the floating-point law, and the right edge of s² over many steps."""
    ens = rt.Ensemble(rt.VanillaRNN("erf"), sigma_w=1.1, sigma_b=0.3, weights=weights)
    certified = rt.highprec.certified_largest_exponent(ens)
    q = mp.findroot(
        lambda v: mp.mpf("1.21") * 2 / mp.pi * mp.asin(2 * v / (1 + 2 * v)) + mp.mpf("0.09") - v, 0.6
    )
    exact = mp.log(4 * mp.mpf("1.21") / mp.pi / mp.sqrt(1 + 4 * q)) / 2
    assert exact in certified
    assert exact + mp.mpf("1e-26") not in certified
    assert rt.highprec.largest_exponent(ens, 50) in certified
    assert rt.lyapunov(ens).largest == pytest.approx(float(certified.midpoint), abs=1e-10)
    near, far = (mp.log(rt.highprec.edge(ens, T, 20)) / (2 * T) - exact for T in (100, 400))
    assert 0 < far < near / 3 < 0.02  # log T/T


def test_no_exponent_of_a_dead_step():
    constant = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=0.0, sigma_b=0.5)
    with pytest.raises(rt.highprec.CertificationError, match="not proven to be positive"):
        rt.highprec.certified_largest_exponent(constant)
    assert rt.highprec.largest_exponent(constant) == -mp.inf


@pytest.mark.equation(9)
def test_wrong_branch_is_refused():
    """Roots of λ(w) = λ on other sheets, and points that are no roots, are not certified."""
    from rmtrnn.highprec import spectrum
    from rmtrnn.highprec.formulas import log_lambda, log_terms, slope

    law = spectrum.product(TANH, 16, 40)
    target, others = mp.log(mp.mpf("0.6")), []
    for k in (1, 2, 3):
        x = mp.log(law.root(target)[0])
        for _ in range(60):  # Newton for log λ(w) = log λ − 2πik: λ(w) is right, the branch is not
            f = law.base.transform(mp.exp(x))
            value = log_lambda(log_terms(mp.exp(x), f, mp.log), 16, 16, law.log_scale)
            step = (value - target + 2j * mp.pi * k) / slope(mp.exp(x), f, 16, 16)
            x -= step if abs(step) < 0.1 else step * (0.1 / abs(step))
        if abs(step) < mp.mpf(10) ** -30 and 0 < mp.im(x) < mp.pi:
            others.append(mp.exp(x))
    assert others  # there are such roots: this is a real danger
    for w in [*others, mp.mpc("0.3", "0.4"), mp.conj(law.root(target)[0])]:
        with pytest.raises(CertificationError):
            rt.highprec.certified_density(TANH, 16, "0.6", start=w)
    assert rt.highprec.certified_density(TANH, 16, "0.6", start=law.root(target)[0]).midpoint > 0


def test_zero_is_not_proven_inside_the_support():
    with pytest.raises(CertificationError):
        rt.highprec.certified_density(TANH, 16, "0.6", start=mp.mpf("1.5"))
    inside = rt.highprec.edge(TANH, 16, 40) * (1 - mp.mpf(10) ** -6)
    assert rt.highprec.certified_density(TANH, 16, inside).midpoint > 0


def test_marchenko_pastur_left_edge_of_a_mask():
    """relu, T = 1, Gaussian: zero below (1 − √p)² and positive above; both edges known exactly."""
    ens = rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=1.0, sigma_b=1.0)
    left, right = (1 - mp.sqrt(mp.mpf("0.5"))) ** 2, (1 + mp.sqrt(mp.mpf("0.5"))) ** 2
    assert right in rt.highprec.certified_edge(ens, 1)
    below = rt.highprec.certified_density(ens, 1, left * mp.mpf("0.99"))
    assert (below.midpoint, below.radius) == (0, 0)
    lam = left * mp.mpf("1.01")
    exact = mp.sqrt((right - lam) * (lam - left)) / (2 * mp.pi * lam)
    assert exact in rt.highprec.certified_density(ens, 1, lam)


def test_refuses_what_it_cannot_enclose():
    z = sympy.Symbol("z", real=True)
    odd = rt.Ensemble(rt.VanillaRNN(sympy.atan(z)), sigma_w=1.1, sigma_b=0.3)
    with pytest.raises(CertificationError, match="bounded"):
        rt.highprec.certified_fixed_point(odd)
    with pytest.raises(CertificationError, match="q"):
        rt.highprec.certified_fixed_point(rt.Ensemble("vanilla", sigma_w=0.5))


def test_a_certified_number_prints_and_unpacks():
    certified = rt.highprec.certified_fixed_point(TANH)
    midpoint, radius = certified
    assert midpoint - radius in certified
    assert midpoint + 2 * radius not in certified
    assert str(certified).startswith("0.0741545932518809586681453080258")
    assert "exactly one" in certified.proof
