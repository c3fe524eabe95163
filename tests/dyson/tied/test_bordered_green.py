"""The bordered recursive Green function (20)-(21) against the dense pencil (12) and finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dense_reference import log_det, overlaps

from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.tied import curvature as curvature_module
from rmtrnn.dyson.tied.bordered_green import averages
from rmtrnn.dyson.tied.chain import TiedChain
from rmtrnn.dyson.tied.curvature import curvature
from rmtrnn.dyson.tied.time_basis import SelfEnergy, TimeBasis


def one_state(steps, n, rng):
    return [
        Stage(
            rng.uniform(0.5, 1.0, size=(1, 1, n)),
            0.5 * rng.normal(size=(1, 1, n)),
            rng.normal(size=(1, 1, n)),
            (0.8,),
            (False,),
        )
        for _ in range(steps)
    ]


def two_stages(steps, n, rng):
    """As a GRU: one state, then three; two matrices read the first, one the second."""
    chain = []
    for _ in range(steps):
        a = np.zeros((3, 1, n))
        a[0], a[1] = 1.0, rng.uniform(0.2, 0.9, size=(1, n))
        b = np.zeros((2, 3, n))
        b[0, 1], b[1, 2] = rng.normal(size=n), rng.normal(size=n)
        chain.append(Stage(a, b, 0.7 * rng.normal(size=(2, 1, n)), (0.7, 0.4), (False, True)))
        a = 0.5 * rng.normal(size=(1, 3, n))
        a[0, 1] = 0.0
        c = np.zeros((1, 3, n))
        c[0, 1] = 1.0
        chain.append(Stage(a, rng.normal(size=(1, 1, n)), c, (0.9,), (True,)))
    return chain


def two_states(steps, n, rng):
    return [
        Stage(*(scale * rng.normal(size=(2, 2, n)) for scale in (0.5, 0.6, 0.5)), (0.7, 0.4), (True, False))
        for _ in range(steps)
    ]


def random_energy(basis, matrices, rng):
    """In the lower half plane, in a gauge that is not smooth in the last step only by accident."""
    r, nd, families = basis.r, basis.n_diagonal, 2 * matrices
    S = 0.3 * rng.normal(size=(families, r, r)) / r
    root = rng.normal(size=(families, r, r)) / r
    S = S + np.swapaxes(S, 1, 2) - 0.3j * root @ np.swapaxes(root, 1, 2)
    d = 0.2 * rng.normal(size=(families, nd)) + 0j
    d[:, :1] -= 1.5j * np.abs(d).sum(axis=1, keepdims=True)
    return SelfEnergy(basis, 0.2 * rng.normal(size=(families, basis.steps)), d, S)


CASES = [(one_state, 9, 3), (one_state, 3, 3), (two_stages, 6, 2), (two_states, 7, 3), (two_states, 1, 1)]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0].__name__}-{case[1]}")
def problem(request):
    build, steps, modes = request.param
    rng = np.random.default_rng(3)
    chain = TiedChain(build(steps, 5, rng), steps, rng.dirichlet(np.ones(5)))
    return chain, random_energy(TimeBasis.legendre(steps, modes), chain.matrices, rng), 0.7 + 0.4j


def dense_parts(chain, energy):
    full = energy.dense()
    return list(full[: chain.matrices]), list(full[chain.matrices :])


@pytest.mark.equation(20, 21)
def test_log_det_is_that_of_the_dense_pencil(problem):
    """(21) at every site: modulus and, up to multiples of pi, phase."""
    chain, energy, point = problem
    P, Q = dense_parts(chain, energy)
    found = averages(chain, energy, point, log_det=True)
    zero = [np.zeros_like(one) for one in P]
    for site in range(chain.n):
        base = log_det(chain.stages, chain.steps, zero, zero, 600.0, site)  # lambda = infinity, no weights
        exact = log_det(chain.stages, chain.steps, P, Q, point, site) - base
        assert abs(np.exp(found.log_det[site] - exact) - 1.0) < 1e-10


@pytest.mark.equation(21)
def test_log_det_where_one_part_alone_leaves_the_lower_half_plane():
    """Only the sum of both parts lies there: modulus and phase modulo 2 pi as dense, branch as nearby."""
    rng = np.random.default_rng(8)
    chain = TiedChain(one_state(9, 5, rng), 9)
    energy = random_energy(TimeBasis.legendre(9, 3), 1, rng)
    d = energy.d.copy()
    d[:, 0] -= 1j * (np.imag(energy.local).max(axis=1) - 0.01)  # Im 0.01 at one step of each
    above, point = replace(energy, d=d), 0.7 + 0.4j
    assert (np.imag(above.local).max(axis=1) > 0.005).all()
    found = averages(chain, above, point, log_det=True).log_det
    below = averages(chain, above.lowered(), point, log_det=True).log_det
    assert np.abs(found - below).max() < 0.5
    P, Q = dense_parts(chain, above)
    zero = [np.zeros_like(one) for one in P]
    for site in range(chain.n):
        base = log_det(chain.stages, chain.steps, zero, zero, 600.0, site)
        exact = log_det(chain.stages, chain.steps, P, Q, point, site) - base
        assert abs(np.exp(found[site] - exact) - 1.0) < 1e-10


@pytest.mark.equation(20)
def test_responses_are_those_of_the_dense_pencil(problem):
    """E of the responses, projected on the modes, and the moment function."""
    chain, energy, point = problem
    P, Q = dense_parts(chain, energy)
    g, k, m = overlaps(chain.stages, chain.steps, P, Q, point, chain.weights)
    dense = np.array(k + g) * np.exp(energy.gauge)[:, :, None] * np.exp(energy.gauge)[:, None, :]
    found = averages(chain, energy, point)
    U, r = energy.basis.smooth, energy.basis.r
    np.testing.assert_allclose(
        found.own.reshape(dense.shape[:2]), np.einsum("ftt->ft", dense), rtol=1e-9, atol=1e-12
    )
    for f, one in enumerate(dense):
        block = slice(f * r, (f + 1) * r)
        np.testing.assert_allclose(found.G[block, block], U.T @ one @ U, rtol=1e-9, atol=1e-10)
    assert averages(chain, energy, point).m == pytest.approx(m, rel=1e-9)
    assert abs(averages(chain, energy, point + 0.01).m - m) > 1e-4 * abs(m)


def slope(chain, energy, point):
    """Gradient of E log det by the unknowns."""
    found, basis = averages(chain, energy, point), energy.basis
    own, r = found.own.reshape(-1, basis.steps), basis.r
    rows = []
    for f in range(len(own)):
        block = found.G[f * r : (f + 1) * r, f * r : (f + 1) * r]
        rows += [-own[f] @ basis.diagonal, -basis.share * block[basis.rows, basis.columns]]
    return np.concatenate(rows)


@pytest.mark.equation(21)
def test_gradient_and_curvature_are_derivatives(problem):
    """Differences of log det give the gradient, differences of the gradient the second derivatives."""
    chain, energy, point = problem
    x, step = energy.unknowns, 1e-6

    def value(at):
        return chain.weights @ averages(chain, energy.with_unknowns(at), point, log_det=True).log_det

    units = np.eye(x.size)
    numeric = [(value(x + step * e) - value(x - step * e)) / (2 * step) for e in units]
    exact = slope(chain, energy, point)
    np.testing.assert_allclose(exact, numeric, atol=1e-7 * np.abs(exact).max())
    second = [
        (
            slope(chain, energy.with_unknowns(x + step * e), point)
            - slope(chain, energy.with_unknowns(x - step * e), point)
        )
        / (2 * step)
        for e in units
    ]
    found = curvature(chain, energy, point)
    np.testing.assert_allclose(found, second, atol=1e-7 * np.abs(second).max())


def test_squares_of_responses_from_sources_and_from_differences(problem, monkeypatch):
    """The part of the curvature that is not a product of small matrices, in two ways."""
    chain, energy, point = problem
    exact = curvature(chain, energy, point)
    monkeypatch.setattr(curvature_module, "_few_ports", lambda *_: False)
    # One-sided differences over 1e-6.
    np.testing.assert_allclose(curvature(chain, energy, point), exact, atol=1e-5 * np.abs(exact).max())


def test_derivative_by_lambda(problem):
    chain, energy, point = problem
    found, step = averages(chain, energy, point), 1e-6
    up, down = (averages(chain, energy, point + s) for s in (step, -step))
    np.testing.assert_allclose(
        found.own_lambda, (up.own - down.own) / (2 * step), atol=1e-7 * np.abs(found.own).max()
    )
    assert found.m_lambda == pytest.approx((up.m - down.m) / (2 * step), rel=1e-6)
    ports = slice(len(energy.gauge) * energy.basis.r)  # the columns of x_L depend on the frame
    change = (up.G - down.G)[ports, ports] / (2 * step)
    np.testing.assert_allclose(found.G_lambda[ports, ports], change, atol=1e-7 * np.abs(found.G).max())


def test_a_long_chain_does_not_overflow():
    """T = 1000 with gates that carry e^{-3} per step: finite, and the same in two frames."""
    rng = np.random.default_rng(1)
    stages = [replace(s, a=s.a * np.exp(-3.0)) for s in one_state(1000, 3, rng)]
    chain = TiedChain(stages, 1000)
    basis = TimeBasis.legendre(1000, 4)
    energy = random_energy(basis, 1, rng)
    # P grows towards x_0 as the modulus of the product of what comes before it, Q towards x_L.
    gauge = np.array([-1.0 * np.arange(1000), -1.0 * np.arange(1000)[::-1] + 1000.0])
    energy = replace(energy, gauge=gauge)
    found = averages(chain, energy, -2000.0 + 0.1j, log_det=True)
    assert np.isfinite(found.log_det).all() and np.isfinite(found.m)
