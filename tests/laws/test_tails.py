"""Tabulated laws far out: no warnings, right limits, moments beyond the range of doubles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rmtrnn import free
from rmtrnn.laws.tabulated import Interval, TabulatedLaw, tabulate
from rmtrnn.laws.tails import SETTINGS, SHARPEST, clearly_falling, monotone_density, pareto_tail


def hard_edge(T):
    """The product of T Gaussian matrices: density e^{2u/(T+1)} down to s = 0."""
    exact = free.FussCatalan(T).log
    return tabulate(lambda u: 2 * exact.pdf(2 * u), [Interval(-np.inf, exact.support[0][1] / 2, 2 / (T + 1))])


@pytest.mark.parametrize("T", [1, 8])
@pytest.mark.filterwarnings("error")
def test_deep_tails_are_silent_and_right(T):
    law = hard_edge(T)
    with np.errstate(all="raise"):
        u = np.array([-np.inf, -1e308, -1e4, -700.0, -300.0, 700.0, 1e308, np.inf])
        np.testing.assert_allclose(law.cdf(u)[[0, 1, -1]], [0.0, 0.0, 1.0], rtol=1e-15)
        np.testing.assert_array_equal(law.pdf(u)[[0, 1, -1]], [0.0, 0.0, 0.0])
        assert law.icdf(np.array([0.0, 1.0]))[1] == law.support[0][1]
        deep = -100.0 * (T + 1)
        ratio = law.cdf(np.array([deep - 1.0])) / law.cdf(np.array([deep]))
        assert ratio[0] == pytest.approx(np.exp(-2 / (T + 1)), rel=1e-6)
        quantile = law.icdf(np.array([1e-50]))
        assert law.cdf(quantile)[0] == pytest.approx(1e-50, rel=1e-6)
        assert law.moment(2) == pytest.approx(T + 1, rel=1e-6)
        assert law.variance() == pytest.approx(T, rel=1e-6)


@pytest.mark.filterwarnings("error")
def test_moments_beyond_doubles_are_infinite():
    """u uniform on [0, 400]: E[s^4] = e^{1600}/1600."""
    law = tabulate(lambda u: np.full(u.shape, 1 / 400), [Interval(0.0, 400.0)])
    with np.errstate(all="raise"):
        assert law.moment(2) == np.inf
        assert law.variance() == np.inf
        assert law.moment(0.5) == pytest.approx(np.exp(400) / 400, rel=1e-6)
        assert TabulatedLaw([], atoms=[(-np.inf, 1.0)]).moment(1) == 0.0


def soft_tail(settings=SETTINGS):
    """A nearly exponential tail beyond x = 0: the hazard is 1 there and 1 − 1e-9 before it."""
    return pareto_tail(0.05, 1.0, 1.0 - 1e-9, 1.0, SHARPEST, np.inf, settings)


@pytest.mark.parametrize(
    ("name", "factor"), [("fall", 1 / 3), ("fall", 2.0), ("added", 1 / 3), ("added", 3.0)]
)
def test_points_of_a_soft_tail_do_not_matter(name, factor):
    """The added points have the masses of the exponential; between them the law moves by 1e-3 of the mass."""
    value = getattr(SETTINGS, name) * factor
    settings = replace(SETTINGS, **{name: round(value) if name == "added" else value})

    def survival(tail, x):
        points, mass = np.append(0.0, tail.x), np.append(0.05, tail.mass)
        return np.exp(np.interp(x, points, np.log(mass)))

    usual, moved = soft_tail(), soft_tail(settings)
    np.testing.assert_allclose(moved.mass, 0.05 * np.exp(-moved.x), rtol=1e-6)
    x = np.linspace(0.0, min(usual.x[-1], moved.x[-1]), 50)
    np.testing.assert_allclose(survival(moved, x), survival(usual, x), atol=5e-5)


@pytest.mark.parametrize("factor", [1 / 3, 3.0])
def test_the_smallest_reach_only_keeps_an_interval_from_being_empty(factor):
    settings = replace(SETTINGS, smallest_reach=SETTINGS.smallest_reach * factor)
    assert pareto_tail(0.0, 1.0, 1.0, 1.0, SHARPEST, 1.0, settings).reach == pytest.approx(factor * 1e-9)


@pytest.mark.parametrize("clear", [0.7 / 3, 0.7, 0.9])
def test_the_density_of_a_tail_of_few_sites_hardly_depends_on_the_points(clear):
    """400 sites at the quantiles of e^{-x}, with densities that single sites have spoiled."""
    mass = 1.0 - (np.arange(400) + 0.5) / 400
    x = -np.log(mass)
    spoiled = mass * np.where(np.arange(400) % 2, 0.1, 5.0)
    kept = clearly_falling(mass, replace(SETTINGS, clear=clear))
    density = monotone_density(x[kept], mass[kept], np.append(mass[0], spoiled[1:])[kept])
    assert np.all(np.diff(mass[kept]) < 0)
    assert np.all(np.diff(density) < 0)
    np.testing.assert_allclose(density, mass[kept], rtol=0.25)
