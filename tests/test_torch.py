"""PyTorch modules and their initialisation (skipped without the extra)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.initialisation.layouts import draw_arrays, framework_ensemble
from rmtrnn.initialisation.search import EFFORT
from rmtrnn.sampling.sample import Sample
from validation.beyond.torch_jacobian import cases as networks

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


def pre_activations(module, ens, site, x):
    """From the library's own equations with the module's parameters; gates in the cell's order."""
    n = module.hidden_size
    parameters = {key: value.detach().numpy() for key, value in module.named_parameters()}
    order = blocks(ens)
    w, v = parameters["weight_hh_l0"], parameters["weight_ih_l0"]
    reads, e = ens.cell.numeric(np).stages[0].read(site), []
    for k, gate in enumerate(ens.cell.gates):
        start = n * order.index("c" if gate == "i" and "c" in order else gate)
        rows = slice(start, start + n)
        if "bias_l0" in parameters:
            e.append(w[rows] @ reads[k] + v[rows] @ x + parameters["bias_l0"][rows])
        elif order == "ruc" and gate == "c":
            e.append(w[rows] @ reads[k] + parameters["bias_hh_l0"][rows])
        elif order == "ruc" and gate == "i":
            e.append(v[rows] @ x + parameters["bias_ih_l0"][rows])
        else:
            e.append(w[rows] @ reads[k] + v[rows] @ x + parameters["bias_ih_l0"][rows])
    return np.array(e)


def blocks(ens):
    """Gates in the order of the module's stacked rows."""
    return {"lstm": "ifgo", "gru": "ruc"}.get(ens.cell.name, "e")


def own_step(module, ens, site, x):
    """One step from the library's own equations with the module's parameters."""
    return ens.cell.numeric(np).stages[0].update(site, x, pre_activations(module, ens, site, x))


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


@pytest.mark.parametrize(("name", "order"), [("lstm", "ifgo"), ("gru", "ruc")])
def test_gates_get_their_own_laws(name, order):
    size = 400
    module = (torch.nn.LSTM if name == "lstm" else torch.nn.GRU)(size, size).double()
    ens = ensemble(name)
    rtt.initialize_(module, ens, rng=1)
    w = module.weight_hh_l0.detach().numpy()
    v = module.weight_ih_l0.detach().numpy()
    b = module.bias_ih_l0.detach().numpy()
    for k, gate in enumerate(order):
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


def test_minimal_layers_and_initial_states():
    """Two layers are two modules in a row; without a bias, a zero bias; batch_first only moves an axis."""
    both = rtt.MinimalRNN(3, 5, num_layers=2, batch_first=True, bias=False).double()
    assert not any("bias_l" in name for name, _ in both.named_parameters())
    x, h0 = torch.randn(4, 7, 3).double(), torch.randn(2, 4, 5).double()
    output, h_n = both(x, h0)
    assert output.shape == (4, 7, 5) and h_n.shape == (2, 4, 5)
    sequence = x.transpose(0, 1)
    for layer, fan_in in enumerate((3, 5)):
        single = rtt.MinimalRNN(fan_in, 5, bias=False).double()
        single.load_state_dict(
            {
                "weight_ih_l0": getattr(both, f"weight_ih_l{layer}"),
                "weight_hh_l0": getattr(both, f"weight_hh_l{layer}"),
                "embeddings.0.weight": both.embeddings[layer].weight,
                "embeddings.0.bias": both.embeddings[layer].bias,
            }
        )
        sequence, last = single(sequence, h0[layer : layer + 1])
        torch.testing.assert_close(h_n[layer], last[0])
    torch.testing.assert_close(output, sequence.transpose(0, 1))
    torch.testing.assert_close(both(x)[0], both(x, torch.zeros_like(h0))[0])


def test_every_layer_and_direction_is_drawn():
    ens = rt.Ensemble("lstm", 1.0, 0.5, {"f": 2.0, "i": 0.0, "o": 0.0, "g": 0.0})
    module = rtt.initialize_(torch.nn.LSTM(3, 50, num_layers=2, bidirectional=True), ens, rng=0)
    seen = set()
    for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
        w = getattr(module, f"weight_hh_{suffix}").detach()
        assert float(w.std()) * 50**0.5 == pytest.approx(1.0, rel=0.05)
        bias = getattr(module, f"bias_ih_{suffix}").detach().numpy()
        np.testing.assert_array_equal(bias, np.repeat([0.0, 2.0, 0.0, 0.0], 50))
        assert not getattr(module, f"bias_hh_{suffix}").any()
        seen.add(float(w[0, 0]))
    assert len(seen) == 4


