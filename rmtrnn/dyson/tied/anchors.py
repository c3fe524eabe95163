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

from rmtrnn.dyson.tied.more_sites import MORE, MoreSites
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


def on_all_sites(
    whole: SiteMatrices,
    some: SiteMatrices,
    nodes: list[Node],
    groups: int,
    more: MoreSites | None = None,
) -> list[SharedNode]:
    """F over ``whole`` of ``nodes`` over the sites ``some``, and over ``more`` sites by regression.

    All have their sites in ``groups`` equal groups, one after the other.
    """
    values = np.array([node.site_value for node in nodes]).reshape(-1, some.n).T
    own = group_means(np.imag(values), some.weights, groups).T
    if not nodes or (whole.n == some.n and more is None):
        return [SharedNode(*pair) for pair in zip(nodes, own, strict=True)]
    known, slope = None, np.ones(len(nodes))
    if more is not None:
        known = more.at_sites([node.point for node in nodes])
        slope = _slope_of(np.imag(values), np.imag(known.log_det[more.path]), some.weights)
    change = np.zeros_like(own)
    if whole.n > some.n:
        cheap = None
        if more is not None and known is not None:
            cheap = slope * known.log_det, slope * known.log_det[more.path]
        change = _by_all_sites(whole, some, nodes, values, groups, cheap)
    u = np.array([node.u for node in nodes])
    slopes = _slopes(u, change.mean(axis=1))
    if more is not None and known is not None:
        further = slope[:, None] * _by_more_sites(more, nodes, known.log_det, groups)
        change += further
        slopes = _slopes(u, further.mean(axis=1))  # that of the rest is part of the density
        m = whole.weights @ known.m - some.weights @ known.m[more.path]
        nodes = [
            replace(node, m=node.m + add, density=max(node.density - 2.0 / np.pi * add.imag, 0.0))
            for node, add in zip(nodes, m, strict=True)
        ]
    mean = change.mean(axis=1)
    return [
        SharedNode(_moved(node, *step), shares + by_group)
        for node, shares, by_group, step in zip(
            nodes, own, change, zip(mean, slopes, strict=True), strict=True
        )
    ]


def _slope_of(values: np.ndarray, cheap: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of a regression of ``values`` (sites, nodes) on ``cheap`` ones: 1 where they are alike."""
    left, right = (one - weights @ one for one in (values, cheap))
    share = (weights @ (left * right)) / np.maximum(weights @ right**2, 1e-300)
    return np.clip(share, 0.0, 1.0)


def _by_all_sites(
    whole: SiteMatrices,
    some: SiteMatrices,
    nodes: list[Node],
    values: np.ndarray,
    groups: int,
    cheap: tuple[np.ndarray, np.ndarray] | None,
) -> np.ndarray:
    """What ``whole`` adds to P(s² > λ) over ``some`` of its sites, (nodes, groups).

    ``cheap``: variables (sites, nodes) next to the ``values``, of both; then anchors say what these leave.
    """
    rest = values if cheap is None else values - cheap[1]
    found = anchors(rest, some.weights)
    full = {i: node_at(whole, nodes[i].point) for i in found}
    chosen = [i for i, node in full.items() if math.isfinite(node.cdf)]
    dense = np.array([full[i].site_value for i in chosen]).reshape(-1, whole.n).T
    few, many = (
        regressors(rest[:, chosen]),
        regressors(dense if cheap is None else dense - cheap[0][:, chosen]),
    )
    differ = group_means(many, whole.weights, groups) - group_means(few, some.weights, groups)
    change = (differ @ regression(few, np.imag(rest), some.weights)).T
    if cheap is None:
        return change
    means = [
        group_means(np.imag(one), own.weights, groups) for one, own in zip(cheap, (whole, some), strict=True)
    ]
    return change + (means[0] - means[1]).T


def _by_more_sites(more: MoreSites, nodes: list[Node], ours: np.ndarray, groups: int) -> np.ndarray:
    """What all drawn sites add to P(s² > λ), (nodes, groups); ``ours``, the variables of ``more.sites``."""
    own = more.sites.weights
    chosen = anchors(ours, own)[: MORE.points]
    if not chosen:  # one site is like the other
        return np.zeros((len(nodes), groups))
    few = regressors(ours[:, chosen])
    many = regressors(more.of_all([nodes[i].point for i in chosen]).log_det)
    equal = np.full(len(many), 1.0 / len(many))
    differ = group_means(many, equal, groups) - group_means(few, own, groups)
    return (differ @ regression(few, np.imag(ours), own)).T


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
