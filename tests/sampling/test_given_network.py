"""Jacobians of given networks along their trajectories: matrices, functions, cells with given weights."""

import dataclasses
import math

import numpy as np
import pytest
from reference.long_products import exact_log_singular_values
from reference.trained_gru import trained_network

import rmtrnn as rt
from rmtrnn.sampling.network import Network

N = 32


def gates_of(cell, rng, scale=1.2, n=N, inputs=3):
    """Random parameters of a cell with n units."""
    w = {gate: scale * rng.standard_normal((n, n)) / math.sqrt(n) for gate in cell.gates}
    v = {gate: 0.5 * rng.standard_normal((n, inputs)) for gate in cell.gates}
    return w, v, {gate: 0.3 * rng.standard_normal(n) for gate in cell.gates}


def dense(step, size):
    return step(np.eye(size))


def test_gru_agrees_with_exact_arithmetic():
    rng = np.random.default_rng(1)
    cell = rt.GRU(reset_after=True)
    net = rt.GivenNetwork(cell, *gates_of(cell, rng))
    inputs, state, factors = rng.standard_normal((50, 3)), net.initial_state, []
    for x in inputs:
        state, factor = net(state, x)
        factors.append(dense(factor, N))
    exact = exact_log_singular_values(factors, 700)
    found = rt.jacobian_log_s(net, inputs, T=50)
    assert np.max(np.abs(found.log_s - exact)) < max(found.error, 1e-12) < 1e-7 and found.converged
    np.testing.assert_allclose(rt.jacobian_log_s(factors).log_s, found.log_s, atol=2 * found.error)
    with np.errstate(divide="ignore"):
        plain = np.sort(np.log(np.linalg.svd(np.linalg.multi_dot(factors[::-1]), compute_uv=False)))
    assert np.max(np.abs(plain - exact)) > 1e-3  # the product in floating point fails the same test


@pytest.mark.parametrize("name", ["minimal", "gru", "lstm", "mgu", "leaky"])
def test_step_is_the_derivative_of_the_state(name):
    rng = np.random.default_rng(2)
    cell = rt.Ensemble(name).cell
    net = rt.GivenNetwork(cell, *gates_of(cell, rng, n=5, inputs=5))
    state, x = rng.standard_normal((len(cell.state), 5)), rng.standard_normal(5)
    size, step = state.size, 1e-6
    columns = [
        (net(state.ravel() + step * unit, x)[0] - net(state.ravel() - step * unit, x)[0]).ravel() / (2 * step)
        for unit in np.eye(size)
    ]
    np.testing.assert_allclose(dense(net(state, x)[1], size), np.array(columns).T, atol=1e-8)


def test_closed_form_of_a_linear_network():
    rng = np.random.default_rng(3)
    w = rng.standard_normal((6, 6))
    net = rt.GivenNetwork(rt.VanillaRNN("linear"), W=w + w.T)
    exact = np.sort(20 * np.log(np.abs(np.linalg.eigvalsh(w + w.T))))
    np.testing.assert_allclose(rt.jacobian_log_s(net, np.zeros((25, 6)), T=20).log_s, exact, rtol=1e-10)


def test_network_of_the_ensemble_and_its_law():
    ens = rt.Ensemble("vanilla", 1.2, 0.5, 0.1, 0.2, weights="orthogonal")
    rows = []
    for trial in range(6):
        drawn = Network(ens, 100, 0, trial, np, "float64")
        drawn.run(50)
        start = drawn.state
        rows.append(rt.jacobian_log_s(lambda h, x, net=drawn: (h, net.step()), np.zeros((4, 1)), state=start))
    together = rt.sample(ens, T=4, N=100, trials=6, burn_in=50)
    np.testing.assert_allclose([row.log_s for row in rows], together.log_s, atol=1e-9)
    found = dataclasses.replace(rows[0], log_s=np.array([row.log_s for row in rows])).sample(ens)
    assert rt.compare(rt.spectrum(ens, T=4), found).agrees
    wrong = ens.replace(sigma_w=1.4)
    assert not rt.compare(rt.spectrum(wrong, T=4), dataclasses.replace(found, ensemble=wrong)).agrees


