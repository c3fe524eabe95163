"""Solving the untied matrix Dyson equation near a guess: quasi-Newton steps, and what follows from strengths.

The unknowns are logarithms of the strengths, which follow powers of lambda near the edges, or few numbers
that these depend on (`self_energy`). The Hessian is taken once, on some of the sites, and its inverse is
then corrected by symmetric rank-one updates (SR1) from the gradients, which cost far less and are those of
all sites: so is the solution. For arg lambda > 0 the solution with Im p, Im q <= 0 is the only one, and only
such a one is accepted. How a point is reached without a guess: `continuation`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from rmtrnn._core.arrays import to_host
from rmtrnn._core.progress import advance
from rmtrnn._core.status import Status
from rmtrnn.dyson.recursive_green import Chain, Sweep, forward, sweep

_OUTSIDE_STEP = 0.1  # relative; F is exactly 0 or 1 (or the mass below a gap) whatever the real strengths are
_REAL = 1e-6
_TILT = 1e-6  # radians: how far from the real axis the response of real strengths is looked at
_NO_DENSITY = 1e-7
_DIFFERENCE = 1e-6  # of the unknowns, for the Hessian
_AT_ONCE = 2**22  # complex numbers in the differences
REFRESH = 6  # iterations after which the Hessian is taken afresh: the updates have not found the way
_F_ERROR = 1e-4  # second-order error of F beyond which a point does not count as solved
REAL_AXIS = 1e-13  # arg lambda on the real axis: keeps every logarithm on its side of the cut


@dataclass(frozen=True)
class Solution:
    """Strengths and what follows from them, per point of log|lambda|.

    ``p``, ``q`` (points, gates) as in `recursive_green`; ``upper`` = P(s^2 > lambda) and ``density`` = that
    of u = log s, both at arg lambda = 0; ``residual`` = relative size of the Newton step that the returned
    strengths would take next, ``error`` = its effect on ``upper`` (second order); ``status``: `Status` each;
    ``site_log`` = Im of the site part of Psi, divided by pi s_L, for error estimates by groups of sites.
    """

    log_lambda: np.ndarray
    p: np.ndarray
    q: np.ndarray
    upper: np.ndarray
    density: np.ndarray
    residual: np.ndarray
    error: np.ndarray
    status: np.ndarray
    site_log: np.ndarray

    @property
    def u(self) -> np.ndarray:
        """log s of the points."""
        return self.log_lambda / 2

    def joined(self, other: Solution) -> Solution:
        """The points of both."""
        return Solution(
            *(
                np.concatenate([getattr(self, field.name), getattr(other, field.name)])
                for field in fields(self)
            )
        )

    def at(self, pick: np.ndarray) -> Solution:
        """Some of the points."""
        return Solution(*(getattr(self, field.name)[pick] for field in fields(self)))

    def sorted(self) -> Solution:
        """The points in increasing u."""
        order = np.argsort(self.log_lambda)
        return self.at(order)


def weight_function(
    chain: Chain, p: np.ndarray, q: np.ndarray, r: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """z = p q/(r sigma^2), C(z), C'(z) and C''(z) of (*) for each gate."""
    z = p * q / (r * chain.sigma2)
    haar = chain.orthogonal
    one_minus = np.where(haar, 1.0 - z, 1.0)
    c = np.where(haar, -np.log(one_minus), z)
    return z, c, 1.0 / one_minus, np.where(haar, 1.0 / one_minus**2, 0.0)


def gate_scales(chain: Chain, log_lambda: np.ndarray) -> np.ndarray:
    """r_l of each gate's stage, (points, gates)."""
    return np.exp(chain.scales(log_lambda))[:, chain.stage_of_gate]


def gradient(chain: Chain, p: np.ndarray, q: np.ndarray, log_lambda: np.ndarray, here: Sweep) -> np.ndarray:
    """grad Psi by p, then by q (points, 2 gates), from what a sweep found at these strengths."""
    beta = 1.0 / (gate_scales(chain, log_lambda) * chain.sigma2)
    slope = weight_function(chain, p, q, 1.0 / (beta * chain.sigma2))[2]
    return np.concatenate([slope * beta * q - here.k, slope * beta * p - here.g], axis=1)


