"""Where the eigenvalues of the one-step Jacobian lie in the complex plane (theory.md (16) and its extension).

One step is a chain of stages h_ℓ = (a_ℓ + Σ_k b_k W_k c_kᵀ) h_{ℓ−1}, closed by z h_0 = h_L. Take the output
y_κ = W_κ c_κᵀ h_{ℓ−1} of every weight matrix κ = (ℓ, k) as a source: at each site, with A = a_L ⋯ a_1,

    c_κᵀ h_{ℓ−1} = Σ_κ' r_κκ' y_κ',     r_κκ' = c_κᵀ [a_{ℓ−1}⋯a_1 (z − A)^{-1} a_L⋯a_{ℓ'+1} + direct] b_κ',

where "direct" = a_{ℓ−1}⋯a_{ℓ'+1} for ℓ' < ℓ. Independent weights turn a vector of mean square g_κ into one of
mean square σ_κ² g_κ, so the resolvent stays bounded exactly while the gain matrix

    K_κκ'(z) = E|r_κκ'(z)|² σ_κ'²

has spectral radius below 1. Eigenvalues fill {z : radius of K(z) ≥ 1}. One stage, one gate, one state:
σ_w² E[b²c²/|z − a|²] ≥ 1, which is (16). The condition bounds the spectrum from outside for Gaussian and Haar
weights alike; Haar weights can also leave a hole inside, which the curve does not show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import elementwise

from rmtrnn._core import validate as _validate
from rmtrnn._core.arrays import check_memory
from rmtrnn._core.progress import Report, shown
from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.sites.classes import units_of_classes
from rmtrnn.dyson.sites.error import GROUPS
from rmtrnn.dyson.sites.trajectory import untied_stages
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.shortfall import require_stationary
from rmtrnn.meanfield.tied_field import tied_field
from rmtrnn.meanfield.tied_sites import tied_trajectories
from rmtrnn.spectra.vanilla_moments import has_free_factors, vanilla_moments

_TOLERANCES = {"xatol": 1e-13, "xrtol": 4e-16, "fatol": 1e-12}
"""Of the curve and of log gain: rounding, next to an error of 1/√sites."""


@dataclass(frozen=True)
class SearchSettings:
    """Numbers of the search for the eigenvalue curve."""

    # Complex numbers held at once, 32 MB; no result depends on it.
    chunk: int = 1 << 21
    # Largest |log gain|. The gain is infinite at an eigenvalue of a site itself, 0 where nothing is driven.
    # Derived: e^50 is far from the 1 that is looked for.
    largest_log: float = 50.0


_SEARCH = SearchSettings()


class OneStep:
    """The gain matrix of one step of a network over a population of sites (``weights`` sum to 1).

    r_κκ'(z) is a rational function at each site, n(z)/det(z − A) with real coefficients n_j, so that

        E|r|² = Σ_ij Re(z^i z̄^j) E[n_i n_j / |det(z − A)|²],

    one matrix product for all z and κ, κ'.
    """

    def __init__(self, stages: Sequence[Stage], weights: np.ndarray | None = None) -> None:
        if not stages:
            raise ValueError("stages: a step needs at least one stage")
        s, n = stages[0].a.shape[1:]
        if stages[-1].a.shape[0] != s:
            raise ValueError(f"stages: a step must return a state of the dimension {s} that it took")
        self.sigma2 = np.array([v for stage in stages for v in stage.sigma2])
        before, after = [np.repeat(np.eye(s)[:, :, None], n, axis=2)], []
        for stage in stages:
            before.append(_product(stage.a, before[-1]))
        after = [before[0]]
        for stage in reversed(stages):
            after.insert(0, _product(after[0], stage.a))
        reads = [np.einsum("kpn,pqn->kqn", stage.c, before[i]) for i, stage in enumerate(stages)]
        writes = [np.einsum("qpn,kpn->kqn", after[i + 1], stage.b) for i, stage in enumerate(stages)]
        self.determinant, adjugate = _resolvent(before[-1])
        numerator = _direct(stages, n) * self.determinant[:, None, None]
        numerator[:s] += np.einsum(
            "kpn,jpqn,lqn->jkln", np.concatenate(reads), adjugate, np.concatenate(writes), optimize=True
        )
        self.numerator = numerator  # (s + 1, K, K, n)
        w = np.full(n, 1.0 / n) if weights is None else np.asarray(weights, dtype=float)
        self._powers = [(i, j) for i in range(s + 1) for j in range(i + 1)]
        self._products = np.stack(
            [(1 + (i != j)) * w * numerator[i] * numerator[j] for i, j in self._powers]
        )  # (pairs, K, K, n)
        self.bare = np.linalg.eigvals(np.moveaxis(before[-1], 2, 0)).T  # eigenvalues of A at every site

    def gain(self, z: np.ndarray) -> np.ndarray:
        """Spectral radius of K(z) for an array of z; infinite where z is an eigenvalue of A at a site."""
        z = np.asarray(z, dtype=complex)
        pairs, k, _, n = self._products.shape
        table = self._products.reshape(-1, n).T
        result = []
        for part in np.array_split(z.ravel(), 1 + z.size * n // _SEARCH.chunk):
            determinant = np.zeros((len(part), n), dtype=complex)
            for coefficient in self.determinant[::-1]:
                determinant = determinant * part[:, None] + coefficient
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                means = (1 / np.abs(determinant) ** 2 @ table).reshape(-1, pairs, k, k)
            factors = np.stack([np.real(part**i * np.conj(part) ** j) for i, j in self._powers], axis=1)
            power = np.einsum("zp,zpkl->zkl", factors, means) * self.sigma2
            finite = np.all(np.isfinite(power), axis=(1, 2))
            radius = np.full(len(part), math.inf)
            if np.any(finite):
                radius[finite] = np.max(np.abs(np.linalg.eigvals(power[finite])), axis=-1)
            result.append(radius)
        return np.concatenate(result).reshape(z.shape)


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
    found = elementwise.find_root(excess, (a, b), args=args, tolerances=_TOLERANCES)
    return np.where(found.success, found.x, np.where(excess(a, *args) < 0, a, b))


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.einsum("pqn,qrn->prn", left, right)


def _direct(stages: Sequence[Stage], n: int) -> np.ndarray:
    """c_κᵀ a_{ℓ−1}⋯a_{ℓ'+1} b_κ' for ℓ' < ℓ, as (K, K, n), zero otherwise."""
    starts = np.concatenate([[0], np.cumsum([len(stage.sigma2) for stage in stages])])
    direct = np.zeros((starts[-1], starts[-1], n))
    for source, stage in enumerate(stages):
        signal = stage.b
        for reader in range(source + 1, len(stages)):
            block = np.einsum("kpn,lpn->kln", stages[reader].c, signal)
            direct[starts[reader] : starts[reader + 1], starts[source] : starts[source + 1]] = block
            signal = np.einsum("qpn,lpn->lqn", stages[reader].a, signal)
    return direct


def _resolvent(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of det(z − a), (s + 1, n), and of adj(z − a), (s, s, s, n), lowest power of z first
    (Faddeev and LeVerrier)."""
    s, _, n = a.shape
    identity = np.repeat(np.eye(s)[:, :, None], n, axis=2)
    determinant, adjugate = np.zeros((s + 1, n)), np.zeros((s, s, s, n))
    determinant[s], adjugate[s - 1] = 1.0, identity
    for k in range(1, s + 1):
        product = _product(a, adjugate[s - k])
        determinant[s - k] = -np.einsum("ppn->n", product) / k
        if k < s:
            adjugate[s - k - 1] = product + determinant[s - k] * identity
    return determinant, adjugate
