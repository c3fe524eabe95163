"""Sites by what the weights read, (29), (30): their size, and g and k where paths add up to large numbers."""

from __future__ import annotations

import numpy as np
import pytest
from dense_reference import overlaps
from random_sites import CASES, one_state, physical, random_energy, two_stages

from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.tied import read_chain, site_matrices
from rmtrnn.dyson.tied.iteration import gauge_unit
from rmtrnn.dyson.tied.site_matrices import SiteMatrices

POINT = 0.5 + 0.6j


def memory(steps, n, rng):
    """As an LSTM: two matrices read h = o c; the cell c is never read."""
    chain = []
    for _ in range(steps):
        keep, out = rng.uniform(0.5, 1.0, n), rng.uniform(0.3, 0.9, n)
        a, b, c = np.zeros((2, 2, n)), np.zeros((2, 2, n)), np.zeros((2, 2, n))
        a[0, 0], a[1, 0] = keep, out * keep
        b[0, 0] = 0.5 * rng.normal(size=n)
        b[0, 1], b[1, 1] = out * b[0, 0], 0.5 * rng.normal(size=n)
        c[:, 1] = 1.0
        chain.append(Stage(a, b, c, (0.7, 0.5), (False, True)))
    return chain


@pytest.mark.parametrize("build", [*CASES, memory])
@pytest.mark.equation(29)
def test_propagators_are_those_of_the_stages(build):
    """gamma = S L^{-1} B with S that gives every port its entry of z."""
    sites = SiteMatrices.of(build(4, 5, np.random.default_rng(3)), 4)
    chain = sites.chain
    found = np.linalg.solve(chain.lower.dense, chain.added.dense)[:, chain.entry]
    np.testing.assert_allclose(found, sites.gamma, rtol=1e-10, atol=1e-12)
    assert np.abs(np.triu(chain.lower.dense, 1)).max() == 0.0


@pytest.mark.parametrize(
    ("build", "size", "few"), [(one_state, 7, True), (two_stages, 18 + 1, True), (memory, 6 + 2, False)]
)
def test_what_is_read_twice_is_one_entry(build, size, few):
    """T + 1 entries of one state; of a memory that two matrices read T + 2 in place of 2 T + 2."""
    chain = SiteMatrices.of(build(6, 5, np.random.default_rng(3)), 6).chain
    assert chain.size == size
    assert (chain.added.columns is not None) == few


def lasting(steps, n, rng):
    """Sites that keep their state, and to which the weights add little."""
    ones = np.ones((1, 1, n))
    return [
        Stage(
            rng.uniform(0.9, 1.0, (1, 1, n)), 10.0 ** rng.uniform(-6, -3, (1, 1, n)), ones, (0.8,), (False,)
        )
        for _ in range(steps)
    ]


@pytest.mark.parametrize("singular", [False, True])
@pytest.mark.equation(20, 30)
def test_overlaps_deep_in_the_lower_tail(monkeypatch, singular):
    """Q h has one eigenvalue of 1e14: 1 - Q h, which forms it, knows g to a few digits at best.

    The dense pencil forms no such sum. With and without the inverse of Q.
    """
    steps, rng = 6, np.random.default_rng(5)
    stages = lasting(steps, 4, rng)
    sites = SiteMatrices.of(stages, steps)
    energy, point = random_energy(sites, rng) * np.array([1.0, 1e14])[:, None, None, None], -32.0 + 0.2j
    if singular:
        monkeypatch.setattr(site_matrices, "_LARGEST_INVERSE", 0.0)
    P, Q = physical(sites, stages, energy)
    dense_g, dense_k, _ = overlaps(stages, steps, P, Q, point, sites.weights)
    g, k = physical(sites, stages, sites.overlaps(energy, point))
    for found, dense in ((g[0], dense_g[0]), (k[0], dense_k[0])):
        unit = np.sqrt(np.abs(np.outer(np.diag(dense), np.diag(dense))))
        assert np.abs((found - dense) / unit).max() < 1e-6
    full_P, full_Q = sites.with_ends(energy, point)
    h = sites.gamma @ full_P @ np.swapaxes(sites.gamma, 1, 2)
    plain = (h @ np.linalg.inv(np.eye(steps + 1) - full_Q @ h)).mean(axis=0)[:steps, :steps]
    unit = np.sqrt(np.abs(np.outer(np.diag(plain), np.diag(plain))))
    own = sites.overlaps(energy, point)[0, 0]
    assert np.abs((plain - own) / unit).max() > 1e-4


