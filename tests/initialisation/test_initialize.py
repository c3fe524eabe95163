"""Plans against closed forms, scans, chrono biases and χ = 1; arrays against plain forward passes."""

from dataclasses import replace

import numpy as np
import pytest
import sympy
from scipy.special import expit

import rmtrnn as rt
import rmtrnn.initialisation.layouts
from rmtrnn.initialisation.closed_form import chrono_bias, forgetting_rate
from rmtrnn.initialisation.layouts import framework_ensemble
from rmtrnn.initialisation.search import EFFORT, Problem, ladder
from rmtrnn.initialisation.space import build_space
from rmtrnn.initialisation.starts import grid
from rmtrnn.initialisation.time_scales import Copy, carrying_gates, writing_gates

WEAK = {"sigma_w": 0.01, "sigma_v": 0.0, "sigma_b": 0.0}


@pytest.mark.parametrize("T", [10, 40])
def test_one_weakly_recurrent_gate_forgets_at_the_chrono_rate(T):
    """1 − u = 1/(T + 1), μ_b = log T; the leaky unit of that rate is the best of its neighbours."""
    plan = rt.initialize("minimal", T, fix=WEAK)
    assert 1.0 - expit(plan.ensemble.mu_b) == pytest.approx(forgetting_rate(T), rel=0.01)
    assert plan.ensemble.mu_b == pytest.approx(chrono_bias(T), abs=0.01)
    rate = forgetting_rate(T)
    reached = [(1 - d) ** T * d for d in (0.9 * rate, rate, 1.1 * rate)]
    assert reached[1] == max(reached)


@pytest.mark.parametrize("T", [10, 100, 1000])
def test_orthogonal_vanilla_network_is_the_published_critical_point(T):
    plan = rt.initialize("vanilla", T, R=0.46)
    field = rt.mean_field(plan.ensemble.replace(tied=False))
    assert plan.method == "closed form" and plan.converged
    assert field.chi == pytest.approx(1.0, abs=1e-9)
    published = rt.critical("vanilla", T=T, R=0.46, q=field.q).ensemble
    assert plan.ensemble.sigma_w == pytest.approx(published.sigma_w, rel=1e-6)
    assert plan.ensemble.sigma_v == pytest.approx(published.sigma_v, rel=1e-6)
    assert plan.smallest == pytest.approx(plan.profile.smallest, rel=1e-6)
    assert 0.1 <= plan.typical < 0.2


def test_critical_vanilla_beats_its_neighbours():
    """At the same q, any other χ has a smaller sensitivity at lag 0 or T: a negative control."""
    space = build_space(rt.Ensemble("vanilla", weights="orthogonal", tied=True), 50, {}, {})
    problem, plan = Problem(space, 50, EFFORT), rt.initialize("vanilla", 50)
    q = rt.mean_field(plan.ensemble.replace(tied=False)).q
    for factor in (0.99, 1.005):
        gain = factor * plan.ensemble.sigma_w
        drive = q - gain**2 * (q - plan.ensemble.sigma_v**2) / plan.ensemble.sigma_w**2
        x = space.place(plan.ensemble.replace(sigma_w=gain, sigma_v=np.sqrt(drive)))
        assert np.exp(problem.terms(x[None]).log_input.min() / 2) < plan.smallest


def test_beats_chrono_and_critical_where_they_meet_the_limits():
    T, kept = 12, {"sigma_b": 0.0, "sigma_v": 0.6}
    base = rt.Ensemble("gru", weights="orthogonal", tied=True)
    space = build_space(base, T, kept, {})
    plan, problem = rt.initialize("gru", T, fix=kept), Problem(space, T, EFFORT)
    for means, gain in (({"u": np.log(T)}, 1.0), ({"u": np.log(T)}, 0.5), ({}, 1.8), ({"u": 1.0}, 1.5)):
        x = space.place(base.replace(mu_b=means, sigma_w=gain, sigma_v=0.6))
        terms = problem.terms(x[None])
        meets = np.all(terms.slack > 0.0)
        assert not meets or np.exp(terms.log_input.min() / 2) <= 1.001 * plan.smallest
    assert plan.ensemble.sigma_b == 0.0 and plan.ensemble.sigma_v == 0.6


def test_scan_finds_nothing_better():
    """Two free parameters, a grid of 400 points of the same problem."""
    kept = {"sigma_w": 1.0, "sigma_b": 0.0, "mu_b": {"c": 0.0}, "sigma_v": {"g": 0.5}}
    plan = rt.initialize("ugrnn", 12, fix=kept)
    space = build_space(rt.Ensemble("ugrnn", weights="orthogonal", tied=True), 12, kept, {})
    problem, axis = Problem(space, 12, EFFORT), np.linspace(0.0, 1.0, 20)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    merit = problem.terms(points).merit(EFFORT.penalty)
    assert np.exp(merit.max() / 2) <= 1.05 * plan.smallest and merit.min() < merit.max() - 1.0


