"""Dyson laws: seconds on the device beside seconds on the CPU cores of the same machine."""

from __future__ import annotations

import time
from typing import Any

import rmtrnn as rt
from validation.gpu.device import Device
from validation.gpu.record import Job


def jobs(device: Device) -> list[Job]:
    """Untied laws of T = 10, 100 and 1000 steps. Tied laws run on the CPU only."""
    lengths = (2,) if device.stand_in else (10, 100, 1000)
    return [_time(cell, T) for T in lengths for cell in ("minimal", "gru")]


def _time(cell: str, T: int) -> Job:
    def find(device: Device) -> dict[str, Any]:
        ens = rt.Ensemble(cell, sigma_w=1.2, sigma_v=0.5, mu_b=1.0, sigma_b=0.2)
        small: dict[str, Any] = {"population": 512, "tol": 2e-2, "max_points": 48} if device.stand_in else {}
        found = {}
        for name in ("cuda", "cpu"):
            start = time.perf_counter()
            law = rt.spectrum(ens, T, device=name, **small)
            found[f"seconds {name}"] = time.perf_counter() - start
            found[f"error {name}"] = float(law.error)
        return found

    def holds(found: Any) -> bool:
        return found["seconds cuda"] < found["seconds cpu"]

    return Job(f"Dyson time, {cell}, T = {T}", lambda device: 5.0 + 1.2 * T, find, holds, goal=True)
