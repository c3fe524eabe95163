"""rt.mean_field of networks that keep their weights: theory.md (18)–(19)."""

from dataclasses import fields, replace

import numpy as np
import pytest
import sympy

import rmtrnn as rt
from rmtrnn.meanfield import tied_field as tied
from rmtrnn.meanfield.growth import growth_rates, tied_error
from rmtrnn.meanfield.tied_solver import DEFAULT, Settings

h, x, e = sympy.symbols("h x e")
README = rt.Cell("leaky", state=h, input=x, gates={e: h}, update={h: 0.75 * h + 0.25 * sympy.tanh(e)})
MINIMAL = rt.Ensemble("minimal", sigma_w=6.88, sigma_v=1.39, mu_b=3.5, R=0.46, Sigma=1.0, tied=True)


def flow(delta):
    """h' = (1 − δ) h + δ W tanh(h): for δ → 0 the network of Sompolinsky, Crisanti, Sommers (1988)."""
    update = {h: (1 - delta) * h + delta * e}
    return rt.Cell("flow", state=h, input=x, gates={e: sympy.tanh(h)}, update=update)


# Q, q and their scatter: networks of theory.md section 7 and cases/README.md 7, 11.
SIMULATED = {
    "minimal": (MINIMAL, 0.057, 0.003, 3.54, 0.1),
    "gru": (rt.Ensemble("gru", sigma_w=3.0, tied=True), 0.36, 0.01, None, None),
    "leaky": (rt.Ensemble(README, sigma_w=2.0, sigma_b=0.3, tied=True), 0.515, 0.010, 2.16, 0.08),
}


@pytest.mark.equation(18)
@pytest.mark.parametrize("name", SIMULATED)
def test_moments_are_those_of_networks(name):
    ens, Q, Q_scatter, q, q_scatter = SIMULATED[name]
    field = tied.tied_field(ens, None, 2048, 0)
    assert field.status is rt.Status.CONVERGED
    assert abs(field.Q.value[0] - Q) < field.Q.error[0] + Q_scatter
    if q is not None:
        assert abs(field.q.value[0] - q) < field.q.error[0] + q_scatter
    untied = rt.mean_field(ens.replace(tied=False))
    assert abs(untied.Q - Q) > 5.0 * (field.Q.error[0] + Q_scatter), "the wrong theory must fail"


@pytest.fixture(scope="module")
def minimal():
    return rt.mean_field(MINIMAL)


def test_result_says_which_theory(minimal):
    assert minimal.theory == "tied" and minimal.converged
    assert "tied weights" in repr(minimal)
    untied = rt.mean_field(MINIMAL.replace(tied=False))
    assert untied.theory == "untied" and "untied weights" in repr(untied)
    assert untied.lyapunov == pytest.approx(0.5 * np.log(untied.chi))


def test_autocovariance_starts_at_the_variance_and_decays(minimal):
    state, gate = minimal.autocovariance(), minimal.autocovariance("e")
    assert state[0] == pytest.approx(minimal.Q, rel=2e-3)
    assert gate[0] == pytest.approx(minimal.q, rel=1e-6)
    assert abs(state[-64:].mean()) < 0.03 * state[0]
    # The input's part of e is white: it is missing at lag 1.
    assert gate[0] - gate[1] > 1.39**2 * 0.46
    with pytest.raises(ValueError, match="name = 'c'"):
        minimal.autocovariance("c")
    with pytest.raises(ValueError, match="tied=True"):
        rt.mean_field(MINIMAL.replace(tied=False)).autocovariance()


def test_time_scales_are_named_apart(minimal):
    scales = minimal.timescales
    assert set(scales) == {"difference", "correlation", "autocovariance"}
    assert 5.0 < scales["autocovariance"] < 40.0


def test_zero_state_and_its_growth():
    mf = rt.mean_field(rt.Ensemble("gru", tied=True))
    assert (mf.Q, mf.c_star) == (0.0, 1.0)
    assert mf.chi == pytest.approx(0.75**2, rel=1e-9)
    below = rt.mean_field(rt.Ensemble(flow(0.25), sigma_w=0.9, tied=True))
    assert below.Q == 0.0 and below.chi == pytest.approx(0.975**2, rel=1e-9)


