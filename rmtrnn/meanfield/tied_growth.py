"""Growth of a small difference with tied weights: theory.md section 7, (15) at λ → ∞.

The difference of two nearby replicas is a Gaussian process at every site, Cov(δe^t, δe^s) = σ_w² M(t, s) with
M(t, s) = E[δr^t δr^s], carried along the trajectories of (18). In the long run M(t, s) = μ^(t+s) m(t − s), so
that κ^t = μ^(−t) δh^t is stationary and obeys

    κ^{t+1} = (a_t κ^t + Σ_k b_k η_k^t) / μ,   η_k Gaussian with spectrum σ_w² m̂(f), independent of a, b, c.

One round around the period maps a spectrum m̂ to that of c·κ. The map is linear and positive; its largest
eigenvalue ρ(μ) falls with μ, and ρ(μ) = 1 gives χ = μ², the growth per step of m_1(T) as T → ∞, and the
largest Lyapunov exponent log μ. With the trajectories of two replicas on the two sides, χ at c*.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn.meanfield.periodic_process import GROUPS, FrequencyNodes, Normals, PeriodicSites
from rmtrnn.meanfield.tied_solver import DEFAULT, History, Settings

Entries = list[tuple[int, int, np.ndarray]]  # (to, from, values (period, sites), or (period, 1) if constant)


class Growth(NamedTuple):
    """χ of all sites together, its values group by group (to first order), and whether it converged.

    ``residual``: the last change of log χ. ``site_limited``: the sites with the longest memory forget more
    slowly than the collective difference grows; χ is then what they forget per step.
    """

    chi: float
    groups: np.ndarray
    spectrum: np.ndarray  # m̂ (D, nodes)
    residual: float
    rounds: int
    converged: bool
    site_limited: bool = False


@dataclass
class LinearStage:
    """One stage along a trajectory: (a, b, c) of theory.md (1), entries that vanish left out."""

    a: Entries
    b: Entries  # (output, gate)
    c: Entries  # (reading, input)
    outputs: int


class Recorder:
    """Collects the linearisations of all stages while sites run around the period."""

    def __init__(self, process: PeriodicSites) -> None:
        self.stages: list[LinearStage] = []
        self._arrays: list[list[tuple[int, int, int, np.ndarray]]] = []
        readings, first = process.readings, 0
        shape = (process.period, process.n)
        for position, stage in enumerate(process.ens.cell.stages):
            rows = {
                row: d
                for d, (where, row) in enumerate(zip(readings.stage, readings.row, strict=True))
                if where == position
            }
            made = LinearStage([], [], [], len(stage.outputs))
            arrays: list[tuple[int, int, int, np.ndarray]] = []
            for part, matrix in enumerate((stage.a, stage.b, stage.c)):
                for i, j in itertools.product(range(matrix.rows), range(matrix.cols)):
                    entry: Any = matrix[i, j]
                    if entry == 0 or (part == 2 and i not in rows):
                        continue
                    values = np.full((shape[0], 1), float(entry)) if entry.is_number else np.empty(shape)
                    place = ((i, j), (j, first + i), (rows.get(i, 0), j))[part]
                    (made.a, made.b, made.c)[part].append((*place, values))
                    if not entry.is_number:
                        arrays.append((part, i, j, values))
            self.stages.append(made)
            self._arrays.append(arrays)
            first += len(stage.gates)

    def __call__(self, t: int, position: int, stage: Any, site: Any, x: Any, e: Any) -> None:
        """Record one stage at one step."""
        parts = stage.linearize(site, x, e)
        for part, i, j, array in self._arrays[position]:
            array[t] = parts[part][i, j]


class _Differences:
    """κ of one replica and its derivative with respect to log μ, carried around the period."""

    def __init__(self, stages: list[LinearStage], process: PeriodicSites) -> None:
        self.stages, self.process = stages, process
        self.reset()

    def reset(self) -> None:
        """Start from κ = 0."""
        shape = (len(self.process.ens.cell.state), self.process.n)
        self.kappa, self.slope = np.zeros(shape), np.zeros(shape)

    def run(self, eta: np.ndarray, mu: float, with_slope: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Readings of κ (D, period, sites), and those of its derivative."""
        shape = (self.process.readings.count, self.process.period, self.process.n)
        reads = np.zeros(shape)
        if not with_slope:
            return self._without_slope(eta, mu, reads), None
        slopes = np.zeros(shape)
        kappa, slope = self.kappa, self.slope
        for t in range(self.process.period):
            for stage in self.stages:
                for d, j, value in stage.c:
                    here = value[t]
                    reads[d, t] += here * kappa[j]
                    slopes[d, t] += here * slope[j]
                after, after_slope = np.zeros((2, stage.outputs, kappa.shape[1]))
                for i, j, value in stage.a:
                    here = value[t]
                    after[i] += here * kappa[j]
                    after_slope[i] += here * slope[j]
                for i, k, value in stage.b:
                    after[i] += value[t] * eta[k, t]
                kappa, slope = after, after_slope
            kappa /= mu
            slope = slope / mu - kappa
        self.kappa, self.slope = kappa, slope
        return reads, slopes

    def _without_slope(self, eta: np.ndarray, mu: float, reads: np.ndarray) -> np.ndarray:
        kappa = self.kappa
        for t in range(self.process.period):
            for stage in self.stages:
                for d, j, value in stage.c:
                    reads[d, t] += value[t] * kappa[j]
                after = np.zeros((stage.outputs, kappa.shape[1]))
                for i, j, value in stage.a:
                    after[i] += value[t] * kappa[j]
                for i, k, value in stage.b:
                    after[i] += value[t] * eta[k, t]
                kappa = after
            kappa /= mu
        self.kappa = kappa
        return reads

    def scale(self, factor: float) -> None:
        """Multiply κ and its derivative."""
        self.kappa, self.slope = factor * self.kappa, factor * self.slope


