"""Quantiles of log s over very many steps with untied weights: single points of the Dyson equation.

The self-energies are splines of the step (`self_energy`), so that the cost grows linearly with T; a second
spline with twice the knots says how much they miss. Only single points of F are computed, and the quantile is
found by Newton's method in u = log s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.arrays import to_host
from rmtrnn._core.status import ConvergenceError, Status
from rmtrnn.dyson.continuation import Continuation, correct
from rmtrnn.dyson.functional import distribution_and_density
from rmtrnn.dyson.law import grouped_chain
from rmtrnn.dyson.newton import newton
from rmtrnn.dyson.pencil import Chain
from rmtrnn.dyson.self_energy import Parametrisation, Points, SelfEnergy
from rmtrnn.dyson.sites.error import GROUPS, errors_by_groups
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.growth import single_replica_mean_field

_LEAST_STEPS = 24  # fewer have hardly more self-energies than the splines coefficients


@dataclass(frozen=True)
class QuantileSettings:
    """Numbers of the search for quantiles."""

    # Sites for the way to the real axis, and for the self-energies. Empirical.
    few: int = 512
    many: int = 8192
    # Relative Newton step that counts as solved, that of the corrector, and its iterations.
    tol: float = 1e-3
    last_tol: float = 1e-4
    iterations: int = 12
    # Density below which a point is outside the support: nothing there that a Newton step could follow.
    empty: float = 1e-5
    # Rounds of the search for u, and the share of the error of F that ends it.
    rounds: int = 12
    close: float = 0.05


_QUANTILES = QuantileSettings()


class LogQuantiles(NamedTuple):
    """Quantiles of log s, one entry per probability. Made by `log_quantiles`.

    ``log_s``; ``error`` of log s, from ``cdf_error`` and the density; ``cdf_error``: of F there, three
    standard errors over eight independent populations plus the error of the splines; ``density`` of log s;
    ``residual``: relative Newton step that the returned self-energies would take next; ``status``.
    """

    probabilities: np.ndarray
    log_s: np.ndarray
    error: np.ndarray
    cdf_error: np.ndarray
    density: np.ndarray
    residual: np.ndarray
    status: np.ndarray

    @property
    def converged(self) -> bool:
        """Whether every quantile was found."""
        return bool(np.all(self.status == int(Status.CONVERGED)))


def log_quantiles(
    ens: Ensemble, T: int, probabilities: Sequence[float], *, population: int = 16384, seed: int = 0
) -> LogQuantiles:
    """Quantiles of log s of J_T for long products of gated steps with untied weights: theory.md (12)-(14).

    The same law as `rmtrnn.spectrum`, which gives all of it at several times the cost. The cost grows
    linearly with T: some minutes for T = 1000.

    Parameters
    ----------
    ens : Ensemble, tied = False
    T : int ≥ 24
    probabilities : increasing numbers in (0, 1)
    population : power of two, at least 2048
        Sites that stand for the one-site law, in eight independent groups. Needs 16 bytes for every site and
        step (twice that while it is built).
    seed : int

    Returns `LogQuantiles`. Raises ValueError for bad arguments, `ConvergenceError` if there is no stationary
    state or no way to the real axis was found.
    """
    T = _validate.integer("T", T, low=_LEAST_STEPS)
    levels = np.array(
        [
            _validate.real("probabilities", p, low=0.0, high=1.0, low_open=True, high_open=True)
            for p in probabilities
        ]
    )
    if not levels.size or np.any(np.diff(levels) <= 0):
        raise ValueError(f"probabilities = {probabilities!r}: must be one or more increasing numbers")
    population = _validate.power_of_two("population", population, low=4 * _QUANTILES.few)
    if ens.tied:
        raise ValueError("ens.tied = True: must be False; tied weights couple all steps")
    chain = grouped_chain(ens, T, population // GROUPS, seed, field=single_replica_mean_field(ens))
    coarse, fine = (Parametrisation.splines(chain.n_gates, T, density) for density in (1, 2))
    few = chain.subsample(_QUANTILES.few)
    path = _path_below(few.parametrised_by(coarse), 0.5 * float(levels[0]))
    point = _start(path, np.interp(levels, path.stieltjes[::-1], path.log_t[::-1] / 2))
    point = _search(path, path.chain, path.chain, path.chain, levels, point, _QUANTILES.tol)
    before = _at(path.chain, point)
    few = few.parametrised_by(fine)
    point = _settled(path, few, few, point._replace(inverse=None))
    splines = np.abs(_at(few, point).cdf - before.cdf)
    many = chain.subsample(_QUANTILES.many).parametrised_by(fine)
    point = _search(path, few, many, chain, levels, point, 0.0)
    here = _at(chain, point)
    error = here.error + splines
    ok = (
        (point.step < _QUANTILES.tol)
        & (np.abs(here.cdf - levels) <= error)
        & (here.density > _QUANTILES.empty)
    )
    with np.errstate(divide="ignore"):
        spread = (error + np.abs(here.cdf - levels)) / np.maximum(here.density, 0.0)
    status = np.where(ok, int(Status.CONVERGED), int(Status.MAX_ITERATIONS))
    return LogQuantiles(levels, point.u, spread, error, here.density, point.step, status)


class _Point(NamedTuple):
    """Points u with self-energies, the inverse Hessian, and the step that Newton's method would take next."""

    u: np.ndarray
    sigma: SelfEnergy
    inverse: np.ndarray | None
    step: np.ndarray