def test_start_selects_the_zero_state():
    ens = rt.Ensemble("gru", sigma_w=3.0, tied=True)
    zero = rt.mean_field(ens, Q0=0.0)
    assert zero.Q == 0.0 and zero.chi == pytest.approx(1.25**2, rel=1e-9)


@pytest.mark.equation(18)
@pytest.mark.parametrize("sigma_b", [0.0, 0.3])
def test_vanilla_cells_are_equal_to_untied_ones_but_for_the_autocovariance(sigma_b):
    ens = rt.Ensemble("vanilla", sigma_w=1.5, sigma_v=0.3, sigma_b=sigma_b, Sigma=0.5, tied=True)
    kept, untied = rt.mean_field(ens), rt.mean_field(ens.replace(tied=False))
    for name in ("Q", "q", "c_star", "chi", "chi_star", "timescale"):
        assert getattr(kept, name) == getattr(untied, name)
    assert kept.theory == "tied"
    # Independent: the general solver, which knows nothing of this.
    general = tied.tied_field(ens, None, 4096, 0)
    assert abs(general.Q.value[0] - kept.Q) < general.Q.error[0] + 1e-3
    growth, error = tied.tied_growth(general, 0)
    assert abs(growth.chi - kept.chi) < error + 2e-3
    assert general.state is not None
    lags = general.state.sites.nodes.covariance(general.state.spectra.values[0])
    assert abs(lags[3:200].mean() - kept.autocovariance()[3]) < 0.03 * kept.Q


@pytest.mark.equation(18)
def test_flow_limit_at_one_step_size():
    """g = 2, δ = 0.1: Δ0 = 1.9248 and exponent 0.1125 per unit time of the limit; theory.md section 7."""
    ens = rt.Ensemble(flow(0.1), sigma_w=2.0, tied=True)
    field = tied.tied_field(ens, None, 4096, 0)
    assert abs(field.Q.value[0] - 1.924805) < field.Q.error[0] + 0.02
    growth, error = tied.tied_growth(field, 0)
    exponent, spread = 0.5 * np.log(growth.chi) / 0.1, 0.5 * error / growth.chi / 0.1
    assert abs(exponent - 0.112458) < spread + 0.012  # a step of 0.1 takes about a tenth of it
    assert abs(exponent - 0.112458) < 0.05


@pytest.mark.parametrize("factor", [1 / 3, 3.0])
@pytest.mark.parametrize("name", [f.name for f in fields(Settings)])
def test_settings_move_the_result_within_its_error(name, factor):
    """Every empirical constant, by three both ways."""
    from rmtrnn.meanfield.forward_process import march

    value = getattr(DEFAULT, name)
    moved = max(int(value * factor), 1) if isinstance(value, int) else value * factor
    if name == "first_period":
        moved = {1 / 3: 256, 3.0: 1024}[factor]
    if name == "last_period":
        moved = {1 / 3: 2048, 3.0: 16384}[factor]
    if name == "least_sites":
        moved = {1 / 3: 128, 3.0: 512}[factor]
    ens = rt.Ensemble("minimal", sigma_w=4.0, sigma_v=1.0, mu_b=1.0, tied=True)
    start = tied._start(march(ens, 128, 512, 0, np.ones(1)), False)
    states = [
        tied.stationary_state(ens, start, np.ones(1), 512, 0, settings)
        for settings in (DEFAULT, replace(DEFAULT, **{name: moved}))
    ]
    fields_ = [tied._alive(ens, state, None) for state in states]
    first, second = (field.Q for field in fields_)
    assert abs(first.value[0] - second.value[0]) < first.error[0] + second.error[0]


