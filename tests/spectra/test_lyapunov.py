"""Lyapunov spectra: published simulations, the mean field, what is refused, results that are kept."""

import math

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.laws.quantile_law import QuantileLaw
from rmtrnn.spectra.lyapunov import LyapunovSpectrum


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


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="period = 2"):
        rt.lyapunov(rt.Ensemble("gru"), period=2)
    with pytest.raises(ValueError, match=r"tolerance = 0\.0"):
        rt.lyapunov(rt.Ensemble("gru"), tolerance=0.0)
    with pytest.raises(TypeError, match="expected an Ensemble"):
        rt.lyapunov("vanilla")  # pyright: ignore[reportArgumentType]


def test_numbers_as_json():
    numbers = rt.lyapunov(rt.Ensemble("vanilla", sigma_w=1.5)).to_dict()
    assert numbers["converged"]
    assert numbers["largest"] == pytest.approx(rt.lyapunov(rt.Ensemble("vanilla", sigma_w=1.5)).largest)


def test_gated_networks():
    """A network of 64 units; the law of the vanilla network at another gain misses it."""
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5)
    law = rt.lyapunov(ens, period=32, sites=128)
    assert law.converged and law.largest == pytest.approx(0.5 * math.log(rt.mean_field(ens).chi))
    found = np.sort(rt.sample_lyapunov(ens, N=64, steps=120, seed=3).exponents[0])
    ranks = (np.arange(found.size) + 0.5) / found.size
    assert np.abs(law.spectrum.cdf(found) - ranks).max() < law.error + 0.03 < 0.1
    wrong = rt.lyapunov(rt.Ensemble("vanilla", sigma_w=1.0)).spectrum
    assert np.abs(wrong.cdf(found) - ranks).max() > 0.1


PUBLISHED_LEAKY = {
    3.0: (0.2242, 0.03516, 0.003690, 0.0717, -1.1510),
    1.5: (0.0459, 0.00775, 0.000169, 0.01616),
}


@pytest.mark.sweep
@pytest.mark.parametrize("gain", PUBLISHED_LEAKY)
def test_published_simulations_of_the_leaky_map(gain):
    """Open data of a public repository, N = 4096 and 16384, per unit of time: within 3 %.

    Nothing is allowed for finite N.
    """
    law = rt.lyapunov(rt.Ensemble(rt.Leaky(0.25, form="current"), sigma_w=gain, tied=True))
    numbers = law.largest, law.unstable_fraction, law.entropy_rate, law.kaplan_yorke, law.spectrum.mean
    found = np.array(numbers) / [0.25, 1.0, 0.25, 1.0, 0.25]
    published, other = np.array(PUBLISHED_LEAKY[gain]), np.array(PUBLISHED_LEAKY[4.5 - gain])
    assert np.all(np.abs(found[: published.size] / published - 1.0) < 0.03)
    assert np.all(np.abs(found[:4] / other[:4] - 1.0) > 0.5)
    assert law.converged


def test_results_are_kept_and_drawn(tmp_path):
    ens = rt.Ensemble("vanilla", sigma_w=1.5)
    law, sample = rt.lyapunov(ens), rt.sample_lyapunov(ens, N=16, steps=32, burn_in=20)
    levels = np.array([0.1, 0.5, 0.9])
    table = LyapunovSpectrum(
        QuantileLaw(levels, levels - 1.0, 0.5, 1e-3),
        ens,
        "dyson",
        1e-3,
        law.status,
        0.1,
        number_errors={"entropy_rate": 0.02},
    )
    assert rt.load(table.save(tmp_path / "table")).errors == {"largest": 0.1, "entropy_rate": 0.02}
    for result in (law, sample, table):
        assert rt.load(result.save(tmp_path / "kept")) == result
        assert result.converged and result.to_dict()["converged"]
    ax = law.plot()
    assert sample.plot(ax) is ax
    assert [line.get_label() for line in ax.lines if not line.get_label().startswith("_")] == [
        "theory",
        "sample",
    ]
