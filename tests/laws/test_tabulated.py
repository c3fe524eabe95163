"""Tabulated laws against closed forms: Fuss–Catalan products, arcsine and uniform laws, atoms."""

import math
from functools import partial

import numpy as np
import pytest
from reference import fuss_catalan

from rmtrnn._core import storage as _storage
from rmtrnn._core.status import Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.laws import tabulation
from rmtrnn.laws.tabulated import Interval, tabulate
from rmtrnn.spectra.result import Spectrum


@pytest.mark.parametrize(("T", "tol", "most"), [(1, 1e-6, 31), (4, 1e-6, 31), (16, 1e-6, 63), (64, 1e-6, 94)])
def test_fuss_catalan_needs_few_points(T, tol, most):
    density, edge = partial(fuss_catalan.density_of_u, T), fuss_catalan.log_edge(T) / 2
    law = tabulate(density, [Interval(-math.inf, edge, 2 / (T + 1))], tol=tol)
    assert law.status is Status.CONVERGED
    assert law.points <= most
    assert law.error < tol
    u = np.linspace(edge - 3 * T, edge - 1e-3, 50)
    truth = density(u)
    assert np.max(np.abs(law.pdf(u) - truth)) < 10 * tol * np.max(truth)
    # Moments of the Fuss–Catalan law: 1, T + 1, (T + 1)(3T + 2)/2.
    for k, moment in enumerate([1, T + 1, (T + 1) * (3 * T + 2) / 2], start=1):
        assert law.moment(k) == pytest.approx(moment, rel=1e-7)
    assert law.variance() == pytest.approx(T, rel=1e-7)


@pytest.mark.parametrize("T", [1, 4, 16])
@pytest.mark.parametrize("tol", [1e-3, 1e-5, 1e-8])
def test_the_error_is_honest(T, tol):
    density, edge = partial(fuss_catalan.density_of_u, T), fuss_catalan.log_edge(T) / 2
    interval = [Interval(-math.inf, edge, 2 / (T + 1))]
    law, fine = tabulate(density, interval, tol=tol), tabulate(density, interval, tol=1e-13)
    u = np.linspace(edge - 4 * T, edge, 400)
    assert np.max(np.abs(law.cdf(u) - fine.cdf(u))) <= law.error + 1e-14


def test_arcsine_and_uniform_edges_are_exact():
    arcsine = tabulate(lambda u: 1 / np.pi / np.sqrt((u - 1) * (2 - u)), [Interval(1, 2)], tol=1e-10)
    assert arcsine.points == 31
    p = np.linspace(0, 1, 21)
    np.testing.assert_allclose(arcsine.icdf(p), 1 + np.sin(np.pi * p / 2) ** 2, atol=1e-12)
    uniform = tabulate(np.ones_like, [Interval(-0.5, 0.5)], tol=1e-10)
    np.testing.assert_allclose(uniform.icdf(p), p - 0.5, atol=1e-13)
    np.testing.assert_allclose(uniform.pdf(np.array([-1.0, 0.2, 0.6])), [0, 1, 0], atol=1e-12)


def test_two_intervals_and_atoms():
    """Half of the mass uniform on [0, 1], a quarter at 1/2, a quarter at s = 0, and a gap."""
    law = tabulate(
        lambda u: np.full(u.shape, 0.25),
        [Interval(2, 3), Interval(0, 1)],
        atoms=[(0.5, 0.25), (-math.inf, 0.25)],
        tol=1e-10,
    )
    assert law.mass == pytest.approx(1, abs=1e-13)
    np.testing.assert_allclose(
        law.cdf(np.array([-9.0, 0, 0.4, 0.6, 1.5, 2.5, 4])), [0.25, 0.25, 0.35, 0.65, 0.75, 0.875, 1]
    )
    p = np.array([0.0, 0.2, 0.25, 0.3, 0.4, 0.5, 0.62, 0.7, 0.8, 1])
    expected = [-math.inf, -math.inf, -math.inf, 0.2, 0.5, 0.5, 0.5, 0.8, 2.2, 3]
    np.testing.assert_allclose(law.icdf(p), expected, atol=1e-12)


