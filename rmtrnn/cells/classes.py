"""Classes of units: which group of state components, and which gates, belong to which class.

The components of every stage of a cell with ``shares`` are equal groups, one for each class. A unit belongs
to one class and has the components of that group alone, so that (1) has no entry between two groups but
through a weight matrix, which reads one class and drives one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from rmtrnn._core import validate as _validate


class GateClasses(NamedTuple):
    """The class that a gate drives and the class that it reads, counted from 0."""

    into: int
    source: int


def checked_shares(shares: Any, stages: Sequence[Any]) -> tuple[float, ...]:
    """Return the shares, normalised to sum 1; ValueError where the equations mix classes."""
    found = [_validate.real("shares", share, low=0.0, low_open=True) for share in shares]
    if not found:
        raise ValueError("shares = []: must hold one number for each class of units")
    total = math.fsum(found)
    if abs(total - 1.0) > 1e-9:
        raise ValueError(f"shares = {found!r}: must sum to 1, but the sum is {total!r}")
    for stage in stages:
        for name, symbols in (("inputs", stage.inputs), ("outputs", stage.outputs)):
            if len(symbols) % len(found):
                raise ValueError(
                    f"shares: {len(found)} classes, but the {name} {symbols} of a stage are not as many "
                    "equal groups"
                )
        _require_no_mixing(stage, len(found))
        gate_classes(stage, len(found))
    return tuple(found)


def require_one_class(cell: Any, remedy: str) -> None:
    """Refuse a cell with classes of units where all units are taken as alike."""
    if cell.shares:
        raise ValueError(
            f"cell {cell.name!r}: has classes of units, shares = {cell.shares}, which this function does not "
            f"know; use {remedy}"
        )


def gate_classes(stage: Any, count: int) -> list[GateClasses]:
    """Return `GateClasses` of every gate of a symbolic stage with ``count`` classes.

    A gate that reads nothing, or drives nothing, has one class for both. ValueError where a gate reads or
    drives several.
    """
    found = []
    for k, gate in enumerate(stage.gates):
        into = _class_of(f"gate {gate.name!r} drives", stage.b[k, :], count)
        source = _class_of(f"gate {gate.name!r} reads", stage.c[k, :], count)
        own = into if into is not None else source or 0
        found.append(GateClasses(own, own if source is None else source))
    return found


def _class_of(what: str, row: Any, count: int) -> int | None:
    """The class whose entries of a row of a or b are not 0; None if there is no such entry."""
    width = len(row) // count
    classes = {i // width for i, entry in enumerate(row) if entry != 0}
    if len(classes) > 1:
        raise ValueError(f"shares: {what} {len(classes)} classes of units, must be one")
    return classes.pop() if classes else None


def _require_no_mixing(stage: Any, count: int) -> None:
    rows, columns = (size // count for size in stage.a.shape)
    for i, j in ((i, j) for i in range(stage.a.shape[0]) for j in range(stage.a.shape[1])):
        if stage.a[i, j] != 0 and i // rows != j // columns:
            raise ValueError(
                f"shares: the update of {stage.outputs[i]} contains {stage.inputs[j]}, of another class; "
                "units of different classes meet only through weights"
            )
