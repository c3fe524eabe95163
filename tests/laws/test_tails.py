"""Tabulated laws far out: no warnings, right limits, moments beyond the range of doubles."""

from __future__ import annotations

import numpy as np
import pytest

from rmtrnn import free
from rmtrnn.laws.tabulated import Interval, TabulatedLaw, tabulate


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