def growth_rate(
    process: PeriodicSites,
    recorders: list[Recorder],
    seed: int,
    settings: Settings = DEFAULT,
    start: Growth | None = None,
) -> Growth:
    """χ along recorded trajectories: of one replica, or of two on the two sides."""
    solver = _PowerIteration(process, recorders, seed)
    if process.readings.count == 0:
        return _own_growth(process, recorders)
    return solver.solve(settings, start)


def _own_growth(process: PeriodicSites, recorders: list[Recorder]) -> Growth:
    """χ of sites that no weights connect: growth of the mean square of ∏ a over the second half of a period.

    It is ruled by the sites that forget most slowly, and so grows with the period if memories are unbounded.
    """
    shape = (len(process.ens.cell.state), process.n)
    kappa, logs = [np.ones(shape) for _ in recorders], np.zeros((process.period, GROUPS))
    for t in range(process.period):
        for side, recorder in enumerate(recorders):
            for stage in recorder.stages:
                after = np.zeros((stage.outputs, process.n))
                for i, j, value in stage.a:
                    after[i] += value[t] * kappa[side][j]
                kappa[side] = after
        product = (kappa[0] * kappa[-1]).sum(axis=0).reshape(GROUPS, -1)
        size = np.maximum(np.abs(product.mean(axis=1)), 1e-300)
        logs[t] = np.log(size)
        scale = np.repeat(np.sqrt(size), process.per_group)
        kappa = [one / scale for one in kappa]
    groups = np.exp(logs[process.period // 2 :].mean(axis=0))
    joint = float(np.exp(np.log(groups).mean()))
    return Growth(joint, groups, np.zeros((0, 0)), 0.0, 1, True, True)


class _PowerIteration:
    """The eigenvalue problem ρ(μ) = 1: power iteration for m̂ and Newton steps for log μ at once."""

    def __init__(self, process: PeriodicSites, recorders: list[Recorder], seed: int) -> None:
        self.process, self.nodes, self.seed = process, process.nodes, seed
        gates = len(process.ens.cell.gates)
        rng = _random.stream(seed, 51, len(recorders))
        self.normals = Normals(gates, process.period, process.per_group, rng)
        self.sides = [_Differences(recorder.stages, process) for recorder in recorders]

    def round(self, m: np.ndarray, mu: float, with_slope: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Images (D, groups, nodes) of the spectrum m (D, nodes); mean of their derivatives in log μ."""
        spectrum = self.nodes.spectrum(self.process.readings.recurrent(np.maximum(m, 0.0)[:, None]))
        eta = self.normals.process(spectrum)
        power = self.process.power
        with np.errstate(over="ignore", invalid="ignore"):
            runs = [side.run(eta, mu, with_slope) for side in self.sides]
            (left, left_slope), (right, right_slope) = runs[0], runs[-1]
            images = power(left) if len(runs) == 1 else power(left, right)
            if left_slope is None or right_slope is None:
                return images, None
            return images, (power(left, right_slope) + power(right, left_slope)).mean(axis=1)

    def solve(self, settings: Settings, start: Growth | None) -> Growth:
        nodes, weight = self.nodes, self.nodes.weight / self.nodes.period
        if start is None:
            m = np.tile(nodes.lorentzian(1.0, 3.0), (self.process.readings.count, 1))
            m, mu = m / nodes.variance(m).sum(), 1.0
        else:
            m, mu = start.spectrum, float(np.sqrt(start.chi))
        safe, lowest, history = max(mu, 1.0), 0.0, History(settings.depth)
        scale, step, delay, known, trail = 1.0, np.inf, 1.0, 0.0, []
        for count in range(1, settings.rounds + 1):
            # The delay changes little once μ does.
            with_slope = count <= 2 or abs(np.log(mu / known)) * delay > SAME_DELAY
            images, slope = self.round(m, mu, with_slope)
            known = mu if with_slope else known
            image, rho, delay = _summary(nodes, images.mean(axis=1), slope, delay)
            if not 0.0 < rho < LARGEST:
                # Below what the slowest site forgets κ grows without end, and of two replicas only noise is
                # left: go back up.
                lowest, mu = mu, 2.0 * mu if mu >= safe else np.sqrt(mu * safe)
                if safe / lowest - 1.0 < settings.tolerance and safe > lowest:
                    limit = (safe / lowest) ** 2 - 1.0
                    return Growth(safe**2, np.full(GROUPS, safe**2), m, limit, count, True, True)
                for side in self.sides:
                    side.reset()
                history = History(settings.depth)
                continue
            safe = mu
            change = _newton(rho, delay)
            shape_step = float(np.sum(nodes.variance(np.abs(image - m))))
            step = abs(change) * delay + shape_step
            if shape_step > UNSHAPED or history.empty:
                history, scale = History(settings.depth), delay
            history.append(
                np.append((weight * m).ravel(), scale * np.log(mu)),
                np.append((weight * image).ravel(), scale * (np.log(mu) + np.log1p(change))),
            )
            trail.append(np.log(mu))
            step = min(step, float(np.ptp(trail[-SETTLED:])) if len(trail) >= SETTLED else np.inf)
            if step < 3.0 * settings.tolerance:
                break
            following = history.following()
            shape = following[:-1].reshape(m.shape) / weight
            m = np.where(shape > 0.1 * image, shape, 0.1 * image)
            m /= max(nodes.variance(m).sum(), 1e-300)
            wish = following[-1] / scale - np.log(mu)
            if abs(wish) > 3.0 * abs(change) + settings.tolerance:
                wish = np.log1p(change)
            mu = max(mu * np.exp(wish), np.sqrt(lowest * mu))
            for side in self.sides:
                side.scale(1.0 / np.sqrt(rho))
        groups = self._by_group(history, scale, mu, images, delay)
        return Growth(mu**2, groups**2, m, step, count, step < 3.0 * settings.tolerance)

    def _by_group(
        self, history: History, scale: float, mu: float, images: np.ndarray, delay: float
    ) -> np.ndarray:
        """μ that the groups would have on the same spectra of (18), to first order."""
        weight = self.nodes.weight / self.nodes.period
        joint = images.mean(axis=1)
        rho = float(self.nodes.variance(joint).sum())
        found = []
        for group in range(GROUPS):
            change = (images[:, group] - joint) / rho
            gain = 0.5 * float(self.nodes.variance(change).sum()) / delay
            shift = np.append((weight * change).ravel(), scale * gain)
            found.append(mu * np.exp(np.clip(history.response(shift)[-1] / scale, -1.0, 1.0)))
        return np.array(found)


LARGEST = 1e8  # of the gain of one round: beyond, κ grows at some site
SETTLED = 4  # rounds over which log μ stays the same: what noise leaves of the spectrum hardly moves it
SAME_DELAY = 0.05  # change of log μ · delay up to which the delay need not be known anew
UNSHAPED = 0.3  # change of the spectrum beyond which Anderson's memory is of no use


def _summary(
    nodes: FrequencyNodes, image: np.ndarray, slope: np.ndarray | None, delay: float
) -> tuple[np.ndarray, float, float]:
    """The normalised image, ρ, and the mean delay −½ ∂log ρ/∂log μ, at least 1 step; without slope ``delay``.

    The spectrum of two replicas is positive too (their trajectories are alike in law given what they share),
    but for the noise of a finite number of sites, which is cut off.
    """
    rho = float(nodes.variance(image).sum())
    if not 0.0 < rho < np.inf:
        return image, rho, delay
    if slope is not None:
        delay = max(-0.5 * float(nodes.variance(slope).sum()) / rho, 1.0)
    positive = np.maximum(image, 0.0)
    return positive / float(nodes.variance(positive).sum()), rho, delay


def _newton(rho: float, delay: float) -> float:
    """Relative step of μ: Newton's for ρ^{-1/2} = 1, exact where ρ ∝ (μ − a)^{-2}; shorter downwards."""
    gain = float(np.clip(np.sqrt(rho) - 1.0, -0.5, 0.3 * delay))
    return gain / delay if gain > 0 else 0.5 * gain / delay
