"""Jacobians without a Dyson equation. b = 0: J is block diagonal, its law that of the gates at one site.

Where gates are saturated, b is nearly 0, and that law is the one of J to a bound that follows from m_1.

The population gives atoms (gates that are constant, or exactly 0) and, where its sites differ, an empirical
distribution function. That is the law to the error of the population; the density between single sites is
not, so F is read off at few levels and continued between them by monotone cubics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rmtrnn._core.arrays import to_host
from rmtrnn.dyson.inversion.error_budget import ErrorParts
from rmtrnn.dyson.pencil import Chain
from rmtrnn.dyson.sites.error import errors_by_groups, largest_error
from rmtrnn.laws.tabulated import Interval, Panel, TabulatedLaw, monotone_panels, tabulate


@dataclass(frozen=True)
class LevelSettings:
    """Levels of F between which log s is a cubic. tests/dyson/test_numbers.py moves them by three."""

    # Fewest and most levels; the number between is that of Freedman and Diaconis.
    fewest: int = 16
    most: int = 400
    # Sites between neighbouring levels. Derived: F there errs by a quarter of the step.
    least_sites: int = 16


_LEVELS = LevelSettings()


def diagonal_law(chain: Chain, groups: int) -> tuple[TabulatedLaw, ErrorParts]:
    """Build the law of the product of the gates and its errors as the law of J, `error_without_weights` last.

    ``groups`` = 1: the sites are exact, and so are all atoms.
    """
    u = _log_products(chain)
    weights = np.broadcast_to(to_host(chain.weights)[:, None] / u.shape[1], u.shape)
    values, where = np.unique(u, return_inverse=True)
    mass = np.bincount(where.ravel(), weights.ravel())
    repeated = mass > 3.0 / chain.n if groups > 1 else np.ones(mass.size, dtype=bool)
    atoms = list(zip(values[repeated], mass[repeated], strict=True))
    levels = np.quantile(u, np.linspace(0.02, 0.98, 49), method="lower")
    below = u.ravel() <= levels[:, None]
    population = largest_error(errors_by_groups(below, weights.ravel(), groups))
    pieces, between = [], 0.0
    if not repeated.all():
        pieces = [_piece(values[~repeated], mass[~repeated])]
        middle = (np.cumsum(mass) - 0.5 * mass)[~repeated]
        off = np.abs(TabulatedLaw(pieces, atoms=atoms).cdf(values[~repeated]) - middle)
        between = float(off.max() + 0.5 * mass[~repeated].max())
    without = 0.0 if has_no_weights(chain) else error_without_weights(chain, values, mass)
    parts = ErrorParts(population, between, 0.0, without)
    return TabulatedLaw(pieces, atoms=atoms, error=parts.total), parts


def has_no_weights(chain: Chain) -> bool:
    """Whether no weight matrix acts on the state."""
    return chain.n_gates == 0 or all(bool((stage.b == 0).all()) for stage in chain.stages)


def error_without_weights(chain: Chain, u: np.ndarray, mass: np.ndarray) -> float:
    """Bound the error of the distribution function of the gates alone as that of J.

    Let A be the product of the gates, with ``mass`` at increasing log singular values ``u``. The weights are
    centred and independent of the gates: E tr JJᵀ = E tr AAᵀ + E tr (J − A)(J − A)ᵀ. The singular values of J
    and A therefore match with a mean squared distance of at most δ² = m_1(J) − m_1(A) (Hoffman and Wielandt
    1953), and by Chebyshev's inequality, for every η > 0,
    |F_J(s) − F_A(s)| ≤ max_s [F_A(s + η) − F_A(s)] + δ²/η².
    """
    s, cdf = np.exp(u), np.concatenate([[0.0], np.cumsum(mass)])
    m_1 = math.exp(chain.log_mean)
    squared = max(m_1 - float(mass @ s**2), 0.0) + 8 * np.finfo(float).eps * m_1
    bounds = [1.0]
    for eta in math.sqrt(squared) * 2.0 ** np.arange(1, 14):  # every one gives a bound
        inside = cdf[np.searchsorted(s, s + eta, side="right")] - cdf[:-1]
        bounds.append(float(inside.max()) + squared / eta**2)
    return min(bounds)


def _log_products(chain: Chain) -> np.ndarray:
    """log of the singular values of the product of the gates (sites, states)."""
    product = np.moveaxis(to_host(chain.stages[0].a), 2, 0)
    log_scale = np.zeros(chain.n)
    for stage in chain.stages[1:]:
        product = np.moveaxis(to_host(stage.a), 2, 0) @ product
        size = np.abs(product).max(axis=(1, 2))
        size = np.where(size > 0, size, 1.0)
        product, log_scale = product / size[:, None, None], log_scale + np.log(size)
    with np.errstate(divide="ignore"):
        return np.log(np.linalg.svd(product, compute_uv=False)) + log_scale[:, None]


def _piece(values: np.ndarray, mass: np.ndarray) -> tuple[Interval, list[Panel]]:
    """A continuous law through the empirical distribution function at some of its quantiles.

    2 n^{1/3} levels make bias and scatter of the density about equal (Freedman and Diaconis 1981); in both
    tails they halve the mass beyond, down to a few sites. The slopes are those of Fritsch and Butland.
    """
    total = np.concatenate([[0.0], np.cumsum(mass) - 0.5 * mass, [mass.sum()]])
    count = int(np.clip(2.0 * np.cbrt(values.size), _LEVELS.fewest, _LEVELS.most))
    sites = values.size / count / _LEVELS.least_sites
    halves = 0.5 ** np.arange(1, max(1, int(math.log2(max(sites, 1.0)))) + 1) / count
    levels = np.concatenate([halves, np.linspace(0.0, 1.0, count + 1), 1.0 - halves])
    pick = np.unique(np.searchsorted(total, np.unique(levels) * total[-1]).clip(0, total.size - 1))
    pick = np.unique(np.concatenate([[0], pick, [total.size - 1]]))
    interval = Interval(float(values[0] - 1e-9), float(values[-1] + 1e-9))
    angle = interval.angle(np.concatenate([[interval.left], values, [interval.right]])[pick])
    angle[0], angle[-1] = 0.0, np.pi
    distinct = np.concatenate([[True], np.diff(angle) > 0.0])
    angle, value = angle[distinct], total[pick][distinct]
    secant = np.diff(value) / np.diff(angle)
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = np.nan_to_num(2.0 / (1.0 / secant[1:] + 1.0 / secant[:-1]))
    return interval, monotone_panels(angle, value, np.concatenate([secant[:1], inner, secant[-1:]]))


def one_orthogonal_step(chain: Chain) -> TabulatedLaw | None:
    """The law of one step with one Haar matrix O, equal at all sites; None for other chains.

    J = b O cᵀ + aᵀ from states (s, N) to (N): J Jᵀ = |a|² + |b c|² + b (a·c)(O + Oᵀ), whose eigenvalues are
    s² = |a|² + |b c|² + 2 b (a·c) cos φ, φ uniform. The density of u = log s is unbounded at both edges.
    """
    if len(chain.stages) != 1 or chain.n_gates != 1 or not chain.orthogonal[0]:
        return None
    stage = chain.stages[0]
    a, b, c = to_host(stage.a), to_host(stage.b), to_host(stage.c)
    if len(a) != 1 or not all(np.all(part == part[..., :1]) for part in (a, b, c)):
        return None
    row, column = a[0, :, 0], c[0, :, 0]
    scale = float(np.ravel(b)[0]) * math.sqrt(float(chain.sigma2[0]))
    size = float(row @ row + scale * scale * (column @ column))
    half = abs(float(2 * scale * (row @ column)))
    if half <= 4 * np.finfo(float).eps * size:
        return TabulatedLaw([], atoms=[(0.5 * math.log(size), 1.0)])

    def density(u: np.ndarray) -> np.ndarray:
        x = np.exp(2 * u)
        return 2 * x / (math.pi * np.sqrt((x - (size - half)) * (size + half - x)))

    gap = size - half > 4 * np.finfo(float).eps * size
    left = 0.5 * math.log(size - half) if gap else -math.inf
    return tabulate(density, [Interval(left, 0.5 * math.log(size + half))], tol=1e-10)
