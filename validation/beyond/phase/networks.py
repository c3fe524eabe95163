"""Finite networks with untied weights and a small perturbation, at a cost of O(N) for every step.

A Gaussian W that is new at every step meets the two fixed vectors r (what the gate reads) and c·δ (its
perturbation). W r and W c·δ are then jointly Gaussian at every unit, with covariance σ_w²/N times the Gram
matrix of the two vectors: drawing them directly has the law of drawing W, at any N. The law of the input
drive is that of `rmtrnn.sampling.network`.
"""

from __future__ import annotations

import math

import numpy as np

import rmtrnn as rt
from rmtrnn._core import random as _random


def log_growth(
    ens: rt.Ensemble, n: int, steps: int, trials: int, seed: tuple[int, int], burn_in: int = 150
) -> np.ndarray:
    """Mean over ``steps`` steps of log(‖δ^{t+1}‖²/‖δ^t‖²) after ``burn_in`` steps, one for each network."""
    return np.array([_trial(ens, n, steps, burn_in, _random.stream(*seed, trial)) for trial in range(trials)])


def _trial(ens: rt.Ensemble, n: int, steps: int, burn_in: int, rng: np.random.Generator) -> float:
    state = rng.standard_normal((len(ens.cell.state), n))
    delta = rng.standard_normal(state.shape)
    total = 0.0
    for t in range(burn_in + steps):
        state, delta = _step(ens, state, delta, n, rng)
        size = float(np.sum(delta**2))
        delta /= math.sqrt(size)
        if t >= burn_in:
            total += math.log(size)
    return total / steps


def _step(
    ens: rt.Ensemble, site: np.ndarray, delta: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    x = ens.sample_input(rng, n)
    for symbolic, numeric in zip(ens.cell.stages, ens.cell.numeric(np).stages, strict=True):
        reads = numeric.read(site)
        e, kicks = np.empty((len(symbolic.gates), n)), np.empty((len(symbolic.gates), n))
        slopes = numeric.linearize(site, x, np.zeros_like(e))[2]  # c depends on the state only
        for k, gate in enumerate(symbolic.gates):
            law = ens.gate(gate.name)
            read, moved = reads[k], np.einsum("jn,jn->n", np.broadcast_to(slopes[k], delta.shape), delta)
            normal = rng.standard_normal((4, n))
            length = float(np.linalg.norm(read))
            along = float(read @ moved) / length if length else 0.0
            across = math.sqrt(max(float(moved @ moved) - along**2, 0.0))
            scale = law.sigma_w / math.sqrt(n)
            kicks[k] = scale * (along * normal[0] + across * normal[1])
            drive = law.sigma_v * float(np.linalg.norm(x)) / math.sqrt(n) * normal[2]
            e[k] = scale * length * normal[0] + drive + law.mu_b + law.sigma_b * normal[3]
        a, b, _ = numeric.linearize(site, x, e)
        delta = np.einsum("ijn,jn->in", a, delta) + np.einsum("kin,kn->in", b, kicks)
        site = numeric.update(site, x, e)
    return site, delta
