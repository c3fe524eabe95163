"""Quantiles of log s over very many steps with redrawn weights: single points of the Dyson equation.

The strengths are splines of the step (`self_energy`), so that the cost grows linearly with T; a second
spline with twice the knots says how much they miss. Only single points of F are computed, and the quantile is
found by Newton's method in u = log s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.arrays import to_host
from rmtrnn._core.status import ConvergenceError, Status
from rmtrnn.dyson.continuation import Far
from rmtrnn.dyson.law import GROUPS, grouped_chain
from rmtrnn.dyson.newton import REAL_AXIS, inverse_hessian, newton, values_at
from rmtrnn.dyson.recursive_green import Chain
from rmtrnn.dyson.self_energy import Unknowns
from rmtrnn.dyson.sites.error import errors_by_groups
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.growth import field_of_one

_LEAST_STEPS = 24  # fewer have hardly more strengths than the splines coefficients
_FEW, _MEDIUM = 512, 8192  # sites: for the way to the real axis, for the strengths
_TOL, _LAST_TOL = 1e-3, 1e-4  # of a Newton step of the logarithms of the strengths
_ITERATIONS = 12
_EMPTY = 1e-5  # density: outside the support there is nothing that a Newton step could follow
_MOST_ROUNDS = 12
_CLOSE = 0.05  # of the error of F: the search for u ends


class LogQuantiles(NamedTuple):
    """Quantiles of log s, one entry per probability. Made by `log_quantiles`.

    ``log_s``; ``error`` of log s, from ``cdf_error`` and the density; ``cdf_error``: of F there, three
    standard errors over eight independent populations plus the error of the splines; ``density`` of log s;
    ``residual``: relative Newton step that the returned strengths would take next; ``status``.
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
    """Quantiles of log s of J_T for long products of gated steps with redrawn weights: theory.md (12)-(14).

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
    population = _validate.integer("population", population, low=4 * _FEW)
    if population & (population - 1):
        raise ValueError(f"population = {population}: must be a power of two")
    if ens.tied:
        raise ValueError("ens.tied = True: must be False; with weights that are kept all steps are coupled")
    chain = grouped_chain(ens, T, population // GROUPS, seed, field=field_of_one(ens))
    coarse, fine = (Unknowns.splines(chain.n_gates, T, density) for density in (1, 2))
    few = chain.stratified(_FEW).solved_in(coarse)
    far = Far(few, marching=True)
    far.march(-math.inf, 0.5 * float(levels[0]))
    if not far.smeared.size or far.smeared[-1] > 0.5 * levels[0]:
        reached = far.log_lambda[-1] / 2 if far.smeared.size else math.inf
        raise ConvergenceError(f"no strengths on the negative real axis below log s = {reached:.6g}")
    point = _start(far, np.interp(levels, far.smeared[::-1], far.log_lambda[::-1] / 2))
    point = _search(far, few, few, few, levels, point, _TOL)
    before = _at(few, point)
    few = few.solved_in(fine)
    point = _settled(far, few, few, point._replace(inverse=None))
    splines = np.abs(_at(few, point).cdf - before.cdf)
    medium = chain.stratified(_MEDIUM).solved_in(fine)
    point = _search(far, few, medium, chain, levels, point, 0.0)
    here = _at(chain, point)
    error = here.error + splines
    ok = (point.step < _TOL) & (np.abs(here.cdf - levels) <= error) & (here.density > _EMPTY)
    with np.errstate(divide="ignore"):
        spread = (error + np.abs(here.cdf - levels)) / np.maximum(here.density, 0.0)
    status = np.where(ok, int(Status.CONVERGED), int(Status.MAX_ITERATIONS))
    return LogQuantiles(levels, point.u, spread, error, here.density, point.step, status)


class _Point(NamedTuple):
    """Points u with strengths, the inverse Hessian, and the step that Newton's method would take next."""

    u: np.ndarray
    p: np.ndarray
    q: np.ndarray
    inverse: np.ndarray | None
    step: np.ndarray


def _start(far: Far, u: np.ndarray) -> _Point:
    p, q, ok = far.near_real_axis(2 * u)
    if not ok.all():
        raise ConvergenceError(f"no way to the real axis at log s = {u[~ok]}")
    return _Point(u, p, q, None, np.full(u.shape, np.inf))


class _Values(NamedTuple):
    """F, density of log s, and error of F by the spread of the groups of sites."""

    cdf: np.ndarray
    density: np.ndarray
    error: np.ndarray


def _at(chain: Chain, point: _Point) -> _Values:
    upper, density, site_log = values_at(chain, point.p, point.q, 2 * point.u)
    error = errors_by_groups(site_log, to_host(chain.weights), GROUPS)
    return _Values(1.0 - upper, density, error)


def _moved(
    u: np.ndarray, miss: np.ndarray, density: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """A Newton step in u, or the middle of the bracket; one unit of u where there is no bracket either."""
    with np.errstate(divide="ignore", invalid="ignore"):
        newton_step = u - miss / density
        middle = np.where(
            np.isfinite(low), np.where(np.isfinite(high), 0.5 * (low + high), low + 1.0), high - 1.0
        )
    good = (density > _EMPTY) & (newton_step > low) & (newton_step < high)
    return np.where(good, newton_step, middle)


def _search(
    far: Far, few: Chain, chain: Chain, whole: Chain, levels: np.ndarray, point: _Point, close: float
) -> _Point:
    """Move each u until F = its level, to ``close`` or a small part of its error.

    Strengths are made stationary on ``chain``; F is that of ``whole``.
    """
    low, high = np.full(levels.shape, -np.inf), np.full(levels.shape, np.inf)
    point = _settled(far, few, chain, point)
    for _ in range(_MOST_ROUNDS):
        here = _at(whole, point)
        miss = here.cdf - levels
        if (np.abs(miss) <= np.maximum(close, _CLOSE * here.error)).all():
            break
        below = here.cdf[None, :] < levels[:, None]
        low = np.maximum(low, np.max(np.where(below, point.u, -np.inf), axis=1))
        high = np.minimum(high, np.min(np.where(below, np.inf, point.u), axis=1))
        u = _moved(point.u, miss, here.density, low, high)
        point = _settled(far, few, chain, point._replace(u=u))
    return point


def _settled(far: Far, few: Chain, chain: Chain, point: _Point) -> _Point:
    """Strengths on the real axis from near ones, by a Hessian on the ``few`` sites.

    Where that does not settle the Hessian is taken on those of ``chain``: deep in the tail few sites do not
    tell it. Last, points are carried there from afar.
    """
    log_lambda, theta = 2 * point.u, np.full(point.u.shape, REAL_AXIS)
    p, q, ok, step, inverse = newton(
        chain, few, point.p, point.q, log_lambda, theta, _LAST_TOL, _ITERATIONS, point.inverse
    )
    for start in (None, far):
        lost = np.flatnonzero(~ok)
        if lost.size == 0:
            break
        there, angle = log_lambda[lost], theta[lost]
        guess = (point.p[lost], point.q[lost]) if start is None else start.near_real_axis(there)[:2]
        own = inverse_hessian(chain, np.concatenate(guess, axis=1), there, angle)
        p[lost], q[lost], ok[lost], step[lost], inverse[lost] = newton(
            chain, few, *guess, there, angle, _LAST_TOL, _ITERATIONS, own
        )
    return _Point(point.u, p, q, inverse, step)
