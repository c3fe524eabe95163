"""Gaussian expectations against closed forms and high-precision integrals; error estimates are honest."""

import mpmath as mp
import numpy as np
import pytest
from scipy.special import erf

from rmtrnn._core.status import Status
from rmtrnn.numerics.gaussian_quadrature import (
    gaussian_expectation,
    gaussian_nodes,
    gaussian_pair_expectation,
    shared_nodes,
)

VARIANCES = np.array([0.0, 1e-300, 1e-12, 1e-3, 0.3, 1.0, 16.0, 1e4, 1e8])
CORRELATIONS = np.array([-1.0, -0.999, -0.5, 0.0, 0.3, 0.9, 1 - 1e-6, 1 - 1e-12, 1.0])


def relu(e):
    return np.maximum(e, 0.0)


def hard_tanh(e):
    return np.clip(e, -1.0, 1.0)


def sech(e):
    return 2 * np.exp(-np.abs(e)) / (1 + np.exp(-2 * np.abs(e)))


def arcsine(variance, correlation):
    """2/π arcsin(2qc/(1 + 2q)), written so that no digits are lost near ±1."""
    square = (1 + 2 * variance * (1 - correlation)) * (1 + 2 * variance * (1 + correlation))
    return 2 / np.pi * np.arctan2(2 * variance * correlation, np.sqrt(square))


def arccosine(variance, correlation):
    angle = np.arccos(correlation)
    return variance / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * correlation)


def tanh_reference(function, variance, mean):
    with mp.workdps(60):
        deviation = mp.sqrt(variance)
        marks = [(k - mean) / deviation for k in (-30, -10, -3, -1, 0, 1, 3, 10, 30)]
        ends = sorted({*range(-15, 16, 3), *(z for z in marks if abs(z) < 15)})
        return float(mp.quad(lambda z: mp.npdf(z) * function(mean + deviation * z), ends))


@pytest.mark.parametrize("mean", [0.0, 0.7, -4.0, 30.0])
@pytest.mark.parametrize("variance", [1e-3, 1.0, 16.0, 900.0, 1e4])
def test_tanh_against_many_digits(variance, mean):
    got = gaussian_expectation(lambda e: np.stack([np.tanh(e) ** 2, sech(e) ** 2]), variance, mean)
    want = [
        tanh_reference(lambda e: mp.tanh(e) ** 2, variance, mean),
        tanh_reference(lambda e: mp.sech(e) ** 2, variance, mean),
    ]
    assert got.converged
    np.testing.assert_allclose(got.value, want, rtol=1e-12)
    assert np.all(np.abs(got.value - want) <= got.error + 1e-15)


@pytest.mark.equation(3)
def test_erf_is_the_arcsine_kernel():
    q, c = np.meshgrid(VARIANCES, CORRELATIONS, indexing="ij")
    got = gaussian_pair_expectation(erf, erf, q, c)
    want = arcsine(q, c)
    assert got.converged
    np.testing.assert_allclose(got.value, want, rtol=0, atol=2e-14)
    assert np.all(np.abs(got.value - want) <= got.error + 1e-15)


@pytest.mark.equation(3)
def test_relu_is_the_arccosine_kernel():
    q, c = np.meshgrid(VARIANCES, CORRELATIONS, indexing="ij")
    got = gaussian_pair_expectation(relu, relu, q, c, kinks=(0.0,))
    want = arccosine(q, c)
    assert got.converged
    assert np.all(np.abs(got.value - want) <= 1e-13 * q)
    assert np.all(np.abs(got.value - want) <= got.error + 1e-15 * q)


def test_kinks_are_integrated_exactly():
    q = VARIANCES[2:]
    got = gaussian_expectation(hard_tanh, q, 0.25, kinks=(-1.0, 1.0))
    with mp.workdps(40):
        for variance, value, error in zip(q, got.value, got.error, strict=True):
            deviation = mp.sqrt(variance)
            low, high = (-1 - mp.mpf(0.25)) / deviation, (1 - mp.mpf(0.25)) / deviation
            inside = mp.mpf(0.25) * (mp.ncdf(high) - mp.ncdf(low)) - deviation * (
                mp.npdf(high) - mp.npdf(low)
            )
            want = inside + mp.ncdf(-high) - mp.ncdf(low)
            assert abs(value - want) <= min(error, 3e-15)
    assert got.converged


def test_undeclared_jump_is_reported_as_not_converged():
    got = gaussian_expectation(lambda e: (e > 0.3).astype(float), 1.0)
    assert got.status == Status.MAX_ITERATIONS
    exact = 0.5 * (1 - erf(0.3 / np.sqrt(2)))
    assert abs(got.value - exact) <= got.error
    declared = gaussian_expectation(lambda e: (e > 0.3).astype(float), 1.0, kinks=(0.3,))
    assert declared.converged
    assert abs(declared.value - exact) < 1e-14


