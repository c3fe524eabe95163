"""Outliers of low-rank and nonzero-mean weights, theory.md (26): closed forms, sampled networks."""

import numpy as np
import pytest
from reference.low_rank_networks import jacobian
from scipy.sparse.linalg import eigs

import rmtrnn as rt
from rmtrnn._core.status import Status
from rmtrnn.spectra import outliers as module


def vanilla(activation="tanh", **parameters):
    return rt.Ensemble(rt.VanillaRNN(activation), **parameters)


TANH = vanilla(sigma_w=0.6, sigma_v=0.5)
GRU = rt.Ensemble("gru", sigma_w={"r": 0.3, "u": 0.3, "c": 0.6}, sigma_v=0.2)
LAW = rt.SingularValues([1.0, 3.0], [0.7, 0.3])
LEAKY = rt.Ensemble(rt.Leaky(0.4), sigma_w=0.6, sigma_v=0.3, sigma_b=0.3, tied=True)
HAAR = vanilla(sigma_w=0.4, sigma_v=0.5, mu_b=0.3, weights="orthogonal")
CASES = {
    "tanh, mean": (TANH, "mean", 1.1),
    "tanh, low rank": (TANH, "low_rank", 1.1),
    "relu, mean": (vanilla("relu", sigma_w=0.6, sigma_v=0.5, mu_b=0.2), "mean", 0.9),
    "relu, negative mean": (vanilla("relu", sigma_w=0.5, sigma_v=0.5, mu_b=1.0), "mean", -1.0),
    "erf, negative mean": (vanilla("erf", sigma_w=0.5, sigma_v=0.3, sigma_b=0.3), "mean", -0.9),
    "sigmoid, negative mean": (vanilla("sigmoid", sigma_w=1.0, sigma_v=1.0), "mean", -4.0),
    "Haar, tied, mean": (HAAR.replace(tied=True), "mean", 0.8),
    "law of singular values, tied, low rank": (TANH.replace(weights=LAW, tied=True), "low_rank", 1.0),
    "leaky, tied, low rank": (LEAKY, "low_rank", 1.0),
    "gru, low rank": (GRU, "low_rank", {"c": 1.6}),
}
QUICK = ("tanh, mean",)


def part(kind, strength, n, rng):
    """The n × n matrix of mean strength/n, or of rank one with vᵀu = strength."""
    if kind == "mean":
        return np.full((n, n), strength / n)
    u, w = (x - x.mean() for x in rng.standard_normal((2, n)))
    u /= np.linalg.norm(u)
    w -= u * (u @ w)
    return np.outer(u, strength * u + 0.3 * w / np.linalg.norm(w))


def sampled(ens, kind, strength, n=400, trials=12):
    """Mean of the eigenvalues of largest modulus, and its standard error."""
    tops, given = [], strength if isinstance(strength, dict) else dict.fromkeys(ens.cell.gates, strength)
    for trial in range(trials):
        rng = np.random.default_rng([7, trial])
        extra = {gate: part(kind, value, n, rng) for gate, value in given.items()}
        top = eigs(jacobian(ens, extra, n, rng, 1), k=1, which="LM", return_eigenvectors=False, v0=np.ones(n))
        tops.append(float(np.real(top)[0]))
    return np.mean(tops), np.std(tops, ddof=1) / np.sqrt(trials)


@pytest.mark.equation(26)
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.sweep) for name in CASES]
)
def test_sampled_networks(name):
    ens, kind, strength = CASES[name]
    found = rt.outliers(ens, **{kind: strength}, sites=4096)
    assert found.converged and found.stable and found.values[0].imag == 0.0
    predicted = found.values[0].real
    value, error = sampled(ens, kind, strength, trials=12 if name in QUICK else 32)
    assert abs(predicted - value) < 0.02 * abs(value) + 2 * error
    assert abs(value) > found.radius + 4 * error  # the bulk alone is a wrong answer


def test_closed_forms():
    linear = vanilla("linear", sigma_w=0.5)
    pair = rt.outliers(linear, low_rank=[0.6 + 0.6j, 0.6 - 0.6j, 0.3], sites=512)
    np.testing.assert_allclose(pair.values, [0.6 + 0.6j, 0.6 - 0.6j], atol=1e-6)  # 0.3 lies in the bulk
    assert pair.stable and pair.radius == pytest.approx(0.5)
    slope = rt.mean_field(TANH).chi  # 1 = θ E[φ']/z, and E[φ']² ≤ E[φ'²] = χ/σ²
    found = rt.outliers(TANH, mean=1.1, sites=1024)
    assert found.radius == pytest.approx(np.sqrt(slope), abs=1e-3)
    assert found.values[0].real == pytest.approx(
        rt.outliers(TANH, low_rank=1.1, sites=1024).values[0].real, rel=5e-3
    )
    assert not rt.outliers(TANH, low_rank=1.4, sites=1024).stable
    assert len(rt.outliers(TANH, sites=1024).values) == 0


def test_the_weights_are_known_on_what_they_read():
    """Without the second term of (26) the outlier of a network with a mean state is elsewhere."""
    ens = CASES["relu, negative mean"][0]
    found = rt.outliers(ens, mean=-1.0, sites=1024)
    naive = rt.outliers(found.ensemble, low_rank=-1.0, sites=1024)
    assert abs(naive.values[0] - found.values[0]) > 0.04 * abs(found.values[0])
    assert found.ensemble.mu_b < ens.mu_b


@pytest.mark.parametrize("name", ["points", "far", "difference", "equal", "least", "tol", "iterations"])
@pytest.mark.sweep
def test_numbers(name, monkeypatch):
    exact = rt.outliers(TANH, mean=1.1).values
    for factor in (3.0, 1 / 3.0):
        value = getattr(module.SETTINGS, name)
        moved = type(value)(value * factor)
        changed = module.OutlierSettings(**{**vars(module.SETTINGS), name: moved})
        monkeypatch.setattr(module, "SETTINGS", changed)
        np.testing.assert_allclose(rt.outliers(TANH, mean=1.1).values, exact, rtol=1e-4)
        monkeypatch.undo()


def test_refusals_and_files(tmp_path):
    with pytest.raises(ValueError, match="whole past"):
        rt.outliers(LEAKY, mean=1.0)
    with pytest.raises(ValueError, match="not together"):
        rt.outliers(TANH, mean=1.0, low_rank=1.0)
    with pytest.raises(ValueError, match="in pairs"):
        rt.outliers(TANH, low_rank=[0.5 + 0.5j])
    with pytest.raises(ValueError, match="normal biases"):
        rt.outliers(TANH.replace(bias_law="uniform", sigma_b=0.2), mean=1.0)
    found = rt.outliers(TANH, mean=1.1, sites=1024)
    found.save(tmp_path / "outliers.npz")
    again = rt.load(tmp_path / "outliers.npz")
    np.testing.assert_array_equal(again.values, found.values)
    assert again.ensemble == found.ensemble and again.status is Status.CONVERGED
