"""What the hunt of 2026-11-29 found, each as the kind that it stands for."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import sympy as sp

import rmtrnn as rt
from rmtrnn.dyson.placement import Levels
from validation.hunt import answer, checks

z = sp.Symbol("z", real=True)


@pytest.mark.parametrize(("activation", "mu_b"), [("selu", 6.205), ("selu", 1.0), ("inner", 0.5)])
def test_an_atom_inside_the_continuous_part_survives_in_powers(activation, mu_b):
    """φ' constant on an interval, with larger and smaller values elsewhere: no gap beside the atom."""
    if activation == "inner":
        activation = sp.Piecewise((z, z < 2), (2 + 3 * sp.tanh(z - 2) / 2, True))
    ens = rt.Ensemble(rt.VanillaRNN(activation), sigma_w=0.7, sigma_b=0.6, mu_b=mu_b, weights="orthogonal")
    spec, rng = rt.spectrum(ens, 2), np.random.default_rng(3)
    assert spec.converged and spec.error < 1e-6
    ((location, mass),) = [atom for atom in rt.spectrum(ens, 1).atoms if atom[0] > 0]
    ((squared, kept),) = spec.atoms
    assert squared == pytest.approx(location**2) and kept == pytest.approx(2 * mass - 1, abs=1e-12)
    checks.law(spec.log_s, spec.error, spec.mass)
    slope_law, J = rt.spectrum(ens, 1), np.eye(300)
    for _ in range(2):
        J = slope_law.icdf((rng.permutation(300) + 0.5) / 300)[:, None] * (
            checks.weight(300, ens, rng) / 0.7 @ J
        )
    u = np.log(np.linalg.svd(J, compute_uv=False))
    assert checks.kolmogorov(spec.log_s.cdf, u) < 0.02
    assert checks.kolmogorov(rt.spectrum(ens.replace(sigma_w=0.8), 2).log_s.cdf, u) > 0.05


def test_a_slope_that_lives_ten_deviations_away_has_its_moments():
    ens = rt.Ensemble(rt.VanillaRNN("hard_tanh"), sigma_w=0.5, sigma_v=0.05, mu_b=6.5)
    for T in (1, 3):
        spec = rt.spectrum(ens, T)
        assert spec.atoms == ((0.0, 1.0),) and spec.converged
        assert spec.moment(1) == pytest.approx(rt.mean_field(ens).chi ** T, rel=1e-5) and spec.moment(1) > 0


def test_moments_of_a_slope_that_lives_beyond_six_deviations():
    """relu times a square, φ' = 3z²: masses beyond 9.5 and 6.5 deviations compare."""
    ens = rt.Ensemble(
        rt.VanillaRNN(sp.Max(z, 0) * z**2), sigma_w=0.3, sigma_v=1.2, mu_b=-7.8, weights="orthogonal"
    )
    e, weights = np.polynomial.legendre.leggauss(200)
    e, q = 3.0 * (e + 1.0), rt.mean_field(ens).q
    density = np.exp(-0.5 * (e + 7.8) ** 2 / q) / math.sqrt(2 * math.pi * q)
    exact = 0.3**2 * 3.0 * float(np.sum(weights * density * 9.0 * e**4))
    for T in (1, 3):
        assert rt.spectrum(ens, T).moment(1) == pytest.approx(exact**T, rel=1e-9, abs=0.0)
    assert rt.spectrum(ens.replace(mu_b=-7.7), 1).moment(1) > 1.1 * exact


@pytest.mark.parametrize(
    "law",
    [
        ["times", ["mp", 1.6209, 1.7813], ["circle", 0.3272]],
        [
            "times",
            ["power", ["image", "square", 0.2571], 1.496],
            ["times", ["points", [0.13, 1.5], [0.3, 0.7]], ["mp", 0.92, 1.22]],
        ],
    ],
)
def test_products_with_densities_that_diverge_at_zero(law):
    """Nodes at λ = 1e-57 widths, where the equations of the product are lost in rounding."""
    assert answer("free", {"law": law, "seed": 1}) == ("ok", "")


def test_atoms_of_a_dilated_law_hold_their_own_locations():
    law = rt.free.Discrete([0.6123, 0.7871], [0.25, 0.75]) @ rt.free.Discrete([0.8228], [1.0])
    for (location, _), below in zip(law.atoms, (0.25, 1.0), strict=True):
        assert law.cdf(location) == below and law.cdf(location * (1 - 1e-12)) == below - (
            0.25 if below < 1 else 0.75
        )
        assert law.log.cdf(law.log.icdf(below)) == below


