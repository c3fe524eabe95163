"""minGRU and minLSTM: laws by convolution, against closed forms, characteristic functions and networks."""

import dataclasses
import math
import time

import numpy as np
import pytest
import sympy
from reference.kolmogorov import distance
from scipy.special import expit, ndtr

import rmtrnn as rt
from rmtrnn.dyson.gate_convolution import SETTINGS, applies, convolved_law

MINGRU = rt.Ensemble("mingru", sigma_v=1.2, mu_b={"z": -0.5}, sigma_b=0.6, R=0.8)
DRIVE = 1.2**2 * 0.8
Z = np.linspace(-9.0, 9.0, 801)
OF_ONE_GATE = [field.name for field in dataclasses.fields(SETTINGS) if field.name != "biases_of_two"]
NORMAL = np.exp(-0.5 * Z**2) / np.exp(-0.5 * Z**2).sum()


def inverted(u, power, step=0.004, highest=8.0):
    """Gil-Pelaez (1951): F(u) from a characteristic function, by the trapezoidal rule in frequency."""
    frequency = np.arange(0.5 * step, highest, step)
    terms = np.imag(np.exp(-1j * np.outer(u, frequency)) * power(frequency)) / frequency
    return 0.5 - terms.sum(axis=1) * step / math.pi


def of_one_step(frequency, mean, deviation):
    terms = -np.logaddexp(0.0, mean + deviation * Z)
    return np.exp(1j * np.outer(frequency, terms)) @ NORMAL


def test_one_step_in_closed_form():
    s = np.array([0.05, 0.3, 0.6, 0.9, 0.99])
    exact = ndtr(-(np.log(1.0 / s - 1.0) + 0.5) / math.sqrt(DRIVE + 0.36))
    law = rt.spectrum(MINGRU, 1)
    assert np.max(np.abs(law.cdf(s) - exact)) < law.error < 2e-3


@pytest.mark.parametrize("T", [10, 60])
def test_steps_with_fresh_weights_are_a_convolution(T):
    law = convolved_law(MINGRU, T)
    u = law.icdf(np.array([0.02, 0.2, 0.5, 0.8, 0.98]))
    exact = inverted(u, lambda f: of_one_step(f, -0.5, math.sqrt(DRIVE + 0.36)) ** T)
    assert np.max(np.abs(law.cdf(u) - exact)) < law.error < 1e-4


def test_tied_biases_are_a_mixture_of_convolutions():
    T, u = 10, np.array([-12.0, -8.0, -5.0, -3.0])
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)

    def power(f):
        rows = [of_one_step(f, -0.5 + 0.6 * x, math.sqrt(DRIVE)) ** T for x in nodes]
        return weights @ rows / weights.sum()

    law = convolved_law(MINGRU.replace(tied=True), T)
    assert np.max(np.abs(law.cdf(u) - inverted(u, power))) < law.error < 1e-4
    assert np.max(np.abs(convolved_law(MINGRU, T).cdf(u) - law.cdf(u))) > 0.05


def test_tied_biases_of_two_gates():
    """minLSTM: a = σ(f)/(σ(f) + σ(i)), the mean of convolutions over two normal biases."""
    T, ens = 4, rt.Ensemble("minlstm", sigma_v=0.3, sigma_b=0.3, mu_b={"f": 0.5}, R=1.0, tied=True)
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    pairs = np.array(np.meshgrid(nodes, nodes)).reshape(2, -1)
    both = np.outer(weights, weights).ravel() / weights.sum() ** 2

    def power(frequency):
        total = np.zeros(frequency.size, dtype=complex)
        for bias, weight in zip(pairs.T, both, strict=True):
            forget, enter = np.array([[0.5], [0.0]]) + 0.3 * (bias[:, None] + pairs)
            terms = -np.log1p(expit(enter) / expit(forget))
            total += weight * (np.exp(1j * np.outer(frequency, terms)) @ both) ** T
        return total

    law = convolved_law(ens, T)
    u = law.icdf(np.array([0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98]))
    off = np.abs(law.cdf(u) - inverted(u, power, 0.03, 30.0)).max()
    assert off < law.error < 1e-3, (off, law.error)


