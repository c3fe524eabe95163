"""Tied mean fields along a line of parameters, each found from its neighbour: for phase diagrams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.result import MeanField
from rmtrnn.meanfield.tied_field import TiedField, followed_field, tied_field
from rmtrnn.meanfield.tied_result import Overlaps, assembled, tied_overlaps
from rmtrnn.meanfield.tied_solver import QUICK


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
    first, last = (_solved(ensembles[place], Q0, sites, seed) for place in (0, -1))
    points = [first]
    for ens in ensembles[1:]:
        points.append(_followed(ens, points[-1], Q0, sites, seed))
    if not _agree(points[-1].field, last.field):
        points = [first, *(_solved(ens, Q0, sites, seed) for ens in ensembles[1:])]
    return [assembled(*point) for point in points]


def _solved(ens: Ensemble, Q0: float, sites: int, seed: int) -> _Point:
    start = np.full(len(ens.cell.state), Q0)
    field = tied_field(ens, tuple(start), sites, seed, QUICK)
    return _Point(ens, field, tied_overlaps(field, ens, start, None, sites, seed, QUICK))


def _followed(ens: Ensemble, near: _Point, Q0: float, sites: int, seed: int) -> _Point:
    field = followed_field(ens, near.field, sites, seed)
    if field is None:
        return _solved(ens, Q0, sites, seed)
    start = np.full(len(ens.cell.state), Q0)
    return _Point(ens, field, tied_overlaps(field, ens, start, None, sites, seed, QUICK, near.overlaps))


def _agree(one: TiedField, other: TiedField) -> bool:
    """Whether two fields are the same state, as far as their errors tell."""
    if one.status != other.status or (one.state is None) != (other.state is None):
        return False
    return bool(np.all(np.abs(one.Q.value - other.Q.value) <= one.Q.error + other.Q.error))
