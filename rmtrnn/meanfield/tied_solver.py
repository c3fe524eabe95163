"""The stationary state of a network with tied weights: the fixed point of theory.md (18) in spectra.

A round of all sites around the period maps the power spectra of what the gates read to new ones. With fixed
Fourier coefficients and inputs the map has no noise, and its fixed point is found by Anderson acceleration.
The period doubles until the autocovariance has come to rest within a quarter of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from rmtrnn._core.progress import advance
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.periodic_process import GROUPS, SHARES, FrequencyNodes, PeriodicSites
from rmtrnn.numerics.fixed_point import anderson_move


@dataclass(frozen=True)
class Settings:
    """How a tied mean field is solved.

    Every entry is empirical; `tests/meanfield/test_tied_field.py` moves each by a factor of three both ways.
    """

    first_period: int = 512  # steps
    last_period: int = 8192  # steps; a longer memory is reported as not resolved
    least_sites: int = 256  # of all groups together
    node_distance: float = 1 / 12  # relative distance of frequencies between which spectra are linear
    tolerance: float = 3e-4  # of the spectrum: sum of absolute changes in a round, relative to the variance
    rough: float = 1e-2  # the same while the period is sought
    decay: float = 2e-2  # of the variance: change of the autocovariance over the last quarter of the lags
    depth: int = 6  # differences that Anderson acceleration keeps
    rounds: int = 60
    dead: float = SHARES.dead


DEFAULT = Settings()
# For grids and searches: errors of some per cent, a tenth of the time.
QUICK = Settings(first_period=256, last_period=2048, least_sites=64, tolerance=1e-3, rounds=30)


@dataclass(frozen=True)
class Separation:
    """How groups of sites are iterated, every group by itself, to see how far their results lie apart.

    Empirical; `tests/meanfield/test_tied_errors.py` moves each by a factor of three both ways.
    """

    rounds: int = 8
    part: int = 8  # of the rounds that the settings allow for a fixed point, if that is less
    share: float = 0.1  # change of a round relative to the distance of the groups, from which it is enough

    def most(self, settings: Settings) -> int:
        """Most rounds."""
        return min(self.rounds, settings.rounds // self.part)


@dataclass(frozen=True)
class StateSettings:
    """What counts as a static state.

    Empirical ones are moved by three in tests/meanfield/test_tied_errors.py.
    """

    static: float = SHARES.static
    # Share of what does not decay that has to come back with a longer period. Empirical.
    returns: float = 0.9
    # Squared difference of states left after a memory. Derived: e^{-2}; the period has four memories.
    forgotten: float = 0.14
    # Relative singular value of differences of the map below which they are noise. Empirical.
    resolved: float = 1e-2


SEPARATION, _STATES = Separation(), StateSettings()


class Spectral(NamedTuple):
    """A fixed point of the joint map: ``values`` (D, nodes), and what became of it group by group.

    ``groups`` (D, GROUPS, nodes): the fixed points of the groups of sites, each for itself (`separated`; of
    two replicas to first order in their differences). ``residual``: the last change of the spectrum
    relative to the variance.
    """

    values: np.ndarray
    groups: np.ndarray
    residual: float
    rounds: int
    converged: bool

    @property
    def positive_groups(self) -> np.ndarray:
        """``groups``, nowhere below a tenth of ``values``."""
        return np.maximum(self.groups, 0.1 * self.values[:, None])


# Spectra (D, nodes), or those of every group (D, GROUPS, nodes), to their images (D, GROUPS, nodes).
GroupMap = Callable[[np.ndarray], np.ndarray]


def spectral_fixed_point(
    map: GroupMap,
    start: np.ndarray,
    nodes: FrequencyNodes,
    settings: Settings,
    tolerance: float,
    *,
    least_scale: float = 1e-300,
    positive: bool = True,
) -> Spectral:
    """Solve S = ⟨F_g(S)⟩, the mean over groups, by Anderson acceleration.

    The norm is the variance, Σ weight |S| / period; residuals are relative to it, or to ``least_scale`` where
    it is smaller. ``positive``: a step may take a value down to a tenth of what the plain iteration gives,
    which is positive, and no further.
    """
    S, history = start, History(settings.depth)
    weight = nodes.weight / nodes.period
    for count in range(1, settings.rounds + 1):
        advance("tied mean field: rounds")
        images = map(S)
        image = images.mean(axis=1)
        scale = max(float(np.sum(nodes.variance(np.abs(image)))), least_scale)
        residual = float(np.sum(nodes.variance(np.abs(image - S)))) / scale
        history.append(weight * S, weight * image)
        if not np.isfinite(residual) or residual < tolerance or count == settings.rounds:
            break
        following = history.following() / weight
        S = np.where(following > 0.1 * image, following, 0.1 * image) if positive else following
    groups = [image + history.response(weight * (images[:, g] - image)) / weight for g in range(GROUPS)]
    return Spectral(image, np.stack(groups, axis=1), residual, count, residual < tolerance)


def separated(
    map: GroupMap,
    found: Spectral,
    nodes: FrequencyNodes,
    settings: Settings,
    separation: Separation | None = None,
) -> Spectral:
    """Solve S_g = F_g(S_g) for every group, from the joint fixed point; their spread is the error of it.

    One Anderson iteration of all groups together: F' is nearly the same for all.
    """
    separation = SEPARATION if separation is None else separation
    S, history, weight = found.positive_groups, History(settings.depth), nodes.weight / nodes.period
    for _ in range(separation.most(settings)):
        advance("tied mean field: groups")
        images = map(S)
        if not np.all(np.isfinite(images)):
            break
        left = np.sum(weight * np.abs(images - S))
        apart = np.sum(weight * np.abs(images - images.mean(axis=1, keepdims=True)))
        history.append(weight * S, weight * images)
        S = np.maximum(history.following() / weight, 0.1 * images)
        if left <= separation.share * apart:
            break
    return found._replace(groups=S)


class History:
    """Iterates of a fixed-point iteration and their images: Anderson steps, and the response to shifts."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []

    def append(self, x: np.ndarray, image: np.ndarray) -> None:
        """Add F(x) = image."""
        self._pairs.append((x.ravel(), (image - x).ravel()))
        self._shape = x.shape

    def __len__(self) -> int:
        """Number of iterates."""
        return len(self._pairs)

    def following(self) -> np.ndarray:
        """The Anderson step from the newest pair."""
        recent = self._pairs[-self._depth - 1 :]
        return (recent[-1][0] + anderson_move(recent)).reshape(self._shape)

    def response(self, shift: np.ndarray) -> np.ndarray:
        """(1 − F')^{-1} of a shift of the map: how far the fixed point moves, to first order.

        F' is known in the directions that the iteration has gone; in all others it counts as zero.
        """
        if len(self._pairs) < 2:
            return shift
        dx = np.stack([b[0] - a[0] for a, b in itertools.pairwise(self._pairs)], axis=1)
        ds = np.stack([b[1] - a[1] for a, b in itertools.pairwise(self._pairs)], axis=1)
        weights = np.linalg.lstsq(ds, shift.ravel(), rcond=_STATES.resolved)[0]
        return (shift.ravel() - (dx + ds) @ weights).reshape(shift.shape)


