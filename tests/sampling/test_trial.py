"""A trial has the same bits whatever trials run beside it; exact zeros are counted; nothing is printed."""

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.sampling.trial import sample_trials

COMPANY = {
    "vanilla": rt.Ensemble("vanilla", sigma_w=1.3, sigma_b=0.2, weights="orthogonal"),
    "minimal, slow": rt.Ensemble("minimal", sigma_w=1.5, sigma_v=0.5, mu_b=3.0, R=0.5),
    "lstm": rt.Ensemble("lstm", sigma_w=1.3, sigma_v=0.6),
    "gru, tied": rt.Ensemble("gru", sigma_w=1.3, sigma_v=0.6, tied=True),
    "relu": rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=1.4, sigma_b=0.1),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", COMPANY)
def test_a_trial_has_the_same_bits_in_any_company(name, dtype):
    """Also where trials need burn-ins of different lengths."""
    parameters = {"ensemble": COMPANY[name].to_dict(), "T": 3, "N": 13, "seed": 5, "device": "cpu"}
    parameters |= {"burn_in": {"least": 0}, "dtype": dtype}
    together = sample_trials(parameters, list(range(6)))
    for trials in ([4], [5, 1, 2]):
        for trial, row in zip(trials, sample_trials(parameters, trials), strict=True):
            assert np.array_equal(row, together[trial], equal_nan=True)
    lengths = {row[2] for row in together}
    assert len(lengths) > 1 or name != "minimal, slow"


def test_relu_zeros_are_counted_exactly():
    mc = rt.sample(rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=1.4, sigma_b=0.1), T=3, N=40, trials=4)
    zeros = np.isneginf(mc.log_s).sum(axis=1)
    assert np.all((zeros >= 10) & (zeros <= 35))
    assert mc.log_s[~np.isneginf(mc.log_s)].min() > -25