@pytest.mark.parametrize("seed", range(4))
def test_any_fixed_parameters_have_an_answer(seed):
    rng = np.random.default_rng(seed)
    cell = ("minimal", "mingru", "leaky", "janet")[seed]
    gates = rt.Ensemble(cell).cell.gates
    ranges = {"mu_b": (-4.0, 4.0), "sigma_w": (0.05, 4.0), "sigma_v": (0.0, 2.0), "sigma_b": (0.0, 2.0)}
    fix = {
        name: {gate: float(rng.uniform(*ends)) for gate in gates if rng.random() < 0.5}
        for name, ends in ranges.items()
    }
    plan = rt.initialize(cell, 10, fix=fix)
    for name, by_gate in fix.items():
        for gate, value in by_gate.items():
            assert getattr(plan.ensemble.gate(gate), name) == value
    assert plan.status in (rt.Status.CONVERGED, rt.Status.MAX_ITERATIONS, rt.Status.NO_SOLUTION)
    assert plan.converged or "fix=" in plan.message or "effort=" in plan.message


def test_gaussian_weights_cannot_meet_the_band():
    """The typical singular value is e^{−T/2} there: an answer, and what limits it."""
    plan = rt.initialize("vanilla", 30, weights="gaussian")
    assert plan.status == rt.Status.NO_SOLUTION and "typical" in plan.message
    assert 0.7 * np.exp(-15.0) < plan.typical <= np.exp(-15.0) and plan.growth <= 1.01
    assert plan.smallest > 0.01, "inputs of 1e-4 would come nearer to the limit, by nothing"
    assert "rt.Leaky(delta=" in rt.initialize("leaky", 30, fix=WEAK | {"sigma_v": 0.5}).message


def test_is_deterministic_and_printed():
    first, second = (rt.initialize("minimal", 8, effort=replace(EFFORT, iterations=3)) for _ in range(2))
    assert first == second and "smallest sensitivity" in str(first) and "mu_b" in str(first)


@pytest.mark.sweep
def test_numbers_of_the_search_hardly_matter():
    """Each moved by ×3 and ÷3 changes the smallest sensitivity by less than 5 %."""
    kept = {"sigma_b": 0.0, "sigma_w": 0.5}
    reached = [
        rt.initialize("minimal", 10, fix=kept, effort=replace(EFFORT, **{name: value})).smallest
        for name, value in (
            ("step", 1e-3),
            ("step", 1e-4),
            ("width", 0.3),
            ("width", 0.03),
            ("penalty", 30.0),
        )
    ]
    base = rt.initialize("minimal", 10, fix=kept).smallest
    assert np.abs(np.array(reached) / base - 1.0).max() < 0.05


