"""What a hostile referee would try on the certified numbers: tails, kinks, parameters that are balls, narrow
margins, and integrands that are not analytic. See docs/theory.md, section 7.
"""

import numpy as np
import pytest
import sympy
from mpmath import mp

import rmtrnn as rt
from rmtrnn.cells import Activation
from rmtrnn.cells.functions import softplus

flint = pytest.importorskip("flint")
from rmtrnn.highprec.certified import CertificationError  # noqa: E402
from rmtrnn.highprec.enclosures import AtomBalls, GaussianBalls  # noqa: E402
from rmtrnn.highprec.expressions import arb_function  # noqa: E402

z = sympy.Symbol("z", real=True)


@pytest.fixture(autouse=True)
def _precision():
    with mp.workdps(80), flint.ctx.workprec(160):
        yield


def haar(activation, **parameters):
    return rt.Ensemble(rt.VanillaRNN(activation), weights="orthogonal", **parameters)


def test_cuts_enclose_zero_and_every_kink():
    """A narrow Gaussian far from 0: bounds "for |e| ≥ reach" must hold on all of both tails."""
    narrow = GaussianBalls(Activation("tanh"), flint.arb("1e-6"), flint.arb(1), 160)
    assert narrow.low < 0 < narrow.high
    with pytest.raises(CertificationError):  # a pole at e = 0.62, 380 √q off: the weight cannot see it
        narrow.transform(flint.acb("0.5"))
    kinked = sympy.Piecewise((z, z < 3), (3 + 5 * sympy.tanh(z - 3), True))
    balls = GaussianBalls(Activation(kinked), flint.arb("1e-6"), flint.arb(0), 160)
    assert balls.high > 3
    far = rt.Ensemble("vanilla", sigma_w=0.02, sigma_b=0.001, mu_b=1.0)
    with pytest.raises(CertificationError):
        rt.highprec.certified_edge(far, 4)


def test_every_segment_is_asked_whether_x_lies_below_w():
    """φ' jumps from 2 to at most 1 at the kink: w = 2 is above φ'² on the right only."""
    jump = Activation(sympy.Piecewise((2 * z, z < -1), (-2 + sympy.tanh(z + 1), True)))
    balls = GaussianBalls(jump, flint.arb(1), flint.arb(0), 160)
    assert not balls.lies_below(flint.arb(2))
    assert balls.lies_below(flint.arb(5))


@pytest.mark.parametrize("name", ["tanh", "gelu", "softsign"])
def test_a_ball_of_q_holds_the_values_at_its_ends(name):
    """The radius of q* goes through every average: means, transforms and the potential."""
    wide = flint.arb("0.3", "1e-12")
    w = flint.acb("0.4", "0.2")
    for centre in ("0.299999999999", "0.300000000001", "0.3"):
        points = [
            GaussianBalls(Activation(name), q, flint.arb("0.1"), 160) for q in (wide, flint.arb(centre))
        ]
        for average in (
            lambda balls: balls.transform(w).m,
            lambda balls: balls.transform(w).d1,
            lambda balls: balls.log_potential(w),
            lambda balls: flint.acb(balls.mean()),
            lambda balls: flint.acb(balls.second_moment()[0]),
        ):
            outer, inner = map(average, points)
            assert outer.real.overlaps(inner.real) and outer.imag.overlaps(inner.imag)
            if centre != "0.3":
                assert outer.real.rad() > abs(inner.real - outer.real.mid()).abs_lower() * 0.99


def test_analytic_flag():
    """What is not analytic on a ball is not finite there when the integrator asks for analyticity."""
    across = flint.acb(flint.arb(-1, 0.5), flint.arb(0, 0.5))
    for expr in (sympy.sqrt(z), sympy.log(z), z ** sympy.Rational(1, 3)):
        f = arb_function(z, expr)
        assert f(flint.acb(-1, "0.1"), True).is_finite()
        assert not f(across, True).is_finite()
    poles = flint.acb(flint.arb(0, 0.1), flint.arb("1.57", 0.1))
    for expr in (sympy.tanh(z), sympy.sech(z), rt.cells.functions.sech2(z), 1 / (z**2 + sympy.pi**2 / 4)):
        assert not arb_function(z, expr)(poles, True).is_finite()
    assert not arb_function(z, softplus(z))(
        flint.acb(flint.arb(0, 0.1), flint.arb("3.1", 0.1)), True
    ).is_finite()


@pytest.mark.parametrize("expr", [z / sympy.sqrt(1 + z**2), softplus(z) - softplus(-z) + sympy.tanh(z) / 2])
def test_square_roots_and_logarithms(expr):
    """Functions with branch points off the line: the interval holds the many-digit value."""
    ens = rt.Ensemble(rt.VanillaRNN(expr), sigma_w=0.4, sigma_b=0.3)
    try:
        certified = rt.highprec.certified_fixed_point(ens)
    except CertificationError as error:
        assert "bounded" in str(error)  # no rule for the tails of z/√(1 + z²): refused, and says so
        return
    assert rt.highprec.fixed_point(ens, 50) in certified
    assert certified.radius < 1e-28


