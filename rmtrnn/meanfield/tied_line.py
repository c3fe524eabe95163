"""Tied mean fields along a line of parameters, each found from its neighbour: for phase diagrams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.result import MeanField
from rmtrnn.meanfield.tied_field import TiedField, followed_field, tied_field
from rmtrnn.meanfield.tied_result import Overlaps, assembled, tied_overlaps
from rmtrnn.meanfield.tied_solver import QUICK

# Derived: a memory of τ steps needs a period of 8 τ. There a circle of time changes C = e^{−lag/τ} by e^{−8},
# the tolerance of other solutions, and its means over the lags τ … 2τ and 2τ … 4τ differ by 0.17 C(0).
# The longest period resolves τ = 2000 steps in about a second.
GRID = replace(QUICK, last_period=16384, least_sites=32, decay=0.17)


class _Point(NamedTuple):
    ens: Ensemble
    field: TiedField
    overlaps: Overlaps


def tied_line(ensembles: Sequence[Ensemble], Q0: float, sites: int, seed: int = 0) -> list[MeanField]:
    """Solve (18)–(19) for neighbouring ensembles of one cell: the states reached from E[h²] = ``Q0``.

    The first and the last are solved from that start. Those between are followed from the first; if that
    leads to the last, within the errors, all are believed, else each is solved from the start. A state that
    is reached from the start only somewhere between, where the followed one exists too, is missed.
    """
    first = _solved(ensembles[0], Q0, sites, seed)
    points = [first]
    for ens in ensembles[1:]:
        points.append(_followed(ens, points[-1], Q0, sites, seed))
    if len(points) > 1 and not _agree(points[-1].field, _field(ensembles[-1], Q0, sites, seed)):
        points = [first, *(_solved(ens, Q0, sites, seed) for ens in ensembles[1:])]
    return [assembled(*point) for point in points]


def _solved(ens: Ensemble, Q0: float, sites: int, seed: int) -> _Point:
    field = _field(ens, Q0, sites, seed)
    return _Point(ens, field, tied_overlaps(field, ens, _start(ens, Q0), None, sites, seed, GRID))


def _field(ens: Ensemble, Q0: float, sites: int, seed: int) -> TiedField:
    return tied_field(ens, tuple(_start(ens, Q0)), sites, seed, GRID)


def _start(ens: Ensemble, Q0: float) -> np.ndarray:
    return np.full(len(ens.cell.state), Q0)


def _followed(ens: Ensemble, near: _Point, Q0: float, sites: int, seed: int) -> _Point:
    field = followed_field(ens, near.field, sites, seed)
    if field is None:
        return _solved(ens, Q0, sites, seed)
    overlaps = tied_overlaps(field, ens, _start(ens, Q0), None, sites, seed, GRID, near.overlaps)
    return _Point(ens, field, overlaps)


def _agree(one: TiedField, other: TiedField) -> bool:
    """Whether two fields are the same state, as far as their errors tell."""
    if one.status != other.status or (one.state is None) != (other.state is None):
        return False
    return bool(np.all(np.abs(one.Q.value - other.Q.value) <= one.Q.error + other.Q.error))
