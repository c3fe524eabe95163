"""Multiplicative laws against references that share no code with the solver (see tests/reference)."""

from __future__ import annotations

import math
from typing import Any

import hypothesis
import hypothesis.strategies as st
import mpmath as mp
import numpy as np
import pytest
from reference import free_products, fuss_catalan

from rmtrnn import free


def sech4(e: np.ndarray) -> np.ndarray:
    return np.cosh(e) ** -4.0


def sech4_mp(e: Any) -> Any:
    return 1 / mp.cosh(e) ** 4


@pytest.mark.parametrize("T", [1, 2, 8, 64, 1024])
@pytest.mark.equation(9, 10)
def test_square_gaussian_products_have_the_fuss_catalan_density(T):
    law = free.MarchenkoPastur() ** T
    edge = fuss_catalan.log_edge(T)
    v = np.linspace(law.log.icdf(0.1), edge + math.log(0.999), 200)
    assert law.log.support[-1][1] == pytest.approx(edge, abs=1e-12 * (1 + abs(edge)))
    assert fuss_catalan.cdf(v[0], T) == pytest.approx(0.1, abs=1e-11)
    expected = np.array([fuss_catalan.density(x, T) for x in v])
    assert np.max(np.abs(law.log.pdf(v) / expected - 1)) <= 1e-11


@pytest.mark.parametrize("T", [1, 8, 1024])
@pytest.mark.equation(9)
def test_distribution_function_and_its_reported_error(T):
    law = free.MarchenkoPastur() ** T
    for p in (0.1, 0.5, 0.9):
        v = float(law.log.icdf(p))
        true_error = abs(float(law.log.cdf(v)) - fuss_catalan.cdf(v, T))
        # One rounding of v moves the distribution function by density · |v| · eps.
        rounding = float(law.log.pdf(v)) * abs(v) * 2.3e-16 + 2.3e-16
        assert true_error <= 20 * (law.error + rounding)


@pytest.mark.parametrize(
    ("variance", "power", "gaussians", "quantiles"),
    [
        (0.0742, 1, 1, (0.05, 0.99)),
        (0.0742, 16, 16, (0.5,)),
        (2.0, 1, 1, (0.05, 0.5)),  # a law reaching far towards 0: coarse quadrature is wrong here
        (2.0, 16, 16, (0.2,)),
        pytest.param(
            0.0742, 4, 0, (0.99,), marks=pytest.mark.sweep
        ),  # w close to the base's support: likewise
    ],
)
@pytest.mark.equation(9, 10)
def test_density_of_gaussian_images_against_thirty_digits(variance, power, gaussians, quantiles):
    law = free.Pushforward(sech4, variance) ** power
    if gaussians:
        law = law @ free.MarchenkoPastur() ** gaussians
    for p in quantiles:
        v = float(law.log.icdf(p))
        expected = free_products.pushforward_density(sech4, sech4_mp, variance, power, gaussians, v)
        assert float(law.log.pdf(v)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("p", "power", "gaussians"),
    [(0.3, 1, 1), (0.7, 1, 1), (0.5, 2, 0), (0.8, 2, 0), (0.3, 3, 0), (0.6, 2, 2)],
)
@pytest.mark.equation(9)
def test_bernoulli_products_solve_their_polynomial(p, power, gaussians):
    law = free.Discrete([0.0, 1.0], [1.0 - p, p]) ** power
    if gaussians:
        law = law @ free.MarchenkoPastur() ** gaussians
    left, right = law.log.support[-1]
    v = np.linspace(max(left, -8.0), right, 42)[1:-1]
    expected = free_products.bernoulli_density(p, power, gaussians, v)
    np.testing.assert_allclose(law.log.pdf(v), expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("p", "power"), [(0.8, 2), (0.95, 8), (0.7, 2), (0.9, 20)])
def test_atoms_of_free_powers_of_a_bernoulli_law(p, power):
    law = free.Discrete([0.0, 2.0], [1.0 - p, p]) ** power
    atoms = dict(law.atoms)
    kept = 1.0 - power * (1.0 - p)
    assert atoms[0.0] == pytest.approx(1.0 - p, abs=1e-15)
    if kept > 0:
        assert sum(m for x, m in atoms.items() if x == pytest.approx(2.0**power)) == pytest.approx(
            kept, abs=1e-12
        )
    else:
        assert len(atoms) == 1
    assert not dict((law @ free.MarchenkoPastur()).atoms).keys() - {0.0}


@pytest.mark.equation(9, 10)
def test_density_after_a_hundred_thousand_steps():
    # The factor T multiplies every rounding error of log(1 + m) at the small m of the right edge.
    T = 100_000
    law = free.MarchenkoPastur() ** T
    edge = fuss_catalan.log_edge(T)
    for v in (float(law.log.icdf(0.1)), float(law.log.icdf(0.9)), edge - 0.5, edge + math.log(0.999)):
        assert float(law.log.pdf(v)) == pytest.approx(fuss_catalan.density(v, T), rel=1e-11)
    (piece,) = law._curve.pieces
    v = np.array([edge + math.log(0.999)])
    t, _ = piece._solve(0, v)
    rows, *_ = law._curve.follow(piece.log_radius(t), None)  # the curve itself at the table's parameter
    assert abs(rows[0] - v)[0] <= 1e-13


