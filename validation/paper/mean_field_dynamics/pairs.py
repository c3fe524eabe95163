"""Pairs of sequences through one network: the mean field's q and c step by step, and simulated ones.

The inputs of a pair are independent for the first ``uncorrelated`` steps and equal afterwards. Row t of every
trajectory belongs to the pre-activation e^{t+1}, which reads the states h^t; t = 0 is the start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn._core import random as _random
from rmtrnn.meanfield.forward_process import march
from rmtrnn.meanfield.tied_result import is_equal_to_untied
from rmtrnn.sampling.random_matrices import random_matrix

Rows = Callable[[np.ndarray], np.ndarray]
# Streams of one trial.
_STATE, _INPUT, _WEIGHT, _INPUT_WEIGHT, _FIELD, _DRIVE = range(6)


SITES, SEEDS = 4096, 4  # of the tied theory: its own noise is a tenth of the networks'


def theory(ens: rt.Ensemble, start: tuple[float, float], steps: int, uncorrelated: int = 0) -> np.ndarray:
    """Mean field (2, steps): variance q and correlation c of the pre-activations.

    Of tied weights by theory.md (19), marched forward in time, where that is not the recursion of untied
    ones. start : second moment Q0 of both states and their correlation
    """
    if ens.tied and not is_equal_to_untied(ens):
        second, share = np.array([start[0]]), np.array([start[1]])
        runs = [march(ens, steps, SITES, seed, second, share, uncorrelated) for seed in range(SEEDS)]
        return np.mean([[run.gate_variance()[0], run.gate_correlation()[0]] for run in runs], axis=0)
    Q, C = start[0], start[0] * start[1]
    pieces = []
    for length, shared in ((uncorrelated, 0.0), (steps - uncorrelated, 1.0)):
        if length == 0:
            continue
        mf = rt.mean_field(ens.replace(Sigma=shared, tied=False), steps=length, Q0=Q, C0=C)
        second = np.asarray(mf.Q_t)
        gate = ens.gate(ens.cell.gates[0])
        q = gate.sigma_w**2 * second + gate.sigma_v**2 * ens.R + gate.sigma_b**2
        pieces.append(np.array([q, np.asarray(mf.c_t)])[:, :length])
        Q, C = float(second[-1]), float(np.asarray(mf.C_t)[-1])
        C = float(np.clip(C, -Q, Q))  # equal replicas may differ in the last digit
    return np.concatenate(pieces, axis=1)


def simulate(parameters: dict[str, Any], trial: int) -> np.ndarray:
    """One network of N units; (steps, pairs, 3) averages over its units, flattened: δe_a², δe_b², δe_a δe_b.

    δe = e − μ_b. Gaussian weights, one pre-activation, no random bias. Untied weights are new at every step
    and independent of the states that they meet, so that W h of all m states together is exactly Gaussian
    with the states' m × m second moments as covariance between states: it is drawn as such.
    """
    ens = rt.Ensemble.from_dict(parameters["ensemble"])
    n, steps, starts = parameters["N"], parameters["steps"], parameters["starts"]
    streams = [_random.stream(parameters["seed"], trial, purpose) for purpose in range(6)]
    gate = ens.gate(ens.cell.gates[0])
    if gate.sigma_b != 0.0 or gate.weights != "gaussian":
        raise ValueError(f"ens = {ens!r}: pairs are simulated without random bias, with Gaussian weights")
    recurrent = _weights(ens.tied, gate.sigma_w, n, streams[_WEIGHT], streams[_FIELD])
    incoming = _weights(ens.tied, gate.sigma_v, n, streams[_INPUT_WEIGHT], streams[_DRIVE])
    update = ens.cell.numeric(np).stages[0].update
    h = _initial(starts, n, streams[_STATE])
    averages = np.empty((steps, len(starts), 3))
    for t in range(steps):
        shared = 0.0 if t < parameters["uncorrelated"] else 1.0
        x = np.array(ens.replace(Sigma=shared).sample_input_pair(streams[_INPUT], (n,)))
        deviation = recurrent(h.reshape(-1, n)).reshape(h.shape) + incoming(x)
        h = update(h[None], np.broadcast_to(x, h.shape), deviation[None] + gate.mu_b)[0]
        a, b = deviation[:, 0], deviation[:, 1]
        averages[t] = np.array([(a * a).mean(axis=1), (b * b).mean(axis=1), (a * b).mean(axis=1)]).T
    return averages.ravel()


def trajectories(rows: list[np.ndarray], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """(q, c) of shape (trials, steps, pairs) from what `simulate` returned for every trial."""
    aa, bb, ab = np.moveaxis(np.array(rows).reshape(len(rows), steps, -1, 3), -1, 0)
    return 0.5 * (aa + bb), ab / np.sqrt(aa * bb)


def _initial(starts: list[list[float]], n: int, rng: np.random.Generator) -> np.ndarray:
    """States (pairs, 2, n), Gaussian."""
    z = rng.standard_normal((len(starts), 2, n))
    Q, c = np.array(starts, dtype=float).T[:, :, None]
    a = z[:, 0]
    return np.sqrt(Q)[:, None] * np.stack([a, c * a + np.sqrt(1.0 - c * c) * z[:, 1]], axis=1)


def _weights(tied: bool, scale: float, n: int, rng: np.random.Generator, fields: np.random.Generator) -> Rows:
    """The function rows (m, n) ↦ rows Wᵀ, W of entry variance scale²/n: one W, or a new one each time."""
    if tied:
        matrix = random_matrix("gaussian", n, scale, rng, np, "float64")
        return lambda rows: (matrix @ rows.T).T

    def fresh(rows: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh(rows @ rows.T / n)
        root = vectors * np.sqrt(np.maximum(values, 0.0))  # equal rows stay equal to rounding
        return scale * root @ fields.standard_normal((len(rows), n))

    return fresh
