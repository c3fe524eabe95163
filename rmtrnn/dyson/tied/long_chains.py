"""The law with tied weights of many steps, from those of fewer steps.

log s grows linearly with the number of steps: (log s)/T tends to a Lyapunov exponent. The upper end of the
law takes longest. Of a product of T free factors s² lies, in the complex plane of z, where

    log s² = log((1 + z)/z) - T log S(z)

(Voiculescu 1987), S the S-transform of a factor. At the upper end z is near 0, and S near S(0) e^{-ℓ z}. That
is the upper end of ℓT Gaussian matrices, each of which has S(z) = 1/(1 + z). Their quantile v_p is known for
real T, and what is left is smooth in 1/T at all levels p of the cdf:

    u_p(T) = v_p(ℓT) + T λ(p) + c(p) + d(p)/T + ...                                               (33)

Three lengths, each twice the one before, determine three terms (Richardson 1911). ℓ is where a fourth one
changes least, and 0 where single sites, not products, make the upper end.

Letters: T, steps; p, a level of the cdf; u = log s; ℓ, λ, c, d as above; S, an S-transform; φ, of the
Fuss-Catalan law.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from rmtrnn._core.status import Status
from rmtrnn.dyson.inversion.assembly import assemble
from rmtrnn.dyson.inversion.solution import Solution
from rmtrnn.dyson.self_energy import SelfEnergy
from rmtrnn.ensemble import Ensemble
from rmtrnn.laws.protocol import LogForm
from rmtrnn.laws.tabulated import TabulatedLaw
from rmtrnn.numerics.bisection import root_between

# Vectors that the weights read in all steps of the longest chain that is solved as it is. With more, fewer
# sites can be afforded: F is known to 2e-3 with 32, to 4e-3 with 60.
_LONGEST = 32
# Lengths of chains: the longest over these numbers. The last one only says what ℓ is.
_RATIOS = (1, 2, 4, 8)
_TERMS = 3
# Times the longest: up to here all steps are solved where (33) does not converge. No result depends on it but
# those: GRUs of 50 steps take some minutes.
_AFFORDABLE = 4
# Times the last term of (33): its error. Empirical, where laws are known at all T: vanilla cells have errors
# of 0.7 to 1.9 times that, leaky and minimal cells with untied weights, T = 64 and 100, of 2.0 to 3.2.
_TRUST = 3.0
# Levels, equally far apart in log(p/(1 - p)), and the outermost one. Moved by three in
# tests/dyson/tied/test_long_law.py.
_LEVELS = 201
_OUTERMOST = 1e-3
# Where ℓ is looked for, beside 0, and at how many values in between. Networks tried: 0, and 0.3 to 3.
_FACTORS = (1e-3, 30.0)
_TRIED = 31


def ports_and_reads(ens: Ensemble) -> tuple[int, int]:
    """How many gates have recurrent weights in a step, and how many vectors these read."""
    gates = [[gate for gate in stage.gates if ens.is_recurrent(gate)] for stage in ens.cell.stages]
    return sum(map(len, gates)), sum(len({gate.reads for gate in some}) for some in gates)


def longest_solved(ens: Ensemble) -> int:
    """Steps of the longest chain that is solved as it is, a multiple of eight; 0 if no weights are read."""
    _, reads = ports_and_reads(ens)
    return max(_RATIOS[-1], _RATIOS[-1] * (_LONGEST // (_RATIOS[-1] * reads))) if reads else 0


def law_of_length(solved: Callable[[int], TabulatedLaw], T: int, longest: int) -> TabulatedLaw:
    """The law of T steps: ``solved`` as it is up to ``longest`` steps, beyond by (33).

    Where a law does not converge, by (33) from chains of half the length, and so on; if that does not
    either, and T is no more than `_AFFORDABLE` times ``longest``, all steps are solved. Of laws that have not
    converged the one of the smallest error. A mass at s = 0 grows by another rule than (33): solved as it is.
    """
    solved, affordable = functools.cache(solved), _AFFORDABLE * longest
    found = [] if longest < T else [solved(T)]
    while longest >= _RATIOS[-1] and not any(law.status is Status.CONVERGED for law in found):
        if longest < T:
            law = _long_law(solved, T, longest)
            if law is None:
                return solved(T)
            found.append(law)
        longest //= 2
    if affordable >= T and not any(law.status is Status.CONVERGED for law in found):
        found.append(solved(T))
    return min(found, key=lambda law: (law.status is not Status.CONVERGED, law.error))


def _long_law(solved: Callable[[int], TabulatedLaw], T: int, longest: int) -> TabulatedLaw | None:
    """The law of T steps by (33); None if a shorter one has a mass at s = 0. One that is not found is
    returned."""
    lengths = [longest // ratio for ratio in _RATIOS]
    laws: list[TabulatedLaw] = []
    for length in lengths:
        law = solved(length)
        if law.atoms:
            return None
        if not math.isfinite(law.error):
            return law
        laws.append(law)
    some = laws[:_TERMS]
    found = extrapolated(laws, [law.error for law in some], lengths, T)
    return found.restated(
        status=max((found.status, *(law.status for law in some)), key=int),
        cause="; ".join(sorted({law.cause for law in some if law.cause})),
    )


def extrapolated(
    laws: Sequence[LogForm], errors: Sequence[float], lengths: Sequence[int], T: int
) -> TabulatedLaw:
    """The law of T steps by (33) from four ``laws`` of some ``lengths``, the longest first.

    ``error`` holds the last term and, as a root of a sum of squares, what the ``errors`` of the cdf of the
    first three make of F: each has sites of its own. At no level it is more than p or 1 - p.
    The law counts as converged by what the scatter of the laws does not explain of the last term.
    """
    levels = expit(np.linspace(-1.0, 1.0, _LEVELS) * math.log(1.0 / _OUTERMOST - 1.0))
    quantiles = np.array([law.icdf(levels) for law in laws])
    with np.errstate(divide="ignore"):
        slopes = 1.0 / np.array([law.pdf(u) for law, u in zip(laws, quantiles, strict=True)])

    @functools.cache  # the third and the fourth term are of the same products
    def product(factors: float) -> _Quantiles:
        return product_quantiles(factors, levels)

    def at(factor: float, count: int) -> _Quantiles:
        """(33) with ℓ = ``factor`` from the first laws."""
        weights = series_weights(lengths[:count], T)
        products = [product(factor * length) for length in (*lengths[:count], T)]
        u, slope = (
            values[-1] + weights @ (known[:count] - np.array(values[:-1]))
            for values, known in zip(zip(*products, strict=True), (quantiles, slopes), strict=True)
        )
        return _Quantiles(u, slope)

    def change(factor: float) -> float:
        """What a fourth term makes of F, the mean square over the levels."""
        more, three = (at(factor, count) for count in (_TERMS + 1, _TERMS))
        return float(np.mean(((more.u - three.u) / slopes[0]) ** 2))

    factor, weights = _least(change), series_weights(lengths[:_TERMS], T)
    u, slope = at(factor, _TERMS)
    rising = np.isfinite(slope) & (slope > 0.0) & (np.diff(u, prepend=-np.inf) > 0.0)
    density = np.where(rising, 1.0 / np.where(rising, slope, 1.0), 0.0)
    beyond = np.minimum(levels, 1.0 - levels)
    last_term = np.minimum(_TRUST * np.abs(u - at(factor, _TERMS - 1).u) * density, beyond)
    off = slopes[:_TERMS] * np.minimum(np.asarray(errors)[:, None], beyond)
    scatter = np.minimum(np.sqrt(weights**2 @ off**2) * density, beyond)
    unexplained = np.maximum(last_term - scatter, 0.0)
    none = np.zeros((_LEVELS, 1), dtype=complex)
    solution = Solution(
        log_lambda=2.0 * u,
        sigma=SelfEnergy(none, none),
        survival=1.0 - levels,
        density=density,
        residual=np.zeros(_LEVELS),
        error=unexplained,
        status=np.where(rising, int(Status.CONVERGED), int(Status.MAX_ITERATIONS)),
        site_phase=np.zeros((_LEVELS, 1)),
    )
    law, _ = assemble(np.ones(1), solution, 1, one=(_OUTERMOST, _OUTERMOST))
    total = np.minimum(last_term + scatter, beyond)
    return law.restated(more_error=float(total.max() - unexplained.max()))


def _least(change: Callable[[float], float]) -> float:
    """The ℓ of the least ``change``, which may have several minima: the best of some, and between its
    neighbours."""
    tried = np.array([0.0, *np.geomspace(*_FACTORS, _TRIED)])
    best = int(np.argmin([change(factor) for factor in tried]))
    if best == 0:
        return 0.0
    between = tried[max(best - 1, 1)], tried[min(best + 1, _TRIED)]
    found: Any = minimize_scalar(change, bounds=between, method="bounded")
    return float(found.x)


class _Quantiles(NamedTuple):
    """u = log s at some levels, and du/dp."""

    u: np.ndarray
    slope: np.ndarray


def series_weights(lengths: Sequence[int], T: int) -> np.ndarray:
    """Weights of the values at ``lengths`` in that at T of a sum of T, 1, 1/T, ..., one term for each."""
    powers = 1.0 - np.arange(len(lengths))
    terms = np.asarray(lengths, dtype=float)[:, None] ** powers
    return np.linalg.solve(terms.T, float(T) ** powers)


def product_quantiles(T: float, levels: np.ndarray) -> _Quantiles:
    """Quantiles of log s of a product of T Gaussian matrices, for real T, and du/dp; 0 at T = 0.

    With w = e^{iφ} sin((T + 1)φ)/sin(Tφ), 0 < φ < π/(T + 1): s² = w^{T+1}/(w - 1), and the share of larger s
    is (T + 1)φ/π - T Im w/π (Fuss-Catalan law; Haagerup and Möller 2013).
    """

    if T == 0.0:
        return _Quantiles(np.zeros_like(levels), np.zeros_like(levels))

    def larger(phi: np.ndarray, level: np.ndarray) -> np.ndarray:
        height = np.sin((T + 1) * phi) * np.sin(phi) / np.sin(T * phi)
        return ((T + 1) * phi - T * height) / math.pi - 1.0 + level

    ends = (np.full_like(levels, tiny := 1e-12 / (T + 1)), np.full_like(levels, math.pi / (T + 1) - tiny))
    phi = root_between(larger, ends, args=(levels,)).x
    short, long, own = np.sin(T * phi), np.sin((T + 1) * phi), np.sin(phi)
    u = 0.5 * ((T + 1) * np.log(long) - np.log(own) - T * np.log(short))
    return _Quantiles(u, math.pi * short / (2.0 * long * own))
