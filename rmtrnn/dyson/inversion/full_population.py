"""From strengths that are right for some sites to F and p on all of them.

F is stationary in the strengths, so their error enters it squared; for some thousand sites that is up to
1e-4, and more where few sites make up the law.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rmtrnn._core.status import Status
from rmtrnn.dyson.inversion.panel_refinement import EMPTY, extrapolated
from rmtrnn.dyson.newton import (
    REAL_AXIS,
    Solution,
    inverse_hessian,
    lowered,
    rank_one,
    second_order,
    slope_at,
    values_at,
)
from rmtrnn.dyson.recursive_green import Chain

STEP_LEAVES = 0.25  # of the error of F that a Newton step leaves
_LONGEST = 0.5  # of that step
_MOST_STEPS, _NEGLIGIBLE, _UNSOLVED = 8, 2e-5, 1e-4  # of F: no more steps are needed; the point is not used
_MOST_AT_ENDS = 4  # points added at each end


def on_all_sites(chain: Chain, small: Chain, solution: Solution, tail: float) -> Solution:
    """F and p on all sites, after a Newton step of the strengths there, which were right for some.

    Some sites can leave a gap where all have none, or have another solution: such points are tried once more
    with the strengths of those beside. And the support can end elsewhere: points follow until less than
    ``tail`` lies beyond the last one inside. The Hessian is that of ``small``.
    """
    if solution.site_log.shape[1] == chain.n:
        return solution
    found = _settled(chain, small, solution.sorted())
    dense = found.density > EMPTY * found.density.max(initial=0.0)
    good = (found.status == int(Status.CONVERGED)) & dense
    inside = np.flatnonzero(good)
    if inside.size == 0:
        return found
    again = ~good & (np.arange(good.size) > inside[0]) & (np.arange(good.size) < inside[-1])
    if again.any():
        other = _settled(chain, small, _beside_good(found, again, good))
        better = (other.status == int(Status.CONVERGED)) & (other.density > 0)
        kept = ~again
        kept[again] = ~better
        found = found.at(kept).joined(other.at(better)).sorted()
    return _to_both_ends(chain, small, found, tail)


def _to_both_ends(chain: Chain, small: Chain, solution: Solution, tail: float) -> Solution:
    for _ in range(_MOST_AT_ENDS):
        new = [point for side in (-1, 1) if (point := _nearer_to_end(solution, side, tail)) is not None]
        if not new:
            break
        found = _settled(chain, small, new[0] if len(new) == 1 else new[0].joined(new[1]))
        good = (found.status == int(Status.CONVERGED)) & (found.density > 0)
        if not good.any():
            break
        solution = solution.joined(found.at(good)).sorted()
    return solution


def _nearer_to_end(solution: Solution, side: int, tail: float) -> Solution | None:
    """A guess of a point between the last one inside the support and the next; None where that is not known.

    As in `panel_refinement`, the step mass/density goes two thirds of the way to a square-root edge.
    """
    good = solution.status == int(Status.CONVERGED)
    inside = np.flatnonzero(good & (solution.density > EMPTY * solution.density[good].max(initial=0.0)))
    if inside.size < 2:
        return None
    end = inside[-1 if side > 0 else 0]
    outside = end + side
    if not 0 <= outside < good.size or not good[outside]:
        return None
    mass = abs(float(solution.upper[outside] - solution.upper[end]))
    room = abs(float(solution.u[outside] - solution.u[end]))
    if mass < tail:
        return None
    u = solution.u[[end]] + side * min(1.1 * mass / float(solution.density[end]), 0.5 * room)
    known, last = solution.at(inside), np.array([inside.size - 1 if side > 0 else 0])
    p, q = (extrapolated(known.u, x, last, np.array([side]), u) for x in (known.p, known.q))
    return replace(known.at(last), log_lambda=2 * u, p=p, q=q, error=np.zeros(1))


def _settled(chain: Chain, small: Chain, solution: Solution) -> Solution:
    """Quasi-Newton steps on all sites, mostly one; F and p there.

    The Hessian is that of ``small`` at the first strengths; the gradients of all sites then correct it by
    symmetric rank-one updates, as in `newton`. While it is wrong by less than one half, a step leaves less
    than a quarter of the error of F, and that is stated. Where it is not small, as in a sparse tail, more
    steps follow; a point that they do not settle is not used.
    """
    work = np.flatnonzero(solution.status == int(Status.CONVERGED))
    left = np.zeros(len(solution.u))
    x, theta = np.concatenate([solution.p, solution.q], axis=1), np.full(left.shape, REAL_AXIS)
    at = x[work], solution.log_lambda[work], theta[work]
    slope, inverse = slope_at(chain, *at), inverse_hessian(small, *at)
    for steps_left in reversed(range(_MOST_STEPS)):
        x[work], step, change = _stepped(chain, x[work], slope, inverse)
        left[work] = np.where(solution.density[work] > 0, STEP_LEAVES * change, 0.0)
        more = left[work] > _NEGLIGIBLE
        work, step, inverse, before = work[more], step[more], inverse[more], slope[more]
        if work.size == 0 or steps_left == 0:
            break
        slope = slope_at(chain, x[work], solution.log_lambda[work], theta[work])
        inverse = rank_one(inverse, step, slope - before)
    status = np.where(left > _UNSOLVED, int(Status.MAX_ITERATIONS), solution.status)
    p, q = np.split(x, 2, axis=1)
    return averaged(chain, replace(solution, p=p, q=q, error=solution.error + left, status=status))


def _beside_good(solution: Solution, some: np.ndarray, good: np.ndarray) -> Solution:
    """Points ``some`` with strengths on the line, in the logarithm, between the ``good`` ones beside."""
    u, strengths = solution.u, []
    for strength in (solution.p, solution.q):
        logs = np.log(strength[good]).T
        between = [
            np.interp(u[some], u[good], one.real) + 1j * np.interp(u[some], u[good], one.imag) for one in logs
        ]
        strengths.append(np.exp(np.array(between).T))
    nothing = np.zeros(np.count_nonzero(some))
    status = np.full(nothing.shape, int(Status.CONVERGED))
    return replace(
        solution.at(some), p=strengths[0], q=strengths[1], density=nothing + 1.0, error=nothing, status=status
    )


def _stepped(
    chain: Chain, x: np.ndarray, slope: np.ndarray, inverse: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One quasi-Newton step: the strengths after it, the step as taken, and what it may change F by."""
    step = -(inverse @ slope[..., None])[..., 0]
    finite = np.all(np.isfinite(step), axis=1, keepdims=True)
    step = np.where(finite, step, 0.0)
    _, change = second_order(slope, step, np.pi * chain.s_out)
    step *= (_LONGEST / np.maximum(chain.unknowns.felt(step), _LONGEST))[:, None]
    moved, step = chain.unknowns.moved(x, step)
    return lowered(moved), step, np.where(finite[:, 0], change, np.inf)


def averaged(chain: Chain, solution: Solution) -> Solution:
    """F and p on all sites of ``chain`` at given strengths."""
    found = values_at(chain, solution.p, solution.q, solution.log_lambda)
    return replace(solution, **found._asdict())