@pytest.mark.equation(9)
def test_a_hundred_thousand_steps():
    T = 100_000
    law = free.MarchenkoPastur() ** T
    assert abs(_mass(law) - 1.0) <= 1e-8
    assert law.log.moment(1) == pytest.approx(0.0, abs=1e-9)
    p = (np.arange(2000) + 0.5) / 2000
    v = law.log.icdf(p)
    assert np.all(np.isfinite(v))
    assert np.all(np.diff(v) > 0)
    assert np.mean(v) == pytest.approx(-T, rel=1e-3)  # E log MP = −1


@hypothesis.settings(max_examples=15, deadline=None, derandomize=True)
@hypothesis.given(
    st.lists(
        st.tuples(st.floats(0.05, 1.0), st.floats(0.1, 1.0)), min_size=2, max_size=4, unique_by=lambda q: q[0]
    ),
    st.floats(1.0, 20.0),
    st.integers(1, 20),
)
@pytest.mark.equation(9, 11)
def test_mass_and_two_moments_of_random_products(pairs, power, gaussians):
    where = np.array([x for x, _ in pairs])
    hypothesis.assume(np.min(np.diff(np.sort(where))) > 0.02)
    masses = np.array([m for _, m in pairs])
    masses = masses / masses.sum()
    law = free.Discrete(where.tolist(), masses.tolist()) ** power @ free.MarchenkoPastur() ** gaussians
    mean, second = float(masses @ where), float(masses @ where**2)
    ratio = power * (second / mean**2 - 1.0) + gaussians + 1.0  # theory.md (11): m_2/m_1²
    log_mean = power * math.log(mean)
    assert _mass(law) == pytest.approx(1.0, abs=1e-6)
    assert _integral(law, lambda v: np.exp(v - log_mean)) == pytest.approx(1.0, rel=1e-6)
    assert _integral(law, lambda v: np.exp(2 * (v - log_mean))) == pytest.approx(ratio, rel=1e-6)
    p = np.array([0.01, 0.3, 0.7, 0.99])
    np.testing.assert_allclose(law.log.cdf(law.log.icdf(p)), p, atol=1e-9)


@pytest.mark.equation(9)
def test_sampled_matrices_agree_and_a_wrong_scale_does_not():
    rng = np.random.default_rng(20240607)
    n, T = 400, 3
    d = np.where(np.arange(n) < n // 2, 0.5, 1.0)
    J = np.eye(n)
    for _ in range(T):
        J = np.sqrt(d)[:, None] * (rng.standard_normal((n, n)) @ J) / math.sqrt(n)
    v = np.sort(2.0 * np.log(np.linalg.svd(J, compute_uv=False)))
    empirical = (np.arange(n) + 0.5) / n

    def distance(scale: float) -> float:
        law = (free.Discrete([0.5, 1.0], [0.5, 0.5]) ** T @ free.MarchenkoPastur() ** T).dilate(scale)
        return float(np.max(np.abs(law.log.cdf(v) - empirical)))

    # Eigenvalues of one matrix are rigid: the distance is a few 1/n, far below 1.36/√n of independent draws.
    assert distance(1.0) < 5.0 / n
    assert distance(1.1) > 5.0 / n


def test_what_is_refused():
    law = free.MarchenkoPastur()
    with pytest.raises(ValueError, match=r"t = 0\.5"):
        _ = law**0.5
    with pytest.raises(ValueError, match="ratio"):
        free.MarchenkoPastur(-1.0)
    with pytest.raises(ValueError, match="masses"):
        free.Discrete([1.0, 2.0], [0.5, 0.4])
    with pytest.raises(ValueError, match="p = "):
        law.icdf(1.5)


def _integral(law, weight) -> float:
    """∫ weight(v) p(v) dv by Gauss–Legendre in an angle that removes square-root edges."""
    total = 0.0
    nodes, weights = np.polynomial.legendre.leggauss(400)
    for left, right in law.log.support:
        if math.isinf(left):
            left = float(law.log.icdf(1e-10))
        angle = 0.5 * math.pi * (nodes + 1.0)
        v = left + (right - left) * 0.5 * (1.0 - np.cos(angle))
        jacobian = 0.25 * math.pi * (right - left) * np.sin(angle)
        total += float(np.sum(weights * jacobian * law.log.pdf(v) * weight(v)))
    return total


def _mass(law) -> float:
    """Integral of the density plus the atoms."""
    return _integral(law, np.ones_like) + sum(mass for _, mass in law.log.atoms)
