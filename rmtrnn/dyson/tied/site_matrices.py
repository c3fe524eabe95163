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
from typing import Any

import numpy as np

from rmtrnn._core.parallel import thread_map
from rmtrnn.dyson.pencil import Chain, Stage

# Complex numbers in a temporary array: some of them fit a level-2 cache of 1 MiB.
_CACHED_ELEMENTS = 2**15


@dataclass(frozen=True)
class SiteMatrices:
    """Propagators ``gamma`` of all sites (n, K T + s_out, K T + s_in), scaled by ``log_growth``.

    ``weights`` of the sites sum to 1; ``sigma2`` and ``orthogonal`` are those of the K weight matrices.
    """

    gamma: np.ndarray
    weights: np.ndarray
    sigma2: tuple[float, ...]
    orthogonal: tuple[bool, ...]
    steps: int
    log_growth: np.ndarray

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
        return cls(gamma, share, sigma2, orthogonal, steps, log_growth)

    @property
    def matrices(self) -> int:
        """K, the number of weight matrices."""
        return len(self.sigma2)

    @property
    def ports(self) -> int:
        """K T."""
        return self.matrices * self.steps

    @property
    def n(self) -> int:
        return len(self.gamma)

    @property
    def s_in(self) -> int:
        return self.gamma.shape[2] - self.ports

    @property
    def s_out(self) -> int:
        return self.gamma.shape[1] - self.ports

    @property
    def log_mean(self) -> float:
        """log of what JJ^T is divided by."""
        return float(self.log_growth.sum())

    def at(self, sites: Any, weights: np.ndarray | None = None) -> SiteMatrices:
        """Some of the sites, by default with their own weights scaled to sum to 1."""
        if weights is None:
            weights = self.weights[sites] / self.weights[sites].sum()
        return replace(self, gamma=self.gamma[sites], weights=weights)

    def blocks(self) -> list[slice]:
        """The ports of each weight matrix."""
        return [slice(k * self.steps, (k + 1) * self.steps) for k in range(self.matrices)]

    def over_sites(self, part: Callable[[np.ndarray, np.ndarray], Any]) -> list[Any]:
        """``part`` of gamma and weights, for portions of the sites, on several threads."""
        size = max(1, _CACHED_ELEMENTS // self.gamma.shape[1] ** 2)
        portions = [slice(start, start + size) for start in range(0, self.n, size)]
        return thread_map(lambda some: part(self.gamma[some], self.weights[some]), portions)


def gate_owners(stages: Sequence[Stage], steps: int) -> list[tuple[int, int]]:
    """Stage of the step, and place in it, of every weight matrix."""
    per_step = len(stages) // steps
    return [(level, j) for level, stage in enumerate(stages[:per_step]) for j in range(len(stage.sigma2))]
