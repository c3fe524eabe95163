"""Ensemble: parameters by gate, laws of the inputs, round trips, refusals."""

import json
import math
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
import sympy

import rmtrnn as rt
from rmtrnn.ensemble import GateParameters
from rmtrnn.entry_laws import InputLaw

H, X, E = sympy.symbols("h x e")
LEAKY = rt.Cell("leaky", state=H, input=X, gates={E: H}, update={H: 0.75 * H + 0.25 * sympy.tanh(E)})
DIE = [1, 2, 3, 4, 5, 6], [1] * 6
BIASED = [-1.0, 0.0, 3.0], [0.5, 0.3, 0.2]
ENSEMBLES = [
    rt.Ensemble("vanilla"),
    rt.Ensemble("vanilla", 1.05, sigma_b=0.05),
    rt.Ensemble(
        "minimal",
        sigma_w=3.0,
        sigma_v=1.2,
        mu_b=2.0,
        sigma_b=0.0,
        R=0.46,
        Sigma=0.0,
        weights="orthogonal",
        tied=False,
        input_law="gaussian",
    ),
    rt.Ensemble(
        "gru", sigma_w={"r": 1, "u": 2, "c": 3}, weights={"r": "gaussian", "u": "orthogonal", "c": "gaussian"}
    ),
    rt.Ensemble("lstm", mu_b={"f": 1.0, "i": 0.0, "o": 0.0, "g": 0.0}, tied=True, R=0.0, Sigma=-0.5),
    rt.Ensemble(rt.LSTM(peephole=True), input_law="rademacher"),
    rt.Ensemble(rt.GRU(reset_after=True), sigma_v={"r": 1, "u": 1, "c": 0, "i": 1}),
    rt.Ensemble(rt.VanillaRNN("hard_tanh"), input_law=DIE),
    rt.Ensemble(rt.VanillaRNN(sympy.sin(X)), input_law=BIASED),
    rt.Ensemble(LEAKY, input_law="uniform"),
]
LAWS = ["gaussian", "rademacher", "uniform", DIE, BIASED]


def test_numbers_and_mappings_are_read_by_gate():
    ens = ENSEMBLES[3]
    assert ens.gate("u") == GateParameters(2.0, 0.0, 0.0, 0.0, "orthogonal")
    assert ens.gate("c") == GateParameters(3.0, 0.0, 0.0, 0.0, "gaussian")
    assert dict(ens.sigma_w) == {"r": 1.0, "u": 2.0, "c": 3.0} and ens.sigma_v == 0.0
    minimal = ENSEMBLES[2]
    assert minimal.gate("e") == GateParameters(3.0, 1.2, 2.0, 0.0, "orthogonal")
    assert (minimal.R, minimal.Sigma, minimal.tied, minimal.weights) == (0.46, 0.0, False, "orthogonal")
    assert minimal.cell == rt.MinimalRNN()
    with pytest.raises(ValueError, match="gate = 'z': must be one of"):
        ens.gate("z")


def test_defaults():
    ens = rt.Ensemble("minimal")
    assert (ens.sigma_w, ens.sigma_v, ens.mu_b, ens.sigma_b) == (1.0, 0.0, 0.0, 0.0)
    assert (ens.R, ens.Sigma, ens.weights, ens.tied) == (1.0, 0.0, "gaussian", False)
    assert ens.input_law == InputLaw("gaussian")
    assert rt.Ensemble("vanilla").cell == rt.VanillaRNN("tanh")


@pytest.mark.parametrize("ens", ENSEMBLES, ids=str)
def test_round_trips(ens):
    record = json.loads(json.dumps(ens.to_dict()))
    for copy in (
        rt.Ensemble.from_dict(record),
        pickle.loads(pickle.dumps(ens)),
        eval(repr(ens)),
        ens.replace(),
    ):
        assert copy == ens and hash(copy) == hash(ens) and repr(copy) == repr(ens)
        assert copy.to_dict() == ens.to_dict()
        assert [copy.gate(name) for name in copy.cell.gates] == [ens.gate(name) for name in ens.cell.gates]


