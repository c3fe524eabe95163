"""The inputs that failed before issue 16, by their numbers: the right value or the right refusal.

Numbers whose tests take longer stand where their subject is: 0 tests/dyson/test_published_point.py, 5 and 16
(gelu) tests/spectra/test_kinks.py, 7 and 11 tests/meanfield/test_tied_field.py and tests/dyson/tied/,
12 tests/test_comparison.py, 15 tests/criticality/test_root_search.py, 17 tests/_core/test_storage.py and
tests/_core/test_trials.py, 18 tests/_core/test_validate_cost.py, 21 tests/sampling/test_trial.py.
"""

import math

import numpy as np
import pytest
import sympy as sp
from scipy.special import ndtr

import rmtrnn as rt

z = sp.Symbol("z")


def vanilla(expr, **parameters):
    return rt.Ensemble(rt.VanillaRNN(expr), **parameters)


def test_1_slopes_that_jump():
    ens = vanilla(sp.Abs(sp.tanh(z)), sigma_w=0.4, sigma_b=0.5, weights="orthogonal")
    x = np.array([0.1, 0.2])
    exact = 2 * ndtr(-np.arccosh(np.sqrt(0.4 / x)) / math.sqrt(rt.mean_field(ens).q))
    assert rt.spectrum(ens, 1).cdf(x) == pytest.approx(exact, abs=1e-12)
    assert exact == pytest.approx([0.0128, 0.0958], abs=1e-4)
    ens = vanilla(sp.tanh(sp.Max(z, 0)), sigma_w=0.4, sigma_b=0.5, weights="orthogonal")
    assert rt.spectrum(ens, 1).support[-1][1] == pytest.approx(0.4)


def test_2_flat_slopes_are_atoms():
    elu = sp.Piecewise((sp.exp(z) - 1, z < 0), (z, True))
    ens = vanilla(elu, sigma_w=0.4, sigma_b=0.5, weights="orthogonal")
    ((where, mass),) = rt.spectrum(ens, 1).atoms
    assert (where, mass) == (pytest.approx(0.4), pytest.approx(0.5))
    ens = vanilla(elu, mu_b=2.0, sigma_w=0.9, sigma_b=0.3, weights="orthogonal")
    ((where, mass),) = rt.spectrum(ens, 3).atoms
    assert where == pytest.approx(0.729) and mass == pytest.approx(0.1918, abs=1e-4)


def test_3_supports_with_a_gap_above_zero():
    law = rt.free.Pushforward(lambda y: 1 + 2 * ndtr(y), 1.0)
    ((left, right),) = law.support
    assert (left, right) == (pytest.approx(1.0), pytest.approx(3.0))
    ((left, right),) = (rt.free.MarchenkoPastur(0.1) @ law).support
    assert (left, right) == (pytest.approx(0.6906, abs=2e-4), pytest.approx(4.079, abs=1e-3))


def test_4_the_sign_of_the_slope_at_negative_correlation():
    ens = vanilla(sp.cos(z), sigma_w=0.6, sigma_v=2.0, Sigma=-1.0)
    assert rt.mean_field(ens).chi_star == pytest.approx(-0.1317, abs=1e-4)


def test_6_overlaps_and_numbers_that_cannot_be():
    with pytest.raises(ValueError, match="C0"):
        rt.mean_field(rt.Ensemble("vanilla", sigma_b=0.1), steps=3, C0=9.0)
    with pytest.raises(ValueError, match="x = nan"):
        rt.free.MarchenkoPastur().pdf(math.nan)
    assert rt.spectrum(vanilla(sp.exp(z), sigma_w=0.2, mu_b=-1.0), 1).support[-1][1] == math.inf


def test_8_laws_and_samples_of_other_steps_or_ensembles():
    ens = rt.Ensemble("vanilla", sigma_b=0.3)
    mc = rt.sample(ens, T=2, N=16, trials=2)
    for spec in (rt.spectrum(ens, 3), rt.spectrum(ens.replace(sigma_w=1.1), 2)):
        with pytest.raises(ValueError, match="must be the same"):
            rt.compare(spec, mc)
    assert rt.compare(rt.spectrum(ens, 2), mc).verdict in ("agrees", "disagrees", "undecided")


@pytest.mark.parametrize("cell", ["gru", "lstm", rt.GRU(reset_after=True)])
@pytest.mark.parametrize("weights", ["gaussian", pytest.param("orthogonal", marks=pytest.mark.sweep)])
def test_9_states_that_are_zero(cell, weights):
    spec = rt.spectrum(rt.Ensemble(cell, weights=weights), 1)
    assert spec.converged and spec.error < 5e-3
    if cell == "gru" and weights == "gaussian":  # ½ I + ¼ W
        s = np.linalg.svd(0.5 * np.eye(400) + 0.25 * np.random.default_rng(0).normal(size=(400, 400)) / 20)[1]
        assert spec.moment(1) == pytest.approx(0.25 + 1 / 16, rel=1e-3)
        assert np.quantile(s, 0.5) == pytest.approx(float(spec.icdf(0.5)), abs=0.01)


def test_14_shifts():
    law = rt.free.Discrete([0.154638], [1.0]) + rt.free.Semicircle(0.4658)
    assert law.support[0] == (pytest.approx(0.154638 - 0.4658), pytest.approx(0.154638 + 0.4658))
    assert (rt.free.MarchenkoPastur() + 3).moment(1) == pytest.approx(4.0)
    assert (rt.free.Semicircle(1.0) @ rt.free.MarchenkoPastur(1.0)).moment(2) == pytest.approx(0.25)


def test_16_cells_without_gates_or_slopes():
    h, x, e = sp.symbols("h x e")
    cell = rt.Cell("none", state=h, input=x, gates={}, update={h: 0.5 * h + x})
    assert rt.spectrum(rt.Ensemble(cell), 2).atoms == ((pytest.approx(0.25), 1.0),)
    cell = rt.Cell("flat", state=h, input=x, gates={e: h}, update={h: sp.Max(0, sp.Min(0, e))})
    assert rt.spectrum(rt.Ensemble(cell), 2).atoms == ((0.0, 1.0),)


@pytest.mark.parametrize("expr", [1 / z, sp.tan(z), sp.log(sp.Abs(z)), sp.sqrt(sp.Abs(z))])
def test_19_poles(expr):
    with pytest.raises(ValueError, match="z"):
        rt.spectrum(vanilla(expr, sigma_b=0.3), 2)


def test_20_oscillations_and_sums_of_sums():
    ens = vanilla(sp.cos(z), sigma_w=1.2, sigma_b=0.3)
    spec = rt.spectrum(ens, 8)
    assert spec.converged and spec.mass == pytest.approx(1.0, abs=1e-6)
    law = (rt.free.MarchenkoPastur(0.5) + rt.free.Semicircle(1.0)) + (
        rt.free.Discrete([0.0, 1.0], [0.5, 0.5]) + rt.free.MarchenkoPastur(2.0)
    )
    p = np.linspace(0.01, 0.99, 130)
    assert np.abs(law.cdf(law.icdf(p)) - p).max() < 1e-5
