"""Classes of units in finite networks: which units a gate reads and drives, and (1) of the units.

The units of a class are neighbours. Every component of the state has a place for each of the N units; a gate
reads the places of one class and drives those of one class, so that the others do not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rmtrnn.cells import Cell
from rmtrnn.cells.classes import gate_classes
from rmtrnn.sampling.step_jacobian import StageJacobian, StagePattern


class UnitClasses:
    """The classes of the n units of a network of a cell with shares.

    ``into`` and ``source``: slices of the units that each gate of the cell drives and reads. Raises
    ValueError where n is too small for a unit in every class.
    """

    def __init__(self, cell: Cell, n: int) -> None:
        ends = np.rint(n * np.cumsum(cell.shares)).astype(int).tolist()
        self.n, self.units = n, [slice(*pair) for pair in zip([0, *ends[:-1]], ends, strict=True)]
        if any(units.start == units.stop for units in self.units):
            raise ValueError(
                f"N = {n}: must be large enough for a unit in every class, shares = {cell.shares}"
            )
        self._gates = [gate_classes(stage, len(self.units)) for stage in cell.stages]
        flat = [gate for stage in self._gates for gate in stage]
        self.into = [self.units[gate.into] for gate in flat]
        self.source = [self.units[gate.source] for gate in flat]

    def jacobian(self, position: int, a: Any, b: Any, c: Any, weights: list[Any], xp: Any) -> StageJacobian:
        """The stage number ``position`` over all units, from a, b, c of all components and blocks of W."""
        gates, count = self._gates[position], len(self.units)
        s_out, s_in = a.shape[0] // count, a.shape[1] // count
        direct = xp.zeros((s_out, s_in, *a.shape[2:]), dtype=a.dtype)
        to = xp.zeros((len(gates), s_out, *a.shape[2:]), dtype=a.dtype)
        of = xp.zeros((len(gates), s_in, *a.shape[2:]), dtype=a.dtype)
        for one, units in enumerate(self.units):
            direct[..., units] = a[_group(one, s_out), _group(one, s_in), ..., units]
        for k, gate in enumerate(gates):
            into, source = self.units[gate.into], self.units[gate.source]
            to[k, ..., into] = b[k, _group(gate.into, s_out), ..., into]
            of[k, ..., source] = c[k, _group(gate.source, s_in), ..., source]
        placed = [
            self._placed(block, self.units[gate.into], self.units[gate.source], xp)
            for block, gate in zip(weights, gates, strict=True)
        ]
        pattern = StagePattern(_any_values(direct), _any_values(to), _any_values(of))
        return StageJacobian(pattern, direct, to, of, placed, xp)

    def _placed(self, block: Any, into: slice, source: slice, xp: Any) -> Any:
        """The N × N matrix with a block of W at its place, 0 elsewhere."""
        whole = xp.zeros((len(block), self.n, self.n), dtype=block.dtype)
        whole[:, into, source] = block
        return whole


def _group(one: int, size: int) -> slice:
    """The components of one class, of ``size`` each."""
    return slice(one * size, (one + 1) * size)


def _any_values(part: Any) -> tuple[np.ndarray, np.ndarray]:
    """No entry is known to be 0 or 1."""
    none = np.zeros(part.shape[:2], dtype=bool)
    return none, none
