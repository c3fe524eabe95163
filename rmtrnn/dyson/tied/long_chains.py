"""The law with tied weights of many steps, by its S-transform or by those of fewer steps.

The S-transform of a product of free factors is the product of theirs (Voiculescu 1987). The steps of a
network share their weights and the states of their sites, but those far apart share little. So each step adds
the same to log S, but for what the first and the last ones lack:

    -log S_T(z) = T a(z) + b(z) + d(z)/T + ...                                                     (31)

Of free factors b = d = 0. Of gated ones with untied weights d is 0 to all digits that are known; of tied ones
it stands for what is not forgotten within the chain.

-log S_T(p - 1) = log t - log(p/(1 - p)), where p = E t/(t + s²) is the cdf of log s² + ξ at log t
(`negative_axis`). ξ is short beside the law of many steps. It is taken out again: the quantiles are those
whose sum with ξ has this S_T, found by repeated correction (Van Cittert 1931).

Letters: T, steps; S, a, b, p, t, ξ as above; l = log(p/(1 - p)); x, quantiles of log s²; n and φ of the
Fuss-Catalan law.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import expit, log_expit, logit

from rmtrnn._core.status import Status
from rmtrnn.dyson.inversion.assembly import assemble, no_law
from rmtrnn.dyson.inversion.error_budget import ERRORS
from rmtrnn.dyson.inversion.solution import Solution
from rmtrnn.dyson.self_energy import SelfEnergy
from rmtrnn.ensemble import Ensemble
from rmtrnn.laws.moments import Moments
from rmtrnn.laws.tabulated import TabulatedLaw
from rmtrnn.numerics.bisection import root_between

# Vectors that the weights read in all steps of the longest chain that is solved with all its steps.
_LONGEST = 32
# Steps from which on ξ is short beside the law. Empirical: shorter ones are better known from λ > 0.
_WIDE = 16
# Lengths of the chains of (31): the longest over these numbers.
RATIOS = (1, 2, 4, 8)
# Terms of (31): T, 1 and 1/T. The third is a third of the change from the last pair of lengths but one to the
# last.
_TERMS, _THIRD_TERM = 3, 1.0 / 3.0
# Where a law does not converge: up to so many times the longest chain all steps are solved; beyond, it is
# doubled so often. Either takes some minutes. No result depends on them but those.
_AFFORDABLE, _DOUBLED = 2, 2
# Levels p, equally far apart in l, and the outermost one of the law, and of quantiles that are smoothed.
# Moved by three in tests/dyson/tied/test_long_law.py, as are the numbers below.
_LEVELS, _OUTERMOST, _BEYOND = 721, 1e-3, 1e-4
LEAST = 0.5 * _OUTERMOST  # of p that the short chains have to reach
_CORRECTIONS = 16
# Of these levels every one so far makes up the law; slope of log s² in l from which on it rises.
_EVERY, _FLAT = 4, 1e-6
# Mass at the upper end of which S says how many Gaussian matrices have it.
_END = 0.01


def ports_and_reads(ens: Ensemble) -> tuple[int, int]:
    """How many gates have recurrent weights in a step, and how many vectors these read."""
    gates = [[gate for gate in stage.gates if ens.is_recurrent(gate)] for stage in ens.cell.stages]
    return sum(map(len, gates)), sum(len({gate.reads for gate in some}) for some in gates)


def longest_solved(ens: Ensemble) -> int:
    """Steps of the longest chain that is solved as it is, a multiple of eight; 0 if no weights are read."""
    _, reads = ports_and_reads(ens)
    return max(RATIOS[-1], RATIOS[-1] * (_LONGEST // (RATIOS[-1] * reads))) if reads else 0


class Chains(NamedTuple):
    """log t - l at `logits` of chains of some ``lengths``, by groups of sites, (groups, levels) each.

    ``changes``: of their means, (levels,), where the lowest points are not used, whose tail is carried on;
    ``error``: of F of the longest one, from the self-energies of few sites; ``moments``: those of the longest
    one; ``has_mass``: the law has a mass at s = 0.
    """

    lengths: Sequence[int]
    excesses: Sequence[np.ndarray]
    changes: Sequence[np.ndarray]
    error: float = 0.0
    moments: Moments | None = None
    has_mass: bool = False


def law_of_length(
    solved: Callable[[int], TabulatedLaw],
    chains_of: Callable[[Sequence[int]], Chains | None],
    T: int,
    longest: int,
) -> TabulatedLaw:
    """The law of T steps: in the first of the `ways_to` it that is good enough, else that of the least error.

    One that converges is, and at λ < 0 has an error of less than 1 %. ``solved``: at λ > 0. A mass at s = 0
    grows by another rule than (31), and is solved there.
    """
    found: list[TabulatedLaw] = []
    for lengths in ways_to(T, longest):
        chains = chains_of(lengths) if lengths else None
        if not lengths or (chains is not None and chains.has_mass):
            found.append(solved(T))
        elif chains is not None:
            found.append(law_of_chains(chains, T))
        else:
            continue
        if found[-1].status is Status.CONVERGED and (lengths != (T,) or found[-1].error < ERRORS.lost):
            break
    return min(found or [no_law()[0]], key=lambda law: (law.status is not Status.CONVERGED, law.error))


def ways_to(T: int, longest: int) -> list[tuple[int, ...]]:
    """Lengths of the chains that the law of T steps is made of, from the best way on; none: solved at λ > 0.

    From `_WIDE` steps on all T at λ < 0, beyond ``longest`` (31); then all at λ > 0, as far as that can be
    afforded. Where it does not converge, (31) from half of ``longest``, beyond it from chains that are
    doubled.
    """
    whole: list[tuple[int, ...]] = [(T,), ()] if T >= _WIDE else [()]
    if longest >= T:
        return whole + _series(T, [longest // 2])
    if _AFFORDABLE * longest >= T:
        return _series(T, [longest]) + whole
    return _series(T, [longest << doubled for doubled in range(_DOUBLED + 1)])


def _series(T: int, longest: Sequence[int]) -> list[tuple[int, ...]]:
    """Lengths for (31), all less than T and none less than a step."""
    return [tuple(length // ratio for ratio in RATIOS) for length in longest if RATIOS[-1] <= length < T]


def logits() -> np.ndarray:
    """Values of l at which chains are compared, rising."""
    return np.linspace(-1.0, 1.0, _LEVELS) * logit(1.0 - _BEYOND)


def law_of_chains(chains: Chains, T: int) -> TabulatedLaw:
    """The law of T steps by (31) from ``chains`` of four lengths, or from one of all T steps.

    Each two of four lengths, one twice as long as the other, give a law without d. From pair to pair the
    change of F falls by some ratio, which falls as well where chains forget. So the last pair is off by
    something between 0 and what a geometric series of this ratio has left; d takes it to be a third of the
    last change. ``error`` holds the rest, the scatter of the groups, what few sites make of the
    self-energies, and by how much F depends on the start of the corrections and on the lowest points.
    """
    p = expit(logits())
    weights = series_weights(chains.lengths[:_TERMS], T)
    by_group = np.tensordot(weights, chains.excesses[:_TERMS], 1)
    excess = rising(by_group.mean(axis=0))
    x = without_noise(excess)
    kept = np.flatnonzero(np.abs(logits()) <= logit(1.0 - _OUTERMOST))[::_EVERY]

    def moved(change: np.ndarray) -> np.ndarray:
        """F where a ``change`` is added to the quantiles, at the quantiles."""
        return np.interp(x, np.maximum.accumulate(x + change), p)[kept]

    def size(change: np.ndarray) -> float:
        return float(np.abs(moved(change) - p[kept]).max())

    pairs = [
        rising(series_weights(chains.lengths[i : i + 2], T) @ [one.mean(axis=0) for one in pair])
        for i, pair in enumerate(itertools.pairwise(chains.excesses))
    ]
    error = _left_of_series([size(other - one) for one, other in itertools.pairwise(pairs)])
    error += size(without_noise(excess, product_at_end=False) - x)
    error += size(weights @ np.asarray(chains.changes[:_TERMS])) + chains.error
    groups = np.array([moved(rising(groups) - excess) for groups in by_group]).T
    x, p = x[kept], p[kept]
    rise = np.gradient(x, logits()[kept])
    solved = rise > _FLAT
    none = np.zeros((x.size, 1), dtype=complex)
    solution = Solution(
        log_lambda=x,
        sigma=SelfEnergy(none, none),
        survival=1.0 - p,
        density=2.0 * p * (1.0 - p) / np.where(solved, rise, np.inf),
        residual=np.zeros(x.size),
        error=np.minimum(error, np.minimum(p, 1.0 - p)),
        status=np.where(solved, int(Status.CONVERGED), int(Status.MAX_ITERATIONS)),
        site_phase=1.0 - groups,
    )
    count, known = groups.shape[1], chains.moments if chains.lengths == (T,) else None
    equal, outermost = np.full(count, 1.0 / count), (_OUTERMOST, _OUTERMOST)
    log_m1 = None if known is None else known.log_m1
    return assemble(equal, solution, count, one=outermost, log_m1=log_m1)[0].restated(known=known)


def _left_of_series(sizes: Sequence[float]) -> float:
    """Error of F that (31) leaves, from the last change and the one before; 0 where there is no series."""
    if not sizes:
        return 0.0
    first, second = sizes
    ratio = first / max(second, ERRORS.aim)  # a smaller one says nothing
    return first * max(_THIRD_TERM, ratio / (1.0 - ratio) - _THIRD_TERM) if ratio < 1.0 else math.inf


def series_weights(lengths: Sequence[int], T: int) -> np.ndarray:
    """Weights of the values at ``lengths`` in that at T of a sum of T, 1, 1/T, ..., one term for each."""
    powers = 1.0 - np.arange(len(lengths))
    terms = np.asarray(lengths, dtype=float)[:, None] ** powers
    return np.linalg.solve(terms.T, float(T) ** powers)


def rising(excess: np.ndarray) -> np.ndarray:
    """The ``excess`` of an S-transform, which falls with z: rising, from the median on both sides."""
    middle = _LEVELS // 2
    above = np.maximum.accumulate(excess[middle:])
    below = np.minimum.accumulate(excess[middle::-1])[::-1]
    return np.concatenate([below[:-1], above])


def without_noise(excess: np.ndarray, *, product_at_end: bool = True) -> np.ndarray:
    """Quantiles x of log s² at `logits` from those of log s² + ξ less l, the ``excess``.

    The first guess is the excess, at the upper end that of a product of Gaussian matrices, whose S(z) near
    z = 0 falls as that of the law: there the quantiles rise fastest. Without ``product_at_end``, the excess.
    """
    wanted = logits()
    x, p = excess.copy(), expit(wanted)
    if product_at_end:
        n = (excess[-1] - np.interp(1.0 - _END, p, excess)) / (np.log(p[-1]) - np.log1p(-_END))
        x += product_quantiles(n, p) - n * np.log(p)
    log_t = excess + wanted
    rise = np.gradient(log_t, wanted)
    for _ in range(_CORRECTIONS):
        x = np.maximum.accumulate(x)
        x += rise * (logit(_smoothed_cdf(x, p, log_t)) - wanted)
    return np.maximum.accumulate(x)


def _smoothed_cdf(x: np.ndarray, p: np.ndarray, log_t: np.ndarray) -> np.ndarray:
    """P(x + ξ <= log t) for quantiles x of probability p, x linear in p in between."""
    gap = log_t[:, None] - x
    whole = -log_expit(-gap)  # log(1 + e^gap), whose derivative is the cdf of ξ
    width = np.diff(x)
    flat = width < 1e-9
    mean = -np.diff(whole, axis=1) / np.where(flat, 1.0, width)
    mean = np.where(flat, expit(gap[:, 1:]), mean)
    cdf = expit(gap[:, [0, -1]])
    return mean @ np.diff(p) + cdf[:, 0] * p[0] + cdf[:, 1] * (1.0 - p[-1])


def product_quantiles(n: float, levels: np.ndarray) -> np.ndarray:
    """Quantiles of log s² of a product of n Gaussian matrices, for real n; 0 at n = 0.

    With w = e^{iφ} sin((n + 1)φ)/sin(nφ), 0 < φ < π/(n + 1): s² = w^{n+1}/(w - 1), and the share of larger s
    is (n + 1)φ/π - n Im w/π (Fuss-Catalan law; Haagerup and Möller 2013).
    """
    if n == 0.0:
        return np.zeros_like(levels)

    def larger(phi: np.ndarray, level: np.ndarray) -> np.ndarray:
        height = np.sin((n + 1) * phi) * np.sin(phi) / np.sin(n * phi)
        return ((n + 1) * phi - n * height) / math.pi - 1.0 + level

    ends = (np.full_like(levels, tiny := 1e-12 / (n + 1)), np.full_like(levels, math.pi / (n + 1) - tiny))
    phi = root_between(larger, ends, args=(levels,)).x
    return (n + 1) * np.log(np.sin((n + 1) * phi)) - np.log(np.sin(phi)) - n * np.log(np.sin(n * phi))
