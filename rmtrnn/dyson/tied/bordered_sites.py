"""Tied sites at a cost linear in the number of steps: theory.md (22)-(23).

The diagonal parts make the block-tridiagonal chain of untied weights (12). With the columns E of all smooth
modes at all ports, S = diag(p, q) and G_0 the resolvent of that chain,

    Z = E^T G_0 E,   E^T G E = Z (1 - S Z)^{-1},   G = G_0 + G_0 E (1 - S Z)^{-1} S E^T G_0,
    log det(1 - Q h) = log det(chain) + log det(1 - S Z).                                              (23)

G_0 E takes one recursion over the stages from the left and one substitution back. It costs O(T r) per site,
Z and the diagonal of G cost O(T r^2). The branch of log det(1 - S Z) is the one that s -> log det(1 - s S Z)
reaches from 0: with the diagonal parts in the lower half plane the determinant has no zero on that way.

Letters: r, modes; K, weight matrices; R = 2 K r columns of E; n, sites; s, states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from rmtrnn._core.parallel import thread_map
from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.tied.site_matrices import TiedSites, gate_owners
from rmtrnn.dyson.tied.time_modes import GAUGE_DEGREE, Parts, TimeModes, smooth_gauge, time_modes
from rmtrnn.numerics.small_matrices import (
    Entry,
    Matrix,
    Vector,
    absorb,
    add,
    diagonal_green,
    dot,
    is_zero,
    mul,
    plus_outer,
    quadratic,
    row_times,
    sandwich,
    scaled_identity,
    split_entries,
    transpose,
)

# Complex numbers in a temporary array: some of them fit a level-2 cache of 1 MiB.
_CACHED_ELEMENTS = 2**13
# Steps of s from 0 to 1 on which the phase of det(1 - s S Z) is followed. Empirical.
_PHASE_STEPS = 3
# Radians between two of them that are not followed.
_PHASE_TURN = 1.0


@dataclass(frozen=True, kw_only=True)
class BorderedSites(TiedSites):
    """Sites by their ``stages``, divided by the mean growth of each; self-energies of the form (22).

    ``gauge``: G of (22), (K, T); ``modes``: r.
    """

    stages: tuple[Stage, ...]
    modes: int
    gauge: np.ndarray

    any_matrix: ClassVar[bool] = False
    # As in `SiteMatrices`; what (22) misses is some hundredths of the diagonal.
    slack: ClassVar[float] = 0.3

    @classmethod
    def of(cls, stages: Sequence[Stage], sites: TiedSites, modes: int) -> BorderedSites:
        """The same sites as ``sites``, from the stages that these were made of."""
        scaled = []
        for stage, log_growth in zip(stages, sites.log_growth, strict=True):
            scale = np.exp(-0.5 * log_growth)
            scaled.append(replace(stage, a=scale * stage.a, b=scale * stage.b))
        common = {field.name: getattr(sites, field.name) for field in fields(TiedSites)}
        gauge = np.ones((sites.matrices, sites.steps))
        return cls(**common, stages=tuple(scaled), modes=modes, gauge=gauge)

    @property
    def s_in(self) -> int:
        return self.stages[0].a.shape[1]

    @property
    def s_out(self) -> int:
        return self.stages[-1].a.shape[0]

    @property
    def time_modes(self) -> TimeModes:
        return time_modes(self.steps, self.modes)

    def at(self, sites: Any, weights: np.ndarray | None = None) -> BorderedSites:
        """Some of the sites, by default with their own weights scaled to sum to 1."""
        stages = tuple(stage.at(sites) for stage in self.stages)
        return replace(self, stages=stages, weights=self.normalised(sites, weights))

    def gauged(self, energy: np.ndarray) -> BorderedSites:
        """The sites with the gauge of these self-energies."""
        return replace(self, gauge=smooth_gauge(energy, GAUGE_DEGREE))

    def represented(self, energy: np.ndarray) -> np.ndarray:
        """The nearest self-energies of the form (22), with any diagonal in the lower half plane."""
        return self._outside(self._parts(energy))

    def overlaps(self, energy: np.ndarray, log_lambda: complex) -> np.ndarray:
        """g and k of (20), projected onto (22), (2, K, T, T)."""
        parts = self._each(energy, log_lambda, _overlaps)
        diagonal, moments = (np.sum([part[i] for part in parts], axis=0) for i in range(2))
        # g belongs to the ports of the x but to the form of P, as sigma^2 g = P.
        found = self.time_modes.from_moments(
            diagonal[::-1], 0.5 * (moments + np.swapaxes(moments, -1, -2))[::-1]
        )
        return self._outside(found)

    def log_determinant(self, energy: np.ndarray, log_lambda: complex) -> tuple[np.ndarray, complex]:
        """log det(1 - Q h) (n,) on the branch that is 0 at Q = 0, and m = E[s^2/(lambda - s^2)]."""
        parts = self._each(energy, log_lambda, _log_determinant)
        return np.concatenate([part[0] for part in parts]), complex(sum(part[1] for part in parts))

    def projected(self, matrices: np.ndarray) -> np.ndarray:
        """Project (2, K, T, T) orthogonally onto (22)."""
        inside, modes = self._inside(matrices), self.time_modes
        diagonal = np.diagonal(inside, axis1=-2, axis2=-1)
        return self._outside(modes.from_moments(diagonal, modes.moments(inside)))

    def _parts(self, energy: np.ndarray) -> Parts:
        parts = self.time_modes.of(self._inside(energy))
        diagonal = np.real(parts.diagonal) + 1j * np.minimum(np.imag(parts.diagonal), 0.0)
        return parts._replace(diagonal=diagonal)

    def _inside(self, energy: np.ndarray) -> np.ndarray:
        """Divide P and multiply Q by the gauge."""
        unit = self.gauge[:, :, None] * self.gauge[:, None, :]
        return np.array([energy[0] / unit, energy[1] * unit])

    def _outside(self, parts: Parts) -> np.ndarray:
        energy = self.time_modes.matrix(parts)
        unit = self.gauge[:, :, None] * self.gauge[:, None, :]
        return np.array([energy[0] * unit, energy[1] / unit])

    def _each(self, energy: np.ndarray, log_lambda: complex, part: Callable[[_Block], Any]) -> list[Any]:
        """``part`` of every portion of the sites, on several threads."""
        modes = self.time_modes
        parts = self._parts(energy)
        ports = _ports(self)
        size = max(16, _CACHED_ELEMENTS // (2 * self.matrices * modes.count))
        inverse_lambda = np.exp(self.log_mean - log_lambda)

        def of_portion(start: int) -> Any:
            some = slice(start, start + size)
            return part(_Block.of(self, some, ports, parts, inverse_lambda))

        return thread_map(of_portion, range(0, self.n, size))


def _ports(sites: BorderedSites) -> list[list[tuple[int, int]]]:
    """Weight matrix and step of every port, by stage."""
    owners = gate_owners(sites.stages, sites.steps)
    per_step = len(sites.stages) // sites.steps
    return [
        [(k, position // per_step) for k, (level, _) in enumerate(owners) if level == position % per_step]
        for position in range(len(sites.stages))
    ]


class _Stage(NamedTuple):
    """Entries of a stage in the gauge, and (k, t) of its ports."""

    a: Matrix
    b: list[Vector]
    c: list[Vector]
    ports: list[tuple[int, int]]


@dataclass(frozen=True)
class _Block:
    """A portion of the sites: ``y`` and ``x``, the diagonal parts (K, T); ``border``, S of (23)."""

    stages: list[_Stage]
    weights: np.ndarray
    y: np.ndarray
    x: np.ndarray
    border: np.ndarray
    basis: np.ndarray
    inverse_lambda: complex
    s_in: int
    s_out: int

    @classmethod
    def of(
        cls,
        sites: BorderedSites,
        some: slice,
        ports: list[list[tuple[int, int]]],
        parts: Parts,
        inverse_lambda: complex,
    ) -> _Block:
        stages = []
        for stage, here in zip(sites.stages, ports, strict=True):
            scale = np.array([sites.gauge[port] for port in here])[:, None, None]
            b, c = stage.b[..., some] * scale, stage.c[..., some] / scale
            stages.append(_Stage(split_entries(stage.a[..., some]), split_entries(b), split_entries(c), here))
        count = sites.time_modes.count
        border = np.zeros((2 * sites.matrices * count,) * 2, dtype=complex)
        for i, block in enumerate(parts.smooth.reshape(-1, count, count)):
            border[i * count : (i + 1) * count, i * count : (i + 1) * count] = block
        diagonal = parts.diagonal
        return cls(
            stages,
            sites.weights[some],
            diagonal[0],
            diagonal[1],
            border,
            sites.time_modes.basis,
            inverse_lambda,
            sites.s_in,
            sites.s_out,
        )

    @property
    def n(self) -> int:
        return self.weights.size

    def columns(self, half: int, k: int) -> slice:
        """Columns of E at the ports of the y (0) or the x (1) of weight matrix k."""
        count = self.basis.shape[1]
        first = (half * len(self.y) + k) * count
        return slice(first, first + count)

    def with_source(self, entry: Entry, columns: slice, value: np.ndarray) -> Entry:
        """Add ``value`` (r, n) or (r, 1) to some of the columns of an entry (R, n)."""
        shape = len(self.border), self.n
        whole = np.zeros(shape, dtype=complex) if is_zero(entry) else np.array(entry, dtype=complex)
        whole[columns] += value
        return whole

    def mean(self, entry: Entry) -> complex:
        return complex((self.weights * entry).sum())


class _Left(NamedTuple):
    """From the left: P_l, P_l c_k, c_k x_{l-1} for y_l = 0; U_L, the source at x_L, log det(chain)."""

    cavity: list[Matrix]
    reached: list[list[Vector]]
    read: list[list[Entry]]
    last: Matrix
    source: Vector
    log_det: np.ndarray


def _from_left(block: _Block) -> _Left:
    u: Matrix = scaled_identity(block.s_in, 1.0)
    source: Vector = [0.0] * block.s_in
    log_det = np.zeros(block.n, dtype=complex)
    cavities, reached, read = [], [], []
    for stage in block.stages:
        cavity = u
        for c, port in zip(stage.c, stage.ports, strict=True):
            cavity, factor = absorb(cavity, c, block.x[port])
            log_det += np.log(factor)
        spread = [row_times(c, cavity) for c in stage.c]
        carried = list(source)
        for c, one, (k, t) in zip(stage.c, spread, stage.ports, strict=True):
            driven = mul(block.x[k, t], dot(c, source))
            driven = block.with_source(driven, block.columns(1, k), block.basis[t][:, None])
            carried = [add(entry, mul(driven, p)) for entry, p in zip(carried, one, strict=True)]
        cavities.append(cavity)
        reached.append(spread)
        read.append([dot(c, carried) for c in stage.c])
        source = row_times(carried, transpose(stage.a))
        u = sandwich(stage.a, cavity)
        for b, (k, t) in zip(stage.b, stage.ports, strict=True):
            u = plus_outer(u, b, block.y[k, t])
            mode = block.basis[t][:, None]
            source = [
                entry if is_zero(b_i) else block.with_source(entry, block.columns(0, k), b_i * mode)
                for entry, b_i in zip(source, b, strict=True)
            ]
    for i in range(block.s_out):
        u, factor = absorb(u, _unit(block.s_out, i), block.inverse_lambda)
        log_det += np.log(factor)
    return _Left(cavities, reached, read, u, source, log_det)


def _unit(size: int, i: int) -> Vector:
    return [1.0 if i == j else 0.0 for j in range(size)]


def _ports_of_columns(block: _Block, left: _Left) -> tuple[np.ndarray, Vector]:
    """b_k^T y_l and c_k^T x_{l-1} for all columns of G_0 E, (2, K, T, R, n); and x_L."""
    eps = block.inverse_lambda
    at = np.zeros((2, *block.y.shape, len(block.border), block.n), dtype=complex)
    # (1 - U/lambda)^{-1} = 1 + (U^{-1} - 1/lambda)^{-1}/lambda
    x = [
        add(entry, mul(eps, more))
        for entry, more in zip(left.source, row_times(left.source, left.last), strict=True)
    ]
    y = [mul(eps, entry) for entry in x]
    for position in reversed(range(len(block.stages))):
        stage = block.stages[position]
        back = row_times(y, stage.a)
        for b, (k, t) in zip(stage.b, stage.ports, strict=True):
            at[0, k, t] = dot(b, y)
        y = list(back)
        for i, (c, (k, t)) in enumerate(zip(stage.c, stage.ports, strict=True)):
            here = add(left.read[position][i], dot(left.reached[position][i], back))
            at[1, k, t] = here
            driven = block.with_source(mul(block.x[k, t], here), block.columns(1, k), block.basis[t][:, None])
            y = [add(entry, mul(driven, c_i)) for entry, c_i in zip(y, c, strict=True)]
    return at, x


def _response(block: _Block, at: np.ndarray) -> np.ndarray:
    """Z of (23), (n, R, R)."""
    matrices, steps, columns, n = at.shape[1:]
    flat = at.reshape(2 * matrices, steps, columns * n).view(float)
    z = np.matmul(block.basis.T, flat).view(complex).reshape(columns, columns, n)
    return np.ascontiguousarray(np.moveaxis(z, 2, 0))


def _overlaps(block: _Block) -> tuple[np.ndarray, np.ndarray]:
    """Means of the diagonals b^T G_yy b and c^T G_xx c (2, K, T), and of their moments (2, K, r, r)."""
    left = _from_left(block)
    at, _ = _ports_of_columns(block, left)
    z = _response(block, at)
    columns, n = len(block.border), block.n
    inverse = np.linalg.inv(np.eye(columns) - (block.border @ z))
    weighted = z * block.weights[:, None, None]
    whole = np.swapaxes(weighted, 0, 1).reshape(columns, -1) @ inverse.reshape(-1, columns)
    count = block.basis.shape[1]
    moments = np.array([whole[i : i + count, i : i + count] for i in range(0, columns, count)])
    rows = np.ascontiguousarray(np.moveaxis(at.reshape(-1, columns, n), 2, 0))
    middle = (inverse.reshape(n * columns, columns) @ block.border).reshape(n, columns, columns)
    corrections = block.weights @ (np.matmul(rows, middle) * rows).sum(axis=2)
    diagonal = _chain_diagonal(block, left) + corrections.reshape(2, *block.y.shape)
    return diagonal, moments.reshape(2, len(block.y), count, count)


def _chain_diagonal(block: _Block, left: _Left) -> np.ndarray:
    """Means of b^T G_0 b and c^T G_0 c at all ports, (2, K, T): the recursion from the right."""
    found = np.zeros((2, *block.y.shape), dtype=complex)
    v: Matrix = scaled_identity(block.s_out, block.inverse_lambda)
    for position in reversed(range(len(block.stages))):
        stage = block.stages[position]
        right = v
        for b, port in zip(stage.b, stage.ports, strict=True):
            right, _ = absorb(right, b, block.y[port])
        v = sandwich(transpose(stage.a), right)
        g_xx, g_yy = diagonal_green(np, left.cavity[position], right, stage.a, 1.0, v)
        for b, c, port in zip(stage.b, stage.c, stage.ports, strict=True):
            found[0][port] = block.mean(quadratic(b, g_yy))
            found[1][port] = block.mean(quadratic(c, g_xx))
            v = plus_outer(v, c, block.x[port])
    return found


def _log_determinant(block: _Block) -> tuple[np.ndarray, complex]:
    left = _from_left(block)
    at, x = _ports_of_columns(block, left)
    product = block.border @ _response(block, at)
    log_det = left.log_det + _log_det_along(product)
    inverse = np.linalg.inv(np.eye(len(block.border)) - product) @ block.border
    trace: complex = 0.0
    for i in range(block.s_out):
        column = np.broadcast_to(x[i], (len(block.border), block.n)).T
        border = (np.matmul(column[:, None, :], inverse)[:, 0] * column).sum(axis=1)
        trace += block.mean(left.last[i][i] + border)
    return log_det, block.inverse_lambda * trace / block.s_out


def _log_det_along(product: np.ndarray) -> np.ndarray:
    """log det(1 - product) (n,), followed from s = 0 in det(1 - s product).

    Where the phase turns far between two s it is the sum of those of the eigenvalues.
    """
    one = np.eye(product.shape[1])
    phase, before = np.zeros(len(product)), np.ones(len(product), dtype=complex)
    size, largest = phase, phase.copy()
    for s in np.linspace(0.0, 1.0, _PHASE_STEPS + 1)[1:]:
        sign, size = np.linalg.slogdet(one - s * product)
        turn = np.angle(sign / before)
        phase, largest, before = phase + turn, np.maximum(largest, np.abs(turn)), sign
    far = np.flatnonzero(largest > _PHASE_TURN)
    phase[far] = np.angle(1.0 - np.linalg.eigvals(product[far])).sum(axis=1)
    return size + 1j * phase
