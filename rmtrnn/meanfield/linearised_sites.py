"""Small differences of sites, carried along recorded trajectories: theory.md (1), section 7.

Along a trajectory a difference δh obeys stage by stage δout = a δin + Σ_k b_k η_k, and the weights read
c δin, with (a, b, c) of theory.md (1) at every site and step.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rmtrnn.cells import Cell
from rmtrnn.cells.numeric import compile_expressions
from rmtrnn.meanfield.periodic_process import PeriodicSites, Trajectory
from rmtrnn.meanfield.state_recursion import blocks, linear_recursion

Entries = list[tuple[int, int, np.ndarray]]  # (to, from, values (period, sites), or (period, 1) if constant)
Place = tuple[int, int, int]  # which of a, b, c, row and column
Sums = list[np.ndarray | None]  # by component; None is zero


@dataclass
class LinearStage:
    """One stage along a trajectory: (a, b, c) of theory.md (1), entries that vanish left out."""

    a: Entries
    b: Entries  # (output, gate)
    c: Entries  # (reading, input)
    outputs: int

    def thinned(self, sites: np.ndarray | slice) -> LinearStage:
        """The same at some sites."""
        a, b, c = (
            [(i, j, values if values.shape[1] == 1 else values[:, sites]) for i, j, values in entries]
            for entries in (self.a, self.b, self.c)
        )
        return LinearStage(a, b, c, self.outputs)


class Recorder:
    """The linearisations of all stages along a trajectory around the period."""

    def __init__(self, run: Trajectory) -> None:
        cell, readings, first = run.process.ens.cell, run.process.readings, 0
        self.stages: list[LinearStage] = []
        for place, stage in enumerate(cell.stages):
            where = zip(readings.stage, readings.row, strict=True)
            rows = {row: d for d, (at, row) in enumerate(where) if at == place}
            made = LinearStage([], [], [], len(stage.outputs))
            for (part, i, j), values in _values(run, place, tuple(rows)):
                target = ((i, j), (j, first + i), (rows.get(i, 0), j))[part]
                (made.a, made.b, made.c)[part].append((*target, values))
            self.stages.append(made)
            first += len(stage.gates)

    def step(self) -> Entries:
        """The product of the stages' a: what κ of one step becomes at the next."""
        product = {(i, j): values for i, j, values in self.stages[0].a}
        for stage in self.stages[1:]:
            longer: dict[tuple[int, int], np.ndarray] = {}
            for i, j, values in stage.a:
                for (k, source), before in product.items():
                    if k == j:
                        longer[i, source] = longer.get((i, source), 0.0) + values * before
            product = longer
        return [(i, j, values) for (i, j), values in product.items()]

    def thinned(self, sites: np.ndarray | slice) -> Recorder:
        """The same along the trajectories of some sites."""
        other = copy.copy(self)
        other.stages = [stage.thinned(sites) for stage in self.stages]
        return other


def _values(run: Trajectory, place: int, rows: tuple[int, ...]) -> list[tuple[Place, np.ndarray]]:
    """Entries of a, b, c of one stage that do not vanish, with their values; c of the gates ``rows``."""
    fixed, varying, evaluate = _entries(run.process.ens.cell, place, rows)
    found = [(entry, np.full((len(run.x), 1), value)) for entry, value in fixed]
    arrays = [np.empty(run.x.shape) for _ in varying]
    gates = run.process.gates_of[place]
    for here in blocks(*run.x.shape) if varying else ():
        computed = evaluate(*run.taken[place][:, here], run.x[here], *run.e[gates, here])
        for target, values in zip(arrays, computed, strict=True):
            target[here] = values
    return sorted([*found, *zip(varying, arrays, strict=True)], key=lambda pair: pair[0])


@functools.lru_cache(maxsize=64)
def _entries(
    cell: Cell, place: int, rows: tuple[int, ...]
) -> tuple[list[tuple[Place, float]], list[Place], Callable[..., list[Any]]]:
    """The constant entries of a, b, c of one stage, the places of the others, and a function for those."""
    stage = cell.stages[place]
    fixed: list[tuple[Place, float]] = []
    varying: dict[Place, Any] = {}
    for part, matrix in enumerate((stage.a, stage.b, stage.c)):
        for i, j in itertools.product(range(matrix.rows), range(matrix.cols)):
            entry: Any = matrix[i, j]
            if entry == 0 or (part == 2 and i not in rows):
                continue
            if entry.is_number:
                fixed.append(((part, i, j), float(entry)))
            else:
                varying[part, i, j] = entry
    arguments = [*stage.inputs, cell.input, *(gate.symbol for gate in stage.gates)]
    return fixed, list(varying), compile_expressions(arguments, list(varying.values()), np)


