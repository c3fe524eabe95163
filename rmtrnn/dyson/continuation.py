"""Strengths of the untied Dyson equation without any guess: continuation in arg lambda.

On the negative real axis the resolvent is real and the equations are easy. From there every point is
carried along the arc lambda = |lambda| e^{i theta}, theta from pi to 0, on a small part of the sites; for
theta > 0 the solution with Im p, Im q <= 0 is the only one, so a step is accepted only if it keeps these
signs. At the end of the arc the strengths are polished on all sites.

Newton's method reaches the negative real axis from a first guess that knows only mean growths. Where that is
too far off, as in long chains, it marches down the axis from above the law, where all is easy (`Far`).
"""

from __future__ import annotations

import numpy as np

from rmtrnn.dyson.newton import REAL_AXIS, REFRESH, gate_scales, newton, weight_function
from rmtrnn.dyson.recursive_green import Chain, sweep

_FIRST_STEP = 0.35  # of the arc, in radians
_LAST_ANGLE = 0.02  # from here one step leads to the real axis
_SMALLEST_STEP = 1e-5
_GUESS_RANGE = (-100.0, 100.0)  # of the logarithm of a first guess: far outside it may say anything
_DEPTHS = np.array([50.0, 70.0])  # of log x below log m_1
_NO_ATOM, _SETTLED_ATOM = 1e-6, 1e-4  # mass; change of it between the depths
_ABOVE, _DAMPED = 4.0, 20  # where a march starts, above log m_1; iterations before Newton's method there
_MARCH_TOL = 1e-3  # of its Newton steps
_FIRST_LENGTH, _SHORTEST_LENGTH, _LARGEST_FALL = 1.0, 2e-3, 0.2  # of its steps; of the smeared law in a step
_DEEPEST = 100.0  # below log m_1, per stage
_BEYOND_MARCH = 1.0  # below its last point
_CLEARLY = 20.0  # times that
_ROUNDS, _STILL = 60, 1e-6  # of damped iterations, and change of m in the last one


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
    return p, q, ok & _negative(p, q)


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


def mass_at_zero(chain: Chain, far: Far | None = None) -> float:
    """P(s = 0) = lim E[x/(x + s^2)] as x -> 0, on the negative real axis, where the equations are easy.

    That falls with x, like a power where the law reaches down to s = 0. It counts as an atom if it does not
    change over many orders of magnitude; 0 otherwise, also where the strengths have not settled. ``far``, if
    it marches, finds the strengths to start from; else they are iterated.
    """
    log_x = chain.log_mean - _DEPTHS
    if far is not None and far.marching:
        m, settled = _marched(chain, far, log_x)
    else:
        m, settled = _iterated(chain, log_x)
    left = 1.0 + m
    atom = settled and left[-1] > _NO_ATOM and left[0] - left[-1] < _SETTLED_ATOM
    return float(left[-1]) if atom else 0.0


def _marched(chain: Chain, far: Far, log_x: np.ndarray) -> tuple[np.ndarray, bool]:
    """m on the negative real axis, and whether it was found; on few sites where it still falls clearly."""
    theta = np.full(log_x.shape, np.pi)
    p, q, ok = far.on_negative_axis(log_x)
    m = np.real(sweep(far.chain, p, q, log_x, theta).m)
    if not ok.all() or m[0] - m[-1] > _CLEARLY * _SETTLED_ATOM:
        return m, False
    p, q, ok, *_ = newton(chain, far.chain, p, q, log_x, theta, _STILL, 40)
    return np.real(sweep(chain, p, q, log_x, theta).m), bool(ok.all())


def _iterated(chain: Chain, log_x: np.ndarray) -> tuple[np.ndarray, bool]:
    """m on the negative real axis by damped iterations, and whether it has settled."""
    p, q, m = damped(chain, *first_guess(chain, log_x), log_x, 8)
    for _ in range(_ROUNDS):
        p, q, new = damped(chain, p, q, log_x, 8)
        change, m = np.abs(new - m).max(), new
        if change < _STILL:
            return m, True
    return m, False


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
    inverse = np.full((len(p), chain.unknowns.count, chain.unknowns.count), np.nan + 0j)
    p, q, ok = p.copy(), q.copy(), ok.copy()
    while True:
        work = np.flatnonzero(ok & (theta > last))
        if work.size == 0:
            return p, q, ok
        target = np.maximum(theta[work] - step[work], last)
        ahead = (target - theta[work])[:, None]
        guess_p, guess_q = p[work] * np.exp(slope_p[work] * ahead), q[work] * np.exp(slope_q[work] * ahead)
        new_p, new_q, good, _, new_inverse = newton(
            chain, chain, guess_p, guess_q, log_lambda[work], target, tol, REFRESH, inverse[work]
        )
        done, failed = work[good], work[~good]
        slope_p[done] = np.log(new_p[good] / p[done]) / ahead[good]
        slope_q[done] = np.log(new_q[good] / q[done]) / ahead[good]
        p[done], q[done], theta[done] = new_p[good], new_q[good], target[good]
        inverse[done], inverse[failed] = new_inverse[good], np.nan
        step[done] = np.minimum(1.6 * step[done], 0.6)
        step[failed] *= 0.35
        ok[failed] = step[failed] > _SMALLEST_STEP


