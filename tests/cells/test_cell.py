"""Cells: equations, Jacobian form (theory.md (1)), callables, user cells, refusals."""

import json
import pickle

import mpmath
import numpy as np
import pytest
import sympy

import rmtrnn as rt
from rmtrnn.cells import logistic

H, X, E, G = sympy.symbols("h x e g")
LEAKY = rt.Cell("leaky", state=H, input=X, gates={E: H}, update={H: 0.75 * H + 0.25 * sympy.tanh(E)})
CUBIC_READ = rt.Cell(
    "cubic",
    state=[H, G],
    input=X,
    gates={"e": H**3 / 10, "k": H * G},
    update={G: sympy.tanh(E) * G, H: sympy.erf(sympy.Symbol("k")) + X * sympy.exp(-(G**2))},
)
CELLS = {
    "vanilla": rt.VanillaRNN(),
    "vanilla_relu": rt.VanillaRNN("relu"),
    "vanilla_gelu": rt.VanillaRNN("gelu"),
    "vanilla_user": rt.VanillaRNN(sympy.sin(X) + X / 2),
    "minimal": rt.MinimalRNN(),
    "gru": rt.GRU(),
    "gru_reset_after": rt.GRU(reset_after=True),
    "lstm": rt.LSTM(),
    "lstm_peephole": rt.LSTM(peephole=True),
    "leaky": LEAKY,
    "cubic": CUBIC_READ,
}


def sigma(z):
    return 1 / (1 + mpmath.exp(-z))


def textbook_step(name, state, x, e):
    """One step at one site, written by hand; ``e`` maps gates to pre-activations."""
    if name == "vanilla":
        return [mpmath.tanh(e["e"])]
    if name == "minimal":
        u = sigma(e["e"])
        return [u * state[0] + (1 - u) * x]
    if name == "gru":
        u = sigma(e["u"])
        return [u * state[0] + (1 - u) * mpmath.tanh(e["c"])]
    if name == "gru_reset_after":
        u = sigma(e["u"])
        return [u * state[0] + (1 - u) * mpmath.tanh(e["i"] + sigma(e["r"]) * e["c"])]
    if name in ("lstm", "lstm_peephole"):
        memory = sigma(e["f"]) * state[0] + sigma(e["i"]) * mpmath.tanh(e["g"])
        return [memory, sigma(e["o"]) * mpmath.tanh(memory)]
    raise KeyError(name)


def random_site(cell, stage, generator, shape=()):
    site = generator.normal(size=(len(stage.inputs), *shape))
    x = generator.normal(size=shape)
    e = 2 * generator.normal(size=(len(stage.gates), *shape))
    return site, x, e


@pytest.mark.parametrize("name", ["vanilla", "minimal", "gru", "gru_reset_after", "lstm", "lstm_peephole"])
def test_update_is_the_textbook_cell(name):
    cell = CELLS[name]
    generator = np.random.default_rng(1)
    with mpmath.workdps(30):
        for _ in range(5):
            state = [mpmath.mpf(value) for value in generator.normal(size=len(cell.state))]
            x = mpmath.mpf(generator.normal())
            e = {gate: mpmath.mpf(2 * generator.normal()) for gate in cell.gates}
            site = state
            for stage, numeric in zip(cell.stages, cell.numeric(mpmath).stages, strict=True):
                site = numeric.update(site, x, [e[gate.name] for gate in stage.gates])
            for ours, expected in zip(site, textbook_step(name, state, x, e), strict=True):
                assert mpmath.almosteq(ours, expected, rel_eps=mpmath.mpf("1e-28"))


def test_what_the_gates_read():
    gru = rt.GRU()
    h, v = sympy.Symbol("h", real=True), sympy.Symbol("v", real=True)
    assert [gate.reads for stage in gru.stages for gate in stage.gates] == [h, h, v]
    first, second = gru.stages
    assert first.outputs == second.inputs and str(first.outputs) == "(h, v, u)"
    assert first.update[1] == logistic(first.gates[0].symbol) * h
    assert [str(gate.reads) for gate in rt.LSTM().stages[0].gates] == ["h"] * 4
    assert [str(gate.reads) for gate in rt.LSTM(peephole=True).stages[0].gates] == ["c"] * 4
    assert [str(gate.reads) for gate in rt.GRU(reset_after=True).stages[0].gates] == ["h", "h", "h", "0"]
    assert rt.LSTM().gates == ("f", "i", "o", "g") and rt.GRU().gates == ("r", "u", "c")
    assert rt.MinimalRNN().gates == rt.VanillaRNN().gates == ("e",)
    assert [cell.name for cell in (rt.VanillaRNN(), rt.MinimalRNN(), rt.GRU(), rt.LSTM())] == [
        "vanilla",
        "minimal",
        "gru",
        "lstm",
    ]
    assert str(rt.LSTM().state) == "(c, h)"


