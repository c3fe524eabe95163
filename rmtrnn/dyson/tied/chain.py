"""A chain of equal steps with tied weights over weighted sites, scaled at one lambda: theory.md (12), (20).

x_l and b are divided, y_l and c multiplied by |lambda|^{l/(2L)}, so that lambda lies on the unit circle, and
b and c carry the gauge of the self-energies (`time_basis`). Nothing overflows, however long the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.tied.time_basis import SelfEnergy
from rmtrnn.numerics.small_matrices import Matrix, Vector, split_entries

_CHUNK_ELEMENTS = 8192  # complex numbers per temporary: a few of them fit a level-2 cache


@dataclass(frozen=True)
class Gate:
    """One coupling of a weight matrix: which ``matrix`` at which ``step``, and its vectors b and c."""

    matrix: int
    step: int
    b: Vector
    c: Vector


class TiedChain:
    """A chain of ``steps`` equal steps over weighted sites; each gate of one step has one weight matrix.

    ``sigma2`` and ``orthogonal`` are those of the weight matrices; ``weights`` of the sites sum to 1.
    """

    def __init__(self, stages: Sequence[Stage], steps: int, weights: np.ndarray | None = None) -> None:
        self.stages, self.steps = tuple(stages), steps
        self.per_step = len(stages) // steps
        first = stages[: self.per_step]
        self.owner = [(level, j) for level, stage in enumerate(first) for j in range(len(stage.sigma2))]
        self.sigma2 = np.array([first[level].sigma2[j] for level, j in self.owner])
        self.orthogonal = np.array([first[level].orthogonal[j] for level, j in self.owner], dtype=bool)
        self.n = stages[0].a.shape[2]
        self.weights = np.full(self.n, 1.0 / self.n) if weights is None else np.asarray(weights, dtype=float)
        self.s_in, self.s_out = stages[0].a.shape[1], stages[-1].a.shape[0]
        self._chunks: dict[int, list[Chunk]] = {}

    @property
    def matrices(self) -> int:
        return len(self.owner)

    def at(self, sites: Any, weights: np.ndarray | None = None) -> TiedChain:
        """The chain on some of the sites, by default with their own weights, which need not sum to 1."""
        stages = [replace(s, a=s.a[..., sites], b=s.b[..., sites], c=s.c[..., sites]) for s in self.stages]
        return TiedChain(stages, self.steps, self.weights[sites] if weights is None else weights)

    def chunks(self, columns: int) -> list[Chunk]:
        """The sites in portions whose arrays of ``columns`` responses fit the cache."""
        size = max(16, _CHUNK_ELEMENTS // columns)
        if size not in self._chunks:
            self._chunks[size] = [Chunk(self, slice(start, start + size)) for start in range(0, self.n, size)]
        return self._chunks[size]


class Chunk:
    """Some sites of a chain, entry by entry."""

    def __init__(self, chain: TiedChain, sites: slice) -> None:
        self.sites = sites
        self.weights = chain.weights[sites]
        self.n = len(self.weights)
        self.s_in, self.s_out = chain.s_in, chain.s_out
        self.matrices, self.steps = chain.matrices, chain.steps
        self.a: list[Matrix] = []
        self.gates: list[list[Gate]] = []
        for position, stage in enumerate(chain.stages):
            step, level = divmod(position, chain.per_step)
            here = [k for k, (at, _) in enumerate(chain.owner) if at == level]
            b, c = split_entries(stage.b[..., sites]), split_entries(stage.c[..., sites])
            self.a.append(split_entries(stage.a[..., sites]))
            self.gates.append([Gate(k, step, b[j], c[j]) for j, k in enumerate(here)])

    @property
    def length(self) -> int:
        return len(self.a)


@dataclass(frozen=True)
class Frame:
    """The chain at one lambda in the gauge of a self-energy.

    ``y``, ``x`` (K, T): diagonal parts of the self-energy at the ports; ``b``, ``c`` (K, T): factors of the
    vectors of the gates; ``hop``: factor of every a; ``end``: 1/lambda, of modulus 1.
    """

    y: np.ndarray
    x: np.ndarray
    b: np.ndarray
    c: np.ndarray
    hop: float
    end: complex

    @classmethod
    def of(cls, chain: TiedChain, energy: SelfEnergy, log_lambda: complex) -> Frame:
        """``log_lambda`` = log lambda, its imaginary part the argument."""
        length = len(chain.stages)
        share = 0.5 * float(np.real(log_lambda)) / length
        position = np.array(
            [[t * chain.per_step + level for t in range(chain.steps)] for level, _ in chain.owner]
        )
        K = chain.matrices
        return cls(
            energy.local[:K],
            energy.local[K:],
            np.exp(energy.gauge[:K] - share * (position + 1)),
            np.exp(energy.gauge[K:] + share * position),
            float(np.exp(-share)),
            complex(np.exp(-1j * np.imag(log_lambda))),
        )
