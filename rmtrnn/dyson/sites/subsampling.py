"""Few sites that stand for many: which to take from a large population, and what weight to give them.

F is an average over sites of something that costs much per site, but that is mostly a smooth function of a
few cheap features of the site. So a large population is drawn, its features are found, and only some of its
sites are used: all of the outermost, where single sites matter, and every k-th of the others. The weights are
then changed as little as possible so that the averages of regressors made of the features are those of the
large population (two-phase sampling with calibration, or the generalised regression estimator of survey
statistics; Deville and Särndal 1992). What is left of the sampling error is the scatter about the regression.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TiltingSettings:
    """Numbers of the calibration of weights."""

    # Standard deviations of a feature: regressors are constant beyond, where few sites would carry them.
    range: float = 3.5
    # Knots of the cubic splines, in standard deviations: the quantiles 7, 23, 50, 77, 93 % of a normal law.
    knots: tuple[float, ...] = (-1.5, -0.75, 0.0, 0.75, 1.5)
    # Sites per regressor, at least; with fewer the weights are left as they are. The calibrated weights then
    # scatter by 1/sqrt(12) at most.
    sites_per_regressor: int = 12
    # Newton steps, and the change of the logarithm of a weight in one of them.
    steps: int = 30
    longest_step: float = 1.0
    # Error of an average that ends them, relative to the standard deviation of the regressor.
    exact: float = 1e-9
    # Standard deviation of a regressor, relative to its size, that is rounding: some units in the last place.
    same: float = 1e-13


_TILTING = TiltingSettings()


def stratified_subsample(
    weights: np.ndarray,
    n: int,
    low: np.ndarray,
    high: np.ndarray,
    outer: int,
    order: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Indices and weights of ``n`` sites that keep the outer parts of the law.

    The ``outer`` sites of smallest ``low`` and as many of largest ``high`` are kept as they are. The others
    are sorted by ``order`` (by default the sum of their ranks in ``low`` and ``high``), and taken at equal
    steps with the weight of all.
    """
    bottom, top, ranks = _outermost(low, high, outer)
    between = np.flatnonzero(~(bottom | top))
    keys = ranks[0] + ranks[1] if order is None else order
    between = between[np.argsort(keys[between], kind="stable")]
    size = n - 2 * outer
    picked = between[((np.arange(size) + 0.5) * (len(between) / size)).astype(int)]
    return _joined(weights, bottom, picked, top)


def leading_subsample(
    weights: np.ndarray, n: int, low: np.ndarray, high: np.ndarray, outer: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same with the first of the other sites: of a low-discrepancy net these are one as well."""
    bottom, top, _ = _outermost(low, high, outer)
    return _joined(weights, bottom, np.flatnonzero(~(bottom | top))[: n - 2 * outer], top)


def _outermost(
    low: np.ndarray, high: np.ndarray, outer: int
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Which sites are the ``outer`` ones of smallest ``low`` and of largest ``high``, and all ranks."""
    ranks = np.argsort(np.argsort(low, kind="stable")), np.argsort(np.argsort(high, kind="stable"))
    bottom = ranks[0] < outer
    top = np.zeros(len(low), dtype=bool)
    top[np.argsort(np.where(bottom, -1, ranks[1]), kind="stable")[len(low) - outer :]] = True
    return bottom, top, ranks


def _joined(
    weights: np.ndarray, bottom: np.ndarray, picked: np.ndarray, top: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The outermost sites as they are, and those ``picked`` with the weight of all others."""
    middle = weights[picked] * (weights[~(bottom | top)].sum() / weights[picked].sum())
    ends = np.flatnonzero(bottom), np.flatnonzero(top)
    sites = np.concatenate([ends[0], picked, ends[1]])
    return sites, np.concatenate([weights[ends[0]], middle, weights[ends[1]]])


def calibrated_weights(
    features: np.ndarray, weights: np.ndarray, more: np.ndarray, exact: list[tuple[np.ndarray, float]]
) -> np.ndarray:
    """Calibrate weights of sites so that the features average as over the equal sites ``more``.

    The weights stay next to ``weights`` (n,), which sum to 1. ``features`` (d, n), ``more`` (d, n'): the
    regressors are cubic splines of the features and products of two. ``exact``: pairs of one more regressor
    (n,) as it stands and its average, for averages that must be right also where a few sites make them up.
    """
    mean, spread = more.mean(axis=1, keepdims=True), more.std(axis=1, keepdims=True)
    used = (spread > 1e-9 * (1.0 + np.abs(mean)))[:, 0]
    few, many = (
        _splines(np.clip((values - mean)[used] / spread[used], -_TILTING.range, _TILTING.range))
        for values in (features, more)
    )
    target = many.mean(axis=1)
    for values, average in exact:
        few, target = np.vstack([few, values / average]), np.append(target, 1.0)
    if few.shape[1] < _TILTING.sites_per_regressor * few.shape[0]:
        return weights
    return exponential_tilting(few, weights, target)


def exponential_tilting(regressors: np.ndarray, weights: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Tilt weights exponentially, weights * exp(c . regressors), so that regressors average to ``target``.

    They stay positive. Newton's method for c, which minimises log sum weights exp(c . (x - target)).
    If there are no such weights (a target that no sites surround), those of the last step are returned: the
    averages are then nearer to the target than they were. A regressor that is the same at all sites says
    nothing of the weights.
    """
    spread = np.sqrt((regressors - (regressors @ weights)[:, None]) ** 2 @ weights)
    varies = spread > _TILTING.same * np.abs(regressors).max(axis=1, initial=0.0)
    x = (regressors - target[:, None])[varies] / spread[varies, None]
    if not varies.any():
        return weights
    found = weights
    for _ in range(_TILTING.steps):
        now = x @ found
        if np.abs(now).max() < _TILTING.exact:
            break
        centred = x - now[:, None]
        step = -np.linalg.lstsq((centred * found) @ centred.T, now, rcond=1e-10)[0] @ x
        step -= found @ step
        step *= min(1.0, _TILTING.longest_step / max(np.abs(step).max(), 1e-300))
        found = found * np.exp(step)
        found = found / found.sum()
    return found


def _splines(z: np.ndarray) -> np.ndarray:
    rows = []
    for i, one in enumerate(z):
        rows += [one, one**2, one**3, *(np.maximum(one - knot, 0.0) ** 3 for knot in _TILTING.knots)]
        for other in z[:i]:
            rows += [one * other, one**2 * other, one * other**2]
    return np.array(rows).reshape(len(rows), z.shape[1])
