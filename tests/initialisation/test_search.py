"""The search behind `rmtrnn.initialize`: its coordinates, its batches, problems on which it once failed."""

from dataclasses import replace

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.initialisation import space as spaces
from rmtrnn.initialisation.search import EFFORT, Price, Problem
from rmtrnn.initialisation.space import Coordinates, Free, build_space
from rmtrnn.initialisation.starts import carried, scattered, unlike
from validation.initialisation import random_fixed

BASE = rt.Ensemble("minimal", weights="orthogonal", tied=True)


@pytest.mark.parametrize("free", [Free("mu_b", 0, -3.0, 2.0), Free("sigma_w", 0, 0.01, 4.0)])
def test_coordinates_and_values_are_inverse(free):
    x = np.linspace(0.0, 1.0, 11)
    assert [free.coordinate(value) for value in free.value(x)] == pytest.approx(list(x), abs=1e-12)
    assert free.value(np.array([-1.0, 2.0])) == pytest.approx([free.low, free.high])
    assert free.coordinate(1e3) == 1.0


@pytest.mark.parametrize("T", [2, 1000])
def test_fine_coordinates(T):
    """Inverse of each other, the same bounds; variances of 1/T² are no corner of the cube."""
    space = build_space(BASE, T, {}, {})
    finer, x = space.resolving(T), np.linspace(0.0, 1.0, 11)
    for one, usual in zip(finer.free, space.free, strict=True):
        assert [one.coordinate(value) for value in one.value(x)] == pytest.approx(list(x), abs=1e-12)
        assert one.value(np.array([-1.0, 2.0])) == pytest.approx([usual.low, usual.high])
    ens = BASE.replace(mu_b=1.0, sigma_w=0.5, sigma_v=1.0 / T, sigma_b=0.0)
    x = finer.place(ens)
    assert finer.ensemble(x).sigma_v == pytest.approx(1.0 / T) and space.place(finer.ensemble(x)) is not None
    assert x[[one.name for one in finer.free].index("sigma_v")] > 0.04


@pytest.mark.sweep
def test_continual_update_network_of_long_memory_has_a_solution():
    """Its inputs must be of the order 1/T: coordinates that resolve 1/400 of a variance miss all points."""
    assert rt.initialize("cfn", 1000).status is not rt.Status.NO_SOLUTION


def test_a_race_leaves_the_better_half():
    problem = Problem(build_space(BASE, 6, {}, {}), 6, replace(EFFORT, scattered=0))
    starts, price = scattered(4, 4), Price(EFFORT.penalty)
    before = problem.terms(starts).merit(*price)
    raced, whole = problem.solve(starts, 3, price, race=1), problem.solve(starts, 3, price)
    assert max(one.merit for one in raced) >= before.max()
    slower = [one.merit < other.merit for one, other in zip(raced, whole, strict=True)]
    assert 2 <= sum(slower) <= 3  # half of them stopped after one step, a half of the rest after two


@pytest.mark.sweep
@pytest.mark.parametrize("factor", [1 / 3, 3])
def test_steepness_hardly_matters(factor, monkeypatch):
    kept = {"sigma_b": 0.0, "sigma_w": 0.5}
    usual = rt.initialize("minimal", 10, fix=kept).smallest
    steep = Coordinates(factor * spaces.COORDINATES.steepness)
    monkeypatch.setattr(spaces, "COORDINATES", steep)
    assert rt.initialize("minimal", 10, fix=kept).smallest == pytest.approx(usual, rel=0.05)


def test_searches_side_by_side_are_those_of_one_after_another():
    problem = Problem(build_space(BASE, 6, {}, {}), 6, replace(EFFORT, scattered=0))
    starts, price = scattered(4, 3), Price(EFFORT.penalty)
    together = problem.solve(starts, 3, price)
    alone = [problem.solve(one[None], 3, price)[0] for one in starts]
    for first, second in zip(together, alone, strict=True):
        assert first.x == pytest.approx(second.x, abs=1e-9) and first.merit == pytest.approx(second.merit)
    before = problem.terms(starts).merit(*price)
    assert all(one.merit > old for one, old in zip(together, before, strict=True))
    seen = problem.evaluations
    assert problem.terms(starts).log_input.shape[1] == 3 and problem.evaluations == seen


def test_a_correction_stays_on_a_curved_ridge():
    """Without corrections the search of minimalRNN over 40 steps creeps; it ended 20 % lower."""
    space = build_space(BASE, 40, {}, {})
    start = space.place(BASE.replace(mu_b=3.9, sigma_w=2.1, sigma_v=0.8, sigma_b=0.1))[None]
    merits = []
    for corrected in (0, 2):
        problem = Problem(space, 40, replace(EFFORT, corrected=corrected))
        merits.append(problem.best(start, 10, Price(EFFORT.penalty)).merit)
    assert merits[1] > merits[0]


def test_starts():
    candidates = np.array([[0.0], [0.01], [0.5], [0.9]])
    assert unlike(candidates, np.array([1.0, 2.0, 0.0, 3.0]), 2, 0.2)[:, 0].tolist() == [0.9, 0.01]
    space = build_space(BASE, 40, {"sigma_b": 0.0}, {})
    x = space.place(BASE.replace(mu_b=2.0, sigma_w=1.0, sigma_v=0.8))
    found = space.points(carried(space, x, None, 4.0, every=False))
    assert found.mu_b[0] == pytest.approx([2.0, *[2.0 + np.log(4.0)] * 5])
    assert found.sigma_v[0] == pytest.approx([0.8, 0.8, 0.4, 0.4, 0.2, 0.2])
    assert found.sigma_w[0] == pytest.approx([1.0, 1.0, 1.0, 0.5, 1.0, 0.25])
    assert np.array_equal(scattered(3, 50), scattered(3, 50)) and scattered(3, 1).shape == (0, 3)


def moved(name, factor):
    value = getattr(EFFORT, name)
    if isinstance(value, tuple):
        return tuple(factor * one for one in value)
    return type(value)(max(round(factor * value), 2 if name == "ratio" else 1))


@pytest.mark.sweep
@pytest.mark.parametrize("factor", [1 / 3, 3])
@pytest.mark.parametrize("name", ["corrected", "call", "race", "ratio", "final", "basins"])
def test_numbers_of_the_descents_hardly_matter(name, factor):
    kept = {"sigma_b": 0.0, "sigma_w": 0.5}
    usual = rt.initialize("minimal", 40, fix=kept)
    other = rt.initialize("minimal", 40, fix=kept, effort=replace(EFFORT, **{name: moved(name, factor)}))
    assert other.smallest == pytest.approx(usual.smallest, rel=0.05)


@pytest.mark.sweep
@pytest.mark.parametrize("factor", [1 / 3, 3])
@pytest.mark.parametrize("name", ["dearer", "zooms", "call", "corrected"])
def test_numbers_of_the_search_within_the_limits_hardly_matter(name, factor):
    """A UGRNN that an earlier search said to have no solution."""
    cell, T, kinds, fix = random_fixed.problem(101)
    plan = rt.initialize(cell, T, fix=fix, effort=replace(EFFORT, **{name: moved(name, factor)}), **kinds)
    assert plan.status is not rt.Status.NO_SOLUTION


@pytest.mark.slow
@pytest.mark.parametrize("index", [100, *(pytest.param(k, marks=pytest.mark.sweep) for k in (101, 183))])
def test_problems_on_which_a_scan_was_better(index):
    """Two local optima, and one that was said to have no solution."""
    row = random_fixed.row(index)
    assert row["meets"] and random_fixed.decisive(row) <= random_fixed.ALLOWED
