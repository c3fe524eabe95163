"""Every number of the untied Dyson solver, moved by three both ways: the law stays within its error."""

import contextlib
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.dyson import (
    chain_law,
    continuation,
    diagonal_jacobian,
    full_population,
    negative_axis,
    newton,
    placement,
)
from rmtrnn.dyson.inversion import error_budget, panel_refinement, tail_extension
from rmtrnn.dyson.law import untied_law

METHODS = {
    "newton": newton._NEWTON,
    "axis": negative_axis.AXIS,
    "arc": continuation._ARC,
    "path": continuation._PATH,
    "scan": placement.SCAN,
    "sizes": placement.SIZES,
    "points": placement._POINTS,
    "finish": chain_law._FINISH,
    "correction": full_population.CORRECTION,
    "panels": panel_refinement.PANELS,
    "tails": tail_extension.TAILS,
    "powers": tail_extension.POWER,
    "errors": error_budget.ERRORS,
}
# Beyond 1 a share is none; two Newton iterations of (13) are too few to find anything.
LIMITS = {
    ("arc", "growth"): (1.05, np.inf),
    ("arc", "shrink"): (0.0, 0.9),
    ("axis", "iterations"): (10, np.inf),
    ("finish", "near"): (0.0, 0.9),
    ("panels", "longest_step"): (0.0, 1.0),
    ("panels", "room"): (0.0, 0.9),
    ("path", "iterations"): (5, np.inf),
    ("points", "iterations"): (5, np.inf),
    ("scan", "bisections"): (8, np.inf),
    ("sizes", "kept"): (0.0, 1.0),
    ("sizes", "per_gate"): (1.0, np.inf),
    ("tails", "light"): (0.0, 1.0),
    ("correction", "leaves"): (0.0, 1.0),
}
NUMBERS = [
    (name, field.name)
    for name, method in METHODS.items()
    for field in fields(method)
    if isinstance(getattr(method, field.name), int | float)
]
NETWORKS = {
    "minimal": (rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5), 3),
    "published": (rt.Ensemble("minimal", sigma_w=6.88, sigma_v=1.39, mu_b=0.0, R=0.46), 4),
}


@contextlib.contextmanager
def moved(name, field, factor):
    """A field of a method's settings times ``factor``, integers rounded, inside its limits."""
    method = METHODS[name]
    before = getattr(method, field)
    low, high = LIMITS.get((name, field), (-np.inf, np.inf))
    value = type(before)(np.clip(before * factor, low, high))
    object.__setattr__(method, field, max(value, 1) if isinstance(before, int) else value)
    try:
        yield
    finally:
        object.__setattr__(method, field, before)


def law_of(network):
    ens, T = NETWORKS[network]
    return untied_law(ens, T, population=2048, tol=1e-3)


def check(network, name, field, factor, usual):
    with moved(name, field, factor):
        law = law_of(network)
    u = usual.icdf(np.linspace(0.01, 0.99, 300))
    assert np.isfinite(law.error)
    assert np.abs(law.cdf(u) - usual.cdf(u)).max() <= usual.error + law.error


@pytest.fixture(scope="module")
def usual():
    return {network: law_of(network) for network in NETWORKS}


@pytest.mark.sweep
@pytest.mark.parametrize("factor", [3.0, 1 / 3])
@pytest.mark.parametrize(("name", "field"), NUMBERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_no_number_decides(network, name, field, factor, usual):
    check(network, name, field, factor, usual[network])


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
@pytest.mark.parametrize(
    ("name", "field"), [("newton", "longest_step"), ("tails", "few_sites"), ("panels", "moment")]
)
def test_empirical_numbers_do_not_decide(name, field, factor, usual):
    check("minimal", name, field, factor, usual["minimal"])


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
@pytest.mark.parametrize("name", [field.name for field in fields(diagonal_jacobian.LevelSettings)])
def test_levels_of_a_diagonal_jacobian_do_not_decide(name, factor, monkeypatch):
    ens = rt.Ensemble("mingru", R=0.5)
    usual = untied_law(ens, 3, population=4096)
    value = max(int(getattr(diagonal_jacobian._LEVELS, name) * factor), 2)
    monkeypatch.setattr(diagonal_jacobian, "_LEVELS", replace(diagonal_jacobian._LEVELS, **{name: value}))
    law = untied_law(ens, 3, population=4096)
    u = usual.icdf(np.linspace(0.01, 0.99, 300))
    assert np.abs(law.cdf(u) - usual.cdf(u)).max() <= usual.error + law.error


def test_a_number_that_matters_is_seen():
    """The control: the number of sites, a third of which gives another law."""
    ens, T = NETWORKS["minimal"]
    few, many = (untied_law(ens, T, population=n, tol=1e-3) for n in (512, 8192))
    assert few.error > 1.5 * many.error


def test_every_method_has_at_most_ten_numbers():
    for method in METHODS.values():
        assert is_dataclass(method)
        assert len(fields(method)) <= 10
