"""One finite random network: its steps, and the factors of its Jacobian, on NumPy or CuPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rmtrnn import _array, _random
from rmtrnn.ensemble import Ensemble, GateParameters
from rmtrnn.montecarlo import random_matrix

# Streams of one trial: (seed, trial, purpose, gate), each read from the first step on.
_STATE, _INPUT, _WEIGHT, _BIAS, _INPUT_WEIGHT, _FIELD = range(6)


# Burn-in: first look after this many steps, then after twice as many, ...; MULTIPLE times those are run.
FIRST_LOOK, MULTIPLE, LONGEST = 125, 4, 16_000
# Means over successive quarters agree within so many standard errors, plus relative and absolute shares.
ERRORS, RELATIVE, ABSOLUTE, BATCHES = 3.0, 1e-3, 1e-6, 5


class Network:
    """A draw of N units from ``ens``: theory.md (1), trial ``trial`` of ``seed``.

    The state has shape (s, N) and starts with independent N(0, 1) entries. Every step sees fresh inputs.
    ``state`` is written over by the step after the next: copy what is to be kept.
    Tied: W, V, b are drawn once. Untied: anew at every step.

    An untied W is independent of the state it meets. So as long as only the state is wanted, W r may be drawn
    directly, with the same law: |r| times a Gaussian vector of variance σ_w²/N (Gaussian W), or σ_w|r| times
    a uniform direction (Haar W). In the same way V x is σ_v |x|/√N times a standard Gaussian vector.
    """

    def __init__(self, ens: Ensemble, n: int, seed: int, trial: int, xp: Any, dtype: str) -> None:
        self.ens, self.n, self.xp, self.dtype = ens, n, xp, dtype
        self._key = (seed, trial)
        self._stages = ens.cell.numeric(xp).stages
        self._streams: dict[tuple[int, int], np.random.Generator] = {}
        self._kept: dict[tuple[int, int], Any] = {}
        self.state = self._array(self._stream(_STATE).standard_normal((len(ens.cell.state), n)))
        self._work = [_Work(stage, n, xp, dtype) for stage in ens.cell.stages]

    def run(self, steps: int) -> None:
        """Advance the state by ``steps`` steps."""
        for _ in range(steps):
            self._advance(with_factor=False)

    def settle(self, least: int = 0) -> tuple[int, bool]:
        """Run until the state is stationary; return the number of steps and whether it is.

        After t = 125, 250, 500, … steps the mean of h² over all sites (for every vector of the state) in the
        last quarter of the steps is compared with that in the quarter before. Once they agree within their
        errors at some t ≥ ``least``/4 the network runs on to 4t: a deviation that decays as e^(−t/τ) and is
        lost in noise of a few per cent at t is gone by then. LONGEST steps are run at most; the flag is False
        if that was not enough.
        """
        squares: list[Any] = []
        look = FIRST_LOOK
        while MULTIPLE * look <= LONGEST:
            while len(squares) < look:
                self.run(1)
                squares.append(self.xp.mean(self.state * self.state, axis=1))
            rows = _array.to_host(self.xp.stack(squares[look // 2 :])).astype(float)
            if MULTIPLE * look >= least and _agree(rows):
                self.run(MULTIPLE * look - look)
                return MULTIPLE * look, True
            look *= 2
        self.run(LONGEST - len(squares))
        return LONGEST, False

    def step(self) -> StepFactor:
        """Advance the state by one step; return Y ↦ J Y of that step, Y of shape (s N, r)."""
        return self._advance(with_factor=True)

    def _advance(self, *, with_factor: bool) -> StepFactor:
        x = self._array(self.ens.sample_input(self._stream(_INPUT), self.n))
        site = self.state
        factors = []
        position = 0
        for symbolic, numeric, work in zip(self.ens.cell.stages, self._stages, self._work, strict=True):
            reads = numeric.read(site, out=work.reads)
            weights = []
            for k, gate in enumerate(symbolic.gates):
                weight = self._weight(gate.name, position) if with_factor or self.ens.tied else None
                weights.append(weight)
                recurrent = (
                    self._field(gate.name, position, reads[k]) if weight is None else weight @ reads[k]
                )
                self.xp.add(recurrent, self._drive(gate.name, position, x), out=work.e[k])
                position += 1
            if with_factor:
                site, a, b, c = numeric.advance(site, x, work.e)
                factors.append(_StageFactor(symbolic, a, b, c, weights, self.xp))
            else:
                site = numeric.update(site, x, work.e, out=work.other_than(site))
        self.state = site
        return StepFactor(factors)

    def _weight(self, gate: str, position: int) -> Any:
        law = self.ens.gate(gate)
        return self._once(_WEIGHT, position, lambda rng: self._matrix(law.weights, law.sigma_w, rng))

    def _field(self, gate: str, position: int, reads: Any) -> Any:
        law = self.ens.gate(gate)
        direction = self._stream(_FIELD, position).standard_normal(self.n)
        length = math.sqrt(self.n) if law.weights == "gaussian" else float(np.linalg.norm(direction))
        return self._array(law.sigma_w * direction / length) * self.xp.linalg.norm(reads)

    def _drive(self, gate: str, position: int, x: Any) -> Any:
        """V x + b."""
        law = self.ens.gate(gate)
        bias = self._once(_BIAS, position, lambda rng: self._bias(law, rng))
        if law.sigma_v == 0.0:
            return bias
        if not self.ens.tied:
            direction = self._stream(_INPUT_WEIGHT, position).standard_normal(self.n)
            return bias + self._array(law.sigma_v * direction / math.sqrt(self.n)) * self.xp.linalg.norm(x)
        v = self._once(_INPUT_WEIGHT, position, lambda rng: self._matrix("gaussian", law.sigma_v, rng))
        return bias + v @ x

    def _bias(self, law: GateParameters, rng: np.random.Generator) -> Any:
        return self._array(law.mu_b + law.sigma_b * rng.standard_normal(self.n))

    def _once(self, purpose: int, position: int, draw: Callable[[np.random.Generator], Any]) -> Any:
        """A draw for this step; for tied networks, the one draw for all steps."""
        if not self.ens.tied:
            return draw(self._stream(purpose, position))
        if (purpose, position) not in self._kept:
            self._kept[purpose, position] = draw(self._stream(purpose, position))
        return self._kept[purpose, position]

    def _matrix(self, kind: str, scale: float, rng: np.random.Generator) -> Any:
        return random_matrix(kind, self.n, scale, rng, self.xp, self.dtype)

    def _array(self, values: Any) -> Any:
        return self.xp.asarray(values, dtype=self.dtype)

    def _stream(self, purpose: int, position: int = 0) -> np.random.Generator:
        key = (purpose, position)
        if key not in self._streams:
            self._streams[key] = _random.stream(*self._key, *key)
        return self._streams[key]


class _Work:
    """Arrays of one stage that every step writes into: what the weights multiply, e, and the state after."""

    def __init__(self, stage: Any, n: int, xp: Any, dtype: str) -> None:
        gates = len(stage.gates)
        self.reads, self.e = (xp.empty((gates, n), dtype=dtype) for _ in range(2))
        self._states = [xp.empty((len(stage.outputs), n), dtype=dtype) for _ in range(2)]

    def other_than(self, site: Any) -> Any:
        """An array for the state after the stage that is not the one before it."""
        first, second = self._states
        return second if site is first else first


def _agree(rows: np.ndarray) -> bool:
    """Whether the first and second half of a stretch of time, shape (steps, columns), have the same means."""
    half = len(rows) // 2
    batches = [
        np.array([batch.mean(axis=0) for batch in np.array_split(part, BATCHES)])
        for part in (rows[:half], rows[half:])
    ]
    means = [batch.mean(axis=0) for batch in batches]
    error = np.sqrt(sum(batch.var(axis=0, ddof=1) / BATCHES for batch in batches))
    allowed = ERRORS * error + RELATIVE * np.abs(means[1]) + ABSOLUTE
    return bool(np.all(np.abs(means[1] - means[0]) <= allowed))


class StepFactor:
    """Y ↦ J Y for one step: the product of its stages."""

    def __init__(self, stages: list[_StageFactor]) -> None:
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


class _StageFactor:
    """Y ↦ (a + Σ_k b_k ⊗ W_k ⊗ c_kᵀ) Y, theory.md (1); entries that are symbolically 0 or 1 cost nothing."""

    def __init__(self, symbolic: Any, a: Any, b: Any, c: Any, weights: list[Any], xp: Any) -> None:
        self._symbolic, self._a, self._b, self._c = symbolic, a, b, c
        self._weights, self._xp = weights, xp

    def __call__(self, y: Any) -> Any:
        symbolic, xp = self._symbolic, self._xp
        s_out, s_in, n = self._a.shape
        y = y.astype(self._a.dtype, copy=False).reshape(s_in, n, -1)
        out = xp.zeros((s_out, *y.shape[1:]), dtype=y.dtype)
        for i in range(s_out):
            for j in range(s_in):
                if symbolic.a[i, j] != 0:
                    _array.add_scaled(out[i], self._a[i, j][:, None], y[j])
        for k, weight in enumerate(self._weights):
            read: Any = None
            for j in range(s_in):
                if symbolic.c[k, j] == 0:
                    continue
                term = y[j] if symbolic.c[k, j] == 1 else self._c[k, j][:, None] * y[j]
                read = term if read is None else read + term
            if read is None:
                continue
            mixed = weight @ read
            for i in range(s_out):
                if symbolic.b[k, i] != 0:
                    _array.add_scaled(out[i], self._b[k, i][:, None], mixed)
        return out.reshape(s_out * n, -1)

    def transposed(self, y: Any) -> Any:
        """(aᵀ + Σ_k c_k ⊗ W_kᵀ ⊗ b_kᵀ) Y."""
        symbolic = self._symbolic
        s_out, s_in, n = self._a.shape
        y = y.astype(self._a.dtype, copy=False).reshape(s_out, n, -1)
        out = self._xp.zeros((s_in, *y.shape[1:]), dtype=y.dtype)
        for j in range(s_in):
            for i in range(s_out):
                if symbolic.a[i, j] != 0:
                    _array.add_scaled(out[j], self._a[i, j][:, None], y[i])
        for k, weight in enumerate(self._weights):
            terms = [self._b[k, i][:, None] * y[i] for i in range(s_out) if symbolic.b[k, i] != 0]
            mixed = weight.T @ sum(terms[1:], start=terms[0]) if terms else None
            for j in range(s_in):
                if symbolic.c[k, j] != 0 and mixed is not None:
                    _array.add_scaled(out[j], self._c[k, j][:, None], mixed)
        return out.reshape(s_in * n, -1)

    def matrix(self) -> Any | None:
        """diag(a) + Σ_k diag(b_k) W_k diag(c_k), for one component of state; else None."""
        if self._a.shape[:2] != (1, 1):
            return None
        out: Any = None
        for k, weight in enumerate(self._weights):
            if self._symbolic.c[k, 0] == 0 or self._symbolic.b[k, 0] == 0:
                continue
            term = self._b[k, 0][:, None] * weight
            if self._symbolic.c[k, 0] != 1:
                term *= self._c[k, 0]
            out = term if out is None else self._xp.add(out, term, out=out)
        if out is None:
            return None
        if self._symbolic.a[0, 0] != 0:
            sites = self._xp.arange(len(out))
            out[sites, sites] += self._a[0, 0]
        return out
