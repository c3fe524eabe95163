"""Newton correction on the full population of self-energies that solve (13) on a subsample.

F is stationary in the self-energies, so their error enters it squared; for some thousand sites that is up to
1e-4, and more where few sites make up the law.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rmtrnn._core.progress import advance
from rmtrnn._core.status import Status
from rmtrnn.dyson.functional import (
    distribution_and_density,
    gradient_in_unknowns,
    inverse_hessian,
    second_order_change,
)
from rmtrnn.dyson.inversion.error_budget import ERRORS
from rmtrnn.dyson.inversion.panel_refinement import extrapolate, step_to_known_end
from rmtrnn.dyson.inversion.solution import Solution, longest_monotone_run
from rmtrnn.dyson.inversion.tail_extension import TAILS
from rmtrnn.dyson.newton import newton_step, shortening, symmetric_rank_one
from rmtrnn.dyson.pencil import Chain
from rmtrnn.dyson.self_energy import Points, SelfEnergy


@dataclass(frozen=True)
class CorrectionSettings:
    """Numbers of the correction; moved by three both ways in tests/dyson/test_numbers.py."""

    # Of the error of F that a Newton step leaves. Derived: it is the square of the error of the Hessian, and
    # that is at most one half, or the step is followed by another.
    leaves: float = 0.25
    # Norm of the longest step, as in `newton`.
    longest_step: float = 0.5
    # Steps. Empirical: rank-one updates settle every point of the published networks in four.
    steps: int = 8
    # Error of F that needs no more steps, and that leaves a point unused: 2 % and 10 % of the error aimed at.
    negligible: float = 2e-5
    unsolved: float = 1e-4
    # Points added at each end of the support.
    at_ends: int = 4


CORRECTION = CorrectionSettings()


def correct_on_full_population(chain: Chain, small: Chain, solution: Solution, tail: float) -> Solution:
    """Evaluate F and density on all sites after quasi-Newton steps from self-energies that solve ``small``.

    Points on another branch are tried once more with self-energies between those of their neighbours. So are
    points of a gap: a subsample can leave one where all sites have none. And the support can end elsewhere:
    points follow until less than ``tail`` lies beyond the last one inside.
    """
    whole = solution.site_phase.shape[1] == chain.n
    found = solution.sorted() if whole else corrected(chain, small, solution.sorted())
    ordered = _in_order(found)
    good = ordered & (found.density > TAILS.empty * found.density.max(initial=0.0))
    inside = np.flatnonzero(good)
    if inside.size == 0:
        return found
    again = found.converged & ~ordered if whole else ~good
    again &= (np.arange(good.size) > inside[0]) & (np.arange(good.size) < inside[-1])
    kept = ordered | ~found.converged
    if again.any():
        other = corrected(chain, small, _from_neighbours(found, again, good))
        better = other.converged & (other.density > 0)
        kept[again] &= ~better
        found = found.at(kept).joined(other.at(better)).sorted()
        kept = _in_order(found) | ~found.converged
    found = found.at(kept)
    return found if whole else _with_ends(chain, small, found, tail)


def _in_order(solution: Solution) -> np.ndarray:
    """Whether each point is solved and on the branch along which F does not fall."""
    good = np.flatnonzero(solution.converged)
    ordered = np.zeros(len(solution.u), dtype=bool)
    ordered[good[longest_monotone_run(solution.survival[good], ERRORS.fall)]] = True
    return ordered


def corrected(chain: Chain, small: Chain, solution: Solution) -> Solution:
    """Quasi-Newton steps on all sites, mostly one, then F and density there.

    The Hessian is that of ``small`` at the first self-energies; the gradients of all sites then correct it
    by symmetric rank-one updates. While it is wrong by less than one half, a step leaves less than a quarter
    of the error of F, and that is stated. Where it is not small, as in a sparse tail, more steps follow; a
    point that they do not settle is not used.
    """
    work = np.flatnonzero(solution.converged)
    left = np.zeros(len(solution.u))
    coefficients, points = solution.sigma.coefficients, Points.real(solution.log_lambda)
    slope = gradient_in_unknowns(chain, coefficients[work], points[work])
    inverse = inverse_hessian(small, coefficients[work], points[work])
    for steps_left in reversed(range(CORRECTION.steps)):
        advance("Dyson equation: points on all sites", work.size)
        coefficients[work], step, change = _stepped(chain, coefficients[work], slope, inverse)
        left[work] = np.where(solution.density[work] > 0, CORRECTION.leaves * change, 0.0)
        more = left[work] > CORRECTION.negligible
        work, step, inverse, before = work[more], step[more], inverse[more], slope[more]
        if work.size == 0 or steps_left == 0:
            break
        slope = gradient_in_unknowns(chain, coefficients[work], points[work])
        inverse = symmetric_rank_one(inverse, step, slope - before)
    status = np.where(left > CORRECTION.unsolved, int(Status.MAX_ITERATIONS), solution.status)
    sigma = SelfEnergy.of(coefficients)
    return averaged_over(chain, replace(solution, sigma=sigma, error=solution.error + left, status=status))


def averaged_over(chain: Chain, solution: Solution) -> Solution:
    """F and density on all sites of ``chain`` at given self-energies."""
    advance("Dyson equation: points on all sites", len(solution.u))
    found = distribution_and_density(chain, solution.sigma, solution.log_lambda)
    return replace(solution, **found._asdict())


def _stepped(
    chain: Chain, coefficients: np.ndarray, slope: np.ndarray, inverse: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One quasi-Newton step: coefficients after it, the step as taken, and what it may change F by."""
    step = newton_step(inverse, slope)
    finite = np.all(np.isfinite(step), axis=1)
    step = np.where(finite[:, None], step, 0.0)
    _, change = second_order_change(slope, step, np.pi * chain.s_out)
    step *= shortening(chain.parametrisation.step_norm(step), CORRECTION.longest_step)[:, None]
    moved, step = chain.parametrisation.after_step(coefficients, step)
    return SelfEnergy.of(moved).in_lower_half_plane.coefficients, step, np.where(finite, change, np.inf)


