"""Random boxes of parameters: `critical` finds χ = 1 in them, or says that it cannot and a scan agrees."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import sympy

import rmtrnn as rt
from rmtrnn.criticality.root_search import NoCriticalPointError
from rmtrnn.meanfield.growth import growth_rates
from validation.core import Result

BOUNDS = {"sigma_w": (0.05, 10.0), "mu_b": (-4.0, 8.0), "sigma_v": (0.0, 5.0), "sigma_b": (0.0, 3.0)}
SCAN = 8  # points of the independent scan inside the box, besides its ends
EXACT = 1e-8
CLEAR = (
    1e-6  # a scan says "ordered" or "chaotic" of χ this far from 1; of the LSTM, whose χ is sampled, below
)
CLEAR_SAMPLED = 3e-3


class Box(NamedTuple):
    """A cell, what is free and its bounds, and the other arguments of the ensemble."""

    cell: Any
    name: str
    low: float
    high: float
    others: dict[str, Any]


class Outcome(NamedTuple):
    """``side``: "found", or that of `NoCriticalPointError`; ``agrees``: χ = 1, or the scan confirms the side.

    ``miss`` = |χ − 1| of a point that was found, the largest of three ways to compute χ; else 0.
    """

    side: str
    agrees: bool
    miss: float


@functools.cache
def cells() -> tuple[Any, ...]:
    """The cells that are drawn; the minimalRNN twice as often."""
    h, e, x = (sympy.Symbol(name, real=True) for name in ("h", "e", "x"))
    update = sympy.Rational(3, 4) * h + sympy.tanh(e) / 4
    leaky = rt.Cell("leaky", state=h, input=x, gates=[rt.Gate("e", e, h)], update=[update])
    names = ("tanh", "erf", "relu", "hard_tanh", "sigmoid", "silu")
    return (*map(rt.VanillaRNN, names), "minimal", "minimal", "gru", leaky)


def random_box(rng: np.random.Generator, cell: Any = None) -> Box:
    """A box, of one of `cells` unless a cell is given."""
    if cell is None:
        cell = cells()[rng.integers(len(cells()))]
    name = str(rng.choice(["sigma_w", "sigma_w", "sigma_w", "mu_b", "sigma_v", "sigma_b"]))
    low, high = np.sort(rng.uniform(*BOUNDS[name], 2))
    others = {
        "sigma_w": rng.uniform(0.3, 6.0),
        "sigma_v": rng.uniform(0.0, 2.0),
        "mu_b": rng.uniform(-2.0, 4.0),
        "sigma_b": rng.uniform(0.0, 0.5),
    }
    del others[name]
    weights = str(rng.choice(["gaussian", "orthogonal"]))
    return Box(cell, name, float(low), float(high), others | {"R": rng.uniform(0.1, 2.0), "weights": weights})


def check(box: Box, rng: np.random.Generator) -> Outcome:
    """What `critical` says of the box, and whether it is so."""
    cell, name, low, high, others = box
    points = (low, *rng.uniform(low, high, SCAN), high)
    chi, _ = growth_rates([rt.Ensemble(cell, **{name: float(x)}, **others) for x in points], quick=True)
    known = chi[np.isfinite(chi)]
    clear = CLEAR_SAMPLED if cell == "lstm" else CLEAR
    below, above = bool(np.any(known < 1 - clear)), bool(np.any(known > 1 + clear))
    try:
        cp = rt.critical(cell, T=1, free={name: (low, high)}, **others)
    except NoCriticalPointError as error:
        known_side = {"ordered": not above, "chaotic": not below, "none": not known.size}
        agrees = known_side.get(error.side, error.chi[0] < 1 < error.chi[1])
        return Outcome(error.side, bool(agrees), 0.0)
    misses = [abs(cp.chi - 1), abs(float(growth_rates([cp.ensemble])[0][0]) - 1)]
    inside = low <= cp.ensemble.to_dict()[name] <= high
    if cell == "lstm":  # other points: as near as `critical` says
        other = abs(float(growth_rates([cp.ensemble], seed=9)[0][0]) - 1)
        return Outcome("found", inside and max(misses) < EXACT and other <= 2 * cp.chi_error, max(misses))
    if cell not in cells()[2:4]:  # two replicas of a cell with kinks are slow
        misses.append(abs(rt.mean_field(cp.ensemble).chi - 1))
    return Outcome("found", inside and max(misses) < EXACT, max(misses))


def compute(boxes: int, cell: str | None, seed: int) -> Result:
    """Outcomes of so many boxes by side, and the boxes in which `critical` is wrong."""
    rng = np.random.default_rng([7, seed])
    sides: dict[str, int] = {}
    wrong, worst = [], 0.0
    for _ in range(boxes):
        box = random_box(rng, cell)
        outcome = check(box, rng)
        sides[outcome.side] = sides.get(outcome.side, 0) + 1
        worst = max(worst, outcome.miss)
        if not outcome.agrees:
            wrong.append([repr(box), outcome.side])
    return {"boxes": boxes, "sides": sides, "wrong": wrong, "largest miss": worst}, {}
