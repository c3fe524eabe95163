"""Self-energies with a memory: (31)-(33) against dense equations, and laws of long chains against samples."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from random_sites import one_state
from sampled_quantiles import LEVELS, NETWORKS, QUANTILES

import rmtrnn as rt
from rmtrnn.dyson.tied import long_chains, memory_sites
from rmtrnn.dyson.tied.large_lambda import large_lambda
from rmtrnn.dyson.tied.long_chains import as_sites, is_long, long_law, prepared_stages
from rmtrnn.dyson.tied.memory_chain import MemoryChain, covariances, log_determinants
from rmtrnn.dyson.tied.memory_form import Memory, Pairs, fitted, splines
from rmtrnn.dyson.tied.memory_path import short_point, solved_from, stretched
from rmtrnn.dyson.tied.memory_sites import MemorySites
from rmtrnn.dyson.tied.path import LawSettings, PathFollower
from rmtrnn.dyson.tied.site_matrices import SiteMatrices

STEPS, POINT = 9, 0.3 + 0.3j


def random_memory(rng, steps=STEPS):
    """Of no smooth form, with a growth along the steps, in the lower half plane."""

    def noise(size):
        return size * (rng.normal(size=steps) + 1j * rng.normal(size=steps))

    return Memory(-0.1 * np.arange(steps) - 0.5 - 0.8j + noise(0.05), 0.1 + noise(0.05), -0.4 + noise(0.1))


@pytest.mark.equation(31)
def test_the_form_and_the_same_from_the_last_step_on():
    memory = random_memory(np.random.default_rng(1))
    d, beta, decay = memory.recursion()
    matrix = memory.matrix()
    assert matrix[6, 2] == pytest.approx(beta[2] * decay[3] * decay[4] * decay[5], rel=1e-12)
    np.testing.assert_allclose(np.diagonal(matrix), d, rtol=1e-12)
    np.testing.assert_allclose(memory.backwards().matrix(), matrix[::-1, ::-1], rtol=1e-10)
    unit = np.linspace(0.0, 2.0, STEPS)
    scaled = matrix * np.exp(-unit[:, None] - unit)
    np.testing.assert_allclose(memory.scaled(unit).matrix(), scaled, rtol=1e-12)


@pytest.mark.parametrize("columns", [None, np.array([0, 1, 3, 8, 15, 31, 36, 38])])
def test_a_smooth_form_is_found_from_some_of_its_columns(columns):
    steps, basis = 40, splines(40)
    rng = np.random.default_rng(2)

    def smooth(mean, size):
        return basis @ (basis.T @ (mean + size * np.linspace(-1.0, 1.0, steps) ** 2 + 0j))

    memory = Memory(smooth(-0.3 - 0.4j, 0.5), smooth(0.5 - 0.1j, 0.1), smooth(-0.2, -0.05 + 0.02j))
    pairs = Pairs.all_of(steps) if columns is None else Pairs.with_columns(steps, columns, True)
    matrix = memory.matrix()
    start = None if columns is None else memory._replace(log_decay=memory.log_decay + 0.1 * rng.normal())
    found = fitted(pairs, np.diagonal(matrix), matrix[pairs.later, pairs.earlier], start)
    np.testing.assert_allclose(found.matrix(), matrix, atol=2e-4)


@pytest.mark.equation(20, 32)
def test_a_site_with_a_memory_is_that_of_dense_matrices():
    """det, m, g, k and (g Q)_tt; in units of any growth along the steps."""
    rng = np.random.default_rng(3)
    stages = one_state(STEPS, 6, rng)
    full = SiteMatrices.of(stages, STEPS)
    y, x = random_memory(rng), random_memory(rng)
    scale = np.exp(-0.5 * np.concatenate([[0.0], np.cumsum(full.log_growth)[:-1]]))
    scale = scale[:, None] * scale
    energy = np.array([[y.matrix() * scale], [x.matrix() / scale]])
    expected, m = full.site_values(energy, POINT)
    g, k = full.overlaps(energy, POINT)[:, 0]
    unit = 0.2 * rng.normal(size=STEPS)
    chain, ends = MemoryChain.of(stages).scaled(unit), (np.exp(-2 * unit[0]), np.exp(2 * unit[-1] - POINT))
    in_units = y.scaled(unit), x.scaled(-unit)
    found = log_determinants(chain, *in_units, *ends)
    np.testing.assert_allclose(found[0], expected, atol=1e-6)  # of a Q that is shifted by 1e-8
    np.testing.assert_allclose(found[1], m, atol=1e-6)
    columns = np.array([0, 3, 4, 8])
    of_g = covariances(chain, *in_units, ends, full.weights, columns)
    last = STEPS - 1 - columns[::-1]
    of_k = covariances(
        chain.backwards(), *(one.backwards() for one in in_units[::-1]), ends[::-1], full.weights, last
    )
    unit = np.exp(unit[:, None] + unit)
    g, k = g / scale / unit, k * scale * unit
    np.testing.assert_allclose(of_g.diagonal, np.diagonal(g), rtol=1e-9)
    np.testing.assert_allclose(of_k.diagonal[::-1], np.diagonal(k), rtol=1e-9)
    for i, t in enumerate(columns):
        np.testing.assert_allclose(of_g.columns[i, t:], g[t:, t], rtol=1e-8)
        np.testing.assert_allclose(of_k.columns[::-1, ::-1][i, : t + 1], k[: t + 1, t], rtol=1e-8)
    np.testing.assert_allclose(of_g.flow, np.diagonal(g @ in_units[1].matrix()), rtol=1e-8)
    np.testing.assert_allclose(of_k.flow[::-1], np.diagonal(k @ in_units[0].matrix()), rtol=1e-8)


def solved_short(weights, steps=20, n=512):
    """The sites of a short chain, and points of its dense equations."""
    ens = NETWORKS["minimal"].replace(weights=weights)
    sites = as_sites(prepared_stages(ens, steps, n, 0))
    dense = long_chains.dense_sites(sites)
    follower = PathFollower(dense, large_lambda(dense), LawSettings(), 1.0 / n)
    return sites, dense, follower.march()


@pytest.fixture(scope="module", params=["gaussian", "orthogonal"])
def short(request):
    return solved_short(request.param)


def off_from_dense(sites, dense, nodes):
    """F of the form (31) less that of the dense equations, at points from above to below."""
    found = [solved_from(sites, *short_point(node, dense.log_growth), 1e-4) for node in nodes]
    assert all(one.point.is_solved(2e-4) for one in found)
    return np.array([one.cdf - node.cdf for one, node in zip(found, nodes, strict=True)])


@pytest.mark.equation(15, 31, 33)
def test_a_point_is_that_of_the_dense_equations(short):
    """F within 1e-3, of both weight laws; without a memory it is off by 5e-3."""
    sites, dense, nodes = short
    nodes = [node for node in nodes if 0.05 < node.cdf < 0.99][::5]
    assert np.abs(off_from_dense(sites, dense, nodes)).max() < 1e-3
    node = min(nodes, key=lambda one: abs(one.cdf - 0.5))
    diagonal = node.point.energy * np.eye(sites.steps)
    log_det, m = dense.site_values(diagonal, node.point.log_lambda)
    plain = sites.survival(
        np.array([dense.weights @ log_det, dense.weights @ m]),
        short_point(replace(node, point=node.point._replace(energy=diagonal)), dense.log_growth)[0],
        node.point.log_lambda.imag,
    )
    assert abs(1.0 - plain - node.cdf) > 5e-3


@pytest.mark.equation(33)
def test_the_flows_agree_at_a_fixed_point_of_the_dense_equations(short):
    """g and k give the flow of P and Q alone at every step, to what the dense iteration leaves."""
    _, dense, nodes = short
    point = min(nodes, key=lambda one: abs(one.cdf - 0.5)).point
    g, k = dense.overlaps(point.energy, point.log_lambda)[:, 0]
    y, x = point.energy[:, 0]
    variance = dense.sigma2[0] * np.eye(dense.steps)
    own = np.linalg.solve((variance - x @ y).T, y.T).T if dense.orthogonal[0] else y / dense.sigma2[0]
    flow = np.diagonal(own @ x)
    for found in (np.diagonal(g @ x), np.diagonal(k @ y)):
        np.testing.assert_allclose(found, flow, atol=0.02 * np.abs(flow).max())


def test_a_stretched_point_keeps_what_is_next_to_the_ends(short):
    _, dense, nodes = short
    energies, log_lambda = short_point(nodes[len(nodes) // 2], dense.log_growth)
    longer, moved = stretched(energies, log_lambda, 28)
    for before, after in zip(energies, longer, strict=True):
        np.testing.assert_allclose(after.correlation[:6], before.correlation[:6])
        np.testing.assert_allclose(after.log_decay[-6:], before.log_decay[-6:])
    grown = longer.y.log_diagonal[-1].real - energies.y.log_diagonal[-1].real
    assert (moved - log_lambda).real == pytest.approx(grown)


def test_chains_that_are_long():
    minimal = NETWORKS["minimal"]
    assert is_long(minimal, 150) and is_long(NETWORKS["leaky"], 150)
    assert not is_long(minimal, 100) and not is_long(minimal, 1000) and not is_long(NETWORKS["gru"], 150)
    assert not is_long(minimal.replace(weights=rt.SingularValues([1.0, 2.0])), 150)


def moved_value(value, factor):
    return max(1, round(value * factor)) if isinstance(value, int) else value * factor


@pytest.mark.sweep
@pytest.mark.parametrize("name", [one.name for one in fields(memory_sites.MapSettings)])
@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_numbers_of_the_map_moved_by_two(name, factor, short, monkeypatch):
    """F moves by less than the form errs by. By three, points are given up: not all are solved."""
    sites, dense, nodes = short
    nodes = [node for node in nodes if 0.05 < node.cdf < 0.99][::5]
    value = moved_value(getattr(memory_sites.MAP, name), factor)
    monkeypatch.setattr(memory_sites, "MAP", replace(memory_sites.MAP, **{name: value}))
    fresh = MemorySites(sites.chain, sites.weights, sites.sigma2, sites.orthogonal)
    assert np.abs(off_from_dense(fresh, dense, nodes)).max() < 2e-3


@pytest.mark.slow
@pytest.mark.equation(15, 31, 32, 33)
def test_a_long_chain_against_sampled_networks():
    """minimalRNN of 60 steps, as if it were long: within its error and four standard errors of a sample."""
    network = NETWORKS["minimal"]
    law = long_law(network, 60, None, 0, LawSettings())
    sample = QUANTILES["minimal", 60]
    assert law.error < 1e-2
    off = np.abs(law.cdf(np.array(sample.quantiles)) - LEVELS)
    assert (off < law.error + 4 * np.array(sample.errors)).all()
    untied = rt.spectrum(network.replace(tied=False), 60).log_s
    assert np.abs(untied.cdf(np.array(sample.quantiles)) - LEVELS).max() > 0.05
