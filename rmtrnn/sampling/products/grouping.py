"""How many factors are multiplied plainly before the product is split again."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rmtrnn.sampling.products import deflation
from rmtrnn.sampling.products.accuracy import rounding_size


@dataclass(frozen=True)
class GroupSettings:
    """Numbers of the plan. Empirical, moved by ×3 and ÷3 (test_product_settings.py).

    They decide how often a product is split, never how accurate it is: each group's error is estimated.

    longest : factors. No group is longer.
    largest : bytes. No group holds more in pending factors.
    margin : factor. A group is planned to stay so much below the tolerance.
    memory : share per group that an expected growth keeps when smaller ones follow.
    deflated_length : factors of the first deflated group.
    deflated_growth : growth of errors per factor that a longer deflated group must have room for.
    orthogonal : amplification, without the factor for rounding, by a random orthogonal matrix.
    """

    longest: int = 64
    largest: int = 2**28
    margin: float = 5.0
    memory: float = 0.9
    deflated_length: int = 3
    deflated_growth: float = 30.0
    orthogonal: float = 4.0


SETTINGS = GroupSettings()


def longest_group(n: int) -> int:
    """Return the largest number of pending n × n factors."""
    return min(SETTINGS.longest, max(4, SETTINGS.largest // (8 * n * n)))


class GroupPlan:
    """Length of the next group of n × n factors, from what the groups before did to rounding errors.

    ``start`` is the amplification of errors by X alone, ``growth`` the logarithm of the further amplification
    expected of each factor. A deflated group may be longer than these allow.
    """

    def __init__(self, n: int, rtol: float) -> None:
        self.rtol = rtol
        self._longest = longest_group(n)
        self._orthogonal = SETTINGS.orthogonal * rounding_size(n)
        self.start, self.growth = self._orthogonal, 0.0
        can_deflate = deflation.width(n) > 0
        self.deflated_length = SETTINGS.deflated_length if can_deflate else 1
        # Errors of the first group are smaller, as X = 1.
        self.length = self.deflated_length + 1 if can_deflate else 1

    def refused(self, count: int, amplification: float) -> None:
        """Learn from a group of ``count`` factors whose error was beyond the tolerance."""
        self.growth = self._growth(count, amplification)
        self.deflated_length = max(1, min(self.deflated_length, count - 1))

    def accepted(
        self, count: int, *, plain: float, deflated: float | None, unit: float, start: float | None
    ) -> None:
        """Learn from a group that was kept, and plan the next.

        plain, deflated : its amplification without and with deflation (None: not deflated)
        unit : unit of rounding of its products. start : amplification by the X it left, None if orthogonal.
        """
        self.growth = max(self._growth(count, plain), SETTINGS.memory * self.growth)
        before, self.start = self.start, self._orthogonal if start is None else start
        room = math.log(max(self.rtol / (SETTINGS.margin * unit * self.start), 1.0))
        length = max(1, min(int(room / self.growth), 4 * count))
        if deflated is not None:
            longer = SETTINGS.deflated_growth * unit * deflated * self.start / before
            if longer <= self.rtol:
                self.deflated_length = max(self.deflated_length, count + 1)
        self.length = min(max(length, self.deflated_length), self._longest)

    def _growth(self, count: int, amplification: float) -> float:
        """Logarithm of the amplification per factor, beyond that by X."""
        return math.log(min(max(amplification / self.start, 1.001), 1e300)) / count
