"""Newton corrector of the untied Dyson equation near a guess, and what follows from the self-energies.

The unknowns are logarithms of the coefficients, which follow powers of λ near the edges, or few numbers
that these depend on (see `self_energy`). The Hessian is taken once, on some of the sites, and its inverse is
then corrected by symmetric rank-one updates from the gradients. These cost far less and are those of all
sites: so is the solution. For arg λ > 0 the solution with Im y, Im x <= 0 is the only one (Helton,
Rashidi Far, Speicher 2007), and only such a one is accepted. `continuation` needs no guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmtrnn._core.progress import advance
from rmtrnn._core.status import Status
from rmtrnn.dyson.functional import (
    gradient,
    gradient_in_unknowns,
    inverse_hessian,
    second_order_change,
    values_of,
)
from rmtrnn.dyson.inversion.solution import Solution
from rmtrnn.dyson.pencil import Chain
from rmtrnn.dyson.recursive_green import green_averages
from rmtrnn.dyson.self_energy import REAL_AXIS, Points, SelfEnergy


@dataclass(frozen=True)
class NewtonSettings:
    """Numbers of the quasi-Newton method; moved by three both ways in tests/dyson/test_numbers.py."""

    # Gauge-invariant norm of the longest step. Empirical: a change of log y by 0.5 stays on one branch.
    longest_step: float = 0.5
    # Iterations after which the Hessian is taken afresh. Empirical: the updates have not found the way.
    refresh: int = 6
    # Relative step that is enough outside the support: F is exactly 0 or 1 (or the mass below a gap) whatever
    # the real self-energies are. Any number far below 1 serves.
    outside_step: float = 0.1
    # |miss . change|/(|miss| |change|) below which a rank-one update is left out: Nocedal and Wright 2006,
    # Numerical Optimization, (6.26).
    least_denominator: float = 1e-8
    # Density and second-order error of F below which a point lies outside the support: the square root of
    # rounding, since both vanish like a square root at an edge.
    no_density: float = 1e-7
    # Second-order error of F beyond which a point does not count as solved: a tenth of the error aimed at.
    largest_error: float = 1e-4
    # Radians from the real axis where the response of real self-energies is looked at. Derived: far above
    # `REAL_AXIS`, and its square far below rounding of the response.
    tilt: float = 1e-6


_NEWTON = NewtonSettings()


class Corrected(NamedTuple):
    """What `newton` found, per point: the last relative step, and the inverse Hessian as steps updated it."""

    sigma: SelfEnergy
    converged: np.ndarray
    relative: np.ndarray
    inverse: np.ndarray

    def replaced(self, pick: np.ndarray, other: Corrected) -> Corrected:
        """A copy with the points ``pick`` taken from ``other``."""
        parts = [values.copy() for values in self[1:]]
        for values, new in zip(parts, other[1:], strict=True):
            values[pick] = new
        return Corrected(self.sigma.replaced(pick, other.sigma), *parts)


def newton(
    chain: Chain,
    small: Chain,
    sigma: SelfEnergy,
    points: Points,
    tol: float,
    max_iterations: int,
    inverse: np.ndarray | None = None,
) -> Corrected:
    """Solve ∇Ψ = 0, theory.md (13), on ``chain`` until the relative quasi-Newton step is below ``tol``.

    The Hessian comes from ``small``, or its inverse is given and used where finite. Longer steps than
    `NewtonSettings.longest_step` are shortened; coefficients that leave the lower half plane are put back by
    reflection. On the real axis outside the support the self-energies are real and only the fact matters:
    there a rough step is enough.
    """
    advance("Dyson equation: points solved", len(points))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what overflows is given up
        iteration = _Iteration(chain, small, sigma, points, inverse)
        for number in range(max_iterations):
            work = iteration.unsettled(tol)
            if work.size == 0:
                break
            work, step = iteration.step(work)
            again = ~iteration.is_settled(tol)[work] & iteration.alive[work]
            work, step = work[again], step[again]
            if work.size == 0 or number == max_iterations - 1:
                break
            iteration.update(work, step)
            if number % _NEWTON.refresh == _NEWTON.refresh - 1:
                iteration.take_hessian(work[iteration.alive[work]])
    return iteration.result(tol)


class _Iteration:
    """State of the quasi-Newton iteration at all points; methods work on the points ``work``."""

    def __init__(
        self, chain: Chain, small: Chain, sigma: SelfEnergy, points: Points, inverse: np.ndarray | None
    ) -> None:
        self.chain, self.small, self.points = chain, small, points
        self.unknowns = chain.parametrisation
        self.relative = np.full(len(points), np.inf)
        self.is_inside = np.zeros(len(points), dtype=bool)
        size = (len(points), self.unknowns.count, self.unknowns.count)
        self.inverse = np.full(size, np.nan + 0j) if inverse is None else inverse.copy()
        self.coefficients = self.unknowns.projected(sigma.coefficients)
        self.take_hessian(np.flatnonzero(~np.isfinite(self.inverse[:, 0, 0])))
        self.slope = gradient_in_unknowns(chain, self.coefficients, points)
        self.alive = np.isfinite(self.inverse[:, 0, 0]) & np.isfinite(self.slope).all(axis=1)

    def is_settled(self, tol: float) -> np.ndarray:
        """Whether the last step was small, also beside the distance to the real axis."""
        return (self.relative < tol) & self.is_inside

    def unsettled(self, tol: float) -> np.ndarray:
        return np.flatnonzero(self.alive & ~self.is_settled(tol))

    def take_hessian(self, pick: np.ndarray) -> None:
        """Take the inverse Hessians of the points ``pick`` on the small chain."""
        if pick.size:
            self.inverse[pick] = inverse_hessian(self.small, self.coefficients[pick], self.points[pick])

    def step(self, work: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Move the points ``work``; those of finite steps and their steps."""
        step = newton_step(self.inverse[work], self.slope[work])
        change = self.unknowns.log_change(step)
        self.relative[work] = np.abs(change).max(axis=1)
        self.is_inside[work] = stays_inside(self.coefficients[work], change, self.unknowns.slack)
        self.alive[work] &= np.isfinite(self.relative[work])
        step, work = step[self.alive[work]], work[self.alive[work]]
        step *= shortening(self.unknowns.step_norm(step), _NEWTON.longest_step)[:, None]
        moved, step = self.unknowns.after_step(self.coefficients[work], step)
        self.coefficients[work] = moved
        outside = (self.relative[work] < _NEWTON.outside_step) & SelfEnergy.of(moved).is_real
        outside &= self.points.theta[work] <= REAL_AXIS
        self.relative[work[outside]], self.is_inside[work[outside]] = 0.0, True
        self.alive[work] &= np.isfinite(moved).all(axis=1)
        return work, step

    def update(self, work: np.ndarray, step: np.ndarray) -> None:
        """New gradients, and the inverse Hessians that they ask for."""
        new = gradient_in_unknowns(self.chain, self.coefficients[work], self.points[work])
        self.inverse[work] = symmetric_rank_one(self.inverse[work], step, new - self.slope[work])
        self.slope[work] = new
        self.alive[work] &= np.isfinite(new).all(axis=1)

    def result(self, tol: float) -> Corrected:
        sigma = SelfEnergy.of(self.coefficients)
        found = self.alive & self.is_settled(tol) & self.unknowns.admits(sigma)
        return Corrected(sigma, found, self.relative, self.inverse)


