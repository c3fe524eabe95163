"""Small networks at many parameter points side by side, with the same random numbers at all of them.

A network of N units with tied weights is also the population of the two-time mean field, theory.md (18), and
of the growth (15) at λ → ∞: its pre-activations have the covariance σ_w² E[r^t r^s] + … with averages over
its own units, and its cost per step does not grow with the history. Differences between points do not carry
the noise of the draw, so that they can be maximised.

Letters: T, the number of steps; K gates, P points, N units, m directions; D, derivatives of the state with
respect to m directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn.ensemble import Ensemble
from rmtrnn.initialisation.input_derivative import input_derivatives
from rmtrnn.initialisation.time_scales import BiasPattern
from rmtrnn.meanfield.site_process import memory
from rmtrnn.sampling.random_matrices import random_matrix
from rmtrnn.sampling.step_jacobian import StagePattern


class Points(NamedTuple):
    """Parameters of all gates at P points, each (K, P)."""

    mu_b: np.ndarray
    sigma_w: np.ndarray
    sigma_v: np.ndarray
    sigma_b: np.ndarray

    @staticmethod
    def of(ens: Ensemble) -> Points:
        """The one point of an ensemble."""
        gates = [ens.gate(name) for name in ens.cell.gates]
        columns = ([getattr(gate, name) for gate in gates] for name in Points._fields)
        return Points(*(np.array(column, dtype=float)[:, None] for column in columns))


class Observed(NamedTuple):
    """What networks show at P points.

    ``log_input`` (lags, P): log of the mean square of ∂h^T/∂x^{T−k}, summed over the entries of x.
    ``log_state`` (lags, P): log of the mean squared singular value of the Jacobian of k steps.
    ``log_typical`` (P,): mean log singular value per step of the components that slow units carry.
    ``q`` (K, P): variances of the pre-activations.
    """

    log_input: np.ndarray
    log_state: np.ndarray
    log_typical: np.ndarray
    q: np.ndarray


@dataclass(frozen=True)
class Size:
    """Numbers of the networks. Empirical: tests/initialisation/test_networks.py moves them by ×3 and ÷3.

    units, directions : of the network, and random directions of the input and of the state that are followed.
    least_burn_in, memories : the burn-in is so many steps or ``memories`` · T, whichever is longer. After 3
        memories e^−3 of the first state is left, e^−6 of its square; an LSTM with peepholes at T = 10 takes
        400 steps to settle.
    start : standard deviation of the first state: large enough for chaos to saturate in the burn-in, small
    since a
        slow unit averages its inputs.
    looks : times at which variances and determinants are taken; 0 leaves them nan.
    rescaled : steps after which D is brought back to size 1, long before it over- or underflows.
    """

    units: int = 64
    directions: int = 12
    least_burn_in: int = 400
    memories: int = 3
    start: float = 0.3
    looks: int = 6
    rescaled: int = 16


class NetworkBatch:
    """Networks of the cell, weight laws, inputs and ties of ``ens``; its other parameters are not used.

    ``pattern``: how the biases of the units come from those of a point; None: as the laws of ``ens`` say.
    """

    def __init__(
        self,
        ens: Ensemble,
        T: int,
        seed: int = 0,
        size: Size | None = None,
        pattern: BiasPattern | None = None,
    ) -> None:
        self.ens, self.T, self.size = ens, T, Size() if size is None else size
        self._pattern = pattern
        self._slow = np.arange(self.size.units) if pattern is None else pattern.slow(self.size.units)
        self.burn_in = max(self.size.least_burn_in, self.size.memories * T)
        self._entries = [_Entries.of(StagePattern.of(stage)) for stage in ens.cell.stages]
        counts = [len(stage.gates) for stage in ens.cell.stages]
        self._slices = [slice(sum(counts[:i]), sum(counts[: i + 1])) for i in range(len(counts))]
        sizes = [len(stage.update) for stage in ens.cell.stages]
        parts = ens.cell.numeric(np).stages, self._slices, input_derivatives(ens.cell), sizes
        self._passes = list(zip(*parts, strict=True))
        self._carried = list(memory(ens.cell)) or list(range(len(ens.cell.state)))
        self._draw(seed)

    def _draw(self, seed: int) -> None:
        n, K, steps = self.size.units, len(self.ens.cell.gates), self.burn_in + self.T + 1
        rng = _random.stream(seed, 61)
        kinds = [self.ens.gate(name).weights for name in self.ens.cell.gates]
        self._weights = np.array([random_matrix(kind, n, 1.0, rng) for kind in kinds])
        self._input_weights = rng.standard_normal((K, n, n)) / np.sqrt(n)
        self._bias = self._biases(rng, (K, 1 if self.ens.tied else steps, n))
        self._means = np.ones((K, 1))
        if self._pattern is not None:
            self._bias = self._pattern.deviations(self._bias)
            self._means = self._pattern.means(n)
        self._x = self.ens.sample_input(rng, (steps, n))
        if self.ens.tied:
            self._drive = self._x @ self._input_weights.swapaxes(1, 2)
        else:
            scale = np.sqrt(np.mean(self._x**2, axis=-1))
            self._drive = scale[:, None] * rng.standard_normal((K, steps, n))
        self._start = rng.standard_normal((len(self.ens.cell.state), n))
        self._along_x = rng.standard_normal((n, self.size.directions))
        self._along_h = rng.standard_normal((len(self.ens.cell.state), n, self.size.directions))
        self._seed = seed

    def _biases(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """(b − μ_b)/σ_b of the gates."""
        values = _standardised(rng, shape)
        if self.ens.has_normal_biases:
            return values
        laws = [self.ens.gate(name) for name in self.ens.cell.gates]
        deviations = self.ens.bias_deviations(rng.uniform(2.0**-53, 1.0, shape))
        for k, law in enumerate(laws):
            if not law.has_normal_bias and law.sigma_b > 0.0:
                values[k] = deviations[k] / law.sigma_b
        return values

    def observe(self, points: Points, lags: np.ndarray) -> Observed:
        """Run all points; ``lags`` ascending, from 0 to T at most."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            return self._observe(points, lags)

    def _observe(self, points: Points, lags: np.ndarray) -> Observed:
        P = points.mu_b.shape[1]
        site = np.repeat(self.size.start * self._start[:, None], P, axis=1)
        for t in range(self.burn_in):
            site, _ = self._step(t, site, points, linear=False)
        looks = {int(t) for t in np.linspace(0, self.T, self.size.looks)}
        moving = _Directions(self._along_x, self._along_h)
        rows: list[tuple[np.ndarray, np.ndarray]] = []
        seen: list[tuple[np.ndarray, np.ndarray]] = []
        wanted = set(lags.tolist())
        for k in range(self.T + 1):
            t = self.burn_in + k
            if k in looks:
                self._reads: list[np.ndarray] = []
            site, linear = self._step(t, site, points, linear=True, keep=k in looks)
            if k == 0:
                moving.begin(self._applied(linear, None, points, t))
            else:
                moving.D = self._applied(linear, moving.D, points, t)
            if k in wanted:
                rows.append(moving.sizes())
            if k in looks:
                seen.append((self._log_determinant(linear, points, t), np.array(self._reads)))
            if k % self.size.rescaled == 0:
                moving.rescale()
        log_input, log_state = (np.array(column) for column in zip(*rows, strict=True))
        if not seen:
            return Observed(log_input, log_state, np.full(P, np.nan), np.full(points.mu_b.shape, np.nan))
        determinants, reads = (np.mean(column, axis=0) for column in zip(*seen, strict=True))
        drive = points.sigma_v**2 * self.ens.R + points.sigma_b**2
        return Observed(log_input, log_state, determinants, points.sigma_w**2 * reads + drive)

    def states(self, points: Points) -> Iterator[np.ndarray]:
        """States (s, P, N) of the steps after the burn-in, T + 1 of them."""
        site = np.repeat(self.size.start * self._start[:, None], points.mu_b.shape[1], axis=1)
        for t in range(self.burn_in + self.T + 1):
            site, _ = self._step(t, site, points, linear=False)
            if t >= self.burn_in:
                yield site

    def jacobians(self, points: Points, T: int) -> Iterator[Callable[[np.ndarray | None], np.ndarray]]:
        """Of the steps 0 … T of one point: Y ↦ J Y for (1, s N, columns), and None ↦ ∂h/∂x, (1, s N, N).

        ``directions`` must be N: the columns of ∂h/∂x are the entries of x.
        """
        self._along_x = np.eye(self.size.units)
        site = self.size.start * self._start[:, None]
        for t in range(self.burn_in):
            site, _ = self._step(t, site, points, linear=False)
        for t in range(self.burn_in, self.burn_in + T + 1):
            site, linear = self._step(t, site, points, linear=True)

            def apply(y: np.ndarray | None, linear: list[Any] = linear, t: int = t) -> np.ndarray:
                n, s = self.size.units, len(self.ens.cell.state)
                D = None if y is None else y.reshape(s, 1, n, -1)
                return self._applied(linear, D, points, t).reshape(1, s * n, -1)

            yield apply

    def _step(
        self, t: int, site: np.ndarray, points: Points, *, linear: bool, keep: bool = False
    ) -> tuple[np.ndarray, list[Any]]:
        """The next state (s, P, N), and for every stage (a, b, c, ∂F/∂x) along the way."""
        found, x = [], self._x[t]
        e_all = self._without_recurrence(t, points)
        for stage, gates, by_input, outputs in self._passes:
            reads = np.empty((gates.stop - gates.start, *site.shape[1:]))
            stage.assign_reads(reads, site)
            if keep:
                self._reads.extend(np.mean(read**2, axis=-1) * np.ones(site.shape[1]) for read in reads)
            e = e_all[gates]
            e += points.sigma_w[gates, :, None] * (reads @ self._transposed_weights(gates, t))
            if not linear:
                before, site = site, np.empty((outputs, *site.shape[1:]))
                stage.assign(site, before, x, e)
                continue
            direct = None if by_input is None else by_input(site, x, e)
            site, a, b, c = stage.advance(site, x, e)
            found.append((a, b, c, direct))
        return site, found

    def _without_recurrence(self, t: int, points: Points) -> np.ndarray:
        """Pre-activations (K, P, N) at step t without W h."""
        e = points.sigma_v[:, :, None] * self._drive[:, t, None]
        e += points.mu_b[:, :, None] * self._means[:, None]
        e += points.sigma_b[:, :, None] * self._bias[:, 0 if self.ens.tied else t, None]
        return e

    def _transposed_weights(self, gates: slice, t: int) -> np.ndarray:
        """Wᵀ of the gates of one stage at σ_w = 1, (gates, N, N)."""
        if self.ens.tied:
            return self._weights[gates].swapaxes(1, 2)
        return np.array([self._weight(k, t) for k in range(gates.start, gates.stop)]).swapaxes(1, 2)

    def _weight(self, k: int, t: int) -> np.ndarray:
        """W of gate k at σ_w = 1. Untied: rows and columns of one draw, permuted and signed anew.

        This keeps the law of W, and makes the weights of different steps uncorrelated.
        """
        if self.ens.tied:
            return self._weights[k]
        rng, n = np.random.Generator(np.random.SFC64([self._seed, k, t])), self.size.units
        rows, columns, signs = rng.permutation(n), rng.permutation(n), rng.choice((-1.0, 1.0), (2, n))
        return signs[0][:, None] * self._weights[k][np.ix_(rows, columns)] * signs[1]

    def _applied(self, linear: list[Any], D: np.ndarray | None, points: Points, t: int) -> np.ndarray:
        """J D of one step; D None: ∂h^t/∂x^t applied to the directions of the input, both (s, P, N, m)."""
        source = D is None
        for (a, b, c, direct), entries, gates in zip(linear, self._entries, self._slices, strict=True):
            outputs = np.zeros((a.shape[0], *a.shape[2:], self._columns(D)))
            if D is not None:
                for i, j, is_one in entries.a:
                    outputs[i] += D[j] if is_one else a[i, j][..., None] * D[j]
            if source and direct is not None:
                outputs += direct[..., None] * self._along_x
            for row, k in enumerate(range(gates.start, gates.stop)):
                read = None if D is None else _combined(c[row], entries.c[row], D)
                change = self._gate_change(k, read, points, t, source)
                if change is not None:
                    for i in entries.b[row]:
                        outputs[i] += b[row, i][..., None] * change
            D = outputs
        assert D is not None
        return D

    def _columns(self, D: np.ndarray | None) -> int:
        return self.size.directions if D is None else D.shape[-1]

    def _gate_change(
        self, k: int, read: np.ndarray | None, points: Points, t: int, source: bool
    ) -> np.ndarray | None:
        """Derivative of the pre-activation of gate k along what it reads, and along the input itself."""
        change = None
        if source:
            change = points.sigma_v[k, :, None, None] * (self._input_weights[k] @ self._along_x)
        if read is not None:
            recurrent = np.matmul(self._weight(k, t), read)
            recurrent *= points.sigma_w[k, :, None, None]
            change = recurrent if change is None else change + recurrent
        return change

    def _log_determinant(self, linear: list[Any], points: Points, t: int) -> np.ndarray:
        """Mean log singular value (P,) of the step between the carried components of the slow units."""
        n, s, P = len(self._slow), len(self.ens.cell.state), points.mu_b.shape[1]
        width = len(self._carried) * n
        unit = np.zeros((s, P, self.size.units, width))
        for place, component in enumerate(self._carried):
            unit[component, :, self._slow, place * n + np.arange(n)] = 1.0
        image = self._applied(linear, unit, points, t)[self._carried][:, :, self._slow]
        return np.linalg.slogdet(image.transpose(1, 0, 2, 3).reshape(P, width, width))[1] / width


