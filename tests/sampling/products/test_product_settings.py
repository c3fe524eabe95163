"""Each number of the long product, moved by ×3 and ÷3: values stay within the errors that are stated.

Three products decide: Gaussian factors with grades and functions (groups and deflation), many factors
(ranges beyond doubles), and one above the size that Jacobi rotations take whole.
"""

import dataclasses

import numpy as np
import pytest
from test_log_product import gaussians, multiplied

from rmtrnn._core import random as _random
from rmtrnn.sampling.products import accuracy, deflation, graded, grouping, log_product
from rmtrnn.sampling.random_matrices import random_matrix

MODULES = (accuracy, deflation, graded, grouping, log_product)
# Ranges of doubles, and the trust in the square of T: larger values are wrong by derivation.
ONLY_SMALLER = {"block_range", "window_range", "direct_range", "scaled"}
NUMBERS = [
    (module, field.name, factor)
    for module in MODULES
    for field in dataclasses.fields(module.SETTINGS)
    for factor in (3, 1 / 3)
    if factor < 1 or field.name not in ONLY_SMALLER
]


def tanh_factors(n, count, seed):
    rng = _random.stream(seed)
    state, factors = rng.standard_normal(n), []
    for _ in range(count):
        w = random_matrix("gaussian", n, 1.0, rng)
        state = np.tanh(w @ state)
        factors.append((1 - state**2)[:, None] * w)
    return factors


PROBLEMS = {
    "graded": lambda: tanh_factors(40, 30, 1),
    "beyond doubles": lambda: tanh_factors(12, 700, 2),
    "large": lambda: gaussians(170, 9, 3),
}


@pytest.fixture(scope="module")
def references():
    """Factors, the values by the default numbers, and their stated errors."""
    found = {}
    for name, make in PROBLEMS.items():
        factors = make()
        product, values = multiplied(factors)
        found[name] = (factors, values, product.error)
    return found


@pytest.mark.parametrize(
    ("module", "name", "factor"),
    NUMBERS,
    ids=[f"{module.__name__.rsplit('.', 1)[1]}.{name}-{factor:.2g}" for module, name, factor in NUMBERS],
)
def test_a_number_moved_by_three_moves_no_value_beyond_its_error(
    references, monkeypatch, module, name, factor
):
    value = getattr(module.SETTINGS, name)
    moved = max(1, round(value * factor)) if isinstance(value, int) else value * factor
    monkeypatch.setattr(module, "SETTINGS", dataclasses.replace(module.SETTINGS, **{name: moved}))
    accuracy.signs.cache_clear()
    try:
        for factors, values, error in references.values():
            product, own = multiplied(factors)
            assert np.max(np.abs(own - values)) < product.error + error
    finally:
        accuracy.signs.cache_clear()


def test_without_halving_for_the_tolerance_values_are_lost(references, monkeypatch):
    """A negative control: an estimate of no rounding errors at all multiplies everything at once."""
    blind = dataclasses.replace(accuracy.SETTINGS, rounding_offset=1e-12, rounding_slope=0.0)
    monkeypatch.setattr(accuracy, "SETTINGS", blind)
    factors, values, error = references["graded"]
    product, own = multiplied(factors)
    assert np.max(np.abs(own - values)) > 100 * (product.error + error)