def test_floats_of_an_activation_are_decimals_everywhere():
    written, exact = sympy.tanh(0.7 * z), sympy.tanh(sympy.Rational(7, 10) * z)
    a, b = (rt.Ensemble(rt.VanillaRNN(expr), sigma_w=1.3, sigma_b=0.2) for expr in (written, exact))
    assert rt.highprec.fixed_point(a, 40) == rt.highprec.fixed_point(b, 40)
    assert rt.highprec.fixed_point(a, 50) in rt.highprec.certified_fixed_point(a)
    assert rt.highprec.density(a, 3, "0.4", 50) in rt.highprec.certified_density(b, 3, "0.4")


def test_small_densities_have_relative_digits():
    """tanh, orthogonal, T = 2: ρ(0.001) = 1e-14, far below |m|; more digits are carried by themselves."""
    ens = haar("tanh", sigma_w=1.05, sigma_b=0.05)
    certified = rt.highprec.certified_density(ens, 2, "0.001")
    assert 1e-15 < certified.midpoint < 1e-13
    assert certified.radius < mp.mpf("1e-30") * certified.midpoint
    value = rt.highprec.density(ens, 2, "0.001", 50)
    assert value in certified
    assert abs(value / rt.highprec.density(ens, 2, "0.001", 25) - 1) < mp.mpf("1e-25")


def test_gaps_and_atoms():
    """hard_tanh, T = 2: P(|e| < 1) > 1/2, so that a gap lies between the bulk and the atom at σ_w⁴."""
    ens = haar("hard_tanh", sigma_w=1.05, sigma_b=0.05)
    gap = rt.highprec.certified_density(ens, 2, "0.5")
    assert (gap.midpoint, gap.radius) == (0, 0)
    assert rt.highprec.density(ens, 2, "0.5", 30) == 0
    spec = rt.spectrum(ens, 2)
    assert float(rt.highprec.cdf(ens, 2, "0.5", 30)) == pytest.approx(float(spec.cdf(0.5**0.5)), abs=1e-14)
    below = rt.highprec.certified_cdf(ens, 2, "0.5")
    assert rt.highprec.cdf(ens, 2, "0.5", 50) in below
    assert below.radius < 1e-30
    assert mp.mpf("1.05") ** 4 in rt.highprec.certified_edge(ens, 2)
    half = haar("relu", sigma_w=1.4, sigma_b=0.1)  # mass 1/2 = (T − 1)/T exactly
    assert mp.mpf("1.4") ** 4 in rt.highprec.certified_edge(half, 2)
    with pytest.raises(CertificationError):  # λ at the atom itself
        rt.highprec.certified_density(ens, 2, "1.21550625")
    above = rt.highprec.certified_cdf(ens, 2, "1.3")
    assert (above.midpoint, above.radius) == (1, 0)


def test_small_masses_keep_their_digits():
    """P(e > 9) for q = 1/10 is 1e-178: as a difference of numbers near 1 nothing of it would be left."""
    balls = AtomBalls(Activation("hard_tanh"), flint.arb("0.001"), flint.arb(0))
    masses = {str(value.str(3)): mass for value, mass in balls.atoms}
    (small,) = (mass for mass in masses.values() if mass < flint.arb("0.5"))
    assert small.rel_accuracy_bits() > 100
    assert small < flint.arb("1e-200")


def test_potential_next_to_the_cut():
    """erf, σ_w = 4.8, T = 4 at s = e^-121: the logarithm's cut must not run beside the path."""
    ens = haar("erf", sigma_w=4.779, sigma_b=0.655)
    lam = mp.exp(2 * mp.mpf(-120.8))
    certified = rt.highprec.certified_cdf(ens, 4, lam, 20)
    assert certified.radius < 1e-20
    spec = rt.spectrum(ens, 4)
    assert abs(float(spec.log_s.cdf(-120.8)) - certified.midpoint) <= certified.radius + spec.error


def test_edge_is_carried_over_a_hull():
    """λ at an enclosed stationary point equals λ at the exact one: tanh against 60 digits, three depths."""
    ens = haar("tanh", sigma_w=1.05, sigma_b=0.05)
    for T in (2, 16, 1000):
        certified = rt.highprec.certified_edge(ens, T)
        assert rt.highprec.edge(ens, T, 60) in certified
        assert certified.radius < mp.mpf("1e-30") * certified.midpoint
    assert np.isclose(
        float(rt.highprec.edge(ens, 2, 20)), rt.spectrum(ens, 2).support[-1][1] ** 2, rtol=1e-12
    )


def test_float_solver_on_a_slow_contour():
    """silu, T = 2926: the float quadrature used to stop one halving early, six stated errors off."""
    ens = haar("silu", sigma_w=0.527, sigma_b=0.351)
    spec, at = rt.spectrum(ens, 2926), -3793.631131703418
    certified = rt.highprec.certified_cdf(ens, 2926, mp.exp(2 * mp.mpf(at)), 20)
    assert abs(float(spec.log_s.cdf(at)) - certified.midpoint) <= certified.radius + spec.error
