"""A number with its error."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rmtrnn._core.records import record


@record("measured")
class Measured(NamedTuple):
    """A number and its estimated absolute error (nan where there is no estimate)."""

    value: float
    error: float

    def exponential(self) -> Measured:
        """Its exponential; it may underflow to 0, which is then exact, or overflow."""
        with np.errstate(over="ignore", under="ignore"):
            s, spread = float(np.exp(self.value)), float(np.expm1(self.error))
        return Measured(s, s * spread if s > 0.0 else spread * 0.0)

    def __str__(self) -> str:
        return f"{self.value:.6g}" if math.isnan(self.error) else f"{self.value:.6g} ± {self.error:.1g}"