class _Entries(NamedTuple):
    """Of a, b and c of one stage, the entries that are not 0, and whether they are 1, as expressions.

    ``a``: (i, j, is one). By gate, ``b``: i; ``c``: (j, is one).
    """

    a: list[tuple[int, int, bool]]
    b: list[list[int]]
    c: list[list[tuple[int, bool]]]

    @classmethod
    def of(cls, pattern: StagePattern) -> _Entries:
        """Listed once, since a step costs little more than to look for them."""
        zero, one = pattern.a
        by_gate = zip(*pattern.c, strict=True)
        return cls(
            [(i, j, bool(one[i, j])) for i, j in np.argwhere(~zero).tolist()],
            [np.flatnonzero(~row).tolist() for row in pattern.b[0]],
            [[(j, bool(is_one[j])) for j in np.flatnonzero(~row).tolist()] for row, is_one in by_gate],
        )


def _combined(c: np.ndarray, entries: list[tuple[int, bool]], D: np.ndarray) -> np.ndarray | None:
    """Σ_j c_j D_j, what one gate reads of the changes D (s, P, N, m); None if it reads nothing."""
    total = None
    for j, is_one in entries:
        term = D[j] if is_one else c[j][..., None] * D[j]
        total = term if total is None else total + term
    return total


class _Directions:
    """Derivatives along m directions of one input, and m of the state after it, side by side in D."""

    def __init__(self, along_x: np.ndarray, along_h: np.ndarray) -> None:
        self.D = np.empty(0)
        self._along_h, self._m = along_h, along_x.shape[1]
        self._unit = np.mean(along_x**2), np.mean(along_h**2)
        self._log = np.zeros((2, 1))

    def begin(self, by_x: np.ndarray) -> None:
        """At the step that takes the input: ∂h/∂x along its directions, and the directions of h."""
        along_h = np.broadcast_to(self._along_h[:, None], (*by_x.shape[:-1], self._m))
        self.D = np.concatenate([by_x, along_h], axis=-1)
        self._log = np.zeros((2, by_x.shape[1]))

    def sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """Log mean squares: of the last state component along the input, of the whole state along itself."""
        by_x = np.log(np.mean(self.D[-1, ..., : self._m] ** 2, axis=(1, 2)) / self._unit[0])
        by_h = np.log(np.mean(self.D[..., self._m :] ** 2, axis=(0, 2, 3)) / self._unit[1])
        return by_x + self._log[0], by_h + self._log[1]

    def rescale(self) -> None:
        """Bring both to size 1, and keep what they were."""
        for row, part in enumerate((self.D[..., : self._m], self.D[..., self._m :])):
            size = np.sqrt(np.mean(part**2, axis=(0, 2, 3)))
            safe = np.where((size > 0.0) & np.isfinite(size), size, 1.0)
            part /= safe[:, None, None]
            self._log[row] += 2.0 * np.log(safe)


def _standardised(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers whose mean is 0 and mean square 1 along the last axis."""
    z = rng.standard_normal(shape)
    z -= z.mean(axis=-1, keepdims=True)
    return z / np.sqrt(np.mean(z**2, axis=-1, keepdims=True))
