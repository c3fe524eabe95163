"""Mean-field trajectories against simulated networks, with wrong theories that the same test must reject.

Weights and biases are untied at every step. Trial means of (1/N) Σ h² and (1/N) Σ h_a h_b are compared with
the theory at every recorded step, in standard errors over trials.
"""

import math

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn._core.random import stream

STEPS = 6
RECORDED = (1, 2, 4, 6)
LIMIT = 4.0


def simulate(ens, N, trials, Q0, seed):
    """Second moments and overlaps (trials, steps + 1, s) of two replicas of one network each."""
    numeric = ens.cell.numeric(np)
    s = len(ens.cell.state)
    second, overlap = np.empty((trials, STEPS + 1, s)), np.empty((trials, STEPS + 1, s))
    for trial in range(trials):
        rng = stream(seed, trial)
        states = [math.sqrt(Q0) * rng.standard_normal((s, N)) for _ in range(2)]
        for step in range(STEPS + 1):
            second[trial, step] = 0.5 * sum(np.mean(state**2, axis=-1) for state in states)
            overlap[trial, step] = np.mean(states[0] * states[1], axis=-1)
            states = advance(ens, numeric, states, N, rng)
    return second, overlap


def advance(ens, numeric, states, N, rng):
    inputs = ens.sample_input_pair(rng, N)
    for stage, symbolic in zip(numeric.stages, ens.cell.stages, strict=True):
        reads = [stage.read(state) for state in states]
        fields = [np.empty_like(read) for read in reads]
        for k, gate in enumerate(symbolic.gates):
            law = ens.gate(gate.name)
            # W r for Gaussian W acts on the two vectors through their Gram matrix only.
            both = np.stack(
                [
                    np.concatenate([law.sigma_w * read[k], law.sigma_v * x])
                    for read, x in zip(reads, inputs, strict=True)
                ]
            )
            factor = np.linalg.cholesky(both @ both.T / N + 1e-300 * np.eye(2))
            bias = law.mu_b + law.sigma_b * rng.standard_normal(N)
            mixed = factor @ rng.standard_normal((2, N)) + bias
            for field, row in zip(fields, mixed, strict=True):
                field[k] = row
        states = [
            stage.update(state, x, field) for state, x, field in zip(states, inputs, fields, strict=True)
        ]
    return states


def worst_score(simulated, theory, spread):
    """Largest |mean − theory| over the recorded steps, in standard errors of the trials and the theory."""
    mean = np.mean(simulated, axis=0)
    error = np.hypot(np.std(simulated, axis=0, ddof=1) / math.sqrt(len(simulated)), spread)
    return float(np.max((np.abs(mean - theory) / error)[list(RECORDED)]))


def theory(ens, Q0):
    field = rt.mean_field(ens, steps=STEPS, Q0=Q0, C0=0.0)
    rows = []
    for trajectory in (field.Q_t, field.C_t):
        values = trajectory if isinstance(trajectory, dict) else {"h": trajectory}
        rows.append(np.array([values[symbol.name] for symbol in ens.cell.state]).T)
    return *rows, field.error_t / 3.0


CASES = {
    "vanilla": (rt.Ensemble("vanilla", 1.4, 0.5, mu_b=0.2, sigma_b=0.3, R=0.8, Sigma=0.6), 0.5),
    "minimal": (rt.Ensemble("minimal", 4.0, 1.2, mu_b=1.0, sigma_b=0.2, R=0.5, Sigma=0.7), 0.3),
    "gru": (
        rt.Ensemble(
            "gru", {"r": 2.0, "u": 1.5, "c": 2.0}, 0.8, mu_b={"r": 0.3, "u": -0.5, "c": 0.4}, Sigma=0.5
        ),
        0.4,
    ),
    "lstm": (rt.Ensemble("lstm", 3.0, 1.0, mu_b={"f": 1.0, "i": 0.0, "o": 0.0, "g": 0.3}, Sigma=0.6), 0.3),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.sweep) if name == "lstm" else name for name in CASES]
)
@pytest.mark.equation(2, 3, 4)
def test_trajectories_of_simulated_networks(name):
    ens, Q0 = CASES[name]
    second, overlap = simulate(ens, N=4096, trials=64, Q0=Q0, seed=11)
    Q, C, spread = theory(ens, Q0)
    assert worst_score(second, Q, spread) < LIMIT
    assert worst_score(overlap, C, spread) < LIMIT
    scales = {gate: 1.1 * ens.gate(gate).sigma_w for gate in ens.cell.gates}
    wrong_Q, wrong_C, spread = theory(ens.replace(sigma_w=scales), Q0)
    assert max(worst_score(second, wrong_Q, spread), worst_score(overlap, wrong_C, spread)) > 2 * LIMIT


def test_full_matrices_give_the_same_law_as_gram_matrices():
    """The shortcut of `advance` against explicit weight matrices, minimalRNN, one step."""
    ens, Q0 = CASES["minimal"]
    law, N, trials = ens.gate("e"), 256, 200
    numeric = ens.cell.numeric(np).stages[0]
    direct = np.empty((trials, 2))
    for trial in range(trials):
        rng = stream(5, trial)
        a, b = math.sqrt(Q0) * rng.standard_normal((2, N))
        x_a, x_b = ens.sample_input_pair(rng, N)
        W = law.sigma_w / math.sqrt(N) * rng.standard_normal((N, N))
        V = law.sigma_v / math.sqrt(N) * rng.standard_normal((N, N))
        bias = law.mu_b + law.sigma_b * rng.standard_normal(N)
        a = numeric.update(a[None], x_a, (W @ a + V @ x_a + bias)[None])[0]
        b = numeric.update(b[None], x_b, (W @ b + V @ x_b + bias)[None])[0]
        direct[trial] = 0.5 * np.mean(a**2 + b**2), np.mean(a * b)
    Q, C, _ = theory(ens, Q0)
    expected = np.array([Q[1, 0], C[1, 0]])
    error = np.std(direct, axis=0, ddof=1) / math.sqrt(trials)
    # At N = 256 the finite-N bias is below a fifth of a standard error; 4 standard errors hold with it.
    assert np.all(np.abs(np.mean(direct, axis=0) - expected) < LIMIT * error)
