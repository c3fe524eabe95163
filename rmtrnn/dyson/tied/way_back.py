"""The way back to the real axis from points of the law at a positive arg λ.

On the real axis few sites make a rough law, and the longer the chain the rougher: iterations fail from about
100 steps on. At arg λ = θ there is a single solution, and what single sites add is spread over θ/2 of u. The
law of long chains is wide and smooth beside that. So the points are solved there, and a Taylor series leads
back: with x = log λ, dΨ/dx = s_L m, m = E[s²/(λ - s²)],

    Ψ(x) = Ψ(x + iθ) - iθ s_L m - θ²/2 s_L m' + i θ³/6 s_L m'' ...

The second term is that of every site, so that regressions over sites go on as on the axis; m' and m'' come
from a spline through the points. The size of the last term is an error of the cdf.

Letters: u = log s; θ, arg λ.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.interpolate import Akima1DInterpolator, CubicSpline
from scipy.optimize import isotonic_regression

from rmtrnn.dyson.inversion.error_budget import ERRORS
from rmtrnn.dyson.inversion.panel_refinement import errors_of_cubics
from rmtrnn.dyson.tied.node import Node


def on_the_real_axis(nodes: list[Node]) -> tuple[list[Node], float]:
    """F on the real axis, from points of the same arg λ, and its slope; the error of F.

    F is made to rise from 0 to 1: what it falls by, as regressions over sites leave it, is an error. The
    slope is that of m, or that of F alone where cubics agree better with it: m is wrong by what the
    self-energies are wrong by, F by the square of it. Points that are not solved stay as they are.
    """
    good = [
        i for i, node in enumerate(nodes) if node.point.is_solved(ERRORS.fall) and math.isfinite(node.cdf)
    ]
    good.sort(key=lambda i: nodes[i].u)
    if len(good) < 4:
        return nodes, math.inf
    angle = nodes[good[0]].point.log_lambda.imag
    x, m = np.array([2 * nodes[i].u for i in good]), np.array([nodes[i].m for i in good])
    spline = CubicSpline(x, m)
    first, second = spline(x, 1), spline(x, 2)
    last = angle**3 / 6.0 / np.pi * np.real(second)
    cdf = np.array([nodes[i].cdf for i in good]) + 0.5 * angle**2 / np.pi * np.imag(first) - last
    rough, cdf = cdf, np.clip(isotonic_regression(cdf).x, 0.0, 1.0)
    of_m = -2.0 / np.pi * np.imag(m - 1j * angle * first - 0.5 * angle**2 * second)
    inside = (cdf > 0.0) & (cdf < 1.0)
    slopes = min(
        (np.where(inside, np.maximum(some, 0.0), 0.0) for some in (_slopes(0.5 * x, cdf), of_m)),
        key=lambda some: float(errors_of_cubics(0.5 * x, cdf, some).sum()),
    )
    found = list(nodes)
    for i, value, slope in zip(good, cdf, slopes, strict=True):
        found[i] = replace(nodes[i], cdf=float(value), density=float(slope))
    return found, float(np.abs(last).max() + np.abs(rough - cdf).max())


def _slopes(u: np.ndarray, cdf: np.ndarray) -> np.ndarray:
    """dF/du from F alone. In the lower tail F is a power of s, and log F nearly straight."""
    some, slopes = cdf > 0.0, np.zeros(u.size)
    if np.count_nonzero(some) > 1:
        log_cdf = Akima1DInterpolator(u[some], np.log(cdf[some]), method="makima")
        slopes[some] = cdf[some] * log_cdf(u[some], 1)
    return slopes
