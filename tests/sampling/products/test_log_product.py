"""Log singular values of long products against exact arithmetic, and laws every product obeys."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import critical_tanh
from reference.long_products import exact_log_singular_values

from rmtrnn._core import random as _random
from rmtrnn.sampling.products import LogProduct, deflation, graded
from rmtrnn.sampling.random_matrices import random_matrix


def log_singular_values(factors):
    product = LogProduct(factors[0].shape[1])
    for factor in factors:
        product.multiply(factor)
    return product.log_singular_values()


def gaussians(n, count, seed):
    rng = _random.stream(seed)
    return [random_matrix("gaussian", n, 1.0, rng) for _ in range(count)]


@pytest.mark.parametrize("n", [32, pytest.param(64, marks=pytest.mark.slow)])
def test_forty_gaussian_factors_all_to_1e_9(n):
    factors = gaussians(n, 40, 3)
    exact = exact_log_singular_values(factors, 1000)
    assert exact[-1] - exact[0] > 60
    assert np.max(np.abs(log_singular_values(factors) - exact)) < 1e-9


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rtol", [1e-13, 1e-9, 1e-6])
def test_the_stated_error_covers_the_true_one(rtol, seed):
    """Looser tolerances mean longer groups and larger errors; what is stated is above what is true."""
    factors = gaussians(20, 12, 30 + seed)
    product = LogProduct(20, rtol=rtol)
    for factor in factors:
        product.multiply(factor)
    error = np.max(np.abs(product.log_singular_values() - exact_log_singular_values(factors, 600)))
    assert error < product.error
    assert product.error < max(4 * rtol, 1e-10)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_stated_error_covers_the_true_one_in_long_products(seed):
    """400 tanh steps, singular values 10^400 apart: errors meet directions nearly parallel to each other."""
    rng = _random.stream(77, seed)
    state, factors = rng.standard_normal(48), []
    for _ in range(400):
        w = random_matrix("gaussian", 48, 1.0, rng)
        state = np.tanh(w @ state)
        factors.append((1 - state**2)[:, None] * w)
    found = []
    for rtol in (1e-13, 1e-10, 1e-9):
        product = LogProduct(48, rtol=rtol)
        for factor in factors:
            product.multiply(factor)
        found.append((product.log_singular_values(), product.error))
    (best, least), *others = found
    assert least < 1e-9
    assert all(np.max(np.abs(values - best)) < error + least for values, error in others)


class Function:
    """A factor that only applies itself and its transpose."""

    def __init__(self, matrix):
        self.kept, self.asked = matrix, 0

    def __call__(self, y):
        return self.kept @ y

    def transposed(self, y):
        self.asked += 1
        return self.kept.T @ y


@pytest.mark.parametrize("kind", ["matrices", "functions", "graded"])
def test_deflation_keeps_what_the_plain_product_loses(kind, monkeypatch):
    """Two groups of six, condition 1e8 and more: the stated error holds, far below the plain one."""
    factors = gaussians(48, 12, 12)
    if kind == "graded":
        rows = np.exp(_random.stream(5).uniform(-2.0, 0.0, 48))
        factors = [rows[:, None] * factor for factor in factors]
    exact = exact_log_singular_values(factors, 600)
    errors = []
    for width in (deflation.width(48), 0):
        monkeypatch.setattr(deflation, "width", lambda n, width=width: width)
        product = LogProduct(48, rtol=1e-8 if width else 0.1)
        product._plan.length = product._plan.deflated_length = 6
        functions = [Function(factor) for factor in factors]
        for factor in functions if kind == "functions" else factors:
            product.multiply(factor)
        errors.append(np.max(np.abs(product.log_singular_values() - exact)))
        assert errors[-1] < product.error
        assert product.groups == 2
        assert kind != "functions" or any(function.asked for function in functions) == (width > 0)
    assert 30 * errors[0] < errors[1]


def test_the_plain_product_loses_the_small_ones():
    factors = gaussians(32, 40, 3)
    plain = np.linalg.svd(np.linalg.multi_dot(factors[::-1]), compute_uv=False)
    wrong = np.abs(np.sort(np.log(plain)) - exact_log_singular_values(factors, 1000)) > 1e-6
    assert wrong.sum() > 5


def test_orthogonal_products_keep_all_singular_values_equal():
    rng = _random.stream(4)
    factors = [random_matrix("orthogonal", 40, 1.5, rng) for _ in range(200)]
    assert np.max(np.abs(log_singular_values(factors) - 200 * math.log(1.5))) < 1e-11


def multiplied(factors):
    product = LogProduct(factors[0].shape[1])
    for factor in factors:
        product.multiply(factor)
    return product, product.log_singular_values()


@pytest.mark.parametrize("n", [24, 200])
def test_values_may_be_asked_for_on_the_way(n):
    """They are those of the product so far, and what follows is as accurate as before."""
    factors = gaussians(n, 9, 7)
    product = LogProduct(n)
    for count, factor in enumerate(factors, start=1):
        product.multiply(factor)
        if count in (1, 5):
            whole, values = multiplied(factors[:count])
            assert np.max(np.abs(product.log_singular_values() - values)) < product.error + whole.error
            assert np.array_equal(product.log_singular_values(), product.log_singular_values())
    whole, values = multiplied(factors)
    assert np.max(np.abs(product.log_singular_values() - values)) < product.error + whole.error < 4e-9


@pytest.mark.parametrize("n", [24, 200])
@pytest.mark.parametrize("exponent", [333, -333, 1])
def test_factors_times_powers_of_two_give_the_same_bits(n, exponent):
    """2^±333 ≈ 10^±100. Only the integers 2^d differ, all by the same."""
    factors = gaussians(n, 20, 5)
    product, plain = multiplied(factors)
    scaled, shifted = multiplied([np.ldexp(factor, exponent) for factor in factors])
    assert np.array_equal(scaled._t, product._t)
    assert np.array_equal(scaled._d - product._d, np.full(n, 20 * exponent))
    assert (scaled.error, scaled.condition) == (product.error, product.condition)
    assert np.max(np.abs(shifted - 20 * exponent * math.log(2) - plain)) < 1e-11


@pytest.mark.parametrize("exponent", [100, -100])
def test_factors_times_powers_of_ten_shift_the_logs(exponent):
    """10^±100 F is F with entries rounded anew; the smallest values feel that as they feel all rounding."""
    factors = gaussians(24, 60, 5)
    product, plain = multiplied(factors)
    shift = 60 * exponent * math.log(10)
    difference = np.abs(log_singular_values([10.0**exponent * factor for factor in factors]) - shift - plain)
    assert np.max(difference) < min(product.error, 1e-13 * abs(shift))


def test_diagonal_factors_far_beyond_doubles():
    logs = np.linspace(-60.0, 60.0, 12)
    factors = [np.diag(np.exp(logs))] * 200
    assert np.max(np.abs(log_singular_values(factors) / (200 * logs) - 1)) < 1e-12


@pytest.mark.parametrize("count", [12, 120])
def test_large_matrices_agree_with_jacobi(monkeypatch, count):
    """One tridiagonalisation, and overlapping windows (120 factors: a range of 10^180), against gejsv."""
    product, values = multiplied(gaussians(180, count, 6))
    monkeypatch.setattr(graded, "SETTINGS", dataclasses.replace(graded.SETTINGS, jacobi_size=1000))
    assert np.max(np.abs(product.log_singular_values() - values)) < 1e-10


def test_ill_conditioned_triangular_factors_are_made_orthogonal():
    """Wilkinson's matrix: pivots grow as 2^n, L and U say nothing of its condition, which is moderate."""
    n = 40
    wilkinson = np.eye(n) - np.tril(np.ones((n, n)), -1)
    wilkinson[:, -1] = 1.0
    factors = [wilkinson, *gaussians(n, 6, 2), wilkinson.T]
    product, values = multiplied(factors)
    error = np.max(np.abs(values - exact_log_singular_values(factors, 600)))
    assert error < min(product.error, 1e-9)


