"""Solving the untied matrix Dyson equation: continuation in arg lambda, Newton in the strengths.

On the negative real axis the resolvent is real and the equations are easy. From there every point is
carried along the arc lambda = |lambda| e^{i theta}, theta from pi to 0, on a small part of the sites; for
theta > 0 the solution with Im p, Im q <= 0 is the only one, so a step is accepted only if it keeps these
signs. At the end of the arc the strengths are polished on all sites by Newton steps whose Hessian comes from
some of the sites: the gradient, and with it the solution, is that of all sites.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from rmtrnn._array import to_host
from rmtrnn._result import Status
from rmtrnn.spectra.dyson_chain import Chain, sweep

_SIGN_SLACK = 1e-7  # relative: a strength this far in the upper half plane is rounding, not a wrong branch
_FIRST_STEP = 0.35  # of the arc, in radians
_LAST_ANGLE = 0.02  # from here one step leads to the real axis
_SMALLEST_STEP = 1e-5
_OUTSIDE_STEP = 0.1  # relative; F is exactly 0 or 1 (or the mass below a gap) whatever the real strengths are
_REAL = 1e-6
_NO_DENSITY = 1e-7
_F_ERROR = 1e-4  # second-order error of F beyond which a point does not count as solved
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
    log_potential: np.ndarray
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


@dataclass(frozen=True)
class _Newton:
    step: np.ndarray  # (points, 2 gates)
    gradient: np.ndarray
    relative: np.ndarray  # (points,)

    def at(self, pick: np.ndarray) -> _Newton:
        return _Newton(self.step[pick], self.gradient[pick], self.relative[pick])


def newton_step(
    chain: Chain, small: Chain, p: np.ndarray, q: np.ndarray, log_lambda: np.ndarray, theta: np.ndarray
) -> _Newton:
    """The Newton step of grad Psi = 0 with the gradient on ``chain`` and the Hessian on ``small``."""
    r = gate_scales(chain, log_lambda)
    same = small is chain
    here = sweep(chain, p, q, log_lambda, theta, hessian=same)
    second = here.hessian if same else sweep(small, p, q, log_lambda, theta, hessian=True).hessian
    assert second is not None
    return _step_from(chain, p, q, r, to_host(here.k), to_host(here.g), to_host(second))


def _step_from(
    chain: Chain,
    p: np.ndarray,
    q: np.ndarray,
    r: np.ndarray,
    k: np.ndarray,
    g: np.ndarray,
    second: np.ndarray,
) -> _Newton:
    gates = chain.n_gates
    beta = 1.0 / (r * chain.sigma2)
    _, _, slope, curve = weight_function(chain, p, q, r)
    gradient = np.concatenate([slope * beta * q - k, slope * beta * p - g], axis=1)
    hessian = -second
    on_gate = np.arange(gates)
    mixed = slope * beta + curve * beta**2 * p * q
    hessian[:, on_gate, on_gate] += curve * beta**2 * q**2
    hessian[:, gates + on_gate, gates + on_gate] += curve * beta**2 * p**2
    hessian[:, on_gate, gates + on_gate] += mixed
    hessian[:, gates + on_gate, on_gate] += mixed
    scale = np.abs(np.concatenate([p, q], axis=1)) + 1e-300
    scaled = hessian * scale[:, :, None] * scale[:, None, :]
    ridge = 1e-300 * np.eye(2 * gates)
    relative_step = -np.linalg.solve(scaled + ridge, (gradient * scale)[..., None])[..., 0]
    return _Newton(relative_step * scale, gradient, np.abs(relative_step).max(axis=1))


def start(
    chain: Chain, log_lambda: np.ndarray, tol: float = 1e-3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strengths on the negative real axis (p > 0 > q, all real) and whether Newton converged there.

    First guess: the chain of free Gaussian factors with the same mean growth per stage, for which
    -|lambda|/m_1 = (1 + m)^{L+1}/m, and each gate's z is its share of m.
    """
    stages = len(chain.stages)
    surplus = np.asarray(log_lambda) - chain.log_mean
    low, high = np.full(surplus.shape, -60.0), np.full(surplus.shape, 60.0)  # of logit(-m)
    for _ in range(80):
        middle = 0.5 * (low + high)
        log_minus_m, log_rest = -np.log1p(np.exp(-middle)), -np.log1p(np.exp(middle))
        small = (stages + 1) * log_rest - log_minus_m > surplus
        low, high = np.where(small, middle, low), np.where(small, high, middle)
    m = -1.0 / (1.0 + np.exp(-0.5 * (low + high)))[:, None]
    r = np.exp(chain.scales(log_lambda))
    growth = np.exp(chain.log_growth)[None, :] * r * (1.0 + m)
    mean_u = np.concatenate([np.ones_like(m), np.cumprod(growth, axis=1)[:, :-1]], axis=1)[
        :, chain.stage_of_gate
    ]
    share = np.maximum(chain.gate_share, 1e-12)
    q = share * m / (1.0 + m) / mean_u / chain.reading
    p = r[:, chain.stage_of_gate] * chain.sigma2 * share * m / q
    theta = np.full(surplus.shape, np.pi)
    for _ in range(8):  # damped in the logarithm, where both keep their sign
        here = sweep(chain, p + 0j, q + 0j, np.asarray(log_lambda), theta)
        r_gate = gate_scales(chain, log_lambda)
        slope = weight_function(chain, p, q, r_gate)[2]
        beta = 1.0 / (r_gate * chain.sigma2)
        p = _half_way(p, np.real(to_host(here.g)) / (slope * beta))
        q = _half_way(q, np.real(to_host(here.k)) / (slope * beta))
    p, q, ok, _ = newton(chain, chain, p + 0j, q + 0j, np.asarray(log_lambda), theta, tol, 25)
    return p, q, ok & (np.real(p).min(axis=1) > 0) & (np.real(q).max(axis=1) <= 0)


