"""Solving (15) at one point of lambda: Newton's method on some sites, corrected by the gradients of all.

Psi of `equations` is stationary at the solution. With k, g and L = R^T N per site its second derivatives
are, for symmetric changes X, Y of P or Q within the blocks of the weight matrices,

    d^2 Psi/dP dP [X, Y] = tr(A X A Y) - E tr(k X k Y),    d^2 Psi/dQ dQ [X, Y] = tr(B X B Y) - E tr(g X g Y),
    d^2 Psi/dQ dP [Y, X] = sigma^2 tr(D^T Y D X) - E tr(L^T Y L X),

where A = Q (sigma^2 - P Q)^{-1}, B = P (sigma^2 - Q P)^{-1}, D = (sigma^2 - P Q)^{-1} for Haar weights; for
Gaussian ones A and B are constant and D = 1/sigma^2. The Hessian is taken on a few sites, where it costs
products of matrices of T^2 rows; the steps that follow from it for the gradients of all sites are mixed as in
Anderson's method, which takes out most of the difference between the two sets of sites.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import lu_factor, lu_solve

from rmtrnn._core.arrays import to_host
from rmtrnn._core.progress import advance
from rmtrnn.dyson.functional import second_order_change
from rmtrnn.dyson.tied.equations import (
    Averages,
    TiedSites,
    averages,
    blocks,
    mapped,
    site_matrices,
)

_DEPTH = 6  # of the mixing
_MOST_UNKNOWNS = 2000  # with more than these the Hessian costs more than it saves
_LONGEST = 0.5  # relative: a Newton step beyond is shortened
_SLOW = 0.4  # a step that is not shorter than the last one by this factor asks for a new Hessian
_HOPELESS = 3.0  # a step longer than the last one by this factor, with a new Hessian, ends the attempt
_FEW_STEPS, _NEWTON_STEPS, _MIXED_STEPS = 7, 14, 60


@dataclass(frozen=True)
class Unknowns:
    """The independent entries of P and Q: pairs (row, column) in a block, row <= column."""

    row: np.ndarray
    column: np.ndarray
    share: np.ndarray  # 2 off the diagonal, where the entry stands twice, else 1

    @classmethod
    def of(cls, sites: TiedSites) -> Unknowns:
        pairs = [np.triu_indices(sites.steps) for _ in sites.sigma2]
        row = np.concatenate([block.start + i for block, (i, _) in zip(blocks(sites), pairs, strict=True)])
        column = np.concatenate([block.start + j for block, (_, j) in zip(blocks(sites), pairs, strict=True)])
        return cls(row, column, np.where(row == column, 1.0, 2.0))

    def __len__(self) -> int:
        return len(self.row)

    def packed(self, P: np.ndarray, Q: np.ndarray) -> np.ndarray:
        return np.concatenate([P[self.row, self.column], Q[self.row, self.column]])

    def unpacked(self, x: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        P, Q = np.zeros((size, size), dtype=complex), np.zeros((size, size), dtype=complex)
        for matrix, values in ((P, x[: len(self)]), (Q, x[len(self) :])):
            matrix[self.row, self.column] = values
            matrix[self.column, self.row] = values
        return P, Q


def _constants(
    sites: TiedSites, P: np.ndarray, Q: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A, B and sqrt(sigma^2) D of all blocks, and whether an entry belongs to Haar weights."""
    A, B, D = np.zeros_like(P), np.zeros_like(P), np.zeros_like(P)
    haar = np.zeros(len(P), dtype=bool)
    for block, variance, orthogonal in zip(blocks(sites), sites.sigma2, sites.orthogonal, strict=True):
        p, q, one = P[block, block], Q[block, block], np.eye(sites.steps)
        haar[block] = orthogonal
        D[block, block] = one / np.sqrt(variance)
        A[block, block], B[block, block] = q / variance, p / variance
        if orthogonal:
            inner = np.linalg.inv(variance * one - q @ p)
            A[block, block], B[block, block] = inner @ q, p @ inner
            D[block, block] = np.sqrt(variance) * inner.T
    return A, B, D, haar


