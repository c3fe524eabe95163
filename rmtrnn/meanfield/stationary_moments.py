"""Stationary points of the moment maps of affine cells, batched over parameter points.

Letters: Q, the second moment of the state; q, the variance of a pre-activation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rmtrnn._core.status import Status
from rmtrnn.meanfield.moment_map import MomentMap
from rmtrnn.numerics.fixed_point import FixedPoint, fixed_point, scalar_fixed_point

NOISE = 1e-15  # relative accuracy of a moment map: sums of a few hundred terms of the same sign


@dataclass
class Stationary:
    """Stationary moments of a batch of points (last axis): one replica, two replicas, and slopes."""

    S: np.ndarray
    q: np.ndarray
    S_pair: np.ndarray
    rho: np.ndarray
    chi: np.ndarray
    chi_star: np.ndarray
    status: np.ndarray
    residual: np.ndarray
    error: np.ndarray


@np.errstate(over="ignore", invalid="ignore")  # an iteration that diverges says so in its status
def stationary(map: MomentMap, Q0: np.ndarray, C0: np.ndarray) -> Stationary:
    """Fixed points of one- and two-replica moments from second moments Q0, overlaps C0 (s, n).

    The overlaps start from the share C0/Q0 of the stationary second moments.
    """
    n = map.parameters.size
    S, one = stationary_moments(map, Q0)
    good = np.flatnonzero(one.status == Status.CONVERGED)
    result = Stationary(
        S=np.where(one.status == Status.CONVERGED, S, np.nan),
        q=np.full((map.parameters.mean.shape[0], n), np.nan),
        S_pair=np.full(S.shape, np.nan),
        rho=np.full((map.parameters.mean.shape[0], n), np.nan),
        chi=np.full(n, np.nan),
        chi_star=np.full(n, np.nan),
        status=one.status.copy(),
        residual=np.where(
            one.residual > 0, one.residual / np.maximum(np.max(S[1:, 1:], axis=(0, 1)), 1e-300), 0.0
        ),
        error=one.error.copy(),
    )
    if not good.size:
        return result
    part = map.take(good)
    S_good = S[..., good]
    q, G = part.variances(S_good, slopes=True)
    result.q[:, good] = q
    result.chi[good] = spectral_radius(part.transfer(S_good, part.parameters.input, G))
    diagonal = np.arange(1, map.components + 1)
    share = C0[:, good] / np.where(Q0[:, good] > 0, Q0[:, good], 1.0)
    S_pair, two = stationary_overlap(part, S_good, q, share * S_good[diagonal, diagonal])
    result.S_pair[..., good] = S_pair
    result.rho[:, good], P = part.correlations(S_pair, q, slopes=True)
    result.chi_star[good] = leading_eigenvalue(part.transfer(S_pair, part.parameters.shared_input, P))
    result.status[good] = np.maximum(result.status[good], two.status)
    result.residual[good] = np.maximum(result.residual[good], two.residual)
    return result


def start(Q0: np.ndarray, means: np.ndarray | None = None) -> np.ndarray:
    """Moments of uncorrelated centred components (or of given means) with second moments Q0 (s, n)."""
    s, n = Q0.shape
    S = np.zeros((s + 1, s + 1, n))
    S[0, 0] = 1.0
    if means is not None:
        S[0, 1:] = S[1:, 0] = means
        S[1:, 1:] = means[:, None] * means[None, :]
    S[np.arange(1, s + 1), np.arange(1, s + 1)] = Q0
    return S


def spectral_radius(matrices: np.ndarray) -> np.ndarray:
    """Largest absolute eigenvalue of each of (n, d, d) matrices."""
    return np.abs(leading_eigenvalue(matrices))


def leading_eigenvalue(matrices: np.ndarray) -> np.ndarray:
    """The eigenvalue of largest modulus of each of (n, d, d) matrices; its modulus where it is not real.

    Of ± pairs, the positive one.
    """
    if matrices.shape[-1] == 1:
        return matrices[:, 0, 0]
    values = np.linalg.eigvals(matrices)
    largest = np.max(np.abs(values), axis=-1)
    real = np.isreal(values) & (np.abs(values) >= largest[:, None] * (1 - 1e-12))
    negative = np.any(real & (values.real < 0), axis=-1)
    positive = np.any((np.abs(values) >= largest[:, None] * (1 - 1e-12)) & ~(values.real < 0), axis=-1)
    return np.where(negative & ~positive, -largest, largest)


@np.errstate(over="ignore", invalid="ignore")
def stationary_moments(map: MomentMap, Q0: np.ndarray) -> tuple[np.ndarray, FixedPoint]:
    if map.components == 1 and not _reads_mean(map):
        return _scalar_moments(map, Q0)
    return _vector_moments(map, Q0)


def _reads_mean(map: MomentMap) -> bool:
    """Whether some gate reads an expression with both a constant and the state, so that q depends on E[h]."""
    return any(len({bool(term.state) for term in terms}) == 2 for terms in map.expansion.inputs)


def _scalar_moments(map: MomentMap, Q0: np.ndarray) -> tuple[np.ndarray, FixedPoint]:
    """One state component: solve for Q = E[h²]; at given Q the mean obeys a linear equation."""

    def with_mean(Q: np.ndarray, part: MomentMap) -> tuple[np.ndarray, list[np.ndarray]]:
        """The moments at given Q, and the gates' expectations, which do not depend on the mean."""
        S = start(Q[None])
        _, G = part.variances(S)
        alpha, beta = part.first_moments(S, G)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(beta[0] == 0.0, 0.0, beta[0] / (1.0 - alpha[0, 0]))
        mean = np.where((alpha[0, 0] < 1.0) | (beta[0] == 0.0), mean, np.inf)
        return start(Q[None], mean[None]), G

    def advance(Q: np.ndarray, index: np.ndarray) -> np.ndarray:
        part = map.take(index)
        return part.advance_one(*with_mean(Q, part))[1, 1]

    solution = scalar_fixed_point(advance, Q0[0], lower=0.0, noise=NOISE)
    Q = solution.value
    small = 10 * solution.error >= Q
    if np.any(small):
        # Indistinguishable from zero: if zero is itself a fixed point, it is the one that was approached.
        index = np.flatnonzero(small)
        zero = advance(np.zeros(index.size), index) == 0.0
        Q[index[zero]] = 0.0
        solution.residual[index[zero]] = 0.0
    return with_mean(np.where(np.isfinite(Q), Q, 0.0), map)[0], solution


