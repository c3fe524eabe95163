"""Critical points by a solve: 300 random boxes, each against another scan, and the choice on a manifold."""

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.criticality.point import _other_states
from rmtrnn.criticality.root_search import NoCriticalPointError, free_parameters, place, spread
from rmtrnn.meanfield.growth import growth_rates
from validation.paper.criticality import boxes

BATCHES, BOXES = 10, 30


@pytest.mark.parametrize(
    "batch", [*range(3), *(pytest.param(k, marks=pytest.mark.sweep) for k in range(3, BATCHES))]
)
def test_random_boxes(batch):
    """χ = 1 to 1e-8, by the full mean field; or none, and a scan on other points is on the side it names."""
    rng = np.random.default_rng([7, batch])
    outcomes = []
    for _ in range(BOXES):
        box = boxes.random_box(rng)
        outcomes.append(boxes.check(box, rng))
        assert outcomes[-1].agrees, (box, outcomes[-1])
    assert any(outcome.side == "found" for outcome in outcomes)


@pytest.mark.sweep
def test_boxes_of_an_lstm():
    """One with a critical point and one without; more are in validation/paper/criticality."""
    rng, others = np.random.default_rng(3), {"sigma_v": 0.5, "mu_b": 0.5, "sigma_b": 0.1, "R": 1.0}
    for bounds, side in (((2.0, 6.0), "found"), ((0.2, 1.0), "ordered")):
        box = boxes.Box("lstm", "sigma_w", *bounds, {**others, "weights": "gaussian"})
        outcome = boxes.check(box, rng)
        assert outcome.agrees and outcome.side == side, outcome


def test_growth_rates_are_those_of_the_mean_field():
    for cell in boxes.cells()[4:]:
        ens = [rt.Ensemble(cell, sigma_w=s, sigma_v=0.4, mu_b=0.3) for s in (0.5, 1.2)]
        chi, Q = growth_rates(ens)
        quick, _ = growth_rates(ens, quick=True)
        for k, one in enumerate(ens):
            state = rt.mean_field(one)
            assert chi[k] == pytest.approx(state.chi, rel=1e-12) == pytest.approx(quick[k], rel=1e-9)
            assert Q[0, k] == pytest.approx(state.Q, rel=1e-12)


def test_sides_are_named():
    fixed = {"T": 5, "R": 0.46, "sigma_w": 6.88, "sigma_v": 1.39}
    with pytest.raises(NoCriticalPointError, match=r"ordered side, χ from 0\.54") as ordered:
        rt.critical("minimal", free={"mu_b": (-4, -1)}, **fixed)
    assert ordered.value.side == "ordered" and ordered.value.chi[1] < 1
    with pytest.raises(NoCriticalPointError, match="chaotic side") as chaotic:
        rt.critical("minimal", free={"mu_b": (2, 4)}, **fixed)
    assert chaotic.value.side == "chaotic" and chaotic.value.chi[0] > 1
    with pytest.raises(NoCriticalPointError, match="ceases to exist"):
        rt.critical(rt.VanillaRNN("relu"), T=5, sigma_v=0.3, free={"sigma_w": (0.5, 3)})
    # From Q = 1 the critical minimalRNN at mu_b = 6 is not reached: chi jumps over 1.
    with pytest.raises(NoCriticalPointError):
        rt.critical("minimal", T=5, R=0.46, sigma_v=0.3, mu_b=8.0, free={"sigma_w": (1.0, 3.0)})


def test_known_critical_point():
    """The published minimalRNN parameters: χ = 1 at μ_b = 0.0136."""
    cp = rt.critical("minimal", T=5, R=0.46, sigma_w=6.88, sigma_v=1.39, free={"mu_b": (-4.0, 3.0)})
    assert cp.method == "solve" and abs(cp.chi - 1) < 1e-8
    assert cp.ensemble.mu_b == pytest.approx(0.0136, abs=2e-4)


