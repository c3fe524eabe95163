"""The path along log lambda with tied weights: extrapolated starts, numbers, graded self-energies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_sites import CASES, one_state, random_energy

from rmtrnn.dyson.tied.gauge import in_gauge
from rmtrnn.dyson.tied.iteration import Differences, Point
from rmtrnn.dyson.tied.large_lambda import large_lambda
from rmtrnn.dyson.tied.path import Node, PathFollower, PathSettings, line
from rmtrnn.dyson.tied.site_matrices import SiteMatrices


def node(u, energy):
    none = Differences.none(energy)
    return Node(u, 0.5, 1.0, 0.0, Point(2 * u + 0j, energy, 0.0, 0.0, 1, True, none), np.zeros(0))


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
    expected, m = sites.log_determinant(energy, point)
    found, graded_m = graded.log_determinant(other, point)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert graded_m == pytest.approx(m, rel=1e-7)
    known, seen = sites.overlaps(energy, point), graded.overlaps(other, point)
    np.testing.assert_allclose(seen[0] / unit, known[0], atol=1e-10 * np.abs(known).max())
    np.testing.assert_allclose(seen[1], known[1], atol=1e-10 * np.abs(known).max())


@pytest.mark.parametrize("name", ["entered", "above", "mass", "longest"])
@pytest.mark.parametrize("factor", [3.0, 1.0 / 3.0])
def test_numbers_of_the_path_moved_by_three(name, factor):
    """They decide where points lie; F at a place is the same. A shift in u by a tenth would be noticed."""
    sites = SiteMatrices.of(one_state(3, 64, np.random.default_rng(2)), 3)
    far, plain = large_lambda(sites), PathSettings(tol=1e-2)
    value = getattr(plain, name) * factor
    moved = replace(plain, **{name: min(value, 0.95) if name == "entered" else value})
    curves = []
    for settings in (plain, moved):
        follower = PathFollower(sites, far, settings)
        nodes = follower.refined(follower.march())
        curves.append(np.array([[one.u, one.cdf] for one in nodes]))
    (u, cdf), (other_u, other_cdf) = curves[0].T, curves[1].T
    inside = (other_u > u[0]) & (other_u < u[-1])
    assert inside.sum() > 3
    assert np.abs(np.interp(other_u[inside], u, cdf) - other_cdf[inside]).max() < 0.02
    assert np.abs(np.interp(other_u[inside] - 0.3, u, cdf) - other_cdf[inside]).max() > 0.03
