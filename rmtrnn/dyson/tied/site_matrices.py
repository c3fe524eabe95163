"""Tied sites, dense in time: overlaps and determinants of theory.md (20), from one inverse of a site.

With L and B of (29) (see `read_chain`) and Q_z, Q between the entries of z,

    N^{-1} = L Q_z^{-1} L^T - B P B^T,   det(1 - Q h) = det(Q_z) det(N^{-1}),                     (30)
    k = E[B^T N B],   g_z = Q_z^{-1} E[L^T N L] Q_z^{-1} - Q_z^{-1}.

N^{-1} is well conditioned where 1 - Q h is not: h = gamma P gamma^T is a sum over paths, in the lower tail
many orders of magnitude larger than what decides.

Let A be the bidiagonal matrix of the a_t of all stages at a site, B_0 the matrix of the vectors b_t of all
weight matrices and of y_0, C that of the c_t and of x_L. The propagators

    gamma = C^T A^{-1} B_0

are wanted at large λ. Stages are divided by their mean growth, so that nothing over- nor underflows.

Letters: P and Q, self-energies of the y and of the x as in (20), with the entries of y_0 and of x_L.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from rmtrnn._core.arrays import to_host, total
from rmtrnn._core.parallel import thread_map
from rmtrnn.dyson.pencil import Chain, Stage
from rmtrnn.dyson.self_energy import REAL_AXIS
from rmtrnn.dyson.tied.read_chain import Ports, ReadChain, Rows
from rmtrnn.numerics.symmetric_elimination import eliminate

# Relative shift of Q before it is inverted. Derived: the square root of rounding, as a smooth Q is
# numerically singular.
_SHIFT = 1e-8
# The same where Q is next to singular. Derived: the cube root of rounding, as the inverse of a matrix whose
# smallest eigenvalue is s errs by rounding/s^2, while F errs by s. With 1e-8 F of a network without input
# noise scattered by 2e-3.
_SINGULAR_SHIFT = 6e-6
# Largest entry of the inverse of Q, in units of its diagonal: g is known to rounding times its square, 1e-8.
_LARGEST_INVERSE = 1e4
# Complex numbers in a temporary array: some of them fit a level-2 cache of 1 MiB; a device wants few long
# kernels: 1 GiB each. Eliminations of small blocks want some sites at once.
_CACHED_ELEMENTS, _DEVICE_ELEMENTS, _ELIMINATED_SITES = 2**15, 2**26, 16


@dataclass(frozen=True, kw_only=True)
class SiteMatrices:
    """Sites by their ``stages``, a chain of equal ``steps``, scaled by ``log_growth``, the mean of each.

    ``weights`` of the sites sum to 1; ``sigma2`` and ``orthogonal`` are those of the K weight matrices. What
    has one entry for each site and pair of steps lives in ``array_module``, all else on the host: one
    evaluation takes the self-energies to the device and brings its averages back, once.
    """

    stages: tuple[Stage, ...]
    array_module: Any = np
    weights: np.ndarray
    sigma2: tuple[float, ...]
    orthogonal: tuple[bool, ...]
    steps: int
    log_growth: np.ndarray

    @classmethod
    def of(
        cls, stages: Sequence[Stage], steps: int, weights: np.ndarray | None = None, xp: Any = np
    ) -> SiteMatrices:
        """From the stages of ``steps`` equal steps; each gate of a step has one weight matrix."""
        n = stages[0].a.shape[2]
        share = np.full(n, 1.0 / n) if weights is None else weights
        owners = gate_owners(stages, steps)
        return cls(
            stages=tuple(stages),
            array_module=xp,
            weights=share,
            sigma2=tuple(stages[at].sigma2[j] for at, j in owners),
            orthogonal=tuple(stages[at].orthogonal[j] for at, j in owners),
            steps=steps,
            log_growth=Chain(stages, share).growth.log_growth,
        )

    @property
    def n(self) -> int:
        return self.weights.size

    @property
    def xp(self) -> Any:
        """NumPy or CuPy."""
        return self.array_module

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

    @cached_property
    def own_weights(self) -> Any:
        """The weights where the matrices live."""
        return self.xp.asarray(self.weights)

    @cached_property
    def gamma(self) -> Any:
        """Propagators between all ports (n, K T + s_out, K T + s_in)."""
        xp, ports, s_in = self.xp, self.ports, self.s_in
        gamma = xp.zeros((self.n, ports + self.s_out, ports + s_in))
        carried = xp.zeros((s_in, ports + s_in, self.n))  # the row x_l of A^{-1} B
        for i in range(s_in):
            carried[i, ports + i] = 1.0
        scales = np.exp(-0.5 * self.log_growth)
        places = ports_of_stages(self.stages, self.steps)
        for stage, here, scale in zip(self.stages, places, scales, strict=True):
            for port, j in here:
                gamma[:, port] = xp.einsum("in,ijn->nj", xp.asarray(stage.c[j]), carried)
            carried = xp.einsum("oin,ijn->ojn", xp.asarray(stage.a), carried)
            for port, j in here:
                carried[:, port] += xp.asarray(stage.b[j])
            carried *= float(scale)
        gamma[:, ports:] = xp.moveaxis(carried, 2, 0)
        return gamma

    @cached_property
    def chain(self) -> ReadChain:
        """L and B of (29)."""
        places = ports_of_stages(self.stages, self.steps)
        return ReadChain.of(self.stages, places, np.exp(-0.5 * self.log_growth), self.xp)

    @property
    def s_in(self) -> int:
        return self.stages[0].a.shape[1]

    @property
    def s_out(self) -> int:
        return self.stages[-1].a.shape[0]

    def at(self, sites: Any, weights: np.ndarray | None = None) -> SiteMatrices:
        """Some of the sites, by default with their own weights scaled to sum to 1."""
        stages = tuple(stage.at(sites) for stage in self.stages)
        own = self.weights[sites] / self.weights[sites].sum() if weights is None else weights
        return replace(self, stages=stages, weights=own)

    def over_sites(self, rows: int, part: Callable[[slice, Any], Any], least: int = 1) -> list[Any]:
        """``part`` of ``least`` sites or more at a time, for matrices of ``rows``; on threads of the host."""
        on_host, weights = self.xp is np, self.own_weights
        most = _CACHED_ELEMENTS if on_host else _DEVICE_ELEMENTS
        size = max(least, most // rows**2)
        portions = [slice(start, start + size) for start in range(0, self.n, size)]

        def of_portion(some: slice) -> Any:
            return part(some, weights[some])

        return thread_map(of_portion, portions) if on_host else [of_portion(some) for some in portions]

    def with_ends(self, energy: np.ndarray, log_lambda: complex) -> tuple[np.ndarray, np.ndarray]:
        """P and Q of (20) from ``energy`` (2, K, T, T), with the entries of y_0 and x_L."""
        end = self._end(log_lambda)
        kind = np.result_type(energy, end)  # real where λ < 0 and P and Q are
        P = np.eye(self.ports + self.s_in, dtype=kind)
        Q = np.eye(self.ports + self.s_out, dtype=kind) * end
        for block, p, q in zip(self.blocks(), *energy, strict=True):
            P[block, block], Q[block, block] = p, q
        return P, Q

    def _end(self, log_lambda: complex) -> np.ndarray:
        """1/λ for the scaled stages; real where λ < 0."""
        end = np.exp(np.array(self.log_mean - log_lambda))
        return np.real(end) if abs(log_lambda.imag) == np.pi else end

    def overlaps(self, energy: np.ndarray, log_lambda: complex) -> np.ndarray:
        """g and k of (20), (2, K, T, T)."""
        both = self._between_ports(energy, log_lambda)
        found = np.array([[matrix[block, block] for block in self.blocks()] for matrix in both])
        return 0.5 * (found + np.swapaxes(found, -1, -2))

    def mean_resolvent(self, energy: np.ndarray, log_lambda: complex) -> complex:
        """E s²/(λ - s²) of the sites."""
        g, _ = self._between_ports(energy, log_lambda)
        ends = np.trace(g[self.ports :, self.ports :])
        return complex(ends * self._end(log_lambda)) / self.s_out

    def _between_ports(self, energy: np.ndarray, log_lambda: complex) -> tuple[np.ndarray, np.ndarray]:
        """g and k between all ports, the ends with them."""
        P, Q = self.with_ends(energy, log_lambda)
        unit, Q = _unit_diagonal(self.chain.gathered(Q))
        inverse = _inverse(Q)
        if inverse is None:
            g, k = self._averages_of_any(P, Q, unit)
        else:
            inner, k = self._averages(P, inverse, unit)
            g = inverse @ inner @ inverse - inverse
        return (g / (unit[:, None] * unit))[np.ix_(self.chain.entry, self.chain.entry)], k

    def _chain_at(self, some: slice, unit: Any) -> tuple[Rows, Rows]:
        """L and B of some of the sites, z in the units ``unit``^{-1}."""
        chain = self.chain
        return chain.lower.at(some, unit, unit), chain.added.at(some, unit, self.xp.ones(chain.added.width))

    def _inverse_of_n(
        self, P: np.ndarray, inverse: np.ndarray, unit: np.ndarray
    ) -> Callable[[slice], tuple[Rows, Rows, Any]]:
        """How to find L, B and N^{-1} of (30) at some sites, from Q_z^{-1} in units of the diagonal."""
        P, inverse, unit = (self.xp.asarray(array) for array in (P, inverse, unit))
        of_q, of_p = self.chain.lower.cores(inverse), self.chain.added.cores(P)

        def at(some: slice) -> tuple[Rows, Rows, Any]:
            L, B = self._chain_at(some, unit)
            return L, B, L.around(of_q) - B.around(of_p)

        return at

    def _averages(
        self, P: np.ndarray, inverse: np.ndarray, unit: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """E[L^T N L] and E[B^T N B] of (30), the first in units of the diagonal of Q."""
        xp, inverse_at = self.xp, self._inverse_of_n(P, inverse, unit)

        def part(some: slice, weights: Any) -> Any:
            L, B, matrix = inverse_at(some)
            N = xp.linalg.inv(matrix) * weights[:, None, None]
            return xp.concatenate([B.parts(N), L.parts(N)])

        found, chain = to_host(total(self.over_sites(self.chain.size, part))), self.chain
        k, inner = np.split(found, [chain.added.count])
        return chain.lower.mean(inner), chain.added.mean(k)

    def _averages_of_any(
        self, P: np.ndarray, energy: np.ndarray, unit: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """g_z in units of the diagonal of Q, the ``energy``, and k, where Q is next to singular.

        With U = L^T - Q L^{-1} B P B^T they are E[L^{-1} B P B^T U^{-1}] and E[B^T U^{-1} Q L^{-1} B].
        """
        xp, size = self.xp, self.chain.size
        P, Q, unit = (xp.asarray(array) for array in (P, energy, unit))
        of_p = self.chain.added.cores(P)

        def part(some: slice, weights: Any) -> Any:
            L, B = self._chain_at(some, unit)
            lower, added = L.dense, B.around(of_p)
            inverse = xp.linalg.inv(lower)
            passed = xp.matmul(Q, inverse)
            U = xp.linalg.inv(xp.swapaxes(lower, 1, 2) - xp.matmul(passed, added)) * weights[:, None, None]
            g = xp.matmul(inverse, xp.matmul(added, U)).sum(axis=0)
            return xp.concatenate([g.reshape(-1), B.parts(xp.matmul(U, passed))])

        found = to_host(total(self.over_sites(size, part)))
        return found[: size**2].reshape(size, size), self.chain.added.mean(found[size**2 :])

    def log_determinants(self, energy: np.ndarray, log_lambda: complex) -> np.ndarray:
        """log det(1 - Q h) of every site at λ < 0, where 1 - Q h is positive: (n,)."""
        P, Q = self.with_ends(energy, log_lambda)
        unit, Q = _unit_diagonal(self.chain.gathered(Q))
        Q = Q - _SHIFT * np.eye(len(Q))
        xp, inverse_at = self.xp, self._inverse_of_n(P, np.linalg.inv(Q), unit)

        def part(some: slice, weights: Any) -> Any:
            return xp.linalg.slogdet(inverse_at(some)[2])[1]

        parts = self.over_sites(self.chain.size, part)
        return float(np.linalg.slogdet(Q)[1]) + to_host(xp.concatenate(parts))

    def site_values(self, energy: np.ndarray, log_lambda: complex) -> tuple[np.ndarray, np.ndarray]:
        """log det(1 - Q h) of every site on the branch that is 0 at Q = 0, and its s²/(λ - s²), each (n,).

        The first is log det Q_z + log det N^{-1} of (30). Im Q < 0 and Im N^{-1} > 0: the eigenvalues of Q
        lie in the lower half plane, the pivots of the other without exchanges in the upper one. Nothing
        follows x_L, so that its Schur complement gives m.
        """
        P, Q = self.with_ends(energy, log_lambda)
        unit, Q = _unit_diagonal(self.chain.gathered(Q))
        shift = _SHIFT if _inverse(Q) is not None else _SINGULAR_SHIFT
        Q = Q - 1j * shift * np.eye(len(Q))
        eigen = np.linalg.eigvals(Q)
        base = np.log(eigen.real - 1j * np.maximum(-eigen.imag, REAL_AXIS * np.abs(eigen))).sum()
        xp, inverse_at = self.xp, self._inverse_of_n(P, np.linalg.inv(Q), unit)

        def part(some: slice, weights: Any) -> Any:
            found = eliminate(inverse_at(some)[2], self.s_out)
            return xp.stack([found.log_det, xp.trace(found.last, axis1=1, axis2=2)])

        parts = self.over_sites(self.chain.size, part, _ELIMINATED_SITES)
        log_det, last = to_host(xp.concatenate(parts, axis=1))
        end = unit[-1] ** 2 * np.exp(log_lambda - self.log_mean)
        return base + log_det, last * end / self.s_out - 1.0


def _inverse(energy: np.ndarray) -> np.ndarray | None:
    """Q^{-1} of the ``energy`` Q; None where its square would multiply rounding too much."""
    try:
        inverse = np.linalg.inv(energy)
    except np.linalg.LinAlgError:
        return None
    return inverse if np.abs(inverse).max() < _LARGEST_INVERSE else None


def _unit_diagonal(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale self-energies A to a unit diagonal: D = |diag A|^{1/2}, and D^{-1} A D^{-1}.

    They grow by many orders of magnitude along the steps. Raises LinAlgError for what has overflown.
    """
    size = np.abs(np.diagonal(matrix))
    if not np.isfinite(size).all() or not size.any():
        raise np.linalg.LinAlgError("self-energies have over- or underflown")
    size = np.where(size > 0.0, size, np.min(size[size > 0.0]))  # 0: a gate drives nothing that is read
    unit = np.sqrt(size)
    return unit, matrix / (unit[:, None] * unit)


def gate_owners(stages: Sequence[Stage], steps: int) -> list[tuple[int, int]]:
    """Stage of the step, and place in it, of every weight matrix."""
    per_step = len(stages) // steps
    return [(level, j) for level, stage in enumerate(stages[:per_step]) for j in range(len(stage.sigma2))]


def ports_of_stages(stages: Sequence[Stage], steps: int) -> Ports:
    """Of every stage of the chain (port, j): the row of gamma of its j-th weight matrix."""
    owners, per_step = gate_owners(stages, steps), len(stages) // steps
    places = (divmod(position, per_step) for position in range(len(stages)))
    return [
        [(k * steps + step, j) for k, (at, j) in enumerate(owners) if at == level] for step, level in places
    ]