def library_jacobian(module, ens, site, inputs):
    """∂(state)/∂(state) over the inputs, by theory.md (1) with the module's weights."""
    n, order = module.hidden_size, blocks(ens)
    stage, numeric = ens.cell.stages[0], ens.cell.numeric(np).stages[0]
    w = module.weight_hh_l0.detach().numpy()
    starts = {gate: n * position for position, gate in enumerate(order)}
    if order == "ruc":
        starts["i"] = 0  # reads nothing: which weights stand here does not matter
    weights = [w[starts[gate] : starts[gate] + n] for gate in ens.cell.gates]
    product = np.eye(len(site) * n)
    for x in inputs:
        a, b, c = numeric.linearize(site, x, pre_activations(module, ens, site, x))
        blocks_of_step = [
            [
                np.diag(np.broadcast_to(a[i, j], n))
                + sum(b[k, i][:, None] * weights[k] * c[k, j] for k in range(len(weights)))
                for j in range(len(site))
            ]
            for i in range(len(site))
        ]
        product = np.block(blocks_of_step) @ product
        site = own_step(module, ens, site, x)
    assert len(ens.cell.stages) == 1 and stage.inputs == ens.cell.state
    return product


@pytest.mark.parametrize("name", list(networks.ensembles()))
@pytest.mark.equation(1)
def test_autograd_jacobian_is_that_of_the_cell(name):
    """With the module's weights in the library's equations, entry by entry; and not if the gates change."""
    ens = networks.ensembles()[name]
    for swapped in (False, True):
        module = networks.module(name, ens, N, np.random.default_rng(5), swapped=False)
        found = networks.state_jacobian(module, ens, np.random.default_rng(6), burn_in=0)
        rng = np.random.default_rng(6)
        state = rng.standard_normal((len(ens.cell.state), N))
        inputs = ens.sample_input(rng, (networks.T, 1, N))[:, 0]
        if swapped:
            module = networks.module(name, ens, N, np.random.default_rng(5), swapped=True)
        expected = library_jacobian(module, ens, state, inputs)
        error = np.abs(found - expected).max() / np.abs(found).max()
        assert error > 0.01 if swapped else error < 1e-12


@pytest.mark.parametrize("name", ["rnn", "minimal"])
def test_autograd_jacobian_has_the_spectrum_of_the_ensemble(name):
    """Tied, T = 5; a module with exchanged weights or gates does not have it."""
    law = rt.spectrum(networks.ensembles()[name], networks.T)
    for swapped, verdict in ((False, "agrees"), (True, "disagrees")):
        sample = networks.autograd_sample(name, 200, 6, 1, swapped=swapped)
        report = rt.compare(law, sample)
        assert report.verdict == verdict, str(report)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_autograd_jacobian_has_the_spectrum_of_library_networks(name):
    """The study's two-sample test, on smaller networks: exchanged gates are found."""
    ens = networks.ensembles()[name]
    reference = rt.sample(ens, networks.T, N=96, trials=10, seed=1, burn_in=networks.BURN_IN)
    right, spoilt = (
        networks.two_samples(reference, networks.autograd_sample(name, 96, 10, 2, swapped=swapped))
        for swapped in (False, True)
    )
    assert right["p"] > 1e-3 and right["kolmogorov"] < 0.05
    assert spoilt["p"] < 1e-8 and spoilt["kolmogorov"] > 0.1


