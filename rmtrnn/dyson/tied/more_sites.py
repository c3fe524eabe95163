"""F on many more sites than (15) is evaluated on, by a cheap variable that is next to what a site adds to F.

log det(1 - Q h) with self-energies of the form (31) costs a tenth of the dense one and explains all but some
thousandths of its variance over the sites. Its mean is found on all sites that were drawn, some sixteen times
as many. To F at a point is added the regression of what the sites of the path add to F there, on these
variables at a few points, times what their means differ by between all drawn sites and those that F was
averaged over (two-phase sampling with a regression estimator: Cochran 1977, Sampling Techniques, chapter 12).
Whatever the self-energies of the form (31), the estimate is consistent: a bad form explains less of the
variance. The bias is that of a regression: its error, over the number of sites of the path.

Letters: as in `memory_form`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class MoreSites:
    """All drawn sites by their ``stages``, in the units of the ``sites`` that F is averaged over.

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

    def variables(self, points: list[Point]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """log det/π at the points, (n, points): sites of the path, all that F uses, all drawn."""
        sites, many = (self._at(stages, points) for stages in (self.sites.stages, self.stages))
        return sites[self.path], sites, many

    def _at(self, stages: tuple[Stage, ...], points: list[Point]) -> np.ndarray:
        grown = self.sites.log_growth
        scaled = [
            replace(stage, a=np.exp(-0.5 * log) * stage.a, b=np.exp(-0.5 * log) * stage.b)
            for stage, log in zip(stages, grown, strict=True)
        ]

        def values(point: Point) -> np.ndarray:
            end = complex(np.exp(self.sites.log_mean - point.log_lambda))
            return log_determinants(scaled, point.energy[:, 0], end)

        return np.array(thread_map(values, points)).T / np.pi
