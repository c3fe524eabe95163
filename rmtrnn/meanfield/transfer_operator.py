"""χ of a cell that is not affine in its state, without noise: the transfer operator of what a site remembers.

A site whose update uses one component y of its state (LSTM: c) is a Markov chain in y. On a grid of y, with
quasi-random pre-activations and inputs z_1 … z_n that are the same at every node, one step is a matrix,

    P[l, m] = mean_j w_m(y'(y_l, z_j)),      w_m the weights of the local quintic interpolation to node m,

which conserves the moments of y up to the fifth. Its stationary law π gives E[r_k²] of the input r_k of every
gate, hence the variances q_k of theory.md (2), which are solved for self-consistently. The growth
of the mean squared singular value is the spectral radius of the linear map of the site-averaged J Jᵀ, a
function M(y) at a site:

    M' = a M aᵀ + Σ_k σ_k² g_k b_k b_kᵀ,      g_k = E[c_kᵀ M c_k].

Everything is a smooth function of the ensemble's parameters, so that χ = 1 can be solved to rounding; how far
the value is from χ itself is told by other point sets (``seed``) and grids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from rmtrnn._core.status import Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.result import UNBOUNDED
from rmtrnn.meanfield.site_process import SobolStream, memory, seeds
from rmtrnn.numerics.fixed_point import fixed_point, scalar_fixed_point

_STENCIL = np.arange(6)
_EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Resolution:
    """``nodes`` of the grid of y, at least 8; ``points`` of pre-activations and inputs, a power of two."""

    nodes: int
    points: int


FINE = Resolution(64, 2048)
"""χ of the LSTM to some 1e-4, as tests/meanfield/test_transfer_operator.py measures by other point sets."""
QUICK = Resolution(48, 512)
"""χ to some 1e-3, for scans and for the start of a fine solve."""


@dataclass(frozen=True)
class Settings:
    """Of the grid and of the solve; test_meanfield_settings.py moves those that are empirical."""

    reach: float = 8.0
    """Standard deviations of y on each side of its mean: 1e-15 of a Gaussian law lie beyond."""
    first_reach: float = 30.0
    """Of the first grid, which only has to find mean and deviation of y; empirical."""
    narrow: float = 1e-12
    """Relative deviation of a grid where y does not vary: far above rounding, far below any state."""
    resized: float = 0.05
    """Relative change of the grid that asks for another one; empirical. The last is that of its own law."""
    grids: int = 12
    """Grids, at most: each comes closer to its law by the tails that the one before cut off; empirical."""
    at_rest: float = 1e-25
    """A second moment below this is that of a network at rest: the square of rounding, and 1e7 to spare."""
    tol: float = 1e-13
    """Of the self-consistent second moments, relative: sums of 64 · 2048 terms are right to that."""


SETTINGS = Settings()


class Growth(NamedTuple):
    """χ, and the second moments of the state (s,) and q (K,) it belongs to."""

    chi: float
    second: np.ndarray
    q: np.ndarray


class _Grid(NamedTuple):
    low: float
    high: float
    nodes: np.ndarray

    @staticmethod
    def around(mean: float, deviation: float, reach: float, count: int) -> _Grid:
        return _Grid.over(mean - reach * deviation, mean + reach * deviation, count)

    @staticmethod
    def over(low: float, high: float, count: int) -> _Grid:
        return _Grid(low, high, np.linspace(low, high, count))

    def weights(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First node of the stencil of each y, and the six Lagrange weights (6, ...)."""
        count = self.nodes.size
        place = (np.clip(y, self.low, self.high) - self.low) * ((count - 1) / (self.high - self.low))
        first = np.clip(place.astype(int) - 2, 0, count - 6)
        t = place - first
        found = np.empty((6, *y.shape))
        for i in _STENCIL:
            others = np.delete(_STENCIL, i)
            weight = t - others[0]
            for k in others[1:]:
                weight = weight * (t - k)
            found[i] = weight / np.prod((i - others).astype(float))
        return first, found


def applies(ens: Ensemble) -> bool:
    """Whether the operator can be built: one stage, and a site that remembers one component at most."""
    return len(ens.cell.stages) == 1 and len(memory(ens.cell)) <= 1


def growth(
    ens: Ensemble, resolution: Resolution = FINE, seed: int = 0, settings: Settings = SETTINGS
) -> Growth | None:
    """χ in the state reached from E[r²] = 1 of all gate inputs r; None if there is no stationary state.

    Other ``seed``s are independent point sets.
    """
    process = _Transfer(ens, resolution, seed, settings)
    start = None
    if resolution.nodes * resolution.points > 4 * QUICK.nodes * QUICK.points:
        # Find the state with few points, then refine it.
        few = _Transfer(ens, QUICK, seed, settings)
        start = few.solve()
        if start is None:
            return None
        process.grid = _Grid.over(few.grid.low, few.grid.high, resolution.nodes)
    inputs = process.solve(start)
    return None if inputs is None else process.result(inputs)


