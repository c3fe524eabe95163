"""F on all sites from a regression over few of them at few points, against all sites at all points."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.dyson.tied import anchors
from rmtrnn.dyson.tied.anchors import on_all_sites
from rmtrnn.dyson.tied.large_lambda import large_lambda
from rmtrnn.dyson.tied.law import picked
from rmtrnn.dyson.tied.node import node_at
from rmtrnn.dyson.tied.path import LawSettings, PathFollower
from rmtrnn.dyson.tied.site_matrices import SiteMatrices
from rmtrnn.dyson.tied.sites import draw_population
from rmtrnn.meanfield.periodic_process import GROUPS

MINIMAL = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5, tied=True)
STEPS = 6


@pytest.fixture(scope="module")
def solved():
    """All sites, few of them, nodes on the few, and F on all sites at every node."""
    population = draw_population(MINIMAL, STEPS, 256, 0)
    whole = SiteMatrices.of(population.stages, STEPS, population.weights)
    some = whole.at(*picked(population, 512))
    follower = PathFollower(some, large_lambda(some), LawSettings(), 1.0 / whole.n)
    nodes = follower.march()
    return whole, some, nodes, np.array([node_at(whole, node.point).cdf for node in nodes])


def off(solved):
    whole, some, nodes, exact = solved
    found = on_all_sites(whole, some, nodes, GROUPS)
    return np.abs(np.array([one.node.cdf for one in found]) - exact)


@pytest.mark.equation(15)
def test_few_points_give_the_mean_over_all_sites(solved):
    """Where the sites of the path alone are wrong by five times as much; at the anchors to rounding."""
    _, _, nodes, exact = solved
    alone = np.abs(np.array([node.cdf for node in nodes]) - exact)
    assert len(nodes) > 10 and alone.max() > 2e-3
    assert off(solved).max() < 0.2 * alone.max()
    assert np.sum(off(solved) < 1e-12) >= 3


def test_groups_average_to_all_sites(solved):
    whole, some, nodes, _ = solved
    found = on_all_sites(whole, some, nodes, GROUPS)
    for one, node in zip(found, nodes, strict=True):
        change = one.groups.mean() - some.weights @ node.site_value.imag
        assert one.node.cdf == pytest.approx(node.cdf - change, abs=1e-12)
        assert 0.0 <= one.node.density <= 1.31 * node.density


def test_all_sites_of_a_path_are_what_they_are(solved):
    _, some, nodes, _ = solved
    for one, node in zip(on_all_sites(some, some, nodes, GROUPS), nodes, strict=True):
        assert one.node is node and one.groups.mean() == pytest.approx(some.weights @ node.site_value.imag)


@pytest.mark.parametrize("name", [field.name for field in fields(anchors.AnchorSettings)])
@pytest.mark.parametrize("factor", [3.0, 1.0 / 3.0])
def test_numbers_moved_by_three(name, factor, solved, monkeypatch):
    alone = np.abs(np.array([node.cdf for node in solved[2]]) - solved[3])
    value = type(getattr(anchors._ANCHORS, name))(getattr(anchors._ANCHORS, name) * factor)
    monkeypatch.setattr(anchors, "_ANCHORS", replace(anchors._ANCHORS, **{name: value}))
    assert off(solved).max() < (1.0 if (name, factor) == ("most", 1.0 / 3.0) else 0.4) * alone.max()


def test_no_anchor_is_seen(solved, monkeypatch):
    """The control: without any, F is that of the few sites."""
    monkeypatch.setattr(anchors, "_ANCHORS", replace(anchors._ANCHORS, most=0))
    assert off(solved).max() > 2e-3
