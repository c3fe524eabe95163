"""Layer normalisation by its rescaling in the limit, against networks that normalise."""

import dataclasses
import math

import numpy as np
import pytest
from reference.kolmogorov import distance

import rmtrnn as rt
from rmtrnn.meanfield.layer_norm import SETTINGS

N = 800


def normalised(a, gain, shift):
    """LN(a) and the factor γ/std: what `torch.nn.LayerNorm` computes, without its ε."""
    deviation = a.std()
    return gain * (a - a.mean()) / deviation + shift, gain / deviation


def projected(matrix, a):
    """(I − 11ᵀ/N − aaᵀ/N) times a matrix, a centred to unit variance: the rest of the derivative of LN."""
    unit = (a - a.mean()) / a.std()
    return matrix - matrix.mean(axis=0) - np.outer(unit, unit @ matrix) / len(a)


def vanilla_log_s(ens, T, gain, shift, seed, n=N):
    """log singular values of T steps of a tanh network with layer normalisation and fresh weights."""
    rng, law = np.random.default_rng(seed), ens.gate("e")
    h, jacobian = rng.standard_normal(n), np.eye(n)
    for t in range(10 + T):
        w = law.sigma_w * rng.standard_normal((n, n)) / math.sqrt(n)
        v = law.sigma_v * rng.standard_normal((n, n)) / math.sqrt(n)
        a = w @ h + v @ rng.standard_normal(n) + law.mu_b + law.sigma_b * rng.standard_normal(n)
        e, scale = normalised(a, gain, shift)
        h = np.tanh(e)
        if t >= 10:
            jacobian = (1.0 - h**2)[:, None] * scale * projected(w @ jacobian, a)
    return np.log(np.linalg.svd(jacobian, compute_uv=False))


@pytest.mark.equation(10)
def test_a_network_that_normalises_has_the_law_of_the_rescaled_ensemble():
    ens = rt.Ensemble("vanilla", sigma_w=3.0, sigma_v=1.0, mu_b=2.0, sigma_b=0.5)
    found = [vanilla_log_s(ens, 2, gain=1.3, shift=0.2, seed=seed) for seed in range(4)]
    scaled = rt.layer_normalized(ens, gain=1.3, shift=0.2)
    field = rt.mean_field(scaled)
    assert math.isclose(field.q, 1.3**2, rel_tol=1e-9) and scaled.gate("e").mu_b == 0.2
    assert math.isclose(
        scaled.gate("e").sigma_w / scaled.gate("e").sigma_v, 3.0, rel_tol=1e-12
    )  # ratios stay
    law = rt.spectrum(scaled, 2)
    # 4/N for the ranks that LN removes. Std a of one network scatters by 1/√(2N), log s over two steps by
    # 0.05 with the one of the state, the cdf by a third of that, and by half of it in the mean
    # of four networks.
    tolerance = 4.0 / N + 0.01
    assert distance(law.log_s, found) < tolerance
    assert distance(rt.spectrum(ens, 2).log_s, found) > 10 * tolerance
    assert distance(rt.spectrum(rt.layer_normalized(ens), 2).log_s, found) > 3 * tolerance


def gru_log_s(ens, n, seed):
    """One step of a GRU that normalises its three pre-activations, after 20 steps; weights tied or not."""
    rng = np.random.default_rng(seed)
    h = rng.standard_normal(n)
    kept = {gate: rng.standard_normal((2, n, n)) / math.sqrt(n) for gate in "ruc"} if ens.tied else {}
    for _ in range(21):
        x = rng.standard_normal(n)
        w, a = {}, {}

        def drive(gate, reads, w=w, a=a, x=x):
            law = ens.gate(gate)
            pair = kept[gate] if ens.tied else rng.standard_normal((2, n, n)) / math.sqrt(n)
            w[gate] = law.sigma_w * pair[0]
            a[gate] = w[gate] @ reads + law.sigma_v * pair[1] @ x
            return normalised(a[gate], 1.0, 0.0)

        (e_r, s_r), (e_u, s_u) = drive("r", h), drive("u", h)
        r, u = 1 / (1 + np.exp(-e_r)), 1 / (1 + np.exp(-e_u))
        e_c, s_c = drive("c", r * h)
        candidate = np.tanh(e_c)
        before, h = h, u * h + (1 - u) * candidate
    d_r = (r * (1 - r) * s_r)[:, None] * projected(w["r"], a["r"])
    d_u = (u * (1 - u) * s_u)[:, None] * projected(w["u"], a["u"])
    inner = np.diag(r) + before[:, None] * d_r
    d_c = ((1 - candidate**2) * s_c)[:, None] * projected(w["c"] @ inner, a["c"])
    jacobian = np.diag(u) + (before - candidate)[:, None] * d_u + (1 - u)[:, None] * d_c
    return np.log(np.linalg.svd(jacobian, compute_uv=False))


