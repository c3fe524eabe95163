"""Many small products at once: each as if it were alone, right, and with an honest error."""

import fake_cupy
import numpy as np
import pytest
from reference.long_products import exact_log_singular_values
from test_log_product import gaussians

from rmtrnn._core import arrays as _arrays
from rmtrnn._core import random as _random
from rmtrnn.sampling.products import LogProduct
from rmtrnn.sampling.products.side_by_side import LogProducts
from rmtrnn.sampling.random_matrices import random_matrices, random_matrix


def stacks(n, count, products):
    """``count`` factors for each of several products: Gaussian, orthogonal, graded rows in turn."""
    rows = []
    for k in range(products):
        factors = gaussians(n, count, 60 + k)
        if k % 3 == 1:
            factors = [random_matrix("orthogonal", n, 1.3, _random.stream(61, k)) for _ in range(count)]
        if k % 3 == 2:
            factors = [
                np.exp(_random.stream(62, k).uniform(-3, 0, n))[:, None] * factor for factor in factors
            ]
        rows.append(factors)
    return np.array(rows).swapaxes(0, 1)


def multiplied(factors, xp=np):
    found = LogProducts(factors.shape[1], factors.shape[2], xp)
    for factor in factors:
        found.multiply(xp.asarray(factor))
    return found


def values_of(found):
    values = found.log_singular_values()
    assert all(row is not None for row in values)
    return np.array(values)


@pytest.mark.parametrize(("n", "count"), [(1, 3), (6, 40), (24, 12)])
def test_values_are_right_and_the_stated_error_covers_theirs(n, count):
    factors = stacks(n, count, 6)
    found = multiplied(factors)
    for k, (values, error) in enumerate(zip(values_of(found), found.error, strict=True)):
        true = np.max(np.abs(values - exact_log_singular_values(list(factors[:, k]), 900)))
        assert true < error < 1e-9
    assert np.all(found.condition >= 1)


@pytest.mark.parametrize("n", [5, 32])
def test_company_changes_no_bit(n):
    factors = stacks(n, 15, 7)
    together = multiplied(factors)
    for columns in ([3], [5, 0, 3]):
        apart = multiplied(factors[:, columns])
        for position, column in enumerate(columns):
            assert np.array_equal(values_of(apart)[position], values_of(together)[column])
            assert apart.error[position] == together.error[column]


def test_agrees_with_the_product_of_one():
    factors = stacks(40, 60, 3)
    found = multiplied(factors)
    for k, values in enumerate(values_of(found)):
        product = LogProduct(40)
        for factor in factors[:, k]:
            product.multiply(factor)
        assert np.max(np.abs(product.log_singular_values() - values)) < product.error + found.error[k]


def test_factors_times_powers_of_two_give_the_same_digits():
    factors = stacks(10, 12, 3)
    plain, scaled = multiplied(factors), multiplied(np.ldexp(factors, 333))
    assert np.array_equal(scaled._t, plain._t)
    assert np.array_equal(scaled.error, plain.error)
    assert np.array_equal(scaled._d - plain._d, np.full((3, 10), 12 * 333))


def test_a_lost_row_is_told_and_harms_no_other():
    factors = stacks(8, 5, 3)
    whole = multiplied(factors)
    factors[2, 1, 3] = 0.0
    values = multiplied(factors).log_singular_values()
    assert values[1] is None
    for k in (0, 2):
        assert np.array_equal(np.array(values[k]), values_of(whole)[k])


def test_single_precision_is_counted_in_the_error():
    factors = stacks(12, 8, 3).astype(np.float32)
    single, double = multiplied(factors), multiplied(factors.astype(float))
    for k, values in enumerate(values_of(single)):
        assert np.max(np.abs(values - values_of(double)[k])) < single.error[k]
    assert np.all(single.error > 1e6 * double.error)


def test_factors_that_are_not_finite_are_named():
    factors = stacks(4, 2, 2)
    factors[1, 0, 0, 0] = np.inf
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=r"^factor: has entries that are not"):
        values_of(multiplied(factors))


@pytest.mark.skipif(_arrays.cuda_available(), reason="needs the stand-in for CuPy")
def test_the_device_gives_the_same_and_nothing_is_fetched(monkeypatch):
    cupy, factors = fake_cupy.install(monkeypatch), stacks(24, 10, 4)
    fake_cupy.fetched.clear()
    found = multiplied(factors, cupy)
    assert fake_cupy.fetched == []
    for ours, expected in zip(values_of(found), values_of(multiplied(factors)), strict=True):
        assert np.max(np.abs(ours - expected)) < 1e-10


@pytest.mark.parametrize("kind", ["gaussian", "orthogonal"])
def test_matrices_drawn_together_are_those_drawn_alone(kind):
    together = random_matrices(kind, 9, 1.2, [_random.stream(1, k) for k in range(4)])
    for k, matrix in enumerate(together):
        assert np.array_equal(matrix, random_matrix(kind, 9, 1.2, _random.stream(1, k)))
