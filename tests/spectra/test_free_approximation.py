"""The free power of the one-step law: what it must share with the exact law, and where it must differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn import free
from rmtrnn.laws.tabulated import Interval, TabulatedLaw, tabulate
from rmtrnn.spectra import free_approximation, second_moment
from rmtrnn.spectra.free_approximation import SETTINGS, free_power

MINIMAL = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5)


def test_moments_are_those_of_a_free_power_and_not_of_the_network():
    """m_1 = chi^T; Var(s^2)/m_1^2 is T times that of one step, not the exact second moment."""
    T = 4
    law = free_approximation(MINIMAL, T, population=4096)
    step = rt.spectrum(MINIMAL, 1, population=4096)
    assert law.converged
    assert law.method == "free approximation"
    first, second = (step.density_moment(k) for k in (1, 2))  # of the law that is raised to the power
    assert law.moment(1) == pytest.approx(first**T, rel=1e-4)
    assert law.moment(1) == pytest.approx(rt.mean_field(MINIMAL).chi ** T, rel=1e-2)
    one_step = second / first**2 - 1
    assert law.variance / law.moment(1) ** 2 == pytest.approx(T * one_step, rel=1e-3)
    exact = second_moment(MINIMAL, T, sites=2**11)
    assert abs(exact.ratio - 1 - T * one_step) > 5 * exact.error[1]


@pytest.mark.parametrize("T", [2, 5])
def test_power_of_marchenko_pastur_is_fuss_catalan(T):
    """The law of W is known in closed form, with mass down to s = 0."""
    exact = free.FussCatalan(1)
    step = tabulate(
        lambda u: 2 * exact.log.pdf(2 * u),
        [Interval(-np.inf, np.log(2.0), rate=1.0)],
        tol=1e-8,
        max_points=300,
    )
    law = free_power(step, T)
    points = free.FussCatalan(T).log.icdf(np.linspace(0.05, 0.99, 20)) / 2
    np.testing.assert_allclose(law.cdf(points), free.FussCatalan(T).log.cdf(2 * points), atol=2e-4)
    assert np.abs(law.cdf(points) - free.FussCatalan(T).log.cdf(2 * points)).max() <= law.error


@pytest.mark.sweep
@pytest.mark.parametrize("factor", [1 / 3, 3.0])
@pytest.mark.parametrize("name", ["nodes", "tol", "lightest"])
def test_settings_move_the_law_by_less_than_its_error(name, factor):
    """The law of squared uniform s on [1/2, 3/2], T = 2."""
    step = tabulate(np.exp, [Interval(np.log(0.5), np.log(1.5))], tol=1e-9)
    value = getattr(SETTINGS, name) * factor
    settings = replace(SETTINGS, **{name: round(value) if name == "nodes" else value})
    usual, moved = free_power(step, 2), free_power(step, 2, settings)
    u = usual.icdf(np.linspace(0.02, 0.98, 25))
    assert np.max(np.abs(usual.cdf(u) - moved.cdf(u))) <= usual.error + moved.error


def test_special_cases():
    """One constant, one step, vanilla cells; tied weights make no difference."""
    constant = free_power(TabulatedLaw([], atoms=[(0.3, 1.0)]), 4)
    assert constant.atoms == ((pytest.approx(1.2), 1.0),)
    small = {"population": 512}
    one = free_approximation(MINIMAL.replace(tied=True), 1, **small)
    assert one.cdf(0.8) == rt.spectrum(MINIMAL, 1, **small).cdf(0.8)
    vanilla = rt.Ensemble("vanilla", sigma_w=1.2, sigma_v=0.3)
    assert free_approximation(vanilla, 3).cdf(0.5) == rt.spectrum(vanilla, 3).cdf(0.5)
    with pytest.raises(TypeError, match="ens"):
        free_approximation("minimal", 3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="T"):
        free_approximation(vanilla, 0)
