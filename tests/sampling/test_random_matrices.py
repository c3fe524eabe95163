"""Random matrices: entry variance, orthogonality, and the Haar law with raw QR as negative control."""

import math

import numpy as np
import pytest

from rmtrnn._core import random as _random
from rmtrnn.sampling.random_matrices import random_matrix


def trace_moments(draw, n, samples):
    """tr O, (tr O)², tr O², (tr O²)² of independent draws: rows of one array."""
    rows = []
    for trial in range(samples):
        o = draw(n, _random.stream(11, trial))
        first, second = np.trace(o), np.sum(o * o.T)
        rows.append([first, first**2, second, second**2])
    return np.array(rows)


# Haar on O(n), n >= 4 (Diaconis and Shahshahani 1994): means of tr O, (tr O)², tr O², (tr O²)².
HAAR = np.array([0.0, 1.0, 1.0, 3.0])


def worst_z(rows):
    return np.max(np.abs(rows.mean(axis=0) - HAAR) / (rows.std(axis=0, ddof=1) / math.sqrt(len(rows))))


def test_orthogonal_matrices_have_the_trace_moments_of_haar():
    assert worst_z(trace_moments(lambda n, rng: random_matrix("orthogonal", n, 1.0, rng), 8, 4000)) < 4


def test_raw_qr_fails_the_same_test():
    def raw(n, rng):
        return np.linalg.qr(rng.standard_normal((n, n)))[0]

    assert worst_z(trace_moments(raw, 8, 4000)) > 8


def test_orthogonal_is_orthogonal_and_scaled():
    o = random_matrix("orthogonal", 50, 1.7, 3)
    assert np.max(np.abs(o @ o.T - 1.7**2 * np.eye(50))) < 50 * np.finfo(float).eps * 1.7**2


def test_gaussian_entries_have_variance_scale_squared_over_n():
    w = random_matrix("gaussian", 400, 1.3, 5)
    count = w.size
    assert abs(w.mean()) < 4 * 1.3 / math.sqrt(400 * count)
    assert abs(400 * w.var() / 1.3**2 - 1) < 4 * math.sqrt(2 / count)


def test_same_stream_same_matrix_and_float32_is_the_rounded_one():
    for kind in ("gaussian", "orthogonal"):
        first, again = (random_matrix(kind, 20, 1.0, _random.stream(1, 2)) for _ in range(2))
        assert np.array_equal(first, again)
        single = random_matrix(kind, 20, 1.0, _random.stream(1, 2), dtype="float32")
        assert single.dtype == np.float32
        assert np.array_equal(single, first.astype(np.float32))


def test_one_by_one_and_zero_scale():
    assert abs(random_matrix("orthogonal", 1, 2.0, 1)[0, 0]) == 2.0
    assert not random_matrix("gaussian", 4, 0.0, 1).any()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("uniform", 4, 1.0, 0), "kind"),
        (("gaussian", 0, 1.0, 0), "n"),
        (("gaussian", 4, -1.0, 0), "scale"),
        (("gaussian", 4, float("nan"), 0), "scale"),
    ],
)
def test_bad_input_is_named(arguments, name):
    with pytest.raises(ValueError, match=f"^{name} = "):
        random_matrix(*arguments)
