"""Chrono GRU and LSTM over T = 200 steps: predicted against sampled tied networks of 512 units."""

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.sampling.network import Networks

T = 200
LAWS = {
    "gru": {"u": ("log_uniform", 1, T - 1)},
    "lstm": {"f": ("log_uniform", 1, T - 1), "i": "-f"},
}
LAGS = [1, 2, 5, 10, 20, 50, 100, 150, 200]


def sampled_growth(ens, trial, N=512, burn_in=2500, directions=16):
    """|J_k y|²/|y|² for k = 0 … T, the mean over random y, and E[h²] over the last 200 steps before."""
    network = Networks(ens, N, 7, [trial], np, "float64")
    network.run(burn_in - 200)
    second = []
    for _ in range(200):
        network.run(1)
        second.append(np.mean(network.state**2, axis=(1, 2)))
    y = np.random.default_rng(trial).standard_normal((1, len(ens.cell.state) * N, directions))
    squares = [np.sum(y**2)]
    for _ in range(T):
        y = network.step()(y)
        squares.append(np.sum(y**2))
    return np.array(squares) / squares[0], np.mean(second, axis=0)


@pytest.mark.sweep
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_growth_over_200_steps_is_that_of_tied_networks(cell):
    ens = rt.Ensemble(cell, sigma_w=2.0, sigma_v=0.7, weights="orthogonal", tied=True, bias_law=LAWS[cell])
    drawn = [sampled_growth(ens, trial) for trial in range(3)]
    (growth, second), (error, second_error) = (
        [np.array([one[i] for one in drawn]).mean(axis=0) for i in range(2)],
        [np.array([one[i] for one in drawn]).std(axis=0, ddof=1) / np.sqrt(3) for i in range(2)],
    )
    found, other = (rt.sensitivity(ens.replace(tied=tied), T) for tied in (True, False))
    allowed = 4 * error[LAGS] + found.state.error[LAGS]
    assert found.converged and np.all(np.abs(found.state.mean_square - growth)[LAGS] < allowed)
    assert (
        np.abs(other.state.mean_square - growth)[200] > 3 * allowed[-1]
    )  # untied weights are another network
    field = rt.mean_field(ens)
    Q = np.ravel(list(field.Q.values()) if isinstance(field.Q, dict) else field.Q)
    assert np.all(np.abs(Q - second) < field.error + 4 * second_error)