def test_rows_of_zeros_are_exact_zeros():
    rng = _random.stream(8)
    factors = []
    for count in (20, 12, 17):
        factor = random_matrix("gaussian", 24, 1.0, rng)
        factor[count:] = 0.0
        factors.append(factor)
    values = log_singular_values(factors)
    assert np.isneginf(values).sum() == 12
    assert values[12] > -20
    assert np.isneginf(log_singular_values([np.zeros((5, 5)), np.eye(5)])).all()


def test_rectangular_factors():
    rng = _random.stream(9)
    tall, wide = rng.standard_normal((15, 6)), rng.standard_normal((4, 15))
    assert np.allclose(
        log_singular_values([tall, wide]), np.sort(np.log(np.linalg.svd(wide @ tall)[1])), atol=1e-12
    )


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 12),
    count=st.integers(1, 40),
    grading=st.floats(0.0, 40.0),
    shift=st.floats(-200.0, 200.0),
    seed=st.integers(0, 10**6),
)
def test_graded_products(n, count, grading, shift, seed):
    rng = _random.stream(seed)
    factors, log_determinants = [], []
    for _ in range(count):
        left, right = (random_matrix("orthogonal", n, 1.0, rng) for _ in range(2))
        # Gradings that LAPACK can resolve in a single factor: rows may differ by any power.
        rows = np.exp(grading * rng.uniform(-1, 1, n) + shift)
        core = left @ np.diag(rng.uniform(0.5, 2.0, n)) @ right
        factors.append(rows[:, None] * core)
        log_determinants.append(np.log(rows).sum() + np.linalg.slogdet(core)[1])
    values = log_singular_values(factors)
    assert np.isfinite(values).all()
    assert np.all(np.diff(values) >= 0)
    total = math.fsum(log_determinants)
    assert abs(math.fsum(values) - total) <= 1e-9 * max(1.0, np.abs(log_determinants).sum())


def test_two_thousand_tanh_steps_at_criticality():
    """All 48 values, 10^2230 apart, against interval arithmetic (reference/critical_tanh.py)."""
    stored, factors = json.loads(critical_tanh.STORED.read_text()), critical_tanh.factors()
    assert critical_tanh.digest(factors) == stored["factors"]
    assert stored["radius"] < 1e-25
    exact = np.array([float(value) for value in stored["log_s"]])
    assert exact[-1] - exact[0] > 5000
    product, values = multiplied(factors)
    error = np.max(np.abs(values - exact))
    assert error < 1e-8
    assert error < product.error


def test_rank_zero_stays_zero():
    values = log_singular_values([np.eye(3), np.zeros((3, 3)), *[np.eye(3)] * 6])
    assert np.isneginf(values).all() and len(values) == 3


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"^n = 0"):
        LogProduct(0)
    with pytest.raises(ValueError, match=r"^rtol = 0"):
        LogProduct(3, rtol=0.0)
    with pytest.raises(ValueError, match=r"^factor: has entries that are not finite"):
        log_singular_values([np.full((3, 3), math.nan)])


def test_factors_are_left_as_they_are():
    """Matrices in either order, and a function that returns an array it keeps."""
    kept = np.asfortranarray(gaussians(30, 1, 4)[0])
    copies = kept.copy()
    product = LogProduct(30)
    for factor in (kept, lambda y: kept, kept.T, kept):
        product.multiply(factor)
    product.log_singular_values()
    assert np.array_equal(kept, copies)
