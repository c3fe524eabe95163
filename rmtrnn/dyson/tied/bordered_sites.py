"""Tied sites at a cost linear in the number of steps: theory.md (22)-(23).

The diagonal parts make the block-tridiagonal chain of untied weights (12). With the columns E of all smooth
modes at all ports, S = diag(p, q) and G_0 the resolvent of that chain,

    Z = E^T G_0 E,   E^T G E = Z (1 - S Z)^{-1},   G = G_0 + G_0 E (1 - S Z)^{-1} S E^T G_0,
    log det(1 - Q h) = log det(chain) + log det(1 - S Z).                                              (23)

G_0 E takes one recursion over the stages from the left and one substitution back. It costs O(T r) per site,
Z and the diagonal of G cost O(T r²). The branch of log det(1 - S Z) is the one that s -> log det(1 - s S Z)
reaches from 0: with the diagonal parts in the lower half plane the determinant has no zero on that way.

Letters: r, modes; K, weight matrices; R = 2 K r columns of E; n, sites; s, states.
"""

from __future__ import annotations

import cmath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from rmtrnn._core.arrays import namespace, to_host, total
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
    is_array,
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

# Complex numbers in a temporary array: some of them fit a level-2 cache of 1 MiB. On a device, of all ports:
# 1 GiB.
_CACHED_ELEMENTS, _DEVICE_ELEMENTS = 2**13, 2**26
# Steps of s from 0 to 1 on which the phase of det(1 - s S Z) is followed. Empirical.
_PHASE_STEPS = 3
# Radians between two of them that are not followed.
_PHASE_TURN = 1.0


