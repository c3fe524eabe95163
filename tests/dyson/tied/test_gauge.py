"""The gauge that takes out the growth of self-energies along the steps."""

from __future__ import annotations

import numpy as np
import pytest

from rmtrnn.dyson.tied.gauge import GAUGE_DEGREE, diagonal_size, in_gauge, legendre, smooth_gauge


@pytest.mark.equation(22)
def test_in_the_gauge_both_are_of_one_size_at_all_steps():
    """P falls and Q grows by fifty orders of magnitude, with a smooth rate, and 10 % of noise."""
    steps, rng = 24, np.random.default_rng(1)
    logs = -3.0 * np.arange(steps) + 4.0 * np.sin(np.arange(steps) / 12.0)
    noise = np.exp(0.1 * rng.normal(size=(2, 2, steps)))
    energy = np.zeros((2, 2, steps, steps), dtype=complex)
    place = np.arange(steps)
    energy[:, :, place, place] = -1j * noise * np.exp(np.array([logs, -logs]))[:, None]
    gauge = smooth_gauge(energy, GAUGE_DEGREE)
    size = diagonal_size(in_gauge(energy, -np.log(gauge)))
    assert size.min() > 0.5 and size.max() < 2.0
    assert diagonal_size(energy).max() > 1e20
    np.testing.assert_allclose(in_gauge(in_gauge(energy, np.log(gauge)), -np.log(gauge)), energy, rtol=1e-12)


def test_polynomials_are_orthonormal_on_the_steps():
    phi = legendre(9, 4)
    np.testing.assert_allclose(phi.T @ phi, np.eye(4), atol=1e-14)
    np.testing.assert_allclose(phi @ phi.T @ np.arange(9.0) ** 3, np.arange(9.0) ** 3, atol=1e-11)
