"""The stationary state of a network with tied weights: the fixed point of theory.md (18) in spectra.

A round of all sites around the period maps the power spectra of what the gates read to new ones. With fixed
Fourier coefficients and inputs the map has no noise, and its fixed point is found by Anderson acceleration.
The period doubles until the autocovariance has come to rest within a quarter of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmtrnn._core.progress import advance
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.periodic_process import GROUPS, FrequencyNodes, PeriodicSites
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
    dead: float = 1e-9  # of the first variance of the readings: what has decayed below is zero


DEFAULT = Settings()
# For grids and searches: errors of some per cent, a tenth of the time.
QUICK = Settings(first_period=256, last_period=2048, least_sites=128, tolerance=1e-3, rounds=30)
STATIC = 0.95  # share of the variance that does not decay, from which a state counts as static; empirical
RETURNS = 0.7  # share of what does not decay that has to come back; empirical
RESOLVED = 1e-2  # relative singular value of differences of the map below which they are noise


class Spectral(NamedTuple):
    """A fixed point of the joint map: ``values`` (D, nodes), and what became of it group by group.

    ``groups`` (D, GROUPS, nodes): the fixed points that the groups of sites would have each for itself, to
    first order in their differences. ``residual``: the last change of the spectrum relative to the variance.
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


GroupMap = Callable[[np.ndarray], np.ndarray]  # spectra (D, nodes) to their images (D, GROUPS, nodes)


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
    it is smaller. ``positive``: a step may take a value down to a tenth of
    what the plain iteration gives, which is positive, and no further.
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


class History:
    """Iterates of a fixed-point iteration and their images: Anderson steps, and the response to shifts."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []

    def append(self, x: np.ndarray, image: np.ndarray) -> None:
        """Add F(x) = image."""
        self._pairs.append((x.ravel(), (image - x).ravel()))
        self._shape = x.shape

    @property
    def empty(self) -> bool:
        """Whether nothing has been added yet."""
        return not self._pairs

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
        weights = np.linalg.lstsq(ds, shift.ravel(), rcond=RESOLVED)[0]
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
            np.sum(np.maximum(values[:, 0] - values[:, 1], 0.0)) / nodes.period > STATIC * total > 0.0
        )

    @property
    def converged(self) -> bool:
        """Whether the fixed point was found and the period is long enough."""
        return self.spectra.converged and self.decayed


def period_sites(
    ens: Ensemble, period: int, sites: int, seed: int, settings: Settings, replicas: int = 1
) -> PeriodicSites:
    """Sites on a period; their number falls as it grows, so that a round costs the same."""
    count = max(min(sites, sites * settings.first_period // period), settings.least_sites)
    nodes = FrequencyNodes.build(period, settings.node_distance)
    return PeriodicSites(ens, period, count // GROUPS, seed, nodes, replicas)


def stationary_state(
    ens: Ensemble,
    start: Callable[[FrequencyNodes], np.ndarray],
    second: np.ndarray,
    sites: int,
    seed: int,
    settings: Settings = DEFAULT,
) -> TiedState:
    """The fixed point near the spectra ``start(nodes)``, (D, nodes), with states of second moments (s,)."""
    process = period_sites(ens, settings.first_period, sites, seed, settings)
    process.scale_state(second)
    if process.readings.count == 0:  # nothing is read: the sites know nothing of each other
        nothing = np.zeros((0, process.nodes.weight.size))
        process.run(process.pre_activations(nothing[:, None])[0])
        alone = Spectral(nothing, np.zeros((0, GROUPS, nothing.shape[1])), 0.0, 0, True)
        return TiedState(process, alone, True, False, settings)
    values = start(process.nodes)
    least = settings.dead * max(float(process.nodes.variance(values).sum()), 1e-300)

    def solve(sites: PeriodicSites, first: np.ndarray, tolerance: float) -> Spectral:
        return spectral_fixed_point(
            one_round(sites), first, sites.nodes, settings, tolerance, least_scale=least
        )

    found = solve(process, values, settings.rough)
    while True:
        decayed = _has_decayed(process.nodes, found, settings)
        rest = process.nodes.rest(found.values)
        if process.period >= settings.last_period or not np.isfinite(found.residual):
            break
        if decayed and rest <= 1.0 - STATIC:
            break
        longer = period_sites(ens, 2 * process.period, sites, seed, settings)
        longer.state = [process.state[0][:, np.arange(longer.n) % process.n]]
        values = process.nodes.carried(found.values, longer.nodes)
        again = solve(longer, longer.nodes.loosened(values) if decayed else values, settings.rough)
        # A part that does not decay is believed if it comes back on a longer period without it.
        if decayed and longer.nodes.rest(again.values) > RETURNS * rest:
            break
        process, found = longer, again
    dead = float(process.nodes.variance(found.values).sum()) <= least
    found = found if dead else solve(process, found.values, settings.tolerance)
    return TiedState(process, found, decayed or dead, dead, settings)


def one_round(process: PeriodicSites) -> GroupMap:
    """One round around the period: spectra (D, nodes) to the images that the groups have."""
    return lambda values: process.power(process.run(process.pre_activations(values[:, None])[0]))


def _has_decayed(nodes: FrequencyNodes, found: Spectral, settings: Settings) -> bool:
    """Whether the mean autocovariance of the last two quarters of the lags agrees with that before them."""
    quarter = nodes.period // 8
    covariance = nodes.covariance(found.groups)
    change = covariance[..., quarter : 2 * quarter].mean(-1) - covariance[..., 2 * quarter :].mean(-1)
    scale = np.maximum(covariance[..., 0].mean(-1), 1e-300)
    noise = 2.0 * change.std(axis=-1, ddof=1) / np.sqrt(GROUPS)
    return bool(np.all(np.abs(change.mean(-1)) <= np.maximum(settings.decay * scale, noise)))
