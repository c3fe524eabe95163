"""The public names, pinned. One that goes or comes is a decision: change this list and CHANGELOG.md too."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import rmtrnn as rt

NAMES = {
    "rmtrnn": """
        Activation CFN Cell Comparison ConvergenceError Critical Ensemble GRU Gate GivenNetwork Isometry JANET
        LSTM Leaky LogProduct LyapunovSample LyapunovSpectrum MGU MeanField MinGRU MinLSTM MinimalRNN
        NoCriticalPointError Outliers PhaseDiagram Sample SingularOutliers SingularValues Spectrum Stack Stage
        Status UGRNN VanillaRNN __version__ compare critical eigenvalue_curve free highprec initialize
        isometry jacobian_log_s layer_normalized load lyapunov
        mean_field outliers phase_diagram plotting populations sample sample_lyapunov sensitivity
        singular_outliers spectra spectral_radius spectrum symbolic
    """,
    "rmtrnn.cells": """
        ACTIVATIONS Activation CFN Cell GRU Gate JANET LIBRARY LSTM Leaky MGU MinGRU MinLSTM MinimalRNN
        NumericCell NumericStage Stage UGRNN VanillaRNN logistic normal_cdf sech2 softplus
    """,
    "rmtrnn.free": """
        Discrete Empirical FussCatalan MarchenkoPastur PositiveLaw Pushforward RealLaw Semicircle Uniform
    """,
    "rmtrnn.highprec": """
        CertificationError Certified cdf certified_cdf certified_chi certified_density certified_edge
        certified_fixed_point certified_largest_exponent chi critical_minimal critical_sigma_w density edge
        fixed_point largest_exponent moment
    """,
    "rmtrnn.meanfield": """
        MeanField SitePopulation SiteTrajectory StageSites mean_field site_population site_trajectory
    """,
    "rmtrnn.sampling.products": """
        LogProduct
    """,
    "rmtrnn.spectra": """
        Measured Moments Spectrum eigenvalue_curve free_approximation layer_spectrum second_moment
        spectral_radius spectrum vanilla_spectrum
    """,
    "rmtrnn.plotting": """
        SpectrumPicture plot_comparison plot_correlation plot_given plot_isometry plot_lyapunov plot_outliers
        plot_mean_field plot_phase_diagram plot_sample plot_scores plot_sensitivity
        plot_singular_outliers plot_spectrum spectrum_title style
    """,
    "rmtrnn.symbolic": """
        ClosedLaw bernoulli_transform edge_discriminant erf_kernel erf_slope_kernel exact_edges fuss_catalan
        haar lambda_of_m m_from_s marchenko_pastur mask
        moment_symbols moments_from_s product_moments product_s_coefficients r_from_s relu_kernel
        relu_slope_kernel s_coefficients s_from_free_cumulants s_from_m s_transform slope_moment
        slope_probabilities slope_transform spectral_polynomial variance weight_transform
    """,
}
RESULTS = {
    "comparison": "Comparison EdgeScore MomentScore",
    "criticality": "Critical",
    "isometry_report": "Isometry",
    "meanfield": "MeanField",
    "phase": "PhaseDiagram",
    "sampling": "Estimate Sample TrajectoryJacobian",
    "spectra": "Measured Spectrum",
}
# First arguments of what users and scripts call by position; the fixed names of the others by keyword.
SIGNATURES = {
    "mean_field": "ens steps Q0 C0",
    "phase_diagram": "ens parameters",
    "spectrum": "ens T method",
    "sample": "ens T N trials seed device dtype progress executor checkpoint",
    "compare": "spec mc",
    "critical": "cell T weights R",
    "isometry": "ens T",
    "eigenvalue_curve": "ens",
    "spectral_radius": "ens",
    "jacobian_log_s": "network inputs T",
    "layer_normalized": "ens gain shift",
    "outliers": "ens mean low_rank",
    "singular_outliers": "ens T low_rank overlap",
    "Stack": "layers",
    "populations": "classes shares profile",
    "load": "path",
    "lyapunov": "ens",
    "sensitivity": "ens T",
    "initialize": "cell T",
    "sample_lyapunov": "ens N steps trials seed device dtype progress executor checkpoint",
}


@pytest.mark.parametrize("module", NAMES)
def test_names(module):
    assert sorted(importlib.import_module(module).__all__) == sorted(NAMES[module].split())


def test_type_checkers_see_every_name():
    """The imports under TYPE_CHECKING are those that ``__getattr__`` makes at run time."""
    tree = ast.parse(Path(rt.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom)
        for alias in node.names if alias.name == alias.asname
    }  # fmt: skip
    assert seen == rt._HOMES | dict.fromkeys(rt._MODULES, "rmtrnn")


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in RESULTS.items() for name in names.split()]
)
def test_types_of_results(module, name):
    assert inspect.isclass(getattr(importlib.import_module(f"rmtrnn.{module}"), name))


@pytest.mark.parametrize("name", SIGNATURES)
def test_arguments_that_callers_rely_on(name):
    parameters = inspect.signature(getattr(rt, name)).parameters
    wanted = SIGNATURES[name].split()
    if name == "phase_diagram":
        assert next(iter(parameters)) == "ens" and any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    else:
        assert list(parameters)[: len(wanted)] == wanted


@pytest.mark.parametrize("name", sorted(set(rt.__all__) - {"__version__"}))
def test_every_public_name_says_what_it_is(name):
    text = inspect.getdoc(getattr(rt, name))
    assert text and len(text.split()) >= 4


def test_the_command_is_installed():
    done = subprocess.run(
        [sys.executable, "-m", "rmtrnn", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"rmtrnn {rt.__version__}\n"


def test_torch_names():
    pytest.importorskip("torch")
    module = importlib.import_module("rmtrnn.torch")
    for name in ("MinimalRNN", "VanillaRNN", "initialize_"):
        assert getattr(module, name).__module__ == "rmtrnn.torch"
