"""Quantiles of log s over very many steps with redrawn weights, by the Dyson equation in few unknowns.

Over T steps the Dyson equation (theory.md (12)-(14)) has 2 T strengths for every weight matrix, too many for
Newton's method beyond T of some hundred. But along a stationary chain the strengths vary smoothly with the
step: quickly near the ends, hardly at all in between. So their logarithms are splines of the step, with knots
whose spacing grows with the distance from the nearer end, and Psi of `dyson_chain` is made stationary in the
coefficients of these splines. As F is stationary in the strengths, what the splines cannot follow enters it
squared; a second spline with twice the knots says how much it is.

Only single points of F are computed, and the quantile is found by Newton's method in u = log s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rmtrnn import _validate
from rmtrnn._array import to_host
from rmtrnn._result import ConvergenceError, Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.growth import field_of_one
from rmtrnn.spectra.dyson import GROUPS, grouped_chain
from rmtrnn.spectra.dyson_chain import Chain, forward, sweep
from rmtrnn.spectra.dyson_solve import (
    REAL_AXIS,
    damped,
    first_guess,
    gate_scales,
    gradient,
    lowered,
    rank_one,
    weight_function,
)

_LEAST_STEPS = 24  # fewer have hardly more strengths than the splines coefficients
_SPACING = 1.5  # least, of knots, in steps: otherwise there would be more coefficients than strengths
_FEW, _MEDIUM = 512, 8192  # sites: for the way to the real axis, for the strengths
_TOL, _LAST_TOL = 1e-3, 1e-4  # of a Newton step of the logarithms of the strengths
_DIFFERENCE = 1e-6  # of the coefficients, for the Hessian
_LONGEST = 0.5  # change of the logarithm of a strength in one step
_FIRST_TURN, _LONGEST_TURN, _LAST_ANGLE, _SMALLEST_TURN = 0.35, 0.6, 0.02, 1e-3  # of arg lambda
_BEYOND = 1e-3  # radians that a strength may leave the lower half plane by on the way
_SPREADS = 3.0  # as in `dyson_law`: standard errors over eight groups of sites
_EMPTY = 1e-5  # density: outside the support there is nothing that a Newton step could follow
_ABOVE, _DAMPED = 2.0, 20  # where the march starts, above log(m_1)/2; iterations before Newton's method there
_HESSIANS = 5  # one after every eight steps
_FIRST_LENGTH, _SHORTEST_LENGTH, _LARGEST_FALL = 0.5, 1e-3, 0.2  # of its steps; of F smeared out in a step
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

    The same law as `rmtrnn.spectrum`, which gives all of it, but takes too long beyond T of some hundred; the
    cost of this grows linearly with T: some minutes for T = 1000.

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
    few = chain.stratified(_FEW)
    coarse, fine = Splines.of(few, T, 1), Splines.of(few, T, 2)
    march = _march(coarse, 0.5 * levels[0])
    u = np.interp(levels, march.smeared[::-1], march.u[::-1])
    y, inverse = _from_far(coarse, march, u)
    u, y, inverse, _ = _search(coarse, march, few, levels, u, y, inverse, 1e-3)
    before = _at(few, coarse.strengths(y), 2 * u)
    y, inverse, _ = newton(fine, fine.chain, fine.project(coarse.log(y)), 2 * u, _real(u), None, _LAST_TOL)
    splines = np.abs(_at(few, fine.strengths(y), 2 * u).cdf - before.cdf)
    medium = chain.stratified(_MEDIUM)
    u, y, inverse, step = _search(fine, march, medium, levels, u, y, inverse, 0.0, chain)
    here = _at(chain, fine.strengths(y), 2 * u)
    error = here.error + splines
    ok = (step < _TOL) & (np.abs(here.cdf - levels) <= error) & (here.density > _EMPTY)
    with np.errstate(divide="ignore"):
        spread = (error + np.abs(here.cdf - levels)) / np.maximum(here.density, 0.0)
    status = np.where(ok, int(Status.CONVERGED), int(Status.MAX_ITERATIONS))
    return LogQuantiles(levels, u, spread, error, here.density, step, status)


class Splines:
    """Logarithms of the strengths of a chain of equal steps as cubic splines of the step.

    The coefficients y (points, d) are complex; log x = y B^T for the strengths x = (p, q) of all gates.
    """

    def __init__(self, chain: Chain, steps: int, basis: np.ndarray) -> None:
        self.chain = chain
        per_step, count = chain.n_gates // steps, basis.shape[1]
        self.matrix = np.zeros((2 * chain.n_gates, 2 * per_step * count))
        for half in range(2):
            for k in range(per_step):
                rows = slice(half * chain.n_gates + k, (half + 1) * chain.n_gates, per_step)
                first = (half * per_step + k) * count
                self.matrix[rows, first : first + count] = basis
        self._left_inverse = np.linalg.pinv(self.matrix)

    @classmethod
    def of(cls, chain: Chain, steps: int, density: int) -> Splines:
        """Knots whose spacing is 1/``density`` of the distance from the nearer end, or `_SPACING`."""
        from scipy.interpolate import BSpline

        half = (steps - 1) / 2
        near = [_SPACING]
        while near[-1] + max(_SPACING, near[-1] / density) < half - 0.5 * _SPACING:
            near.append(near[-1] + max(_SPACING, near[-1] / density))
        inner = np.concatenate([near, [half], steps - 1 - np.array(near[::-1])])
        knots = np.concatenate([[0.0] * 4, inner, [steps - 1.0] * 4])
        basis = BSpline.design_matrix(np.arange(float(steps)), knots, 3).toarray()
        return cls(chain, steps, basis)

    def project(self, logs: np.ndarray) -> np.ndarray:
        """Coefficients of the splines nearest to given logarithms of all strengths."""
        return logs @ self._left_inverse.T

    def log(self, y: np.ndarray) -> np.ndarray:
        """Logarithms of all strengths (points, 2 gates)."""
        return y @ self.matrix.T

    def strengths(self, y: np.ndarray) -> np.ndarray:
        """p, then q, of all gates (points, 2 gates)."""
        return np.exp(self.log(y))

    def slope(self, chain: Chain, y: np.ndarray, log_lambda: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Gradient of Psi in the coefficients, on the sites of ``chain``."""
        x, gates = self.strengths(y), chain.n_gates
        p, q = x[:, :gates], x[:, gates:]
        here = sweep(chain, p, q, log_lambda, theta)
        return (x * gradient(chain, p, q, log_lambda, here)) @ self.matrix

    def inverse_hessian(
        self, y: np.ndarray, log_lambda: np.ndarray, theta: np.ndarray, chain: Chain | None = None
    ) -> np.ndarray:
        """Inverse (points, d, d) of the Hessian in the coefficients, by differences on sites of ``chain``."""
        chain = self.chain if chain is None else chain
        points, d = y.shape
        shift = _DIFFERENCE * np.eye(d)
        log_lambda, theta = np.repeat(log_lambda, d), np.repeat(theta, d)
        ahead = self.slope(chain, (y[:, None] + shift).reshape(-1, d), log_lambda, theta)
        here = self.slope(chain, y, log_lambda[::d], theta[::d])
        hessian = (ahead.reshape(points, d, d) - here[:, None]) / _DIFFERENCE
        return np.linalg.inv(0.5 * (hessian + np.swapaxes(hessian, 1, 2)))


