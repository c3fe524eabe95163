"""Sites of a network with tied weights, stationary in time: Gaussian processes on a period, theory.md (18).

With tied weights the pre-activation of a gate is a stationary Gaussian process with autocovariance

    C_k(τ) = σ_w² E[r^t r^{t+τ}] + (σ_v² R − σ_v² E[x]²) δ_τ0 + σ_b² + σ_v² E[x]²,    r what the gate reads.

Time is closed to a circle of ``period`` steps, which a process does not feel whose memory is shorter. The
Fourier modes of e are then independent, with variances that the power spectrum S(f) = Σ_τ C(τ) e^(−2πi f τ/P)
gives, and the spectrum of what the gates read is the mean of |FFT r|²/P over sites. It cannot be negative, so
a covariance needs no factor and no repair, however smooth it is. A part of C that does not decay is power at
f = 0.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
from scipy.special import ndtri

from rmtrnn._core import random as _random
from rmtrnn._core.arrays import PORTIONS
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.site_process import SobolStream, input_pair
from rmtrnn.meanfield.state_recursion import blocks, recursion

GROUPS = 8  # independent sets of sites; their spread is the statistical error


@dataclass(frozen=True)
class StateShares:
    """When a stationary state is zero, and when it is static; for the solvers with and without sites.

    Empirical; moved by three in tests/meanfield/test_tied_errors.py and test_filtered_state.py.
    """

    # Of the first variance of the readings: what has decayed below is zero.
    dead: float = 1e-9
    # Share of the variance that does not decay, from which a state counts as static.
    static: float = 0.95


SHARES = StateShares()
Spectra = np.ndarray  # (readings, groups, nodes)


@dataclass(frozen=True)
class FrequencyNodes:
    """Nodes f_b of the frequencies 0 … period/2, between which power spectra are linear.

    ``hat`` (nodes, frequencies): the piecewise linear basis. ``weight`` (nodes,): Σ_f hat over the positive
    and negative frequencies, so that C(0) = Σ_b weight_b S_b / period.
    """

    period: int
    position: np.ndarray
    hat: np.ndarray
    weight: np.ndarray
    _mean: np.ndarray

    @staticmethod
    def build(period: int, relative_width: float) -> FrequencyNodes:
        """Nodes whose distance is max(1, ``relative_width`` f)."""
        last, position = period // 2, [0, 1]
        while (f := position[-1]) < last:
            position.append(min(last, max(f + 1, round(f * (1.0 + relative_width)))))
        nodes = np.array(position, dtype=float)
        hat = np.array([np.interp(np.arange(last + 1), nodes, row) for row in np.eye(len(nodes))])
        both_signs = np.full(last + 1, 2.0)
        both_signs[[0] if period % 2 else [0, -1]] = 1.0
        weight = hat @ both_signs
        return FrequencyNodes(period, nodes, hat, weight, (hat * both_signs / weight[:, None]).T)

    def spectrum(self, values: np.ndarray) -> np.ndarray:
        """S at all frequencies (..., frequencies) from values at the nodes (..., nodes)."""
        return values @ self.hat

    def project(self, spectrum: np.ndarray) -> np.ndarray:
        """Values at the nodes of a spectrum (..., frequencies); keeps its sum, the variance."""
        return spectrum @ self._mean

    def variance(self, values: np.ndarray) -> np.ndarray:
        """C(0) of values at the nodes (..., nodes)."""
        return values @ self.weight / self.period

    def covariance(self, values: np.ndarray) -> np.ndarray:
        """C(τ), τ = 0 … period/2."""
        return np.fft.irfft(self.spectrum(values), self.period)[..., : self.period // 2 + 1]

    def lorentzian(self, variance: float, decay: float) -> np.ndarray:
        """Values at the nodes of C(τ) = variance · e^(−τ/decay)."""
        lag = np.minimum(np.arange(self.period), self.period - np.arange(self.period))
        return self.project(np.maximum(np.fft.rfft(variance * np.exp(-lag / decay)).real, 0.0))

    def carried(self, values: np.ndarray, other: FrequencyNodes) -> np.ndarray:
        """The same process on another period: a density in f/period, and at f = 0 what does not decay."""
        ratio = other.period / self.period
        constant = np.maximum(values[..., 0] - values[..., 1], 0.0)
        smooth = values.copy()
        smooth[..., 0] -= constant
        position = np.minimum(other.position / ratio, self.position[-1])
        flat = smooth.reshape(-1, smooth.shape[-1])
        moved = np.array([np.interp(position, self.position, row) for row in flat])
        moved = moved.reshape(*values.shape[:-1], len(position))
        moved[..., 0] += ratio * constant
        return moved

    def rest(self, values: np.ndarray) -> float:
        """Share of the variance, over all readings (D, nodes), that does not decay."""
        constant = np.sum(np.maximum(values[:, 0] - values[:, 1], 0.0)) / self.period
        return float(constant / max(float(self.variance(values).sum()), 1e-300))

    def loosened(self, values: np.ndarray) -> np.ndarray:
        """The same variance, with what does not decay decaying in an eighth of the period.

        A static state is a fixed point of (18) also where fluctuations at low frequencies grow; a start
        without them would stay there.
        """
        constant = np.maximum(values[..., 0] - values[..., 1], 0.0) / self.period
        loose = values.copy()
        loose[..., 0] -= self.period * constant
        return loose + constant[..., None] * self.lorentzian(1.0, self.period / 8.0)


@dataclass(frozen=True)
class Readings:
    """Which distinct quantities the weights multiply, and the laws of the gates that read them.

    ``of_gate`` (K,) gives the reading of each gate, −1 for a gate without recurrent weights. ``stage`` and
    ``row`` say where a reading is evaluated.
    """

    of_gate: np.ndarray
    stage: tuple[int, ...]
    row: tuple[int, ...]
    gain: np.ndarray  # σ_w²
    white: np.ndarray  # σ_v² Var x
    shared_white: np.ndarray  # σ_v² (R Σ − E[x]²), of two replicas
    constant: np.ndarray  # σ_b² + σ_v² E[x]²
    mean: np.ndarray
    site_variance: np.ndarray  # the part of ``constant`` that is not Gaussian over the sites

    @staticmethod
    def of(ens: Ensemble) -> Readings:
        """The readings of an ensemble."""
        seen: list[tuple[int, Any]] = []
        place: list[tuple[int, int]] = []
        index = []
        for position, stage in enumerate(ens.cell.stages):
            for row, gate in enumerate(stage.gates):
                if not ens.is_recurrent(gate):
                    index.append(-1)
                    continue
                key = position, gate.reads
                if key not in seen:
                    seen.append(key)
                    place.append((position, row))
                index.append(seen.index(key))
        laws = [ens.gate(name) for name in ens.cell.gates]
        squared_mean = ens.input_moment(1) ** 2
        return Readings(
            of_gate=np.array(index, dtype=int),
            stage=tuple(stage for stage, _ in place),
            row=tuple(row for _, row in place),
            gain=np.array([law.sigma_w**2 for law in laws]),
            white=np.array([law.sigma_v**2 * (ens.R - squared_mean) for law in laws]),
            shared_white=np.array([law.sigma_v**2 * (ens.R * ens.Sigma - squared_mean) for law in laws]),
            constant=np.array([law.sigma_b**2 + law.sigma_v**2 * squared_mean for law in laws]),
            mean=np.array([law.mu_b for law in laws]),
            site_variance=np.array([law.site_variance for law in laws]),
        )

    def recurrent(self, values: np.ndarray) -> np.ndarray:
        """σ_w² S of what each gate reads (K, ...), from the readings' (D, ...)."""
        out = np.zeros((len(self.of_gate), *values.shape[1:]))
        for gate, index in enumerate(self.of_gate):
            if index >= 0:
                out[gate] = self.gain[gate] * values[index]
        return out

    @property
    def count(self) -> int:
        """Number of distinct readings."""
        return len(self.stage)


