"""One-site processes by randomised quasi-Monte Carlo: populations of sites that share the mean-field law.

A population of n = 2^m sites moves one step at a time. Before each step it is sorted by what it remembers,
and a freshly randomised Sobol point set, whose first coordinate picks the site, supplies the
pre-activations and the input (Array-RQMC). Averages over the population then err far less than those over
n independent sites, and every point by itself has exactly the right law, so that independent
randomisations measure the error.

Letters: q, the variance of a pre-activation.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn.cells import Cell
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield import first_moment
from rmtrnn.meanfield.expansion import composed

_BITS = 32
"""Of the Sobol integers: the digital shifts are uint32."""


class SobolStream:
    """Scrambled Sobol points (dimensions, n) in (0, 1), given a fresh digital shift at every draw."""

    def __init__(self, dimensions: int, n: int, rng: np.random.Generator) -> None:
        from scipy.stats import qmc

        if n < 2 or n & (n - 1):
            raise ValueError(f"n = {n!r}: must be a power of two, at least 2")
        # SciPy 1.15 renamed the argument.
        name = "rng" if "rng" in inspect.signature(qmc.Sobol).parameters else "seed"
        options: dict[str, Any] = {"scramble": True, "bits": _BITS, name: rng}
        points = qmc.Sobol(dimensions, **options).random_base2(n.bit_length() - 1)
        self._integers = np.ascontiguousarray((points * 2.0**_BITS).astype(np.uint32).T)
        self._rng = rng

    def draw(self) -> np.ndarray:
        """Uniform points, each marginally uniform on (0, 1)."""
        shift = self._rng.integers(0, 2**_BITS, size=(len(self._integers), 1), dtype=np.uint32)
        return ((self._integers ^ shift) + 0.5) / 2.0**_BITS


class Step(NamedTuple):
    """One step of a population: the new site-state (s, n), and E[r_k²] (K,), r_k the input of gate k."""

    site: np.ndarray
    inputs: np.ndarray


class PairStep(NamedTuple):
    """One step of two replicas: states (s, n) each, E[r_k²] averaged over both, and E[r_k,a r_k,b]."""

    sites: tuple[np.ndarray, np.ndarray]
    inputs: np.ndarray
    overlaps: np.ndarray


class Growth:
    """The site-averaged J Jᵀ of the untied Jacobian along a population: M (s, s, n) of `first_moment`.

    The gates' weights are new at every step, but at one site M is correlated with the state.
    """

    def __init__(self, components: int, n: int, sigma_w: np.ndarray) -> None:
        self.M = np.repeat(np.eye(components)[:, :, None], n, axis=2)
        self.log_growth: list[float] = []
        self.signs: list[float] = []
        self._gain = sigma_w**2
        self._size = 1.0 * components
        self._fields = self._last_fields = np.zeros(len(sigma_w))

    def stage(self, gates: slice, left: Any, right: Any) -> None:
        """Carry M through one stage with linearisations (a, b, c) of the two sides."""
        (a, b, c), (a_, b_, c_) = left, right
        self._fields[gates] = self._gain[gates] * first_moment.input_gain(self.M, c, c_)
        self.M = first_moment.advance(self.M, (a, b), (a_, b_), self._fields[gates])

    def end_step(self) -> None:
        """Record the growth of the mean trace over the step, whether the step turned the sign, and normalise.

        The sign is that of what the weights read: components that nothing reads may cancel in the trace.
        """
        size = float(np.mean(np.trace(self.M)))
        self.log_growth.append(float(np.log(abs(size) / self._size)) if size else -np.inf)
        self.signs.append(float(np.sign(self._fields @ self._last_fields)))
        self.M /= abs(size) if size else 1.0
        self._size = 1.0
        self._last_fields, self._fields = self._fields, np.zeros_like(self._fields)

    def rate(self, steps: int) -> float:
        """Geometric mean of the growth over the last ``steps``, negative where most steps turn the sign."""
        sign = -1.0 if np.sum(self.signs[-steps:]) < 0 else 1.0
        return sign * float(np.exp(np.mean(self.log_growth[-steps:])))

    def reorder(self, order: np.ndarray) -> None:
        """Follow a permutation of the sites."""
        self.M = self.M[..., order]


class SiteProcess:
    """The one-site process of an ensemble with untied weights, at given pre-activation laws."""

    def __init__(self, ens: Ensemble, n: int, rng: np.random.Generator, replicas: int = 1) -> None:
        from scipy.special import ndtri

        self.ens = ens
        self.n = n
        self.replicas = replicas
        self.cell = ens.cell
        self.numeric = ens.cell.numeric(np)
        self.memory = memory(ens.cell)
        gates = [ens.gate(name) for name in ens.cell.gates]
        self.mean = np.array([gate.mu_b for gate in gates])
        self.sigma_w = np.array([gate.sigma_w for gate in gates])
        self.site_variance = np.array([gate.site_variance for gate in gates])
        self._has_normal_biases = ens.has_normal_biases
        self.slices = _gate_slices(ens.cell)
        draws = 1 if replicas == 1 else 3
        biases = 0 if self._has_normal_biases else len(gates)
        self.stream = SobolStream(1 + replicas * len(gates) + draws + biases, n, rng)
        self.normal = ndtri

    def step(self, site: np.ndarray, q: np.ndarray, growth: Growth | None = None) -> Step:
        """Advance a population at variances q (K,)."""
        uniform = self.stream.draw()
        K = len(self.mean)
        order = _order([site[i] for i in self.memory], uniform[0])
        site = site[:, order]
        if growth is not None:
            growth.reorder(order)
        e = self.pre_activations(q, uniform[1 : K + 1], uniform[-K:])
        x = self.ens.input_quantile(uniform[K + 1])
        inputs = np.empty(K)
        for stage, gates in zip(self.numeric.stages, self.slices, strict=True):
            if e[gates].shape[0]:
                inputs[gates] = np.mean(stage.read(site) ** 2, axis=-1)
            if growth is not None:
                linear = stage.linearize(site, x, e[gates])
                growth.stage(gates, linear, linear)
            site = stage.update(site, x, e[gates])
        if growth is not None:
            growth.end_step()
        return Step(site, inputs)

    def pair_step(
        self,
        sites: tuple[np.ndarray, np.ndarray],
        q: np.ndarray,
        rho: np.ndarray,
        growth: tuple[Growth, Growth] | None = None,
    ) -> PairStep:
        """Advance two replicas at variances q and correlations rho (K,) of their pre-activations.

        ``growth`` holds that of the first replica alone and that of the pair.
        """
        uniform = self.stream.draw()
        order = _order([side[i] for side in sites for i in self.memory], uniform[0])
        pair = sites[0][:, order], sites[1][:, order]
        for one in growth or ():
            one.reorder(order)
        x, z, centre = self._pair_draws(uniform)
        inputs, overlaps = np.empty(len(q)), np.empty(len(q))
        for stage, gates in zip(self.numeric.stages, self.slices, strict=True):
            e = self._pair_gates(z, centre, q, rho, gates)
            r_a, r_b = (stage.read(side) for side in pair)
            inputs[gates] = 0.5 * np.mean(r_a**2 + r_b**2, axis=-1)
            overlaps[gates] = np.mean(r_a * r_b, axis=-1)
            if growth is not None:
                left, right = (stage.linearize(*of_one) for of_one in zip(pair, x, e, strict=True))
                growth[0].stage(gates, left, left)
                growth[1].stage(gates, left, right)
            pair = tuple(stage.update(*of_one) for of_one in zip(pair, x, e, strict=True))
        for one in growth or ():
            one.end_step()
        return PairStep((pair[0], pair[1]), inputs, overlaps)

    def pre_activations(self, q: np.ndarray, normal: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """e (K, n) of variances q from uniform numbers (K, n) of its Gaussian part and of the biases."""
        spread = np.sqrt(np.maximum(q - self.site_variance, 0.0))
        return self._centre(bias) + spread[:, None] * self.normal(normal)

    def _centre(self, uniform: np.ndarray) -> np.ndarray:
        """What e has besides its Gaussian part: the mean (K, 1), or the biases of the sites (K, n)."""
        mean = self.mean[:, None]
        return mean if self._has_normal_biases else mean + self.ens.bias_deviations(uniform)

    def _pair_draws(
        self, uniform: np.ndarray
    ) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], np.ndarray]:
        """Inputs of the replicas, independent normals (K, n) for their pre-activations, and the centres."""
        K = len(self.mean)
        return (
            input_pair(self.ens, *uniform[2 * K + 1 : 2 * K + 4]),
            (self.normal(uniform[1 : K + 1]), self.normal(uniform[K + 1 : 2 * K + 1])),
            self._centre(uniform[-K:]),
        )

    def _pair_gates(
        self,
        z: tuple[np.ndarray, np.ndarray],
        centre: np.ndarray,
        q: np.ndarray,
        rho: np.ndarray,
        gates: slice,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pre-activations of the two replicas for the gates of one stage."""
        fixed = self.site_variance[gates]
        gaussian = np.maximum(q[gates] - fixed, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            own = np.clip((rho[gates] * q[gates] - fixed) / gaussian, -1.0, 1.0)
        c = np.where((fixed > 0.0) & (gaussian > 0.0), own, rho[gates])[:, None]
        mean, scale = centre[gates], np.sqrt(gaussian)[:, None]
        first, own = z[0][gates], z[1][gates]
        second = np.where(c == 1.0, first, c * first + np.sqrt((1.0 - c) * (1.0 + c)) * own)
        return mean + scale * first, mean + scale * second

    def live_laws(self, sites: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """q and rho (K,) that a population of two replicas itself gives rise to.

        Later stages read what earlier gates have made of the state, so their moments are taken from the same
        population after those stages, with the points of a draw of their own.
        """
        q, rho = np.empty(len(self.mean)), np.empty(len(self.mean))
        drive, shared_drive = self.drive(1.0), self.drive(self.ens.Sigma)
        a, b = sites
        draws: Any = None
        for stage, gates in zip(self.numeric.stages, self.slices, strict=True):
            r_a, r_b = stage.read(a), stage.read(b)
            gain = self.sigma_w[gates] ** 2
            q[gates] = gain * 0.5 * np.mean(r_a**2 + r_b**2, axis=-1) + drive[gates]
            shared = gain * np.mean(r_a * r_b, axis=-1) + shared_drive[gates]
            safe = np.where(q[gates] > 0, q[gates], 1.0)
            rho[gates] = np.clip(np.where(q[gates] > 0, shared / safe, 1.0), -1.0, 1.0)
            if gates.stop < len(self.mean):
                if not draws:
                    uniform = self.stream.draw()
                    order = _order([side[i] for side in sites for i in self.memory], uniform[0])
                    a, b = a[:, order], b[:, order]
                    draws = self._pair_draws(uniform)
                e = self._pair_gates(draws[1], draws[2], q, rho, gates)
                a, b = stage.update(a, draws[0][0], e[0]), stage.update(b, draws[0][1], e[1])
        return q, rho

    def variances(self, inputs: np.ndarray) -> np.ndarray:
        """q_k = σ_w² E[r_k²] + σ_v² R + σ_b²; theory.md (2)."""
        return self.sigma_w**2 * inputs + self.drive(1.0)

    def correlations(self, overlaps: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Correlations of the replicas' pre-activations; 1 where they do not vary."""
        shared = self.sigma_w**2 * overlaps + self.drive(self.ens.Sigma)
        return np.clip(np.where(q > 0, shared / np.where(q > 0, q, 1.0), 1.0), -1.0, 1.0)

    def drive(self, correlation: float) -> np.ndarray:
        """σ_v² R · correlation + σ_b² of every gate."""
        gates = [self.ens.gate(name) for name in self.cell.gates]
        return np.array([g.sigma_v**2 * self.ens.R * correlation + g.sigma_b**2 for g in gates])


@functools.lru_cache(maxsize=64)
def memory(cell: Cell) -> tuple[int, ...]:
    """Which state components the site-wise update uses: what a site remembers from the step before."""
    updates, _ = composed(cell)
    used = {symbol for update in updates for symbol in update.free_symbols}
    return tuple(i for i, symbol in enumerate(cell.state) if symbol in used)


def draw_initial(rng: np.random.Generator, second: np.ndarray, n: int) -> np.ndarray:
    """A centred Gaussian site-state (s, n) with independent components of the given second moments."""
    from scipy.special import ndtri

    uniform = SobolStream(len(second), n, rng).draw()
    return np.sqrt(second)[:, None] * ndtri(uniform)


def _gate_slices(cell: Cell) -> list[slice]:
    slices, start = [], 0
    for stage in cell.stages:
        slices.append(slice(start, start + len(stage.gates)))
        start += len(stage.gates)
    return slices


def _order(keys: Sequence[np.ndarray], uniform: np.ndarray) -> np.ndarray:
    """The site that belongs to each point: its rank in ``uniform``, looked up in the sorted population.

    With several keys the population is cut into √n groups by the first and each group sorted by the second
    (the others follow by the same rule inside).
    """
    n = uniform.size
    rank = np.minimum((uniform * n).astype(int), n - 1)
    return sorted_by(keys, n)[rank]


def sorted_by(keys: Sequence[np.ndarray], n: int) -> np.ndarray:
    """The order of n sites that `_order` uses: neighbours are alike in all keys."""
    return _sorted(np.arange(n), keys) if keys else np.arange(n)


def _sorted(index: np.ndarray, keys: Sequence[np.ndarray]) -> np.ndarray:
    index = index[np.argsort(keys[0][index], kind="stable")]
    if len(keys) == 1 or index.size < 4:
        return index
    groups = max(2, round(index.size ** (1.0 / len(keys))))
    return np.concatenate([_sorted(group, keys[1:]) for group in np.array_split(index, groups)])


def input_pair(
    ens: Ensemble, uniform: np.ndarray, uniform_own: np.ndarray, choice: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of two sequences with E[x_a x_b] = RΣ, the same laws as `Ensemble.sample_input_pair`."""
    x_a, own = ens.input_quantile(uniform), ens.input_quantile(uniform_own)
    if ens.input_law.kind == "gaussian":
        return x_a, ens.Sigma * x_a + np.sqrt((1.0 - ens.Sigma) * (1.0 + ens.Sigma)) * own
    squared_mean = ens.input_law.moment(1) ** 2
    if ens.input_law.is_symmetric:
        share = abs(ens.Sigma)
    else:
        share = 1.0 if squared_mean == 1.0 else (ens.Sigma - squared_mean) / (1.0 - squared_mean)
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"Sigma = {ens.Sigma!r}: must be in [E[x]²/R, 1] for this asymmetric input law")
    return x_a, np.where(choice < share, np.copysign(1.0, ens.Sigma) * x_a, own)


def seeds(seed: int, purpose: int, replicate: int) -> np.random.Generator:
    """The stream of one population."""
    return _random.stream(seed, 7, purpose, replicate)
