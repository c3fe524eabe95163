"""Stationary sites on a period, each step of a site as one linear map: theory.md (1), (18).

The stages of a step compose to

    x_t = A_t x_{t−1} + B_t α_t,      β_t = C_t x_{t−1} + D_t α_t,                                         (*)

with α the changes of the pre-activations of the K gates that read the state, and β those of the distinct
quantities that they read. D is not 0 where a later stage reads what an earlier gate has changed.

Letters: L, the period in steps; s, components of the state; n, sites.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.filtered_cell import spectrum
from rmtrnn.meanfield.growth import single_replica_mean_field
from rmtrnn.meanfield.periodic_process import GROUPS, FrequencyNodes, PeriodicSites, Readings
from rmtrnn.meanfield.shortfall import require_stationary
from rmtrnn.meanfield.site_process import SiteProcess, seeds
from rmtrnn.meanfield.tied_field import TiedField
from rmtrnn.meanfield.tied_solver import DEFAULT
from rmtrnn.weight_laws import SingularValues

ROUNDS = 4  # around the period, of which the last is kept: a memory of L steps has shrunk to e^{−3} by then


@dataclass(frozen=True)
class SiteSteps:
    """The maps (*): A (L, s, s, n), B (L, s, K, n), C (L, d, s, n), D (L, d, K, n).

    ``reading`` (K,): what each gate reads, of d; ``variance`` (K,): σ_w²; ``weights``: their laws. The sites
    come in `GROUPS` equal groups, one after the other.
    """

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    D: np.ndarray
    reading: np.ndarray
    variance: np.ndarray
    weights: tuple[str | SingularValues, ...]
    tied: bool

    @property
    def period(self) -> int:
        """L."""
        return len(self.A)

    @property
    def n(self) -> int:
        """Number of sites."""
        return self.A.shape[-1]

    def group(self, index: int) -> slice:
        """The sites of one of the `GROUPS` groups."""
        size = self.n // GROUPS
        return slice(index * size, (index + 1) * size)

    def of(self, sites: slice | np.ndarray) -> SiteSteps:
        """Some of the sites."""
        A, B, C, D = (part[..., sites] for part in (self.A, self.B, self.C, self.D))
        return SiteSteps(A, B, C, D, self.reading, self.variance, self.weights, self.tied)


class _Composer:
    """Composes the stages of every step to (*)."""

    def __init__(self, ens: Ensemble, L: int, n: int) -> None:
        self.ens, self.readings = ens, Readings.of(ens)
        s, K, d = len(ens.cell.state), len(ens.cell.gates), self.readings.count
        self.A, self.B = np.zeros((L, s, s, n)), np.zeros((L, s, K, n))
        self.C, self.D = np.zeros((L, d, s, n)), np.zeros((L, d, K, n))
        self._start = np.repeat(np.eye(s)[:, :, None], n, axis=2), np.zeros((s, K, n))

    def stage(self, t: int, position: int, linear: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        """Take (a, b, c) of one stage of step t; stages come in their order."""
        a, b, c = linear
        if position == 0:
            self._first, (self._by_x, self._by_alpha) = 0, self._start
        for d, (where, row) in enumerate(zip(self.readings.stage, self.readings.row, strict=True)):
            if where == position:
                self.C[t, d] = np.einsum("jn,jin->in", c[row], self._by_x)
                self.D[t, d] = np.einsum("jn,jkn->kn", c[row], self._by_alpha)
        self._by_x = np.einsum("ijn,jkn->ikn", a, self._by_x)
        self._by_alpha = np.einsum("ijn,jkn->ikn", a, self._by_alpha)
        for row in range(len(b)):
            self._by_alpha[:, self._first + row] += b[row]
        self._first += len(b)
        if position + 1 == len(self.ens.cell.stages):
            self.A[t], self.B[t] = self._by_x, self._by_alpha

    def steps(self) -> SiteSteps:
        """Without the gates that read nothing, nothing that changes, or change nothing."""
        drives = np.abs(self.B).max(axis=(0, 1, 3)) + np.abs(self.D).max(axis=(0, 1, 3), initial=0.0)
        moves = np.append(np.abs(self.C).max(axis=(0, 2, 3)) + np.abs(self.D).max(axis=(0, 2, 3)), 0.0)
        reads = np.flatnonzero((drives > 0.0) & (moves[self.readings.of_gate] > 0.0))
        laws = [self.ens.gate(self.ens.cell.gates[k]).weights for k in reads]
        B, D, gain = self.B[:, :, reads], self.D[:, :, reads], self.readings.gain[reads]
        return SiteSteps(self.A, B, self.C, D, self.readings.of_gate[reads], gain, tuple(laws), self.ens.tied)


def tied_steps(ens: Ensemble, field: TiedField, L: int, n: int, seed: int) -> SiteSteps:
    """``n`` sites with tied weights over a period of L steps, at the autocovariances of ``field``."""
    nodes = FrequencyNodes.build(L, DEFAULT.node_distance)
    process = PeriodicSites(ens, L, n // GROUPS, seed, nodes, key=(57,))
    process.scale_state(field.Q.value)
    values = np.zeros((process.readings.count, 1, nodes.weight.size))
    if field.state is not None:
        values = _on_shorter_period(field.state.sites.nodes, field.state.spectra.positive_groups, nodes)
    e = process.pre_activations(values)[0]
    for _ in range(ROUNDS - 1):
        process.run(e)
    run = process.run(e)
    composer = _Composer(ens, L, n)
    for t in range(L):
        for place, stage in enumerate(process.stages):
            site, gates = run.taken[place][:, t], process.gates_of[place]
            composer.stage(t, place, stage.linearize(site, run.x[t], e[gates, t]))
    return composer.steps()


def _on_shorter_period(old: FrequencyNodes, values: np.ndarray, new: FrequencyNodes) -> np.ndarray:
    """Spectra at other nodes of the process whose autocovariance at lags 0 … L/2 is the same."""
    lags = old.covariance(values)[..., : new.period // 2 + 1]
    return new.project(np.maximum(spectrum(lags, new.period), 0.0))


def untied_steps(ens: Ensemble, L: int, n: int, seed: int) -> SiteSteps:
    """``n`` sites with untied weights over a period of L steps: independent pre-activations at every step."""
    field = single_replica_mean_field(ens)
    require_stationary(ens, field)
    q = np.array([field.q_of(name) for name in ens.cell.gates])
    process = SiteProcess(ens, n, seeds(seed, 77, 0))
    rng = _random.stream(seed, 78)
    draws = [_stratified(rng, len(q) * (1 if ens.has_normal_biases else 2) + 1, n) for _ in range(L)]
    composer = _Composer(ens, L, n)
    state = rng.standard_normal((len(ens.cell.state), n))
    for turn in range(ROUNDS):
        for t, uniform in enumerate(draws):
            e = process.pre_activations(q, uniform[1 : len(q) + 1], uniform[-len(q) :])
            x = ens.input_quantile(uniform[0])
            for position, (stage, gates) in enumerate(
                zip(process.numeric.stages, process.slices, strict=True)
            ):
                if turn == ROUNDS - 1:
                    composer.stage(t, position, stage.linearize(state, x, e[gates]))
                state = stage.update(state, x, e[gates])
    return composer.steps()


def _stratified(rng: np.random.Generator, rows: int, n: int) -> Any:
    """Uniform numbers (rows, n), each row stratified in every group of sites."""
    size = n // GROUPS
    cells = rng.permuted(np.tile(np.arange(size), (rows, GROUPS, 1)), axis=2)
    return ((cells + rng.random(cells.shape)) / size).reshape(rows, n)
