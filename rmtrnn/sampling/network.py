"""Finite random networks of theory.md (1): states, and Jacobians of steps, on NumPy or CuPy."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn.ensemble import Ensemble
from rmtrnn.sampling.classes import UnitClasses
from rmtrnn.sampling.random_matrices import random_matrices
from rmtrnn.sampling.step_jacobian import StageJacobian, StagePattern, StepJacobian

_LEAST = 2.0**-53  # uniform numbers are above 0, where a quantile may be infinite


class _Stream(IntEnum):
    """What a random stream of one trial is for; its name is (seed, trial, purpose, number of the gate)."""

    STATE = 0
    INPUT = 1
    WEIGHT = 2
    BIAS = 3
    INPUT_WEIGHT = 4
    RECURRENT = 5


class Networks:
    """Draws of N units from ``ens``, theory.md (1): trials ``trials`` of ``seed``, run side by side.

    The state has shape (s, B, N) for B trials and starts with independent N(0, 1) entries. Every step sees
    fresh inputs. ``state`` is overwritten by the step after the next: copy what is to be kept.
    Tied: W, V, b are drawn once. Untied: anew at every step. A trial has the same numbers, bit for bit on the
    host, whatever trials run beside it: it draws from its own streams, and no sum goes over trials.

    An untied W is independent of the state that it multiplies. Where only the state is wanted, W r is drawn
    directly, with the same law: |r| times a Gaussian vector of variance σ_w²/N (Gaussian W), or σ_w|r| times
    a uniform direction (Haar W). In the same way V x is σ_v |x|/√N times a standard Gaussian vector.
    """

    def __init__(self, ens: Ensemble, n: int, seed: int, trials: Sequence[int], xp: Any, dtype: str) -> None:
        self.ens, self.n, self.xp, self.dtype, self.trials = ens, n, xp, dtype, list(trials)
        self._seed = seed
        self._stages = ens.cell.numeric(xp).stages
        self._patterns = [StagePattern.of(stage) for stage in ens.cell.stages]
        self._classes = UnitClasses(ens.cell, n) if ens.cell.shares else None
        every = [slice(0, n)] * len(ens.cell.gates)
        self._into, self._source = (
            (every, every) if self._classes is None else (self._classes.into, self._classes.source)
        )
        self._streams: dict[tuple[_Stream, int], list[np.random.Generator]] = {}
        self._tied: dict[tuple[_Stream, int], Any] = {}
        start = [rng.standard_normal((len(ens.cell.state), n)) for rng in self._generators(_Stream.STATE)]
        self.state = self._array(np.stack(start, axis=1))
        self._buffers = self._new_buffers()

    def scale_state(self, second: Sequence[float]) -> None:
        """Multiply the states so that N(0, 1) entries get the second moments ``second`` (s,)."""
        self.state = self._array(np.sqrt(second)[:, None, None]) * self.state

    def run(self, steps: int) -> None:
        """Advance the states by ``steps`` steps."""
        for _ in range(steps):
            self._advance(with_jacobian=False)

    def step(self) -> StepJacobian:
        """Advance the states by one step; return Y ↦ J Y of that step, Y of shape (B, s N, r).

        Where a state diverges, J has entries that are not finite; `LogProduct` refuses them.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return StepJacobian(self._advance(with_jacobian=True))

    def select(self, columns: Sequence[int]) -> Networks:
        """Return some of the networks, which go on from their present states.

        They share their random streams with the others here, so of the two objects only one may advance.
        """
        chosen, rest = copy.copy(self), self.xp.asarray(columns, dtype=np.int64)
        chosen.trials = [self.trials[column] for column in columns]
        chosen._tied = {key: values[rest] for key, values in self._tied.items()}
        chosen._streams = {key: [rngs[k] for k in columns] for key, rngs in self._streams.items()}
        chosen.state = self.state[:, rest]
        chosen._buffers = chosen._new_buffers()
        return chosen

    def _new_buffers(self) -> list[_StageBuffers]:
        sites = self.state.shape[1:]
        return [_StageBuffers(stage, sites, self.xp, self.dtype) for stage in self.ens.cell.stages]

    def _advance(self, *, with_jacobian: bool) -> list[StageJacobian]:
        """Advance by one step; return the Jacobians of its stages, none of them ``with_jacobian=False``."""
        inputs = [self.ens.sample_input(rng, self.n) for rng in self._generators(_Stream.INPUT)]
        x, site, position = self._array(np.stack(inputs)), self.state, 0
        jacobians = []
        for place, (symbolic, numeric, buffers) in enumerate(
            zip(self.ens.cell.stages, self._stages, self._buffers, strict=True)
        ):
            gate_inputs = numeric.read(site, out=buffers.gate_inputs)
            weights = []
            for k, gate in enumerate(symbolic.gates):
                weight = self._weight(gate.name, position) if with_jacobian or self.ens.tied else None
                weights.append(weight)
                into, read = self._into[position], gate_inputs[k][..., self._source[position]]
                recurrent = self._recurrent(gate.name, position, weight, read)
                drive = self._drive(gate.name, position, x)[..., into]
                self.xp.add(recurrent, drive, out=buffers.e[k][..., into])
                position += 1
            if with_jacobian:
                site, a, b, c = numeric.advance(site, x, buffers.e)
                jacobians.append(self._stage_jacobian(place, a, b, c, weights))
            else:
                site = numeric.update(site, x, buffers.e, out=buffers.state_other_than(site))
        self.state = site
        return jacobians

    def _stage_jacobian(self, place: int, a: Any, b: Any, c: Any, weights: list[Any]) -> StageJacobian:
        if self._classes is not None:
            return self._classes.jacobian(place, a, b, c, weights, self.xp)
        return StageJacobian(self._patterns[place], a, b, c, weights, self.xp)

    def _weight(self, gate: str, position: int) -> Any:
        """W of one gate, (B, N, N); of a gate between classes the rows and columns of these."""
        law, into, source = self.ens.gate(gate), self._into[position], self._source[position]

        def drawn(rngs: list[np.random.Generator]) -> Any:
            rows, columns = into.stop - into.start, source.stop - source.start
            size = max(rows, columns)
            scale = law.sigma_w * math.sqrt(size / columns)
            matrices = random_matrices(law.weights, size, scale, rngs, self.xp, self.dtype)
            return matrices[:, :rows, :columns]

        return self._drawn(_Stream.WEIGHT, position, drawn)

    def _recurrent(self, gate: str, position: int, weight: Any | None, gate_input: Any) -> Any:
        """W r, (B, N); drawn from its law where ``weight`` is None."""
        if weight is not None:
            return _applied(self.xp, weight, gate_input)
        law, units = self.ens.gate(gate), self._into[position]
        direction = self._normals(self._generators(_Stream.RECURRENT, position))[:, units]
        length: Any = math.sqrt(gate_input.shape[-1])
        if law.weights != "gaussian":
            length = np.linalg.norm(direction, axis=1, keepdims=True)
        if law.singular_values is not None:  # |W r|² = σ_w² |r|² Σ s_i² v_i², v a uniform direction
            along = self._normals(self._generators(_Stream.RECURRENT, position)) ** 2
            squares = along @ law.singular_values.quantiles(self.n) ** 2 / along.sum(axis=1)
            length = length / np.sqrt(squares)[:, None]
        return self._array(law.sigma_w * direction / length) * self._norms(gate_input)

    def _drive(self, gate: str, position: int, x: Any) -> Any:
        """V x + b, (B, N)."""
        law = self.ens.gate(gate)
        bias = self._drawn(_Stream.BIAS, position, lambda rngs: self._array(self._biases(position, rngs)))
        if law.sigma_v == 0.0:
            return bias
        if not self.ens.tied:
            direction = self._normals(self._generators(_Stream.INPUT_WEIGHT, position))
            return bias + self._array(law.sigma_v * direction / math.sqrt(self.n)) * self._norms(x)
        v = self._drawn(
            _Stream.INPUT_WEIGHT, position, lambda rngs: self._matrices("gaussian", law.sigma_v, rngs)
        )
        return bias + _applied(self.xp, v, x)

    def _biases(self, position: int, rngs: list[np.random.Generator]) -> np.ndarray:
        """b of one gate, (B, N)."""
        law = self.ens.gate(self.ens.cell.gates[position])
        if law.has_normal_bias:
            return law.mu_b + law.sigma_b * self._normals(rngs)
        uniform = np.array([rng.uniform(_LEAST, 1.0, self.n) for rng in rngs])
        everywhere = np.broadcast_to(uniform, (len(self.ens.cell.gates), *uniform.shape))
        return law.mu_b + self.ens.bias_deviations(everywhere)[position]

    def _norms(self, vectors: Any) -> Any:
        return self.xp.sqrt(self.xp.sum(vectors * vectors, axis=-1, keepdims=True))

    def _drawn(
        self, purpose: _Stream, position: int, draw: Callable[[list[np.random.Generator]], Any]
    ) -> Any:
        """A draw for this step; for tied networks the one draw for all steps."""
        if not self.ens.tied:
            return draw(self._generators(purpose, position))
        if (purpose, position) not in self._tied:
            self._tied[purpose, position] = draw(self._generators(purpose, position))
        return self._tied[purpose, position]

    def _normals(self, rngs: list[np.random.Generator]) -> np.ndarray:
        """Standard normal numbers on the host, (B, N)."""
        drawn = np.empty((len(rngs), self.n))
        for rng, row in zip(rngs, drawn, strict=True):
            rng.standard_normal(out=row)
        return drawn

    def _matrices(self, kind: Any, scale: float, rngs: list[np.random.Generator]) -> Any:
        return random_matrices(kind, self.n, scale, rngs, self.xp, self.dtype)

    def _array(self, values: Any) -> Any:
        return self.xp.asarray(values, dtype=self.dtype)

    def _generators(self, purpose: _Stream, position: int = 0) -> list[np.random.Generator]:
        """The streams of all trials for one purpose."""
        key = (purpose, position)
        if key not in self._streams:
            own = self._bias_source(position) if purpose is _Stream.BIAS else position
            self._streams[key] = [
                _random.stream(self._seed, trial, int(purpose), own) for trial in self.trials
            ]
        return self._streams[key]

    def _bias_source(self, position: int) -> int:
        """The gate whose stream a gate's biases are drawn from: a copy draws what its source draws."""
        gates = self.ens.cell.gates
        return gates.index(self.ens.gate(gates[position]).bias_law.source or gates[position])


