"""Classes of units with a variance for each pair as one cell: sampled block matrices."""

import numpy as np
import pytest
import sympy
from reference.kolmogorov import distance

import rmtrnn as rt

STANDARD = np.array([[0.2, 1.6], [2.0, 0.1]])  # of weights into a class (row) from a class (column)
RATE, SIGMA_B = 0.5, 0.3


def network(standard, tied):
    """Fast units a and slow units b, of equal number."""
    a, b, x = sympy.symbols("a b x")
    aa, ab, ba, bb = sympy.symbols("aa ab ba bb")
    update = {a: sympy.tanh(aa + ab), b: (1 - RATE) * b + RATE * sympy.tanh(ba + bb)}
    cell = rt.Cell("two", state=[a, b], input=x, gates={aa: a, ab: b, ba: a, bb: b}, update=update)
    sigma_w = dict(zip(("aa", "ab", "ba", "bb"), np.ravel(standard).tolist(), strict=True))
    return rt.Ensemble(cell, sigma_w=sigma_w, sigma_b={"aa": SIGMA_B, "ba": SIGMA_B}, tied=tied)


def sampled_log_s(tied, n=150, trials=4, burn=40):
    """log s of one step of networks of 2n units."""
    logs, scale = [], np.kron(STANDARD, np.ones((n, n))) / np.sqrt(n)
    rate = np.repeat([1.0, RATE], n)
    for trial in range(trials):
        rng = np.random.default_rng([5, trial])
        state, w, bias, jacobian = rng.standard_normal(2 * n), None, None, None
        for _ in range(burn):
            if w is None or not tied:
                w, bias = scale * rng.standard_normal(scale.shape), SIGMA_B * rng.standard_normal(2 * n)
            new = np.tanh(w @ state + bias)
            jacobian = np.diag(1 - rate) + (rate * (1 - new**2))[:, None] * w
            state = (1 - rate) * state + rate * new
        logs.append(np.log(np.linalg.svd(jacobian, compute_uv=False)))
    return np.array(logs)


@pytest.mark.parametrize("tied", [False, pytest.param(True, marks=pytest.mark.sweep)])
def test_sampled_block_matrices(tied):
    logs = sampled_log_s(tied)
    law = rt.spectrum(network(STANDARD, tied), 1, population=1024)
    right = distance(law.log_s, logs)
    most = law.error + 0.5 / np.sqrt(logs.size)  # eigenvalues repel: half the noise of independent draws
    assert law.converged and right < most
    flat = np.full((2, 2), np.sqrt(np.mean(STANDARD**2)))
    wrong = rt.spectrum(network(flat, tied), 1, population=1024)
    assert distance(wrong.log_s, logs) > most
