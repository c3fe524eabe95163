"""The tied process marched forward in time from a Gaussian state: theory.md (18), and (19) for two replicas.

At step t the covariance of the pre-activations with all before them is known from the states so far, so no
iteration is needed: Cov(e^t, e^s) = σ_w² E[r^t r^s] + …, with the averages over a population of sites. The
covariance of a smooth process is singular to rounding. Its Cholesky factor is grown row by row; a direction
whose conditional variance is rounding gets no weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import ndtri

from rmtrnn._core import random as _random
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.periodic_process import Readings, pair_inputs

RANK = 1e-5


@dataclass(frozen=True)
class Forward:
    """Moments of the states h^0 … h^steps, and what the gates read.

    ``second`` (s, steps + 1) E[h²], mean of both replicas; ``overlap`` (s, steps + 1) E[h_a h_b], for one
    replica E[h²]; ``reads`` (D, replicas, replicas, steps, steps) E[r_a^t r_b^s] of the distinct readings.
    """

    second: np.ndarray
    overlap: np.ndarray
    reads: np.ndarray
    readings: Readings
    shared_white: np.ndarray  # σ_v² (R Σ − E[x]²) of each step, (steps, K)

    def gate_variance(self) -> np.ndarray:
        """Variance of the pre-activations, mean of both replicas, (K, steps)."""
        t, read = np.arange(self.reads.shape[-1]), self.readings
        own = read.recurrent(0.5 * (self.reads[:, 0, 0, t, t] + self.reads[:, -1, -1, t, t]))
        return own + (read.white + read.constant)[:, None]

    def gate_correlation(self) -> np.ndarray:
        """Correlation of the two replicas' pre-activations at equal steps, (K, steps); 1 where they are 0."""
        t, read, own = np.arange(self.reads.shape[-1]), self.readings, self.gate_variance()
        shared = read.recurrent(self.reads[:, 0, 1, t, t]) + self.shared_white.T + read.constant[:, None]
        return np.where(own > 0.0, shared / np.where(own > 0.0, own, 1.0), 1.0)


def march(
    ens: Ensemble,
    steps: int,
    population: int,
    seed: int,
    second: np.ndarray,
    share: np.ndarray | None = None,
    uncorrelated: int = 0,
) -> Forward:
    """Run ``steps`` steps from a centred Gaussian state with second moments (s,).

    ``share`` (s,), the correlation of the initial states of two replicas; None for one replica.
    ``uncorrelated``: at so many first steps two replicas have inputs with Σ = 0.
    """
    return _March(ens, steps, population, seed, 1 if share is None else 2, uncorrelated).run(second, share)


