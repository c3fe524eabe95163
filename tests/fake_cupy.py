"""A stand-in for CuPy on the host: the code of the device path, run and checked where there is no GPU.

Its arrays refuse what CuPy's refuse (mixing with NumPy's, silent conversion to the host), and its functions
take the arguments that CuPy 14 gives them. It computes with NumPy and says nothing of speed or of cuSOLVER.
"""

import ctypes
import functools
import itertools
import shutil
import subprocess
import sys
import tempfile
import types
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.special

launched = []  # names of the elementwise kernels
fetched = []  # the shape of everything that came back to the host: each would wait for the device


class Array(np.ndarray):
    """Lives on the pretended device."""

    def _fetch(self):
        fetched.append(self.shape)
        return np.array(self.view(np.ndarray))

    def __bool__(self):
        return bool(self._fetch())

    def __int__(self):
        return int(self._fetch())

    def __float__(self):
        return float(self._fetch())

    def __index__(self):
        return self._fetch().__index__()

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        arrays = [value for value in (*inputs, *out) if isinstance(value, np.ndarray)]
        if any(not isinstance(value, Array) for value in arrays):
            raise TypeError(f"Unsupported type numpy.ndarray in {ufunc.__name__}")
        results = getattr(ufunc, method)(
            *map(_lower, inputs), **({"out": tuple(map(_lower, out))} if out else {}), **options
        )
        return _lift(results) if not out else out[0]

    def __array_function__(self, function, types_, args, options):
        raise TypeError(f"Implicit conversion to a NumPy array is not allowed ({function.__name__})")

    def __setitem__(self, key, value):
        if isinstance(value, np.ndarray) and not isinstance(value, Array):
            raise TypeError("non-scalar numpy.ndarray cannot be used for fill")
        super().__setitem__(key, value)


def _lower(value):
    if isinstance(value, Array):
        return value.view(np.ndarray)
    if isinstance(value, list | tuple):
        return type(value)(map(_lower, value))
    return value


def _lift(value):
    if isinstance(value, tuple):
        return tuple(map(_lift, value))
    if isinstance(value, np.ndarray):
        return value.view(Array)
    return np.asarray(value).view(Array) if isinstance(value, np.generic) else value


def _on_device(function):
    def call(*args, **options):
        for value in (*args, *options.values()):
            plain = isinstance(value, np.ndarray) and not isinstance(value, Array)
            if plain and value.ndim:
                raise TypeError(f"Unsupported type numpy.ndarray in {function.__name__}")
        options = {key: _lower(value) for key, value in options.items()}
        return _lift(function(*map(_lower, args), **options))

    return call


def _asarray(values, dtype=None):
    return np.array(_lower(values), dtype=dtype).view(Array)


class _Philox:
    def __init__(self, seed):
        assert 0 <= seed < 2**32
        self.seed = seed


class _Generator:
    def __init__(self, bits):
        self._rng = np.random.default_rng(bits.seed)

    def standard_normal(self, size=None, dtype=np.float64):
        assert size is not None, "the stream would depend on the device"
        return self._rng.standard_normal(size, dtype=dtype).view(Array)


@functools.cache
def _compiled(source):
    """The function ``run`` of C++ source code."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++, which stands in for CUDA's compiler")
    with tempfile.TemporaryDirectory() as folder:
        code, library = Path(folder, "kernel.cpp"), Path(folder, "kernel.so")
        code.write_text(source)
        options = ["-O1", "-ffp-contract=off", "-shared", "-fPIC", "-o", library, code]
        subprocess.run([compiler, *options], check=True)
        return ctypes.CDLL(str(library)).run


def kernel_source(inputs, outputs, operation, preamble, dtype):
    """The loop over all elements that CuPy makes of an elementwise kernel, in plain C++."""
    names = [[part.split()[1] for part in text.split(", ")] for text in (inputs, outputs)]
    references = [f"const T &{name} = _in[{k}][at];" for k, name in enumerate(names[0])]
    references += [f"T &{name} = _out[{k}][at];" for k, name in enumerate(names[1])]
    return f"""#include <cmath>