def test_repr_is_short_and_exact():
    assert repr(ENSEMBLES[2]) == (
        "rt.Ensemble('minimal', sigma_w=3.0, sigma_v=1.2, mu_b=2.0, R=0.46, weights='orthogonal')"
    )
    assert repr(rt.Ensemble("vanilla")) == "rt.Ensemble('vanilla')"
    assert repr(rt.Ensemble(rt.VanillaRNN("erf"), 0.1 + 0.2)) == (
        "rt.Ensemble(rt.VanillaRNN(activation='erf'), sigma_w=0.30000000000000004)"
    )
    assert "input_law=((-1.0, 0.0, 3.0), (0.5, 0.3, 0.2))" in repr(ENSEMBLES[8])


def test_equality():
    assert len(set(ENSEMBLES)) == len(ENSEMBLES)
    same = rt.Ensemble("gru", sigma_w={"c": 2, "r": 2, "u": 2})
    assert same == rt.Ensemble("gru", sigma_w=2) and hash(same) == hash(rt.Ensemble(rt.GRU(), 2.0))
    assert rt.Ensemble("gru") != "gru"
    base = ENSEMBLES[2]
    changes = [
        {"sigma_w": 3.1}, {"sigma_v": 0.0}, {"mu_b": 4.0}, {"sigma_b": 0.1}, {"R": 0.4}, {"Sigma": 0.1},
        {"weights": "gaussian"}, {"tied": True}, {"input_law": "uniform"}, {"cell": "vanilla"},
    ]  # fmt: skip
    for change in changes:
        assert base.replace(**change) != base
    assert base.mu_b == 2.0


def test_input_law_is_normalised_and_merged():
    law = rt.Ensemble("minimal", input_law=([1, -1, 1], [1, 2, 1])).input_law
    assert law == InputLaw("discrete", (-1.0, 1.0), (0.5, 0.5)) and law.is_symmetric
    assert not rt.Ensemble("minimal", input_law=DIE).input_law.is_symmetric
    assert rt.Ensemble(
        "minimal", input_law=(np.array([1.0, 2.0]), np.array([0.5, 0.5]))
    ).input_law == InputLaw("discrete", (1.0, 2.0), (1, 1))


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_input_moments_against_closed_forms_and_draws(law):
    ens = rt.Ensemble("minimal", R=0.46, input_law=law)
    assert ens.input_moment(0) == 1.0 and math.isclose(ens.input_moment(2), 0.46, rel_tol=1e-15)
    draws = ens.sample_input(7, 400_000)
    for k in (1, 2, 3, 4):
        expected, spread = ens.input_moment(k), math.sqrt(ens.input_moment(2 * k) - ens.input_moment(k) ** 2)
        error = abs(np.mean(draws**k) - expected)
        assert error <= 4.5 * spread / math.sqrt(draws.size) + 1e-12
        # Negative control: a law 3 % wider is told apart.
        assert k % 2 or abs(np.mean((1.03 * draws) ** k) - expected) > 6 * spread / math.sqrt(draws.size)


def test_fourth_moments_by_hand():
    assert rt.Ensemble("minimal", R=2.0).input_moment(4) == pytest.approx(12.0, rel=1e-15)
    assert rt.Ensemble("minimal", R=2.0, input_law="rademacher").input_moment(4) == pytest.approx(
        4.0, rel=1e-15
    )
    assert rt.Ensemble("minimal", R=2.0, input_law="uniform").input_moment(4) == pytest.approx(7.2, rel=1e-15)
    die = rt.Ensemble("minimal", R=91 / 6, input_law=DIE)
    assert die.input_moment(1) == pytest.approx(3.5, rel=1e-15)
    assert die.input_moment(3) == pytest.approx(73.5, rel=1e-15)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_quantiles_are_those_of_the_draws(law):
    ens = rt.Ensemble("minimal", R=0.46, input_law=law)
    p = (np.arange(20_000) + 0.5) / 20_000
    x = ens.input_quantile(p)
    assert np.all(np.diff(x) >= 0)
    for k in (1, 2, 3, 4):
        # Midpoint rule in p: exact for steps at multiples of 1/20000, else set by the tails.
        assert np.mean(x**k) == pytest.approx(ens.input_moment(k), rel=2e-2, abs=1e-12)
    draws = np.sort(ens.sample_input(3, 20_000))
    assert np.mean(np.abs(draws - x)) < 0.02
    for bad in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="probabilities must be in"):
            ens.input_quantile(bad)


