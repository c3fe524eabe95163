"""Lyapunov spectra of vanilla networks: published simulations, the mean field, high precision."""

import math

import pytest

import rmtrnn as rt


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
    with pytest.raises(ValueError, match=r"gated.*rt.sample_lyapunov"):
        rt.lyapunov(rt.Ensemble("gru"))
    with pytest.raises(TypeError, match="expected an Ensemble"):
        rt.lyapunov("vanilla")  # pyright: ignore[reportArgumentType]


def test_numbers_as_json():
    numbers = rt.lyapunov(rt.Ensemble("vanilla", sigma_w=1.5)).to_dict()
    assert numbers["status"] == "CONVERGED"
    assert numbers["largest"] == pytest.approx(rt.lyapunov(rt.Ensemble("vanilla", sigma_w=1.5)).largest)