@dataclass(frozen=True, kw_only=True)
class BorderedSites(TiedSites):
    """Sites by their ``stages``, divided by the mean growth of each; self-energies of the form (22).

    ``gauge``: G of (22), (K, T); ``modes``: r. ``stages`` stay on the host; ``portions`` of them, by entries,
    live in ``array_module`` and are made once.
    """

    stages: tuple[Stage, ...]
    modes: int
    gauge: np.ndarray
    array_module: Any = np
    portions: tuple[_Portion, ...]

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
        made = cls(
            **common, stages=tuple(scaled), modes=modes, gauge=gauge, array_module=sites.xp, portions=()
        )
        return replace(made, portions=made._by_entries())

    @property
    def xp(self) -> Any:
        return self.array_module

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
        some = replace(self, stages=stages, weights=self.normalised(sites, weights), portions=())
        return replace(some, portions=some._by_entries())

    def _by_entries(self) -> tuple[_Portion, ...]:
        columns = 2 * self.matrices * self.time_modes.count
        if self.xp is np:
            size = max(16, _CACHED_ELEMENTS // columns)
        else:
            size = max(16, _DEVICE_ELEMENTS // (2 * self.ports * columns))
        ports = _ports(self)
        return tuple(_Portion.of(self, slice(start, start + size), ports) for start in range(0, self.n, size))

    def gauged(self, energy: np.ndarray) -> BorderedSites:
        """The sites with the gauge of these self-energies."""
        return replace(self, gauge=smooth_gauge(energy, GAUGE_DEGREE))

    def represented(self, energy: np.ndarray) -> np.ndarray:
        """The nearest self-energies of the form (22), with any diagonal in the lower half plane."""
        return self._outside(self._parts(energy))

    def overlaps(self, energy: np.ndarray, log_lambda: complex) -> np.ndarray:
        """g and k of (20), projected onto (22), (2, K, T, T)."""
        parts = self._each(energy, log_lambda, _overlaps)
        both = to_host(total(parts))
        size = 2 * self.ports
        shape = 2, self.matrices, self.time_modes.count, self.time_modes.count
        diagonal, moments = both[:size].reshape(2, self.matrices, self.steps), both[size:].reshape(shape)
        # g belongs to the ports of the x but to the form of P, as σ² g = P.
        found = self.time_modes.from_moments(
            diagonal[::-1], 0.5 * (moments + np.swapaxes(moments, -1, -2))[::-1]
        )
        return self._outside(found)

    def log_determinant(self, energy: np.ndarray, log_lambda: complex) -> tuple[np.ndarray, complex]:
        """log det(1 - Q h) (n,) on the branch that is 0 at Q = 0, and m = E[s²/(λ - s²)]."""
        xp, parts = self.xp, self._each(energy, log_lambda, _log_determinant)
        log_dets, turns, products = ([part[i] for part in parts] for i in range(3))
        m = total([part[3] for part in parts])
        found = to_host(xp.concatenate([*log_dets, *turns, m[None]]))
        log_det, turn = found[: self.n], found[self.n : -1]
        far = np.flatnonzero(np.real(turn) > _PHASE_TURN)
        if far.size:
            product = to_host(xp.concatenate(products)[xp.asarray(far)])
            phase = np.angle(1.0 - np.linalg.eigvals(product)).sum(axis=1)
            log_det[far] += 1j * (phase - np.imag(turn[far]))
        return log_det, complex(found[-1])

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
        """``part`` of every portion of the sites, on several threads of the host."""
        common = _Common.of(self, self._parts(energy), complex(np.exp(self.log_mean - log_lambda)))

        def of_portion(portion: _Portion) -> Any:
            return part(_Block(portion.gauged(common.gauge), portion.weights, common))

        if self.xp is np:
            return thread_map(of_portion, self.portions)
        return [of_portion(portion) for portion in self.portions]


def _ports(sites: BorderedSites) -> list[list[tuple[int, int]]]:
    """Weight matrix and step of every port, by stage."""
    owners = gate_owners(sites.stages, sites.steps)
    per_step = len(sites.stages) // sites.steps
    return [
        [(k, position // per_step) for k, (level, _) in enumerate(owners) if level == position % per_step]
        for position in range(len(sites.stages))
    ]


class _Stage(NamedTuple):
    """Entries of a stage, and (k, t) of its ports."""

    a: Matrix
    b: list[Vector]
    c: list[Vector]
    ports: list[tuple[int, int]]

    @classmethod
    def of(cls, stage: Stage, some: slice, ports: list[tuple[int, int]], xp: Any) -> _Stage:
        """Entries of some of the sites, those that differ between sites in the array module ``xp``."""

        def moved(block: np.ndarray) -> Matrix:
            entries = split_entries(block[..., some])
            return [[xp.asarray(entry) if is_array(entry) else entry for entry in row] for row in entries]

        return cls(moved(stage.a), moved(stage.b), moved(stage.c), ports)

    def gauged(self, gauge: list[list[float]]) -> _Stage:
        """b multiplied and c divided by the gauge of the port."""
        factors = [gauge[k][t] for k, t in self.ports]
        b = [[mul(g, entry) for entry in one] for g, one in zip(factors, self.b, strict=True)]
        c = [[mul(1.0 / g, entry) for entry in one] for g, one in zip(factors, self.c, strict=True)]
        return self._replace(b=b, c=c)


class _Portion(NamedTuple):
    """A portion of the sites by entries of their stages, and its weights."""

    stages: list[_Stage]
    weights: Any

    @classmethod
    def of(cls, sites: BorderedSites, some: slice, ports: list[list[tuple[int, int]]]) -> _Portion:
        stages = [
            _Stage.of(stage, some, here, sites.xp) for stage, here in zip(sites.stages, ports, strict=True)
        ]
        return cls(stages, sites.xp.asarray(sites.weights[some]))

    def gauged(self, gauge: list[list[float]]) -> list[_Stage]:
        return [stage.gauged(gauge) for stage in self.stages]


@dataclass(frozen=True)
class _Common:
    """What all portions share: the diagonal parts ``y`` and ``x`` (K, T) and the gauge, as numbers.

    ``border``, S of (23), and the ``basis`` are in the array module ``xp``.
    """

    xp: Any
    gauge: list[list[float]]
    y: list[list[complex]]
    x: list[list[complex]]
    border: Any
    basis: Any
    inverse_lambda: complex
    s_in: int
    s_out: int

    @classmethod
    def of(cls, sites: BorderedSites, parts: Parts, inverse_lambda: complex) -> _Common:
        count, xp = sites.time_modes.count, sites.xp
        border = np.zeros((2 * sites.matrices * count,) * 2, dtype=complex)
        for i, block in enumerate(parts.smooth.reshape(-1, count, count)):
            border[i * count : (i + 1) * count, i * count : (i + 1) * count] = block
        y, x = parts.diagonal.tolist()
        basis = xp.asarray(sites.time_modes.basis)
        return cls(
            xp,
            sites.gauge.tolist(),
            y,
            x,
            xp.asarray(border),
            basis,
            inverse_lambda,
            sites.s_in,
            sites.s_out,
        )

    @property
    def ports(self) -> tuple[int, int]:
        """K and T."""
        return len(self.y), len(self.y[0])


@dataclass(frozen=True)
class _Block:
    """A portion of the sites in the gauge of the self-energies."""

    stages: list[_Stage]
    weights: Any
    common: _Common

    @property
    def n(self) -> int:
        return self.weights.size

    def columns(self, half: int, k: int) -> slice:
        """Columns of E at the ports of the y (0) or the x (1) of weight matrix k."""
        count = self.common.basis.shape[1]
        first = (half * len(self.common.y) + k) * count
        return slice(first, first + count)

    def with_source(self, entry: Entry, columns: slice, value: Any) -> Entry:
        """Add ``value`` (r, n) or (r, 1) to some of the columns of an entry (R, n)."""
        xp, shape = self.common.xp, (len(self.common.border), self.n)
        whole = xp.zeros(shape, dtype=complex) if is_zero(entry) else xp.array(entry, dtype=complex)
        whole[columns] += value
        return whole

    def mean(self, entry: Entry) -> Any:
        """E of an entry, where the sites live."""
        return (self.weights * entry).sum()


class _Left(NamedTuple):
    """From the left: P_l, P_l c_k, c_k x_{l-1} for y_l = 0; U_L, the source at x_L, log det(chain)."""

    cavity: list[Matrix]
    reached: list[list[Vector]]
    read: list[list[Entry]]
    last: Matrix
    source: Vector
    log_det: np.ndarray


def _from_left(block: _Block) -> _Left:
    common, xp = block.common, block.common.xp
    u: Matrix = scaled_identity(common.s_in, 1.0)
    source: Vector = [0.0] * common.s_in
    log_det = xp.zeros(block.n, dtype=complex)
    cavities, reached, read = [], [], []
    for stage in block.stages:
        cavity = u
        for c, (k, t) in zip(stage.c, stage.ports, strict=True):
            cavity, factor = absorb(cavity, c, common.x[k][t])
            log_det += _log(xp, factor)
        spread = [row_times(c, cavity) for c in stage.c]
        carried = list(source)
        for c, one, (k, t) in zip(stage.c, spread, stage.ports, strict=True):
            driven = mul(common.x[k][t], dot(c, source))
            driven = block.with_source(driven, block.columns(1, k), common.basis[t][:, None])
            carried = [add(entry, mul(driven, p)) for entry, p in zip(carried, one, strict=True)]
        cavities.append(cavity)
        reached.append(spread)
        read.append([dot(c, carried) for c in stage.c])
        source = row_times(carried, transpose(stage.a))
        u = sandwich(stage.a, cavity)
        for b, (k, t) in zip(stage.b, stage.ports, strict=True):
            u = plus_outer(u, b, common.y[k][t])
            mode = common.basis[t][:, None]
            source = [
                entry if is_zero(b_i) else block.with_source(entry, block.columns(0, k), b_i * mode)
                for entry, b_i in zip(source, b, strict=True)
            ]
    for i in range(common.s_out):
        u, factor = absorb(u, _unit(common.s_out, i), common.inverse_lambda)
        log_det += _log(xp, factor)
    return _Left(cavities, reached, read, u, source, log_det)


def _log(xp: Any, factor: Entry) -> Entry:
    """Principal logarithm of a pivot."""
    return xp.log(factor) if is_array(factor) else cmath.log(factor)


def _unit(size: int, i: int) -> Vector:
    return [1.0 if i == j else 0.0 for j in range(size)]


def _ports_of_columns(block: _Block, left: _Left) -> tuple[np.ndarray, Vector]:
    """b_k^T y_l and c_k^T x_{l-1} for all columns of G_0 E, (2, K, T, R, n); and x_L."""
    common = block.common
    eps = common.inverse_lambda
    at = common.xp.zeros((2, *common.ports, len(common.border), block.n), dtype=complex)
    # (1 - U/λ)^{-1} = 1 + (U^{-1} - 1/λ)^{-1}/λ
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
            driven = mul(common.x[k][t], here)
            driven = block.with_source(driven, block.columns(1, k), common.basis[t][:, None])
            y = [add(entry, mul(driven, c_i)) for entry, c_i in zip(y, c, strict=True)]
    return at, x


def _response(block: _Block, at: np.ndarray) -> np.ndarray:
    """Z of (23), (n, R, R)."""
    xp = block.common.xp
    matrices, steps, columns, n = at.shape[1:]
    flat = at.reshape(2 * matrices, steps, columns * n).view(float)
    z = xp.matmul(block.common.basis.T, flat).view(complex).reshape(columns, columns, n)
    return xp.ascontiguousarray(xp.moveaxis(z, 2, 0))


def _overlaps(block: _Block) -> Any:
    """Means of the diagonals b^T G_yy b and c^T G_xx c (2 K T), and then of their moments (2 K r r)."""
    common, xp = block.common, block.common.xp
    left = _from_left(block)
    at, _ = _ports_of_columns(block, left)
    z = _response(block, at)
    columns, n = len(common.border), block.n
    inverse = xp.linalg.inv(xp.asarray(np.eye(columns)) - (common.border @ z))
    weighted = z * block.weights[:, None, None]
    whole = xp.swapaxes(weighted, 0, 1).reshape(columns, -1) @ inverse.reshape(-1, columns)
    count = common.basis.shape[1]
    moments = xp.stack([whole[i : i + count, i : i + count] for i in range(0, columns, count)])
    rows = xp.ascontiguousarray(xp.moveaxis(at.reshape(-1, columns, n), 2, 0))
    middle = (inverse.reshape(n * columns, columns) @ common.border).reshape(n, columns, columns)
    corrections = block.weights @ (xp.matmul(rows, middle) * rows).sum(axis=2)
    diagonal = _chain_diagonal(block, left).reshape(-1, n) @ block.weights + corrections
    return xp.concatenate([diagonal, moments.reshape(-1)])


def _chain_diagonal(block: _Block, left: _Left) -> Any:
    """b^T G_0 b and c^T G_0 c at all ports and sites, (2, K, T, n): the recursion from the right."""
    common, xp = block.common, block.common.xp
    found = xp.zeros((2, *common.ports, block.n), dtype=complex)
    v: Matrix = scaled_identity(common.s_out, common.inverse_lambda)
    for position in reversed(range(len(block.stages))):
        stage = block.stages[position]
        right = v
        for b, (k, t) in zip(stage.b, stage.ports, strict=True):
            right, _ = absorb(right, b, common.y[k][t])
        v = sandwich(transpose(stage.a), right)
        g_xx, g_yy = diagonal_green(xp, left.cavity[position], right, stage.a, 1.0, v)
        for b, c, (k, t) in zip(stage.b, stage.c, stage.ports, strict=True):
            found[0, k, t] = quadratic(b, g_yy)
            found[1, k, t] = quadratic(c, g_xx)
            v = plus_outer(v, c, common.x[k][t])
    return found


def _log_determinant(block: _Block) -> tuple[Any, Any, Any, Any]:
    """log det(1 - Q h) of every site, its turn (`_log_det_along`), S Z, and the portion's part of m."""
    common, xp = block.common, block.common.xp
    left = _from_left(block)
    at, x = _ports_of_columns(block, left)
    product = common.border @ _response(block, at)
    bordered, turn = _log_det_along(product)
    columns, shape = len(common.border), (len(common.border), block.n)
    inverse = xp.linalg.inv(xp.asarray(np.eye(columns)) - product) @ common.border
    trace = xp.zeros((), dtype=complex)
    for i in range(common.s_out):
        column = xp.broadcast_to(xp.asarray(x[i], dtype=complex), shape).T
        border = (xp.matmul(column[:, None, :], inverse)[:, 0] * column).sum(axis=1)
        trace = trace + block.mean(left.last[i][i] + border)
    return left.log_det + bordered, turn, product, common.inverse_lambda * trace / common.s_out


def _log_det_along(product: Any) -> tuple[Any, Any]:
    """log det(1 - product) (n,), followed from s = 0 in det(1 - s product), and how its phase turned.

    The turn has the largest step between two s as its real part and the phase as its imaginary part. Where
    the step is long the phase is the sum of those of the eigenvalues, which the host finds.
    """
    xp = namespace(product)
    one = xp.asarray(np.eye(product.shape[1]))
    phase, before = xp.zeros(len(product)), xp.ones(len(product), dtype=complex)
    size, largest = phase, phase.copy()
    for s in np.linspace(0.0, 1.0, _PHASE_STEPS + 1)[1:]:
        sign, size = xp.linalg.slogdet(one - float(s) * product)
        turn = xp.angle(sign / before)
        phase, largest, before = phase + turn, xp.maximum(largest, abs(turn)), sign
    return size + 1j * phase, largest + 1j * phase