def test_missing_mass_and_bad_values_are_reported():
    half = tabulate(lambda u: np.full(u.shape, 0.5), [Interval(0, 1)], tol=1e-8)
    assert half.error >= 0.5
    assert half.cdf(np.array([2.0]))[0] == 1.0
    broken = tabulate(lambda u: np.where(u > 0.5, np.nan, 1.0), [Interval(0, 1)], tol=1e-8)
    assert broken.status is Status.NOT_FINITE
    assert broken.error == math.inf
    rough = tabulate(lambda u: 1.0 + np.sin(4000 * u), [Interval(0, 1)], tol=1e-12, max_points=200)
    assert rough.status is Status.MAX_ITERATIONS


@pytest.mark.parametrize("ends", [(1.0, 1.0), (2.0, 1.0), (0.0, math.inf), (-math.inf, math.nan)])
def test_bad_intervals_are_refused(ends):
    with pytest.raises(ValueError, match="interval"):
        Interval(*ends)


def test_spectrum_interface_and_storage(tmp_path):
    density, edge = partial(fuss_catalan.density_of_u, 1), fuss_catalan.log_edge(1) / 2
    law = tabulate(density, [Interval(-math.inf, edge, 1.0)], tol=1e-9)
    spec = Spectrum(law, ensemble=Ensemble("minimal", tied=True), T=1, method="free approximation")
    assert spec.tied
    assert spec.converged
    # T = 1: s has the quarter-circle law √(4 − s²)/π on [0, 2].
    s = np.array([0.0, 0.5, 1.0, 1.9, 2.5, -1.0])
    truth = np.where((s >= 0) & (s <= 2), np.sqrt(np.clip(4 - s**2, 0, None)) / np.pi, 0)
    np.testing.assert_allclose(spec.pdf(s), truth, rtol=1e-6, atol=1e-9)
    assert spec.pdf(1.0) == pytest.approx(math.sqrt(3) / math.pi, abs=1e-9)
    assert spec.cdf(spec.icdf(0.3)) == pytest.approx(0.3, abs=1e-12)
    assert spec.cdf(-1.0) == 0.0
    assert spec.support[0] == pytest.approx((0.0, 2.0))
    assert spec.moment(0) == 1.0
    assert spec.variance == pytest.approx(1, abs=1e-9)
    # The tail at s = 0 is right in relative terms: cdf = 2s/π there.
    assert spec.icdf(1e-30) == pytest.approx(np.pi / 2 * 1e-30, rel=1e-6)
    draws = spec.rvs(4000, rng=1)
    assert np.mean(draws**2) == pytest.approx(1, abs=4 / math.sqrt(4000))
    assert "converged" in repr(spec)
    kind, meta, arrays = _storage.read(spec.save(tmp_path / "result"))
    assert kind == "spectrum"
    again = Spectrum.restore(meta, arrays)
    assert again.ensemble == spec.ensemble
    assert again.error == spec.error
    np.testing.assert_array_equal(
        again.log_s.cdf(np.linspace(-5, 1, 30)), spec.log_s.cdf(np.linspace(-5, 1, 30))
    )
    with pytest.raises(ValueError, match="p = "):
        spec.icdf(1.5)
    with pytest.raises(TypeError, match="s: expected real"):
        spec.pdf("a")
    with pytest.raises(ValueError, match="nan"):
        spec.cdf(math.nan)


@pytest.mark.parametrize(
    ("name", "value"),
    [("LEVELS", (7, 15, 31)), ("LEVELS", (31, 63, 127)), ("_COMPARED", 43), ("_COMPARED", 387)],
)
def test_settings_of_the_fit_move_the_law_by_less_than_its_error(monkeypatch, name, value):
    """A hard edge, and a density that takes many panels."""
    density, edge = partial(fuss_catalan.density_of_u, 4), fuss_catalan.log_edge(4) / 2
    cases = [
        (density, Interval(-math.inf, edge, 0.4), np.linspace(edge - 10, edge, 200)),
        (lambda u: (1 + 0.9 * np.sin(40 * u)) / 2, Interval(-1.0, 1.0), np.linspace(-1, 1, 200)),
    ]
    for p, interval, u in cases:
        with monkeypatch.context() as patch:
            usual = tabulate(p, [interval], tol=1e-8)
            patch.setattr(tabulation, name, value)
            moved = tabulate(p, [interval], tol=1e-8)
        assert usual.status is moved.status is Status.CONVERGED
        assert np.max(np.abs(usual.cdf(u) - moved.cdf(u))) <= usual.error + moved.error
