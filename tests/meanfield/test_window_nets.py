"""Sites whose slowest modes are Sobol points have the law that they had, and averages that scatter less."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.meanfield import window_nets
from rmtrnn.meanfield.periodic_process import GROUPS, FrequencyNodes, PeriodicSites
from rmtrnn.meanfield.window_nets import WindowNets

MINIMAL = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5, tied=True)
PERIOD, STEPS, WINDOWS = 64, 8, 4


def drawn(ens, per_group, seed, with_nets=True, decay=6.0):
    """Sites, their spectra and their pre-activations."""
    nodes = FrequencyNodes.build(PERIOD, 1 / 12)
    process = PeriodicSites(ens, PERIOD, per_group, seed, nodes)
    values = np.repeat(nodes.lorentzian(0.3, decay)[None, None], GROUPS, axis=1)
    e = process.pre_activations(values)[0]
    if with_nets:
        WindowNets.draw(len(ens.cell.gates), STEPS, WINDOWS, per_group, seed).impose(process, e, values, 0)
    return process, values, e


@pytest.mark.parametrize("sigma_b", [0.0, 1.0])
def test_covariance_is_that_of_the_spectrum(sigma_b):
    """At all lags, inside the windows and across them, with a part that does not decay."""
    ens = MINIMAL.replace(sigma_b=sigma_b)
    process, values, e = drawn(ens, 2048, 1)
    expected = np.fft.irfft(process.power_of_gates(values)[0, 0], PERIOD)
    lags = np.arange(PERIOD)
    expected = expected[np.abs(np.subtract.outer(lags, lags))]
    centred = e[0] - 1.0
    found = centred @ centred.T / process.n
    assert np.abs(found - expected).max() < 5.0 * np.sqrt(2.0 / process.n) * expected[0, 0]
    assert np.abs(found - 1.2 * expected).max() > 0.15 * expected[0, 0]


def test_averages_over_a_window_scatter_less():
    """Of the mean of a product of gates, five times."""

    def spread(with_nets):
        _, _, e = drawn(MINIMAL, 512, 3, with_nets)
        product = np.prod(1.0 / (1.0 + np.exp(-e[0, :STEPS])), axis=0)
        return product.reshape(GROUPS, -1).mean(axis=1).std(ddof=1) / product.std()

    assert spread(True) < 0.2 * spread(False)


def test_inputs_have_their_second_moment_and_portions_are_parts_of_one_net():
    process, values, _ = drawn(MINIMAL, 256, 5)
    assert np.mean(process.inputs[0] ** 2) == pytest.approx(0.5, rel=0.02)
    nets = WindowNets.draw(1, STEPS, WINDOWS, 256, 5)
    half = PeriodicSites(MINIMAL, PERIOD, 128, 5, process.nodes)
    for batch in range(2):
        some = half.pre_activations(values)[0]
        nets.impose(half, some, values, batch)
        of_all = process.inputs[0][:STEPS].reshape(STEPS, GROUPS, 256)[..., batch * 128 : (batch + 1) * 128]
        np.testing.assert_array_equal(half.inputs[0][:STEPS].reshape(STEPS, GROUPS, 128), of_all)


@pytest.mark.parametrize("name", [field.name for field in fields(window_nets.NetSettings)])
@pytest.mark.parametrize("factor", [3.0, 1.0 / 3.0])
def test_numbers_moved_by_three(name, factor, monkeypatch):
    """The law of a site stays: mean and variance of the sum of the pre-activations of a window."""
    value = type(getattr(window_nets._NET, name))(getattr(window_nets._NET, name) * factor)
    monkeypatch.setattr(window_nets, "_NET", replace(window_nets._NET, **{name: value}))
    process, values, e = drawn(MINIMAL, 512, 7)
    covariance = np.fft.irfft(process.power_of_gates(values)[0, 0], PERIOD)
    lags = np.arange(STEPS)
    expected = covariance[np.abs(np.subtract.outer(lags, lags))].sum()
    total = e[0, :STEPS].sum(axis=0)
    assert total.mean() == pytest.approx(STEPS, abs=4.0 * np.sqrt(expected / process.n))
    assert total.var() == pytest.approx(expected, rel=0.08)
