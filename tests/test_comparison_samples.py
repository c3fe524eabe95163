"""compare on sampled networks: level and power, tied against untied, atoms, distances by definition."""

import math

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn import comparison
from rmtrnn.sampling.sample import Sample

TRIALS = 8


@pytest.mark.slow
def test_right_theory_accepted_and_three_per_cent_refused():
    """60 independent samples of 8 matrices each."""
    ens = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.0)
    mc = rt.sample(ens, T=4, N=96, trials=60 * TRIALS, seed=1, burn_in=0)
    samples = [Sample(rows, ens, 4, 96, {}) for rows in np.split(mc.log_s, 60)]
    right, wrong = rt.spectrum(ens, T=4), rt.spectrum(ens.replace(sigma_w=1.03), T=4)
    assert sum(rt.compare(right, sample).agrees for sample in samples) >= 57
    assert sum(rt.compare(wrong, sample, same_network=False).agrees for sample in samples) <= 3


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_tied_and_untied_vanilla_networks_share_their_law(weights):
    ens = rt.Ensemble("vanilla", sigma_w=1.1, sigma_b=0.3, weights=weights)
    right, wrong = rt.spectrum(ens, T=3), rt.spectrum(ens.replace(sigma_w=1.4), T=3)
    for tied in (False, True):
        mc = rt.sample(ens.replace(tied=tied), T=3, N=160, trials=12, seed=3, burn_in=100)
        assert rt.compare(right, mc).agrees
        assert not rt.compare(wrong, mc, same_network=False).agrees


def test_atoms_at_zero_over_several_steps():
    ens = rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=1.4, sigma_b=0.2)
    mc = rt.sample(ens, T=3, N=160, trials=12, seed=4, burn_in=100)
    report = rt.compare(rt.spectrum(ens, T=3), mc)
    assert report.agrees
    assert report.zero_mass[0] == pytest.approx(0.5)
    assert 0.5 < report.zero_mass[1] < 0.6
    assert not rt.compare(rt.spectrum(ens.replace(sigma_w=1.9), T=3), mc, same_network=False).agrees


def test_a_spectrum_that_is_one_atom():
    ens = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.1, weights="orthogonal")
    mc = rt.sample(ens, T=5, N=30, trials=3, burn_in=0)
    report = rt.compare(rt.spectrum(ens, T=5), mc)
    assert report.agrees
    assert report.kolmogorov < 1e-9
    assert report.wasserstein < 1e-9
    assert np.max(np.abs(report.modes)) < 1e-9
    assert not rt.compare(rt.spectrum(ens.replace(sigma_w=1.13), T=5), mc, same_network=False).agrees


def test_eigenvalues_are_more_regular_than_independent_draws():
    ens = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.0)
    spec = rt.spectrum(ens, T=1)
    p = np.random.default_rng(5).random((TRIALS, 200))
    independent = Sample(np.sort(spec.log_s.icdf(p), axis=1), ens, 1, 200, {})
    matrices = rt.sample(ens, T=1, N=200, trials=TRIALS, burn_in=0)
    loose, rigid = (rt.compare(spec, mc).mode_errors[0] for mc in (independent, matrices))
    assert loose > 3 * rigid


def test_distances_against_their_definition():
    ens = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=1.0)
    spec = rt.spectrum(ens, T=1)
    mc = rt.sample(ens, T=1, N=40, trials=2, burn_in=0)
    report = rt.compare(spec, mc)
    values = np.sort(mc.log_s.ravel())
    theory, steps = spec.log_s.cdf(values), np.arange(81) / 80
    above, below = np.abs(steps[1:] - theory), np.abs(steps[:-1] - theory)
    assert report.kolmogorov == pytest.approx(max(above.max(), below.max()), abs=1e-12)
    p = (np.arange(4000) + 0.5) / 4000
    transport = np.abs(values[(p * 80).astype(int)] - spec.log_s.icdf(p))
    assert report.wasserstein == pytest.approx(transport.mean(), rel=0.02)


def test_mode_over_an_atom_is_the_mean_over_the_jump():
    low, high = 0.2, 0.7
    grid = low + (high - low) * (np.arange(20000) + 0.5) / 20000
    for k in (1, 2, 5):
        mean = np.cos(k * math.pi * grid).mean()
        assert comparison._mode(k, np.array(low), np.array(high)) == pytest.approx(mean, abs=1e-8)