class Network:
    """One of the `Networks`, alone: the state has shape (s, N), and Y of its steps (s N, r)."""

    def __init__(self, ens: Ensemble, n: int, seed: int, trial: int, xp: Any, dtype: str) -> None:
        self.ens, self.n, self.xp = ens, n, xp
        self._one = Networks(ens, n, seed, [trial], xp, dtype)

    @classmethod
    def alone(cls, networks: Networks) -> Network:
        """Return the only one of the networks, which goes on from its present state."""
        network = cls.__new__(cls)
        network.ens, network.n, network.xp, network._one = networks.ens, networks.n, networks.xp, networks
        return network

    @property
    def state(self) -> Any:
        """The state, (s, N); overwritten by the step after the next."""
        return self._one.state[:, 0]

    @state.setter
    def state(self, values: Any) -> None:
        self._one.state = values[:, None]

    def run(self, steps: int) -> None:
        """Advance the state by ``steps`` steps."""
        self._one.run(steps)

    def step(self) -> StepJacobian:
        """Advance the state by one step; return Y ↦ J Y of that step, Y of shape (s N, r)."""
        return self._one.step().of_network(0)


class _StageBuffers:
    """Arrays of one stage that every step overwrites: gate inputs, pre-activations, the state after it."""

    def __init__(self, stage: Any, sites: tuple[int, ...], xp: Any, dtype: str) -> None:
        self.gate_inputs, self.e = (xp.zeros((len(stage.gates), *sites), dtype=dtype) for _ in range(2))
        self._states = [xp.empty((len(stage.outputs), *sites), dtype=dtype) for _ in range(2)]

    def state_other_than(self, site: Any) -> Any:
        """An array for the state after the stage that is not the state before it."""
        first, second = self._states
        return second if site is first else first


def _applied(xp: Any, matrices: Any, vectors: Any) -> Any:
    """Matrix times vector for every network, (B, N, N) and (B, N)."""
    return xp.matmul(matrices, vectors[..., None])[..., 0]
