"""Where the eigenvalues of the one-step Jacobian lie in the complex plane (theory.md (16) and its extension).

Eigenvalues fill {z : radius of K(z) ≥ 1}, K the gain matrix of one step (`rmtrnn.meanfield.one_step`). One
stage, one gate, one state: σ_w² E[b²c²/|z − a|²] ≥ 1, which is (16). The condition bounds the spectrum from
outside for Gaussian and Haar weights alike; Haar weights can also leave a hole inside, which the curve does
not show.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.arrays import check_memory
from rmtrnn._core.progress import Report, shown
from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.sites.classes import units_of_classes
from rmtrnn.dyson.sites.error import GROUPS
from rmtrnn.dyson.sites.trajectory import untied_stages
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.one_step import OneStep
from rmtrnn.meanfield.shortfall import require_stationary
from rmtrnn.meanfield.tied_field import tied_field
from rmtrnn.meanfield.tied_sites import tied_trajectories
from rmtrnn.numerics.bisection import root_between
from rmtrnn.spectra.vanilla_moments import has_free_factors, vanilla_moments

_TOLERANCES = {"xatol": 1e-13, "xrtol": 4e-16, "fatol": 1e-12}
"""Of the curve and of log gain: rounding, next to an error of 1/√sites."""


@dataclass(frozen=True)
class SearchSettings:
    """Numbers of the search for the eigenvalue curve."""

    # Largest |log gain|. The gain is infinite at an eigenvalue of a site itself, 0 where nothing is driven.
    # Derived: e^50 is far from the 1 that is looked for.
    largest_log: float = 50.0


_SEARCH = SearchSettings()


def eigenvalue_curve(
    ens: Ensemble,
    *,
    points: int = 128,
    sites: int = 2**13,
    seed: int = 0,
    progress: bool | Report | None = None,
) -> np.ndarray:
    """Boundary of the eigenvalues of the one-step Jacobian in the stationary state, theory.md (16).

    A closed curve as a complex array: from the leftmost real point along the upper half plane to the
    rightmost, and back along the lower (``2·points`` values). On every vertical line the curve takes the
    outermost point of the region; where the region is thinner than 1 % of its size, or in several pieces, it
    runs along the real axis. The expectations are taken over ``sites`` sites, a power of two (quasi-Monte
    Carlo; the curve's error is about 1/√sites where it passes close to the real axis between the gates' own
    values, far smaller elsewhere). Gaussian and Haar weights have the same outer boundary; a hole that Haar
    weights may leave is not shown. There is one step only, but with tied weights (``ens.tied``) the state at
    which it is taken follows the two-time mean field of theory.md section 4, and the curve differs from that
    of untied weights: a slow cell has the state that the same weights made.

    Raises ValueError for bad arguments, `ConvergenceError` if there is no stationary state.

    ``seed``: integer; names the sampled sites, where sites are sampled. ``progress``: None, True, or a
    callable ``report(done, total, label)``.

    >>> curve = rt.eigenvalue_curve(rt.Ensemble("vanilla", sigma_w=0.9, sigma_b=0.1))   # a circle
    >>> bool(np.ptp(abs(curve)) < 1e-9)
    True
    """
    points = _validate.cost("points", _validate.integer("points", points, low=4), 1e-3)
    if has_free_factors(ens):
        radius = math.exp(0.5 * vanilla_moments(ens, 1).log_m1)
        return radius * np.exp(1j * np.pi * (1 - np.arange(2 * points) / points))
    with shown(progress):
        return boundary(one_step(ens, sites=sites, seed=seed), points=points)


def one_step(ens: Ensemble, *, sites: int = 2**13, seed: int = 0) -> OneStep:
    """The step of the stationary network over ``sites`` sites, a power of two of at least 64.

    Tied weights: eight groups of sites, each with a mean field of its own, theory.md (18). Raises
    `ConvergenceError` if there is no stationary state.
    """
    sites = _validate.power_of_two("sites", sites, low=8 * GROUPS)
    check_memory("sites", sites, 64 * 8.0 * sites)
    if ens.tied:
        field = tied_field(ens, None, max(sites // 2, 2048), seed)
        require_stationary(ens, field)
        stages = [Stage(*stage) for stage in tied_trajectories(ens, 1, sites, seed, field=field)]
        return OneStep(units_of_classes(stages, ens.cell, seed, groups=GROUPS))
    return OneStep(untied_stages(ens, 1, sites, seed))


def spectral_radius(
    ens: Ensemble, *, sites: int = 2**13, seed: int = 0, progress: bool | Report | None = None
) -> float:
    """Largest modulus on `eigenvalue_curve`: the spectral radius of the one-step Jacobian as N → ∞.

    Gates that come arbitrarily close to 1 with tiny probability are counted only as far as ``sites`` sites
    resolve them. For the vanilla cell it is σ_w √E[φ'²] = √χ.

    ``ens``, ``sites``, ``seed``, ``progress`` and what is raised: as for `eigenvalue_curve`. Returns a
    number ≥ 0.

    >>> round(rt.spectral_radius(rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=0.9)), 6)
    0.9
    """
    curve = eigenvalue_curve(ens, points=128, sites=sites, seed=seed, progress=progress)
    return float(np.max(np.abs(curve)))


def boundary(step: OneStep, points: int = 256, resolution: float = 1e-2) -> np.ndarray:
    """Closed curve around the eigenvalues of one step, as a complex array (see `eigenvalue_curve`).

    For abscissas x from the left end to the right end of the region, the height is the largest y with
    gain(x + iy) ≥ 1. Heights below ``resolution`` (relative to the size of the region) are reported as 0:
    there the population of sites is too coarse to tell a thin sliver from the real axis.
    """
    size = _outer_radius(step)
    floor = resolution * size
    if size == 0.0:
        return np.zeros(2 * points, dtype=complex)
    left, right = (_end(step, size, floor, side) for side in (-1.0, 1.0))
    x = 0.5 * (left + right) - 0.5 * (right - left) * np.cos(np.pi * np.arange(points + 1) / points)
    height = np.zeros(points + 1)
    height[1:-1] = _height(step, x[1:-1], size, floor)
    upper = x + 1j * height
    return np.concatenate([upper, np.conj(upper[-2:0:-1])])


def _outer_radius(step: OneStep) -> float:
    """A radius beyond which the gain is below 1 and no site has an eigenvalue of its own."""
    bare = float(np.max(np.abs(step.bare)))
    radius = max(bare, 1e-6) * 1.01
    directions = np.exp(1j * np.linspace(0, np.pi, 17))
    for _ in range(400):
        if np.all(step.gain(radius * directions) < 0.9):
            return 0.0 if radius < 1e-5 and bare == 0.0 else radius
        radius *= 1.5
    return radius


def _end(step: OneStep, size: float, floor: float, side: float) -> float:
    """Leftmost (side −1) or rightmost (+1) real part of the region.

    Where the edge is clear of the sites' own eigenvalues it is the root of gain(x) = 1 on the axis; else it
    is taken at the height ``floor`` above the axis.
    """
    bare = float(np.max(side * step.bare.real))
    grid = side * np.linspace(size, -size, 401)
    above = np.nonzero(step.gain(grid + 1j * floor) >= 1)[0]
    if len(above) == 0:  # nothing but the sites' own eigenvalues
        return side * bare
    outside, inside = grid[max(above[0] - 1, 0)], grid[min(above[0] + 1, len(grid) - 1)]
    edge = float(_root(step, np.array([inside]), np.array([outside]), lambda x: x + 1j * floor)[0])
    lo, hi = max(side * edge - floor, bare + floor), side * edge + floor
    on_axis = step.gain(side * np.array([lo, hi]))
    if lo < hi and on_axis[0] >= 1 > on_axis[1]:
        edge = float(_root(step, np.array([side * lo]), np.array([side * hi]), lambda x: x + 0j)[0])
    return edge


def _height(step: OneStep, x: np.ndarray, size: float, floor: float) -> np.ndarray:
    """Largest y with gain(x + iy) ≥ 1, by a scan from above and a root; 0 where it is below ``floor``."""
    grid = np.geomspace(floor, 1.2 * size, 48)
    inside = step.gain(x[:, None] + 1j * grid) >= 1
    last = inside.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1)
    some = np.any(inside, axis=1)
    lo, hi = grid[np.maximum(last - 1, 0)], grid[np.minimum(last + 2, len(grid) - 1)]
    height = np.zeros(len(x))
    height[some] = _root(step, lo[some], hi[some], lambda y, x: x + 1j * y, x[some])
    return np.where(height > floor, height, 0.0)


def _root(
    step: OneStep,
    inside: np.ndarray,
    outside: np.ndarray,
    point: Callable[..., np.ndarray],
    *args: np.ndarray,
) -> np.ndarray:
    """Roots t of gain(point(t, *args)) = 1 between ``inside`` (gain ≥ 1) and ``outside`` (< 1).

    Chandrupatla's bracketed search on log gain. An end on the wrong side is returned as it is.
    """

    def excess(t: np.ndarray, *args: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.clip(np.log(step.gain(point(t, *args))), -_SEARCH.largest_log, _SEARCH.largest_log)

    a, b = inside.astype(float), outside.astype(float)
    found = root_between(excess, (a, b), args=args, tolerances=_TOLERANCES)
    return np.where(found.success, found.x, np.where(excess(a, *args) < 0, a, b))
