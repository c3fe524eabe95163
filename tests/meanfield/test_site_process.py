"""The one-site law: its moments are the mean field's, and its linearisations give m_1 = chi^T."""

import math

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn import ConvergenceError
from rmtrnn.meanfield import site_population, site_trajectory

CELLS = {
    "vanilla": rt.Ensemble("vanilla", 1.3, 0.3),
    "minimal": rt.Ensemble("minimal", 6.88, 1.39, 2.0, R=0.46, Sigma=1.0),
    "minimal, open gate": rt.Ensemble("minimal", 6.88, 1.39, 5.5, R=0.46),
    "minimal, discrete input": rt.Ensemble("minimal", 3.0, 1.0, 0.5, input_law=((0.0, 1.0), (0.8, 0.2))),
    "gru": rt.Ensemble("gru", 2.0, 1.0, 0.3),
}


def mean_squared_singular_value(ens, trajectory):
    """lim tr(J Jᵀ)/N of the product of the stages, through the exact recursion over the sites' averages."""
    n = trajectory.stages[0].a.shape[-1]
    M = np.repeat(np.eye(len(ens.cell.state))[:, :, None], n, axis=2)
    symbolic = ens.cell.stages
    for number, (a, b, c) in enumerate(trajectory.stages):
        gates = symbolic[number % len(symbolic)].gates
        gain = np.array([ens.gate(gate.name).sigma_w ** 2 for gate in gates])
        fields = gain * np.einsum("kin,ijn,kjn->k", c, M, c) / n
        M = np.einsum("ijn,jkn,lkn->iln", a, M, a) + np.einsum("k,kin,kjn->ijn", fields, b, b)
    return np.mean(np.trace(M)) / len(ens.cell.state)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.equation(2)
def test_population_has_the_stationary_moments(name):
    ens = CELLS[name]
    population = site_population(ens, 8192, seed=3)
    Q = population.mean_field.Q
    assert population.state.shape == (1, 8192)
    assert abs(np.mean(population.state**2) - Q) <= population.error[0]
    # Better than half the standard error √(2/n) Q of as many independent Gaussian sites.
    assert population.error[0] < 0.5 * math.sqrt(2 / 8192) * Q


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("T", [1, 4])
@pytest.mark.equation(6)
def test_trajectories_reproduce_the_growth(name, T):
    ens = CELLS[name]
    field = rt.mean_field(ens)
    seen = [
        mean_squared_singular_value(ens, site_trajectory(ens, T, 1024, seed=seed, field=field))
        for seed in range(8)
    ]
    error = np.std(seen, ddof=1) / math.sqrt(len(seen))
    assert abs(np.mean(seen) - field.chi**T) < 4.5 * error + 1e-12
    # Negative control: the same average is no other power of chi, unless that is within the error too.
    assert abs(np.mean(seen) - (1.05 * field.chi) ** T) > 4.5 * error


def test_shapes_of_a_chain_of_stages():
    trajectory = site_trajectory(CELLS["gru"], 3, 256)
    assert len(trajectory.stages) == 6
    first, second = trajectory.stages[:2]
    assert (first.a.shape, first.b.shape, first.c.shape) == ((3, 1, 256), (2, 3, 256), (2, 1, 256))
    assert (second.a.shape, second.b.shape, second.c.shape) == ((1, 3, 256), (1, 1, 256), (1, 3, 256))
    assert trajectory.state.shape == trajectory.initial.shape == (1, 256)


def test_seeds_name_the_points():
    ens = CELLS["minimal"]
    one, same, other = (site_trajectory(ens, 2, 256, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.stages[1].a, same.stages[1].a)
    assert np.any(one.stages[1].a != other.stages[1].a)


def test_refusals():
    ens = CELLS["minimal"]
    with pytest.raises(ValueError, match="power of two"):
        site_population(ens, 1000)
    with pytest.raises(ValueError, match="T"):
        site_trajectory(ens, 0)
    with pytest.raises(ConvergenceError, match="without bound"):
        site_population(rt.Ensemble(rt.VanillaRNN("linear"), 1.5, 0.3))
    with pytest.raises(ValueError, match="another ensemble"):
        site_population(ens, field=rt.mean_field(ens.replace(mu_b=0.0)))


@pytest.fixture(scope="module")
def lstm():
    ens = rt.Ensemble("lstm", 2.0, 1.0, mu_b={"f": 1.0, "i": 0.0, "o": 0.0, "g": 0.0}, Sigma=1.0)
    return rt.mean_field(ens, sites=1024)


@pytest.mark.slow
@pytest.mark.equation(2)
def test_lstm_fixed_point_is_consistent_and_its_error_honest(lstm):
    """Given q the memory is affine, so E[c²] has a closed form in one-dimensional Gaussian integrals."""
    from rmtrnn.numerics.gaussian_quadrature import gaussian_expectation

    def sigmoid(e):
        return 0.5 * (1 + np.tanh(0.5 * e))

    assert lstm.converged
    assert set(lstm.Q) == {"c", "h"} and set(lstm.q) == {"f", "i", "o", "g"}
    q = lstm.q_of("f")
    kept = gaussian_expectation(lambda e: sigmoid(e) ** 2, q, 1.0).value
    taken = gaussian_expectation(lambda e: np.stack([sigmoid(e) ** 2, np.tanh(e) ** 2]), q).value
    memory = taken[0] * taken[1] / (1 - kept)
    assert abs(lstm.Q["c"] - memory) <= 2 * lstm.error
    assert abs(q - (4.0 * lstm.Q["h"] + 1.0)) < 1e-9
    assert lstm.c_star == {"c": 1.0, "h": 1.0}
    assert 0.0 < lstm.error < 5e-3 * lstm.Q["c"]


@pytest.mark.slow
@pytest.mark.equation(5)
def test_lstm_growth_is_the_rate_at_which_equal_replicas_approach(lstm):
    """chi of a cell with memory: the distance of two replicas decays at the rate chi near c = 1."""
    Q = lstm.Q
    close = {name: (1 - 1e-4) * value for name, value in Q.items()}
    field = rt.mean_field(lstm.ensemble, steps=16, Q0=Q, C0=close, sites=1024)
    distance = field.Q_t["h"] - field.C_t["h"]
    rate = (distance[16] / distance[8]) ** (1 / 8)
    assert abs(rate - lstm.chi) < 0.01 * lstm.chi


def test_a_state_that_is_kept_for_ever_keeps_its_start():
    """σ(40) is 1 in doubles: the state has no mean of its own to begin about."""
    field = rt.mean_field(rt.Ensemble("minimal", sigma_v=0.5, mu_b=40.0))
    assert field.converged
    state = site_population(field.ensemble, 512, field=field).state
    assert np.mean(state**2) == pytest.approx(field.Q, rel=0.1, abs=1e-12)
