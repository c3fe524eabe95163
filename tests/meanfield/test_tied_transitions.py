"""Where networks that keep their weights leave the zero state, and what they reach beyond."""

import numpy as np
import pytest
from scipy.optimize import brentq

import rmtrnn as rt


def logistic(value):
    return 1.0 / (1.0 + np.exp(-value))


def gru_gain(b):
    """The gain where the GRU's zero state becomes unstable: Can, Krishnamurthy, Schwab (2020)."""
    return 1.0 / logistic(b["r"])


def lstm_gain(b):
    """The same of the LSTM."""
    return (1.0 - logistic(b["f"])) / (logistic(b["o"]) * logistic(b["i"]))


LINES = {
    "gru": (gru_gain, [{"r": r, "u": u, "c": 0.0} for r in (-1.0, 0.0, 1.5) for u in (-0.5, 2.0)]),
    "lstm": (
        lstm_gain,
        [{"f": f, "i": 0.3, "o": o, "g": 0.0} for f in (-1.0, 0.0, 2.0) for o in (-0.5, 1.0)],
    ),
}


def chi_at_zero(ens):
    return rt.mean_field(ens, Q0=0.0).chi


@pytest.mark.parametrize("cell", LINES)
def test_transition_line_of_the_zero_state_by_chi(cell):
    """σ_w at which χ of h = 0 is 1, along biases of the gates; a GRU of untied weights has another."""
    gain, points = LINES[cell]
    for biases in points:
        ens = rt.Ensemble(cell, mu_b=biases, tied=True)
        expected = gain(biases)
        found = brentq(lambda s, ens=ens: chi_at_zero(ens.replace(sigma_w=s)) - 1.0, 0.1, 3 * expected)
        assert found == pytest.approx(expected, rel=1e-9)
        if cell == "gru":
            untied = rt.mean_field(ens.replace(sigma_w=expected, tied=False), Q0=0.0).chi
            assert abs(untied - 1.0) > 0.02


@pytest.mark.parametrize("cell", LINES)
def test_networks_die_below_the_line(cell):
    """A tenth below, E[h²] = 1 decays to nothing, at the rate that χ says."""
    gain, points = LINES[cell]
    biases = points[2]
    ens = rt.Ensemble(cell, mu_b=biases, sigma_w=0.7 * gain(biases), tied=True)
    mf = rt.mean_field(ens)
    Q = mf.Q if cell == "gru" else mf.Q["h"]
    assert mf.converged and Q == 0.0 and mf.chi == pytest.approx(chi_at_zero(ens), rel=1e-12)
    assert mf.chi < 1.0


def network_second_moments(ens, delta, form, *, N=600, steps=1200, networks=4):
    """E[h²] of networks of leaky units over the last three quarters of the steps."""
    gate, found = ens.gate(ens.cell.gates[0]), []
    for seed in range(networks):
        rng = np.random.default_rng([8, seed])
        W = (gate.sigma_w / np.sqrt(N) * rng.standard_normal((N, N))).astype(np.float32)
        h, late = rng.standard_normal(N).astype(np.float32), []
        for t in range(steps):
            drive = np.float32(gate.sigma_v) * rng.standard_normal(N, dtype=np.float32)
            new = np.tanh(W @ h + drive) if form == "rate" else W @ np.tanh(h) + drive
            h = np.float32(1.0 - delta) * h + np.float32(delta) * new
            if t >= steps // 4:
                late.append(float(np.mean(h * h)))
        found.append(np.mean(late))
    return np.array(found)


@pytest.mark.equation(18)
@pytest.mark.parametrize("form", ["rate", "current"])
@pytest.mark.parametrize(
    ("delta", "sigma_w", "sigma_v"), [(0.25, 1.5, 0.0), (0.3, 1.25, 0.0), (0.3, 1.25, 0.5)]
)
def test_leaky_networks_have_the_moments_of_the_theory(form, delta, sigma_w, sigma_v):
    """g = 1.5, and the reservoir with leak 0.3 and radius 1.25; small networks come out a little lower."""
    ens = rt.Ensemble(rt.Leaky(delta, form=form), sigma_w=sigma_w, sigma_v=sigma_v, tied=True)
    sampled = network_second_moments(ens, delta, form)
    allowed = 4.0 * sampled.std(ddof=1) / np.sqrt(sampled.size) + 0.03 * sampled.mean()
    mf = rt.mean_field(ens)
    assert mf.converged and abs(mf.Q - sampled.mean()) < allowed + mf.error
    stronger = rt.mean_field(ens.replace(sigma_w=1.2 * sigma_w))
    assert abs(stronger.Q - sampled.mean()) > allowed, "the theory of stronger weights must fail"
    if form == "rate":
        untied = rt.mean_field(ens.replace(tied=False))
        assert abs(untied.Q - sampled.mean()) > allowed, "untied weights must fail"
