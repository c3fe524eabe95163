"""Singular values above the bulk of networks with low-rank weights, theory.md (28): closed forms, samples."""

import dataclasses

import numpy as np
import pytest
from reference.low_rank_networks import jacobian, pair

import rmtrnn as rt
from rmtrnn.sampling.random_matrices import random_matrix
from rmtrnn.spectra import singular_outliers as module


def vanilla(activation="tanh", **parameters):
    return rt.Ensemble(rt.VanillaRNN(activation), **parameters)


LINEAR = vanilla("linear", sigma_w=0.5)
TANH = vanilla(sigma_w=0.6, sigma_v=0.5)
RELU = vanilla("relu", sigma_w=0.8, sigma_v=0.5, mu_b=0.3)
LEAKY = rt.Ensemble(rt.Leaky(0.4), sigma_w=0.6, sigma_v=0.3, sigma_b=0.3)
LAW = rt.SingularValues([1.0, 3.0], [0.7, 0.3])
GRU = rt.Ensemble("gru", sigma_w={"r": 0.3, "u": 0.3, "c": 0.6}, sigma_v=0.2)
# An ensemble, T, the low-rank part, v · u. In a network of n units the part moves the variance of the
# pre-activations by θ² Q/n, and its own eigenvalue must be well below 1.
CASES = {
    "tanh": (TANH, 1, 1.5, 0.0),
    "tanh, tied, T = 3": (TANH.replace(tied=True), 3, 2.2, 0.3),
    "relu, orthogonal": (RELU.replace(weights="orthogonal"), 1, 1.6, 0.0),
    "law of singular values": (TANH.replace(weights=LAW), 1, 1.5, 0.0),
    "minimal": (rt.Ensemble("minimal", sigma_w=0.5, sigma_v=0.5, input_law="rademacher"), 1, 5.0, 0.0),
    "leaky": (LEAKY, 1, 1.5, 0.4),
    "leaky, opposite": (LEAKY, 1, 3.0, -0.4),
    "leaky, T = 2": (LEAKY, 2, 1.5, 0.4),
    "leaky, tied, T = 2": (LEAKY.replace(tied=True), 2, 1.5, 0.4),
    "gru, c": (GRU, 1, {"c": 3.0}, 0.3),
    "gru, u, tied": (rt.Ensemble("gru", sigma_w=0.8, sigma_v=1.5, tied=True), 1, {"u": 8.0}, 0.0),
    "lstm, g": (rt.Ensemble("lstm", sigma_w=0.7, sigma_v=0.7), 1, {"g": 4.0}, 0.0),
}
QUICK = ("tanh", "leaky, tied, T = 2")


def sampled(ens, T, low_rank, overlap, n, trials=12):
    """Mean of the largest singular value, and its standard error."""
    tops = []
    for trial in range(trials):
        rng = np.random.default_rng([11, trial])
        extra = {}
        for gate, theta in low_rank.items():
            u, v = pair(n, overlap, rng)
            extra[gate] = theta * np.outer(u, v)
        tops.append(np.linalg.norm(jacobian(ens, extra, n, rng, T), 2))
    return np.mean(tops), np.std(tops, ddof=1) / np.sqrt(trials)


@pytest.mark.equation(28)
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.sweep) for name in CASES]
)
def test_sampled_networks(name):
    ens, T, low_rank, overlap = CASES[name]
    given = low_rank if isinstance(low_rank, dict) else dict.fromkeys(ens.cell.gates, low_rank)
    found = rt.singular_outliers(ens, T, low_rank=given, overlap=overlap, sites=2048)
    assert found.converged and found.errors[0] < 0.07
    top, error = sampled(ens, T, given, overlap, 300 if name in QUICK else 500)
    assert abs(found.values[0] - top) < 0.02 * top + 2 * error
    assert abs(top - found.edge) > 3 * (0.02 * top + 2 * error)  # the bulk alone is a wrong answer


