"""The Jacobian of a step is the derivative of the step; transpose and matrix are those of one operator."""

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.sampling.network import Network


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("cell", ["vanilla", "minimal", "gru", "lstm"])
@pytest.mark.equation(1)
def test_step_jacobian_is_the_derivative_of_the_step(cell, tied):
    ens = rt.Ensemble(cell, sigma_w=1.5, sigma_v=0.7, sigma_b=0.3, weights="orthogonal", tied=tied)

    def start():
        network = Network(ens, 7, 3, 0, np, "float64")
        network.run(5)
        return network

    network = start()
    state = network.state.copy()
    jacobian = network.step()(np.eye(state.size))
    step, numeric = 1e-6, np.empty((state.size, state.size))
    for j in range(state.size):
        ends = []
        for sign in (1, -1):
            moved = start()
            moved.state = state + sign * step * (np.arange(state.size) == j).reshape(state.shape)
            moved.step()
            ends.append(moved.state.ravel())
        numeric[:, j] = (ends[0] - ends[1]) / (2 * step)
    assert np.max(np.abs(jacobian - numeric)) < 1e-8


@pytest.mark.parametrize("cell", ["vanilla", "minimal", "gru", "lstm"])
def test_matrix_of_a_step_is_what_it_applies(cell):
    ens = rt.Ensemble(cell, sigma_w=1.5, sigma_v=0.7, sigma_b=0.3)
    factor = Network(ens, 9, 3, 0, np, "float64").step()
    matrix = factor.matrix()
    assert (matrix is not None) == (cell in ("vanilla", "minimal"))
    if matrix is not None:
        assert np.max(np.abs(matrix - factor(np.eye(9)))) < 1e-14


@pytest.mark.parametrize("cell", ["vanilla", "minimal", "gru", "lstm"])
def test_transposed_step_is_the_transpose(cell):
    ens = rt.Ensemble(cell, sigma_w=1.5, sigma_v=0.7, sigma_b=0.3)
    network = Network(ens, 9, 3, 0, np, "float64")
    network.run(3)
    factor, identity = network.step(), np.eye(network.state.size)
    assert np.max(np.abs(factor.transposed(identity) - factor(identity).T)) < 1e-14
