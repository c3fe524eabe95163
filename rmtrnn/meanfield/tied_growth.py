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

import functools
import itertools
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn.meanfield.linearised_sites import Differences, Recorder
from rmtrnn.meanfield.periodic_process import GROUPS, FrequencyNodes, Normals, PeriodicSites, transform
from rmtrnn.meanfield.population import CONFIDENCE
from rmtrnn.meanfield.tied_solver import DEFAULT, SEPARATION, History, Separation, Settings


class Growth(NamedTuple):
    """χ of all sites together, its values group by group (to first order), and whether it converged.

    ``residual``: a bound of the error of log χ on these sites (`_distance`); of two replicas its last step.
    ``site_limited``: the sites with the longest memory forget more slowly than the collective difference
    grows; χ is then what they forget per step.
    """

    chi: float
    groups: np.ndarray
    spectrum: np.ndarray  # m̂ (D, nodes)
    nodes: FrequencyNodes
    residual: float
    rounds: int
    converged: bool
    site_limited: bool = False
    delay: float = 1.0  # steps, −½ ∂log ρ/∂log μ


@dataclass(frozen=True)
class RoundSettings:
    """Numbers of the power iteration for χ.

    Empirical ones are moved by three in tests/meanfield/test_tied_errors.py.
    """

    # Gain of one round beyond which κ grows at some site without bound. Empirical: a gain is of order one.
    largest: float = 1e8
    # Rounds over which the range of log μ is its last change. Empirical.
    settled: int = 4
    # |log ρ| up to which a settled μ need not have been passed from both sides. Empirical.
    near_one: float = 0.5
    # Change of log μ · delay up to which the delay is not computed again. Derived: an error ε of Newton's
    # slope multiplies the error by ε per round.
    same_delay: float = 0.05
    # Share of the error that the sites make, to which log χ has to be known. Empirical.
    noise: float = 0.3
    # Change of the spectrum beyond which Anderson's memory is not used. Empirical.
    unshaped: float = 0.3
    # Every so many sites look for the start. Empirical.
    thinning: int = 4


_ROUNDS = RoundSettings()


def growth_rate(
    process: PeriodicSites,
    recorders: list[Recorder],
    seed: int,
    settings: Settings = DEFAULT,
    start: Growth | None = None,
    highest: float = np.inf,
) -> Growth:
    """χ along recorded trajectories: of one replica, or of two on the two sides.

    ``highest``: a bound of χ. Where κ grows without end at the bound too, noise of the sites hides χ, and the
    search ends there, as ``site_limited``.
    """
    if process.readings.count == 0:
        return _own_growth(process, recorders)
    near = _on_fewer_sites(process, recorders, seed, settings, start, highest)
    return _PowerIteration(process, recorders, seed).solve(settings, near or start, highest)


def differences_grow(process: PeriodicSites, recorder: Recorder, seed: int, settings: Settings) -> bool:
    """Whether χ > 1: by every fourth site where χ differs from 1 by more than single groups of them do."""
    if process.readings.count == 0:
        return _own_growth(process, [recorder]).chi > 1.0
    near = _on_fewer_sites(process, [recorder], seed, settings, None, np.inf)
    if near is not None:
        unknown = near.residual + np.std(np.log(near.groups), ddof=1)
        if abs(np.log(near.chi)) > unknown:
            return near.chi > 1.0
    return _PowerIteration(process, [recorder], seed).solve(settings, near, np.inf).chi > 1.0


def _on_fewer_sites(
    process: PeriodicSites,
    recorders: list[Recorder],
    seed: int,
    settings: Settings,
    start: Growth | None,
    highest: float,
) -> Growth | None:
    """χ by every fourth site, roughly; None where these are too few, or do not tell it."""
    few = process.n < _ROUNDS.thinning * DEFAULT.least_sites
    if few or process.per_group % (2 * _ROUNDS.thinning):
        return None
    fewer, kept = process.thinned(_ROUNDS.thinning)
    rough = replace(settings, tolerance=_ROUNDS.thinning * settings.tolerance)
    found = growth_rate(fewer, [one.thinned(kept) for one in recorders], seed, rough, start, highest)
    return found if found.converged and not found.site_limited else None


