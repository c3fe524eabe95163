"""The Stieltjes transform of a free sum from those of its summands.

With F = 1/G, the free sum of the laws μ_j^{⊞ t_j} has subordination functions ω_j(z) in the upper half plane
(Belinschi and Bercovici 2007),

    F_1(ω_1) = F_2(ω_2) = … = f,      Σ_j t_j k_j + f = z,      k_j = ω_j − f = R_j(1/f),

and F(z) = f. Newton's method solves all equations at once, so that a sum of sums costs as much as a sum. The
unknowns are ω_p of a pivot, the summand whose ω_j lies nearest to its law, and k_j of the others. They are
finite where f → ∞ (a zero of G, inside a gap) and where f → 0 (an atom); ω_j and 1/f are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmtrnn._core.status import ConvergenceError

Transform = Callable[[np.ndarray], np.ndarray]


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
class Summand:
    """The law μ^{⊞ t}: ``stieltjes`` of μ, ``power`` t ≥ 1; mean, central moments and half width of μ."""

    stieltjes: Transform
    power: float
    mean: float
    variance: float
    third: float
    half_width: float

    def h(self, omega: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """h(ω) = F(ω) − ω and its derivative, by a central difference along the real axis."""
        distance = np.abs(omega - self.mean)
        far = distance > _DESCENT.far * self.half_width
        # 1e-6 of the distance from what is singular, the height; beyond the law 1e-3 of the distance from its
        # mean, since h' falls with its square and F(ω) − ω is rounded in units of ω.
        step = 1e-6 * np.maximum(np.imag(omega), 1e-3 * self.half_width)
        step = np.where(distance > 2.0 * self.half_width, 1e-3 * distance, step)
        centre = np.where(far, self.mean + 1j * self.half_width, omega)
        at = np.concatenate([centre, centre - step, centre + step])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            here, below, above = (1.0 / self.stieltjes(at) - at).reshape(3, -1)
            slope = (above - below) / (2.0 * step)
            inverse = 1.0 / (omega - self.mean)
            tail = -self.mean - (self.variance + self.third * inverse) * inverse
            tail_slope = (self.variance + 2.0 * self.third * inverse) * inverse**2
        return np.where(far, tail, here), np.where(far, tail_slope, slope)


class _State(NamedTuple):
    """f (points,), k_j (summands, points), and the residual relative to |z| and the width."""

    f: np.ndarray
    k: np.ndarray
    residual: np.ndarray

    def put(self, where: np.ndarray, other: _State, taken: np.ndarray) -> None:
        """Take over the columns ``taken`` of ``other`` at ``where``."""
        for mine, theirs in zip(self, other, strict=True):
            mine[..., where[taken]] = theirs[..., taken]


class _Newton:
    """Newton's method at the points ``z`` with one pivot for each."""

    def __init__(self, parts: Sequence[Summand], z: np.ndarray, width: float, start: _State) -> None:
        self.parts, self.z, self.width = parts, z, width
        distance = [
            np.abs(start.f + k - part.mean) / part.half_width for part, k in zip(parts, start.k, strict=True)
        ]
        self.is_pivot = np.arange(len(parts))[:, None] == np.argmin(distance, axis=0)
        self.powers = np.array([[part.power] for part in parts])
        self.omega_p = start.f + np.sum(np.where(self.is_pivot, start.k, 0.0), axis=0)
        self.k, self.omega = start.k.copy(), start.f + start.k

    def solve(self) -> _State:
        points, idle = np.arange(self.z.size), np.zeros(self.z.size, int)
        best = _State(np.zeros_like(self.z), np.zeros_like(self.k), np.full(self.z.shape, np.inf))
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
        floor = _DESCENT.shrink * np.imag(self.omega_p)
        new = self.omega_p + move_p
        self.omega_p = np.real(new) + 1j * np.maximum(np.imag(new), floor)
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
        lowest = _DESCENT.shrink * np.imag(self.omega) - np.imag(f)
        inside = np.real(self.k) + 1j * np.minimum(np.maximum(np.imag(self.k), lowest), 0.0)
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
            move_p = drive / (t_p - (t_p - 1.0) * slope_p - coupling)
            move_k = np.where(self.is_pivot, 0.0, -(rest + (slopes - 1.0) * slope_p * move_p) / slopes)
        residual = (np.abs(balance) + np.sum(np.abs(rest), axis=0)) / (np.abs(self.z) + self.width)
        return _State(f, self.k, np.where(np.isfinite(residual), residual, np.inf)), move_p, move_k


def stieltjes_of_sum(parts: Sequence[Summand], z: np.ndarray) -> np.ndarray:
    """G(z) of the free sum, z in the upper half plane or on the real axis, where it is G(z + i0).

    The solution is followed from far up, where k_j is the mean of its law. Raises ConvergenceError where the
    equations could not be solved.
    """
    width = 2.0 * sum(part.power * part.half_width for part in parts)
    means = np.array([[part.mean + 0j] for part in parts]) + np.zeros(z.shape)
    top = z + 1j * _DESCENT.start * width
    far = _State(top - sum(part.power * part.mean for part in parts), means, np.zeros(z.shape))
    found = _Newton(parts, top, width, far).solve()
    height, factor = np.full(z.shape, _DESCENT.start), np.full(z.shape, _DESCENT.factor)
    last = np.full(z.shape, _DESCENT.last)
    for _ in range(_DESCENT.heights):
        going = np.flatnonzero(height > 0.0)
        if not going.size:
            return 1.0 / found.f
        lower = np.where(height > last, height * factor, 0.0)[going]
        start = _State(found.f[going], found.k[:, going], found.residual[going])
        tried = _Newton(parts, z[going] + 1j * lower * width, width, start).solve()
        good = tried.residual <= _DESCENT.accepted
        found.put(going, tried, good)
        height[going] = np.where(good, lower, height[going])
        at_an_edge = going[~good & (lower == 0.0)]  # ω moves by the root of the height: come nearer first
        last[at_an_edge] = 1e-2 * height[at_an_edge]
        factor[going] = np.where(good, np.maximum(factor[going] ** 2, 1e-3), np.sqrt(factor[going]))
    worst = int(np.flatnonzero(height > 0.0)[0])
    raise ConvergenceError(
        f"free sum at z = {z[worst]}: not solved below the height {height[worst] * width:.1e}"
    )