@pytest.mark.equation(1)
def test_jacobian_form_of_minimal_and_vanilla_is_that_of_the_theory():
    """theory.md (1): vanilla a = 0, b = φ'(e), c = 1; minimalRNN a = u, b = u'(h - x), c = 1."""
    (stage,) = rt.VanillaRNN().stages
    assert stage.a[0, 0] == 0 and stage.c[0, 0] == 1
    assert stage.b[0, 0].rewrite(sympy.tanh) == 1 - sympy.tanh(stage.gates[0].symbol) ** 2
    (stage,) = rt.MinimalRNN().stages
    e, h, x = stage.gates[0].symbol, stage.inputs[0], rt.MinimalRNN().input
    assert stage.a[0, 0] == logistic(e) and stage.c[0, 0] == 1
    assert sympy.expand(stage.b[0, 0] - logistic(e) * logistic(-e) * (h - x)) == 0


def partial_derivatives(function, point, count):
    """∂f_i/∂p_j by numerical differentiation in the precision in force."""
    units = [tuple(int(j == column) for j in range(len(point))) for column in range(len(point))]
    return [
        [mpmath.diff(lambda *p, i=i: function(*p)[i], tuple(point), unit) for unit in units]
        for i in range(count)
    ]


def assert_close(ours, expected):
    for value, truth in zip(ours, expected, strict=True):
        assert mpmath.almosteq(value, truth, rel_eps=mpmath.mpf("1e-14"), abs_eps=mpmath.mpf("1e-14"))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.equation(1)
def test_linearize_against_differences_of_update_and_read(name):
    cell = CELLS[name]
    generator = np.random.default_rng(2)
    with mpmath.workdps(30):
        for stage, numeric in zip(cell.stages, cell.numeric(mpmath).stages, strict=True):
            parts = random_site(cell, stage, generator)
            site, x, e = ([*map(mpmath.mpf, np.atleast_1d(part))] for part in parts)
            s_in = len(site)

            def update(*point, numeric=numeric, s_in=s_in):
                return numeric.update(point[:s_in], point[s_in], point[s_in + 1 :])

            def read(*point, numeric=numeric):
                return numeric.read(point)

            a, b, c = numeric.linearize(site, x[0], e)
            by_update = partial_derivatives(update, [*site, *x, *e], len(stage.outputs))
            by_read = partial_derivatives(read, site, len(stage.gates))
            for i, row in enumerate(by_update):
                assert_close(a[i], row[:s_in])
                assert_close([b[k][i] for k in range(len(e))], row[s_in + 1 :])
            for k, row in enumerate(by_read):
                assert_close(c[k], row)


@pytest.mark.parametrize("name", CELLS)
def test_numpy_agrees_with_mpmath(name):
    cell = CELLS[name]
    generator = np.random.default_rng(3)
    for stage, ours, exact in zip(
        cell.stages, cell.numeric(np).stages, cell.numeric(mpmath).stages, strict=True
    ):
        site, x, e = random_site(cell, stage, generator, (20,))
        a, b, c = ours.linearize(site, x, e)
        read, update = ours.read(site), ours.update(site, x, e)
        for n in range(20):
            with mpmath.workdps(30):
                arguments = site[:, n], x[n], e[:, n]
                expected = [exact.read(site[:, n]), exact.update(*arguments), *exact.linearize(*arguments)]
            for value, truth in zip((read, update, a, b, c), expected, strict=True):
                # Terms of either sign of order one to ten are added: absolute, a few ulp of those.
                np.testing.assert_allclose(
                    value[..., n], np.array(truth, dtype=float), rtol=2e-15, atol=2e-15
                )