def separate_growth(
    process: PeriodicSites,
    recorder: Recorder,
    seed: int,
    joint: Growth,
    settings: Settings = DEFAULT,
    separation: Separation | None = None,
) -> np.ndarray:
    """χ of every group of sites by itself, (groups,), along a trajectory recorded on spectra of its own."""
    if process.readings.count == 0 or joint.site_limited or not joint.converged:
        return joint.groups
    return _PowerIteration(process, [recorder], seed).separate(settings, joint, separation or SEPARATION)


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
    return Growth(joint, groups, np.zeros((0, 0)), process.nodes, 0.0, 1, True, True)


class _PowerIteration:
    """The eigenvalue problem ρ(μ) = 1: power iteration for m̂ and Newton steps for log μ at once."""

    def __init__(self, process: PeriodicSites, recorders: list[Recorder], seed: int) -> None:
        self.process, self.nodes, self.seed = process, process.nodes, seed
        gates = len(process.ens.cell.gates)
        normals = _white_noise(gates, process.period, process.per_group, seed, len(recorders))
        self.parts = [
            (
                groups,
                normals.part(groups),
                [Differences(one.thinned(process.at(groups)), part) for one in recorders],
            )
            for groups, part in process.parts()
        ]
        self.is_pair = len(recorders) > 1

    def round(
        self, m: np.ndarray, mu: float | np.ndarray, with_slope: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Images (D, groups, nodes) of the spectrum m (D, nodes); mean of their derivatives in log μ.

        Or of spectra m (D, groups, nodes) at μ (groups,), every group by itself.
        """
        m = m[:, None] if m.ndim == 2 else m
        spectrum = self.nodes.spectrum(self.process.readings.recurrent(np.maximum(m, 0.0)))
        with np.errstate(over="ignore", invalid="ignore"):
            found = [self._images(*part, spectrum, mu, with_slope) for part in self.parts]
        images = np.concatenate([one for one, _ in found], axis=1)
        slopes = [slope for _, slope in found if slope is not None]
        return images, np.concatenate(slopes, axis=1).mean(axis=1) if slopes else None

    def _images(
        self,
        groups: slice,
        normals: Normals,
        sides: list[Differences],
        spectrum: np.ndarray,
        mu: float | np.ndarray,
        with_slope: bool,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """`round` for some groups, at spectra (K, groups or 1, frequencies) of all."""
        eta, waves = normals.process(spectrum if spectrum.shape[1] == 1 else spectrum[:, groups]), []
        for side in sides:
            reads, slopes = side.run(eta, self._at_sites(mu, groups), with_slope)
            waves.append((transform(reads), None if slopes is None else transform(slopes)))
        (left, left_slope), (right, right_slope) = waves[0], waves[-1]
        product = self.process.product
        images = product(left, right)
        if left_slope is None or right_slope is None:
            return images, None
        slope = product(left, right_slope)
        return images, slope + (product(right, left_slope) if self.is_pair else slope)

    def _scale(self, factor: float | np.ndarray) -> None:
        """Multiply κ of all sites by a number, or by one for each group."""
        for groups, _, sides in self.parts:
            for side in sides:
                side.scale(self._at_sites(factor, groups))

    def _at_sites(self, value: float | np.ndarray, groups: slice) -> float | np.ndarray:
        """Values (groups,) at the sites of some groups; a number as it is."""
        if isinstance(value, np.ndarray) and value.ndim:
            return np.repeat(value[groups], self.process.per_group)
        return value

    def solve(self, settings: Settings, start: Growth | None, highest: float) -> Growth:
        nodes, weight = self.nodes, self.nodes.weight / self.nodes.period
        if start is None:
            m = np.tile(nodes.lorentzian(1.0, 3.0), (self.process.readings.count, 1))
            m, mu = m / nodes.variance(m).sum(), 1.0
        else:
            m, mu = start.nodes.carried(start.spectrum, nodes), float(np.sqrt(start.chi))
        safe, lowest, history = max(mu, 1.0), 0.0, History(settings.depth)
        scale, change, converged, trail = 1.0, np.inf, False, []
        known_delay = start.delay if start is not None and not start.site_limited else None
        delay, known = known_delay or 1.0, mu
        for count in range(1, settings.rounds + 1):
            # The delay changes little once μ does.
            moved = abs(np.log(mu / known)) * delay > _ROUNDS.same_delay
            with_slope = moved or count <= (2 if known_delay is None else int(delay > 3.0))
            images, slope = self.round(m, mu, with_slope)
            known, before = mu if with_slope else known, m
            image, rho, delay = _summary(nodes, images.mean(axis=1), slope, delay)
            if not 0.0 < rho < _ROUNDS.largest:
                # Below what the slowest site forgets κ grows without end, and of two replicas only noise is
                # left: go back up.
                lowest, mu = mu, 2.0 * mu if mu >= safe else np.sqrt(mu * safe)
                close = safe / lowest - 1.0 < settings.tolerance and safe > lowest
                if close or lowest**2 >= highest:
                    limit = (safe / lowest) ** 2 - 1.0
                    return Growth(safe**2, np.full(GROUPS, safe**2), m, nodes, limit, count, True, True)
                for side in itertools.chain.from_iterable(sides for _, _, sides in self.parts):
                    side.reset()
                history = History(settings.depth)
                continue
            safe = mu
            change = _newton(rho, delay)
            shape_step = float(np.sum(nodes.variance(np.abs(image - m))))
            step = abs(change) * delay + shape_step
            if shape_step > _ROUNDS.unshaped or not len(history):
                history, scale = History(settings.depth), delay
            history.append(
                np.append((weight * m).ravel(), scale * np.log(mu)),
                np.append((weight * image).ravel(), scale * (np.log(mu) + np.log1p(change))),
            )
            trail.append((np.log(mu), np.log(rho)))
            step = min(step, _settled(trail[-_ROUNDS.settled :], delay))
            converged = step < 3.0 * settings.tolerance or self._is_near(settings, images, shape_step, delay)
            if converged:
                break
            following = history.following()
            shape = following[:-1].reshape(m.shape) / weight
            m = np.where(shape > 0.1 * image, shape, 0.1 * image)
            m /= max(nodes.variance(m).sum(), 1e-300)
            wish = following[-1] / scale - np.log(mu)
            if abs(wish) > 3.0 * abs(change) + settings.tolerance:
                wish = np.log1p(change)
            mu = max(mu * np.exp(wish), np.sqrt(lowest * mu))
            self._scale(1.0 / np.sqrt(rho))
        groups = self._by_group(history, scale, mu, images, delay)
        left = 2.0 * abs(change)
        if not self.is_pair:
            left = _distance(nodes, before, images.mean(axis=1), delay)
        return Growth(mu**2, groups**2, m, nodes, left, count, converged, delay=delay)

    def _is_near(self, settings: Settings, images: np.ndarray, shape_step: float, delay: float) -> bool:
        """Whether log χ is known to the tolerance, or to a share of the error that the sites make.

        log ρ is convex in log μ: from above, ρ < 1, the distance is no more than the tangent says.
        """
        rho = self.nodes.variance(images).sum(axis=0)
        log_rho = np.log(rho.mean())
        noise = CONFIDENCE * np.std(rho, ddof=1) / np.sqrt(GROUPS) / rho.mean()
        enough = max(settings.tolerance * delay, _ROUNDS.noise * noise)
        return bool(log_rho < _ROUNDS.near_one and abs(log_rho) + shape_step < enough)

    def separate(self, settings: Settings, joint: Growth, separation: Separation) -> np.ndarray:
        """Solve the eigenvalue problem of every group, from that of all sites together; χ by group."""
        nodes, weight, delay = self.nodes, self.nodes.weight / self.nodes.period, joint.delay
        m = np.repeat(joint.spectrum[:, None], GROUPS, axis=1)
        log_mu = np.full(GROUPS, 0.5 * np.log(joint.chi))
        history = History(settings.depth)
        for _ in range(separation.most(settings)):
            images, _ = self.round(m, np.exp(log_mu), False)
            rho = nodes.variance(images).sum(axis=0)
            if not np.all((rho > 0.0) & (rho < _ROUNDS.largest)):
                break
            images /= rho[:, None]
            newer = log_mu + np.array([np.log1p(_newton(one, delay)) for one in rho])
            history.append(
                np.append((weight * m).ravel(), delay * log_mu),
                np.append((weight * images).ravel(), delay * newer),
            )
            left, apart = np.abs(newer - log_mu).mean(), np.abs(newer - newer.mean()).mean()
            step = history.following()
            shape = step[: m.size].reshape(m.shape) / weight
            m = np.maximum(shape, 0.1 * images)
            m /= nodes.variance(m).sum(axis=0)[:, None]
            bound = 3.0 * np.abs(newer - log_mu) + apart
            log_mu = log_mu + np.clip(step[m.size :] / delay - log_mu, -bound, bound)
            self._scale(1.0 / np.sqrt(rho))
            if left <= separation.share * apart and len(history) > 1:
                break
        return np.exp(2.0 * log_mu)

    def _by_group(
        self, history: History, scale: float, mu: float, images: np.ndarray, delay: float
    ) -> np.ndarray:
        """μ that the groups would have on the same spectra of (18), to first order."""
        weight = self.nodes.weight / self.nodes.period
        joint = images.mean(axis=1)
        rho = float(self.nodes.variance(joint).sum())
        found = []
        for group in range(GROUPS):
            change = (images[:, group] - joint) / max(rho, 1e-300)
            gain = 0.5 * float(self.nodes.variance(change).sum()) / delay
            shift = np.append((weight * change).ravel(), scale * gain)
            found.append(mu * np.exp(np.clip(history.response(shift)[-1] / scale, -1.0, 1.0)))
        return np.array(found)


@functools.lru_cache(maxsize=2)
def _white_noise(gates: int, period: int, per_group: int, seed: int, replicas: int) -> Normals:
    """The random numbers of δe: the same along a line of parameters, and for groups by themselves."""
    return Normals(gates, period, per_group, _random.stream(seed, 51, replicas))


def _settled(trail: list[tuple[float, float]], delay: float) -> float:
    """Range of the last log μ, or of Newton's steps, if ρ has been around or near 1; else inf."""
    log_mu, log_rho = np.array(trail).T
    around = log_rho.min() <= 0.0 <= log_rho.max() or np.abs(log_rho[-1]) < _ROUNDS.near_one
    last = max(float(np.ptp(log_mu)), float(np.abs(log_rho).max()) / (2.0 * delay))
    return last if len(trail) >= _ROUNDS.settled and around else np.inf


def _distance(nodes: FrequencyNodes, m: np.ndarray, image: np.ndarray, delay: float) -> float:
    """A bound of |log χ − log μ²| by Collatz and Wielandt, from a spectrum m > 0 and its image at μ.

    Of a linear map that keeps spectra positive, the largest eigenvalue ρ lies between the smallest and the
    largest ratio of image and m; and log ρ falls by 2 delay as log μ grows by 1. Nodes may be left out for
    the sum of their changes relative to the variance, which moves ρ by as much if the left eigenvector is
    even there; the best choice of those with the worst ratios counts.
    """
    log_ratio = np.abs(np.log(np.maximum(image, 1e-300)) - np.log(np.maximum(m, 1e-300))).ravel()
    change = (np.abs(image - m) * nodes.weight).ravel() / np.sum(m * nodes.weight)
    order = np.argsort(-log_ratio)
    left_out = np.append(0.0, np.cumsum(change[order])[:-1])
    return float(np.min(log_ratio[order] + left_out)) / delay


def _summary(
    nodes: FrequencyNodes, image: np.ndarray, slope: np.ndarray | None, delay: float
) -> tuple[np.ndarray, float, float]:
    """The normalised image, ρ, and the mean delay −½ ∂log ρ/∂log μ; without slope, or below 1, ``delay``.

    The spectrum of two replicas is positive too (their trajectories are alike in law given what they share),
    but for the noise of a finite number of sites, which is cut off.
    """
    rho = float(nodes.variance(image).sum())
    if not 0.0 < rho < np.inf:
        return image, rho, delay
    if slope is not None:
        found = -0.5 * float(nodes.variance(slope).sum()) / rho
        delay = found if found >= 1.0 else delay
    positive = np.maximum(image, 0.0)
    return positive / float(nodes.variance(positive).sum()), rho, delay


def _newton(rho: float, delay: float) -> float:
    """Relative step of μ: Newton's for ρ^{-1/2} = 1, exact where ρ ∝ (μ − a)^{-2}; shorter downwards.

    Below a, where κ grows around the period, ρ is exponential in log μ: a step of 2 log ρ/delay is enough.
    """
    upwards = min(2.0 * np.log(max(rho, 1.0)), 0.3 * delay)
    gain = float(np.clip(np.sqrt(rho) - 1.0, -0.5, upwards))
    return gain / delay if gain > 0 else 0.5 * gain / delay
