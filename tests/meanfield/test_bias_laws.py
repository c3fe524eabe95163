"""Laws of biases: mean field and spectra against closed forms and sampled networks."""

import math

import numpy as np
import pytest
import sympy

import rmtrnn as rt
from rmtrnn.entry_laws import BiasLaw
from rmtrnn.sampling.network import Networks

CHRONO = {"f": ("log_uniform", 1.0, 30.0), "i": "-f"}
# Two values in each gate of the cell state. The normal biases of the same moments make another state, and one
# as short a memory; those of CHRONO keep some units for thousands of steps, and Q is known to 0.07 only.
TWO = {"f": ((-3.0, -1.0), (0.5, 0.5)), "i": "-f", "g": ((-2.0, 2.0), (0.5, 0.5))}


def normal_of(ens):
    """The ensemble with normal biases of the same means and variances: the negative control."""
    gates = {gate: ens.gate(gate) for gate in ens.cell.gates}
    mean = {gate: law.mu_b for gate, law in gates.items()}
    deviation = {gate: law.sigma_b for gate, law in gates.items()}
    return ens.replace(bias_law="normal", mu_b=mean, sigma_b=deviation)


def sampled_moment(ens, N, trials, burn_in, steps):
    """E[h²] (s,) of finite networks and its standard error over the trials."""
    networks = Networks(ens, N, 0, range(trials), np, "float64")
    networks.run(burn_in)
    total = 0.0
    for _ in range(steps):
        networks.run(1)
        total = total + np.mean(networks.state**2, axis=-1)
    found = total / steps
    return found.mean(axis=1), found.std(axis=1, ddof=1) / math.sqrt(trials)


def test_laws_have_their_moments():
    p = (np.arange(20000) + 0.5) / 20000
    for law in (BiasLaw("log_uniform", (1.0, 199.0)), BiasLaw("discrete", (-1.0, 2.0), (1.0, 3.0))):
        values = law.quantile(p)
        np.testing.assert_allclose((values.mean(), values.std()), law.moments, atol=1e-3)
    scaled = BiasLaw("uniform").quantile(p)
    np.testing.assert_allclose((scaled.mean(), scaled.std()), (0.0, 1.0), atol=1e-6)


def test_discrete_biases_without_weights_closed_form():
    ens = rt.Ensemble("vanilla", sigma_w=0.0, bias_law=((-1.0, 2.0), (0.25, 0.75)))
    exact = 0.25 * math.tanh(1.0) ** 2 + 0.75 * math.tanh(2.0) ** 2
    assert pytest.approx(exact, abs=1e-12) == rt.mean_field(ens).Q
    assert 0.8 * exact > rt.mean_field(normal_of(ens)).Q


def test_uniform_biases_by_quadrature():
    ens = rt.Ensemble("vanilla", sigma_w=1.5, sigma_v=0.5, mu_b=0.5, sigma_b=2.0, bias_law="uniform")
    z, weights = np.polynomial.hermite_e.hermegauss(60)
    u, mass = np.polynomial.legendre.leggauss(60)
    centre, Q = 0.5 + 2.0 * math.sqrt(3.0) * u, 0.5
    for _ in range(200):
        e = centre[:, None] + math.sqrt(1.5**2 * Q + 0.25) * z
        Q = float((mass / 2) @ np.tanh(e) ** 2 @ (weights / weights.sum()))
    found = rt.mean_field(ens)
    assert abs(found.Q - Q) < found.error + 1e-6
    assert found.q == pytest.approx(1.5**2 * Q + 0.25 + 4.0, abs=1e-3)
    assert abs(rt.mean_field(normal_of(ens)).Q - Q) > 0.02


@pytest.mark.sweep
@pytest.mark.parametrize(
    "ens",
    [
        rt.Ensemble("gru", sigma_w=1.5, sigma_v=0.7, bias_law={"u": ("log_uniform", 1, 30)}),
        rt.Ensemble("lstm", sigma_w=1.5, sigma_v=0.7, bias_law=CHRONO),
        rt.Ensemble("lstm", sigma_w=1.0, sigma_v=0.5, bias_law=TWO, tied=True),
    ],
    ids=["gru", "lstm", "lstm tied"],
)
def test_mean_field_of_sampled_networks(ens):
    found = rt.mean_field(ens, sites=512)
    Q = np.ravel(list(found.Q.values()) if isinstance(found.Q, dict) else found.Q)
    sampled, error = sampled_moment(ens, N=500, trials=4, burn_in=300, steps=100)
    assert np.all(np.abs(Q - sampled) < found.error + 5 * error)
    with pytest.raises(AssertionError):
        wrong = rt.mean_field(normal_of(ens), sites=512)
        Q = np.ravel(list(wrong.Q.values()) if isinstance(wrong.Q, dict) else wrong.Q)
        assert np.all(np.abs(Q - sampled) < wrong.error + 5 * error)


