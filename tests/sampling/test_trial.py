"""A trial has the same bits whatever trials run beside it; exact zeros are counted; nothing is printed."""

import dataclasses

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.sampling import trial
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
        for number, row in zip(trials, sample_trials(parameters, trials), strict=True):
            assert np.array_equal(row, together[number], equal_nan=True)
    lengths = {row[2] for row in together}
    assert len(lengths) > 1 or name != "minimal, slow"


def test_relu_zeros_are_counted_exactly():
    mc = rt.sample(rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=1.4, sigma_b=0.1), T=3, N=40, trials=4)
    zeros = np.isneginf(mc.log_s).sum(axis=1)
    assert np.all((zeros >= 10) & (zeros <= 35))
    assert mc.log_s[~np.isneginf(mc.log_s)].min() > -25


def quiet_sample(capfd, ens, **options):
    """A sample; warnings are errors in the tests, and what LAPACK prints is caught here."""
    mc = rt.sample(ens, trials=2, **options)
    assert capfd.readouterr() == ("", "")
    assert not np.isnan(mc.log_s).any()
    return mc


@pytest.mark.parametrize("N", [1, 2, 4, 7])
@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_a_product_without_rank_prints_nothing(capfd, weights, N):
    """Case 21. Thirty relu steps of few units: all singular values are exact zeros, LAPACK got 0 × 0."""
    ens = rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=2**0.5, weights=weights)
    mc = quiet_sample(capfd, ens, T=30, N=N)
    assert np.isneginf(mc.log_s).any()


EXTREMES = {
    "no weights": (rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=0.0, sigma_b=3.0), 1, 170),
    "saturated": (rt.Ensemble("minimal", sigma_w=1e3, sigma_v=0.5, sigma_b=0.1, mu_b=2.0, tied=True), 30, 64),
    "beyond doubles": (rt.Ensemble("vanilla", sigma_w=1e3, sigma_b=0.1, mu_b=2.0), 200, 2),
    "slopes of 1e-300": (rt.Ensemble("vanilla", sigma_b=0.1, mu_b=340.0), 12, 9),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_networks_print_nothing(capfd, name):
    ens, T, N = EXTREMES[name]
    quiet_sample(capfd, ens, T=T, N=N, seed=82, burn_in=5)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("burn_in", [0, 500])
def test_a_diverging_state_is_refused_without_a_warning(tied, burn_in):
    ens = rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=1e3, mu_b=8.0, tied=tied)
    with pytest.raises(ValueError, match="finite"):
        rt.sample(ens, T=200, N=16, trials=1, burn_in=burn_in)


@pytest.mark.parametrize("factor", [3, 1 / 3])
@pytest.mark.parametrize("number", ["together", "narrow", "small"])
def test_numbers_of_speed_moved_by_three_change_no_value(monkeypatch, number, factor):
    """How trials are taken together decides about the time alone: values agree within stated errors."""
    ens = rt.Ensemble("vanilla", sigma_w=1.3, sigma_b=0.2)
    before = rt.sample(ens, T=6, N=40, trials=3, burn_in=20)
    value = getattr(trial.SETTINGS, number)
    moved = (
        {key: round(own * factor) for key, own in value.items()}
        if number == "small"
        else round(value * factor)
    )
    monkeypatch.setattr(trial, "SETTINGS", dataclasses.replace(trial.SETTINGS, **{number: moved}))
    after = rt.sample(ens, T=6, N=40, trials=3, burn_in=20)
    error = before.provenance["error"] + after.provenance["error"]
    assert np.max(np.abs(after.log_s - before.log_s)) < error
