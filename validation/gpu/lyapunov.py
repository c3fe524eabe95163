"""Lyapunov spectra of large networks on the device, against theory and published numbers."""

from __future__ import annotations

from typing import Any

import rmtrnn as rt
from validation.gpu.device import Device
from validation.gpu.record import Job

# Published for the tanh map, g = 3, N = 4096 (shared acceptance numbers; docs/lyapunov.md).
TANH_MAP = rt.Ensemble("vanilla", sigma_w=3.0)
PUBLISHED = 0.3096


def jobs(device: Device) -> list[Job]:
    """The tanh map at g = 3."""
    return [_tanh_map(32 if device.stand_in else 4096, 40 if device.stand_in else 2000)]


def _tanh_map(N: int, steps: int) -> Job:
    def find(device: Device) -> dict[str, Any]:
        mc = rt.sample_lyapunov(TANH_MAP, N=N, steps=steps, trials=1, device="cuda")
        theory = rt.lyapunov(TANH_MAP)
        return {"largest": float(mc.largest.value), "theory": float(theory.largest), "published": PUBLISHED}

    def holds(found: Any) -> bool:
        return abs(found["largest"] - found["theory"]) < (0.3 if N < 1000 else 0.01)

    def seconds(device: Device) -> float:
        return 10.0 + 8.0 * steps * device.costs[0] * N**3

    return Job(f"Lyapunov spectrum, tanh map, N = {N}", seconds, find, holds)
