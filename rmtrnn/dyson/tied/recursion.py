"""The chain with the diagonal parts of the self-energies as a two-point boundary problem: theory.md (20).

With sources u, v at the ports of the weight matrices the pencil (12) is

    x_l = a_l x_{l-1} + sum b (p_t alpha_t + u_t),        alpha_t = b^T y_l,         x_0 = y_0,
    y_{l-1} = a_l^T y_l + sum c (q_t beta_t + v_t),       beta_t = c^T x_{l-1},      y_L = x_L/lambda,

and y_l = k_l x_l + w_l (Riccati) solves it for many sources in one backward and one forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtrnn.dyson.tied.chain import Chunk, Frame
from rmtrnn.dyson.tied.time_basis import SelfEnergy
from rmtrnn.numerics.small_matrices import (
    Matrix,
    Vector,
    absorb,
    add,
    dot,
    inverse_one_minus,
    mul,
    plus_outer,
    product,
    quadratic,
    row_times,
    sandwich,
    scaled_identity,
    transpose,
)


@dataclass(frozen=True)
class Sources:
    """Right-hand sides: at every port, families first (alpha ports of all matrices, then beta ports).

    ``values[family]`` (T, width, 1 or n) act on the columns ``columns[family]``; ``end``, the columns of unit
    sources at x_L, or none.
    """

    values: list[np.ndarray]
    columns: list[slice]
    end: slice
    width: int

    @classmethod
    def smooth(cls, energy: SelfEnergy, s_out: int) -> Sources:
        """One column for every smooth mode of every self-energy, then one for every component of x_L."""
        r, families = energy.basis.r, len(energy.gauge)
        values = [energy.basis.smooth[:, :, None]] * families
        columns = [slice(f * r, (f + 1) * r) for f in range(families)]
        return cls(values, columns, slice(families * r, families * r + s_out), families * r + s_out)

    @classmethod
    def single(cls, energy: SelfEnergy) -> Sources:
        """One column for every port."""
        steps, families = energy.basis.steps, len(energy.gauge)
        values = [np.eye(steps)[:, :, None]] * families
        columns = [slice(f * steps, (f + 1) * steps) for f in range(families)]
        return cls(values, columns, slice(0, 0), families * steps)


@dataclass
class Backward:
    """What the backward pass leaves: k_l, and per gate b^T k and the pivot; ``log_det`` of the chain."""

    k: list[Matrix]
    half: list[list[Vector]]
    pivot: list[list[Any]]
    log_det: np.ndarray


def scaled(vector: Vector, factor: float) -> Vector:
    return [mul(factor, entry) for entry in vector]


def riccati(chunk: Chunk, frame: Frame) -> Backward:
    """k_l from right to left, one rank-one update for each gate.

    Every pivot is 1 minus the product of two numbers in the lower half plane, so that its principal logarithm
    is the continuous one.
    """
    log_det: np.ndarray = np.zeros(chunk.n, dtype=complex)
    k: Matrix = scaled_identity(chunk.s_out, frame.end)
    ks: list[Matrix] = [k] * (chunk.length + 1)
    halves: list[list[Vector]] = [[] for _ in range(chunk.length)]
    pivots: list[list[Any]] = [[] for _ in range(chunk.length)]
    for position in reversed(range(chunk.length)):
        for gate in chunk.gates[position]:
            at = gate.matrix, gate.step
            b = scaled(gate.b, frame.b[at])
            half = row_times(b, k)
            pivot = 1.0 - mul(frame.y[at], dot(half, b))
            k = plus_outer(k, half, frame.y[at] / pivot)
            log_det = log_det + np.log(pivot)
            halves[position].append(half)
            pivots[position].append(pivot)
        k = sandwich(transpose(chunk.a[position]), k)
        k = [[mul(frame.hop**2, entry) for entry in row] for row in k]
        for gate in chunk.gates[position]:
            at = gate.matrix, gate.step
            k = plus_outer(k, scaled(gate.c, frame.c[at]), frame.x[at])
        ks[position] = k
    for i in range(chunk.s_in):  # x_0 = y_0: one unit port for each component
        unit: Vector = [1.0 if j == i else 0.0 for j in range(chunk.s_in)]
        half = row_times(unit, k)
        pivot = 1.0 - half[i]
        k = plus_outer(k, half, 1.0 / pivot)
        log_det = log_det + np.log(pivot)
    return Backward(ks, halves, pivots, log_det)


def respond(chunk: Chunk, frame: Frame, back: Backward, sources: Sources) -> tuple[np.ndarray, np.ndarray]:
    """alpha and beta at all ports (2K, T, width, n), and x_L (s_out, width, n), for all sources."""
    K, shape = chunk.matrices, (sources.width, chunk.n)
    ports = np.zeros((2 * K, chunk.steps, *shape), dtype=complex)
    w: Vector = []
    for i in range(chunk.s_out):
        entry = np.zeros(shape, dtype=complex)
        if sources.end.stop > sources.end.start:
            entry[sources.end.start + i] = 1.0
        w.append(entry)
    for position in reversed(range(chunk.length)):
        for j, gate in enumerate(chunk.gates[position]):
            at = gate.matrix, gate.step
            b, half, pivot = scaled(gate.b, frame.b[at]), back.half[position][j], back.pivot[position][j]
            kept = ports[gate.matrix, gate.step]  # alpha up to what x adds on the way back
            cols, u = sources.columns[gate.matrix], sources.values[gate.matrix][gate.step]
            kept[:] = dot(b, w)
            kept[cols] += mul(dot(half, b), u)
            kept /= pivot
            field = frame.y[at] * kept
            field[cols] += u
            w = [add(entry, mul(h, field)) for entry, h in zip(w, half, strict=True)]
        w = [mul(frame.hop, entry) for entry in row_times(w, chunk.a[position])]
        for gate in chunk.gates[position]:
            c = scaled(gate.c, frame.c[gate.matrix, gate.step])
            cols, v = sources.columns[K + gate.matrix], sources.values[K + gate.matrix][gate.step]
            w = [_with_source(entry, c_i, v, cols, shape) for entry, c_i in zip(w, c, strict=True)]
    x = _initial(back.k[0], w)
    for position in range(chunk.length):
        for gate in chunk.gates[position]:
            ports[K + gate.matrix, gate.step] = dot(scaled(gate.c, frame.c[gate.matrix, gate.step]), x)
        x = [mul(frame.hop, dot(row, x)) for row in chunk.a[position]]
        for j in reversed(range(len(chunk.gates[position]))):
            gate = chunk.gates[position][j]
            at = gate.matrix, gate.step
            alpha = ports[gate.matrix, gate.step]
            alpha += mul(1.0 / back.pivot[position][j], dot(back.half[position][j], x))
            field = frame.y[at] * alpha
            field[sources.columns[gate.matrix]] += sources.values[gate.matrix][gate.step]
            b = scaled(gate.b, frame.b[at])
            x = [add(entry, mul(b_i, field)) for entry, b_i in zip(x, b, strict=True)]
    last = np.zeros((chunk.s_out, *shape), dtype=complex)
    for i, entry in enumerate(x):
        last[i] = entry
    return ports, last


def _with_source(entry: Any, c: Any, v: np.ndarray, columns: slice, shape: tuple[int, int]) -> Any:
    """entry + c v on some columns."""
    added = mul(c, v)
    if not hasattr(added, "shape"):
        return entry
    full = entry if hasattr(entry, "shape") else np.zeros(shape, dtype=complex)
    full[columns] += added
    return full


def _initial(k: Matrix, w: Vector) -> Vector:
    """x_0 from x_0 = k x_0 + w."""
    inverse = inverse_one_minus(np, k)
    return [dot(row, w) for row in inverse]


def own_responses(chunk: Chunk, frame: Frame, back: Backward) -> np.ndarray:
    """Response of every port to a source at itself (2K, T, n), by the recursion from the left."""
    K = chunk.matrices
    own = np.zeros((2 * K, chunk.steps, chunk.n), dtype=complex)
    left: Matrix = scaled_identity(chunk.s_in, 1.0)
    for position in range(chunk.length):
        g_xx = product(inverse_one_minus(np, product(left, back.k[position])), left)
        for gate in chunk.gates[position]:
            at = gate.matrix, gate.step
            c = scaled(gate.c, frame.c[at])
            own[K + gate.matrix, gate.step] = quadratic(c, g_xx)
            left, _ = absorb(left, c, frame.x[at])
        left = [[mul(frame.hop**2, entry) for entry in row] for row in sandwich(chunk.a[position], left)]
        for gate in chunk.gates[position]:
            at = gate.matrix, gate.step
            left = plus_outer(left, scaled(gate.b, frame.b[at]), frame.y[at])
        right = back.k[position + 1]
        g_yy = product(right, inverse_one_minus(np, product(left, right)))
        for gate in chunk.gates[position]:
            b = scaled(gate.b, frame.b[gate.matrix, gate.step])
            own[gate.matrix, gate.step] = quadratic(b, g_yy)
    return own