class Normals:
    """Fourier coefficients of standard white noise, (gates, frequencies, sites), as a fixed set.

    Sites come in ``GROUPS`` independent groups, each in pairs of opposite sign. In each group the mean of
    |z|² over sites is 1 at every frequency, so that the process has exactly the variance and the
    autocovariance it should have. At f = 0, which holds what does not decay, the values are scrambled Sobol
    points.
    """

    def __init__(self, gates: int, period: int, per_group: int, rng: np.random.Generator) -> None:
        frequencies, half = period // 2 + 1, per_group // 2
        z = rng.standard_normal((2, gates, frequencies, GROUPS, half))
        real = [0] if period % 2 else [0, frequencies - 1]
        coefficients = (z[0] + 1j * z[1]) / np.sqrt(2.0)
        coefficients[:, real] = z[0][:, real]
        for group in range(GROUPS):
            coefficients[:, 0, group] = ndtri(SobolStream(max(gates, 1), half, rng).draw())[:gates]
        coefficients /= np.sqrt(np.mean(np.abs(coefficients) ** 2, axis=-1, keepdims=True))
        self.period = period
        self.values = coefficients  # of the first half of every group; the other half has the opposite

    def orthogonalise(self, other: Normals) -> None:
        """Make the sample covariance with another set vanish, group by group and frequency by frequency."""
        z, w = self.values, other.values
        z = z - w * np.mean(z * w.conj(), axis=-1, keepdims=True)
        self.values = z / np.sqrt(np.mean(np.abs(z) ** 2, axis=-1, keepdims=True))

    def part(self, groups: slice) -> Normals:
        """Those of some groups."""
        other = copy.copy(self)
        other.values = self.values[:, :, groups]
        return other

    def process(self, spectrum: np.ndarray) -> np.ndarray:
        """Gaussian processes (K, period, sites) with power spectra (K, groups or 1, frequencies)."""
        amplitude = np.sqrt(self.period * np.maximum(spectrum, 0.0)).transpose(0, 2, 1)[..., None]
        gates, _, groups, half = self.values.shape
        modes = (self.values.view(float) * amplitude).view(complex)  # real times complex: half the products
        first = np.asarray(scipy.fft.irfft(modes.reshape(*modes.shape[:2], -1), self.period, axis=1))
        out = np.empty((gates, self.period, groups, 2 * half))
        out[..., :half] = first.reshape(gates, self.period, groups, half)
        np.negative(out[..., :half], out=out[..., half:])
        return out.reshape(gates, self.period, -1)


