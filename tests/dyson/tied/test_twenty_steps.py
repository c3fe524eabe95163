"""Tied laws of twenty steps against quantiles of sampled networks; their first moment."""

from __future__ import annotations

import numpy as np
import pytest
from sampled_quantiles import LEVELS, NETWORKS, QUANTILES, SIZE

import rmtrnn as rt

STEPS = 20


@pytest.fixture(scope="module", params=["minimal", "leaky"])
def twenty_steps(request):
    name = request.param
    return name, rt.spectrum(NETWORKS[name], STEPS, population=8192)


def share_of_error(law, name, T):
    """What the cdf is off from sampled networks by, over what both may err by, the largest of all levels."""
    sampled = QUANTILES[name, T]
    # A finite N biases linear statistics by O(1/N).
    allowed = law.error + 4 * np.array(sampled.errors) + 1 / SIZE
    return float(np.max(np.abs(law.log_s.cdf(np.array(sampled.quantiles)) - LEVELS) / allowed))


@pytest.mark.equation(15, 18)
def test_sampled_networks_have_the_law_of_tied_weights(twenty_steps):
    """And not that of redrawn ones: 16 networks of 800 units, T = 20."""
    name, law = twenty_steps
    # Of the minimalRNN half is what few sites make of the self-energies.
    assert law.converged and law.error < 8e-3
    assert share_of_error(law, name, STEPS) < 1.0
    redrawn = rt.spectrum(NETWORKS[name].replace(tied=False), STEPS, population=2048)
    assert redrawn.error < 0.01 and share_of_error(redrawn, name, STEPS) > 1.1


def test_the_table_has_the_first_moment_that_large_lambda_gives(twenty_steps):
    """Half of it lies above the last per cent of s, where no population of sites knows F well enough."""
    _, law = twenty_steps
    # What the stated error of the cdf alone would do to it, at the quantile where it is all that is left.
    allowed = law.error * np.exp(2 * law.log_s.icdf(1.0 - law.error)) / law.moment(1)
    assert allowed < 0.5
    assert law.density_moment(1) == pytest.approx(law.moment(1), rel=float(allowed))
    u = np.linspace(law.log_s.icdf(0.99), law.log_s.icdf(1.0 - 1e-9), 4001)
    share = np.sum(np.exp(u[1:] + u[:-1]) * np.diff(law.log_s.cdf(u))) / law.moment(1)
    assert share > 0.2