def test_many_oscillations_are_searched_at_once():
    """φ' = −z sin(z²/2) has a hundred monotone stretches: one search for all, quantiles from a bracket."""
    ens = rt.Ensemble(
        rt.VanillaRNN(sp.cos(z**2 / 2)), sigma_w=0.6, sigma_v=1.1, sigma_b=0.8, weights="orthogonal"
    )
    spec = rt.spectrum(ens, 1)
    p = np.linspace(0.05, 0.95, 7)
    u = spec.log_s.icdf(p)
    assert np.abs(spec.log_s.cdf(u) - p).max() < 1e-9
    e = math.sqrt(rt.mean_field(ens).q) * checks.stratified_normals(200_000, np.random.default_rng(1))
    sample = np.log(0.6 * np.abs(e * np.sin(e**2 / 2)))
    assert np.abs(np.quantile(sample, p) - u).max() < 0.01


def test_a_law_whose_first_points_hold_on_no_other_sites_is_not_found(monkeypatch):
    """Untied LSTM, mu_b = −8, T = 2: what the scan found could not be solved again; an IndexError before."""
    solve = Levels.solve

    def lost(self, u, guess, tol, inverse=None):
        found = solve(self, u, guess, tol, inverse)
        return found if inverse is None else found.at(np.zeros(found.u.size, dtype=bool))

    monkeypatch.setattr(Levels, "solve", lost)
    spec = rt.spectrum(rt.Ensemble("minimal", sigma_v=1.0), 2, population=512)
    assert not spec.converged and spec.error == math.inf


@pytest.mark.parametrize(
    ("activation", "T", "settings"),
    [
        (sp.Max(-1, z / (z**2 + 1), sp.Min(1, (z + 1) / 2)), 2, {"sigma_w": 0.7938}),
        (
            sp.Abs(sp.Abs(2 * z + sp.Rational(1, 2)) - 1) + sp.tanh(z),
            20,
            {"sigma_w": 0.5328, "sigma_v": 0.9723, "sigma_b": 0.4452, "R": 0.2121, "weights": "orthogonal"},
        ),
    ],
)
def test_a_piece_of_the_slopes_too_small_to_leave_a_gap(activation, T, settings):
    """The first: φ'² is 1/4, 0, or once in 10⁵ sites another. A gap of no length had an edge at nan."""
    spec = rt.spectrum(rt.Ensemble(rt.VanillaRNN(activation), **settings), T)
    assert spec.converged and spec.error < 1e-9
    checks.law(spec.log_s, spec.error, spec.mass)
    rng, J, ens = np.random.default_rng(4), np.eye(200), spec.ensemble
    phi, deviation = (
        sp.lambdify(z, activation.rewrite(sp.Piecewise), "numpy"),
        math.sqrt(rt.mean_field(ens).q),
    )
    for _ in range(min(T, 2)):
        e = deviation * checks.stratified_normals(200, rng)
        slope = (phi(e + 1e-6) - phi(e - 1e-6)) / 2e-6
        J = slope[:, None] * (checks.weight(200, ens, rng) @ J)
    with np.errstate(divide="ignore"):
        u = np.log(np.linalg.svd(J, compute_uv=False))
    short = rt.spectrum(ens, 2).log_s
    assert checks.kolmogorov(short.cdf, np.where(u > u[0] - 25.0, u, -np.inf)) < 0.03
    assert checks.kolmogorov(rt.spectrum(ens.replace(sigma_w=0.45), 2).log_s.cdf, u) > 0.05


def test_slopes_near_a_zero_where_they_underflow_are_found_in_silence():
    activation = sp.Abs(sp.Abs((z - 1) / (1 + (z - 1) ** 2)) - 1)
    spec = rt.spectrum(rt.Ensemble(rt.VanillaRNN(activation), sigma_w=1.6225, R=0.8144), 2)
    assert spec.converged and spec.error < 1e-8


def test_a_sampled_mean_field_says_how_well_it_knows_the_growth():
    """minLSTM: the gates f/(f + i) have the mean ½ here, so χ = E[(f/(f + i))²] is at least ¼."""
    field = rt.mean_field(rt.Ensemble("minlstm", sigma_v=1.0407, R=1.1996, Sigma=0.8785), sites=512)
    assert field.method == "population" and set(field.errors) == {"Q", "q", "c_star", "chi", "chi_star"}
    assert field.chi > 0.25 - field.errors["chi"] and field.errors["chi"] < 0.1
    assert "±" in repr(field) and field.errors["Q"] == field.error


def test_an_atom_inside_an_interval_is_no_gap():
    law = rt.free.Uniform(0.0, 1.0)
    view = SimpleNamespace(cdf=law.cdf, support=law.support, atoms=((0.1, 0.0), (0.9, 0.0)))
    checks._support(view, 1e-9)
    with pytest.raises(checks.Wrong, match="rises in the gap"):
        checks._support(SimpleNamespace(cdf=law.cdf, support=((0.0, 0.2), (0.9, 1.0)), atoms=()), 1e-9)


def test_f_of_point_masses_that_sum_to_a_rounding_more_than_1_ends_at_1():
    masses = [0.29846844738462247, 0.042444653575122594, 0.6590868990402551]
    assert np.array(masses).sum() > 1.0
    law = rt.free.Discrete([1.5, 2.0, 2.5], masses)
    assert law.cdf(3.0) == 1.0 and law.log.cdf(3.0) == 1.0
