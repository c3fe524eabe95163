"""Laws found at a positive arg λ: the way back to the real axis, and long chains against sampled networks."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from sampled_quantiles import NETWORKS
from test_corrected_law import share_of_error

import rmtrnn as rt
from rmtrnn.dyson.tied import angled
from rmtrnn.dyson.tied import law as law_module
from rmtrnn.dyson.tied.angled import on_the_real_axis
from rmtrnn.dyson.tied.iteration import Differences, Point, gauge_unit
from rmtrnn.dyson.tied.path import Node

ANGLE = 0.3


def logistic_nodes(angle, spacing=0.4):
    """log s logistic: 1 - F, continued to x + i angle, x = 2 u; to first order as `angled_node` has it.

    Ψ = log(1 - s²/λ) averaged over s, by quadrature.
    """
    t = np.linspace(-40.0, 40.0, 80001)
    weight = np.exp(-np.abs(t)) / (1.0 + np.exp(-np.abs(t))) ** 2 * (t[1] - t[0])
    none = np.zeros((2, 1, 1, 1), dtype=complex)
    nodes = []
    for u in np.arange(-6.0, 6.0, spacing):
        ratio = np.exp(2.0 * (t - u) - 1j * angle)
        psi, m = weight @ np.log(1.0 - ratio), weight @ (ratio / (1.0 - ratio))
        point = Point(complex(2 * u, angle), none, 0.0, 0.0, 2, True, Differences.none(none))
        survival = (psi - 1j * angle * m).imag / np.pi
        nodes.append(Node(u, 1.0 - survival, -2.0 / np.pi * m.imag, 0.0, point, np.zeros(0), m))
    return nodes


@pytest.mark.equation(23)
def test_a_smooth_law_is_found_on_the_real_axis():
    """Within the stated error; to first order alone it is off by more."""
    nodes = logistic_nodes(ANGLE)
    found, error = on_the_real_axis(nodes)
    u = np.array([node.u for node in nodes])
    exact = 1.0 / (1.0 + np.exp(-u))
    off = np.abs(np.array([node.cdf for node in found]) - exact).max()
    before = np.abs(np.array([node.cdf for node in nodes]) - exact).max()
    assert off < max(error, 1e-5) and error < 1e-3 and before > 3 * off
    slopes = np.array([node.density for node in found])[1:-1]
    np.testing.assert_allclose(slopes, (exact * (1.0 - exact))[1:-1], atol=0.02)


def test_what_falls_is_an_error():
    """A point that regressions put a thousandth too low: F rises all the same, and the error holds it."""
    nodes = logistic_nodes(ANGLE)
    nodes[0] = replace(nodes[0], cdf=nodes[0].cdf + 3e-3)
    found, error = on_the_real_axis(nodes)
    assert nodes[0].cdf > nodes[1].cdf and found[0].cdf <= found[1].cdf
    assert 5e-4 < error < 3e-3
    assert on_the_real_axis(logistic_nodes(ANGLE))[1] < 1e-4


def test_points_that_are_not_solved_stay():
    nodes = logistic_nodes(ANGLE)
    nodes[3] = replace(nodes[3], cdf=np.nan)
    found, error = on_the_real_axis(nodes)
    assert found[3] is nodes[3] and np.isfinite(error)
    assert on_the_real_axis(nodes[:3]) == (nodes[:3], np.inf)


def test_what_grows_by_many_orders_along_the_steps_is_not_nothing():
    """P from 1 to 1e-40 and Q the other way: the units of an entry are those of its own size."""
    decay = 10.0 ** -np.arange(0.0, 40.0)
    energy = np.array([np.diag(decay), np.diag(1.0 / decay)])[:, None] * (1.0 - 1.0j)
    unit = gauge_unit(energy)
    np.testing.assert_allclose(np.diagonal(unit[0, 0]), np.sqrt(2.0) * decay, rtol=1e-12)
    energy[0, 0, -1, -1] = energy[1, 0, -1, -1] = 0.0  # here nothing passes
    assert (gauge_unit(energy) > 0.0).all()


@pytest.fixture(scope="module")
def plain():
    return law()


def law():
    return rt.spectrum(NETWORKS["minimal"], 16, population=512, tol=4e-3)


@pytest.mark.parametrize("name", [one.name for one in fields(angled.AngleSettings)])
@pytest.mark.parametrize("factor", [3.0, 1.0 / 3.0])
def test_numbers_moved_by_three(name, factor, plain, monkeypatch):
    value = min(factor * getattr(angled._ANGLE, name), 0.9)
    monkeypatch.setattr(angled, "_ANGLE", replace(angled._ANGLE, **{name: value}))
    found = law()
    u = plain.log_s.icdf(np.linspace(0.05, 0.95, 19))
    assert found.converged
    assert np.abs(found.log_s.cdf(u) - plain.log_s.cdf(u)).max() < plain.error + found.error


def test_few_points_are_no_law_from_above():
    """Sixteen points end in the middle of it: they go to the real axis."""
    ens = rt.Ensemble("gru", sigma_w=1.2, sigma_v=0.5, sigma_b=0.2, tied=True)
    found, more = (rt.spectrum(ens, 2, population=64, tol=1e-2, max_points=points) for points in (16, 100))
    assert found.converged and more.converged
    assert abs(found.log_s.cdf(more.log_s.icdf(0.3)) - 0.3) < found.error + more.error


@pytest.mark.parametrize("factor", [1e-9, 1.0 / 3.0, 3.0, 1e9])
def test_the_law_is_the_same_from_an_angle_and_along_the_real_axis(factor, monkeypatch):
    """Ten steps of a GRU, where both ways serve: the share of the tolerance that the way back may err by."""
    u = np.array([-12.0, -8.0, -5.0, -3.0, -1.5])
    options = {"population": 512, "tol": 2e-3}
    plain = rt.spectrum(NETWORKS["gru"], 10, **options)
    monkeypatch.setattr(law_module, "_WAY_BACK", factor * law_module._WAY_BACK)
    found = rt.spectrum(NETWORKS["gru"], 10, **options)
    assert plain.converged and found.converged
    assert np.abs(found.log_s.cdf(u) - plain.log_s.cdf(u)).max() < options["tol"]
    assert np.abs(found.log_s.cdf(u + 0.3) - plain.log_s.cdf(u)).max() > 10 * options["tol"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "T", "other"),
    [
        pytest.param("minimal", 60, 100, marks=pytest.mark.sweep),
        ("gru", 30, None),
        ("lstm", 10, None),
        pytest.param("minimal", 100, 60, marks=pytest.mark.sweep),
    ],
)
def test_long_chains(name, T, other):
    """Converged, within both errors of 16 networks of 800 units everywhere; another length is rejected.

    So is the law of untied weights, where no other length was sampled.
    """
    found = rt.spectrum(NETWORKS[name], T)
    assert found.converged and found.error < 2e-2
    assert share_of_error(found, name, T) < 1.0
    assert found.density_moment(1) == pytest.approx(found.moment(1), rel=1e-3)
    if other is None:
        found, other = rt.spectrum(NETWORKS[name].replace(tied=False), T), T
    assert share_of_error(found, name, other) > 1.5