@pytest.mark.parametrize("tied", [False, True])
def test_minlstm_against_networks(tied):
    """Units are independent: 6 networks of 500 units are 3000 draws, whose cdf scatters by 1/√3000."""
    bias = {"f": ("log_uniform", 1.0, 10.0), "i": "-f"}
    ens = rt.Ensemble("minlstm", sigma_v=1.0, bias_law=bias, tied=tied)
    law = rt.spectrum(ens, 8)
    found = rt.sample(ens, 8, N=500, trials=6, burn_in=2).log_s
    tolerance = 1.95 / math.sqrt(3000) + law.error  # 0.1 % of Kolmogorov's law
    assert law.converged and distance(law.log_s, found) < tolerance
    assert distance(rt.spectrum(ens.replace(tied=not tied), 8).log_s, found) > 2 * tolerance


def test_the_population_gives_the_same_law():
    law, other = (rt.spectrum(MINGRU, 3, population=n) for n in (None, 4096))
    u = other.log_s.icdf(np.linspace(0.02, 0.98, 30))
    assert np.max(np.abs(law.log_s.cdf(u) - other.log_s.cdf(u))) < other.error + law.error


def test_gates_that_do_not_vary_are_an_atom():
    constant = rt.spectrum(rt.Ensemble("minlstm", mu_b={"f": 2.0}), 5)
    weight = expit(2.0) / (expit(2.0) + 0.5)
    assert constant.atoms == ((pytest.approx(weight**5), 1.0),)
    h, e = rt.Leaky().state[0], rt.Leaky().stages[0].gates[0].symbol
    masked = rt.Cell(
        "masked", state=h, input=sympy.Symbol("x"), gates={e: 0}, update={h: h * sympy.Max(e, 0)}
    )
    law = rt.spectrum(rt.Ensemble(masked, sigma_v=1.0), 3)
    assert law.atoms[0][0] == 0.0 and math.isclose(law.atoms[0][1], 1.0 - 0.5**3, rel_tol=1e-4)


def test_two_seconds():
    for cell in ("mingru", "minlstm"):
        start = time.process_time()
        rt.spectrum(rt.Ensemble(cell, sigma_v=1.0, mu_b=0.1), 10)
        assert time.process_time() - start < 2.0


def test_which_cells():
    assert applies(MINGRU) and applies(rt.Ensemble("minlstm"))
    assert not any(applies(rt.Ensemble(name)) for name in ("minimal", "cfn", "lstm", "gru"))


@pytest.mark.sweep
@pytest.mark.parametrize("factor", [1 / 3, 3.0])
@pytest.mark.parametrize("name", OF_ONE_GATE)
def test_numbers_can_be_moved(name, factor):
    ens, value = MINGRU.replace(tied=True), getattr(SETTINGS, name)
    law = convolved_law(ens, 10)
    moved = dataclasses.replace(SETTINGS, **{name: type(value)(factor * value)})
    other = convolved_law(ens, 10, moved)
    u = law.icdf(np.linspace(0.02, 0.98, 50))
    assert np.max(np.abs(other.cdf(u) - law.cdf(u))) < other.error + law.error < 2e-3


@pytest.mark.sweep
@pytest.mark.parametrize("factor", [1 / 3, 3.0])
def test_the_number_of_biases_of_two_gates_can_be_moved(factor):
    """The rule converges geometrically: what is left of the error is that of the points at each bias."""
    ens = rt.Ensemble("minlstm", sigma_v=0.3, sigma_b=0.3, R=1.0, tied=True)
    law = convolved_law(ens, 4)
    moved = dataclasses.replace(SETTINGS, biases_of_two=int(factor * SETTINGS.biases_of_two))
    other = convolved_law(ens, 4, moved)
    u = law.icdf(np.linspace(0.02, 0.98, 50))
    assert np.max(np.abs(other.cdf(u) - law.cdf(u))) < 1e-4 < law.error < other.error + 1e-6
