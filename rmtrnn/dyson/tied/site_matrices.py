"""Propagators of the sites between the ports of tied weight matrices: theory.md (20).

Let A be the bidiagonal matrix of the a_t of all stages at a site, B the matrix of the vectors b_t of all
weight matrices and of y_0, C that of the c_t and of x_L. Everything but the ports is eliminated once and for
all by

    gamma = C^T A^{-1} B,

a real matrix of K T + s rows for K weight matrices, T steps and s states. It is divided by the mean growth of
every stage, so that it neither over- nor underflows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from rmtrnn._core.parallel import thread_map
from rmtrnn.dyson.pencil import Chain, Stage
from rmtrnn.dyson.self_energy import REAL_AXIS

# Relative shift of Q before it is inverted. Derived: the square root of rounding, as a smooth Q is
# numerically singular.
_SHIFT = 1e-8
# Rows up to which pivots are eliminated one by one at all sites at once. Empirical: speed only.
_SMALL = 12
# Complex numbers in a temporary array: some of them fit a level-2 cache of 1 MiB.
_CACHED_ELEMENTS = 2**15


@dataclass(frozen=True, kw_only=True)
class TiedSites:
    """Sites of a chain of ``steps`` equal steps, scaled by ``log_growth``, the mean growth of each stage.

    ``weights`` of the sites sum to 1; ``sigma2`` and ``orthogonal`` are those of the K weight matrices.
    """

    weights: np.ndarray
    sigma2: tuple[float, ...]
    orthogonal: tuple[bool, ...]
    steps: int
    log_growth: np.ndarray

    @property
    def n(self) -> int:
        return self.weights.size

    @property
    def matrices(self) -> int:
        """K, the number of weight matrices."""
        return len(self.sigma2)

    @property
    def ports(self) -> int:
        """K T."""
        return self.matrices * self.steps

    @property
    def log_mean(self) -> float:
        """log of what JJ^T is divided by."""
        return float(self.log_growth.sum())

    def blocks(self) -> list[slice]:
        """The ports of each weight matrix."""
        return [slice(k * self.steps, (k + 1) * self.steps) for k in range(self.matrices)]

    def normalised(self, sites: Any, weights: np.ndarray | None) -> np.ndarray:
        """``weights`` of some of the sites, by default their own ones scaled to sum to 1."""
        return self.weights[sites] / self.weights[sites].sum() if weights is None else weights


@dataclass(frozen=True, kw_only=True)
class SiteMatrices(TiedSites):
    """Propagators ``gamma`` of all sites (n, K T + s_out, K T + s_in)."""

    gamma: np.ndarray

    # Any symmetric matrices are self-energies here, those projected to the lower half plane among them.
    any_matrix: ClassVar[bool] = True
    # Im of self-energies above the real axis, in units of the diagonal, that is not of another branch.
    slack: ClassVar[float] = 0.01

    @classmethod
    def of(cls, stages: Sequence[Stage], steps: int, weights: np.ndarray | None = None) -> SiteMatrices:
        """From the stages of ``steps`` equal steps; each gate of a step has one weight matrix."""
        n = stages[0].a.shape[2]
        share = np.full(n, 1.0 / n) if weights is None else weights
        log_growth = Chain(stages, share).growth.log_growth
        owners = gate_owners(stages, steps)
        s_in, s_out = stages[0].a.shape[1], stages[-1].a.shape[0]
        ports, per_step = len(owners) * steps, len(stages) // steps
        gamma = np.zeros((n, ports + s_out, ports + s_in))
        carried = np.zeros((s_in, ports + s_in, n))  # the row x_l of A^{-1} B
        carried[np.arange(s_in), ports + np.arange(s_in)] = 1.0
        for position, (stage, scale) in enumerate(zip(stages, np.exp(-0.5 * log_growth), strict=True)):
            step, level = divmod(position, per_step)
            here = [(k * steps + step, j) for k, (at, j) in enumerate(owners) if at == level]
            for port, j in here:
                gamma[:, port] = np.einsum("in,ijn->nj", stage.c[j], carried)
            carried = np.einsum("oin,ijn->ojn", stage.a, carried)
            for port, j in here:
                carried[:, port] += stage.b[j]
            carried *= scale
        gamma[:, ports:] = np.moveaxis(carried, 2, 0)
        first = [stages[at] for at, _ in owners], [j for _, j in owners]
        sigma2 = tuple(stage.sigma2[j] for stage, j in zip(*first, strict=True))
        orthogonal = tuple(stage.orthogonal[j] for stage, j in zip(*first, strict=True))
        return cls(
            gamma=gamma,
            weights=share,
            sigma2=sigma2,
            orthogonal=orthogonal,
            steps=steps,
            log_growth=log_growth,
        )

    @property
    def s_in(self) -> int:
        return self.gamma.shape[2] - self.ports

    @property
    def s_out(self) -> int:
        return self.gamma.shape[1] - self.ports

    def at(self, sites: Any, weights: np.ndarray | None = None) -> SiteMatrices:
        """Some of the sites, by default with their own weights scaled to sum to 1."""
        return replace(self, gamma=self.gamma[sites], weights=self.normalised(sites, weights))

    def over_sites(self, part: Callable[[np.ndarray, np.ndarray], Any]) -> list[Any]:
        """``part`` of gamma and weights, for portions of the sites, on several threads."""
        size = max(1, _CACHED_ELEMENTS // self.gamma.shape[1] ** 2)
        portions = [slice(start, start + size) for start in range(0, self.n, size)]
        return thread_map(lambda some: part(self.gamma[some], self.weights[some]), portions)

    def gauged(self, energy: np.ndarray) -> SiteMatrices:
        """The sites themselves: all self-energies can be represented, in any gauge."""
        return self

    def represented(self, energy: np.ndarray) -> np.ndarray:
        """The self-energies themselves."""
        return energy

    def with_ends(self, energy: np.ndarray, log_lambda: complex) -> tuple[np.ndarray, np.ndarray]:
        """P and Q of (20) from ``energy`` (2, K, T, T), with the entries of y_0 and x_L."""
        P = np.eye(self.gamma.shape[2], dtype=complex)
        Q = np.eye(self.gamma.shape[1], dtype=complex) * np.exp(self.log_mean - log_lambda)
        for block, p, q in zip(self.blocks(), *energy, strict=True):
            P[block, block], Q[block, block] = p, q
        return P, Q

    def overlaps(self, energy: np.ndarray, log_lambda: complex) -> np.ndarray:
        """g and k of (20), (2, K, T, T)."""
        P, Q = self.with_ends(energy, log_lambda)
        unit, Q = _unit_diagonal(Q)
        rows, columns = self.gamma.shape[1:]

        def part(gamma: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            n = len(gamma)
            gamma = unit[:, None] * gamma
            h = _h(gamma, P)
            transposed = np.eye(rows) - (h.reshape(n * rows, rows) @ Q).reshape(n, rows, rows)
            R = np.linalg.inv(np.swapaxes(transposed, 1, 2)) * weights[:, None, None]
            R = R.reshape(n * rows, rows)
            g = h.reshape(n * rows, rows).T @ R  # h is symmetric
            right = (R @ Q).reshape(n, rows, rows)  # R Q, symmetric as well
            left = np.matmul(np.swapaxes(gamma, 1, 2), right.view(float)).view(complex)
            turned = np.ascontiguousarray(np.swapaxes(left, 1, 2)).reshape(n * rows, columns)
            return g, (gamma.reshape(n * rows, columns).T @ turned.view(float)).view(complex)

        parts = self.over_sites(part)
        both = [np.sum([one[i] for one in parts], axis=0) for i in range(2)]
        both[0] = both[0] / (unit[:, None] * unit)
        found = np.array([[matrix[block, block] for block in self.blocks()] for matrix in both])
        return 0.5 * (found + np.swapaxes(found, -1, -2))

    def log_determinant(self, energy: np.ndarray, log_lambda: complex) -> tuple[np.ndarray, complex]:
        """log det(1 - Q h) (n,) on the branch that is 0 at Q = 0, and m = E[s^2/(lambda - s^2)].

        It is log det Q + log det(Q^{-1} - h). Im Q < 0 and Im(Q^{-1} - h) > 0: the eigenvalues of Q lie in
        the lower half plane, the pivots of the other without exchanges in the upper one. The Schur
        complement at x_L is the inverse of the block of (Q^{-1} - h)^{-1} there, which gives m.
        """
        P, Q = self.with_ends(energy, log_lambda)
        unit, Q = _unit_diagonal(Q)
        Q = Q - 1j * _SHIFT * np.eye(len(Q))
        eigen = np.linalg.eigvals(Q)
        base = np.log(eigen.real - 1j * np.maximum(-eigen.imag, REAL_AXIS * np.abs(eigen))).sum()
        inverse = np.linalg.inv(Q)

        def part(gamma: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, complex]:
            inner, last = _split(inverse - _h(unit[:, None] * gamma, P), self.ports)
            trace = np.trace(np.linalg.inv(last), axis1=1, axis2=2)
            return base + _log_pivots(inner) + _log_pivots(last), complex(weights @ trace)

        parts = self.over_sites(part)
        end = unit[-1] ** 2 * np.exp(log_lambda - self.log_mean)
        m = sum(one[1] for one in parts) * end / self.s_out - 1.0
        return np.concatenate([one[0] for one in parts]), m


def _unit_diagonal(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale self-energies A to a unit diagonal: D = |diag A|^{1/2}, and D^{-1} A D^{-1}.

    They grow by many orders of magnitude along the steps.
    """
    size = np.abs(np.diagonal(matrix))
    size = np.where(size > 0.0, size, np.min(size[size > 0.0]))  # 0: a gate drives nothing that is read
    unit = np.sqrt(size)
    return unit, matrix / (unit[:, None] * unit)


