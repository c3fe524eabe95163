"""Laws of the cells of the library against sampled networks, tied and untied, with negative controls."""

import numpy as np
import pytest

import rmtrnn as rt

CELLS = ("leaky", "mingru", "minlstm", "mgu", "ugrnn", "janet", "cfn")


@pytest.mark.sweep
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_law_of_a_library_cell_is_that_of_samples(name, tied):
    ens = rt.Ensemble(name, sigma_w=1.5, sigma_v=0.5, sigma_b=0.3, tied=tied)
    sites = {} if name in ("mingru", "minlstm") else {"population": 4096}  # these two are convolutions
    spec, mc = rt.spectrum(ens, 2, **sites), rt.sample(ens, 2, N=128, trials=6)
    report = rt.compare(spec, mc)
    assert report.agrees, str(report)
    assert spec.error < 0.05
    wrong = rt.spectrum(ens.replace(sigma_w=2.5, sigma_v=1.0), 2, **sites)
    u = np.sort(mc.log_s, axis=None)
    missed = float(np.abs(wrong.log_s.cdf(u) - (np.arange(u.size) + 0.5) / u.size).max())
    assert missed > max(0.05, 2.0 * report.kolmogorov)
