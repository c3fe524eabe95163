"""The device of a run: its name and versions, how to wait for it, and what its arithmetic costs."""

from __future__ import annotations

import functools
import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmtrnn._core import arrays as _arrays


@dataclass(frozen=True)
class Device:
    """``xp``: CuPy or its stand-in; ``sizes``: N of the jobs, smallest first."""

    name: str
    versions: dict[str, str]
    stand_in: bool
    xp: Any

    def wait(self) -> None:
        """Return when the device has done what it was asked."""
        if not self.stand_in:
            self.xp.cuda.get_current_stream().synchronize()

    def seconds(self, task: Callable[[], Any], repeats: int = 3) -> float:
        """Shortest wall time of ``task``, after one run that compiles and allocates."""
        task()
        found = []
        for _ in range(repeats):
            self.wait()
            start = time.perf_counter()
            task()
            self.wait()
            found.append(time.perf_counter() - start)
        return min(found)

    @functools.cached_property
    def costs(self) -> tuple[float, float]:
        """Seconds of one matrix product and of one SVD of singular values, divided by N³, measured once."""
        n = 64 if self.stand_in else 1024
        matrix = self.xp.asarray(np.random.default_rng(0).standard_normal((n, n)))
        product = self.seconds(lambda: matrix @ matrix)
        values = self.seconds(lambda: self.xp.linalg.svd(matrix, compute_uv=False), repeats=1)
        return product / n**3, values / n**3


def on_card() -> Device:
    """The first CUDA device. Raises RuntimeError if CuPy finds none."""
    if not _arrays.cuda_available():
        raise RuntimeError("no CUDA device, or CuPy is not installed; `--stand-in` tries the command without")
    xp = _arrays.module_for("cuda")
    found = xp.cuda.runtime.getDeviceProperties(0)
    runtime = str(xp.cuda.runtime.runtimeGetVersion())
    return Device(found["name"].decode(), {"cupy": xp.__version__, "cuda": runtime}, False, xp)


def on_stand_in() -> Device:
    """The stand-in of the tests, put in place of CuPy for this process."""
    pytest = importlib.import_module("pytest")
    folder = Path(__file__).resolve().parents[2] / "tests"
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    xp = importlib.import_module("fake_cupy").install(pytest.MonkeyPatch())
    return Device("stand-in", {"cupy": xp.__version__}, True, xp)