def _h(gamma: np.ndarray, P: np.ndarray) -> np.ndarray:
    """gamma P gamma^T for complex symmetric P, by real products of both parts of P side by side."""
    n, rows, columns = gamma.shape
    left = (gamma.reshape(n * rows, columns) @ P.view(float)).view(complex).reshape(n, rows, columns)
    return np.matmul(gamma, np.ascontiguousarray(np.swapaxes(left, 1, 2)).view(float)).view(complex)


def _split(matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First ``size`` rows and columns of symmetric matrices (n, rows, rows), and the Schur complement."""
    first, side = matrix[:, :size, :size], matrix[:, :size, size:]
    return first, matrix[:, size:, size:] - np.swapaxes(side, 1, 2) @ np.linalg.solve(first, side)


def _log_pivots(matrix: np.ndarray) -> np.ndarray:
    """Sum of the logarithms of the pivots of symmetric matrices (n, rows, rows) of positive imaginary part.

    Schur complements have a positive imaginary part as well, so all pivots lie in the upper half plane.
    """
    size = matrix.shape[1]
    if size > _SMALL:
        first, rest = _split(matrix, size // 2)
        return _log_pivots(first) + _log_pivots(rest)
    matrix = np.moveaxis(matrix, 0, -1).copy()
    total = np.zeros(matrix.shape[2], dtype=complex)
    for i in range(size):
        pivot = matrix[i, i]
        total += np.log(pivot.real + 1j * np.maximum(pivot.imag, REAL_AXIS * np.abs(pivot)))
        row = matrix[i, i + 1 :]
        matrix[i + 1 :, i + 1 :] -= (row / pivot)[:, None] * row[None]
    return total


def gate_owners(stages: Sequence[Stage], steps: int) -> list[tuple[int, int]]:
    """Stage of the step, and place in it, of every weight matrix."""
    per_step = len(stages) // steps
    return [(level, j) for level, stage in enumerate(stages[:per_step]) for j in range(len(stage.sigma2))]
