"""Weights of sites that make some averages right: a few costly sites stand for many cheap ones.

F is an average over sites of something that costs much per site, but that is mostly a smooth function of a
few cheap features of the site. Regressing it on these and averaging the regression over a far larger
population leaves only the scatter around the regression to the few. That is the same as giving the few sites
weights with which the averages of the regressors are those of the large population (calibration, or the
generalised regression estimator of survey statistics, Deville and Särndal 1992).
"""

from __future__ import annotations

import numpy as np

_RANGE = 3.5  # standard deviations: regressors are constant beyond
_KNOTS = (-1.5, -0.75, 0.0, 0.75, 1.5)
_PER_REGRESSOR = 12  # sites: with fewer a group is left as it is
_LEAST = 0.1  # of the equal weight: no site counts for less, whatever the regressors ask


def sites_needed(features: int) -> int:
    """Sites that a group must have at least to be calibrated."""
    splines = 3 + len(_KNOTS)
    return _PER_REGRESSOR * (splines * features + 3 * features * (features - 1) // 2)


def calibrated_weights(
    features: np.ndarray, more: np.ndarray, groups: int, exact: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """Weights (n,) of sites in ``groups`` equal groups, each calibrated to its own part of ``more``.

    ``features`` (d, n) and ``more`` (d, n') come in the same groups; cubic splines and products of them are
    the regressors. ``exact``: one more regressor as it stands, at the sites and in ``more``, for an average
    that must be right also where a few sites make it up.
    """
    sites, others = _regressors(features, more)
    if exact is not None:
        mean = exact[1].mean()
        sites = np.vstack([sites, exact[0] / mean - 1.0])
        others = np.vstack([others, exact[1] / mean - 1.0])
    if sites.shape[1] < groups * sites_needed(len(features)):
        return np.full(sites.shape[1], 1.0 / sites.shape[1])
    weights = []
    for few, many in zip(np.split(sites, groups, axis=1), np.split(others, groups, axis=1), strict=True):
        weights.append(_calibrated(few, many.mean(axis=1)))
    return np.concatenate(weights) / groups


def _calibrated(regressors: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Weights next to equal ones, in the mean square, with which the regressors average to ``target``."""
    n = regressors.shape[1]
    centred = regressors - regressors.mean(axis=1, keepdims=True)
    covariance = centred @ centred.T / n
    missing = np.linalg.lstsq(covariance, target - regressors.mean(axis=1), rcond=1e-8)[0]
    weights = np.maximum(1.0 + missing @ centred, _LEAST)
    return weights / weights.sum()


def _regressors(features: np.ndarray, more: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cubic splines in each feature and mixed cubic products of two, at both sets of sites."""
    mean, spread = more.mean(axis=1, keepdims=True), more.std(axis=1, keepdims=True)
    used = (spread > 1e-9 * (1.0 + np.abs(mean)))[:, 0]
    return tuple(
        _splines(np.clip((values - mean)[used] / spread[used], -_RANGE, _RANGE))
        for values in (features, more)
    )


def _splines(z: np.ndarray) -> np.ndarray:
    rows = []
    for i, one in enumerate(z):
        rows += [one, one**2, one**3, *(np.maximum(one - knot, 0.0) ** 3 for knot in _KNOTS)]
        for other in z[:i]:
            rows += [one * other, one**2 * other, one * other**2]
    return np.array(rows).reshape(len(rows), z.shape[1])
