"""Solving the untied matrix Dyson equation: continuation in arg lambda, Newton in the strengths.

On the negative real axis the resolvent is real and the equations are easy. From there every point is
carried along the arc lambda = |lambda| e^{i theta}, theta from pi to 0, on a small part of the sites; for
theta > 0 the solution with Im p, Im q <= 0 is the only one, so a step is accepted only if it keeps these
signs. At the end of the arc the strengths are polished on all sites. The Hessian is taken once, on some of
the sites, and its inverse is then corrected by symmetric rank-one updates (SR1) from the gradients, which
cost far less and are those of all sites: so is the solution.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from rmtrnn._array import to_host
from rmtrnn._result import Status
from rmtrnn.spectra.dyson_chain import Chain, Sweep, sweep

_SIGN_SLACK = 1e-7  # relative: a strength this far in the upper half plane is rounding, not a wrong branch
_FIRST_STEP = 0.35  # of the arc, in radians
_LAST_ANGLE = 0.02  # from here one step leads to the real axis
_SMALLEST_STEP = 1e-5
_OUTSIDE_STEP = 0.1  # relative; F is exactly 0 or 1 (or the mass below a gap) whatever the real strengths are
_REAL = 1e-6
_TILT = 1e-6  # radians: how far from the real axis the response of real strengths is looked at
_NO_DENSITY = 1e-7
_REFRESH = 6  # iterations after which the Hessian is taken afresh: the updates have not found the way
_F_ERROR = 1e-4  # second-order error of F beyond which a point does not count as solved
_GUESS_RANGE = (-100.0, 100.0)  # of the logarithm of a first guess: far outside it may say anything
_DEPTHS = np.array([50.0, 70.0])  # of log x below log m_1
_NO_ATOM, _SETTLED_ATOM = 1e-6, 1e-4  # mass; change of it between the depths
_ROUNDS, _STILL = 60, 1e-6  # of damped iterations, and change of m in the last one
REAL_AXIS = 1e-13  # arg lambda on the real axis: keeps every logarithm on its side of the cut


@dataclass(frozen=True)
class Solution:
    """Strengths and what follows from them, per point of log|lambda|.

    ``p``, ``q`` (points, gates) as in `dyson_chain`; ``upper`` = P(s^2 > lambda) and ``density`` = that of
    u = log s, both at arg lambda = 0; ``residual`` = relative size of the Newton step that the returned
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
    """Inverse of diag(x) Hessian diag(x), of Psi in the logarithms of the strengths x = (p, q) where its
    gradient vanishes; nan where it is singular.
    """
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
    finite = np.isfinite(hessian).all(axis=(1, 2))
    inverse = np.full_like(hessian, np.nan)
    try:
        inverse[finite] = np.linalg.inv(hessian[finite])
    except np.linalg.LinAlgError:  # some of them are singular: numpy does not say which
        inverse[finite] = [_inverse_or_nan(matrix) for matrix in hessian[finite]]
    return inverse


def _inverse_or_nan(matrix: np.ndarray) -> np.ndarray:
    if np.linalg.matrix_rank(matrix) < len(matrix):
        return np.full_like(matrix, np.nan)
    return np.linalg.inv(matrix)


