"""The untied matrix Dyson equation of a chain of stages, on arrays (theory.md (12)-(14)).

The variables of the pencil (12) form a path y_0 - x_0 - y_1 - x_1 - ... - y_L - x_L, so only two
recursions over the stages are needed. With the strengths p, q of the self-energy (13),

    Sigma[y_l, y_l] = sum_k p_k b_k b_k^T,        Sigma[x_{l-1}, x_{l-1}] = sum_k q_k c_k c_k^T,

eliminating from the left and from the right gives at every site

    P_l  = (U_{l-1}^{-1} - Sigma[x_{l-1}])^{-1},   U_l     = Sigma[y_l]     + a_l P_l a_l^T,   U_0 = 1,
    Q_l  = (V_l^{-1}     - Sigma[y_l])^{-1},       V_{l-1} = Sigma[x_{l-1}] + a_l^T Q_l a_l,   V_L = 1/lambda,
    G_xx = (P_l^{-1} - a_l^T Q_l a_l)^{-1},        G_yy    = (Q_l^{-1} - a_l P_l a_l^T)^{-1},

and (14) is E tr (lambda - U_L)^{-1} / s_L. All of it follows from one function. With z = p q / sigma^2 and
C(z) = z for Gaussian, -log(1 - z) for Haar weights,

    Psi(p, q) = sum_l E log det(1 - Sigma[x_{l-1}] U_{l-1}) + E log det(1 - U_L/lambda) + sum C(z)     (*)

is stationary exactly where (13) holds (d Psi/dp = C'(z) q/sigma^2 - k, d Psi/dq = C'(z) p/sigma^2 - g), and
its stationary value is s_L E log(1 - s^2/lambda). So Im Psi(lambda + i0) = pi s_L P(s^2 > lambda): the
distribution function at one point needs no integral over the density, and an error of the strengths
enters it only at second order. In p and q the Haar weights need no square root: F(sigma^2 g k) = 1 - z.

Scaling: stage l is divided by sqrt(1/r_l), with r_l chosen per lambda so that the scaled lambda lies on the
unit circle and every stage contributes its own share. Nothing overflows, however long the chain.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtrnn._core.arrays import namespace, to_host
from rmtrnn._core.parallel import thread_map
from rmtrnn.dyson.self_energy import Unknowns
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
    split_entries,
    square,
    transpose,
)

_THREADED_SITES = 2048
_CHUNK_ELEMENTS = 16384  # complex numbers per temporary: a few temporaries together still fit a level-2 cache
_DEVICE_ELEMENTS = 2**22  # the same on a device, where few long kernels are wanted: 64 MiB each


@dataclass(frozen=True)
class Stage:
    """One stage at all sites: a (s_out, s_in, n), b (K, s_out, n), c (K, s_in, n); per gate sigma^2 and law.

    ``orthogonal[k]`` says whether weight matrix k is sigma times a Haar orthogonal matrix (else Gaussian).
    """

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    sigma2: tuple[float, ...]
    orthogonal: tuple[bool, ...]

    def __post_init__(self) -> None:
        if self.a.ndim != 3 or self.b.ndim != 3 or self.c.ndim != 3:
            raise ValueError("a, b and c must have shapes (s_out, s_in, n), (K, s_out, n), (K, s_in, n)")
        s_out, s_in, n = self.a.shape
        gates = len(self.sigma2)
        if self.b.shape != (gates, s_out, n) or self.c.shape != (gates, s_in, n):
            raise ValueError(
                f"b {self.b.shape} and c {self.c.shape} do not fit a {self.a.shape} and {gates} gates"
            )
        if len(self.orthogonal) != gates:
            raise ValueError(f"orthogonal has {len(self.orthogonal)} entries for {gates} gates")


class Chain:
    """A chain of stages over weighted sites; ``weights`` defaults to equal ones and must sum to 1.

    A chain on some of the sites of another, ``whole``, is scaled like it, so that strengths mean the same,
    and solved in the same ``unknowns``; these are by default all strengths.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        weights: np.ndarray | None = None,
        whole: Chain | None = None,
        unknowns: Unknowns | None = None,
    ) -> None:
        if not stages:
            raise ValueError("a chain needs at least one stage")
        self.stages = tuple(stages)
        xp = namespace(self.stages[0].a)
        n = self.stages[0].a.shape[2]
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            if after.a.shape[1] != before.a.shape[0] or after.a.shape[2] != n:
                raise ValueError(
                    f"stage of shape {after.a.shape} cannot follow one of shape {before.a.shape}"
                )
        self.weights = xp.full(n, 1.0 / n) if weights is None else xp.asarray(weights, dtype=float)
        if self.weights.shape != (n,) or abs(float(self.weights.sum()) - 1.0) > 1e-9:
            raise ValueError("weights must be one number per site and sum to 1")
        self._equal = bool((self.weights == self.weights[0]).all())
        self._complex_weights = self.weights.astype(complex)  # one dtype: no conversion in every mean
        self.xp = xp
        self.n = n
        self.portion = _CHUNK_ELEMENTS if xp is np else _DEVICE_ELEMENTS
        self.n_gates = sum(len(stage.sigma2) for stage in self.stages)
        self.s_out = self.stages[-1].a.shape[0]
        self.sigma2 = np.array([v for stage in self.stages for v in stage.sigma2])
        self.orthogonal = np.array([v for stage in self.stages for v in stage.orthogonal], dtype=bool)
        self.stage_of_gate = np.repeat(np.arange(len(self.stages)), [len(s.sigma2) for s in self.stages])
        self._a = [split_entries(stage.a) for stage in self.stages]
        self._b = [split_entries(stage.b) for stage in self.stages]
        self._c = [split_entries(stage.c) for stage in self.stages]
        self._first_gate = np.concatenate([[0], np.cumsum([len(s.sigma2) for s in self.stages])])
        self.unknowns = unknowns or (whole.unknowns if whole else Unknowns(self.n_gates))
        if whole is None:
            self.log_growth, self.gate_share, self.reading, self._site_growth = _mean_growth(self)
        else:
            self.log_growth, self.gate_share, self.reading = whole.log_growth, whole.gate_share, whole.reading

    def stratified(self, n: int, low: np.ndarray | None = None, high: np.ndarray | None = None) -> Chain:
        """A chain on about ``n`` of the sites that keeps the outer parts of the law.

        The n/4 sites of smallest ``low`` and the n/4 of largest ``high`` are kept as they are. The others are
        ordered by low + high; n/2 of them are taken at equal steps and given the weight of all. Both default
        to the share of a site in the mean squared singular value.
        """
        if n >= self.n:
            return self
        low = to_host(self._site_growth) if low is None else low
        high = low if high is None else high
        outer = n // 4
        bottom = np.argsort(low, kind="stable")[:outer]
        taken = np.zeros(self.n, dtype=bool)
        taken[bottom] = True
        top = np.argsort(np.where(taken, -np.inf, high), kind="stable")[self.n - outer :]
        taken[top] = True
        between = np.flatnonzero(~taken)
        between = between[np.argsort((low + high)[between], kind="stable")]
        count = n - 2 * outer
        picked = between[((np.arange(count) + 0.5) * (len(between) / count)).astype(int)]
        weights = to_host(self.weights)
        middle = weights[picked] * (weights[between].sum() / weights[picked].sum())
        sites = np.concatenate([bottom, picked, top])
        kept = np.concatenate([weights[bottom], middle, weights[top]])
        return Chain(self._stages_at(self.xp.asarray(sites)), self.xp.asarray(kept), self)

    def blocks(self, n: int) -> list[tuple[Chain, float]]:
        """The chain in blocks of up to ``n`` neighbouring sites, each with its share of the weight."""
        if n >= self.n:
            return [(self, 1.0)]
        parts = []
        for start in range(0, self.n, n):
            weights = self.weights[start : start + n]
            share = float(weights.sum())
            parts.append((Chain(self._stages_at(slice(start, start + n)), weights / share, self), share))
        return parts

    def _stages_at(self, sites: Any) -> list[Stage]:
        return [
            Stage(s.a[..., sites], s.b[..., sites], s.c[..., sites], s.sigma2, s.orthogonal)
            for s in self.stages
        ]

    def solved_in(self, unknowns: Unknowns) -> Chain:
        """The same chain with other unknowns."""
        other = copy.copy(self)
        other.unknowns = unknowns
        return other

    @property
    def log_mean(self) -> float:
        """log m_1, the mean squared singular value, from the recursion U_l without the resolvent."""
        return float(self.log_growth.sum())

    def scales(self, log_lambda: np.ndarray) -> np.ndarray:
        """log r_l for each |lambda|, shape (points, L): their sum is -log|lambda|."""
        surplus = (np.asarray(log_lambda) - self.log_mean) / len(self.stages)
        return -(self.log_growth[None, :] + surplus[:, None])

    def mean(self, values: Entry) -> Entry:
        """E over sites of an entry: a float, (points, 1) or (..., points, n)."""
        if not hasattr(values, "shape"):
            return values
        if values.shape[-1] != self.n:
            return values[..., 0]
        if self._equal:
            return values.sum(axis=-1) / self.n
        # Not a matrix product: the BLAS would start threads of its own for it.
        weights = self._complex_weights if values.dtype.kind == "c" else self.weights
        return self.xp.einsum("...n,n->...", values, weights)