def gradient(
    sites: TiedSites, unknowns: Unknowns, P: np.ndarray, Q: np.ndarray, found: Averages
) -> np.ndarray:
    """grad Psi by the independent entries of P, then of Q."""
    A, B, *_ = _constants(sites, P, Q)
    part = unknowns.row, unknowns.column
    return np.concatenate([unknowns.share * (A - found.k)[part], unknowns.share * (B - found.g)[part]])


def hessian(
    sites: TiedSites, unknowns: Unknowns, P: np.ndarray, Q: np.ndarray, log_lambda: complex
) -> np.ndarray:
    """Second derivatives of Psi by the independent entries of P and Q, (2n, 2n), complex symmetric."""
    k, g, L = site_matrices(sites, P, Q, log_lambda)
    A, B, D, haar = _constants(sites, P, Q)
    same = haar[unknowns.row][:, None] & haar[unknowns.row][None, :]
    size = len(unknowns)
    second = np.empty((2 * size, 2 * size), dtype=complex)
    second[:size, :size] = same * _pairs(unknowns, A[None], np.ones(1)) - _pairs(unknowns, k, sites.weights)
    second[size:, size:] = same * _pairs(unknowns, B[None], np.ones(1)) - _pairs(unknowns, g, sites.weights)
    second[size:, :size] = _pairs(unknowns, D[None], np.ones(1)) - _pairs(unknowns, L, sites.weights)
    second[:size, size:] = second[size:, :size].T
    return second


