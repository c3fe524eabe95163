"""The outer ends of laws from finite populations: no spikes, no gaps, and the right form where known."""

from __future__ import annotations

import numpy as np
import pytest
from reference.cells import leaky

import rmtrnn as rt
from rmtrnn._core.status import Status
from rmtrnn.dyson.chain_law import chain_law
from rmtrnn.dyson.pencil import Chain, Stage
from rmtrnn.laws.protocol import LogView
from rmtrnn.laws.tails import EDGE, SHARPEST, clearly_falling, monotone_density, pareto_tail

SMALL_TIED = {"population": 4096}


QUICKSTART = {"sigma_w": 3.0, "sigma_v": 1.2, "mu_b": 2.0, "R": 0.46}
ORDINARY = {"sigma_w": 2.0, "sigma_v": 1.0, "mu_b": 1.0, "R": 0.5}
LEAKY = {"sigma_w": 1.5, "sigma_v": 0.5}
CASES = [
    ("minimal", QUICKSTART, 4, "orthogonal", {}),
    ("minimal", QUICKSTART, 4, "gaussian", {"population": 8192}),
    ("minimal", QUICKSTART, 4, "orthogonal", {"population": 8192}),
    ("minimal", ORDINARY, 1, "gaussian", {"population": 8192}),
    ("minimal", ORDINARY, 1, "orthogonal", {"population": 8192}),
    ("minimal", ORDINARY, 10, "orthogonal", {"population": 8192}),
    ("gru", ORDINARY, 2, "gaussian", {"population": 4096}),
    ("lstm", ORDINARY, 1, "gaussian", {"population": 4096}),
    (leaky(), LEAKY, 3, "gaussian", {"population": 4096}),
    (leaky(), LEAKY, 1, "orthogonal", {"population": 4096}),
    (leaky(), {**LEAKY, "tied": True}, 1, "orthogonal", SMALL_TIED),
    (leaky(), {**LEAKY, "tied": True}, 3, "gaussian", SMALL_TIED),
]


def worst_rise(law, side, mass=0.01):
    """Largest rise of the density of log s outwards, beyond the last ``mass``, relative to where it begins.

    Points are spaced as cosines, so that the ends are looked at closely.
    """
    start = law.icdf(mass if side < 0 else 1.0 - mass)
    end = law.support[0][0] if side < 0 else law.support[-1][1]
    u = start + (end - start) * np.sin(np.linspace(0.0, np.pi / 2, 5001)[:-1]) ** 2
    density = law.pdf(u)
    return float(np.max(density - np.minimum.accumulate(density)) / density[0])


@pytest.mark.parametrize(("cell", "parameters", "T", "weights", "options"), CASES)
def test_density_falls_towards_both_ends(cell, parameters, T, weights, options):
    """Beyond the last percent; the bumps of single sites would raise it many times over."""
    law = rt.spectrum(rt.Ensemble(cell, weights=weights, **parameters), T, **options).log_s
    assert max(worst_rise(law, side) for side in (-1, 1)) < 0.03


def test_outermost_sites_do_not_shape_the_end():
    """A few sites far out, each an island of its own in a small population, leave no island in the law."""
    rng = np.random.default_rng(4)
    a = rng.uniform(0.3, 0.9, size=(1, 1, 4096))
    a[0, 0, :6] = [0.01, 0.02, 0.03, 3.0, 4.0, 5.0]
    b = np.full_like(a, 0.1)
    law, _ = chain_law(Chain([Stage(a, b, np.ones_like(b), (1.0,), (False,))]), groups=8)
    assert len(law.support) == 1
    assert max(worst_rise(LogView(law), side) for side in (-1, 1)) < 0.03
    assert law.mass == pytest.approx(1.0, abs=1e-12)


def test_a_true_gap_stays():
    """Two groups of sites, far apart, one with a tenth of the mass."""
    rng = np.random.default_rng(4)
    a = rng.uniform(0.5, 0.6, size=(1, 1, 4096))
    a[0, 0, :400] = 4.0 + 0.1 * rng.uniform(size=400)
    b = np.full_like(a, 0.1)
    law, _ = chain_law(Chain([Stage(a, b, np.ones_like(b), (1.0,), (False,))]), groups=8)
    assert len(law.support) == 2
    assert law.cdf(np.array([1.0]))[0] == pytest.approx(3696 / 4096, abs=1e-6)