def network_step(cell, weights, offsets, x, state):
    """One step of an N-unit network; ``state`` has shape (s, N)."""
    site = state
    for stage, numeric in zip(cell.stages, cell.numeric(np).stages, strict=True):
        read = numeric.read(site)
        e = np.stack([weights[g.name] @ read[k] + offsets[g.name] for k, g in enumerate(stage.gates)])
        site = numeric.update(site, x, e)
    return site


def network_jacobian(cell, weights, offsets, x, state):
    """The same step's Jacobian as the product of a + Σ_k b_k ⊗ W_k ⊗ c_k over the stages; theory.md (1)."""
    n, site = state.shape[1], state
    jacobian = np.eye(state.size)
    for stage, numeric in zip(cell.stages, cell.numeric(np).stages, strict=True):
        read = numeric.read(site)
        e = np.stack([weights[g.name] @ read[k] + offsets[g.name] for k, g in enumerate(stage.gates)])
        a, b, c = numeric.linearize(site, x, e)
        block = np.einsum("ijn,nm->injm", a, np.eye(n))
        for k, gate in enumerate(stage.gates):
            block += np.einsum("in,nm,jm->injm", b[k], weights[gate.name], c[k])
        jacobian = block.reshape(len(stage.outputs) * n, len(stage.inputs) * n) @ jacobian
        site = numeric.update(site, x, e)
    return jacobian


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.equation(1)
def test_network_jacobian_is_the_derivative_of_the_network(name):
    cell = CELLS[name]
    generator = np.random.default_rng(4)
    n, s = 7, len(cell.state)
    weights = {gate: generator.normal(size=(n, n)) / np.sqrt(n) for gate in cell.gates}
    offsets = {gate: generator.normal(size=n) for gate in cell.gates}
    x, state = generator.normal(size=n), generator.normal(size=(s, n))
    jacobian = network_jacobian(cell, weights, offsets, x, state)
    step = 1e-5
    differences = np.empty_like(jacobian)
    for column in range(s * n):
        shift = np.zeros(s * n)
        shift[column] = step
        ahead, behind = (
            network_step(cell, weights, offsets, x, state + sign * shift.reshape(s, n)).ravel()
            for sign in (1, -1)
        )
        differences[:, column] = (ahead - behind) / (2 * step)
    # Central differences: step² from the formula, eps/step from rounding.
    np.testing.assert_allclose(jacobian, differences, rtol=0, atol=1e-8)
    # Negative control: leaving out what the gates carry is seen.
    without = network_jacobian(cell, {gate: 0 * w for gate, w in weights.items()}, offsets, x, state)
    assert np.max(np.abs(without - differences)) > 1e-2


@pytest.mark.parametrize("name", CELLS)
def test_far_tails_are_finite_and_quiet(name):
    cell = CELLS[name]
    e = np.array([-800.0, -40.0, 0.0, 40.0, 800.0])
    for stage, numeric in zip(cell.stages, cell.numeric(np).stages, strict=True):
        site = np.linspace(-1.0, 1.0, e.size) * np.ones((len(stage.inputs), 1))
        all_e = np.tile(e, (len(stage.gates), 1))
        for part in (site, all_e):
            part.setflags(write=False)
        with np.errstate(over="raise", divide="raise", invalid="raise", under="ignore"):
            parts = numeric.read(site), numeric.update(site, 0.5, all_e), *numeric.linearize(site, 0.5, all_e)
        assert all(np.all(np.isfinite(part)) for part in parts)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (4,), (3, 4), (0,)])
@pytest.mark.parametrize("name", CELLS)
def test_shapes_components_first_sites_last(name, shape, dtype):
    cell = CELLS[name]
    generator = np.random.default_rng(5)
    assert len(cell.numeric(np).stages) == len(cell.stages)
    for stage, numeric in zip(cell.stages, cell.numeric(np).stages, strict=True):
        site, x, e = (np.asarray(part, dtype=dtype) for part in random_site(cell, stage, generator, shape))
        s_in, s_out, gates = len(stage.inputs), len(stage.outputs), len(stage.gates)
        a, b, c = numeric.linearize(site, x, e)
        results = {
            (gates, *shape): numeric.read(site),
            (s_out, *shape): numeric.update(site, x, e),
            (s_out, s_in, *shape): a,
            (gates, s_out, *shape): b,
            (gates, s_in, *shape): c,
        }
        assert a.shape == (s_out, s_in, *shape) and b.shape == (gates, s_out, *shape)
        assert c.shape == (gates, s_in, *shape) and numeric.read(site).shape == (gates, *shape)
        assert all(part.dtype == dtype and part.shape == key for key, part in results.items())
        assert stage.a.shape == (s_out, s_in) and stage.b.shape == (gates, s_out)
        assert stage.c.shape == (gates, s_in)