def inverse_hessian(chain: Chain, x: np.ndarray, log_lambda: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Inverse Hessian (points, d, d) of Psi in the d unknowns of the chain; nan where it is singular.

    Of the logarithms of all strengths it is diag(x) grad^2 Psi diag(x), without what the gradient adds where
    it does not vanish.
    """
    own = chain.unknowns.basis is None
    hessian = (_hessian_of_strengths if own else _hessian_by_differences)(chain, x, log_lambda, theta)
    finite = np.isfinite(hessian).all(axis=(1, 2))
    inverse = np.full_like(hessian, np.nan)
    try:
        inverse[finite] = np.linalg.inv(hessian[finite])
    except np.linalg.LinAlgError:  # some of them are singular: numpy does not say which
        inverse[finite] = [_inverse_or_nan(matrix) for matrix in hessian[finite]]
    return inverse


def _hessian_of_strengths(
    chain: Chain, x: np.ndarray, log_lambda: np.ndarray, theta: np.ndarray
) -> np.ndarray:
    """From the recursion of `recursive_green`: its cost grows with the square of the number of gates."""
    gates = chain.n_gates
    p, q = x[:, :gates], x[:, gates:]
    second = sweep(chain, p, q, log_lambda, theta, hessian=True).hessian
    assert second is not None
    beta = 1.0 / (gate_scales(chain, log_lambda) * chain.sigma2)
    _, _, slope, curve = weight_function(chain, p, q, 1.0 / (beta * chain.sigma2))
    hessian = -second
    on_gate = np.arange(gates)
    mixed = slope * beta + curve * beta**2 * p * q
    hessian[:, on_gate, on_gate] += curve * beta**2 * q**2
    hessian[:, gates + on_gate, gates + on_gate] += curve * beta**2 * p**2
    hessian[:, on_gate, gates + on_gate] += mixed
    hessian[:, gates + on_gate, on_gate] += mixed
    hessian *= x[:, :, None] * x[:, None, :]
    return hessian


def _hessian_by_differences(
    chain: Chain, x: np.ndarray, log_lambda: np.ndarray, theta: np.ndarray
) -> np.ndarray:
    """From the gradients at neighbouring unknowns: linear in the number of gates, times that of unknowns."""
    d = chain.unknowns.count
    shift = np.exp(chain.unknowns.logs(_DIFFERENCE * np.eye(d)))
    here = slope_at(chain, x, log_lambda, theta)
    portion = max(1, _AT_ONCE // shift.size)
    ahead = []
    for first in range(0, len(x), portion):
        some = slice(first, first + portion)
        moved = (x[some, None] * shift).reshape(-1, x.shape[1])
        ahead.append(slope_at(chain, moved, np.repeat(log_lambda[some], d), np.repeat(theta[some], d)))
    hessian = (np.concatenate(ahead).reshape(len(x), d, d) - here[:, None]) / _DIFFERENCE
    return 0.5 * (hessian + np.swapaxes(hessian, 1, 2))


def _inverse_or_nan(matrix: np.ndarray) -> np.ndarray:
    if np.linalg.matrix_rank(matrix) < len(matrix):
        return np.full_like(matrix, np.nan)
    return np.linalg.inv(matrix)


def newton(
    chain: Chain,
    small: Chain,
    p: np.ndarray,
    q: np.ndarray,
    log_lambda: np.ndarray,
    theta: np.ndarray,
    tol: float,
    max_iterations: int,
    inverse: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Quasi-Newton steps on ``chain`` until the relative step is below ``tol``.

    The Hessian comes from ``small``, or its inverse is given and used where finite. Returns p, q, converged,
    the last step of the logarithms, and the inverse as the steps have updated it. Steps that go further than
    1/2 (`Unknowns.felt`) are shortened; strengths that leave the lower half plane are put back by reflection.
    On the real axis outside the support the strengths are real and only the fact matters: there a rough step
    is enough (see `_OUTSIDE_STEP`).
    """
    advance("Dyson equation: points solved", len(log_lambda))
    gates, unknowns = chain.n_gates, chain.unknowns
    relative = np.full(len(log_lambda), np.inf)
    size = (len(log_lambda), unknowns.count, unknowns.count)
    inverse = np.full(size, np.nan + 0j) if inverse is None else inverse.copy()
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what overflows is given up below
        x = unknowns.nearest(np.concatenate([p, q], axis=1))
        _refresh(small, x, log_lambda, theta, inverse, np.flatnonzero(~np.isfinite(inverse[:, 0, 0])))
        slope = slope_at(chain, x, log_lambda, theta)
        alive = np.isfinite(inverse[:, 0, 0]) & np.isfinite(slope).all(axis=1)
        for iteration in range(max_iterations):
            work = np.flatnonzero(alive & ~(relative < tol))
            if work.size == 0:
                break
            step = -(inverse[work] @ slope[work][..., None])[..., 0]
            relative[work] = np.abs(unknowns.logs(step)).max(axis=1)
            alive[work] &= np.isfinite(relative[work])
            step, work = step[alive[work]], work[alive[work]]
            step *= np.minimum(1.0, 0.5 / np.maximum(unknowns.felt(step), 1e-300))[:, None]
            moved, step = unknowns.moved(x[work], step)
            x[work] = moved
            outside = relative[work] < _OUTSIDE_STEP
            outside &= is_real(moved[:, :gates], moved[:, gates:]) & (theta[work] <= REAL_AXIS)
            relative[work[outside]] = 0.0
            alive[work] &= np.isfinite(moved).all(axis=1)
            again = alive[work] & ~(relative[work] < tol)
            step, work = step[again], work[again]
            if work.size == 0 or iteration == max_iterations - 1:
                break
            new = slope_at(chain, x[work], log_lambda[work], theta[work])
            inverse[work] = rank_one(inverse[work], step, new - slope[work])
            slope[work] = new
            alive[work] &= np.isfinite(new).all(axis=1)
            if iteration % REFRESH == REFRESH - 1:
                _refresh(small, x, log_lambda, theta, inverse, work[alive[work]])
    p, q = x[:, :gates], x[:, gates:]
    return p, q, alive & (relative < tol) & unknowns.physical(p, q), relative, inverse


def slope_at(chain: Chain, x: np.ndarray, log_lambda: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Gradient of Psi in the unknowns of the chain (points, d)."""
    p, q = x[:, : chain.n_gates], x[:, chain.n_gates :]
    by_strengths = gradient(chain, p, q, log_lambda, sweep(chain, p, q, log_lambda, theta))
    return chain.unknowns.gradient(x * by_strengths)


def _refresh(
    small: Chain,
    x: np.ndarray,
    log_lambda: np.ndarray,
    theta: np.ndarray,
    inverse: np.ndarray,
    pick: np.ndarray,
) -> None:
    """Put the inverse Hessians of the points ``pick``, taken on ``small``, into ``inverse``."""
    if pick.size:
        inverse[pick] = inverse_hessian(small, x[pick], log_lambda[pick], theta[pick])


def rank_one(inverse: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The symmetric rank-one update of ``inverse`` that maps ``change`` of the gradient to ``step``.

    Psi is analytic, so its Hessian is complex symmetric (not Hermitian) and so is the update. It is left out
    where its denominator is rounding.
    """
    miss = step - (inverse @ change[..., None])[..., 0]
    denominator = (miss * change).sum(axis=1)
    size = np.linalg.norm(miss, axis=1) * np.linalg.norm(change, axis=1)
    good = np.abs(denominator) > 1e-8 * size
    factor = np.where(good, 1.0, 0.0) / np.where(good, denominator, 1.0)
    return inverse + factor[:, None, None] * miss[:, :, None] * miss[:, None, :]


def analytic(chain: Chain, p: np.ndarray, q: np.ndarray, log_lambda: np.ndarray) -> np.ndarray:
    """Whether real strengths are those of the resolvent, and not another real solution.

    For arg lambda > 0 all Im p, Im q < 0, so where they are real all of them fall as lambda grows: the
    response to a small arg lambda, -(grad^2 Psi)^{-1} d grad Psi/d theta, must be negative everywhere.
    """
    if len(log_lambda) == 0:
        return np.zeros(0, dtype=bool)
    x = np.real(np.concatenate([p, q], axis=1)) + 0j
    real, tilted = np.full(len(log_lambda), REAL_AXIS), np.full(len(log_lambda), _TILT)
    inverse = inverse_hessian(chain, x, log_lambda, real)
    change = slope_at(chain, x, log_lambda, tilted) - slope_at(chain, x, log_lambda, real)
    response = chain.unknowns.logs(-(inverse @ change[..., None])[..., 0]) * x / _TILT
    return np.asarray(np.imag(response).max(axis=1) < 0.0)


def is_real(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Whether all strengths of a point are real up to rounding: then it is outside the support."""
    both = np.concatenate([p, q], axis=1)
    return np.all(np.abs(np.imag(both)) <= _REAL * np.abs(both), axis=1, keepdims=True)[:, 0]


def lowered(strength: np.ndarray) -> np.ndarray:
    """The strengths with rounding errors above the real axis put just below it."""
    return np.real(strength) + 1j * np.minimum(np.imag(strength), -REAL_AXIS * np.abs(strength))


class Values(NamedTuple):
    """``upper`` = P(s^2 > lambda), ``density`` of u = log s, and ``site_log`` of `Solution`."""

    upper: np.ndarray
    density: np.ndarray
    site_log: np.ndarray


def values_at(chain: Chain, p: np.ndarray, q: np.ndarray, log_lambda: np.ndarray) -> Values:
    """F and p on all sites of ``chain`` at strengths that may come from some of them.

    F is stationary in the strengths, so their error enters it squared; that of the density is of first order.
    """
    p, q = lowered(p), lowered(q)
    phase, m = forward(chain, p, q, log_lambda, np.full(len(log_lambda), REAL_AXIS))
    constants = np.imag(weight_function(chain, p, q, gate_scales(chain, log_lambda))[1].sum(axis=1))
    norm = np.pi * chain.s_out
    upper = (to_host(chain.mean(phase)) + constants) / norm
    return Values(upper, -2.0 / np.pi * np.imag(m), phase / norm)


def second_order(slope: np.ndarray, step: np.ndarray, norm: float) -> tuple[np.ndarray, np.ndarray]:
    """What a Newton step of the strengths adds to Psi/``norm``, and a bound of what it may change F by.

    Psi is stationary, so it is half the gradient times the step; what is of third order is not known.
    """
    change = 0.5 * (slope * step).sum(axis=1)
    return change / norm, (np.abs(np.imag(change)) + np.abs(change) ** 1.5) / norm


def evaluate(
    chain: Chain,
    small: Chain,
    p: np.ndarray,
    q: np.ndarray,
    log_lambda: np.ndarray,
    tol: float,
    inverse: np.ndarray | None = None,
) -> Solution:
    """Distribution function and density from the strengths, with the residual recomputed from them.

    A point is converged if the next Newton step (relative to the strengths) would be below ``tol``. Outside
    the support, where F is a constant whatever the real strengths are, it is enough that neither the density
    nor the second-order error of F is there, and that they are `analytic`. ``inverse`` is that of `newton`;
    where it is not given or not finite the Hessian is taken on ``small``.
    """
    p, q = lowered(p), lowered(q)
    theta = np.full(len(log_lambda), REAL_AXIS)
    x = np.concatenate([p, q], axis=1)
    here = sweep(chain, p, q, log_lambda, theta, phase=True)
    assert here.phase is not None
    if inverse is None or not np.isfinite(inverse).all():
        inverse = inverse_hessian(small, x, log_lambda, theta)
    slope = chain.unknowns.gradient(x * gradient(chain, p, q, log_lambda, here))
    next_step = -(inverse @ slope[..., None])[..., 0]
    relative = np.abs(chain.unknowns.logs(next_step)).max(axis=1)
    constants = np.imag(weight_function(chain, p, q, gate_scales(chain, log_lambda))[1].sum(axis=1))
    norm = np.pi * chain.s_out
    correction, error = second_order(slope, next_step, norm)
    density = -2.0 / np.pi * np.imag(here.m)
    real = (np.abs(density) < _NO_DENSITY) & (np.abs(np.imag(correction)) < _NO_DENSITY)
    outside = real & (relative < 0.5)
    outside[outside] = analytic(small, p[outside], q[outside], log_lambda[outside])
    error = np.where(outside, 0.0, error)
    inside = ~is_real(p, q) & (relative < tol) & (error < _F_ERROR)
    settled = (inside | outside) & chain.unknowns.physical(p, q)
    upper = (to_host(chain.mean(here.phase)) + constants) / norm + np.imag(correction)
    status = np.where(settled, int(Status.CONVERGED), int(Status.MAX_ITERATIONS))
    status = np.where(np.isfinite(upper), status, int(Status.NOT_FINITE))
    return Solution(
        log_lambda=np.asarray(log_lambda),
        p=p,
        q=q,
        upper=upper,
        density=density,
        residual=relative,
        error=error,
        status=status,
        site_log=to_host(here.phase) / norm,
    )