def second_layer_jacobian(module, rng, burn_in=0):
    """The state Jacobian of the upper of two layers over `networks.T` steps by autograd, and the first state.

    The lower layer runs on fresh inputs of second moment 1 and does not depend on the upper one. States have
    the axes (h and c, layers, batch, units); the Jacobian of the LSTM is that of (c, h).
    """
    n, parts = module.hidden_size, 2 if isinstance(module, torch.nn.LSTM) else 1

    def packed(state):
        return (state[0].contiguous(), state[1].contiguous()) if parts == 2 else state[0].contiguous()

    def run(state, steps):
        x = torch.from_numpy(rng.standard_normal((steps, 1, module.input_size)))
        final = module(x.expand(-1, state.shape[2], -1), packed(state))[1]
        return torch.stack(final) if parts == 2 else final[None]

    state = torch.from_numpy(rng.standard_normal((parts, 2, 1, n)))
    if burn_in:
        with torch.no_grad():
            state = run(state, burn_in)
    width = parts * n
    upper = state[:, 1].expand(parts, width, n).clone().requires_grad_()
    start = torch.stack([state[:, 0].expand(parts, width, n), upper], dim=1)
    final = run(start, networks.T)[:, 1].flip(0).transpose(0, 1).reshape(width, width)
    (rows,) = torch.autograd.grad(torch.diagonal(final).sum(), upper)
    return rows.flip(0).transpose(0, 1).reshape(width, width).numpy(), state


def test_second_layer_has_the_spectrum_of_the_plan():
    """Vanilla, tied: the law of the plan, as V is scaled to E[h²] of the layer below; else another law."""
    plan = rt.initialize("vanilla", networks.T)
    law = rt.spectrum(plan.ensemble, networks.T)
    assert plan.output < 0.5
    for source, verdict in ((plan, "agrees"), (plan.ensemble, "disagrees")):
        rows = []
        for trial in range(6):
            rng = np.random.default_rng([trial, 8])
            module = rtt.initialize_(torch.nn.RNN(200, 200, num_layers=2).double(), source, rng)
            jacobian, _ = second_layer_jacobian(module, rng, burn_in=50)
            rows.append(np.sort(np.log(np.linalg.svd(jacobian, compute_uv=False))))
        sample = Sample(np.array(rows), plan.ensemble, networks.T, 200, {"seed": 8, "burn_in": 50})
        report = rt.compare(law, sample)
        assert report.verdict == verdict, str(report)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
