"""tied=True is honoured by every function that takes an ensemble: changed, documented equal, or refused."""

import numpy as np
import pytest
import sympy

import rmtrnn as rt

h, x, e = sympy.symbols("h x e")
LEAKY = rt.Cell("leaky", state=h, input=x, gates={e: h}, update={h: 0.75 * h + 0.25 * sympy.tanh(e)})
GATED = rt.Ensemble(LEAKY, sigma_w=2.0, sigma_b=0.3)
VANILLA = rt.Ensemble("vanilla", sigma_w=1.5, sigma_b=0.3, Sigma=1.0)


def chi(ens):
    return rt.mean_field(ens, sites=512).chi


def stacked(ens):
    return rt.mean_field(rt.Stack([ens, ens]), sites=512).Q["h_2"]


def classes(ens):
    """Of two classes of units that are the same."""
    return rt.mean_field(rt.populations([ens, ens], [0.5, 0.5]), sites=512).Q["h_1"]


def normalized(ens):
    return rt.mean_field(rt.layer_normalized(ens), sites=512).Q


def sensitivity(ens):
    return rt.sensitivity(ens, 20, sites=512).state.mean_square[20]


def plan(ens):
    """Of the plan for a cell, with the ensemble's weights."""
    return rt.initialize("minimal", 10, N=64, tied=ens.tied).profile.state.mean_square[-1]


def phase(ens):
    return float(rt.phase_diagram(ens, sigma_w=np.array([2.0])).Q[0])


# Each by a number and the margin by which tied and untied have to differ.
NUMBERS = {
    "mean_field": (lambda ens: rt.mean_field(ens, sites=512).Q, 0.1),
    "chi": (chi, 0.1),
    "phase_diagram": (phase, 0.1),
    "spectrum": (lambda ens: rt.spectrum(ens, 1, population=512).log_s.icdf(0.5), 0.05),
    "spectral_radius": (lambda ens: rt.spectral_radius(ens, sites=2**11), 0.05),
    "eigenvalue_curve": (lambda ens: float(np.abs(rt.eigenvalue_curve(ens, sites=2**11)).max()), 0.05),
    "sensitivity": (sensitivity, 0.1),
    "initialize": (plan, 0.02),
    "Stack": (stacked, 0.1),
    "populations": (classes, 0.1),
    "layer_normalized": (normalized, 0.01),
    "mean_field.lyapunov": (lambda ens: rt.mean_field(ens, sites=512).lyapunov, 0.05),
    "sample_lyapunov": (lambda ens: rt.sample_lyapunov(ens, N=100, steps=200, trials=2).largest.value, 0.05),
    "outliers": (lambda ens: rt.outliers(ens, low_rank=0.1, sites=2**11).radius, 0.05),
    "singular_outliers": (lambda ens: rt.singular_outliers(ens, low_rank=9.0, sites=512).values[0], 0.05),
    "sample": (lambda ens: rt.sample(ens, T=10, N=200, trials=2, seed=0).moment(1)[0], 0.05),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_tied_changes_the_answer_of_a_gated_cell(name):
    value, margin = NUMBERS[name]
    assert abs(value(GATED.replace(tied=True)) - value(GATED)) > margin


@pytest.mark.sweep
def test_tied_changes_the_isometry_of_a_gated_cell():
    tied, untied = (rt.isometry(GATED.replace(tied=tied), 2).m_1 for tied in (True, False))
    assert abs(tied.value - untied.value) > 0.02 + tied.error + untied.error


@pytest.mark.sweep
def test_tied_changes_the_lyapunov_spectrum_of_a_gated_cell():
    """Chaos of tied weights beside decay of untied ones: about a minute."""
    tied, untied = (rt.lyapunov(GATED.replace(tied=tied)).largest for tied in (True, False))
    assert tied > untied + 0.05


def test_tied_vanilla_mean_field_is_documented_to_be_equal():
    assert chi(VANILLA.replace(tied=True)) == chi(VANILLA)
    assert phase(VANILLA.replace(tied=True)) == phase(VANILLA)
    assert "both theories agree" in " ".join(rt.mean_field.__doc__.split())


def test_what_cannot_be_tied_is_refused():
    from rmtrnn.meanfield import site_population, site_trajectory

    tied = GATED.replace(tied=True)
    for function in (
        lambda: site_population(tied, 64),
        lambda: site_trajectory(tied, 2, 64),
        lambda: rt.spectra.second_moment(tied, 2),
        lambda: rt.outliers(tied, mean=1.0),
        lambda: rt.highprec.density(VANILLA.replace(tied=True), 2, 0.5),
    ):
        with pytest.raises((ValueError, TypeError), match="tied"):
            function()
    with pytest.raises(ValueError, match="checkpoint"):
        rt.phase_diagram(GATED, sigma_w=np.array([2.0]), checkpoint="folder")


def test_phase_diagram_of_tied_networks_resumes(tmp_path):
    """Finished points are read from the folder; status, error and theory per point."""
    axes = {"sigma_w": np.array([0.9, 2.0])}
    ens = rt.Ensemble(LEAKY, Sigma=1.0, tied=True)
    first = rt.phase_diagram(ens, checkpoint=tmp_path, **axes)
    seen = []
    again = rt.phase_diagram(ens, checkpoint=tmp_path, progress=lambda done, *rest: seen.append(done), **axes)
    assert seen == [1]  # both points in one segment
    np.testing.assert_array_equal(first.chi, again.chi)
    assert first.theory == "tied" and "tied weights" in repr(first)
    assert first.Q[0] == 0.0 and first.chi[0] == pytest.approx(0.975**2, rel=1e-9)
    assert first.Q[1] > 0.3 and first.chi[1] > 1.0 and first.error[1] > 0.0
