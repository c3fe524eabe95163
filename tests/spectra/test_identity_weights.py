"""Identity plus Gaussian weights (IRNN) as a cell that reads its own state: sampled networks with that W."""

import numpy as np
import pytest
import sympy
from reference.kolmogorov import distance

import rmtrnn as rt

h, x, e = sympy.symbols("h x e")
ALPHA, SIGMA_W, SIGMA_B = 0.6, 0.7, 0.4


def network(alpha, tied):
    """W = αI + σG in a tanh network: the identity part belongs to the site."""
    cell = rt.Cell("irnn", state=h, input=x, gates={e: h}, update={h: sympy.tanh(e + alpha * h)})
    return rt.Ensemble(cell, sigma_w=SIGMA_W, sigma_b=SIGMA_B, tied=tied)


def sampled_log_s(tied, T=2, n=300, trials=4, burn=40):
    """log s of ∏ diag φ'(W h + b) W with W = αI + σG itself."""
    logs = []
    for trial in range(trials):
        rng = np.random.default_rng([3, trial])
        state, jacobian = rng.standard_normal(n), np.eye(n)
        w = b = None
        for step in range(burn + T):
            if w is None or not tied:
                w = ALPHA * np.eye(n) + SIGMA_W * rng.standard_normal((n, n)) / np.sqrt(n)
                b = SIGMA_B * rng.standard_normal(n)
            state = np.tanh(w @ state + b)
            if step >= burn:
                jacobian = (1.0 - state[:, None] ** 2) * (w @ jacobian)
        logs.append(np.log(np.linalg.svd(jacobian, compute_uv=False)))
    return np.array(logs)


@pytest.mark.parametrize("tied", [False, pytest.param(True, marks=pytest.mark.sweep)])
def test_sampled_networks(tied):
    logs = sampled_log_s(tied)
    law = rt.spectrum(network(ALPHA, tied), 2, population=2048)
    right = distance(law.log_s, logs)
    noise = 1 / np.sqrt(logs.size)
    assert law.converged and right < law.error + noise
    wide = rt.spectrum(rt.Ensemble("vanilla", sigma_w=np.hypot(ALPHA, SIGMA_W), sigma_b=SIGMA_B), 2)
    for wrong in (wide, rt.spectrum(network(ALPHA, not tied), 2, population=2048)):
        assert distance(wrong.log_s, logs) > right + 0.02