def test_a_band_far_below_a_gap_is_found():
    """Half of the mass lies ten units of log s lower, as the second component of an LSTM's state does."""
    rng = np.random.default_rng(4)
    a = rng.uniform(0.5, 0.6, size=(1, 1, 4096))
    a[0, 0, ::2] = np.exp(rng.uniform(-14.0, -10.0, size=2048))
    b = 0.2 * a
    law, parts = chain_law(Chain([Stage(a, b, np.ones_like(b), (1.0,), (False,))]), groups=8)
    assert law.status is Status.CONVERGED
    assert parts.total - parts.population < 2e-3  # nothing is lost; the sites are independent draws
    np.testing.assert_allclose(law.cdf(np.array([-18.0, -6.0, 1.0])), [0.0, 0.5, 1.0], atol=1e-6)
    assert law.icdf(np.array([0.25]))[0] == pytest.approx(-12.0, abs=0.1)


def pareto(x, mass, alpha, reach):
    left = mass * (1 - x / reach) ** alpha
    return left, alpha / (reach - x)


@pytest.mark.parametrize("alpha", [1.5, 2.0, 6.0, 40.0])
def test_tail_is_the_generalised_pareto_form(alpha):
    """Through two points of it the tail is found again: its end, or the points on the way to it."""
    mass, hazard = pareto(0.0, 0.01, alpha, 0.7)
    inner_hazard = pareto(-0.1, 0.01, alpha, 0.7)[1]
    tail = pareto_tail(mass, hazard, inner_hazard, 0.1, EDGE, np.inf)
    if alpha == 1.5:
        assert tail.reach == pytest.approx(0.7, rel=1e-9)
    left, ahead = pareto(tail.x, 0.01, alpha, 0.7)
    np.testing.assert_allclose(tail.mass, left, rtol=1e-6)
    np.testing.assert_allclose(tail.density, left * ahead, rtol=1e-6)
    assert tail.reach <= 0.7 * (1 + 1e-9)


def test_other_ends():
    """A constant hazard is an exponential; a sharper end than is allowed is not believed; room is kept."""
    tail = pareto_tail(0.01, 3.0, 3.0, 0.1, EDGE, np.inf)
    np.testing.assert_allclose(tail.mass, 0.01 * np.exp(-3.0 * tail.x), rtol=1e-12)
    assert tail.mass[-1] < 2e-6
    assert pareto_tail(0.01, 3.0, 1e-3, 1e-3, EDGE, np.inf).reach == pytest.approx(EDGE / 3.0)
    assert pareto_tail(0.01, 3.0, 1e-3, 1e-3, SHARPEST, np.inf).reach == pytest.approx(SHARPEST / 3.0)
    assert pareto_tail(0.01, 3.0, 2.9, 0.1, EDGE, 0.2).reach == 0.2
    assert pareto_tail(0.0, 3.0, 2.9, 0.1, EDGE, 1.0).reach <= 1e-9


def test_falling_density_of_an_irregular_tail():
    """Bumps and gaps are put right, and values that already fall are left as they are."""
    x = np.array([0.5, 1.0, 1.5, 1.9, 2.5])
    mass = 0.01 * np.exp(-(x**1.2))
    true = mass * 1.2 * x**0.2
    np.testing.assert_array_equal(monotone_density(x, mass, true)[1:-1], true[1:-1])
    broken = true * np.array([1.0, 0.0, 8.0, 1e-4, 0.0])
    mended = monotone_density(x, mass, broken)
    assert (np.diff(mended[1:]) < 0).all()
    np.testing.assert_allclose(mended[1:], true[1:], rtol=0.35)
    assert list(clearly_falling(np.array([1.0, 0.99, 0.6, 0.55, 0.3]))) == [0, 2, 4]
