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

    Other gates have the mean 0. The inputs drive every pre-activation to 0.7 of its largest spread, with weak
    weights also to 1/(T + 1) of it, where states add up over T steps and stay small. Biases do not vary.
    """
    carrying = carrying_gates(space.base.cell)
    names = space.base.cell.gates
    means = [i for i, one in enumerate(space.free) if one.name == "mu_b" and names[one.gate] in carrying]
    rows = []
    for gain, weaker in ((0.1, T + 1.0), (0.1, 1.0), (1.0, 1.0), (2.0, 1.0)):
        for signs in itertools.product((-1.0, 0.0, 1.0), repeat=min(len(means), 5)):
            x = np.zeros(len(space.free))
            by_place = dict(zip(means, signs, strict=False))
            for place, one in enumerate(space.free):
                if one.name == "mu_b":
                    x[place] = one.coordinate(by_place.get(place, 0.0) * np.log(T + 1.0))
                elif one.name == "sigma_w":
                    x[place] = one.coordinate(gain)
                elif one.name == "sigma_v":
                    x[place] = one.coordinate(np.sqrt(0.5) * one.high / weaker)
            rows.append(x)
    return np.unique(np.array(rows), axis=0)


def carried(
    space: Space, x: np.ndarray, before: np.ndarray | None, ratio: float, *, every: bool = True
) -> np.ndarray:
    """Starts at ratio · T from the best point x at T, as rows: itself, extrapolated in log T, slower gates.

    A gate that lets the state last longer collects more variance of the inputs, and what acts on it less
    often may do less each time: also with σ_v, or σ_v and σ_w, divided by √ratio and by the ratio. ``every``:
    also with the mean of one gate alone moved.
    """
    gates, carrying = space.base.cell.gates, carrying_gates(space.base.cell)
    means = [place for place, one in enumerate(space.free) if one.name == "mu_b"]
    found = [x] if before is None else [x, 2.0 * x - before]
    slower = x.copy()
    for place in means:
        one, shifted = space.free[place], x.copy()
        mean = float(one.value(x[place]))
        shifted[place] = one.coordinate(mean + np.sign(mean) * np.log(ratio))
        if every:
            found.append(shifted)
        if gates[one.gate] in carrying:
            slower[place] = shifted[place]
    for power, names in itertools.product((0.0, 0.5, 1.0), (("sigma_v",), ("sigma_v", "sigma_w"))):
        weaker = slower.copy()
        for place, one in enumerate(space.free):
            if one.name in names:
                weaker[place] = one.coordinate(ratio**-power * float(one.value(x[place])))
        if power > 0.0 or len(names) == 1:
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
