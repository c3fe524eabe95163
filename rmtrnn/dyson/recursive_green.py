"""Recursive Green function: diagonal blocks of the resolvent of the pencil (12), stage by stage.

The pencil of a chain is a path (see `pencil`), so two recursions over the stages give all diagonal blocks of
G = (K0 - 𝒮)^{-1}. Eliminating from the left and from the right gives at every site

    P_l  = (U_{l-1}^{-1} - 𝒮[x_{l-1}])^{-1},   U_l     = 𝒮[y_l]     + a_l P_l a_l^T,   U_0 = 1,
    Q_l  = (V_l^{-1}     - 𝒮[y_l])^{-1},       V_{l-1} = 𝒮[x_{l-1}] + a_l^T Q_l a_l,   V_L = 1/λ,
    G_xx = (P_l^{-1} - a_l^T Q_l a_l)^{-1},        G_yy    = (Q_l^{-1} - a_l P_l a_l^T)^{-1},             (*)

and (14) is E tr (λ - U_L)^{-1} / s_L. P and Q are cavity resolvents, a^T Q a and a P a^T the
self-energies of hopping to the next stage. The cost is O(L s^3) per site, vectorised over sites and points.

Source: the recursive Green function of disordered wires (Thouless and Kirkpatrick 1981, J. Phys. C 14, 235;
MacKinnon 1985, Z. Phys. B 59, 385; Godfrin 1991, J. Phys. Condens. Matter 3, 7843).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core.arrays import to_host, total
from rmtrnn._core.parallel import thread_map
from rmtrnn.dyson.pencil import Chain, StageEntries
from rmtrnn.dyson.self_energy import Points, SelfEnergy
from rmtrnn.numerics.small_matrices import (
    Entry,
    Matrix,
    Vector,
    absorb,
    add,
    diagonal_green,
    dot,
    is_array,
    mul,
    plus_outer,
    quadratic,
    row_times,
    sandwich,
    scale_matrix,
    scaled_identity,
    square,
    transpose,
)

# Sites from which on blocks go to threads: below, Python costs more than arrays and threads would wait.
_THREADED_SITES = 2048


@dataclass(frozen=True)
class GreenAverages:
    """Averages of one forward and one backward recursion (*) over the stages, per point of λ.

    ``k`` = E[b^T G_yy b] and ``g`` = E[c^T G_xx c] of (13), shape (points, gates);
    ``m`` = E[s²/(λ - s²)]; ``phase`` = Im log det per site, the site part of Ψ, (points, n);
    ``hessian`` = E[(v_i^T G v_j)^2] over all vectors (b first, then c). The last two if asked for.
    """

    k: np.ndarray
    g: np.ndarray
    m: np.ndarray
    phase: np.ndarray | None = None
    hessian: np.ndarray | None = None


def green_averages(
    chain: Chain, sigma: SelfEnergy, points: Points, *, phase: bool = False, hessian: bool = False
) -> GreenAverages:
    """Average the diagonal blocks of G over sites, theory.md (13), at given self-energies.

    The arguments live on the host, the sites where the chain lives; all results come back to the host, but
    ``phase`` does not.
    """
    rows = max(1, chain.n_gates // 2) if hessian else 1

    def part(block: Chain, pick: slice) -> tuple:
        return _averages_of_block(_BlockInput.of(block, sigma[pick], points[pick]), phase, hessian)

    found = _over_blocks(chain, part, len(points), rows)
    k, g, m = (_mean_of_blocks(chain.xp, found, i) for i in range(3))
    return GreenAverages(
        k,
        g,
        m,
        _joined_sites(chain.xp, found, 3) if phase else None,
        _mean_of_blocks(chain.xp, found, 4) if hessian else None,
    )


def log_determinant(chain: Chain, sigma: SelfEnergy, points: Points) -> tuple[np.ndarray, np.ndarray]:
    """``phase`` and ``m`` of `green_averages`, by the recursion from the left alone."""

    def part(block: Chain, pick: slice) -> tuple[np.ndarray | None, np.ndarray]:
        return _from_left(_BlockInput.of(block, sigma[pick], points[pick]), True, False)[1:]

    found = _over_blocks(chain, part, len(points), 1)
    return _joined_sites(chain.xp, found, 0), _mean_of_blocks(chain.xp, found, 1)


Blocks = list[tuple[float, list[tuple]]]


def _over_blocks(chain: Chain, part: Callable[[Chain, slice], tuple], points: int, rows: int) -> Blocks:
    """Per block of sites its share of the weight, and ``part`` of it for every portion of the points.

    ``rows``: temporaries of ``part`` for each site.
    """
    blocks = chain.blocks(chain.portion)
    step = max(1, chain.portion // (min(chain.n, chain.portion) * rows))
    picks = [slice(start, start + step) for start in range(0, points, step)]
    jobs = [(block, pick) for block, _ in blocks for pick in picks]
    threaded = chain.xp is np and chain.n >= _THREADED_SITES
    found = thread_map(lambda job: part(*job), jobs) if threaded else [part(*job) for job in jobs]
    count = len(picks)
    return [(share, found[i * count : (i + 1) * count]) for i, (_, share) in enumerate(blocks)]


def _mean_of_blocks(xp: Any, found: Blocks, entry: int) -> np.ndarray:
    """Mean over all sites of an entry that is a mean over those of each block; it comes to the host once."""
    blocks = [share * xp.concatenate([one[entry] for one in row]) for share, row in found]
    return to_host(total(blocks))


def _joined_sites(xp: Any, found: Blocks, entry: int) -> np.ndarray:
    """An entry of shape (points, sites) of all blocks, side by side."""
    return xp.concatenate([xp.concatenate([one[entry] for one in row]) for _, row in found], axis=1)


class _BlockInput(NamedTuple):
    """A block of sites with the self-energies y, x, the scales r_l and 1/λ, all where the sites live."""

    chain: Chain
    y: np.ndarray
    x: np.ndarray
    scales: np.ndarray
    inverse_lambda: np.ndarray

    @classmethod
    def of(cls, chain: Chain, sigma: SelfEnergy, points: Points) -> _BlockInput:
        xp = chain.xp
        scales = xp.asarray(np.exp(chain.log_scales(points.log_lambda)))
        inverse_lambda = xp.asarray(np.exp(-1j * points.theta))[:, None]
        return cls(chain, xp.asarray(sigma.y), xp.asarray(sigma.x), scales, inverse_lambda)


class _StageBlocks(NamedTuple):
    """G_xx, G_yy and the cavity resolvent Q_l of one stage."""

    g_xx: Matrix
    g_yy: Matrix
    right: Matrix


def _averages_of_block(
    block: _BlockInput, want_phase: bool, want_hessian: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """k, g, m, phase and Hessian of one block of sites: (*) from the left, then from the right."""
    chain = block.chain
    xp = chain.xp
    left, site_phase, m = _from_left(block, want_phase, True)
    k = xp.empty((len(block.y), chain.n_gates), dtype=complex)
    g = xp.empty_like(k)
    blocks: list[_StageBlocks] = []
    v: Matrix = scaled_identity(chain.s_out, block.inverse_lambda)
    for position in reversed(range(len(chain.stages))):
        stage, scale = chain.entries[position], block.scales[:, position, None]
        here, hopping = _stage_blocks(block, stage, scale, left[position][0], v)
        for b_k, c_k, gate in zip(stage.b, stage.c, stage.gates, strict=True):
            k[:, gate] = chain.mean(quadratic(b_k, here.g_yy))
            g[:, gate] = chain.mean(quadratic(c_k, here.g_xx))
        if want_hessian:
            blocks.append(here)
        v = hopping
        for c_k, gate in zip(stage.c, stage.gates, strict=True):
            v = plus_outer(v, c_k, block.x[:, gate, None])
    second = _squared_overlaps(block, left, blocks[::-1]) if want_hessian else None
    return k, g, m, site_phase, second


def _stage_blocks(
    block: _BlockInput, stage: StageEntries, scale: Entry, cavity: Matrix, v: Matrix
) -> tuple[_StageBlocks, Matrix]:
    """G_xx, G_yy, Q_l of a stage and a^T Q_l a, from P_l (``cavity``) and V_l (``v``)."""
    right = v
    for b_k, gate in zip(stage.b, stage.gates, strict=True):
        right, _ = absorb(right, b_k, block.y[:, gate, None])
    hopping = scale_matrix(scale, sandwich(transpose(stage.a), right))
    g_xx, g_yy = diagonal_green(block.chain.xp, cavity, right, stage.a, scale, hopping)
    return _StageBlocks(g_xx, g_yy, right), hopping


def _from_left(
    block: _BlockInput, want_phase: bool, keep: bool
) -> tuple[list[tuple[Matrix, Matrix]], np.ndarray | None, np.ndarray]:
    """(*) from the left: (P_l, U_l) per stage if to ``keep``, the phase of the determinant, and m.

    No factor of the determinant crosses the negative real axis (see `absorb`), so its phase is the sum of
    their principal arguments.
    """
    chain = block.chain
    left = []
    phase = chain.xp.zeros((len(block.y), chain.n)) if want_phase else None
    u: Matrix = scaled_identity(chain.stages[0].a.shape[1], 1.0)
    for position, stage in enumerate(chain.entries):
        cavity = u
        for c_k, gate in zip(stage.c, stage.gates, strict=True):
            cavity, factor = absorb(cavity, c_k, block.x[:, gate, None])
            if phase is not None and is_array(factor):
                phase += chain.xp.angle(factor)
        u = scale_matrix(block.scales[:, position, None], sandwich(stage.a, cavity))
        for b_k, gate in zip(stage.b, stage.gates, strict=True):
            u = plus_outer(u, b_k, block.y[:, gate, None])
        if keep:
            left.append((cavity, u))
    last = u
    for i in range(chain.s_out):
        unit = [1.0 if i == j else 0.0 for j in range(chain.s_out)]
        last, factor = absorb(last, unit, block.inverse_lambda)
        if phase is not None:
            phase += chain.xp.angle(factor)
    trace = sum(chain.mean(last[i][i]) for i in range(chain.s_out))
    return left, phase, block.inverse_lambda[:, 0] * trace / chain.s_out


class _Rows:
    """Rows v_i^T G of the resolvent, carried along the path from left to right, and their squared overlaps.

    ``at``: the rows at the present variable, component by component, each (rows, points, n); ``index``: which
    coefficient (y first, then x) each row belongs to; ``second``: E[(v_i^T G v_j)^2].
    """

    def __init__(self, chain: Chain, points: int) -> None:
        self.chain, self.points = chain, points
        self.second = chain.xp.zeros((points, 2 * chain.n_gates, 2 * chain.n_gates), dtype=complex)
        self.index: list[int] = []
        self.at: Vector = []

    def add(self, new: list[Vector], indices: list[int]) -> None:
        """Append new rows, each a vector of entries."""
        xp = self.chain.xp
        old = next((entry.shape[0] for entry in self.at if is_array(entry)), 0)
        shape = (self.points, self.chain.n)
        stacked: Vector = []
        for i in range(len(new[0]) if new else len(self.at)):
            pieces = []
            if old:
                known = self.at[i]
                pieces.append(known if is_array(known) else xp.zeros((old, *shape), dtype=complex))
            for row in new:
                pieces.append(xp.broadcast_to(xp.asarray(row[i], dtype=complex), shape)[None])
            stacked.append(xp.concatenate(pieces))
        self.at = stacked
        self.index += indices

    def record(self, overlap: Entry, column: int) -> None:
        """Write E[overlap^2] of all rows so far against one vector, symmetrically."""
        values = self.chain.mean(square(overlap))
        if hasattr(values, "shape"):
            self.second[:, self.index, column] = values.T
            self.second[:, column, self.index] = values.T

    def hop(self, stage: StageEntries, scale: Entry, right: Matrix, y: np.ndarray) -> None:
        """Carry the rows from x_{l-1} over y_l to x_l.

        For rows that start further left G[., y_l] = G[., x_{l-1}] a^T Q_l and
        G[., x_l] = G[., x_{l-1}] a^T (1 + Q_l 𝒮[y_l]).
        """
        root = self.chain.xp.sqrt(scale)
        carried = [mul(root, entry) for entry in row_times(self.at, transpose(stage.a))]
        if not any(is_array(entry) for entry in carried):  # a = 0: nothing reaches further right
            self.at, self.index = [], []
            return
        at_y = row_times(carried, right)
        overlaps = [dot(at_y, b_k) for b_k in stage.b]
        for b_k, gate, overlap in zip(stage.b, stage.gates, overlaps, strict=True):
            self.record(overlap, gate)
            carried = [
                add(entry, mul(mul(overlap, y[:, gate, None]), b_i))
                for entry, b_i in zip(carried, b_k, strict=True)
            ]
        self.at = carried


def _squared_overlaps(
    block: _BlockInput, left: list[tuple[Matrix, Matrix]], blocks: list[_StageBlocks]
) -> np.ndarray:
    """E[(v_i^T G v_j)^2] for all pairs, the site part of ∇²Ψ: rows v_i^T G along the path.

    Rows that start at y_l need G[y_l, x_l] = 1 + G_yy U_l. The cost grows with the square of the number of
    gates.
    """
    chain = block.chain
    rows = _Rows(chain, len(block.y))
    for position, stage in enumerate(chain.entries):
        here = blocks[position]
        rows.add([row_times(c_k, here.g_xx) for c_k in stage.c], [chain.n_gates + k for k in stage.gates])
        for c_k, gate in zip(stage.c, stage.gates, strict=True):
            rows.record(dot(rows.at, c_k), chain.n_gates + gate)
        rows.hop(stage, block.scales[:, position, None], here.right, block.y)
        fresh = []
        for b_k, gate in zip(stage.b, stage.gates, strict=True):
            row = row_times(b_k, here.g_yy)
            for other_b, other in zip(stage.b, stage.gates, strict=True):
                rows.second[:, gate, other] = chain.mean(square(dot(row, other_b)))
            through = row_times(row, left[position][1])
            fresh.append([add(b_i, t) for b_i, t in zip(b_k, through, strict=True)])
        rows.add(fresh, list(stage.gates))
    return rows.second
