"""What every law must satisfy, whatever it is made of: the checks of test_every_law.py.

A `Subject` is a law as its user sees it, of a variable x (s, s², log s, …). `check_…` raise AssertionError; a
broken law must fail them (negative control in test_every_law.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

P = np.concatenate([[0.0, 1e-6, 1e-3], np.linspace(0.01, 0.99, 21), [0.999, 1.0]])


@dataclass(frozen=True)
class Subject:
    """``law`` with pdf, cdf, icdf, support, atoms; ``moment(k)`` is E[power(x)^k]; ``tol`` of the cdf."""

    name: str
    law: Any
    moment: Callable[[int], float]
    power: Callable[[np.ndarray], np.ndarray]
    tol: float = 1e-9
    argument: str = "x"

    def jumps(self, x: np.ndarray) -> np.ndarray:
        """The mass of the atom at each x."""
        total = np.zeros(x.shape)
        for location, mass in self.law.atoms:
            total += mass * np.isclose(x, location, rtol=1e-12, atol=0.0)
        return total


def check_mass(subject: Subject) -> None:
    """The cdf goes from 0 to 1, and the intervals of the support and the atoms make up all of it."""
    law = subject.law
    assert law.cdf(np.inf) == pytest.approx(1.0, abs=subject.tol)
    if all(a > -math.inf for a, _ in (*law.support, *law.atoms)):
        assert law.cdf(-np.inf) == 0.0
    atomic = sum(mass for _, mass in law.atoms)
    continuous = 0.0
    for left, right in law.support:
        within = sum(mass for x, mass in law.atoms if left < x <= right)
        continuous += law.cdf(right) - law.cdf(left) - within
    assert atomic + continuous == pytest.approx(1.0, abs=subject.tol)


def check_monotone(subject: Subject) -> None:
    """The cdf never falls, the quantile function neither."""
    x = subject.law.icdf(P)
    x = x[np.isfinite(x)]
    assert np.all(np.diff(x) >= 0.0)
    assert np.all(np.diff(subject.law.cdf(np.linspace(x[0], x[-1], 40))) >= -1e-15)


def check_quantiles(subject: Subject) -> None:
    """icdf(p) is the smallest x with cdf(x) ≥ p."""
    x = subject.law.icdf(P)
    with np.errstate(invalid="ignore"):
        below = subject.law.cdf(np.where(np.isfinite(x), x - 1e-9 * (1.0 + np.abs(x)), x))
    jump = subject.jumps(x)
    at = subject.law.cdf(x)
    assert np.all(at >= P - subject.tol)
    assert np.all(np.where(jump > 0.0, at - jump, at) <= P + subject.tol)
    assert np.all((below <= P + subject.tol) | np.isneginf(x) | (P == 0.0))


def check_density(subject: Subject, rel: float = 1e-4) -> None:
    """The pdf is the slope of the cdf inside the support, and 0 outside."""
    law = subject.law
    for left, right in law.support:
        low, high = law.cdf(left), law.cdf(right)
        x = law.icdf(np.linspace(low, high, 13)[1:-1])
        begin = left if math.isfinite(left) else x[0] - 1.0
        step = 1e-4 * np.minimum(x - begin, right - x)
        clear = step > 1e-8
        for location, _ in law.atoms:
            clear &= np.abs(x - location) > 2 * step
        x, step = x[clear], step[clear]
        slope = (law.cdf(x + step) - law.cdf(x - step)) / (2 * step)
        np.testing.assert_allclose(law.pdf(x), slope, rtol=rel, atol=float(np.max(1e-12 / step, initial=0.0)))
    ends = sorted(end for interval in law.support for end in interval if math.isfinite(end))
    if ends:
        assert law.pdf(ends[-1] + 1.0 + abs(ends[-1])) == 0.0
    for (_, before), (after, _) in zip(law.support[:-1], law.support[1:], strict=True):
        gap = before + np.array([0.25, 0.5, 0.75]) * (after - before)
        assert np.all(law.pdf(gap) == 0.0)
        inside = sum(mass for x, mass in law.atoms if before < x < after)
        assert law.cdf(after) - law.cdf(before) == pytest.approx(inside, abs=subject.tol)


def check_moments(subject: Subject, rel: float = 1e-3) -> None:
    """The first two moments are those of the atoms and the density, x = a + (b − a)(3t² − 2t³).

    Where an interval reaches −∞, those of the quantile function.
    """
    law = subject.law
    t, weight = np.polynomial.legendre.leggauss(200)
    t, weight = 0.5 * (1 + t), 0.5 * weight
    place, slope = t * t * (3 - 2 * t), 6 * t * (1 - t)
    parts = [(np.array([x]), np.array([mass])) for x, mass in law.atoms]
    for left, right in law.support:
        if math.isfinite(left):
            x = left + (right - left) * place
            parts.append((x, weight * slope * (right - left) * law.pdf(x)))
        else:
            low, high = law.cdf(left), law.cdf(right)
            parts.append((law.icdf(low + (high - low) * place), weight * slope * (high - low)))
    for k in (1, 2):
        with np.errstate(under="ignore"):
            value = sum(float(np.sum(mass * subject.power(x) ** k)) for x, mass in parts)
        assert subject.moment(k) == pytest.approx(value, rel=rel, abs=rel)


def check_shapes(subject: Subject) -> None:
    """A number in gives a float out, an array its own shape, integers and empty arrays are welcome."""
    law = subject.law
    for function, value in ((law.pdf, 1.0), (law.cdf, 1.0), (law.icdf, 0.5)):
        one = function(value)
        assert type(one) is float
        np.testing.assert_allclose(function(np.full((2, 3), value)), np.full((2, 3), one), rtol=1e-12)
        assert type(function(1)) is float
        assert function([value, value]).shape == (2,)
        assert function(np.zeros((0, 2))).shape == (0, 2)


def check_refusals(subject: Subject) -> None:
    """nan, text and probabilities outside [0, 1] are refused, by the name of the argument."""
    law, name = subject.law, subject.argument
    for function in (law.pdf, law.cdf):
        with pytest.raises(ValueError, match=f"{name} = nan"):
            function(math.nan)
        with pytest.raises(ValueError, match=f"{name} = nan"):
            function(np.array([1.0, math.nan]))
        with pytest.raises(TypeError, match=f"{name}: expected real"):
            function("a")
    for bad in (-0.1, 1.5, math.nan, np.array([0.5, 2.0])):
        with pytest.raises(ValueError, match="p = "):
            law.icdf(bad)


CHECKS = (
    check_mass,
    check_monotone,
    check_quantiles,
    check_density,
    check_moments,
    check_shapes,
    check_refusals,
)