def _path_below(few: Chain, level: float) -> Continuation:
    """Follow the negative axis to where the Stieltjes transform is below ``level``, or raise."""
    path = Continuation(few, path_following=True)
    path.follow(-math.inf, level)
    if not path.stieltjes.size or path.stieltjes[-1] > level:
        reached = path.log_t[-1] / 2 if path.stieltjes.size else math.inf
        raise ConvergenceError(f"no self-energies on the negative real axis below log s = {reached:.6g}")
    return path


def _start(path: Continuation, u: np.ndarray) -> _Point:
    sigma, ok = path.near_real_axis(2 * u)
    if not ok.all():
        raise ConvergenceError(f"no way to the real axis at log s = {u[~ok]}")
    return _Point(u, sigma, None, np.full(u.shape, np.inf))


class _Values(NamedTuple):
    """F, density of log s, and error of F by the spread of the groups of sites."""

    cdf: np.ndarray
    density: np.ndarray
    error: np.ndarray


def _at(chain: Chain, point: _Point) -> _Values:
    survival, density, site_phase = distribution_and_density(chain, point.sigma, 2 * point.u)
    error = errors_by_groups(site_phase, to_host(chain.weights), GROUPS)
    return _Values(1.0 - survival, density, error)


def _moved(
    u: np.ndarray, miss: np.ndarray, density: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """A Newton step in u, or the middle of the bracket; one unit of u where there is no bracket either."""
    with np.errstate(divide="ignore", invalid="ignore"):
        newton_step = u - miss / density
        middle = np.where(
            np.isfinite(low), np.where(np.isfinite(high), 0.5 * (low + high), low + 1.0), high - 1.0
        )
    good = (density > _QUANTILES.empty) & (newton_step > low) & (newton_step < high)
    return np.where(good, newton_step, middle)


def _search(
    path: Continuation,
    few: Chain,
    chain: Chain,
    whole: Chain,
    levels: np.ndarray,
    point: _Point,
    close: float,
) -> _Point:
    """Move each u until F = its level, to ``close`` or a small part of its error.

    Self-energies are made stationary on ``chain``; F is that of ``whole``.
    """
    low, high = np.full(levels.shape, -np.inf), np.full(levels.shape, np.inf)
    point = _settled(path, few, chain, point)
    for _ in range(_QUANTILES.rounds):
        here = _at(whole, point)
        miss = here.cdf - levels
        if (np.abs(miss) <= np.maximum(close, _QUANTILES.close * here.error)).all():
            break
        below = here.cdf[None, :] < levels[:, None]
        low = np.maximum(low, np.max(np.where(below, point.u, -np.inf), axis=1))
        high = np.minimum(high, np.min(np.where(below, np.inf, point.u), axis=1))
        u = _moved(point.u, miss, here.density, low, high)
        point = _settled(path, few, chain, point._replace(u=u))
    return point


def _settled(path: Continuation, few: Chain, chain: Chain, point: _Point) -> _Point:
    """Correct self-energies on the real axis, by a Hessian on the ``few`` sites where that is enough.

    Last, points are carried there from the negative axis.
    """
    log_lambda, tol, iterations = 2 * point.u, _QUANTILES.last_tol, _QUANTILES.iterations
    found = correct(chain, few, point.sigma, log_lambda, tol, iterations, point.inverse)
    lost = np.flatnonzero(~found.converged)
    if lost.size:
        start = path.near_real_axis(log_lambda[lost]).sigma
        again = newton(chain, chain, start, Points.real(log_lambda[lost]), tol, iterations)
        found = found.replaced(lost, again)
    return _Point(point.u, found.sigma, found.inverse, found.relative)
