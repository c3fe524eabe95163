"""Mean field of any cell through populations of sites, with an error from independent randomisations.

Two replicas of a population run together. At every step the populations' own second moments E[r_k²] and
overlaps set the laws of the pre-activations, so the run is the mean-field dynamics itself, and its stationary
averages are Q, q, c and, through `Growth`, both slopes. Populations differ only in their point sets: their
spread is the statistical error. How long the dynamics takes to equilibrate is measured on the first one.

Letters: q, the variance of a pre-activation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmtrnn._core.progress import advance
from rmtrnn._core.status import CONFIDENCE, Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.result import UNBOUNDED
from rmtrnn.meanfield.site_process import Growth, SiteProcess, draw_initial, seeds


@dataclass(frozen=True)
class Runs:
    """How many populations run, and how long. All empirical: test_meanfield_settings.py moves them."""

    replicates: int = 8
    """Independent point sets. The standard error has a relative error of 1/√14 from eight of them."""
    averaged: int = 128
    """Steps of a stationary run that are averaged: the error falls with their square root, or faster."""
    shortest: int = 32
    """Steps after which stationarity is tested first, and then after 2, 4, … times as many."""
    longest: int = 4096
    """Steps after which the dynamics counts as not stationary."""
    unstationary: int = 256
    """Steps that the replicates of such a dynamics run before they are averaged."""
    trajectory: int = 4
    """Trajectories have no steps to average over: their populations are so many times larger."""


DEFAULT = Runs()

Pair = tuple[np.ndarray, np.ndarray]


class Estimate(NamedTuple):
    """Mean over replicates and its reported error (CONFIDENCE standard errors)."""

    value: np.ndarray
    error: np.ndarray


@dataclass
class PopulationMeanField:
    """Stationary quantities: Q, C by state component, q, rho by gate, slopes; ``pair`` is one population."""

    Q: Estimate
    q: Estimate
    C: Estimate
    rho: Estimate
    chi: Estimate
    chi_star: Estimate
    status: Status
    residual: float
    pair: Pair


class _Averages(NamedTuple):
    Q: np.ndarray
    q: np.ndarray
    C: np.ndarray
    rho: np.ndarray
    chi: float
    chi_star: float
    drift: float


def solve(
    ens: Ensemble, Q0: np.ndarray, C0: np.ndarray | None, n: int, seed: int, runs: Runs = DEFAULT
) -> PopulationMeanField | None:
    """Stationary mean field reached from second moments Q0 and overlaps C0 (s,); None if it diverges."""
    share = np.zeros(len(Q0)) if C0 is None else C0 / np.where(Q0 > 0, Q0, 1.0)
    pair = gaussian_pair(Q0, share, n, seed)
    equilibrated, pair, length = _equilibrate(ens, pair, n, seed, runs)
    if pair is None:
        return None
    length = length if equilibrated else min(length, runs.unstationary)
    averages = [_stationary_run(ens, pair, length, n, seed, i, runs) for i in range(runs.replicates)]
    columns = [_estimate(column) for column in zip(*averages, strict=True)]
    Q, q, C, rho, chi, chi_star, _ = columns
    if ens.Sigma == 1.0 and np.all(np.abs(1.0 - rho.value) <= rho.error + 1e-6):
        # Equal replicas stay equal, and nothing here distinguishes these from equal ones.
        C, rho, chi_star = Q, Estimate(np.ones_like(rho.value), rho.error), chi
    return PopulationMeanField(
        Q=Q,
        q=q,
        C=C,
        rho=rho,
        chi=chi,
        chi_star=chi_star,
        status=Status.CONVERGED if equilibrated else Status.MAX_ITERATIONS,
        residual=float(abs(np.mean([one.drift for one in averages]))),
        pair=pair,
    )


def trajectory(
    ens: Ensemble,
    steps: int,
    n: int,
    seed: int,
    second: np.ndarray,
    share: np.ndarray,
    site: np.ndarray | None,
    runs: Runs = DEFAULT,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Q_t and C_t (s, steps + 1), correlations of the gates (K, steps + 1), and the error of Q_t and C_t.

    The start is Gaussian with second moments and correlations (s,), or has the law of ``site`` where given.
    There are no steps to average over, so these populations are ``runs.trajectory`` times larger.
    """
    n *= runs.trajectory
    found = []
    for replicate in range(runs.replicates):
        if site is None:
            pair = gaussian_pair(second, share, n, seed, replicate)
        else:
            pair = mixed_pair(site, share, n, seed, replicate)
        process = SiteProcess(ens, n, seeds(seed, 3, replicate), replicas=2)
        rows = []
        for _ in range(steps + 1):
            moments = _moments(pair)
            pair, _, rho = _live_step(process, pair)
            rows.append((*moments, rho))
        found.append([np.array(column).T for column in zip(*rows, strict=True)])
    Q_t, C_t, rho_t = (_estimate(column) for column in zip(*found, strict=True))
    error = float(max(np.max(Q_t.error), np.max(C_t.error)))
    return Q_t.value, C_t.value, rho_t.value, error