def _half_way(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The geometric mean where the signs agree, else the old value."""
    return np.where(old * new > 0, np.sign(old) * np.sqrt(np.abs(old * new)), old)


def newton(
    chain: Chain,
    small: Chain,
    p: np.ndarray,
    q: np.ndarray,
    log_lambda: np.ndarray,
    theta: np.ndarray,
    tol: float,
    max_iterations: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Newton until the relative step is below ``tol``; returns p, q, converged, last relative step.

    A step longer than half of a strength is shortened; a point whose strengths leave the lower half plane
    (for theta < pi) by more than rounding is given up. On the real axis outside the support the strengths are
    real and only the fact matters: there a rough Newton step is enough (see `_OUTSIDE_STEP`).
    """
    p, q = p.copy(), q.copy()
    relative = np.full(len(log_lambda), np.inf)
    alive = np.ones(len(log_lambda), dtype=bool)
    gates = chain.n_gates
    for _ in range(max_iterations):
        work = np.flatnonzero(alive & ~(relative < tol))
        if work.size == 0:
            break
        try:
            found = newton_step(chain, small, p[work], q[work], log_lambda[work], theta[work])
        except np.linalg.LinAlgError:  # an exactly singular Hessian at one point: none of this batch moves
            alive[work] = False
            break
        finite = np.isfinite(found.relative)
        alive[work[~finite]] = False
        work, found = work[finite], found.at(finite)
        damping = np.minimum(1.0, 0.5 / np.maximum(found.relative, 1e-300))[:, None]
        p[work] += damping * found.step[:, :gates]
        q[work] += damping * found.step[:, gates:]
        relative[work] = found.relative
        outside = (found.relative < _OUTSIDE_STEP) & is_real(p[work], q[work]) & (theta[work] <= REAL_AXIS)
        relative[work[outside]] = 0.0
        alive[work] &= physical(p[work], q[work])
    return p, q, alive & (relative < tol), relative


def is_real(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Whether all strengths of a point are real up to rounding: then it is outside the support."""
    both = np.concatenate([p, q], axis=1)
    return np.all(np.abs(np.imag(both)) <= _REAL * np.abs(both), axis=1, keepdims=True)[:, 0]


def physical(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Whether all strengths of a point lie in the closed lower half plane, up to rounding."""
    both = np.concatenate([p, q], axis=1)
    return np.all(np.imag(both) <= _SIGN_SLACK * np.abs(both), axis=1, keepdims=True)[:, 0]


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
    p, q, ok = p.copy(), q.copy(), ok.copy()
    while True:
        work = np.flatnonzero(ok & (theta > last))
        if work.size == 0:
            return p, q, ok
        target = np.maximum(theta[work] - step[work], last)
        ahead = (target - theta[work])[:, None]
        guess_p, guess_q = p[work] * np.exp(slope_p[work] * ahead), q[work] * np.exp(slope_q[work] * ahead)
        new_p, new_q, good, _ = newton(chain, chain, guess_p, guess_q, log_lambda[work], target, tol, 5)
        done, failed = work[good], work[~good]
        slope_p[done] = np.log(new_p[good] / p[done]) / ahead[good]
        slope_q[done] = np.log(new_q[good] / q[done]) / ahead[good]
        p[done], q[done], theta[done] = new_p[good], new_q[good], target[good]
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
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Newton on the real axis; points where it fails are carried there from arg lambda = pi."""
    theta = np.full(len(log_lambda), REAL_AXIS)
    new_p, new_q, ok, _ = newton(chain, small, p, q, log_lambda, theta, tol, max_iterations)
    bad = np.flatnonzero(~ok)
    if bad.size:
        far_p, far_q, _ = from_scratch(small, log_lambda[bad])
        far_p, far_q, good, _ = newton(
            chain, small, far_p, far_q, log_lambda[bad], theta[bad], tol, 2 * max_iterations
        )
        new_p[bad], new_q[bad], ok[bad] = far_p, far_q, good
    return new_p, new_q, ok


def evaluate(
    chain: Chain, small: Chain, p: np.ndarray, q: np.ndarray, log_lambda: np.ndarray, tol: float
) -> Solution:
    """Distribution function and density from the strengths, with the residual recomputed from them.

    A point is converged if the next Newton step (relative to the strengths) would be below ``tol``. Outside
    the support, where F is a constant whatever the real strengths are, it is enough that neither the density
    nor the second-order error of F is there.
    """
    p, q = lowered(p), lowered(q)
    theta = np.full(len(log_lambda), REAL_AXIS)
    r = gate_scales(chain, log_lambda)
    here = sweep(chain, p, q, log_lambda, theta, log_det=True)
    second = sweep(small, p, q, log_lambda, theta, hessian=True).hessian
    assert second is not None and here.log_det is not None
    last = _step_from(chain, p, q, r, to_host(here.k), to_host(here.g), to_host(second))
    constants = weight_function(chain, p, q, r)[1].sum(axis=1)
    psi = to_host(chain.mean(here.log_det)) + constants
    correction = 0.5 * (last.gradient * last.step).sum(axis=1)
    norm = np.pi * chain.s_out
    error = np.abs(np.imag(correction)) / norm + np.abs(correction) ** 1.5 / norm
    density = -2.0 / np.pi * np.imag(to_host(here.m))
    real = (np.abs(density) < _NO_DENSITY) & (np.abs(np.imag(correction)) < _NO_DENSITY)
    outside = real & (last.relative < 0.5)
    error = np.where(outside, 0.0, error)
    settled = (((last.relative < tol) & (error < _F_ERROR)) | outside) & physical(p, q)
    status = np.where(settled, int(Status.CONVERGED), int(Status.MAX_ITERATIONS))
    status = np.where(np.isfinite(psi), status, int(Status.NOT_FINITE))
    return Solution(
        log_lambda=np.asarray(log_lambda),
        p=p,
        q=q,
        upper=np.imag(psi + correction) / norm,
        density=density,
        log_potential=np.real(psi + correction) / chain.s_out,
        residual=last.relative,
        error=error,
        status=status,
        site_log=np.imag(to_host(here.log_det)) / norm,
    )
