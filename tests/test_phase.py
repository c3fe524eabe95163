"""Phase diagrams: the same numbers as single points, the right shape, and per-point status."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.meanfield.expansion import expand
from rmtrnn.meanfield.growth import stable_states
from rmtrnn.meanfield.hermite_series import NodeMap
from rmtrnn.meanfield.solve import parameters_of
from rmtrnn.meanfield.stationary_moments import start

MINIMAL = rt.Ensemble("minimal", sigma_w=6.88, sigma_v=1.39, R=0.46, Sigma=1.0)
QUANTITIES = ("Q", "q", "c_star", "chi", "chi_star")


@pytest.mark.parametrize(
    ("ens", "axes"),
    [
        (MINIMAL, {"sigma_w": np.array([2.0, 6.88, 9.0]), "mu_b": np.array([-2.0, 0.0, 3.5, 8.0])}),
        (MINIMAL, {"Sigma": np.array([-0.5, 0.4, 0.9]), "mu_b": np.array([2.0, 5.0])}),
        (
            rt.Ensemble("vanilla", sigma_v=0.025, Sigma=1.0),
            {"sigma_w": np.array([0.5, 1.01, 3.0]), "sigma_b": np.array([0.0, 0.05, 1.0])},
        ),
        (
            rt.Ensemble(rt.VanillaRNN("hard_tanh"), sigma_v=0.3, Sigma=0.2),
            {"sigma_w": np.array([0.9, 1.8]), "R": np.array([0.3, 2.0])},
        ),
        (
            rt.Ensemble("gru", 2.0, 1.0, Sigma=0.5),
            {"sigma_w": np.array([1.0, 3.0]), "mu_b": {"u": np.array([-1.0, 2.0])}},
        ),
    ],
    ids=["minimal", "minimal-inputs", "vanilla", "hard_tanh", "gru"],
)
def test_grid_equals_single_points(ens, axes):
    phases = rt.phase_diagram(ens, **axes)
    flat = []
    for name, values in axes.items():
        flat.append((name, *((None, values) if not isinstance(values, dict) else next(iter(values.items())))))
    assert phases.shape == tuple(values.size for *_, values in flat)
    assert np.all(phases.converged)
    for index in np.ndindex(phases.shape):
        changes = {}
        for (name, gate, values), i in zip(flat, index, strict=True):
            value = float(values[i])
            changes[name] = (
                value if gate is None else {g: value if g == gate else 0.0 for g in ens.cell.gates}
            )
        field = rt.mean_field(ens.replace(**changes))
        for name in QUANTITIES:
            one, many = getattr(field, name), getattr(phases, name)
            if isinstance(one, dict):
                for key in one:
                    assert abs(many[key][index] - one[key]) < 1e-10
            else:
                assert abs(many[index] - one) < 1e-10, (name, index)
        if field.timescale < 1e6:
            assert abs(phases.timescale[index] / field.timescale - 1) < 1e-6


def test_axes_keep_their_order_and_names():
    phases = rt.phase_diagram(MINIMAL, mu_b=np.array([0.0, 2.0, 4.0]), sigma_v=np.array([1.0, 1.39]))
    assert list(phases.axes) == ["mu_b", "sigma_v"]
    assert phases.chi.shape == (3, 2)
    # Along mu_b at sigma_v = 1.39: the reference values of a single point.
    np.testing.assert_allclose(phases.q[:2, 1], [15.94, 13.06], atol=0.005)
    gru = rt.phase_diagram(rt.Ensemble("gru"), mu_b={"r": np.array([0.0]), "u": np.array([0.0, 1.0])})
    assert list(gru.axes) == ["mu_b.r", "mu_b.u"]


def test_divergence_is_marked_point_by_point():
    relu = rt.Ensemble(rt.VanillaRNN("relu"), sigma_v=0.3)
    phases = rt.phase_diagram(relu, sigma_w=np.array([1.0, 1.3, 1.5, 2.0]), R=np.array([0.5, 1.0]))
    expected = np.array([rt.Status.CONVERGED] * 2 + [rt.Status.DIVERGED] * 2)
    np.testing.assert_array_equal(phases.status, np.stack([expected, expected], axis=1))
    assert np.all(np.isnan(phases.chi[2:])) and np.all(np.isnan(phases.q[2:]))
    np.testing.assert_allclose(phases.chi[:2, 0], [0.5, 0.845], rtol=1e-13)
    assert "4 converged, 4 diverged" in repr(phases)


def test_overlaps_that_need_a_long_series():
    """minimalRNN at q = 20 to 32 with c* near 1: thousands of Hermite terms, against the double integral."""
    ens = rt.Ensemble("minimal", sigma_v=1.39, R=0.46, Sigma=1.0)
    phases = rt.phase_diagram(ens, sigma_w=np.array([9.0]), mu_b=np.array([-2.3, -2.37]))
    for i, sigma_w in enumerate(phases.axes["sigma_w"]):
        for j, mu_b in enumerate(phases.axes["mu_b"]):
            state = rt.mean_field(ens.replace(sigma_w=float(sigma_w), mu_b=float(mu_b)))
            assert phases.c_star[i, j] == pytest.approx(state.c_star, rel=1e-11)
            assert phases.chi_star[i, j] == pytest.approx(state.chi_star, rel=1e-11)
    assert np.any((phases.c_star > 0.99) & (phases.c_star < 1.0))


def test_two_stable_states_beside_a_jump():
    """GRU with a slow gate: from a small state an ordered network, from Q = 1 a chaotic one."""
    ens = rt.Ensemble("gru", sigma_v=0.5, Sigma=1.0)
    axes = {"sigma_w": np.array([4.0, 5.725]), "mu_b": {"u": np.array([2.95])}}
    large, small = rt.phase_diagram(ens, **axes), rt.phase_diagram(ens, Q0=1e-6, **axes)
    assert large.converged.all() and small.converged.all()
    assert large.chi[0, 0] == pytest.approx(small.chi[0, 0], rel=1e-9)
    assert small.chi[1, 0] < 1.0 < large.chi[1, 0]
    point = ens.replace(sigma_w=5.725, mu_b={"u": 2.95, "r": 0.0, "c": 0.0})
    states = stable_states(point)
    assert [chi for _, chi in states] == pytest.approx([small.chi[1, 0], large.chi[1, 0]], rel=1e-9)
    recursion = NodeMap(expand(point.cell), parameters_of(point))
    for (Q, _), Q0 in zip(states, (1e-6, 1.0), strict=True):  # without a solver
        S = start(np.array([[Q0]]))
        for _ in range(1500):
            S, _ = recursion.step(S)
        assert S[1, 1, 0] == pytest.approx(Q, rel=1e-6)
    assert len(stable_states(ens.replace(sigma_w=4.0))) == 1
    assert len(stable_states(rt.Ensemble("vanilla", sigma_w=1.3))) == 1  # Q = 0 is not stable
    assert stable_states(rt.Ensemble("lstm")) == []


def test_critical_line_of_the_undriven_tanh_cell():
    """Order ends at sigma_w = 1: below it the zero state, above it a finite one with chi > 1."""
    sigma_w = np.array([0.5, 0.9, 0.999, 1.001, 1.1, 2.0])
    phases = rt.phase_diagram(rt.Ensemble("vanilla"), sigma_w=sigma_w, sigma_b=np.array([0.0]))
    np.testing.assert_array_equal(phases.Q[:3, 0], 0.0)
    np.testing.assert_allclose(phases.chi[:3, 0], sigma_w[:3] ** 2, rtol=1e-14)
    assert np.all(phases.Q[3:, 0] > 0)
    assert np.all(phases.chi[3:, 0] > 1)
    np.testing.assert_allclose(phases.c_star[3:, 0], 0.0, atol=1e-12)


def test_executor_and_progress_change_nothing():
    seen = []
    axes = {"sigma_w": np.linspace(3.0, 8.0, 60), "mu_b": np.linspace(-1.0, 6.0, 60)}
    alone = rt.phase_diagram(MINIMAL, progress=lambda *report: seen.append(report), **axes)
    with ThreadPoolExecutor(2) as executor:
        together = rt.phase_diagram(MINIMAL, executor=executor, **axes)
    for name in (*QUANTITIES, "status"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(together, name))
    assert seen[0] == (0, 2, "phase diagram") and seen[-1] == (2, 2, "phase diagram")


def test_bad_arguments():
    with pytest.raises(TypeError, match="at least one"):
        rt.phase_diagram(MINIMAL)
    with pytest.raises(TypeError, match="sigma_x"):
        rt.phase_diagram(MINIMAL, sigma_x=np.ones(2))
    with pytest.raises(ValueError, match="sigma_w"):
        rt.phase_diagram(MINIMAL, sigma_w=np.array([1.0, -1.0]), mu_b=np.zeros(1))
    with pytest.raises(ValueError, match="mu_b"):
        rt.phase_diagram(MINIMAL, mu_b=np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="mu_b"):
        rt.phase_diagram(MINIMAL, mu_b=np.ones((2, 2)))
    with pytest.raises(ValueError, match="gate"):
        rt.phase_diagram(MINIMAL, mu_b={"f": np.ones(2)})
    with pytest.raises(TypeError, match="ens"):
        rt.phase_diagram("minimal", mu_b=np.ones(2))


def test_a_grid_beyond_the_memory_is_refused_at_the_door():
    axis = np.linspace(0.5, 1.5, 100_000)
    with pytest.raises(ValueError, match=r"number of grid points = 1000000000000000: needs .* GiB"):
        rt.phase_diagram(rt.Ensemble("vanilla"), sigma_w=axis, sigma_b=axis, R=axis)
