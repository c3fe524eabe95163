"""The Stieltjes transform of a free sum, or a free product, from those of its parts.

With F = 1/G, the free sum of the laws μ_j^{⊞ t_j} has subordination functions ω_j(z) in the upper half plane
(Belinschi and Bercovici 2007),

    F_1(ω_1) = F_2(ω_2) = … = f,      Σ_j t_j k_j + f = z,      k_j = ω_j − f = R_j(1/f),

and F(z) = f. The free product of the laws μ_j^{⊠ t_j} obeys the same equations with logarithms in place of
ω_j and z: with L = log((1 + M)/M), m the common value of the M_j, and κ = ω M/(1 + M),

    L_1(ω_1) = L_2(ω_2) = … = f,      Σ_j t_j k_j + f = log λ,      k_j = log ω_j − f = log κ_j = −log S_j(m).

Newton's method solves all equations at once, so that a sum of sums costs as much as a sum. The unknowns are
the ω of a pivot, the part whose ω_j lies nearest to its law, and k_j of the others. They are finite where f
is not (in a gap, or at an atom); ω_j and 1/f are not.

Letters: ω_j, z and f are those of the sum, or the logarithms of the product, unless said otherwise.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from rmtrnn._core.status import ConvergenceError
from rmtrnn.free.solved_points import SolvedPoints

# G and its derivative on a flat array in the closed upper half plane.
Transform = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class DescentSettings:
    """Numbers of the descent to the real axis; tests/free/test_free_numbers.py moves them by three."""

    # Height of the start, in widths of the sum. Derived: R_j is its mean to 1/height there.
    start: float = 4.0
    # First factor between neighbouring heights, squared after a success; after a failure its root is taken.
    # Empirical.
    factor: float = 0.25
    # Height, in widths, after which comes 0. Empirical: an edge moves ω by the root of the height.
    last: float = 1e-6
    # Newton steps at one height. Empirical: in a gap Im ω falls by `shrink` with each.
    iterations: int = 24
    # Smallest share of Im ω_j that one step leaves: steps stay in the upper half plane. Empirical.
    shrink: float = 0.1
    # Residual relative to |z| and the width at which Newton's method ends. Derived: a rounding.
    tolerance: float = 3e-16
    # Residual that is accepted, and ends Newton's method after `idle` steps that did not lower it. Empirical:
    # at an edge it moves ω by its root, and at the distance ε from an edge the two roots differ by that of ε.
    accepted: float = 1e-12
    idle: int = 2
    # Distance from the mean, in half widths, beyond which h is its expansion to three terms. Derived: the
    # errors of the expansion and of F(ω) − ω by cancellation are 1e-12 each.
    far: float = 1e4
    # Heights tried for one point, failures included.
    heights: int = 200


_DESCENT = DescentSettings()


@dataclass(frozen=True)
class Part:
    """The law μ^t of a sum or a product: ``stieltjes`` of μ, ``power`` t ≥ 1; and what μ is far from itself.

    ``mean``, ``variance`` and ``third`` central moment, ``half_width`` of μ.
    """

    stieltjes: Transform
    mean: float
    variance: float
    third: float
    half_width: float
    power: float

    def reciprocal(self, omega: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """F(ω) − ω at ω itself, and its derivative."""
        distance = np.abs(omega - self.mean)
        far = distance > _DESCENT.far * self.half_width
        centre = np.where(far, self.mean + 1j * self.half_width, omega)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            value, slope = self.stieltjes(centre)
            here, here_slope = 1.0 / value - centre, -slope / value**2 - 1.0
            inverse = 1.0 / (omega - self.mean)
            tail = -self.mean - (self.variance + self.third * inverse) * inverse
            tail_slope = (self.variance + 2.0 * self.third * inverse) * inverse**2
        return np.where(far, tail, here), np.where(far, tail_slope, here_slope)


class Summand(Part):
    """A part of a sum."""

    ceiling: ClassVar[float] = math.inf  # of Im ω
    crosses: ClassVar[bool] = False

    def h(self, omega: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """h(ω) = F(ω) − ω and its derivative."""
        return self.reciprocal(omega)

    def distance(self, omega: np.ndarray) -> np.ndarray:
        """The distance of ω from the mean, in half widths."""
        return np.abs(omega - self.mean) / self.half_width


@dataclass(frozen=True)
class Factor(Part):
    """A part of a product, as a function of Ω = log ω.

    ``crosses``: whether Im Ω goes to 2π, ω across the negative axis, where a law on [0, ∞) has no mass. So do
    all others where the law of one factor reaches below 0.
    """

    crosses: bool

    @property
    def ceiling(self) -> float:
        """That of Im Ω."""
        return 2.0 * math.pi if self.crosses else math.pi

    def h(self, log_omega: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """h = L − Ω = −log κ and its derivative by Ω; κ = ω − F(ω) lies in the half plane opposite to ω."""
        lower = np.imag(log_omega) > math.pi
        folded = np.where(lower, np.conj(log_omega) + 2j * math.pi, log_omega)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            omega = np.exp(folded)
            minus_kappa, slope = self.reciprocal(omega)
            value = 1j * np.abs(np.angle(-minus_kappa)) - np.log(np.abs(minus_kappa))
            slope = -omega * slope / minus_kappa
        return np.where(lower, np.conj(value), value), np.where(lower, np.conj(slope), slope)

    def distance(self, log_omega: np.ndarray) -> np.ndarray:
        """The distance of ω from the mean, in half widths."""
        with np.errstate(over="ignore"):
            return np.abs(np.exp(log_omega) - self.mean) / self.half_width


Parts = Sequence[Summand] | Sequence[Factor]


class _State(NamedTuple):
    """f (points,), k_j (parts, points), df/dz, and the residual relative to |z| and the ``unit``."""

    f: np.ndarray
    k: np.ndarray
    slope: np.ndarray
    residual: np.ndarray

    @classmethod
    def unsolved(cls, f: np.ndarray, k: np.ndarray) -> _State:
        return cls(f, k, np.zeros_like(f), np.full(f.shape, np.inf))

    def taken(self, where: np.ndarray) -> _State:
        """The columns ``where``."""
        return _State(*(one[..., where] for one in self))

    def put(self, where: np.ndarray, other: _State, taken: Any) -> None:
        """Take over the columns ``taken`` of ``other`` at ``where``."""
        for mine, theirs in zip(self, other, strict=True):
            mine[..., where[taken]] = theirs[..., taken]


class _Newton:
    """Newton's method at the points ``z`` with one pivot for each."""

    def __init__(self, parts: Parts, z: np.ndarray, unit: float, start: _State) -> None:
        self.parts, self.z, self.unit = parts, z, unit
        distance = [part.distance(start.f + k) for part, k in zip(parts, start.k, strict=True)]
        self.is_pivot = np.arange(len(parts))[:, None] == np.argmin(distance, axis=0)
        self.powers = np.array([[part.power] for part in parts])
        self.ceilings = np.array([[part.ceiling] for part in parts])
        # Im R ≤ 0 in the upper half plane of ω.
        self.highest = np.array([[math.pi if part.crosses else 0.0] for part in parts])
        self.omega_p = start.f + np.sum(np.where(self.is_pivot, start.k, 0.0), axis=0)
        self.k, self.omega = start.k.copy(), start.f + start.k

    def solve(self) -> _State:
        points, idle = np.arange(self.z.size), np.zeros(self.z.size, int)
        best = _State.unsolved(np.zeros_like(self.z), np.zeros_like(self.k))
        for _ in range(_DESCENT.iterations):
            here, move_p, move_k = self._linearised()
            known = best.residual[points]
            better = here.residual < known
            best.put(points, here, better)
            idle[points] += ~better
            stalled = (idle[points] >= _DESCENT.idle) & (known <= _DESCENT.accepted)
            going = (here.residual > _DESCENT.tolerance) & ~stalled & np.isfinite(move_p)
            if not np.any(going):
                break
            self._step(move_p, move_k)
            self._keep(going)
            points = points[going]
        return best

    def _step(self, move_p: np.ndarray, move_k: np.ndarray) -> None:
        new = self.omega_p + move_p
        ceiling = np.max(np.where(self.is_pivot, self.ceilings, 0.0), axis=0)
        self.omega_p = np.real(new) + 1j * np.clip(np.imag(new), *_strip(np.imag(self.omega_p), ceiling))
        self.k = self.k + move_k

    def _keep(self, going: np.ndarray) -> None:
        self.z, self.omega_p = self.z[going], self.omega_p[going]
        self.is_pivot, self.k, self.omega = self.is_pivot[:, going], self.k[:, going], self.omega[:, going]

    def _linearised(self) -> tuple[_State, np.ndarray, np.ndarray]:
        """f, k at ω_p, the residual, and Newton's steps of ω_p and k; ω_j is kept in the upper half plane."""
        f, slope_p = np.zeros_like(self.omega_p), np.ones_like(self.omega_p)
        for part, mine in zip(self.parts, self.is_pivot, strict=True):
            if np.any(mine):
                h, slope = part.h(self.omega_p[mine])
                f[mine], slope_p[mine] = self.omega_p[mine] + h, 1.0 + slope
        low, high = (end - np.imag(f) for end in _strip(np.imag(self.omega), self.ceilings))
        inside = np.real(self.k) + 1j * np.clip(np.imag(self.k), low, np.minimum(high, self.highest))
        self.k = np.where(self.is_pivot, self.omega_p - f, inside)
        self.omega = np.where(self.is_pivot, self.omega_p, f + self.k)
        rest, slopes = np.zeros_like(self.k), np.ones_like(self.k)
        for j, (part, other) in enumerate(zip(self.parts, ~self.is_pivot, strict=True)):
            if np.any(other):
                h, slope = part.h(self.omega[j, other])
                rest[j, other], slopes[j, other] = self.k[j, other] + h, 1.0 + slope
        return self._newton_steps(f, slope_p, rest, slopes)

    def _newton_steps(
        self, f: np.ndarray, slope_p: np.ndarray, rest: np.ndarray, slopes: np.ndarray
    ) -> tuple[_State, np.ndarray, np.ndarray]:
        """Eliminate δk_j = −(rest_j + h_j' F_p' δω_p)/F_j' from the balance Σ t_j k_j + f = z."""
        t = np.where(self.is_pivot, 0.0, self.powers)
        t_p = np.sum(np.where(self.is_pivot, self.powers, 0.0), axis=0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            balance = t_p * self.omega_p - (t_p - 1.0) * f + np.sum(t * self.k, axis=0) - self.z
            coupling = np.sum(t * (slopes - 1.0) / slopes, axis=0) * slope_p
            drive = np.sum(t * rest / slopes, axis=0) - balance
            whole = t_p - (t_p - 1.0) * slope_p - coupling
            move_p = drive / whole
            move_k = np.where(self.is_pivot, 0.0, -(rest + (slopes - 1.0) * slope_p * move_p) / slopes)
            slope = slope_p / whole
        residual = (np.abs(balance) + np.sum(np.abs(rest), axis=0)) / (np.abs(self.z) + self.unit)
        residual = np.where(np.isfinite(residual), residual, np.inf)
        return _State(f, self.k, slope, residual), move_p, move_k


def _strip(height: np.ndarray, ceiling: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where Im ω may go in one step from ``height``: never the whole way to an end of its range."""
    high = np.where(np.isinf(ceiling), np.inf, ceiling * (1.0 - _DESCENT.shrink) + _DESCENT.shrink * height)
    return _DESCENT.shrink * height, high


class SumTransform:
    """G(z) of the free sum of ``parts`` and its derivative, z in the closed upper half plane.

    On the real axis it is G(z + i0). The solution is followed from far up, where k_j is the mean of its law.
    Raises ConvergenceError where the equations could not be solved.
    """

    def __init__(self, parts: Sequence[Summand]) -> None:
        self._parts, self._memory = parts, None

    def remembering(self) -> Transform:
        """The same transform, which starts from what its last calls found; it lives as long as one solve."""
        return _with_memory(self)

    def __call__(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts, z = self._parts, _above(z)
        width = 2.0 * sum(part.power * part.half_width for part in parts)
        means = np.array([[part.mean + 0j] for part in parts]) + np.zeros(z.shape)

        def at(height: np.ndarray, points: np.ndarray) -> np.ndarray:
            return points + 1j * height * width

        far = at(np.full(z.shape, _DESCENT.start), z) - sum(part.power * part.mean for part in parts)
        start, last = _State.unsolved(far, means), np.full(z.shape, _DESCENT.last)
        found = _Descent(parts, at, width, self._memory).solved(z, start, last)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return 1.0 / found.f, -found.slope / found.f**2


class ProductTransform:
    """G(z) of the free product of ``parts`` and its derivative, z in the closed upper half plane.

    At most one law, with t = 1, may reach below 0: it comes first. ``width`` of the product. The solution is
    followed from far up, where κ_j of the other laws is their mean. Raises ConvergenceError where the
    equations could not be solved.
    """

    def __init__(self, parts: Sequence[Factor], width: float) -> None:
        self._parts, self._width, self._memory = parts, width, None

    def remembering(self) -> Transform:
        """As of `SumTransform`."""
        return _with_memory(self)

    def __call__(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts, width = self._parts, self._width
        z = _above(np.where(z == 0.0, 1e-9 * width, z))  # λ = 0 is singular in the equations, not in the law
        first, *others = parts
        means = np.array([math.log(part.mean) + 0j for part in others])[:, None] + np.zeros(z.shape)

        def at(height: np.ndarray, points: np.ndarray) -> np.ndarray:
            return np.log(points + 1j * height * width)

        rest = at(np.full(z.shape, _DESCENT.start), z)
        rest = rest - sum(part.power * math.log(part.mean) for part in others)
        if first.power > 1.0:
            rest = rest - (first.power - 1.0) * math.log(first.mean)
        minus_k = first.h(rest)[0]
        start = _State.unsolved(rest + minus_k, np.concatenate([-minus_k[None], means]))
        last = _DESCENT.last * np.minimum(np.abs(z) / width, 1.0)
        f, slope = _Descent(parts, at, 1.0, self._memory).solved(z, start, last)[:3:2]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            m = 1.0 / np.expm1(f)
            value = -1.0 / (z * np.expm1(-f))
            return value, -value * (1.0 + m * slope) / z


class AffineTransform:
    """G of scale·X + shift, scale > 0, from that of X."""

    def __init__(self, of: Transform, scale: float, shift: float) -> None:
        self._of, self._scale, self._shift = of, scale, shift

    def remembering(self) -> Transform:
        """As of `SumTransform`."""
        return AffineTransform(_remembering(self._of), self._scale, self._shift)

    def __call__(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, slope = self._of((z - self._shift) / self._scale)
        return value / self._scale, slope / self._scale**2


class ReflectedTransform:
    """G of −X from that of X: −G(−z)."""

    def __init__(self, of: Transform) -> None:
        self._of = of

    def remembering(self) -> Transform:
        """As of `SumTransform`."""
        return ReflectedTransform(_remembering(self._of))

    def __call__(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, slope = self._of(-np.conj(z))
        return -np.conj(value), np.conj(slope)


def _above(z: np.ndarray) -> np.ndarray:
    """Points that rounding has put below the real axis, on it."""
    return np.real(z) + 1j * np.maximum(np.imag(z), 0.0)


def _remembering(transform: Transform) -> Transform:
    make = getattr(transform, "remembering", None)
    return transform if make is None else make()


def _with_memory(transform: Any) -> Any:
    """A copy of a transform of parts with a memory, and so for the parts inside."""
    other = copy.copy(transform)
    other._parts, other._memory = _all_remembering(transform._parts), SolvedPoints()
    return other


def _all_remembering(parts: Parts) -> Any:
    return [replace(part, stieltjes=_remembering(part.stieltjes)) for part in parts]


@dataclass(frozen=True)
class _Descent:
    """Newton's method at z = at(height, points) for the ``parts``: from solved points nearby, or from far up.

    ``unit``: of z, for relative residuals. ``memory``: the solved points; None where they are not kept.
    """

    parts: Parts
    at: Callable[[np.ndarray, np.ndarray], np.ndarray]
    unit: float
    memory: SolvedPoints | None

    def solved(self, points: np.ndarray, start: _State, last: np.ndarray) -> _State:
        """Solve at the points; ``start`` holds far up, ``last`` are the heights after which comes 0."""
        if self.memory is None:
            return replace(self, parts=_all_remembering(self.parts))._followed_down(points, start, last)
        z = self.at(np.zeros(points.shape), points)
        found = self._near(z, self.memory, start)
        rest = np.flatnonzero(found.residual > _DESCENT.accepted)
        if rest.size:
            followed = self._followed_down(points[rest], start.taken(rest), last[rest])
            found.put(rest, followed, slice(None))
        self.memory.add(z, np.concatenate([found.f[None], found.slope[None], found.k]))
        return found

    def _near(self, z: np.ndarray, memory: SolvedPoints, start: _State) -> _State:
        """From the nearest solved points; unsolved where there are none or on the real axis."""
        found = _State.unsolved(np.zeros_like(start.f), np.zeros_like(start.k))
        inner = np.flatnonzero(np.imag(z) > 0.0)
        known = memory.nearest(z[inner], self.unit) if inner.size else None
        if known is None:
            return found
        place, (f, slope, *k) = known
        moved = f + slope * (z[inner] - place)
        ceilings = np.array([[part.ceiling] for part in self.parts])
        heights = np.imag(moved + np.array(k))
        is_above = np.all((heights > 0) & (heights < ceilings), axis=0)
        near = _State.unsolved(np.where(is_above, moved, f), np.array(k))
        found.put(inner, self._newton(z[inner], near), slice(None))
        return found

    def _followed_down(self, points: np.ndarray, start: _State, last: np.ndarray) -> _State:
        """From the height `DescentSettings.start` down to ``last``, and to 0."""
        height, factor = np.full(points.shape, _DESCENT.start), np.full(points.shape, _DESCENT.factor)
        found = self._newton(self.at(height, points), start)
        for _ in range(_DESCENT.heights):
            going = np.flatnonzero(height > 0.0)
            if not going.size:
                return found
            lower = np.where(height > last, height * factor, 0.0)[going]
            tried = self._newton(self.at(lower, points[going]), found.taken(going))
            good = tried.residual <= _DESCENT.accepted
            found.put(going, tried, good)
            height[going] = np.where(good, lower, height[going])
            at_an_edge = going[~good & (lower == 0.0)]  # ω moves by the root of the height: come nearer first
            last[at_an_edge] = 1e-2 * height[at_an_edge]
            factor[going] = np.where(good, np.maximum(factor[going] ** 2, 1e-3), np.sqrt(factor[going]))
        worst = int(np.flatnonzero(height > 0.0)[0])
        raise ConvergenceError(
            f"free convolution at z = {points[worst]}: not solved below the height {height[worst]:.1e} widths"
        )

    def _newton(self, z: np.ndarray, start: _State) -> _State:
        return _Newton(self.parts, z, self.unit, start).solve()