def distance(law, drawn):
    """Largest difference of the distribution functions of log s."""
    u = np.sort(drawn.log_s.ravel())
    return float(np.max(np.abs(law.log_s.cdf(u) - (np.arange(u.size) + 0.5) / u.size)))


SPECTRA = {
    "vanilla": (
        rt.Ensemble("vanilla", sigma_w=1.3, sigma_b=1.5, bias_law="uniform", weights="orthogonal"),
        3,
    ),
    "gru": (rt.Ensemble("gru", sigma_w=2.0, sigma_v=0.7, bias_law={"u": ((-5.0, 4.0), (0.5, 0.5))}), 2),
    "gru tied": (
        rt.Ensemble("gru", sigma_w=2.0, sigma_v=0.7, bias_law={"u": ((-5.0, 2.0), (0.5, 0.5))}, tied=True),
        2,
    ),
    "lstm": (rt.Ensemble("lstm", sigma_w=1.0, sigma_v=0.5, bias_law=TWO), 2),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.sweep if name != "vanilla" else ()) for name in SPECTRA]
)
def test_spectrum_of_sampled_networks(name):
    ens, T = SPECTRA[name]
    drawn, population = rt.sample(ens, T, N=512, trials=4, burn_in=200), 4096
    law, wrong = (rt.spectrum(one, T, "dyson", population=population) for one in (ens, normal_of(ens)))
    assert law.converged and distance(law, drawn) < law.error + 0.02
    assert distance(wrong, drawn) > 0.04


def test_gate_that_reads_nothing_is_a_parameter_of_the_site():
    """A leaky network whose time constants differ from unit to unit."""
    h, e, d = sympy.symbols("h e d")
    cell = rt.Cell(
        "slow and fast", state=h, input=sympy.Symbol("x"), gates={e: h, d: 0},
        update={h: (1 - d) * h + d * sympy.tanh(e)},
    )  # fmt: skip
    ens = rt.Ensemble(cell, sigma_w={"e": 0.8, "d": 0.0}, sigma_v={"e": 1.0}, tied=True)
    mixed = ens.replace(bias_law={"d": ((0.05, 0.95), (0.5, 0.5))})
    found = rt.mean_field(mixed, sites=256)
    sampled, error = sampled_moment(mixed, N=1000, trials=4, burn_in=100, steps=100)
    assert abs(found.Q - sampled[0]) < found.error + 5 * error[0]
    equal = rt.mean_field(ens.replace(mu_b={"d": 0.5}), sites=256)
    assert abs(equal.Q - sampled[0]) > equal.error + 5 * error[0]


def test_survives_files_and_print(tmp_path):
    ens = rt.Ensemble("lstm", bias_law={**CHRONO, "g": rt.free.Discrete([0.0, 1.0], [0.5, 0.5])})
    assert rt.Ensemble.from_dict(ens.to_dict()) == ens and eval(repr(ens), {"rt": rt}) == ens
    assert ens.gate("i").mu_b == -ens.gate("f").mu_b and ens.replace(sigma_w=2.0).bias_law == ens.bias_law
    assert "bias_law" not in rt.Ensemble("gru").to_dict()


def test_refuses():
    with pytest.raises(ValueError, match=r"mu_b = 1\.0 for gate 'f': must be 0"):
        rt.Ensemble("lstm", mu_b=1.0, bias_law=CHRONO)
    with pytest.raises(ValueError, match="0 < low < high"):
        rt.Ensemble("lstm", bias_law={"f": ("log_uniform", 3, 1)})
    with pytest.raises(ValueError, match="must name a gate with its own law"):
        rt.Ensemble("lstm", bias_law={"f": "i", "i": "f"})
    with pytest.raises(ValueError, match="unknown gates"):
        rt.Ensemble("lstm", bias_law={"z": "uniform"})
    with pytest.raises(TypeError, match="bias_law"):
        rt.Ensemble("lstm", bias_law=3)
