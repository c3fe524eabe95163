"""Two-time mean field of networks with tied weights, theory.md (18).

With one W, V, b for all steps the pre-activations of a gate at one site are a Gaussian process in time,

    Cov(e^t, e^s) = σ_w² E[r^t r^s] + σ_v² R delta_ts + σ_b²,       E e^t = mu_b,

where r^t is what the gate reads at step t (h^{t-1}, or a transformed state). The right side at time t needs
the states before t only, so the process is built causally, one step after the other, on a large population
of sites: no iteration over whole trajectories is needed. A burn-in takes it to the stationary state, where
the covariance is averaged over time. Its length is found on few sites. So is the memory of a site: how many
steps it takes until a state is forgotten for given pre-activations. Sites are drawn over no more than that.

Gates that stay shut for as long as the weights are kept forget in thousands of steps. But they hardly write
either, so that their states are small: where the burn-in is not enough, the process is started again from a
small state, which such sites need not forget, and the others build up.

Letters: R, the second moment of the input.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import ndtri

from rmtrnn._core import random as _random
from rmtrnn._core import validate as _validate
from rmtrnn._core.parallel import thread_map
from rmtrnn._core.status import ConvergenceError, Status
from rmtrnn.ensemble import Ensemble, GateParameters
from rmtrnn.meanfield.site_process import SobolStream
from rmtrnn.meanfield.solve import mean_field

GROUPS = 8
_CLIP = 1e-9  # relative: a conditional variance this far below zero is rounding, not a wrong covariance
_LARGEST_DRIFT = 0.05
_ZERO = 1e-16  # second moments below this are those of a zero state, however fast they still shrink
_SETTLED = 0.01
_BURN_INS = (60, 120, 240, 480)
_LONG, _SMALL = 960, 0.1  # burn-in and memory of a start from a small state; its size, relative to the usual
_PILOT, _PILOTS = 2048, 4  # sites that the burn-in and the memory are found on, and sets of them
_NOISES = 2.0  # standard errors: a drift of no more is not one
_FORGOTTEN = 1e-3  # root mean square of what is left of a change of the state
_MEMORY_SITES = 1024
_PER_STEP = 4  # sites: with fewer than that times the steps the sample covariance is too noisy to be whitened


@dataclass(frozen=True)
class TwoTime:
    """The stationary two-time law over a window of ``memory`` + ``steps`` steps.

    ``covariance`` (gates, window, window) of the pre-activations, ``factor`` its Cholesky factors.
    ``overlap`` (gates, window, window) = E[r^t r^s], averaged over all windows that begin between the middle
    and the end of the burn-in. ``memory``, after how many steps a state is forgotten for given
    pre-activations. ``second_moment`` of the state at the end. ``drift``, the largest change of the
    autocovariance over ``steps`` lags (relative to the variance) from the first to the last of these windows;
    ``noise``, its standard error where there are several runs, else 0. ``clipped``, the largest conditional
    variance, relative to the variance, that rounding had made negative and that was set to zero. ``status``
    says whether the drift is below 5 %. ``start``, the size of the state at the start of the process and of
    every window, relative to that of untied weights and to ``second_moment``.
    """

    ensemble: Ensemble
    steps: int
    burn_in: int
    memory: int
    covariance: np.ndarray
    factor: np.ndarray
    overlap: np.ndarray
    second_moment: np.ndarray
    drift: float
    noise: float
    clipped: float
    status: Status
    start: float = 1.0

    def autocovariance(self, gate: int = 0) -> np.ndarray:
        """E[r^t r^{t+lag}] for lag = 0 .. steps - 1, averaged over the stationary part."""
        window = self.overlap[gate, -self.steps :, -self.steps :]
        return np.array([np.mean(np.diagonal(window, lag)) for lag in range(self.steps)])


def two_time(
    ens: Ensemble, steps: int, *, population: int = 8192, burn_in: int | None = None, seed: int = 0
) -> TwoTime:
    """Solve the two-time mean field of ``ens`` for ``steps`` stationary steps.

    ``population`` sites, and at least four for each step that is simulated, carry the averages (the error
    falls like 1/sqrt(population)); without ``burn_in`` it is doubled from 60 to at most 480 steps until, on
    few sites, the law drifts over its second half by less than 1 % or no more than a finite number of sites
    explains, and a state is forgotten in that time; if it still drifts by 5 % then, 960 steps are taken from
    a small state (some minutes);
    ``status`` says whether it converged. Raises `ConvergenceError` if the untied mean field, from which the
    start is taken, has no stationary state.
    """
    return two_time_group(ens, steps, (seed,), population=population, burn_in=burn_in)[0]


def two_time_group(
    ens: Ensemble,
    steps: int,
    seeds: Sequence[int],
    *,
    population: int = 8192,
    burn_in: int | None = None,
) -> list[TwoTime]:
    """Independent solutions, one for each seed, as `two_time`; they share the burn-in and the memory.

    ``drift`` and ``status`` are those of the mean of all, which has less noise than any of them.
    """
    steps = _validate.integer("steps", steps, low=1)
    population = _validate.integer("population", population, low=2)
    chosen = () if burn_in is None else (_validate.integer("burn_in", burn_in, low=0),)
    length = memory = 0
    pilots = [int(_random.stream(seeds[0], 43, i).integers(2**31)) for i in range(_PILOTS)]
    for length in chosen or _BURN_INS:
        fields = _solutions(ens, steps, pilots, _PILOT, length, length // 2)
        left = _left_after(fields[0])
        memory = int(np.argmax(left < _FORGOTTEN)) if left.min() < _FORGOTTEN else len(left)
        settled = fields[0].drift < max(_SETTLED, _NOISES * fields[0].noise)
        if settled and memory < len(left):
            break
        if length == _BURN_INS[-1] and not chosen and not settled and fields[0].drift >= _LARGEST_DRIFT:
            return _solutions(ens, steps, seeds, population, _LONG, _LONG, _SMALL)
    return _solutions(ens, steps, seeds, population, length, memory)


def _solutions(
    ens: Ensemble,
    steps: int,
    seeds: Sequence[int],
    population: int,
    burn_in: int,
    memory: int,
    start: float = 1.0,
) -> list[TwoTime]:
    window = memory + steps
    population = max(population, _PER_STEP * (burn_in + window))
    _initial(ens, _random.stream(0), 1)  # what is found or compiled once is there before the threads start
    ens.cell.numeric(np)
    runs = thread_map(lambda seed: _grown(ens, burn_in + window, population, seed, start), seeds)
    parts = [_windows(run.overlap, burn_in // 2, window) for run, _ in runs]
    drift, noise = _drift(parts, steps)
    status = Status.CONVERGED if drift < _LARGEST_DRIFT else Status.MAX_ITERATIONS
    fields = []
    for (run, second), part in zip(runs, parts, strict=True):
        overlap = part.mean(axis=0)
        covariance = np.array(
            [_covariance(law, ens.R, own) for law, own in zip(run.laws, overlap, strict=True)]
        )
        factor, clipped = np.zeros_like(covariance), run.clipped
        for gate, t in itertools.product(range(len(factor)), range(window)):
            clipped = max(clipped, _factor_row(factor[gate], covariance[gate, t, : t + 1], gate, t))
        fields.append(
            TwoTime(
                ens,
                steps,
                burn_in,
                memory,
                covariance,
                factor,
                overlap,
                second,
                drift,
                noise,
                clipped,
                status,
                start,
            )
        )
    return fields


def _windows(overlap: np.ndarray, first: int, window: int) -> np.ndarray:
    """(windows, gates, window, window): the square blocks on the diagonal from ``first`` on.

    Each is a Gram matrix, and so is their mean.
    """
    blocks = np.lib.stride_tricks.sliding_window_view(overlap, (window, window), axis=(1, 2))
    return np.einsum("gtt...->tg...", blocks)[first:]


def _covariance(law: GateParameters, R: float, overlap: np.ndarray) -> np.ndarray:
    """Covariance in time of the pre-activations of one gate."""
    return law.sigma_w**2 * overlap + law.sigma_b**2 + law.sigma_v**2 * R * np.eye(len(overlap))


def _left_after(field: TwoTime) -> np.ndarray:
    """Root mean square of what is left of a change of the state after 0, 1, .. steps, for given e."""
    components, total = len(field.ensemble.cell.state), field.memory + field.steps
    found = _linearised(field, total, _MEMORY_SITES, 0, 1)
    product = np.repeat(np.eye(components)[:, :, None], _MEMORY_SITES, axis=2)
    left = [1.0]
    for position in reversed(range(len(found))):
        product = np.einsum("oin,ijn->ojn", product, found[position][0])
        if position % (len(found) // total) == 0:
            left.append(float(np.sqrt((product**2).sum(axis=(0, 1)).mean() / components)))
    return np.array(left[: field.memory + 1])


def _grown(ens: Ensemble, total: int, population: int, seed: int, start: float) -> tuple[_Run, np.ndarray]:
    """The process over ``total`` steps, and the second moments of the state at the end."""
    rng = _random.stream(seed, 40)
    normal = [ndtri(_strata(rng, total, population)) for _ in ens.cell.gates]
    normal, inputs = _whitened(np.array(normal)), _strata(rng, total, population)
    state, run = start * _initial(ens, rng, population), _Run(ens, total, population)
    for t in range(total):
        state = run.step(t, state, ens.input_quantile(inputs[t]), normal)
    run.reads = np.zeros(0)  # the largest array, and no longer needed
    return run, (state**2).mean(-1)


def _drift(runs: Sequence[np.ndarray], steps: int) -> tuple[float, float]:
    """Largest change of the autocovariance from the first to the last window, and its standard error.

    Each run (windows, gates, window, window); relative to the variance in the last window of all runs.
    """
    scale = np.mean([np.einsum("gtt->gt", np.abs(run[-1])).mean(axis=1) for run in runs], axis=0)
    changes = [
        [np.diagonal(run[-1] - run[0], lag, 1, 2).mean(-1) / np.maximum(scale, _ZERO) for lag in range(steps)]
        for run in runs
    ]
    noise = np.std(changes, axis=0, ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else 0.0
    return float(np.abs(np.mean(changes, axis=0)).max()), float(np.max(noise))


def _strata(rng: np.random.Generator, times: int, n: int) -> np.ndarray:
    """Uniform numbers (times, n): at every time the n midpoints of equal cells, in random order."""
    return (rng.permuted(np.tile(np.arange(n), (times, 1)), axis=1) + 0.5) / n


def _whitened(normal: np.ndarray) -> np.ndarray:
    """Normal numbers (gates, time, sites) whose sample covariance in time is exactly 1 for every gate.

    The pre-activations then have exactly the covariance that they should, which takes most of the noise out
    of the averages. Left as they are where there are too few sites.
    """
    _, total, n = normal.shape
    if n < 2 * total:
        return normal
    normal = normal - normal.mean(axis=-1, keepdims=True)
    return np.array([solve_triangular(np.linalg.cholesky(z @ z.T / n), z, lower=True) for z in normal])


def _initial(ens: Ensemble, rng: np.random.Generator, n: int) -> np.ndarray:
    scale = np.sqrt(np.maximum(_second_moments(ens), 0.0))
    return scale[:, None] * rng.standard_normal((scale.size, n))


class _Run:
    """Overlaps, Cholesky factors of the covariances and what the gates read, grown step by step."""

    def __init__(self, ens: Ensemble, total: int, population: int) -> None:
        self.laws = [ens.gate(name) for name in ens.cell.gates]
        gates = len(self.laws)
        self.R = ens.R
        self.numeric = ens.cell.numeric(np)
        self.overlap = np.zeros((gates, total, total))
        self.factor = np.zeros_like(self.overlap)
        self.reads: np.ndarray = np.zeros((gates, total, population))
        self.clipped = 0.0

    def step(self, t: int, state: np.ndarray, x: np.ndarray, normal: np.ndarray) -> np.ndarray:
        first = 0
        for stage in self.numeric.stages:
            read = stage.read(state)
            e = []
            for k in range(len(read)):
                gate = first + k
                self._grow(gate, t, np.broadcast_to(read[k], x.shape))
                e.append(self.laws[gate].mu_b + self.factor[gate, t, : t + 1] @ normal[gate, : t + 1])
            first += len(read)
            state = stage.update(state, x, np.array(e).reshape(len(read), x.size))
        return state

    def _grow(self, gate: int, t: int, read: np.ndarray) -> None:
        """Row t of the covariance from the states so far, and of its Cholesky factor."""
        law = self.laws[gate]
        self.reads[gate, t] = read
        row = self.reads[gate, : t + 1] @ read / read.size
        self.overlap[gate, t, : t + 1] = self.overlap[gate, : t + 1, t] = row
        row = law.sigma_w**2 * row + law.sigma_b**2
        row[t] += law.sigma_v**2 * self.R
        self.clipped = max(self.clipped, _factor_row(self.factor[gate], row, gate, t))


def _factor_row(factor: np.ndarray, row: np.ndarray, gate: int, t: int) -> float:
    """Write row t of the Cholesky factor of a covariance with ``row`` (t + 1,); what was clipped."""
    if t:
        factor[t, :t] = _forward_solve(factor[:t, :t], row[:t])
    rest = row[t] - factor[t, :t] @ factor[t, :t]
    if rest < -_CLIP * max(row[t], 1e-300):
        raise ConvergenceError(
            f"the two-time covariance of gate {gate} is not positive at step {t} (by {-rest:.2e})"
        )
    factor[t, t] = np.sqrt(max(rest, 0.0))
    return max(0.0, -rest / max(row[t], 1e-300))


def _forward_solve(lower: np.ndarray, right: np.ndarray) -> np.ndarray:
    """lower^{-1} right; a direction without variance (zero pivot) gets no weight."""
    pivots = np.diagonal(lower)
    live = pivots > np.sqrt(_CLIP) * pivots.max(initial=0.0)
    if live.all():
        return solve_triangular(lower, right, lower=True, check_finite=False)
    result = np.zeros_like(right)
    if live.any():
        index = np.flatnonzero(live)
        result[index] = solve_triangular(lower[np.ix_(index, index)], right[index], lower=True)
    return result


Linearised = tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, ...], tuple[bool, ...]]


def tied_stages(
    ens: Ensemble, T: int, n: int, seed: int = 0, *, field: TwoTime | None = None, groups: int = GROUPS
) -> list[Linearised]:
    """Linearisations (a, b, c, sigma^2, is orthogonal) of all stages over T stationary steps at ``n`` sites.

    The sites follow the two-time mean field; they come in ``groups`` independent scrambled Sobol sets one
    after the other (``n`` a multiple of it). Raises `ConvergenceError` if the two-time mean field is not
    stationary.
    """
    field = two_time(ens, T, seed=seed) if field is None else field
    if field.status is not Status.CONVERGED:
        raise ConvergenceError(
            f"the two-time mean field still drifts by {field.drift:.1e} after {field.burn_in} steps; "
            "use a longer burn_in"
        )
    return _linearised(field, T, n, seed, groups)


def _linearised(field: TwoTime, T: int, n: int, seed: int, groups: int) -> list[Linearised]:
    """The last ``T`` steps of the window, at whose beginning the state is Gaussian."""
    ens = field.ensemble
    gates, total = len(ens.cell.gates), field.memory + field.steps
    components = len(ens.cell.state)
    uniform = _sobol_groups(total * (gates + 1) + components, n, seed, groups)
    normal = ndtri(uniform[: total * gates]).reshape(total, gates, n)[::-1]  # the last steps come first
    inputs = uniform[total * gates : total * (gates + 1)].reshape(total, n)[::-1]
    state = field.start * np.sqrt(field.second_moment)[:, None] * ndtri(uniform[-components:])
    numeric, laws = ens.cell.numeric(np), [ens.gate(name) for name in ens.cell.gates]
    fluctuations = [field.factor[k] @ normal[:, k] for k in range(gates)]
    result = []
    for t in range(total):
        x, first = ens.input_quantile(inputs[t]), 0
        for stage, definition in zip(numeric.stages, ens.cell.stages, strict=True):
            chosen = range(first, first + len(definition.gates))
            e = np.array([laws[k].mu_b + fluctuations[k][t] for k in chosen]).reshape(len(chosen), n)
            if t >= total - T:
                here = [laws[k] for k in chosen]
                law = tuple(g.sigma_w**2 for g in here), tuple(g.weights == "orthogonal" for g in here)
                result.append((*stage.linearize(state, x, e), *law))
            state = stage.update(state, x, e)
            first += len(chosen)
    return result


@functools.lru_cache(maxsize=16)
def _second_moments(ens: Ensemble) -> np.ndarray:
    Q = mean_field(ens.replace(tied=False)).Q
    return np.array(list(Q.values()) if isinstance(Q, Mapping) else [Q], dtype=float)


def _sobol_groups(dimensions: int, n: int, seed: int, groups: int) -> np.ndarray:
    """Points (dimensions, n) in (0, 1): independent scrambled Sobol sets of n/groups points."""
    size = n // groups
    power = 1 << max(size - 1, 1).bit_length()
    streams = (SobolStream(dimensions, power, _random.stream(seed, 41, group)) for group in range(groups))
    return np.concatenate([stream.draw()[:, :size] for stream in streams], axis=1)
