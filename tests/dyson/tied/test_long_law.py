"""Laws of many steps from those of fewer: (33) against laws that are known at all T, and sampled networks."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from sampled_quantiles import LEVELS, NETWORKS, QUANTILES

import rmtrnn as rt
from rmtrnn._core.status import Status
from rmtrnn.dyson.tied import long_chains
from rmtrnn.dyson.tied.law import moments_of_long_chain
from rmtrnn.dyson.tied.long_chains import (
    extrapolated,
    law_of_length,
    longest_solved,
    product_quantiles,
    series_weights,
)
from rmtrnn.laws.tabulated import Interval, TabulatedLaw, tabulate

LENGTHS = (32, 16, 8, 4)
P = np.linspace(0.005, 0.995, 199)
# Vanilla cells: the laws of tied and of redrawn weights are the same, and known at every T by S-transforms.
VANILLA = {
    "isometric": rt.Ensemble("vanilla", sigma_w=1.0, sigma_b=0.5, weights="orthogonal"),
    "orthogonal": rt.Ensemble("vanilla", sigma_w=3.0, sigma_b=0.3, weights="orthogonal"),
    "gaussian": rt.Ensemble("vanilla", sigma_w=2.0, sigma_b=0.5),
}


@functools.cache
def exact(name, T):
    return rt.spectrum(VANILLA[name], T).log_s


def of_vanilla(name, T):
    return extrapolated([exact(name, length) for length in LENGTHS], [0.0] * 3, LENGTHS, T)


@pytest.mark.parametrize("T", [0.4, 1.0, 7.0])
def test_quantiles_of_products_of_gaussian_matrices(T):
    """Of a real number of factors: those of the Fuss-Catalan law where it is whole, else its two moments."""
    levels = 0.5 - 0.5 * np.cos(math.pi * (np.arange(2000) + 0.5) / 2000)
    u, slope = product_quantiles(T, levels)
    if T.is_integer():
        np.testing.assert_allclose(u, rt.free.FussCatalan(int(T)).log.icdf(levels) / 2, atol=1e-7)
    np.testing.assert_allclose(np.gradient(u, levels)[99:-99], slope[99:-99], rtol=1e-3)
    widths = 0.25 * math.pi / 2000 * 2 * np.sin(math.pi * (np.arange(2000) + 0.5) / 2000)
    assert widths @ np.exp(2 * u) == pytest.approx(1.0, rel=1e-4)
    assert widths @ np.exp(4 * u) == pytest.approx(1.0 + T, rel=1e-3)


@pytest.mark.equation(33)
def test_a_series_in_the_number_of_steps_is_continued():
    weights = series_weights(LENGTHS[:3], 1000)
    lengths = np.array(LENGTHS[:3], dtype=float)
    assert weights @ (3.0 * lengths + 2.0 - 5.0 / lengths) == pytest.approx(3002.0 - 0.005, rel=1e-12)


@pytest.mark.equation(33)
@pytest.mark.parametrize("T", [100, 1000])
@pytest.mark.parametrize("name", list(VANILLA))
def test_long_vanilla_chains(name, T):
    """Within the error, which is small; the law of half of the steps is rejected."""
    found = of_vanilla(name, T)
    off = float(np.abs(found.cdf(exact(name, T).icdf(P)) - P).max())
    assert found.status is Status.CONVERGED and found.error < 4e-3
    assert off < found.error
    assert np.abs(found.cdf(exact(name, T // 2).icdf(P)) - P).max() > 0.1


@pytest.mark.slow
@pytest.mark.equation(33)
def test_long_gated_chains_of_untied_weights():
    """Their laws are known at all T: T = 64 within the error, and without its last term not."""
    ens = NETWORKS["leaky"].replace(tied=False)
    short, long = [rt.spectrum(ens, T) for T in LENGTHS], rt.spectrum(ens, 64)
    errors = [spec.error for spec in short]
    found = extrapolated([spec.log_s for spec in short], errors[:3], LENGTHS, 64)
    off = float(np.abs(found.cdf(long.log_s.icdf(P)) - P).max())
    assert found.status is Status.CONVERGED and found.error < 5e-3
    assert 3.0 * max(errors) < off < found.error + long.error


@pytest.mark.equation(33)
def test_without_the_product_of_gaussian_matrices_the_upper_end_is_wrong():
    """1/T alone: F of 1000 steps is off by 3 %."""
    laws = [exact("isometric", length) for length in LENGTHS[:3]]
    plain = series_weights(LENGTHS[:3], 1000) @ np.array([law.icdf(P) for law in laws])
    assert np.abs(exact("isometric", 1000).cdf(plain) - P).max() > 0.03


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
@pytest.mark.parametrize("name", ["_LEVELS", "_OUTERMOST", "_TRIED"])
def test_numbers_moved_by_three(name, factor, monkeypatch):
    law = of_vanilla("isometric", 100)
    value = getattr(long_chains, name) * factor
    monkeypatch.setattr(
        long_chains, name, round(value) if isinstance(getattr(long_chains, name), int) else value
    )
    moved = of_vanilla("isometric", 100)
    assert np.abs(moved.cdf(law.icdf(P)) - P).max() < 2e-4


def test_longest_chains_that_are_solved_as_they_are():
    """32 vectors read: one at each step of a minimalRNN or an LSTM, two at those of a GRU."""
    assert longest_solved(NETWORKS["minimal"]) == longest_solved(NETWORKS["lstm"]) == 32
    assert longest_solved(NETWORKS["gru"]) == 16


def test_laws_that_say_nothing_of_longer_ones():
    """With a mass at s = 0 all steps are solved; what is not found is not found."""
    asked = []

    def with_zeros(T):
        asked.append(T)
        return TabulatedLaw([], atoms=[(-math.inf, 1.0)])

    assert law_of_length(with_zeros, 100, 32).atoms and asked == [32, 100]
    missing = TabulatedLaw([], error=math.inf, status=Status.MAX_ITERATIONS)
    assert law_of_length(lambda T: missing, 100, 32) is missing


@pytest.mark.parametrize("name", ["orthogonal", "gaussian"])
def test_moments_of_long_chains(name):
    """Those of a vanilla cell are known; of 1000 steps no sites can be afforded, of 32 the law has them."""
    ens = VANILLA[name].replace(tied=True)
    found, exact = moments_of_long_chain(ens, 48), rt.spectrum(ens, 48)
    assert abs(found.log_m1 - math.log(exact.moment(1))) < 4 * found.error[0] + 1e-9
    ratio = exact.moment(2) / exact.moment(1) ** 2
    assert abs(found.ratio - ratio) < 4 * found.error[1] + 1e-9 * ratio
    assert found.error[0] < 0.1 and found.error[1] < 0.1 * ratio
    assert math.isnan(moments_of_long_chain(ens, 1000).log_m1)
    assert moments_of_long_chain(ens, 32) is None


@pytest.mark.parametrize("T", [20, 24, 100])
def test_where_a_law_is_not_found_shorter_ones_say_what_it_is(T):
    """20 steps and more do not converge: (33) from 2 to 16. log s is T times a number in (-1, 0)."""
    asked = []

    def solved(steps):
        asked.append(steps)
        good = steps < 20
        return tabulate(
            lambda u: 6.0 * (u / steps + 1.0) * (-u / steps) / steps,
            [Interval(-float(steps), 0.0)],
            error=1e-4 if good else 0.5,
            status=Status.CONVERGED if good else Status.MAX_ITERATIONS,
        )

    law = law_of_length(solved, T, 32)
    assert law.status is Status.CONVERGED and law.error < 6e-3
    assert len(asked) == len(set(asked)) and {2, 4, 8, 16} < set(asked)
    x = -0.5 + 0.5 * np.linspace(-0.9, 0.9, 9)
    assert np.abs(law.cdf(T * x) - (1.0 - x**2 * (3.0 + 2.0 * x))).max() < law.error


@pytest.mark.slow
@pytest.mark.equation(15, 33)
@pytest.mark.parametrize(
    ("name", "T"),
    [
        ("leaky", 100),
        *(
            pytest.param(*case, marks=pytest.mark.sweep)
            for case in (
                ("minimal", 60),
                ("minimal", 100),
                ("minimal", 1000),
                ("gru", 100),
                ("open gru", 50),
                ("quiet leaky", 50),
            )
        ),
    ],
)
def test_long_chains_against_sampled_networks(name, T):
    """Within the error and four standard errors of 16 networks of 800 units; redrawn weights are rejected."""
    found = rt.spectrum(NETWORKS[name], T)
    assert found.converged and found.error < (2e-2 if T < 1000 else 4e-2)
    sample = QUANTILES[name, T]
    allowed = found.error + 4 * np.array(sample.errors)
    quantiles = np.array(sample.quantiles)
    assert (np.abs(found.log_s.cdf(quantiles) - LEVELS) < allowed).all()
    redrawn = rt.spectrum(NETWORKS[name].replace(tied=False), T)
    assert (np.abs(redrawn.log_s.cdf(quantiles) - LEVELS) > redrawn.error + allowed).any()
