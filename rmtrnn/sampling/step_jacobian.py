"""The Jacobian of one step of a network, theory.md (1), as an operator: Y ↦ J Y and Y ↦ Jᵀ Y.

A state of s vectors of N sites is stacked into s·N rows, component after component. Networks that run side
by side put their axis in front: Y has shape (s N, r), or (B, s N, r) for B networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core import arrays as _arrays


class StepJacobian:
    """J of one step, the product of its stages: ``J(y)`` is J Y, ``J.transposed(y)`` is Jᵀ Y."""

    def __init__(self, stages: Sequence[StageJacobian]) -> None:
        self._stages = list(stages)

    def __call__(self, y: Any) -> Any:
        for stage in self._stages:
            y = stage(y)
        return y

    def transposed(self, y: Any) -> Any:
        """Return Jᵀ Y."""
        for stage in reversed(self._stages):
            y = stage.transposed(y)
        return y

    def matrix(self) -> Any | None:
        """Return J as an array if it costs no product of matrices: one stage, one state vector; else None."""
        return self._stages[0].matrix() if len(self._stages) == 1 else None

    def of_network(self, column: int) -> StepJacobian:
        """Return the step of one of several networks that run side by side."""
        return StepJacobian([stage.of_network(column) for stage in self._stages])


class StageJacobian:
    """J_stage = a + Σ_k b_k ⊗ W_k ⊗ c_kᵀ of theory.md (1), for given site values of a, b and c.

    ``a`` has shape (s_out, s_in, ..., N), ``b`` (K, s_out, ..., N) and ``c`` (K, s_in, ..., N), ``weights``
    holds the K arrays W_k. ``pattern`` says which entries are 0 or 1 as expressions; those cost nothing.
    """

    def __init__(
        self, pattern: StagePattern, a: Any, b: Any, c: Any, weights: Sequence[Any], xp: Any
    ) -> None:
        self._pattern, self._weights, self._xp = pattern, list(weights), xp
        self._a, self._b, self._c = (
            _Coefficients(values, *own) for values, own in zip((a, b, c), pattern, strict=True)
        )

    def __call__(self, y: Any) -> Any:
        return self._applied(self._a.transposed(), self._b, self._weights, self._c, y)

    def transposed(self, y: Any) -> Any:
        """Return J_stageᵀ Y = (aᵀ + Σ_k c_k ⊗ W_kᵀ ⊗ b_kᵀ) Y."""
        weights = [weight.swapaxes(-1, -2) for weight in self._weights]
        return self._applied(self._a, self._c, weights, self._b, y)

    def of_network(self, column: int) -> StageJacobian:
        """Return the stage of one of several networks that run side by side."""
        a, b, c = (own.values[:, :, column] for own in (self._a, self._b, self._c))
        weights = [weight[column] for weight in self._weights]
        return StageJacobian(self._pattern, a, b, c, weights, self._xp)

    def matrix(self) -> Any | None:
        """Return diag(a) + Σ_k diag(b_k) W_k diag(c_k); None if the stage has several state vectors."""
        a, b, c = self._a, self._b, self._c
        if a.values.shape[:2] != (1, 1):
            return None
        out: Any = None
        for k, weight in enumerate(self._weights):
            if c.zero[k, 0] or b.zero[k, 0]:
                continue
            term = b.values[k, 0][..., None] * weight
            if not c.one[k, 0]:
                term *= c.values[k, 0][..., None, :]
            out = term if out is None else self._xp.add(out, term, out=out)
        if out is not None and not a.zero[0, 0]:
            sites = self._xp.arange(out.shape[-1])
            out[..., sites, sites] += a.values[0, 0]
        return out

    def _applied(
        self, direct: _Coefficients, to: _Coefficients, weights: list[Any], of: _Coefficients, y: Any
    ) -> Any:
        """Σ_ij direct[j, i] Y_j into component i, plus Σ_k to_k ⊗ W_k ⊗ of_kᵀ applied to Y."""
        s_in, s_out, *networks, n = direct.values.shape
        y = y.astype(direct.values.dtype, copy=False).reshape(*networks, s_in, n, -1)
        out = self._xp.zeros((*networks, s_out, n, y.shape[-1]), dtype=y.dtype)
        for j in range(s_in):
            direct.add_to(out, j, y[..., j, :, :])
        for k, weight in enumerate(weights):
            gate_input = of.combination(k, y)
            if gate_input is not None and not to.zero[k].all():
                to.add_to(out, k, weight @ gate_input)
        return out.reshape(*networks, s_out * n, -1)


class StagePattern(NamedTuple):
    """For a, b and c of a stage: which entries are 0 and which are 1 as expressions."""

    a: tuple[np.ndarray, np.ndarray]
    b: tuple[np.ndarray, np.ndarray]
    c: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, stage: Any) -> StagePattern:
        """Read the pattern off the symbolic matrices of a `rmtrnn.cells` stage."""
        return cls(*(_zeros_and_ones(matrix) for matrix in (stage.a, stage.b, stage.c)))


def _zeros_and_ones(matrix: Any) -> tuple[np.ndarray, np.ndarray]:
    entries = np.array(matrix.tolist(), dtype=object).reshape(matrix.shape)
    return entries == 0, entries == 1


class _Coefficients(NamedTuple):
    """Site values of a matrix, (rows, columns, ..., N), and which entries are 0 or 1 as expressions."""

    values: Any
    zero: np.ndarray
    one: np.ndarray

    def transposed(self) -> _Coefficients:
        return _Coefficients(self.values.swapaxes(0, 1), self.zero.T, self.one.T)

    def combination(self, row: int, y: Any) -> Any | None:
        """Σ_j m[row, j] y_j over the components y_j of Y, (..., s, N, r); None if the row is 0."""
        total: Any = None
        for j in np.flatnonzero(~self.zero[row]):
            term = y[..., j, :, :]
            if not self.one[row, j]:
                term = self.values[row, j][..., None] * term
            total = term if total is None else total + term
        return total

    def add_to(self, out: Any, row: int, y: Any) -> None:
        """out_i += m[row, i] y for every component i of ``out``, (..., s, N, r)."""
        for i in np.flatnonzero(~self.zero[row]):
            _arrays.add_scaled(out[..., i, :, :], self.values[row, i][..., None], y)