def _from_neighbours(solution: Solution, some: np.ndarray, good: np.ndarray) -> Solution:
    """Points ``some`` with self-energies log-linear between those of the ``good`` points beside."""
    logs = np.log(solution.sigma.coefficients[good]).T
    at, known = solution.u[some], solution.u[good]
    between = [np.interp(at, known, one.real) + 1j * np.interp(at, known, one.imag) for one in logs]
    return _unjudged(solution.at(some), SelfEnergy.of(np.exp(np.array(between).T)))


def _unjudged(solution: Solution, sigma: SelfEnergy) -> Solution:
    """The points with other self-energies, as if they were solved and inside the support."""
    none = np.zeros(len(solution.u))
    status = np.full(none.shape, int(Status.CONVERGED))
    return replace(solution, sigma=sigma, density=none + 1.0, error=none, status=status)


def _with_ends(chain: Chain, small: Chain, solution: Solution, tail: float) -> Solution:
    """Points between the last one inside the support and the next, until less than ``tail`` lies there."""
    for _ in range(CORRECTION.at_ends):
        guesses = [guess for side in (-1, 1) if (guess := _nearer_to_end(solution, side, tail)) is not None]
        if not guesses:
            break
        found = corrected(chain, small, guesses[0] if len(guesses) == 1 else guesses[0].joined(guesses[1]))
        good = found.converged & (found.density > 0)
        if not good.any():
            break
        solution = solution.joined(found.at(good)).sorted()
    return solution


def _nearer_to_end(solution: Solution, side: int, tail: float) -> Solution | None:
    """A guess of a point between the last one inside the support and the next; None where there is none."""
    step = step_to_known_end(solution, side, tail)
    if step is None:
        return None
    inside, last, u = step
    known, at = solution.at(inside), np.array([last])
    sigma = extrapolate(known.u, known.sigma, at, np.array([side]), np.array([u]))
    return replace(known.at(at), log_lambda=np.array([2 * u]), sigma=sigma, error=np.zeros(1))