class TiedState(NamedTuple):
    """Stationary spectra of the readings, and the sites that carry them."""

    sites: PeriodicSites
    spectra: Spectral
    decayed: bool  # whether the autocovariance rests within a quarter of the period
    dead: bool  # whether what the gates read has decayed to nothing
    settings: Settings

    @property
    def is_static(self) -> bool:
        """Whether what the gates read hardly varies over the period."""
        nodes, values = self.sites.nodes, self.spectra.values
        total = float(nodes.variance(values).sum())
        return bool(
            np.sum(np.maximum(values[:, 0] - values[:, 1], 0.0)) / nodes.period > _STATES.static * total > 0.0
        )

    @property
    def converged(self) -> bool:
        """Whether the fixed point was found and the period is long enough."""
        return self.spectra.converged and self.decayed


def period_sites(
    ens: Ensemble, period: int, sites: int, seed: int, settings: Settings, replicas: int = 1
) -> PeriodicSites:
    """Sites on a period."""
    count = site_count(period, sites, settings)
    nodes = FrequencyNodes.build(period, settings.node_distance)
    return PeriodicSites(ens, period, count // GROUPS, seed, nodes, replicas)


def site_count(period: int, sites: int, settings: Settings) -> int:
    """Number of sites on a period: it falls as the period grows, so that a round costs the same."""
    return max(min(sites, sites * settings.first_period // period), settings.least_sites)


def stationary_state(
    ens: Ensemble,
    start: Callable[[FrequencyNodes], np.ndarray],
    second: np.ndarray,
    sites: int,
    seed: int,
    settings: Settings = DEFAULT,
) -> TiedState:
    """The fixed point near the spectra ``start(nodes)``, (D, nodes), with states of second moments (s,)."""
    process = period_sites(ens, settings.first_period, _few(sites, settings), seed, settings)
    process.scale_state(second)
    if process.readings.count == 0:  # nothing is read: the sites know nothing of each other
        process = period_sites(ens, settings.first_period, sites, seed, settings)
        process.scale_state(second)
        nothing = np.zeros((0, process.nodes.weight.size))
        process.run(process.pre_activations(nothing[:, None])[0])
        alone = Spectral(nothing, np.zeros((0, GROUPS, nothing.shape[1])), 0.0, 0, True)
        return TiedState(process, alone, True, False, settings)
    values = start(process.nodes)
    least = settings.dead * max(float(process.nodes.variance(values).sum()), 1e-300)
    return _on_a_long_period(process, values, least, sites, seed, settings)


def followed_state(ens: Ensemble, near: TiedState, sites: int, seed: int) -> TiedState:
    """The fixed point near that of an ensemble of the same cell with other parameters.

    It starts on the period of the latter, or on half of it where the autocovariance has decayed by then.
    """
    process, values, settings = near.sites, near.spectra.values, near.settings
    half = max(process.period // 2, settings.first_period)
    # With a margin of two: where the period has to double again, the shorter one was solved in vain.
    if half < process.period and _has_decayed(process, near.spectra, settings, half // 2):
        shorter = period_sites(ens, half, sites, seed, settings)
        shorter.state = [process.state[0][:, np.arange(shorter.n) % process.n]]
        process, values = shorter, process.nodes.carried(values, shorter.nodes)
    else:
        process = process.moved(ens)
    least = settings.dead * max(float(process.nodes.variance(values).sum()), 1e-300)
    return _on_a_long_period(process, values, least, sites, seed, settings)


def _few(sites: int, settings: Settings) -> int:
    """Number of sites that look for the period."""
    return max(sites // 4, settings.least_sites)


def _on_a_long_period(
    process: PeriodicSites, values: np.ndarray, least: float, sites: int, seed: int, settings: Settings
) -> TiedState:
    """The fixed point from ``values``, on periods that double until the autocovariance has decayed."""
    brief = replace(settings, rounds=max(settings.rounds // 4, 2))  # for a period that may be too short

    def solve(sites: PeriodicSites, first: np.ndarray, settings: Settings, tolerance: float) -> Spectral:
        return spectral_fixed_point(
            one_round(sites), first, sites.nodes, settings, tolerance, least_scale=least
        )

    found = solve(process, values, brief, settings.rough)
    while True:
        decayed = _has_decayed(process, found, settings, process.period)
        rest = process.nodes.rest(found.values)
        if process.period >= settings.last_period or not np.isfinite(found.residual):
            break
        if decayed and rest <= 1.0 - _STATES.static:
            break
        longer = period_sites(process.ens, 2 * process.period, _few(sites, settings), seed, settings)
        longer.state = [process.state[0][:, np.arange(longer.n) % process.n]]
        values = process.nodes.carried(found.values, longer.nodes)
        first = longer.nodes.loosened(values) if decayed else values
        again = solve(longer, first, brief, settings.rough)
        # A part that does not decay is believed if it comes back on a longer period without it.
        if decayed and longer.nodes.rest(again.values) > _STATES.returns * rest:
            break
        process, found = longer, again
    dead = float(process.nodes.variance(found.values).sum()) <= least
    if not dead:
        if process.n < site_count(process.period, sites, settings):
            more = period_sites(process.ens, process.period, sites, seed, settings)
            more.state = [process.state[0][:, np.arange(more.n) % process.n]]
            process = more
        found = solve(process, found.values, settings, settings.tolerance)
        found = separated(one_round(process), found, process.nodes, settings)
    return TiedState(process, found, decayed or dead, dead, settings)


def one_round(process: PeriodicSites) -> GroupMap:
    """One round around the period: spectra of all sites, or of every group, to the images by group."""

    def image(values: np.ndarray) -> np.ndarray:
        found = []
        for groups, part in process.parts():
            own = values[:, None] if values.ndim == 2 else values[:, groups]
            found.append(part.power(part.run(part.pre_activations(own)[0]).reads()))
        return np.concatenate(found, axis=1)

    return image


def _has_decayed(process: PeriodicSites, found: Spectral, settings: Settings, period: int) -> bool:
    """Whether sites forget, and the autocovariance comes to rest, within the quarter of ``period``.

    Its mean over the second eighth of the period agrees with that over the second quarter. On a circle much
    shorter than the memory that would hold too; so the sites are asked as well.
    """
    quarter = period // 8
    covariance = process.nodes.covariance(found.groups)
    change = covariance[..., quarter : 2 * quarter].mean(-1)
    change -= covariance[..., 2 * quarter : 4 * quarter].mean(-1)
    scale = np.maximum(covariance[..., 0].mean(-1), 1e-300)
    noise = 2.0 * change.std(axis=-1, ddof=1) / np.sqrt(GROUPS)
    at_rest = np.all(np.abs(change.mean(-1)) <= np.maximum(settings.decay * scale, noise))
    return bool(at_rest) and _remembered(process, found.values, period // 4) <= _STATES.forgotten


def _remembered(process: PeriodicSites, values: np.ndarray, steps: int) -> float:
    """Mean square that is left of a difference of states after some steps, with the same pre-activations."""
    own = process.state[0]
    other = np.roll(own, 1, axis=-1)
    before = np.sum((own - other) ** 2)
    if before == 0.0:
        return 0.0
    e = process.pre_activations(values[:, None])[0][:, :steps]
    ends = []
    for start in (own, other):
        process.state[0] = start.copy()
        process.run(e, steps=steps)
        ends.append(process.state[0])
    process.state[0] = own
    return float(np.sum((ends[0] - ends[1]) ** 2) / before)
