"""The matrix Dyson equation with one draw of the weights for all steps: theory.md (15), on arrays.

Eliminating everything but the vectors that the weights touch leaves one real matrix per site. Let A be the
bidiagonal matrix of the gates, and collect the vectors b_t of all weight matrices and the unit vectors of
y_0 in B, the c_t and the unit vectors of x_L in C. With N = C^T A^{-1} B at each site, and the strengths
P = diag(Sigma[y,y] strengths, 1), Q = diag(Sigma[x,x] strengths, 1/lambda),

    h = N P N^T,   R = (1 - Q h)^{-1},   g = E[h R],   k = E[N^T R Q N],   m = tr_L(g)/(lambda s_L).

N has K T + s rows: (15) costs O((K T + s)^3) per site and iteration. As in the untied case F of (15) needs no
matrix root: P = g (sigma^2 - Q P), Q = k (sigma^2 - P Q) for Haar, P = sigma^2 g, Q = sigma^2 k for Gaussian
weights, and Psi = E log det(1 - Q h) + sum C with C = tr(P Q)/sigma^2 or -log det(1 - P Q/sigma^2) is
stationary at the solution, with Im Psi(lambda + i0) = pi s_L P(s^2 > lambda).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rmtrnn._core.arrays import namespace, to_host
from rmtrnn._core.parallel import thread_map
from rmtrnn._core.status import Status
from rmtrnn.dyson.inversion.solution import Solution
from rmtrnn.dyson.pencil import Chain, Stage
from rmtrnn.dyson.self_energy import REAL_AXIS, SelfEnergy
from rmtrnn.dyson.sites.subsampling import stratified_subsample

_CHUNK_ELEMENTS = 30_000  # complex numbers per temporary: a few of them fit a level-2 cache


@dataclass(frozen=True)
class TiedSites:
    """N of every site, (n, rows, columns), scaled by the mean growth, and the weights of the sites.

    ``sigma2`` and ``orthogonal`` are those of each weight matrix.
    """

    N: np.ndarray
    weights: np.ndarray
    sigma2: tuple[float, ...]
    orthogonal: tuple[bool, ...]
    steps: int
    s_in: int
    s_out: int
    log_growth: np.ndarray  # of every stage: what N is scaled by

    @property
    def log_mean(self) -> float:
        return float(self.log_growth.sum())

    @property
    def touched(self) -> int:
        """K T: how many vectors each weight matrix touches, summed over the matrices."""
        return len(self.sigma2) * self.steps

    @property
    def count(self) -> int:
        return len(self.N)

    def spread(self, n: int, low: np.ndarray, high: np.ndarray) -> TiedSites:
        """About ``n`` of the sites that keep the outer parts of the law.

        The n/4 sites of smallest ``low`` and the n/4 of largest ``high`` are kept as they are. The others are
        ordered by the sum of their ranks; n/2 of them are taken at equal steps and given the weight of all.
        """
        if n >= self.count:
            return self
        sites, weights = stratified_subsample(to_host(self.weights), n, low, high, n // 4)
        xp = namespace(self.N)
        return replace(self, N=self.N[xp.asarray(sites)], weights=xp.asarray(weights))

    def part(self, sites: slice) -> TiedSites:
        """Some neighbouring sites, with weights that sum to 1."""
        weights = self.weights[sites]
        return replace(self, N=self.N[sites], weights=weights / weights.sum())


def tied_sites(
    stages: Sequence[Stage], steps: int, weights: np.ndarray | None = None, like: TiedSites | None = None
) -> TiedSites:
    """N from the stages of ``steps`` equal steps; the gates of one step have one weight matrix each.

    ``weights`` of the sites sum to 1; equal ones by default. ``like`` are other sites of the same chain: N is
    scaled as theirs, so that strengths mean the same.
    """
    per_step = len(stages) // steps
    owners = [(level, k) for level in range(per_step) for k in range(len(stages[level].sigma2))]
    first = stages[:per_step]
    xp = namespace(stages[0].a)
    s_out, (_, s_in, n) = stages[-1].a.shape[0], stages[0].a.shape
    share: np.ndarray = xp.full(n, 1.0 / n) if weights is None else xp.asarray(weights)
    log_growth = Chain(stages, share).growth.log_growth if like is None else like.log_growth
    touched = len(owners) * steps
    N = xp.zeros((n, touched + s_out, touched + s_in))
    scale = np.exp(-0.5 * log_growth)
    carried = xp.zeros((s_in, touched + s_in, n))  # x_{l-1} row of A^{-1} B
    for i in range(s_in):
        carried[i, touched + i] = 1.0
    for position, stage in enumerate(stages):
        step, level = divmod(position, per_step)
        here = [(index, k) for index, (at, k) in enumerate(owners) if at == level]
        for index, k in here:
            N[:, index * steps + step, :] = xp.einsum("in,ijn->nj", stage.c[k], carried)
        carried = xp.einsum("oin,ijn->ojn", stage.a, carried)
        for index, k in here:
            carried[:, index * steps + step] += stage.b[k]
        carried *= scale[position]
    for i in range(s_out):
        N[:, touched + i, :] = carried[i].T
    sigma2 = tuple(first[at].sigma2[k] for at, k in owners)
    orthogonal = tuple(first[at].orthogonal[k] for at, k in owners)
    return TiedSites(N, share, sigma2, orthogonal, steps, s_in, s_out, log_growth)


@dataclass(frozen=True)
class Averages:
    """g and k of (15) over all touched vectors."""

    g: np.ndarray
    k: np.ndarray


def spread_over(xp: Any, part: Callable[[tuple[np.ndarray, np.ndarray]], Any], sites: TiedSites) -> list[Any]:
    """``part`` of (N, weights) of all sites, in portions; on the CPU these go to several threads."""
    step = max(1, _CHUNK_ELEMENTS // sites.N.shape[1] ** 2)
    chunks = [
        (sites.N[begin : begin + step], sites.weights[begin : begin + step])
        for begin in range(0, sites.count, step)
    ]
    return thread_map(part, chunks) if xp is np else [part(chunk) for chunk in chunks]


def _h(xp: Any, N: np.ndarray, full_p: np.ndarray) -> np.ndarray:
    """N P N^T for complex symmetric P: real products only, on the real and imaginary parts side by side."""
    n, rows, columns = N.shape
    left = (N.reshape(n * rows, columns) @ full_p.view(float)).view(complex).reshape(n, rows, columns)
    turned = xp.ascontiguousarray(xp.swapaxes(left, 1, 2))
    return xp.matmul(N, turned.view(float)).view(complex)


def averages(sites: TiedSites, P: np.ndarray, Q: np.ndarray, log_lambda: complex) -> Averages:
    """g and k of (15) at strengths P, Q."""
    xp = namespace(sites.N)
    full_p, full_q = (xp.asarray(full) for full in _extended(sites, P, Q, log_lambda))
    touched = sites.touched
    rows, columns = sites.N.shape[1:]

    def part(chunk: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        N, w = chunk
        n = len(N)
        h = _h(xp, N, full_p)
        resolvent = xp.linalg.inv(xp.eye(rows) - xp.matmul(full_q, h)) * w[:, None, None]
        resolvent = resolvent.reshape(n * rows, rows)
        g = h.reshape(n * rows, rows).T @ resolvent  # h is symmetric
        right = (resolvent @ full_q).reshape(n, rows, rows)  # R Q, symmetric as well
        left = xp.matmul(xp.swapaxes(N, 1, 2), right.view(float)).view(complex)
        turned = xp.ascontiguousarray(xp.swapaxes(left, 1, 2)).reshape(n * rows, columns)
        return g, (N.reshape(n * rows, columns).T @ turned.view(float)).view(complex)

    parts = spread_over(xp, part, sites)
    g, k = (to_host(sum(one[i] for one in parts)) for i in (0, 1))
    return Averages(_symmetric(g[:touched, :touched]), _symmetric(k[:touched, :touched]))


def site_matrices(
    sites: TiedSites, P: np.ndarray, Q: np.ndarray, log_lambda: complex
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """k, g and R^T N at every site, between the vectors that the weights touch."""
    xp = namespace(sites.N)
    full_p, full_q = (xp.asarray(full) for full in _extended(sites, P, Q, log_lambda))
    N, rows, touched = sites.N, sites.N.shape[1], slice(sites.touched)
    h = _h(xp, N, full_p)
    resolvent = xp.linalg.inv(xp.eye(rows) - xp.matmul(full_q, h))
    turned = xp.swapaxes(resolvent, 1, 2)
    left = xp.matmul(turned, N)
    k = xp.matmul(xp.matmul(xp.swapaxes(N, 1, 2), full_q), left)
    g = xp.matmul(h, resolvent)
    k, g, left = (xp.ascontiguousarray(matrix[:, touched, touched]) for matrix in (k, g, left))
    return k, g, left


def _extended(
    sites: TiedSites, P: np.ndarray, Q: np.ndarray, log_lambda: complex
) -> tuple[np.ndarray, np.ndarray]:
    """P and Q with the entries of y_0 and x_L."""
    touched = sites.touched
    full_p = np.eye(touched + sites.s_in, dtype=complex)
    full_q = np.eye(touched + sites.s_out, dtype=complex) * np.exp(sites.log_mean - log_lambda)
    full_p[:touched, :touched] = P
    full_q[:touched, :touched] = Q
    return full_p, full_q


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return 0.5 * (matrix + matrix.T)


def blocks(sites: TiedSites) -> list[slice]:
    """Which rows of P and Q belong to each weight matrix."""
    return [slice(i * sites.steps, (i + 1) * sites.steps) for i in range(len(sites.sigma2))]


def mapped(
    sites: TiedSites, P: np.ndarray, Q: np.ndarray, log_lambda: complex
) -> tuple[np.ndarray, np.ndarray]:
    """One application of the map whose fixed point solves (15); blocks between matrices are 0."""
    found = averages(sites, P, Q, log_lambda)
    new_p, new_q = np.zeros_like(P), np.zeros_like(Q)
    for block, variance, haar in zip(blocks(sites), sites.sigma2, sites.orthogonal, strict=True):
        g, k = found.g[block, block], found.k[block, block]
        if haar:  # P = g (sigma^2 - Q P) solved for P at the given Q, and the same for Q
            one = np.eye(sites.steps)
            new_p[block, block] = variance * np.linalg.solve(one + g @ Q[block, block], g)
            new_q[block, block] = variance * np.linalg.solve(one + k @ P[block, block], k)
        else:
            new_p[block, block], new_q[block, block] = variance * g, variance * k
    return _symmetric(new_p), _symmetric(new_q)


def evaluate(
    sites: TiedSites, P: np.ndarray, Q: np.ndarray, log_lambda: float, relative: float, tol: float
) -> Solution:
    """F and density at one point of the real axis from the strengths.

    ``relative`` is the change that the strengths would take next; the point counts as solved where it is
    below ``tol`` and the strengths are on the right side of the real axis.
    """
    log_det, m = site_log_det(sites, P, Q, log_lambda + 1j * REAL_AXIS)
    constant = 0j
    for block, variance, haar in zip(blocks(sites), sites.sigma2, sites.orthogonal, strict=True):
        z = P[block, block] @ Q[block, block] / variance
        eigen = np.linalg.eigvals(z)
        constant += -np.log(1 - eigen).sum() if haar else eigen.sum()
    psi = to_host(sites.weights) @ log_det + constant
    norm = np.pi * sites.s_out
    good = np.isfinite(psi) and relative < tol and _lower(P) and _lower(Q)
    return Solution(
        log_lambda=np.array([log_lambda]),
        sigma=SelfEnergy(P.reshape(1, -1), Q.reshape(1, -1)),
        upper=np.array([np.imag(psi) / norm]),
        density=np.array([-2 / np.pi * m.imag]),
        residual=np.array([relative]),
        error=np.array([relative**2]),
        status=np.array([int(Status.CONVERGED if good else Status.MAX_ITERATIONS)]),
        site_log=np.imag(log_det)[None] / norm,
    )


def _lower(strength: np.ndarray) -> bool:
    """Whether the imaginary part is negative semidefinite up to the accuracy of the iteration."""
    return bool(np.linalg.eigvalsh(np.imag(strength)).max() <= 1e-3 * np.abs(strength).max())


def site_log_det(
    sites: TiedSites, P: np.ndarray, Q: np.ndarray, log_lambda: complex
) -> tuple[np.ndarray, complex]:
    """log det(1 - Q h) per site on the branch that is 0 at Q = 0, and m = E[s^2/(lambda - s^2)].

    It is log det Q + log det(Q^{-1} - h). Im Q < 0, and Im(Q^{-1} - h) > 0: the eigenvalues of the first
    lie in the lower half plane, the pivots of the second without exchanges in the upper one. The last block
    of pivots is the inverse of the block of (Q^{-1} - h)^{-1} at x_L, which gives m.
    """
    xp = namespace(sites.N)
    full_p, full_q = _extended(sites, P, Q, log_lambda)
    eigen = np.linalg.eigvals(full_q)
    below = np.real(eigen) - 1j * np.maximum(-np.imag(eigen), REAL_AXIS * np.abs(eigen))
    base, inverse = np.log(below).sum(), xp.asarray(np.linalg.inv(full_q))
    full_p = xp.asarray(full_p)

    def part(chunk: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, complex]:
        N, w = chunk
        matrix = xp.ascontiguousarray(xp.moveaxis(inverse - _h(xp, N, full_p), 0, -1))
        before = _eliminate(xp, matrix, sites.touched)
        last = matrix[sites.touched :, sites.touched :]
        trace = xp.einsum("nii->n", xp.linalg.inv(xp.moveaxis(last, -1, 0)))
        return to_host(base + before + _eliminate(xp, last, sites.s_out)), complex(to_host(w @ trace))

    parts = spread_over(xp, part, sites)
    m = sum(one[1] for one in parts) * np.exp(log_lambda - sites.log_mean) / sites.s_out - 1.0
    return np.concatenate([one[0] for one in parts]), m


def _eliminate(xp: Any, matrix: np.ndarray, size: int) -> Any:
    """Sum of the logarithms of the first ``size`` pivots of symmetric matrices (rows, rows, sites).

    The rest of ``matrix`` is replaced by its Schur complement. The imaginary part is positive, so the pivots
    lie in the upper half plane.
    """
    total: Any = 0.0
    for i in range(size):
        pivot = matrix[i, i]
        total = total + xp.log(pivot.real + 1j * xp.maximum(pivot.imag, REAL_AXIS * xp.abs(pivot)))
        row = matrix[i, i + 1 :]
        matrix[i + 1 :, i + 1 :] -= (row / pivot)[:, None] * row[None]
    return total
