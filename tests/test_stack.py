"""Layers as one ensemble: mean field layer by layer, Jacobians of depth and time, against networks."""

import math
import pickle

import numpy as np
import pytest
from reference.kolmogorov import distance

import rmtrnn as rt
from rmtrnn.sampling.network import Networks

LOWER = rt.Ensemble("vanilla", sigma_w=1.3, sigma_v=0.8, sigma_b=0.2, R=0.5)
UPPER = rt.Ensemble("vanilla", sigma_w=0.9, sigma_v=0.7)
STACK = rt.Stack([LOWER, UPPER])


def block_log_s(ens, T, into, source, n, trials, seed=0):
    """log singular values of one block of the Jacobian of sampled networks, (trials, n)."""
    networks = Networks(ens, n, seed, range(trials), np, "float64")
    networks.run(20)
    states = len(ens.cell.state)
    y = np.zeros((trials, states * n, n))
    y[:, source * n : (source + 1) * n] = np.eye(n)
    for _ in range(T):
        y = networks.step()(y)
    return np.log(np.linalg.svd(y[:, into * n : (into + 1) * n], compute_uv=False))


@pytest.mark.equation(2)
def test_the_input_moment_of_a_layer_is_that_of_the_state_below():
    field, lower = rt.mean_field(STACK), rt.mean_field(LOWER)
    upper = rt.mean_field(UPPER.replace(R=lower.Q, Sigma=lower.C_star / lower.Q))
    assert field.converged and field.method == "moments"
    assert field.Q == {"h_1": lower.Q, "h_2": upper.Q}
    assert math.isclose(field.q_of("e_2") + field.q_of("e_2_in"), upper.q_of("e"), rel_tol=1e-12)
    assert field.chi == max(lower.chi, upper.chi) and field.c_star["h_2"] != upper.q_of("e")
    wrong = rt.mean_field(UPPER.replace(R=LOWER.R))
    assert abs(wrong.Q - upper.Q) > 0.01


@pytest.mark.sweep
def test_layers_agree_with_the_stack_solved_as_one_cell():
    whole = rt.mean_field(STACK.replace(), sites=256)  # an ensemble that knows of no layers
    field = rt.mean_field(STACK)
    assert whole.method == "population"
    for name in ("h_1", "h_2"):
        assert abs(whole.Q[name] - field.Q[name]) < 3 * whole.error


@pytest.mark.sweep
@pytest.mark.equation(18)
def test_a_tied_stack_remembers_in_time():
    """The upper layer integrates what the biases below make constant; fresh weights know nothing of it."""
    tied = rt.Stack(
        [
            rt.Ensemble("vanilla", sigma_w=1.0, sigma_v=0.8, sigma_b=0.4, tied=True),
            rt.Ensemble(rt.Leaky(0.4), sigma_w=0.5, sigma_v=0.9, tied=True),
        ]
    )
    networks = Networks(tied, 600, 3, range(3), np, "float64")
    networks.run(60)
    second = []
    for _ in range(40):
        networks.run(1)
        second.append(np.mean(networks.state**2, axis=2))
    measured = np.mean(second, axis=0)
    mean, error = measured.mean(axis=1), measured.std(axis=1, ddof=1) / math.sqrt(3)
    field = rt.mean_field(tied, sites=1024)
    fresh = rt.mean_field(tied.replace(tied=False), sites=256)
    assert field.theory == "tied"
    for k, name in enumerate(("h_1", "h_2")):
        assert abs(field.Q[name] - mean[k]) < 4 * error[k] + field.error + 3e-3, (field, mean)
    assert abs(fresh.Q["h_2"] - mean[1]) > 2 * (4 * error[1] + field.error + 3e-3)