class Differences:
    """κ of one replica and its derivative with respect to log μ, carried around the period.

    κ^{t+1} = (a κ^t + Σ_k b_k η_k^t)/μ, from stage to stage as in theory.md (1).
    """

    def __init__(self, recorder: Recorder, process: PeriodicSites) -> None:
        self.step, self.process = recorder.step(), process
        self.pushed, self.read = _parts(recorder.stages)
        self.reset()

    def reset(self) -> None:
        """Start from κ = 0."""
        shape = (len(self.process.ens.cell.state), self.process.n)
        self.kappa, self.slope = np.zeros(shape), np.zeros(shape)

    def run(
        self, eta: np.ndarray, mu: float | np.ndarray, with_slope: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Readings of κ (D, period, sites), and those of its derivative; ``mu`` of all or by site."""
        process = self.process
        shape = (process.readings.count, process.period, process.n)
        reads, slopes = np.empty(shape), np.empty(shape) if with_slope else None
        for here in blocks(process.period, process.n):
            A = [(i, j, values[here] / mu) for i, j, values in self.step]
            pushed, _ = _through(self.pushed, None, eta[:, here], here)
            none = np.zeros((here.stop - here.start, 1))
            kappa = linear_recursion(self.kappa, A, [none if row is None else row / mu for row in pushed])
            self.kappa = kappa[:, -1]
            _fill(reads[:, here], _through(self.read, kappa[:, :-1], eta[:, here], here)[1])
            if slopes is None:
                continue
            slope = linear_recursion(self.slope, A, list(-kappa[:, 1:]))
            self.slope = slope[:, -1]
            _fill(slopes[:, here], _through(self.read, slope[:, :-1], None, here)[1])
        return reads, slopes

    def scale(self, factor: float | np.ndarray) -> None:
        """Multiply κ and its derivative by a number, or by one for each site."""
        self.kappa, self.slope = factor * self.kappa, factor * self.slope


def _parts(stages: Sequence[LinearStage]) -> tuple[list[LinearStage], list[LinearStage]]:
    """The stages with the entries that the outputs need, and with those that the readings need."""
    after = set(range(stages[-1].outputs)), set[int]()
    pushed: list[LinearStage] = []
    read: list[LinearStage] = []
    for stage in reversed(stages):
        for needed, found, c in zip(after, (pushed, read), ([], stage.c), strict=True):
            a, b = ([one for one in entries if one[0] in needed] for entries in (stage.a, stage.b))
            found.insert(0, replace(stage, a=a, b=b, c=c))
        after = tuple({j for _, j, _ in (*found[0].a, *found[0].c)} for found in (pushed, read))
    return pushed, read


def _through(
    stages: list[LinearStage], kappa: np.ndarray | None, eta: np.ndarray | None, here: slice
) -> tuple[Sums, dict[int, np.ndarray]]:
    """One step of κ (s, steps, sites) through all stages at the steps ``here``: outputs, and what is read.

    None stands for zeros.
    """
    known: Sums | np.ndarray | None = kappa
    reads: dict[int, np.ndarray] = {}
    for stage in stages:
        after: dict[int, np.ndarray] = {}
        for sums, entries, values in (
            (reads, stage.c, known),
            (after, stage.a, known),
            (after, stage.b, eta),
        ):
            if values is not None:
                _add(sums, entries, values, here)
        known = [after.get(i) for i in range(stage.outputs)]
    return [] if known is None else list(known), reads


def _add(sums: dict[int, np.ndarray], entries: Entries, values: Sums | np.ndarray, here: slice) -> None:
    """Add the entries times values that are not zero."""
    for i, j, factor in entries:
        value = values[j]
        if value is None:
            continue
        term = factor[here] * value
        if i in sums:
            sums[i] += term
        else:
            sums[i] = term


def _fill(target: np.ndarray, rows: dict[int, np.ndarray]) -> None:
    """Write rows where there are some, else zeros."""
    for d, row in enumerate(target):
        row[...] = rows.get(d, 0.0)