def _vector_moments(map: MomentMap, Q0: np.ndarray) -> tuple[np.ndarray, FixedPoint]:
    """Several components: solve for the means and the second moments together; refuse what is unstable."""
    size = map.components + 1
    rows, columns = np.triu_indices(size)
    rows, columns = rows[1:], columns[1:]

    def unpack(x: np.ndarray) -> np.ndarray:
        S = np.ones((size, size, x.shape[-1]))
        S[rows, columns] = x
        S[columns, rows] = x
        return S

    def advance(x: np.ndarray, index: np.ndarray) -> np.ndarray:
        S = unpack(x)
        if np.any(np.diagonal(S) < 0):
            return np.full_like(x, np.inf)
        return map.take(index).step(S)[0][rows, columns]

    solution = fixed_point(advance, start(Q0)[rows, columns])
    for point in np.flatnonzero(solution.status == Status.CONVERGED):
        radius = _radius(advance, solution.value[:, point], np.array([point]))
        if radius > 1.0 + 1e-6:
            solution.status[point] = int(Status.DIVERGED)
    return unpack(solution.value), solution


def _radius(advance, x: np.ndarray, index: np.ndarray) -> float:
    """Spectral radius of the map's Jacobian by central differences."""
    steps = 1e-6 * (np.abs(x) + np.max(np.abs(x)) * 1e-3 + 1e-12)
    columns = []
    for j, step in enumerate(steps):
        shift = np.zeros_like(x)
        shift[j] = step
        difference = advance((x + shift)[:, None], index) - advance((x - shift)[:, None], index)
        columns.append(difference[:, 0] / (2 * step))
    jacobian = np.stack(columns, axis=1)
    if not np.all(np.isfinite(jacobian)):
        return 0.0
    return float(np.max(np.abs(np.linalg.eigvals(jacobian))))


def stationary_overlap(
    map: MomentMap, S: np.ndarray, q: np.ndarray, C0: np.ndarray
) -> tuple[np.ndarray, FixedPoint]:
    """Pair moments at which the overlaps C_ij = E[s_i^a s_j^b] repeat themselves."""
    if map.components > 1:
        return _vector_overlap(map, S, q, C0)
    Q = S[1, 1]
    safe = np.where(Q > 0, Q, 1.0)

    def pair(c: np.ndarray, index: np.ndarray) -> np.ndarray:
        moments = S[..., index].copy()
        moments[1, 1] = c * Q[index]
        return moments

    def advance(c: np.ndarray, index: np.ndarray) -> np.ndarray:
        following = map.take(index).pair_step(pair(c, index), q[:, index])[1, 1]
        return np.where(Q[index] > 0, np.clip(following / safe[index], -1.0, 1.0), 1.0)

    solution = scalar_fixed_point(advance, C0[0] / safe, lower=-1.0, upper=1.0, noise=NOISE)
    c = solution.value
    # Identical replicas stay identical: where one is within the error, it is the point that was approached.
    c[stays_equal(map) & (1.0 - c <= 10 * solution.error)] = 1.0
    return pair(c, np.arange(c.size)), solution


def stays_equal(map: MomentMap) -> np.ndarray:
    """Where (n,) equal replicas stay equal: they share all drive, and the input if the update sees it."""
    p = map.parameters
    same = np.all(p.shared_drive == p.drive, axis=0)
    if any(term.power for terms in map.expansion.update for term in terms):
        same &= np.all(p.shared_input == p.input, axis=(0, 1))
    return same


def _vector_overlap(
    map: MomentMap, S: np.ndarray, q: np.ndarray, C0: np.ndarray
) -> tuple[np.ndarray, FixedPoint]:
    s = map.components
    rows, columns = (index + 1 for index in np.triu_indices(s))

    def unpack(x: np.ndarray, index: np.ndarray) -> np.ndarray:
        moments = S[..., index].copy()
        moments[rows, columns] = x
        moments[columns, rows] = x
        return moments

    def advance(x: np.ndarray, index: np.ndarray) -> np.ndarray:
        return map.take(index).pair_step(unpack(x, index), q[:, index])[rows, columns]

    begin = start(C0, S[0, 1:])[rows, columns]
    solution = fixed_point(advance, begin)
    return unpack(solution.value, np.arange(S.shape[-1])), solution
