"""Uniform and empirical laws, and products known in the literature, by equations solved here on their own."""

import cmath
import math

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.free import Discrete, Empirical, MarchenkoPastur, Semicircle, Uniform


def solved(equation, x, start):
    """The root of equation(w) = x, followed from far above the axis down to it by Newton steps."""
    w = None
    for height in [*np.geomspace(30.0, 1e-10, 90), 0.0]:
        z = complex(x, height)
        w = start(z) if w is None else w
        for _ in range(80):
            h = 1e-6 * abs(w)
            step = (equation(w) - z) / ((equation(w + h) - equation(w - h)) / (2 * h))
            w -= step
            if abs(step) < 1e-13 * abs(w):
                break
    return w


def uniform_m(w):
    """M(w) = E[X/(w − X)] of the uniform law on (0, 1)."""
    return w * cmath.log(w / (w - 1.0)) - 1.0


def marchenko_pastur_uniform(x, ratio=0.5):
    """Density by the companion Stieltjes transform v, z = −1/v + ratio E[X/(1 + X v)] (Silverstein 1995)."""
    v = solved(lambda v: -1 / v + ratio * (1 / v - cmath.log(1 + v) / v**2), x, lambda z: -1 / z)
    return v.imag / (math.pi * ratio)


def uniform_uniform(x):
    """Density by theory.md (9) with T = 2: λ = w² m/(1 + m), m = M(w)."""
    w = solved(lambda w: w * w * uniform_m(w) / (1.0 + uniform_m(w)), x, lambda z: z)
    return -uniform_m(w).imag / (math.pi * x)


PLACES, MASSES = np.array([1.0, 3.0]), np.array([0.4, 0.6])


def discrete_m(w):
    return complex(np.sum(MASSES * PLACES / (w - PLACES)))


def semicircle_discrete(x, centre=2.0, radius=1.0):
    """Density of (semicircle + centre) ⊠ two atoms: m = centre g + σ² g² for the first factor."""
    variance = radius**2 / 4

    def product(w):
        m = discrete_m(w)
        g = (-centre + cmath.sqrt(centre**2 + 4 * variance * m)) / (2 * variance)
        return w * m / g

    return -discrete_m(solved(product, x, lambda z: z / centre)).imag / (math.pi * x)


def semicircle_marchenko_pastur(x, ratio=0.5, radius=1.0):
    """Density by the S-transforms of Rao and Speicher (2007): 1/(σ √m) of a semicircle of mean 0, t = √m."""
    deviation = radius / 2

    def argument(t):
        return deviation * (1.0 + ratio * t * t) * (1.0 + t * t) / t

    t = solved(argument, x, lambda z: deviation / z)
    return -((1.0 + t * t) / x).imag / math.pi


CASES = [
    (Semicircle(1.0) @ MarchenkoPastur(0.5), semicircle_marchenko_pastur, [-0.9, -0.4, 0.1, 0.6, 1.1]),
    (MarchenkoPastur(0.5) @ Uniform(), marchenko_pastur_uniform, [0.05, 0.3, 0.8, 1.4, 1.8]),
    (Uniform() @ Uniform(), uniform_uniform, [0.03, 0.2, 0.4, 0.6, 0.7]),
    (
        (Semicircle(1.0) + Discrete([2.0], [1.0])) @ Discrete(PLACES, MASSES),
        semicircle_discrete,
        [1.4, 2.0, 4.5, 6.0, 8.0],
    ),
]


@pytest.mark.equation(7, 8)
@pytest.mark.parametrize(
    ("law", "density", "x"), CASES, ids=["semicircle-mp", "mp-uniform", "uniform-uniform", "shifted"]
)
def test_products_of_the_literature(law, density, x):
    exact = [density(one) for one in x]
    np.testing.assert_allclose(law.pdf(np.array(x)), exact, rtol=1e-6, atol=1e-7)
    assert min(exact) > 0.01


def test_products_against_matrices():
    rng, n = np.random.default_rng(3), 600
    half = np.sqrt((np.arange(n) + 0.5) / n)
    x = half[:, None] * rng.standard_normal((n, 2 * n)) / math.sqrt(2 * n)
    sampled = np.linalg.eigvalsh(x @ x.T)
    at = np.array([0.05, 0.2, 0.5, 1.0])
    share = np.mean(sampled[:, None] <= at, axis=0)
    assert np.max(np.abs((MarchenkoPastur(0.5) @ Uniform()).cdf(at) - share)) < 3.0 / n
    assert np.max(np.abs((MarchenkoPastur(0.5) @ Uniform(0.2, 0.8)).cdf(at) - share)) > 0.02


def test_the_uniform_law_itself():
    law = Uniform(1.0, 3.0)
    x = np.array([1.1, 2.0, 2.9])
    np.testing.assert_allclose(law.cdf(x), (x - 1.0) / 2.0, atol=1e-12)
    np.testing.assert_allclose(law.support, [(1.0, 3.0)], rtol=1e-12)
    assert math.isclose(law.moment(3), 10.0, rel_tol=1e-12)
    with pytest.raises(ValueError, match="high"):
        Uniform(2.0, 1.0)
    with pytest.raises(ValueError, match="low"):
        Uniform(-1.0, 1.0)


def test_an_array_stands_for_its_law():
    values = 0.5 + (np.arange(60) + 0.5) / 60
    x = np.array([0.5, 1.0, 2.0])
    found = (MarchenkoPastur(0.3) @ Empirical(values)).cdf(x)
    exact = (MarchenkoPastur(0.3) @ Uniform(0.5, 1.5)).cdf(x)
    assert np.max(np.abs(found - exact)) < 2e-4  # midpoints: of second order in 1/60
    assert np.max(np.abs((MarchenkoPastur(0.3) @ Empirical([0.7, 1.3])).cdf(x) - exact)) > 2e-3
    assert isinstance(Empirical([-1.0, 1.0]), rt.free.RealLaw)
    with pytest.raises(ValueError, match="10000"):
        Empirical(np.arange(1.0, 10_002.0))
