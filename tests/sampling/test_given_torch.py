"""Jacobians of PyTorch modules on data: automatic differentiation against the package's own cells."""

import numpy as np
import pytest
from reference.long_products import exact_log_singular_values

import rmtrnn as rt

torch = pytest.importorskip("torch")
layout = pytest.importorskip("rmtrnn.cells.torch_layout")
N = 16

MODULES = {
    "rnn": lambda: torch.nn.RNN(3, N),
    "relu": lambda: torch.nn.RNNCell(3, N, nonlinearity="relu"),
    "gru": lambda: torch.nn.GRU(3, N, batch_first=True),
    "gru_cell": lambda: torch.nn.GRUCell(3, N),
    "lstm": lambda: torch.nn.LSTM(3, N),
    "lstm_cell": lambda: torch.nn.LSTMCell(3, N),
    "no_bias": lambda: torch.nn.GRU(3, N, bias=False),
    "vanilla": lambda: rt.torch.VanillaRNN(3, N, activation="erf"),
}


def analytic(module):
    """The package's own cell with the module's weights."""
    found = layout.layer_parameters(module)
    return rt.GivenNetwork(found.cell, found.W, found.V, found.b)


@pytest.mark.parametrize("name", MODULES)
def test_autograd_agrees_with_the_cells_equations(name):
    torch.manual_seed(0)
    module, inputs = MODULES[name](), np.random.default_rng(0).standard_normal((8, 3))
    found, own = rt.jacobian_log_s(module, inputs, 6), rt.jacobian_log_s(analytic(module), inputs, 6)
    np.testing.assert_allclose(found.log_s, own.log_s, atol=1e-8)
    parameter = next(module.parameters())
    assert parameter.requires_grad and parameter.dtype == torch.float32  # the module is as it was
    with torch.no_grad():
        for values in module.parameters():
            values.mul_(1.01)
    moved, kept = rt.jacobian_log_s(module, inputs, 6).log_s, np.isfinite(own.log_s)
    assert np.max(np.abs(moved[kept] - own.log_s[kept])) > 1e-4


@pytest.mark.parametrize("name", ["gru", "lstm", "vanilla"])
def test_lyapunov_exponents_of_modules(name):
    """A module against the package's own cell with the same weights, whose state may be ordered otherwise.

    The sum of all exponents is log |det J|, whatever frame is followed.
    """
    torch.manual_seed(0)
    module, inputs = MODULES[name](), np.random.default_rng(0).standard_normal((250, 3))
    given = inputs[None] if getattr(module, "batch_first", False) else inputs
    found = rt.sample_lyapunov(module, inputs=torch.as_tensor(given), steps=200).exponents[0]
    own = rt.sample_lyapunov(analytic(module), inputs=inputs, steps=200).exponents[0]
    assert len(found) == (2 * N if name == "lstm" else N)
    kept = np.isfinite(own)[: len(found)]
    assert found[kept].sum() == pytest.approx(own[np.isfinite(own)].sum(), abs=1e-5)
    np.testing.assert_allclose(found[:4], own[:4], atol=0.02)
    other = rt.sample_lyapunov(analytic(MODULES[name]()), inputs=inputs, steps=200).exponents[0]
    assert abs(other[np.isfinite(other)].sum() - found[kept].sum()) > 1e-3


def test_layers_batches_and_states():
    torch.manual_seed(1)
    module = torch.nn.LSTM(3, 8, num_layers=2, batch_first=True)
    inputs = torch.randn(2, 5, 3)
    both = rt.jacobian_log_s(module, inputs, T=3)
    assert both.log_s.shape == (2, 2 * 2 * 8)
    exact = module.double()
    with torch.no_grad():
        _, state = exact(inputs[1:, :2].double())
    alone = rt.jacobian_log_s(module, inputs[1, 2:], state=state)
    np.testing.assert_allclose(alone.log_s, both.log_s[1], atol=1e-8)


def test_trained_gru_agrees_with_eighty_digits():
    from validation.beyond.trained_gru import AddingTask, train

    torch.manual_seed(0)
    module = train(AddingTask(length=50), hidden=32, steps=20, seed=0).recurrent
    inputs = AddingTask(length=50).sample(1, np.random.default_rng(5))[0][0]
    net, factors = analytic(module), []
    state = net.initial_state
    for x in inputs:
        state, factor = net(state, x)
        factors.append(factor(np.eye(32)))
    exact = exact_log_singular_values(factors, 700)
    assert np.max(np.abs(rt.jacobian_log_s(module, inputs, T=50).log_s - exact)) < 1e-7


def test_refuses_two_directions():
    with pytest.raises(ValueError, match="bidirectional"):
        rt.jacobian_log_s(torch.nn.GRU(3, N, bidirectional=True), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="state: has shapes"):
        rt.jacobian_log_s(torch.nn.GRUCell(3, N), np.zeros((2, 3)), state=np.zeros(N + 1))


def test_measured_ensemble():
    torch.manual_seed(2)
    ens = rt.Ensemble.from_torch(torch.nn.GRU(7, 300))
    assert ens.cell == rt.GRU(reset_after=True) and ens.tied
    for gate in "ruc":  # uniform in ±1/√N: variance 1/(3N)
        assert ens.gate(gate).sigma_w == pytest.approx(3**-0.5, rel=0.02)
        assert ens.gate(gate).weights == "gaussian"
    assert ens.gate("r").sigma_v == pytest.approx((7 / 900) ** 0.5, rel=0.05)
    haar = rt.Ensemble("lstm", sigma_w={"f": 1.5, "i": 0.5}, sigma_v=0.7, mu_b=1.0, weights="orthogonal")
    drawn = rt.torch.initialize_(torch.nn.LSTM(50, 300), haar, 0)
    found = rt.Ensemble.from_torch(drawn)
    for gate in "fiog":
        ours, theirs = found.gate(gate), haar.gate(gate)
        assert ours.weights == "orthogonal" and ours.sigma_w == pytest.approx(theirs.sigma_w, rel=1e-5)
        assert ours.sigma_v == pytest.approx(0.7, rel=0.05) and ours.mu_b == pytest.approx(1.0)


def test_fused_orthogonal_initialiser_does_not_fit():
    module = torch.nn.LSTM(5, 200)
    torch.nn.init.orthogonal_(module.weight_hh_l0)
    with pytest.warns(UserWarning, match="W of gate 'f': relative variance"):
        ens = rt.Ensemble.from_torch(module)
    assert ens.gate("i").sigma_w == pytest.approx(0.5, rel=0.02)
    with pytest.raises(TypeError, match="got Linear"):
        rt.Ensemble.from_torch(torch.nn.Linear(2, 2))
