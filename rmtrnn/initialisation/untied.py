"""Mean square sensitivities of networks with untied weights: the recursion of theory.md (6), site by site.

B = E[(∂h/∂x)(∂h/∂x)ᵀ] at a site, summed over the entries of the input, obeys the recursion
B' = a B aᵀ + Σ_k σ_k² g_k b_k b_kᵀ of `rmtrnn.meanfield.first_moment`. It starts with the step that takes the
input, where σ_v² is added to σ_k² g_k, and where the input acts without weights. In a stationary state one
pass gives all lags.

Letters: T, the number of steps; q, the variances of the pre-activations.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rmtrnn._core.status import CONFIDENCE
from rmtrnn.ensemble import Ensemble
from rmtrnn.initialisation.input_derivative import input_derivatives
from rmtrnn.initialisation.tied import MeanSquares
from rmtrnn.meanfield import site_population
from rmtrnn.meanfield.first_moment import advance, input_gain
from rmtrnn.meanfield.growth import single_replica_mean_field
from rmtrnn.meanfield.site_process import SiteProcess, seeds, sorted_by

RUNS = 4  # independent randomisations; their spread is the error


def untied_mean_squares(ens: Ensemble, T: int, sites: int, seed: int) -> MeanSquares:
    """Carry B of one input and of one state over T steps, on `RUNS` populations of sites/`RUNS`.

    ``sites``: `RUNS` times a power of two. Raises ConvergenceError if there is no stationary state.
    """
    field = single_replica_mean_field(ens)
    runs = [_run(ens, T, sites // RUNS, seed + run, field) for run in range(RUNS)]
    to_input, to_state = (np.array(column) for column in zip(*runs, strict=True))
    by_input, by_state = (
        CONFIDENCE * np.std(column, axis=0, ddof=1) / np.sqrt(RUNS) for column in (to_input, to_state)
    )
    return MeanSquares(
        to_input.mean(axis=0), to_state.mean(axis=0), by_input, by_state, "untied theory", field.status
    )


def _run(ens: Ensemble, T: int, n: int, seed: int, field: Any) -> tuple[np.ndarray, np.ndarray]:
    population = site_population(ens, n, seed, field=field)
    process = SiteProcess(ens, n, seeds(seed, 14, 0))
    q = np.array([field.q_of(name) for name in ens.cell.gates])
    s = len(ens.cell.state)
    site, by_state = population.state, np.repeat(np.eye(s)[:, :, None], n, axis=2)
    site, by_input = _input_step(process, site, q)
    found = [(np.mean(by_input[-1, -1]), 1.0)]
    for _ in range(T):
        site, (by_input, by_state) = _step(process, site, q, (by_input, by_state))
        found.append((np.mean(by_input[-1, -1]), np.mean(np.einsum("iin->n", by_state)) / s))
    inputs, states = zip(*found, strict=True)
    return np.array(inputs), np.array(states)


def _draws(process: SiteProcess, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The coordinate that picks the site, the pre-activations, and the input of one step."""
    uniform, K = process.stream.draw(), len(process.mean)
    e = process.pre_activations(q, uniform[1 : K + 1], uniform[-K:])
    return uniform[0], e, process.ens.input_quantile(uniform[K + 1])


def _input_step(process: SiteProcess, site: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The state after one step, and B of that step's input, which a unit may also take without weights."""
    _, e, x = _draws(process, q)
    gates = [process.ens.gate(name) for name in process.cell.gates]
    source = np.array([gate.sigma_v**2 for gate in gates])
    own = np.zeros_like(site)
    B = np.zeros((len(site), *site.shape))
    for position, (stage, chosen) in enumerate(zip(process.numeric.stages, process.slices, strict=True)):
        a, b, c = stage.linearize(site, x, e[chosen])
        derivative = input_derivatives(process.cell)[position]
        total = B + own[:, None] * own[None]
        gain = process.sigma_w[chosen] ** 2 * input_gain(total, c, c) + source[chosen]
        B = advance(B, (a, b), (a, b), gain)
        own = np.einsum("ijn,jn->in", a, own)
        if derivative is not None:
            own = own + derivative(site, x, e[chosen])
        site = stage.update(site, x, e[chosen])
    return site, B + own[:, None] * own[None]


def _step(
    process: SiteProcess, site: np.ndarray, q: np.ndarray, parts: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The state and both B after one more step."""
    pick, e, x = _draws(process, q)
    order = sorted_by([site[i] for i in process.memory], process.n)
    order = order[np.minimum((pick * process.n).astype(int), process.n - 1)]
    site, parts = site[:, order], (parts[0][..., order], parts[1][..., order])
    for stage, chosen in zip(process.numeric.stages, process.slices, strict=True):
        a, b, c = stage.linearize(site, x, e[chosen])
        gains = [process.sigma_w[chosen] ** 2 * input_gain(B, c, c) for B in parts]
        first, second = (advance(B, (a, b), (a, b), gain) for B, gain in zip(parts, gains, strict=True))
        site, parts = stage.update(site, x, e[chosen]), (first, second)
    return site, parts
