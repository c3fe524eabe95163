"""Spectra of networks whose units differ in their time constants: sampled networks, one common constant."""

import numpy as np
import pytest
import sympy
from reference.kolmogorov import distance

import rmtrnn as rt


def network(tied):
    """h' = (1 − d) h + d tanh(e): d is a gate that reads nothing, a parameter of the unit."""
    h, e, d = sympy.symbols("h e d")
    update = {h: (1 - d) * h + d * sympy.tanh(e)}
    cell = rt.Cell("rates", state=h, input=sympy.Symbol("x"), gates={e: h, d: 0}, update=update)
    return rt.Ensemble(cell, sigma_w={"e": 0.8, "d": 0.0}, sigma_v={"e": 1.0}, tied=tied)


@pytest.mark.parametrize("tied", [False, pytest.param(True, marks=pytest.mark.sweep)])
def test_two_time_constants(tied):
    """Untied networks draw the constant anew at every step, tied ones keep it."""
    mixed = network(tied).replace(bias_law={"d": ((0.05, 0.95), (0.5, 0.5))})
    sample, law = rt.sample(mixed, 3, N=250, trials=4, burn_in=200), rt.spectrum(mixed, 3, population=1024)
    most = law.error + 0.5 / np.sqrt(sample.log_s.size)
    assert law.converged and distance(law.log_s, sample.log_s) < most < 0.05
    common = rt.spectrum(network(tied).replace(mu_b={"d": 0.5}), 3, population=1024)
    assert distance(common.log_s, sample.log_s) > 0.2
