"""Psi of tied weights (20)-(21) against the dense pencil (12), against differences, and its branch."""

from __future__ import annotations

import numpy as np
import pytest
from dense_reference import log_det, overlaps
from random_sites import CASES, physical, random_energy, resolvent

from rmtrnn.dyson.tied.functional import gradient, image, weight_value
from rmtrnn.dyson.tied.site_matrices import SiteMatrices

STEPS, POINT = 4, 0.5 + 0.6j


def case(build, seed=3, n=5):
    rng = np.random.default_rng(seed)
    stages = build(STEPS, n, rng)
    sites = SiteMatrices.of(stages, STEPS, rng.dirichlet(np.full(n, 20.0)))
    return stages, sites, random_energy(sites, rng)


def psi(sites, energy, point=POINT):
    return complex(sites.weights @ sites.site_values(energy, point)[0]) + weight_value(sites, energy)


@pytest.mark.parametrize("build", CASES)
@pytest.mark.equation(15, 20)
def test_overlaps_are_those_of_the_dense_pencil(build):
    stages, sites, energy = case(build)
    P, Q = physical(sites, stages, energy)
    found = sites.overlaps(energy, POINT)
    g, k = physical(sites, stages, found)
    dense_g, dense_k, m = overlaps(stages, STEPS, P, Q, POINT, sites.weights)
    np.testing.assert_allclose(g, dense_g, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(k, dense_k, rtol=1e-9, atol=1e-11)
    # The logarithm of the determinant is of a Q that is shifted by 1e-8.
    assert resolvent(sites, energy, POINT) == pytest.approx(m, rel=1e-6)


@pytest.mark.parametrize("build", CASES)
@pytest.mark.equation(21)
def test_log_determinant_is_that_of_the_dense_pencil(build):
    """Modulo i pi; the determinant of the pencil is (-1)^L det(1 - Q h)."""
    stages, sites, energy = case(build)
    P, Q = physical(sites, stages, energy)
    found = sites.site_values(energy, POINT)[0]
    dense = np.array([log_det(stages, STEPS, P, Q, POINT, site) for site in range(sites.n)])
    np.testing.assert_allclose(np.real(found), np.real(dense), atol=1e-6)
    assert np.abs(np.sin(np.imag(found) - np.imag(dense))).max() < 1e-6


@pytest.mark.parametrize("build", CASES)
def test_the_branch_is_that_of_the_eigenvalues(build):
    """Q and h lie in the lower half plane, no eigenvalue of Q h is positive: principal arguments add up."""
    _, sites, energy = case(build)
    found = sites.site_values(energy, POINT)[0]
    P, Q = sites.with_ends(energy, POINT)
    for gamma, phase in zip(sites.gamma, np.imag(found), strict=True):
        eigen = np.linalg.eigvals(np.eye(len(Q)) - Q @ gamma @ P @ gamma.T)
        assert np.angle(eigen).sum() == pytest.approx(phase, abs=1e-6)


@pytest.mark.parametrize("build", CASES)
@pytest.mark.equation(21)
def test_gradient_against_differences(build):
    """Along one direction of all self-energies; a gradient without the weights' part would be noticed."""
    _, sites, energy = case(build)
    rng = np.random.default_rng(8)
    turn = rng.normal(size=energy.shape)
    turn, step = turn + np.swapaxes(turn, -1, -2), 1e-5
    slope = gradient(sites, energy, sites.overlaps(energy, POINT))
    expected = (psi(sites, energy + step * turn) - psi(sites, energy - step * turn)) / (2 * step)
    found = np.einsum("fkij,fkji->", slope, turn)
    assert found == pytest.approx(expected, rel=1e-6)
    without = -np.einsum("fkij,fkji->", sites.overlaps(energy, POINT)[::-1], turn)
    assert abs(without - expected) > 0.01 * abs(expected)


@pytest.mark.parametrize("build", CASES)
@pytest.mark.equation(15)
def test_gradient_vanishes_where_the_image_is_the_self_energy(build):
    """At g and k read backwards from P and Q: P = g (sigma^2 - Q P) for Haar, sigma^2 g for Gaussian."""
    _, sites, energy = case(build)
    one = np.eye(STEPS)
    overlap = np.empty_like(energy)
    for k, (variance, haar) in enumerate(zip(sites.sigma2, sites.orthogonal, strict=True)):
        p, q = energy[:, k]
        overlap[0, k] = p @ np.linalg.inv(variance * one - q @ p) if haar else p / variance
        overlap[1, k] = q @ np.linalg.inv(variance * one - p @ q) if haar else q / variance
    np.testing.assert_allclose(image(sites, energy, overlap), energy, atol=1e-12)
    np.testing.assert_allclose(gradient(sites, energy, overlap), 0.0, atol=1e-12)
    assert np.abs(gradient(sites, energy, 1.1 * overlap)).max() > 1e-3
