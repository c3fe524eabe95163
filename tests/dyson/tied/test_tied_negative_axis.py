"""Tied weights at λ < 0: real self-energies, the cdf of log s² + ξ there, and what all sites make of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sampled_quantiles import NETWORKS
from scipy.special import expit, logit

import rmtrnn as rt
from rmtrnn.dyson.tied import negative_axis
from rmtrnn.dyson.tied.iteration import solve
from rmtrnn.dyson.tied.large_lambda import large_lambda
from rmtrnn.dyson.tied.node import node_at
from rmtrnn.dyson.tied.site_matrices import SiteMatrices
from rmtrnn.dyson.tied.sites import draw_population, windows

INSIDE = np.linspace(-5.0, 5.0, 41)
HAAR = rt.Ensemble("gru", sigma_v=0.7, mu_b={"u": 1.0}, R=0.5, weights="orthogonal", tied=True)


def smoothed(*arguments):
    """What is found there."""
    found = negative_axis.smoothed(*arguments)
    assert found is not None
    return found


def sites_of(ens, T, n=64):
    population = draw_population(ens, T, n, 0)
    return SiteMatrices.of(population.stages, T, population.weights)


@pytest.mark.equation(20, 30)
@pytest.mark.parametrize("ens", [NETWORKS["minimal"], NETWORKS["gru"], NETWORKS["lstm"], HAAR])
def test_real_and_complex_arithmetic_agree(ens):
    """The same equations with real numbers and with complex ones of no imaginary part."""
    sites = sites_of(ens, 4)
    far = large_lambda(sites)
    log_lambda = complex(far.log_m1, math.pi)
    real = solve(sites, np.real(far.energy(sites, log_lambda)), log_lambda, 1e-12)
    assert real.energy.dtype == float and real.relative < 1e-3
    other = real.energy + 0j
    np.testing.assert_allclose(
        sites.overlaps(real.energy, log_lambda), sites.overlaps(other, log_lambda).real, rtol=1e-9
    )
    log_det, m = sites.site_values(other, log_lambda)
    np.testing.assert_allclose(sites.log_determinants(real.energy, log_lambda), log_det.real, atol=1e-5)
    assert sites.mean_resolvent(real.energy, log_lambda).real == pytest.approx(
        float(sites.weights @ m.real), abs=1e-5
    )


@pytest.mark.equation(31)
@pytest.mark.parametrize("name", ["minimal", "leaky"])
def test_it_is_the_law_with_logistic_noise(name):
    """p at the same sites, from the law on the positive axis: E t/(t + s²)."""
    from rmtrnn.dyson.tied.law import law_of_population
    from rmtrnn.dyson.tied.path import LawSettings

    population = draw_population(NETWORKS[name], 4, 64, 0)
    sites = SiteMatrices.of(population.stages, 4, population.weights)
    law = law_of_population(population, 4, LawSettings())
    found = smoothed(sites, sites, sites, 8, 1e-3)
    levels = (np.arange(20000) + 0.5) / 20000
    x = 2.0 * law.icdf(levels)
    log_t = found.log_t.mean(axis=0)
    p = np.array([expit(value - x).mean() for value in log_t])
    assert np.abs(p - expit(found.logits)).max() < law.error + 1e-3


def test_all_sites_from_some_of_them():
    """Ψ is stationary: from a quarter of the sites, but for the square of what these are off."""
    sites = sites_of(NETWORKS["minimal"], 4, 256)
    some = sites.at(slice(0, None, 4))
    own, whole, quick = (
        smoothed(pair[0], pair[1], pair[1], 8, 1e-3).excess(INSIDE).mean(axis=0)
        for pair in ((some, some), (sites, sites), (sites, some))
    )
    off, was = np.abs(quick - whole).max(), np.abs(own - whole).max()
    assert off < 0.1 * was


def test_groups_are_what_they_are_by_themselves():
    sites = sites_of(NETWORKS["leaky"], 4, 256)
    groups = smoothed(sites, sites, sites, 8, 1e-3).excess(INSIDE)
    part = sites.at(slice(0, sites.n // 8))
    alone = smoothed(part, part, part, 1, 1e-3).excess(INSIDE)[0]
    assert np.abs(groups[0] - alone).max() < 0.1 * np.abs(groups[0] - groups.mean(axis=0)).max() + 1e-3


def test_windows_of_a_chain():
    """The first and the last steps, group by group, with the weights of their sites."""
    population = draw_population(NETWORKS["gru"], 8, 32, 0)
    found = windows(population, 8, 2)
    per_step = len(population.stages) // 8
    assert len(found.stages) == 2 * per_step and found.weights.sum() == pytest.approx(1.0)
    a = found.stages[0].a.reshape(*found.stages[0].a.shape[:2], 8, 2, 32)
    for start, place in ((0, 0), (6, 1)):
        whole = population.stages[start * per_step].a
        np.testing.assert_array_equal(a[:, :, :, place], whole.reshape(*whole.shape[:2], 8, 32))
    same = windows(population, 8, 8)
    np.testing.assert_array_equal(same.weights, population.weights)


def test_a_block_of_windows():
    """The cell state of an LSTM: one state in, one out, at the same sites."""
    population = draw_population(NETWORKS["lstm"], 8, 32, 0)
    found = windows(population, 8, 4, block=(1, 1))
    assert found.stages[0].a.shape[1] == 1 and found.stages[-1].a.shape[0] == 1
    sites = SiteMatrices.of(found.stages, 4, found.weights)
    assert smoothed(sites, sites, sites, 8, 1e-2).log_t.shape[0] == 8


def test_a_mass_at_zero_ends_the_way_down():
    """Of a hard tanh p tends to the mass that is lost."""
    ens = rt.Ensemble(rt.VanillaRNN("hard_tanh"), sigma_w=1.5, sigma_b=0.5, tied=True)
    sites = sites_of(ens, 4)
    found = smoothed(sites, sites, sites, 8, 1e-3)
    atom = rt.spectrum(ens, 4).log_s.cdf(-50.0)
    assert found.has_mass and atom > 0.1 and expit(found.logits[0]) == pytest.approx(atom, abs=0.05)


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
@pytest.mark.parametrize("name", ["_TOL", "_STEP", "_LONGEST", "_STILL"])
def test_numbers_moved_by_three(name, factor, monkeypatch):
    sites = sites_of(NETWORKS["minimal"], 8)
    before = smoothed(sites, sites, sites, 8, 1e-3).excess(INSIDE).mean(axis=0)
    monkeypatch.setattr(negative_axis, name, factor * getattr(negative_axis, name))
    after = smoothed(sites, sites, sites, 8, 1e-3).excess(INSIDE).mean(axis=0)
    assert np.abs(after - before).max() < 3e-2


def test_where_it_is_not_solved_nothing_is_said(monkeypatch):
    sites = sites_of(NETWORKS["minimal"], 4)
    monkeypatch.setattr(negative_axis, "_TOL", 0.0)
    monkeypatch.setattr(negative_axis, "_STILL", 0.0)
    assert negative_axis.smoothed(sites, sites, sites, 8, 1e-3) is None


def test_levels_are_logits():
    sites = sites_of(NETWORKS["leaky"], 2)
    found = smoothed(sites, sites, sites, 8, 1e-3)
    assert found.logits[0] < logit(1e-3) and found.logits[-1] > -logit(1e-3)
    assert (np.diff(found.logits) > 0.0).all() and found.log_t.shape == (8, found.logits.size)
    node = node_at(sites, solve(sites, large_lambda(sites).energy(sites, 5.0 + 3.0j), 5.0 + 3.0j, 1e-6))
    assert math.isfinite(node.cdf)
