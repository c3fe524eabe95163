"""Empirical settings of the search for critical points, moved by a factor of three both ways."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest

import rmtrnn as rt
from rmtrnn.criticality import root_search
from rmtrnn.criticality.root_search import SEARCH, free_parameters, place, solve, spread

BASE = rt.Ensemble("minimal", sigma_v=1.39, R=0.46)
LINE = {"sigma_w": (5.0, 9.0)}
PLANE = {"sigma_w": (5.0, 9.0), "mu_b": (-1.0, 3.0)}
FEW = (1, 5, 3)  # points along the second parameter: the tests take seconds


def solved(free, monkeypatch=None, **changes):
    if monkeypatch is not None:
        monkeypatch.setattr(root_search, "SEARCH", replace(SEARCH, manifold=FEW, **changes))
    chosen, chi, _ = solve(BASE, free_parameters(BASE, free), 2)
    assert abs(chi - 1.0) < 1e-8
    return chosen


@functools.lru_cache(maxsize=1)
def usual_spread():
    with pytest.MonkeyPatch.context() as patch:
        return spread(solved(PLANE, patch), 2)


@pytest.mark.parametrize("points", [22, 195])
def test_points_of_the_scan(monkeypatch, points):
    one = solved(LINE, monkeypatch, points=points)
    assert one.gate("e").sigma_w == pytest.approx(solved(LINE).gate("e").sigma_w, rel=1e-9)


@pytest.mark.sweep
@pytest.mark.parametrize(
    "changes",
    [{"refinement": 0.15}, {"refinement": 0.017}, {"sites": 2**7}, {"sites": 2**11}, {"nowhere": 3e8}],
)
def test_choice_on_a_manifold(monkeypatch, changes):
    """The spread is flat at its minimum: where it is taken moves, how large it is does not."""
    one = solved(PLANE, monkeypatch, points=22, **changes)
    monkeypatch.undo()
    assert spread(one, 2) == pytest.approx(usual_spread(), rel=0.02)


@pytest.mark.parametrize("changes", [{"noisy_step": 3e-4}, {"noisy_step": 3e-3}, {"correction": (1e-3,)}])
def test_sampled_chi(monkeypatch, changes):
    """The LSTM by transfer operators is smooth: what a noisy χ would need does not move its root."""
    base, free = rt.Ensemble("lstm", sigma_v=0.5, mu_b=0.5, sigma_b=0.1), {"sigma_w": (2.0, 6.0)}
    monkeypatch.setattr(root_search, "SEARCH", replace(SEARCH, **changes))
    parameters = free_parameters(base, free)
    line = root_search._Line(base, parameters, ())
    root = root_search._root(line, 3.0, 5.0)
    assert root is not None
    assert abs(line.excess(root)) < 1e-8
    assert place(base, parameters, (root,)).gate("f").sigma_w == root