@pytest.mark.parametrize(
    ("law", "correlation"),
    [(law, s) for law in ("gaussian", "rademacher", "uniform") for s in (-1.0, -0.6, 0.0, 0.3, 1.0)]
    + [(DIE, 0.9), (DIE, 1.0), (BIASED, 0.2), (([2.0], [1.0]), 1.0)],
    ids=str,
)
def test_correlated_inputs(law, correlation):
    ens = rt.Ensemble("minimal", R=0.46, Sigma=correlation, input_law=law)
    a, b = ens.sample_input_pair(11, (400, 1000))
    assert a.shape == b.shape == (400, 1000)
    count = a.size
    for x in (a, b):
        for k in (1, 2):
            spread = math.sqrt(max(ens.input_moment(2 * k) - ens.input_moment(k) ** 2, 0.0))
            assert abs(np.mean(x**k) - ens.input_moment(k)) <= 4.5 * spread / math.sqrt(count) + 1e-12
    spread = np.std(a * b) / math.sqrt(count)
    assert abs(np.mean(a * b) - 0.46 * correlation) <= 4.5 * spread + 1e-12
    if abs(correlation) == 1.0:
        np.testing.assert_allclose(b, correlation * a, rtol=1e-15)
    else:
        assert abs(np.mean(a * b) - 0.46 * (correlation + 0.05)) > 6 * spread


def test_impossible_correlation_of_an_asymmetric_law_is_refused():
    ens = rt.Ensemble("minimal", input_law=DIE)
    with pytest.raises(ValueError, match=r"Sigma = 0\.0: must be in \[E\[x\]²/R, 1\] = \[0\.807692, 1\]"):
        ens.sample_input_pair(0, 3)


def test_draws_follow_the_seed_and_scale_with_R():
    ens = rt.Ensemble("minimal", R=4.0)
    assert np.array_equal(ens.sample_input(5, (2, 3)), ens.sample_input(5, (2, 3)))
    assert np.array_equal(ens.sample_input(5, 4), 2.0 * ens.replace(R=1.0).sample_input(5, 4))
    assert not np.array_equal(ens.sample_input(5, 4), ens.sample_input(6, 4))
    assert np.all(ens.replace(R=0.0).sample_input(5, 4) == 0.0)
    generator = np.random.default_rng(1)
    assert not np.array_equal(ens.sample_input(generator, 3), ens.sample_input(generator, 3))


def test_ensembles_are_frozen():
    ens = rt.Ensemble("gru", sigma_w={"r": 1, "u": 2, "c": 3})
    with pytest.raises(AttributeError):
        ens.R = 2.0
    with pytest.raises(TypeError):
        ens.sigma_w["r"] = 5.0
    given = {"r": 1, "u": 2, "c": 3}
    kept = rt.Ensemble("gru", sigma_w=given)
    given["r"] = 100
    assert kept.gate("r").sigma_w == 1.0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"cell": "rnn"},
            ValueError,
            re.escape(f"cell = 'rnn': must be one of {sorted(rt.cells.LIBRARY)}"),
        ),
        ({"cell": 3}, TypeError, "cell = 3: expected one of"),
        ({"sigma_w": -1.0}, ValueError, r"sigma_w = -1\.0: must be a finite number in \[0, inf\)"),
        ({"sigma_v": math.nan}, ValueError, "sigma_v = nan"),
        ({"sigma_b": math.inf}, ValueError, "sigma_b = inf"),
        ({"mu_b": -math.inf}, ValueError, "mu_b = -inf"),
        ({"sigma_w": "1"}, TypeError, "sigma_w = '1': expected a real number, got str"),
        ({"sigma_w": [1, 2, 3]}, TypeError, r"sigma_w = \[1, 2, 3\]: expected a real number, got list"),
        ({"sigma_w": True}, TypeError, "sigma_w = True"),
        ({"sigma_w": 1j}, TypeError, "sigma_w = 1j"),
        (
            {"sigma_w": {"r": 1, "u": 1, "c": 1, "z": 1}},
            ValueError,
            r"sigma_w = .* unknown gates \['z'\]; the gates are",
        ),
        ({"sigma_w": {"r": 1, "u": -2, "c": 1}}, ValueError, r"sigma_w\['u'\] = -2: must be"),
        ({"weights": "haar"}, ValueError, r"weights = 'haar': must be one of \['gaussian', 'orthogonal'\]"),
        ({"weights": {"r": "gaussian", "z": "orthogonal"}}, ValueError, r"unknown gates \['z'\]"),
        ({"weights": 1}, TypeError, "weights = 1"),
        ({"weights": "orthogonal", "sigma_w": 0}, ValueError, "orthogonal weights need sigma_w > 0"),
        ({"R": -0.1}, ValueError, r"R = -0\.1"),
        ({"R": "1"}, TypeError, "R = '1'"),
        ({"Sigma": 1.01}, ValueError, r"Sigma = 1\.01: must be a finite number in \[-1, 1\]"),
        ({"Sigma": -1.01}, ValueError, r"Sigma = -1\.01"),
        ({"tied": 1}, TypeError, "tied = 1: expected True or False"),
        ({"input_law": "cauchy"}, ValueError, "input_law = 'cauchy'"),
        ({"input_law": 3}, TypeError, "input_law = 3: expected one of"),
        ({"input_law": ([1.0], [0.5, 0.5])}, ValueError, "1 locations but 2 masses"),
        ({"input_law": ([1.0, 2.0], [0.5, -0.5])}, ValueError, r"input_law masses = -0\.5"),
        ({"input_law": ([1.0, math.nan], [0.5, 0.5])}, ValueError, "input_law locations = nan"),
        ({"input_law": ([0.0], [1.0])}, ValueError, "must not all be zero"),
        ({"input_law": ("ab", [1.0])}, TypeError, "input_law locations = 'ab'"),
        ({"input_law": ([1.0], 1.0)}, TypeError, r"input_law masses = 1\.0"),
    ],
)
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        rt.Ensemble(**{"cell": "gru", **arguments})


