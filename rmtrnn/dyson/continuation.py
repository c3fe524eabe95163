"""Continuation from the negative to the positive real axis: the untied Dyson equation without a guess.

On the negative real axis the equations are easy (`negative_axis`). From there every point is carried along
the arc λ = |λ| e^{i theta}, theta from pi to 0 (a homotopy in arg λ), on a small part of the
sites. For theta > 0 the solution with Im y, Im x <= 0 is the only one, so a step is accepted only if it keeps
these signs. At the end of the arc the self-energies are corrected on more sites.

Where the first guess on the negative axis is too far off, as in long chains, the axis is followed from above
the law downwards (path following).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rmtrnn.dyson.negative_axis import (
    AXIS,
    Reached,
    damped_iteration,
    first_guess,
    has_axis_signs,
    settled_transform,
    solve_on_negative_axis,
    stieltjes_transform,
)
from rmtrnn.dyson.newton import Corrected, newton
from rmtrnn.dyson.pencil import Chain
from rmtrnn.dyson.self_energy import Points, SelfEnergy


@dataclass(frozen=True)
class ArcSettings:
    """Numbers of the homotopy in arg λ; step control only, the result is that of Newton's method."""

    # Radians: first and longest step, and the angle from which one step leads to the real axis. Empirical.
    first_step: float = 0.35
    longest_step: float = 0.6
    last_angle: float = 0.02
    # Factors of the step length after success and failure, and the length (radians) that gives a point up.
    growth: float = 1.6
    shrink: float = 0.35
    shortest_step: float = 1e-5
    # Newton iterations per step: those of one Hessian.
    iterations: int = 6


@dataclass(frozen=True)
class PathSettings:
    """Numbers of the path down the negative axis, in units of log t; step control only."""

    # Where the path starts, above log m_1, and the damped iterations before Newton's method there.
    above: float = 4.0
    damped: int = 20
    # Tolerance of the Newton steps, and their number at the start and on the path.
    tol: float = 1e-3
    start_iterations: int = 40
    iterations: int = 10
    # First and shortest step, and the fall of the Stieltjes transform that a step may make.
    first_step: float = 1.0
    shortest_step: float = 2e-3
    largest_fall: float = 0.2
    # Per stage, below log m_1: deeper only atoms at s = 0 are left.
    deepest: float = 100.0
    # How far below its last point the path may be extrapolated.
    beyond: float = 1.0


_ARC, _PATH = ArcSettings(), PathSettings()


