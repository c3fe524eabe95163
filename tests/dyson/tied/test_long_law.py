"""Laws of many steps from those of fewer: (31) against laws that are known at all T, and sampled networks."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from sampled_quantiles import LEVELS, NETWORKS, QUANTILES
from scipy.interpolate import CubicSpline
from scipy.special import expit, logit

import rmtrnn as rt
from rmtrnn._core.status import Status
from rmtrnn.dyson.tied import long_chains
from rmtrnn.dyson.tied.law import moments_of_long_chain
from rmtrnn.dyson.tied.long_chains import (
    RATIOS,
    Chains,
    law_of_chains,
    law_of_length,
    logits,
    longest_solved,
    product_quantiles,
    rising,
    series_weights,
    ways_to,
    without_noise,
)
from rmtrnn.laws.tabulated import TabulatedLaw

LENGTHS = [32 // ratio for ratio in RATIOS]
P = np.linspace(0.005, 0.995, 199)
NONE = [np.zeros(logits().size)] * 4  # no tail is carried on
# Vanilla cells: the laws of tied and of untied weights are the same, and known at every T by S-transforms.
VANILLA = {
    "isometric": rt.Ensemble("vanilla", sigma_w=1.0, sigma_b=0.5, weights="orthogonal"),
    "orthogonal": rt.Ensemble("vanilla", sigma_w=3.0, sigma_b=0.3, weights="orthogonal"),
    "gaussian": rt.Ensemble("vanilla", sigma_w=2.0, sigma_b=0.5),
}


@functools.cache
def exact(name, T):
    return rt.spectrum(VANILLA[name], T).log_s


def excess_of(law):
    """log t - log(p/(1 - p)) at `logits` of a ``law`` of log s, from p = E t/(t + s²)."""
    levels = expit(np.linspace(-14.0, 14.0, 1200))
    x = 2.0 * law.icdf(levels)
    log_t = np.linspace(x[0] - 12.0, x[-1] + 14.0, 600)
    p = np.concatenate([long_chains._smoothed_cdf(x, levels, part) for part in np.split(log_t, 6)])
    kept = np.diff(logit(p), prepend=-np.inf) > 0.0
    return CubicSpline(logit(p)[kept], (log_t - logit(p))[kept])(logits())


@functools.cache
def excess_of_step(name):
    return excess_of(exact(name, 2)) / 2


def of_vanilla(name, T, groups=8):
    chains = [np.tile(32 / ratio * excess_of_step(name), (groups, 1)) for ratio in RATIOS]
    return law_of_chains(Chains(LENGTHS, chains, NONE), T)


@pytest.mark.parametrize("n", [0.4, 1.0, 7.0])
def test_quantiles_of_products_of_gaussian_matrices(n):
    """Of a real number of factors: those of the Fuss-Catalan law where it is whole, else its two moments."""
    angle = math.pi * (np.arange(2000) + 0.5) / 2000
    levels = 0.5 - 0.5 * np.cos(angle)
    x = product_quantiles(n, levels)
    if n.is_integer():
        np.testing.assert_allclose(x, rt.free.FussCatalan(int(n)).log.icdf(levels), atol=2e-7)
    widths = 0.5 * math.pi / 2000 * np.sin(angle)
    assert widths @ np.exp(x) == pytest.approx(1.0, rel=1e-4)
    assert widths @ np.exp(2 * x) == pytest.approx(1.0 + n, rel=1e-3)


@pytest.mark.equation(31)
def test_a_series_in_the_number_of_steps_is_continued():
    lengths = np.array([32.0, 16.0, 8.0])
    weights = series_weights([32, 16, 8], 1000)
    assert weights @ (3.0 * lengths + 2.0 - 5.0 / lengths) == pytest.approx(3002.0 - 0.005, rel=1e-12)


@pytest.mark.equation(31)
@pytest.mark.parametrize("T", [5, 16, 40])
@pytest.mark.parametrize("name", list(VANILLA))
def test_of_free_factors_the_excess_adds_up(name, T):
    """Their S-transforms multiply: b = d = 0."""
    inside = np.abs(logits()) < 5.0
    np.testing.assert_allclose(excess_of(exact(name, T))[inside], T * excess_of_step(name)[inside], atol=1e-2)


@pytest.mark.parametrize("name", list(VANILLA))
@pytest.mark.parametrize(("T", "off"), [(8, 2e-3), (33, 1e-4), (1000, 2e-5)])
def test_the_noise_is_taken_out(name, T, off):
    """From the law of log s² + ξ that of log s²: the wider, the better."""
    inside = np.abs(logits()) < 6.9
    x = without_noise(T * excess_of_step(name))
    assert np.abs(exact(name, T).cdf(0.5 * x) - expit(logits()))[inside].max() < off


@pytest.mark.equation(31)
@pytest.mark.parametrize("T", [100, 1000])
@pytest.mark.parametrize("name", list(VANILLA))
def test_long_vanilla_chains(name, T):
    """Within the error, which is small; the law of half of the steps is rejected."""
    found = of_vanilla(name, T)
    off = float(np.abs(found.cdf(exact(name, T).icdf(P)) - P).max())
    assert found.status is Status.CONVERGED and found.error < 4e-3
    assert off < min(found.error, 5e-4)
    assert np.abs(found.cdf(exact(name, T // 2).icdf(P)) - P).max() > 0.1


@pytest.mark.slow
@pytest.mark.equation(31)
def test_long_gated_chains_of_untied_weights():
    """Their laws are known at all T. Chains of 8 and 16 steps give that of 64, with d = 0.

    It has a sharp lower end, that ξ washes out.
    """
    ens = NETWORKS["leaky"].replace(tied=False)
    chains = np.array([excess_of(rt.spectrum(ens, T).log_s) for T in (16, 8)])
    long = rt.spectrum(ens, 64)
    x = without_noise(series_weights((16, 8), 64) @ chains)
    off = np.abs(np.interp(2.0 * long.log_s.icdf(P), x, expit(logits())) - P)
    assert off.max() < 2e-3 and off[P > 0.05].max() < 1e-4 + long.error


def test_a_slow_end_is_an_error():
    """A term that falls as L^{-1/2} is not forgotten: the error says so, and holds it."""
    step = excess_of_step("gaussian")
    end = 8.0 / (1.0 + np.exp(-logits()))
    chains = [np.tile(32 / ratio * step + end * (32 / ratio) ** -0.5, (8, 1)) for ratio in RATIOS]
    found, T = law_of_chains(Chains(LENGTHS, chains, NONE), 1000), 1000
    true = without_noise(T * step + end * T**-0.5)
    inside = np.abs(logits()) < 6.9
    off = np.abs(found.cdf(0.5 * true) - expit(logits()))[inside].max()
    assert 1e-3 < off < found.error


def test_chains_that_do_not_forget_are_told():
    """Where the changes do not fall, nothing is known of longer chains."""
    step = excess_of_step("gaussian")
    chains = [np.tile(32 / ratio * step * (1.0 + 0.3 / ratio), (8, 1)) for ratio in RATIOS]
    assert law_of_chains(Chains(LENGTHS, chains, NONE), 1000).status is not Status.CONVERGED


def test_an_excess_rises():
    wild = excess_of_step("gaussian") + 0.1 * np.random.default_rng(0).standard_normal(logits().size)
    found = rising(wild)
    assert (np.diff(found) >= 0.0).all()
    np.testing.assert_array_equal(found, rising(found))


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
@pytest.mark.parametrize(
    "name", ["_LEVELS", "_OUTERMOST", "_BEYOND", "_CORRECTIONS", "_EVERY", "_END", "_FLAT"]
)
def test_numbers_moved_by_three(name, factor, monkeypatch):
    law = of_vanilla("isometric", 100)
    value = getattr(long_chains, name) * factor
    excess = CubicSpline(logits(), excess_of_step("isometric"))
    monkeypatch.setattr(
        long_chains, name, round(value) if isinstance(getattr(long_chains, name), int) else value
    )
    chains = [np.tile(32 / ratio * excess(logits()), (8, 1)) for ratio in RATIOS]
    moved = law_of_chains(Chains(LENGTHS, chains, [np.zeros(logits().size)] * 4), 100)
    assert np.abs(moved.cdf(law.icdf(P)) - P).max() < 3e-4


@pytest.mark.parametrize("name", ["orthogonal", "gaussian"])
@pytest.mark.parametrize("T", [16, 32])
def test_a_law_by_its_own_s_transform(name, T):
    """Within the error; what few sites make of it is part of that."""
    excess = np.tile(T * excess_of_step(name), (8, 1))
    found, more = (law_of_chains(Chains([T], [excess], NONE[:1], error), T) for error in (0.0, 0.01))
    off = float(np.abs(found.cdf(exact(name, T).icdf(P)) - P).max())
    assert found.status is Status.CONVERGED and off < found.error < 3e-3
    assert more.error == pytest.approx(found.error + 0.01, abs=1e-9)


def test_ways_to_a_law():
    """All steps at λ > 0, from 16 of them on first at λ < 0; beyond the longest chain a series."""
    assert longest_solved(NETWORKS["minimal"]) == longest_solved(NETWORKS["lstm"]) == 32
    assert longest_solved(NETWORKS["gru"]) == 16  # two vectors are read in a step
    half = (16, 8, 4, 2)
    assert ways_to(4, 32) == [()] and ways_to(15, 16) == [(), (8, 4, 2, 1)]
    assert ways_to(16, 32) == [(16,), ()] and ways_to(30, 32) == [(30,), (), half]
    assert ways_to(30, 16) == [half, (30,), ()]
    assert ways_to(100, 16) == [half, (32, 16, 8, 4), (64, 32, 16, 8)]
    assert ways_to(50, 16) == [half, (32, 16, 8, 4)]


def _missing(T):
    return TabulatedLaw([], error=math.inf, status=Status.MAX_ITERATIONS)


def test_laws_that_say_nothing_of_longer_ones():
    """With a mass at s = 0 all steps are solved; without short chains nothing is known."""
    asked = []

    def with_zeros(T):
        asked.append(T)
        return TabulatedLaw([], atoms=[(-math.inf, 1.0)])

    def massive(lengths):
        return Chains(lengths, [], [], has_mass=True)

    assert law_of_length(with_zeros, massive, 1000, 32).atoms and asked == [1000]
    assert law_of_length(_missing, lambda lengths: None, 1000, 32).status is Status.MAX_ITERATIONS
    assert asked == [1000]


def _short_ones_forget_nothing(asked):
    """Chains of less than 64 steps say nothing of longer ones."""

    def chains_of(lengths):
        asked.append(lengths[0])
        short, step = 0.3 * (lengths[0] < 64) / lengths[0], excess_of_step("gaussian")
        excesses = [np.tile(length * step * (1.0 + short * length), (8, 1)) for length in lengths]
        return Chains(lengths, excesses, [NONE[0]] * len(lengths))

    return chains_of


def test_chains_are_doubled_where_they_are_too_short():
    asked, T = [], 100
    law = law_of_length(_missing, _short_ones_forget_nothing(asked), T, 32)
    assert law.status is Status.CONVERGED and law.error < 4e-3 and asked == [32, 64]
    assert np.abs(law.cdf(exact("gaussian", T).icdf(P)) - P).max() < law.error


def test_another_way_where_one_is_not_good_enough():
    """Up to twice the longest chain all steps are solved, at λ < 0 and, if that is not enough, at λ > 0."""
    asked, whole = [], TabulatedLaw([], atoms=[(-1.0, 1.0)])
    law = law_of_length(_missing, _short_ones_forget_nothing(asked), 64, 32)
    assert law.status is Status.CONVERGED and asked == [32, 64]

    def nothing(lengths):
        asked.append(lengths[0])

    assert law_of_length(lambda T: whole, nothing, 40, 32) is whole and asked == [32, 64, 32, 40]


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


@pytest.mark.slow
@pytest.mark.equation(15, 31)
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
    assert found.converged and found.error < (3e-2 if name == "open gru" else 2.2e-2)
    sample = QUANTILES[name, T]
    allowed = found.error + 4 * np.array(sample.errors)
    quantiles = np.array(sample.quantiles)
    assert (np.abs(found.log_s.cdf(quantiles) - LEVELS) < allowed).all()
    redrawn = rt.spectrum(NETWORKS[name].replace(tied=False), T)
    assert (np.abs(redrawn.log_s.cdf(quantiles) - LEVELS) > redrawn.error + allowed).any()
