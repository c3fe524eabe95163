"""Every name and keyword of CuPy that the code uses exists: in the stand-in, and in CuPy where there is one.

CuPy can be imported without a device. Tried with 13.6 and 14.2 on 2026-11-29.
"""

import ast
import importlib
import importlib.util
import inspect
from pathlib import Path

import fake_cupy
import pytest

import rmtrnn as rt
from rmtrnn._core import arrays

FOLDERS = [Path(rt.__file__).parent, Path(rt.__file__).parents[1] / "validation" / "gpu"]
MODULES = ("xp", "_xp", "cupy")  # names of variables and attributes that may hold CuPy
# Of NumPy or mpmath: the branches that call these are never reached with CuPy.
OTHERS = {"errstate", "mpmathify", "sech", "erfc", "exponential", "__dict__"}
# Of the device itself, which the stand-in does not pretend to have.
DEVICE = {"cuda.runtime.getDeviceProperties", "cuda.runtime.runtimeGetVersion", "cuda.get_current_stream"}


def dotted(node):
    """("linalg.qr") of ``self._xp.linalg.qr``; None for what does not begin with the array module."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    parts.append(node.id if isinstance(node, ast.Name) else "")
    parts.reverse()
    starts = [k for k, part in enumerate(parts) if part in MODULES]
    return ".".join(parts[starts[0] + 1 :]) if starts else None


def used():
    """Name → keywords that some call of it gives."""
    found = {}
    for path in (path for folder in FOLDERS for path in folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and (name := dotted(node)):
                found.setdefault(name, set())
            if isinstance(node, ast.Call) and (name := dotted(node.func)):
                found.setdefault(name, set()).update(word.arg for word in node.keywords if word.arg)
    return {name: words for name, words in found.items() if name.split(".")[0] not in OTHERS}


USED = used()


def resolve(module, name):
    for part in name.split("."):
        module = getattr(module, part)
    return module


def test_names_are_found():
    assert {"linalg.qr", "ElementwiseKernel", "random.Philox4x3210", "zeros"} <= set(USED)
    assert "axis" in USED["max"] and "compute_uv" in USED["linalg.svd"]


@pytest.mark.parametrize("name", sorted(set(USED) - DEVICE))
def test_the_stand_in_has_it(monkeypatch, name):
    resolve(fake_cupy.install(monkeypatch), name)


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="needs CuPy, but no device")
@pytest.mark.parametrize("name", sorted(USED))
def test_cupy_has_it(name):
    value = resolve(importlib.import_module("cupy"), name)
    try:
        parameters = inspect.signature(value).parameters
    except (TypeError, ValueError):  # compiled: it does not say
        return
    if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        assert USED[name] <= set(parameters)


def test_a_driver_that_is_too_old_is_no_device(monkeypatch):
    """CuPy 13 raises where CuPy 14 says False."""
    cupy = fake_cupy.install(monkeypatch)

    def insufficient():
        raise RuntimeError("cudaErrorInsufficientDriver")

    monkeypatch.setattr(cupy, "is_available", insufficient)
    assert not arrays.cuda_available() and arrays.resolve_device("auto") == "cpu"
    with pytest.raises(RuntimeError, match="device = 'cuda'"):
        arrays.resolve_device("cuda")
