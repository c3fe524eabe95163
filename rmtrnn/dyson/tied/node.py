"""A point of the law with tied weights: self-energies at one λ, and what sites make of them.

Letters: u = log s; θ, arg λ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rmtrnn.dyson.full_population import CORRECTION
from rmtrnn.dyson.tied.functional import image, weight_value
from rmtrnn.dyson.tied.iteration import Point, gain_of_step, gauge_unit, relative_size
from rmtrnn.dyson.tied.site_matrices import SiteMatrices


@dataclass(frozen=True)
class Node:
    """A point at log λ = 2 u + iθ: F = P(log s <= u) to first order in θ, and the density of u.

    ``site_value``: what makes up F, by site: (log det - iθ s_L s²/(λ - s²))/(π s_L); ``m``, E[s²/(λ - s²)].
    """

    u: float
    cdf: float
    density: float
    point: Point
    site_value: np.ndarray
    m: complex = 0j


def node_at(sites: SiteMatrices, point: Point) -> Node:
    """F and s²/(λ - s²) on ``sites``, at self-energies that may come from some of them.

    None where a site is singular, as far from a solution it may be.
    """
    u, angle = 0.5 * point.log_lambda.real, point.log_lambda.imag
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is given up
            log_det, m = sites.site_values(point.energy, point.log_lambda)
    except np.linalg.LinAlgError:
        none = np.zeros(sites.n, complex)
        return Node(u, math.nan, 0.0, point._replace(error=math.inf), none)
    norm = np.pi * sites.s_out
    site_value = (log_det - 1j * angle * sites.s_out * m) / norm
    value = complex(sites.weights @ site_value) + weight_value(sites, point.energy) / norm
    mean = complex(sites.weights @ m)
    return Node(u, 1.0 - value.imag, -2.0 / np.pi * mean.imag, point, site_value, mean)


def error_of_sites(sites: SiteMatrices, point: Point) -> float:
    """By how much a quasi-Newton step on ``sites`` would change F at self-energies of other sites.

    The step itself is not taken: it is dominated by directions that F hardly depends on, and its noise would
    enter the density at first order.
    """
    x = point.energy
    found = sites.overlaps(x, point.log_lambda)
    change, unit = image(sites, x, found) - x, gauge_unit(x)
    step = point.differences.step(change, unit)
    step *= min(1.0, CORRECTION.longest_step / max(relative_size(step, unit), 1e-300))
    return abs(gain_of_step(sites, x, found, step).imag)
