"""sensitivity: how strongly the state of a random network feels its input, and its past, k steps back.

Letters: T, the number of steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit

from rmtrnn._core import validate as _validate
from rmtrnn._core.progress import Report, shown
from rmtrnn._core.records import record
from rmtrnn._core.result import Result, stored
from rmtrnn._core.status import CONFIDENCE, Status
from rmtrnn.cells import VanillaRNN
from rmtrnn.cells.classes import require_one_class
from rmtrnn.ensemble import Ensemble
from rmtrnn.initialisation.networks import NetworkBatch, Points, Size
from rmtrnn.initialisation.quantiles import Quantiles, sampled_quantiles
from rmtrnn.initialisation.tied import MeanSquares, tied_mean_squares
from rmtrnn.initialisation.untied import untied_mean_squares
from rmtrnn.meanfield.growth import single_replica_mean_field
from rmtrnn.meanfield.shortfall import require_stationary


@dataclass(frozen=True)
class Settings:
    """Numbers of the sensitivities; tests/initialisation/test_sensitivity.py halves the sites and
    takes networks in place of the theory.

    sites : of the mean field, 32 times a power of two; the error falls like 1/√sites.
    longest : steps. Beyond, tied theory would cost T² for the history of every site, and networks of ``N``
        units, which are populations of the same process, take its place.
    N, trials : of those networks. The error falls like 1/√(N · trials), and what it has of N like 1/N.
    quantile_N, quantile_trials : of the networks whose singular values give quantiles.
    quantile_lags : their number; in between quantiles are interpolated.
    """

    sites: int = 2048
    longest: int = 256
    N: int = 128
    trials: int = 16
    quantile_N: int = 64
    quantile_trials: int = 2
    quantile_lags: int = 9


DEFAULT = Settings()
MOST_STEPS = 20_000
WEAK = 1e-6  # σ_w whose square is below rounding


@record("side of a sensitivity")
class Side(NamedTuple):
    """Sensitivity to one thing at the lags 0 … T.

    ``mean_square`` and its absolute ``error``; quantiles of the singular values: ``low`` (5 %), ``typical``
    (median), ``high`` (95 %), sizes and not squares.
    """

    mean_square: np.ndarray
    error: np.ndarray
    low: np.ndarray
    typical: np.ndarray
    high: np.ndarray


@stored("sensitivity")
@dataclass(frozen=True, eq=False)
class Sensitivity(Result):
    """How strongly h^T depends on x^{T−k} and on the state k steps back. Made by `rmtrnn.sensitivity`.

    Attributes
    ----------
    ensemble, T
    input : of ∂h^T/∂x^{T−k} (h: the last component of the state). ``mean_square[k]`` is the mean over units
        of Σ_j (∂h_i^T/∂x_j^{T−k})², which does not depend on the number of inputs if V has variance σ_v²/n
    state : of the k-step Jacobian of the whole state; ``mean_square[k]`` is m_1(k)
    quantile_lags, quantile_N, quantile_trials : the quantiles are those of sampled networks of so many units,
        at these lags; log-linear in between
    method : "closed form", "untied theory", "tied theory", or "networks" (mean squares of sampled networks)
    status, error : of the mean squares; ``error`` is the largest relative one among the inputs
    """

    ensemble: Ensemble
    T: int
    input: Side
    state: Side
    quantile_lags: np.ndarray
    quantile_N: int
    quantile_trials: int
    method: str
    status: Status
    error: float
    cause: str = ""

    remedies = {Status.MAX_ITERATIONS: "try a larger sites="}  # noqa: RUF012  as in the base class

    @property
    def lags(self) -> np.ndarray:
        """0 … T."""
        return np.arange(self.T + 1)

    @property
    def smallest(self) -> float:
        """Smallest root mean square sensitivity to the input over the lags 0 … T."""
        return float(np.sqrt(self.input.mean_square.min()))

    def __repr__(self) -> str:
        smallest = f"smallest to an input {self.smallest:.3g}"
        return f"<Sensitivity of {self.ensemble!r}, T={self.T}: {smallest}, {self.message}>"

    def __str__(self) -> str:
        rows = [f"Sensitivity of {self.ensemble}, T = {self.T} ({self.method}, {self.message})"]
        rows.append(
            f"  {'lag':>6}  {'input: rms':>11}{'5 %':>11}{'median':>11}{'95 %':>11}  {'state: rms':>11}"
        )
        for k in self.quantile_lags:
            side = self.input
            numbers = [np.sqrt(side.mean_square[k]), side.low[k], side.typical[k], side.high[k]]
            cells = "".join(f"{value:11.3g}" for value in numbers)
            rows.append(f"  {k:>6}  {cells}  {np.sqrt(self.state.mean_square[k]):11.3g}")
        return "\n".join(rows)


def sensitivity(
    ens: Ensemble,
    T: int,
    *,
    sites: int = DEFAULT.sites,
    seed: int = 0,
    settings: Settings = DEFAULT,
    progress: bool | Report | None = None,
) -> Sensitivity:
    """Compute how strongly h^T feels x^{T−k} and the state k steps back, k = 0 … T; theory.md (6), (15).

    Mean squares, N → ∞, of a network in its stationary state: for vanilla cells σ_v² E[φ'²] χ^k and χ^k, χ of
    (5), tied or not; untied weights by the recursion of (6); tied weights by the growth of a small difference
    along the trajectories of (18), which is (15) at λ → ∞; for T > 256 by sampled networks of 128 units.
    Quantiles of the singular values always come from sampled networks of 64 units.

    Parameters
    ----------
    ens : Ensemble
    T : int from 1 to 20,000
    sites : of the mean field, 32 times a power of two
    seed : int ≥ 0
    settings : numbers of the method, `Settings`
    progress : None, True, or callable (done, total, label)

    Returns a `Sensitivity`. Raises TypeError or ValueError for bad arguments, `ConvergenceError` if there is
    no stationary state.

    >>> profile = rt.sensitivity(rt.Ensemble("vanilla", sigma_w=1.0, sigma_v=0.1, weights="orthogonal"), T=10)
    >>> profile.input.mean_square.shape, profile.method
    ((11,), 'closed form')
    """
    _validate.instance("ens", ens, Ensemble)
    require_one_class(ens.cell, "rt.mean_field(ens).chi, rt.spectrum and rt.sample")
    T = _validate.integer("T", T, low=1, high=MOST_STEPS)
    sites = _validate.power_of_two("sites", sites, low=32, high=2**22, times=32)
    seed = _validate.integer("seed", seed, low=0)
    with shown(progress):
        squares = mean_squares(ens, T, sites, seed, settings)
        lags = spaced_lags(T, settings.quantile_lags)
        found = sampled_quantiles(ens, lags, settings.quantile_N, settings.quantile_trials, seed)
    return assembled(ens, T, squares, found, settings)


def assembled(
    ens: Ensemble, T: int, squares: MeanSquares, found: Quantiles, settings: Settings
) -> Sensitivity:
    """The result made of mean squares and quantiles."""
    relative = squares.input_error / np.maximum(squares.to_input, np.finfo(float).tiny)
    return Sensitivity(
        ensemble=ens,
        T=T,
        input=_side(squares.to_input, squares.input_error, found.lags, found.to_input),
        state=_side(squares.to_state, squares.state_error, found.lags, found.to_state),
        quantile_lags=found.lags,
        quantile_N=settings.quantile_N,
        quantile_trials=settings.quantile_trials,
        method=squares.method,
        status=squares.status,
        error=float(relative.max()),
        cause=squares.cause,
    )


def spaced_lags(T: int, count: int) -> np.ndarray:
    """About ``count`` lags from 0 to T, evenly spaced in log(1 + k)."""
    return np.unique(np.rint(np.expm1(np.linspace(0.0, np.log1p(T), count))).astype(int))


def mean_squares(ens: Ensemble, T: int, sites: int, seed: int, settings: Settings = DEFAULT) -> MeanSquares:
    """Mean squares by the theory that holds for ``ens``, or by networks where it would cost too much."""
    if isinstance(ens.cell, VanillaRNN):
        return _vanilla(ens, T)
    if not ens.tied:
        return untied_mean_squares(ens, T, sites, seed)
    if settings.longest >= T:
        return tied_mean_squares(ens, T, sites, seed)
    return _networks(ens, T, seed, settings)


def _vanilla(ens: Ensemble, T: int) -> MeanSquares:
    """σ_v² E[φ'²] χ^k: theory.md (5). Also for tied weights: δe at different steps is uncorrelated."""
    law = ens.gate(ens.cell.gates[0])
    # E[φ'²] = χ/σ_w², continuous at σ_w = 0.
    weak = ens if law.sigma_w > 0.0 else ens.replace(sigma_w=WEAK, weights="gaussian")
    field = single_replica_mean_field(weak.replace(tied=False))
    require_stationary(ens, field)
    slope, chi = field.chi / weak.gate(ens.cell.gates[0]).sigma_w ** 2, field.chi * (law.sigma_w > 0.0)
    powers = np.power(chi, np.arange(T + 1.0))
    errors = (np.arange(T + 1) + 1.0) * field.error * powers
    scale = law.sigma_v**2 * slope
    return MeanSquares(scale * powers, powers, scale * errors, errors, "closed form", field.status)


def _networks(ens: Ensemble, T: int, seed: int, settings: Settings) -> MeanSquares:
    """Mean squares of sampled networks of N units.

    The error is that of their mean, and the difference to networks of N/2 units, which is what N leaves to
    N → ∞ where the mean square is a + b/N.
    """
    squares, narrower = (_sampled(ens, T, seed, N, settings.trials) for N in (settings.N, settings.N // 2))
    means = squares.mean(axis=-1)
    errors = error_of_mean(squares) + np.abs(narrower.mean(axis=-1) - means)
    status = Status.CONVERGED if np.isfinite(means).all() else Status.DIVERGED
    return MeanSquares(means[0], means[1], errors[0], errors[1], "networks", status)


def _sampled(ens: Ensemble, T: int, seed: int, N: int, trials: int) -> np.ndarray:
    """Mean squares of networks of N units, (input and state, lags, trials)."""
    size = Size(units=N, looks=0, rescaled=8, dtype="float32")
    steps = max(size.least_burn_in, size.memories * T) + T
    # Networks side by side, as many as have their inputs in 256 MiB.
    together = max(1, 2**25 // (steps * N * len(ens.cell.gates)))
    seeds, found = range(seed, seed + trials), []
    for first in range(0, trials, together):
        batch = NetworkBatch(ens, T, seeds[first : first + together], size)
        seen = batch.observe(Points.of(ens), np.arange(T + 1))
        found.append(np.exp([seen.log_input, seen.log_state]))
    return np.concatenate(found, axis=-1)


def error_of_mean(squares: np.ndarray) -> np.ndarray:
    """Of the mean over networks (last axis): as unlikely to be exceeded as `CONFIDENCE` normal deviations.

    The standard error of few networks is uncertain itself, which is Student's t: 9.2 of them are as unlikely
    for 4 networks as 3 for many, 3.6 for 16.
    """
    count = squares.shape[-1]
    deviations = stdtrit(count - 1, ndtr(CONFIDENCE))
    return deviations * squares.std(axis=-1, ddof=1) / np.sqrt(count)


def _side(mean_square: np.ndarray, error: np.ndarray, lags: np.ndarray, logs: np.ndarray) -> Side:
    """One side, its quantiles interpolated to all lags."""
    every = np.arange(len(mean_square))
    finite = np.where(np.isfinite(logs), logs, -1e300)
    with np.errstate(over="ignore", under="ignore"):
        low, typical, high = (np.exp(np.interp(every, lags, row)) for row in finite)
    return Side(mean_square, error, low, typical, high)