def newton(
    splines: Splines,
    chain: Chain,
    y: np.ndarray,
    log_lambda: np.ndarray,
    theta: np.ndarray,
    inverse: np.ndarray | None,
    tol: float,
    most: int = 12,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quasi-Newton steps for the coefficients: y, the inverse Hessian as updated, the next relative step.

    The Hessian is that of the splines' own chain, the gradient that of ``chain``.
    """
    if inverse is None:
        inverse = splines.inverse_hessian(y, log_lambda, theta)
    slope = splines.slope(chain, y, log_lambda, theta)
    for iteration in range(most + 1):
        step = -(inverse @ slope[..., None])[..., 0]
        size = np.abs(splines.log(step)).max(axis=1)
        if iteration == most or not np.isfinite(size).all() or (size < tol).all():
            break
        step *= np.minimum(1.0, _LONGEST / np.maximum(size, 1e-300))[:, None]
        y = y + step
        new = splines.slope(chain, y, log_lambda, theta)
        inverse = rank_one(inverse, step, new - slope)
        slope = new
    return y, inverse, size


def _real(u: np.ndarray) -> np.ndarray:
    return np.full(u.shape, REAL_AXIS)


class _March(NamedTuple):
    """Points u, falling, at arg lambda = pi: coefficients y, and F smeared out, E[e^{2u}/(e^{2u} + s²)]."""

    splines: Splines
    u: np.ndarray
    y: np.ndarray
    smeared: np.ndarray

    def start(self, splines: Splines, u: np.ndarray) -> np.ndarray:
        """Coefficients of ``splines`` at u, on the line between neighbours."""
        right = np.clip(np.searchsorted(-self.u, -u), 1, self.u.size - 1)
        share = ((u - self.u[right - 1]) / (self.u[right] - self.u[right - 1]))[:, None]
        y = self.y[right - 1] + share * (self.y[right] - self.y[right - 1])
        return y if splines is self.splines else splines.project(self.splines.log(y))


def _march(splines: Splines, lowest: float) -> _March:
    """Along arg lambda = pi from above the law, where all is easy, down to where ``lowest`` is left."""
    chain, theta = splines.chain, np.full(1, np.pi)
    u = np.array([chain.log_mean / 2 + _ABOVE])
    p, q, _ = damped(chain, *first_guess(chain, 2 * u), 2 * u, _DAMPED)
    signs = np.arange(2 * chain.n_gates) >= chain.n_gates
    y = splines.project(np.log(np.abs(np.concatenate([p, q], axis=1))) - 1j * np.pi * signs)
    y, _ = _on_negative_axis(splines, y, u)
    kept = [(float(u[0]), y[0], _smeared(splines, y, 2 * u, theta))]
    length, slope = _FIRST_LENGTH, np.zeros_like(y)
    while kept[-1][2] > lowest:
        ahead = u - length
        new, _, size = newton(splines, chain, y + slope * length, 2 * ahead, theta, None, _TOL, 6)
        smeared = _smeared(splines, new, 2 * ahead, theta) if size[0] < _TOL else math.nan
        fall = kept[-1][2] - smeared
        if not 0.0 <= fall <= _LARGEST_FALL:  # also where it is nan
            length *= 0.4
            if length < _SHORTEST_LENGTH:
                raise ConvergenceError(f"no strengths on the negative real axis below log s = {u[0]:.6g}")
            continue
        slope, u, y = (new - y) / length, ahead, new
        length *= min(2.0, max(0.5, 0.5 * _LARGEST_FALL / max(fall, 1e-9)))
        kept.append((float(u[0]), y[0], smeared))
    points, coefficients, values = zip(*kept, strict=True)
    return _March(splines, np.array(points), np.array(coefficients), np.array(values))


def _on_negative_axis(splines: Splines, y: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients at arg lambda = pi from near ones, and the inverse Hessian."""
    theta = np.full(u.shape, np.pi)
    for _ in range(_HESSIANS):
        y, inverse, size = newton(splines, splines.chain, y, 2 * u, theta, None, _TOL, 8)
        if (size < _TOL).all():
            return y, inverse
    raise ConvergenceError(f"no strengths on the negative real axis at log s = {u}: the last step is {size}")


def _smeared(splines: Splines, y: np.ndarray, log_lambda: np.ndarray, theta: np.ndarray) -> float:
    x, gates = splines.strengths(y), splines.chain.n_gates
    return 1.0 + float(np.real(sweep(splines.chain, x[:, :gates], x[:, gates:], log_lambda, theta).m[0]))


def _from_far(splines: Splines, march: _March, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients near the real axis, carried there from arg lambda = pi, and the inverse Hessian."""
    log_lambda, theta = 2 * u, np.full(u.shape, np.pi)
    y, inverse = _on_negative_axis(splines, march.start(splines, u), u)
    turn, slope = _FIRST_TURN, np.zeros_like(y)
    while theta[0] > _LAST_ANGLE:
        target = np.maximum(theta - turn, _LAST_ANGLE)
        ahead = (target - theta)[:, None]
        for guess in (inverse, None):
            new, new_inverse, size = newton(
                splines, splines.chain, y + slope * ahead, log_lambda, target, guess, _TOL, 7
            )
            angle = np.imag(splines.log(new))
            good = (size < _TOL).all() and -np.pi - _BEYOND < angle.min() and angle.max() < _BEYOND
            if good:
                break
        if good:
            y, inverse, slope, theta = new, new_inverse, (new - y) / ahead, target
            turn = min(1.6 * turn, _LONGEST_TURN)
        else:
            turn *= 0.35
            if turn < _SMALLEST_TURN:
                raise ConvergenceError(f"no way to the real axis beyond arg lambda = {theta[0]:.2g}")
    return y, inverse


class _Point(NamedTuple):
    """F, density of log s, and error of F by the spread of the groups of sites, at given strengths."""

    cdf: np.ndarray
    density: np.ndarray
    error: np.ndarray


def _at(chain: Chain, strengths: np.ndarray, log_lambda: np.ndarray) -> _Point:
    x, gates = lowered(strengths), chain.n_gates
    p, q = x[:, :gates], x[:, gates:]
    phase, m = forward(chain, p, q, log_lambda, np.full(log_lambda.shape, REAL_AXIS))
    norm = np.pi * chain.s_out
    constants = np.imag(weight_function(chain, p, q, gate_scales(chain, log_lambda))[1].sum(axis=1))
    cdf = 1.0 - (to_host(chain.mean(phase)) + constants) / norm
    weights = to_host(chain.weights).reshape(GROUPS, -1)
    means = (phase.reshape(len(cdf), GROUPS, -1) * (weights / weights.sum(axis=1, keepdims=True))).sum(axis=2)
    error = _SPREADS * means.std(axis=1, ddof=1) / (norm * math.sqrt(GROUPS))
    return _Point(cdf, -2.0 / np.pi * np.imag(m), error)


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
    splines: Splines,
    march: _March,
    chain: Chain,
    levels: np.ndarray,
    u: np.ndarray,
    y: np.ndarray,
    inverse: np.ndarray | None,
    close: float,
    whole: Chain | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Move each u until F = its level, to ``close`` or a small part of its error: u, y, inverse, next step.

    Strengths are made stationary on ``chain``; F is that of ``whole``. Where they are lost on the way they
    are sought from afar.
    """
    whole = chain if whole is None else whole
    low, high = np.full(u.shape, -np.inf), np.full(u.shape, np.inf)
    y, inverse, size = _settled(splines, march, chain, u, y, inverse)
    for _ in range(_MOST_ROUNDS):
        here = _at(whole, splines.strengths(y), 2 * u)
        miss = here.cdf - levels
        if (np.abs(miss) <= np.maximum(close, _CLOSE * here.error)).all():
            break
        below = here.cdf[None, :] < levels[:, None]
        low = np.maximum(low, np.max(np.where(below, u, -np.inf), axis=1))
        high = np.minimum(high, np.min(np.where(below, np.inf, u), axis=1))
        u = _moved(u, miss, here.density, low, high)
        y, inverse, size = _settled(splines, march, chain, u, y, inverse)
    return u, y, inverse, size


def _settled(
    splines: Splines, march: _March, chain: Chain, u: np.ndarray, y: np.ndarray, inverse: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients on the real axis from near ones; what does not settle has a Hessian of its own taken.

    On the few sites first, then on those of ``chain``: deep in the tail few sites do not tell it. Last, all
    points are carried there from afar.
    """
    theta, size = _real(u), np.full(u.shape, np.inf)
    found, updated = y, inverse
    for attempt in range(4):
        if attempt == 3:
            y, inverse = _from_far(splines, march, u)[0], None
        elif attempt and inverse is not None:
            lost = ~(size < _TOL)
            inverse = inverse.copy()
            sites = splines.chain if attempt == 1 else chain
            inverse[lost] = splines.inverse_hessian(y[lost], 2 * u[lost], theta[lost], sites)
        found, updated, size = newton(splines, chain, y, 2 * u, theta, inverse, _LAST_TOL)
        if (size < _TOL).all() and np.imag(splines.log(found)).max() < _BEYOND:
            break
        inverse = updated if inverse is None else inverse
    assert updated is not None
    return found, updated, size
