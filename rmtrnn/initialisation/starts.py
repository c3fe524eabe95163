"""Where a search starts: the usual networks, the best points at a smaller T, and points spread evenly.

Letters: T, the number of steps; d, free numbers; x, a point in their unit cube.
"""

from __future__ import annotations

import itertools

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn.initialisation.space import Space
from rmtrnn.initialisation.time_scales import carrying_gates
from rmtrnn.meanfield.site_process import SobolStream


def scattered(d: int, count: int) -> np.ndarray:
    """Rows x: ``count`` points of the cube by a scrambled Sobol sequence, the same in every call."""
    if count < 2:
        return np.empty((0, d))
    stream = SobolStream(d, 1 << (count - 1).bit_length(), _random.stream(0, 63))
    return stream.draw().T[:count]


def grid(space: Space, T: int) -> np.ndarray:
    """Rows x: gates that carry open, half open or shut for T steps; weights weak, and of gain 1 and 2.

    Other gates have the mean 0. The inputs drive every pre-activation to 0.7 of its largest spread; biases
    do not vary.
    """
    carrying = carrying_gates(space.base.cell)
    names = space.base.cell.gates
    means = [i for i, one in enumerate(space.free) if one.name == "mu_b" and names[one.gate] in carrying]
    rows = []
    for gain in (0.1, 1.0, 2.0):
        for signs in itertools.product((-1.0, 0.0, 1.0), repeat=min(len(means), 5)):
            x = np.zeros(len(space.free))
            by_place = dict(zip(means, signs, strict=False))
            for place, one in enumerate(space.free):
                if one.name == "mu_b":
                    x[place] = one.coordinate(by_place.get(place, 0.0) * np.log(T + 1.0))
                elif one.name == "sigma_w":
                    x[place] = one.coordinate(gain)
                elif one.name == "sigma_v":
                    x[place] = one.coordinate(np.sqrt(0.5) * one.high)
            rows.append(x)
    return np.unique(np.array(rows), axis=0)


def carried(space: Space, x: np.ndarray, before: np.ndarray | None, *, every: bool = True) -> np.ndarray:
    """Starts at 4 T from the best point x at T, as rows: itself, extrapolated in log T, with slower gates.

    A gate that lets the state last four times longer collects four times the variance of the inputs: also
    with σ_v a half and a quarter. ``every``: also with the mean of one gate alone moved.
    """
    gates, carrying = space.base.cell.gates, carrying_gates(space.base.cell)
    means = [place for place, one in enumerate(space.free) if one.name == "mu_b"]
    found = [x] if before is None else [x, 2.0 * x - before]
    slower = x.copy()
    for place in means:
        one, shifted = space.free[place], x.copy()
        mean = float(one.value(x[place]))
        shifted[place] = one.coordinate(mean + np.sign(mean) * np.log(4.0))
        if every:
            found.append(shifted)
        if gates[one.gate] in carrying:
            slower[place] = shifted[place]
    for factor in (1.0, 0.5, 0.25):
        weaker = slower.copy()
        for place, one in enumerate(space.free):
            if one.name == "sigma_v":
                weaker[place] = one.coordinate(factor * float(one.value(x[place])))
        found.append(weaker)
    return np.clip(np.array(found), 0.0, 1.0)


def unlike(candidates: np.ndarray, merit: np.ndarray, count: int, distance: float) -> np.ndarray:
    """The ``count`` best candidates (rows), any two of them further apart than ``distance``."""
    chosen: list[np.ndarray] = []
    for i in np.argsort(-merit, kind="stable"):
        if all(np.abs(candidates[i] - other).max() > distance for other in chosen):
            chosen.append(candidates[i])
        if len(chosen) == count:
            break
    return np.array(chosen)
