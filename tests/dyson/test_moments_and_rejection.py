"""Moments of the laws by a second route, and whether the wrong one of tied and untied weights is noticed."""

from __future__ import annotations

import pytest
import sympy
from reference.cells import leaky
from reference.kolmogorov import distance

import rmtrnn as rt
from rmtrnn.dyson.tied.law import law_of_population
from rmtrnn.dyson.tied.path import LawSettings
from rmtrnn.dyson.tied.sites import draw_population
from rmtrnn.spectra import second_moment

MINIMAL = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5)


@pytest.mark.parametrize(("T", "weights"), [(1, "orthogonal"), (4, "gaussian"), (4, "orthogonal")])
@pytest.mark.equation(6, 13)
def test_moments_of_the_law_are_those_of_the_recursion(T, weights):
    """m_1 = chi^T and m_2 from the recursion over sites, which knows nothing of the density."""
    ens = MINIMAL.replace(weights=weights)
    law = rt.spectrum(ens, T, population=16384)
    expected = second_moment(ens, T, sites=2**12, replicates=8)
    assert law.density_moment(1) == pytest.approx(rt.mean_field(ens).chi ** T, rel=5e-3)
    spread = 4 * expected.error[1] / expected.ratio + 2e-3
    assert law.density_moment(2) / law.density_moment(1) ** 2 == pytest.approx(expected.ratio, rel=spread)
    assert law.moment(1) == pytest.approx(rt.mean_field(ens).chi ** T, rel=1e-12)
    assert abs(law.moment(2) / law.moment(1) ** 2 - expected.ratio) < 4 * expected.error[1]
    assert law.variance == pytest.approx(law.moment(2) - law.moment(1) ** 2, rel=1e-12)
    other = second_moment(ens.replace(sigma_w=2.2), T, sites=2**11)
    assert (
        abs(other.ratio / expected.ratio - 1) > spread
    )  # a network with slightly larger weights is told apart


@pytest.mark.equation(15)
def test_tied_first_moment_is_that_of_the_large_lambda_limit():
    """The integral over the density against the recursion in time that gives m_1 alone; all mass is found."""
    kept = MINIMAL.replace(tied=True)
    law = law_of_population(draw_population(kept, 6, 64, 3), 6, LawSettings())
    assert law.known is not None
    assert law.moment(1) == pytest.approx(law.known.m_1, rel=2e-3)
    assert law.mass == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("ens", "T"),
    [
        (rt.Ensemble(leaky(sympy.Rational(1, 4)), sigma_w=1.5, sigma_v=0.5), 6),
        pytest.param(
            rt.Ensemble("minimal", sigma_w=4.0, sigma_v=0.5, mu_b=2.0, R=1.0), 6, marks=pytest.mark.sweep
        ),
    ],
    ids=["leaky", "minimal"],
)
@pytest.mark.equation(13, 15)
def test_the_wrong_one_of_tied_and_untied_is_rejected(ens, T):
    """Each law fits its own sample, N = 300 x 6, whose noise is about 0.01, and is rejected by the other."""
    laws = {
        False: rt.spectrum(ens, T, population=4096),
        True: rt.spectrum(ens.replace(tied=True), T, population=1024),
    }
    samples = {tied: rt.sample(ens.replace(tied=tied), T, N=300, trials=6, seed=5) for tied in laws}
    found = {
        (law, sample): distance(laws[law].log_s, samples[sample].log_s) for law in laws for sample in samples
    }
    for tied in laws:
        assert found[tied, tied] < laws[tied].error + 0.02
        assert found[not tied, tied] > laws[not tied].error + 0.04
        assert found[not tied, tied] > 2.5 * found[tied, tied]
