"""Numbers of the networks that a search looks at: none of them decides what it sees."""

from dataclasses import replace

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.initialisation.networks import NetworkBatch, Observed, Points, Size

ENS = rt.Ensemble("minimal", sigma_w=1.0, sigma_v=0.7, mu_b=1.5, tied=True, weights="orthogonal")
LAGS = np.array([0, 2, 4, 8])
USUAL = Size(units=96, least_burn_in=50, memories=1)


def observed(size: Size) -> Observed:
    return NetworkBatch(ENS, 8, size=size).observe(Points.of(ENS), LAGS)


def test_single_precision_of_directions():
    """Rounding alone: it does not add up over the steps."""
    usual, single = observed(USUAL), observed(replace(USUAL, dtype="float32"))
    for name in ("log_input", "log_state"):
        distance = np.abs(getattr(single, name) - getattr(usual, name)).max()
        assert 0.0 < distance < 30.0 * np.finfo("float32").eps
    assert np.array_equal(single.q, usual.q) and np.array_equal(single.log_typical, usual.log_typical)


@pytest.mark.parametrize("factor", [1 / 3, 3])
@pytest.mark.parametrize(
    "name", ["units", "directions", "least_burn_in", "memories", "start", "looks", "rescaled"]
)
def test_numbers_change_what_is_seen_by_the_draw_only(name, factor):
    value = getattr(USUAL, name)
    usual, moved = (observed(size) for size in (USUAL, replace(USUAL, **{name: type(value)(value * factor)})))
    exact = name in ("looks", "rescaled")  # nothing that is drawn depends on them
    assert np.abs(moved.log_input - usual.log_input).max() < (1e-9 if exact else 0.5)
    assert np.abs(moved.log_state - usual.log_state).max() < (1e-9 if exact else 0.3)
    assert np.abs(moved.q / usual.q - 1.0).max() < 0.15
    assert np.ptp(usual.log_input) > 1.0


@pytest.mark.parametrize("tied", [True, False])
def test_networks_side_by_side_are_those_of_one_after_another(tied):
    ens, size = ENS.replace(sigma_b=0.2, tied=tied), Size(units=24, least_burn_in=30, looks=0)
    together = NetworkBatch(ens, 8, range(3, 6), size).observe(Points.of(ens), LAGS)
    for column, seed in enumerate(range(3, 6)):
        alone = NetworkBatch(ens, 8, seed, size).observe(Points.of(ens), LAGS)
        np.testing.assert_allclose(together.log_input[:, column], alone.log_input[:, 0], atol=1e-9)
        np.testing.assert_allclose(together.log_state[:, column], alone.log_state[:, 0], atol=1e-9)
    assert np.ptp(together.log_input, axis=1).min() > 1e-3
