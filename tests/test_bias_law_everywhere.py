"""A law of the biases is honoured or refused by every public function of an ensemble, never ignored."""

import inspect
import math

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn import highprec, meanfield, spectra

TWO = ((-3.0, 3.0), (0.5, 0.5))
LAW = rt.Ensemble("vanilla", sigma_w=0.9, bias_law=TWO)
NORMAL = rt.Ensemble("vanilla", sigma_w=0.9, sigma_b=3.0)


def takes_ensemble(value):
    return inspect.isfunction(value) and "ens" in inspect.signature(value).parameters


def of_sites(ens):
    return float(np.mean(meanfield.site_population(ens, 512).state ** 2))


# What each function says of an ensemble, as one number that depends on the law of the biases.
ANSWERS = {
    "mean_field": lambda ens: rt.mean_field(ens, sites=256).Q,
    "phase_diagram": lambda ens: float(rt.phase_diagram(ens, sigma_w=[0.9]).Q[0]),
    "spectrum": lambda ens: rt.spectrum(ens, 1, "dyson", population=1024).log_s.icdf(0.3),
    "isometry": lambda ens: math.log(rt.isometry(ens, 1).m_1.value),
    "spectral_radius": lambda ens: rt.spectral_radius(ens, sites=512),
    "outliers": lambda ens: rt.outliers(ens, low_rank=3.0, sites=512).radius,
    "singular_outliers": lambda ens: rt.singular_outliers(ens, low_rank=10.0, sites=512).values[0],
    "sample": lambda ens: rt.sample(ens, 1, N=64, trials=2, burn_in=20).log_quantile(0.3).value,
    "sample_lyapunov": lambda ens: rt.sample_lyapunov(ens, N=32, steps=32, burn_in=20).largest.value,
    "second_moment": lambda ens: spectra.second_moment(ens, 1, sites=512).log_m1,
    "free_approximation": lambda ens: spectra.free_approximation(ens, 1).log_s.icdf(0.3),
    "sensitivity": lambda ens: math.log(rt.sensitivity(ens, 1).state.mean_square[1]),
    "site_population": of_sites,
    "site_trajectory": lambda ens: float(np.mean(meanfield.site_trajectory(ens, 1, 512).state ** 2)),
}
REFUSED = {
    "vanilla_spectrum": lambda ens: spectra.vanilla_spectrum(ens, 2),
    "highprec.fixed_point": highprec.fixed_point,
    "highprec.density": lambda ens: highprec.density(ens, 2, 0.1),
    "s-transform": lambda ens: rt.spectrum(ens, 2, method="s-transform"),
    "layer_normalized": rt.layer_normalized,
    "outliers with a mean": lambda ens: rt.outliers(ens, mean=1.0),
}
# The curve is that of spectral_radius; the exponents rest on the sites of its mean field.
ELSEWHERE = {"eigenvalue_curve", "lyapunov"}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_differ_from_normal_biases(name):
    assert abs(ANSWERS[name](LAW) - ANSWERS[name](NORMAL)) > 0.05


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_the_reason(name):
    with pytest.raises(ValueError, match="bias_law"):
        REFUSED[name](LAW)


def test_every_function_of_an_ensemble_is_listed():
    homes = {"": rt, "meanfield.": meanfield, "spectra.": spectra, "highprec.": highprec}
    functions = {
        name
        for home in homes.values()
        for name in getattr(home, "__all__", ())
        if takes_ensemble(getattr(home, name))
    }
    known = {name.split(".")[-1] for name in (*ANSWERS, *REFUSED)} | ELSEWHERE
    untied_only = {name for name in highprec.__all__ if name in functions}  # all through one check of ens
    assert functions - untied_only <= known, sorted(functions - untied_only - known)


def test_all_of_high_precision_refuses():
    for name in highprec.__all__:
        function = getattr(highprec, name)
        if not takes_ensemble(function):
            continue
        others = {"T": 2, "lam": 0.1, "k": 1, "s": 0.1}
        given = {key: others[key] for key in inspect.signature(function).parameters if key in others}
        with pytest.raises(ValueError, match="bias_law"):
            function(LAW, **given)
