"""Mean square sensitivities of networks with tied weights: theory.md (15) at λ → ∞, section 7.

A small change of the input, or of the state, k steps back makes every pre-activation change by a Gaussian
process in time, δe^t with Cov(δe^t, δe^s) = σ_w² E[δr^t δr^s], independent of the trajectory (18) along which
it is carried,

    δh^t = a_t δh^{t−1} + Σ_k b_k δe_k^t (+ ∂F/∂x δx at the first step),     δr = c · δh,

stage by stage. A change δx of the input adds σ_v² E[δx²] to the variance of the first δe. The covariance
needs the past only, so one pass over the steps gives all lags at once.

Letters: n, sites; m, changes that are followed at every site.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn._core.status import ConvergenceError, Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.initialisation.input_derivative import input_derivatives
from rmtrnn.meanfield.forward_process import grow_factor, white_sites
from rmtrnn.meanfield.periodic_process import GROUPS, Readings
from rmtrnn.meanfield.shortfall import Shortfall, shortfall_of
from rmtrnn.meanfield.tied_field import standard_error, tied_field
from rmtrnn.meanfield.tied_sites import visit_sites


class MeanSquares(NamedTuple):
    """At lags 0 … T: mean squares of ∂h^T/∂x^{T−k} and of the k-step Jacobian, with errors, and how found.

    ``cause``: why the mean field that they are built on did not converge.
    """

    to_input: np.ndarray
    to_state: np.ndarray
    input_error: np.ndarray
    state_error: np.ndarray
    method: str
    status: Status
    cause: str = ""

    def inheriting(self, field: Shortfall) -> MeanSquares:
        """The same with the status, the relative error and the cause of their mean field."""
        return self._replace(
            input_error=self.input_error + field.error * self.to_input,
            state_error=self.state_error + field.error * self.to_state,
            status=field.status,
            cause=field.cause,
        )


COPIES = 8  # changes followed along each site: the noise of the changes falls, that of the sites stays


def tied_mean_squares(ens: Ensemble, T: int, sites: int, seed: int) -> MeanSquares:
    """Follow changes of one input and of one state over T steps at ``sites``/2 stationary sites.

    ``sites``, of the mean field: 32 times a power of two. The errors are `CONFIDENCE` standard errors over
    the groups of sites, each with the covariance of δe that it has by itself: what one step's covariance
    misses is carried to all later steps. Raises ConvergenceError if the network has no stationary state.
    """
    field = tied_field(ens, None, sites, seed)
    if field.status is Status.DIVERGED:
        raise ConvergenceError(f"{ens}: {Status.DIVERGED.message}")
    pairs = [
        [_Change(ens, T, sites // 2, seed, of_input=of_input, sets=sets) for sets in (1, GROUPS)]
        for of_input in (True, False)
    ]

    def visit(t: int, position: int, stage: Any, site: Any, x: Any, e: Any) -> None:
        a, b, c = stage.linearize(site, x, e)
        derivative = input_derivatives(ens.cell)[position]
        direct = None if derivative is None or t > 0 else derivative(site, x, e)
        for change in itertools.chain(*pairs):
            change.stage(t, position, a, b, c, direct)

    visit_sites(field, ens, T + 1, visit, per_group=sites // (2 * GROUPS), seed=seed)
    (to_input, input_error), (to_state, state_error) = (
        (joint.mean_squares().mean(axis=1), standard_error(apart.mean_squares())) for joint, apart in pairs
    )
    found = MeanSquares(to_input, to_state, input_error, state_error, "tied theory", Status.CONVERGED)
    return found.inheriting(shortfall_of(field))


class _Change:
    """A change of one input at step 0, or of the state after step 0, carried along the sites.

    The covariance of δe is that of all sites, or of each of several ``sets`` of them by itself.
    """

    def __init__(self, ens: Ensemble, T: int, n: int, seed: int, *, of_input: bool, sets: int) -> None:
        self.stages, self.n, self.of_input, self.sets = ens.cell.stages, n, of_input, sets
        self.readings = Readings.of(ens)
        rng = _random.stream(seed, 62, int(of_input))
        gates, components = len(ens.cell.gates), len(ens.cell.state)
        shape = (n, COPIES)
        # White in every group of sites, if it has more changes than there are steps.
        parts = GROUPS if n * COPIES // GROUPS >= 2 * (T + 1) else 1

        def white(rows: int, size: int) -> np.ndarray:
            drawn = [white_sites(rng, rows, size, n * COPIES // parts) for _ in range(parts)]
            return np.concatenate(drawn, axis=-1)

        self.normal = white(gates, T + 1)
        # Of the correlations of δe: on one scale at all times.
        self.factor = np.zeros((gates, sets, T + 1, T + 1))
        self.deviation = np.zeros((gates, sets, T + 1))
        self.reads = np.zeros((self.readings.count, T + 1, n * COPIES))
        self.source = np.array([ens.gate(name).sigma_v ** 2 for name in ens.cell.gates])
        own = white(1, components + 1)[0].reshape(-1, *shape)
        self.along_x, self.start = own[0], own[1:]
        self.delta = np.zeros((components, *shape))
        self.squares: list[np.ndarray] = []

    def stage(self, t: int, position: int, a: Any, b: Any, c: Any, direct: np.ndarray | None) -> None:
        """Carry the change through one stage at step t, and measure it after the last stage."""
        is_last = position + 1 == len(self.stages)
        if t == 0 and not self.of_input:
            self.delta = self.start
        else:
            first = sum(len(stage.gates) for stage in self.stages[:position])
            for d, (where, row) in enumerate(zip(self.readings.stage, self.readings.row, strict=True)):
                if where == position:
                    self.reads[d, t] = np.einsum("jn,jnm->nm", c[row], self.delta).ravel()
            after = np.einsum("ijn,jnm->inm", a, self.delta)
            for row in range(len(self.stages[position].gates)):
                after += b[row][..., None] * self._gate_change(first + row, t)
            if direct is not None and self.of_input:
                after += direct[..., None] * self.along_x
            self.delta = after
        if is_last:
            measured = self.delta[-1:] if self.of_input else self.delta
            self.squares.append(np.mean(measured**2, axis=(0, 2)).reshape(GROUPS, -1).mean(axis=1))

    def _gate_change(self, gate: int, t: int) -> np.ndarray:
        """δe of one gate at step t, drawn given its past: theory.md (15) at λ → ∞."""
        normal = self.normal[gate, : t + 1].reshape(t + 1, self.sets, -1)
        drawn = [self._drawn(gate, t, group, normal[:, group]) for group in range(self.sets)]
        return np.concatenate(drawn).reshape(self.n, COPIES)

    def _drawn(self, gate: int, t: int, group: int, normal: np.ndarray) -> np.ndarray:
        """δe of one set of sites, from the normal numbers (t + 1, changes) of the steps up to t."""
        reading, row = self.readings.of_gate[gate], np.zeros(t + 1)
        if reading >= 0:
            past = self.reads[reading, : t + 1].reshape(t + 1, self.sets, -1)[:, group]
            row += self.readings.gain[gate] * (past @ past[t]) / past.shape[1]
        if t == 0:
            row[0] += self.source[gate]
        self.deviation[gate, group, t] = np.sqrt(max(row[t], 0.0))
        sizes = self.deviation[gate, group, : t + 1]
        if sizes[t] == 0.0:
            return np.zeros(normal.shape[1])
        correlation = np.divide(row, sizes * sizes[t], out=np.zeros(t + 1), where=sizes > 0.0)
        factor = self.factor[gate, group]
        grow_factor(factor, correlation)
        return sizes[t] * (factor[t, : t + 1] @ normal)

    def mean_squares(self) -> np.ndarray:
        """Mean squares at all lags, (T + 1, groups of sites)."""
        return np.array(self.squares)