def test_non_finite_integrand_is_reported():
    got = gaussian_expectation(lambda e: np.where(e > 3.0, np.inf, 1.0), [0.0, 4.0])
    assert list(got.status) == [Status.CONVERGED, Status.NOT_FINITE]


@pytest.mark.parametrize("c", [-0.7, 0.2, 0.95])
def test_price_theorem(c):
    q, mean, step = 3.0, 0.4, 1e-4

    def value(correlation):
        return gaussian_pair_expectation(np.tanh, np.tanh, q, correlation, mean).value

    def slope(e):
        return 1 - np.tanh(e) ** 2

    # Fourth-order central difference: its own error is 1e-14, rounding contributes 1e-12.
    numeric = (8 * (value(c + step) - value(c - step)) - (value(c + 2 * step) - value(c - 2 * step))) / (
        12 * step
    )
    exact = q * gaussian_pair_expectation(slope, slope, q, c, mean).value
    assert abs(numeric - exact) < 1e-10


def test_equal_replicas_reduce_to_one():
    one = gaussian_expectation(lambda e: np.tanh(e) ** 2, VARIANCES, 0.3).value
    two = gaussian_pair_expectation(np.tanh, np.tanh, VARIANCES, 1.0, 0.3).value
    np.testing.assert_array_equal(one, two)


def test_batch_shapes_and_components():
    got = gaussian_expectation(lambda e: np.stack([e, e**2, e**3]), np.ones((2, 1)), np.zeros((1, 4)))
    assert got.value.shape == got.error.shape == (3, 2, 4)
    assert got.status.shape == (2, 4)
    np.testing.assert_allclose(got.value[1], 1.0, rtol=1e-14)
    assert np.ndim(gaussian_expectation(np.cos, 1.0).value) == 0


@pytest.mark.parametrize(("variance", "mean"), [(1.0, 0.0), (50.0, -3.0), (1e-4, 2.0)])
def test_nodes_integrate_polynomials(variance, mean):
    for kinks in ((), (0.0,), (-1.0, 1.0)):
        e, w = gaussian_nodes(256, kinks, variance, mean)
        np.testing.assert_allclose(np.sum(w), 1.0, rtol=1e-13)
        np.testing.assert_allclose(np.sum(w * (e - mean) ** 4), 3 * variance**2, rtol=1e-12)


def test_shared_nodes_are_as_good_as_own_ones():
    """Narrow, wide and far laws in one batch; every law comes exactly once."""
    rng = np.random.default_rng(4)
    variance, mean = np.exp(rng.uniform(-8.0, 7.0, 200)), rng.uniform(-12.0, 12.0, 200)
    found, seen = np.empty((2, 200)), []
    for index, e, weight in shared_nodes(variance, mean):
        found[:, index] = np.array([np.tanh(e) ** 2, sech(e) ** 2]) @ weight.T
        seen += index.tolist()
    assert sorted(seen) == list(range(200))
    exact = gaussian_expectation(lambda e: np.stack([np.tanh(e) ** 2, sech(e) ** 2]), variance, mean)
    np.testing.assert_allclose(found, exact.value, rtol=2e-12)


def test_refuses_what_is_no_gaussian_law():
    with pytest.raises(ValueError, match="variance"):
        gaussian_expectation(np.cos, -1.0)
    with pytest.raises(ValueError, match="mean"):
        gaussian_expectation(np.cos, 1.0, np.nan)
    with pytest.raises(ValueError, match="correlation"):
        gaussian_pair_expectation(np.cos, np.cos, 1.0, 1.5)
    with pytest.raises(ValueError, match="intervals"):
        gaussian_nodes(1)


def test_no_variance_at_a_kink_is_the_limit_of_small_variances():
    """f that jumps at the mean counts with half of each side; a pair with the probability of its quadrant."""

    def step(e):
        return np.where(e > 0, 3.0, 1.0)

    assert gaussian_expectation(step, 0.0, 0.0, (0.0,)).value == pytest.approx(2.0)
    assert gaussian_expectation(lambda e: step(e - 2.0), 0.0, 2.0, (2.0,)).value == pytest.approx(2.0)
    assert gaussian_expectation(step, 0.0, 0.5, (0.0,)).value == pytest.approx(3.0)  # off the kink
    c = np.array([-1.0, -0.5, 0.0, 0.3, 1.0])
    found = gaussian_pair_expectation(step, step, 0.0, c, 0.0, (0.0,))
    same = 0.5 + np.arcsin(c) / np.pi
    np.testing.assert_allclose(found.value, 5.0 * same + 3.0 * (1.0 - same), rtol=1e-12)
    near = gaussian_pair_expectation(step, step, 1e-12, c, 0.0, (0.0,))
    np.testing.assert_allclose(found.value, near.value, rtol=1e-12)
