"""Gaussian expectations E[f(e)], e ~ N(mean, variance), and their two-replica version, with error estimates.

Three rules, all trapezoidal after a change of variable, so that halving the step squares the error:

- plain: e = mean + √variance z, for narrow laws, or laws far from e = 0 in their own units;
- stretched: e = sinh t, for wide laws: unit steps near e = 0, where activations vary, and steps in
  proportion to |e| further out, so that the cost grows like the logarithm of the variance;
- tanh-sinh on the pieces between the integrand's kinks, which is blind to the ends of a piece.

Every rule starts from a step that resolves features of unit width around e = 0, because two coarse rules that
both miss a feature agree perfectly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core.status import Status

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class RuleSettings:
    """Numbers of the trapezoidal and tanh-sinh rules."""

    # Standard deviations at which the line ends. Derived: the normal density is 2e-32 there, so nothing
    # representable is cut off from an integrand that does not grow exponentially.
    reach: float = 12.0
    # Ends of the tanh-sinh rule. Derived: what lies beyond weighs less than 1e-17 of a piece.
    t_end: float = 3.25
    # Halvings of the step before a point is given up. Both rules double their digits with each: a smooth
    # integrand needs three or four, so eight say that the integrand is not what the rule is for.
    halvings: int = 8
    # Largest number of integrand values held at once: 8 MiB of doubles, which a cache of today holds.
    chunk: int = 1 << 20
    # Stands for the deviation 0 of a pair at a kink at 0, whose value depends on the correlation. Derived:
    # its square is 0 in doubles, as products of continuous functions must be there.
    vanishing: float = 1e-170
    # Rounding of a sum relative to the sum of absolute values: pairwise summation and a few roundings of f.
    rounding: float = 8.0 * float(np.finfo(float).eps)


_RULES = RuleSettings()


class Expectation(NamedTuple):
    """Value of a batch of expectations with its estimated absolute error.

    ``value``, ``error`` and ``status`` have the shape of the batch (``value`` and ``error`` after any leading
    components of the integrand); ``n_nodes`` is the largest number of nodes used for one point.
    """

    value: np.ndarray
    error: np.ndarray
    n_nodes: int
    status: np.ndarray

    @property
    def converged(self) -> bool:
        """Whether every point reached the tolerance."""
        return bool(np.all(self.status == Status.CONVERGED))


def gaussian_expectation(
    f: Function, variance: Any, mean: Any = 0.0, kinks: Sequence[float] = (), tol: float = 1e-13
) -> Expectation:
    """E[f(e)] for e ~ N(mean, variance), batched over mean and variance.

    ``f`` maps an array of shape (n, nodes) elementwise to one of shape (..., n, nodes): leading axes are
    components computed together. ``kinks`` are the points e where f or a derivative jumps. ``variance`` may
    be 0: then the value is f(mean), or, where f jumps there, the mean of both sides, as for a variance that
    tends to 0. A point has converged if its estimated error is below ``tol`` · E|f|.

    Raises ValueError for a negative or non-finite variance or a non-finite mean.
    """
    shape, variance, mean = _batch(variance, mean)
    deviation = np.sqrt(variance)
    rule = _Rule(kinks)

    def integrate(index: np.ndarray, intervals: int) -> tuple[np.ndarray, np.ndarray, int]:
        return _integrate(f, mean[index], deviation[index], rule, intervals)

    return _refine(integrate, rule.coarsest(mean, deviation), shape, tol)


def gaussian_pair_expectation(
    f: Function,
    g: Function,
    variance: Any,
    correlation: Any,
    mean: Any = 0.0,
    kinks: Sequence[float] = (),
    tol: float = 1e-13,
) -> Expectation:
    """E[f(e_a) g(e_b)] for a Gaussian pair with equal means and variances and a correlation c in [−1, 1].

    With e_b = mean + √variance (c z_a + √(1 − c²) z) the inner expectation over z smooths g, and at c = ±1 it
    collapses to one exact node. Arguments as for `gaussian_expectation`; leading components of f and g are
    multiplied one by one. By Price's theorem the derivative with respect to c is
    variance · E[f'(e_a) g'(e_b)].

    Raises ValueError also for a correlation outside [−1, 1].
    """
    if not np.all(np.abs(np.asarray(correlation, dtype=float)) <= 1.0):
        raise ValueError(f"correlation = {correlation!r}: must lie in [-1, 1]")
    shape, variance, mean, correlation = _batch(variance, mean, correlation)
    deviation = np.sqrt(variance)
    at_kink = (deviation == 0.0) & np.isin(mean, np.asarray(kinks, dtype=float))
    deviation = np.where(at_kink, np.where(mean == 0.0, _RULES.vanishing, 1e-9 * np.abs(mean)), deviation)
    rest = np.sqrt((1.0 - correlation) * (1.0 + correlation))
    rule = _Rule(kinks)

    def integrate(index: np.ndarray, intervals: int) -> tuple[np.ndarray, np.ndarray, int]:
        points = [array[index] for array in (mean, deviation, correlation, rest)]
        return _integrate_pair(f, g, points, rule, intervals)

    return _refine(integrate, rule.coarsest(mean, deviation), shape, tol)


def gaussian_nodes(
    intervals: int = 256, kinks: Sequence[float] = (), variance: float = 1.0, mean: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes e and weights w with Σ w f(e) ≈ E[f(e)], e ~ N(mean, variance): two one-dimensional arrays.

    ``intervals`` is the number of steps of the rule that suits the law (of each piece between ``kinks``).
    Raises ValueError for fewer than two intervals, or a negative or non-finite variance or mean.
    """
    if intervals < 2:
        raise ValueError(f"intervals = {intervals!r}: must be an integer from 2 to inf")
    _, variance_, mean_ = _batch(variance, mean)
    pieces = list(_Rule(kinks).pieces(mean_, np.sqrt(variance_), intervals))
    nodes = np.concatenate([np.broadcast_to(e, w.shape) for e, w in pieces], axis=-1)[0]
    weights = np.concatenate([w for _, w in pieces], axis=-1)[0]
    keep = weights > 0
    return nodes[keep], weights[keep]


