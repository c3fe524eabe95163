"""Exponents of free products: closed forms, an independent algorithm at large T, identities."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import integrate, optimize

import rmtrnn as rt
from rmtrnn.free.exponents import CurveSettings, ExponentLaw

GAUSSIAN = rt.free.MarchenkoPastur()
BIASED = rt.free.Discrete([0.3, 1.0, 2.0], [0.2, 0.5, 0.3])
LAWS = {
    "gaussian": GAUSSIAN.dilate(2.25),
    "discrete": BIASED @ GAUSSIAN,
    "orthogonal": BIASED,
    "relu": rt.free.Discrete([0.0, 1.0], [0.4, 0.6]) @ GAUSSIAN.dilate(3.0),
    "tanh": rt.free.Pushforward(lambda z: 1.0 / np.cosh(z) ** 4, 2.0) @ GAUSSIAN.dilate(4.0),
    "wide": rt.free.MarchenkoPastur(0.25) @ BIASED,
    "power": (BIASED**2.5) @ (GAUSSIAN**1.5),
}


def test_square_gaussian_matrices_have_newmans_law():
    """C. M. Newman 1986, Commun. Math. Phys. 103, 121: e^{2u} is uniform on (0, g²)."""
    g = 1.5
    law = ExponentLaw(GAUSSIAN.dilate(g**2))
    p = np.array([1e-6, 0.01, 0.3, 0.5, 0.9, 0.999])
    u = math.log(g) + 0.5 * np.log(p)
    np.testing.assert_allclose(law.cdf(u), p, rtol=1e-12)
    np.testing.assert_allclose(law.icdf(p), u, atol=1e-12)
    np.testing.assert_allclose(law.pdf(u), 2 * p, rtol=1e-10)
    assert law.largest == pytest.approx(math.log(g), abs=1e-15)
    assert law.mean == pytest.approx(math.log(g) - 0.5, abs=1e-14)
    assert law.unstable_fraction == pytest.approx(1 - g**-2, abs=1e-12)
    assert law.entropy_rate == pytest.approx(math.log(g) - 0.5 * (1 - g**-2), abs=1e-12)

    def sum_of_largest(share):
        rest = 1 - share
        return math.log(g) - 0.5 - (0.5 * rest * math.log(g**2 * rest) - 0.5 * rest)

    dimension = optimize.brentq(sum_of_largest, 1 - g**-2, 1 - 1e-9)
    assert law.kaplan_yorke == pytest.approx(dimension, abs=1e-11)


def test_scaled_orthogonal_matrices_have_one_exponent():
    law = ExponentLaw(rt.free.Discrete([2.25], [1.0]))
    assert law.atoms == ((pytest.approx(math.log(1.5)), 1.0),)
    assert law.support == ()
    assert list(law.cdf([0.0, 0.5])) == [0.0, 1.0]
    assert law.kaplan_yorke == 1.0
    assert law.entropy_rate == pytest.approx(math.log(1.5))


@pytest.mark.parametrize("name", LAWS)
def test_free_powers_approach_the_law(name):
    """The curve of theory.md (9) at T and 4T, extrapolated in 1/T: another algorithm."""
    step = LAWS[name]
    law = ExponentLaw(step)
    zero = sum(mass for u, mass in law.atoms if u == -math.inf)
    p = zero + (1 - zero) * np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    short, long = ((step**T).log.icdf(p) / (2 * T) for T in (2000, 8000))
    limit = (4 * long - short) / 3
    np.testing.assert_allclose(law.icdf(p), limit, atol=2e-6)
    other = ExponentLaw(step.dilate(1.01)).icdf(p)
    assert np.abs(other - limit).min() > 1e-3


@pytest.mark.parametrize("name", LAWS)
def test_identities(name):
    law = ExponentLaw(LAWS[name])
    zero = sum(mass for u, mass in law.atoms if u == -math.inf)
    p = zero + (1 - zero) * np.linspace(0.05, 0.95, 7)
    u = law.icdf(p)
    np.testing.assert_allclose(law.cdf(u), p, atol=1e-11)
    step = 1e-5
    np.testing.assert_allclose(law.pdf(u), (law.cdf(u + step) - law.cdf(u - step)) / (2 * step), rtol=1e-6)
    assert law.cdf(law.largest) == 1.0
    assert law.pdf(law.largest + 0.1) == 0.0
    assert law.error < 1e-8
    top = law.icdf(1.0)
    assert top == law.largest
    positive, _ = integrate.quad(
        lambda level: max(float(law.icdf(level)), 0.0), 1 - law.unstable_fraction, 1.0
    )
    assert law.entropy_rate == pytest.approx(positive, abs=1e-8)
    if zero == 0.0:
        mean, _ = integrate.quad(lambda level: float(law.icdf(level)), 1e-7, 1.0, limit=200)
        assert law.mean == pytest.approx(mean, abs=1e-5)


def test_the_dimension_is_where_the_sum_vanishes():
    law = ExponentLaw(LAWS["tanh"])
    share = law.kaplan_yorke
    assert law.unstable_fraction < share < 1.0
    total, _ = integrate.quad(lambda level: float(law.icdf(level)), 1.0 - share, 1.0, limit=200)
    assert total == pytest.approx(0.0, abs=1e-8)
    stable = ExponentLaw(LAWS["tanh"].dilate(1e-2))
    assert stable.kaplan_yorke == stable.entropy_rate == stable.unstable_fraction == 0.0


def test_bad_levels_are_refused():
    with pytest.raises(ValueError, match="p = "):
        ExponentLaw(GAUSSIAN).icdf(1.5)


@pytest.mark.parametrize("factor", [1 / 3, 3])
@pytest.mark.parametrize("name", ["lost", "panel", "nodes", "newton_steps", "top"])
def test_numbers_do_not_hang_on_the_settings(name, factor):
    usual = CurveSettings()
    value = max(1, round(getattr(usual, name) * factor)) if name != "lost" else usual.lost * factor
    changed = ExponentLaw(LAWS["tanh"], dataclasses.replace(usual, **{name: value}))
    law = ExponentLaw(LAWS["tanh"])
    # A third of the nodes leaves 1e-9 of the integrals; a third of the top leaves e^{-13} of the mass.
    p = np.array([0.01, 0.3, 0.7, 0.99])
    np.testing.assert_allclose(changed.icdf(p), law.icdf(p), atol=1e-9 if name != "newton_steps" else 1e-6)
    assert changed.kaplan_yorke == pytest.approx(law.kaplan_yorke, abs=1e-5)
    assert changed.entropy_rate == pytest.approx(law.entropy_rate, abs=1e-5)