def start(
    chain: Chain, log_lambda: np.ndarray, tol: float = 1e-3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strengths on the negative real axis (p > 0 > q, all real) and whether Newton converged there.

    First guess: the chain of free Gaussian factors with the same mean growth per stage, for which
    -|lambda|/m_1 = (1 + m)^{L+1}/m, and each gate's z is its share of m.
    """
    p, q, _ = damped(chain, *first_guess(chain, log_lambda), log_lambda, 8)
    theta = np.full(np.shape(log_lambda), np.pi)
    p, q, ok, *_ = newton(chain, chain, p + 0j, q + 0j, np.asarray(log_lambda), theta, tol, 25)
    return p, q, ok & (np.real(p).min(axis=1) > 0) & (np.real(q).max(axis=1) <= 0)


def first_guess(chain: Chain, log_lambda: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strengths on the negative real axis to start from: see `start`."""
    stages = len(chain.stages)
    surplus = np.asarray(log_lambda) - chain.log_mean
    low, high = np.full(surplus.shape, -60.0), np.full(surplus.shape, 60.0)  # of logit(-m)
    for _ in range(80):
        middle = 0.5 * (low + high)
        log_minus_m, log_rest = -np.log1p(np.exp(-middle)), -np.log1p(np.exp(middle))
        small = (stages + 1) * log_rest - log_minus_m > surplus
        low, high = np.where(small, middle, low), np.where(small, high, middle)
    middle = 0.5 * (low + high)[:, None]
    log_minus_m, log_rest = -np.logaddexp(0.0, -middle), -np.logaddexp(0.0, middle)
    log_r = chain.scales(log_lambda)
    log_growth = chain.log_growth[None, :] + log_r + log_rest
    log_u = np.concatenate([np.zeros_like(middle), np.cumsum(log_growth, axis=1)[:, :-1]], axis=1)
    log_share = np.log(np.maximum(chain.gate_share, 1e-12)) + log_minus_m
    log_q = log_share - log_rest - log_u[:, chain.stage_of_gate] - np.log(chain.reading)
    log_p = log_r[:, chain.stage_of_gate] + np.log(chain.sigma2) + log_share - log_q
    p, q = np.exp(np.clip(log_p, *_GUESS_RANGE)), -np.exp(np.clip(log_q, *_GUESS_RANGE))
    return p, q


def damped(
    chain: Chain, p: np.ndarray, q: np.ndarray, log_lambda: np.ndarray, iterations: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Iterations of (13) on the negative real axis, damped in the logarithm; also m before the last one."""
    theta, m = np.full(np.shape(log_lambda), np.pi), np.full(np.shape(log_lambda), np.nan)
    for _ in range(iterations):
        here = sweep(chain, p + 0j, q + 0j, np.asarray(log_lambda), theta)
        r_gate = gate_scales(chain, log_lambda)
        slope = weight_function(chain, p, q, r_gate)[2]
        beta = 1.0 / (r_gate * chain.sigma2)
        p = _half_way(p, np.real(here.g) / (slope * beta))
        q = _half_way(q, np.real(here.k) / (slope * beta))
        m = np.real(here.m)
    return p, q, m


def _half_way(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The geometric mean where the signs agree, else the old value."""
    return np.where(old * new > 0, np.sign(old) * np.sqrt(np.abs(old * new)), old)


def mass_at_zero(chain: Chain) -> float:
    """P(s = 0) = lim E[x/(x + s^2)] as x -> 0, on the negative real axis, where the equations are easy.

    That falls with x, like a power where the law reaches down to s = 0. It counts as an atom if it does not
    change over many orders of magnitude; 0 otherwise, also where the iteration has not settled.
    """
    log_x = chain.log_mean - _DEPTHS
    p, q, m = damped(chain, *first_guess(chain, log_x), log_x, 8)
    change = np.inf
    for _ in range(_ROUNDS):
        p, q, new = damped(chain, p, q, log_x, 8)
        change, m = np.abs(new - m).max(), new
        if change < _STILL:
            break
    left = 1.0 + m
    settled = change < _STILL and left[-1] > _NO_ATOM and left[0] - left[-1] < _SETTLED_ATOM
    return float(left[-1]) if settled else 0.0


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

    The unknowns are the logarithms of the strengths, which follow powers of lambda near the edges. The
    Hessian comes from ``small``, or its inverse is given and used where finite. Returns p, q, converged, the
    last step of the logarithms, and the inverse as the steps have updated it. Steps longer than 1/2 are
    shortened; strengths that leave the lower half plane are put back by reflection. On the real axis outside
    the support the strengths are real and only the fact matters: there a rough step is enough (see
    `_OUTSIDE_STEP`).
    """
    gates = chain.n_gates
    x = np.concatenate([p, q], axis=1)
    relative = np.full(len(log_lambda), np.inf)
    inverse = np.full((*x.shape, x.shape[1]), np.nan + 0j) if inverse is None else inverse.copy()
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what overflows is given up below
        _refresh(small, x, log_lambda, theta, inverse, np.flatnonzero(~np.isfinite(inverse[:, 0, 0])))
        slope = x * _gradient_at(chain, x, log_lambda, theta)
        alive = np.isfinite(inverse[:, 0, 0]) & np.isfinite(slope).all(axis=1)
        for iteration in range(max_iterations):
            work = np.flatnonzero(alive & ~(relative < tol))
            if work.size == 0:
                break
            step = -(inverse[work] @ slope[work][..., None])[..., 0]
            relative[work] = np.abs(step).max(axis=1)
            alive[work] &= np.isfinite(relative[work])
            step, work = step[alive[work]], work[alive[work]]
            step *= np.minimum(1.0, 0.5 / np.maximum(relative[work], 1e-300))[:, None]
            moved = reflected(x[work] * np.exp(step))
            step = np.log(moved / x[work])
            x[work] = moved
            outside = relative[work] < _OUTSIDE_STEP
            outside &= is_real(moved[:, :gates], moved[:, gates:]) & (theta[work] <= REAL_AXIS)
            relative[work[outside]] = 0.0
            alive[work] &= np.isfinite(moved).all(axis=1)
            again = alive[work] & ~(relative[work] < tol)
            step, work = step[again], work[again]
            if work.size == 0 or iteration == max_iterations - 1:
                break
            new = x[work] * _gradient_at(chain, x[work], log_lambda[work], theta[work])
            inverse[work] = rank_one(inverse[work], step, new - slope[work])
            slope[work] = new
            alive[work] &= np.isfinite(new).all(axis=1)
            if iteration % _REFRESH == _REFRESH - 1:
                _refresh(small, x, log_lambda, theta, inverse, work[alive[work]])
    p, q = x[:, :gates], x[:, gates:]
    return p, q, alive & (relative < tol) & physical(p, q), relative, inverse


def _gradient_at(chain: Chain, x: np.ndarray, log_lambda: np.ndarray, theta: np.ndarray) -> np.ndarray:
    p, q = x[:, : chain.n_gates], x[:, chain.n_gates :]
    return gradient(chain, p, q, log_lambda, sweep(chain, p, q, log_lambda, theta))


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
    change = _gradient_at(chain, x, log_lambda, tilted) - _gradient_at(chain, x, log_lambda, real)
    response = -(inverse @ (x * change)[..., None])[..., 0] * x / _TILT
    return np.asarray(np.imag(response).max(axis=1) < 0.0)


def is_real(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Whether all strengths of a point are real up to rounding: then it is outside the support."""
    both = np.concatenate([p, q], axis=1)
    return np.all(np.abs(np.imag(both)) <= _REAL * np.abs(both), axis=1, keepdims=True)[:, 0]


def physical(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Whether all strengths of a point lie in the closed lower half plane, up to rounding."""
    both = np.concatenate([p, q], axis=1)
    return np.all(np.imag(both) <= _SIGN_SLACK * np.abs(both), axis=1, keepdims=True)[:, 0]


def reflected(strength: np.ndarray) -> np.ndarray:
    """The strengths with positive imaginary parts, if these are more than rounding, made negative."""
    above = np.imag(strength) > _SIGN_SLACK * np.abs(strength)
    return np.where(above, np.conj(strength), strength)


def lowered(strength: np.ndarray) -> np.ndarray:
    """The strengths with rounding errors above the real axis put just below it."""
    return np.real(strength) + 1j * np.minimum(np.imag(strength), -REAL_AXIS * np.abs(strength))


def rotate(
    chain: Chain,
    log_lambda: np.ndarray,
    p: np.ndarray,
    q: np.ndarray,
    ok: np.ndarray,
    last: float,
    tol: float = 1e-3,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Carry the strengths from arg lambda = pi to ``last``; each point has its own step length."""
    theta = np.full(len(log_lambda), np.pi)
    step = np.full(len(log_lambda), _FIRST_STEP)
    slope_p, slope_q = np.zeros_like(p), np.zeros_like(q)
    inverse = np.full((len(p), 2 * chain.n_gates, 2 * chain.n_gates), np.nan + 0j)
    p, q, ok = p.copy(), q.copy(), ok.copy()
    while True:
        work = np.flatnonzero(ok & (theta > last))
        if work.size == 0:
            return p, q, ok
        target = np.maximum(theta[work] - step[work], last)
        ahead = (target - theta[work])[:, None]
        guess_p, guess_q = p[work] * np.exp(slope_p[work] * ahead), q[work] * np.exp(slope_q[work] * ahead)
        new_p, new_q, good, _, new_inverse = newton(
            chain, chain, guess_p, guess_q, log_lambda[work], target, tol, _REFRESH, inverse[work]
        )
        done, failed = work[good], work[~good]
        slope_p[done] = np.log(new_p[good] / p[done]) / ahead[good]
        slope_q[done] = np.log(new_q[good] / q[done]) / ahead[good]
        p[done], q[done], theta[done] = new_p[good], new_q[good], target[good]
        inverse[done], inverse[failed] = new_inverse[good], np.nan
        step[done] = np.minimum(1.6 * step[done], 0.6)
        step[failed] *= 0.35
        ok[failed] = step[failed] > _SMALLEST_STEP


def from_scratch(chain: Chain, log_lambda: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strengths near the real axis without any guess: `start`, then `rotate`."""
    p, q, ok = start(chain, log_lambda)
    return rotate(chain, log_lambda, p, q, ok, _LAST_ANGLE)


def polish(
    chain: Chain,
    small: Chain,
    log_lambda: np.ndarray,
    p: np.ndarray,
    q: np.ndarray,
    tol: float,
    max_iterations: int = 15,
    inverse: np.ndarray | None = None,
    scan: Chain | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Newton on the real axis; where it fails, points are carried there from arg lambda = pi on ``scan``."""
    theta = np.full(len(log_lambda), REAL_AXIS)
    new_p, new_q, ok, _, inverse = newton(chain, small, p, q, log_lambda, theta, tol, max_iterations, inverse)
    bad = np.flatnonzero(~ok)
    if bad.size:
        far_p, far_q, _ = from_scratch(scan or small, log_lambda[bad])
        new_p[bad], new_q[bad], ok[bad], _, inverse[bad] = newton(
            chain, small, far_p, far_q, log_lambda[bad], theta[bad], tol, 2 * max_iterations
        )
    return new_p, new_q, ok, inverse


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
    slope = x * gradient(chain, p, q, log_lambda, here)
    relative_step = -(inverse @ slope[..., None])[..., 0]
    relative = np.abs(relative_step).max(axis=1)
    constants = np.imag(weight_function(chain, p, q, gate_scales(chain, log_lambda))[1].sum(axis=1))
    norm = np.pi * chain.s_out
    correction, error = second_order(slope, relative_step, norm)
    density = -2.0 / np.pi * np.imag(here.m)
    real = (np.abs(density) < _NO_DENSITY) & (np.abs(np.imag(correction)) < _NO_DENSITY)
    outside = real & (relative < 0.5)
    outside[outside] = analytic(small, p[outside], q[outside], log_lambda[outside])
    error = np.where(outside, 0.0, error)
    inside = ~is_real(p, q) & (relative < tol) & (error < _F_ERROR)
    settled = (inside | outside) & physical(p, q)
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
