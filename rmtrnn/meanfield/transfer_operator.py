"""χ of a cell that is not affine in its state, without noise: the transfer operator of what a site remembers.

A site whose update uses one component y of its state (LSTM: c) is a Markov chain in y. On a grid of y, with
quasi-random pre-activations and inputs z_1 … z_n that are the same at every node, one step is a matrix,

    P[l, m] = mean_j w_m(y'(y_l, z_j)),      w_m the weights of the local quintic interpolation to node m,

which conserves the moments of y up to the fifth. Its stationary law π gives E[reads_k²], hence the variances
q_k of theory.md (2), which are solved for self-consistently. The growth of the mean squared singular value is
the spectral radius of the linear map that carries the site-averaged J Jᵀ, a function M(y) at a site:

    M' = a M aᵀ + Σ_k σ_k² g_k b_k b_kᵀ,      g_k = E[c_kᵀ M c_k].

Everything is a smooth function of the ensemble's parameters, so that χ = 1 can be solved to rounding; how far
the value is from χ itself is told by other point sets (``seed``) and grids (``nodes``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core.status import Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.site_process import SobolStream, memory, seeds
from rmtrnn.numerics.fixed_point import fixed_point, scalar_fixed_point

NODES, POINTS = 64, 2048
QUICK_NODES, QUICK_POINTS = 48, 512
REACH = 8.0  # standard deviations of y to each side of its mean that the grid covers
WIDE = 30.0  # of the first grid, which only has to find them
NARROW = 1e-12  # relative deviation of a grid where y does not vary
RESIZED = 0.05  # relative change of the grid that asks for another
NOTHING = 1e-25  # a second moment below this is that of a network at rest
LARGEST = 1e12  # a second moment beyond this means that there is no stationary state
TOLERANCE = 1e-13
_STENCIL = np.arange(6)
_EPS = float(np.finfo(float).eps)


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


def growth(ens: Ensemble, nodes: int = NODES, points: int = POINTS, seed: int = 0) -> Growth | None:
    """χ in the state reached from E[reads²] = 1; None if there is no stationary state.

    nodes : of the grid of y, at least 8; points : of the pre-activations and inputs, a power of two. Other
    ``seed``s are independent point sets.
    """
    process = _Transfer(ens, nodes, points, seed)
    start = None
    if nodes * points > 4 * QUICK_NODES * QUICK_POINTS:  # find the state with few points, then refine it
        few = _Transfer(ens, QUICK_NODES, QUICK_POINTS, seed)
        start = few.solve()
        if start is None:
            return None
        process.grid = _Grid.over(few.grid.low, few.grid.high, nodes)
    reads = process.solve(start)
    return None if reads is None else process.result(reads)


class _Transfer:
    """The points, the cell and the grid that one solve uses."""

    def __init__(self, ens: Ensemble, nodes: int, points: int, seed: int) -> None:
        from scipy.special import ndtri

        gates = [ens.gate(name) for name in ens.cell.gates]
        u = SobolStream(len(gates) + 1, points, seeds(seed, 20, 0)).draw()
        normal = ndtri(u[:-1])
        # With the mean and variance that they should have, the points are exact where the cell is linear.
        normal -= normal.mean(axis=1, keepdims=True)
        self.normal = normal / normal.std(axis=1, keepdims=True)
        self.x = np.broadcast_to(ens.input_quantile(u[-1]), (nodes, points))
        self.mean = np.array([gate.mu_b for gate in gates])
        self.gain = np.array([gate.sigma_w**2 for gate in gates])
        self.drive = np.array([g.sigma_v**2 * ens.R + g.sigma_b**2 for g in gates])
        self.stage = ens.cell.numeric(np).stages[0]
        self.components, self.count, self.points = len(ens.cell.state), nodes, points
        self.own = memory(ens.cell)
        self.names, self.groups = _distinct_reads(ens)
        self.grid = _Grid.around(0.0, 1.0, WIDE, nodes)

    def solve(self, start: np.ndarray | None = None) -> np.ndarray | None:
        """E[reads²] of the distinct readings, from 1 or ``start``; None if it grows without bound."""
        reads = np.ones(self.names) if start is None else start
        for _ in range(12):
            found = self._equilibrate(reads)
            if found is None:
                return None
            reads, law = found
            if not self.own:
                return reads
            mean = float(law @ self.grid.nodes)
            deviation = float(np.sqrt(max(law @ (self.grid.nodes - mean) ** 2, 0.0)))
            if not np.isfinite(deviation) or deviation**2 > LARGEST:
                return None
            low, high = self.grid.low, self.grid.high
            self.grid = _Grid.around(mean, max(deviation, NARROW * max(1.0, abs(mean))), REACH, self.count)
            moved = max(abs(low - self.grid.low), abs(high - self.grid.high))
            if moved <= RESIZED * (self.grid.high - self.grid.low):
                # Once more on the grid of its own law, so that the result does not depend on the way here.
                found = self._equilibrate(reads)
                return None if found is None else found[0]
        return None

    def _equilibrate(self, reads: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """The self-consistent E[reads²] on the present grid, and the law of y there."""

        def following(values: np.ndarray, index: np.ndarray) -> np.ndarray:
            image = self._reads(np.ravel(values))[0]
            return np.where(image > NOTHING, image, 0.0).reshape(np.shape(values))

        if self.names == 0:
            return reads, self._reads(reads)[1]
        if self.names == 1:
            found = scalar_fixed_point(following, reads, lower=0.0, tol=TOLERANCE, noise=16 * _EPS)
        else:
            found = fixed_point(following, reads[:, None], tol=TOLERANCE)
        value = np.ravel(found.value)
        if np.ravel(found.status)[0] != Status.CONVERGED or not np.all(value < LARGEST):
            return None
        return value, self._reads(value)[1]

    def _states(self, reads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sites (s, L, n) that sit on the nodes, and pre-activations (K, L, n)."""
        q = self.variances(reads)
        e = self.mean[:, None] + np.sqrt(q)[:, None] * self.normal
        e = np.broadcast_to(e[:, None, :], (len(q), self.count, self.points))
        site = np.zeros((self.components, self.count, self.points))
        for i in self.own:
            site[i] = self.grid.nodes[:, None]
        return site, e

    def variances(self, reads: np.ndarray) -> np.ndarray:
        """q_k of theory.md (2)."""
        values = np.array([0.0 if group is None else reads[group] for group in self.groups])
        return self.gain * values + self.drive

    def _reads(self, reads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """E[reads²] that the stationary law at these variances gives rise to, and that law."""
        site, e = self._states(reads)
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
        except (
            np.linalg.LinAlgError
        ):  # no unique stationary law on this grid, as where y runs away to both ends
            return np.full(self.count, np.nan)

    def _deposit(self, first: np.ndarray, weights: np.ndarray, values: Any) -> np.ndarray:
        """mean_j values(l, j) w_m(l, j) as a matrix (L, L)."""
        start = np.arange(self.count)[:, None] * self.count + first
        total = np.zeros(self.count**2)
        for i in _STENCIL:
            total += np.bincount((start + i).ravel(), (weights[i] * values).ravel(), self.count**2)
        return total.reshape(self.count, self.count) / self.points

    def result(self, reads: np.ndarray) -> Growth:
        """χ at the solution: the spectral radius of the map of (M at every node, g)."""
        site, e = self._states(reads)
        after = self.stage.update(site, self.x, e)
        law = self._law(after)
        s, L, K = self.components, self.count, len(self.mean)
        a, b, _ = self.stage.linearize(site, self.x, e)
        c = self.stage.linearize(after, self.x, e)[2]  # the readings' slopes depend on the state only
        pairs = [(i, j) for i in range(s) for j in range(i, s)]
        if self.own:
            first, weights = self.grid.weights(after[self.own[0]])
        matrix = np.zeros((len(pairs) * L + K, len(pairs) * L + K))
        ca, cb = np.einsum("kpln,prln->krln", c, a), np.einsum("kpln,mpln->kmln", c, b)
        tail = slice(len(pairs) * L, None)
        for to, (p, q) in enumerate(pairs):
            rows = slice(to * L, (to + 1) * L)
            for of, (r, t) in enumerate(pairs):
                value = a[p, r] * a[q, t] + (a[p, t] * a[q, r] if r != t else 0.0)
                if self.own and np.any(value):
                    matrix[rows, of * L : (of + 1) * L] = self._deposit(first, weights, value).T
                elif np.any(value):
                    matrix[rows, of * L : (of + 1) * L] = np.mean(value, axis=-1)[None, :] / L
            for k in np.flatnonzero(self.gain):
                kick = self.gain[k] * b[k, p] * b[k, q]
                into = self._deposit(first, weights, kick).T @ law if self.own else law * np.mean(kick)
                matrix[rows, tail][:, k] = into
        for of, (r, t) in enumerate(pairs):
            value = np.mean(ca[:, r] * ca[:, t], axis=-1) * (1.0 if r == t else 2.0)
            matrix[tail, of * L : (of + 1) * L] = value
        matrix[tail, tail] = np.einsum("kmln,l->km", cb**2, law) / self.points * self.gain
        chi = float(np.max(np.abs(np.linalg.eigvals(matrix))))
        second = np.maximum(np.mean(after**2, axis=-1) @ law, 0.0)
        return Growth(chi, second, self.variances(reads))


def _distinct_reads(ens: Ensemble) -> tuple[int, list[int | None]]:
    """Number of distinct readings that weights act on, and for each gate which one is its own."""
    seen: list[Any] = []
    groups: list[int | None] = []
    for gate in ens.cell.stages[0].gates:
        if gate.reads.is_number or ens.gate(gate.name).sigma_w == 0.0:
            groups.append(None)
            continue
        if gate.reads not in seen:
            seen.append(gate.reads)
        groups.append(seen.index(gate.reads))
    return len(seen), groups