def batched_nodes(
    variance: np.ndarray, mean: np.ndarray, kinks: Sequence[float] = (), halvings: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes e and weights, each (n, nodes), for a batch of laws that share one number of intervals.

    The rules and starting steps of `gaussian_expectation`, halved ``halvings`` times, without an error
    estimate: for iterations whose result is checked afterwards. Two halvings are good for about 1e-13 for
    integrands as smooth as tanh.
    """
    _, variance, mean = _batch(variance, mean)
    rule, deviation = _Rule(kinks), np.sqrt(variance)
    intervals = int(np.max(rule.coarsest(mean, deviation))) << halvings
    pieces = list(rule.pieces(mean, deviation, intervals))
    return np.concatenate([e for e, _ in pieces], axis=-1), np.concatenate([w for _, w in pieces], axis=-1)


def shared_nodes(
    variance: np.ndarray, mean: np.ndarray, halvings: int = 2
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield (index, e, weight): nodes e (nodes,) that many laws share, weights (points, nodes) of each.

    For smooth integrands, which are then evaluated once for all points. The accuracy is that of
    `batched_nodes`: e = sinh t on multiples of one step for all wide laws that need this step; every other
    law comes alone, with nodes of its own.
    """
    _, variance, mean = _batch(variance, mean)
    rule, deviation = _Rule(()), np.sqrt(variance)
    stretched, low, high = _stretch(mean, deviation)
    with np.errstate(divide="ignore", invalid="ignore"):
        fineness = np.ceil(np.log2(np.maximum(2.0, np.abs(mean) / deviation)))
    for level in np.unique(fineness[stretched]):
        index = np.flatnonzero(stretched & (fineness == level))
        step = 2.0 ** -(level + halvings + 1)
        first, last = np.floor(low[index].min() / step), np.ceil(high[index].max() / step)
        t = step * np.arange(first, last + 1)
        e, width = np.sinh(t), deviation[index, None]
        z = (e - mean[index, None]) / width
        yield index, e, np.exp(-0.5 * z * z) * (step / math.sqrt(2 * math.pi) * np.cosh(t)) / width
    for point in np.flatnonzero(~stretched):
        index = np.array([point])
        intervals = int(rule.coarsest(mean[index], deviation[index])[0]) << halvings
        e, weight = _smooth_nodes(mean[index], deviation[index], intervals)
        yield index, e[0], weight


class _Rule:
    """Nodes and weights of the three rules with a given number of intervals, for a batch of Gaussian laws."""

    def __init__(self, kinks: Sequence[float]) -> None:
        self.kinks = tuple(sorted({float(kink) for kink in kinks}))

    def coarsest(self, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        """Number of intervals to start from, a power of two, per point."""
        if self.kinks:
            return np.full(mean.shape, 64)
        stretched, low, high = _stretch(mean, deviation)
        with np.errstate(divide="ignore", invalid="ignore"):
            wanted = (high - low) * np.maximum(2.0, np.abs(mean) / deviation)
        wanted = np.where(stretched, wanted, 32.0)
        return 2 ** np.ceil(np.log2(np.maximum(wanted, 32.0))).astype(int)

    def pieces(
        self, mean: np.ndarray, deviation: np.ndarray, intervals: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield nodes e (n, nodes) and weights (n, nodes), piece after piece."""
        if not self.kinks:
            yield _smooth_nodes(mean, deviation, intervals)
            return
        mean, deviation = mean[:, None], deviation[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            inner = [np.nan_to_num((kink - mean) / deviation) for kink in self.kinks]
        bound = np.full_like(mean, _RULES.reach)
        ends = [-bound, *(np.clip(end, -_RULES.reach, _RULES.reach) for end in inner), bound]
        lower, upper, slope = _tanh_sinh(intervals)
        sides = itertools.pairwise([-np.inf, *self.kinks, np.inf])
        for (left, right), (low, high) in zip(itertools.pairwise(ends), sides, strict=True):
            width = right - left
            if np.any(width > 0):
                # Measured from the nearer end, so that nodes close to a kink stay on their side of it; also
                # those of a law without variance at a kink.
                z = np.where(lower <= upper, left + width * lower, right - width * upper)
                e = np.clip(mean + deviation * z, _beside(low, np.inf), _beside(high, -np.inf))
                yield e, width * slope * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _beside(kink: float, side: float) -> float:
    """The number next to a kink on one side; next to 0 one whose multiples do not underflow."""
    if kink == 0.0:
        return math.copysign(np.finfo(float).tiny / np.finfo(float).eps, side)
    return float(np.nextafter(kink, side))


def _stretch(mean: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which laws use e = sinh t (wide, and with e = 0 in reach), and their range of t."""
    low = np.arcsinh(mean - _RULES.reach * deviation)
    high = np.arcsinh(mean + _RULES.reach * deviation)
    return (deviation > 0.5) & (np.abs(mean) < 1.2 * _RULES.reach * deviation), low, high


def _smooth_nodes(mean: np.ndarray, deviation: np.ndarray, intervals: int) -> tuple[np.ndarray, np.ndarray]:
    fraction = np.arange(intervals + 1) / intervals
    step = 2 * _RULES.reach / intervals
    z = step * (np.arange(intervals + 1) - intervals / 2)
    weight = step * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    stretched, low, high = _stretch(mean, deviation)
    if not np.any(stretched):
        return mean[:, None] + deviation[:, None] * z, np.broadcast_to(weight, (len(mean), len(z)))
    low, high, width = low[:, None], high[:, None], deviation[:, None]
    t = low * (1.0 - fraction) + high * fraction
    e = np.sinh(t)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        density = np.exp(-0.5 * ((e - mean[:, None]) / width) ** 2) / (width * math.sqrt(2 * math.pi))
        far = density * np.sqrt(1.0 + e * e) * ((high - low) / intervals)
    if np.all(stretched):
        return e, far
    choose = stretched[:, None]
    return np.where(choose, e, mean[:, None] + width * z), np.where(choose, far, weight)


def _tanh_sinh(intervals: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances of the nodes from the two ends of the unit interval, and their weights."""
    step = 2 * _RULES.t_end / intervals
    t = step * (np.arange(intervals + 1) - intervals / 2)
    lower = 1.0 / (1.0 + np.exp(-math.pi * np.sinh(t)))
    upper = 1.0 / (1.0 + np.exp(math.pi * np.sinh(t)))
    return lower, upper, step * math.pi * np.cosh(t) * lower * upper


def _integrate(
    f: Function, mean: np.ndarray, deviation: np.ndarray, rule: _Rule, intervals: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Σ w f and Σ w |f| for a batch, in chunks of points."""
    size = max(1, _RULES.chunk // (intervals + 1))
    values, sizes, count = [], [], 1
    for start in range(0, len(mean), size):
        part = slice(start, start + size)
        value: Any = 0.0
        absolute: Any = 0.0
        count = 0
        for e, weight in rule.pieces(mean[part], deviation[part], intervals):
            image = np.asarray(f(e), dtype=float)
            value = value + np.sum(image * weight, axis=-1)
            absolute = absolute + np.sum(np.abs(image) * weight, axis=-1)
            count += e.shape[-1]
        values.append(value)
        sizes.append(absolute)
    return np.concatenate(values, axis=-1), np.concatenate(sizes, axis=-1), count


def _integrate_pair(
    f: Function, g: Function, points: list[np.ndarray], rule: _Rule, intervals: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Σ w f(e_a) E[g(e_b) | e_a], and the same of absolute values; points: mean, deviation, c, √(1−c²)."""
    size = max(1, _RULES.chunk // (intervals + 1))
    values, sizes, count = [], [], 1
    for start in range(0, len(points[0]), size):
        mean, deviation, correlation, rest = (array[start : start + size] for array in points)
        value: Any = 0.0
        absolute: Any = 0.0
        count = 0
        for e_a, weight in rule.pieces(mean, deviation, intervals):
            centre = mean[:, None] + correlation[:, None] * (e_a - mean[:, None])
            centre = np.where(correlation[:, None] == 1.0, e_a, centre)
            smooth, smooth_absolute, inner = _smoothed(g, centre, deviation * rest, rule, intervals)
            image = np.asarray(f(e_a), dtype=float)
            value = value + np.sum(image * smooth * weight, axis=-1)
            absolute = absolute + np.sum(np.abs(image) * smooth_absolute * weight, axis=-1)
            count += e_a.shape[-1] * inner
        values.append(value)
        sizes.append(absolute)
    return np.concatenate(values, axis=-1), np.concatenate(sizes, axis=-1), count


def _smoothed(
    g: Function, centre: np.ndarray, deviation: np.ndarray, rule: _Rule, intervals: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """E[g(centre + deviation z)] and E|g| for centres (n, nodes); one exact node if all deviations are 0."""
    if not np.any(deviation > 0):
        image = np.asarray(g(centre), dtype=float)
        return image, np.abs(image), 1
    flat = np.ascontiguousarray(centre).ravel()
    wide = np.repeat(deviation, centre.shape[-1])
    value, absolute, count = _integrate(g, flat, wide, rule, intervals)
    shape = (*value.shape[:-1], *centre.shape)
    return value.reshape(shape), absolute.reshape(shape), count


def _refine(
    integrate: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray, int]],
    coarsest: np.ndarray,
    shape: tuple[int, ...],
    tol: float,
) -> Expectation:
    """Double the number of intervals of every point until its error estimate is below the tolerance."""
    n = len(coarsest)
    value: Any = np.zeros(shape)
    error: Any = np.zeros(shape)
    status = np.full(n, int(Status.MAX_ITERATIONS))
    most: int = 0
    for start in np.unique(coarsest):
        index = np.flatnonzero(coarsest == start)
        before, _, _ = integrate(index, int(start))
        if not most:
            value = np.zeros((*before.shape[:-1], n))
            error = np.full((*before.shape[:-1], n), np.inf)
        last = np.full(before.shape, np.inf)
        for halvings in range(1, _RULES.halvings + 1):
            now, size, count = integrate(index, int(start) << halvings)
            most = max(most, count)
            with np.errstate(invalid="ignore"):
                difference = np.abs(now - before)
            estimate = _RULES.rounding * size + _estimate(difference, last)
            value[..., index], error[..., index] = now, estimate
            finite = np.isfinite(now)
            small: Any = finite & (estimate <= np.maximum(tol, 2 * _RULES.rounding) * size)
            done = np.all(small.reshape(-1, len(index)), axis=0)
            bad = np.logical_not(np.all(finite.reshape(-1, len(index)), axis=0))
            status[index[done]] = int(Status.CONVERGED)
            status[index[bad]] = int(Status.NOT_FINITE)
            going = np.logical_not(done | bad)
            if not np.any(going):
                break
            index, before, last = index[going], now[..., going], difference[..., going]
    full = value.shape[:-1] + shape
    return Expectation(value.reshape(full)[()], error.reshape(full)[()], most, status.reshape(shape))


def _estimate(difference: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Error of the finer level from the last two differences of levels.

    Where the differences fall fast, as for smooth integrands, the last one times their ratio (the true error
    is far smaller still: convergence is geometric). Elsewhere, say at an undeclared jump, twice the larger of
    the last difference and half of the one before, since erratic sums can agree by accident.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(difference > 0, difference / last, 0.0)
    slow = 2.0 * np.maximum(difference, np.where(np.isinf(last), 0.0, 0.5 * last))
    return np.where(np.isfinite(last) & (ratio < 0.05), difference * ratio, slow)


def _batch(variance: Any, mean: Any, *more: Any) -> tuple[Any, ...]:
    """Shape of the batch, then the flattened arguments; refuses what is no Gaussian law."""
    arrays = [np.asarray(array, dtype=float) for array in (variance, mean, *more)]
    if not np.all(np.isfinite(arrays[0]) & (arrays[0] >= 0)):
        raise ValueError(f"variance = {variance!r}: must be finite numbers in [0, inf)")
    if not np.all(np.isfinite(arrays[1])):
        raise ValueError(f"mean = {mean!r}: must be finite numbers")
    arrays = np.broadcast_arrays(*arrays)
    return (arrays[0].shape, *(array.ravel() for array in arrays))