class _Transfer:
    """The points, the cell and the grid that one solve uses."""

    def __init__(self, ens: Ensemble, resolution: Resolution, seed: int, settings: Settings) -> None:
        self.settings = settings
        nodes, points = resolution.nodes, resolution.points
        gates = [ens.gate(name) for name in ens.cell.gates]
        K = len(gates)
        biases = 0 if ens.has_normal_biases else K
        u = SobolStream(K + 1 + biases, points, seeds(seed, 20, 0)).draw()
        normal = ndtri(u[:K])
        # With the mean and variance that they should have, the points are exact where the cell is linear.
        normal -= normal.mean(axis=1, keepdims=True)
        self.normal = normal / normal.std(axis=1, keepdims=True)
        self.x = np.broadcast_to(ens.input_quantile(u[K]), (nodes, points))
        self.mean = np.array([gate.mu_b for gate in gates])[:, None]
        if biases:
            self.mean = self.mean + ens.bias_deviations(u[-K:])
        self.site_variance = np.array([gate.site_variance for gate in gates])
        self.gain = np.array([gate.sigma_w**2 for gate in gates])
        self.drive = np.array([g.sigma_v**2 * ens.R + g.sigma_b**2 for g in gates])
        self.stage = ens.cell.numeric(np).stages[0]
        self.components, self.count, self.points = len(ens.cell.state), nodes, points
        self.own = memory(ens.cell)
        self.names, self.groups = _distinct_inputs(ens)
        self.grid = _Grid.around(0.0, 1.0, settings.first_reach, nodes)

    def solve(self, start: np.ndarray | None = None) -> np.ndarray | None:
        """E[r²] of the distinct gate inputs, from 1 or ``start``; None if it grows without bound."""
        inputs = np.ones(self.names) if start is None else start
        for _ in range(self.settings.grids):
            found = self._equilibrate(inputs)
            if found is None:
                return None
            inputs, law = found
            if not self.own:
                return inputs
            mean = float(law @ self.grid.nodes)
            deviation = float(np.sqrt(max(law @ (self.grid.nodes - mean) ** 2, 0.0)))
            if not np.isfinite(deviation) or deviation**2 > UNBOUNDED:
                return None
            low, high = self.grid.low, self.grid.high
            width = max(deviation, self.settings.narrow * max(1.0, abs(mean)))
            self.grid = _Grid.around(mean, width, self.settings.reach, self.count)
            moved = max(abs(low - self.grid.low), abs(high - self.grid.high))
            if moved <= self.settings.resized * (self.grid.high - self.grid.low):
                # Once more on the grid of its own law, so that the result does not depend on the way here.
                found = self._equilibrate(inputs)
                return None if found is None else found[0]
        return None

    def _equilibrate(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """The self-consistent E[r²] of the gate inputs on the present grid, and the law of y there."""

        def following(values: np.ndarray, index: np.ndarray) -> np.ndarray:
            image = self._input_moments(np.ravel(values))[0]
            return np.where(image > self.settings.at_rest, image, 0.0).reshape(np.shape(values))

        if self.names == 0:
            return inputs, self._input_moments(inputs)[1]
        if self.names == 1:
            found = scalar_fixed_point(following, inputs, lower=0.0, tol=self.settings.tol, noise=16 * _EPS)
        else:
            found = fixed_point(following, inputs[:, None], tol=self.settings.tol)
        value = np.ravel(found.value)
        if np.ravel(found.status)[0] != Status.CONVERGED or not np.all(value < UNBOUNDED):
            return None
        return value, self._input_moments(value)[1]

    def _states(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sites (s, L, n) that sit on the nodes, and pre-activations (K, L, n)."""
        q = self.variances(inputs)
        e = self.mean + np.sqrt(np.maximum(q - self.site_variance, 0.0))[:, None] * self.normal
        e = np.broadcast_to(e[:, None, :], (len(q), self.count, self.points))
        site = np.zeros((self.components, self.count, self.points))
        for i in self.own:
            site[i] = self.grid.nodes[:, None]
        return site, e

    def variances(self, inputs: np.ndarray) -> np.ndarray:
        """q_k of theory.md (2)."""
        values = np.array([0.0 if group is None else inputs[group] for group in self.groups])
        return self.gain * values + self.drive

    def _input_moments(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """E[r²] that the stationary law at these variances gives rise to, and that law."""
        site, e = self._states(inputs)
        after = self.stage.update(site, self.x, e)
        law = self._law(after)
        squares = np.mean(self.stage.read(after) ** 2, axis=-1) @ law
        return np.array([squares[self.groups.index(k)] for k in range(self.names)]), law

    def _law(self, after: np.ndarray) -> np.ndarray:
        if not self.own:
            return np.full(self.count, 1.0 / self.count)
        first, weights = self.grid.weights(after[self.own[0]])
        P = self._deposit(first, weights, 1.0)
        equations = P.T - np.eye(self.count)
        equations[0] = 1.0
        try:
            return np.linalg.solve(equations, np.eye(self.count)[0])
        except np.linalg.LinAlgError:  # no unique law on this grid, as where y runs away to both ends
            return np.full(self.count, np.nan)

    def _deposit(self, first: np.ndarray, weights: np.ndarray, values: Any) -> np.ndarray:
        """mean_j values(l, j) w_m(l, j) as a matrix (L, L)."""
        start = np.arange(self.count)[:, None] * self.count + first
        total = np.zeros(self.count**2)
        for i in _STENCIL:
            total += np.bincount((start + i).ravel(), (weights[i] * values).ravel(), self.count**2)
        return total.reshape(self.count, self.count) / self.points

    def result(self, inputs: np.ndarray) -> Growth:
        """χ at the solution, the spectral radius of the map of M(y) at every node and of σ_k² g_k."""
        site, e = self._states(inputs)
        after = self.stage.update(site, self.x, e)
        law = self._law(after)
        chi = float(np.max(np.abs(np.linalg.eigvals(self._growth_matrix(site, after, e, law)))))
        second = np.maximum(np.mean(after**2, axis=-1) @ law, 0.0)
        return Growth(chi, second, self.variances(inputs))

    def _growth_matrix(
        self, site: np.ndarray, after: np.ndarray, e: np.ndarray, law: np.ndarray
    ) -> np.ndarray:
        """The map of (M_rt(y) for r ≤ t at the nodes, g_k) over one step: the module's equation."""
        a, b, _ = self.stage.linearize(site, self.x, e)
        c = self.stage.linearize(after, self.x, e)[2]  # slopes of the gate inputs: of the state alone
        s, L, K = self.components, self.count, len(self.mean)
        pairs = [(i, j) for i in range(s) for j in range(i, s)]
        stencil = self.grid.weights(after[self.own[0]]) if self.own else None
        matrix = np.zeros((len(pairs) * L + K, len(pairs) * L + K))
        gains = slice(len(pairs) * L, None)
        for to, (p, q) in enumerate(pairs):
            rows = slice(to * L, (to + 1) * L)
            for of, (r, t) in enumerate(pairs):
                value = a[p, r] * a[q, t] + (a[p, t] * a[q, r] if r != t else 0.0)
                if np.any(value):
                    matrix[rows, of * L : (of + 1) * L] = self._to_nodes(stencil, value)
            for k in np.flatnonzero(self.gain):
                matrix[rows, gains][:, k] = self.gain[k] * self._to_nodes(stencil, b[k, p] * b[k, q]) @ law
        ca, cb = np.einsum("kpln,prln->krln", c, a), np.einsum("kpln,mpln->kmln", c, b)
        for of, (r, t) in enumerate(pairs):
            value = np.mean(ca[:, r] * ca[:, t], axis=-1) * (1.0 if r == t else 2.0)
            matrix[gains, of * L : (of + 1) * L] = value
        matrix[gains, gains] = np.einsum("kmln,l->km", cb**2, law) / self.points * self.gain
        return matrix

    def _to_nodes(self, stencil: tuple[np.ndarray, np.ndarray] | None, values: np.ndarray) -> np.ndarray:
        """Mean of values(y, z_j) over where the step from each node ends, as a matrix (to, from)."""
        if stencil is None:  # nothing is remembered: all nodes are one
            return np.broadcast_to(np.mean(values, axis=-1) / self.count, (self.count, self.count))
        return self._deposit(*stencil, values).T


def _distinct_inputs(ens: Ensemble) -> tuple[int, list[int | None]]:
    """Number of distinct gate inputs that weights act on, and for each gate which one is its own."""
    seen: list[Any] = []
    groups: list[int | None] = []
    for gate in ens.cell.stages[0].gates:
        if not ens.is_recurrent(gate):
            groups.append(None)
            continue
        if gate.reads not in seen:
            seen.append(gate.reads)
        groups.append(seen.index(gate.reads))
    return len(seen), groups
