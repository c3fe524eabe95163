"""A law that is made to have a known first moment: the logistic law of u, E s² = 0.4 pi/sin(0.4 pi)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rmtrnn._core.status import Status
from rmtrnn.dyson.inversion import assembly
from rmtrnn.dyson.inversion.assembly import assemble
from rmtrnn.dyson.inversion.solution import Solution
from rmtrnn.dyson.self_energy import SelfEnergy

WIDTH = 0.2
LOG_M1 = math.log(2 * WIDTH * math.pi / math.sin(2 * WIDTH * math.pi))


def logistic(u):
    return 1.0 / (1.0 + np.exp(-u / WIDTH))


def solution(highest=0.8, factor=1.0):
    """Points up to ``highest``, 2 % of the law and 8 % of E s² above; the last density off by a factor."""
    u = np.linspace(-1.6, highest, 33)
    cdf, none = logistic(u), np.zeros((33, 1), dtype=complex)
    density = cdf * (1.0 - cdf) / WIDTH
    density[-1] *= factor
    zero = np.zeros(33)
    status = np.full(33, int(Status.CONVERGED))
    return Solution(2 * u, SelfEnergy(none, none), 1.0 - cdf, density, zero, zero, status, zero[:, None])


def law(factor, log_m1):
    return assemble(np.ones(1), solution(factor=factor), 1, atom=0.0, log_m1=log_m1)[0]


def off(law):
    return math.log(law.moment(1)) - LOG_M1


@pytest.mark.parametrize("factor", [0.7, 1.15])
def test_a_tail_of_wrong_hazard_gets_the_known_moment(factor):
    plain, held = law(factor, None), law(factor, LOG_M1)
    assert abs(off(plain)) > 5e-3
    assert abs(off(held)) < 1e-5
    u = np.linspace(-1.5, 0.8, 50)  # between the points nothing changes
    np.testing.assert_allclose(held.cdf(u), plain.cdf(u), atol=1e-4)
    beyond = np.linspace(0.8, 2.0, 200)
    assert np.abs(held.cdf(beyond) - logistic(beyond)).max() < held.error


@pytest.mark.parametrize("power", [3.0, 1.0, 1.0 / 3.0])
def test_the_largest_stretch_moved_by_three(power, monkeypatch):
    """A moment that the points exclude is not reached, and the law stays within its error."""
    monkeypatch.setattr(assembly, "_STRETCH", assembly._STRETCH**power)
    u, plain = np.linspace(-1.5, 2.0, 200), law(1.0, None)
    for wish in (-1.0, 0.0, 1.0):
        found = law(1.0, LOG_M1 + wish)
        assert abs(off(found) - wish) < abs(off(plain) - wish)
        assert (abs(off(found) - wish) > 0.1) == (wish != 0.0)
        assert np.abs(found.cdf(u) - logistic(u)).max() < found.error
