"""The error of the cubic over a panel, and the panels that are halved for it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline
from scipy.stats import gumbel_l, norm

from rmtrnn.dyson.inversion.panel_refinement import (
    Settings,
    errors_of_cubics,
    panels_to_halve,
    stray_point,
)

FIRST = np.array([-4.0, -2.2, -1.2, -0.5, 0.1, 0.6, 1.2, 3.0])


def random_law(rng):
    """F and F' of one to four components, each of them normal or with a steep upper end."""
    parts = [
        (share, (gumbel_l if steep else norm)(centre, width))
        for share, steep, centre, width in zip(
            rng.dirichlet(np.ones(4))[: rng.integers(1, 5)],
            rng.random(4) < 0.5,
            rng.normal(0.0, 1.0, 4),
            np.exp(rng.normal(-0.7, 0.7, 4)),
            strict=False,
        )
    ]
    total = sum(share for share, _ in parts)
    return (
        lambda u: sum(share * part.cdf(u) for share, part in parts) / total,
        lambda u: sum(share * part.pdf(u) for share, part in parts) / total,
    )


def refined(F, density, u, tol):
    """Points with which no panel is left to be halved, as `rmtrnn.dyson.placement` finds them."""
    seen = False
    while (left := panels_to_halve(u, F(u), density(u), math.inf, Settings(tol=tol), seen)).size:
        u, seen = np.sort(np.concatenate([u, 0.5 * (u[left] + u[left + 1])])), True
    return u


def off(F, density, u):
    """The largest error of the cubic over each panel."""
    fine = np.linspace(u[:-1], u[1:], 33)
    return np.abs(CubicHermiteSpline(u, F(u), density(u))(fine) - F(fine)).max(axis=0)


@pytest.mark.parametrize("tol", [2e-3, 5e-4, 1e-4])
def test_panels_of_random_laws_are_as_good_as_asked_for(tol):
    rng = np.random.default_rng(5)
    errors = []
    for _ in range(200):
        F, density = random_law(rng)
        u = refined(F, density, FIRST, tol)
        p = density(u)
        inside = (p[1:] > 1e-6 * p.max()) & (F(u[:-1]) > tol) & (F(u[1:]) < 1 - tol)
        errors.append(off(F, density, u)[inside].max(initial=0.0) / tol)
    assert np.quantile(errors, 0.95) < 1.5
    assert max(errors) < 4.0


def test_the_error_of_a_quartic_is_exact():
    u = np.array([-1.0, -0.6, 0.1, 0.3, 1.0])
    C = errors_of_cubics(u, u**4 + 10 * u, 4 * u**3 + 10)
    np.testing.assert_allclose(C, np.diff(u) ** 4 / 16, rtol=1e-10)


def test_a_panel_that_agrees_by_accident():
    """Points of a minimalRNN's law: over one panel the trapezium rule is right, and the cubic off by 0.03."""
    u = np.array([-0.598, -0.448, -0.298, -0.148, 0.352, 0.419, 0.481])
    F = np.array([0.2598, 0.3528, 0.4801, 0.6535, 0.9964, 0.9989, 0.9997])
    density = np.array([0.5295, 0.7214, 0.9911, 1.3155, 0.0560, 0.0195, 0.0087])
    rise, trapezium = F[4] - F[3], 0.5 * (density[3] + density[4]) * (u[4] - u[3])
    assert abs(rise - trapezium) < 1e-4
    assert errors_of_cubics(u, F, density)[3] > 0.02
    assert 3 in panels_to_halve(u, F, density, math.inf, Settings(tol=5e-4))


def test_a_steep_rise_between_points_is_an_error():
    """The neighbours tell what the cubic errs by, within a factor of two, where it is no small part of F."""
    u, F = np.linspace(0.0, 1.0, 21), np.linspace(0.0, 1.0, 21) ** 2
    assert errors_of_cubics(u, F, 2 * u).max() < 1e-12
    gap = np.array([0, 1, 2, 3, 17, 18, 19, 20])
    steep = np.tanh(20 * (u - 0.5)) / 2 + 0.5
    slope = 10 / np.cosh(20 * (u - 0.5)) ** 2
    fine = np.linspace(0.15, 0.85, 101)
    cubic = CubicHermiteSpline(u[gap], steep[gap], slope[gap])(fine)
    true = np.abs(cubic - (np.tanh(20 * (fine - 0.5)) / 2 + 0.5)).max()
    assert 0.5 * true < errors_of_cubics(u[gap], steep[gap], slope[gap]).max() < 2.0 * true


def test_two_points_know_half_of_the_rise():
    np.testing.assert_allclose(errors_of_cubics(np.array([0.0, 1.0]), np.array([0.1, 0.7]), np.ones(2)), 0.3)


@pytest.mark.parametrize("place", [2, 5, 8])
def test_a_point_that_contradicts_the_others_is_found(place):
    """A density ten times too large, or F off by less than makes it fall: the others are right, it is not."""
    u = np.linspace(-3.0, 3.0, 11)
    F = 1.0 / (1.0 + np.exp(-u))
    density = F * (1.0 - F)
    assert stray_point(u, F, density, 1e-4) is None
    assert stray_point(u, F, np.where(np.arange(11) == place, 10.0, 1.0) * density, 1e-2) == place
    found = stray_point(u, F + 0.02 * (np.arange(11) == place), density, 1e-4)
    assert found is not None and abs(found - place) <= 1  # near an end the last point may be the odd one


def test_points_of_a_steep_law_are_no_strays():
    """The middle of a rise between flat parts errs most, and less than without it."""
    u = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0])
    F = 0.5 + 0.5 * np.tanh(6 * u)
    assert stray_point(u, F, 3 / np.cosh(6 * u) ** 2, 1e-3) is None
