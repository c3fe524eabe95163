"""Laws of the library's cells and activations against sampled networks, tied and untied, each with a control.

Where the other parts of the networks are sampled: weights with a law of singular values in
tests/dyson/test_weight_factors.py and tests/spectra/test_weight_laws.py, identity plus Gaussian in
test_identity_weights.py, low rank and mean in test_outliers.py and test_singular_outliers.py, classes of
units in tests/test_populations.py and test_classes_of_units.py, laws of biases in
tests/meanfield/test_bias_laws.py, chrono biases over 200 steps in tests/initialisation/test_chrono.py, time
constants that differ in test_heterogeneous_units.py, layers in tests/test_stack.py, layer normalisation in
tests/meanfield/test_layer_norm.py, starts and residual cells in test_start.py, activations with kinks in
test_kinks.py, free products and sums in tests/free/.
"""

import numpy as np
import pytest

import rmtrnn as rt

CELLS = ("leaky", "mingru", "minlstm", "mgu", "ugrnn", "janet", "cfn")
ACTIVATIONS = ("elu", "selu", "leaky_relu", "softplus", "mish")


def assert_sampled(ens, wrong, **sites):
    """The law of two steps is that of samples, and that of the ensemble ``wrong`` is not."""
    spec, mc = rt.spectrum(ens, 2, **sites), rt.sample(ens, 2, N=128, trials=6)
    report = rt.compare(spec, mc)
    assert report.agrees, str(report)
    assert spec.error < 0.05
    other = rt.spectrum(wrong, 2, **sites)
    u = np.sort(mc.log_s, axis=None)
    missed = float(np.abs(other.log_s.cdf(u) - (np.arange(u.size) + 0.5) / u.size).max())
    assert missed > max(0.05, 2.0 * report.kolmogorov)


@pytest.mark.sweep
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_law_of_a_library_cell_is_that_of_samples(name, tied):
    ens = rt.Ensemble(name, sigma_w=1.5, sigma_v=0.5, sigma_b=0.3, tied=tied)
    sites = {} if name in ("mingru", "minlstm") else {"population": 4096}  # these two are convolutions
    assert_sampled(ens, ens.replace(sigma_w=2.5, sigma_v=1.0), **sites)


@pytest.mark.sweep
@pytest.mark.parametrize(("weights", "tied"), [("orthogonal", False), ("gaussian", True)])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_law_of_a_named_activation_is_that_of_samples(name, weights, tied):
    """The control is a softplus network for the others, whose slopes are never 1, and elu for softplus."""
    parameters = {"sigma_w": 0.7, "sigma_v": 0.5, "sigma_b": 0.3, "weights": weights, "tied": tied}
    other = "elu" if name == "softplus" else "softplus"
    ens, wrong = (rt.Ensemble(rt.VanillaRNN(phi), **parameters) for phi in (name, other))
    assert_sampled(ens, wrong)