@pytest.mark.parametrize(("known", "saturated"), [(True, 1.0), (True, 1e-6), (True, 0.0), (False, 1.0)])
@pytest.mark.equation(29)
def test_what_is_carried_and_not_read_is_known_from_what_is(monkeypatch, known, saturated):
    """Deep in the lower tail of an LSTM, ten steps: averages keep their digits; as sums over paths not.

    By how much a change of the self-energies by 1e-12 changes them, in units of the diagonal. One site of 40
    gives next to nothing of its cell: nothing changes for the others, and it keeps half of its digits.
    """
    if not known:
        monkeypatch.setattr(read_chain, "_by_entry", lambda state, seen, entry: state)
    steps, rng = 10, np.random.default_rng(3)
    stages = memory(steps, 40, rng)
    for stage in stages:
        stage.a[1, 0, 0] *= saturated
        stage.b[0, 1, 0] *= saturated
    monkeypatch.setattr(read_chain, "_KNOWN", read_chain._KNOWN + 0.03)  # one of 40 sites may be lost
    sites = SiteMatrices.of(stages, steps)
    energy, falls = random_energy(sites, rng), 40.0 ** -np.arange(steps)
    energy *= np.array([falls[:, None] * falls, 1.0 / (falls[:, None] * falls)])[:, None]
    unit = gauge_unit(energy)
    change = rng.normal(size=energy.shape) * unit
    moved = energy + 1e-12 * (change + np.swapaxes(change, -1, -2))
    gains = []
    for some in (sites.at([0]), sites.at(slice(1, None))):
        one, two = (some.overlaps(given, -30.0 + 0.3j) for given in (energy, moved))
        gains.append(np.abs((two - one) / gauge_unit(one)).max() / 1e-12)
    assert (gains[1] < 1e3) if known else (gains[1] > 1e5)
    assert saturated == 1.0 or gains[0] < 1e7


@pytest.mark.equation(29)
def test_a_state_that_some_sites_do_not_give_is_not_known_from_what_is_read():
    """One of 40 sites, as at a rectified linear unit that is off: averages are those of the dense pencil."""
    steps, rng = 4, np.random.default_rng(3)
    stages = one_state(steps, 40, rng)
    for stage in stages:
        stage.c[0, 0, 0] = 0.0
    sites = SiteMatrices.of(stages, steps)
    energy = random_energy(sites, rng)
    P, Q = physical(sites, stages, energy)
    dense = overlaps(stages, steps, P, Q, POINT, sites.weights)[:2]
    for found, expected in zip(physical(sites, stages, sites.overlaps(energy, POINT)), dense, strict=True):
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-8, atol=1e-10 * np.abs(expected[0]).max())


@pytest.mark.parametrize("build", [*CASES, memory])
@pytest.mark.equation(30)
def test_a_singular_q_has_the_same_averages(monkeypatch, build):
    sites = SiteMatrices.of(build(4, 5, np.random.default_rng(3)), 4)
    energy = random_energy(sites, np.random.default_rng(4))
    known = sites.overlaps(energy, POINT)
    monkeypatch.setattr(site_matrices, "_LARGEST_INVERSE", 0.0)
    np.testing.assert_allclose(sites.overlaps(energy, POINT), known, rtol=1e-8, atol=1e-10)
    energy[1] = 1e-3 * np.ones_like(energy[1]) * (1.0 - 1.0j)  # of rank one
    assert np.isfinite(sites.overlaps(energy, POINT)).all()