def test_another_stable_state_is_named():
    """Of a GRU with an ordered and a chaotic state; the critical minimalRNN has one state only."""
    ens = rt.Ensemble("gru", sigma_v=0.5, sigma_w=5.725, mu_b={"u": 2.95, "r": 0.0, "c": 0.0})
    assert "another stable state" in _other_states(ens) and "χ = 0.9611" in _other_states(ens)
    cp = rt.critical("minimal", T=3, R=0.46, sigma_v=1.39, sigma_w=8.0, free={"mu_b": (-3.9, 8.0)})
    assert cp.message == ""


def test_least_spread_along_a_manifold():
    """With σ_w free as well the spread is no larger than on any line of fixed σ_w."""
    fixed = {"T": 5, "R": 0.46, "sigma_v": 1.39}
    two = rt.critical("minimal", free={"mu_b": (-1.0, 3.0), "sigma_w": (5.0, 9.0)}, **fixed)
    assert abs(two.chi - 1) < 1e-8 and 5.0 <= two.ensemble.sigma_w <= 9.0
    one = rt.critical("minimal", sigma_w=6.88, free={"mu_b": (-1.0, 1.0)}, **fixed)
    assert spread(two.ensemble, 5) < spread(one.ensemble, 5)


def test_different_inputs_have_a_finite_time_scale_at_criticality():
    cp = rt.critical("gru", T=1, R=0.5, sigma_v=0.7, free={"sigma_w": (0.1, 5.0)}, Sigma=0.5)
    assert abs(cp.chi - 1) < 1e-8 and cp.chi_star < 0.999 and np.isfinite(cp.timescale)


def test_free_parameters_by_gate():
    ens = rt.Ensemble("gru", sigma_w=2.0)
    parameters = free_parameters(ens, {"sigma_w": {"u": (0.5, 1.0), "r": (1.0, 2.0)}, "mu_b": (0.0, 1.0)})
    assert [p.label for p in parameters] == ["sigma_w.u", "sigma_w.r", "mu_b"]
    placed = place(ens, parameters, (0.7, 1.5, 0.3))
    assert dict(placed.sigma_w) == {"r": 1.5, "u": 0.7, "c": 2.0} and placed.mu_b == 0.3


def test_bad_arguments():
    for free in ({}, None, "sigma_w", {"sigma_w": 1.0}):
        if free is not None:
            with pytest.raises(TypeError, match="free"):
                rt.critical("gru", T=2, free=free)
    with pytest.raises(ValueError, match="free parameter"):
        rt.critical("gru", T=2, free={"R": (0, 1)})
    with pytest.raises(ValueError, match=r"free\['sigma_w'\]"):
        rt.critical("gru", T=2, free={"sigma_w": (2.0, 1.0)})
    with pytest.raises(ValueError, match="gate"):
        rt.critical("gru", T=2, free={"mu_b": {"f": (0, 1)}})
    with pytest.raises(ValueError, match="sigma_w"):
        rt.critical("vanilla", T=2, sigma_w=1.0)
    with pytest.raises(ValueError, match="q = "):
        rt.critical("gru", T=2, q=1.0)
    with pytest.raises(ValueError, match="band"):
        rt.critical("vanilla", T=2, band=(1.1, 1.2))
    with pytest.raises(ValueError, match="R = 0"):
        rt.critical("vanilla", T=2, R=0.0)
    with pytest.raises(ValueError, match="T"):
        rt.critical("vanilla", T=0)


def test_a_jump_without_input_names_what_helps():
    """GRU without input: the dead state ends where the state jumps; sigma_v = 1 has a critical point."""
    with pytest.raises(NoCriticalPointError, match=r"jumps across 1; without input .* sigma_v > 0") as jump:
        rt.critical("gru", T=100)
    assert jump.value.side == "jump" and "initialize" in str(jump.value)
    assert rt.critical("gru", T=100, sigma_v=1.0).chi == pytest.approx(1.0, abs=1e-8)


def test_an_lstm_without_input_takes_seconds():
    """At χ = 1 without input two replicas approach each other slower than geometrically: c* = 1 is known."""
    point = rt.critical("lstm", T=200)
    assert abs(point.chi - 1.0) <= point.chi_error + 1e-8
    assert set(point.field.c_star.values()) == {1.0} and point.field.timescale > 1e3
    assert "do not read the input" in point.message
