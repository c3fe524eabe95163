"""The matrix Dyson equation with one draw of the weights for all steps: theory.md (15).

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

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rmtrnn import _validate
from rmtrnn._array import namespace, to_host
from rmtrnn._result import Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.twotime import tied_stages
from rmtrnn.spectra.dyson_chain import Chain, Stage
from rmtrnn.spectra.dyson_law import Settings, assemble, place_between
from rmtrnn.spectra.dyson_solve import REAL_AXIS, Solution
from rmtrnn.spectra.result import Spectrum

_MARCH_ANGLE = 0.1  # arg lambda while marching down in u: smooth enough to cross the edge
_FIRST_U = 1.2  # per square root of the number of steps, above log(m_1)/2: outside the support
_MOST_EDGE_POINTS = 12
_DEPTH = 6  # of the Anderson mixing


@dataclass(frozen=True)
class TiedSites:
    """N of every site, (n, rows, columns), scaled by the mean growth; ``sigma2``, ``orthogonal`` per
    matrix."""

    N: np.ndarray
    weights: np.ndarray
    sigma2: tuple[float, ...]
    orthogonal: tuple[bool, ...]
    steps: int
    s_in: int
    s_out: int
    log_mean: float

    @property
    def touched(self) -> int:
        """K T: how many vectors each weight matrix touches, summed over the matrices."""
        return len(self.sigma2) * self.steps

    def subset(self, sites: slice) -> TiedSites:
        w = self.weights[sites]
        return TiedSites(
            self.N[sites],
            w / w.sum(),
            self.sigma2,
            self.orthogonal,
            self.steps,
            self.s_in,
            self.s_out,
            self.log_mean,
        )


def tied_sites(stages: Sequence[Stage], steps: int) -> TiedSites:
    """N from the stages of ``steps`` equal steps; the gates of one step have one weight matrix each."""
    per_step = len(stages) // steps
    owners = [(level, k) for level in range(per_step) for k in range(len(stages[level].sigma2))]
    first = stages[:per_step]
    chain = Chain(stages)
    xp = namespace(stages[0].a)
    n, s_in, s_out = chain.n, stages[0].a.shape[1], chain.s_out
    touched = len(owners) * steps
    N = xp.zeros((n, touched + s_out, touched + s_in))
    scale = np.exp(-0.5 * chain.log_growth)
    carried = xp.zeros((stages[0].a.shape[1], touched + s_in, n))  # x_{l-1} row of A^{-1} B
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
    return TiedSites(N, chain.weights, sigma2, orthogonal, steps, s_in, s_out, chain.log_mean)


@dataclass(frozen=True)
class _Averages:
    g: np.ndarray
    k: np.ndarray
    m: complex


def averages(sites: TiedSites, P: np.ndarray, Q: np.ndarray, log_lambda: complex) -> _Averages:
    """g and k of (15) over all touched vectors, and m = E[s^2/(lambda - s^2)], at strengths P, Q."""
    xp = namespace(sites.N)
    full_p, full_q = _extended(sites, P, Q, log_lambda)
    touched, inverse = sites.touched, np.exp(sites.log_mean - log_lambda)
    g = np.zeros((touched + sites.s_out,) * 2, dtype=complex)
    k = np.zeros((touched + sites.s_in,) * 2, dtype=complex)
    step = max(1, 200_000 // sites.N.shape[1] ** 2)
    for start in range(0, len(sites.N), step):
        N, w = sites.N[start : start + step], sites.weights[start : start + step]
        turned = xp.swapaxes(N, 1, 2)
        h = (N @ xp.asarray(full_p)) @ turned
        resolvent = xp.linalg.inv(xp.eye(N.shape[1]) - xp.asarray(full_q) @ h)
        flat = w[:, None, None]
        g += to_host((flat * (h @ resolvent)).sum(axis=0))
        k += to_host((flat * (turned @ (resolvent @ xp.asarray(full_q) @ N))).sum(axis=0))
    m = inverse * np.trace(g[touched:, touched:]) / sites.s_out
    return _Averages(_symmetric(g[:touched, :touched]), _symmetric(k[:touched, :touched]), complex(m))


def _extended(
    sites: TiedSites, P: np.ndarray, Q: np.ndarray, log_lambda: complex
) -> tuple[np.ndarray, np.ndarray]:
    touched = sites.touched
    full_p = np.eye(touched + sites.s_in, dtype=complex)
    full_q = np.eye(touched + sites.s_out, dtype=complex) * np.exp(sites.log_mean - log_lambda)
    full_p[:touched, :touched] = P
    full_q[:touched, :touched] = Q
    return full_p, full_q


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return 0.5 * (matrix + matrix.T)


def _blocks(sites: TiedSites) -> list[slice]:
    return [slice(i * sites.steps, (i + 1) * sites.steps) for i in range(len(sites.sigma2))]


def mapped(
    sites: TiedSites, P: np.ndarray, Q: np.ndarray, log_lambda: complex
) -> tuple[np.ndarray, np.ndarray]:
    """One application of the map whose fixed point solves (15); blocks between matrices are 0."""
    found = averages(sites, P, Q, log_lambda)
    new_p, new_q = np.zeros_like(P), np.zeros_like(Q)
    for block, variance, haar in zip(_blocks(sites), sites.sigma2, sites.orthogonal, strict=True):
        g, k = found.g[block, block], found.k[block, block]
        if haar:  # P = g (sigma^2 - Q P) solved for P at the given Q, and the same for Q
            one = np.eye(sites.steps)
            new_p[block, block] = variance * np.linalg.solve(one + g @ Q[block, block], g)
            new_q[block, block] = variance * np.linalg.solve(one + k @ P[block, block], k)
        else:
            new_p[block, block], new_q[block, block] = variance * g, variance * k
    return _symmetric(new_p), _symmetric(new_q)


def solve_point(
    sites: TiedSites, P: np.ndarray, Q: np.ndarray, log_lambda: complex, tol: float, max_iterations: int = 60
) -> tuple[np.ndarray, np.ndarray, float]:
    """Anderson-accelerated iteration of `mapped`; returns P, Q and the last relative change."""
    shape, size = P.shape, P.size
    x = np.concatenate([P.ravel(), Q.ravel()])
    points: list[np.ndarray] = []
    changes: list[np.ndarray] = []
    relative = np.inf
    for _ in range(max_iterations):
        new_p, new_q = mapped(sites, x[:size].reshape(shape), x[size:].reshape(shape), log_lambda)
        image = np.concatenate([new_p.ravel(), new_q.ravel()])
        change = image - x
        relative = float(np.linalg.norm(change) / (np.linalg.norm(image) + 1e-300))
        if not np.isfinite(relative) or relative < tol:
            break
        points, changes = [*points[-_DEPTH:], x], [*changes[-_DEPTH:], change]
        if len(points) == 1:
            x = x + 0.5 * change
            continue
        dx = np.array([b - a for a, b in itertools.pairwise(points)]).T
        df = np.array([b - a for a, b in itertools.pairwise(changes)]).T
        gamma = np.linalg.lstsq(df, change, rcond=1e-10)[0]
        x = x + 0.7 * change - (dx + 0.7 * df) @ gamma
    return x[:size].reshape(shape), x[size:].reshape(shape), relative


def start(sites: TiedSites, log_lambda: complex) -> tuple[np.ndarray, np.ndarray]:
    """P and Q to leading order at large lambda: Q = 0 and P from its recursion in time (it ends after T)."""
    P = np.zeros((sites.touched,) * 2, dtype=complex)
    Q = np.zeros_like(P)
    for _ in range(sites.steps):
        P, _ = mapped(sites, P, Q, log_lambda)
    return P, mapped(sites, P, Q, log_lambda)[1]


def evaluate(
    sites: TiedSites, P: np.ndarray, Q: np.ndarray, log_lambda: float, relative: float, tol: float
) -> Solution:
    """F and density at one point of the real axis from the strengths."""
    angle = log_lambda + 1j * REAL_AXIS
    found = averages(sites, P, Q, angle)
    log_det = site_log_det(sites, P, Q, angle)
    constant = 0j
    for block, variance, haar in zip(_blocks(sites), sites.sigma2, sites.orthogonal, strict=True):
        z = P[block, block] @ Q[block, block] / variance
        eigen = np.linalg.eigvals(z)
        constant += -np.log(1 - eigen).sum() if haar else eigen.sum()
    psi = sites.weights @ log_det + constant
    norm = np.pi * sites.s_out
    good = np.isfinite(psi) and relative < tol and _lower(P) and _lower(Q)
    return Solution(
        log_lambda=np.array([log_lambda]),
        p=P.reshape(1, -1),
        q=Q.reshape(1, -1),
        upper=np.array([np.imag(psi) / norm]),
        density=np.array([-2 / np.pi * found.m.imag]),
        residual=np.array([relative]),
        error=np.array([relative**2]),
        status=np.array([int(Status.CONVERGED if good else Status.MAX_ITERATIONS)]),
        site_log=np.imag(log_det)[None] / norm,
    )


def _lower(strength: np.ndarray) -> bool:
    """Whether the imaginary part is negative semidefinite up to the accuracy of the iteration."""
    return bool(np.linalg.eigvalsh(np.imag(strength)).max() <= 1e-3 * np.abs(strength).max())


def site_log_det(sites: TiedSites, P: np.ndarray, Q: np.ndarray, log_lambda: complex) -> np.ndarray:
    """log det(1 - Q h) per site on the branch that is 0 at Q = 0.

    It is log det Q + log det(Q^{-1} - h). Im Q < 0, and Im(Q^{-1} - h) > 0: the eigenvalues of the first
    lie in the lower half plane, the pivots of the second without exchanges in the upper one.
    """
    xp = namespace(sites.N)
    full_p, full_q = _extended(sites, P, Q, log_lambda)
    eigen = np.linalg.eigvals(full_q)
    below = np.real(eigen) - 1j * np.maximum(-np.imag(eigen), REAL_AXIS * np.abs(eigen))
    base, inverse = np.log(below).sum(), np.linalg.inv(full_q)
    result = []
    step = max(1, 200_000 // sites.N.shape[1] ** 2)
    for start_at in range(0, len(sites.N), step):
        N = sites.N[start_at : start_at + step]
        rest = xp.asarray(inverse) - (N @ xp.asarray(full_p)) @ xp.swapaxes(N, 1, 2)
        total = xp.full(len(N), base)
        for j in range(rest.shape[1]):
            pivot = rest[:, j, j]
            total = total + xp.log(pivot.real + 1j * xp.maximum(pivot.imag, REAL_AXIS * xp.abs(pivot)))
            column = rest[:, j + 1 :, j]
            rest[:, j + 1 :, j + 1 :] -= column[:, :, None] * (column / pivot[:, None])[:, None, :]
        result.append(to_host(total))
    return np.concatenate(result)


class _Marcher:
    """Solves points of one population, each from the strengths of a neighbour."""

    def __init__(self, sites: TiedSites, tol: float) -> None:
        self.sites = sites
        self.tol = tol

    def at(self, u: float, P: np.ndarray, Q: np.ndarray) -> Solution:
        """The point u on the real axis, by way of arg lambda > 0."""
        near = 2 * u + 1j * _MARCH_ANGLE
        P, Q, _ = solve_point(self.sites, P, Q, near, 30 * self.tol)
        return self.on_axis(u, P, Q)

    def on_axis(self, u: float, P: np.ndarray, Q: np.ndarray) -> Solution:
        P, Q, relative = solve_point(self.sites, P, Q, 2 * u + 1j * REAL_AXIS, self.tol)
        return evaluate(self.sites, P, Q, 2 * u, relative, 10 * self.tol)

    def march(self, tail: float, max_points: int) -> Solution:
        """Down from outside the support until less than ``tail`` is left."""
        steps = self.sites.steps
        centre = self.sites.log_mean / 2
        u = centre + _FIRST_U * np.sqrt(steps)
        P, Q = start(self.sites, 2 * u + 1j * _MARCH_ANGLE)
        done: Solution | None = None
        step = 0.25
        for _ in range(max_points):
            near_p, near_q, relative = solve_point(self.sites, P, Q, 2 * u + 1j * _MARCH_ANGLE, 10 * self.tol)
            if not relative < 0.1:
                break
            P, Q = near_p, near_q
            point = self.on_axis(u, P, Q)
            done = point if done is None else done.joined(point)
            left = 1.0 - float(point.upper[0])
            if left < tail and point.status[0] == int(Status.CONVERGED):
                break
            density = max(float(point.density[0]), 1e-12)
            step = float(np.clip(0.08 / density, 0.15, 1.0)) if density > 1e-6 else 0.15
            u -= step
        assert done is not None
        return done


def tied_law_solution(sites: TiedSites, coarse: TiedSites, settings: Settings, tol: float = 1e-4) -> Solution:
    """Points placed on the coarse sites, F and density on all of them at the coarse strengths.

    F is stationary in the strengths, so their error of a coarse population enters it at second order; the
    density of the result is that of all sites at these strengths.
    """
    marcher = _Marcher(coarse, tol)
    solution = marcher.march(settings.tail, settings.max_points)
    solution = _near_support(place_between(solution, marcher.at, sites.log_mean / 2, settings))
    solution = _near_support(_to_the_edge(marcher, solution, settings.tail))
    if coarse.N.shape[0] == sites.N.shape[0]:
        return solution
    shape = (sites.touched, sites.touched)
    full = None
    for i in range(len(solution.u)):
        P, Q = solution.p[i].reshape(shape), solution.q[i].reshape(shape)
        point = evaluate(sites, P, Q, 2 * solution.u[i], float(solution.residual[i]), math.inf)
        full = point if full is None else full.joined(point)
    assert full is not None
    return full


def _to_the_edge(marcher: _Marcher, solution: Solution, tail: float) -> Solution:
    """Points from the last one inside the support towards the right edge, as long as mass is left there."""
    shape, shrink = (marcher.sites.touched,) * 2, 1.0
    for _ in range(_MOST_EDGE_POINTS):
        solution = solution.sorted()
        filled = np.flatnonzero(solution.density > 1e-4 * solution.density.max())
        if filled.size == 0:
            return solution
        end = int(filled[-1])
        left = float(solution.upper[end])
        weight = np.exp(min(2 * solution.u[end] - marcher.sites.log_mean, 60.0))
        room = 0.5 * (solution.u[end + 1] - solution.u[end]) if end + 1 < len(solution.u) else 0.5
        step = shrink * min(1.1 * left / solution.density[end], room)
        if left * max(1.0, weight) < tail or step < 1e-3:
            return solution
        point = marcher.on_axis(
            solution.u[end] + step, solution.p[end].reshape(shape), solution.q[end].reshape(shape)
        )
        if point.status[0] == int(Status.CONVERGED) and point.upper[0] < left:
            solution = solution.joined(point)
        else:
            shrink *= 0.5
    return solution


def _near_support(solution: Solution) -> Solution:
    """The solved points inside the support, and the nearest solved ones outside on both sides."""
    solution = solution.sorted()
    solution = solution.at(solution.status == int(Status.CONVERGED))
    filled = np.flatnonzero(solution.density > 1e-4 * solution.density.max(initial=0.0))
    if filled.size == 0:
        return solution
    return solution.at(np.arange(max(filled[0] - 1, 0), min(filled[-1] + 2, len(solution.u))))


def tied_spectrum(
    ens: Ensemble,
    T: int,
    *,
    population: int = 8192,
    coarse: int = 512,
    seed: int = 0,
    tol: float = 5e-4,
    max_points: int = 80,
) -> Spectrum:
    """Law of the singular values of J_T when one draw of the weights serves all steps: theory.md (15).

    ``population`` sites in eight groups (a multiple of 8) carry F and its error, ``coarse`` of them the
    search for the strengths, whose error enters F at second order. Cost: O(points * population * (K T +
    s)^3) for K weight matrices.
    """
    T = _validate.integer("T", T, low=1)
    population = _validate.integer("population", population, low=64)
    if population % 8:
        raise ValueError(f"population = {population}: must be a multiple of 8")
    coarse = _validate.integer("coarse", coarse, low=16, high=population)
    tol = _validate.real("tol", tol, low=0.0, high=0.1, low_open=True)
    max_points = _validate.integer("max_points", max_points, low=16)
    stages = [Stage(*part) for part in tied_stages(ens, T, population, seed)]
    sites = tied_sites(stages, T)
    settings = Settings(tol=tol, tail=tol, max_points=max_points)
    solution = tied_law_solution(sites, sites.subset(slice(0, coarse)), settings)
    law, _ = assemble(sites.weights, solution, 8)
    return Spectrum(law, ensemble=ens, T=T, method="dyson")
