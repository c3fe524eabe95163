"""Error of F from a finite population of sites, by the spread of independent groups of them.

F is stationary in the self-energies, so to first order its error is that of the mean, at fixed self-energies,
of what every site adds to it: no group needs a solve of its own.
"""

from __future__ import annotations

import math

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn.meanfield.periodic_process import GROUPS

# Standard errors by which F may be off. Of Gaussian processes from rough to smooth three cover, at the worst
# of all points, 98 to 99.5 % of draws (tests/dyson/sites/test_error.py).
_SPREADS = 3.0


def group_seeds(seed: int) -> list[int]:
    """The seed of each of the `GROUPS` independent populations that ``seed`` names."""
    return [int(_random.stream(seed, 31, group).integers(2**31)) for group in range(GROUPS)]


def errors_by_groups(parts: np.ndarray, weights: np.ndarray, groups: int) -> np.ndarray:
    """Error of the means of ``parts`` (points, n) over the sites, at every point.

    The sites come in ``groups`` equal groups, one after the other; one group has exact sites: no error.
    """
    if groups < 2:
        return np.zeros(len(parts))
    own = weights.reshape(groups, -1)
    means = (parts.reshape(len(parts), groups, -1) * (own / own.sum(axis=1, keepdims=True))).sum(axis=2)
    return _SPREADS * means.std(axis=1, ddof=1) / math.sqrt(groups)


def largest_error(errors: np.ndarray) -> float:
    """The largest error over all points, as the median of the three largest: eight groups scatter."""
    return float(np.median(np.sort(errors)[-3:]))
