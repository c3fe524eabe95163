"""Tails of the law of a finite population."""

from __future__ import annotations

import numpy as np

import rmtrnn as rt
from rmtrnn.dyson.inversion.tail_extension import Resolution, SupportPoints, monotone_tails


def test_a_side_of_single_sites_alone_is_left_as_it_is():
    """With few sites the mass of single ones is above that of few, which is bounded."""
    u = np.linspace(-1.0, 1.0, 41)
    points = SupportPoints(u, 0.5 * (1.0 + u), np.full(41, 0.5), np.zeros(41, dtype=bool))
    found = monotone_tails(points, 0.0, Resolution({-1: 0.02, 1: 0.02}, {-1: 1.0, 1: 0.05}))
    np.testing.assert_array_equal(found.cdf[:20], points.cdf[:20])
    assert np.all(np.diff(found.cdf) > 0.0)


def test_a_law_of_64_sites_is_an_answer():
    ens = rt.Ensemble("minimal", sigma_w=1.2, sigma_v=0.5, mu_b=1.0, sigma_b=0.2, tied=True)
    law = rt.spectrum(ens, 2, population=64, tol=2e-2)
    assert 0.0 < law.error < 0.5