def march_stages(
    ens: Ensemble, steps: int, n: int, seed: int, second: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Linearise all stages of ``steps`` steps from a centred Gaussian state at ``n`` sites.

    Returns (a, b, c) of theory.md (1) with sites last, in the order of time and of stages. ``second`` (s,) as
    in `march`. The covariances are those of max(n, 4 steps) sites.
    """
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def linearise(stage: Any, site: np.ndarray, x: np.ndarray, e: np.ndarray) -> None:
        a, b, c = stage.linearize(site, x, e)
        found.append((a[..., :n], b[..., :n], c[..., :n]))

    _March(ens, steps, n, seed, 1, visit=linearise).run(second, None)
    return found


class _March:
    def __init__(
        self,
        ens: Ensemble,
        steps: int,
        population: int,
        seed: int,
        replicas: int,
        uncorrelated: int = 0,
        visit: Callable[[Any, np.ndarray, np.ndarray, np.ndarray], None] | None = None,
    ) -> None:
        """``visit(stage, site, x, e)`` is called before every stage of the first replica."""
        self.visit = visit
        self.rng = _random.stream(seed, 52, replicas)
        self.ens, self.steps, self.replicas = ens, steps, replicas
        self.n = max(population, 4 * steps * replicas)
        self.readings = Readings.of(ens)
        self.stages = ens.cell.numeric(np).stages
        gates, size = len(ens.cell.gates), steps * replicas
        self.normal = white_sites(self.rng, gates, size, self.n)
        self.factor = np.zeros((gates, size, size))
        self.values = np.zeros((self.readings.count, size, self.n))
        self.moments = np.zeros((self.readings.count, size, size))
        self.centre = self.readings.mean[:, None]
        if not ens.has_normal_biases:
            cells = np.tile(np.arange(self.n), (gates, 1))
            self.centre = self.centre + ens.bias_deviations((self.rng.permuted(cells, axis=1) + 0.5) / self.n)
        self.inputs = [one.copy() for one in pair_inputs(ens, (steps, self.n), replicas, self.rng)]
        self.shared_white = np.tile(self.readings.shared_white, (steps, 1))
        if uncorrelated:
            apart = ens.replace(Sigma=0.0)
            self.shared_white[:uncorrelated] = Readings.of(apart).shared_white
            early = pair_inputs(apart, (uncorrelated, self.n), replicas, self.rng)
            for all_steps, first_steps in zip(self.inputs, early, strict=True):
                all_steps[:uncorrelated] = first_steps

    def run(self, second: np.ndarray, share: np.ndarray | None) -> Forward:
        scale = np.sqrt(second)[:, None]
        first, own = self.rng.standard_normal((2, len(second), self.n))
        sites = [scale * first]
        if share is not None:
            c = share[:, None]
            sites.append(scale * (c * first + np.sqrt((1.0 - c) * (1.0 + c)) * own))
        rows = [_state_moments(sites)]
        for t in range(self.steps):
            sites = self._step(t, sites)
            rows.append(_state_moments(sites))
        Q, C = (np.array(column).T for column in zip(*rows, strict=True))
        r, T = self.replicas, self.steps
        reads = self.moments.reshape(-1, T, r, T, r).transpose(0, 2, 4, 1, 3)
        return Forward(Q, C, reads, self.readings, self.shared_white)

    def _step(self, t: int, sites: list[np.ndarray]) -> list[np.ndarray]:
        first = 0
        for position, stage in enumerate(self.stages):
            gates = range(first, first + len(self.ens.cell.stages[position].gates))
            self._read(t, position, [stage.read(site) for site in sites])
            e = [self._pre_activations(t, replica, gates) for replica in range(self.replicas)]
            if self.visit is not None:
                self.visit(stage, sites[0], self.inputs[0][t], e[0])
            sites = [stage.update(site, self.inputs[a][t], e[a]) for a, site in enumerate(sites)]
            first = gates.stop
        return sites

    def _read(self, t: int, position: int, reads: list[np.ndarray]) -> None:
        """Add the readings of one stage at step t, and their overlaps with all before."""
        for d, (stage, row) in enumerate(zip(self.readings.stage, self.readings.row, strict=True)):
            if stage != position:
                continue
            for replica in range(self.replicas):
                u = t * self.replicas + replica
                self.values[d, u] = reads[replica][row]
                overlap = self.values[d, : u + 1] @ self.values[d, u] / self.n
                self.moments[d, u, : u + 1] = self.moments[d, : u + 1, u] = overlap

    def _pre_activations(self, t: int, replica: int, gates: range) -> np.ndarray:
        read, u = self.readings, t * self.replicas + replica
        e = np.empty((len(gates), self.n))
        for place, gate in enumerate(gates):
            reading = read.of_gate[gate]
            row = np.zeros(u + 1) if reading < 0 else read.gain[gate] * self.moments[reading, u, : u + 1]
            row = row + (read.constant - read.site_variance)[gate]
            row[u] += read.white[gate]
            if replica:
                row[u - 1] += self.shared_white[t, gate]
            grow_factor(self.factor[gate], row)
            e[place] = self.centre[gate] + self.factor[gate, u, : u + 1] @ self.normal[gate, : u + 1]
        return e


def grow_factor(factor: np.ndarray, row: np.ndarray) -> None:
    """Write the next row of the Cholesky factor of a covariance that ends with ``row``.

    Directions whose pivots are below √RANK of the largest are left out. Rounding cannot make what the others
    explain larger than the variance: it is scaled down to it.
    """
    u = len(row) - 1
    pivots = np.diagonal(factor)[:u]
    live = np.flatnonzero(pivots > np.sqrt(RANK) * pivots.max(initial=0.0))
    if live.size:
        lower = factor[:u, :u] if live.size == u else factor[np.ix_(live, live)]
        factor[u, live] = solve_triangular(lower, row[live], lower=True, check_finite=False)
    explained = factor[u, :u] @ factor[u, :u]
    if explained > row[u]:
        factor[u, :u] *= np.sqrt(row[u] / explained)
    factor[u, u] = np.sqrt(max(row[u] - explained, 0.0))


def white_sites(rng: np.random.Generator, gates: int, size: int, n: int) -> np.ndarray:
    """Normal numbers (gates, size, n), each row stratified, whose sample covariance is exactly 1."""
    cells = np.tile(np.arange(n), (gates * size, 1))
    z = ndtri((rng.permuted(cells, axis=1) + 0.5) / n).reshape(gates, size, n)
    z -= z.mean(axis=-1, keepdims=True)
    return np.array([solve_triangular(np.linalg.cholesky(one @ one.T / n), one, lower=True) for one in z])


def _state_moments(sites: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    second = np.mean([np.mean(site**2, axis=-1) for site in sites], axis=0)
    return second, np.mean(sites[0] * sites[-1], axis=-1)
