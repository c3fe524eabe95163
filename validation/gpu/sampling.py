"""Sampling: time against the floor (products and one SVD) and a plain loop; large networks against theory."""

from __future__ import annotations

from typing import Any

import numpy as np

import rmtrnn as rt
from validation.gpu.device import Device
from validation.gpu.record import Job

T = 8
MINIMAL = rt.Ensemble("minimal", sigma_w=3.0, sigma_v=1.2, mu_b=2.0, R=0.46, weights="orthogonal")


def jobs(device: Device) -> list[Job]:
    """Times from N = 1024 on, then networks of N = 8192 against theory, T = 8 and T = 1000."""
    listed = [_time(N) for N in ((16, 32) if device.stand_in else (1024, 2048, 4096, 8192, 16384))]
    large, long = (48, 32) if device.stand_in else (8192, 4096)
    listed += [_against_theory(large, T, tied) for tied in (False, True)]
    return [*listed, _against_theory(long, 4 if device.stand_in else 1000, False)]


def _floor(device: Device, N: int, steps: int) -> float:
    product, values = device.costs
    return (steps * product + values) * N**3


def _time(N: int) -> Job:
    """One network, T steps. Goals: the floor is 80 % of the time, a plain loop takes three times as long."""

    def find(device: Device) -> dict[str, Any]:
        options: dict[str, Any] = {"T": T, "N": N, "trials": 1, "burn_in": 0, "device": "cuda"}
        ours = device.seconds(lambda: rt.sample(MINIMAL, **options), repeats=1)
        xp = device.xp
        matrix = xp.asarray(np.random.default_rng(0).standard_normal((N, N)) / np.sqrt(N))

        def floor() -> None:
            J = matrix
            for _ in range(T):
                J = matrix @ J
            xp.linalg.svd(J, compute_uv=False)

        def plain() -> None:
            J = matrix
            for _ in range(T):
                q, _ = xp.linalg.qr(matrix)
                J = q @ J
            xp.linalg.svd(J, full_matrices=False)

        return {
            "seconds": ours,
            "floor": device.seconds(floor, repeats=1),
            "plain loop": device.seconds(plain, repeats=1),
        }

    def holds(found: Any) -> bool:
        return found["floor"] >= 0.8 * found["seconds"] and found["plain loop"] >= 3.0 * found["seconds"]

    return Job(f"sampling, N = {N}", lambda device: 20.0 * _floor(device, N, T) + 2.0, find, holds, goal=True)


def _against_theory(N: int, steps: int, tied: bool) -> Job:
    def find(device: Device) -> dict[str, Any]:
        ens = MINIMAL.replace(tied=tied)
        small: dict[str, Any] = {"population": 512, "tol": 2e-2} if device.stand_in else {}
        theory = rt.spectrum(ens, 2 if device.stand_in else steps, **small)
        mc = rt.sample(ens, theory.T, N=N, trials=2, device="cuda", burn_in=20 if device.stand_in else None)
        report = rt.compare(theory, mc)
        return {"Kolmogorov": float(report.kolmogorov), "agrees": bool(report.agrees)}

    def holds(found: Any) -> bool:
        return found["Kolmogorov"] < (0.2 if N < 1000 else 0.01)

    def seconds(device: Device) -> float:
        return 10.0 * _floor(device, N, steps) + (10.0 if device.stand_in else 90.0)

    return Job(f"theory, N = {N}, T = {steps}, {'tied' if tied else 'untied'}", seconds, find, holds)
