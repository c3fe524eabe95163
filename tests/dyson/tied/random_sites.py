"""Random chains of tied weights and random self-energies in the lower half plane."""

from __future__ import annotations

import numpy as np

from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.tied.site_matrices import gate_owners


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
        Stage(a, 1.2 * b, c, (0.7, 0.4), (True, False))
        for a, b, c in 0.5 * rng.normal(size=(steps, 3, 2, 2, n))
    ]


CASES = [one_state, two_stages, two_states]


def random_energy(sites, rng):
    """Self-energies (2, K, T, T), symmetric, Im < 0, small enough for P Q/sigma^2 to stay below 1."""
    shape = (2, sites.matrices, sites.steps, sites.steps)
    real, root = rng.normal(size=shape), rng.normal(size=shape)
    real = 0.5 * (real + np.swapaxes(real, -1, -2))
    return (0.3 * real - 0.2j * root @ np.swapaxes(root, -1, -2)) / sites.steps


def physical(sites, stages, energy):
    """P and Q (K, T, T) without the scaling of the sites by the mean growth of the stages."""
    per_step = len(stages) // sites.steps
    grown = np.concatenate([[0.0], np.cumsum(sites.log_growth)])
    unscaled = energy.copy()
    owners = gate_owners(stages, sites.steps)
    for k, (level, _) in enumerate(owners):
        factor = np.exp(0.5 * grown[level : sites.steps * per_step : per_step])
        unscaled[0, k] *= factor[:, None] * factor
        unscaled[1, k] /= factor[:, None] * factor
    return unscaled[0], unscaled[1]


def resolvent(sites, energy, log_lambda):
    """m = E[s²/(λ - s²)]."""
    return complex(sites.weights @ sites.site_values(energy, log_lambda)[1])