@dataclass(frozen=True)
class Sweep:
    """What one forward and backward pass over the stages gives, per point of lambda.

    ``k`` = E[b^T G_yy b] and ``g`` = E[c^T G_xx c], shape (points, gates); ``m`` = E[s^2/(lambda - s^2)];
    ``phase`` = Im of the site part of (*) before the mean over sites, (points, n), if it was asked for;
    ``hessian`` = E[(v_i^T G v_j)^2] over all vectors (b first, then c), if it was asked for.
    """

    k: np.ndarray
    g: np.ndarray
    m: np.ndarray
    phase: np.ndarray | None = None
    hessian: np.ndarray | None = None


def sweep(
    chain: Chain,
    p: np.ndarray,
    q: np.ndarray,
    log_lambda: np.ndarray,
    theta: np.ndarray,
    *,
    phase: bool = False,
    hessian: bool = False,
) -> Sweep:
    """Evaluate the chain at strengths ``p``, ``q`` (points, gates), lambda = exp(log_lambda + i theta).

    ``p`` is the strength after scaling by r_l; `Chain.scales` gives r_l. The arguments live on the host, the
    sites where the chain lives; all results but ``phase`` come back to the host.
    """
    rows = max(1, chain.n_gates // 2) if hessian else 1

    def part(block: Chain, pick: slice) -> tuple:
        return _sweep_chunk(block, p[pick], q[pick], log_lambda[pick], theta[pick], phase, hessian)

    found = _over_blocks(chain, part, len(log_lambda), rows)
    k, g, m = (_averaged(chain.xp, found, i) for i in range(3))
    return Sweep(
        k,
        g,
        m,
        _joined_sites(chain.xp, found, 3) if phase else None,
        _averaged(chain.xp, found, 4) if hessian else None,
    )


def forward(
    chain: Chain, p: np.ndarray, q: np.ndarray, log_lambda: np.ndarray, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``phase`` and ``m`` of `sweep` at given strengths, without the recursion from the right."""

    def part(block: Chain, pick: slice) -> tuple[np.ndarray, np.ndarray]:
        xp = block.xp
        r = xp.asarray(np.exp(block.scales(log_lambda[pick])))
        v = xp.asarray(np.exp(-1j * theta[pick]))[:, None]
        _, phase, m = _forward(block, xp.asarray(p[pick]), xp.asarray(q[pick]), r, v, True, False)
        return to_host(phase), m

    found = _over_blocks(chain, part, len(log_lambda), 1)
    return _joined_sites(np, found, 0), _averaged(chain.xp, found, 1)


Blocks = list[tuple[float, list[tuple]]]


def _over_blocks(chain: Chain, part: Callable[[Chain, slice], tuple], points: int, rows: int) -> Blocks:
    """Per block of sites its share of the weight, and ``part`` of it for every portion of the points.

    ``rows``: temporaries of ``part`` for each site. On small chains Python costs more than arrays: threads
    would wait.
    """
    blocks = chain.blocks(chain.portion)
    picks = _picks(points, min(chain.n, chain.portion) * rows, chain.portion)
    jobs = [(block, pick) for block, _ in blocks for pick in picks]
    threaded = chain.xp is np and chain.n >= _THREADED_SITES
    found = thread_map(lambda job: part(*job), jobs) if threaded else [part(*job) for job in jobs]
    count = len(picks)
    return [(share, found[i * count : (i + 1) * count]) for i, (_, share) in enumerate(blocks)]


def _averaged(xp: Any, found: Blocks, entry: int) -> np.ndarray:
    """Mean over all sites of an entry that is a mean over those of each block, on the host."""
    return np.sum(
        [share * to_host(xp.concatenate([one[entry] for one in row])) for share, row in found], axis=0
    )


def _joined_sites(xp: Any, found: Blocks, entry: int) -> np.ndarray:
    """An entry of shape (points, sites) of all blocks, side by side."""
    return xp.concatenate([xp.concatenate([one[entry] for one in row]) for _, row in found], axis=1)


def _picks(points: int, per_point: int, elements: int) -> list[slice]:
    """The points in portions whose temporaries have about so many ``elements``."""
    step = max(1, elements // per_point)
    return [slice(start, start + step) for start in range(0, points, step)]


def _sweep_chunk(
    chain: Chain,
    p: np.ndarray,
    q: np.ndarray,
    log_lambda: np.ndarray,
    theta: np.ndarray,
    want_phase: bool,
    want_hessian: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    xp = chain.xp
    r = xp.asarray(np.exp(chain.scales(log_lambda)))
    v = xp.asarray(np.exp(-1j * theta))[:, None]
    p, q = xp.asarray(p), xp.asarray(q)
    points = len(log_lambda)
    left, site_phase, m = _forward(chain, p, q, r, v, want_phase, True)
    k = xp.empty((points, chain.n_gates), dtype=complex)
    g = xp.empty_like(k)
    blocks: list[tuple[Matrix, Matrix, Matrix]] = []
    right: Matrix = scaled_identity(chain.s_out, v)
    for stage in reversed(range(len(chain.stages))):
        gates = range(chain._first_gate[stage], chain._first_gate[stage + 1])
        a, b, c = chain._a[stage], chain._b[stage], chain._c[stage]
        scale = r[:, stage, None]
        cut = right
        for b_k, gate in zip(b, gates, strict=True):
            cut, _ = absorb(cut, b_k, p[:, gate, None])
        hop = scale_matrix(scale, sandwich(transpose(a), cut))
        g_xx, g_yy = diagonal_green(xp, left[stage][0], cut, a, scale, hop)
        for b_k, c_k, gate in zip(b, c, gates, strict=True):
            k[:, gate] = chain.mean(quadratic(b_k, g_yy))
            g[:, gate] = chain.mean(quadratic(c_k, g_xx))
        if want_hessian:
            blocks.append((g_xx, g_yy, cut))
        right = hop
        for c_k, gate in zip(c, gates, strict=True):
            right = plus_outer(right, c_k, q[:, gate, None])
    second = _hessian(chain, p, r, left, blocks[::-1]) if want_hessian else None
    return k, g, m, site_phase, second


def _forward(
    chain: Chain, p: np.ndarray, q: np.ndarray, r: np.ndarray, v: np.ndarray, want_phase: bool, keep: bool
) -> tuple[list[tuple[Matrix, Matrix]], np.ndarray | None, np.ndarray]:
    """The recursion from the left: (P_l, U_l) per stage if to ``keep``, the phase of the determinant, and m.

    No factor of the determinant crosses the negative real axis (see `absorb`), so its phase is the sum of
    their principal arguments.
    """
    left = []
    phase = chain.xp.zeros((len(v), chain.n)) if want_phase else None
    u: Matrix = scaled_identity(chain.stages[0].a.shape[1], 1.0)
    for stage in range(len(chain.stages)):
        gates = range(chain._first_gate[stage], chain._first_gate[stage + 1])
        cut = u
        for c_k, gate in zip(chain._c[stage], gates, strict=True):
            cut, factor = absorb(cut, c_k, q[:, gate, None])
            if phase is not None and is_array(factor):
                phase += chain.xp.angle(factor)
        u = scale_matrix(r[:, stage, None], sandwich(chain._a[stage], cut))
        for b_k, gate in zip(chain._b[stage], gates, strict=True):
            u = plus_outer(u, b_k, p[:, gate, None])
        if keep:
            left.append((cut, u))
    last = u
    for i in range(chain.s_out):
        unit = [1.0 if i == j else 0.0 for j in range(chain.s_out)]
        last, factor = absorb(last, unit, v)
        if phase is not None:
            phase += chain.xp.angle(factor)
    trace = sum(chain.mean(last[i][i]) for i in range(chain.s_out))
    return left, phase, v[:, 0] * trace / chain.s_out


def _hessian(
    chain: Chain,
    p: np.ndarray,
    r: np.ndarray,
    left: list[tuple[Matrix, Matrix]],
    blocks: list[tuple[Matrix, Matrix, Matrix]],
) -> np.ndarray:
    """E[(v_i^T G v_j)^2] for all pairs: rows v_i^T G are carried along the path from left to right.

    For rows that start further left G[., y_l] = G[., x_{l-1}] a^T Q_l and
    G[., x_l] = G[., x_{l-1}] a^T (1 + Q_l Sigma[y_l]); and G[y_l, x_l] = 1 + G_yy U_l.
    """
    xp, gates_total = chain.xp, chain.n_gates
    points = p.shape[0]
    second = xp.zeros((points, 2 * gates_total, 2 * gates_total), dtype=complex)
    index: list[int] = []
    rows: Vector = []
    for stage in range(len(chain.stages)):
        gates = range(chain._first_gate[stage], chain._first_gate[stage + 1])
        a, b, c = chain._a[stage], chain._b[stage], chain._c[stage]
        g_xx, g_yy, cut = blocks[stage]
        new = [row_times(c_k, g_xx) for c_k in c]
        rows = _stack(chain, rows, new, points)
        index += [gates_total + gate for gate in gates]
        for c_k, gate in zip(c, gates, strict=True):
            _record(chain, second, index, gates_total + gate, dot(rows, c_k))
        root = xp.sqrt(r[:, stage, None])
        carried = [mul(root, entry) for entry in row_times(rows, transpose(a))]
        if not any(is_array(entry) for entry in carried):  # a = 0: nothing reaches further right
            carried, index = [], []
        at_y = row_times(carried, cut) if carried else [0.0] * len(cut)
        overlaps = [dot(at_y, b_k) for b_k in b]
        for b_k, gate, overlap in zip(b, gates, overlaps, strict=True):
            if not carried:
                continue
            _record(chain, second, index, gate, overlap)
            carried = [
                add(entry, mul(mul(overlap, p[:, gate, None]), b_i))
                for entry, b_i in zip(carried, b_k, strict=True)
            ]
        for b_k, gate in zip(b, gates, strict=True):
            row = row_times(b_k, g_yy)
            for other_b, other in zip(b, gates, strict=True):
                second[:, gate, other] = chain.mean(square(dot(row, other_b)))
        fresh = []
        for b_k in b:
            through = row_times(row_times(b_k, g_yy), left[stage][1])
            fresh.append([add(b_i, t) for b_i, t in zip(b_k, through, strict=True)])
        rows = _stack(chain, carried, fresh, points)
        index += list(gates)
    return second


def _record(chain: Chain, second: np.ndarray, index: list[int], column: int, overlap: Entry) -> None:
    """Write E[overlap^2] of all rows so far against one vector, symmetrically."""
    values = chain.mean(square(overlap))
    if not hasattr(values, "shape"):
        return
    second[:, index, column] = values.T
    second[:, column, index] = values.T


def _stack(chain: Chain, rows: Vector, new: list[Vector], points: int) -> Vector:
    """Append new rows (each a vector of entries) to the stacked rows, component by component."""
    xp = chain.xp
    old = 0
    for entry in rows:
        if is_array(entry):
            old = entry.shape[0]
    width = len(new[0]) if new else len(rows)
    stacked: Vector = []
    for i in range(width):
        pieces = []
        if old:
            pieces.append(rows[i] if is_array(rows[i]) else xp.zeros((old, points, chain.n), dtype=complex))
        for row in new:
            value = xp.broadcast_to(xp.asarray(row[i], dtype=complex), (points, chain.n))
            pieces.append(value[None])
        stacked.append(xp.concatenate(pieces))
    return stacked


def _mean_growth(chain: Chain) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """log growth of E tr U_l / s_l per stage at 1/lambda = 0; per gate its share of it and E c^T U c.

    Last, tr U_L of every site, relative to its mean.
    """
    u: Matrix = scaled_identity(chain.stages[0].a.shape[1], 1.0)
    growth, shares, readings = [], [], []
    for stage, arrays in enumerate(chain.stages):
        gates = range(chain._first_gate[stage], chain._first_gate[stage + 1])
        after = sandwich(chain._a[stage], u)
        by_gate = []
        for b_k, c_k, gate in zip(chain._b[stage], chain._c[stage], gates, strict=True):
            reading = _real_mean(chain, quadratic(c_k, u))
            readings.append(max(reading, 1e-300))
            strength = float(chain.sigma2[gate]) * reading
            after = plus_outer(after, b_k, strength)
            by_gate.append(strength * _real_mean(chain, dot(b_k, b_k)))
        size = arrays.a.shape[0]
        total = sum(_real_mean(chain, after[i][i]) for i in range(size))
        if not total > 0.0:
            raise ValueError(f"stage {stage} maps everything to zero: the Jacobian vanishes")
        growth.append(np.log(total / size))
        shares += [part / total for part in by_gate]
        u = scale_matrix(size / total, after)
    trace: Entry = 0.0
    for i in range(chain.s_out):
        trace = add(trace, u[i][i])
    site_growth = chain.xp.broadcast_to(chain.xp.asarray(trace, dtype=float), (chain.n,))
    return np.array(growth), np.array(shares), np.array(readings), site_growth


def _real_mean(chain: Chain, values: Entry) -> float:
    mean = chain.mean(values)
    return float(mean.real) if is_array(mean) else float(mean)
