"""Lyapunov spectra of vanilla networks: published simulations, the mean field, high precision."""

import math

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.dyson.quantiles import log_quantiles
from rmtrnn.laws.quantile_law import QuantileLaw
from rmtrnn.spectra.lyapunov import LEVELS, LyapunovSpectrum, _extrapolated


def test_published_simulation_of_the_tanh_map():
    """Open data of a public repository, N = 4096: its finite size is the tolerance."""
    found = rt.lyapunov(rt.Ensemble("vanilla", sigma_w=3.0))
    assert found.largest == pytest.approx(0.3096, abs=2e-3)
    assert found.unstable_fraction == pytest.approx(0.15259, abs=5e-4)
    assert found.entropy_rate == pytest.approx(0.025106, abs=2e-4)
    assert found.kaplan_yorke == pytest.approx(0.28717, abs=1e-3)
    assert found.spectrum.mean == pytest.approx(-2.27390, abs=2e-3)
    assert found.converged


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_the_largest_exponent_is_half_the_log_of_chi(weights):
    ens = rt.Ensemble(rt.VanillaRNN("erf"), sigma_w=1.4, sigma_v=0.5, sigma_b=0.2, weights=weights)
    assert rt.lyapunov(ens).largest == pytest.approx(0.5 * math.log(rt.mean_field(ens).chi), abs=1e-12)


def test_tied_and_untied_weights_have_the_same_exponents():
    ens = rt.Ensemble("vanilla", sigma_w=2.0, sigma_b=0.3)
    free, tied = rt.lyapunov(ens), rt.lyapunov(ens.replace(tied=True))
    assert free.kaplan_yorke == tied.kaplan_yorke
    assert free.ensemble != tied.ensemble


def test_what_has_no_closed_form_is_refused_with_a_way_out():
    with pytest.raises(ValueError, match=r"tied = True.*rt.sample_lyapunov"):
        rt.lyapunov(rt.Ensemble("gru", tied=True))
    with pytest.raises(ValueError, match="T = 2"):
        rt.lyapunov(rt.Ensemble("gru"), T=2)
    with pytest.raises(TypeError, match="expected an Ensemble"):
        rt.lyapunov("vanilla")  # pyright: ignore[reportArgumentType]


def test_numbers_as_json():
    numbers = rt.lyapunov(rt.Ensemble("vanilla", sigma_w=1.5)).to_dict()
    assert numbers["converged"]
    assert numbers["largest"] == pytest.approx(rt.lyapunov(rt.Ensemble("vanilla", sigma_w=1.5)).largest)


@pytest.mark.slow
def test_the_extrapolation_finds_the_closed_form():
    """The Dyson equation of a vanilla network at T = 24, 48, 96 against its S-transform."""
    ens = rt.Ensemble("vanilla", sigma_w=2.0, sigma_b=0.3)
    exact = rt.lyapunov(ens)
    chains = [log_quantiles(ens, 24 * 2**k, LEVELS, population=2048) for k in range(3)]
    law = _extrapolated(chains, 24, exact.largest)
    miss = np.abs(exact.spectrum.cdf(law.quantiles) - np.array(LEVELS)).max()
    assert miss < law.error < 5e-3
    assert law.kaplan_yorke == pytest.approx(exact.kaplan_yorke, abs=1e-3)
    assert law.entropy_rate == pytest.approx(exact.entropy_rate, abs=1e-4)
    plain = np.abs(exact.spectrum.cdf(chains[2].log_s / 96) - np.array(LEVELS)).max()
    assert plain > 10 * miss  # without the extrapolation


@pytest.mark.slow
def test_gated_networks_have_the_extrapolated_exponents():
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5)
    law = rt.lyapunov(ens, T=24, population=2048)
    assert law.converged and law.largest == pytest.approx(0.5 * math.log(rt.mean_field(ens).chi))
    found = np.sort(rt.sample_lyapunov(ens, N=96, steps=300, seed=3).exponents[0])
    ranks = (np.arange(found.size) + 0.5) / found.size
    assert np.abs(law.spectrum.cdf(found) - ranks).max() < law.error + 0.03
    wrong = rt.lyapunov(rt.Ensemble("vanilla", sigma_w=1.0)).spectrum
    assert np.abs(wrong.cdf(found) - ranks).max() > 0.1


def test_results_are_kept_and_drawn(tmp_path):
    ens = rt.Ensemble("vanilla", sigma_w=1.5)
    law, sample = rt.lyapunov(ens), rt.sample_lyapunov(ens, N=16, steps=32, burn_in=20)
    levels = np.array([0.1, 0.5, 0.9])
    table = LyapunovSpectrum(QuantileLaw(levels, levels - 1.0, 0.5, 1e-3), ens, "dyson", 1e-3, law.status)
    for result in (law, sample, table):
        assert rt.load(result.save(tmp_path / "kept")) == result
        assert result.converged and result.to_dict()["converged"]
    ax = law.plot()
    assert sample.plot(ax) is ax
    assert [line.get_label() for line in ax.lines if not line.get_label().startswith("_")] == [
        "theory",
        "sample",
    ]
