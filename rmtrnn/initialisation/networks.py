"""Small networks at many parameter points side by side, with the same random numbers at all of them.

A network of N units with tied weights is also the population of the two-time mean field, theory.md (18), and
of the growth (15) at λ → ∞: its pre-activations have the covariance σ_w² E[r^t r^s] + … with averages over
its own units, and its cost per step does not grow with the history. Differences between points do not carry
the noise of the draw, so that they can be maximised.

Letters: T, the number of steps; K gates, P points, N units, m directions; D, derivatives of the state with
respect to m directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn.cells.cell import Stage
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
        since a slow unit averages its inputs.
    looks : times at which variances and determinants are taken; 0 leaves them nan.
    rescaled : steps after which D is brought back to size 1, long before it over- or underflows.
    dtype : of D. States, variances and determinants always have double precision.
    """

    units: int = 64
    directions: int = 12
    least_burn_in: int = 400
    memories: int = 3
    start: float = 0.3
    looks: int = 6
    rescaled: int = 16
    dtype: str = "float64"


# Steps, and sites of all points together, whose derivatives are taken at once. They decide the time alone.
_BLOCK, _BLOCK_SITES = 32, 2**16


class NetworkBatch:
    """Networks of the cell, weight laws, inputs and ties of ``ens``; its other parameters are not used.

    ``seed``: of one network, which all points have; or of several, each of which has one point of its own.
    ``pattern``: how the biases of the units come from those of a point; None: as the laws of ``ens`` say.
    """

    def __init__(
        self,
        ens: Ensemble,
        T: int,
        seed: int | Sequence[int] = 0,
        size: Size | None = None,
        pattern: BiasPattern | None = None,
    ) -> None:
        self.ens, self.T, self.size = ens, T, Size() if size is None else size
        self._pattern = pattern
        self._slow = np.arange(self.size.units) if pattern is None else pattern.slow(self.size.units)
        self.burn_in = max(self.size.least_burn_in, self.size.memories * T)
        self._stages: list[_StageOf] = []
        first = 0
        for stage, numeric, by_input in zip(
            ens.cell.stages, ens.cell.numeric(np).stages, input_derivatives(ens.cell), strict=True
        ):
            gates = slice(first, first + len(stage.gates))
            self._stages.append(_StageOf(numeric, gates, by_input, _Entries.of(stage), len(stage.update)))
            first = gates.stop
        self._carried = list(memory(ens.cell)) or list(range(len(ens.cell.state)))
        self._seeds = (seed,) if isinstance(seed, int) else tuple(seed)
        self._means = np.ones((len(ens.cell.gates), 1)) if pattern is None else pattern.means(self.size.units)
        # With R networks: weights (K, R, N, N), everything else with the axes (R, N) last.
        drawn = zip(*map(self._drawn, self._seeds), strict=True)
        weights, input_weights, *others = (list(arrays) for arrays in drawn)
        self._weights, self._input_weights = np.stack(weights, axis=1), np.stack(input_weights, axis=1)
        self._bias, self._x, self._drive, self._start, self._along_x, self._along_h = (
            np.stack(arrays, axis=-2) for arrays in others
        )

    def _drawn(self, seed: int) -> tuple[np.ndarray, ...]:
        """Of one network: W, V, biases, inputs, V x, first state, directions of x and of h."""
        n, K, steps = self.size.units, len(self.ens.cell.gates), self.burn_in + self.T + 1
        rng = _random.stream(seed, 61)
        kinds = [self.ens.gate(name).weights for name in self.ens.cell.gates]
        weights = np.array([random_matrix(kind, n, 1.0, rng) for kind in kinds])
        input_weights = rng.standard_normal((K, n, n)) / np.sqrt(n)
        bias = self._biases(rng, (K, 1 if self.ens.tied else steps, n))
        if self._pattern is not None:
            bias = self._pattern.deviations(bias)
        x = self.ens.sample_input(rng, (steps, n))
        if self.ens.tied:
            drive = x @ input_weights.swapaxes(1, 2)
        else:
            drive = np.sqrt(np.mean(x**2, axis=-1))[:, None] * rng.standard_normal((K, steps, n))
        start = rng.standard_normal((len(self.ens.cell.state), n))
        along_x = rng.standard_normal((n, self.size.directions)).T
        along_h = rng.standard_normal((len(self.ens.cell.state), n, self.size.directions)).swapaxes(1, 2)
        return weights, input_weights, bias, x, drive, start, along_x, along_h

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
        P, run = points.mu_b.shape[1], self._begun(points)
        looks = {int(t) for t in np.linspace(0, self.T, self.size.looks)}
        moving = _Directions(self._along_x, self._along_h, self.size.dtype)
        rows: list[tuple[np.ndarray, np.ndarray]] = []
        seen: list[tuple[np.ndarray, np.ndarray]] = []
        wanted = set(lags.tolist())
        for k, step in enumerate(run.linear_steps(self.burn_in, self.burn_in + self.T)):
            if k == 0:
                moving.begin(step.of_input(self._along_x))
            else:
                moving.D = step(moving.D)
            if k in wanted:
                rows.append(moving.sizes())
            if k in looks:
                squares = [np.mean(read**2, axis=-1) * np.ones(P) for read in step.reads()]
                seen.append((self._log_determinant(step, P), np.array(squares)))
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
        run = self._begun(points)
        for t in range(self.burn_in, self.burn_in + self.T + 1):
            run.step(t)
            yield run.site

    def jacobians(self, points: Points, T: int) -> Iterator[Callable[[np.ndarray | None], np.ndarray]]:
        """Of the steps 0 … T of one point: Y ↦ J Y for (1, s N, columns), and None ↦ ∂h/∂x, (1, s N, N).

        The columns of ∂h/∂x are the entries of x.
        """
        run, n, s = self._begun(points), self.size.units, len(self.ens.cell.state)
        for step in run.linear_steps(self.burn_in, self.burn_in + T):

            def apply(y: np.ndarray | None, step: _Step = step) -> np.ndarray:
                if y is None:
                    image = step.of_input(np.eye(n)[:, None])
                else:
                    image = step(y.reshape(s, n, -1).swapaxes(1, 2)[:, :, None])
                return image[:, :, 0].swapaxes(1, 2).reshape(1, s * n, -1)

            yield apply

    def _begun(self, points: Points) -> _Run:
        """All points after the burn-in."""
        run = _Run(self, points)
        for t in range(self.burn_in):
            run.step(t)
        return run

    def transposed_weights(self, k: int | slice, t: int) -> np.ndarray:
        """Wᵀ of one gate, (R, N, N), or of several ones at σ_w = 1."""
        if self.ens.tied:
            return self._weights[k].swapaxes(-1, -2)
        gates = range(k, k + 1) if isinstance(k, int) else range(k.start, k.stop)
        found = np.array([[self._permuted(r, gate, t) for r in range(len(self._seeds))] for gate in gates])
        return (found[0] if isinstance(k, int) else found).swapaxes(-1, -2)

    def _permuted(self, r: int, k: int, t: int) -> np.ndarray:
        """W of gate k of untied weights at σ_w = 1: rows and columns of one draw, permuted and signed anew.

        This keeps the law of W, and makes the weights of different steps uncorrelated.
        """
        rng, n = np.random.Generator(np.random.SFC64([self._seeds[r], k, t])), self.size.units
        rows, columns, signs = rng.permutation(n), rng.permutation(n), rng.choice((-1.0, 1.0), (2, n))
        return signs[0][:, None] * self._weights[k, r][np.ix_(rows, columns)] * signs[1]

    def _log_determinant(self, step: _Step, P: int) -> np.ndarray:
        """Mean log singular value (P,) of the step between the carried components of the slow units."""
        n, s = len(self._slow), len(self.ens.cell.state)
        width = len(self._carried) * n
        unit = np.zeros((s, width, P, self.size.units))
        for place, component in enumerate(self._carried):
            unit[component, place * n + np.arange(n), :, self._slow] = 1.0
        image = step(unit)[self._carried][..., self._slow]
        return np.linalg.slogdet(image.transpose(2, 0, 3, 1).reshape(P, width, width))[1] / width