@pytest.mark.equation(28)
def test_one_linear_step_is_the_theorem_of_benaych_georges_and_nadakuditi():
    haar = rt.singular_outliers(LINEAR.replace(weights="orthogonal"), low_rank=0.75, sites=512)
    np.testing.assert_allclose(haar.values, [(0.75 + np.sqrt(0.75**2 + 4 * 0.25)) / 2], rtol=1e-6)
    theta = np.array([1.5, 0.75, 0.4])  # the last one is below σ_w
    gauss = rt.singular_outliers(LINEAR, low_rank=theta, overlap=0.5, sites=512)
    np.testing.assert_allclose(gauss.values, (theta[:2] ** 2 + 0.25) / theta[:2], rtol=1e-6)
    assert gauss.edge == pytest.approx(1.0, rel=1e-3) and gauss.error < 1e-6


@pytest.mark.equation(28)
def test_a_vanilla_step_by_the_transform_of_its_law():
    """J = D (W + θ u vᵀ) with Haar W has J Jᵀ = σ² D² ; v sees the mean resolvent."""
    ens, u = TANH.replace(weights="orthogonal"), np.linspace(-9.5, 9.5, 4001)
    q = rt.mean_field(ens).q
    mass = np.exp(-0.5 * u**2) * (u[1] - u[0]) / np.sqrt(2 * np.pi)
    slope2 = np.cosh(np.sqrt(q) * u) ** -4.0
    found = rt.singular_outliers(ens, low_rank=1.5, sites=4096)
    (s,) = found.values
    resolvent = 1.0 / (s**2 - 0.36 * slope2)
    assert 1.5**2 * s**2 * (mass @ (slope2 * resolvent)) * (mass @ resolvent) == pytest.approx(1.0, abs=2e-3)


def test_two_linear_steps_have_the_part_at_both():
    """(O_2 + P)(O_1 + P) with independent Haar matrices and the same P."""
    ens = LINEAR.replace(weights="orthogonal")
    found = rt.singular_outliers(ens, 2, low_rank=2.0, overlap=0.5, sites=512)
    rng, n = np.random.default_rng(3), 600
    part = 2.0 * np.outer(*pair(n, 0.5, rng))
    second, first = (random_matrix("orthogonal", n, 0.5, rng) + part for _ in range(2))
    top = np.linalg.svd(second @ first, compute_uv=False)
    count = len(found.values)
    assert count > 1
    np.testing.assert_allclose(found.values, top[:count], rtol=0.05)
    assert top[count] < 1.05 * found.edge


@pytest.mark.parametrize(
    "name", ["step", "last_step", "inside", "tol", "relative", "again", "above", "highest", "difference"]
)
@pytest.mark.sweep
def test_numbers(name, monkeypatch):
    exact = rt.singular_outliers(TANH, low_rank=1.5, sites=512)
    for factor in (3.0, 1 / 3.0):
        value = getattr(module.SETTINGS, name)
        changed = dataclasses.replace(module.SETTINGS, **{name: type(value)(value * factor)})
        monkeypatch.setattr(module, "SETTINGS", changed)
        found = rt.singular_outliers(TANH, low_rank=1.5, sites=512)
        np.testing.assert_allclose(found.values, exact.values, rtol=1e-5)
        assert found.edge == pytest.approx(exact.edge, rel=2e-3)
        assert found.error == pytest.approx(exact.error, rel=0.05)
        monkeypatch.undo()


def test_refusals_and_files(tmp_path):
    with pytest.raises(ValueError, match=r"overlap\['e'\] = 1.2: must be a number in \[-1, 1\]"):
        rt.singular_outliers(TANH, low_rank=1.0, overlap=1.2)
    with pytest.raises(ValueError, match=r"matrix \(2, 2\)"):
        rt.singular_outliers(TANH, low_rank=[1.0, 2.0], overlap=[[1.0]])
    with pytest.raises(ValueError, match="gate of low_rank"):
        rt.singular_outliers(TANH, low_rank={"z": 1.0})
    with pytest.raises(ValueError, match=r"low_rank\['e'\] = .*-1.0"):
        rt.singular_outliers(TANH, low_rank=-1.0)
    classes = rt.populations([TANH, TANH], [0.5, 0.5])
    with pytest.raises(ValueError, match="has classes of units"):
        rt.singular_outliers(classes, low_rank=1.0)
    found = rt.singular_outliers(LINEAR, low_rank=[0.75, 0.2], sites=512)
    found.save(tmp_path / "singular.npz")
    again = rt.load(tmp_path / "singular.npz")
    np.testing.assert_array_equal(again.values, found.values)
    assert again.ensemble == found.ensemble and again.status is found.status and len(found.values) == 1
