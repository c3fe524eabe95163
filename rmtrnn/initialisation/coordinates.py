"""The coordinates of a search over T steps: fine enough for variances of 1/T².

A unit that keeps its state for T steps collects the inputs of T steps, and each of T steps bends what it
keeps by the square of the state: with weights of variance σ² by T² σ² in all. A continual update network of
T = 1000 meets the limits at σ = 0.004, and not at 0.01.

Letters: T, the number of steps; d, free numbers; x, a point in their unit cube.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rmtrnn.initialisation.space import COORDINATES, Free, Space


@dataclass(frozen=True)
class Fine:
    """A `Free` deviation whose x resolves variances down to e^−a of the largest.

    σ² = low² + (high² − low²)(e^(ax) − 1)/(e^a − 1), as for `Free`, with a ``steepness`` a of its own.
    """

    free: Free
    steepness: float

    @property
    def name(self) -> str:
        """The parameter."""
        return self.free.name

    @property
    def gate(self) -> int:
        """The place of its gate."""
        return self.free.gate

    @property
    def low(self) -> float:
        """The lower bound."""
        return self.free.low

    @property
    def high(self) -> float:
        """The upper bound."""
        return self.free.high

    def value(self, x: np.ndarray) -> np.ndarray:
        """The parameter at x; beyond [0, 1] the bound."""
        share = np.expm1(self.steepness * np.clip(x, 0.0, 1.0)) / np.expm1(self.steepness)
        return np.sqrt(self.low**2 + share * (self.high**2 - self.low**2))

    def coordinate(self, value: float) -> float:
        """x of a value; of the bound if it lies beyond."""
        share = np.clip((value**2 - self.low**2) / (self.high**2 - self.low**2), 0.0, 1.0)
        return float(np.log1p(share * np.expm1(self.steepness)) / self.steepness)


def fine(space: Space, T: int) -> Space:
    """The space in coordinates that resolve variances down to 1/T² of the largest."""
    steepness = max(COORDINATES.steepness, 2.0 * math.log(T))
    free: list[Any] = [one if one.name == "mu_b" else Fine(one, steepness) for one in space.free]
    return replace(space, free=tuple(free))
