"""Tied laws of long chains against sampled networks."""

from __future__ import annotations

import pytest
from sampled_quantiles import NETWORKS
from test_twenty_steps import share_of_error

import rmtrnn as rt

QUICK = {"population": 512, "tol": 2e-3}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "T", "other", "options"),
    [
        ("minimal", 20, 30, {"population": 4096, "tol": 2e-3}),
        ("leaky", 20, None, QUICK),
        pytest.param("lstm", 10, None, QUICK, marks=pytest.mark.sweep),
        *(
            pytest.param(*case, {}, marks=pytest.mark.sweep)
            for case in (
                ("gru", 30, None),
                ("lstm", 10, None),
                ("lstm", 16, None),
                ("open gru", 20, None),
                ("quiet leaky", 8, None),
            )
        ),
    ],
)
def test_long_chains(name, T, other, options):
    """Converged, within both errors of 16 networks of 800 units everywhere; another length is rejected.

    So is the law of untied weights, where no other length was sampled.
    """
    found = rt.spectrum(NETWORKS[name], T, **options)
    assert found.converged and found.error < 1e-2
    assert share_of_error(found, name, T) < 1.0
    if name == "lstm":  # elsewhere a few of 512 sites carry m_1, or a longer chain was not solved
        assert found.density_moment(1) == pytest.approx(found.moment(1), rel=1e-3)
    if other is None:
        found, other = rt.spectrum(NETWORKS[name].replace(tied=False), T, population=2048), T
    assert share_of_error(found, name, other) > 1.5