class PeriodicSites:
    """Sites of one network (or of two replicas) that run once around the period at given spectra.

    ``period``, ``per_group`` (a power of two): steps, and sites in each of the `GROUPS` groups. ``state`` is
    that at the start of the next round: it closes the circle as the rounds go on, since a site forgets.
    """

    def __init__(
        self,
        ens: Ensemble,
        period: int,
        per_group: int,
        seed: int,
        nodes: FrequencyNodes,
        replicas: int = 1,
        key: tuple[int, ...] = (50,),
    ) -> None:
        rng = _random.stream(seed, *key, replicas)
        self.ens, self.period, self.n = ens, period, per_group * GROUPS
        self.seed, self.key = seed, (*key, replicas)
        self.per_group, self.nodes, self.replicas = per_group, nodes, replicas
        self.readings = Readings.of(ens)
        self.stages = ens.cell.numeric(np).stages
        gates = len(ens.cell.gates)
        self.gates_of = _slices(ens)
        self.normals = [Normals(gates, period, per_group, rng) for _ in range(replicas)]
        if replicas == 2:
            self.normals[1].orthogonalise(self.normals[0])
        self.inputs = _opposite_inputs(ens, period, per_group, replicas, rng)
        self.bias_deviations = _bias_deviations(ens, per_group, rng)
        shape = (len(ens.cell.state), self.n)
        self.state = [rng.standard_normal(shape) for _ in range(replicas)]

    @property
    def is_driven(self) -> bool:
        """Whether inputs vary in time: through a gate, or straight into the update."""
        if np.any(self.readings.white > 0.0):
            return True
        return _feeds_update(self.ens)

    def moved(self, ens: Ensemble) -> PeriodicSites:
        """The same sites, draws and states for an ensemble of the same cell with other parameters.

        Inputs are drawn anew where their law changes, and biases where they are not normal.
        """
        other = copy.copy(self)
        other.ens, other.readings = ens, Readings.of(ens)
        if other.readings.stage != self.readings.stage or other.readings.row != self.readings.row:
            raise ValueError(f"{ens!r}: its gates read something else")
        if (ens.R, ens.Sigma, ens.input_law) != (self.ens.R, self.ens.Sigma, self.ens.input_law):
            rng = _random.stream(self.seed, *self.key, 1)
            other.inputs = _opposite_inputs(ens, self.period, self.per_group, self.replicas, rng)
        if not ens.has_normal_biases:
            other.bias_deviations = _bias_deviations(
                ens, self.per_group, _random.stream(self.seed, *self.key, 2)
            )
        other.state = [one.copy() for one in self.state]
        return other

    def thinned(self, factor: int) -> tuple[PeriodicSites, np.ndarray]:
        """One of ``factor`` sites of every group, in pairs, without normal numbers; and their indices."""
        other = copy.copy(self)
        other.per_group, other.n, other.normals = self.per_group // factor, self.n // factor, []
        kept = np.arange(self.n).reshape(GROUPS, 2, -1)[..., : other.per_group // 2].ravel()
        other.state = [one[:, kept] for one in self.state]
        other.inputs = [one[:, kept] for one in self.inputs]
        return other, kept

    def parts(self) -> list[tuple[slice, PeriodicSites]]:
        """Consecutive groups whose arrays caches hold: which they are, and their sites by themselves.

        States are views: a run of a part moves those of all sites on.
        """
        count = max(PORTIONS.sites // (self.period * self.per_group), 1)
        found = []
        for first in range(0, GROUPS, count):
            groups = slice(first, min(first + count, GROUPS))
            part, sites = copy.copy(self), self.at(groups)
            part.n = sites.stop - sites.start
            part.normals = [one.part(groups) for one in self.normals]
            part.state = [one[:, sites] for one in self.state]
            part.inputs = [one[:, sites] for one in self.inputs]
            if self.bias_deviations.shape[1] > 1:
                part.bias_deviations = self.bias_deviations[:, sites]
            found.append((groups, part))
        return found

    def at(self, groups: slice) -> slice:
        """The sites of some groups."""
        return slice(groups.start * self.per_group, groups.stop * self.per_group)

    def scale_state(self, second: np.ndarray) -> None:
        """Start from a centred Gaussian state with second moments (s,)."""
        self.state = [np.sqrt(second)[:, None] * one for one in self.state]

    def power_of_gates(self, values: Spectra) -> np.ndarray:
        """Power spectra of e, without what of the bias is not Gaussian, from those of the readings."""
        read = self.readings
        own = self.nodes.spectrum(read.recurrent(values))
        own += read.white[:, None, None]
        own[..., 0] += self.period * (read.constant - read.site_variance)[:, None]
        return own

    def pre_activations(self, values: Spectra, cross: Spectra | None = None) -> list[np.ndarray]:
        """e of each replica, (K, period, sites), from the spectra of the readings and the replicas' cross."""
        read, own = self.readings, self.power_of_gates(values)
        if cross is None:
            e = [self.normals[0].process(own)]
        else:
            shared = self.nodes.spectrum(read.recurrent(cross))
            shared += read.shared_white[:, None, None]
            shared[..., 0] += self.period * (read.constant - read.site_variance)[:, None]
            plus, minus = (
                normal.process(own + sign * shared)
                for normal, sign in zip(self.normals, (1.0, -1.0), strict=True)
            )
            e = [(plus + minus) / np.sqrt(2.0), (plus - minus) / np.sqrt(2.0)]
        mean = read.mean[:, None] + self.bias_deviations
        for one, shift in ((one, shift) for rows in e for one, shift in zip(rows, mean, strict=True)):
            if np.any(shift):
                one += shift
        return e

    def run(self, e: np.ndarray, replica: int = 0, steps: int | None = None) -> Trajectory:
        """Run one replica around the period, or ``steps`` steps of it."""
        steps = self.period if steps is None else steps
        sizes = [len(self.ens.cell.state), *(len(stage.outputs) for stage in self.ens.cell.stages[:-1])]
        taken = [np.empty((size, steps + (place == 0), self.n)) for place, size in enumerate(sizes)]
        taken[0][:, 0] = self.state[replica]
        x = self.inputs[replica]
        if recursion(self.ens.cell) is None:
            self._step_by_step(taken, x, e, steps)
        else:
            for here in blocks(steps, self.n):
                self._recursion(taken, x, e, here)
        self.state[replica][...] = taken[0][:, steps]
        return Trajectory(self, [rows[:, :steps] for rows in taken], x[:steps], e[:, :steps])

    def visited(self, e: np.ndarray) -> Trajectory:
        """A run around the period that leaves the states where they are: of what a solved field consists.

        A reader that moved them would give the next one another start, and the same question another answer.
        """
        return self.moved(self.ens).run(e)

    def _step_by_step(self, taken: list[np.ndarray], x: np.ndarray, e: np.ndarray, steps: int) -> None:
        """Fill what the stages take, one step after the other."""
        stages = [
            (stage, list(taken[place]), list(e[gates]), list(taken[(place + 1) % len(taken)]))
            for place, (stage, gates) in enumerate(zip(self.stages, self.gates_of, strict=True))
        ]
        last = len(stages) - 1
        for t in range(steps):
            for place, (stage, site, gates, out) in enumerate(stages):
                after = t + (place == last)
                stage.assign(
                    [row[after] for row in out], [row[t] for row in site], x[t], [row[t] for row in gates]
                )

    def _recursion(self, taken: list[np.ndarray], x: np.ndarray, e: np.ndarray, here: slice) -> None:
        """Fill what the stages take at consecutive steps, by the linear recursion of what feeds back."""
        linear = recursion(self.ens.cell)
        assert linear is not None
        fed = list(linear.fed)
        others = [i for i in range(len(taken[0])) if i not in fed]
        after = slice(here.start + 1, here.stop + 1)
        states = taken[0]
        if fed:
            states[fed, after] = linear.run(states[fed, here.start], x[here], e[:, here])[:, 1:]
        states[others, after] = 0.0  # feeds nothing; right after the stages have been run
        for _ in range(2 if others and len(taken) > 1 else 1):
            for place, (stage, gates) in enumerate(zip(self.stages, self.gates_of, strict=True)):
                last = place == len(self.stages) - 1
                if last and not others:
                    break
                target = None if last else taken[place + 1][:, here]
                out = stage.update(taken[place][:, here], x[here], e[gates, here], target)
                if last:
                    states[others, after] = out[others]

    def power(self, series: np.ndarray, other: np.ndarray | None = None) -> np.ndarray:
        """Power spectra (D, groups, nodes) of series (D, period, sites); with ``other``, cross spectra."""
        z = transform(series)
        return self.product(z, z if other is None else transform(other))

    def product(self, z: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Cross spectra (D, groups, nodes) of Fourier coefficients (D, frequencies, sites)."""
        shape = (*z.shape[:2], -1, 2 * self.per_group)  # real and imaginary parts side by side
        by_group = np.vecdot(z.view(float).reshape(shape), w.view(float).reshape(shape))
        return self.nodes.project(by_group.transpose(0, 2, 1)) / (self.period * self.per_group)


class Trajectory(NamedTuple):
    """What every stage took at each step of a run; ``taken[l]`` (s_in, steps, sites), x (steps, sites)."""

    process: PeriodicSites
    taken: list[np.ndarray]
    x: np.ndarray
    e: np.ndarray  # (K, steps, sites)

    @property
    def states(self) -> np.ndarray:
        """The states before each step, (s, steps, sites)."""
        return self.taken[0]

    def reads(self) -> np.ndarray:
        """What the weights multiply, (D, steps, sites)."""
        readings, stages = self.process.readings, self.process.stages
        found = np.empty((readings.count, *self.x.shape))
        for d, (place, row) in enumerate(zip(readings.stage, readings.row, strict=True)):
            found[d] = stages[place].read(self.taken[place])[row]
        return found

    def linearised(self, place: int, steps: slice | int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(a, b, c) of theory.md (1) of one stage, at some or one of the steps."""
        gates = self.process.gates_of[place]
        taken, e = self.taken[place][:, steps], self.e[gates][:, steps]
        return self.process.stages[place].linearize(taken, self.x[steps], e)


def transform(series: np.ndarray) -> np.ndarray:
    """Fourier coefficients (D, frequencies, sites) of real series (D, period, sites)."""
    return np.asarray(scipy.fft.rfft(series, axis=1))


def _slices(ens: Ensemble) -> list[slice]:
    found, first = [], 0
    for stage in ens.cell.stages:
        found.append(slice(first, first + len(stage.gates)))
        first += len(stage.gates)
    return found


def _bias_deviations(ens: Ensemble, per_group: int, rng: np.random.Generator) -> np.ndarray:
    """b − μ_b of the sites where it is not normal, (K, sites); one scrambled Sobol set for each group."""
    gates = len(ens.cell.gates)
    if ens.has_normal_biases:
        return np.zeros((gates, 1))
    uniform = [SobolStream(gates, per_group, rng).draw() for _ in range(GROUPS)]
    return ens.bias_deviations(np.concatenate(uniform, axis=1))


def pair_inputs(
    ens: Ensemble, shape: tuple[int, int], replicas: int, rng: np.random.Generator
) -> Sequence[np.ndarray]:
    """Independent inputs of ``shape``, for each of two replicas with E[x_a x_b] = R Σ."""
    if ens.R == 0.0:
        return [np.zeros(shape)] * replicas
    uniform = [_uniform(rng, shape) for _ in range(1 if replicas == 1 else 3)]
    return [ens.input_quantile(uniform[0])] if replicas == 1 else list(input_pair(ens, *uniform))


def _feeds_update(ens: Ensemble) -> bool:
    """Whether inputs enter an update directly, and not through the gates alone."""
    updates = [expr for stage in ens.cell.stages for expr in stage.update]
    return ens.R > 0.0 and any(ens.cell.input in expr.free_symbols for expr in updates)


def _opposite_inputs(
    ens: Ensemble, period: int, per_group: int, replicas: int, rng: np.random.Generator
) -> Sequence[np.ndarray]:
    """The same for (period, sites), with pairs u and 1 − u of the uniform numbers behind them.

    Zeros where inputs enter through the gates alone, whose processes have their spectrum (`Readings.white`).
    """
    if not _feeds_update(ens):
        return [np.zeros((period, GROUPS * per_group))] * replicas
    draws = []
    for _ in range(1 if replicas == 1 else 3):
        half = _uniform(rng, (period, GROUPS, per_group // 2))
        draws.append(np.concatenate([half, 1.0 - half], axis=-1).reshape(period, -1))
    return [ens.input_quantile(draws[0])] if replicas == 1 else list(input_pair(ens, *draws))


def _uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform numbers in (0, 1), symmetric about ½."""
    return (rng.integers(0, 2**32, size=shape) + 0.5) / 2.0**32