def test_gates_that_carry():
    expected = {
        "gru": ("u",),
        "lstm": ("f",),
        "minimal": ("e",),
        "mingru": ("z",),
        "janet": ("f",),
        "leaky": (),
    }
    for cell, gates in expected.items():
        assert carrying_gates(rt.Ensemble(cell).cell) == gates
    assert ladder(1000, 16, 3) == [12, 37, 111, 333, 1000]
    space = build_space(rt.Ensemble("gru", weights="orthogonal", tied=True), 10, {}, {})
    assert len(grid(space, 10)) == 9 and len(space.free) == 11


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"T": 0}, ValueError, "T = 0"),
        ({"T": 5, "N": 4}, ValueError, "N = 4"),
        ({"T": 5, "fix": {"sigma": 1.0}}, ValueError, "unknown parameters"),
        ({"T": 5, "fix": {"mu_b": {"z": 1.0}}}, ValueError, "unknown gates"),
        ({"T": 5, "fix": {"sigma_w": -1.0}}, ValueError, "sigma_w"),
        ({"T": 5, "bounds": {"sigma_w": 3.0}}, TypeError, "pair"),
        ({"T": 5, "bounds": {"mu_b": (2.0, 1.0)}}, ValueError, "mu_b"),
        ({"T": 5, "bias": 1.0, "fix": {"mu_b": 1.0}}, ValueError, "bias"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        rt.initialize("gru", **arguments)


def step(kind, layout, p, h, x, c=None):
    """One step by the documentation of each framework, in plain NumPy."""
    tanh = np.tanh
    if layout == "torch":
        i, w = p["weight_ih_l0"] @ x + p["bias_ih_l0"], p["weight_hh_l0"] @ h + p["bias_hh_l0"]
    elif layout == "keras":
        bias = p["bias"] if kind == "gru" else np.array([p["bias"], 0.0 * p["bias"]])
        i, w = x @ p["kernel"] + bias[0], h @ p["recurrent_kernel"] + bias[1]
    else:
        names = {"rnn": [""], "gru": ["r", "z", "n"], "lstm": ["i", "f", "g", "o"]}[kind]
        zero = np.zeros(h.size)
        i = np.concatenate([x @ p[f"i{one}.kernel"] + p.get(f"i{one}.bias", zero) for one in names])
        w = np.concatenate([h @ p[f"h{one}.kernel"] + p.get(f"h{one}.bias", zero) for one in names])
    if kind == "rnn":
        return tanh(i + w)
    i, w = (np.split(part, {"gru": 3, "lstm": 4}[kind]) for part in (i, w))
    if kind == "gru":
        r, z = (1, 0) if layout == "keras" else (0, 1)
        keep = expit(i[z] + w[z])
        return keep * h + (1.0 - keep) * tanh(i[2] + expit(i[r] + w[r]) * w[2])
    c = expit(i[1] + w[1]) * c + expit(i[0] + w[0]) * tanh(i[2] + w[2])
    return expit(i[3] + w[3]) * tanh(c)


@pytest.mark.parametrize("layout", ["torch", "keras", "flax"])
@pytest.mark.parametrize("cell", ["vanilla", "gru", "lstm"])
def test_arrays_are_the_cell(layout, cell):
    """Every framework's step is the package's own step with the same matrices; swapped gates differ."""
    ens = framework_ensemble(rt.Ensemble(cell, sigma_w=1.2, sigma_v=0.8, mu_b=0.5, sigma_b=0.3))
    kind = {"vanilla": "rnn"}.get(cell, cell)
    n, N = 5, 12
    drawn = rt.initialisation.layouts.draw_arrays(ens, "torch", n, N, 3)
    given = rt.initialisation.layouts.draw_arrays(ens, layout, n, N, 3)
    h, c, x = np.random.default_rng(0).standard_normal((3, N))
    x = x[:n]
    order = {"rnn": "e", "gru": "ruc", "lstm": "ifgo"}[kind]
    V, W = (np.split(drawn[name], len(order)) for name in ("weight_ih_l0", "weight_hh_l0"))
    b, own = (np.split(drawn[name], len(order)) for name in ("bias_ih_l0", "bias_hh_l0"))
    e = {g: W[k] @ h + V[k] @ x + b[k] + own[k] for k, g in enumerate(order)}
    if kind == "gru":
        e |= {"c": W[2] @ h + own[2], "i": V[2] @ x + b[2]}
    state = np.array([c, h]) if kind == "lstm" else h[None]
    stage = ens.cell.numeric(np).stages[0]
    wanted = stage.update(state, np.zeros(N), np.array([e[g] for g in ens.cell.gates]))[-1]
    np.testing.assert_allclose(step(kind, layout, given, h, x, c), wanted, rtol=1e-12)
    if kind == "gru" and layout != "flax":
        swapped = {
            name: np.roll(value, N, axis=-1 if layout == "keras" else 0) for name, value in given.items()
        }
        assert not np.allclose(step(kind, layout, swapped, h, x, c), wanted, atol=1e-3)
    scale = np.std(np.concatenate([part.ravel() for part in V])) * np.sqrt(n)
    assert scale == pytest.approx(0.8, rel=0.25)


@pytest.mark.parametrize(
    ("cell", "writing"),
    [("lstm", {"i": "-f"}), ("gru", {}), ("cfn", {"i": "-t"}), ("minlstm", {}), ("vanilla", {})],
)
def test_two_time_scales(cell, writing):
    """A quarter of the units has the bias 0; what writes has minus the bias of what keeps; unless fixed."""
    base = rt.Ensemble(cell, weights="orthogonal", tied=True)
    space, keeping = build_space(base, 12, {}, {}), carrying_gates(base.cell)
    x = np.linspace(0.2, 0.9, len(space.free))
    ens = space.ensemble(x)
    np.testing.assert_allclose(space.place(ens), x, atol=1e-9)
    laws = {gate: ens.gate(gate).bias_law for gate in base.cell.gates}
    for gate in keeping:
        values, masses = laws[gate].values, laws[gate].masses
        assert 0.0 in values and masses[values.index(0.0)] == 0.25 and max(map(abs, values)) > 0.1
    assert {gate: law.argument() for gate, law in laws.items() if law.source} == writing
    one = build_space(base, 12, {}, {"fast": 0.0})
    assert one.split == () and one.copies == space.copies
    # a bias that is drawn at every step is no time scale
    drawn = build_space(base.replace(tied=False), 12, {}, {})
    assert drawn.split == () and not drawn.copies
    for gate in keeping:
        fixed = build_space(base, 12, {"mu_b": {gate: 2.0}}, {})
        found = fixed.ensemble(np.full(len(fixed.free), 0.5)).gate(gate)
        assert fixed.split == () and found.mu_b == 2.0 and found.bias_law.kind == "normal"
    for gate in writing:
        freed = build_space(base, 12, {}, {"mu_b": {gate: (-1.0, 1.0)}})
        assert not freed.copies and freed.split == keeping


def test_fast_units_answer_and_slow_ones_remember():
    """Without weights: I_0 and I_T are means over the two classes, and the slow one sets the limit of s."""
    T, fix = 30, {"sigma_w": 0.01, "sigma_v": 0.0}
    plan = rt.initialize("minimal", T, fix=fix)
    (zero, slow), masses = plan.ensemble.gate("e").bias_law.values, (0.25, 0.75)
    assert zero == 0.0 and slow == pytest.approx(chrono_bias(T), abs=0.02)
    kept = expit(np.array([zero, slow]))
    for lag in (0, T):
        wanted = np.dot(masses, (kept**lag * (1.0 - kept)) ** 2)
        error = plan.profile.input.error[lag]
        assert abs(plan.profile.input.mean_square[lag] - wanted) < error < 0.3 * wanted
    assert plan.typical == pytest.approx(kept[1] ** T, rel=0.02)
    alone = rt.initialize("minimal", T, fix=fix, bounds={"fast": 0.0})
    assert alone.profile.input.mean_square[0] < 0.1 * plan.profile.input.mean_square[0]
    drawn = rt.initialize("minimal", 4, tied=False).ensemble  # a bias drawn at every step is no time scale
    assert drawn.has_normal_biases


@pytest.mark.parametrize("cell", ["gru", pytest.param("lstm", marks=pytest.mark.sweep)])
@pytest.mark.parametrize("layout", ["torch", "keras", "flax"])
def test_arrays_have_both_time_scales(cell, layout):
    """The biases of an array are those of the law, at the same units for the gates that go together."""
    plan, N = rt.initialize(cell, 10), 400
    arrays = plan.arrays(layout, input_size=3, hidden_size=N, rng=0)
    gate = {"gru": "u", "lstm": "f"}[cell]
    values = plan.ensemble.gate(gate).bias_law.values
    if layout == "flax":
        kept = arrays[{"gru": "iz.bias", "lstm": "hf.bias"}[cell]]
        writes = arrays.get("hi.bias")
    else:
        bias = arrays["bias_ih_l0" if layout == "torch" else "bias"].reshape(-1, N)
        kept, writes = bias[0 if (cell, layout) == ("gru", "keras") else 1], bias[0]
    assert set(kept) == set(values) and np.mean(kept == 0.0) == pytest.approx(0.25, abs=0.1)
    if cell == "lstm":
        np.testing.assert_array_equal(writes, -kept)


def test_cells_that_frameworks_do_not_have():
    with pytest.raises(ValueError, match="minimal"):
        rt.initialisation.layouts.draw_arrays(rt.Ensemble("minimal"), "torch", 3, 4, 0)
    plan = rt.initialize("vanilla", 5)
    assert plan.arrays(input_size=3, hidden_size=4, rng=0)["weight_ih_l0"].shape == (4, 3)
    with pytest.raises(ValueError, match="layout = 'jax'"):
        plan.arrays("jax", input_size=3, hidden_size=4)


@pytest.mark.sweep
@pytest.mark.parametrize("T", [10, 100, 1000])
@pytest.mark.parametrize("cell", rt.cells.LIBRARY)
def test_every_library_cell(cell, T):
    plan = rt.initialize(cell, T)
    assert np.isfinite(plan.smallest) and plan.smallest > 0.0 and plan.message


def test_writing_gates_of_a_cell_of_ones_own():
    """A gate that forgets, 1 − f kept, and one that writes: the same bias; an odd factor is no gate."""
    h, x, f, i, g = sympy.symbols("h x f i g")
    share, writes = 1 / (1 + sympy.exp(-f)), 1 / (1 + sympy.exp(-i))
    cell = rt.Cell(
        "forgetting",
        state=h,
        input=x,
        gates={f: h, i: h, g: h},
        update={h: (1 - share) * h + writes * sympy.tanh(g)},
    )
    assert carrying_gates(cell) == ("f",)
    assert writing_gates(cell) == {"i": Copy("f", 1.0)}
    plan = rt.initialize(cell, 6)
    assert plan.ensemble.gate("i").bias_law.argument() == "f"
    assert min(plan.ensemble.gate("f").bias_law.values) < -0.5
