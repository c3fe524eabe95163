"""Self-energies with a diagonal and a smooth part in time: (22)-(23) against dense matrices and samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_sites import CASES, random_energy
from reference import fuss_catalan

import rmtrnn as rt
from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.tied import bordered_sites, law
from rmtrnn.dyson.tied.bordered_sites import BorderedSites
from rmtrnn.dyson.tied.iteration import solve, solve_from_above
from rmtrnn.dyson.tied.large_lambda import large_lambda
from rmtrnn.dyson.tied.path import PathSettings, node_at
from rmtrnn.dyson.tied.site_matrices import SiteMatrices
from rmtrnn.dyson.tied.sites import draw_population
from rmtrnn.dyson.tied.time_modes import TimeModes, legendre

STEPS, POINT = 6, 0.5 + 0.6j


def case(build, modes, steps=STEPS, n=5):
    rng = np.random.default_rng(3)
    stages = build(steps, n, rng)
    dense = SiteMatrices.of(stages, steps, rng.dirichlet(np.full(n, 20.0)))
    energy = random_energy(dense, rng)
    return dense, BorderedSites.of(stages, dense, modes).gauged(energy), energy


@pytest.mark.parametrize("modes", [3, STEPS])
def test_the_projection_is_orthogonal(modes):
    """What it leaves out is orthogonal to diagonals and smooth matrices; with all modes nothing is left."""
    rng = np.random.default_rng(1)
    form = TimeModes(STEPS, modes)
    matrix, other = rng.normal(size=(STEPS, STEPS)), rng.normal(size=(modes, modes))
    matrix, level = matrix + matrix.T, rng.normal(size=modes)
    parts = form.from_moments(np.diagonal(matrix), form.moments(matrix))
    nearest = form.matrix(parts)
    np.testing.assert_allclose(form.matrix(form.of(nearest)), nearest, atol=1e-12)
    phi = legendre(STEPS, modes)
    left_out = matrix - nearest
    assert np.sum(left_out * (phi @ (other + other.T) @ phi.T)) == pytest.approx(0.0, abs=1e-12)
    assert np.diagonal(left_out) @ (phi @ level) == pytest.approx(0.0, abs=1e-12)
    assert (np.abs(left_out).max() < 1e-12) == (modes == STEPS)


@pytest.mark.parametrize("build", CASES)
@pytest.mark.equation(20, 23)
def test_overlaps_are_the_projected_ones_of_dense_matrices(build):
    for modes in (2, 3, STEPS):
        dense, sites, energy = case(build, modes)
        energy = sites.represented(energy)
        expected = sites.projected(dense.overlaps(energy, POINT))
        found = sites.overlaps(energy, POINT)
        np.testing.assert_allclose(found, expected, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("build", CASES)
@pytest.mark.equation(23)
def test_log_determinant_is_that_of_dense_matrices(build):
    """On the same branch; a chain without its border would be far off."""
    dense, sites, energy = case(build, STEPS)
    energy = sites.represented(energy)
    expected, m = dense.log_determinant(energy, POINT)  # of a Q that is shifted by 1e-8
    found, bordered_m = sites.log_determinant(energy, POINT)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert bordered_m == pytest.approx(m, rel=1e-6)
    steps = np.arange(STEPS)
    diagonal = np.zeros_like(energy)
    diagonal[..., steps, steps] = energy[..., steps, steps]
    assert np.abs(sites.log_determinant(diagonal, POINT)[0] - expected).max() > 1e-3


def power(steps, a, b, orthogonal=False):
    """J = (a + b W)^T at one site."""
    one = np.ones((1, 1, 1))
    stages = [Stage(a * one, b * one, one, (1.0,), (orthogonal,))] * steps
    dense = SiteMatrices.of(stages, steps)
    return stages, dense, large_lambda(dense)


@pytest.mark.equation(15, 23)
def test_power_of_one_gaussian_matrix():
    """J = W^12 has the law of twelve free factors: F of Fuss-Catalan."""
    steps = 12
    stages, dense, far = power(steps, 0.0, 1.0)
    u, density = fuss_catalan.points(steps, np.linspace(0.0, 1.0, 200001)[1:-1])
    cdf = 1.0 + np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(u))])
    for p in (0.6, 0.8):
        place = float(np.interp(p, cdf[::-1], u[::-1]))
        sites = BorderedSites.of(stages, dense, 8)
        point = solve_from_above(sites, far.energy(dense, complex(2 * place, 0.3)), 2 * place, 1e-9)
        assert point.is_solved(1e-9)
        assert node_at(sites, point).cdf == pytest.approx(p, abs=1e-4)


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.equation(15, 23)
def test_power_of_identity_plus_weights_against_matrices(orthogonal):
    """J = (0.8 + 0.2 W)^24: four matrices of N = 200. One mode does not fit."""
    steps, n = 24, 200
    stages, dense, far = power(steps, 0.8, 0.2, orthogonal)
    rng, logs = np.random.default_rng(5), []
    for _ in range(4):
        W = rng.normal(size=(n, n)) / np.sqrt(n)
        if orthogonal:
            q, r = np.linalg.qr(W)
            W = q * np.sign(np.diagonal(r))
        J = np.linalg.matrix_power(0.8 * np.eye(n) + 0.2 * W, steps)
        logs.append(np.log(np.linalg.svd(J, compute_uv=False)))
    worst = {6: 0.0, 1: 0.0}
    for p in (0.6, 0.75, 0.9):
        u = float(np.quantile(logs, p))
        for modes in worst:
            sites = BorderedSites.of(stages, dense, modes)
            point = solve_from_above(sites, far.energy(dense, complex(2 * u, 0.3)), 2 * u, 1e-6)
            worst[modes] = max(worst[modes], abs(node_at(sites, point).cdf - p))
    assert worst[6] < 0.01
    assert worst[1] > 0.1


def drifting(steps, n, variance, rng):
    """Gates of a minimalRNN that turn slowly in time, at every site with a phase of its own."""
    own, drift = rng.normal(size=(2, n))
    stages, rate = [], 4.0 / steps
    for t in range(steps):
        gate = 1.0 / (1.0 + np.exp(-(1.5 + own * np.cos(rate * t) + drift * np.sin(rate * t))))
        b = gate * (1.0 - gate) * (own * np.sin(rate * t) - drift * np.cos(rate * t))
        stages.append(Stage(gate[None, None], b[None, None], np.ones((1, 1, n)), (variance,), (False,)))
    return stages


@pytest.mark.equation(22)
def test_the_error_of_the_form_is_small_and_falls():
    """Twenty correlated steps: F of dense self-energies to 1e-3 with seven modes, not with one."""
    stages = drifting(20, 256, 9.0, np.random.default_rng(2))
    dense = SiteMatrices.of(stages, 20)
    far = large_lambda(dense)
    log_lambda = far.log_m1 - 4.0
    start = far.energy(dense, complex(log_lambda, 0.3))
    exact = node_at(dense, solve_from_above(dense, start, log_lambda, 1e-8)).cdf
    errors = []
    for modes in (1, 3, 7):
        sites = BorderedSites.of(stages, dense, modes)
        errors.append(abs(node_at(sites, solve_from_above(sites, start, log_lambda, 1e-8)).cdf - exact))
    assert 0.05 < exact < 0.95
    assert errors[2] < 1e-3
    assert errors[0] > 5 * errors[2]


def test_long_chains_neither_over_nor_underflow():
    """200 steps: the point is found, and its self-energies are those of the form."""
    stages = drifting(200, 16, 1.0, np.random.default_rng(4))
    dense = SiteMatrices.of(stages, 200)
    sites, far = BorderedSites.of(stages, dense, 10), large_lambda(dense)
    log_lambda = complex(far.log_m1 + 1.0, 0.3)
    point = solve(sites, far.energy(dense, log_lambda), log_lambda, 1e-10)
    assert point.is_settled(1e-10)
    assert np.isfinite(sites.log_determinant(point.energy, log_lambda)[0]).all()


@pytest.mark.equation(15, 23)
def test_the_law_is_that_of_dense_matrices(monkeypatch):
    """Twelve steps of a minimalRNN with four modes: F on the same sites; a shift by 0.15 would be noticed."""
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=2.0, R=0.5, tied=True)
    monkeypatch.setattr(law, "MODES", replace(law.MODES, dense_rows=2, least=4, steps=1e9))
    population = draw_population(ens, 12, 32, 0)
    found = law.law_of_population(population, 12, PathSettings(tol=1e-2))
    dense = SiteMatrices.of(population.stages, 12, population.weights)
    far = large_lambda(dense)
    for p in (0.2, 0.5, 0.8):
        u = float(found.icdf(np.array([p]))[0])
        start = far.energy(dense, complex(2 * u, 0.3))
        exact = node_at(dense, solve_from_above(dense, start, 2 * u, 1e-6)).cdf
        assert exact == pytest.approx(p, abs=5e-3)
        beyond = node_at(dense, solve_from_above(dense, start, 2 * u + 0.3, 1e-6)).cdf
        assert beyond - p > 0.02


@pytest.mark.parametrize("factor", [3.0, 1.0 / 3.0])
@pytest.mark.parametrize("name", ["GAUGE_DEGREE", "_PHASE_STEPS", "_PHASE_TURN", "_CACHED_ELEMENTS"])
def test_numbers_moved_by_three(name, factor, monkeypatch):
    """F on some of the sites moves by less than what the form misses."""
    stages = drifting(20, 64, 9.0, np.random.default_rng(2))
    dense = SiteMatrices.of(stages, 20)
    sites, far = BorderedSites.of(stages, dense, 6), large_lambda(dense)
    log_lambda = far.log_m1 - 4.0
    point = solve_from_above(sites, far.energy(dense, complex(log_lambda, 0.3)), log_lambda, 1e-6)
    plain = node_at(sites, point).cdf
    value = getattr(bordered_sites, name) * factor
    monkeypatch.setattr(bordered_sites, name, value if name == "_PHASE_TURN" else max(1, round(value)))
    assert node_at(sites, point).cdf == pytest.approx(plain, abs=1e-3)
