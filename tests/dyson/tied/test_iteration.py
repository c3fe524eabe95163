"""Anderson acceleration of (15): one point from everywhere, numbers moved by three, no false success."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_sites import one_state, two_stages

from rmtrnn.dyson.self_energy import REAL_AXIS
from rmtrnn.dyson.tied import iteration
from rmtrnn.dyson.tied.iteration import (
    gauge_unit,
    is_lower,
    projected_to_lower_half_plane,
    relative_size,
    solve,
)
from rmtrnn.dyson.tied.large_lambda import large_lambda
from rmtrnn.dyson.tied.node import node_at
from rmtrnn.dyson.tied.site_matrices import SiteMatrices


def solve_from_above(sites, energy, log_lambda, tol):
    """Iterate (15) at smaller and smaller arg λ > 0, where there is one solution, and on the real axis."""
    near = projected_to_lower_half_plane(energy)
    for angle in (0.3, 0.03, REAL_AXIS):
        point = solve(sites, near, complex(log_lambda, angle), tol)
        near = point.energy
    return point


def start(build, steps=5, n=40, seed=2):
    sites = SiteMatrices.of(build(steps, n, np.random.default_rng(seed)), steps)
    far = large_lambda(sites)
    return sites, far.log_m1 - 1.0, far.energy(sites, complex(far.log_m1 - 1.0, 0.3))


@pytest.mark.parametrize("build", [one_state, two_stages])
@pytest.mark.equation(15)
def test_detours_end_at_the_same_point(build):
    """Directly, and by way of arg lambda > 0 from the wrong side of the real axis."""
    sites, log_lambda, energy = start(build)
    direct = solve_from_above(sites, energy, log_lambda, 1e-16)
    around = solve_from_above(sites, np.conj(direct.energy), log_lambda, 1e-16)
    assert direct.is_solved(1e-16) and around.is_solved(1e-16)
    assert not is_lower(np.conj(direct.energy))
    unit = gauge_unit(direct.energy)
    assert relative_size(direct.energy - around.energy, unit) < 1e-6


@pytest.mark.parametrize("name", ["depth", "mixing", "rank", "least", "most", "warm", "astray", "settled"])
@pytest.mark.parametrize("factor", [3.0, 1.0 / 3.0])
def test_numbers_moved_by_three(name, factor, monkeypatch):
    """The point is the same; a share of more than all of the change has no meaning."""
    sites, log_lambda, energy = start(one_state)
    plain = solve(sites, energy, log_lambda + 0.1j, 1e-12)
    value = getattr(iteration._ITERATION, name) * factor
    value = min(value, 1.0) if name == "mixing" else type(getattr(iteration._ITERATION, name))(value)
    monkeypatch.setattr(iteration, "_ITERATION", replace(iteration._ITERATION, **{name: value}))
    moved = solve(sites, energy, log_lambda + 0.1j, 1e-12)
    assert plain.is_solved(1e-12) and moved.is_solved(1e-12)
    assert relative_size(plain.energy - moved.energy, gauge_unit(plain.energy)) < 1e-4


def test_an_iteration_that_is_cut_short_says_so(monkeypatch):
    sites, log_lambda, energy = start(one_state)
    monkeypatch.setattr(iteration, "_ITERATION", replace(iteration._ITERATION, most=2))
    assert solve(sites, energy, log_lambda + 0.0j, 1e-12).error > 1e-12


def test_what_lies_above_the_real_axis_is_put_below():
    _, _, energy = start(two_stages)
    below = projected_to_lower_half_plane(np.conj(energy))
    assert not is_lower(np.conj(energy)) and is_lower(below)
    np.testing.assert_allclose(
        projected_to_lower_half_plane(energy), energy, atol=1e-12 * np.abs(energy).max()
    )
    np.testing.assert_array_equal(np.real(below), np.real(energy))


def test_a_singular_site_ends_the_iteration_with_the_best_point(monkeypatch):
    """Whether a pivot is exactly 0 depends on rounding: NumPy 2.5 found one that NumPy 2.4 did not."""
    (sites, log_lambda, energy), calls = start(one_state), []
    known = SiteMatrices.overlaps

    def singular(self, *arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise np.linalg.LinAlgError("Singular matrix")
        return known(self, *arguments)

    monkeypatch.setattr(SiteMatrices, "overlaps", singular)
    point = solve(sites, energy, log_lambda + 0.1j, 1e-20)
    assert len(calls) == point.evaluations == 3
    assert np.isfinite(point.energy).all() and 1e-12 < point.relative < np.inf


def test_what_has_overflown_is_given_up():
    """Far below the law of a network with exact zeros, as an LSTM with peepholes, no point is solved."""
    sites, log_lambda, energy = start(one_state)
    for lost in (0.0 * energy, np.inf * energy.real):
        point = solve(sites, lost, log_lambda + 0.1j, 1e-12)
        assert point.evaluations == 1 and not point.is_solved(1e-12)
        node = node_at(sites, point)
        assert not node.point.is_solved(1e-12)


def test_what_grows_by_many_orders_along_the_steps_is_not_nothing():
    """P from 1 to 1e-40 and Q the other way: the units of an entry are those of its own size."""
    decay = 10.0 ** -np.arange(0.0, 40.0)
    energy = np.array([np.diag(decay), np.diag(1.0 / decay)])[:, None] * (1.0 - 1.0j)
    unit = gauge_unit(energy)
    np.testing.assert_allclose(np.diagonal(unit[0, 0]), np.sqrt(2.0) * decay, rtol=1e-12)
    energy[0, 0, -1, -1] = energy[1, 0, -1, -1] = 0.0  # here nothing passes
    assert (gauge_unit(energy) > 0.0).all()
