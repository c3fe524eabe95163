"""Few sites that stand for many: which to take from a large population, and what weight to give them.

F is an average over sites of something that costs much per site, but that is mostly a smooth function of a
few cheap features of the site. So a large population is drawn, its features are found, and only some of its
sites are used: all of the outermost, where single sites matter, and every k-th of the others. The weights are
then changed as little as possible so that the averages of regressors made of the features are those of the
large population (two-phase sampling with calibration, or the generalised regression estimator of survey
statistics; Deville and Särndal 1992). What is left of the sampling error is the scatter about the regression.
"""

from __future__ import annotations

import numpy as np

_RANGE = 3.5  # standard deviations: regressors are constant beyond
_KNOTS = (-1.5, -0.75, 0.0, 0.75, 1.5)
_PER_REGRESSOR = 12  # sites: with fewer the weights are left as they are
_STEPS = 30
_LONGEST = 1.0  # change of the logarithm of a weight in one step
_EXACT = 1e-9  # relative to the spread of a regressor


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
    count = len(weights)
    ranks = np.argsort(np.argsort(low, kind="stable")), np.argsort(np.argsort(high, kind="stable"))
    bottom = ranks[0] < outer
    top = np.zeros(count, dtype=bool)
    top[np.argsort(np.where(bottom, -1, ranks[1]), kind="stable")[count - outer :]] = True
    between = np.flatnonzero(~(bottom | top))
    keys = ranks[0] + ranks[1] if order is None else order
    between = between[np.argsort(keys[between], kind="stable")]
    size = n - 2 * outer
    picked = between[((np.arange(size) + 0.5) * (len(between) / size)).astype(int)]
    middle = weights[picked] * (weights[between].sum() / weights[picked].sum())
    ends = np.flatnonzero(bottom), np.flatnonzero(top)
    sites = np.concatenate([ends[0], picked, ends[1]])
    return sites, np.concatenate([weights[ends[0]], middle, weights[ends[1]]])


def calibrated_weights(
    features: np.ndarray, weights: np.ndarray, more: np.ndarray, exact: list[tuple[np.ndarray, float]]
) -> np.ndarray:
    """Weights of sites next to ``weights`` with which the features average as over the equal sites ``more``.

    ``features`` (d, n), ``weights`` (n,) with sum 1, ``more`` (d, n'): cubic splines of the features and
    products of two are the regressors. ``exact``: pairs of one more regressor (n,) as it stands and its
    average, for averages that must be right also where a few sites make them up.
    """
    mean, spread = more.mean(axis=1, keepdims=True), more.std(axis=1, keepdims=True)
    used = (spread > 1e-9 * (1.0 + np.abs(mean)))[:, 0]
    few, many = (
        _splines(np.clip((values - mean)[used] / spread[used], -_RANGE, _RANGE))
        for values in (features, more)
    )
    target = many.mean(axis=1)
    for values, average in exact:
        few, target = np.vstack([few, values / average]), np.append(target, 1.0)
    if few.shape[1] < _PER_REGRESSOR * few.shape[0]:
        return weights
    return exponential_tilting(few, weights, target)


def exponential_tilting(regressors: np.ndarray, weights: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Weights proportional to weights * exp(c . regressors) with which these average to ``target``.

    They stay positive. Newton's method for c, which minimises log sum weights exp(c . (x - target)).
    If there are no such weights (a target that no sites surround), those of the last step are returned: the
    averages are then nearer to the target than they were.
    """
    spread = np.sqrt((regressors - (regressors @ weights)[:, None]) ** 2 @ weights)
    x = (regressors - target[:, None]) / np.maximum(spread, 1e-300)[:, None]
    found = weights
    for _ in range(_STEPS):
        now = x @ found
        if np.abs(now).max() < _EXACT:
            break
        centred = x - now[:, None]
        step = -np.linalg.lstsq((centred * found) @ centred.T, now, rcond=1e-10)[0] @ x
        step -= found @ step
        step *= min(1.0, _LONGEST / max(np.abs(step).max(), 1e-300))
        found = found * np.exp(step)
        found = found / found.sum()
    return found


def _splines(z: np.ndarray) -> np.ndarray:
    rows = []
    for i, one in enumerate(z):
        rows += [one, one**2, one**3, *(np.maximum(one - knot, 0.0) ** 3 for knot in _KNOTS)]
        for other in z[:i]:
            rows += [one * other, one**2 * other, one * other**2]
    return np.array(rows).reshape(len(rows), z.shape[1])
