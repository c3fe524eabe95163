"""Finite random networks: their steps, and the factors of their Jacobians, on NumPy or CuPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rmtrnn._core import arrays as _arrays
from rmtrnn._core import random as _random
from rmtrnn.ensemble import Ensemble
from rmtrnn.sampling.random_matrices import random_matrices
from rmtrnn.sampling.step_jacobian import StageFactor, StepFactor

# Streams of one trial: (seed, trial, purpose, gate), each read from the first step on.
_STATE, _INPUT, _WEIGHT, _BIAS, _INPUT_WEIGHT, _FIELD = range(6)


# Burn-in: first look after this many steps, then after twice as many, ...; MULTIPLE times those are run.
FIRST_LOOK, MULTIPLE, LONGEST = 125, 4, 16_000
# Means over successive quarters agree within so many standard errors, plus relative and absolute shares.
ERRORS, RELATIVE, ABSOLUTE, BATCHES = 3.0, 1e-3, 1e-6, 5


class Networks:
    """Draws of N units from ``ens``, theory.md (1): trials ``trials`` of ``seed``, run side by side.

    The state has shape (s, B, N) for B trials and starts with independent N(0, 1) entries. Every step sees
    fresh inputs. ``state`` is written over by the step after the next: copy what is to be kept.
    Tied: W, V, b are drawn once. Untied: anew at every step. A trial has the same numbers, bit for bit on the
    host, in whatever company it runs: it draws from its own streams, and no sum goes over trials.

    An untied W is independent of the state it meets. So as long as only the state is wanted, W r may be drawn
    directly, with the same law: |r| times a Gaussian vector of variance σ_w²/N (Gaussian W), or σ_w|r| times
    a uniform direction (Haar W). In the same way V x is σ_v |x|/√N times a standard Gaussian vector.
    """

    def __init__(self, ens: Ensemble, n: int, seed: int, trials: Sequence[int], xp: Any, dtype: str) -> None:
        self.ens, self.n, self.xp, self.dtype = ens, n, xp, dtype
        self._seed, self._trials = seed, list(trials)
        self._stages = ens.cell.numeric(xp).stages
        self._streams: dict[tuple[int, int], list[np.random.Generator]] = {}
        self._kept: dict[tuple[int, int], Any] = {}
        start = [rng.standard_normal((len(ens.cell.state), n)) for rng in self._generators(_STATE)]
        self.state = self._array(np.stack(start, axis=1))
        self._make_room()

    def run(self, steps: int) -> None:
        """Advance the states by ``steps`` steps."""
        for _ in range(steps):
            self._advance(with_factor=False)

    def settle(self, least: int = 0) -> list[tuple[int, bool]]:
        """Run each trial until its state is stationary; return its number of steps and whether it is.

        After t = 125, 250, 500, … steps the mean of h² over all sites (for every vector of the state) in the
        last quarter of the steps is compared with that in the quarter before. Once they agree within their
        errors at some t ≥ ``least``/4 the network runs on to 4t: a deviation that decays as e^(−t/τ) and is
        lost in noise of a few per cent at t is gone by then. LONGEST steps are run at most; the flag is False
        if that was not enough.
        """
        everyone, kept, streams = self._trials, self._kept, self._streams
        ends: dict[int, tuple[int, bool]] = {}
        states: dict[int, Any] = {}
        look, step = FIRST_LOOK, 0
        squares: Any = self.xp.empty((LONGEST // MULTIPLE, *self.state.shape[:2]), dtype=self.dtype)
        while self._trials:
            self.run(1)
            if step < len(squares):
                squares[step] = self.xp.mean(self.state * self.state, axis=2)
            step += 1
            if step == look:
                if MULTIPLE * look >= least:
                    ends |= self._agreeing(squares, look, ends)
                look *= 2
                if MULTIPLE * look > LONGEST:
                    ends = dict.fromkeys(self._trials, (LONGEST, False)) | ends
            ended = [trial in ends and ends[trial][0] == step for trial in self._trials]
            if any(ended):
                states |= {
                    trial: self.state[:, column].copy()
                    for column, trial in enumerate(self._trials)
                    if ended[column]
                }
                squares = self._narrow(np.flatnonzero(~np.array(ended)), squares)
        self._trials, self._kept, self._streams = everyone, kept, streams
        self.state = self.xp.stack([states[trial] for trial in everyone], axis=1)
        self._make_room()
        return [ends[trial] for trial in everyone]

    def _agreeing(
        self, squares: Any, look: int, ends: dict[int, tuple[int, bool]]
    ) -> dict[int, tuple[int, bool]]:
        """Where the trials end that are found stationary after ``look`` steps."""
        rows = _arrays.to_host(squares[look // 2 : look]).astype(float)
        return {
            trial: (MULTIPLE * look, True)
            for column, trial in enumerate(self._trials)
            if trial not in ends and _agree(rows[:, :, column])
        }

    def _narrow(self, columns: np.ndarray, squares: Any) -> Any:
        """Go on with these trials only; return their squares."""
        rest = self.xp.asarray(columns)
        self._trials = [self._trials[column] for column in columns]
        self._kept = {key: values[rest] for key, values in self._kept.items()}
        self._streams = {key: [rngs[k] for k in columns] for key, rngs in self._streams.items()}
        self.state = self.state[:, rest]
        self._make_room()
        return squares[:, :, rest]

    def _make_room(self) -> None:
        self._work = [
            _Work(stage, self.state.shape[1:], self.xp, self.dtype) for stage in self.ens.cell.stages
        ]

    def step(self) -> StepFactor:
        """Advance the states by one step; return Y ↦ J Y of that step, Y of shape (B, s N, r)."""
        return self._advance(with_factor=True)

    def _advance(self, *, with_factor: bool) -> StepFactor:
        x = self._array(np.stack([self.ens.sample_input(rng, self.n) for rng in self._generators(_INPUT)]))
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
                    self._field(gate.name, position, reads[k])
                    if weight is None
                    else self._applied(weight, reads[k])
                )
                self.xp.add(recurrent, self._drive(gate.name, position, x), out=work.e[k])
                position += 1
            if with_factor:
                site, a, b, c = numeric.advance(site, x, work.e)
                factors.append(StageFactor(symbolic, a, b, c, weights, self.xp))
            else:
                site = numeric.update(site, x, work.e, out=work.other_than(site))
        self.state = site
        return StepFactor(factors)

    def _applied(self, matrices: Any, vectors: Any) -> Any:
        return self.xp.matmul(matrices, vectors[..., None])[..., 0]

    def _weight(self, gate: str, position: int) -> Any:
        law = self.ens.gate(gate)
        return self._once(
            _WEIGHT, position, lambda: self._matrices(_WEIGHT, position, law.weights, law.sigma_w)
        )

    def _field(self, gate: str, position: int, reads: Any) -> Any:
        law = self.ens.gate(gate)
        direction = self._normals(_FIELD, position)
        length: Any = math.sqrt(self.n)
        if law.weights != "gaussian":
            length = np.linalg.norm(direction, axis=1, keepdims=True)
        return self._array(law.sigma_w * direction / length) * self._norms(reads)

    def _drive(self, gate: str, position: int, x: Any) -> Any:
        """V x + b."""
        law = self.ens.gate(gate)
        bias = self._once(
            _BIAS,
            position,
            lambda: self._array(law.mu_b + law.sigma_b * self._normals(_BIAS, position)),
        )
        if law.sigma_v == 0.0:
            return bias
        if not self.ens.tied:
            direction = self._normals(_INPUT_WEIGHT, position)
            return bias + self._array(law.sigma_v * direction / math.sqrt(self.n)) * self._norms(x)
        v = self._once(
            _INPUT_WEIGHT,
            position,
            lambda: self._matrices(_INPUT_WEIGHT, position, "gaussian", law.sigma_v),
        )
        return bias + self._applied(v, x)

    def _norms(self, vectors: Any) -> Any:
        return self.xp.sqrt(self.xp.sum(vectors * vectors, axis=-1, keepdims=True))

    def _once(self, purpose: int, position: int, draw: Callable[[], Any]) -> Any:
        """A draw for this step; for tied networks, the one draw for all steps."""
        if not self.ens.tied:
            return draw()
        if (purpose, position) not in self._kept:
            self._kept[purpose, position] = draw()
        return self._kept[purpose, position]

    def _normals(self, purpose: int, position: int) -> np.ndarray:
        """Standard normal numbers on the host, (B, n)."""
        drawn = np.empty((len(self._trials), self.n))
        for rng, row in zip(self._generators(purpose, position), drawn, strict=True):
            rng.standard_normal(out=row)
        return drawn

    def _matrices(self, purpose: int, position: int, kind: str, scale: float) -> Any:
        return random_matrices(kind, self.n, scale, self._generators(purpose, position), self.xp, self.dtype)

    def _array(self, values: Any) -> Any:
        return self.xp.asarray(values, dtype=self.dtype)

    def _generators(self, purpose: int, position: int = 0) -> list[np.random.Generator]:
        """The streams of all trials for one purpose."""
        key = (purpose, position)
        if key not in self._streams:
            self._streams[key] = [_random.stream(self._seed, trial, *key) for trial in self._trials]
        return self._streams[key]


class Network:
    """One of the `Networks`, alone: the state has shape (s, N), and Y of its steps (s N, r)."""

    def __init__(self, ens: Ensemble, n: int, seed: int, trial: int, xp: Any, dtype: str) -> None:
        self.ens, self.n, self.xp = ens, n, xp
        self._one = Networks(ens, n, seed, [trial], xp, dtype)

    @property
    def state(self) -> Any:
        """The state, (s, N); written over by the step after the next."""
        return self._one.state[:, 0]

    @state.setter
    def state(self, values: Any) -> None:
        self._one.state = values[:, None]

    def run(self, steps: int) -> None:
        """Advance the state by ``steps`` steps."""
        self._one.run(steps)

    def settle(self, least: int = 0) -> tuple[int, bool]:
        """`Networks.settle`."""
        return self._one.settle(least)[0]

    def step(self) -> StepFactor:
        """Advance the state by one step; return Y ↦ J Y of that step, Y of shape (s N, r)."""
        return self._one.step().of(0)


class _Work:
    """Arrays of one stage that every step writes into: what the weights multiply, e, and the state after."""

    def __init__(self, stage: Any, sites: tuple[int, ...], xp: Any, dtype: str) -> None:
        self.reads, self.e = (xp.empty((len(stage.gates), *sites), dtype=dtype) for _ in range(2))
        self._states = [xp.empty((len(stage.outputs), *sites), dtype=dtype) for _ in range(2)]

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
