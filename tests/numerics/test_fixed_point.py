"""Fixed-point solves: exact solutions, criticality, divergence and honest reports."""

import numpy as np
import pytest

from rmtrnn._core.status import Status
from rmtrnn.numerics.fixed_point import fixed_point, scalar_fixed_point


def linear(slope, offset=1.0):
    slope = np.asarray(slope, dtype=float)
    return lambda x, index: slope[index] * x + offset


def test_linear_maps_up_to_criticality():
    gap = np.array([0.5, 1e-3, 1e-8, 1e-12])
    solution = scalar_fixed_point(linear(1 - gap), np.ones(4), lower=0.0)
    assert solution.converged
    assert np.all(solution.iterations < 60)
    exact = 1 / (1 - (1 - gap))
    assert np.all(np.abs(solution.value - exact) <= solution.error)
    assert np.all(np.abs(solution.value / exact - 1) <= 1e-15 / gap + 1e-14)


def test_divergence_is_reported_not_returned_as_an_answer():
    solution = scalar_fixed_point(linear([1.0, 1.0001, 2.0, 0.5]), np.ones(4), lower=0.0)
    assert list(solution.status) == [Status.DIVERGED] * 3 + [Status.CONVERGED]
    assert solution.residual[3] == 0.0


def test_residual_belongs_to_the_returned_value():
    def map(x, index):
        return np.cos(x)

    solution = scalar_fixed_point(map, np.array([0.1, 1.4]))
    np.testing.assert_allclose(solution.value, 0.7390851332151607, rtol=1e-15)
    np.testing.assert_array_equal(solution.residual, np.abs(np.cos(solution.value) - solution.value))


def test_takes_the_stable_fixed_point_in_the_direction_of_iteration():
    # x + 0.1 x (1 - x) (x - 3) (x - 5) falls towards 0 from below 1 and rises ... to 3 from 1 < x < 5.
    def map(x, index):
        return x - 0.01 * x * (x - 1) * (x - 3) * (x - 5)

    start = np.array([0.5, 0.99, 1.01, 2.0, 2.9, 3.5, 4.9])
    iterated = start.copy()
    for _ in range(20_000):
        iterated = map(iterated, None)
    solution = scalar_fixed_point(map, start, lower=0.0)
    assert solution.converged
    np.testing.assert_allclose(solution.value, iterated, atol=1e-12)


def test_double_root_at_criticality_is_honest():
    solution = scalar_fixed_point(lambda x, index: x - 2 * x**2 / (1 + x), np.ones(1), lower=0.0)
    assert solution.converged
    assert solution.value[0] <= 10 * solution.error[0]
    assert solution.value[0] < 1e-14


def test_iteration_limit_and_nan_are_reported():
    limited = scalar_fixed_point(linear([1 - 1e-8]), np.ones(1), max_iterations=3)
    assert limited.status[0] == Status.MAX_ITERATIONS
    assert limited.residual[0] > 0
    broken = scalar_fixed_point(lambda x, index: np.where(x < 0.5, np.nan, 0.5 * x), np.ones(1))
    assert broken.status[0] == Status.NOT_FINITE


@pytest.mark.parametrize("gap", [0.5, 1e-2, 1e-6])
def test_vector_map(gap):
    matrix = np.array([[0.5, 0.3, 0.0], [0.1, 0.4, 0.1], [0.0, 0.2, 0.3]])
    matrix *= (1 - gap) / np.max(np.abs(np.linalg.eigvals(matrix)))
    offset = np.array([1.0, 0.0, 2.0])

    def map(x, index):
        return matrix @ x + offset[:, None] + 0.1 * np.sin(x)

    solution = fixed_point(map, np.ones((3, 2)))
    assert solution.converged
    np.testing.assert_allclose(map(solution.value, None), solution.value, rtol=1e-9)
    assert np.all(solution.iterations < 120)


def test_vector_shape_is_checked():
    with pytest.raises(ValueError, match="x0"):
        fixed_point(lambda x, index: x, np.ones(3))