def test_other_refusals():
    with pytest.raises(TypeError, match=r"replace: \['sigma'\] are not arguments"):
        rt.Ensemble("gru").replace(sigma=1.0)
    with pytest.raises(ValueError, match="expected a mapping with the key 'cell'"):
        rt.Ensemble.from_dict({})
    with pytest.raises(ValueError, match=r"unknown keys \['sigma'\]"):
        rt.Ensemble.from_dict({**rt.Ensemble("gru").to_dict(), "sigma": 1})
    with pytest.raises(ValueError, match="k = -1"):
        rt.Ensemble("gru").input_moment(-1)
    with pytest.raises(ValueError, match="locations belong to 'discrete'"):
        InputLaw("gaussian", (1.0,), (1.0,))


def test_import_is_light():
    code = (
        "import sys, rmtrnn.ensemble; heavy = 'cupy', 'torch', 'matplotlib', 'scipy.stats'; "
        "print([m for m in heavy if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_mapping_leaves_the_other_gates_at_the_default():
    partial = rt.Ensemble("lstm", sigma_w={"i": 2.0}, mu_b={"f": 3.0}, weights={"g": "orthogonal"})
    full = rt.Ensemble(
        "lstm",
        sigma_w={"f": 1.0, "i": 2.0, "o": 1.0, "g": 1.0},
        mu_b={"f": 3.0, "i": 0.0, "o": 0.0, "g": 0.0},
        weights={"f": "gaussian", "i": "gaussian", "o": "gaussian", "g": "orthogonal"},
    )
    assert partial == full and partial.gate("o").mu_b == 0.0 and partial.gate("f").sigma_w == 1.0
    assert rt.Ensemble("lstm", mu_b={}) == rt.Ensemble("lstm")


def test_text_of_an_own_cell_is_its_name():
    own, erf = rt.Ensemble(LEAKY, sigma_w=2.0), rt.Ensemble(rt.VanillaRNN("erf"), sigma_w=2.0)
    assert str(own) == "rt.Ensemble(<cell 'leaky'>, sigma_w=2.0)"
    assert str(erf) == repr(erf)


def test_recurrent_gates_read_the_state_through_weights():
    def recurrent(ens):
        return [ens.is_recurrent(gate) for stage in ens.cell.stages for gate in stage.gates]

    assert recurrent(rt.Ensemble("lstm", sigma_w={"f": 0.0})) == [False, True, True, True]
    assert recurrent(rt.Ensemble("mingru", sigma_w=1.0)) == [False, False]