@pytest.mark.equation(19)
@pytest.mark.parametrize("Sigma", [0.0, 0.9])
def test_two_replicas_are_those_of_networks(Sigma):
    """Two copies of one network with different starts and inputs of correlation Sigma."""
    N, steps = 1000, 200
    ens = rt.Ensemble("minimal", sigma_w=3.0, sigma_v=1.0, mu_b=1.0, Sigma=Sigma, tied=True)
    rng = np.random.default_rng(5)
    W, V = (scale * rng.standard_normal((N, N)) / np.sqrt(N) for scale in (3.0, 1.0))
    a, b = rng.standard_normal((2, N))
    rows = []
    for step in range(steps):
        x_a, own = rng.standard_normal((2, N))
        x_b = Sigma * x_a + np.sqrt(1.0 - Sigma**2) * own
        e_a, e_b = W @ a + V @ x_a + 1.0, W @ b + V @ x_b + 1.0
        u_a, u_b = 1.0 / (1.0 + np.exp(-e_a)), 1.0 / (1.0 + np.exp(-e_b))
        a, b = u_a * a + (1.0 - u_a) * x_a, u_b * b + (1.0 - u_b) * x_b
        if step >= 50:
            rows.append([np.mean(a * b), 0.5 * np.mean(a**2 + b**2), np.mean((e_a - 1.0) * (e_b - 1.0))])
    rows = np.array(rows)
    spread = rows.reshape(15, 10, 3).mean(axis=1).std(axis=0, ddof=1) / np.sqrt(15)
    mf = rt.mean_field(ens)
    overlap, Q, shared = rows.mean(axis=0)
    assert abs(mf.Q - Q) < 4.0 * spread[1] + mf.error + 0.01 * Q
    assert abs(mf.C_star - overlap) < 4.0 * spread[0] + mf.errors["c_star"] * mf.Q + 0.01 * Q
    assert abs(mf.c_star - shared / mf.q) < 4.0 * spread[2] / mf.q + mf.errors["c_star"] + 0.02
    assert mf.chi_star <= mf.chi
    wrong = rt.mean_field(ens.replace(tied=False))
    assert abs(wrong.Q - Q) > 4.0 * spread[1] + mf.error + 0.01 * Q


@pytest.mark.equation(18)
def test_cell_whose_gates_read_nothing():
    """h' = u h + (1 − u) e_c, u = σ(e_u), both e = V x + b: every site is a filter of its own."""
    keep, candidate = sympy.symbols("e_u e_c")
    u = 1 / (1 + sympy.exp(-keep))
    cell = rt.Cell(
        "filter", state=h, input=x, gates={keep: 0, candidate: 0}, update={h: u * h + (1 - u) * candidate}
    )
    mf = rt.mean_field(rt.Ensemble(cell, sigma_b={"e_u": 0.0, "e_c": 0.3}, Sigma=1.0, tied=True), sites=512)
    assert abs(mf.Q - 0.09) < 1e-6 and abs(mf.chi - 0.25) < 1e-6


@pytest.mark.equation(18)
def test_a_static_start_is_left_where_differences_grow():
    """g = 2, δ = 0.025: the first period holds 13 units of time, on which the network looks static."""
    field = tied.tied_field(rt.Ensemble(flow(0.025), sigma_w=2.0, tied=True), None, 1024, 0)
    assert field.state is not None and not field.state.is_static
    assert field.state.sites.period >= 2048
    assert abs(field.Q.value[0] - 1.924805) < field.Q.error[0] + 0.1


@pytest.mark.parametrize("cell", ["minimal", "gru"])
def test_the_same_question_has_the_same_answer(cell):
    """Fields are kept between calls: reading χ of one must not move its sites, in whatever order."""
    ens = rt.Ensemble(cell, sigma_w=4.0, sigma_v=0.5, R=0.46, tied=True)
    first = growth_rates([ens], quick=True)[0][0]
    error = tied_error(ens)
    assert growth_rates([ens], quick=True)[0][0] == first
    tied.tied_field.cache_clear()
    assert tied_error(ens) == error
    assert growth_rates([ens], quick=True)[0][0] == first
