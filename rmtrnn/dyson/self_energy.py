"""Self-energies of the untied Dyson equation (13), and the unknowns that Newton's method solves for.

The self-energy has two coefficients for every weight matrix and step, y and x (see `pencil`). The unknowns
are the logarithms of all of them, or, in long chains, the coefficients v of cubic splines of the step,

    log (y, x) = B v.                                                                                   (*)

Along a stationary chain the coefficients vary quickly near the ends only. So the spacing of the knots grows
with the distance from the nearer end, and the number of unknowns with log T. Ψ (see `functional`) is then
stationary in v. F is stationary in the coefficients, so what the splines miss enters F squared; the same with
twice the knots measures it.

In a finite population the coefficients of neighbouring steps scatter, since each step has gates of its own.
Splines do not follow the scatter, which brings them closer to the coefficients of the law.

Letters: theta = arg λ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# arg λ that stands for the real axis, in radians: every logarithm stays on its side of the cut.
REAL_AXIS = 1e-13
# Im/|.| of a coefficient above which it counts as complex. Rounding leaves 1e-9 near edges (empirical).
_REAL = 1e-6


@dataclass(frozen=True)
class Points:
    """Points λ = exp(log_lambda + i theta); one entry of each array per point."""

    log_lambda: np.ndarray
    theta: np.ndarray

    @classmethod
    def at(cls, log_lambda: np.ndarray, theta: float) -> Points:
        """Points of one argument ``theta``."""
        log_lambda = np.asarray(log_lambda, dtype=float)
        return cls(log_lambda, np.full(log_lambda.shape, theta))

    @classmethod
    def real(cls, log_lambda: np.ndarray) -> Points:
        """Points on the positive real axis, reached from above."""
        return cls.at(log_lambda, REAL_AXIS)

    @classmethod
    def negative(cls, log_lambda: np.ndarray) -> Points:
        """Points on the negative real axis."""
        return cls.at(log_lambda, np.pi)

    def __len__(self) -> int:
        return len(self.log_lambda)

    def __getitem__(self, pick: Any) -> Points:
        return Points(self.log_lambda[pick], self.theta[pick])

    def repeated(self, times: int) -> Points:
        """Every point ``times`` times, one after the other."""
        return Points(np.repeat(self.log_lambda, times), np.repeat(self.theta, times))


@dataclass(frozen=True)
class SelfEnergy:
    """Coefficients ``y`` of 𝒮[y_l, y_l] and ``x`` of 𝒮[x_{l-1}, x_{l-1}], each (points, gates)."""

    y: np.ndarray
    x: np.ndarray

    @classmethod
    def of(cls, coefficients: np.ndarray) -> SelfEnergy:
        """From one row (y, x) for each point."""
        gates = coefficients.shape[1] // 2
        return cls(coefficients[:, :gates], coefficients[:, gates:])

    @property
    def coefficients(self) -> np.ndarray:
        """One row (y, x) for each point, (points, 2 gates)."""
        return np.concatenate([self.y, self.x], axis=1)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, pick: Any) -> SelfEnergy:
        return SelfEnergy(self.y[pick], self.x[pick])

    def joined(self, other: SelfEnergy) -> SelfEnergy:
        """The points of both."""
        return SelfEnergy(np.concatenate([self.y, other.y]), np.concatenate([self.x, other.x]))

    def replaced(self, pick: np.ndarray, other: SelfEnergy) -> SelfEnergy:
        """A copy with the points ``pick`` taken from ``other``."""
        new = SelfEnergy(self.y.copy(), self.x.copy())
        new.y[pick], new.x[pick] = other.y, other.x
        return new

    @property
    def in_lower_half_plane(self) -> SelfEnergy:
        """The projection to Im 𝒮 < 0: rounding errors above the real axis are put just below it."""
        return SelfEnergy(_below_axis(self.y), _below_axis(self.x))

    @property
    def is_real(self) -> np.ndarray:
        """Whether all coefficients of a point are real up to rounding: then it lies outside the support."""
        both = self.coefficients
        return np.all(np.abs(np.imag(both)) <= _REAL * np.abs(both), axis=1)


def _below_axis(coefficient: np.ndarray) -> np.ndarray:
    return np.real(coefficient) + 1j * np.minimum(np.imag(coefficient), -REAL_AXIS * np.abs(coefficient))


@dataclass(frozen=True)
class SplineSettings:
    """Numbers of the spline parametrisation (*)."""

    # Steps, least spacing of knots. Derived: with less there are as many spline coefficients as steps.
    spacing: float = 1.5
    # Im/|.| that a coefficient may have above the real axis. In all coefficients it is rounding; splines
    # overshoot where coefficients turn real. Empirical; tests/dyson/test_numbers.py moves both by three.
    slack: float = 1e-7
    spline_slack: float = 1e-3


_SPLINES = SplineSettings()


class Parametrisation:
    """The unknowns of a chain with ``gates`` weight matrices; ``basis`` (2 gates, count) is B of (*).

    ``count`` unknowns; ``slack``, how far above the real axis a coefficient may be (relative); ``steps`` and
    ``density`` are those of `splines`. Steps, gradients and coefficients have one row for each point.
    """

    def __init__(self, gates: int, basis: np.ndarray | None = None, steps: int = 0, density: int = 0) -> None:
        self.gates, self.steps, self.density = gates, steps, density
        self.basis = basis
        self.count = 2 * gates if basis is None else basis.shape[1]
        self.slack = _SPLINES.slack if basis is None else _SPLINES.spline_slack
        self._to_unknowns = None if basis is None else np.linalg.pinv(basis).T

    @classmethod
    def splines(cls, gates: int, steps: int, density: int) -> Parametrisation:
        """Splines of the step, ``gates``/``steps`` weight matrices in each.

        The spacing of the knots is 1/``density`` of the distance from the nearer end, at least
        `SplineSettings.spacing`.
        """
        one = _spline_basis(steps, density)
        per_step, count = gates // steps, one.shape[1]
        basis = np.zeros((2 * gates, 2 * per_step * count))
        for half in range(2):
            for k in range(per_step):
                rows = slice(half * gates + k, (half + 1) * gates, per_step)
                first = (half * per_step + k) * count
                basis[rows, first : first + count] = one
        return cls(gates, basis, steps, density)

    def refined(self) -> Parametrisation:
        """Splines with twice the knots."""
        return Parametrisation.splines(self.gates, self.steps, 2 * self.density)

    def gradient(self, by_logs: np.ndarray) -> np.ndarray:
        """Gradient in the unknowns from that in the logarithms of all coefficients."""
        return by_logs if self.basis is None else by_logs @ self.basis

    def log_change(self, step: np.ndarray) -> np.ndarray:
        """Change of the logarithms of all coefficients by a step of the unknowns."""
        return step if self.basis is None else step @ self.basis.T

    def step_norm(self, step: np.ndarray) -> np.ndarray:
        """Measure a step by the largest change of log(y x), gauge invariant; without splines of log y, log x.

        A factor common to all y, and its inverse to all x, is a gauge: it hardly changes Ψ where everything
        passes through the weights. Deep in the lower tail of a long chain subsamples have coefficients that
        differ by gauges of e^10, which vary slowly with the step; Newton's method may take them at once. So
        the norm reads log(y x) for y and x of the same and of neighbouring steps.
        """
        logs = self.log_change(step)
        if self.basis is None:
            return np.abs(logs).max(axis=1)
        y, x = logs.reshape(len(logs), 2, self.steps, -1).swapaxes(0, 1)
        same = np.abs(y[..., :, None] + x[..., None, :]).max(axis=(1, 2, 3))
        following = np.abs(y[:, :-1, :, None] + x[:, 1:, None, :]).max(axis=(1, 2, 3))
        return np.maximum(same, following)

    def projected(self, coefficients: np.ndarray) -> np.ndarray:
        """The nearest coefficients that the unknowns can describe, on the branch -pi <= arg <= 0."""
        if self._to_unknowns is None:
            return coefficients
        angle = np.angle(coefficients)
        logs = np.log(np.abs(coefficients)) + 1j * np.where(angle > 0.5 * np.pi, angle - 2 * np.pi, angle)
        return np.exp(self.log_change(logs @ self._to_unknowns))

    def after_step(self, coefficients: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients after a step of the unknowns, and the step as it was taken.

        Coefficients above the real axis are put back by reflection, as far as the unknowns allow.
        """
        moved = coefficients * np.exp(self.log_change(step))
        above = np.imag(moved) > self.slack * np.abs(moved)
        moved = np.where(above, np.conj(moved), moved)
        if self._to_unknowns is None:
            return moved, np.log(moved / coefficients)
        back = above.any(axis=1)
        if back.any():
            step = step.copy()
            step[back] = np.log(moved[back] / coefficients[back]) @ self._to_unknowns
            moved[back] = coefficients[back] * np.exp(self.log_change(step[back]))
        return moved, step

    def admits(self, sigma: SelfEnergy) -> np.ndarray:
        """Whether all coefficients of a point lie in the closed lower half plane, up to the slack."""
        both = sigma.coefficients
        return np.all(np.imag(both) <= self.slack * np.abs(both), axis=1)


def _spline_basis(steps: int, density: int) -> Any:
    """Values of the cubic B-splines (steps, count)."""
    from scipy.interpolate import BSpline  # scipy only where it is used

    half, least = (steps - 1) / 2, _SPLINES.spacing
    near = [least]
    while near[-1] + max(least, near[-1] / density) < half - 0.5 * least:
        near.append(near[-1] + max(least, near[-1] / density))
    inner = np.concatenate([near, [half], steps - 1 - np.array(near[::-1])])
    knots = np.concatenate([[0.0] * 4, inner, [steps - 1.0] * 4])
    return BSpline.design_matrix(np.arange(float(steps)), knots, 3).toarray()