def test_arguments_broadcast_over_sites():
    numeric = rt.MinimalRNN().numeric(np).stages[0]
    site, e = np.ones((1, 3, 1)), np.zeros((1, 5))
    update = numeric.update(site, 2.0, e)
    assert update.shape == (1, 3, 5) and np.all(update == 1.5)
    a, b, c = numeric.linearize(site, 2.0, e)
    assert a.shape == b.shape == c.shape == (1, 1, 3, 5)
    assert np.all(a == 0.5) and np.all(b == -0.25) and np.all(c == 1.0)


def test_wrong_number_of_components_is_refused():
    numeric = rt.LSTM().numeric(np).stages[0]
    with pytest.raises(ValueError, match="site: must have 2 components first, has 1"):
        numeric.update(np.zeros((1, 3)), np.zeros(3), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="e: must have 4 components first, has 3"):
        numeric.linearize(np.zeros((2, 3)), np.zeros(3), np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"site = 1\.0: must have 2 components"):
        numeric.read(1.0)
    with pytest.raises(TypeError, match="expected the module numpy, cupy or mpmath"):
        rt.LSTM().numeric("numpy")


def test_callables_are_cached_by_equations():
    assert rt.GRU().numeric(np) is rt.GRU().numeric(np)
    assert rt.GRU().numeric(np) is not rt.GRU().numeric(mpmath)


@pytest.mark.parametrize("name", CELLS)
def test_round_trips(name):
    cell = CELLS[name]
    record = json.loads(json.dumps(cell.to_dict()))
    for copy in (rt.Cell.from_dict(record), pickle.loads(pickle.dumps(cell)), eval(repr(cell))):
        assert copy == cell and hash(copy) == hash(cell)
        assert type(copy) is type(cell) and copy.name == cell.name
        assert copy.to_dict() == cell.to_dict()
    assert cell.name in str(cell) and "←" in str(cell)


def test_equality_is_by_equations():
    e = sympy.Symbol("e", real=True)
    same = rt.Cell("other name", state=H, input=X, gates={E: H}, update=sympy.tanh(e))
    assert same == rt.VanillaRNN() and hash(same) == hash(rt.VanillaRNN())
    assert rt.VanillaRNN("erf") != rt.VanillaRNN("tanh")
    assert rt.LSTM(peephole=True) != rt.LSTM() and rt.GRU(True) != rt.GRU()
    assert LEAKY != "leaky"
    assert len({*CELLS.values()}) == len(CELLS)
    distinct = [rt.VanillaRNN(rt.Activation(sympy.Max(X, 0), kinks=kinks)) for kinks in ([], [0.5])]
    assert distinct[0] != distinct[1]


def test_cells_are_frozen():
    with pytest.raises(AttributeError, match="frozen"):
        LEAKY.name = "x"
    with pytest.raises(AttributeError, match="frozen"):
        del LEAKY.state
    with pytest.raises(AttributeError):
        LEAKY.stages[0].update = ()


def test_the_ways_to_write_a_cell_are_one():
    gate = rt.Gate("e", E, H)
    update = 0.75 * H + 0.25 * sympy.tanh(E)
    for gates in ({E: H}, {"e": H}, [gate], (gate,)):
        for new in ({H: update}, [update], (update,), update):
            assert rt.Cell("leaky", state=H, input=X, gates=gates, update=new) == LEAKY
    assert rt.Cell("leaky", state=[H], input=X, stages=[rt.Stage(H, H, {E: H}, update)]) == LEAKY


def test_a_cell_with_a_constant_update_runs():
    cell = rt.Cell("constant", state=H, input=X, gates={E: 0}, update={H: 2})
    numeric = cell.numeric(np).stages[0]
    assert np.all(numeric.update(np.zeros((1, 3)), np.zeros(3), np.zeros((1, 3))) == 2)
    assert np.all(numeric.read(np.zeros((1, 3))) == 0)


