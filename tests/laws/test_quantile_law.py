"""A law from its quantiles: the numbers of a known law, and what is refused."""

import math

import numpy as np
import pytest

from rmtrnn.free import MarchenkoPastur
from rmtrnn.free.exponents import ExponentLaw
from rmtrnn.laws.quantile_law import QuantileLaw

LEVELS = np.array([0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99])
GAIN = 1.5


def newman(p):
    """Exponents of square Gaussian matrices: u(p) = log g + ½ log p."""
    return math.log(GAIN) + 0.5 * np.log(p)


def test_numbers_are_those_of_the_law_behind_the_quantiles():
    law = QuantileLaw(LEVELS, newman(LEVELS), math.log(GAIN), 1e-4)
    p = np.array([1e-4, 0.03, 0.15, 0.45, 0.93, 0.995])
    np.testing.assert_allclose(law.icdf(p), newman(p), atol=0.05)
    np.testing.assert_allclose(law.cdf(law.icdf(p)), p, rtol=1e-9)
    assert law.mean == pytest.approx(math.log(GAIN) - 0.5, abs=2e-3)
    assert law.unstable_fraction == pytest.approx(1 - GAIN**-2, abs=1e-3)
    assert law.entropy_rate == pytest.approx(math.log(GAIN) - 0.5 * (1 - GAIN**-2), abs=1e-3)
    exact = ExponentLaw(MarchenkoPastur().dilate(GAIN**2))
    assert law.kaplan_yorke == pytest.approx(exact.kaplan_yorke, abs=2e-3)
    u, step = law.icdf([0.003, 0.25, 0.85]), 1e-6
    slope = (law.cdf(u + step) - law.cdf(u - step)) / (2 * step)
    np.testing.assert_allclose(law.pdf(u), slope, rtol=1e-5)
    assert law.pdf(1.0) == 0.0
    assert law.cdf(math.inf) == 1.0


def test_a_stable_law_has_no_dimension_and_an_unstable_one_the_whole():
    stable = QuantileLaw(LEVELS, newman(LEVELS) - 1.0, math.log(GAIN) - 1.0, 0.0)
    assert stable.kaplan_yorke == stable.entropy_rate == 0.0
    assert QuantileLaw(LEVELS, newman(LEVELS) + 1.0, math.log(GAIN) + 1.0, 0.0).kaplan_yorke == 1.0


def test_bad_quantiles_are_refused():
    with pytest.raises(ValueError, match="increase"):
        QuantileLaw(LEVELS, newman(LEVELS)[::-1], 1.0, 0.0)
    with pytest.raises(ValueError, match="largest"):
        QuantileLaw(LEVELS, newman(LEVELS), -9.0, 0.0)
    with pytest.raises(ValueError, match="must be in"):
        QuantileLaw(LEVELS, newman(LEVELS), 1.0, 0.0).icdf(2.0)