@pytest.mark.equation(1)
def test_second_layer_jacobian_is_that_of_the_cell(name):
    """With the second layer's weights and the first layer's states as inputs, entry by entry."""
    ens, kind = networks.ensembles()[name], {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
    module = rtt.initialize_(kind[name](N, N, num_layers=2).double(), ens, rng=1)
    found, state = second_layer_jacobian(module, np.random.default_rng(6))
    rng = np.random.default_rng(6)
    rng.standard_normal(tuple(state.shape))  # the states, drawn before the inputs
    x = torch.from_numpy(rng.standard_normal((networks.T, 1, N)))
    for layer in (1, 0):  # and the first layer's weights in its place are wrong
        lower, upper = (kind[name](N, N).double() for _ in range(2))
        for one, place in ((lower, 0), (upper, layer)):
            weights = {key: value for key, value in module.state_dict().items() if f"_l{place}" in key}
            one.load_state_dict({key.replace(f"_l{place}", "_l0"): value for key, value in weights.items()})
        begin = tuple(state[:, 0]) if name == "lstm" else state[0, 0]
        begin = tuple(part[None] for part in begin) if name == "lstm" else begin[None]
        inputs = lower(x, begin)[0][:, 0].detach().numpy()
        site = state[:, 1, 0].flip(0).numpy()  # (c, h)
        expected = library_jacobian(upper, ens, site, inputs)
        error = np.abs(found - expected).max() / np.abs(expected).max()
        assert error < 1e-12 if layer == 1 else error > 0.01


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


def test_biases_follow_their_law():
    law = {"f": ("log_uniform", 1.0, 30.0), "i": "-f"}
    module = rtt.initialize_(torch.nn.LSTM(3, 2000), rt.Ensemble("lstm", bias_law=law, tied=True), 0)
    bias = module.bias_ih_l0.detach().numpy().reshape(4, -1)
    np.testing.assert_array_equal(bias[0], -bias[1])
    assert abs(np.exp(bias[1]).mean() - 15.5) < 0.6 and np.exp(bias[1]).min() > 1.0 - 1e-6
    assert not bias[2:].any()


@pytest.mark.parametrize(
    ("cell", "module"),
    [
        ("vanilla", lambda: torch.nn.RNN(5, 24, num_layers=2, bidirectional=True)),
        ("gru", lambda: torch.nn.GRU(5, 24, num_layers=2)),
        ("gru_reset_after", lambda: torch.nn.GRUCell(5, 24)),
        ("lstm", lambda: torch.nn.LSTM(5, 24, num_layers=2)),
        ("lstm", lambda: torch.nn.LSTMCell(5, 24)),
        ("vanilla", lambda: torch.nn.RNNCell(5, 24)),
    ],
)
def test_plan_into_a_module(cell, module):
    """The first layer has the plan's laws; above, V is scaled to what it reads."""
    effort = replace(EFFORT, iterations=1, basins=1)
    plan, module = rt.initialize(cell, 4, effort=effort), module()
    assert rt.torch.initialize_(module, plan, rng=0) is module
    ens = framework_ensemble(plan.ensemble)
    parts = dict(module.named_parameters())
    gates = {"vanilla": "e", "lstm": "ifgo"}.get(cell, "rui")
    suffix = "" if isinstance(module, torch.nn.RNNCellBase) else "_l0"
    blocks = parts[f"weight_ih{suffix}"].detach().numpy().reshape(len(gates), 24, 5)
    for gate, block in zip(gates, blocks, strict=True):
        wanted = ens.gate(gate).sigma_v
        assert np.std(block) * np.sqrt(5) == pytest.approx(wanted, rel=0.3, abs=1e-9)
    if suffix:
        inputs = 48 if module.bidirectional else 24
        above = parts["weight_ih_l1"].detach().numpy().reshape(len(gates), 24, inputs)
        factor = np.sqrt(1.0 / plan.output)
        assert not 0.9 < factor < 1.1
        for gate, block in zip(gates, above, strict=True):
            wanted = factor * ens.gate(gate).sigma_v
            assert np.std(block) * np.sqrt(inputs) == pytest.approx(wanted, rel=0.15, abs=1e-9)


def test_plan_for_another_module_is_refused():
    plan = rt.initialize("vanilla", 4)
    with pytest.raises(ValueError, match="this module computes"):
        rt.torch.initialize_(torch.nn.LSTM(3, 4), plan)
    plan = rt.initialize("lstm", 4, effort=replace(EFFORT, iterations=1, basins=1))
    with pytest.raises(ValueError, match="proj_size = 2"):
        rt.torch.initialize_(torch.nn.LSTM(3, 4, proj_size=2), plan)
    with pytest.raises(TypeError, match="or a plan"):
        rt.torch.initialize_(torch.nn.LSTM(3, 4), "lstm")


@pytest.mark.parametrize("cell", ["gru_reset_after", "lstm", "vanilla"])
def test_arrays_are_those_of_the_modules(cell):
    """PyTorch's own forward pass with `Plan.arrays` is the package's cell with the same matrices."""
    kind = {"gru_reset_after": torch.nn.GRU, "lstm": torch.nn.LSTM, "vanilla": torch.nn.RNN}[cell]
    order = {"gru_reset_after": "ruc", "lstm": "ifgo", "vanilla": "e"}[cell]
    laws = {"sigma_v": {"r": 1.0, "u": 1.0, "i": 1.0}} if cell == "gru_reset_after" else {"sigma_v": 0.7}
    ens = rt.Ensemble(cell, sigma_w=1.1, sigma_b=0.2, mu_b=0.3, **laws)
    arrays, x = draw_arrays(ens, "torch", 3, 6, 0), np.array([0.5, -1.0, 2.0])
    module = kind(3, 6).double()
    module.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
    out, _ = module(torch.from_numpy(np.tile(x, (2, 1, 1)).reshape(2, 1, 3)))
    part = {
        name: dict(zip(order, np.split(value, len(order)), strict=True)) for name, value in arrays.items()
    }
    state = np.zeros((len(ens.cell.state), 6))
    for _ in range(2):
        w = {g: part["weight_hh_l0"][g] @ state[-1] + part["bias_hh_l0"][g] for g in order}
        v = {g: part["weight_ih_l0"][g] @ x + part["bias_ih_l0"][g] for g in order}
        e = {g: w[g] + v[g] for g in order}
        if cell == "gru_reset_after":
            e |= {"c": w["c"], "i": v["c"]}
        e_all = np.array([e[g] for g in ens.cell.gates])
        state = ens.cell.numeric(np).stages[0].update(state, np.zeros(6), e_all)
    np.testing.assert_allclose(out[1, 0].detach().numpy(), state[-1], rtol=1e-10)