def stage(**changes):
    return rt.Stage(**{"inputs": H, "outputs": H, "gates": {E: H}, "update": sympy.tanh(E), **changes})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"state": "h"}, TypeError, "state = 'h': expected a SymPy symbol"),
        ({"state": []}, TypeError, "non-empty sequence"),
        ({"state": [H, H]}, ValueError, r"state: \['h'\] appear more than once"),
        ({"input": "x"}, TypeError, "input = 'x': expected a SymPy symbol"),
        ({"input": H}, ValueError, r"\['h'\] appear more than once"),
        ({"name": ""}, TypeError, "name = ''"),
        ({"gates": None}, TypeError, "give gates= and update=, or stages="),
        ({"gates": [E]}, TypeError, "expected a mapping"),
        ({"gates": {3: H}}, TypeError, "neither a name nor a symbol"),
        ({"gates": {"2e": H}}, ValueError, "gate name = '2e'"),
        ({"gates": {E: "h"}}, TypeError, "reads of gate 'e' = 'h': expected a SymPy expression"),
        ({"gates": {E: X}}, ValueError, r"reads of gate 'e' = x: has the unknown symbols \['x'\]"),
        ({"gates": {H: H}}, ValueError, r"stage symbols: \['h'\] appear more than once"),
        ({"gates": {E: sympy.sqrt(H)}}, ValueError, "reads of gate 'e' .* must be real and finite"),
        ({"update": {G: E}}, ValueError, r"has expressions for \['g'\], must have them for \['h'\]"),
        ({"update": [E, E]}, ValueError, "one expression for each of"),
        ({"update": "tanh(e)"}, ValueError, "one expression for each of"),
        ({"update": {H: "tanh(e)"}}, TypeError, "update of h = 'tanh\\(e\\)': expected a SymPy expression"),
        ({"update": {H: sympy.Symbol("d") * E}}, ValueError, r"unknown symbols \['d'\].*must be numbers"),
        (
            {"update": {H: sympy.sqrt(E)}},
            ValueError,
            "update of h in cell 'leaky' .* must be real and finite",
        ),
        ({"update": {H: sympy.I * E}}, ValueError, "ImaginaryUnit is not a function that a cell may use"),
        ({"update": {H: sympy.Function("f")(E)}}, ValueError, "f is not a function that a cell may use"),
        ({"update": {H: sympy.zoo}}, ValueError, "ComplexInfinity is not a function"),
        ({"stages": [stage()]}, TypeError, "not both"),
        ({"gates": None, "update": None, "stages": []}, TypeError, "non-empty sequence of Stage"),
        (
            {"gates": None, "update": None, "stages": [stage(inputs=G, gates={E: G})]},
            ValueError,
            "must be \\(h,\\)",
        ),
        (
            {"gates": None, "update": None, "stages": [stage(outputs=G)]},
            ValueError,
            "must be the state \\(h,\\)",
        ),
        ({"gates": None, "update": None, "stages": [stage(), stage()]}, ValueError, "gate names: \\['e'\\]"),
    ],
)
def test_refusals(changes, error, message):
    arguments = {"name": "leaky", "state": H, "input": X, "gates": {E: H}, "update": {H: sympy.tanh(E)}}
    with pytest.raises(error, match=message):
        rt.Cell(**{**arguments, **changes})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "expected a mapping"),
        ({"name": "a"}, "must be a mapping with the keys"),
        ({"library": "rnn"}, "library = 'rnn': must be one of"),
        (
            {"library": "gru", "options": {"peephole": True}},
            r"\['peephole'\] are not options of the cell 'gru'",
        ),
        ({"name": "a", "state": [""], "input": "x", "stages": []}, "not the name of a symbol"),
        ({"name": "a", "state": ["h"], "input": "x", "stages": [3]}, "stage record = 3"),
    ],
)
def test_malformed_records(record, message):
    with pytest.raises(ValueError, match=message):
        rt.Cell.from_dict(record)


def test_options_are_checked():
    with pytest.raises(TypeError, match="peephole = 1: expected True or False"):
        rt.LSTM(peephole=1)
    with pytest.raises(TypeError, match="reset_after = 'yes'"):
        rt.GRU(reset_after="yes")
