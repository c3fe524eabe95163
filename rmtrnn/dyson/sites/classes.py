"""Sites of networks with classes of units: every site is a unit of one class, docs/theory.md (27).

The site law of a cell with ``shares`` has the components of all classes side by side, and no class sees
another but through averages. So a site may keep the components of one class, drawn with the shares of the
classes, and each weight matrix only what its class reads or is driven by:

    g = E[1_b cᵀ G c],    k = E[1_a bᵀ G b],    σ² = N E[W_ij²].

The Dyson equation (13), (15) of such sites is that of a matrix with a variance profile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn.cells import Cell
from rmtrnn.cells.classes import GateClasses, gate_classes
from rmtrnn.dyson.pencil import Stage


def units_of_classes(stages: Sequence[Stage], cell: Cell, seed: int, *, groups: int = 1) -> list[Stage]:
    """Return the stages with one class at each site; of cells without classes, as they are.

    stages : those of some steps of ``cell``, over sites in ``groups`` equal groups, one after the other
    seed : integer, names the class of each site
    """
    if not cell.shares:
        return list(stages)
    own, sites = _drawn(_passing(stages, len(cell.shares)), cell.shares, seed, groups)
    known = [gate_classes(stage, len(cell.shares)) for stage in cell.stages]
    return [
        _at_own_class(stage.at(sites), known[position % len(known)], cell.shares, own)
        for position, stage in enumerate(stages)
    ]


def _at_own_class(
    stage: Stage, gates: Sequence[GateClasses], shares: Sequence[float], own: np.ndarray
) -> Stage:
    """The stage with the components of class ``own[i]`` at site i."""
    into, source = np.array(gates).reshape(-1, 2).T[..., None, None]
    by_rows = _of_class(stage.a, own, len(shares)).swapaxes(0, 1)
    b, c = (_of_class(part.swapaxes(0, 1), own, len(shares)).swapaxes(0, 1) for part in (stage.b, stage.c))
    return replace(
        stage,
        a=_of_class(by_rows, own, len(shares)).swapaxes(0, 1),
        b=np.where(into == own, b, 0.0),
        c=np.where(source == own, c, 0.0),
        sigma2=tuple(v / shares[gate.source] for v, gate in zip(stage.sigma2, gates, strict=True)),
    )


def _of_class(values: np.ndarray, own: np.ndarray, count: int) -> np.ndarray:
    """Of the rows (first axis), in ``count`` equal groups, those of the class of each site (last axis)."""
    groups = values.reshape(count, len(values) // count, *values.shape[1:])
    return np.moveaxis(groups[own, ..., np.arange(own.size)], 0, -1)


def _passing(stages: Sequence[Stage], count: int) -> np.ndarray:
    """What the gates of a class pass on at each site, Σ bᵀb over its gates and all stages, (classes, n)."""
    groups = (stage.b.reshape(len(stage.b), count, -1, stage.b.shape[-1]) for stage in stages)
    return np.sum([np.sum(one**2, axis=(0, 2)) for one in groups], axis=0)


def _drawn(
    features: np.ndarray, shares: Sequence[float], seed: int, groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """The class of each new site, and the old one that its components are those of.

    In each group the shares are right to one site, on average exactly. The sites of a class are taken at
    equal steps in the order of its feature: a class is as evenly covered as the population.
    """
    steps, size = np.cumsum(shares)[:-1], features.shape[1] // groups
    own, sites = np.empty((2, groups, size), dtype=int)
    for group in range(groups):
        rng = _random.stream(seed, 41, group)
        classes = np.searchsorted(steps, (np.arange(size) + rng.random()) / size, side="right")
        own[group] = rng.permutation(classes)
        for one, feature in enumerate(features[:, group * size : (group + 1) * size]):
            places = np.flatnonzero(own[group] == one)
            ranks = (np.arange(places.size) + rng.random()) * (size / max(1, places.size))
            taken = np.argsort(feature, kind="stable")[ranks.astype(int)]
            sites[group, places] = group * size + rng.permutation(taken)
    return own.ravel(), sites.ravel()
