"""F on all sites from few points of λ: a regression over the sites of the path.

What a site adds to F is a smooth function of λ, so that its values at a few points, the anchors, say those at
all others up to about a fiftieth of their spread. All sites are evaluated at the anchors alone. At every
other point F is the mean over the sites of the path, plus the regression on the anchors times what these
differ by between all sites and those of the path (a regression estimator: Cochran 1977, Sampling Techniques,
chapter 7). At an anchor this is the mean over all sites.

Letters: n, sites of the path.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from rmtrnn.dyson.tied.node import Node, node_at
from rmtrnn.dyson.tied.site_matrices import SiteMatrices


@dataclass(frozen=True)
class AnchorSettings:
    """Numbers of the regression; moved by three both ways in tests/dyson/tied/test_anchors.py."""

    # Points at which all sites are evaluated, at most. Empirical.
    most: int = 12
    # Standard deviation over the sites of what no anchor says of F, from which there are enough of them.
    enough: float = 2e-3
    # Singular values of the regressors, relative to the largest, that are left out. Derived: far above
    # rounding, far below what tells sites apart.
    rank: float = 1e-9
    # Share of a density that its correction may be.
    share: float = 0.3


_ANCHORS = AnchorSettings()


class SharedNode(NamedTuple):
    """A node over all sites, and the mean of Im log det/(π s_L) in every group of them."""

    node: Node
    groups: np.ndarray


def on_all_sites(whole: SiteMatrices, some: SiteMatrices, nodes: list[Node], groups: int) -> list[SharedNode]:
    """F over ``whole`` of ``nodes`` over the sites ``some``.

    Both have their sites in ``groups`` equal groups, one after the other.
    """
    values = np.array([node.site_value for node in nodes]).reshape(-1, some.n).T
    own = group_means(np.imag(values), some.weights, groups).T
    if not nodes or whole.n == some.n:
        return [SharedNode(*pair) for pair in zip(nodes, own, strict=True)]
    change = _by_all_sites(whole, some, nodes, values, groups)
    mean = change.mean(axis=1)
    slopes = _slopes(np.array([node.u for node in nodes]), mean)
    return [
        SharedNode(_moved(node, *step), shares + by_group)
        for node, shares, by_group, step in zip(
            nodes, own, change, zip(mean, slopes, strict=True), strict=True
        )
    ]


def _by_all_sites(
    whole: SiteMatrices, some: SiteMatrices, nodes: list[Node], values: np.ndarray, groups: int
) -> np.ndarray:
    """What ``whole`` adds to P(s² > λ) over ``some`` of its sites, (nodes, groups)."""
    full = {i: node_at(whole, nodes[i].point) for i in anchors(values, some.weights)}
    chosen = [i for i, node in full.items() if math.isfinite(node.cdf)]
    few = regressors(values[:, chosen])
    many = regressors(np.array([full[i].site_value for i in chosen]).reshape(-1, whole.n).T)
    differ = group_means(many, whole.weights, groups) - group_means(few, some.weights, groups)
    return (differ @ regression(few, np.imag(values), some.weights)).T


def _slopes(u: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Derivatives of values at points u = log s, in any order."""
    order, found = np.argsort(u), np.zeros(u.size)
    if u.size > 1:
        found[order] = np.gradient(values[order], u[order])
    return found


def _moved(node: Node, change: float, slope: float) -> Node:
    """The node with P(s² > λ) larger by ``change``, whose derivative in u is ``slope``."""
    most = _ANCHORS.share * node.density
    return replace(node, cdf=node.cdf - change, density=node.density - min(max(slope, -most), most))


def anchors(values: np.ndarray, weights: np.ndarray) -> list[int]:
    """The points whose ``values`` (sites, points) say most of those at all points, greedily."""
    chosen: list[int] = []
    while len(chosen) < min(_ANCHORS.most, values.shape[1]):
        few = regressors(values[:, chosen])
        left = np.imag(values) - few @ regression(few, np.imag(values), weights)
        spread = np.sqrt(weights @ left**2)
        worst = int(np.argmax(spread))
        if spread[worst] < _ANCHORS.enough:
            break
        chosen.append(worst)
    return chosen


def regressors(values: np.ndarray) -> np.ndarray:
    """1, and both parts of the values (sites, anchors)."""
    return np.concatenate([np.ones((len(values), 1)), np.real(values), np.imag(values)], axis=1)


def regression(few: np.ndarray, phase: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted least squares of the phases (sites, points) on the regressors (sites, r): (r, points)."""
    root = np.sqrt(weights)[:, None]
    size = np.sqrt((few**2 * weights[:, None]).sum(axis=0))
    size = np.where(size > 0.0, size, 1.0)
    found = np.linalg.lstsq(few * root / size, phase * root, rcond=_ANCHORS.rank)[0]
    return found / size[:, None]


def group_means(values: np.ndarray, weights: np.ndarray, groups: int) -> np.ndarray:
    """Means (groups, r) of values (sites, r) by group."""
    own = weights.reshape(groups, -1, 1)
    return (values.reshape(groups, -1, values.shape[1]) * own).sum(axis=1) / own.sum(axis=1)