def gaussian_pair(second: np.ndarray, share: np.ndarray, n: int, seed: int, replicate: int = 0) -> Pair:
    """Two centred Gaussian replicas with second moments and correlations (s,)."""
    first, own = np.split(draw_initial(seeds(seed, 4, replicate), np.ones(2 * len(second)), n), 2)
    scale = np.sqrt(second)[:, None]
    other = share[:, None] * first + np.sqrt((1.0 - share) * (1.0 + share))[:, None] * own
    return scale * first, scale * other


def mixed_pair(site: np.ndarray, share: np.ndarray, n: int, seed: int, replicate: int) -> Pair:
    """Two replicas with the law of ``site``, equal (up to sign) at a fraction |share| of n sites."""
    rng = seeds(seed, 5, replicate)
    site = np.tile(site, n // site.shape[-1])
    order = rng.permutation(n)
    keep = rng.random(n) < np.abs(share)[:, None]
    return site, np.where(keep, np.sign(share)[:, None] * site, site[:, order])


def _equilibrate(ens: Ensemble, pair: Pair, n: int, seed: int, runs: Runs) -> tuple[bool, Pair | None, int]:
    """Run until Q and C no longer drift, and as long again; return whether they do, the pair, the steps."""
    process = SiteProcess(ens, n, seeds(seed, 0, 0), replicas=2)
    history: list[np.ndarray] = []
    check, target = runs.shortest, None
    while len(history) < runs.longest:
        pair, _, _ = _live_step(process, pair)
        history.append(np.concatenate(_moments(pair)))
        if not np.all(np.isfinite(history[-1])) or np.max(history[-1]) > UNBOUNDED:
            return False, None, len(history)
        if target is not None and len(history) >= target:
            return True, pair, len(history)
        if target is None and len(history) == check:
            if _equilibrated(np.array(history)):
                target = 2 * len(history)
            check *= 2
    return False, pair, len(history)


def _stationary_run(
    ens: Ensemble, pair: Pair, length: int, n: int, seed: int, replicate: int, runs: Runs
) -> _Averages:
    """Averages of a run with its own points, after ``length`` steps to forget the start."""
    process = SiteProcess(ens, n, seeds(seed, 1, replicate), replicas=2)
    advance("mean field: populations", 1, runs.replicates)
    equal, crossed = (Growth(len(pair[0]), n, process.sigma_w) for _ in range(2))
    rows = []
    for step in range(length + runs.averaged):
        # The growth has its own transient, much like that of the moments.
        growing = (equal, crossed) if step >= length // 2 else None
        Q, C = _moments(pair)
        pair, q, rho = _live_step(process, pair, growing)
        if step >= length:
            rows.append((Q, q, C, rho))
    Q, q, C, rho = (np.array(column) for column in zip(*rows, strict=True))
    half = runs.averaged // 2
    moved, level = np.abs(np.mean(Q[half:], axis=0) - np.mean(Q[:half], axis=0)), np.mean(Q, axis=0)
    drift = float(np.max(np.divide(moved, level, out=np.zeros_like(level), where=level != 0.0)))
    return _Averages(
        *(np.mean(values, axis=0) for values in (Q, q, C, rho)),
        chi=equal.rate(runs.averaged),
        chi_star=crossed.rate(runs.averaged),
        drift=drift,
    )


def _live_step(
    process: SiteProcess, pair: Pair, growth: tuple[Growth, Growth] | None = None
) -> tuple[Pair, np.ndarray, np.ndarray]:
    """One step in which the population's own moments set the laws of its pre-activations; also q and rho."""
    q, rho = process.live_laws(pair)
    return process.pair_step(pair, q, rho, growth).sites, q, rho


def _moments(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    return 0.5 * np.mean(pair[0] ** 2 + pair[1] ** 2, axis=-1), np.mean(pair[0] * pair[1], axis=-1)


def _equilibrated(history: np.ndarray) -> bool:
    """Whether the last quarter differs from the one before it by no more than the noise of both."""
    quarter = len(history) // 4
    late, early = history[-quarter:], history[-2 * quarter : -quarter]
    noise = np.std(late, axis=0) + np.std(early, axis=0)
    drift = np.abs(np.mean(late, axis=0) - np.mean(early, axis=0))
    return bool(np.all(drift <= 0.5 * noise + 1e-9 * np.max(np.abs(late))))


def _estimate(values: tuple) -> Estimate:
    array = np.array(values, dtype=float)
    spread = np.std(array, axis=0, ddof=1) / np.sqrt(len(array))
    return Estimate(np.mean(array, axis=0), CONFIDENCE * spread)