class Continuation:
    """Self-energies on the sites of ``chain`` without any guess.

    ``path_following``: where the first guess on the negative axis is not good enough, self-energies come from
    a path down that axis, which is kept: ``log_t`` of its points, falling, ``coefficients`` there and
    ``stieltjes``, the law's E[t/(t + s²)].
    """

    def __init__(self, chain: Chain, path_following: bool = False) -> None:
        self.chain = chain
        self.path_following = path_following
        self.log_t = np.zeros(0)
        self.coefficients = np.zeros((0, 2 * chain.n_gates), dtype=complex)
        self.stieltjes = np.zeros(0)
        self._inverse: np.ndarray | None = None
        self._slope = np.zeros(2 * chain.n_gates, dtype=complex)
        self._length = _PATH.first_step

    def on_negative_axis(self, log_lambda: np.ndarray) -> Reached:
        """Self-energies at arg λ = pi, and whether they were found."""
        if not self.path_following:
            return solve_on_negative_axis(self.chain, log_lambda)
        self.follow(float(np.min(log_lambda)), 0.0)
        if self.log_t.size < 2:
            return solve_on_negative_axis(self.chain, log_lambda)
        known = self.log_t[-1] - _PATH.beyond <= log_lambda
        guess = SelfEnergy.of(self._interpolated(log_lambda))
        points = Points.negative(log_lambda)
        found = newton(self.chain, self.chain, guess, points, _PATH.tol, AXIS.iterations)
        return Reached(found.sigma, found.converged & known & has_axis_signs(found.sigma))

    def near_real_axis(self, log_lambda: np.ndarray) -> Reached:
        """Self-energies carried from the negative axis to a small arg λ, and whether they arrived."""
        return continue_in_argument(
            self.chain, log_lambda, self.on_negative_axis(log_lambda), _ARC.last_angle
        )

    def transform(self, log_lambda: np.ndarray) -> np.ndarray:
        """E[t/(t + s²)] at t = exp(log_lambda); nan where the equations were not solved."""
        sigma, ok = self.on_negative_axis(log_lambda)
        found = np.full(log_lambda.shape, np.nan)
        if ok.any():
            found[ok] = stieltjes_transform(self.chain, sigma[ok], log_lambda[ok])
        return found

    def follow(self, log_lambda: float, stieltjes: float) -> None:
        """Follow the axis down to ``log_lambda``, or to where only ``stieltjes`` is left.

        The path ends earlier where no step succeeds.
        """
        if not self.log_t.size and not self._begin():
            return
        lowest = max(log_lambda, self.chain.log_mean - _PATH.deepest * len(self.chain.stages))
        while self.log_t[-1] > lowest and self.stieltjes[-1] > stieltjes:
            if not self._step():
                break

    def _interpolated(self, log_lambda: np.ndarray) -> np.ndarray:
        """Coefficients log-linear between points of the path; above the first on the line through two."""
        right = np.clip(np.searchsorted(-self.log_t, -log_lambda), 1, self.log_t.size - 1)
        before, after = self.log_t[right - 1], self.log_t[right]
        share = ((log_lambda - before) / (after - before))[:, None]
        ratio = np.log(self.coefficients[right] / self.coefficients[right - 1])
        return self.coefficients[right - 1] * np.exp(share * ratio)

    def _begin(self) -> bool:
        """The first point, above the law."""
        chain, at = self.chain, np.array([self.chain.log_mean + _PATH.above])
        sigma, _ = damped_iteration(chain, first_guess(chain, at), at, _PATH.damped)
        sigma = SelfEnergy(sigma.y + 0j, sigma.x + 0j)
        found = newton(chain, chain, sigma, Points.negative(at), _PATH.tol, _PATH.start_iterations)
        if not (found.converged & has_axis_signs(found.sigma))[0]:
            return False
        self._keep(at, found, float(stieltjes_transform(chain, found.sigma, at)[0]))
        return True

    def _step(self) -> bool:
        """One more point, where the Stieltjes transform has fallen by `largest_fall` at most."""
        chain = self.chain
        while self._length > _PATH.shortest_step:
            at = self.log_t[-1:] - self._length
            guess = SelfEnergy.of((self.coefficients[-1] * np.exp(-self._slope * self._length))[None])
            found = newton(
                chain, chain, guess, Points.negative(at), _PATH.tol, _PATH.iterations, self._inverse
            )
            good = (found.converged & has_axis_signs(found.sigma))[0]
            value = float(stieltjes_transform(chain, found.sigma, at)[0]) if good else np.nan
            fall = self.stieltjes[-1] - value
            if 0.0 <= fall <= _PATH.largest_fall:  # not where it is nan
                self._slope = np.log(self.coefficients[-1] / found.sigma.coefficients[0]) / self._length
                self._keep(at, found, value)
                self._length *= min(2.0, max(0.5, 0.5 * _PATH.largest_fall / max(fall, 1e-9)))
                return True
            self._length *= 0.4
        return False

    def _keep(self, log_t: np.ndarray, found: Corrected, stieltjes: float) -> None:
        self.log_t = np.append(self.log_t, log_t)
        self.coefficients = np.concatenate([self.coefficients, found.sigma.coefficients])
        self.stieltjes = np.append(self.stieltjes, stieltjes)
        self._inverse = found.inverse


