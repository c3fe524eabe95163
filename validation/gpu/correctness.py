"""Correctness: the device against the CPU on the same numbers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn._core import random as _random
from rmtrnn._core.arrays import to_host
from rmtrnn.cells import LIBRARY
from rmtrnn.dyson.tied.large_lambda import large_lambda
from rmtrnn.dyson.tied.site_matrices import SiteMatrices
from rmtrnn.dyson.tied.sites import draw_population
from rmtrnn.sampling.products import LogProduct
from rmtrnn.sampling.random_matrices import HOST_DRAWN, random_matrix
from validation.gpu.device import Device
from validation.gpu.record import Job

# Rounding of log s after a few steps of 48 units, with a margin of ten: the draws are the same on both.
TOLERANCE = {"float64": 1e-8, "float32": 2e-2}


def jobs(device: Device) -> list[Job]:
    """Every cell, weight law, tying and precision; Haar matrices; long products; Dyson laws; memory."""
    networks = itertools.product(LIBRARY, ("gaussian", "orthogonal"), (False, True), TOLERANCE)
    listed = [_same_sample(*network) for network in networks]
    sizes = (8, 32) if device.stand_in else (8, 512, 4096)
    listed += [_haar(n) for n in sizes]
    listed += [_long_product(n) for n in ((24,) if device.stand_in else (32, 256, 1024))]
    for tied in (False, True):
        listed += [_same_law(cell, T, tied) for cell, T in (("minimal", 3), ("gru", 2), ("lstm", 2))]
    listed += [_same_tied_evaluation(T) for T in ((4, 20) if device.stand_in else (30, 100))]
    return [*listed, _same_seed(), _too_large()]


def _quick(device: Device) -> float:
    return 2.0


def _minute(device: Device) -> float:
    return 2.0 if device.stand_in else 30.0


def _same_sample(cell: str, weights: str, tied: bool, dtype: str) -> Job:
    """Matrices up to `HOST_DRAWN` are drawn on the host: both devices take steps with the same ones."""

    def find(device: Device) -> dict[str, Any]:
        N = 12 if device.stand_in else 48
        assert HOST_DRAWN >= N
        ens = rt.Ensemble(cell, sigma_w=1.1, sigma_v=0.5, sigma_b=0.1, weights=weights, tied=tied)
        options = {"T": 3, "N": N, "trials": 2, "seed": 7, "burn_in": 10, "dtype": dtype}
        host, card = (rt.sample(ens, **options, device=name).log_s for name in ("cpu", "cuda"))
        finite = np.isfinite(host) & (host > host.max() - 12.0)
        same = bool(np.array_equal(np.isneginf(host), np.isneginf(card)))
        return {"largest difference of log s": float(np.max(np.abs(host - card)[finite])), "same zeros": same}

    def holds(found: Any) -> bool:
        return found["same zeros"] and found["largest difference of log s"] < TOLERANCE[dtype]

    key = f"sample {cell}, {weights}, {'tied' if tied else 'untied'}, {dtype}"
    return Job(key, _quick, find, holds)


def _haar(n: int) -> Job:
    def find(device: Device) -> dict[str, Any]:
        matrix = to_host(random_matrix("orthogonal", n, 1.0, _random.stream(1), device.xp))
        return {"largest entry of OᵀO − 1": float(np.max(np.abs(matrix.T @ matrix - np.eye(n))))}

    return Job(f"Haar matrix, N = {n}", _quick, find, lambda found: max(found.values()) < 1e-12)


def _long_product(n: int) -> Job:
    """One hundred Gaussian factors, the same on both."""

    def find(device: Device) -> dict[str, Any]:
        rng = np.random.default_rng(5)
        products = LogProduct(n), LogProduct(n, device.xp)
        for _ in range(10 if device.stand_in else 100):
            factor = rng.standard_normal((n, n)) / np.sqrt(n)
            products[0].multiply(factor)
            products[1].multiply(device.xp.asarray(factor))
        host, card = (product.log_singular_values() for product in products)
        return {"largest difference of log s": float(np.max(np.abs(host - card)))}

    return Job(f"long product, N = {n}", _quick, find, lambda found: max(found.values()) < 1e-9)


def _same_law(cell: str, T: int, tied: bool) -> Job:
    """The same sites: untied laws agree to rounding of the Newton iteration.

    Tied laws agree to the error of the interpolation, as rounding may decide where another point is put.
    """

    def find(device: Device) -> dict[str, Any]:
        ens = rt.Ensemble(cell, sigma_w=1.2, sigma_v=0.5, sigma_b=0.2, tied=tied)
        small = (64, 24) if tied else (512, 64)
        population, points = small if device.stand_in else (4096, 64)
        options = {"population": population, "tol": 1e-2, "max_points": points}
        host, card = (rt.spectrum(ens, T, device=name, **options) for name in ("cpu", "cuda"))
        u = host.log_s.icdf(np.linspace(0.02, 0.98, 49))
        return {"largest difference of the cdf": float(np.max(np.abs(host.log_s.cdf(u) - card.log_s.cdf(u))))}

    allowed = 1e-2 if tied else 1e-5
    key = f"Dyson law, {cell}, T = {T}{', tied' if tied else ''}"
    return Job(key, _minute, find, lambda found: max(found.values()) < allowed)


def _same_tied_evaluation(T: int) -> Job:
    """Averages and determinants of (20) at the same self-energies."""

    def find(device: Device) -> dict[str, Any]:
        ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5, tied=True)
        population = draw_population(ens, T, 8 if device.stand_in else 64, 0)
        found: dict[str, list[np.ndarray]] = {"g and k": [], "log det": []}
        for xp in (np, device.xp):
            sites = SiteMatrices.of(population.stages, T, population.weights, xp)
            far = large_lambda(sites)
            place = complex(far.log_m1, 0.3)
            energy = far.energy(sites, place)
            found["g and k"].append(sites.overlaps(energy, place))
            found["log det"].append(sites.site_values(energy, place)[0])
        return {
            f"largest relative difference of {name}": float(np.abs(one - two).max() / np.abs(one).max())
            for name, (one, two) in found.items()
        }

    return Job(f"tied sites, T = {T}", _minute, find, lambda found: max(found.values()) < 1e-9)


def _same_seed() -> Job:
    def find(device: Device) -> dict[str, Any]:
        N = 16 if device.stand_in else 512
        one, two = (
            rt.sample(rt.Ensemble("vanilla"), T=2, N=N, trials=1, seed=3, device="cuda") for _ in "ab"
        )
        return {"the same twice": bool(np.array_equal(one.log_s, two.log_s))}

    return Job("seeds", _quick, find, lambda found: found["the same twice"])


def _too_large() -> Job:
    """A network that does not fit is refused at the door, and the message names the largest that does."""

    def find(device: Device) -> dict[str, Any]:
        try:
            rt.sample(rt.Ensemble("vanilla"), T=1, N=10**6, trials=1, device="cuda")
        except (MemoryError, ValueError) as error:
            return {"refused": True, "message": str(error)}
        return {"refused": False}

    return Job("too large a network", _quick, find, lambda found: found["refused"])
