"""A bounded law without atoms as the base of free powers: Gauss nodes of its quantile function.

A free power takes expectations of its base at w off the support (`rmtrnn.free.boundary_curve`), where the
integrands are smooth. E[f(X)] = ∫ f(x(p)) dp over the probability p, on panels that halve towards both ends
of every interval of the support, where x(p) is a power of the distance from the end.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rmtrnn.free.base_transforms import PointMasses
from rmtrnn.free.positive_law import PositiveLaw


class QuadratureBase(PointMasses):
    """Nodes that stand for a law without atoms, the largest at 1.

    ``starts``: the number of the first node of each interval of the support; ``at_zero``: it begins at 0.
    Gaps end at nodes, where the sums over nodes have their poles.
    """

    def __init__(
        self, locations: np.ndarray, masses: np.ndarray, starts: Sequence[int], *, at_zero: bool
    ) -> None:
        super().__init__(locations, masses)
        self.atoms = ()
        places = locations.tolist()
        self.gaps = tuple((places[k - 1] if k else 0.0, places[k]) for k in starts if k or not at_zero)
        ends = [*(k - 1 for k in starts[1:]), len(places) - 1]
        self._support = tuple((places[k], places[end]) for k, end in zip(starts, ends, strict=True))

    @property
    def log_support(self) -> tuple[tuple[float, float], ...]:
        """The intervals in log x."""
        return tuple((math.log(a), math.log(b)) for a, b in self._support)


def power_of_nodes(law: Any, t: float, halvings: int, per_panel: int) -> PositiveLaw:
    """Return the free power law^{⊠t}, t > 1, of a law on [0, ∞) without atoms and with a bounded support.

    ``law``: with ``support``, ``cdf`` and ``icdf``; ``halvings`` of the panels towards an end, what lies
    beyond has one node; ``per_panel`` Gauss nodes. The error of the nodes is not in the law's own.
    """
    ends = [0.0, *(float(law.cdf(right)) for _, right in law.support[:-1]), 1.0]
    parts = [_half_panels(a, b, halvings, per_panel) for a, b in itertools.pairwise(ends)]
    p, mass = np.concatenate(parts, axis=1)
    places = law.icdf(p)
    starts = np.cumsum([0, *(part.shape[1] for part in parts[:-1])]).tolist()
    top = float(places[-1])
    base = QuadratureBase(places / top, mass, starts, at_zero=law.support[0][0] == 0.0)
    return PositiveLaw(base, float(t), {}, t * math.log(top), f"({law!r}) ** {t:g}")


def _half_panels(left: float, right: float, halvings: int, per_panel: int) -> np.ndarray:
    """Probabilities and masses (2, nodes) between two, in increasing order."""
    z, weights = np.polynomial.legendre.leggauss(per_panel)
    z, weights = 0.5 * (z + 1.0), 0.5 * weights
    cuts = 0.5 * (right - left) * 2.0 ** -np.arange(halvings, -1.0, -1.0)
    widths = np.diff(cuts)[:, None]
    distance = np.concatenate([[0.5 * cuts[0]], (cuts[:-1, None] + widths * z).ravel()])
    mass = np.concatenate([[cuts[0]], (widths * weights).ravel()])
    return np.array(
        [np.concatenate([left + distance, right - distance[::-1]]), np.concatenate([mass, mass[::-1]])]
    )