def continue_in_argument(
    chain: Chain, log_lambda: np.ndarray, start: Reached, last: float, tol: float = 1e-3
) -> Reached:
    """Carry self-energies from arg λ = pi to ``last``; each point has its own step length."""
    theta = np.full(len(log_lambda), np.pi)
    length = np.full(len(log_lambda), _ARC.first_step)
    coefficients, ok = start.sigma.coefficients.copy(), start.ok.copy()
    slope = np.zeros_like(coefficients)
    unknowns = chain.parametrisation.count
    inverse = np.full((len(coefficients), unknowns, unknowns), np.nan + 0j)
    while (work := np.flatnonzero(ok & (theta > last))).size:
        target = np.maximum(theta[work] - length[work], last)
        ahead = (target - theta[work])[:, None]
        guess = SelfEnergy.of(coefficients[work] * np.exp(slope[work] * ahead))
        points = Points(log_lambda[work], target)
        found = newton(chain, chain, guess, points, tol, _ARC.iterations, inverse[work])
        good = found.converged
        done, failed = work[good], work[~good]
        new = found.sigma.coefficients[good]
        slope[done] = np.log(new / coefficients[done]) / ahead[good]
        coefficients[done], theta[done] = new, target[good]
        inverse[done], inverse[failed] = found.inverse[good], np.nan
        length[done] = np.minimum(_ARC.growth * length[done], _ARC.longest_step)
        length[failed] *= _ARC.shrink
        ok[failed] = length[failed] > _ARC.shortest_step
    return Reached(SelfEnergy.of(coefficients), ok)


def correct(
    chain: Chain,
    small: Chain,
    sigma: SelfEnergy,
    log_lambda: np.ndarray,
    tol: float,
    iterations: int,
    inverse: np.ndarray | None = None,
    continuation: Continuation | None = None,
) -> Corrected:
    """Newton corrector on the real axis, tried once more where it does not converge.

    With a ``continuation`` lost points are carried from the negative axis. Without, the Hessian is that of
    ``chain`` instead of ``small``: deep in a tail few sites do not tell it.
    """
    points = Points.real(log_lambda)
    found = newton(chain, small, sigma, points, tol, iterations, inverse)
    lost = np.flatnonzero(~found.converged)
    if lost.size == 0:
        return found
    if continuation is None:
        return found.replaced(lost, newton(chain, chain, sigma[lost], points[lost], tol, iterations))
    start = continuation.near_real_axis(log_lambda[lost]).sigma
    return found.replaced(lost, newton(chain, small, start, points[lost], tol, 2 * iterations))


def mass_at_zero(chain: Chain, continuation: Continuation | None = None) -> float:
    """P(s = 0) = lim E[t/(t + s²)] as t -> 0.

    The transform falls with t, like a power where the law reaches down to s = 0. It counts as an atom if it
    does not change over many orders of magnitude; 0 otherwise, also where the self-energies have not settled.
    ``continuation``, if it follows a path, finds the self-energies to start from; else they are iterated.
    """
    log_t = chain.log_mean - np.array(AXIS.depths)
    if continuation is not None and continuation.path_following:
        left, settled = _transform_by_path(chain, continuation, log_t)
    else:
        left, settled = settled_transform(chain, log_t)
    atom = settled and left[-1] > AXIS.least_atom and left[0] - left[-1] < AXIS.settled_atom
    return float(left[-1]) if atom else 0.0


def _transform_by_path(
    chain: Chain, continuation: Continuation, log_t: np.ndarray
) -> tuple[np.ndarray, bool]:
    """E[t/(t + s²)], and whether it was found; on few sites where it still falls clearly."""
    points = Points.negative(log_t)
    sigma, ok = continuation.on_negative_axis(log_t)
    if not ok.all():
        return np.full(log_t.shape, np.nan), False
    left = stieltjes_transform(continuation.chain, sigma, log_t)
    if left[0] - left[-1] > 20.0 * AXIS.settled_atom:
        return left, False
    found = newton(chain, continuation.chain, sigma, points, AXIS.still, 40)
    return stieltjes_transform(chain, found.sigma, log_t), bool(found.converged.all())
