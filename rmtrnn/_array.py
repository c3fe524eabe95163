"""The only place that knows NumPy from CuPy.

Everything above asks `namespace` for the array module of its arguments, or `module_for` for the
module of a device, and is then written once. CuPy is imported only when a CUDA device is asked for.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import numpy as np

from rmtrnn import _validate

DEVICES = ("auto", "cpu", "cuda")


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


def cuda_available() -> bool:
    """Whether CuPy is installed and sees a CUDA device."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        return False
    return bool(cupy.is_available())


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
