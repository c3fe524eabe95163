"""Growth where a tied network comes to rest: closed forms, the eigenvalue curve, a sampled network."""

from dataclasses import fields, replace

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.meanfield import constant_growth as module
from rmtrnn.meanfield import tied_field as tied
from rmtrnn.meanfield.constant_growth import ConstantStage, constant_growth
from rmtrnn.meanfield.one_step import OneStep

# The iteration came to rest 1.3 % below χ here, at three times its error.
GRU = rt.Ensemble(rt.GRU(reset_after=True), sigma_w=1.07, sigma_b=0.08, weights="orthogonal", tied=True)
UGRNN = rt.Ensemble("ugrnn", sigma_w=0.6, sigma_b=0.14, weights="orthogonal", tied=True)


def growth(ens, seed=0, sites=256):
    """χ and its error."""
    found, error = tied.tied_growth(tied.tied_field(ens, None, sites, seed), seed)
    assert found.converged and found.rounds == 1, "a root, not an iteration"
    return found.chi, error


def test_one_gate_at_equal_sites_is_the_closed_form():
    """√χ = a + σ b c: the worst frequency is 0 for a > 0, and half a turn for a < 0."""
    one = np.ones((1, 1, 5))
    for a, angle in ((0.4, 0.0), (-0.4, np.pi)):
        found = constant_growth(OneStep([ConstantStage(a * one, 0.3 * one, one, (1.44,))]))
        assert found.chi == pytest.approx((0.4 + 1.2 * 0.3) ** 2, rel=1e-9)
        assert found.angle == pytest.approx(angle)


def test_without_gates_that_read_the_slowest_site_is_left():
    one = np.ones((1, 1, 3))
    step = OneStep([ConstantStage(np.array([0.2, 0.7, 0.5])[None, None], 0.0 * one, one, (1.0,))])
    assert constant_growth(step).chi == pytest.approx(0.49, rel=1e-9)


@pytest.mark.sweep
@pytest.mark.equation(15, 16)
@pytest.mark.parametrize("ens", [GRU, UGRNN], ids=["gru", "ugrnn"])
def test_growth_at_rest_is_the_squared_spectral_radius(ens):
    """Independent sites, and a curve in the plane; the redrawn network has another growth."""
    radius = rt.spectral_radius(ens)
    for seed in range(3):
        chi, error = growth(ens, seed)
        assert abs(chi - radius**2) < error + 2e-4
        assert error < 2e-3
    assert abs(rt.mean_field(ens.replace(tied=False)).chi - radius**2) > 0.01


@pytest.mark.equation(15)
def test_growth_of_a_sampled_network():
    """Largest eigenvalue of the Jacobian of one UGRNN at rest, h' = u h + (1 − u) tanh(e)."""
    N, rng = 700, np.random.default_rng(3)
    law = UGRNN.gate("c")
    W_f, W_e = (0.6 * np.linalg.qr(rng.standard_normal((N, N)))[0] for _ in range(2))
    b_f, b_e = law.sigma_b * rng.standard_normal((2, N))
    h = rng.standard_normal(N)
    for _ in range(200):
        f, e = W_f @ h + b_f, W_e @ h + b_e
        u = 1.0 / (1.0 + np.exp(-f))
        h = u * h + (1.0 - u) * np.tanh(e)
    slope = (u * (1.0 - u) * (h - np.tanh(e)))[:, None] * W_f
    J = np.diag(u) + slope + ((1.0 - u) / np.cosh(e) ** 2)[:, None] * W_e
    largest = np.abs(np.linalg.eigvals(J)).max() ** 2
    assert largest == pytest.approx(growth(UGRNN)[0], rel=0.02)
    assert largest != pytest.approx(growth(UGRNN.replace(sigma_w=0.7))[0], rel=0.05), "stronger weights"


def test_states_that_vary_are_left_to_the_iteration():
    driven = UGRNN.replace(sigma_v=0.05)
    found, _ = tied.tied_growth(tied.tied_field(driven, None, 256, 0), 0)
    assert found.rounds > 1
    carried = rt.Ensemble("minimal", sigma_w=0.5, sigma_b=0.3, mu_b=6.0, R=0.01, tied=True)
    field = tied.tied_field(carried, None, 256, 0)
    assert field.state is not None and field.state.sites.is_driven, "the input enters beside the gate"


@pytest.mark.parametrize("factor", [1 / 3, 3.0])
@pytest.mark.parametrize("name", [f.name for f in fields(module.ConstantSettings)])
def test_numbers_move_growth_by_less_than_its_error(name, factor, monkeypatch):
    chi, error = growth(GRU)
    value = getattr(module._CONSTANT, name)
    moved = int(value * factor) if isinstance(value, int) else value * factor
    if name == "sites":  # a power of two
        moved = value // 2 if factor < 1.0 else 2 * value
    monkeypatch.setattr(module, "_CONSTANT", replace(module._CONSTANT, **{name: moved}))
    assert abs(growth(GRU)[0] - chi) < error