class Far:
    """Strengths on the sites of ``chain`` without any guess.

    ``marching``: where the first guess is not good enough, they come from a march down the negative real
    axis, which is kept: ``log_lambda`` of its points, falling, strengths ``x`` there and ``smeared``, the
    law's E[|lambda|/(|lambda| + s^2)].
    """

    def __init__(self, chain: Chain, marching: bool = False) -> None:
        self.chain = chain
        self.marching = marching
        self.log_lambda = np.zeros(0)
        self.x = np.zeros((0, 2 * chain.n_gates), dtype=complex)
        self.smeared = np.zeros(0)
        self._inverse: np.ndarray | None = None
        self._slope = np.zeros(2 * chain.n_gates, dtype=complex)
        self._length = _FIRST_LENGTH

    def on_negative_axis(self, log_lambda: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """p > 0 > q at arg lambda = pi, and whether they were found."""
        if not self.marching:
            return start(self.chain, log_lambda)
        self.march(float(np.min(log_lambda)), 0.0)
        if self.log_lambda.size < 2:
            return start(self.chain, log_lambda)
        known = self.log_lambda[-1] - _BEYOND_MARCH <= log_lambda
        # On the line between neighbours; above the first point on that through the first two.
        right = np.clip(np.searchsorted(-self.log_lambda, -log_lambda), 1, self.log_lambda.size - 1)
        before, after = self.log_lambda[right - 1], self.log_lambda[right]
        share = ((log_lambda - before) / (after - before))[:, None]
        x = self.x[right - 1] * np.exp(share * np.log(self.x[right] / self.x[right - 1]))
        p, q = x[:, : self.chain.n_gates], x[:, self.chain.n_gates :]
        theta = np.full(log_lambda.shape, np.pi)
        p, q, ok, *_ = newton(self.chain, self.chain, p, q, log_lambda, theta, _MARCH_TOL, 25)
        return p, q, ok & known & _negative(p, q)

    def near_real_axis(self, log_lambda: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """p and q carried from there to a small arg lambda, and whether they arrived."""
        p, q, ok = self.on_negative_axis(log_lambda)
        return rotate(self.chain, log_lambda, p, q, ok, _LAST_ANGLE)

    def march(self, log_lambda: float, smeared: float) -> None:
        """Go on to ``log_lambda``, or to where only ``smeared`` is left; less far where the way is lost."""
        if not self.log_lambda.size and not self._begin():
            return
        lowest = max(log_lambda, self.chain.log_mean - _DEEPEST * len(self.chain.stages))  # atoms at s = 0
        while self.log_lambda[-1] > lowest and self.smeared[-1] > smeared:
            if not self._step():
                break

    def _begin(self) -> bool:
        """The first point, above the law."""
        chain, u = self.chain, np.array([self.chain.log_mean + _ABOVE])
        p, q, _ = damped(chain, *first_guess(chain, u), u, _DAMPED)
        p, q, ok, _, inverse = newton(chain, chain, p + 0j, q + 0j, u, np.full(1, np.pi), _MARCH_TOL, 40)
        if not (ok & _negative(p, q))[0]:
            return False
        self._keep(u, p, q, self._smeared(p, q, u), inverse)
        return True

    def _step(self) -> bool:
        """One more point, no further than where the smeared law falls by `_LARGEST_FALL`."""
        chain, gates, theta = self.chain, self.chain.n_gates, np.full(1, np.pi)
        while self._length > _SHORTEST_LENGTH:
            ahead = self.log_lambda[-1:] - self._length
            guess = (self.x[-1] * np.exp(-self._slope * self._length))[None]
            p, q, ok, _, inverse = newton(
                chain, chain, guess[:, :gates], guess[:, gates:], ahead, theta, _MARCH_TOL, 10, self._inverse
            )
            smeared = self._smeared(p, q, ahead) if (ok & _negative(p, q))[0] else np.nan
            fall = self.smeared[-1] - smeared
            if 0.0 <= fall <= _LARGEST_FALL:  # not where it is nan
                self._slope = np.log(self.x[-1] / np.concatenate([p, q], axis=1)[0]) / self._length
                self._keep(ahead, p, q, smeared, inverse)
                self._length *= min(2.0, max(0.5, 0.5 * _LARGEST_FALL / max(fall, 1e-9)))
                return True
            self._length *= 0.4
        return False

    def _smeared(self, p: np.ndarray, q: np.ndarray, log_lambda: np.ndarray) -> float:
        return 1.0 + float(np.real(sweep(self.chain, p, q, log_lambda, np.full(1, np.pi)).m[0]))

    def _keep(
        self, log_lambda: np.ndarray, p: np.ndarray, q: np.ndarray, smeared: float, inverse: np.ndarray
    ) -> None:
        self.log_lambda = np.append(self.log_lambda, log_lambda)
        self.x = np.concatenate([self.x, np.concatenate([p, q], axis=1)])
        self.smeared = np.append(self.smeared, smeared)
        self._inverse = inverse


def _negative(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Whether strengths have the signs of those on the negative real axis."""
    return (np.real(p).min(axis=1) > 0) & (np.real(q).max(axis=1) <= 0)


def from_scratch(chain: Chain, log_lambda: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strengths near the real axis without any guess: `start`, then `rotate`."""
    return Far(chain).near_real_axis(log_lambda)


def polish(
    chain: Chain,
    small: Chain,
    log_lambda: np.ndarray,
    p: np.ndarray,
    q: np.ndarray,
    tol: float,
    max_iterations: int = 15,
    inverse: np.ndarray | None = None,
    far: Far | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Newton on the real axis; where it fails, points are carried there from arg lambda = pi by ``far``."""
    theta = np.full(len(log_lambda), REAL_AXIS)
    new_p, new_q, ok, _, inverse = newton(chain, small, p, q, log_lambda, theta, tol, max_iterations, inverse)
    bad = np.flatnonzero(~ok)
    if bad.size:
        far_p, far_q, _ = (far or Far(small)).near_real_axis(log_lambda[bad])
        new_p[bad], new_q[bad], ok[bad], _, inverse[bad] = newton(
            chain, small, far_p, far_q, log_lambda[bad], theta[bad], tol, 2 * max_iterations
        )
    return new_p, new_q, ok, inverse