@pytest.mark.equation(13)
def test_a_gated_network_that_normalises():
    ens = rt.Ensemble("gru", sigma_w={"r": 1.0, "u": 1.0, "c": 4.0}, sigma_v=0.5)
    found = gru_log_s(ens, 500, seed=1)
    scaled = rt.layer_normalized(ens)
    tolerance = 0.012
    assert distance(rt.spectrum(scaled, 1, population=4096).log_s, found) < tolerance
    assert distance(rt.spectrum(ens, 1, population=4096).log_s, found) > 2 * tolerance


@pytest.mark.sweep
@pytest.mark.equation(15)
def test_a_tied_gated_network_that_normalises():
    ens = rt.Ensemble("gru", sigma_w={"r": 1.0, "u": 1.0, "c": 4.0}, sigma_v=0.5, tied=True)
    found = [gru_log_s(ens, 800, seed=seed) for seed in range(8)]
    law = rt.spectrum(rt.layer_normalized(ens), 1)
    tolerance = law.error + 0.012
    assert distance(law.log_s, found) < tolerance
    assert distance(rt.spectrum(ens, 1).log_s, found) > 2 * tolerance
    untied = rt.spectrum(rt.layer_normalized(ens.replace(tied=False)), 1)
    assert distance(untied.log_s, found) > tolerance + untied.error


def test_layers_are_normalised_one_by_one():
    layer = rt.Ensemble("vanilla", sigma_w=2.0, sigma_v=0.7)
    stack = rt.layer_normalized(rt.Stack([layer, layer]))
    field = rt.mean_field(stack)
    assert isinstance(stack, rt.Stack)
    assert math.isclose(field.q_of("e_1"), 1.0, rel_tol=1e-9)
    assert math.isclose(field.q_of("e_2") + field.q_of("e_2_in"), 1.0, rel_tol=1e-9)


@pytest.mark.sweep
@pytest.mark.equation(18)
def test_tied_weights_keep_the_variance():
    ens = rt.Ensemble("minimal", sigma_w=6.88, sigma_v=1.39, R=0.46, tied=True)
    scaled = rt.layer_normalized(ens, gain=2.0, shift=3.5)
    fresh = rt.layer_normalized(ens.replace(tied=False), gain=2.0, shift=3.5)
    field = rt.mean_field(scaled)
    assert abs(field.q / 4.0 - 1.0) < 10 * max(field.errors["q"] / 4.0, SETTINGS.tol)
    assert scaled.tied and scaled.gate("e").sigma_w > 1.02 * fresh.gate("e").sigma_w


@pytest.mark.parametrize("factor", [1 / 3, 3.0])
def test_the_share_of_the_weights_changes_nothing(factor):
    ens = rt.Ensemble("gru", sigma_v=1.0, sigma_b=0.1)
    moved = dataclasses.replace(SETTINGS, share=min(factor * SETTINGS.share, 1.0), iterations=10)
    first, other = rt.layer_normalized(ens), rt.layer_normalized(ens, settings=moved)
    for gate in "ruc":
        assert math.isclose(first.gate(gate).sigma_w, other.gate(gate).sigma_w, rel_tol=1e-7)


def test_what_has_no_normalisation_is_refused():
    with pytest.raises(ValueError, match="pre-activation that is zero"):
        rt.layer_normalized(rt.Ensemble("vanilla", sigma_w=0.0))
    with pytest.raises(ValueError, match="needs normal biases"):
        rt.layer_normalized(rt.Ensemble("vanilla", sigma_b=0.1, bias_law="uniform"))
    with pytest.raises(ValueError, match="exactly the gates"):
        rt.layer_normalized(rt.Ensemble("gru", sigma_v=1.0), gain={"r": 1.0})
    with pytest.raises(rt.ConvergenceError, match="in its own stationary state"):  # relu: any q is stationary
        rt.layer_normalized(rt.Ensemble(rt.VanillaRNN("relu"), sigma_w=1.0))