def stays_inside(coefficients: np.ndarray, change: np.ndarray, slack: float) -> np.ndarray:
    """Whether the ``change`` of the logarithms leaves all coefficients in the lower half plane for sure.

    Only such a point is near the solution of the resolvent: between the poles of single sites other, real
    solutions lie nearby. Half the angle to the real axis is left for what follows the change.
    """
    angle = np.abs(np.angle(coefficients))
    distance = np.minimum(angle, np.pi - angle)
    return np.asarray((np.abs(np.imag(change)) <= np.maximum(0.5 * distance, slack)).all(axis=1))


def newton_step(inverse: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """-H^{-1} ∇Ψ of every point, in the unknowns."""
    return -(inverse @ slope[..., None])[..., 0]


def shortening(norm: np.ndarray, longest: float) -> np.ndarray:
    """The factor by which a step of this ``norm`` is shortened so that it is no longer than ``longest``."""
    return np.minimum(1.0, longest / np.maximum(norm, 1e-300))


def symmetric_rank_one(inverse: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Update ``inverse`` (symmetric rank one) so that it maps ``change`` of the gradient to ``step``.

    Ψ is analytic, so its Hessian is complex symmetric (not Hermitian) and so is the update. It is left out
    where its denominator is rounding.
    """
    miss = step - (inverse @ change[..., None])[..., 0]
    denominator = (miss * change).sum(axis=1)
    size = np.linalg.norm(miss, axis=1) * np.linalg.norm(change, axis=1)
    good = np.abs(denominator) > _NEWTON.least_denominator * size
    factor = np.where(good, 1.0, 0.0) / np.where(good, denominator, 1.0)
    return inverse + factor[:, None, None] * miss[:, :, None] * miss[:, None, :]


def _is_outside(chain: Chain, sigma: SelfEnergy, points: Points, flat: np.ndarray) -> np.ndarray:
    """Whether a point lies outside the support: where F is ``flat``, on the branch of the resolvent.

    There F is a constant whatever the real self-energies are. ``flat``: neither density nor change of F.
    """
    outside = flat.copy()
    outside[flat] = on_resolvent_branch(chain, sigma[flat], points.log_lambda[flat])
    return outside


def on_resolvent_branch(chain: Chain, sigma: SelfEnergy, log_lambda: np.ndarray) -> np.ndarray:
    """Whether real self-energies are those of the resolvent, and not another real solution.

    For arg λ > 0 all Im y, Im x < 0, so where they are real all of them fall as λ grows: the
    response to a small arg λ, -(∇²Ψ)^{-1} d ∇Ψ/d theta, must be negative everywhere.
    """
    if len(log_lambda) == 0:
        return np.zeros(0, dtype=bool)
    x = np.real(sigma.coefficients) + 0j
    real, above = Points.real(log_lambda), Points.at(log_lambda, _NEWTON.tilt)
    inverse = inverse_hessian(chain, x, real)
    change = gradient_in_unknowns(chain, x, above) - gradient_in_unknowns(chain, x, real)
    response = chain.parametrisation.log_change(newton_step(inverse, change)) * x / _NEWTON.tilt
    return np.asarray(np.imag(response).max(axis=1) < 0.0)


def evaluate(
    chain: Chain,
    small: Chain,
    sigma: SelfEnergy,
    log_lambda: np.ndarray,
    tol: float,
    inverse: np.ndarray | None = None,
) -> Solution:
    """Evaluate F and its density, theory.md (14), with the residual recomputed from the self-energies.

    A point is converged if the next Newton step (relative) would be below ``tol``, or `_is_outside`. F takes
    what that step would add to it, to second order. ``inverse`` is that of `newton`; where it is not given or
    not finite the Hessian is taken on ``small``.
    """
    sigma, points = sigma.in_lower_half_plane, Points.real(log_lambda)
    coefficients = sigma.coefficients
    green = green_averages(chain, sigma, points, phase=True)
    assert green.phase is not None
    if inverse is None or not np.isfinite(inverse).all():
        inverse = inverse_hessian(small, coefficients, points)
    slope = chain.parametrisation.gradient(coefficients * gradient(chain, sigma, points, green))
    step = newton_step(inverse, slope)
    change = chain.parametrisation.log_change(step)
    relative = np.abs(change).max(axis=1)
    values = values_of(chain, sigma, points.log_lambda, green.phase, green.m)
    correction, error = second_order_change(slope, step, np.pi * chain.s_out)
    flat = np.maximum(np.abs(values.density), np.abs(np.imag(correction))) < _NEWTON.no_density
    outside = _is_outside(small, sigma, points, flat & (relative < 0.5))
    error = np.where(outside, 0.0, error)
    inside = ~sigma.is_real & (relative < tol) & (error < _NEWTON.largest_error)
    inside &= stays_inside(coefficients, change, chain.parametrisation.slack)
    settled = (inside | outside) & chain.parametrisation.admits(sigma)
    survival = values.survival + np.imag(correction)
    status = np.where(settled, int(Status.CONVERGED), int(Status.MAX_ITERATIONS))
    status = np.where(np.isfinite(survival), status, int(Status.NOT_FINITE))
    return Solution(
        log_lambda=points.log_lambda,
        sigma=sigma,
        survival=survival,
        density=values.density,
        residual=relative,
        error=error,
        status=status,
        site_phase=values.site_phase,
    )