def test_several_sequences_last_steps_and_files(tmp_path):
    rng = np.random.default_rng(4)
    w, v, b = gates_of(rt.VanillaRNN(), rng)
    net = rt.GivenNetwork("vanilla", w["e"], v["e"], b["e"])
    inputs = rng.standard_normal((9, 2, 3))
    both = rt.jacobian_log_s(net, inputs, T=4)
    assert both.log_s.shape == (2, N) and both.T == 4
    state = net.initial_state
    for x in inputs[:5, 1]:
        state = net(state, x)[0]
    alone = rt.jacobian_log_s(net, inputs[5:, 1], state=state)
    np.testing.assert_array_equal(both.log_s[1], alone.log_s)
    assert rt.load(both.save(tmp_path / "both")) == both
    np.testing.assert_array_equal(np.asarray(alone), alone.log_s)


def test_relu_keeps_exact_zeros():
    w = np.diag([0.5, -0.5])
    found = rt.jacobian_log_s(rt.GivenNetwork(rt.VanillaRNN("relu"), W=w, b=np.ones(2)), np.zeros((3, 2)))
    assert found.log_s[1] == pytest.approx(3 * math.log(0.5)) and found.log_s[0] == pytest.approx(
        3 * math.log(0.5)
    )
    shut = rt.jacobian_log_s(rt.GivenNetwork(rt.VanillaRNN("relu"), W=w, b=-np.ones(2)), np.zeros((3, 2)))
    assert np.all(np.isneginf(shut.log_s))


def test_refuses():
    net = rt.GivenNetwork("minimal", W=np.eye(3))
    with pytest.raises(ValueError, match="T = 5"):
        rt.jacobian_log_s(net, np.zeros((4, 3)), T=5)
    with pytest.raises(ValueError, match="update contains the input"):
        rt.jacobian_log_s(net, np.zeros((4, 2)))
    with pytest.raises(TypeError, match="inputs = None"):
        rt.jacobian_log_s(net)
    with pytest.raises(TypeError, match="inputs, state: must be None"):
        rt.jacobian_log_s(np.zeros((2, 3, 3)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="state = None"):
        rt.jacobian_log_s(lambda state, x: (state, np.eye(2)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="no matrix for gate 'r'"):
        rt.GivenNetwork("gru", W={"u": np.eye(2), "c": np.eye(2)})
    with pytest.raises(TypeError, match="expected step Jacobians"):
        rt.jacobian_log_s("gru")


def test_trained_gru_agrees_with_eighty_digits():
    """PyTorch's GRU of 32 units after 500 updates on the adding task, T = 50 (weights stored, no PyTorch).

    Negative controls: the singular values of the product in doubles, and those one step earlier.
    """
    net, inputs, training = trained_network()
    assert training["steps"] == 500 and net.N == 32 and len(inputs) == 50
    assert training["last_loss"] < 0.5 / 6.0  # a constant answer: 1/6
    state, factors = net.initial_state, []
    for x in inputs:
        state, factor = net(state, x)
        factors.append(factor(np.eye(32)))
    exact = exact_log_singular_values(factors, 700)  # bits; 210 digits
    found = rt.jacobian_log_s(net, inputs, T=50)
    distance = np.abs(found.log_s - exact).max()
    assert distance < max(1e-9, found.error)
    naive = np.linalg.svd(np.linalg.multi_dot(factors[::-1]), compute_uv=False)[::-1]
    assert np.abs(np.log(naive) - exact).max() > 1.0
    assert np.abs(rt.jacobian_log_s(net, inputs, T=49).log_s - exact).max() > 1e-3
