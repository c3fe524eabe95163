"""PyTorch modules and their initialisation (skipped without the extra)."""

from __future__ import annotations

import numpy as np
import pytest

import rmtrnn as rt

torch = pytest.importorskip("torch")
rtt = pytest.importorskip("rmtrnn.torch")

N = 24


def library_module(name):
    return {
        "rnn": torch.nn.RNN(N, N),
        "relu": torch.nn.RNN(N, N, nonlinearity="relu"),
        "gru": torch.nn.GRU(N, N),
        "lstm": torch.nn.LSTM(N, N),
        "minimal": rtt.MinimalRNN(N, N, embed=False),
        "vanilla": rtt.VanillaRNN(N, N, activation="erf"),
    }[name].double()


def ensemble(name):
    separate = {"r": 0.3, "u": 0.4, "c": 0.5, "i": 0.6}
    return {
        "rnn": rt.Ensemble("vanilla", 1.1, 0.3, 0.1, 0.2),
        "relu": rt.Ensemble(rt.VanillaRNN("relu"), 1.1, 0.3, 0.1, 0.2, weights="orthogonal"),
        "gru": rt.Ensemble(
            rt.GRU(reset_after=True), 1.3, {"r": 0.7, "u": 0.8, "c": 0.0, "i": 0.9}, separate, separate
        ),
        "lstm": rt.Ensemble(
            "lstm",
            {"f": 1.0, "i": 1.1, "o": 1.2, "g": 1.3},
            0.5,
            {"f": 1.0, "i": -0.5, "o": 0.5, "g": 0.2},
            0.1,
        ),
        "minimal": rt.Ensemble("minimal", 2.0, 1.0, 1.0, 0.1, weights="orthogonal"),
        "vanilla": rt.Ensemble(rt.VanillaRNN("erf"), 1.1, 0.3),
    }[name]


def own_step(module, ens, site, x):
    """One step from the library's own equations with the module's parameters; gates in the cell's order."""
    parameters = {key: value.detach().numpy() for key, value in module.named_parameters()}
    stacked = {"torch.nn.modules.rnn.LSTM": "ifgo", "torch.nn.modules.rnn.GRU": "ruc"}
    order = stacked.get(f"{type(module).__module__}.{type(module).__name__}", "e")
    rows = {gate: slice(k * N, (k + 1) * N) for k, gate in enumerate(order)}
    w, v = parameters["weight_hh_l0"], parameters["weight_ih_l0"]
    stage = ens.cell.numeric(np).stages[0]
    reads, e = stage.read(site), []
    for k, gate in enumerate(ens.cell.gates):
        block = rows["c" if gate == "i" and "c" in order else gate]
        if "bias_l0" in parameters:
            e.append(w[block] @ reads[k] + v[block] @ x + parameters["bias_l0"][block])
        elif order == "ruc" and gate == "c":
            e.append(w[block] @ reads[k] + parameters["bias_hh_l0"][block])
        elif order == "ruc" and gate == "i":
            e.append(v[block] @ x + parameters["bias_ih_l0"][block])
        else:
            e.append(w[block] @ reads[k] + v[block] @ x + parameters["bias_ih_l0"][block])
    return stage.update(site, x, np.array(e))


