"""The Jacobian of one step of a network, theory.md (1), as a function that is applied to matrices."""

from __future__ import annotations

from typing import Any

from rmtrnn._core import arrays as _arrays


class StepFactor:
    """Y ↦ J Y for one step, the product of its stages; for networks side by side Y has their axis first."""

    def __init__(self, stages: list[StageFactor]) -> None:
        self._stages = stages

    def __call__(self, y: Any) -> Any:
        for stage in self._stages:
            y = stage(y)
        return y

    def transposed(self, y: Any) -> Any:
        """Jᵀ Y."""
        for stage in reversed(self._stages):
            y = stage.transposed(y)
        return y

    def matrix(self) -> Any | None:
        """J itself where it is as cheap as a matrix of weights: one stage, one vector of state; else None."""
        return self._stages[0].matrix() if len(self._stages) == 1 else None

    def of(self, column: int) -> StepFactor:
        """The step of one of several networks."""
        return StepFactor([stage.of(column) for stage in self._stages])


class StageFactor:
    """Y ↦ (a + Σ_k b_k ⊗ W_k ⊗ c_kᵀ) Y, theory.md (1); entries that are symbolically 0 or 1 cost nothing."""

    def __init__(self, symbolic: Any, a: Any, b: Any, c: Any, weights: list[Any], xp: Any) -> None:
        self._symbolic, self._a, self._b, self._c = symbolic, a, b, c
        self._weights, self._xp = weights, xp

    def of(self, column: int) -> StageFactor:
        a, b, c = (part[:, :, column] for part in (self._a, self._b, self._c))
        return StageFactor(self._symbolic, a, b, c, [weight[column] for weight in self._weights], self._xp)

    def __call__(self, y: Any) -> Any:
        symbolic = self._symbolic
        s_out, s_in, *networks, n = self._a.shape
        y = y.astype(self._a.dtype, copy=False).reshape(*networks, s_in, n, -1)
        out = self._xp.zeros((*networks, s_out, n, y.shape[-1]), dtype=y.dtype)
        for i in range(s_out):
            for j in range(s_in):
                if symbolic.a[i, j] != 0:
                    _arrays.add_scaled(out[..., i, :, :], self._a[i, j][..., None], y[..., j, :, :])
        for k, weight in enumerate(self._weights):
            read: Any = None
            for j in range(s_in):
                if symbolic.c[k, j] == 0:
                    continue
                term = y[..., j, :, :]
                if symbolic.c[k, j] != 1:
                    term = self._c[k, j][..., None] * term
                read = term if read is None else read + term
            if read is None:
                continue
            mixed = weight @ read
            for i in range(s_out):
                if symbolic.b[k, i] != 0:
                    _arrays.add_scaled(out[..., i, :, :], self._b[k, i][..., None], mixed)
        return out.reshape(*networks, s_out * n, -1)

    def transposed(self, y: Any) -> Any:
        """(aᵀ + Σ_k c_k ⊗ W_kᵀ ⊗ b_kᵀ) Y."""
        symbolic = self._symbolic
        s_out, s_in, *networks, n = self._a.shape
        y = y.astype(self._a.dtype, copy=False).reshape(*networks, s_out, n, -1)
        out = self._xp.zeros((*networks, s_in, n, y.shape[-1]), dtype=y.dtype)
        for j in range(s_in):
            for i in range(s_out):
                if symbolic.a[i, j] != 0:
                    _arrays.add_scaled(out[..., j, :, :], self._a[i, j][..., None], y[..., i, :, :])
        for k, weight in enumerate(self._weights):
            terms = [
                self._b[k, i][..., None] * y[..., i, :, :] for i in range(s_out) if symbolic.b[k, i] != 0
            ]
            mixed = weight.swapaxes(-1, -2) @ sum(terms[1:], start=terms[0]) if terms else None
            for j in range(s_in):
                if symbolic.c[k, j] != 0 and mixed is not None:
                    _arrays.add_scaled(out[..., j, :, :], self._c[k, j][..., None], mixed)
        return out.reshape(*networks, s_in * n, -1)

    def matrix(self) -> Any | None:
        """diag(a) + Σ_k diag(b_k) W_k diag(c_k), for one component of state; else None."""
        if self._a.shape[:2] != (1, 1):
            return None
        out: Any = None
        for k, weight in enumerate(self._weights):
            if self._symbolic.c[k, 0] == 0 or self._symbolic.b[k, 0] == 0:
                continue
            term = self._b[k, 0][..., None] * weight
            if self._symbolic.c[k, 0] != 1:
                term *= self._c[k, 0][..., None, :]
            out = term if out is None else self._xp.add(out, term, out=out)
        if out is None:
            return None
        if self._symbolic.a[0, 0] != 0:
            sites = self._xp.arange(out.shape[-1])
            out[..., sites, sites] += self._a[0, 0]
        return out