using namespace std;
#define __device__
typedef {"double" if dtype == np.float64 else "float"} T;
{preamble}
extern "C" void run(long size, const T **_in, T **_out) {{
    for (long at = 0; at < size; ++at) {{
        {" ".join(references)}
        {operation};
    }}
}}
"""


def _elementwise_kernel(inputs, outputs, operation, name, preamble=""):
    """Compiled for the host; every argument is an array on the device, of one dtype."""
    assert all(part.split()[0] == "T" for part in f"{inputs}, {outputs}".split(", "))
    count = inputs.count(",") + 1

    def kernel(*arrays):
        launched.append(name)
        assert all(type(array) is Array and array.dtype == arrays[0].dtype for array in arrays)
        given, made = arrays[:count], arrays[count:]
        assert len(made) == outputs.count(",") + 1 and len({array.shape for array in made}) == 1
        assert not any(np.shares_memory(*map(_lower, pair)) for pair in itertools.product(made, given))
        values = [np.ascontiguousarray(np.broadcast_to(_lower(array), made[0].shape)) for array in given]
        results = [np.ascontiguousarray(_lower(array)) for array in made]
        run = _compiled(kernel_source(inputs, outputs, operation, preamble, arrays[0].dtype))
        pointers = [
            (ctypes.c_void_p * len(part))(*(array.ctypes.data for array in part))
            for part in (values, results)
        ]
        run(ctypes.c_long(made[0].size), *pointers)
        for array, result in zip(made, results, strict=True):
            _lower(array)[...] = result

    return kernel


def install(monkeypatch, free_bytes=2**34):
    """Put the stand-in in place of ``cupy`` and ``cupyx``; return it."""
    cupy = types.ModuleType("cupy")
    skipped = {"errstate", "random", "linalg", "ndarray", "show_config"}
    for name in dir(np):
        value = getattr(np, name)
        if name.startswith("_") or name in skipped or isinstance(value, types.ModuleType):
            continue
        cupy.__dict__[name] = _on_device(value) if callable(value) and not isinstance(value, type) else value

    def reduction(function):
        return lambda a, axis=None, out=None, keepdims=False: _on_device(function)(a, axis=axis)

    for name in ("max", "min", "any", "all"):
        cupy.__dict__[name] = reduction(getattr(np, name))
    for name in ("asarray", "array"):
        cupy.__dict__[name] = _asarray
    cupy.ndarray, cupy.__version__ = Array, "0.fake"
    cupy.asnumpy = lambda array: array._fetch()
    cupy.is_available = lambda: True
    runtime = types.SimpleNamespace(memGetInfo=lambda: (free_bytes, 2 * free_bytes))
    cupy.cuda = types.SimpleNamespace(runtime=runtime)
    cupy.random = types.SimpleNamespace(Generator=_Generator, Philox4x3210=_Philox)
    cupy.ElementwiseKernel = _elementwise_kernel
    cupy.linalg = types.SimpleNamespace(
        qr=_on_device(
            lambda a, mode="reduced": (
                tuple(np.linalg.qr(a, mode)) if mode == "reduced" else np.linalg.qr(a, mode)
            )
        ),
        svd=_on_device(
            lambda a, full_matrices=True, compute_uv=True: np.linalg.svd(a, full_matrices, compute_uv)
        ),
        norm=_on_device(np.linalg.norm),
        solve=_on_device(np.linalg.solve),
        inv=_on_device(np.linalg.inv),
        slogdet=_on_device(lambda a: tuple(np.linalg.slogdet(a))),
        cholesky=_on_device(np.linalg.cholesky),
    )
    linalg, special = types.ModuleType("cupyx.scipy.linalg"), types.ModuleType("cupyx.scipy.special")
    for name in ("lu_factor", "lu_solve", "solve_triangular"):
        linalg.__dict__[name] = _on_device(getattr(scipy.linalg, name))
    for name in ("expit", "ndtr", "erf"):
        special.__dict__[name] = getattr(scipy.special, name)
    cupyx = types.ModuleType("cupyx")
    cupyx.seen = []

    def errstate(linalg):
        cupyx.seen.append(linalg)
        return nullcontext()

    cupyx.errstate = errstate
    scipy_module = types.ModuleType("cupyx.scipy")
    scipy_module.linalg, scipy_module.special, cupyx.scipy = linalg, special, scipy_module
    for module in (cupy, cupyx, scipy_module, linalg, special):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return cupy
