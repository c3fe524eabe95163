"""F on many more sites than (15) is evaluated on, by a cheap variable that is next to what a site adds to F.

log det(1 - Q h) with self-energies of the form (31) costs a tenth of the dense one and explains all but some
thousandths of its variance over the sites. Its mean is found on all sites that were drawn, some sixteen times
as many, at a few points, the anchors. To F at a point is added the regression of the variable there on those
at the anchors, over the sites that F was averaged over, times what the means of the latter differ by between
all drawn sites and these (two-phase sampling with a regression estimator: Cochran 1977, Sampling Techniques,
chapter 12). Whatever the self-energies of the form (31), the estimate is consistent: a bad form explains less
of the variance. The bias is that of a regression: its error, over the number of sites.

The density of the sites of the path is the rougher, the fewer they are. To it is added what s²/(λ - s²), from
the same recursion, differs by between them and all that F is averaged over.

Letters: as in `memory_form`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from rmtrnn._core.parallel import thread_map
from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.tied.iteration import Point
from rmtrnn.dyson.tied.memory_form import log_determinants
from rmtrnn.dyson.tied.site_matrices import SiteMatrices


@dataclass(frozen=True)
class MoreSettings:
    """Numbers of the second phase; moved by three both ways in tests/dyson/tied/test_more_sites.py."""

    # Steps from which the recursion is cheaper than the dense equations by far. Empirical: speed only.
    steps: int = 16
    # Points whose variables are used, at most. Empirical.
    points: int = 6


MORE = MoreSettings()


class Variables(NamedTuple):
    """log det/π, to first order in arg λ that on the real axis, and m = s²/(λ - s²), (n, points)."""

    log_det: np.ndarray
    m: np.ndarray


@dataclass(frozen=True)
class MoreSites:
    """All drawn sites by their ``stages``, in the units of the ``sites`` that F is averaged over.

    The drawn ones count all the same, the ``sites`` by their weights.

    ``path``: which of these the points were solved on.
    """

    stages: tuple[Stage, ...]
    sites: SiteMatrices
    path: np.ndarray | slice

    @classmethod
    def of(cls, drawn: list[Stage], sites: SiteMatrices, path: np.ndarray | slice) -> MoreSites | None:
        """None where the form (31) has no cheap recursion, or where no more sites were drawn."""
        one = sites.ports == sites.steps and sites.s_in == sites.s_out == 1
        simple = one and all(len(stage.sigma2) == 1 for stage in sites.stages)
        if not drawn or not simple or sites.steps < MORE.steps:
            return None
        return cls(tuple(drawn), sites, path)

    def at_sites(self, points: list[Point]) -> Variables:
        """The variables of the sites that F is averaged over."""
        return self._at(self.sites.stages, points)

    def of_all(self, points: list[Point]) -> Variables:
        """The variables of all drawn sites."""
        return self._at(self.stages, points)

    def _at(self, stages: tuple[Stage, ...], points: list[Point]) -> Variables:
        grown = self.sites.log_growth
        scaled = [
            replace(stage, a=np.exp(-0.5 * log) * stage.a, b=np.exp(-0.5 * log) * stage.b)
            for stage, log in zip(stages, grown, strict=True)
        ]

        def values(point: Point) -> tuple[np.ndarray, np.ndarray]:
            end = complex(np.exp(self.sites.log_mean - point.log_lambda))
            log_det, m = log_determinants(scaled, point.energy[:, 0], end)
            return log_det - 1j * point.log_lambda.imag * m, m

        log_det, m = zip(*thread_map(values, points), strict=True)
        return Variables(np.array(log_det).T / np.pi, np.array(m).T)
