"""The regression on log det of sites with a memory: (31), (32) against dense matrices, and its error."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from random_sites import one_state

import rmtrnn as rt
from rmtrnn.dyson.tied import memory_form, more_sites
from rmtrnn.dyson.tied.anchors import group_means, regression, regressors
from rmtrnn.dyson.tied.iteration import Differences, Point, solve
from rmtrnn.dyson.tied.large_lambda import large_lambda
from rmtrnn.dyson.tied.memory_form import Memory, log_determinants, memories
from rmtrnn.dyson.tied.more_sites import MoreSites
from rmtrnn.dyson.tied.site_matrices import SiteMatrices
from rmtrnn.dyson.tied.sites import draw_population
from rmtrnn.meanfield.periodic_process import GROUPS

POINT, STEPS = 0.5 + 0.6j, 16
MINIMAL = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5, tied=True)


def with_memory(steps, rng):
    """P and Q of the form (31) in the lower half plane, smooth in time but for the diagonal."""
    time, found = np.linspace(-1.0, 1.0, steps), []
    for rate in (0.8, 0.4):
        diagonal = (0.3 - 0.3j) * rng.uniform(0.9, 1.1, steps)
        start = (0.1 - 0.12j) * np.exp(0.2 * time)
        found.append(Memory(diagonal, start, rate * np.exp(0.1 * time + 0j)))
    return found


@pytest.mark.equation(31, 32)
def test_a_site_with_a_memory_is_that_of_dense_matrices():
    """The form is found again; log det on the same branch, and m. Without memory it would be far off."""
    rng = np.random.default_rng(3)
    stages = one_state(8, 5, rng)
    sites = SiteMatrices.of(stages, 8)
    more = MoreSites(tuple(stages), sites, slice(None))
    energy = np.array([one.matrix for one in with_memory(8, rng)])
    again = np.array([one.matrix for one in memories(energy)])
    np.testing.assert_allclose(again, energy, atol=2e-4)
    expected, m = sites.site_values(again[:, None], POINT)  # of a Q that is shifted by 1e-8
    expected = expected - 1j * POINT.imag * m  # to first order that on the real axis
    point = Point(POINT, energy[:, None], 0.0, 0.0, 1, True, Differences.none(energy))
    found = np.pi * more.of_all([point]).log_det[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(more.of_all([point]).m[:, 0], m, rtol=1e-5)
    lost = point._replace(energy=energy[:, None] * np.eye(8))
    assert np.abs(np.pi * more.of_all([lost]).log_det[:, 0] - expected).max() > 1e-3


def test_the_logarithm_counts_turns():
    """Of products of pivots on every side of the plane, over many times 2 pi."""
    rng = np.random.default_rng(4)
    size, phase = np.exp(rng.normal(size=(200, 50))), rng.uniform(-np.pi, np.pi, size=(200, 50))
    sums = memory_form._Logarithm(50)
    for one, angle in zip(size, phase, strict=True):
        sums.add(one * np.exp(1j * angle))
    np.testing.assert_allclose(sums.flush(), (np.log(size) + 1j * phase).sum(axis=0), rtol=1e-10)
    assert np.abs(phase.sum(axis=0)).max() > 4 * np.pi


@pytest.fixture(scope="module")
def solved():
    """A point of sixteen steps, solved on few sites, and what many drawn sites add to F there, dense."""
    population = draw_population(MINIMAL, STEPS, 64, 0)
    sites = SiteMatrices.of(population.stages, STEPS, population.weights)
    far = large_lambda(sites)
    u = 0.5 * far.log_m1 - 4.0
    point = solve(sites, far.energy(sites, complex(2 * u, 0.3)), complex(2 * u, 0.3), 1e-5)
    drawn = SiteMatrices(
        stages=tuple(population.drawn),
        weights=np.full(population.drawn[0].a.shape[2], 1.0 / population.drawn[0].a.shape[2]),
        sigma2=sites.sigma2,
        orthogonal=sites.orthogonal,
        steps=STEPS,
        log_growth=sites.log_growth,
    )
    dense = [one.site_values(point.energy, point.log_lambda)[0].imag / np.pi for one in (sites, drawn)]
    return population, sites, point, dense


def estimate(solved):
    """Mean of Im log det/π: over few sites, by regression, over all drawn; what is left of the spread."""
    population, sites, point, (ours, many) = solved
    more = MoreSites.of(population.drawn, sites, slice(None))
    few, drawn = (regressors(one.log_det) for one in (more.at_sites([point]), more.of_all([point])))
    share = regression(few, ours[:, None], sites.weights)
    equal = np.full(len(drawn), 1.0 / len(drawn))
    differ = group_means(drawn, equal, GROUPS) - group_means(few, sites.weights, GROUPS)
    plain = float(sites.weights @ ours)
    return (
        plain,
        plain + float((differ @ share).mean()),
        float(many.mean()),
        float((ours - few @ share[:, 0]).std()),
    )


@pytest.mark.equation(15, 31)
def test_the_mean_over_all_drawn_sites_is_found_from_few(solved):
    """Of 512 sites, within four standard errors of what is left; the spread falls to a tenth."""
    _, found, exact, left = estimate(solved)
    n = solved[1].n
    assert solved[3][0].std() > 0.15
    assert left < 0.1 * solved[3][0].std()
    assert abs(found - exact) < 4 * left / np.sqrt(n)


def test_there_are_none_where_the_recursion_is_not_that_of_the_cell():
    stages = one_state(STEPS, 5, np.random.default_rng(1))
    sites = SiteMatrices.of(stages, STEPS)
    assert MoreSites.of([], sites, slice(None)) is None
    assert MoreSites.of(stages[:8], SiteMatrices.of(stages[:8], 8), slice(None)) is None
    assert MoreSites.of(stages, sites, slice(None)) is not None
    gru = draw_population(rt.Ensemble("gru", sigma_w=1.0, sigma_v=1.0, tied=True), STEPS, 8, 0)
    assert MoreSites.of(gru.drawn, SiteMatrices.of(gru.stages, STEPS), slice(None)) is None


@pytest.mark.parametrize("factor", [3.0, 1.0 / 3.0])
@pytest.mark.parametrize("name", [one.name for one in fields(memory_form.FitSettings)])
def test_numbers_of_the_fit_moved_by_three(name, factor, solved, monkeypatch):
    """What is left of the spread stays below a fifth of it, and the mean within its errors."""
    value = getattr(memory_form._FIT, name)
    moved = type(value)(max(1, round(value * factor)) if isinstance(value, int) else value * factor)
    monkeypatch.setattr(memory_form, "_FIT", replace(memory_form._FIT, **{name: moved}))
    _, found, exact, left = estimate(solved)
    assert left < 0.2 * solved[3][0].std()
    assert abs(found - exact) < 4 * left / np.sqrt(solved[1].n)


@pytest.mark.parametrize("name", ["_PIVOTS", "_PORTION"])
@pytest.mark.parametrize("factor", [3.0, 1.0 / 3.0])
def test_numbers_of_speed_change_nothing(name, factor, monkeypatch):
    rng = np.random.default_rng(5)
    stages, energy = one_state(8, 50, rng), np.array([one.matrix for one in with_memory(8, rng)])
    plain = log_determinants(stages, energy, 0.5 - 0.4j)[0]
    monkeypatch.setattr(memory_form, name, max(1, round(factor * getattr(memory_form, name) / 50)))
    np.testing.assert_allclose(log_determinants(stages, energy, 0.5 - 0.4j)[0], plain, atol=1e-10)


@pytest.mark.sweep
@pytest.mark.parametrize("name", [one.name for one in fields(more_sites.MoreSettings)])
@pytest.mark.parametrize("factor", [3, 1 / 3])
def test_numbers_of_the_second_phase_moved_by_three(name, factor, monkeypatch):
    """F of a small law moves by less than its error."""
    options = {"population": 512, "tol": 1e-2, "max_points": 16}
    plain = rt.spectrum(MINIMAL, STEPS, **options)
    value = max(1, round(factor * getattr(more_sites.MORE, name)))
    settings = replace(more_sites.MORE, **{name: value})
    for module in ("more_sites", "anchors"):
        monkeypatch.setattr(f"rmtrnn.dyson.tied.{module}.MORE", settings)
    found = rt.spectrum(MINIMAL, STEPS, **options)
    u = plain.log_s.icdf(np.linspace(0.1, 0.9, 9))
    assert np.abs(found.log_s.cdf(u) - plain.log_s.cdf(u)).max() < plain.error + found.error
