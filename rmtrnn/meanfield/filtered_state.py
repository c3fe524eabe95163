"""The tied mean field of leaky cells (`filtered_cell`): (18), (19) and growth as functions of the lag.

All is deterministic. Time is a circle, whose period doubles until the autocovariance does not change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh_tridiagonal, solve_banded
from scipy.optimize import brentq

from rmtrnn._core.progress import advance
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.filtered_cell import (
    HermiteSeries,
    covariance,
    filtered,
    spectrum,
    transfer,
)
from rmtrnn.meanfield.periodic_process import SHARES, Readings
from rmtrnn.numerics.fixed_point import anderson_move


@dataclass(frozen=True)
class FilterSettings:
    """How the fixed points are solved; tests/meanfield/test_filtered_state.py moves each by three."""

    first_period: int = 512  # steps
    last_period: int = 65536  # steps; a longer memory is reported as not resolved
    tolerance: float = 1e-10  # of the spectrum: sum of absolute changes in a round, relative to the variance
    rounds: int = 300  # near a transition plain iteration would take as many as the memory has steps
    depth: int = 8  # differences that Anderson acceleration keeps
    change: float = 1e-5  # of the variance: largest change of the autocovariance from one period to the next
    dead: float = SHARES.dead
    static: float = SHARES.static
    near: float = 0.1  # residual from which Newton steps are tried
    difference: float = 1e-5  # of the variance: step of its difference quotient
    gain: float = 100.0  # distance to the fixed point in units of the last change of a round


SETTINGS = FilterSettings()


class FilteredState(NamedTuple):
    """A stationary state: the spectrum of what the gate reads, and its autocovariances over lags.

    ``change``: relative change from half the period, ``residual`` and ``missing`` of the series: the error
    of all second moments relative to the variance is their sum.
    """

    ens: Ensemble
    period: int
    spectrum: np.ndarray
    state: np.ndarray  # E[h^t h^{t+τ}], τ = 0 … period/2
    gate: np.ndarray  # Cov(e^t, e^{t+τ})
    residual: float
    rounds: int
    change: float
    missing: float
    dead: bool

    @property
    def converged(self) -> bool:
        """Whether the fixed point was found and the period is long enough."""
        return self.residual <= SETTINGS.tolerance and self.change <= SETTINGS.change

    @property
    def error(self) -> float:
        """Of second moments, relative to them."""
        return self.change + SETTINGS.gain * self.residual + self.missing

    @property
    def is_static(self) -> bool:
        """Whether hardly anything varies over the period."""
        return float(self.state[-1]) > SETTINGS.static * float(self.state[0]) > 0.0


class Process:
    """The maps of one ensemble on one period."""

    def __init__(self, ens: Ensemble, period: int, least_step: float = 0.5) -> None:
        cell = filtered(ens)
        assert cell is not None
        read = Readings.of(ens)
        self.ens, self.cell, self.period = ens, cell, period
        self.least_step = least_step  # share of the variance that an accelerated step has to leave
        self.gain, self.white, self.shared = (
            float(column[0]) for column in (read.gain, read.white, read.shared_white)
        )
        self.constant = float(read.constant[0])
        self.filter = transfer(cell, period)
        self.both_signs = np.full(period // 2 + 1, 2.0)
        self.both_signs[[0, -1]] = 1.0
        mean = float(read.mean[0])
        self.mean = (cell.gain * mean + cell.constant) / (1.0 - cell.decay) if cell.first else mean

    def pre_activation(self, S: np.ndarray, shared: bool = False) -> np.ndarray:
        """The spectrum of e, or the cross spectrum of two replicas."""
        found = self.gain * S + (self.shared if shared else self.white)
        found[0] += self.period * self.constant
        return found

    def argument(self, S: np.ndarray, shared: bool = False) -> np.ndarray:
        """Cov(y^t, y^{t+τ}), y what f acts on."""
        e = self.pre_activation(S, shared)
        return covariance(self.filter * e if self.cell.first else e, self.period)

    def reading(self, values: np.ndarray) -> np.ndarray:
        """The spectrum of what the gate reads from E[f(y^t) f(y^{t+τ})]."""
        found = spectrum(values, self.period)
        return found if self.cell.first else self.filter * found

    def image(self, S: np.ndarray) -> np.ndarray:
        """One round: the map whose fixed point solves (18)."""
        C = self.argument(S)
        if C[0] <= 0.0:
            f = self.cell.evaluate(np.array([self.mean]))[0]
            return self.reading(np.full_like(C, float(f[0]) ** 2))
        return np.maximum(self.reading(HermiteSeries(self.cell, self.mean, C[0])(_ratio(C, C[0]))), 0.0)

    def newton(self, S: np.ndarray) -> np.ndarray:
        """The reading after a Newton step for C = Cov(y^t, y^{t+τ}) of (18); see `_newton_change`."""
        C = self.argument(S)
        if C[0] <= 0.0:
            return self.image(S)
        variance, size = C[0], SETTINGS.difference * C[0]
        series = HermiteSeries(self.cell, self.mean, variance)
        wider = HermiteSeries(self.cell, self.mean, variance + size)
        values = series(_ratio(C, variance))
        by_variance = (wider(_ratio(C, variance + size)) - values) / size
        slopes = series(_ratio(C, variance), of_slope=True)
        target = self.argument(self.reading(values))
        C = C + self._newton_change(target - C, slopes, by_variance)
        if not C[0] > self.least_step * variance:  # on the way to the zero state, which is one more solution
            return self.image(S)
        return np.maximum(self.reading(HermiteSeries(self.cell, self.mean, C[0])(_ratio(C, C[0]))), 0.0)

    def newton_of_pair(self, cross: np.ndarray, series: HermiteSeries, variance: float) -> np.ndarray:
        """The cross reading after a Newton step for Cov(y_a^t, y_b^{t+τ}) of (19)."""
        C = self.argument(cross, shared=True)
        target = self.argument(self.reading(series(_ratio(C, variance))), shared=True)
        slopes = series(_ratio(C, variance), of_slope=True)
        C = C + self._newton_change(target - C, slopes, np.zeros_like(C))
        return self.reading(series(_ratio(C, variance)))

    def _newton_change(self, miss: np.ndarray, slopes: np.ndarray, by_variance: np.ndarray) -> np.ndarray:
        """The change of C that (18) or (19) asks for, to first order.

        The filter undone is a second difference in the lag, and ∂E[f f]/∂C = E[f' f'] (Price):

            (1 + a²) C(τ) − a C(τ+1) − a C(τ−1) = β² σ_w² E[f f] + …,

        a band matrix; the dependence of E[f f] on the variance C(0), ``by_variance``, is of rank one.
        """
        a, coupling = self.cell.decay, self.gain * self.cell.gain**2
        around = np.concatenate([miss[1:2], miss, miss[-2:-1]])
        right = (1.0 + a * a) * miss - a * (around[:-2] + around[2:])
        band = np.full((3, miss.size), -a)
        band[0, 1] = band[2, -2] = -2.0 * a
        band[1] = (1.0 + a * a) - coupling * slopes
        plain, extra = solve_banded((1, 1), band, np.stack([right, coupling * by_variance], axis=1)).T
        return plain + extra * plain[0] / (1.0 - extra[0])

    def overlap(self, S: np.ndarray, shared: bool = False) -> np.ndarray:
        """E[h_a^t h_b^{t+τ}], of one replica or of two."""
        if self.cell.first:
            return self.mean**2 + self.argument(S, shared)
        return covariance(S, self.period) / self.cell.gain**2

    def variance(self, S: np.ndarray) -> float:
        """C(0) of a spectrum."""
        return float(self.both_signs @ S) / self.period


def _ratio(C: np.ndarray, variance: float) -> np.ndarray:
    return np.clip(C / variance, -1.0, 1.0)


def stationary(
    ens: Ensemble, start: np.ndarray, settings: FilterSettings = SETTINGS, *, dies: bool = False
) -> FilteredState:
    """The fixed point of (18) near the autocovariance ``start`` of what the gate reads, over lags 0 … .

    ``dies``: whether h = 0 is stable, so that accelerated steps may go there.
    """
    period, before = settings.first_period, None
    least, least_step = settings.dead * abs(float(start[0])), 0.0 if dies else 0.5
    while True:
        found = _on_period(Process(ens, period, least_step), _lengthened(start, period), settings, least)
        if before is not None:
            found = found._replace(change=_change(before, found))
        if found.dead or period >= settings.last_period or not np.isfinite(found.residual):
            return found
        C = covariance(found.spectrum, period)
        if found.is_static and growth(found).chi > 1.0:
            # Fluctuations grow, but the period is too short for them: they are given back.
            C = C[-1] + (C[0] - C[-1]) * np.exp(-np.arange(C.size) / period)
            start, before, period = _loosened(C, period), None, 4 * period
            continue
        if found.change <= settings.change:
            return found
        start, before, period = C, found, 2 * period


def _loosened(C: np.ndarray, period: int) -> np.ndarray:
    """The same variance, decaying in as many steps as the period has, whatever decayed before."""
    return C[0] * np.exp(-np.arange(4 * period) / period)


def _lengthened(C: np.ndarray, period: int) -> np.ndarray:
    """C at lags 0 … period/2; beyond those known it stays where it is."""
    count = period // 2 + 1
    return np.append(C, np.full(max(count - C.size, 0), C[-1]))[:count]


def _change(before: FilteredState, after: FilteredState) -> float:
    """Largest change of the autocovariances, at lags up to a quarter of the shorter period."""
    lags = before.period // 4
    parts = [(before.state, after.state), (before.gate, after.gate)]
    return max(float(np.max(np.abs(b[:lags] - a[:lags]))) / max(abs(float(a[0])), 1e-300) for b, a in parts)


def _on_period(process: Process, start: np.ndarray, settings: FilterSettings, least: float) -> FilteredState:
    ens, period = process.ens, process.period
    S = np.maximum(spectrum(start, period), 0.0)
    weight = process.both_signs / period
    S, residual, rounds = _fixed_point(
        process.image, process.newton, S, weight, settings, least, least, process.least_step
    )
    y = process.argument(S)
    missing = HermiteSeries(process.cell, process.mean, y[0]).missing if y[0] > 0.0 else 0.0
    e = covariance(process.pre_activation(S), period)
    dead = process.variance(S) <= least
    return FilteredState(ens, period, S, process.overlap(S), e, residual, rounds, np.inf, missing, dead)


def _fixed_point(
    map: Callable[[np.ndarray], np.ndarray],
    newton: Callable[[np.ndarray], np.ndarray],
    S: np.ndarray,
    weight: np.ndarray,
    settings: FilterSettings,
    scale: float,
    least: float = -1.0,
    least_step: float = 0.0,
) -> tuple[np.ndarray, float, int]:
    """S = F(S) by Anderson acceleration, and near the solution by Newton steps while they help.

    The norm is Σ weight |S|. Returns S, its last change relative to the norm (or ``scale``, if that is
    larger), and the rounds; it ends where the norm falls to ``least``.
    """
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    near, last, safe = settings.near, np.inf, S
    residual, rounds = np.inf, 0
    while rounds < settings.rounds:
        rounds += 1
        advance("tied mean field: rounds")
        image = map(S)
        size = float(weight @ np.abs(image))
        residual = float(weight @ np.abs(image - S)) / max(size, scale, 1e-300)
        if not np.isfinite(residual) or residual <= settings.tolerance or size <= least:
            break
        if residual > last:  # the Newton step was too long: back, and nearer before the next
            S, near, last = safe, 0.1 * last, np.inf
            continue
        last, safe = np.inf, image
        if residual <= near:
            S, last, pairs = newton(S), residual, []
            continue
        pairs = [*pairs[-settings.depth :], (weight * S, weight * (image - S))]
        following = (pairs[-1][0] + anderson_move(pairs)) / weight
        S = np.maximum(following, 0.1 * image) if least > 0.0 else following
        if weight @ S < least_step * size:  # on the way to the zero state: plain iteration leaves it
            S, pairs = image, []
    return S, residual, rounds


class FilterGrowth(NamedTuple):
    """χ, and the spectrum of the difference δr^t/μ^t, with variance 1. ``limited``: χ = a²."""

    chi: float
    spectrum: np.ndarray
    error: float
    limited: bool


def growth(found: FilteredState, cross: np.ndarray | None = None) -> FilterGrowth:
    """Growth per step of the mean square of differences, at equal replicas or along a ``cross`` spectrum.

    δy is Gaussian as y is and independent of it. With E[δy^t δy^s] = μ^{t+s} k(t − s), the filter undone,

        (μ² + a²) k(τ) − μ a (k(τ+1) + k(τ−1)) = β² σ_w² E[f'(y^t) f'(y^{t+τ})] k(τ):

    the ground state of a band matrix, whose energy is 0 at μ = √χ. For a → 1 it is the Schrödinger equation
    of Sompolinsky, Crisanti and Sommers.
    """
    process = Process(found.ens, found.period)
    D = _slopes(process, found.spectrum, cross)
    a, coupling = process.cell.decay, process.gain * process.cell.gain**2

    def ground(mu: float, vectors: bool = False) -> tuple[float, np.ndarray]:
        off = np.full(D.size - 1, -mu * a)
        off[[0, -1]] *= np.sqrt(2.0)  # lags 0 and period/2 have one neighbour twice
        diagonal = mu * mu + a * a - coupling * D
        if not vectors:
            only = eigh_tridiagonal(diagonal, off, True, select="i", select_range=(0, 0))
            return float(only[0]), D
        values, columns = eigh_tridiagonal(diagonal, off, select="i", select_range=(0, 0))
        return float(values[0]), np.abs(columns[:, 0])

    low = max(a, 1e-9)
    if ground(low)[0] >= 0.0:
        return FilterGrowth(a * a, np.zeros_like(D), 0.0, True)
    high = a + np.sqrt(coupling * float(np.max(np.abs(D)))) + 1e-9  # the energy is at least (μ − a)² − β²σ²D
    mu = float(brentq(lambda mu: ground(mu)[0], low, high, xtol=1e-13))  # pyright: ignore[reportArgumentType]
    energy, k = ground(mu, vectors=True)
    k[[0, -1]] *= np.sqrt(2.0)
    m = np.maximum(process.reading(D * k), 0.0)
    scale = max(process.variance(m), 1e-300)
    slope = 2.0 * (mu - a) if mu > a else mu
    chi = mu * mu
    return FilterGrowth(chi, m / scale, chi * found.error + 2.0 * mu * abs(energy / slope), False)


def _slopes(process: Process, S: np.ndarray, cross: np.ndarray | None) -> np.ndarray:
    """E[f'(y_a^t) f'(y_b^{t+τ})]."""
    own = process.argument(S)
    other = own if cross is None else process.argument(cross, shared=True)
    if own[0] <= 0.0:
        slope = process.cell.evaluate(np.array([process.mean]))[1]
        return np.full_like(own, float(slope[0]) ** 2)
    return HermiteSeries(process.cell, process.mean, own[0])(_ratio(other, own[0]), of_slope=True)


class FilteredPair(NamedTuple):
    """Two replicas: E[h_a h_b], the correlation of e, the cross spectrum, and χ along it."""

    overlap: float
    correlation: float
    cross: np.ndarray
    residual: float
    converged: bool
    error: float
    growth: FilterGrowth


def pair(found: FilteredState, share: float, settings: FilterSettings = SETTINGS) -> FilteredPair:
    """The fixed point of (19) from cross spectra that are ``share`` of the spectra."""
    process, S = Process(found.ens, found.period), found.spectrum
    y = process.argument(S)
    cross, residual = S, 0.0
    if y[0] > 0.0:
        series = HermiteSeries(process.cell, process.mean, y[0])

        def image(cross: np.ndarray) -> np.ndarray:
            C = process.argument(np.clip(cross, -S, S), shared=True)
            return process.reading(series(_ratio(C, y[0])))

        def newton(cross: np.ndarray) -> np.ndarray:
            return process.newton_of_pair(cross, series, y[0])

        weight, scale = process.both_signs / found.period, process.variance(S)
        cross, residual, _ = _fixed_point(image, newton, share * S, weight, settings, scale)
    cross = np.clip(cross, -S, S)
    e = covariance(process.pre_activation(cross, shared=True), found.period)[0]
    correlation = float(min(e / found.gate[0], 1.0)) if found.gate[0] > 0.0 else 1.0
    along = growth(found, cross)
    # Overlaps relax by χ per step: the distance that is left is what the last round moved, over 1 − χ.
    error = found.error + residual / max(1.0 - along.chi, residual, 1e-300)
    return FilteredPair(
        float(process.overlap(cross, shared=True)[0]),
        correlation,
        cross,
        residual,
        residual <= settings.tolerance,
        min(error, 1.0),
        along,
    )