@pytest.mark.equation(14)
@pytest.mark.parametrize("tied", [False, True])
def test_linear_layers_are_a_free_product(tied):
    """One step through D linear layers is a product of D + 1 Gaussian matrices; two steps count paths.

    Points are placed so that m_1 is good to three times the tolerance of the cdf, where the sites resolve it.
    """
    linear = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=0.5, sigma_v=0.8, tied=tied)
    u = np.linspace(-3.0, -0.3, 20)
    for layers, T, last, scale in ((3, 1, 3, 0.5 * 0.8**2), (2, 2, 1, 0.5**2)):
        law = rt.spectra.layer_spectrum(rt.Stack([linear] * layers), T, first=1, last=last, population=512)
        exact = rt.free.FussCatalan(layers if T == 1 else T).dilate(scale**2)
        assert law.converged and np.max(np.abs(law.log_s.cdf(u) - exact.cdf(np.exp(2 * u)))) < law.error
    options = {"population": 512} if tied else {"population": 4096, "tol": 3e-5}
    paths = rt.spectra.layer_spectrum(rt.Stack([linear] * 2), T=2, **options)
    within = 3e-4 if tied else 1e-4
    assert paths.converged and math.isclose(paths.density_moment(1), 2 * 0.8**2 * 0.5**4, rel_tol=within)


@pytest.mark.equation(12)
def test_depth_and_time_against_networks():
    found = block_log_s(STACK, 2, 1, 0, n=200, trials=5)
    law = rt.spectra.layer_spectrum(STACK, T=2, population=4096)
    assert law.converged
    tolerance = law.error + 2.0 / 200 + 0.004
    assert distance(law.log_s, found) < tolerance
    fed = rt.Stack([LOWER, UPPER.replace(sigma_v=0.5)])  # weights of a layer that reads less
    assert distance(rt.spectra.layer_spectrum(fed, T=2, population=4096).log_s, found) > 3 * tolerance


def test_the_whole_state_against_networks():
    law = rt.spectrum(STACK, 2, population=4096)
    found = rt.sample(STACK, 2, N=200, trials=4, burn_in=20).log_s
    assert law.converged
    tolerance = law.error + 0.02  # √q of a layer scatters by 1/√(2N) = 0.05: see test_layer_norm.py
    assert distance(law.log_s, found) < tolerance
    moved = rt.spectrum(rt.Stack([LOWER, UPPER.replace(sigma_v=1.4)]), 2, population=4096)
    assert distance(moved.log_s, found) > 3 * tolerance


def test_cells_of_all_kinds_in_one_stack():
    chrono = {"f": ("log_uniform", 1.0, 20.0), "i": "-f"}
    layers = [
        rt.Ensemble("lstm", sigma_v=1.0, bias_law=chrono, input_law="uniform", weights="orthogonal"),
        rt.Ensemble("gru", sigma_v=0.5),
        rt.Ensemble("mingru", sigma_v=0.7, sigma_b=0.1),
        rt.Ensemble("minimal", sigma_v=0.0),
    ]
    stack = rt.Stack(layers)
    assert stack.cell.gates[-4:] == ("c_2", "z_3", "c_3", "e_4")
    assert stack.gate("z_3").sigma_w == 0.7 and stack.gate("i_1").bias_law.source == "f_1"
    assert stack.output(1) == 1 and stack.states(2) == (2,)
    assert pickle.loads(pickle.dumps(stack)) == stack == rt.Ensemble.from_dict(stack.to_dict())
    assert repr(stack).startswith("rt.Stack([rt.Ensemble('lstm'")
    networks = Networks(stack, 16, 0, [0], np, "float64")
    networks.run(3)
    assert np.isfinite(networks.state).all()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "non-empty"),
        ([LOWER, UPPER.replace(R=0.3)], "R = 0.3 of layer 2"),
        ([LOWER, UPPER.replace(tied=True)], "tied = True of layer 2"),
        ([STACK, UPPER], "a layer is a Stack"),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers, message):
    with pytest.raises((TypeError, ValueError), match=message):
        rt.Stack(layers)


@pytest.mark.sweep
@pytest.mark.equation(15)
def test_a_block_of_tied_layers_against_networks():
    lower = rt.Ensemble("vanilla", sigma_w=1.3, sigma_v=0.8, sigma_b=0.4, R=0.5, tied=True)
    upper = rt.Ensemble(rt.Leaky(0.4), sigma_w=0.9, sigma_v=0.9, tied=True)
    tied, untied = (rt.Stack([lower.replace(tied=one), upper.replace(tied=one)]) for one in (True, False))
    found = block_log_s(tied, 3, 1, 0, n=250, trials=6)
    law, wrong = (rt.spectra.layer_spectrum(one, T=3, population=4096) for one in (tied, untied))
    assert law.converged and distance(law.log_s, found) < min(law.error + 0.01, 0.02)
    assert distance(wrong.log_s, found) > 0.03
