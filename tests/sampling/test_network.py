"""Finite networks: the state alone has the law of the state with matrices; tied weights stay."""

import math

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.sampling.network import Network


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_state_alone_has_the_law_of_the_state_with_matrices(weights):
    """run() draws W r directly, step() draws W: the same mean square after both."""
    ens = rt.Ensemble("vanilla", sigma_w=1.4, sigma_b=0.2, sigma_v=0.3, weights=weights)
    squares = {"run": [], "step": []}
    for trial in range(60):
        for way, values in squares.items():
            network = Network(ens, 60, 1 + (way == "run"), trial, np, "float64")
            for _ in range(12):
                network.run(1) if way == "run" else network.step()
            values.append(np.mean(network.state**2))
    first, second = (np.array(values) for values in squares.values())
    error = math.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 60)
    assert abs(first.mean() - second.mean()) < 4 * error


def test_tied_weights_are_used_at_every_step():
    linear = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.0, tied=True)
    network = Network(linear, 9, 0, 0, np, "float64")
    first, second = network.step()(np.eye(9)), network.step()(np.eye(9))
    assert np.array_equal(first, second)
    untied = Network(linear.replace(tied=False), 9, 0, 0, np, "float64")
    assert not np.array_equal(untied.step()(np.eye(9)), untied.step()(np.eye(9)))
