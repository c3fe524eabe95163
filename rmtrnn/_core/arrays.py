"""The only place that knows NumPy from CuPy.

Everything above asks `namespace` for the array module of its arguments, or `module_for` for the
module of a device, and is then written once. CuPy is imported only when a CUDA device is asked for.
"""

from __future__ import annotations

import functools
import importlib
import math
import operator
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from rmtrnn._core import validate as _validate

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Portions:
    """Numbers in an array that is worked on at once. They decide speed and memory, and no result.

    ``cache``: some arrays of complex numbers fit a level-2 cache of 1 MiB. ``sites``: 2 MiB of real numbers;
    a dozen such arrays are below what an allocator gives back to the system. ``memory``: 16 or 32 MiB, beyond
    any cache. ``device``: 64 MiB of complex numbers, since a device wants few long kernels.
    """

    cache: int = 2**14
    sites: int = 2**18
    memory: int = 2**21
    device: int = 2**22


PORTIONS = Portions()


def namespace(*arrays: Any) -> ModuleType:
    """Return ``cupy`` if any argument is a CuPy array, else ``numpy``."""
    cupy = sys.modules.get("cupy")
    if cupy is not None and any(isinstance(array, cupy.ndarray) for array in arrays):
        return cupy
    return np


def to_host(array: Any) -> np.ndarray:
    """Return ``array`` as a NumPy array (copied from the GPU if it lives there)."""
    xp = namespace(array)
    return np.asarray(array) if xp is np else xp.asnumpy(array)


def largest(array: Any, axis: int | None = None) -> Any:
    """Largest absolute value, of all or along an axis; 0 where there is none. Stays on the device."""
    xp = namespace(array)
    if array.size == 0:
        return xp.zeros([] if axis is None else [array.shape[1 - axis]])
    return xp.maximum(xp.max(array, axis=axis), -xp.min(array, axis=axis))


def total(arrays: Sequence[Any]) -> Any:
    """Sum of arrays of one shape, entry by entry, where they live."""
    return functools.reduce(operator.add, arrays)


def add_scaled(out: Any, coefficient: Any, values: Any) -> None:
    """out += coefficient · values; on a device in one kernel, without a temporary array."""
    xp = namespace(out)
    if xp is np:
        out += coefficient * values
    else:
        _add_scaled_kernel(xp)(coefficient, values, out)


@functools.lru_cache(maxsize=1)
def _add_scaled_kernel(cupy: Any) -> Any:
    return cupy.ElementwiseKernel("T c, T v", "T out", "out += c * v", "rmtrnn_add_scaled")


def memory_available(device: str) -> float:
    """Bytes free on the CUDA device, or bytes of the whole machine; ∞ where the system does not say."""
    if device == "cuda":
        return float(importlib.import_module("cupy").cuda.runtime.memGetInfo()[0])
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * float(os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return math.inf


def check_memory(name: str, value: Any, needed: float, device: str = "cpu") -> None:
    """ValueError if an argument would need more bytes than the machine, or its device, has; says how many."""
    available = memory_available(device)
    if needed > available:
        raise ValueError(
            f"{name} = {value!r}: needs {needed / 2**30:.3g} GiB of memory, the "
            f"{'device' if device == 'cuda' else 'machine'} has {available / 2**30:.3g} GiB"
        )


def strict_linear_algebra(device: str) -> AbstractContextManager[Any]:
    """In this context a factorisation that fails on a CUDA device raises LinAlgError, else CuPy is silent."""
    return importlib.import_module("cupyx").errstate(linalg="raise") if device == "cuda" else nullcontext()


def cuda_available() -> bool:
    """Whether CuPy is installed and sees a CUDA device.

    CuPy 13 raises a RuntimeError where the driver is missing or too old, CuPy 14 says that there is none.
    """
    try:
        return bool(importlib.import_module("cupy").is_available())
    except (ImportError, RuntimeError):
        return False


def resolve_device(device: str) -> str:
    """Turn ``"auto"`` into ``"cuda"`` or ``"cpu"``; refuse ``"cuda"`` where there is none (RuntimeError)."""
    _validate.choice("device", device, DEVICES)
    if device == "cpu":
        return "cpu"
    if cuda_available():
        return "cuda"
    if device == "cuda":
        raise RuntimeError(
            "device = 'cuda': CuPy is not installed or sees no CUDA device; "
            "install rmtrnn[cuda12] or rmtrnn[cuda13], or use device='cpu'"
        )
    return "cpu"


def module_for(device: str) -> ModuleType:
    """Return the array module of a resolved device: ``numpy`` for "cpu", ``cupy`` for "cuda"."""
    return importlib.import_module("cupy") if resolve_device(device) == "cuda" else np
