"""What Newton's method for the untied Dyson equation solves for: the strengths, or splines of the step.

The strengths x = (p, q) of the self-energy (see `recursive_green`) are two for every weight matrix and step.
The unknowns are the logarithms of all of them, or, in long chains, the coefficients y of

    log x = B y,                                                                                        (*)

cubic splines of the step: along a stationary chain the strengths vary quickly near the ends only, so the
spacing of the knots grows with the distance from the nearer end, and the number of unknowns with log T. Psi
is then made stationary in y. As F is stationary in x, what the splines cannot follow enters it squared; the
same with twice the knots says how much it is (`assembly.with_spline_error`).

In a finite population the strengths of neighbouring steps scatter, since each step has gates of its own. The
splines do not follow that, which makes them closer to the strengths of the law.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SIGN_SLACK = 1e-7  # relative: a strength this far in the upper half plane is rounding, not a wrong branch
_SPLINE_SLACK = 1e-3  # the same for splines, which overshoot a little where strengths turn real
_SPACING = 1.5  # least, of knots, in steps: otherwise there would be more coefficients than strengths


class Unknowns:
    """The unknowns of a chain with ``gates`` weight matrices; ``basis`` (2 gates, count) is B of (*).

    ``count`` unknowns; ``slack``, how far above the real axis a strength may be (relative); ``steps`` and
    ``density`` are those of `splines`. Steps, gradients and strengths have one row for each point.
    """

    def __init__(self, gates: int, basis: np.ndarray | None = None, steps: int = 0, density: int = 0) -> None:
        self.gates, self.steps, self.density = gates, steps, density
        self.basis = basis
        self.count = 2 * gates if basis is None else basis.shape[1]
        self.slack = SIGN_SLACK if basis is None else _SPLINE_SLACK
        self._to_unknowns = None if basis is None else np.linalg.pinv(basis).T

    @classmethod
    def splines(cls, gates: int, steps: int, density: int) -> Unknowns:
        """Splines of the step, ``gates``/``steps`` weight matrices in each.

        The spacing of the knots is 1/``density`` of the distance from the nearer end, or `_SPACING`.
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

    def finer(self) -> Unknowns:
        """Splines with twice the knots."""
        return Unknowns.splines(self.gates, self.steps, 2 * self.density)

    def gradient(self, by_logs: np.ndarray) -> np.ndarray:
        """Gradient in the unknowns from that in the logarithms of all strengths."""
        return by_logs if self.basis is None else by_logs @ self.basis

    def logs(self, step: np.ndarray) -> np.ndarray:
        """Change of the logarithms of all strengths by a step of the unknowns."""
        return step if self.basis is None else step @ self.basis.T

    def felt(self, step: np.ndarray) -> np.ndarray:
        """How far a step goes: the largest change of the logarithms, of products p q in splines.

        A factor common to all p, and its inverse to all q, hardly changes Psi where everything passes through
        the weights. Deep in the lower tail of a long chain other sites have strengths that differ by such
        factors of e^10, which vary slowly with the step: Newton's method may take them at once. So what
        counts is log(p q) for p and q of the same and of neighbouring steps.
        """
        logs = self.logs(step)
        if self.basis is None:
            return np.abs(logs).max(axis=1)
        p, q = logs.reshape(len(logs), 2, self.steps, -1).swapaxes(0, 1)
        same = np.abs(p[..., :, None] + q[..., None, :]).max(axis=(1, 2, 3))
        following = np.abs(p[:, :-1, :, None] + q[:, 1:, None, :]).max(axis=(1, 2, 3))
        return np.maximum(same, following)

    def nearest(self, x: np.ndarray) -> np.ndarray:
        """The strengths next to ``x`` that the unknowns can describe, on the branch -pi <= arg x <= 0."""
        if self._to_unknowns is None:
            return x
        angle = np.angle(x)
        logs = np.log(np.abs(x)) + 1j * np.where(angle > 0.5 * np.pi, angle - 2 * np.pi, angle)
        return np.exp(self.logs(logs @ self._to_unknowns))

    def moved(self, x: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Strengths after a step from ``x``, and the step as it was taken.

        Strengths above the real axis are put back by reflection, as far as the unknowns allow.
        """
        moved = x * np.exp(self.logs(step))
        above = np.imag(moved) > self.slack * np.abs(moved)
        moved = np.where(above, np.conj(moved), moved)
        if self._to_unknowns is None:
            return moved, np.log(moved / x)
        back = above.any(axis=1)
        if back.any():
            step = step.copy()
            step[back] = np.log(moved[back] / x[back]) @ self._to_unknowns
            moved[back] = x[back] * np.exp(self.logs(step[back]))
        return moved, step

    def physical(self, p: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Whether all strengths of a point lie in the closed lower half plane, up to the slack."""
        both = np.concatenate([p, q], axis=1)
        return np.all(np.imag(both) <= self.slack * np.abs(both), axis=1, keepdims=True)[:, 0]


def _spline_basis(steps: int, density: int) -> Any:
    """Values of the cubic B-splines (steps, count)."""
    from scipy.interpolate import BSpline  # scipy only where it is used

    half = (steps - 1) / 2
    near = [_SPACING]
    while near[-1] + max(_SPACING, near[-1] / density) < half - 0.5 * _SPACING:
        near.append(near[-1] + max(_SPACING, near[-1] / density))
    inner = np.concatenate([near, [half], steps - 1 - np.array(near[::-1])])
    knots = np.concatenate([[0.0] * 4, inner, [steps - 1.0] * 4])
    return BSpline.design_matrix(np.arange(float(steps)), knots, 3).toarray()
