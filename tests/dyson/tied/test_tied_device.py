"""Tied weights on the device: the same numbers as on the host, and few transfers. On a stand-in for CuPy."""

from __future__ import annotations

import fake_cupy
import numpy as np
import pytest
from random_sites import CASES, one_state, random_energy, two_stages

import rmtrnn as rt
from rmtrnn._core import arrays as _arrays
from rmtrnn.dyson.tied import site_matrices
from rmtrnn.dyson.tied.iteration import solve
from rmtrnn.dyson.tied.large_lambda import large_lambda
from rmtrnn.dyson.tied.site_matrices import SiteMatrices

pytestmark = pytest.mark.skipif(_arrays.cuda_available(), reason="the device itself is tested elsewhere")

POINT = 0.5 + 0.6j


def sites_on(xp, build, steps=5, n=7):
    """The same random sites in an array module, and self-energies."""
    rng = np.random.default_rng(3)
    stages = build(steps, n, rng)
    sites = SiteMatrices.of(stages, steps, rng.dirichlet(np.full(n, 20.0)), xp)
    return sites, random_energy(sites, rng)


@pytest.mark.parametrize("build", CASES)
@pytest.mark.equation(20)
def test_evaluations_are_those_of_the_host(monkeypatch, build):
    """g, k, log det and m to 1e-10 in complex128; other self-energies are told apart."""
    cupy = fake_cupy.install(monkeypatch)
    (host, energy), (device, _) = (sites_on(xp, build) for xp in (np, cupy))
    assert device.xp is cupy and host.xp is np
    some = np.array([1, 4, 5])
    for one, other in ((host, device), (host.at(some), device.at(some))):
        known, found = one.overlaps(energy, POINT), other.overlaps(energy, POINT)
        assert type(found) is np.ndarray and found.dtype == complex
        np.testing.assert_allclose(found, known, rtol=1e-10, atol=1e-10 * np.abs(known).max())
        assert np.abs(one.overlaps(1.01 * energy, POINT) - known).max() > 1e-5 * np.abs(known).max()
        (known, m), (found, same_m) = (which.site_values(energy, POINT) for which in (one, other))
        assert type(found) is np.ndarray and found.dtype == complex
        np.testing.assert_allclose(found, known, atol=1e-10)
        assert same_m == pytest.approx(m, rel=1e-10)


@pytest.mark.parametrize("build", CASES)
def test_large_lambda_is_that_of_the_host(monkeypatch, build):
    cupy = fake_cupy.install(monkeypatch)
    host, device = (large_lambda(sites_on(xp, build)[0]) for xp in (np, cupy))
    np.testing.assert_allclose(device.y, host.y, rtol=1e-10)
    np.testing.assert_allclose(device.x, host.x, rtol=1e-10)
    assert (device.log_m1, device.ratio) == pytest.approx((host.log_m1, host.ratio), rel=1e-10)


def test_transfers_do_not_grow_with_steps_or_sites(monkeypatch):
    """One of averages for each evaluation, whatever T, the number of sites and of portions of them."""
    cupy = fake_cupy.install(monkeypatch)
    counts = set()
    for steps, n, elements in ((4, 20, 2**20), (9, 20, 2**20), (4, 60, 2**20), (4, 60, 200)):
        monkeypatch.setattr(site_matrices, "_DEVICE_ELEMENTS", elements)
        sites, energy = sites_on(cupy, two_stages, steps, n)
        log = []
        for evaluate in (sites.overlaps, sites.site_values):
            fake_cupy.fetched.clear()
            evaluate(energy, POINT)
            log.append(len(fake_cupy.fetched))
        fake_cupy.fetched.clear()
        large_lambda(sites)
        counts.add((*log, len(fake_cupy.fetched)))
    assert counts == {(1, 1, 2)}


def test_a_point_is_found_with_one_transfer_for_each_evaluation(monkeypatch):
    cupy = fake_cupy.install(monkeypatch)
    points = []
    for xp in (np, cupy):
        sites = SiteMatrices.of(one_state(5, 40, np.random.default_rng(2)), 5, xp=xp)
        far = large_lambda(sites)
        place = complex(far.log_m1 - 1.0, 0.1)
        start = far.energy(sites, place)
        fake_cupy.fetched.clear()
        points.append(solve(sites, start, place, 1e-12))
    assert len(fake_cupy.fetched) == points[1].evaluations == points[0].evaluations > 2
    np.testing.assert_allclose(points[1].energy, points[0].energy, rtol=1e-8, atol=1e-10)


def test_the_law_is_that_of_the_host(monkeypatch):
    """To the last digits; T = 1 is that of the untied chain."""
    fake_cupy.install(monkeypatch)
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5, tied=True)
    options = {"population": 64, "tol": 2e-2, "max_points": 16}
    for T in (1, 4):
        host, device = (rt.spectrum(ens, T, device=name, **options) for name in ("cpu", "cuda"))
        u = host.log_s.icdf(np.linspace(0.05, 0.95, 19))
        assert np.max(np.abs(host.log_s.cdf(u) - device.log_s.cdf(u))) < 1e-10
        assert device.error == pytest.approx(host.error, rel=1e-8) and device.status is host.status


def test_a_tied_law_on_no_device():
    ens = rt.Ensemble("minimal", tied=True)
    with pytest.raises(RuntimeError, match="device = 'cuda'"):
        rt.spectrum(ens, 2, device="cuda")


def test_what_the_device_cannot_hold_is_refused(monkeypatch):
    fake_cupy.install(monkeypatch, free_bytes=2**20)
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, R=0.5, tied=True)
    with pytest.raises(ValueError, match=r"population = 8192: needs .* GiB of memory, the device has"):
        rt.spectrum(ens, 8, population=8192, device="cuda")
