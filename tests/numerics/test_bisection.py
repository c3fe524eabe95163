"""Bisection of conditions: brackets that end at neighbouring numbers, and conditions without a change."""

import numpy as np

from rmtrnn.numerics.bisection import bisected


def test_a_bracket_ends_at_neighbouring_numbers():
    square = np.array([2.0, 3.0, 5.0])
    inside, outside = bisected(lambda x: x**2 < square, np.zeros(3), np.full(3, 4.0))
    assert np.all(outside == np.nextafter(inside, 4.0))
    assert np.all((inside**2 < square) & (outside**2 >= square))


def test_the_bracket_may_fall_and_the_condition_may_jump():
    inside, outside = bisected(lambda x: x > 0.3, 1.0, -1.0, halvings=20)
    assert outside <= 0.3 < inside <= outside + 2.0**-18


def test_where_nothing_changes_an_end_comes_back():
    assert np.all(np.array(bisected(lambda x: x < 9.0, [0.0], [1.0])) >= 1.0 - 1e-15)
    assert np.all(np.abs(bisected(lambda x: x < -9.0, [0.0], [1.0])) < 1e-15)