@pytest.mark.parametrize("name", ["rnn", "relu", "gru", "lstm", "minimal", "vanilla"])
def test_module_computes_the_cell(name):
    module, ens = library_module(name), ensemble(name)
    rtt.initialize_(module, ens, rng=3)
    rng = np.random.default_rng(0)
    h, x = rng.standard_normal((2, N))
    state = torch.tensor(h)[None]
    if name == "lstm":
        c = rng.standard_normal(N)
        _, (h_next, c_next) = module(torch.tensor(x)[None], (state, torch.tensor(c)[None]))
        expected = own_step(module, ens, np.array([c, h]), x)
        np.testing.assert_allclose(c_next[0].detach().numpy(), expected[0], rtol=1e-12)
        np.testing.assert_allclose(h_next[0].detach().numpy(), expected[1], rtol=1e-12)
        return
    _, h_next = module(torch.tensor(x)[None], state)
    np.testing.assert_allclose(h_next[0].detach().numpy(), own_step(module, ens, h[None], x)[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("lstm", "ifgo"), ("gru", "ruc")],
)
def test_gates_get_their_own_laws(name, blocks):
    size = 400
    module = (torch.nn.LSTM if name == "lstm" else torch.nn.GRU)(size, size).double()
    ens = ensemble(name)
    rtt.initialize_(module, ens, rng=1)
    w = module.weight_hh_l0.detach().numpy()
    v = module.weight_ih_l0.detach().numpy()
    b = module.bias_ih_l0.detach().numpy()
    for k, gate in enumerate(blocks):
        rows = slice(k * size, (k + 1) * size)
        fed = ens.gate("i" if (name, gate) == ("gru", "c") else gate)
        error = 4 / np.sqrt(2 * size * size)
        assert w[rows].std() * np.sqrt(size) == pytest.approx(ens.gate(gate).sigma_w, rel=error)
        assert v[rows].std() * np.sqrt(size) == pytest.approx(fed.sigma_v, rel=error)
        assert abs(b[rows].mean() - fed.mu_b) <= 5 * fed.sigma_b / np.sqrt(size)


def test_orthogonal_weights():
    module = rtt.initialize_(rtt.VanillaRNN(3, N), rt.Ensemble("vanilla", 1.5, weights="orthogonal"), rng=0)
    w = module.weight_hh_l0.detach().numpy()
    np.testing.assert_allclose(w @ w.T, 2.25 * np.eye(N), atol=1e-5)


def test_call_convention_of_torch_rnn():
    rng = torch.Generator().manual_seed(0)
    reference = torch.nn.RNN(3, 5, num_layers=2, batch_first=True)
    ours = rtt.VanillaRNN(3, 5, num_layers=2, batch_first=True)
    with torch.no_grad():
        for layer in range(2):
            getattr(ours, f"weight_ih_l{layer}").copy_(getattr(reference, f"weight_ih_l{layer}"))
            getattr(ours, f"weight_hh_l{layer}").copy_(getattr(reference, f"weight_hh_l{layer}"))
            bias = getattr(reference, f"bias_ih_l{layer}") + getattr(reference, f"bias_hh_l{layer}")
            getattr(ours, f"bias_l{layer}").copy_(bias)
    for shape, h0_shape in [((4, 7, 3), (2, 4, 5)), ((7, 3), (2, 5))]:
        x, h0 = torch.randn(shape, generator=rng), torch.randn(h0_shape, generator=rng)
        for state in (None, h0):
            for mine, theirs in zip(ours(x, state), reference(x, state), strict=True):
                torch.testing.assert_close(mine, theirs)


def test_refusals():
    ens = rt.Ensemble("vanilla", 1.0, mu_b=1.0)
    with pytest.raises(ValueError, match="reset_after"):
        rtt.initialize_(torch.nn.GRU(3, 4), rt.Ensemble("gru"))
    with pytest.raises(ValueError, match=r"sigma_v = 1\.0 for gate 'c'"):
        rtt.initialize_(torch.nn.GRU(3, 4), rt.Ensemble(rt.GRU(reset_after=True), 1.0, 1.0))
    with pytest.raises(ValueError, match="'relu'"):
        rtt.initialize_(torch.nn.RNN(3, 4, nonlinearity="relu"), ens)
    with pytest.raises(ValueError, match="bias=False"):
        rtt.initialize_(torch.nn.RNN(3, 4, bias=False), ens)
    with pytest.raises(TypeError, match="Linear"):
        rtt.initialize_(torch.nn.Linear(3, 4), ens)
    with pytest.raises(ValueError, match="input_size = 3"):
        rtt.MinimalRNN(3, 4, embed=False)
    with pytest.raises(TypeError, match="packed"):
        rtt.VanillaRNN(3, 4)(torch.nn.utils.rnn.pack_sequence([torch.zeros(2, 3)]))