class _StageOf(NamedTuple):
    """One stage: its functions, the places of its gates, ∂F/∂x, the entries of a, b, c, its outputs."""

    numeric: Any
    gates: slice
    by_input: Any
    entries: _Entries
    outputs: int


class _Run:
    """The networks of a batch at P points, at one step after another.

    ``site`` (s, P, N). Directions D have the shape (s, m, P, N), so that a product with W is one product of
    matrices for all points, and a product with site values runs along the memory.
    """

    def __init__(self, batch: NetworkBatch, points: Points) -> None:
        self.batch, P = batch, max(points.mu_b.shape[1], len(batch._seeds))
        shape = (len(batch._start), P, batch.size.units)
        self.site = batch.size.start * np.broadcast_to(batch._start, shape)
        self.sigma_w, self.sigma_v = points.sigma_w[:, :, None], points.sigma_v[:, :, None]
        self._mean = points.mu_b[:, :, None] * batch._means[:, None]
        self._spread = points.sigma_b[:, :, None]
        self._constant = self._mean + self._spread * batch._bias[:, 0] if batch.ens.tied else None
        self.weights: dict[tuple[int, str], np.ndarray] = {}

    def _without_recurrence(self, t: int) -> np.ndarray:
        """Pre-activations (K, P, N) at step t without W h."""
        batch = self.batch
        e = self.sigma_v * batch._drive[:, t]
        e += self._mean + self._spread * batch._bias[:, t] if self._constant is None else self._constant
        return e

    def step(self, t: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """One step; the state before, the pre-activations and what the gates read, of every stage."""
        batch, x, e_all, along = self.batch, self.batch._x[t], self._without_recurrence(t), []
        for stage in batch._stages:
            before = self.site
            reads = np.empty((stage.gates.stop - stage.gates.start, *before.shape[1:]))
            stage.numeric.assign_reads(reads, before)
            e = self._times_weights(reads, stage.gates, t)
            e *= self.sigma_w[stage.gates]
            e += e_all[stage.gates]
            self.site = np.empty((stage.outputs, *before.shape[1:]))
            stage.numeric.assign(self.site, before, x, e)
            along.append((before, e, reads))
        return along

    def linear_steps(self, first: int, last: int) -> Iterator[_Step]:
        """The Jacobians of the steps ``first`` … ``last``, derived for many steps at once."""
        count = max(1, min(_BLOCK, _BLOCK_SITES // self.site[0].size))
        for start in range(first, last + 1, count):
            times = range(start, min(start + count, last + 1))
            along = zip(*(self.step(t) for t in times), strict=True)
            block = [
                _Linear(
                    self, stage, times, *(np.stack(column, axis=1) for column in zip(*steps, strict=True))
                )
                for stage, steps in zip(self.batch._stages, along, strict=True)
            ]
            for i, t in enumerate(times):
                yield _Step(self, t, block, i)

    def _times_weights(self, reads: np.ndarray, gates: slice, t: int) -> np.ndarray:
        """W r of the gates of one stage at σ_w = 1, (gates, P, N)."""
        weights = self.batch.transposed_weights(gates, t)
        if weights.shape[1] == 1:
            return reads @ weights[:, 0]
        return (reads[:, :, None] @ weights)[:, :, 0]

    def times_weights(self, D: np.ndarray, k: int, t: int) -> np.ndarray:
        """W of gate k at σ_w = 1 along the sites of D (m, P, N)."""
        weights = self.weights.get((k, D.dtype.char))
        if weights is None:
            weights = np.ascontiguousarray(self.batch.transposed_weights(k, t), D.dtype)
            if self.batch.ens.tied:
                self.weights[k, D.dtype.char] = weights
        if len(weights) == 1:
            return (D.reshape(-1, D.shape[-1]) @ weights[0]).reshape(D.shape)
        return (D.swapaxes(0, 1) @ weights).swapaxes(0, 1)


class _Linear:
    """Entries of a, σ_w b, c and ∂F/∂x of one stage at several steps: (steps, P, N), or numbers.

    ``site`` (s, steps, P, N), ``e`` and ``reads`` (K, steps, P, N).
    """

    def __init__(
        self, run: _Run, stage: _StageOf, times: range, site: np.ndarray, e: np.ndarray, reads: np.ndarray
    ) -> None:
        x = run.batch._x[times.start : times.stop]
        parts, inputs, gates = stage.numeric.parts(site, x, e), len(site), len(e)
        self.stage, self.reads = stage, reads
        self.direct = None if stage.by_input is None else stage.by_input(site, x, e)
        b, c = stage.outputs * (1 + inputs), stage.outputs * (1 + inputs + gates)
        entries, gain = stage.entries, run.sigma_w[stage.gates]
        self.b = {
            (row, i): parts[b + row * stage.outputs + i] for row in range(gates) for i in entries.b[row]
        }
        # At one step: what D is multiplied by.
        plain = {("a", i, j): parts[stage.outputs + i * inputs + j] for i, j, one in entries.a if not one}
        plain |= {("b", row, i): value * gain[row] for (row, i), value in self.b.items()}
        plain |= {
            ("c", row, j): parts[c + row * inputs + j]
            for row, _ in entries.groups
            for j, one in entries.c[row]
            if not one
        }
        self._in = {"d": plain}

    def factors(self, dtype: np.dtype) -> dict[tuple[str, int, int], Any]:
        """The entries that are not 0 or 1 by their places, in the precision of D."""
        if dtype.char not in self._in:
            self._in[dtype.char] = {place: _as(value, dtype) for place, value in self._in["d"].items()}
        return self._in[dtype.char]


def _as(value: Any, dtype: np.dtype) -> Any:
    return value.astype(dtype) if isinstance(value, np.ndarray) else dtype.type(value)


def _at(value: Any, i: int) -> Any:
    """Site values of one step; a number, or one for each point, is that of all steps."""
    return value[i] if np.ndim(value) == 3 else value


class _Step:
    """The Jacobian of step ``i`` of a block: D ↦ J D, both (s, m, P, N)."""

    def __init__(self, run: _Run, t: int, block: list[_Linear], i: int) -> None:
        self._run, self._t, self._block, self._i = run, t, block, i

    def reads(self) -> list[np.ndarray]:
        """What the gates read, each (P, N)."""
        return [read[self._i] for linear in self._block for read in linear.reads]

    def __call__(self, D: np.ndarray) -> np.ndarray:
        for linear in self._block:
            D = self._through(linear, D)
        return D

    def of_input(self, along: np.ndarray) -> np.ndarray:
        """∂h/∂x along directions (m, R, N) of the input."""
        run, i = self._run, self._i
        D = np.zeros((len(run.batch.ens.cell.state), len(along), *run.site.shape[1:]))
        for linear in self._block:
            after = self._through(linear, D)
            if linear.direct is not None:
                after += linear.direct[:, i, None] * along
            first = linear.stage.gates.start
            for (row, output), value in linear.b.items():
                weights = run.batch._input_weights[first + row].swapaxes(1, 2)
                change = run.sigma_v[first + row] * (along.swapaxes(0, 1) @ weights).swapaxes(0, 1)
                after[output] += _at(value, i) * change
            D = after
        return D

    def _through(self, linear: _Linear, D: np.ndarray) -> np.ndarray:
        """One stage: Σ_j a_ij D_j + Σ_k b_ki σ_k W_k Σ_j c_kj D_j."""
        entries, factors, at = linear.stage.entries, linear.factors(D.dtype), self._i
        first = linear.stage.gates.start
        out = np.zeros((linear.stage.outputs, *D.shape[1:]), D.dtype)
        for i, j, is_one in entries.a:
            out[i] += D[j] if is_one else _at(factors["a", i, j], at) * D[j]
        for row, others in entries.groups:
            read = None
            for j, is_one in entries.c[row]:
                term = D[j] if is_one else _at(factors["c", row, j], at) * D[j]
                read = term if read is None else read + term
            if read is None:
                continue
            for other in others:
                change = self._run.times_weights(read, first + other, self._t)
                for i in entries.b[other]:
                    out[i] += _at(factors["b", other, i], at) * change
        return out


class _Entries(NamedTuple):
    """Of a, b and c of one stage, the entries that are not 0, and whether they are 1, as expressions.

    ``a``: (i, j, is one). By gate, ``b``: i; ``c``: (j, is one). ``groups``: gates that read the same, the
    first and all of them.
    """

    a: list[tuple[int, int, bool]]
    b: list[list[int]]
    c: list[list[tuple[int, bool]]]
    groups: list[tuple[int, list[int]]]

    @classmethod
    def of(cls, stage: Stage) -> _Entries:
        """Listed once, since a step costs little more than to look for them."""
        pattern = StagePattern.of(stage)
        zero, one = pattern.a
        by_gate = zip(*pattern.c, strict=True)
        alike: dict[Any, list[int]] = {}
        for row, gate in enumerate(stage.gates):
            alike.setdefault(gate.reads, []).append(row)
        return cls(
            [(i, j, bool(one[i, j])) for i, j in np.argwhere(~zero).tolist()],
            [np.flatnonzero(~row).tolist() for row in pattern.b[0]],
            [[(j, bool(is_one[j])) for j in np.flatnonzero(~row).tolist()] for row, is_one in by_gate],
            [(rows[0], rows) for rows in alike.values()],
        )


class _Directions:
    """Derivatives along m directions of one input, and m of the state after it, side by side in D."""

    def __init__(self, along_x: np.ndarray, along_h: np.ndarray, dtype: str) -> None:
        self.D = np.empty(0)
        self._along_h, self._m, self._dtype = along_h, len(along_x), dtype
        self._unit = np.mean(along_x**2, axis=(0, 2)), np.mean(along_h**2, axis=(0, 1, 3))
        self._log = np.zeros((2, 1))

    def begin(self, by_x: np.ndarray) -> None:
        """At the step that takes the input: ∂h/∂x along its directions, and the directions of h."""
        along_h = np.broadcast_to(self._along_h, by_x.shape)
        self.D = np.concatenate([by_x, along_h], axis=1).astype(self._dtype)
        self._log = np.zeros((2, by_x.shape[2]))

    def sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """Log mean squares: of the last state component along the input, of the whole state along itself."""
        by_x = np.log(_mean_square(self.D[-1:, : self._m]) / self._unit[0])
        by_h = np.log(_mean_square(self.D[:, self._m :]) / self._unit[1])
        return by_x + self._log[0], by_h + self._log[1]

    def rescale(self) -> None:
        """Bring both to size 1, and keep what they were."""
        for row, part in enumerate((self.D[:, : self._m], self.D[:, self._m :])):
            size = np.sqrt(_mean_square(part))
            safe = np.where((size > 0.0) & np.isfinite(size), size, 1.0)
            part /= safe[:, None].astype(self.D.dtype)
            self._log[row] += 2.0 * np.log(safe)


def _mean_square(D: np.ndarray) -> np.ndarray:
    """Over components, directions and units of D (s, m, P, N), in double precision."""
    return np.mean(np.square(D, dtype=float), axis=(0, 1, 3))


def _standardised(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers whose mean is 0 and mean square 1 along the last axis."""
    z = rng.standard_normal(shape)
    z -= z.mean(axis=-1, keepdims=True)
    return z / np.sqrt(np.mean(z**2, axis=-1, keepdims=True))