def _pairs(unknowns: Unknowns, matrices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """E tr(M^T X M Y) for X, Y the symmetric unit matrices of the unknowns, over weighted matrices M."""
    n, size, _ = matrices.shape
    flat = matrices.reshape(n, size * size)
    outer = to_host((flat * weights[:, None]).T @ flat).reshape((size,) * 4)  # E M_ij M_kl
    a, b = unknowns.row[:, None], unknowns.column[:, None]
    c, d = unknowns.row[None], unknowns.column[None]
    factor = 0.5 * unknowns.share[:, None] * unknowns.share[None]
    return factor * (outer[a, c, b, d] + outer[a, d, b, c])


@dataclass(frozen=True)
class Point:
    """Strengths at one lambda; ``relative``, the step that would come next; the Hessian's factors, if any."""

    P: np.ndarray
    Q: np.ndarray
    relative: float
    factors: Any = None


def solve_point(
    sites: TiedSites,
    P: np.ndarray,
    Q: np.ndarray,
    log_lambda: complex,
    tol: float,
    small: TiedSites | None = None,
    factors: Any = None,
) -> Point:
    """Strengths that solve (15) at ``log_lambda``, from a guess.

    ``small``: the sites that the Hessian is taken on, by default all; ``factors``: those of the Hessian at a
    neighbouring point, which serve as long as the steps shrink. ``relative`` of the result is the size of the
    step that would come next, relative to the strengths. Where steps with the Hessian of ``small`` do not
    converge, as in a sparse tail, that of all sites is taken; where Newton's method does not, the map of (15)
    is iterated.
    """
    advance("Dyson equation: points solved")
    unknowns = Unknowns.of(sites)
    best = Point(P, Q, np.inf)
    if 2 * len(unknowns) <= _MOST_UNKNOWNS:
        tries = [(small, factors, _FEW_STEPS)] if small is not None and small.count < sites.count else []
        for of, known, steps in [*tries, (sites, None, _NEWTON_STEPS)]:
            best = _newton(sites, of, unknowns, Point(P, Q, np.inf, known), log_lambda, tol, steps)
            if best.relative < tol:
                return best
    return _iterated(sites, P, Q, log_lambda, tol)


def _newton(
    sites: TiedSites,
    small: TiedSites,
    unknowns: Unknowns,
    guess: Point,
    log_lambda: complex,
    tol: float,
    most_steps: int,
) -> Point:
    P, Q, factors = guess.P, guess.Q, guess.factors
    x, mixing, last, relative = unknowns.packed(P, Q), _Mixing(), np.inf, np.inf
    for _ in range(most_steps):
        slope = gradient(sites, unknowns, P, Q, averages(sites, P, Q, log_lambda))
        step = slope
        for attempt in range(2):  # with the factors at hand, then with new ones
            if factors is None or attempt:
                matrix = hessian(small, unknowns, P, Q, log_lambda)
                if not np.isfinite(matrix).all():
                    return Point(P, Q, np.inf)
                factors, mixing = lu_factor(matrix, check_finite=False), _Mixing()
            step = -lu_solve(factors, slope, check_finite=False)
            relative = _relative(step, x, len(unknowns))
            if relative < min(_SLOW * last, _LONGEST):
                break
        if not np.isfinite(relative) or relative < tol or relative > _HOPELESS * last:
            break
        last = relative
        if relative > _LONGEST:
            step *= _LONGEST / relative
            factors = None
        x = mixing.next(x, step, 1.0)
        P, Q = (_lowered(matrix) for matrix in unknowns.unpacked(x, len(P)))
        x = unknowns.packed(P, Q)
    return Point(P, Q, relative if np.isfinite(relative) else np.inf, factors)


def stepped(
    sites: TiedSites, small: TiedSites, P: np.ndarray, Q: np.ndarray, log_lambda: complex
) -> tuple[np.ndarray, np.ndarray, float]:
    """One Newton step on ``sites`` with the Hessian of ``small``: P, Q, and what it may change F by."""
    unknowns = Unknowns.of(sites)
    slope = gradient(sites, unknowns, P, Q, averages(sites, P, Q, log_lambda))
    step = -np.linalg.solve(hessian(small, unknowns, P, Q, log_lambda), slope)
    _, change = second_order_change(slope[None], step[None], np.pi * sites.s_out)
    x = unknowns.packed(P, Q)
    step *= min(1.0, _LONGEST / max(_relative(step, x, len(unknowns)), _LONGEST))
    new_p, new_q = (_lowered(matrix) for matrix in unknowns.unpacked(x + step, len(P)))
    return new_p, new_q, float(change[0])


def _relative(step: np.ndarray, x: np.ndarray, size: int) -> float:
    """The larger of the relative sizes of the steps of P and of Q."""
    parts = ((step[:size], x[:size]), (step[size:], x[size:]))
    return float(max(np.linalg.norm(one) / (np.linalg.norm(of) + 1e-300) for one, of in parts))


def _lowered(strength: np.ndarray) -> np.ndarray:
    """A strength whose imaginary part is not negative semidefinite, reflected there."""
    imaginary = np.imag(strength)
    eigen, vectors = np.linalg.eigh(imaginary)
    if eigen[-1] <= 1e-7 * np.abs(strength).max():
        return strength
    return np.real(strength) - 1j * (vectors * np.abs(eigen)) @ vectors.T


class _Mixing:
    """Anderson's method for a fixed point of x -> x + step(x)."""

    def __init__(self) -> None:
        self.points: list[np.ndarray] = []
        self.steps: list[np.ndarray] = []

    def next(self, x: np.ndarray, step: np.ndarray, damping: float) -> np.ndarray:
        self.points, self.steps = [*self.points[-_DEPTH:], x], [*self.steps[-_DEPTH:], step]
        if len(self.points) == 1:
            return x + min(damping, 1.0) * step
        dx = np.array([b - a for a, b in itertools.pairwise(self.points)]).T
        df = np.array([b - a for a, b in itertools.pairwise(self.steps)]).T
        gamma = np.linalg.lstsq(df, step, rcond=1e-10)[0]
        return x + damping * step - (dx + damping * df) @ gamma


def _iterated(sites: TiedSites, P: np.ndarray, Q: np.ndarray, log_lambda: complex, tol: float) -> Point:
    """Anderson-accelerated iteration of `mapped`."""
    shape, size = P.shape, P.size
    x, mixing, relative = np.concatenate([P.ravel(), Q.ravel()]), _Mixing(), np.inf
    for iteration in range(_MIXED_STEPS):
        new = mapped(sites, x[:size].reshape(shape), x[size:].reshape(shape), log_lambda)
        step = np.concatenate([new[0].ravel(), new[1].ravel()]) - x
        relative = float(np.linalg.norm(step) / (np.linalg.norm(x + step) + 1e-300))
        if not np.isfinite(relative) or relative < tol:
            break
        x = mixing.next(x, step, 0.7 if iteration else 0.5)
    return Point(
        x[:size].reshape(shape), x[size:].reshape(shape), relative if np.isfinite(relative) else np.inf
    )
