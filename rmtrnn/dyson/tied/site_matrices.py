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
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from rmtrnn._core.arrays import namespace, to_host, total
from rmtrnn._core.parallel import thread_map
from rmtrnn.dyson.pencil import Chain, Stage
from rmtrnn.dyson.self_energy import REAL_AXIS
from rmtrnn.numerics.symmetric_elimination import eliminate

# Relative shift of Q before it is inverted. Derived: the square root of rounding, as a smooth Q is
# numerically singular.
_SHIFT = 1e-8
# Complex numbers in a temporary array: some of them fit a level-2 cache of 1 MiB; a device wants few long
# kernels: 1 GiB each.
_CACHED_ELEMENTS, _DEVICE_ELEMENTS = 2**15, 2**26


@dataclass(frozen=True, kw_only=True)
class TiedSites:
    """Sites of a chain of ``steps`` equal steps, scaled by ``log_growth``, the mean growth of each stage.

    ``weights`` of the sites sum to 1; ``sigma2`` and ``orthogonal`` are those of the K weight matrices. What
    has one entry for each site and pair of steps lives in the array module ``xp``, all else on the host: one
    evaluation takes the self-energies to the device and brings its averages back, once.
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
    def xp(self) -> Any:
        """NumPy or CuPy."""
        raise NotImplementedError

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
    def of(
        cls, stages: Sequence[Stage], steps: int, weights: np.ndarray | None = None, xp: Any = np
    ) -> SiteMatrices:
        """From the stages (host) of ``steps`` equal steps; each gate of a step has one weight matrix."""
        n = stages[0].a.shape[2]
        share = np.full(n, 1.0 / n) if weights is None else weights
        log_growth = Chain(stages, share).growth.log_growth
        owners = gate_owners(stages, steps)
        s_in, s_out = stages[0].a.shape[1], stages[-1].a.shape[0]
        ports, per_step = len(owners) * steps, len(stages) // steps
        gamma = xp.zeros((n, ports + s_out, ports + s_in))
        carried = xp.zeros((s_in, ports + s_in, n))  # the row x_l of A^{-1} B
        for i in range(s_in):
            carried[i, ports + i] = 1.0
        for position, (stage, scale) in enumerate(zip(stages, np.exp(-0.5 * log_growth), strict=True)):
            step, level = divmod(position, per_step)
            here = [(k * steps + step, j) for k, (at, j) in enumerate(owners) if at == level]
            for port, j in here:
                gamma[:, port] = xp.einsum("in,ijn->nj", xp.asarray(stage.c[j]), carried)
            carried = xp.einsum("oin,ijn->ojn", xp.asarray(stage.a), carried)
            for port, j in here:
                carried[:, port] += xp.asarray(stage.b[j])
            carried *= float(scale)
        gamma[:, ports:] = xp.moveaxis(carried, 2, 0)
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
    def xp(self) -> Any:
        return namespace(self.gamma)

    @cached_property
    def own_weights(self) -> Any:
        """The weights where gamma lives."""
        return self.xp.asarray(self.weights)

    @property
    def s_in(self) -> int:
        return self.gamma.shape[2] - self.ports

    @property
    def s_out(self) -> int:
        return self.gamma.shape[1] - self.ports

    def at(self, sites: Any, weights: np.ndarray | None = None) -> SiteMatrices:
        """Some of the sites, by default with their own weights scaled to sum to 1."""
        picked = sites if isinstance(sites, slice) else self.xp.asarray(sites)
        return replace(self, gamma=self.gamma[picked], weights=self.normalised(sites, weights))

    def over_sites(self, part: Callable[[Any, Any], Any]) -> list[Any]:
        """``part`` of gamma and weights, for portions of the sites; on several threads of the host."""
        on_host, weights = self.xp is np, self.own_weights
        most = _CACHED_ELEMENTS if on_host else _DEVICE_ELEMENTS
        size = max(1, most // max(self.gamma.shape[1:]) ** 2)
        portions = [slice(start, start + size) for start in range(0, self.n, size)]

        def of_portion(some: slice) -> Any:
            return part(self.gamma[some], weights[some])

        return thread_map(of_portion, portions) if on_host else [of_portion(some) for some in portions]

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
        xp = self.xp
        P, Q, scale, one = (xp.asarray(array) for array in (P, Q, unit, np.eye(rows)))

        def part(gamma: Any, weights: Any) -> Any:
            n = len(gamma)
            gamma = scale[:, None] * gamma
            h = _h(gamma, P)
            transposed = one - (h.reshape(n * rows, rows) @ Q).reshape(n, rows, rows)
            R = xp.linalg.inv(xp.swapaxes(transposed, 1, 2)) * weights[:, None, None]
            R = R.reshape(n * rows, rows)
            g = h.reshape(n * rows, rows).T @ R  # h is symmetric
            right = (R @ Q).reshape(n, rows, rows)  # R Q, symmetric as well
            left = xp.matmul(xp.swapaxes(gamma, 1, 2), right.view(float)).view(complex)
            turned = xp.ascontiguousarray(xp.swapaxes(left, 1, 2)).reshape(n * rows, columns)
            k = (gamma.reshape(n * rows, columns).T @ turned.view(float)).view(complex)
            return xp.stack([matrix[block, block] for matrix in (g, k) for block in self.blocks()])

        found = to_host(total(self.over_sites(part))).reshape(energy.shape)
        size = np.array([unit[block] for block in self.blocks()])
        found = np.array([found[0] / (size[:, :, None] * size[:, None, :]), found[1]])
        return 0.5 * (found + np.swapaxes(found, -1, -2))

    def log_determinant(self, energy: np.ndarray, log_lambda: complex) -> tuple[np.ndarray, complex]:
        """log det(1 - Q h) (n,) on the branch that is 0 at Q = 0, and m = E[s²/(λ - s²)].

        It is log det Q + log det(Q^{-1} - h). Im Q < 0 and Im(Q^{-1} - h) > 0: the eigenvalues of Q lie in
        the lower half plane, the pivots of the other without exchanges in the upper one. The Schur
        complement at x_L is the inverse of the block of (Q^{-1} - h)^{-1} there, which gives m.
        """
        P, Q = self.with_ends(energy, log_lambda)
        unit, Q = _unit_diagonal(Q)
        Q = Q - 1j * _SHIFT * np.eye(len(Q))
        eigen = np.linalg.eigvals(Q)
        base = np.log(eigen.real - 1j * np.maximum(-eigen.imag, REAL_AXIS * np.abs(eigen))).sum()
        xp = self.xp
        P, inverse, scale = (xp.asarray(array) for array in (P, np.linalg.inv(Q), unit))

        def part(gamma: Any, weights: Any) -> Any:
            found = eliminate(inverse - _h(scale[:, None] * gamma, P), self.s_out)
            m = weights @ xp.trace(found.last, axis1=1, axis2=2)
            return xp.concatenate([found.log_det, m[None]])

        parts = self.over_sites(part)
        m = total([one[-1:] for one in parts])
        found = to_host(xp.concatenate([*(one[:-1] for one in parts), m]))
        end = unit[-1] ** 2 * np.exp(log_lambda - self.log_mean)
        return base + found[:-1], complex(found[-1] * end / self.s_out - 1.0)


def _unit_diagonal(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale self-energies A to a unit diagonal: D = |diag A|^{1/2}, and D^{-1} A D^{-1}.

    They grow by many orders of magnitude along the steps.
    """
    size = np.abs(np.diagonal(matrix))
    size = np.where(size > 0.0, size, np.min(size[size > 0.0]))  # 0: a gate drives nothing that is read
    unit = np.sqrt(size)
    return unit, matrix / (unit[:, None] * unit)


def _h(gamma: Any, P: Any) -> Any:
    """gamma P gamma^T for complex symmetric P, by real products of both parts of P side by side."""
    xp = namespace(gamma)
    n, rows, columns = gamma.shape
    left = (gamma.reshape(n * rows, columns) @ P.view(float)).view(complex).reshape(n, rows, columns)
    return xp.matmul(gamma, xp.ascontiguousarray(xp.swapaxes(left, 1, 2)).view(float)).view(complex)


def gate_owners(stages: Sequence[Stage], steps: int) -> list[tuple[int, int]]:
    """Stage of the step, and place in it, of every weight matrix."""
    per_step = len(stages) // steps
    return [(level, j) for level, stage in enumerate(stages[:per_step]) for j in range(len(stage.sigma2))]
