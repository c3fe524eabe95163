"""Numbers of the search for supports, moved by three both ways: laws stay within their errors."""

from dataclasses import fields, replace

import numpy as np
import pytest

from rmtrnn.free import (
    Discrete,
    MarchenkoPastur,
    Semicircle,
    positive_law,
    subordination,
    subordination_newton,
    support_search,
)

X = np.linspace(-2.5, 6.0, 41)
# A gap, two intervals beside atoms, and a law on both sides of zero.
LAWS = {
    "gap": lambda: Semicircle(0.5) + Discrete([0.0, 4.0], [0.5, 0.5]) + MarchenkoPastur(0.1),
    "atom": lambda: Discrete([0.0, 1.0], [0.3, 0.7]) + Discrete([0.0, 1.0], [0.2, 0.8]),
    "product": lambda: Semicircle(1.0) @ MarchenkoPastur(0.5),
}
NUMBERS = [f.name for f in fields(support_search.SupportSettings) if f.name not in ("scan", "nodes")]


@pytest.fixture(scope="module")
def usual():
    return {name: (make().cdf(X), make().error) for name, make in LAWS.items()}


@pytest.mark.sweep
@pytest.mark.parametrize("factor", [1 / 3, 3.0])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_the_support(usual, monkeypatch, name, factor):
    value = getattr(support_search.SEARCH, name)
    moved = replace(support_search.SEARCH, **{name: type(value)(value * factor)})
    monkeypatch.setattr(support_search, "SEARCH", moved)
    monkeypatch.setattr(subordination, "SEARCH", moved)
    check({name: usual[name] for name in ("atom", "product")})


@pytest.mark.sweep
@pytest.mark.parametrize("part", [slice(None, None, 2), slice(1, None)])
@pytest.mark.parametrize("name", ["scan", "nodes"])
def test_schedules_of_the_support(usual, monkeypatch, name, part):
    """Every second scan or number of nodes, or a larger first."""
    moved = replace(support_search.SEARCH, **{name: getattr(support_search.SEARCH, name)[part]})
    monkeypatch.setattr(support_search, "SEARCH", moved)
    monkeypatch.setattr(subordination, "SEARCH", moved)
    check(usual)


def check(usual):
    for name, (cdf, error) in usual.items():
        law = LAWS[name]()
        assert np.max(np.abs(law.cdf(X) - cdf)) <= law.error + error + 1e-9, name


@pytest.mark.parametrize("factor", [1 / 3, 3.0])
@pytest.mark.parametrize("name", [f.name for f in fields(subordination_newton.DescentSettings)])
def test_numbers_of_the_descent(usual, monkeypatch, name, factor):
    value = getattr(subordination_newton._DESCENT, name)
    low = 14 if name == "iterations" else 0  # in a gap Im ω falls by ten with each
    high = 0.9 if name in ("factor", "shrink") else np.inf
    moved = {name: type(value)(np.clip(value * factor, low, high))}
    monkeypatch.setattr(subordination_newton, "_DESCENT", replace(subordination_newton._DESCENT, **moved))
    check({name: usual[name] for name in ("gap",)})


@pytest.mark.parametrize("factor", [1 / 3, 3.0])
@pytest.mark.parametrize("name", ["nearest", "met"])
def test_numbers_of_the_real_axis(monkeypatch, name, factor):
    """S and R of a product invert M and G on the axis: their values and their domain stay."""
    law = MarchenkoPastur(0.5) @ MarchenkoPastur()
    m, g = np.array([-0.4, -1e-3, 0.3]), np.array([-3.0, -0.1, 0.05])
    before = np.concatenate([law.S(m), law.R(g)])
    moved = replace(positive_law._REAL_AXIS, **{name: getattr(positive_law._REAL_AXIS, name) * factor})
    monkeypatch.setattr(positive_law, "_REAL_AXIS", moved)
    again = MarchenkoPastur(0.5) @ MarchenkoPastur()
    np.testing.assert_allclose(np.concatenate([again.S(m), again.R(g)]), before, rtol=1e-8)
    with pytest.raises(ValueError, match="must lie in"):
        again.S(-5.0)
