"""Self-energies as covariances of a process with a memory, by few smooth functions of time.

Between two steps t > s the self-energies of theory.md (15) fall off as what a site remembers, about as

    X_ts = sqrt(d(t) d(s)) r(s) prod_{s < tau < t} D(tau),    X_tt = d(t),                        (31)

with log d, r and log D smooth in time: the covariance of white noise beside a Markov process (a
quasiseparable matrix: Vandebril, Van Barel and Mastronardi 2008, Matrix Computations and Semiseparable
Matrices). Smooth are cubic splines whose knots are the farther apart, the farther from the first and the last
step.

Letters: X, P or Q of (15); T, steps; d, r, D as above; beta, gamma, A, B as in `memory_chain`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.interpolate import BSpline


@dataclass(frozen=True)
class FitSettings:
    """Numbers of the form and its fit; moved by three both ways in tests/dyson/tied/test_more_sites.py."""

    # Steps from an end to the first knot, and the ratio of neighbouring distances. Empirical.
    first: float = 2.0
    ratio: float = 2.0
    # Steps of Gauss and Newton, the relative gain that ends them, the longest change of log D in one, and the
    # least damping, relative to the diagonal.
    most: int = 100
    gain: float = 1e-8
    longest: float = 1.0
    damping: float = 1e-3
    # Start of log D where nothing is known. Empirical: speed only.
    decay: float = -0.2


FIT = FitSettings()


@cache
def splines(steps: int) -> np.ndarray:
    """Smooth functions of the step (T, functions), orthonormal."""
    inner, place, distance = [], FIT.first, FIT.first
    while place + 0.5 * distance < 0.5 * (steps - 1):
        inner += [place, steps - 1 - place]
        distance *= FIT.ratio
        place += distance
    degree = min(3, steps - 1)
    ends = np.repeat([0.0, steps - 1.0], degree + 1)
    knots = np.sort(np.concatenate([ends, inner]))
    if knots.size - degree - 1 >= steps:
        return np.eye(steps)
    return np.linalg.qr(BSpline.design_matrix(np.arange(float(steps)), knots, degree).toarray())[0]


class Memory(NamedTuple):
    """log d, r and log D of (31), (T,) each."""

    log_diagonal: np.ndarray
    correlation: np.ndarray
    log_decay: np.ndarray

    @property
    def steps(self) -> int:
        return self.log_diagonal.size

    def scaled(self, log_unit: np.ndarray) -> Memory:
        """X_ts/(u_t u_s) with log u (T,)."""
        return self._replace(log_diagonal=self.log_diagonal - 2.0 * log_unit)

    def recursion(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """d, beta and A (T,) with X_ts = beta(s) prod A(tau)."""
        half = 0.5 * self.log_diagonal
        after = np.append(half[1:], half[-1:])
        return (
            np.exp(2.0 * half),
            np.exp(half + after) * self.correlation,
            np.exp(after - half + self.log_decay),
        )

    def backwards(self) -> Memory:
        """The same covariance with the last step first."""
        r, before = self.correlation, np.append(self.correlation[:1], self.correlation[:-1])
        ratio = np.where(np.abs(r) > 0.0, before / np.where(np.abs(r) > 0.0, r, 1.0), 1.0)
        log_decay = self.log_decay + np.log(np.where(ratio != 0.0, ratio, 1.0))
        return Memory(self.log_diagonal[::-1], before[::-1], log_decay[::-1])

    def matrix(self) -> np.ndarray:
        """X between all steps."""
        half = np.exp(0.5 * self.log_diagonal)
        found = self.shape()
        return (found + found.T + np.eye(self.steps)) * half[:, None] * half

    def shape(self) -> np.ndarray:
        """X_ts/sqrt(d(t) d(s)) for t > s, else 0."""
        later, earlier = np.tril_indices(self.steps, -1)
        found = np.zeros((self.steps,) * 2, dtype=complex)
        found[later, earlier] = self.correlation[earlier] * np.exp(_between(self.log_decay, later, earlier))
        return found


def _between(values: np.ndarray, later: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    """Sums of values (T, ...) over all steps between two."""
    sums = np.concatenate([np.zeros((1, *values.shape[1:]), values.dtype), np.cumsum(values, axis=0)])
    return sums[later] - sums[earlier + 1]


class Pairs(NamedTuple):
    """Pairs of steps at which X is known, ``later`` > ``earlier``, and for how many each of them counts."""

    later: np.ndarray
    earlier: np.ndarray
    weights: np.ndarray

    @classmethod
    def all_of(cls, steps: int) -> Pairs:
        later, earlier = np.tril_indices(steps, -1)
        return cls(later, earlier, np.ones(later.size))

    @classmethod
    def with_columns(cls, steps: int, columns: np.ndarray, earlier: bool) -> Pairs:
        """All pairs whose ``earlier`` step, or whose later one, is one of the ``columns``, in their order."""
        middle = 0.5 * (columns[1:] + columns[:-1])
        counts = np.diff(np.concatenate([[-0.5], middle, [steps - 0.5]]))
        parts = [
            (np.arange(column + 1, steps), np.full(steps - column - 1, column))
            if earlier
            else (np.full(column, column), np.arange(column))
            for column in columns
        ]
        first, second = (np.concatenate(side) for side in zip(*parts, strict=True))
        return cls(first, second, np.repeat(counts, [len(one[0]) for one in parts]))


def fitted(pairs: Pairs, diagonal: np.ndarray, values: np.ndarray, start: Memory | None) -> Memory:
    """(31) of X by its ``diagonal`` (T,) and its ``values`` at pairs: Levenberg and Marquardt.

    Least squares of X_ts/sqrt(d(t) d(s)), begun from ``start``.
    """
    basis, steps = splines(diagonal.size), diagonal.size
    log_diagonal = basis @ (basis.T @ _unwrapped_log(diagonal))
    if start is None:
        start = _guess(pairs, diagonal, values, log_diagonal)
    later, earlier = pairs.later, pairs.earlier
    if not later.size or not values.any():
        return Memory(log_diagonal, np.zeros(steps, complex), start.log_decay)
    root = np.sqrt(pairs.weights / pairs.weights.sum())
    wanted = values * np.exp(-0.5 * (log_diagonal[later] + log_diagonal[earlier]))
    own, between = basis[earlier], _between(basis, later, earlier)
    count = basis.shape[1]

    def left_by(found: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        with np.errstate(over="ignore", invalid="ignore"):
            falls = np.exp(between @ found[count:])
            left = root * (wanted - (own @ found[:count]) * falls)
            cost = float(np.vdot(left, left).real)
        return falls, left, cost if np.isfinite(cost) else math.inf

    found = np.concatenate([basis.T @ start.correlation, basis.T @ start.log_decay])
    (falls, left, cost), damping = left_by(found), FIT.damping
    for _ in range(FIT.most):
        slopes = (root * falls)[:, None] * np.concatenate(
            [own, (own @ found[:count])[:, None] * between], axis=1
        )
        curvature, slope = slopes.conj().T @ slopes, slopes.conj().T @ left
        size = curvature.diagonal().real
        step = np.linalg.solve(curvature + np.diag(damping * size + 1e-10 * size.sum()), slope)
        step *= min(1.0, FIT.longest / max(float(np.abs(basis @ step[count:]).max()), 1e-300))
        falls_new, left_new, cost_new = left_by(found + step)
        if not cost_new < cost:
            damping *= 5.0
            continue
        gained, found = cost - cost_new, found + step
        falls, left, cost = falls_new, left_new, cost_new
        damping /= 5.0
        if gained < FIT.gain * cost:
            break
    return Memory(log_diagonal, basis @ found[:count], basis @ found[count:])


def memories(energy: np.ndarray) -> tuple[Memory, Memory]:
    """P and Q of (15), (2, T, T), in the form (31)."""
    pairs = Pairs.all_of(energy.shape[-1])
    first, second = (fitted(pairs, np.diagonal(one), one[pairs.later, pairs.earlier], None) for one in energy)
    return first, second


def _guess(pairs: Pairs, diagonal: np.ndarray, values: np.ndarray, log_diagonal: np.ndarray) -> Memory:
    """A start of the fit: r from neighbouring steps."""
    near = pairs.later == pairs.earlier + 1
    r = np.zeros(diagonal.size, dtype=complex)
    if near.any():
        t = pairs.earlier[near]
        size = np.exp(-0.5 * (log_diagonal[t] + log_diagonal[t + 1])) * values[near]
        order = np.argsort(t)
        r = np.interp(np.arange(diagonal.size), t[order], size[order])
    return Memory(log_diagonal, r, np.full(diagonal.size, FIT.decay + 0j))


def _unwrapped_log(values: np.ndarray) -> np.ndarray:
    """log with an imaginary part that does not jump."""
    logs = np.log(values.astype(complex))
    return np.real(logs) + 1j * np.unwrap(np.imag(logs))
