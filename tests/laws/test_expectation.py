"""Expectations under a law: closed forms, and what the constants of the method do."""

from __future__ import annotations

import math

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn import free
from rmtrnn.laws import panels
from rmtrnn.laws.expectation import SETTINGS, expectation, integrated_mass
from rmtrnn.laws.tabulated import Interval, tabulate

LAWS = {
    # log x of a Marchenko–Pastur law of ratio 1/2: E[x²] = 1 + 1/2, E[log x] = -1 - log(1/2)
    "Marchenko–Pastur": (free.MarchenkoPastur(0.5), 1.5, -1.0 + math.log(2.0)),
    # Fuss–Catalan of order 3: E[x²] = 4; E[log x] = -3
    "Fuss–Catalan": (free.FussCatalan(3), 4.0, -3.0),
    "points": (free.Discrete([1.0, 2.0], [0.5, 0.5]), 2.5, 0.5 * math.log(2.0)),
}


@pytest.mark.parametrize("name", LAWS)
def test_second_moment_and_mean_logarithm(name):
    law, second, mean = LAWS[name]
    assert law.log.expectation(lambda v: np.exp(2 * v)) == pytest.approx(second, rel=1e-8)
    assert law.log.expectation(lambda v: v) == pytest.approx(
        mean, rel=1e-4
    )  # log 0 is an end of Fuss–Catalan
    assert law.log.expectation(np.ones_like) == pytest.approx(1.0, abs=1e-12)
    assert integrated_mass(law.log) == pytest.approx(1.0, abs=1e-9)


def test_mass_at_zero_counts_with_the_limit():
    law = free.Discrete([0.0, 1.0], [0.25, 0.75]) @ free.MarchenkoPastur(0.5)
    assert law.log.expectation(lambda v: np.exp(v)) == pytest.approx(law.moment(1), rel=1e-8)
    assert law.log.expectation(np.ones_like) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("factor", [1 / 3, 3.0])
def test_the_share_below_the_low_quantile_does_not_matter(factor):
    law = free.FussCatalan(3).log
    usual = expectation(law, lambda v: np.exp(v))
    assert expectation(law, lambda v: np.exp(v), tail=factor * SETTINGS.tail) == pytest.approx(
        usual, rel=1e-9
    )


@pytest.mark.parametrize(
    ("name", "value"), [("_SUBPANELS", 3), ("_SUBPANELS", 24), ("_GAUSS", 8), ("_GAUSS", 72)]
)
def test_the_rule_of_a_table_does_not_matter(monkeypatch, name, value):
    """u spreads over 60 e-folds, f over 240."""
    law = tabulate(lambda u: np.full(u.shape, 1 / 60), [Interval(0.0, 60.0)], tol=1e-10)
    exact = math.expm1(240.0) / 240.0
    assert law.moment(2) == pytest.approx(exact, rel=1e-9)
    monkeypatch.setattr(panels, name, value)
    assert law.moment(2) == pytest.approx(exact, rel=1e-6)


def test_a_wrong_density_is_seen_by_the_mass():
    """Negative control: the cdf says 1, the density integrates to more."""
    law = free.MarchenkoPastur(0.5).log

    class Wrong:
        support, atoms, cdf, icdf = law.support, law.atoms, law.cdf, law.icdf

        def pdf(self, v):
            return 1.01 * law.pdf(v)

    assert integrated_mass(Wrong()) == pytest.approx(1.0 + 0.01 * (1 - SETTINGS.tail), abs=1e-6)


def test_distance_from_isometry_of_a_closed_form():
    """Square Gaussian matrix: E[(s − 1)²] = 1 − 2 E[s] + 1 with E[s] = 8/(3π)."""
    found = rt.isometry(rt.Ensemble(rt.VanillaRNN("linear")), T=1).distance
    assert found.value == pytest.approx(math.sqrt(2 - 16 / (3 * math.pi)), abs=1e-9)
