"""The path along log lambda with tied weights: extrapolated starts, numbers, graded self-energies."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from random_sites import CASES, one_state, random_energy, resolvent
from sampled_quantiles import NETWORKS
from test_twenty_steps import share_of_error

import rmtrnn as rt
from rmtrnn.dyson.tied import path
from rmtrnn.dyson.tied.gauge import in_gauge
from rmtrnn.dyson.tied.iteration import Differences, Point
from rmtrnn.dyson.tied.large_lambda import large_lambda
from rmtrnn.dyson.tied.node import Node
from rmtrnn.dyson.tied.path import LawSettings, PathFollower, PathSettings, line
from rmtrnn.dyson.tied.site_matrices import SiteMatrices
from rmtrnn.dyson.tied.way_back import on_the_real_axis


def node(u, energy):
    none = Differences.none(energy)
    return Node(u, 0.5, 1.0, Point(2 * u + 0j, energy, 0.0, 0.0, 1, True, none), np.zeros(0))


def test_the_line_follows_a_gauge_that_grows_with_u():
    """Powers of lambda that differ along the steps are met exactly; a plain line errs by a factor."""
    rng = np.random.default_rng(1)
    steps = np.arange(6.0)
    level = np.exp(0.1j * rng.normal(size=(2, 1, 6, 6)))
    level = level + np.swapaxes(level, -1, -2)
    level[..., np.arange(6), np.arange(6)] = 2.0 - 1.0j  # |P| = |Q|: what is left to the gauge is its own

    def energy(u):
        return in_gauge(level, (u * (steps / 3 - 2.0))[None])

    found, _ = line([node(0.0, energy(0.0)), node(1.0, energy(1.0))], 2.0)
    np.testing.assert_allclose(found, energy(2.0), rtol=1e-10)
    plain = 2 * energy(1.0) - energy(0.0)
    assert np.abs(plain / energy(2.0) - 1.0).max() > 0.5


@pytest.mark.parametrize("build", CASES)
@pytest.mark.equation(20)
def test_a_gauge_of_many_orders_of_magnitude_changes_nothing(build):
    """Ports of x times d, Q divided by d^2, d from 1 to 1e8: the determinant, and g times d^2."""
    rng, steps = np.random.default_rng(3), 5
    sites = SiteMatrices.of(build(steps, 6, rng), steps)
    energy, point = random_energy(sites, rng), 0.5 + 0.6j
    scale = 10.0 ** np.linspace(0.0, 8.0, steps)
    per_step = len(sites.stages) // steps
    stages = [replace(one, c=scale[i // per_step] * one.c) for i, one in enumerate(sites.stages)]
    graded = replace(sites, stages=tuple(stages))
    unit = scale[:, None] * scale
    other = np.array([energy[0], energy[1] / unit])
    (expected, _), (found, _) = sites.site_values(energy, point), graded.site_values(other, point)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert resolvent(graded, other, point) == pytest.approx(resolvent(sites, energy, point), rel=1e-7)
    known, seen = sites.overlaps(energy, point), graded.overlaps(other, point)
    np.testing.assert_allclose(seen[0] / unit, known[0], atol=1e-10 * np.abs(known).max())
    np.testing.assert_allclose(seen[1], known[1], atol=1e-10 * np.abs(known).max())


def curve(follower):
    """u and F on the real axis at the points of a path."""
    on_axis, _ = on_the_real_axis(follower.points())
    return np.array([[one.u, one.cdf] for one in on_axis]).T


@pytest.fixture(scope="module")
def sites():
    return SiteMatrices.of(one_state(3, 64, np.random.default_rng(2)), 3)


@pytest.mark.parametrize("name", [field.name for field in fields(PathSettings)])
@pytest.mark.parametrize("factor", [3.0, 1.0 / 3.0])
def test_numbers_of_the_path_moved_by_three(name, factor, sites, monkeypatch):
    """They decide where points lie; F at a place is the same. A shift in u by 0.3 would be noticed."""
    far, settings = large_lambda(sites), LawSettings(tol=1e-2)
    u, cdf = curve(PathFollower(sites, far, settings))
    moved = replace(path._PATH, **{name: min(getattr(path._PATH, name) * factor, 0.9)})
    monkeypatch.setattr(path, "_PATH", moved)
    other_u, other_cdf = curve(PathFollower(sites, far, settings))
    inside = (other_u > u[0]) & (other_u < u[-1])
    assert inside.sum() > 3
    assert np.abs(np.interp(other_u[inside], u, cdf) - other_cdf[inside]).max() < 0.02
    assert np.abs(np.interp(other_u[inside] - 0.3, u, cdf) - other_cdf[inside]).max() > 0.03


def test_the_angle_is_halved_until_the_way_back_is_good(sites):
    """To half of the tolerance, at the same places, from few sites of a short chain; no more than that."""
    far = large_lambda(sites)
    for tol in (1e-3, 1e-4):
        follower = PathFollower(sites, far, LawSettings(tol=tol))
        first = follower.march()
        assert on_the_real_axis(first)[1] > 0.5 * tol
        lower = follower.lowered(first)
        assert [one.u for one in lower] == [one.u for one in first]
        assert on_the_real_axis(lower)[1] < 0.5 * tol
        assert follower.angle < 0.3
        assert {one.point.log_lambda.imag for one in lower} == {follower.angle}


def test_points_that_are_lost_at_a_smaller_angle_stay_where_they_are(sites, monkeypatch):
    follower = PathFollower(sites, large_lambda(sites), LawSettings(tol=1e-3))
    first = follower.march()
    monkeypatch.setattr(PathFollower, "is_solved", lambda self, node: False)
    assert follower.lowered(first) is first and follower.angle == 0.3


def test_few_points_are_enough_for_a_law():
    """The path begins again with longer steps where its 24 points end in the middle of the law."""
    ens = rt.Ensemble("gru", sigma_w=1.2, sigma_v=0.5, sigma_b=0.2, tied=True)
    found, more = (rt.spectrum(ens, 2, population=64, tol=1e-2, max_points=points) for points in (24, 100))
    assert found.converged and more.converged
    assert abs(found.log_s.cdf(more.log_s.icdf(0.3)) - 0.3) < found.error + more.error


@pytest.mark.parametrize("angle", [pytest.param(0.1, marks=pytest.mark.sweep), 0.03])
def test_the_law_does_not_depend_on_the_angle(angle, monkeypatch):
    u = np.array([-12.0, -8.0, -5.0, -3.0, -1.5])
    options = {"population": 512, "tol": 2e-3}
    plain = rt.spectrum(NETWORKS["gru"], 10, **options)
    monkeypatch.setattr(path, "_PATH", replace(path._PATH, angle=angle))
    found = rt.spectrum(NETWORKS["gru"], 10, **options)
    assert plain.converged and found.converged
    assert np.abs(found.log_s.cdf(u) - plain.log_s.cdf(u)).max() < options["tol"]
    assert np.abs(found.log_s.cdf(u + 0.3) - plain.log_s.cdf(u)).max() > 10 * options["tol"]


@pytest.mark.slow
@pytest.mark.equation(15)
def test_the_upper_end_is_that_of_all_sites():
    """The sites of the path end above it, and 1 % of the law lies beyond the last point of theirs inside.

    Two steps of a GRU, against 16 networks of 800 units; redrawn weights are rejected.
    """
    found = rt.spectrum(NETWORKS["gru"], 2)
    assert found.converged and found.error < 3e-3
    assert share_of_error(found, "gru", 2) < 1.0
    redrawn = rt.spectrum(NETWORKS["gru"].replace(tied=False), 2, population=4096)
    assert redrawn.error < 5e-3 and share_of_error(redrawn, "gru", 2) > 1.1
